"""`ws.request`: an object that is sent, and the message that answers it, over every path."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pydantic
import pytest

from channel import PATHS, FakeChannel, connecting_over, opened_over
from opened import connecting, left, soon, turns, until
from peer import B, D, T
from telex import (
    WebSocket,
    WebSocketDisconnect,
    WebSocketExpectError,
    WebSocketRuntimeError,
)
from telex._settings import SETTINGS_KEY, Settings
from telex._types import Message
from telex.codecs import JSON, TYTX, Codec, MessagePack
from telex.middleware.hooks import attach
from telex.websockets import link_of


class Ask(msgspec.Struct):
    what: str
    ref: str | None = None


@dataclasses.dataclass
class Plain:
    what: str


class Model(pydantic.BaseModel):
    what: str
    ref: str | None = None


class Price(msgspec.Struct):
    price: int


@pytest.fixture(params=PATHS)
async def pair(request: pytest.FixtureRequest) -> tuple[WebSocket, FakeChannel]:
    return await opened_over(request.param)


def requesting(ws: WebSocket, value: Any = None, **options: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(ws.request({"what": "?"} if value is None else value, **options))


async def asked(channel: FakeChannel, index: int = 0) -> dict[str, Any]:
    """The request of that index, as soon as it is sent."""
    await until(lambda: len(channel.data) > index)
    value: dict[str, Any] = json.loads(channel.data[index])
    return value


def answer(ref: object, **rest: Any) -> Message:
    return T(json.dumps({**rest, "ref": ref}))


# --- asking ---


async def test_a_request_returns_the_message_with_its_ref(
    pair: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = pair
    task = requesting(ws)
    sent = await asked(channel)
    assert sent.keys() == {"what", "ref"}
    channel.feed(answer(sent["ref"], price=3))
    assert await soon(task) == {"ref": sent["ref"], "price": 3}


async def test_refs_are_different_on_every_connection_and_for_every_request() -> None:
    refs = set()
    for _ in range(3):
        ws, channel = await opened_over("asgi")
        for index in range(3):
            task = requesting(ws)
            ref = (await asked(channel, index))["ref"]
            refs.add(ref)
            channel.feed(answer(ref))
            await soon(task)
    assert len(refs) == 9


async def test_other_messages_stay_for_readers_in_order(
    pair: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = pair
    channel.feed(T("1"))
    task = requesting(ws)
    sent = await asked(channel)
    channel.feed(B(b"2"), answer("another"), answer(sent["ref"]), T("4"))
    await soon(task)
    received = [await soon(anext(aiter(ws))) for _ in range(4)]
    assert received == ["1", b"2", '{"ref": "another"}', "4"]


async def test_a_reader_that_waits_already_does_not_see_the_reply(
    pair: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = pair
    reader = asyncio.create_task(ws.receive_text())
    await turns()
    task = requesting(ws)
    sent = await asked(channel)
    channel.feed(answer(sent["ref"], price=3), T("for the reader"))
    assert (await soon(task))["price"] == 3
    assert await soon(reader) == "for the reader"


async def test_requests_beside_a_loop_over_the_messages(
    pair: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = pair
    seen: list[Any] = []

    async def ask(index: int) -> int:
        price: int = (await ws.request({"index": index}))["price"]
        return price

    async with asyncio.timeout(5), ws.tasks() as tasks:
        prices = [tasks.start(ask(index)) for index in range(5)]
        for index in reversed(range(5)):
            request = await asked(channel, index)
            channel.feed(T(str(index)), answer(request["ref"], price=request["index"]))
        async for message in ws:
            seen.append(message)
            if len(seen) == 5:
                break
        assert await asyncio.gather(*prices) == [0, 1, 2, 3, 4]
    assert seen == ["4", "3", "2", "1", "0"]


async def test_raw_reads_see_the_same_messages(pair: tuple[WebSocket, FakeChannel]) -> None:
    ws, channel = pair
    reader = asyncio.create_task(ws.receive())
    await turns()
    task = requesting(ws)
    ref = (await asked(channel))["ref"]
    channel.feed(answer(ref), B(b"1"), T("2"), D(1001))
    await soon(task)
    events = [await soon(reader), await soon(ws.receive()), await soon(ws.receive())]
    assert [event["type"] for event in events] == [*["websocket.receive"] * 2, D()["type"]]
    assert (events[0]["bytes"], events[1]["text"]) == (b"1", "2")


async def test_replies_are_counted_as_received() -> None:
    ws, channel = await opened_over("frames")
    task = requesting(ws)
    channel.feed(answer((await asked(channel))["ref"]), T("1"))
    await soon(task)
    await ws.receive_text()
    assert link_of(ws).progress.received == 2


# --- what is asked ---


@pytest.mark.parametrize("value", [Ask("?"), Plain("?"), Model(what="?"), {"what": "?"}])
async def test_objects_of_any_kind_can_be_sent(value: Any) -> None:
    ws, channel = await opened_over("asgi")
    task = requesting(ws, value)
    sent = await asked(channel)
    assert sent["what"] == "?"
    channel.feed(answer(sent["ref"]))
    await soon(task)


@pytest.mark.parametrize(
    ("value", "ref"),
    [
        (Ask("?", "mine"), "mine"),
        ({"ref": "mine"}, "mine"),
        ({"ref": 7}, 7),
        ({"ref": uuid.UUID(int=7)}, str(uuid.UUID(int=7))),
        (type("Own", (dict,), {})({"ref": "mine"}), "mine"),
    ],
)
async def test_a_ref_of_ones_own_is_kept(value: Any, ref: object) -> None:
    ws, channel = await opened_over("asgi")
    task = requesting(ws, value)
    assert (await asked(channel))["ref"] == ref
    channel.feed(answer("7"), answer(ref, it=1))
    assert (await soon(task))["it"] == 1
    assert await soon(ws.receive_text()) == '{"ref": "7"}'


@pytest.mark.parametrize("field", ["id", "réf", 'a"b', "", "re/f"])
@pytest.mark.parametrize("given", [{}, {"ref": 1}])
async def test_the_field_can_have_another_name(field: str, given: dict[str, Any]) -> None:
    ws, channel = await opened_over("asgi")
    value = {field: given["ref"]} if given else {"what": "?"}
    task = requesting(ws, value, field=field)
    ref = (await asked(channel))[field]
    # A loop over the escapes that `json` writes, and those that nobody needs.
    channel.feed(answer(ref), T(json.dumps({field: ref, "it": 1})))
    assert (await soon(task))["it"] == 1
    assert json.loads(await soon(ws.receive_text())) == {"ref": ref}


async def test_needless_escapes_in_a_reply_are_understood() -> None:
    ws, channel = await opened_over("asgi")
    task = requesting(ws)
    ref = (await asked(channel))["ref"]
    escaped = "".join(f"\\u{ord(each):04X}" for each in ref)
    channel.feed(B(f'{{"r\\u0065f": "{escaped}", "it": 1}}'.encode()))
    assert (await soon(task))["it"] == 1


@pytest.mark.row("C29")
@pytest.mark.parametrize(
    "value", ["text", b"data", 1, None, [1], {"ref": 1.5}, {"ref": True}, {"a": object()}, object()]
)
async def test_what_is_no_object_is_refused_before_anything_is_sent(value: Any) -> None:
    ws, channel = await opened_over("asgi")
    with pytest.raises(TypeError):
        await soon(ws.request(value))
    with pytest.raises(TypeError):
        await soon(ws.request({}, object()))
    assert channel.data == []


async def test_a_ref_is_not_used_twice_at_once() -> None:
    ws, channel = await opened_over("asgi")
    first = requesting(ws, {"ref": "a"})
    await asked(channel)
    with pytest.raises(ValueError, match="ref 'a' is waiting for its reply"):
        await soon(ws.request({"ref": "a"}))
    other = requesting(ws, {"id": "a"}, field="id")
    await asked(channel, 1)
    channel.feed(T('{"id": "a"}'), answer("a"))
    assert await soon(first) == {"ref": "a"}
    assert await soon(other) == {"id": "a"}


async def test_a_ref_can_be_used_again_as_soon_as_it_was_answered() -> None:
    ws, channel = await opened_over("frames")
    first = requesting(ws, {"ref": "a"})
    await asked(channel)
    answered = link_of(ws).inbox.deputy
    channel.feed(answer("a", it=1))
    await until(lambda: answered is not None and not answered.waiting)
    second = requesting(ws, {"ref": "a"})
    assert (await soon(first))["it"] == 1
    channel.feed(answer("a", it=2))
    assert (await soon(second))["it"] == 2


# --- what comes back ---


async def test_the_reply_is_read_as_a_type() -> None:
    ws, channel = await opened_over("asgi")
    reply = '{"ref":1,"price":3}'
    types = {Price: Price(3), dict: json.loads(reply), str: reply}
    for index, (tp, expected) in enumerate(types.items()):
        task = requesting(ws, {"ref": 1}, tp=tp)
        await asked(channel, index)
        channel.feed(B(reply.encode()))
        assert await soon(task) == expected


async def test_a_reply_that_does_not_fit_is_an_error_that_leaves_the_connection_open() -> None:
    ws, channel = await opened_over("asgi")
    task = requesting(ws, {"ref": 1}, tp=Price)
    await asked(channel)
    channel.feed(answer(1, price="much"), T("next"))
    with pytest.raises(WebSocketExpectError) as raised:
        await soon(task)
    assert raised.value.errors[0]["path"] == "$.price"
    assert await soon(ws.receive_text()) == "next"


@pytest.mark.parametrize(
    "other",
    [T("ref"), T("[1]"), T('["ref", 1]'), T('{"ref": 1.5}'), T('{"ref": [1]}'), B(b"\x81\xa3ref")],
)
async def test_what_only_looks_like_a_reply_is_for_readers(other: Message) -> None:
    ws, channel = await opened_over("asgi")
    task = requesting(ws, {"ref": 1})
    await asked(channel)
    channel.feed(other, answer(1))
    await soon(task)
    assert await soon(ws.receive()) == other


async def test_a_second_answer_is_an_ordinary_message() -> None:
    ws, channel = await opened_over("asgi")
    task = requesting(ws, {"ref": 1})
    await asked(channel)
    channel.feed(answer(1), answer(1))
    await soon(task)
    assert await soon(ws.receive_text()) == '{"ref": 1}'


# --- giving up ---


async def test_a_request_times_out_and_its_late_reply_is_dropped(
    pair: tuple[WebSocket, FakeChannel], caplog: pytest.LogCaptureFixture
) -> None:
    ws, channel = pair
    with pytest.raises(TimeoutError, match=r"no reply to ref '.*' within 0.01 s"):
        await soon(ws.request({}, timeout=0.01))
    channel.feed(answer((await asked(channel))["ref"]), T("next"))
    with caplog.at_level(logging.DEBUG, logger="telex"):
        assert await soon(ws.receive_text()) == "next"
    assert "came too late" in caplog.text


async def test_a_cancelled_request_loses_nothing_but_its_reply(
    pair: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = pair
    task = requesting(ws)
    ref = (await asked(channel))["ref"]
    channel.feed(T("1"))
    await turns()
    task.cancel()
    channel.feed(answer(ref), T("2"))
    await asyncio.wait((task,))
    assert task.cancelled()
    assert [await soon(ws.receive_text()) for _ in range(2)] == ["1", "2"]


async def test_a_reply_that_comes_while_the_request_is_being_cancelled_is_dropped() -> None:
    ws, channel = await opened_over("frames")
    task = requesting(ws)
    ref = (await asked(channel))["ref"]
    await turns()
    channel.feed(answer(ref), T("next"))
    task.cancel()
    assert await soon(ws.receive_text()) == "next"


async def test_a_reply_in_the_very_moment_of_the_timeout_counts() -> None:
    ws, channel = await opened_over("frames")
    task = requesting(ws, {"ref": 1}, timeout=0.02)
    await asked(channel)
    await turns()
    channel.feed(answer(1))
    # The loop is held until both are due in one turn.
    due = time.monotonic() + 0.03
    while time.monotonic() < due:
        pass
    assert await soon(task) == {"ref": 1}


async def test_sending_counts_towards_the_timeout() -> None:
    ws, channel = await opened_over("frames")
    channel.block()
    with pytest.raises(TimeoutError):
        await soon(ws.request({"ref": 1}, timeout=0.01))
    channel.unblock()
    channel.feed(answer(1), T("next"))
    assert await soon(ws.receive_text()) == "next"


async def test_the_ref_of_a_request_that_was_given_up_can_be_used_again() -> None:
    ws, channel = await opened_over("asgi")
    with pytest.raises(TimeoutError):
        await soon(ws.request({"ref": 1}, timeout=0))
    task = requesting(ws, {"ref": 1})
    await asked(channel, 1)
    channel.feed(answer(1, it=2))
    assert (await soon(task))["it"] == 2


# --- the end ---


async def test_the_peer_leaving_ends_every_request(pair: tuple[WebSocket, FakeChannel]) -> None:
    ws, channel = pair
    tasks = [requesting(ws, timeout=None) for _ in range(3)]
    await asked(channel, 2)
    channel.feed(D(4001, "bye"))
    for task in tasks:
        with pytest.raises(WebSocketDisconnect) as raised:
            await soon(task)
        assert (raised.value.code, raised.value.reason) == (4001, "bye")
    assert (ws.close_code, ws.closed_by) == (4001, "client")


@pytest.mark.parametrize("path", PATHS)
async def test_the_peer_leaving_is_told_to_requests_and_readers(path: str) -> None:
    ws, channel = await opened_over(path)
    reader = asyncio.create_task(ws.receive_text())
    task = requesting(ws, timeout=None)
    await asked(channel)
    channel.feed(D(4001))
    for each in (reader, task):
        with pytest.raises(WebSocketDisconnect):
            await soon(each)


async def test_messages_before_the_end_of_a_request_stay_readable(
    pair: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = pair
    task = requesting(ws, timeout=None)
    await asked(channel)
    channel.feed(T("1"), T("2"))
    # A channel has no messages left when it says that the peer has left.
    await turns()
    channel.feed(D(4001))
    with pytest.raises(WebSocketDisconnect):
        await soon(task)
    assert [message async for message in ws] == ["1", "2"]
    assert ws.close_code == 4001


async def test_a_reply_just_before_the_end_arrives(pair: tuple[WebSocket, FakeChannel]) -> None:
    ws, channel = pair
    first, second = requesting(ws, {"ref": 1}), requesting(ws, {"ref": 2})
    await asked(channel, 1)
    channel.feed(answer(2), D(1001))
    assert await soon(second) == {"ref": 2}
    with pytest.raises(WebSocketDisconnect):
        await soon(first)


@pytest.mark.parametrize("end", [WebSocket.close, WebSocket.abort])
@pytest.mark.parametrize("path", PATHS)
async def test_ending_it_ourselves_ends_every_request(
    path: str, end: Callable[[WebSocket], Awaitable[None]]
) -> None:
    ws, channel = await opened_over(path)
    tasks = [requesting(ws, timeout=None) for _ in range(2)]
    await asked(channel, 1)
    await soon(end(ws))
    for task in tasks:
        with pytest.raises(WebSocketRuntimeError, match="closed"):
            await soon(task)


async def test_nothing_is_asked_before_accept_or_after_the_end() -> None:
    ws, peer = connecting()
    with pytest.raises(WebSocketRuntimeError, match="not accepted"):
        await soon(ws.request({}))
    await ws.close()
    with pytest.raises(WebSocketRuntimeError):
        await soon(ws.request({}))
    assert peer.types == ["close"]
    gone, _ = await left(4001)
    with pytest.raises(WebSocketDisconnect):
        await soon(gone.request({}))


async def leave(channel: FakeChannel, *, after: int) -> None:
    await until(lambda: len(channel.data) == after)
    channel.feed(D(4001))


async def test_a_body_that_waits_for_a_reply_is_told_of_the_end_by_the_request(
    pair: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = pair
    told: list[int] = []
    async with asyncio.timeout(5), ws.tasks():
        leaving = asyncio.create_task(leave(channel, after=1))
        try:
            await ws.request({}, timeout=None)
        except WebSocketDisconnect as exc:
            told.append(exc.code)
        await leaving
    assert told == [4001]


async def test_a_body_that_gets_its_reply_just_before_the_end_is_told_behind_it(
    pair: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = pair
    replies: list[Any] = []

    async def answer_and_leave() -> None:
        await asked(channel)
        await turns()
        channel.feed(answer(1), D(4001))

    with pytest.raises(WebSocketDisconnect):
        async with asyncio.timeout(5), ws.tasks() as tasks:
            _ = tasks.start(answer_and_leave())
            replies.append(await ws.request({"ref": 1}, timeout=None))
            await asyncio.Event().wait()
    assert replies == [{"ref": 1}]


async def test_a_request_in_a_task_lets_a_busy_body_know_of_the_end(
    pair: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = pair
    with pytest.raises(WebSocketDisconnect):
        async with asyncio.timeout(5), ws.tasks() as tasks:
            asking = tasks.start(ws.request({}, timeout=None))
            await asked(channel)
            channel.feed(D(4001))
            await asyncio.Event().wait()
    assert isinstance(asking.exception(), WebSocketDisconnect)


# --- codecs and filters ---


async def by_codec(codec: Codec, path: str) -> tuple[WebSocket, FakeChannel]:
    scope: dict[str, Any] = {SETTINGS_KEY: Settings(codec=codec)}
    ws, channel = connecting_over(path, **scope)
    await soon(ws.accept())
    return ws, channel


class Reversed(JSON):
    """A codec whose messages do not show what is in them."""

    def encode(self, value: Any, /) -> str:
        return str(super().encode(value))[::-1]

    def decoder(self, tp: Any, /) -> Any:
        inner = super().decoder(tp)
        return lambda data: inner(data[::-1])


@pytest.mark.parametrize("codec", [JSON(), JSON(binary=True), MessagePack(), TYTX(), Reversed()])
@pytest.mark.parametrize("path", ["asgi", "frames"])
async def test_every_codec_can_be_asked_by(codec: Any, path: str) -> None:
    ws, channel = await by_codec(codec, path)
    task = requesting(ws, Ask("?"), tp=Price)
    await until(lambda: channel.data)
    sent = codec.decoder(Any)(channel.data[0])
    for value in ({"price": 1}, {"ref": sent["ref"], "price": 3}):
        data = codec.encode(value)
        channel.feed(T(data) if isinstance(data, str) else B(data))
    assert await soon(task) == Price(3)
    assert await soon(ws.receive_as(Price)) == Price(1)


async def test_filters_come_before_and_see_every_message_once() -> None:
    class Unwrap:
        def on_message(self, _ws: WebSocket, data: str) -> str:
            seen.append(data)
            return data.removeprefix("> ")

    seen: list[str] = []
    for late in (False, True):
        ws, channel = await opened_over("asgi")
        if not late:
            await attach(ws, Unwrap())
        task = requesting(ws, {"ref": 1})
        if late:
            await attach(ws, Unwrap())
        await asked(channel)
        channel.feed(T("> other"), T('> {"ref": 1}'))
        assert await soon(task) == {"ref": 1}
        assert await soon(ws.receive_text()) == "other"
        assert seen == ["> other", '> {"ref": 1}']
        seen.clear()
