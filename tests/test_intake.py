"""Messages that do not fit: what the client is told, when it is closed, and what is logged."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from channel import opened_over
from opened import opened, soon, turns
from peer import Peer
from telex import WebSocketExpectError
from telex._intake import MAX_ERRORS, MAX_INVALID, Intake, Policy
from telex.codecs import JSON, Codec, MessagePack

MISFIT = WebSocketExpectError.of("Order", [{"path": "$.price", "message": "Expected `float`"}])
MALFORMED = WebSocketExpectError("no JSON", malformed=True)


class OnlyOrders:
    """A codec that reads one type, and writes what it is told to."""

    def __init__(self, encode: Callable[[Any], str | bytes]) -> None:
        self._encode = encode

    def decoder(self, tp: Any, /) -> Any:
        if tp is not str:
            raise TypeError(f"no {tp}")
        return str

    def encode(self, value: Any, /) -> str | bytes:
        return self._encode(value)


def refuse_to_write(value: Any) -> str:
    raise TypeError("orders only")


async def taking(policy: Policy, codec: Codec | None = None) -> tuple[Intake, Peer]:
    """What keeps a policy for an open connection, and the peer."""
    ws, peer = await opened()
    return Intake(ws, codec or JSON(), policy), peer


async def answered(message: str | bytes, codec: Codec | None = None) -> Any:
    """What the client is told of a message."""
    intake, peer = await taking(Policy(), codec)
    await intake.refuse(message, MISFIT)
    [data] = peer.data
    return json.loads(data) if isinstance(data, str) else msgspec.msgpack.decode(data)


# --- the policy ---


@pytest.mark.parametrize("on_invalid", ["ignore", None, 1, ["reply"]])
def test_another_policy_is_refused(on_invalid: Any) -> None:
    with pytest.raises(ValueError, match="must be one of 'reply', 'close', 'raise'"):
        Policy(on_invalid)


@pytest.mark.parametrize("number", [0, -1])
def test_less_than_one_in_a_row_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, not {number}"):
        Policy("reply", number)


# --- reply ---


async def test_the_client_is_told_what_is_wrong_and_where() -> None:
    assert await answered("{}") == {
        "type": "error",
        "ref": None,
        "errors": [{"path": "$.price", "message": "Expected `float`"}],
    }


@pytest.mark.parametrize(
    ("message", "ref"),
    [
        ('{"ref": "a"}', "a"),
        ('{"ref": ""}', ""),
        ('{"ref": 7}', 7),
        ('{"ref": 0}', 0),
        ('{"ref": -9007199254740993}', -9007199254740993),
        (b'{"ref": "from bytes"}', "from bytes"),
        ('{"ref": true}', None),
        ('{"ref": 1.5}', None),
        ('{"ref": null}', None),
        ('{"ref": [1]}', None),
        ('{"ref": {"a": 1}}', None),
        ('{"ref": "\\ud800"}', None),
        ('{"other": 1}', None),
        ('["ref"]', None),
        ("7", None),
        ("nothing", None),
        ("", None),
        ("[" * 100_000, None),
        (b"\xff", None),
    ],
)
async def test_the_answer_names_the_message_by_its_ref(message: str | bytes, ref: Any) -> None:
    found = (await answered(message))["ref"]
    assert (found, type(found)) == (ref, type(ref))


async def test_the_answer_goes_by_the_codec_of_the_connection() -> None:
    told = await answered(msgspec.msgpack.encode({"ref": 3}), MessagePack())
    assert (told["type"], told["ref"]) == ("error", 3)
    assert (await answered("text", MessagePack()))["ref"] is None


async def test_a_codec_that_does_not_read_whatever_comes_finds_no_ref() -> None:
    assert (await answered('{"ref": 1}', OnlyOrders(json.dumps)))["ref"] is None


async def test_a_codec_that_has_no_words_for_it_lets_the_close_say_it() -> None:
    intake, peer = await taking(Policy(), OnlyOrders(refuse_to_write))
    await intake.refuse("{}", MISFIT)
    assert (peer.data, peer.closes) == ([], [(1003, "$.price: Expected `float`")])


async def test_a_number_that_the_codec_cannot_write_lets_the_close_say_it() -> None:
    class Big(MessagePack):
        def decoder(self, tp: Any, /) -> Any:
            return lambda _: {"ref": 10**30}

    intake, peer = await taking(Policy(), Big())
    await intake.refuse(b"", MALFORMED)
    assert (peer.data, peer.closes) == ([], [(1007, "$: no JSON")])


async def test_what_is_wrong_in_many_places_is_told_in_part() -> None:
    many = [{"path": f"$[{n}]", "message": "wrong"} for n in range(10_000)]
    intake, peer = await taking(Policy())
    await intake.refuse("[]", WebSocketExpectError.of("list", many))
    assert json.loads(peer.data[0])["errors"] == many[:MAX_ERRORS]


@pytest.mark.parametrize("path", ["asgi", "frames"])
async def test_a_client_that_reads_nothing_is_waited_for(path: str) -> None:
    ws, channel = await opened_over(path)
    intake = Intake(ws, JSON(), Policy())
    await soon(intake.refuse("{}", MISFIT))
    channel.block()
    waiting = asyncio.ensure_future(intake.refuse("{}", MISFIT))
    await turns()
    assert not waiting.done()
    channel.unblock()
    await soon(waiting)
    assert len(channel.data) == 2


# --- too many in a row ---


@pytest.mark.parametrize(("error", "code"), [(MISFIT, 1003), (MALFORMED, 1007)])
async def test_after_too_many_in_a_row_it_is_closed(error: WebSocketExpectError, code: int) -> None:
    intake, peer = await taking(Policy("reply", 3))
    for _ in range(2):
        await intake.refuse("{}", error)
    assert (len(peer.data), peer.closes) == (2, [])
    await intake.refuse("{}", error)
    assert len(peer.data) == 3
    assert [closed[0] for closed in peer.closes] == [code]


async def test_one_that_fits_lets_it_count_from_the_beginning() -> None:
    intake, peer = await taking(Policy("reply", 2))
    for _ in range(5):
        await intake.refuse("{}", MISFIT)
        intake.in_a_row = 0
    assert (len(peer.data), peer.closes) == (5, [])


async def test_ten_are_answered_unless_it_was_said_otherwise() -> None:
    intake, peer = await taking(Policy())
    for _ in range(MAX_INVALID):
        await intake.refuse("{}", MISFIT)
    assert (MAX_INVALID, len(peer.data), len(peer.closes)) == (10, 10, 1)


# --- close and raise ---


@pytest.mark.parametrize(
    ("error", "close"),
    [
        (MISFIT, (1003, "$.price: Expected `float`")),
        (MALFORMED, (1007, "$: no JSON")),
        (WebSocketExpectError("said nothing", []), (1003, "")),
    ],
)
async def test_closing_says_what_is_wrong_first(
    error: WebSocketExpectError, close: tuple[int, str]
) -> None:
    intake, peer = await taking(Policy("close"))
    await intake.refuse("{}", error)
    assert (peer.data, peer.closes) == ([], [close])


async def test_a_reason_that_is_too_long_is_cut() -> None:
    intake, peer = await taking(Policy("close"))
    await intake.refuse("{}", WebSocketExpectError.of("x", [{"path": "$", "message": "é" * 500}]))
    [(_, reason)] = peer.closes
    assert reason.startswith("$: ééé")
    assert len(reason.encode()) <= 123


async def test_raising_raises_what_it_was_given_and_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")
    intake, peer = await taking(Policy("raise"))
    with pytest.raises(WebSocketExpectError) as caught:
        await intake.refuse("{}", MISFIT)
    assert caught.value is MISFIT
    assert (peer.types, caplog.text) == (["accept"], "")


# --- the log ---


async def logged(error: WebSocketExpectError, caplog: pytest.LogCaptureFixture) -> str:
    caplog.set_level(logging.INFO, "telex")
    intake, _ = await taking(Policy())
    await intake.refuse("{}", error)
    [record] = caplog.records
    assert record.levelno == logging.INFO
    return record.getMessage()


async def test_who_sent_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    text = await logged(MISFIT, caplog)
    assert text == (
        "127.0.0.1:50000 sent what does not fit: 'expected Order: $.price: Expected `float`'"
    )


@pytest.mark.parametrize("name", ["a\nERROR forged", "a\r\x1b[2J", "a\u2028b", "\ud800"])
async def test_the_name_of_a_field_cannot_break_the_line(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = WebSocketExpectError.of("Order", [{"path": f"$.{name}", "message": "unknown"}])
    text = await logged(error, caplog)
    assert len(text.splitlines()) == 1
    assert text.isprintable()


async def test_a_long_error_is_logged_in_part(caplog: pytest.LogCaptureFixture) -> None:
    error = WebSocketExpectError.of("Order", [{"path": "$." + "x" * 10**6, "message": "unknown"}])
    text = await logged(error, caplog)
    assert len(text) < 1000
    assert text.endswith("…'")
