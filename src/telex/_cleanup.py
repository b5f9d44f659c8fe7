"""Cleanups run once however a connection ended, shielded from cancellation, limited in time."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, Final

from telex._failures import report
from telex._types import CleanupCallback

log = logging.getLogger("telex")

CLEANUP_TIMEOUT: Final = 10.0
"""Seconds all cleanups of one connection may take together."""

_SPARE: Final = 1.0
"""Seconds for a coroutine that does not end when it is cancelled."""

_within: ContextVar[frozenset[Cleanups]] = ContextVar("telex.cleanups", default=frozenset())
"""The `Cleanups` in whose callbacks this code runs: they must not wait for themselves."""


async def shielded(
    work: Coroutine[Any, Any, None], timeout: float, what: str, context: Context | None = None
) -> None:
    """Run a coroutine to its end although the calling task is being cancelled.

    It runs in a task of its own, in a context or, `None`, a copy of the caller's. When it takes
    longer than `timeout` seconds it is cancelled and that is logged. A cancellation that came
    meanwhile is raised afterwards.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(_logged(work, what), name=f"telex {what}", context=context)
    end = loop.time() + timeout
    cancelled: asyncio.CancelledError | None = None
    while not task.done() and (left := end - loop.time()) > 0:
        try:
            await asyncio.wait((task,), timeout=left)
        except asyncio.CancelledError as exc:
            cancelled = exc
    if not task.done():
        log.error("%s took longer than %g s and is cancelled", what, timeout)
        task.cancel()
        await asyncio.wait((task,), timeout=_SPARE)
    if cancelled is not None:
        raise cancelled


async def _logged(work: Awaitable[object], what: str) -> None:
    try:
        await work
    except Exception as exc:
        report(exc, "%s failed", what)


class Cleanups:
    """The callbacks of one connection.

    Two tasks may find the end at once; the callbacks still run once and both tasks wait for them.
    A callback that ends the connection again, itself or in a task of its own, does not wait.

    Args:
        context: Returns the context in which they run, `None` for a copy of the caller's.
    """

    __slots__ = ("_callbacks", "_context", "_late", "_over", "_turn")

    def __init__(self, context: Callable[[], Context | None] = lambda: None) -> None:
        self._context = context
        self._callbacks: list[CleanupCallback] = []
        self._over = False
        self._turn: asyncio.Future[None] | None = None
        self._late: set[asyncio.Task[None]] | None = None

    def add(self, callback: CleanupCallback) -> None:
        """Register a callback; after the end it is run at once.

        Raises:
            TypeError: It is not callable.
        """
        if not callable(callback):
            raise TypeError(f"a cleanup must be callable without arguments, got {callback!r}")
        if not self._over:
            self._callbacks.append(callback)
            return
        work = _start(callback)
        if work is None:
            return
        if self._late is None:
            self._late = set()
        task = asyncio.get_running_loop().create_task(self._run_late(work, callback))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def run(self) -> None:
        """Run all callbacks in the order of registration, once; wait for late ones too.

        An error in one is logged and the next one runs.
        """
        if self in _within.get():
            return
        if not self._over:
            self._over = True
            if self._callbacks:
                self._turn = asyncio.get_running_loop().create_future()
                try:
                    work = self._run_all(_within.get() | {self})
                    await shielded(work, CLEANUP_TIMEOUT + _SPARE, "cleanups", self._context())
                finally:
                    self._turn.set_result(None)
                    self._turn = None
        elif self._turn is not None:
            await asyncio.shield(self._turn)
        if self._late:
            await asyncio.wait(self._late, timeout=CLEANUP_TIMEOUT + _SPARE)

    @property
    def busy(self) -> bool:
        """Whether callbacks run."""
        return self._turn is not None or bool(self._late)

    async def _run_all(self, within: frozenset[Cleanups]) -> None:
        _within.set(within)
        end = asyncio.get_running_loop().time() + CLEANUP_TIMEOUT
        for callback in self._callbacks:
            work = _start(callback)
            if work is not None:
                await _complete(work, callback, end)
        self._callbacks.clear()

    async def _run_late(self, work: Awaitable[object], callback: CleanupCallback) -> None:
        _within.set(_within.get() | {self})
        await _complete(work, callback, asyncio.get_running_loop().time() + CLEANUP_TIMEOUT)


def _start(callback: CleanupCallback) -> Awaitable[object] | None:
    """Call a callback; return what has to be awaited."""
    try:
        result = callback()
    except (Exception, asyncio.CancelledError) as exc:
        report(exc, "cleanup %r failed", callback)
        return None
    return result if inspect.isawaitable(result) else None


async def _complete(work: Awaitable[object], callback: CleanupCallback, end: float) -> None:
    """Await what a callback returned until a moment on the clock of the loop; log how it failed.

    Even a callback that runs too late gets as far as its first wait.
    """
    try:
        async with asyncio.timeout_at(end) as limit:
            await work
    except TimeoutError as exc:
        if limit.expired():
            log.error(
                "cleanup %r was cancelled: all took longer than %g s", callback, CLEANUP_TIMEOUT
            )
        else:
            report(exc, "cleanup %r failed", callback)
    except Exception as exc:
        report(exc, "cleanup %r failed", callback)
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        report(exc, "cleanup %r failed", callback)
