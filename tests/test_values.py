"""Typed values on a connection, over plain ASGI and over the frame channel.

What each type is read from and written as is in `test_codecs.py`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from channel import connecting_over, opened_over
from opened import connecting, opened, soon, turns
from peer import B, D, T
from shapes import (
    UNREADABLE,
    UNSENDABLE,
    Box,
    Cat,
    Color,
    Colour,
    Dog,
    Guest,
    Level,
    Node,
    Point,
    User,
    label,
)
from telex import (
    WebSocket,
    WebSocketDisconnect,
    WebSocketExpectError,
    WebSocketRuntimeError,
    WebSocketState,
)
from telex._settings import SETTINGS_KEY, Settings
from telex.codecs import JSON, TYTX, MessagePack

both_paths = pytest.mark.parametrize("path", ["asgi", "frames"])

MESSAGE_PACK = Settings(codec=MessagePack())
BY_SUBPROTOCOL = Settings(codecs={"json": JSON(), "msgpack": MessagePack()})


async def opened_with(settings: Settings, *script: Any, **scope: Any) -> tuple[WebSocket, Any]:
    """Return an accepted connection of an application with settings."""
    return await opened(*script, **{SETTINGS_KEY: settings}, **scope)


# --- receiving ---


@pytest.mark.row("C25", "C26", "C27", "C28", "VX10", "V47")
@both_paths
async def test_the_next_message_is_read_as_a_type(path: str) -> None:
    ws, _ = await opened_over(
        path, T("a"), B(b"b"), T(" 42 "), B(b"true"), T('{"a":1}'), T('{"x":1}'), B(b'{"x":2}')
    )
    assert await ws.receive_as() == "a"
    assert await ws.receive_as(bytes) == b"b"
    assert await ws.receive_as(int) == 42
    assert await ws.receive_as(bool) is True
    assert await ws.receive_as(dict) == {"a": 1}
    assert [await ws.receive_as(Point), await ws.receive_as(Point)] == [Point(1), Point(2)]


@both_paths
async def test_models_and_unions_are_read_as_well(path: str) -> None:
    ws, _ = await opened_over(path, T('{"seat":1}'), T('[{"name":"a"}]'), T("[1]"))
    assert await ws.receive_as(User | Guest) == Guest(seat=1)
    assert await ws.receive_as(list[User]) == [User(name="a")]
    anything: Any = await ws.receive_as(Any)
    assert anything == [1]


@both_paths
async def test_a_message_that_does_not_fit_is_consumed_and_the_connection_stays_open(
    path: str,
) -> None:
    ws, _ = await opened_over(path, T('{"x":"a"}'), T("{"), T('{"x":1}'))
    with pytest.raises(WebSocketExpectError) as raised:
        await ws.receive_as(Point)
    assert [each["path"] for each in raised.value.errors] == ["$.x"]
    assert not raised.value.malformed
    with pytest.raises(WebSocketExpectError) as raised:
        await ws.receive_as(Point)
    assert raised.value.malformed
    assert ws.connection_state is WebSocketState.CONNECTED
    assert await ws.receive_as(Point) == Point(1)


@pytest.mark.row("C29", "T29", "V47")
@both_paths
@pytest.mark.parametrize("tp", UNREADABLE, ids=label)
async def test_a_type_that_cannot_be_read_consumes_nothing(path: str, tp: Any) -> None:
    ws, _ = await opened_over(path, T("kept"))
    with pytest.raises(TypeError):
        await soon(ws.receive_as(tp))
    with pytest.raises(TypeError):
        ws.iter_as(tp)
    with pytest.raises(TypeError):
        await soon(ws.pair("x", tp))
    with pytest.raises(TypeError):
        await soon(ws.pair("x", tp, recv_first=True))
    assert await ws.receive_text() == "kept"


@pytest.mark.row("C29")
@both_paths
async def test_a_type_that_cannot_be_read_is_told_while_no_message_is_there(path: str) -> None:
    ws, channel = await opened_over(path)
    with pytest.raises(TypeError):
        await soon(ws.receive_as(5))
    assert channel.data == []


@both_paths
async def test_a_cancelled_wait_loses_no_message(path: str) -> None:
    ws, channel = await opened_over(path)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await ws.receive_as(int)
    channel.feed(T("1"))
    assert await soon(ws.receive_as(int)) == 1


# --- iterating ---


@both_paths
async def test_messages_are_iterated_over_as_values(path: str) -> None:
    ws, _ = await opened_over(path, T('{"x":1}'), B(b'{"x":2}'), D(1001))
    assert [point async for point in ws.iter_as(Point)] == [Point(1), Point(2)]
    assert ws.close_code == 1001


@both_paths
async def test_without_a_type_they_are_text(path: str) -> None:
    ws, _ = await opened_over(path, T("a"), B("é".encode()), D(1001))
    assert [text async for text in ws.iter_as()] == ["a", "é"]


@both_paths
async def test_another_loop_goes_on_behind_a_message_that_does_not_fit(path: str) -> None:
    ws, _ = await opened_over(path, T("1"), T("x"), T("3"), D(1001))
    read: list[int] = []
    with pytest.raises(WebSocketExpectError):
        async for number in ws.iter_as(int):
            read.append(number)  # noqa: PERF401
    read += [number async for number in ws.iter_as(int)]
    assert read == [1, 3]


# --- sending ---

SENT: list[tuple[Any, str | bytes]] = [
    ("text", "text"),
    ("é", "é"),
    (b"\xff", b"\xff"),
    (bytearray(b"a"), b"a"),
    (memoryview(b"a"), b"a"),
    (True, "true"),
    (1, "1"),
    (1.5, "1.5"),
    (None, "null"),
    ([1, "a"], '[1,"a"]'),
    ({"a": 1}, '{"a":1}'),
    (Point(1), '{"x":1,"y":0.0}'),
    (Color.RED, '"red"'),
    (Level.HIGH, "2"),
    (Guest(seat=1), '{"seat":1}'),
    (dt.date(2025, 1, 2), '"2025-01-02"'),
    (Decimal("1.50"), '"1.50"'),
]


@pytest.mark.row("T27")
@both_paths
@pytest.mark.parametrize(("value", "message"), SENT)
async def test_a_value_is_one_message(path: str, value: Any, message: str | bytes) -> None:
    ws, channel = await opened_over(path)
    await soon(ws.send_value(value))
    assert channel.data == [message]


@both_paths
@pytest.mark.parametrize("value", [value for value, _ in SENT if not isinstance(value, memoryview)])
async def test_what_is_sent_can_be_received_as_its_type(path: str, value: Any) -> None:
    ws, channel = await opened_over(path)
    await ws.send_value(value)
    (sent,) = channel.data
    channel.feed(T(sent) if isinstance(sent, str) else B(sent))
    tp = bytes if isinstance(value, bytearray) else type(value)
    assert await soon(ws.receive_as(tp)) == value


@pytest.mark.row("C29", "T29")
@both_paths
@pytest.mark.parametrize("value", UNSENDABLE, ids=label)
async def test_a_value_that_cannot_be_sent_sends_and_consumes_nothing(
    path: str, value: Any
) -> None:
    ws, channel = await opened_over(path, T("kept"))
    with pytest.raises(TypeError):
        await soon(ws.send_value(value))
    for recv_first in (False, True):
        with pytest.raises(TypeError):
            await soon(ws.pair(value, str, recv_first))
    assert channel.data == []
    assert await ws.receive_text() == "kept"


@both_paths
@pytest.mark.parametrize(
    "value",
    ["\ud800", 10**5000, [10**5000]],
    ids=lambda value: str(type(value)),
)
async def test_what_cannot_be_expressed_is_a_value_error_and_sends_nothing(
    path: str, value: Any
) -> None:
    ws, channel = await opened_over(path, T("kept"))
    with pytest.raises(ValueError):
        await soon(ws.send_value(value))
    with pytest.raises(ValueError):
        await soon(ws.pair(value, recv_first=True))
    assert channel.data == []
    assert await ws.receive_text() == "kept"


class Careless:
    """A codec of a user's that encodes whatever it is told to."""

    def __init__(self, message: Any) -> None:
        self.message = message

    def decoder(self, tp: Any, /) -> Callable[[str | bytes], Any]:
        return lambda data: (tp, data)

    def encode(self, value: Any, /) -> Any:
        return self.message


