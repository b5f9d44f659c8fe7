"""Pings for all connections of an event loop, from one timer.

Rounds, in which every connection is pinged once an interval, and besides, at every step of them,
a look at those that have not answered.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol, cast
from weakref import WeakKeyDictionary

from telex._rounds import STEPS, Rounds, Visited
from telex.server._flow import Flow

_MOST_STEPS: Final = 64
"""Steps in an interval when the time for an answer is much shorter."""

_SHORTEST: Final = 0.005
"""Seconds in the shortest of the times, as of other rounds."""


class Pinged(Visited, Protocol):
    """A connection as the keepalive sees it. Visiting it sends a ping, unless one is unanswered."""

    pinged: float | None

    @property
    def silent(self) -> bool:
        """Whether nothing at all was read since the ping."""

    def flow(self) -> Flow:
        """Return how far what is sent to it has come."""

    def expire(self) -> None:
        """End the connection: there was no sign of life in time."""


class Keepalive(Rounds):
    """Pings connections and drops those that give no sign of life.

    That is noticed late by less than a quarter of the shorter of the two times; with a `timeout`
    under a sixteenth of the interval, by less than a sixty-fourth of the interval. One that takes
    what waits for it is asked again: the ping is behind that.

    Args:
        interval: Seconds between pings.
        timeout: Seconds for an answer, on the clock of the rounds; `None` to go on without one.
    """

    def __init__(self, interval: float, timeout: float | None) -> None:
        super().__init__(interval, _steps(interval, timeout))
        self._timeout = timeout
        # When they were asked, and what they had taken then.
        self._waiting: dict[Pinged, tuple[float, Flow]] = {}

    def discard(self, visited: Visited) -> None:
        super().discard(visited)
        self._waiting.pop(cast("Pinged", visited), None)

    def _tick(self) -> None:
        if self._timeout is not None:
            # Before the next pings: those that were answered are forgotten here.
            late = self._late(self.clock + self.step - self._timeout)
            if late:
                # Not before a turn in which is read what came while the loop was busy: uvloop may
                # get here first. Of two calls in a row the second one has it behind it.
                soon = asyncio.get_running_loop().call_soon
                soon(soon, self._expire, late)
        super()._tick()
        if self._timeout is not None:
            for visited in self._slots[self._now]:
                connection = cast("Pinged", visited)
                if connection.pinged is not None and connection not in self._waiting:
                    self._waiting[connection] = (self.clock, connection.flow())

    def _late(self, too_long_ago: float) -> list[Pinged]:
        """Return those that were asked too long ago; forget those that have answered."""
        for connection in [each for each in self._waiting if each.pinged is None]:
            del self._waiting[connection]
        return [each for each, (asked, _) in self._waiting.items() if asked <= too_long_ago]

    def _expire(self, late: list[Pinged]) -> None:
        for connection in late:
            # Whoever has just been dropped may have taken others along.
            waiting = self._waiting.pop(connection, None)
            if waiting is None or connection.pinged is None:
                continue
            if connection.silent and not connection.flow().moved_since(waiting[1]):
                connection.expire()
            else:
                # It lives; its answer comes behind what it is sending, or has to read.
                connection.pinged = None


def _steps(interval: float, timeout: float | None) -> int:
    """Return how many steps of an interval are needed to tell in time who has not answered."""
    if timeout is None:
        return STEPS
    if timeout * _MOST_STEPS <= interval * STEPS:
        return _MOST_STEPS
    return max(STEPS, math.ceil(interval * STEPS / timeout))


# A keepalive does not hold its loop, or neither would ever go.
_shared: Final[
    WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[float, float | None], Keepalive]]
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
    # A timer that is never still would stop everything else.
    interval = max(interval, _SHORTEST)
    timeout = None if timeout is None else max(timeout, _SHORTEST)
    of_loop = _shared.setdefault(loop, {})
    key = (interval, timeout)
    if key not in of_loop:
        of_loop[key] = Keepalive(interval, timeout)
    return of_loop[key]
