"""Reading by several tasks: each message to one of them, in order, and nobody left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channel import PATHS, opened_over
from opened import TURNS, connecting, left, opened, soon, turns
from peer import B, D, Peer, T, make_scope
from telex import (
    WebSocket,
    WebSocketDisconnect,
    WebSocketFrameError,
    WebSocketRuntimeError,
    WebSocketState,
)
from telex._inbox import Inbox
from telex._types import Message
from telex.websockets import link_of

NOT_ACCEPTED = "not accepted"


def reading(ws: WebSocket) -> asyncio.Task[str]:
    return asyncio.create_task(ws.receive_text())


async def kinds(tasks: list[asyncio.Task[Any]]) -> list[type]:
    """The classes of what tasks return or raise."""
    results = await soon(asyncio.gather(*tasks, return_exceptions=True))
    return [type(result) for result in results]


# --- turns ---


@pytest.mark.row("C63", "T5")
async def test_readers_are_served_in_the_order_in_which_they_came() -> None:
    ws, peer = await opened()
    readers = [reading(ws) for _ in range(5)]
    await turns()
    peer.feed(*(T(str(n)) for n in range(5)))
    assert await soon(asyncio.gather(*readers)) == [str(n) for n in range(5)]


async def test_a_newcomer_does_not_overtake_readers_that_wait() -> None:
    ws, peer = await opened()
    first = reading(ws)
    second = reading(ws)
    await turns()
    peer.feed(T("1"), T("2"), T("3"))
    third = await soon(ws.receive_text())
    assert (await soon(first), await soon(second), third) == ("1", "2", "3")


@pytest.mark.row("C63", "T5")
async def test_the_disconnect_is_raised_in_every_reader() -> None:
    ws, peer = await opened()
    readers = [reading(ws) for _ in range(5)]
    await turns()
    peer.feed(T("last"), D(4001, "bye"))
    results = await soon(asyncio.gather(*readers, return_exceptions=True))
    assert results[0] == "last"
    for gone in results[1:]:
        assert isinstance(gone, WebSocketDisconnect)
        assert (gone.code, gone.reason) == (4001, "bye")


async def test_the_disconnect_reaches_text_byte_raw_and_iterating_readers() -> None:
    ws, peer = await opened()

    async def iterate() -> list[object]:
        return [message async for message in ws]

    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(ws.receive_bytes()),
        asyncio.create_task(ws.receive_json()),
        asyncio.create_task(iterate()),
        asyncio.create_task(iterate()),
        asyncio.create_task(ws.wait_closed()),
    ]
    raw = asyncio.create_task(ws.receive())
    await turns()
    peer.feed(D(1001))
    disconnect = WebSocketDisconnect
    assert await kinds(tasks) == [disconnect, disconnect, list, list, type(None)]
    assert (await soon(raw))["type"] == "websocket.disconnect"


async def test_a_close_of_ours_wakes_every_reader() -> None:
    ws, _ = await opened()
    readers = [reading(ws) for _ in range(4)]
    await turns()
    await ws.close()
    assert await kinds(readers) == [WebSocketRuntimeError] * 4


async def test_a_raw_close_of_ours_wakes_every_reader() -> None:
    ws, _ = await opened()
    readers = [reading(ws) for _ in range(4)]
    await turns()
    await ws.send({"type": "websocket.close", "code": 1000, "reason": ""})
    assert await kinds(readers) == [WebSocketRuntimeError] * 4


async def test_readers_are_woken_while_the_close_is_still_in_the_hands_of_the_server() -> None:
    class Slow(Peer):
        async def send(self, message: Message) -> None:
            await super().send(message)
            if message["type"] == "websocket.close":
                await gate.wait()

    gate = asyncio.Event()
    peer = Slow()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    readers = [reading(ws) for _ in range(3)]
    await turns()
    closing = asyncio.create_task(ws.close())
    assert await kinds(readers) == [WebSocketRuntimeError] * 3
    gate.set()
    await soon(closing)


async def test_a_send_that_finds_the_peer_gone_wakes_every_reader() -> None:
    ws, peer = await opened()
    readers = [reading(ws) for _ in range(3)]
    watcher = asyncio.create_task(ws.wait_closed())
    await turns()
    peer.fail_sends_with = OSError()
    with pytest.raises(WebSocketDisconnect):
        await ws.send_text("x")
    assert await kinds(readers) == [WebSocketDisconnect] * 3
    await soon(watcher)


# --- cancelling ---


@pytest.mark.row("T4")
@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_cancelled_reader_gives_its_place_up(which: int) -> None:
    ws, peer = await opened()
    readers = [reading(ws) for _ in range(3)]
    await turns()
    readers.pop(which).cancel()
    await turns()
    peer.feed(T("1"), T("2"))
    assert await soon(asyncio.gather(*readers)) == ["1", "2"]


@pytest.mark.row("T4")
async def test_a_reader_cancelled_after_it_was_woken_leaves_the_message_to_the_next() -> None:
    ws, peer = await opened()
    first, second = reading(ws), reading(ws)
    await turns()
    peer.feed(T("kept"))
    parked = link_of(ws).inbox._parked
    assert parked is not None
    for _ in range(TURNS):
        if parked.done():
            break
        await asyncio.sleep(0)
    assert not first.done()
    first.cancel()
    assert await soon(second) == "kept"
    assert first.cancelled()


@pytest.mark.row("T4")
async def test_a_reader_cancelled_after_its_turn_has_come_passes_it_on() -> None:
    ws, peer = await opened()
    first, second, third = reading(ws), reading(ws), reading(ws)
    await turns()
    first.cancel()
    await asyncio.wait((first,))
    second.cancel()
    peer.feed(T("kept"))
    assert await soon(third) == "kept"
    assert second.cancelled()


@pytest.mark.row("C63", "T4")
async def test_a_reader_cancelled_just_before_its_turn_does_not_pass_on_what_it_never_had() -> None:
    ws, peer = await opened()
    head, second, *others = [reading(ws) for _ in range(5)]
    await turns()
    # The head resumes first and finds the second cancelled; only then does the second resume.
    link_of(ws).inbox._wake()
    head.cancel()
    second.cancel()
    await turns()
    assert head.cancelled()
    assert second.cancelled()
    peer.feed(T("1"))
    assert await soon(others[0]) == "1"
    peer.feed(D(1001))
    assert await kinds(others[1:]) == [WebSocketDisconnect] * 2


async def test_all_readers_may_be_cancelled_at_once() -> None:
    ws, peer = await opened()
    readers = [reading(ws) for _ in range(4)]
    await turns()
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    peer.feed(T("kept"))
    assert await soon(ws.receive_text()) == "kept"


async def test_a_reader_that_is_cancelled_during_the_cleanups_leaves_the_end_known() -> None:
    gate = asyncio.Event()
    ws, peer = await opened()
    ws.add_cleanup(gate.wait)
    first, second = reading(ws), reading(ws)
    await turns()
    peer.feed(D(4001))
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(second)
    first.cancel()
    await turns()
    gate.set()
    await asyncio.wait((first,))
    assert first.cancelled()
    assert (raised.value.code, ws.close_code) == (4001, 4001)


# --- before accept ---


@pytest.mark.row("C9")
@pytest.mark.parametrize("method", ["receive_text", "receive_bytes", "receive_json"])
async def test_nothing_is_read_before_accept(method: str) -> None:
    ws, peer = connecting(T("1"))
    with pytest.raises(WebSocketRuntimeError, match=NOT_ACCEPTED):
        await soon(getattr(ws, method)())
    await turns()
    assert peer.reads == 0
    await ws.accept()
    assert await soon(ws.receive_text()) == "1"


@pytest.mark.row("C10", "T11")
async def test_the_connect_can_be_read_raw_before_accept() -> None:
    ws, _ = connecting(T("1"))
    assert (await soon(ws.receive()))["type"] == "websocket.connect"
    await soon(ws.accept())
    assert await soon(ws.receive_text()) == "1"


@pytest.mark.row("C10")
async def test_a_second_raw_event_before_accept_is_refused_and_kept() -> None:
    ws, _ = connecting(T("early"))
    await ws.receive()
    with pytest.raises(WebSocketRuntimeError, match="before"):
        await soon(ws.receive())
    await ws.accept()
    assert await soon(ws.receive()) == T("early")


@pytest.mark.row("C10")
async def test_a_raw_read_before_accept_may_find_the_disconnect() -> None:
    ws, peer = connecting()
    await ws.receive()
    second = asyncio.create_task(ws.receive())
    await turns()
    assert not second.done()
    peer.feed(D(1001))
    assert await soon(second) == D(1001)
    assert ws.connection_state is WebSocketState.DISCONNECTED
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.accept())
    assert peer.sent == []


async def test_a_raw_read_that_waits_before_accept_goes_on_after_it() -> None:
    ws, peer = connecting()
    await ws.receive()
    second = asyncio.create_task(ws.receive())
    await turns()
    await soon(ws.accept())
    peer.feed(T("1"))
    assert await soon(second) == T("1")


async def test_nothing_is_read_while_the_accept_is_on_its_way() -> None:
    class Slow(Peer):
        async def send(self, message: Message) -> None:
            await gate.wait()
            await super().send(message)

    gate = asyncio.Event()
    peer = Slow(T("1"))
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    accepting = asyncio.create_task(ws.accept())
    await turns()
    for early in (ws.receive_text(), ws.send_text("x")):
        with pytest.raises(WebSocketRuntimeError, match=NOT_ACCEPTED):
            await soon(early)
    gate.set()
    await soon(accepting)
    assert await soon(ws.receive_text()) == "1"
    assert peer.types == ["accept"]


# --- after the end ---


@pytest.mark.row("C14")
async def test_reading_after_our_close_is_our_mistake() -> None:
    ws, peer = await opened(T("unread"))
    await ws.close()
    reads = peer.reads
    for method in (ws.receive_text, ws.receive_bytes, ws.receive_json):
        with pytest.raises(WebSocketRuntimeError, match="closed"):
            await soon(method())
    assert peer.reads == reads


@pytest.mark.row("C14")
async def test_after_our_close_raw_reads_drain_until_the_disconnect() -> None:
    ws, peer = await opened(T("a"), T("b"))
    assert await ws.receive_text() == "a"
    await turns()
    await ws.close(4000)
    peer.feed(T("late"), D(1005), D(1005))
    drained = [await soon(ws.receive()) for _ in range(3)]
    assert drained == [T("b"), T("late"), D(1005)]
    for _ in range(2):
        with pytest.raises(WebSocketRuntimeError, match="closed"):
            await soon(ws.receive())
    assert len(peer.incoming) == 1
    assert (ws.close_code, ws.closed_by) == (4000, "server")


@pytest.mark.row("C14")
@pytest.mark.parametrize("path", PATHS)
async def test_several_tasks_may_drain_at_once(path: str) -> None:
    ws, channel = await opened_over(path)
    await ws.close(4000)
    drains = [asyncio.create_task(ws.receive()) for _ in range(4)]
    await turns()
    channel.feed(T("1"), B(b"2"), D(1005))
    *events, late = await soon(asyncio.gather(*drains, return_exceptions=True))
    assert [event["type"] for event in events if isinstance(event, dict)] == [
        "websocket.receive",
        "websocket.receive",
        "websocket.disconnect",
    ]
    assert isinstance(late, WebSocketRuntimeError)


@pytest.mark.row("T13", "C14")
async def test_a_disconnect_that_was_read_ahead_is_not_asked_for_again_while_draining() -> None:
    ws, peer = await opened(T("a"), D(4001))
    assert await ws.receive_text() == "a"
    await turns()
    await ws.close()
    reads = peer.reads
    assert await soon(ws.receive()) == D(4001)
    assert peer.reads == reads


@pytest.mark.row("C15", "T13")
async def test_reading_again_after_the_disconnect_does_not_ask_the_server() -> None:
    ws, peer = await left(4001, "bye")
    peer.feed(D(1005))
    reads = peer.reads
    for method in (ws.receive_text, ws.receive_bytes, ws.receive_json, ws.receive):
        with pytest.raises(WebSocketDisconnect) as raised:
            await soon(method())
        assert (raised.value.code, raised.value.reason) == (4001, "bye")
    assert peer.reads == reads


# --- iterating ---


@pytest.mark.row("T15")
async def test_a_broken_off_loop_is_continued_by_the_next() -> None:
    ws, _ = await opened(T("1"), T("2"), T("3"), D(1000))
    async for message in ws.iter_text():
        assert message == "1"
        break
    assert [message async for message in ws.iter_text()] == ["2", "3"]


@pytest.mark.row("T15")
async def test_two_tasks_may_iterate_at_once() -> None:
    ws, peer = await opened()

    async def collect() -> list[str]:
        return [message async for message in ws.iter_text()]

    tasks = [asyncio.create_task(collect()) for _ in range(2)]
    await turns()
    peer.feed(*(T(str(n)) for n in range(10)))
    await turns()
    peer.feed(D(1000))
    odd, even = await soon(asyncio.gather(*tasks))
    assert odd
    assert even
    assert sorted(odd + even) == [str(n) for n in range(10)]


@pytest.mark.row("T16")
async def test_iterating_again_after_the_end_raises() -> None:
    ws, peer = await opened(T("1"), D(4001, "bye"))
    assert [message async for message in ws] == ["1"]
    reads = peer.reads
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(anext(aiter(ws)))
    assert (raised.value.code, raised.value.reason) == (4001, "bye")
    assert peer.reads == reads


@pytest.mark.row("T17")
async def test_our_own_close_ends_a_loop_quietly() -> None:
    ws, peer = await opened(T("1"), T("2"))
    seen = []
    async for message in ws:
        seen.append(message)
        await ws.close()
    assert seen == ["1"]
    assert [message async for message in ws] == []
    assert peer.types == ["accept", "close"]


@pytest.mark.row("T18")
@pytest.mark.parametrize(
    ("script", "method", "other", "expected"),
    [
        ((B(b"1"), T("2")), "receive_text", "receive_text", "2"),
        ((T("1"), B(b"2")), "receive_bytes", "receive_bytes", b"2"),
        ((B(b"1"), T("2")), "receive_json", "receive_text", "2"),
    ],
)
async def test_a_message_of_the_wrong_kind_is_consumed_once(
    script: tuple[Message, Message], method: str, other: str, expected: object
) -> None:
    ws, _ = await opened(*script)
    with pytest.raises(WebSocketFrameError):
        await soon(getattr(ws, method)())
    assert await soon(getattr(ws, other)()) == expected
    assert ws.connection_state is WebSocketState.CONNECTED


# --- cleanups that read ---


async def test_a_cleanup_that_reads_is_told_at_once() -> None:
    ws, peer = await opened()
    found: list[object] = []

    async def read() -> None:
        try:
            await ws.receive_text()
        except WebSocketDisconnect as exc:
            found.append(exc.code)

    ws.add_cleanup(read)
    readers = [reading(ws), reading(ws)]
    await turns()
    peer.feed(D(4001))
    async with asyncio.timeout(1):
        assert await kinds(list(readers)) == [WebSocketDisconnect] * 2
    assert found == [4001]


# --- the deputy ---


class Noting:
    """A deputy that takes messages that begin with `!`, and notes what it is told."""

    waiting = unread = False

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.told: list[str] = []

    def poll(self) -> str | bytes | None:
        data = self.inbox.pull()
        if isinstance(data, str) and data.startswith("!"):
            self.told.append(data)
            return self.poll()
        return data

    def no_reader(self) -> None:
        self.told.append("no reader")

    def changed(self) -> None:
        self.told.append("changed")


@pytest.mark.parametrize("path", PATHS)
async def test_a_deputy_sees_messages_also_before_a_reader_that_waits(path: str) -> None:
    ws, channel = await opened_over(path)
    inbox = link_of(ws).inbox
    deputy = Noting(inbox)
    reader = reading(ws)
    await turns()
    assert inbox.is_read
    inbox.engage(deputy)
    channel.feed(T("!1"), T("2"), T("!3"))
    assert await soon(reader) == "2"
    inbox.release()
    assert await soon(ws.receive_text()) == "!3"
    assert deputy.told == ["!1", "no reader"]
    assert not inbox.is_read


async def test_a_deputy_is_told_when_the_last_of_several_readers_leaves() -> None:
    ws, peer = await opened()
    inbox = link_of(ws).inbox
    deputy = Noting(inbox)
    inbox.engage(deputy)
    readers = [reading(ws) for _ in range(3)]
    await turns()
    peer.feed(T("1"))
    await soon(readers[0])
    readers[1].cancel()
    await turns()
    assert deputy.told == []
    readers[2].cancel()
    await turns()
    assert deputy.told == ["no reader"]
    await ws.close()
    assert deputy.told[1:2] == ["changed"]


async def test_readers_keep_their_turns_when_the_deputy_is_released() -> None:
    ws, peer = await opened()
    inbox = link_of(ws).inbox
    inbox.engage(Noting(inbox))
    readers = [reading(ws) for _ in range(2)]
    await turns()
    inbox.release()
    peer.feed(T("!1"), T("2"))
    assert await soon(asyncio.gather(*readers)) == ["!1", "2"]


async def test_a_deputy_that_waits_or_keeps_messages_counts_as_a_reader_or_as_messages() -> None:
    ws, _ = await opened()
    inbox = link_of(ws).inbox
    deputy = Noting(inbox)
    inbox.engage(deputy)
    assert (inbox.has_reader, inbox.unread) == (False, False)
    deputy.waiting = deputy.unread = True
    assert (inbox.has_reader, inbox.unread) == (True, True)


async def test_filters_that_come_later_are_before_the_deputy() -> None:
    ws, peer = await opened()
    link = link_of(ws)
    deputy = Noting(link.inbox)
    link.inbox.engage(deputy)
    link.progress.filters_in = (lambda data: f"!{data!r}",)
    link.inbox.filter()
    peer.feed(T("1"))
    waiting = reading(ws)
    await turns()
    assert deputy.told == ["!'1'"]
    waiting.cancel()


# What looks at messages before the readers


class Gate:
    """Lets so many messages pass, then closes."""

    def __init__(self, ws: WebSocket, amount: int) -> None:
        self.ws = ws
        self.left = amount
        self.waits: list[bool] = []

    def allowed(self) -> bool:
        self.left -= 1
        if self.left < 0:
            link_of(self.ws).end(1008)
        return self.left >= 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("waiting", [True, False])
@pytest.mark.parametrize("method", ["receive", "receive_text"])
async def test_one_that_closes_in_place_of_letting_pass_ends_the_reader(
    path: str, waiting: bool, method: str
) -> None:
    ws, channel = await opened_over(path)
    gate = Gate(ws, 1)
    link_of(ws).inbox.admit(gate.waits.append, gate.allowed)
    if not waiting:
        channel.feed(T("1"), T("2"))
        assert not await ws.is_disconnected()
    first = asyncio.ensure_future(getattr(ws, method)())
    await turns()
    if waiting:
        channel.feed(T("1"), T("2"))
    assert await soon(first) in ("1", {"type": "websocket.receive", "text": "1"})
    with pytest.raises(WebSocketRuntimeError):
        await soon(getattr(ws, method)())
    await turns()
    assert channel.closes == [(1008, "")]


async def test_it_is_told_whether_somebody_has_waited() -> None:
    ws, peer = await opened()
    gate = Gate(ws, 9)
    link_of(ws).inbox.admit(gate.waits.append, gate.allowed)
    assert not link_of(ws).inbox.direct
    waiting = reading(ws)
    await turns()
    peer.feed(T("1"), T("2"))
    await soon(waiting)
    await ws.receive_text()
    # Looked in vain, was woken, found one more.
    assert gate.waits == [False, True, False]


async def test_filters_come_after_it_whichever_was_first() -> None:
    for first in (True, False):
        ws, peer = await opened()
        link, gate = link_of(ws), Gate(ws, 9)
        link.progress.filters_in = (lambda data: f"!{data!r}",)
        if first:
            link.inbox.filter()
        link.inbox.admit(gate.waits.append, gate.allowed)
        if not first:
            link.inbox.filter()
        peer.feed(T("1"))
        assert await soon(ws.receive_text()) == "!'1'"
        assert gate.left == 8


async def test_it_is_let_go_after_the_end() -> None:
    ws, _ = await opened()
    link, gate = link_of(ws), Gate(ws, 9)
    link.inbox.admit(gate.waits.append, gate.allowed)
    link.inbox.unwatch()
    assert link.inbox.direct