async def test_a_codec_of_ones_own_reads_and_writes() -> None:
    ws, peer = await opened_with(Settings(codec=Careless(b"all")), T("in"), T("as it is"))
    answer: Any = await ws.pair(5, Point)
    assert answer == (Point, "in")
    assert peer.data == [b"all"]
    assert await ws.receive_as(str) == "as it is"


@pytest.mark.parametrize(("message", "error"), [("\ud800", ValueError), (None, TypeError)])
async def test_what_a_codec_makes_is_checked_before_it_is_sent(
    message: Any, error: type[Exception]
) -> None:
    ws, peer = await opened_with(Settings(codec=Careless(message)))
    with pytest.raises(error):
        await ws.send_value(5)
    assert peer.data == []


@both_paths
async def test_sending_waits_for_room(path: str) -> None:
    ws, channel = await opened_over(path)
    for send in (lambda: ws.send_value([1]), lambda: ws.send_typed([1]), lambda: ws.pair([1])):
        channel.block()
        sending = asyncio.ensure_future(send())
        await turns()
        assert not sending.done()
        channel.unblock()
        channel.feed(T("answer"))
        await soon(sending)
    assert channel.data == ["[1]"] * 3


# --- pairs ---


@both_paths
async def test_a_pair_sends_and_then_receives(path: str) -> None:
    ws, channel = await opened_over(path)
    answer = asyncio.ensure_future(ws.pair(Point(1), int))
    await turns()
    assert channel.data == ['{"x":1,"y":0.0}']
    channel.feed(T("5"))
    assert await soon(answer) == 5


