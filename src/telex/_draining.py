"""Who wants to be asked before the server stops. The server calls, applications answer.

The server knows ASGI and nothing of the framework, and ASGI has no word for it: the lifespan's
shutdown comes when the connections are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

log: Final = logging.getLogger("telex")


class Drains(Protocol):
    """Something that has connections."""

    async def drain(self, timeout: float, cleanup_timeout: float) -> Collection[asyncio.Task[Any]]:
        """End the connections, and let no more in.

        Args:
            timeout: Seconds after which handlers are cancelled, unless one's own are fewer.
            cleanup_timeout: Seconds they have for their end then.

        Returns:
            The tasks that did not let themselves be ended.
        """

    def drained(self) -> None:
        """Let connections in again: that server has stopped."""


_Known = WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[Drains]]

_drains: Final[_Known] = WeakKeyDictionary()
_asked: Final[_Known] = WeakKeyDictionary()


def drains_here(drainable: Drains) -> None:
    """Have something asked before the server of the running event loop stops."""
    loop = asyncio.get_running_loop()
    _drains.setdefault(loop, WeakSet()).add(drainable)


async def drain_all(timeout: float, cleanup_timeout: float) -> set[asyncio.Task[Any]]:
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
    while known := _drains.pop(loop, None):
        _asked.setdefault(loop, WeakSet()).update(known)
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


def end_draining() -> None:
    """Tell everybody who was asked that the server of the running event loop has stopped."""
    for each in _asked.pop(asyncio.get_running_loop(), ()):
        each.drained()
