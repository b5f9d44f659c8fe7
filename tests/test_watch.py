"""The disconnect watch, by itself: when it fires, how often, and what it takes back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable

import anyio
import pytest

from channel import PATHS, opened_over
from opened import opened, soon, turns, until
from peer import DEADLINE, D, Peer, T
from telex import App, WebSocket, WebSocketDisconnect, WebSocketHandshakeError
from telex._dismissal import dismiss
from telex._progress import handling
from telex._watch import DisconnectWatch
from telex.websockets import link_of

GRACE = 0.03
LATE = 20 * GRACE
FOR_EVER = 600.0

Note = Callable[[str], None]


class Watched:
    """A handler in a task of its own, under a watch."""

    def __init__(
        self, ws: WebSocket, work: Callable[[], Awaitable[object]], grace: float | None = GRACE
    ) -> None:
        self.watch = DisconnectWatch(ws.scope, link_of(ws), grace)
        self.ws = ws
        self.work = work
        self.settled: bool | None = None
        self.cancelled = False
        self.requests = 0
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        handling.set(link_of(self.ws).progress)
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


async def test_who_left_before_anybody_looked_left_no_more_than_the_grace() -> None:
    ws, _ = await opened(D(1001))
    grace = 10 * GRACE
    loop = asyncio.get_running_loop()
    began = loop.time()
    watched = Watched(ws, busy, grace)
    await soon(watched.task)
    assert watched.cancelled
    assert 0.7 * grace <= loop.time() - began < 1.2 * grace


async def test_who_leaves_when_somebody_looks_leaves_all_of_the_grace() -> None:
    ws, peer = await opened()
    grace = 4 * GRACE
    watched = Watched(ws, busy, grace)
    await asyncio.sleep(0.7 * grace)
    loop = asyncio.get_running_loop()
    peer.feed(D(1001))
    began = loop.time()
    await soon(watched.task)
    assert loop.time() - began >= 0.9 * grace


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
    watch = DisconnectWatch(ws.scope, link_of(ws), GRACE)
    watch.disarm()
    assert not watch.settle()
    assert peer.sent == []


# A connection that somebody else has closed


async def test_a_busy_handler_is_cancelled_after_a_dismissal_too() -> None:
    ws, peer = await opened()
    watched = Watched(ws, busy)
    await turns()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert dismiss(ws, 4000)
    await soon(watched.task)
    assert GRACE * 0.9 <= loop.time() - began < LATE / 2
    assert (watched.cancelled, watched.settled, watched.requests) == (True, True, 0)
    assert peer.closes == [(4000, "")]


@pytest.mark.parametrize("method", ["receive_text", "wait_closed", "is_disconnected"])
async def test_whoever_knows_of_a_dismissal_is_left_alone(method: str) -> None:
    ws, _ = await opened()
    dismissed = asyncio.Event()

    async def work() -> None:
        if method != "receive_text":
            await dismissed.wait()
        with contextlib.suppress(WebSocketHandshakeError):
            await getattr(ws, method)()
        await asyncio.sleep(4 * GRACE)

    watched = Watched(ws, work)
    await turns()
    dismiss(ws, 4000)
    dismissed.set()
    await soon(watched.task)
    assert (watched.cancelled, watched.watch.fired) == (False, 0)


async def test_an_end_that_is_told_again_and_again_does_not_put_it_off() -> None:
    ws, _ = await opened()
    watched = Watched(ws, busy)
    await turns()
    loop = asyncio.get_running_loop()
    began = loop.time()
    dismiss(ws, 4000)
    while not watched.task.done():
        link_of(ws).progress.notify()
        await asyncio.wait((watched.task,), timeout=GRACE / 4)
    assert loop.time() - began < LATE / 2


# What a handler may be busy with


async def plain_await(note: Note) -> None:
    try:
        await asyncio.sleep(FOR_EVER)
    finally:
        note("left")


async def task_group(note: Note) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(plain_await(note))
        group.create_task(plain_await(note))


async def timeout_around(note: Note) -> None:
    async with asyncio.timeout(FOR_EVER):
        await plain_await(note)


async def anyio_scopes(note: Note) -> None:
    with anyio.CancelScope(), anyio.move_on_after(FOR_EVER) as scope:
        await plain_await(note)
    assert not scope.cancelled_caught


async def anyio_task_group(note: Note) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(plain_await, note)
        await plain_await(note)


async def anyio_shield(note: Note) -> None:
    with anyio.CancelScope(shield=True):
        await plain_await(note)


async def in_a_thread(note: Note) -> None:
    leave = threading.Event()
    try:
        await asyncio.to_thread(leave.wait, DEADLINE)
    finally:
        leave.set()
        note("left")


async def shielded(note: Note) -> None:
    inner = asyncio.ensure_future(plain_await(note))
    try:
        await asyncio.shield(inner)
    finally:
        inner.cancel()
        await asyncio.wait((inner,))


async def generator(note: Note) -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        yield 1
        await plain_await(note)

    async with contextlib.aclosing(numbers()) as them:
        async for _ in them:
            pass


SHAPES = (
    *(plain_await, task_group, timeout_around, anyio_scopes, anyio_task_group, anyio_shield),
    *(in_a_thread, shielded, generator),
)


async def served_by(peer: Peer, app: App, requests: list[int]) -> None:
    """Serve, and note how often the task was asked to stop without taking it back."""
    await peer.run(app)
    task = asyncio.current_task()
    assert task is not None
    requests.append(task.cancelling())


@pytest.mark.parametrize("ended_by", ["client", "dismissal"])
@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda each: each.__name__)
async def test_whatever_a_handler_is_busy_with_it_ends_cleanly(
    shape: Callable[[Note], Awaitable[None]],
    accepts: bool,
    ended_by: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, inside, notes = App(disconnect_grace=GRACE), list[WebSocket](), list[str]()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        if accepts:
            await ws.accept()
        inside.append(ws)
        await shape(notes.append)
        notes.append("went on")

    before, peer, requests = asyncio.all_tasks(), Peer(), list[int]()
    serving = asyncio.create_task(served_by(peer, app, requests))
    await until(lambda: inside)
    await turns()
    if ended_by == "client":
        peer.feed(D(1001))
    else:
        assert dismiss(inside[0], 4000)
    await soon(serving)
    assert requests == [0]
    assert notes in (["left"], ["left", "left"])
    closes = ["close"] if ended_by == "dismissal" else []
    assert peer.types == (["accept"] if accepts else []) + closes
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []
    await turns()
    assert asyncio.all_tasks() == before


# Who learns of the end

FINDERS: dict[str, Callable[[WebSocket], Awaitable[object]]] = {
    "a send": lambda ws: ws.send_text("for all"),
    "a look": lambda ws: ws.is_disconnected(),
    "a read": lambda ws: ws.receive(),
    "a wait": lambda ws: ws.wait_closed(),
    "a close": lambda ws: ws.close(4000),
}


@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize("path", PATHS)
async def test_a_handler_is_not_spared_because_somebody_else_has_found_the_end(
    path: str, finder: str
) -> None:
    ws, channel = await opened_over(path)
    watched = Watched(ws, busy)
    await turns()
    channel.drop()
    await turns()
    with contextlib.suppress(WebSocketHandshakeError):
        await soon(FINDERS[finder](ws))
    await soon(watched.task)
    assert watched.cancelled


@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize("path", PATHS)
async def test_a_handler_one_of_whose_tasks_has_found_the_end_may_go_on(
    path: str, finder: str
) -> None:
    ws, channel = await opened_over(path)

    async def work() -> None:
        found = asyncio.ensure_future(FINDERS[finder](ws))
        await asyncio.wait([found])
        assert found.exception() is None or isinstance(found.exception(), WebSocketHandshakeError)
        await asyncio.sleep(4 * GRACE)

    channel.drop()
    await turns()
    watched = Watched(ws, work)
    await soon(watched.task)
    assert not watched.cancelled


async def test_a_handler_is_not_spared_because_somebody_else_is_refused_a_send() -> None:
    ws, _ = await opened()
    watched = Watched(ws, busy)
    await turns()
    dismiss(ws, 4000)
    with pytest.raises(WebSocketHandshakeError):
        await ws.send_text("for all")
    await soon(watched.task)
    assert watched.cancelled