@both_paths
async def test_or_it_receives_and_then_sends(path: str) -> None:
    ws, channel = await opened_over(path)
    request = asyncio.ensure_future(ws.pair(Point(1), int, recv_first=True))
    await turns()
    assert channel.data == []
    channel.feed(T("5"))
    assert await soon(request) == 5
    assert channel.data == ['{"x":1,"y":0.0}']


@both_paths
async def test_with_recv_first_nothing_is_sent_after_a_message_that_does_not_fit(
    path: str,
) -> None:
    ws, channel = await opened_over(path, T("x"))
    with pytest.raises(WebSocketExpectError):
        await soon(ws.pair("answer", int, recv_first=True))
    assert channel.data == []


@pytest.mark.row("C31")
@both_paths
async def test_a_pair_with_a_client_that_is_gone_sends_nothing_if_it_receives_first(
    path: str,
) -> None:
    ws, channel = await opened_over(path, D(1001))
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(ws.pair("x", recv_first=True))
    assert raised.value.code == 1001
    assert channel.data == []


@pytest.mark.row("C31")
async def test_a_pair_whose_client_leaves_instead_of_answering_has_sent() -> None:
    ws, peer = await opened(D(1001))
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(ws.pair("x"))
    assert raised.value.code == 1001
    assert peer.data == ["x"]


@pytest.mark.row("C31")
@both_paths
async def test_a_pair_waiting_for_its_answer_hears_that_the_client_has_left(path: str) -> None:
    ws, channel = await opened_over(path)
    answer = asyncio.ensure_future(ws.pair("x"))
    await turns()
    channel.feed(D(1001))
    with pytest.raises(WebSocketDisconnect):
        await soon(answer)
    assert channel.data == ["x"]


# --- expecting ---


@pytest.mark.row("T30", "T27", "C30")
@both_paths
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a", T("a")),
        ("a", B(b"a")),
        (b"a", B(b"a")),
        (1, T("1")),
        (True, T("true")),
        (1.5, T("1.5")),
        (None, T("null")),
        ([1, {"a": True}], T('[1,{"a":true}]')),
        ((1, "a"), T('[1,"a"]')),
        ({1, 2}, T("[2,1]")),
        ({"a": 1, "b": [2]}, T('{"b": [2], "a": 1}')),
        (Point(1), T('{"x":1}')),
        (Node("a"), B(b'{"name":"a"}')),
        (Color.RED, T('"red"')),
        (Decimal("1.5"), T('"1.5"')),
        (Guest(seat=1), T('{"seat":1}')),
    ],
)
async def test_an_expected_value_is_returned(path: str, value: Any, message: Any) -> None:
    ws, _ = await opened_over(path, message)
    assert await soon(ws.expect(value)) == value


