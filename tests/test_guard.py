"""The limits of one connection are put on before its handler and taken off behind it."""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
import random
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel import connecting_over
from opened import connecting, soon, turns
from peer import B, D, Peer, T, make_scope
from server.transports import in_no_time
from telex import App, Reject, SocketRoute, WebSocket, WebSocketException, WebSocketRuntimeError
from telex import _guard as guard_module
from telex._guard import _BURST, Bucket, Guard
from telex._limits import Heartbeat
from telex._settings import DEFAULTS, Settings
from telex._slots import Slots
from telex._source import MAX_MESSAGES
from telex.context import current
from telex.params import Depends
from telex.websockets import link_of

GRACE = 0.03
FOR_EVER = 600.0


def settings_with(**changes: Any) -> Settings:
    return replace(DEFAULTS, **changes)


# Every way out gives the slot back


class Refused(BaseException):
    """Nothing that a handler may swallow."""


async def returns(ws: WebSocket) -> None:
    await ws.accept()


async def returns_without_a_word(ws: WebSocket) -> None:
    pass


async def raises(ws: WebSocket) -> None:
    await ws.accept()
    raise ValueError("broken")


async def raises_before_accept(ws: WebSocket) -> None:
    raise ValueError("broken")


async def closes_itself(ws: WebSocket) -> None:
    await ws.accept()
    raise WebSocketException(4000)


async def reads_to_the_end(ws: WebSocket) -> None:
    await ws.accept()
    async for _ in ws.iter_text():
        pass


async def reads_one_too_many(ws: WebSocket) -> None:
    await ws.accept()
    while True:
        await ws.receive_text()


async def rejects(ws: WebSocket) -> None:
    await ws.reject(401)


async def raises_a_rejection(ws: WebSocket) -> None:
    raise Reject(401)


async def nobody() -> None:
    raise Reject(401)


async def depends_on_nobody(ws: WebSocket, user: Annotated[None, Depends(nobody)]) -> None:
    await ws.accept()


async def waits_before_accept(ws: WebSocket) -> None:
    await asyncio.sleep(FOR_EVER)


async def waits(ws: WebSocket) -> None:
    await ws.accept()
    await asyncio.sleep(FOR_EVER)


async def swallows(ws: WebSocket) -> None:
    await ws.accept()
    try:
        await asyncio.sleep(FOR_EVER)
    except asyncio.CancelledError:
        await turns()


async def leaves_for_good(ws: WebSocket) -> None:
    await ws.accept()
    raise Refused


ENDS_BY_ITSELF = (
    *(returns, returns_without_a_word, raises, raises_before_accept, closes_itself, rejects),
    *(raises_a_rejection, depends_on_nobody, reads_to_the_end, reads_one_too_many),
    *(leaves_for_good, waits, waits_before_accept, swallows),
)
WAITS = (waits, waits_before_accept, swallows, reads_to_the_end)

Handler = Callable[..., Awaitable[None]]


def app_with(handler: Handler, **options: Any) -> tuple[App, Slots]:
    app = App(disconnect_grace=GRACE, max_connections=2, max_connections_per_client=2, **options)
    app.websocket("/")(handler)
    (slots,) = app._settings.slots
    return app, slots


@pytest.mark.parametrize("handler", ENDS_BY_ITSELF, ids=lambda each: each.__name__)
@pytest.mark.parametrize("denial", [True, False])
async def test_a_slot_is_free_after_every_end(handler: Handler, denial: bool) -> None:
    app, slots = app_with(handler)
    for _ in range(5):
        peer = Peer(T("hello"), D(1001))
        try:
            await peer.run(app, make_scope(denial=denial))
        except Refused:
            assert handler is leaves_for_good
        assert (len(slots), slots.clients, len(app.connections)) == (0, 0, 0)
        sent = peer.sent[0] if peer.sent else {}
        assert sent.get("status") not in (503, 429)


