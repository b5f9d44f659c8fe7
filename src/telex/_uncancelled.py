"""Awaiting something to its end although the task is being cancelled, in the task itself.

`_cleanup.shielded` does it in another task, where context variables, task groups and cancel
scopes that were entered in this one cannot be left. Here cancellations are withheld instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator
from typing import Any, Final, Generic, TypeVar

log: Final = logging.getLogger("telex")

T = TypeVar("T")


class Uncancelled(Generic[T]):
    """Await it to run a coroutine in the current task; a cancellation is raised afterwards.

    A timeout inside of it is a cancellation, too, and cannot be told from one outside: it takes
    effect when the time is up.

    Args:
        work: The coroutine.
        timeout: Seconds after which it is cancelled nevertheless; that is logged.
        what: What it does, for the log.

    Raises (when awaited):
        CancelledError: The task was cancelled meanwhile; the cause is what the work raised.
        BaseException: What the work raised.
    """

    def __init__(self, work: Coroutine[Any, Any, T], timeout: float, what: str) -> None:
        self._work = work
        self._timeout = timeout
        self._what = what
        self._cancelled: asyncio.CancelledError | None = None
        self._expired = False
        self._waiter: asyncio.Future[None] | None = None

    def __await__(self) -> Generator[Any, None, T]:
        timer = asyncio.get_running_loop().call_later(self._timeout, self._expire)
        try:
            result = yield from self._drive()
        except BaseException as exc:
            if self._cancelled is not None and exc is not self._cancelled:
                raise self._cancelled from exc
            raise
        finally:
            timer.cancel()
        if self._cancelled is not None:
            raise self._cancelled
        return result

    def _drive(self) -> Generator[Any, None, T]:
        stopped = False
        waited: asyncio.Future[Any] | None
        while True:
            try:
                if self._expired and not stopped:
                    stopped = True
                    log.error(
                        "%s took longer than %g s and is cancelled", self._what, self._timeout
                    )
                    waited = self._work.throw(asyncio.CancelledError())
                else:
                    waited = self._work.send(None)
            except StopIteration as stop:
                result: T = stop.value
                return result
            yield from self._wait(waited, stopped=stopped)

    def _wait(
        self, waited: asyncio.Future[Any] | None, *, stopped: bool
    ) -> Generator[Any, None, None]:
        """Wait for what the work waits for, without letting a cancellation reach it."""
        if waited is None:
            try:
                yield
            except asyncio.CancelledError as exc:
                self._cancelled = exc
            return
        # What `yield from` a future sets for the task, which will wait for another one here.
        waited._asyncio_future_blocking = False
        waited.add_done_callback(self._wake)
        try:
            while not waited.done():
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    yield from self._waiter
                except asyncio.CancelledError as exc:
                    self._cancelled = exc
                if self._expired and not stopped:
                    waited.cancel()
                    return
        finally:
            waited.remove_done_callback(self._wake)

    def _expire(self) -> None:
        self._expired = True
        self._wake()

    def _wake(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
