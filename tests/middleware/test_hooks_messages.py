"""Connection middleware: every message in every way it is read and sent, changed, refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from channel import FakeChannel, triple_over
from clients import connected
from hooked import Data, Marking, Raising, Watching, both_ways, echo, hooked, run
from opened import soon, turns
from peer import B, D, T
from telex import (
    Outbox,
    Reject,
    WebSocket,
    WebSocketException,
    WebSocketFrameError,
)
from telex._types import CloseRecord, Message

# Reading and sending, in every way there is


async def _raw(ws: WebSocket) -> Any:
    return (await ws.receive())["text"]


READS: dict[str, tuple[Message, Callable[[WebSocket], Awaitable[Any]], Any]] = {
    "receive": (T("1"), _raw, "1<m"),
    "receive_text": (T("1"), lambda ws: ws.receive_text(), "1<m"),
    "receive_bytes": (B(b"1"), lambda ws: ws.receive_bytes(), b"1<m"),
    "receive_json": (T("1"), lambda ws: ws.receive_json(), 2),
    "receive_json binary": (B(b"1"), lambda ws: ws.receive_json(mode="binary"), 2),
    "iter": (T("1"), lambda ws: anext(aiter(ws)), "1<m"),
    "iter_text": (T("1"), lambda ws: anext(aiter(ws.iter_text())), "1<m"),
    "iter_bytes": (B(b"1"), lambda ws: anext(aiter(ws.iter_bytes())), b"1<m"),
    "iter_json": (T("1"), lambda ws: anext(aiter(ws.iter_json())), 2),
}


class Doubling:
    """Makes a 1 of JSON a 2."""

    def on_message(self, ws: WebSocket, data: Data) -> Data:
        return "2" if isinstance(data, str) else b"2"

    on_send = on_message


@both_ways
@pytest.mark.parametrize("name", READS)
async def test_every_way_of_reading_goes_through_the_hook(path: str, name: str) -> None:
    message, read, expected = READS[name]
    got: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        got.append(await read(ws))

    hook: object = Doubling() if "json" in name else Marking("m", [])
    await run(hooked(handler, hook), path, message)
    assert got == [expected]


@both_ways
async def test_a_raw_read_returns_a_proper_event_and_the_disconnect_as_it_is(path: str) -> None:
    events: list[Message] = []

    async def handler(ws: WebSocket) -> None:
        events.append(await ws.receive())
        await ws.accept()
        events.extend([await ws.receive() for _ in range(3)])

    app = hooked(handler, Marking("m", []))
    await run(app, path, T("a"), B(b"b"), D(1001, "bye"))
    assert events == [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "a<m"},
        {"type": "websocket.receive", "bytes": b"b<m"},
        {"type": "websocket.disconnect", "code": 1001, "reason": "bye"},
    ]


async def _nowait(ws: WebSocket) -> None:
    assert ws.send_nowait("1")
    assert ws.send_nowait(b"1")


WRITES: dict[str, tuple[Callable[[WebSocket], Awaitable[Any]], list[Data]]] = {
    "send text": (lambda ws: ws.send({"type": "websocket.send", "text": "1"}), ["2"]),
    "send bytes": (lambda ws: ws.send({"type": "websocket.send", "bytes": b"1"}), [b"2"]),
    "send both keys": (
        lambda ws: ws.send({"type": "websocket.send", "text": None, "bytes": b"1"}),
        [b"2"],
    ),
    "send_text": (lambda ws: ws.send_text("1"), ["2"]),
    "send_bytes": (lambda ws: ws.send_bytes(b"1"), [b"2"]),
    "send_json": (lambda ws: ws.send_json(1), ["2"]),
    "send_json binary": (lambda ws: ws.send_json(1, mode="binary"), [b"2"]),
    "send_nowait": (_nowait, ["2", b"2"]),
}


@both_ways
@pytest.mark.parametrize("name", WRITES)
async def test_every_way_of_sending_goes_through_the_hook(path: str, name: str) -> None:
    write, expected = WRITES[name]

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await write(ws)

    channel = await run(hooked(handler, Doubling()), path)
    assert channel.data == expected


@both_ways
async def test_what_waits_in_the_outbox_went_through_the_hook_once(path: str) -> None:
    channel = FakeChannel()

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        channel.block()
        sending = asyncio.create_task(ws.send_text("sent"))
        await turns()
        queued = [ws.send_nowait(f"queued {n}") for n in range(3)]
        assert queued == [True] * 3
        late = asyncio.create_task(ws.send_text("late"))
        await turns()
        channel.unblock()
        await asyncio.gather(sending, late)

    await soon(hooked(handler, Marking("m", []))(*triple_over(path, channel)))
    expected = ["sent", "queued 0", "queued 1", "queued 2", "late"]
    assert channel.data == [f"{each}>m" for each in expected]


@both_ways
async def test_what_is_dropped_is_dropped_as_without_hooks(path: str) -> None:
    taken: list[bool] = []
    channel = FakeChannel()

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        channel.block()
        sending = asyncio.create_task(ws.send_text("first"))
        await turns()
        taken.extend(ws.send_nowait("x") for _ in range(3))
        channel.unblock()
        await sending

    app = hooked(handler, Marking("m", []), outbox=Outbox(max_messages=2))
    await soon(app(*triple_over(path, channel)))
    assert taken == [True, True, False]
    assert channel.data == ["first>m", "x>m", "x>m"]


# What a hook returns


@both_ways
@pytest.mark.parametrize("nothing", ["", b""])
async def test_an_empty_message_is_a_message(path: str, nothing: Data) -> None:
    class Emptying:
        def on_message(self, ws: WebSocket, data: Data) -> Data:
            return nothing

    seen = Watching()
    channel = await run(hooked(echo, Emptying(), seen), path, T("text"), D())
    assert seen.messages == channel.data == [nothing]


@both_ways
async def test_a_hook_may_change_the_kind_of_a_message(path: str) -> None:
    class Encoding:
        def on_message(self, ws: WebSocket, data: Data) -> Data:
            return data.encode() if isinstance(data, str) else data

        on_send = on_message

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        with pytest.raises(WebSocketFrameError):
            await ws.receive_text()
        assert await ws.receive_bytes() == b"two"
        await ws.send_text("out")
        await ws.send({"type": "websocket.send", "text": "raw"})

    channel = await run(hooked(handler, Encoding()), path, T("one"), T("two"))
    assert channel.data == [b"out", b"raw"]


@both_ways
@pytest.mark.parametrize("hook", ["on_message", "on_send"])
@pytest.mark.parametrize("result", [7, False, ["x"], bytearray(b"x")], ids=repr)
async def test_anything_else_is_an_error_with_the_name_of_the_hook(
    path: str, hook: str, result: object, caplog: pytest.LogCaptureFixture
) -> None:
    bad = type("Bad", (), {hook: lambda self, ws, data: result})()
    channel = await run(hooked(echo, bad), path, T("x"), D())
    assert channel.closes == [(1011, "")]
    assert channel.data == []
    error = caplog.records[0].exc_info
    assert error is not None
    assert type(result).__name__ in str(error[1])
    assert hook in str(error[1]) or "lambda" in str(error[1])


# What a hook raises


@both_ways
@pytest.mark.parametrize("hook", ["on_message", "on_send"])
@pytest.mark.parametrize(
    ("exc", "close"),
    [
        (WebSocketException(4001, "no"), (4001, "no")),
        (Reject(401), (1008, "")),
        (LookupError("secret"), (1011, "")),
    ],
    ids=repr,
)
async def test_a_message_hook_may_raise_what_a_handler_may_raise(
    path: str, hook: str, exc: Exception, close: tuple[int, str]
) -> None:
    seen = Watching()
    channel = await run(hooked(echo, seen, Raising(hook, exc)), path, T("x"), T("y"))
    assert channel.data == []
    assert channel.closes == [close]
    assert seen.records == [CloseRecord(*close, "server")]


@both_ways
async def test_a_handler_of_the_application_answers_what_a_hook_raises(path: str) -> None:
    async def on_lookup(ws: WebSocket, exc: LookupError) -> None:
        await ws.close(4004)

    app = hooked(echo, Raising("on_message", LookupError()))
    app.add_exception_handler(LookupError, on_lookup)
    assert (await run(app, path, T("x"))).closes == [(4004, "")]


@both_ways
async def test_the_handler_may_catch_it_and_go_on(path: str) -> None:
    class Odd:
        def on_message(self, ws: WebSocket, data: Data) -> None:
            if data == "odd":
                raise LookupError

        on_send = on_message

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        with pytest.raises(LookupError):
            await ws.receive_text()
        assert await ws.receive_text() == "even"
        for send in (ws.send_text("odd"), ws.send({"type": "websocket.send", "text": "odd"})):
            with pytest.raises(LookupError):
                await send
        with pytest.raises(LookupError):
            ws.send_nowait("odd")
        await ws.send_text("even")

    channel = await run(hooked(handler, Odd()), path, T("odd"), T("even"))
    assert channel.data == ["even"]
    assert channel.closes == [(1000, "")]


async def test_another_reader_has_its_turn_after_a_hook_has_raised() -> None:
    got: list[object] = []

    class Odd:
        def on_message(self, ws: WebSocket, data: Data) -> None:
            if data == "odd":
                raise LookupError

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        reads = [asyncio.create_task(ws.receive_text()) for _ in range(2)]
        got.extend(await asyncio.gather(*reads, return_exceptions=True))

    async with connected(hooked(handler, Odd())) as ws:
        await ws.send_text("odd")
        await ws.send_text("even")
        await ws.expect_close(1000)
    assert [type(each) for each in got] == [LookupError, str]


@both_ways
async def test_an_error_in_on_close_is_logged_and_stops_nobody(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    cleaned: list[str] = []

    async def handler(ws: WebSocket) -> None:
        ws.add_cleanup(lambda: cleaned.append("handler"))
        await ws.accept()

    seen = Watching()
    channel = await run(hooked(handler, Raising("on_close", LookupError()), seen), path)
    assert channel.closes == [(1000, "")]
    assert len(seen.records) == 1
    assert cleaned == ["handler"]
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [LookupError]