@pytest.mark.parametrize("handler", WAITS, ids=lambda each: each.__name__)
async def test_a_slot_is_free_after_the_server_has_cancelled(handler: Handler) -> None:
    app, slots = app_with(handler, handshake_timeout=FOR_EVER)
    peer = Peer()
    serving = asyncio.ensure_future(app(make_scope(), peer.receive, peer.send))
    await turns()
    assert len(slots) == 1
    serving.cancel()
    await asyncio.wait((serving,), timeout=5)
    assert (len(slots), slots.clients) == (0, 0)


async def test_a_denied_connection_holds_none_and_takes_none_away() -> None:
    app, slots = app_with(waits)
    peers = [Peer() for _ in range(4)]
    serving = [asyncio.ensure_future(app(make_scope(), p.receive, p.send)) for p in peers]
    await turns()
    assert len(slots) == 2
    assert [peer.types for peer in peers] == [["accept"], ["accept"], ["close"], ["close"]]
    for peer in peers:
        peer.feed(D(1001))
    await soon(asyncio.wait(serving))
    assert (len(slots), slots.clients) == (0, 0)


async def test_one_that_the_second_count_refuses_is_not_left_in_the_first() -> None:
    every, own = Slots(9), Slots(9, 1)
    settings = settings_with(slots=(every, own))
    first, second = (Guard(connecting()[0], settings) for _ in range(2))
    assert first.enter() is None
    assert second.enter() is HTTPStatus.TOO_MANY_REQUESTS
    assert (len(every), len(own)) == (2, 1)
    second.leave()
    second.leave()
    assert (len(every), len(own)) == (1, 1)
    first.leave()
    first.leave()
    assert (len(every), len(own), own.clients) == (0, 0, 0)


@given(seed=st.integers(0, 10_000))
def test_whatever_happens_no_count_is_wrong_and_all_end_at_nothing(seed: int) -> None:
    chance = random.Random(seed)

    @in_no_time
    async def check() -> None:
        app, slots = app_with(chance.choice(ENDS_BY_ITSELF[:-4]))
        handlers = {f"/{h.__name__}": h for h in (*WAITS, returns, raises, rejects)}
        for path, handler in handlers.items():
            app.websocket(path, name=None, max_connections=chance.choice([1, 2]))(handler)
        running: list[tuple[Peer, asyncio.Task[None]]] = []
        for _ in range(30):
            assert 0 <= len(slots) <= 2
            what = chance.random()
            if what < 0.5 or not running:
                peer = Peer()
                host = chance.choice(["a", "b", None])
                scope = make_scope(chance.choice([*handlers]), client=host and (host, 1))
                serving = asyncio.create_task(app(scope, peer.receive, peer.send))
                running.append((peer, serving))
            elif what < 0.7:
                chance.choice(running)[0].feed(D(1001))
            elif what < 0.85:
                chance.choice(running)[1].cancel()
            else:
                chance.choice(running)[0].feed(T("x" * 9), B(b"y"))
            await turns(chance.randrange(4))
        for peer, serving in running:
            peer.feed(D(1001))
            await asyncio.wait((serving,))
        assert (len(slots), slots.clients, len(app.connections)) == (0, 0, 0)
        for route in app.router:
            assert all(len(each) == 0 for each in route._overrides._slots)  # type: ignore[union-attr]

    check()


# Who a client is


async def test_the_key_is_asked_once_and_only_where_it_matters() -> None:
    asked: list[WebSocket] = []

    def key(ws: WebSocket) -> str:
        asked.append(ws)
        return "me"

    ws, _ = connecting()
    guard = Guard(ws, settings_with(slots=(Slots(5),), client_key=key))
    assert guard.enter() is None
    assert asked == []
    guard.leave()
    guard = Guard(ws, settings_with(slots=(Slots(5, 5), Slots(5, 5)), client_key=key))
    assert guard.enter() is None
    assert asked == [ws]
    guard.leave()


