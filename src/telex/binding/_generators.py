"""Generator functions as resources: entered before a handler, left behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

from telex._cleanup import CLEANUP_TIMEOUT
from telex._uncancelled import Uncancelled
from telex.binding._plan import Kind

Manager = contextlib.AbstractAsyncContextManager[Any]


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
        except BaseException as raised:
            exc = raised
    if exc is not None and exc is not original:
        raise exc


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
    """The same, each step in a thread. A step that has begun is waited for."""

    async def __aenter__(self) -> Any:
        step = asyncio.to_thread(self._manager.__enter__)
        try:
            return await Uncancelled(step, CLEANUP_TIMEOUT, "a dependency in a thread")
        except asyncio.CancelledError as exc:
            # It may be open by now, and nobody else would close it.
            await self.__aexit__(type(exc), exc, exc.__traceback__)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await asyncio.to_thread(self._manager.__exit__, kind, exc, traceback)
