"""Every connection is pinged once an interval, and dropped without a sign of life in time."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.channels import opened
from server.serving_one import Served, accepts
from server.transports import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    PONG,
    TEXT,
    QuickLoop,
    closing,
    frame,
    in_no_time,
    turns,
)
from telex._rounds import STEPS
from telex._types import FRAMES_EXTENSION
from telex.server._flow import Flow
from telex.server._keepalive import Keepalive, keepalive

INTERVAL = 16.0
STEP = INTERVAL / STEPS
ABOUT = 1e-6


class Connection:
    """Answers pings after a while, or never.

    Args:
        answers: Seconds after which it does, `None` for never.
    """

    def __init__(self, answers: float | None = 0.0, keepalive: Keepalive | None = None) -> None:
        self.answers = answers
        self.keepalive = keepalive
        self.pinged: float | None = None
        self.pings: list[float] = []
        self.asked = 0
        self.dropped: float | None = None
        self.silent = True
        self.taken = 0
        self.waiting = 0

    def flow(self) -> Flow:
        return Flow(self.taken, self.waiting)

    def visit(self, now: float, late: float) -> None:
        self.ping()

    def ping(self) -> None:
        self.asked += 1
        if self.pinged is None:
            loop = asyncio.get_running_loop()
            self.pinged = loop.time()
            self.silent = True
            self.pings.append(self.pinged)
            if self.answers == 0:
                self.pinged = None
            elif self.answers is not None:
                loop.call_later(self.answers, self.answer)

    def answer(self) -> None:
        self.pinged = None

    def expire(self) -> None:
        assert self.dropped is None
        self.dropped = asyncio.get_running_loop().time()
        if self.keepalive is not None:
            self.keepalive.discard(self)


def now() -> float:
    return asyncio.get_running_loop().time()


async def pinged(connection: Connection, times: int = 1) -> None:
    """Wait until a connection has been pinged so often, and half a step at most."""
    for _ in range(1000):
        if len(connection.pings) >= times:
            return
        await asyncio.sleep(STEP / 2)
    pytest.fail("it was never pinged so often")


@given(
    begins=st.lists(st.floats(0, 3 * INTERVAL), min_size=1, max_size=8),
    answers=st.floats(0, INTERVAL / 2),
)
def test_every_connection_is_pinged_once_an_interval(begins: list[float], answers: float) -> None:
    @in_no_time
    async def check() -> None:
        keeper = Keepalive(INTERVAL, INTERVAL)
        loop = asyncio.get_running_loop()
        start = now()
        connections = [Connection(answers) for _ in begins]
        for moment, connection in zip(begins, connections, strict=True):
            loop.call_at(start + moment, keeper.add, connection)
        await asyncio.sleep(10 * INTERVAL)
        for moment, connection in zip(begins, connections, strict=True):
            times = [start + moment, *connection.pings]
            assert INTERVAL - STEP - ABOUT < times[1] - times[0] < INTERVAL + ABOUT
            for before, after in itertools.pairwise(times[1:]):
                assert after - before == pytest.approx(INTERVAL)
            assert times[-1] >= now() - INTERVAL - ABOUT
            assert connection.dropped is None
            keeper.discard(connection)

    check()


@given(
    timeout=st.floats(INTERVAL / 16, 3 * INTERVAL),
    silent=st.lists(st.booleans(), min_size=1, max_size=6),
    apart=st.floats(0, INTERVAL),
)
def test_one_that_does_not_answer_is_dropped_a_quarter_of_the_shorter_time_late_at_most(
    timeout: float, silent: list[bool], apart: float
) -> None:
    @in_no_time
    async def check() -> None:
        keeper = Keepalive(INTERVAL, timeout)
        connections = [Connection(None if each else 0.0, keeper) for each in silent]
        for connection in connections:
            keeper.add(connection)
            await asyncio.sleep(apart)
        await asyncio.sleep(2 * INTERVAL + timeout)
        for connection in connections:
            if connection.answers is None:
                assert len(connection.pings) == 1
                assert connection.dropped is not None
                waited = connection.dropped - connection.pings[0]
                late = min(timeout, INTERVAL) / 4
                assert timeout - ABOUT <= waited <= timeout + late + ABOUT
            else:
                assert connection.dropped is None
                keeper.discard(connection)

    check()


@pytest.mark.parametrize(
    ("timeout", "steps"),
    [
        (None, STEPS),
        (math.inf, STEPS),
        (INTERVAL, STEPS),
        (INTERVAL / 2, 2 * STEPS),
        (INTERVAL / 1.9, 2 * STEPS),
        (INTERVAL / 17, 64),
        (1e-9, 64),
        (0, 64),
    ],
)
def test_a_short_time_for_the_answer_is_looked_at_more_often(
    timeout: float | None, steps: int
) -> None:
    assert Keepalive(INTERVAL, timeout).step == INTERVAL / steps


@given(answers=st.floats(0.01, 4 * INTERVAL))
def test_an_answer_in_time_saves(answers: float) -> None:
    @in_no_time
    async def check() -> None:
        timeout = 2 * INTERVAL
        keeper = Keepalive(INTERVAL, timeout)
        connection = Connection(answers, keeper)
        keeper.add(connection)
        await asyncio.sleep(7 * INTERVAL)
        if answers < timeout - ABOUT:
            assert connection.dropped is None
        elif answers > timeout + STEP + ABOUT:
            assert connection.dropped is not None
        keeper.discard(connection)

    check()


@in_no_time
async def test_without_a_time_limit_nobody_is_dropped() -> None:
    keeper = Keepalive(INTERVAL, None)
    connection = Connection(None)
    keeper.add(connection)
    await asyncio.sleep(50 * INTERVAL)
    assert connection.dropped is None
    assert connection.asked == 50
    keeper.discard(connection)


@in_no_time
async def test_pings_are_spread_over_the_interval() -> None:
    keeper = Keepalive(INTERVAL, None)
    connections = [Connection() for _ in range(64)]
    for connection in connections:
        keeper.add(connection)
        await asyncio.sleep(INTERVAL / 64)
    await asyncio.sleep(3 * INTERVAL)
    moments = [round(connection.pings[-1], 3) for connection in connections]
    assert len({*moments}) == STEPS
    assert max(moments.count(moment) for moment in moments) <= 64 / STEPS + 1
    for connection in connections:
        keeper.discard(connection)


@in_no_time
async def test_one_that_is_discarded_is_pinged_no_more() -> None:
    keeper = Keepalive(INTERVAL, INTERVAL / 2)
    gone, stays = Connection(None), Connection()
    keeper.add(gone)
    keeper.add(stays)
    await asyncio.sleep(INTERVAL + STEP)
    keeper.discard(gone)
    keeper.discard(gone)
    await asyncio.sleep(5 * INTERVAL)
    assert gone.asked == 1
    assert gone.dropped is None
    assert stays.asked == 6
    keeper.discard(stays)


@in_no_time
async def test_a_connection_may_go_while_others_are_dropped_or_pinged() -> None:
    class Murderer(Connection):
        def expire(self) -> None:
            super().expire()
            for each in others:
                keeper.discard(each)

        def ping(self) -> None:
            super().ping()
            if self.dropped is None and self.answers == 0:
                for each in others:
                    keeper.discard(each)

    for answers in (None, 0.0):
        keeper = Keepalive(INTERVAL, STEP)
        others = [Connection(None) for _ in range(20)]
        for each in [*others[:10], Murderer(answers, keeper), *others[10:]]:
            keeper.add(each)
        await asyncio.sleep(3 * INTERVAL)
        assert all(each.asked <= 1 for each in others)
        for left in [*keeper._slot_of]:
            keeper.discard(left)


@in_no_time
async def test_one_that_was_paused_meanwhile_is_pinged_again_and_not_dropped() -> None:
    keeper = Keepalive(INTERVAL, INTERVAL / 2)
    connection = Connection(None)
    keeper.add(connection)
    await asyncio.sleep(INTERVAL + STEP)
    assert connection.pinged is not None
    connection.pinged = None
    await asyncio.sleep(INTERVAL)
    assert connection.dropped is None
    assert len(connection.pings) == 2
    keeper.discard(connection)


@pytest.mark.parametrize("timeout", [INTERVAL / 2, 3 * INTERVAL])
@in_no_time
async def test_any_sign_of_life_saves_for_one_ping(timeout: float) -> None:
    keeper = Keepalive(INTERVAL, timeout)
    connection = Connection(None, keeper)
    keeper.add(connection)
    for alive in range(1, 4):
        await pinged(connection, alive)
        connection.silent = False
    await pinged(connection, 4)
    assert connection.dropped is None
    await asyncio.sleep(timeout + 2 * STEP)
    assert connection.dropped is not None
    assert connection.dropped - connection.pings[3] == pytest.approx(timeout, abs=STEP + ABOUT)


@pytest.mark.parametrize("timeout", [INTERVAL / 32, INTERVAL / 2, 3 * INTERVAL])
@in_no_time
async def test_one_that_takes_what_waits_is_asked_again_as_long_as_it_does(timeout: float) -> None:
    keeper = Keepalive(INTERVAL, timeout)
    connection = Connection(None, keeper)
    connection.waiting = 1_000_000
    keeper.add(connection)
    end = now() + 20 * (INTERVAL + timeout)
    while now() < end:
        await asyncio.sleep(timeout / 8)
        connection.taken += 1
    assert connection.dropped is None
    assert len(connection.pings) >= 19
    stopped = now()
    await asyncio.sleep(INTERVAL + 2 * timeout + 2 * STEP)
    assert connection.dropped is not None
    assert connection.dropped - stopped <= INTERVAL + 2 * timeout + STEP


@in_no_time
async def test_what_need_not_wait_is_no_sign_of_life() -> None:
    keeper = Keepalive(INTERVAL, INTERVAL)
    connection = Connection(None, keeper)
    keeper.add(connection)
    await pinged(connection)
    while connection.dropped is None:
        assert now() - connection.pings[0] <= INTERVAL + STEP
        connection.taken += 1
        await asyncio.sleep(STEP / 4)
    assert len(connection.pings) == 1


def busy(seconds: float) -> None:
    """Let the event loop be late by so much."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, QuickLoop)
    loop._jump.now += seconds