@pytest.mark.parametrize(
    ("failure", "status"), [(Reject(401), 401), (ValueError("broken"), 500), (None, 500)]
)
async def test_a_key_that_fails_is_answered_like_a_handler(
    failure: Exception | None, status: int
) -> None:
    def key(_ws: WebSocket) -> Any:
        if failure is not None:
            raise failure
        return ["not hashable"]

    app, slots = app_with(returns, client_key=key)
    peer = Peer()
    await peer.run(app, make_scope(denial=True))
    assert peer.sent[0]["status"] == status
    assert len(slots) == 0
    # A route by itself has nobody around it who answers.
    route = SocketRoute("/", returns, max_connections_per_client=1, client_key=key)
    peer = Peer()
    await peer.run(route)
    assert peer.types == ["close"]


async def test_a_key_that_would_have_to_be_awaited_is_an_error() -> None:
    async def key(_ws: WebSocket) -> str:
        return "me"

    app, slots = app_with(returns, client_key=lambda ws: key(ws))
    peer = Peer()
    await peer.run(app, make_scope(denial=True))
    assert peer.sent[0]["status"] == 500
    assert len(slots) == 0


async def test_a_key_gets_the_class_of_connections_that_the_application_has() -> None:
    class Tenanted(WebSocket):
        @property
        def tenant(self) -> str:
            return self.headers["host"]

    class Site(App):
        websocket_class = Tenanted

    asked: list[object] = []

    def key(ws: Tenanted) -> str:
        asked.append(type(ws))
        return ws.tenant

    app = Site(max_connections_per_client=1, client_key=key, disconnect_grace=GRACE)
    app.websocket("/")(waits)
    first, second = Peer(), Peer()
    serving = asyncio.ensure_future(app(make_scope(), first.receive, first.send))
    await turns()
    await second.run(app, make_scope(denial=True))
    assert (first.types, second.sent[0]["status"]) == (["accept"], 429)
    assert asked == [Tenanted, Tenanted]
    first.feed(D(1001))
    await soon(asyncio.wait((serving,)))


async def test_a_key_that_changes_while_it_is_counted_leaves_nothing_behind() -> None:
    class User:
        def __init__(self) -> None:
            self.name = "anonymous"

        def __hash__(self) -> int:
            return hash(self.name)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, User) and self.name == other.name

    user = User()
    app, slots = app_with(waits, client_key=lambda _: user)
    peers = [Peer(), Peer()]
    serving = [asyncio.ensure_future(app(make_scope(), p.receive, p.send)) for p in peers]
    await turns()
    assert (len(slots), slots.clients) == (2, 1)
    user.name = "me"
    for peer in peers:
        peer.feed(D(1001))
    await soon(asyncio.wait(serving))
    assert (len(slots), slots.clients, len(app.connections)) == (0, 0, 0)


# What is put on


async def test_a_handshake_that_is_answered_in_time_costs_no_timer() -> None:
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    guards = [Guard(connecting()[0], DEFAULTS) for _ in range(50)]
    for guard in guards:
        guard.enter()
    assert len(loop._scheduled) == before + 1  # type: ignore[attr-defined]
    for guard in guards:
        guard.leave()


@pytest.mark.parametrize("denial", [True, False])
def test_a_handler_that_does_not_answer_is_rejected_in_time(denial: bool) -> None:
    @in_no_time
    async def check() -> None:
        app = App(handshake_timeout=10.0, disconnect_grace=5.0)
        app.websocket("/")(waits_before_accept)
        peer, loop = Peer(), asyncio.get_running_loop()
        began = loop.time()
        await app(make_scope(denial=denial), peer.receive, peer.send)
        assert 15.0 <= loop.time() - began <= 18.0
        if denial:
            assert peer.sent[0]["status"] == 503
        else:
            assert peer.types == ["close"]

    check()


