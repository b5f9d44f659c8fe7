"""Pings for all connections of an event loop, from one timer.

Time is cut into steps, a fraction of the interval each; a connection belongs to the step in which
it was opened, so that pings are spread and a connection costs one entry in a set. There is no
timer while there are no connections.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol
from weakref import WeakKeyDictionary

_STEPS: Final = 16
"""Steps in an interval; every time is kept to one step."""


class Pinged(Protocol):
    """A connection as the keepalive sees it."""

    pinged: float | None

    def ping(self) -> None:
        """Send a ping, unless one is unanswered."""

    def expire(self) -> None:
        """End the connection: a ping was not answered in time."""


class Keepalive:
    """Pings connections and drops those that do not answer.

    Args:
        interval: Seconds between pings.
        timeout: Seconds for an answer, `None` to go on without one.
    """

    def __init__(self, interval: float, timeout: float | None) -> None:
        self._timeout = timeout
        self._step = interval / _STEPS
        self._slots: list[set[Pinged]] = [set() for _ in range(_STEPS)]
        self._slot_of: dict[Pinged, set[Pinged]] = {}
        self._waiting: set[Pinged] = set()
        self._now = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Pinged) -> None:
        """Ping a connection from now on."""
        slot = self._slots[self._now]
        slot.add(connection)
        self._slot_of[connection] = slot
        if self._timer is None:
            self._arm(asyncio.get_running_loop())

    def discard(self, connection: Pinged) -> None:
        """Ping it no more. Calling it again does nothing."""
        slot = self._slot_of.pop(connection, None)
        if slot is not None:
            slot.discard(connection)
            self._waiting.discard(connection)
        if not self._slot_of and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._step, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._arm(loop)
        self._now = (self._now + 1) % _STEPS
        if self._timeout is not None:
            self._expire(loop.time() - self._timeout)
        for connection in [*self._slots[self._now]]:
            connection.ping()
            if connection.pinged is not None:
                self._waiting.add(connection)

    def _expire(self, too_long_ago: float) -> None:
        answered = [each for each in self._waiting if each.pinged is None]
        self._waiting.difference_update(answered)
        for connection in [*self._waiting]:
            if connection.pinged is not None and connection.pinged <= too_long_ago:
                self._waiting.discard(connection)
                connection.expire()


# A keepalive does not hold its loop, or neither would ever go.
_shared: WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[float, float | None], Keepalive]
] = WeakKeyDictionary()


def keepalive(
    loop: asyncio.AbstractEventLoop, interval: float | None, timeout: float | None
) -> Keepalive | None:
    """Return the keepalive of an event loop, the same one for the same times.

    Args:
        loop: The event loop.
        interval: Seconds between pings; `None` or 0 for no pings, and the result is `None`.
        timeout: Seconds for an answer, `None` for no limit.
    """
    if not interval:
        return None
    of_loop = _shared.setdefault(loop, {})
    key = (interval, timeout)
    if key not in of_loop:
        of_loop[key] = Keepalive(interval, timeout)
    return of_loop[key]
