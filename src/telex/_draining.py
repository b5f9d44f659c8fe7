"""Who wants to be asked before the server stops. The server calls, applications answer.

The server knows ASGI and nothing of the framework, and ASGI has no word for it: the lifespan's
shutdown comes when the connections are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextvars import ContextVar
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

log: Final = logging.getLogger("telex")


class Drains(Protocol):
    """Something that has connections."""

    async def drain(self, timeout: float, cleanup_timeout: float) -> Collection[asyncio.Task[Any]]:
        """End the connections of the server of the current task, and let no more in.

        Args:
            timeout: Seconds after which handlers are cancelled, unless one's own are fewer.
            cleanup_timeout: Seconds they have for their end then.

        Returns:
            The tasks that did not let themselves be ended.
        """

    def drained(self) -> None:
        """Let connections in again: that server has stopped."""


class Draining:
    """Whom one server asks.

    Those who have said so while they served one of its connections, and those of its event loop
    of whom nobody can say whose connections they have (uvicorn's `reset_contextvars`).
    """

    def __init__(self) -> None:
        self._known: WeakSet[Drains] = WeakSet()
        self._asked: WeakSet[Drains] = WeakSet()
        self._before: Draining | None = None

    def begin(self) -> None:
        """Be the server's from now on in this task, and in all that it starts: connections too."""
        self._before = _here.get()
        _here.set(self)

    def add(self, drainable: Drains) -> None:
        """Have something asked."""
        self._known.add(drainable)

    async def drain_all(self, timeout: float, cleanup_timeout: float) -> set[asyncio.Task[Any]]:
        """Ask everybody at once; return the tasks that did not let themselves be ended.

        Waits until they have ended their connections. Cancelling it leaves the rest as it is.

        Args:
            timeout: Seconds after which handlers are cancelled, infinity for what each one says.
            cleanup_timeout: Seconds they have for their end then.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        left: set[asyncio.Task[Any]] = set()
        # Meanwhile another application may have got its first connection.
        while known := self._taken(loop):
            time = max(end - loop.time(), 0)
            answers = [each.drain(time, cleanup_timeout) for each in known]
            for answer in await asyncio.gather(*answers, return_exceptions=True):
                if isinstance(answer, Exception):
                    log.error("connections could not be ended", exc_info=answer)
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    left.update(answer)
        return left

    def _taken(self, loop: asyncio.AbstractEventLoop) -> set[Drains]:
        known = {*self._known, *_nobodys.pop(loop, ())}
        self._known.clear()
        self._asked.update(known)
        return known

    def end(self) -> None:
        """Tell everybody who was asked that the server has stopped."""
        asked = [*self._asked]
        self._asked.clear()
        for each in asked:
            each.drained()
        if _here.get() is self:
            _here.set(self._before)


_here: Final = ContextVar[Draining | None]("telex draining", default=None)
_nobodys: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[Drains]]] = WeakKeyDictionary()


def server_here() -> object:
    """Return the server of the current task: its event loop stands for it where none is known."""
    return _here.get() or asyncio.get_running_loop()


def stops_here(stopping: Collection[object]) -> bool:
    """Say whether the server of the current task is one of them; where it has none, any will do."""
    server = _here.get()
    return bool(stopping) if server is None else server in stopping


def drains_here(drainable: Drains) -> None:
    """Have something asked before the server stops whose connection the current task serves."""
    draining = _here.get()
    if draining is not None:
        draining.add(drainable)
    else:
        _nobodys.setdefault(asyncio.get_running_loop(), WeakSet()).add(drainable)