@in_no_time
async def test_one_that_answers_in_time_is_left_alone() -> None:
    app = App(handshake_timeout=10.0)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await asyncio.sleep(9.5)
        await ws.accept()
        await asyncio.sleep(100.0)

    peer = Peer()
    await app(make_scope(), peer.receive, peer.send)
    assert peer.closes == [(1000, "")]


@in_no_time
async def test_a_loop_that_is_late_rejects_nobody() -> None:
    app = App(handshake_timeout=10.0)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await asyncio.sleep(5.0)
        asyncio.get_running_loop()._selector.now += 300.0  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        await ws.accept()

    peer = Peer()
    await app(make_scope(), peer.receive, peer.send)
    assert peer.types == ["accept", "close"]


async def test_checks_begin_with_the_accept_and_are_nothing_by_default() -> None:
    ws, _ = connecting()
    guard = Guard(ws, DEFAULTS)
    guard.enter()
    assert not link_of(ws).progress.on_accept
    guard.leave()
    guard = Guard(ws, settings_with(idle_timeout=5.0))
    guard.enter()
    assert guard._checks is None
    await ws.accept()
    assert guard._checks is not None
    guard.leave()


async def test_when_a_middleware_has_accepted_they_begin_at_once() -> None:
    ws, _ = connecting()
    await ws.accept()
    guard = Guard(ws, settings_with(idle_timeout=5.0))
    guard.enter()
    assert guard._checks is not None
    guard.leave()


async def test_one_that_leaves_before_it_has_accepted_is_looked_at_no_more() -> None:
    ws, _ = connecting()
    guard = Guard(ws, settings_with(idle_timeout=5.0))
    guard.enter()
    guard.leave()
    await ws.accept()
    assert guard._checks is None


@pytest.mark.parametrize("path", ["frames", "wrapped send"])
async def test_the_frame_channel_is_told_of_size_and_heartbeat(path: str) -> None:
    ws, channel = connecting_over(path)
    guard = Guard(ws, settings_with(max_message_size=100, heartbeat=Heartbeat(5, 3)))
    guard.enter()
    assert (channel.max_size, channel.beat) == (100, (5, 3))
    guard.leave()


@pytest.mark.parametrize("path", ["wrapped receive", "wrapped both"])
async def test_behind_a_wrapped_receive_the_size_is_looked_at_here(path: str) -> None:
    ws, channel = connecting_over(path)
    guard = Guard(ws, settings_with(max_message_size=3))
    guard.enter()
    assert channel.max_size is None
    await ws.accept()
    channel.feed(T("four"))
    with pytest.raises(WebSocketRuntimeError):
        await soon(ws.receive_text())
    await turns()
    assert channel.closes == [(1009, "message too big")]
    guard.leave()


NONE: dict[str, Any] = {"max_message_size": math.inf, "handshake_timeout": math.inf}
ALL: dict[str, Any] = {
    "max_messages_per_second": 100,
    "idle_timeout": 50.0,
    "heartbeat": (20, 10),
    "max_age": 90.0,
    "max_connections": 5,
    "max_connections_per_client": 5,
}


@pytest.mark.parametrize("limits", [{}, ALL], ids=["defaults", "all"])
def test_limits_leave_nothing_more_for_the_garbage_collector(limits: dict[str, Any]) -> None:
    async def garbage(limits: dict[str, Any]) -> int:
        app, loop = App(**limits), asyncio.get_running_loop()
        app.websocket("/")(reads_to_the_end)

        async def serve() -> None:
            await Peer(T("a"), D(1001)).run(app)
            await turns()
            # The loop keeps them for a while, with their contexts.
            scheduled = loop._scheduled  # type: ignore[attr-defined]
            scheduled[:] = [handle for handle in scheduled if not handle.cancelled()]
            heapq.heapify(scheduled)
            loop._timer_cancelled_count = 0  # type: ignore[attr-defined]

        await serve()
        gc.collect()
        gc.disable()
        try:
            await serve()
            return gc.collect()
        finally:
            gc.enable()

    # A connection in a circle of references is more than thirty objects.
    assert asyncio.run(garbage(limits)) <= asyncio.run(garbage(NONE)) + 10