@given(
    timeout=st.floats(2 * STEP, 2 * INTERVAL),
    seconds=st.floats(0, 20 * INTERVAL),
    moment=st.floats(0, 1),
)
def test_the_time_in_which_the_loop_was_busy_is_given_back(
    timeout: float, seconds: float, moment: float
) -> None:
    @in_no_time
    async def check() -> None:
        keeper = Keepalive(INTERVAL, timeout)
        answers, dead = Connection(None, keeper), Connection(None, keeper)
        keeper.add(answers)
        keeper.add(dead)
        await pinged(dead)
        await asyncio.sleep(moment * (timeout - 2 * STEP))
        busy(seconds)
        # The tick comes first, and the answers are read after it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert answers.dropped is None
        answers.answer()
        answers.answers = 0.0
        await asyncio.sleep(timeout + 2 * STEP)
        assert dead.dropped is not None
        assert dead.dropped - dead.pings[0] <= timeout + seconds + 2 * STEP + ABOUT
        assert answers.dropped is None
        keeper.discard(answers)

    check()


@in_no_time
async def test_a_loop_that_is_always_late_drops_the_dead_all_the_same() -> None:
    keeper = Keepalive(INTERVAL, INTERVAL / 2)
    dead = Connection(None, keeper)
    keeper.add(dead)
    for _ in range(30):
        await asyncio.sleep(STEP - ABOUT)
        busy(3 * STEP)
    assert dead.dropped is not None


