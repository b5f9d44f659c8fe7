"""The application, running for one connection: how it failed, what it leaves behind."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from telex import _failures
from telex._types import ASGIApp, Scope
from telex.testing._errors import ExpectationFailed, HandlersSurvived
from telex.testing._owner import Owned, owner
from telex.testing._parked import describe
from telex.testing._wire import ClientGone, Wire

_SPARE: Final = 1.0
"""Seconds a cancelled task gets to come to its end."""

_DISCONNECTS: Final = frozenset({"WebSocketDisconnect", "ClientDisconnected"})
"""Classes by which frameworks tell a handler that its client has left."""


class Run:
    """One call of an ASGI application in a task of its own.

    Attributes:
        failure: The first exception that came out of it, or that Telex has answered for it. What
            only says that the client has left is none.
    """

    def __init__(self, app: ASGIApp, scope: Scope, wire: Wire) -> None:
        self.failure: BaseException | None = None
        self._wire = wire
        self._owned = Owned()
        # The task is made in a copy of the context, so that it has its own variables.
        work = self._call(app, scope)
        self._task = asyncio.create_task(work, name=f"the application at {scope['path']!r}")
        self._task.add_done_callback(self._ended)

    @property
    def over(self) -> bool:
        """Whether the application has returned or raised."""
        return self._task.done()

    def parked(self) -> str:
        """Say where the application waits."""
        return describe(self._task)

    async def finish(self, patience: float | None, *, check_tasks: bool) -> None:
        """Wait until the application has ended, and what it has started with it.

        What is still there after that is cancelled.

        Args:
            patience: Seconds to wait, `None` for as long as it takes.
            check_tasks: Whether the tasks that it has started count.

        Raises:
            HandlersSurvived: Something had to be cancelled.
        """
        left = await self._wait(patience, check_tasks=check_tasks)
        if not left:
            return
        # Telex's own end with the handler that they are for.
        named = {task for task in left if not task.get_name().startswith("telex ")} or left
        where = "\n".join(sorted(map(describe, named)))
        await _cancel(left)
        raise HandlersSurvived(
            f"after the end of the connection and {patience:g} s more, still running:\n{where}"
        )

    async def _wait(self, patience: float | None, *, check_tasks: bool) -> set[asyncio.Task[Any]]:
        loop = asyncio.get_running_loop()
        end = None if patience is None else loop.time() + patience
        while left := self._running(check_tasks=check_tasks):
            seconds = None if end is None else max(0.0, end - loop.time())
            done, _ = await asyncio.wait(left, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                # Not those of before: they may have started others meanwhile.
                return self._running(check_tasks=check_tasks)
        return left

    def _running(self, *, check_tasks: bool) -> set[asyncio.Task[Any]]:
        if check_tasks:
            return self._owned.running() | ({self._task} if not self._task.done() else set())
        return set() if self._task.done() else {self._task}

    async def _call(self, app: ASGIApp, scope: Scope) -> None:
        owner.set(self._owned)
        _failures.observer.set(self._note)
        await app(scope, self._wire.receive, self._wire.send)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._note(failure)
        self._wire.app_ended()

    def _note(self, failure: BaseException) -> None:
        if isinstance(failure, asyncio.CancelledError):
            # Raised as it is, it would cancel the test instead of failing it.
            cause, failure = failure, ExpectationFailed("the application raised CancelledError")
            failure.__cause__ = cause
        if self.failure is None and not self._says_that_the_client_left(failure):
            self.failure = failure
            self._wire.bell.ring()

    def _says_that_the_client_left(self, failure: BaseException) -> bool:
        """Whether it is how a framework, or this client, says so; in groups as well."""
        if self._wire.closed is None:
            return False
        if isinstance(failure, BaseExceptionGroup):
            return all(map(self._says_that_the_client_left, failure.exceptions))
        names = {cls.__name__ for cls in type(failure).__mro__}
        return isinstance(failure, ClientGone) or not names.isdisjoint(_DISCONNECTS)


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks and await their end for a while."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=_SPARE)
