"""The disconnect watch, by itself: when it fires, how often, and what it takes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from channel import opened_over
from opened import opened, soon, turns
from peer import D, Peer, T
from telex import WebSocket, WebSocketDisconnect
from telex._watch import DisconnectWatch
from telex.websockets import link_of

GRACE = 0.03
LATE = 20 * GRACE


class Watched:
    """A handler in a task of its own, under a watch."""

    def __init__(
        self, ws: WebSocket, work: Callable[[], Awaitable[object]], grace: float | None = GRACE
    ) -> None:
        self.watch = DisconnectWatch(link_of(ws), grace, "the handler of '/'")
        self.work = work
        self.settled: bool | None = None
        self.cancelled = False
        self.requests = 0
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        self.watch.arm()
        try:
            await self.work()
        except asyncio.CancelledError:
            self.cancelled = True
        finally:
            self.watch.disarm()
        self.settled = self.watch.settle()
        task = asyncio.current_task()
        assert task is not None
        self.requests = task.cancelling()


async def busy() -> None:
    await asyncio.sleep(LATE)


async def test_a_busy_handler_is_cancelled_when_its_grace_is_over_and_not_before() -> None:
    ws, peer = await opened()
    assert not await ws.is_disconnected()
    watched = Watched(ws, busy)
    await turns()
    loop = asyncio.get_running_loop()
    peer.feed(D(1001))
    began = loop.time()
    await soon(watched.task)
    assert GRACE * 0.9 <= loop.time() - began < LATE / 2
    assert (watched.cancelled, watched.settled, watched.requests) == (True, True, 0)


async def test_messages_read_before_the_end_do_not_lengthen_the_grace() -> None:
    ws, peer = await opened(T("1"), T("2"))

    async def read_then_be_busy() -> None:
        await ws.receive_text()
        await ws.receive_text()
        await busy()

    watched = Watched(ws, read_then_be_busy)
    await turns()
    loop = asyncio.get_running_loop()
    peer.feed(D(1001))
    began = loop.time()
    await soon(watched.task)
    assert loop.time() - began < 2 * GRACE


async def test_a_handler_that_works_through_what_had_arrived_is_left_alone() -> None:
    ws, _ = await opened(*(T(str(n)) for n in range(5)), D(1001))
    seen: list[str] = []

    async def work() -> None:
        async for text in ws.iter_text():
            seen.append(text)
            await asyncio.sleep(GRACE * 0.6)

    watched = Watched(ws, work)
    await soon(watched.task)
    assert seen == ["0", "1", "2", "3", "4"]
    assert (watched.cancelled, watched.settled) == (False, False)


async def test_a_handler_that_never_reads_is_watched_too() -> None:
    ws, peer = await opened(D(1001))
    asked = peer.reads
    watched = Watched(ws, busy)
    await turns()
    assert peer.reads == asked, "nothing is read before the handler had its time to"
    await soon(watched.task)
    assert watched.cancelled
    assert peer.reads == asked + 1


async def test_whoever_awaits_the_servers_receive_is_not_disturbed() -> None:
    ws, peer = await opened()
    receive = ws.asgi_receive
    watched = Watched(ws, receive)
    await asyncio.sleep(3 * GRACE)
    peer.feed(T("for the handler"))
    await soon(watched.task)
    assert not watched.cancelled
    assert peer.reads == 2


@pytest.mark.parametrize("path", ["frames", "wrapped send"])
async def test_on_the_channel_the_end_is_noticed_at_once(path: str) -> None:
    ws, channel = await opened_over(path)
    watched = Watched(ws, busy)
    await turns()
    channel.drop()
    await soon(watched.task)
    assert watched.cancelled


async def test_an_end_from_before_the_watch_is_noticed() -> None:
    ws, _ = await opened(T("unread"), D(1001))
    await ws.wait_closed()
    link_of(ws).progress.told = False
    watched = Watched(ws, busy)
    await soon(watched.task)
    assert watched.cancelled


async def test_whoever_knows_of_the_end_is_left_alone() -> None:
    ws, peer = await opened()

    async def work() -> None:
        with pytest.raises(WebSocketDisconnect):
            await ws.receive_text()
        await asyncio.sleep(4 * GRACE)

    watched = Watched(ws, work)
    await turns()
    peer.feed(D(1001))
    await soon(watched.task)
    assert (watched.cancelled, watched.watch.fired) == (False, 0)


async def test_after_our_own_close_nobody_is_cancelled() -> None:
    ws, _ = await opened()

    async def work() -> None:
        await ws.close()
        await asyncio.sleep(4 * GRACE)

    watched = Watched(ws, work)
    await soon(watched.task)
    assert not watched.cancelled


async def test_without_a_grace_nothing_is_watched() -> None:
    ws, peer = await opened(D(1001))
    asked = peer.reads
    watched = Watched(ws, lambda: asyncio.sleep(2 * GRACE), grace=None)
    await soon(watched.task)
    assert not watched.cancelled
    assert peer.reads == asked


async def test_one_that_swallows_it_is_cancelled_once_more_and_then_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ws, _ = await opened(D(1001))
    swallowed: list[int] = []

    async def stubborn() -> None:
        while len(swallowed) < 2:
            try:
                await busy()
            except asyncio.CancelledError:
                swallowed.append(1)
        await asyncio.sleep(3 * GRACE)

    watched = Watched(ws, stubborn)
    await soon(watched.task)
    assert len(swallowed) == 2
    assert (watched.cancelled, watched.settled, watched.requests) == (False, True, 0)
    (record,) = caplog.records
    assert "the handler of '/'" in record.getMessage()


async def test_somebody_elses_cancellation_is_not_taken_back() -> None:
    ws, _ = await opened(D(1001))

    async def work() -> None:
        try:
            await busy()
        except asyncio.CancelledError:
            watched.task.cancel()
            raise

    watched = Watched(ws, work)
    await soon(asyncio.wait((watched.task,)))
    assert (watched.settled, watched.requests) == (False, 1)


async def test_a_disarmed_watch_leaves_nothing_behind() -> None:
    ws, peer = await opened()
    before = list(link_of(ws).progress.watchers)
    watched = Watched(ws, turns)
    await soon(watched.task)
    assert link_of(ws).progress.watchers == before
    peer.feed(D(1001))
    await asyncio.sleep(2 * GRACE)
    assert peer.reads == 1
    assert watched.watch.fired == 0
    assert not watched.watch.settle()


async def test_a_watch_that_was_never_armed_can_be_disarmed() -> None:
    peer = Peer()
    ws, _ = await opened()
    watch = DisconnectWatch(link_of(ws), GRACE, "nobody")
    watch.disarm()
    assert not watch.settle()
    assert peer.sent == []
