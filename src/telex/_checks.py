"""What is looked at from time to time while a connection is open: age, idleness, signs of life.

Nothing is done for a message, except where a heartbeat asks for messages: counters that are kept
anyway are compared at each visit.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
from typing import Final

from telex._dismissal import dismiss
from telex._limits import Heartbeat
from telex._rounds import Rounds, rounds
from telex._settings import Settings
from telex._source import AsgiSource
from telex._types import Message
from telex.close_codes import CloseCode
from telex.websockets import WebSocket, link_of

PRECISION: Final = 8
"""Visits in the shortest of the times that are looked at."""

_JITTER: Final = 0.1
"""The part of `max_age` by which ages differ, so that not all clients come back at once."""


class Checks:
    """The checks of one open connection, from now on.

    Args:
        ws: The connection.
        settings: What is allowed.
    """

    __slots__ = ("_active", "_idle", "_moved", "_pulse", "_rounds", "_timer", "_ws")

    def __init__(self, ws: WebSocket, settings: Settings) -> None:
        loop = asyncio.get_running_loop()
        self._ws = ws
        self._idle = settings.idle_timeout
        self._moved = 0
        self._active = loop.time()
        beat = asked_by_messages(ws, settings.heartbeat)
        # Of the settings alone, so that connections share their rounds.
        shortest = self._idle if beat is None else min(self._idle, beat.interval, beat.timeout)
        self._rounds: Rounds | None = None
        self._pulse: Pulse | None = None
        if shortest < math.inf:
            self._rounds = rounds(shortest / PRECISION)
            self._rounds.add(self)
            self._pulse = None if beat is None else Pulse(ws, beat, self._rounds.clock)
        self._timer: asyncio.TimerHandle | None = None
        if settings.max_age < math.inf:
            # Not by rounds, which would bring all those to the same moment that came in one.
            age = settings.max_age * random.uniform(1 - _JITTER, 1)
            # In no context: a loop keeps timers for a while that were cancelled.
            self._timer = loop.call_later(age, self._expire, context=contextvars.Context())

    def end(self) -> None:
        """Look at it no more. Calling it again does nothing."""
        if self._timer is not None:
            self._timer.cancel()
        if self._rounds is not None:
            self._rounds.discard(self)
        if self._pulse is not None:
            self._pulse.end()

    def visit(self, now: float, clock: float) -> None:
        """Look at the connection; see `telex._rounds`."""
        progress = link_of(self._ws).progress
        if progress.over:
            self.end()
            return
        moved = progress.received + progress.sent - (0 if self._pulse is None else self._pulse.sent)
        if moved > self._moved:
            self._moved, self._active = moved, now
        if now - self._active >= self._idle:
            dismiss(self._ws, CloseCode.TIMEOUT, "idle for too long")
        elif self._pulse is not None:
            self._pulse.visit(clock)

    def _expire(self) -> None:
        dismiss(self._ws, CloseCode.SERVICE_RESTART, "connected for too long")


class Pulse:
    """The heartbeat of one connection where there are no pings: messages in their place.

    Args:
        ws: The connection, over plain ASGI.
        beat: The heartbeat.
        clock: The time now; the event loop is not late by it.
    """

    __slots__ = (
        "_asked",
        "_beat",
        "_due",
        "_heard",
        "_pinged",
        "_seen",
        "_source",
        "_taken",
        "_waited",
        "_ws",
        "sent",
    )

    def __init__(self, ws: WebSocket, beat: Heartbeat, clock: float) -> None:
        source = link_of(ws).inbox.source
        assert isinstance(source, AsgiSource)
        self._ws = ws
        self._beat = beat
        self._source = source
        self._seen = clock
        self._asked: float | None = None
        self._pinged: float | None = None
        self._due = 0
        self._heard = False
        # Whether anything waited for the client when it was asked, and what it had taken then.
        self._waited = False
        self._taken = 0
        self.sent = 0
        """How many pings were sent, which are no messages of the application."""
        source.heard = self._hears

    def end(self) -> None:
        """Listen no more."""
        self._source.heard = None

    def visit(self, clock: float) -> None:
        """Ask when it is time to; close when there was no answer."""
        if self._heard or self._is_deaf():
            self._heard, self._seen, self._asked, self._pinged = False, clock, None, None
        elif self._asked is not None:
            if clock - self._asked < self._beat.timeout:
                return
            if self._takes():
                self._seen, self._asked = clock, None
            else:
                dismiss(self._ws, CloseCode.INTERNAL_ERROR, "heartbeat timeout")
        elif clock - self._seen >= self._beat.interval:
            self._ask(clock)

    def _is_deaf(self) -> bool:
        """Whether an answer would not be heard: nobody reads, or somebody past us."""
        return self._source.full or link_of(self._ws).progress.handed_out

    def _takes(self) -> bool:
        """Whether the client has taken what waited since it was asked: the ping is behind that.

        What need not wait says nothing: the kernels take it, whether or not anybody reads it.
        """
        outlet = link_of(self._ws).outlet
        return (self._waited or outlet.waits) and outlet.flow()[0] > self._taken

    def _ask(self, clock: float) -> None:
        assert self._beat.ping is not None
        outlet = link_of(self._ws).outlet
        waited = outlet.waits
        # Only now: before, code that awaits the server's own `receive` may still come.
        self._source.start()
        if self._ws.send_nowait(self._beat.ping):
            self._asked = clock
            self._waited, self._taken = waited, outlet.flow()[0]
            if self._pinged is None:
                self._pinged = asyncio.get_running_loop().time()
            self._due += 1
            self.sent += 1

    def _hears(self, message: Message) -> bool:
        """Take note of a message; say whether it is for nobody else."""
        self._heard = True
        if self._pinged is not None:
            self._source.latency = asyncio.get_running_loop().time() - self._pinged
            self._pinged = None
        if not self._due or self._beat.pong is None or message.get("text") != self._beat.pong:
            return False
        self._due -= 1
        return True


def asked_by_messages(ws: WebSocket, beat: Heartbeat | None) -> Heartbeat | None:
    """Return the heartbeat where signs of life are asked for with messages, else `None`."""
    if beat is None or beat.ping is None or beat.interval == math.inf:
        return None
    # The frame channel has pings; a stream of events, which has a method, cannot be answered.
    return None if link_of(ws).channel is not None or "method" in ws.scope else beat
