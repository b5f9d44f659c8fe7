"""Generator functions as resources: entered before a handler, left behind it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from telex._cleanup import CLEANUP_TIMEOUT
from telex._failures import report
from telex._uncancelled import Uncancelled
from telex.binding._steps import Kind

Manager = contextlib.AbstractAsyncContextManager[Any]

T = TypeVar("T")


class Open(NamedTuple):
    """A generator that waits for the end, and the key of what it has yielded."""

    manager: Manager
    key: object


def manager_of(call: Callable[[], Any], kind: Kind, *, thread: bool) -> Manager:
    """Return a generator function, called, as an asynchronous context manager."""
    if kind == "async generator":
        return contextlib.asynccontextmanager(call)()
    plain = contextlib.contextmanager(call)()
    return _InThread(plain) if thread else _InLoop(plain)


async def close_all(opened: list[Open], exc: BaseException | None) -> None:
    """Close generators, the last one first, each with what ended the handler.

    Raises:
        BaseException: What one of them raised that is not what it was given.
    """
    original = exc
    while opened:
        manager, _ = opened.pop()
        try:
            # What it swallows is not gone: the others were ended by it, too.
            await manager.__aexit__(
                None if exc is None else type(exc), exc, exc.__traceback__ if exc else None
            )
        except GeneratorExit:
            # The event loop is gone.
            raise
        except BaseException as raised:
            exc = raised
    if exc is not None and exc is not original:
        raise exc


def in_thread(context: contextvars.Context, call: Callable[[], T]) -> asyncio.Future[T]:
    """Call a function in a thread, with the context variables of a context."""

    def run() -> T:
        try:
            return call()
        except StopIteration as exc:
            # No future can hold it.
            raise RuntimeError(f"{call!r} raised StopIteration") from exc

    return asyncio.get_running_loop().run_in_executor(None, context.run, run)


class _InLoop(Manager):
    """A synchronous context manager as an asynchronous one."""

    def __init__(self, manager: contextlib.AbstractContextManager[Any]) -> None:
        self._manager = manager

    async def __aenter__(self) -> Any:
        return self._manager.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._manager.__exit__(kind, exc, traceback)


class _InThread(_InLoop):
    """The same, each step in a thread, all in one context. A step that has begun is waited for."""

    def __init__(self, manager: contextlib.AbstractContextManager[Any]) -> None:
        super().__init__(manager)
        self._context = contextvars.copy_context()

    async def __aenter__(self) -> Any:
        step = in_thread(self._context, self._manager.__enter__)
        try:
            await asyncio.wait((step,))
        except asyncio.CancelledError as exc:
            await Uncancelled(self._undo(step, exc), CLEANUP_TIMEOUT, "a dependency in a thread")
            raise
        return step.result()

    async def _undo(self, step: asyncio.Future[Any], exc: BaseException) -> None:
        """Close it once it is open: nobody else would."""
        try:
            await asyncio.wait((step,))
        except asyncio.CancelledError:
            # Too late for this connection, not for what it may be about to open.
            step.add_done_callback(functools.partial(self._close_late, exc))
            raise
        step.result()
        await self.__aexit__(type(exc), exc, exc.__traceback__)

    def _close_late(self, exc: BaseException, step: asyncio.Future[Any]) -> None:
        if not _failed(step):
            leave = functools.partial(self._manager.__exit__, type(exc), exc, exc.__traceback__)
            in_thread(self._context, leave).add_done_callback(_failed)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        leave = functools.partial(self._manager.__exit__, kind, exc, traceback)
        return await in_thread(self._context, leave)


def _failed(step: asyncio.Future[Any]) -> bool:
    """Say whether a step that nobody waits for any more has failed, and why in the log."""
    failure = step.exception()
    if failure is not None:
        report(failure, "a dependency in a thread failed after its connection had ended")
    return failure is not None
