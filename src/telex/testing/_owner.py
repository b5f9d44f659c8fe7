"""Which tasks belong to which connection.

A task belongs to the connection whose handler, or whose task, has made it. The event loop knows
nothing of that, so its task factory is asked to say when a task is made; in what context, the
context variable says.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final


class Owned:
    """The tasks of one connection; those that are gone are forgotten."""

    def __init__(self) -> None:
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    def add(self, task: asyncio.Task[Any]) -> None:
        """Remember a task."""
        self._tasks.add(task)

    def running(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that have not ended."""
        return {task for task in self._tasks if not task.done()}


owner: Final[ContextVar[Owned | None]] = ContextVar("telex_testing_owner", default=None)
"""Whose tasks are made in this context."""


class _Factory:
    """A task factory around the one that was there, if there was one."""

    def __init__(self, before: Any) -> None:
        self.before = before
        self.users = 0

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Future[Any]:
        task: asyncio.Future[Any]
        if self.before is not None:
            task = self.before(loop, coro, **options)
        else:
            task = asyncio.Task(coro, loop=loop, **options)
        owned = owner.get()
        if owned is not None and isinstance(task, asyncio.Task):
            owned.add(task)
        return task


@contextmanager
def watching_tasks() -> Iterator[None]:
    """Have the running loop say whose tasks are made, for as long as the context is open.

    Contexts may overlap. A factory that somebody has set meanwhile stays.
    """
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    factory = before if isinstance(before, _Factory) else _Factory(before)
    loop.set_task_factory(factory)
    factory.users += 1
    try:
        yield
    finally:
        factory.users -= 1
        if not factory.users and loop.get_task_factory() is factory:
            loop.set_task_factory(factory.before)
