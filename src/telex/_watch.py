"""The disconnect watch: a handler whose client has left does not run for ever.

Nor does one whose connection was closed from outside of it (`telex._dismissal`).

A handler that reads learns of the end by itself. One that is busy with something else is
cancelled in place `grace` seconds after that; should it swallow it, once more, and then it is named
in the log. The cancellation is taken back by `settle`, so that to the outside the handler has just
ended.

Plain ASGI tells of the end only to who asks. A handler that has read has a reader that goes on
asking. For one that has not, the watch begins to, after a quarter of the grace; who left before
that is noticed then, and its handler has the other three quarters.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Final

from telex._end import path_name
from telex._link import Link
from telex._rounds import Rounds, rounds
from telex._source import AsgiSource
from telex._types import Scope

log: Final = logging.getLogger("telex")

_ATTEMPTS: Final = 2

_BLIND: Final = 0.25
"""The part of the grace after which the watch begins to ask."""


class DisconnectWatch:
    """Watches one connection on behalf of the task that runs its handler.

    Args:
        scope: Names the connection in the log.
        link: The connection.
        grace: Seconds between noticing the end and cancelling, `None` to watch nothing.
        what: What is watched, for the log: its name goes before the path.
    """

    __slots__ = (
        "_called",
        "_expiring",
        "_grace",
        "_link",
        "_looked",
        "_read",
        "_rounds",
        "_scope",
        "_task",
        "_timer",
        "fired",
    )

    def __init__(
        self, scope: Scope, link: Link, grace: float | None, what: str = "the handler"
    ) -> None:
        self._link = link
        self._grace = grace
        self._scope = scope
        self._called = what
        self._read = 0
        self._expiring = False
        self._task: asyncio.Task[object] | None = None
        self._rounds: Rounds | None = None
        self._looked = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self.fired = 0
        """How often the handler was cancelled."""

    def arm(self, *, asks: bool = True) -> None:
        """Begin to watch, for the current task.

        Args:
            asks: Whether to ask for the end over plain ASGI; not where others may read.
        """
        if self._grace is None or self._grace == math.inf:
            return
        self._task = asyncio.current_task()
        self._link.progress.watchers.append(self._noticed)
        if self._link.inbox.source.closed is not None:
            self._noticed()
        elif asks and isinstance(self._link.inbox.source, AsgiSource):
            self._rounds = rounds(self._grace * _BLIND)
            self._rounds.add(self)

    def disarm(self) -> None:
        """Stop watching; the handler has ended."""
        if self._rounds is not None:
            self._rounds.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._noticed in self._link.progress.watchers:
            self._link.progress.watchers.remove(self._noticed)

    def settle(self) -> bool:
        """Take back the cancellations; say whether the handler ended because of one.

        It did not when somebody else cancelled the task too.
        """
        task = self._task
        if not self.fired or task is None:
            return False
        while self.fired:
            self.fired -= 1
            remaining = task.uncancel()
        return not remaining

    def visit(self, now: float, _clock: float) -> None:
        """Begin to ask for the end, once; see `telex._rounds`."""
        assert self._rounds is not None
        self._rounds.discard(self)
        source = self._link.inbox.source
        # Code that may be asking itself comes first.
        if isinstance(source, AsgiSource) and not self._link.progress.handed_out:
            self._looked = now
            source.start()

    def _expire_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        # A cancellation that comes out of the context of a clean-up would count as its own.
        context = self._link.progress.own_context()
        self._timer = loop.call_later(seconds, self._expire, context=context)

    def _noticed(self) -> None:
        if self._expiring:
            # An end is told more than once, which must not put it off.
            return
        if not self._link.progress.informed:
            assert self._grace is not None
            self._expiring = True
            self._read = self._link.progress.received
            blind = self._grace * _BLIND
            late = blind if asyncio.get_running_loop().time() < self._looked + blind else 0.0
            self._expire_in(self._grace - late)

    def _expire(self) -> None:
        progress = self._link.progress
        if progress.informed:
            return
        assert self._grace is not None
        if progress.received != self._read:
            # It is working through what arrived before the end.
            self._read = progress.received
            self._expire_in(self._grace)
            return
        if self.fired == _ATTEMPTS:
            whose = f"{self._called} of {path_name(self._scope)}"
            log.error("%s goes on although %s and it was cancelled", whose, self._what())
            return
        self.fired += 1
        assert self._task is not None
        self._task.cancel(self._what())
        self._expire_in(self._grace)

    def _what(self) -> str:
        dismissed = self._link.progress.dismissed
        return "its connection was closed" if dismissed else "its client left"
