"""Who is asked before the server stops: everybody who has connections on its event loop, once."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from collections.abc import Collection
from typing import Any

import pytest

from opened import soon, turns
from telex._draining import drain_all, drains_here, end_draining


class Drained:
    """Notes what it is asked, and says what it was given."""

    def __init__(self, *tasks: asyncio.Task[Any], failure: BaseException | None = None) -> None:
        self.tasks = tasks
        self.failure = failure
        self.timeouts: list[float] = []
        self.ended = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def drain(self, timeout: float, cleanup_timeout: float) -> Collection[asyncio.Task[Any]]:
        assert cleanup_timeout == 3.0
        self.timeouts.append(timeout)
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        return self.tasks

    def drained(self) -> None:
        self.ended += 1


async def a_task() -> asyncio.Task[None]:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    return task


async def test_all_are_asked_at_once_and_their_tasks_are_returned() -> None:
    first, second = Drained(await a_task()), Drained(await a_task(), await a_task())
    for each in (first, second, first):
        drains_here(each)
    first.go_on.clear()
    second.go_on.clear()
    draining = asyncio.create_task(drain_all(5, 3.0))
    await turns()
    assert len(first.timeouts) == len(second.timeouts) == 1
    assert first.timeouts[0] == pytest.approx(5, abs=1)
    first.go_on.set()
    second.go_on.set()
    assert await soon(draining) == {*first.tasks, *second.tasks}
    end_draining()


async def test_there_may_be_no_limit() -> None:
    each = Drained()
    drains_here(each)
    assert await soon(drain_all(math.inf, 3.0)) == set()
    assert each.timeouts == [math.inf]
    end_draining()


async def test_without_anybody_nothing_is_to_be_done() -> None:
    assert await soon(drain_all(math.inf, 3.0)) == set()
    end_draining()


async def test_whoever_comes_meanwhile_is_asked_too_within_the_same_time() -> None:
    first, second = Drained(), Drained(await a_task())
    drains_here(first)
    first.go_on.clear()
    draining = asyncio.create_task(drain_all(5, 3.0))
    await turns()
    drains_here(second)
    await turns()
    assert second.timeouts == []
    first.go_on.set()
    assert await soon(draining) == {*second.tasks}
    assert 0 <= second.timeouts[0] < 5
    end_draining()
    assert (first.ended, second.ended) == (1, 1)


async def test_all_who_were_asked_are_told_of_the_end_once() -> None:
    each, other = Drained(), Drained()
    drains_here(each)
    await soon(drain_all(math.inf, 3.0))
    drains_here(other)
    end_draining()
    end_draining()
    assert (each.ended, other.ended) == (1, 0)
    # Another server on this event loop.
    drains_here(each)
    await soon(drain_all(math.inf, 3.0))
    assert len(each.timeouts) == 2
    end_draining()


async def test_a_failure_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    broken, works = Drained(failure=ZeroDivisionError("a mistake")), Drained(await a_task())
    drains_here(broken)
    drains_here(works)
    with caplog.at_level(logging.ERROR, "telex"):
        assert await soon(drain_all(math.inf, 3.0)) == {*works.tasks}
    (record,) = caplog.records
    assert record.getMessage() == "connections could not be ended"
    assert record.exc_info is not None
    assert record.exc_info[1] is broken.failure
    end_draining()


async def test_cancelling_it_cancels_what_it_waits_for() -> None:
    each = Drained()
    each.go_on.clear()
    drains_here(each)
    draining = asyncio.create_task(drain_all(math.inf, 3.0))
    await turns()
    draining.cancel()
    await soon(asyncio.wait((draining,)))
    assert draining.cancelled()
    end_draining()
    assert each.ended == 1


def test_each_event_loop_has_its_own() -> None:
    async def enter() -> Drained:
        each = Drained()
        drains_here(each)
        return each

    elsewhere = asyncio.run(enter())

    async def drain() -> None:
        assert await drain_all(math.inf, 3.0) == set()

    asyncio.run(drain())
    assert elsewhere.timeouts == []


async def test_nobody_is_kept_alive_by_it() -> None:
    drains_here(Drained())
    gc.collect()
    assert await soon(drain_all(math.inf, 3.0)) == set()
    end_draining()