@pytest.mark.row("T27", "C30")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "b"),
        (1, "2"),
        (1, "1.0"),
        (1, "true"),
        (True, "false"),
        (1.5, "1.6"),
        (1.0, '"1.0"'),
        (None, "0"),
        ([1], "[true]"),
        ([1], "[1.0]"),
        ([1], "[1,1]"),
        ([[0]], "[[false]]"),
        ((1,), "[true]"),
        ({1}, "[true]"),
        ({"a": 1}, '{"a":true}'),
        ({"a": 1}, '{"a":1.0}'),
        ({"a": 1}, '{"b":1}'),
        ({"a": 1}, '{"a":1,"b":2}'),
        ({"a": 1}, "[]"),
        (Point(1), '{"x":2}'),
        (Dog("a"), '{"type":"cat","lives":1}'),
        (5, "not JSON"),
    ],
)
async def test_anything_else_is_an_expect_error_and_consumed(value: Any, text: str) -> None:
    ws, _ = await opened(T(text), T("next"))
    with pytest.raises(WebSocketExpectError):
        await ws.expect(value)
    assert await ws.receive_text() == "next"


async def test_keys_are_compared_exactly_too() -> None:
    ws, _ = await opened_with(MESSAGE_PACK, B(msgspec.msgpack.encode({True: "a"})))
    with pytest.raises(WebSocketExpectError):
        await ws.expect({1: "a"})


@pytest.mark.row("C30")
async def test_a_mismatch_says_what_was_expected_and_a_little_of_what_came() -> None:
    ws, _ = await opened(T("x" * 1000))
    with pytest.raises(WebSocketExpectError, match=r"expected 'hello', got 'x{10,}\.\.\.x+'$"):
        await ws.expect("hello")


@pytest.mark.row("C29", "T30")
@both_paths
@pytest.mark.parametrize("value", [Colour("red"), range(3), print])
async def test_a_value_of_a_type_that_cannot_be_read_is_not_expected(path: str, value: Any) -> None:
    ws, _ = await opened_over(path, T("kept"))
    with pytest.raises(TypeError) as raised:
        await soon(ws.expect(value))
    assert not isinstance(raised.value, WebSocketExpectError)
    assert await ws.receive_text() == "kept"


# --- states ---

CALLS: list[Any] = [
    lambda ws: ws.receive_as(int),
    lambda ws: anext(ws.iter_as(int)),
    lambda ws: ws.send_value(1),
    lambda ws: ws.pair(1),
    lambda ws: ws.pair(1, recv_first=True),
    lambda ws: ws.expect(1),
    lambda ws: ws.receive_typed(),
    lambda ws: ws.send_typed(1),
]


@pytest.mark.row("G51", "G62")
@pytest.mark.parametrize("call", CALLS)
async def test_nothing_goes_before_accept(call: Any) -> None:
    ws, peer = connecting(T("1"))
    with pytest.raises(WebSocketRuntimeError):
        await soon(call(ws))
    assert peer.sent == []
    await ws.accept()
    assert await ws.receive_text() == "1"


@pytest.mark.row("G51", "G62")
@pytest.mark.parametrize("call", [call for call in CALLS if call is not CALLS[1]])
async def test_nothing_goes_after_our_close(call: Any) -> None:
    ws, peer = await opened()
    await ws.close()
    with pytest.raises(WebSocketRuntimeError):
        await soon(call(ws))
    assert peer.data == []


@pytest.mark.row("G51", "G62")
@both_paths
@pytest.mark.parametrize("call", CALLS)
async def test_nothing_goes_after_the_client_has_left(path: str, call: Any) -> None:
    ws, channel = await opened_over(path, D(1001))
    await ws.receive()
    with pytest.raises(WebSocketDisconnect):
        await soon(call(ws))
    assert channel.data == []


# --- typed text ---


@pytest.mark.row("G48", "G49", "C62")
@both_paths
async def test_typed_text_is_received(path: str) -> None:
    ws, _ = await opened_over(
        path, T('{"a":"1.5::N"}::JS'), T('{"a":"1.5::N"}'), B(b'{"a":"1.5::N"}::JS'), T("1.5::N")
    )
    assert await ws.receive_typed() == {"a": Decimal("1.5")}
    assert await ws.receive_typed() == {"a": "1.5::N"}
    assert await ws.receive_typed() == {"a": Decimal("1.5")}
    assert await ws.receive_typed() == Decimal("1.5")


@pytest.mark.row("T92", "C62")
@both_paths
async def test_bad_typed_text_is_consumed_and_the_connection_stays_open(path: str) -> None:
    ws, _ = await opened_over(path, T("{bad::JS"), T('{"a":"x::N"}::JS'), T("1"))
    for _ in range(2):
        with pytest.raises(json.JSONDecodeError):
            await ws.receive_typed()
    assert await ws.receive_typed() == 1