async def test_timers_do_not_keep_the_connection_that_has_set_them() -> None:
    app = App(**ALL)
    seen: list[weakref.ref[object]] = []

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        seen.append(weakref.ref(ws))
        await reads_to_the_end(ws)

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        other = Peer()
        serving = asyncio.ensure_future(app(make_scope(), other.receive, other.send))
        await turns()
        other.feed(D(1001))
        await serving
        ours = {"Rounds._tick", "Checks._expire", "Guard.visit"}
        for handle in loop._scheduled:  # type: ignore[attr-defined]
            callback = handle._callback
            if callback is not None and callback.__qualname__ in ours:
                assert current not in handle._context
    assert len(seen) == 1


# The rate


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(guard_module, "time", clock)
    return clock


RATE = 10.0
MOST = int(RATE * _BURST) + MAX_MESSAGES


def take(bucket: Bucket, *, waited: bool = True) -> bool:
    bucket.passed(waited)
    return bucket.take()


def taken(bucket: Bucket, most: int = 10_000) -> int:
    """How many messages are taken at once."""
    return next(count for count in range(most) if not take(bucket))


def test_a_burst_is_taken_and_no_more(clock: Clock) -> None:
    assert taken(Bucket(RATE)) == MOST


def test_after_it_so_many_a_second(clock: Clock) -> None:
    bucket = Bucket(RATE)
    taken(bucket)
    for _ in range(3):
        clock.now += 1.0
        assert taken(bucket) == RATE


def test_the_burst_comes_back_and_no_more_than_that(clock: Clock) -> None:
    bucket = Bucket(RATE)
    taken(bucket)
    clock.now += 3600.0
    assert taken(bucket) == MOST


def test_a_rate_below_one_lets_messages_through(clock: Clock) -> None:
    bucket = Bucket(0.01)
    assert taken(bucket) == MAX_MESSAGES
    clock.now += 100.0
    assert take(bucket)


def test_who_was_busy_finds_what_has_piled_up(clock: Clock) -> None:
    bucket = Bucket(RATE)
    taken(bucket)
    clock.now += 100.0
    for _ in range(1000):
        assert take(bucket, waited=False)


def test_messages_that_come_in_while_it_reads_on_count_for_that_time(clock: Clock) -> None:
    """Behind those that were here are those that a server has kept: short waits are between."""
    bucket = Bucket(RATE)
    taken(bucket)
    clock.now += 100.0
    for count in range(990):
        assert take(bucket, waited=count % MAX_MESSAGES == 1)
        clock.now += 0.00001


def test_the_time_before_a_look_that_found_nothing_counts_too(clock: Clock) -> None:
    """Over plain ASGI the first look never finds anything: nobody has asked the server before."""
    bucket = Bucket(RATE)
    clock.now += 100.0
    bucket.passed(False)
    for _ in range(1000):
        assert take(bucket)


def test_what_was_kept_for_that_is_lost_by_waiting(clock: Clock) -> None:
    bucket = Bucket(RATE)
    clock.now += 100.0
    assert take(bucket, waited=False)
    clock.now += 100.0
    assert taken(bucket) == pytest.approx(MOST, abs=2)


@given(steps=st.lists(st.tuples(st.floats(0, 50), st.booleans(), st.integers(1, 50)), max_size=40))
def test_on_the_average_the_rate_holds(steps: list[tuple[float, bool, int]]) -> None:
    clock, now = Clock(), 1000.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard_module, "time", clock)
        bucket, accepted = Bucket(RATE), 0
        for pause, waited, amount in steps:
            clock.now += pause
            accepted += sum(take(bucket, waited=waited) for _ in range(amount))
        assert accepted <= MOST + (clock.now - now) * RATE + 1e-6