@in_no_time
async def test_all_pings_and_all_deadlines_come_from_one_timer() -> None:
    keeper = Keepalive(INTERVAL, INTERVAL / 2)
    connections = [Connection(None if n % 2 else 0.0) for n in range(20)]
    for connection in connections:
        keeper.add(connection)
        await asyncio.sleep(STEP / 8)
    await asyncio.sleep(INTERVAL + STEP)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, QuickLoop)
    assert any(connection.pinged is not None for connection in connections)
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    # The other one is the deadline of the test.
    assert len(timers) == 2
    for connection in connections:
        keeper.discard(connection)


@in_no_time
async def test_without_connections_there_is_no_timer_for_longer_than_a_step() -> None:
    keeper = Keepalive(INTERVAL, None)
    assert not keeper._armed
    connection = Connection()
    for _ in range(3):
        keeper.add(connection)
        assert keeper._armed
        await asyncio.sleep(2 * INTERVAL + STEP / 2)
        keeper.discard(connection)
        await asyncio.sleep(STEP)
        assert not keeper._armed
        asked = connection.asked
        await asyncio.sleep(2 * INTERVAL)
        assert connection.asked == asked
    assert connection.asked == 6


@in_no_time
async def test_what_was_never_there_can_be_discarded() -> None:
    Keepalive(INTERVAL, None).discard(Connection())


# --- one for a loop and its times ---


@in_no_time
async def test_the_same_times_share_a_keepalive() -> None:
    loop = asyncio.get_running_loop()
    first = keepalive(loop, 20.0, 20.0)
    assert first is not None
    assert keepalive(loop, 20.0, 20.0) is first
    assert keepalive(loop, 20.0, None) is not first
    assert keepalive(loop, 10.0, 20.0) is not first


