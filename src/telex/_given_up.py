"""What nobody waits for any more, remembered for a while: what still comes for it is recognised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Final

MAX_GIVEN_UP: Final = 64
"""How much is remembered; what was given up first is forgotten first."""

GIVEN_UP_FOR: Final = 60.0
"""Seconds for which it is remembered. Messages are looked at meanwhile, which costs time."""


class GivenUp:
    """A set that forgets. While something is in it, one timer runs."""

    __slots__ = ("_timer", "_until")

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, key: Hashable) -> bool:
        return key in self._until

    def __len__(self) -> int:
        return len(self._until)

    def add(self, key: Hashable, on_empty: Callable[[], None]) -> None:
        """Remember something.

        Args:
            key: What was given up.
            on_empty: Called when the time of the last one is over. It is kept no longer than the
                timer, so that it may belong to whoever owns this.
        """
        loop = asyncio.get_running_loop()
        self._until.pop(key, None)
        self._until[key] = loop.time() + GIVEN_UP_FOR
        if len(self._until) > MAX_GIVEN_UP:
            del self._until[next(iter(self._until))]
        if self._timer is None:
            self._timer = loop.call_later(GIVEN_UP_FOR, self._forget, on_empty)

    def discard(self, key: Hashable) -> None:
        """Forget something, if it is here."""
        self._until.pop(key, None)
        if not self._until:
            self.clear()

    def clear(self) -> None:
        """Forget everything, and stop the timer."""
        self._until.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget(self, on_empty: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        while self._until:
            key, until = next(iter(self._until.items()))
            if until > now:
                self._timer = loop.call_at(until, self._forget, on_empty)
                return
            del self._until[key]
        on_empty()