@pytest.mark.row("G60")
@both_paths
async def test_typed_text_is_sent(path: str) -> None:
    ws, channel = await opened_over(path)
    await ws.send_typed({"a": Decimal("1.50")})
    await ws.send_typed({"a": 1})
    assert channel.data == ['{"a":"1.50::N"}::JS', '{"a":1}']


@both_paths
@pytest.mark.parametrize(
    ("value", "error"),
    [(object(), TypeError), (float("nan"), ValueError), ({"a": "\ud800"}, ValueError)],
)
async def test_what_typed_text_cannot_express_is_not_sent(
    path: str, value: Any, error: type[Exception]
) -> None:
    ws, channel = await opened_over(path)
    with pytest.raises(error):
        await ws.send_typed(value)
    assert channel.data == []


@pytest.mark.row("G50", "G61", "T93")
@both_paths
async def test_without_the_library_nothing_is_consumed_or_sent(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, channel = await opened_over(path, T('"kept"'))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "genro_tytx", None)
        for call in (ws.receive_typed, lambda: ws.send_typed(1), _made_tytx):
            with pytest.raises(ImportError, match="genro-tytx"):
                await soon(call())
    assert channel.data == []
    await ws.send_typed(1)
    assert channel.data == ["1"]
    assert await ws.receive_typed() == "kept"


async def _made_tytx() -> Any:
    return TYTX()


# --- which codec ---


async def test_json_is_the_codec_where_nobody_says_otherwise() -> None:
    ws, _ = await opened()
    assert isinstance(ws.codec, JSON)
    assert ws.codec is (await opened())[0].codec


async def test_an_application_may_choose_another() -> None:
    ws, peer = await opened_with(MESSAGE_PACK, B(msgspec.msgpack.encode({"width": 1})), T("{}"))
    assert ws.codec is MESSAGE_PACK.codec
    assert await ws.receive_as(Box) == Box(1)
    with pytest.raises(WebSocketExpectError, match="binary"):
        await ws.receive_as(Box)
    await ws.send_value(Cat(9))
    await ws.send_value("text")
    assert peer.data == [msgspec.msgpack.encode({"type": "cat", "lives": 9}), "text"]


@both_paths
@pytest.mark.parametrize(
    ("offered", "agreed", "codec"),
    [
        ([], None, JSON),
        (["other"], None, JSON),
        (["other", "msgpack", "json"], "msgpack", MessagePack),
        (["json", "msgpack"], "json", JSON),
    ],
)
async def test_accept_agrees_on_the_first_subprotocol_with_a_codec(
    path: str, offered: list[str], agreed: str | None, codec: type
) -> None:
    ws, channel = connecting_over(path, subprotocols=offered, **{SETTINGS_KEY: BY_SUBPROTOCOL})
    await soon(ws.accept())
    assert ws.accepted_subprotocol == agreed
    assert channel.log[0]["subprotocol"] == agreed
    assert isinstance(ws.codec, codec)


async def test_a_subprotocol_may_be_chosen_by_hand() -> None:
    offered = ["other", "json", "msgpack"]
    for chosen, codec in (("msgpack", MessagePack), ("other", JSON)):
        scope: dict[str, Any] = {"subprotocols": offered, SETTINGS_KEY: BY_SUBPROTOCOL}
        ws, _ = connecting(**scope)
        await ws.accept(chosen)
        assert ws.accepted_subprotocol == chosen
        assert isinstance(ws.codec, codec)


async def test_without_codecs_no_subprotocol_is_agreed_on_unasked() -> None:
    ws, _ = await opened(subprotocols=["json"])
    assert ws.accepted_subprotocol is None


async def test_each_subprotocol_speaks_its_own_language() -> None:
    said: dict[str, Any] = {}
    for name in BY_SUBPROTOCOL.codecs:
        ws, peer = await opened_with(BY_SUBPROTOCOL, subprotocols=[name])
        await ws.send_value({"a": 1})
        said[name] = peer.data
    assert said == {"json": ['{"a":1}'], "msgpack": [msgspec.msgpack.encode({"a": 1})]}


@both_paths
async def test_what_one_side_sends_the_other_receives(path: str) -> None:
    values = [Node("a", [Node("b")]), [Point(1)], {"a": None}, True, 5]
    ws, channel = await opened_over(path)
    for value in values:
        await ws.send_value(value)
    other, _ = await opened_over(path, *(T(str(message)) for message in channel.data), D(1001))
    received = [await other.receive_as(tp) for tp in (Node, list[Point], dict, bool, int)]
    assert received == values