@pytest.mark.parametrize(
    ("interval", "timeout"), [(1e-9, 1.0), (1e-9, None), (1.0, 1e-9), (1e-9, 1e-9), (0.07, 0.0)]
)
@in_no_time
async def test_no_times_are_so_short_that_nothing_else_happens(
    interval: float, timeout: float | None
) -> None:
    found = keepalive(asyncio.get_running_loop(), interval, timeout)
    assert found is not None
    assert found.step >= 0.001


@in_no_time
async def test_short_times_that_are_the_same_then_share_a_keepalive() -> None:
    loop = asyncio.get_running_loop()
    assert keepalive(loop, 1e-9, 1.0) is keepalive(loop, 1e-8, 1.0)


@pytest.mark.parametrize("interval", [None, 0, 0.0])
@in_no_time
async def test_no_interval_means_no_pings(interval: float | None) -> None:
    assert keepalive(asyncio.get_running_loop(), interval, 20.0) is None


def test_another_loop_has_another_one_and_none_is_held() -> None:
    found = []
    loops = []
    for _ in range(2):
        loop = asyncio.new_event_loop()
        found.append(keepalive(loop, 20.0, 20.0))
        loops.append(weakref.ref(loop))
        loop.close()
        del loop
    assert found[0] is not found[1]
    found.clear()
    gc.collect()
    assert [loop() for loop in loops] == [None, None]


# --- what an application asks for, instead of the server's own ---


def beating(interval: float, timeout: float) -> Any:
    """An application with a heartbeat of its own, which reads to the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][FRAMES_EXTENSION].heartbeat(interval, timeout)
        await accepts(scope, receive, send)

    return app


async def pings_of(served: Served, seconds: float) -> list[bytes]:
    """Return the payloads of the pings of so many seconds, which are all answered."""
    found = []
    for _ in range(int(seconds * 4)):
        await asyncio.sleep(0.25)
        for first, payload in served.transport.frames():
            assert first == FIN | PING
            found.append(payload)
            served.transport.feed(frame(PONG, payload))
    return found


@pytest.mark.parametrize(("interval", "pings"), [(5.0, 20), (50.0, 2), (math.inf, 0)])
@in_no_time
async def test_a_heartbeat_takes_the_place_of_the_servers_pings(
    interval: float, pings: int
) -> None:
    served = Served(beating(interval, 60.0), ws_ping_interval=20.0)
    await served.opened()
    found = await pings_of(served, 100)
    assert len(found) == pytest.approx(pings, abs=1 if pings else 0)
    assert (served.protocol._channel.latency is not None) == bool(pings)
    served.transport.lose(None)
    await turns()


@in_no_time
async def test_who_gives_no_sign_of_life_is_dropped_and_nobody_else() -> None:
    silent, busy = (Served(beating(8.0, 4.0)) for _ in range(2))
    await silent.opened()
    await busy.opened()
    # The connections of one heartbeat have one keepalive, those of another have their own.
    assert silent.protocol._channel.keepalive is busy.protocol._channel.keepalive
    other = Served(beating(8.0, 5.0))
    await other.opened()
    assert other.protocol._channel.keepalive is not silent.protocol._channel.keepalive
    other.transport.lose(None)
    # Its pong would be behind this: a frame that takes long.
    message = frame(BINARY, bytes(100))
    for part in message:
        busy.transport.feed(bytes([part]))
        await asyncio.sleep(0.5)
    assert silent.transport.aborted
    assert (FIN | CLOSE, closing(1011, "keepalive ping timeout")) in silent.transport.frames()
    assert not busy.transport.closing
    await asyncio.sleep(8 + 4 + 4)
    assert busy.transport.aborted


@pytest.mark.parametrize(
    "sign", [frame(TEXT, b"x"), frame(PING), frame(PONG, b"another"), frame(BINARY, bytes(9))[:3]]
)
@in_no_time
async def test_whatever_comes_is_a_sign_of_life(sign: bytes) -> None:
    connection = opened()
    channel = connection.channel
    channel.ping()
    assert channel.silent
    connection.transport.feed(sign)
    assert not channel.silent
    # It is not the answer: that one measures the latency.
    assert channel.pinged is not None
    channel.pinged = None
    channel.ping()
    assert channel.silent
    channel.abort()
    await turns()


@in_no_time
async def test_it_begins_where_something_has_accepted_before_the_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"][FRAMES_EXTENSION].heartbeat(5.0, 60.0)
        await receive()

    served = Served(app, ws_ping_interval=20.0)
    await served.opened()
    assert len(await pings_of(served, 100)) == pytest.approx(20, abs=1)
    served.transport.lose(None)
    await turns()
