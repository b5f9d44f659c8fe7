"""What waits for the accept is done once, in order, whatever becomes of the accept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from opened import soon, turns
from telex._acceptance import complete, complete_later
from telex._progress import Progress

variable: ContextVar[str] = ContextVar("variable")

FOR_EVER = 600.0


class Waiters:
    """What waits for the accept of one connection."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.progress.on_accept = []
        self.done: list[str] = []

    def add(self, name: str, work: Callable[[], Awaitable[object]] | None = None) -> None:
        async def callback() -> None:
            self.done.append(name)
            if work is not None:
                await work()

        assert self.progress.on_accept is not None
        self.progress.on_accept.append(callback)


async def fail() -> None:
    raise RuntimeError("the first")


async def fail_too() -> None:
    raise RuntimeError("the second")


async def hang() -> None:
    await asyncio.sleep(FOR_EVER)


async def test_it_is_done_in_order_and_once() -> None:
    waiters = Waiters()
    for name in "abc":
        waiters.add(name)
    await complete(waiters.progress)
    await complete(waiters.progress)
    assert waiters.done == ["a", "b", "c"]


async def test_what_fails_keeps_nothing_else_from_being_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waiters = Waiters()
    waiters.add("a", fail)
    waiters.add("b", fail_too)
    waiters.add("c")
    with pytest.raises(RuntimeError, match="the first"):
        await complete(waiters.progress)
    assert waiters.done == ["a", "b", "c"]
    assert [record.getMessage() for record in caplog.records] == ["error after an accept"]


async def test_a_cancellation_leaves_the_rest_for_later() -> None:
    waiters = Waiters()
    waiters.add("a", hang)
    waiters.add("b")
    task = asyncio.ensure_future(complete(waiters.progress))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert waiters.done == ["a"]
    rest = complete_later(waiters.progress)
    assert rest is not None
    await soon(rest)
    assert waiters.done == ["a", "b"]


async def test_later_is_in_the_context_of_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    variable.set("of the connection")
    waiters = Waiters()
    seen: list[str] = []

    async def look() -> None:
        seen.append(variable.get())

    waiters.add("a", look)
    waiters.add("b", fail)
    variable.set("of somebody")
    rest = complete_later(waiters.progress)
    assert rest is not None
    await soon(rest)
    assert seen == ["of the connection"]
    assert [record.getMessage() for record in caplog.records] == ["error after an accept"]


async def test_there_is_no_task_for_nothing() -> None:
    assert complete_later(Progress()) is None
    assert complete_later(Waiters().progress) is None
