"""Cleanups run once however a connection ended, shielded from cancellation, limited in time."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Final

from telex._types import CleanupCallback

log = logging.getLogger("telex")

CLEANUP_TIMEOUT: Final = 10.0
"""Seconds all cleanups of one connection may take together."""


async def shielded(work: Coroutine[Any, Any, None], timeout: float, what: str) -> None:
    """Run a coroutine to its end although the calling task is being cancelled.

    It runs in a task of its own, with a copy of the caller's context. When it takes longer than
    `timeout` seconds it is cancelled and that is logged. A cancellation that came meanwhile is
    raised afterwards.
    """
    task = asyncio.get_running_loop().create_task(_logged(work, what), name=f"telex {what}")
    loop = asyncio.get_running_loop()
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
        await asyncio.wait((task,), timeout=1.0)
    if cancelled is not None:
        raise cancelled


async def _logged(work: Awaitable[object], what: str) -> None:
    try:
        await work
    except Exception:
        log.exception("%s failed", what)


class Cleanups:
    """The callbacks of one connection.

    Two tasks may find the end at once; the callbacks still run once and both tasks wait for them.
    """

    __slots__ = ("_callbacks", "_over", "_tasks", "_turn")

    def __init__(self) -> None:
        self._callbacks: list[CleanupCallback] = []
        self._over = False
        self._turn: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

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
        late = _start(callback)
        if late is not None:
            task = asyncio.get_running_loop().create_task(_logged(late, repr(callback)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Run all callbacks in the order of registration, once; wait for late ones too.

        An error in one is logged and the next one runs. A callback that ends the connection
        again does not wait for itself.
        """
        if self._over and not self._tasks and self._turn is None:
            return
        current = asyncio.current_task()
        if not self._over:
            self._over = True
            if self._callbacks:
                self._turn = asyncio.get_running_loop().create_future()
                try:
                    await shielded(self._run_all(), CLEANUP_TIMEOUT, "cleanups")
                finally:
                    self._turn.set_result(None)
                    self._turn = None
        elif self._turn is not None and current not in self._tasks:
            await asyncio.shield(self._turn)
        others = self._tasks - {current}
        if others and current not in self._tasks:
            await asyncio.wait(others, timeout=CLEANUP_TIMEOUT)

    async def _run_all(self) -> None:
        current = asyncio.current_task()
        assert current is not None
        self._tasks.add(current)
        try:
            for callback in self._callbacks:
                result = _start(callback)
                if result is not None:
                    await _logged(result, repr(callback))
        finally:
            self._callbacks.clear()
            self._tasks.discard(current)


def _start(callback: CleanupCallback) -> Awaitable[object] | None:
    """Call a callback; return what has to be awaited."""
    try:
        result = callback()
    except Exception:
        log.exception("cleanup %r failed", callback)
        return None
    return result if inspect.isawaitable(result) else None
