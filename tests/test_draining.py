"""Who is asked before a server stops: everybody who has connections of it, once."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import math
from collections.abc import Collection
from typing import Any

import pytest

from opened import soon, turns
from telex._draining import Draining, drains_here, server_here, stops_here


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


def begun() -> Draining:
    """Return what the server of the current task has."""
    draining = Draining()
    draining.begin()
    return draining


async def test_all_are_asked_at_once_and_their_tasks_are_returned() -> None:
    draining = begun()
    first, second = Drained(await a_task()), Drained(await a_task(), await a_task())
    for each in (first, second, first):
        drains_here(each)
    first.go_on.clear()
    second.go_on.clear()
    asking = asyncio.create_task(draining.drain_all(5, 3.0))
    await turns()
    assert len(first.timeouts) == len(second.timeouts) == 1
    assert first.timeouts[0] == pytest.approx(5, abs=1)
    first.go_on.set()
    second.go_on.set()
    assert await soon(asking) == {*first.tasks, *second.tasks}
    draining.end()


async def test_there_may_be_no_limit() -> None:
    draining = begun()
    each = Drained()
    drains_here(each)
    assert await soon(draining.drain_all(math.inf, 3.0)) == set()
    assert each.timeouts == [math.inf]
    draining.end()


async def test_without_anybody_nothing_is_to_be_done() -> None:
    draining = begun()
    assert await soon(draining.drain_all(math.inf, 3.0)) == set()
    draining.end()


async def test_whoever_comes_meanwhile_is_asked_too_within_the_same_time() -> None:
    draining = begun()
    first, second = Drained(), Drained(await a_task())
    drains_here(first)
    first.go_on.clear()
    asking = asyncio.create_task(draining.drain_all(5, 3.0))
    await turns()
    drains_here(second)
    await turns()
    assert second.timeouts == []
    first.go_on.set()
    assert await soon(asking) == {*second.tasks}
    assert 0 <= second.timeouts[0] < 5
    draining.end()
    assert (first.ended, second.ended) == (1, 1)


async def test_all_who_were_asked_are_told_of_the_end_once() -> None:
    draining = begun()
    each, other = Drained(), Drained()
    drains_here(each)
    await soon(draining.drain_all(math.inf, 3.0))
    drains_here(other)
    draining.end()
    draining.end()
    assert (each.ended, other.ended) == (1, 0)
    # Another server on this event loop.
    drains_here(each)
    await soon(draining.drain_all(math.inf, 3.0))
    assert len(each.timeouts) == 2
    draining.end()


async def test_a_failure_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    draining = begun()
    broken, works = Drained(failure=ZeroDivisionError("a mistake")), Drained(await a_task())
    drains_here(broken)
    drains_here(works)
    with caplog.at_level(logging.ERROR, "telex"):
        assert await soon(draining.drain_all(math.inf, 3.0)) == {*works.tasks}
    (record,) = caplog.records
    assert record.getMessage() == "connections could not be ended"
    assert record.exc_info is not None
    assert record.exc_info[1] is broken.failure
    draining.end()


async def test_cancelling_it_cancels_what_it_waits_for() -> None:
    draining = begun()
    each = Drained()
    each.go_on.clear()
    drains_here(each)
    asking = asyncio.create_task(draining.drain_all(math.inf, 3.0))
    await turns()
    asking.cancel()
    await soon(asyncio.wait((asking,)))
    assert asking.cancelled()
    draining.end()
    assert each.ended == 1


async def test_each_server_asks_those_whose_connections_it_has() -> None:
    """Two on one event loop: what a task is started from tells whose it is."""
    drained = [Drained(await a_task()), Drained(await a_task())]

    async def connection(each: Drained) -> None:
        await asyncio.sleep(0)
        drains_here(each)

    async def server(each: Drained) -> Draining:
        draining = begun()
        await asyncio.create_task(connection(each))
        return draining

    first, second = [await asyncio.create_task(server(each)) for each in drained]
    assert await soon(second.drain_all(math.inf, 3.0)) == {*drained[1].tasks}
    assert drained[0].timeouts == []
    second.end()
    assert [each.ended for each in drained] == [0, 1]
    assert await soon(first.drain_all(math.inf, 3.0)) == {*drained[0].tasks}
    first.end()


async def test_who_is_nobodys_is_asked_by_whoever_stops_first() -> None:
    """Such as a connection in a context of its own."""
    each = Drained()
    draining = begun()
    contextvars.Context().run(drains_here, each)
    await soon(Draining().drain_all(math.inf, 3.0))
    await soon(draining.drain_all(math.inf, 3.0))
    assert len(each.timeouts) == 1
    draining.end()
    assert each.ended == 0


async def test_while_a_server_asks_it_is_the_one_of_the_task() -> None:
    """Whoever is asked can tell which connections are meant, and which server has stopped."""
    seen: list[object] = []

    class Looks(Drained):
        async def drain(self, timeout: float, cleanup_timeout: float) -> list[asyncio.Task[Any]]:
            seen.append(server_here())
            return []

        def drained(self) -> None:
            seen.append(server_here())

    loop, looks = asyncio.get_running_loop(), Looks()
    assert server_here() is loop
    draining = begun()
    drains_here(looks)
    await soon(draining.drain_all(math.inf, 3.0))
    draining.end()
    assert seen == [draining, draining]
    assert server_here() is loop


async def test_a_task_stops_with_its_server_and_one_without_any_with_the_first() -> None:
    other = Draining()
    assert (stops_here([]), stops_here([other])) == (False, True)
    draining = begun()
    assert (stops_here([other]), stops_here([other, draining])) == (False, True)
    draining.end()


async def test_a_server_in_a_server_is_the_one_that_counts_until_it_has_stopped() -> None:
    outer, inner = Drained(), Drained()
    outside = begun()
    inside = begun()
    drains_here(inner)
    inside.end()
    drains_here(outer)
    await soon(outside.drain_all(math.inf, 3.0))
    outside.end()
    assert (len(outer.timeouts), len(inner.timeouts)) == (1, 0)


def test_each_event_loop_has_its_own() -> None:
    async def enter() -> Drained:
        each = Drained()
        drains_here(each)
        return each

    elsewhere = asyncio.run(enter())

    async def drain() -> None:
        assert await Draining().drain_all(math.inf, 3.0) == set()

    asyncio.run(drain())
    assert elsewhere.timeouts == []


@pytest.mark.parametrize("served", [True, False])
async def test_nobody_is_kept_alive_by_it(served: bool) -> None:
    draining = begun() if served else Draining()
    drains_here(Drained())
    gc.collect()
    assert await soon(draining.drain_all(math.inf, 3.0)) == set()
    draining.end()
