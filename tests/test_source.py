"""The reader over plain ASGI: bounded, lossless, and never a reader too many."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import UserDict
from collections.abc import AsyncIterator, Awaitable
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest

from opened import opened, soon, turns, until
from peer import B, D, Peer, T, make_scope
from telex import WebSocket, WebSocketDisconnect, WebSocketRuntimeError
from telex import _source as source_module
from telex._progress import Progress
from telex._source import ABNORMAL, MAX_BYTES, MAX_MESSAGES, AsgiSource, close_record, payload
from telex._types import CloseRecord, Message

CONNECT: Message = {"type": "websocket.connect"}


class Code(IntEnum):
    AWAY = 1001


def source_of(peer: Peer) -> AsgiSource:
    return AsgiSource(peer.receive, Progress())


async def after(source: AsgiSource) -> None:
    """Let a source read what there is to read."""
    source.start()
    await turns()


# --- what a disconnect says ---


@pytest.mark.row("C16", "T12")
@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": 1005}, 1005, ""),
        ({"code": 4001, "reason": "bye"}, 4001, "bye"),
        ({"code": Code.AWAY}, 1001, ""),
        ({"code": "1001"}, 1001, ""),
        ({"code": None, "reason": None}, 1000, ""),
        ({"code": 1000, "reason": b"b\xffye"}, 1000, "b\N{REPLACEMENT CHARACTER}ye"),
        ({"code": "unknown"}, 1006, ""),
        ({"code": []}, 1006, ""),
        ({"code": float("inf")}, 1006, ""),
        ({"code": float("nan")}, 1006, ""),
        ({"code": "9" * (sys.get_int_max_str_digits() + 1)}, 1006, ""),
        ({"code": 1001, "reason": 7}, 1001, "7"),
    ],
)
async def test_a_disconnect_is_understood_whatever_its_shape(
    event: dict[str, Any], code: int, reason: str
) -> None:
    message = {"type": "websocket.disconnect", **event}
    record = close_record(message)
    assert record == CloseRecord(code, reason, "client")
    assert type(record.code) is int
    assert type(record.reason) is str
    ws, _ = await opened(message)
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(ws.receive_text())
    assert (raised.value.code, raised.value.reason) == (code, reason)
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (code, reason, "client")


# --- what a message holds ---


@pytest.mark.row("C20", "T23")
@pytest.mark.parametrize(
    ("keys", "data"),
    [
        ({"text": "x"}, "x"),
        ({"text": "x", "bytes": None}, "x"),
        ({"bytes": b"x"}, b"x"),
        ({"text": None, "bytes": b"x"}, b"x"),
        ({"text": ""}, ""),
        ({"text": "", "bytes": None}, ""),
        ({"bytes": b""}, b""),
        ({"text": None, "bytes": b""}, b""),
        ({"bytes": bytearray(b"x")}, b"x"),
        ({"bytes": memoryview(b"x")}, b"x"),
    ],
)
def test_the_key_that_is_not_none_holds_the_data(keys: dict[str, Any], data: str | bytes) -> None:
    found = payload({"type": "websocket.receive", **keys})
    assert found == data
    assert type(found) is type(data)


@pytest.mark.row("C20", "T23")
@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({}, "neither"),
        ({"text": None, "bytes": None}, "neither"),
        ({"text": "x", "bytes": b"x"}, "both"),
        ({"text": "", "bytes": b""}, "both"),
        ({"text": 5}, "int"),
        ({"text": b"x"}, "bytes"),
        ({"bytes": "x"}, "str"),
        ({"bytes": [1]}, "list"),
    ],
)
async def test_a_message_that_is_none_is_the_servers_mistake(
    keys: dict[str, Any], complaint: str
) -> None:
    broken = {"type": "websocket.receive", **keys}
    with pytest.raises(WebSocketRuntimeError, match=complaint):
        payload(broken)
    ws, _ = await opened(broken, T("next"))
    with pytest.raises(WebSocketRuntimeError, match=complaint):
        await soon(ws.receive_text())
    assert await soon(ws.receive_text()) == "next"


async def test_an_event_of_an_unknown_type_is_refused_and_consumed() -> None:
    ws, _ = await opened({"type": "websocket.ping"}, {"no": "type"}, T("next"))
    with pytest.raises(WebSocketRuntimeError, match=r"websocket\.ping"):
        await soon(ws.receive_text())
    with pytest.raises(WebSocketRuntimeError, match="None"):
        await soon(ws.receive_text())
    assert await soon(ws.receive_text()) == "next"


async def test_events_may_be_any_mapping_and_types_any_kind_of_str() -> None:
    class Plain(StrEnum):
        RECEIVE = "websocket.receive"

    class Mixed(str, Enum):  # noqa: UP042 - the older kind, whose str() is its name
        RECEIVE = "websocket.receive"
        DISCONNECT = "websocket.disconnect"

    ws, _ = await opened(
        UserDict({"type": Plain.RECEIVE, "text": "a"}),
        UserDict({"type": Mixed.RECEIVE, "bytes": b"b"}),
        UserDict({"type": Mixed.DISCONNECT, "code": 4001}),
    )
    assert [message async for message in ws] == ["a", b"b"]
    assert ws.close_code == 4001


# --- the reader ---


@pytest.mark.row("T9")
def test_a_source_needs_no_loop_until_it_reads() -> None:
    source = source_of(Peer())
    assert source.poll() is None
    assert source.closed is None
    ws = WebSocket(make_scope(), Peer().receive, Peer().send)
    assert not ws.client_state


async def test_the_first_read_starts_it_and_nothing_before() -> None:
    peer = Peer(T("a"))
    source = source_of(peer)
    assert source.poll() is None
    await turns()
    assert peer.reads == 0
    waiting = source.wait()
    await soon(waiting)
    await turns()
    assert (source.connect, source.poll()) == (CONNECT, "a")
    await source.stop()


async def test_no_more_than_the_limit_of_messages_is_read_ahead() -> None:
    peer = Peer(*(T(str(n)) for n in range(100)), connect=False)
    source = source_of(peer)
    await after(source)
    assert peer.reads == source.pending == MAX_MESSAGES
    assert [source.poll() for _ in range(10)] == [str(n) for n in range(10)]
    await turns()
    assert peer.reads == MAX_MESSAGES + 10
    await source.stop()


async def test_no_more_than_the_limit_of_bytes_is_read_ahead() -> None:
    third = b"x" * (MAX_BYTES // 3 + 1)
    peer = Peer(*(B(third) for _ in range(20)), connect=False)
    source = source_of(peer)
    await after(source)
    one_more = 4
    assert source.pending == one_more
    for left in (3, 3, 3):
        assert source.poll() == third
        await turns()
        assert source.pending == left
    await source.stop()


async def test_a_message_longer_than_the_limit_arrives() -> None:
    peer = Peer(B(b"x" * (2 * MAX_BYTES)), *(T("y") for _ in range(9)), connect=False)
    source = source_of(peer)
    await after(source)
    assert len(source.poll() or b"") == 2 * MAX_BYTES
    await turns()
    assert [source.poll() for _ in range(9)] == ["y"] * 9
    await source.stop()


async def test_giants_are_not_piled_up() -> None:
    peer = Peer(*(B(b"x" * (2 * MAX_BYTES)) for _ in range(9)), connect=False)
    source = source_of(peer)
    await after(source)
    assert source.pending == 2
    await source.stop()


@pytest.mark.row("T13")
async def test_after_the_disconnect_the_server_is_never_asked_again() -> None:
    peer = Peer(T("a"), D(4001, "bye"), D(1005), connect=False)
    source = source_of(peer)
    await after(source)
    assert peer.reads == 2
    assert source.closed == CloseRecord(4001, "bye", "client")
    assert [source.poll(), source.poll()] == ["a", None]
    assert (await soon(source.event()))["code"] == 4001
    source.start()
    await turns()
    assert peer.reads == 2


async def test_what_receive_raises_comes_out_once_and_behind_the_messages() -> None:
    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        raise KeyError("server bug")

    messages = [T("a"), T("b")]
    source = AsgiSource(receive, Progress())
    await after(source)
    assert [source.poll(), source.poll()] == ["a", "b"]
    with pytest.raises(KeyError):
        source.poll()
    assert source.poll() is None
    assert source.closed == ABNORMAL


async def test_what_receive_raises_is_logged_when_nobody_reads_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def receive() -> Message:
        raise KeyError("server bug")

    source = AsgiSource(receive, Progress())
    await after(source)
    with caplog.at_level(logging.ERROR, logger="telex"):
        await source.stop()
        await source.stop()
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize("error", [OSError("gone"), ConnectionResetError(), BrokenPipeError()])
async def test_an_os_error_is_the_peer_gone_without_a_word(error: OSError) -> None:
    async def receive() -> Message:
        raise error

    source = AsgiSource(receive, Progress())
    await after(source)
    assert (source.closed, source.poll()) == (ABNORMAL, None)


@pytest.mark.parametrize("answer", [None, 7, "websocket.receive", []])
async def test_an_answer_that_is_no_mapping_is_an_error_and_not_a_hang(answer: Any) -> None:
    peer = Peer()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    peer.feed(answer)
    with pytest.raises(AttributeError):
        await soon(ws.receive_text())
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.receive_text())


async def test_a_receive_that_stops_iterating_does_not_end_a_loop_in_silence() -> None:
    async def script() -> AsyncIterator[Message]:
        yield CONNECT
        yield T("a")

    peer = Peer()
    ws = WebSocket(make_scope(), aiter(script()).__anext__, peer.send)
    await ws.accept()
    assert await soon(ws.receive_text()) == "a"
    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        async for _ in ws:
            pytest.fail("there is no other message")


async def test_a_receive_that_is_cancelled_from_within_leaves_nobody_waiting() -> None:
    arriving: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    answers: list[Awaitable[Message]] = [arriving]
    peer = Peer()

    def receive() -> Awaitable[Message]:
        return answers[0] if peer.reads else peer.receive()

    ws = WebSocket(make_scope(), receive, peer.send)
    await ws.accept()
    readers = [asyncio.create_task(ws.receive_text()) for _ in range(3)]
    await turns()
    arriving.cancel()
    results = await soon(asyncio.gather(*readers, return_exceptions=True))
    assert [type(result) for result in results] == [WebSocketDisconnect] * 3
    assert ws.close_code == 1006


async def test_a_connect_that_is_cancelled_from_within_is_a_peer_that_gave_up() -> None:
    arriving: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    ws = WebSocket(make_scope(), lambda: arriving, Peer().send)
    accepting = asyncio.create_task(ws.accept())
    await turns()
    arriving.cancel()
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(accepting)
    assert raised.value.code == 1006


async def test_a_reader_cancelled_by_somebody_else_leaves_nobody_waiting() -> None:
    ws, _ = await opened()
    reader = asyncio.create_task(ws.receive_text())
    watcher = asyncio.create_task(ws.wait_closed())
    await turns()
    for task in asyncio.all_tasks():
        if task.get_name() == "telex reader":
            task.cancel()
    with pytest.raises(WebSocketDisconnect):
        await soon(reader)
    await soon(watcher)


async def test_receive_may_return_a_future() -> None:
    loop = asyncio.get_running_loop()
    arriving: list[asyncio.Future[Message]] = [loop.create_future() for _ in range(4)]
    asked = iter(arriving)
    ws = WebSocket(make_scope(), lambda: next(asked), Peer().send)
    arriving[0].set_result(CONNECT)
    await soon(ws.accept())
    reading = asyncio.create_task(ws.receive_text())
    await turns()
    reading.cancel()
    await turns()
    arriving[1].set_result(T("kept"))
    assert await soon(ws.receive_text()) == "kept"
    arriving[2].set_result(T("a"))
    arriving[3].set_result(D(1001))
    assert [text async for text in ws.iter_text()] == ["a"]


# --- asking without a task ---


async def test_an_event_is_asked_for_without_a_task_as_long_as_nobody_needs_one() -> None:
    peer = Peer(T("a"), T("b"))
    source = source_of(peer)
    assert await soon(source.event()) == CONNECT
    assert await soon(source.event()) == T("a")
    assert peer.reads == 2
    assert len(asyncio.all_tasks()) == 1
    peer.feed(D(1001))
    assert [await soon(source.event()) for _ in range(4)] == [T("b"), D(1001), D(1001), D(1001)]


async def test_the_server_is_asked_by_one_task_at_a_time() -> None:
    asking = 0

    async def receive() -> Message:
        nonlocal asking
        assert asking == 0, "two tasks ask at once"
        asking += 1
        try:
            return await peer.receive()
        finally:
            asking -= 1

    peer = Peer(connect=False)
    source = AsgiSource(receive, Progress())
    first = asyncio.create_task(source.event())
    await turns()
    second = asyncio.create_task(source.event())
    source.start()
    waiting = source.wait()
    await turns()
    peer.feed(CONNECT, T("a"))
    assert await soon(first) == CONNECT
    await soon(waiting)
    assert await soon(second) == T("a")
    peer.feed(D(1001))
    await turns()
    assert source.closed is not None


async def test_a_cancelled_event_lets_the_next_one_ask() -> None:
    peer = Peer(connect=False)
    source = source_of(peer)
    first = asyncio.create_task(source.event())
    await turns()
    second = asyncio.create_task(source.event())
    await turns()
    first.cancel()
    await turns()
    peer.feed(CONNECT)
    assert await soon(second) == CONNECT


# --- stopping ---


@pytest.mark.row("T7")
async def test_stopping_cancels_the_task_and_waits_for_it() -> None:
    ended = []

    async def receive() -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)
        raise AssertionError

    source = AsgiSource(receive, Progress())
    await after(source)
    await source.stop()
    assert ended == [True]
    await source.stop()
    source.start()
    await turns()
    assert len(asyncio.all_tasks()) == 1


async def test_stopping_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telex._source.STOP_TIMEOUT", 0.01)
    release = asyncio.Event()

    async def receive() -> Message:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass
        return D(1001)

    source = AsgiSource(receive, Progress())
    await after(source)
    await soon(source.stop())
    release.set()
    await turns()


async def test_a_task_that_never_began_can_be_stopped() -> None:
    source = source_of(Peer())
    waiting = asyncio.create_task(source.event())
    source.start()
    task = source.cancel()
    assert task is not None
    await asyncio.wait((task,))
    assert await soon(waiting) == CONNECT


async def test_a_reader_that_is_stopped_leaves_nobody_waiting_for_an_event() -> None:
    peer = Peer(connect=False)
    source = source_of(peer)
    await after(source)
    waiting = asyncio.create_task(source.event())
    await turns()
    await source.stop()
    peer.feed(D(1001))
    assert await soon(waiting) == D(1001)


# --- a message that is too big ---


class Parted:
    """A source with a limit, whose messages are read by hand."""

    def __init__(self, size: int, *script: Message) -> None:
        self.peer = Peer(*script, connect=False)
        self.source = source_of(self.peer)
        self.parted = 0
        self.source.limit_size(size, self._part)

    def _part(self) -> None:
        self.parted += 1


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
@pytest.mark.parametrize("unit", ["x", "é", "€", "\N{GRINNING FACE}", "\ud800"])
async def test_text_is_measured_in_bytes(size: int, unit: str) -> None:
    wide = len(unit.encode("utf-8", "surrogatepass"))
    fits = unit * (size // wide) + "x" * (size % wide)
    parted = Parted(size, T(fits), T(fits + "x"))
    await after(parted.source)
    assert parted.source.poll() == fits
    assert parted.source.poll() is None
    assert parted.parted == 1


@pytest.mark.parametrize("data", [b"", b"12345678"])
async def test_binary_messages_are_measured_too(data: bytes) -> None:
    parted = Parted(8, B(data), B(b"123456789"))
    await after(parted.source)
    assert parted.source.poll() == data
    assert parted.parted == 0
    assert parted.source.poll() is None
    assert parted.parted == 1


async def test_nothing_that_comes_after_it_is_taken() -> None:
    parted = Parted(3, T("a"), T("long"), T("b"), T(""), B(b""))
    await after(parted.source)
    assert parted.source.pending == 1
    assert [parted.source.poll(), parted.source.poll()] == ["a", None]
    assert parted.parted == 1
    assert parted.source.poll() is None
    assert parted.parted == 1


async def test_when_nothing_came_before_it_is_said_at_once() -> None:
    parted = Parted(3, T("long"))
    await after(parted.source)
    assert parted.parted == 1


async def test_nobody_has_to_read_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "PARTING_TIMEOUT", 0.01)
    parted = Parted(3, T("a"), T("long"))
    await after(parted.source)
    assert parted.parted == 0
    await until(lambda: parted.parted)
    assert parted.source.poll() == "a"
    assert parted.source.poll() is None
    assert parted.parted == 1


async def test_one_that_is_forgotten_is_told_nothing() -> None:
    parted = Parted(3, T("a"), T("long"))
    await after(parted.source)
    parted.source.forget()
    assert [parted.source.poll(), parted.source.poll()] == ["a", None]
    assert parted.parted == 0


async def test_the_disconnect_behind_it_is_noticed() -> None:
    parted = Parted(3, T("a"), T("long"), T("b"), D(1001))
    await after(parted.source)
    assert parted.source.closed == CloseRecord(1001, "", "client")


async def test_a_message_that_is_none_has_no_size() -> None:
    parted = Parted(3, {"type": "websocket.receive", "text": 12345}, T("a"))
    await after(parted.source)
    with pytest.raises(WebSocketRuntimeError):
        parted.source.poll()
    assert parted.source.poll() == "a"


# --- who hears of messages ---


async def test_what_is_for_one_who_hears_goes_nowhere_else() -> None:
    source = source_of(Peer(T("mine"), T("yours"), T("mine"), D(1001), connect=False))
    heard: list[Message] = []

    def hears(message: Message) -> bool:
        heard.append(message)
        return bool(message["text"] == "mine")

    source.heard = hears
    await after(source)
    assert [message["text"] for message in heard] == ["mine", "yours", "mine"]
    assert [source.poll(), source.poll()] == ["yours", None]
