"""Visiting many in turn, from one timer, with a clock that waits for a loop that is late."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.transports import in_no_time
from telex._rounds import _SHORTEST, Rounds, rounds

PERIOD = 8.0
ABOUT = 1e-6


class Visitor:
    """Notes when it was visited."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.clocks: list[float] = []

    def visit(self, now: float, clock: float) -> None:
        assert now == asyncio.get_running_loop().time()
        self.times.append(now)
        self.clocks.append(clock)


@given(moments=st.lists(st.floats(0, 3 * PERIOD), min_size=1, max_size=8), steps=st.integers(1, 20))
def test_everything_is_visited_once_a_period(moments: list[float], steps: int) -> None:
    @in_no_time
    async def check() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        of_all, visitors = Rounds(PERIOD, steps), [Visitor() for _ in moments]
        assert of_all.step == PERIOD / steps
        for moment, visitor in zip(moments, visitors, strict=True):
            loop.call_at(start + moment, of_all.add, visitor)
        await asyncio.sleep(10 * PERIOD)
        for moment, visitor in zip(moments, visitors, strict=True):
            first = visitor.times[0] - start - moment
            assert PERIOD - of_all.step - ABOUT <= first <= PERIOD + ABOUT
            for before, after in itertools.pairwise(visitor.times):
                assert after - before == pytest.approx(PERIOD)
            assert visitor.times[-1] > loop.time() - PERIOD - ABOUT

    check()


@in_no_time
async def test_what_is_discarded_is_visited_no_more() -> None:
    of_all, stays, goes = Rounds(PERIOD), Visitor(), Visitor()
    of_all.add(stays)
    of_all.add(goes)
    await asyncio.sleep(PERIOD + ABOUT)
    of_all.discard(goes)
    of_all.discard(goes)
    await asyncio.sleep(PERIOD)
    assert (len(stays.times), len(goes.times)) == (2, 1)


def timers() -> int:
    loop = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]


@in_no_time
async def test_there_is_no_timer_a_step_after_the_last_one_left() -> None:
    idle = timers()
    of_all, visitor = Rounds(PERIOD), Visitor()
    for _ in range(3):
        of_all.add(visitor)
        assert timers() == idle + 1
        of_all.discard(visitor)
        await asyncio.sleep(of_all.step + ABOUT)
        assert timers() == idle
    assert of_all.clock == 0.0


@in_no_time
async def test_one_timer_is_enough() -> None:
    idle = timers()
    of_all, visitors = Rounds(PERIOD), [Visitor() for _ in range(100)]
    for each in visitors:
        of_all.add(each)
    assert timers() == idle + 1
    await asyncio.sleep(3 * PERIOD)
    assert timers() == idle + 1
    for each in visitors:
        of_all.discard(each)
    await asyncio.sleep(of_all.step + ABOUT)


@in_no_time
async def test_one_that_leaves_while_visited_may_take_another_one_along() -> None:
    of_all = Rounds(PERIOD)

    class Leaver(Visitor):
        def visit(self, now: float, clock: float) -> None:
            super().visit(now, clock)
            of_all.discard(self)

    leavers = [Leaver(), Leaver()]
    for each in leavers:
        of_all.add(each)
    await asyncio.sleep(3 * PERIOD)
    assert [len(each.times) for each in leavers] == [1, 1]


@in_no_time
async def test_one_that_fails_is_logged_and_the_others_are_visited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    of_all, other = Rounds(PERIOD), Visitor()

    class Broken(Visitor):
        def visit(self, now: float, clock: float) -> None:
            raise ValueError("broken")

    broken = Broken()
    of_all.add(broken)
    of_all.add(other)
    await asyncio.sleep(2 * PERIOD + ABOUT)
    assert len(other.times) == 2
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ValueError] * 2


@in_no_time
async def test_the_clock_does_not_go_on_while_the_loop_is_busy() -> None:
    loop = asyncio.get_running_loop()
    of_all, visitors = Rounds(PERIOD), [Visitor(), Visitor()]
    of_all.add(visitors[0])
    await asyncio.sleep(of_all.step + ABOUT)
    of_all.add(visitors[1])
    await asyncio.sleep(2 * PERIOD)
    # Nothing of the loop runs for an hour.
    loop._selector.now += 3000.0  # type: ignore[attr-defined]
    await asyncio.sleep(2 * PERIOD)
    for each in visitors:
        assert max(after - before for before, after in itertools.pairwise(each.clocks)) == PERIOD
    assert any(after - before > 2000 for before, after in itertools.pairwise(visitors[0].times))


@in_no_time
async def test_the_same_period_shares_rounds_and_no_period_is_too_short() -> None:
    assert rounds(1.0) is rounds(1.0)
    assert rounds(1.0) is not rounds(2.0)
    assert rounds(1e-9) is rounds(_SHORTEST)


def test_every_loop_has_its_own_which_go_with_it() -> None:
    async def mine() -> Rounds:
        found = rounds(1.0)
        found.add(Visitor())
        return found

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        of_first = first.run_until_complete(mine())
        assert second.run_until_complete(mine()) is not of_first
    finally:
        first.close()
        second.close()
    gone = weakref.ref(of_first)
    del of_first, first, second
    gc.collect()
    assert gone() is None
