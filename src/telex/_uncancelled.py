"""Awaiting something to its end although the task is being cancelled, in the task itself.

`_cleanup.shielded` does it in another task, where context variables, task groups and cancel
scopes that were entered in this one cannot be left. Here cancellations are withheld instead.

A timeout or a task group inside of the work cancels the task, too. Such a cancellation is told by
its context: it comes out of a callback that was registered while the work ran.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Final, Generic, TypeVar

log: Final = logging.getLogger("telex")

T = TypeVar("T")

AGAIN: Final = 1.0
"""Seconds between two attempts to cancel work that goes on."""

_within: ContextVar[tuple[Uncancelled[Any], ...]] = ContextVar("telex.uncancelled", default=())
"""What this code is the work of, the innermost last."""


class Uncancelled(Generic[T]):
    """Await it to run a coroutine in the current task; a cancellation is raised afterwards.

    Unless it was taken back meanwhile (`asyncio.Task.uncancel`), or the work raises something
    else: as in a task group, errors come first.

    Args:
        work: The coroutine.
        timeout: Seconds after which it is cancelled nevertheless, again and again until it ends;
            that is logged.
        what: What it does, for the log.

    Raises (when awaited):
        CancelledError: The task was cancelled meanwhile.
        TimeoutError: The work was cancelled because the time was up, and nothing else was.
        BaseException: What the work raised.
    """

    def __init__(self, work: Coroutine[Any, Any, T], timeout: float, what: str) -> None:
        self._work = work
        self._timeout = timeout
        self._what = what
        self._timer: asyncio.TimerHandle | None = None
        self._withheld: asyncio.CancelledError | None = None
        self._waited: asyncio.Future[Any] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pending: asyncio.CancelledError | None = None
        self._expired = False

    def __await__(self) -> Generator[Any, None, T]:
        self._timer = asyncio.get_running_loop().call_later(self._timeout, self._expire)
        outer = _within.get()
        _within.set((*outer, self))
        try:
            result = yield from self._drive()
        except GeneratorExit:
            # The event loop is gone.
            self._work.close()
            raise
        except asyncio.CancelledError as exc:
            if is_being_cancelled():
                if self._withheld is None:
                    raise
                raise self._withheld from exc
            if self._expired:
                raise TimeoutError(f"{self._what} took longer than {self._timeout:g} s") from exc
            raise
        finally:
            self._timer.cancel()
            _within.set(outer)
        if self._withheld is not None and is_being_cancelled():
            raise self._withheld
        return result

    def _drive(self) -> Generator[Any, None, T]:
        error: BaseException | None = None
        while True:
            try:
                waited = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            error = yield from self._wait(waited)

    def _wait(self, waited: Any) -> Generator[Any, None, BaseException | None]:
        """Wait for what the work waits for; return what is to be thrown into it."""
        loop = asyncio.get_running_loop()
        if waited is None:
            turn = loop.create_future()
            loop.call_soon(_finish, turn)
            yield from self._until(turn)
            try:
                turn.result()
            except asyncio.CancelledError as exc:
                return exc
        elif _can_be_awaited(waited, loop):
            # What `yield from` a future sets for the task, which waits for another one here.
            waited._asyncio_future_blocking = False
            yield from self._until(waited)
        else:
            try:
                yield waited
            except Exception as exc:
                # The task knows what is wrong with it.
                return exc
        pending, self._pending = self._pending, None
        return pending

    def _until(self, waited: asyncio.Future[Any]) -> Generator[Any, None, None]:
        """Wait until a future is done, without letting a cancellation from outside reach it."""
        waited.add_done_callback(self._wake)
        self._waited = waited
        try:
            while not waited.done():
                self._waiter = _Waiter(self)
                try:
                    yield from self._waiter
                except asyncio.CancelledError as exc:
                    self._withheld = exc
        finally:
            self._waited = None
            waited.remove_done_callback(self._wake)

    def cancel(self, msg: object = None) -> None:
        """Cancel what the work waits for, as the task would do without us."""
        if self._waited is None or not self._waited.cancel(msg):
            self._pending = asyncio.CancelledError(*([] if msg is None else [msg]))

    def _expire(self) -> None:
        if not self._expired:
            self._expired = True
            log.error("%s took longer than %g s and is cancelled", self._what, self._timeout)
        self._timer = asyncio.get_running_loop().call_later(AGAIN, self._expire)
        self.cancel()

    def _wake(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Waiter(asyncio.Future[None]):
    """What the task waits for in place of what the work waits for. Cancellations come here."""

    def __init__(self, owner: Uncancelled[Any]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._owner = owner
        self._task = asyncio.current_task()

    def cancel(self, msg: Any | None = None) -> bool:
        # By the task itself: it was asked before the work began, and nobody can tell when.
        if self._owner in _within.get() and asyncio.current_task(self.get_loop()) is not self._task:
            self._owner.cancel(msg)
            return True
        return super().cancel(msg)


def _can_be_awaited(waited: Any, loop: asyncio.AbstractEventLoop) -> bool:
    return (
        getattr(waited, "_asyncio_future_blocking", None) is True
        and waited.get_loop() is loop
        and waited is not asyncio.current_task()
    )


def _finish(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def is_being_cancelled() -> bool:
    """Whether it is the current task that was cancelled, and not what it awaits.

    A function, for an error's traceback keeps the frame where it is caught, and so what is in it:
    a task in a local would be a circle of references.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
