"""Every connection is pinged once an interval, and dropped when it does not answer in time."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.transports import in_no_time
from telex.server._keepalive import _STEPS, Keepalive, keepalive

INTERVAL = 16.0
STEP = INTERVAL / _STEPS
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

    def ping(self) -> None:
        self.asked += 1
        if self.pinged is None:
            loop = asyncio.get_running_loop()
            self.pinged = loop.time()
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


@given(
    opened=st.lists(st.floats(0, 3 * INTERVAL), min_size=1, max_size=8),
    answers=st.floats(0, INTERVAL / 2),
)
def test_every_connection_is_pinged_once_an_interval(opened: list[float], answers: float) -> None:
    @in_no_time
    async def check() -> None:
        keeper = Keepalive(INTERVAL, INTERVAL)
        loop = asyncio.get_running_loop()
        start = now()
        connections = [Connection(answers) for _ in opened]
        for moment, connection in zip(opened, connections, strict=True):
            loop.call_at(start + moment, keeper.add, connection)
        await asyncio.sleep(10 * INTERVAL)
        for moment, connection in zip(opened, connections, strict=True):
            times = [start + moment, *connection.pings]
            assert INTERVAL - STEP - ABOUT < times[1] - times[0] < INTERVAL + ABOUT
            for before, after in itertools.pairwise(times[1:]):
                assert after - before == pytest.approx(INTERVAL)
            assert times[-1] >= now() - INTERVAL - ABOUT
            assert connection.dropped is None
            keeper.discard(connection)

    check()


@given(
    timeout=st.floats(STEP, 3 * INTERVAL),
    silent=st.lists(st.booleans(), min_size=1, max_size=6),
    apart=st.floats(0, INTERVAL),
)
def test_one_that_does_not_answer_is_dropped_within_a_step(
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
                assert timeout - ABOUT <= waited <= timeout + STEP + ABOUT
            else:
                assert connection.dropped is None
                keeper.discard(connection)

    check()


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
    assert len({*moments}) == _STEPS
    assert max(moments.count(moment) for moment in moments) <= 5
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


@in_no_time
async def test_there_is_no_timer_without_connections() -> None:
    keeper = Keepalive(INTERVAL, None)
    assert keeper._timer is None
    connection = Connection()
    for _ in range(3):
        keeper.add(connection)
        timer = keeper._timer
        assert timer is not None
        await asyncio.sleep(2 * INTERVAL)
        keeper.discard(connection)
        assert keeper._timer is None
        assert timer.cancelled() or timer.when() <= now()
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
