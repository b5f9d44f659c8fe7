"""Visiting many connections in turn, from one timer.

Time is cut into steps, a fraction of the period each; what is added belongs to the step in which it
was, so that visits are spread and each costs one entry in a set. There is no timer while there is
nothing to visit, but for the rest of a step: setting one and taking it back costs more than all of
this, where connections are short.

The clock of the rounds goes on by a step at each step, however late the event loop was for it: what
arrived while the loop was busy has not been read, and nobody may be blamed for that time.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Final, Protocol
from weakref import WeakKeyDictionary

log: Final = logging.getLogger("telex")

STEPS: Final = 4
"""Steps in a period, unless somebody needs more."""

_SHORTEST: Final = 0.005
"""Seconds in the shortest period; a timer that is never still would stop everything else."""


class Visited(Protocol):
    """What is visited."""

    def visit(self, now: float, clock: float) -> None:
        """Look after yourself.

        Args:
            now: The time on the loop's clock.
            clock: The time on the clock of the rounds.
        """


class Rounds:
    """Visits everything once in a period.

    Args:
        period: In seconds.
        steps: Over how many steps visits are spread. More make the clock go more smoothly, and
            the timer go off more often.
    """

    def __init__(self, period: float, steps: int = STEPS) -> None:
        self.step = period / steps
        """Seconds in a step; the clock is late by less than that."""
        self._slots: list[set[Visited]] = [set() for _ in range(steps)]
        self._slot_of: dict[Visited, set[Visited]] = {}
        self._now = 0
        self.clock = 0.0
        """Seconds that passed while there was something to visit and the loop was not busy."""
        # Not the timer itself, which holds its loop.
        self._armed = False

    def add(self, visited: Visited) -> None:
        """Visit something from now on."""
        slot = self._slots[self._now]
        slot.add(visited)
        self._slot_of[visited] = slot
        if not self._armed:
            self._armed = True
            self._arm(asyncio.get_running_loop())

    def discard(self, visited: Visited) -> None:
        """Visit it no more. Calling it again does nothing."""
        slot = self._slot_of.pop(visited, None)
        if slot is not None:
            slot.discard(visited)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        # In no context: it would keep that of the first connection for ever.
        loop.call_later(self.step, self._tick, context=contextvars.Context())

    def _tick(self) -> None:
        if not self._slot_of:
            self._armed = False
            return
        loop = asyncio.get_running_loop()
        self._arm(loop)
        self.clock += self.step
        self._now = (self._now + 1) % len(self._slots)
        now = loop.time()
        for visited in [*self._slots[self._now]]:
            try:
                visited.visit(now, self.clock)
            except Exception:
                # The others have to be visited, too.
                log.exception("a connection could not be looked after")


# Rounds do not hold their loop, or neither would ever go.
_shared: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, Rounds]]] = (
    WeakKeyDictionary()
)


def rounds(period: float) -> Rounds:
    """Return the rounds of the running event loop with that period, the same ones every time."""
    loop = asyncio.get_running_loop()
    of_loop = _shared.get(loop)
    if of_loop is None:
        of_loop = _shared[loop] = {}
    period = max(period, _SHORTEST)
    found = of_loop.get(period)
    if found is None:
        found = of_loop[period] = Rounds(period)
    return found
