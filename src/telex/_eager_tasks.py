"""Tasks whose first step is made by who starts them, like the eager tasks of Python 3.12.

Most sends are over at once, and a task for each costs more than the send.

Rules:

1. A coroutine sees what it would see in a task of its own: `asyncio.current_task()` is the task
   that goes on with it when it waits for something, it has a context of its own, and a
   cancellation reaches it where it waits. So timeouts and cancel scopes may be used in it.
2. A task that was not needed serves whatever else is begun in that turn of the event loop, and
   ends with the turn: nothing is left behind.
3. Where somebody else makes the tasks of a loop (a task factory), nothing is done here.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

Then = Callable[[BaseException | None], Coroutine[Any, Any, None]]
"""Gets how a coroutine ended, the error or `None`; what it returns is run behind it."""


class EagerTasks:
    """Begins coroutines on one event loop."""

    __slots__ = ("_rest", "_task")

    def __init__(self) -> None:
        # The task that has not been needed in this turn, and what it will go on with.
        self._task: asyncio.Task[None] | None = None
        self._rest: _Rest | None = None

    def task(self, name: str) -> asyncio.Task[None] | None:
        """Return the task in which the next coroutine will be; `None`: make one yourself.

        Args:
            name: Of the task, should it be made now.
        """
        task = self._task
        if task is None or task.cancelling():
            loop = asyncio.get_running_loop()
            if loop.get_task_factory() is not None:
                return None
            self._rest = _Rest(self)
            rest = cast("Coroutine[Any, Any, None]", self._rest)
            self._task = task = loop.create_task(rest, name=name)
        return task

    def begin(
        self, coro: Coroutine[Any, Any, None], then: Then, context: contextvars.Context
    ) -> bool:
        """Run a coroutine in the task that `task` has just returned, up to where it waits.

        Args:
            coro: The coroutine.
            then: Goes on when it has waited or failed; called in the task.
            context: Of the task; nobody else may use it.

        Returns:
            Whether it is over and was no failure; `then` will not be called.
        """
        task, rest = self._task, self._rest
        assert task is not None
        assert rest is not None
        # What is begun meanwhile, from within, needs a task of its own.
        self._task = self._rest = None
        loop = task.get_loop()
        starter = asyncio.current_task(loop)
        if starter is not None:
            asyncio._leave_task(loop, starter)
        asyncio._enter_task(loop, task)
        try:
            waits_for = context.run(coro.send, None)
        except StopIteration:
            self._task, self._rest = task, rest
            return True
        except (Exception, asyncio.CancelledError) as error:
            rest.fail(context, then, error)
        else:
            rest.take(context, then, coro, waits_for)
        finally:
            asyncio._leave_task(loop, task)
            if starter is not None:
                asyncio._enter_task(loop, starter)
        return False

    def end(self, rest: object) -> None:
        """Take note that a task makes its first step: it serves nobody else."""
        if self._rest is rest:
            self._task = self._rest = None


@Coroutine.register
class _Rest:
    """What is left of a coroutine that has begun, as a coroutine; nothing if there is none.

    No `async def`, which a cancellation does not reach before the first step of its task.
    """

    # Of the class as long as there is nothing: most are never needed.
    _begun = False
    _context = contextvars.Context()
    _coro: Coroutine[Any, Any, None] | None = None
    _then: Then | None = None
    _error: BaseException | None = None
    _waits_for: Any = None
    _awaited = False

    def __init__(self, tasks: EagerTasks) -> None:
        self._tasks = tasks

    def take(
        self,
        context: contextvars.Context,
        then: Then,
        coro: Coroutine[Any, Any, None],
        waits_for: Any,
    ) -> None:
        """Go on with a coroutine, which waits for something."""
        self._context, self._then, self._coro, self._waits_for = context, then, coro, waits_for
        # What is no future is asyncio's to refuse, and what has been yielded before its time.
        self._awaited = getattr(waits_for, "_asyncio_future_blocking", None) is True
        if self._awaited:
            # Somebody else may come to wait for the same before the task does.
            waits_for._asyncio_future_blocking = False

    def fail(self, context: contextvars.Context, then: Then, error: BaseException) -> None:
        """Go on behind a coroutine that has failed."""
        self._context, self._then, self._error = context, then, error

    def send(self, value: Any) -> Any:
        waits_for = self._first()
        if self._then is None and self._coro is None:
            raise StopIteration
        if waits_for is not None:
            return self._yielded(waits_for)
        if self._coro is not None:
            return self._step(self._coro.send, value)
        try:
            return self._go_on(self._error)
        finally:
            self._error = None

    def throw(self, error: Any, value: Any = None, traceback: Any = None) -> Any:
        waits_for = self._first()
        try:
            # A task that is cancelled cancels first what it waits for.
            if self._awaited and waits_for is not None and waits_for.cancel(*error.args):
                return self._yielded(waits_for)
            if self._coro is not None:
                return self._step(self._coro.throw, error)
            if self._then is None:
                raise error
            return self._go_on(error)
        finally:
            # Its traceback holds this frame: no circle may be left.
            del error

    @property
    def cr_frame(self) -> Any:
        """Where it waits, for `Task.get_stack`."""
        return getattr(self._coro, "cr_frame", None)

    def _first(self) -> Any:
        """Take note of a step of the task; return what has to be waited for first."""
        if not self._begun:
            self._begun = True
            self._tasks.end(self)
        waits_for, self._waits_for = self._waits_for, None
        return waits_for

    def _yielded(self, waits_for: Any) -> Any:
        if self._awaited:
            waits_for._asyncio_future_blocking = True
        return waits_for

    def _step(self, step: Callable[[Any], Any], value: Any) -> Any:
        error: BaseException | None = None
        try:
            return self._context.run(step, value)
        except StopIteration:
            pass
        except BaseException as exc:
            error = exc
        finally:
            del value
        try:
            return self._go_on(error)
        finally:
            del error

    def _go_on(self, error: BaseException | None) -> Any:
        """Make the first step of what comes behind the coroutine, if anything does."""
        try:
            if self._then is None:
                raise StopIteration if error is None else error
            self._coro, self._then = self._then(error), None
            return self._context.run(self._coro.send, None)
        finally:
            del error


_all: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, EagerTasks]] = WeakKeyDictionary()


def eager_tasks() -> EagerTasks:
    """Return what begins coroutines on the running event loop, the same one every time."""
    return _all.setdefault(asyncio.get_running_loop(), EagerTasks())
