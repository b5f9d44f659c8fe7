"""The limits of one connection, put on before its handler runs and taken off behind it.

They are registered on the link and wrap neither `receive` nor `send`. What a limit leads to is in
`telex._limits`.
"""

from __future__ import annotations

import logging
import math
import time
from http import HTTPStatus
from typing import Final

from telex._checks import PRECISION, Checks
from telex._dismissal import dismiss
from telex._end import path_name, peer_name
from telex._rounds import Rounds, rounds
from telex._settings import Settings
from telex._slots import Client, Slots, client_of
from telex._source import MAX_MESSAGES
from telex._state import Phase
from telex.close_codes import CloseCode
from telex.websockets import WebSocket, face_of, link_of

log: Final = logging.getLogger("telex")

_BURST: Final = 5.0
"""Seconds whose messages may come at once: networks and event loops stand still at times."""


class Guard:
    """Holds one connection to its limits.

    Args:
        ws: The connection.
        settings: What is allowed.
    """

    __slots__ = ("_checks", "_client", "_due", "_link", "_rounds", "_settings", "_taken", "_ws")

    def __init__(self, ws: WebSocket, settings: Settings) -> None:
        self._ws = ws
        self._link = link_of(ws)
        self._settings = settings
        self._client: Client | None = None
        self._taken: list[Slots] | None = None
        self._rounds: Rounds | None = None
        self._due = 0.0
        self._checks: Checks | None = None

    def enter(self, *, early: bool = False) -> HTTPStatus | None:
        """Let the connection in, or say with what it is to be refused; call `leave` either way.

        Args:
            early: Its route is not known yet; messages are not counted.

        Raises:
            Exception: What `client_key` raised.
        """
        settings = self._settings
        connections = settings.connections
        if connections is not None and connections.draining:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if settings.slots:
            refused = self._take_slots()
            if refused is not None:
                return refused
        if connections is not None:
            connections.enter(self._ws)
        if settings.max_message_size < math.inf:
            self._link.inbox.source.limit_size(int(settings.max_message_size), self._too_big)
        if not early:
            self._limit_messages()
        self._limit_times()
        return None

    def leave(self, *, goes_on: bool = False) -> None:
        """Give everything back; the handler has ended. Calling it again does nothing.

        Args:
            goes_on: It has not: the connection goes on to its route, where it enters again.
        """
        if self._rounds is not None:
            self._rounds.discard(self)
        if self._checks is not None:
            self._checks.end()
        # Neither a late accept nor a circle of references.
        on_accept = self._link.progress.on_accept
        if on_accept and self._accepted in on_accept:
            on_accept.remove(self._accepted)
        if self._settings.connections is not None:
            self._settings.connections.leave(self._ws, goes_on=goes_on)
        while self._taken:
            self._taken.pop().give_back(self._client)

    def _take_slots(self) -> HTTPStatus | None:
        ws, face, all_slots = self._ws, self._settings.websocket_class, self._settings.slots
        if any(slots.tells_clients_apart for slots in all_slots):
            key = self._settings.client_key(ws if face is None else face_of(ws, face))
            self._client = client_of(key)
        self._taken = []
        for slots in all_slots:
            refused = slots.take(self._client)
            if refused is not None:
                log.info(
                    "%s is refused at %s: %s",
                    peer_name(ws.scope),
                    path_name(ws.scope),
                    refused.phrase,
                )
                return refused
            self._taken.append(slots)
        return None

    def _limit_messages(self) -> None:
        if self._settings.max_messages_per_second < math.inf:
            bucket = Bucket(self._settings.max_messages_per_second)
            self._link.inbox.admit(bucket.passed, lambda: bucket.take() or self._too_many())

    def _limit_times(self) -> None:
        settings, link = self._settings, self._link
        progress, beat = link.progress, settings.heartbeat
        if beat is not None and link.channel is not None:
            link.channel.heartbeat(beat.interval, beat.timeout)
        if progress.application is not Phase.CONNECTING:
            # A middleware has accepted.
            self._checks = Checks(self._ws, settings)
            return
        if settings.handshake_timeout < math.inf:
            self._rounds = rounds(settings.handshake_timeout / PRECISION)
            self._rounds.add(self)
            left = settings.handshake_timeout - (time.monotonic() - progress.began)
            self._due = self._rounds.clock + self._rounds.step + left
        if settings.has_checks:
            progress.on_accept = [*(progress.on_accept or ()), self._accepted]

    async def _accepted(self) -> None:
        self._checks = Checks(self._ws, self._settings)

    def visit(self, _now: float, clock: float) -> None:
        """Look whether the handshake has been answered."""
        assert self._rounds is not None
        if self._link.progress.application is not Phase.CONNECTING:
            self._rounds.discard(self)
        elif clock >= self._due:
            self._rounds.discard(self)
            if dismiss(self._ws, CloseCode.TRY_AGAIN_LATER, "the handshake took too long"):
                log.warning("%s did not answer the handshake in time", path_name(self._ws.scope))

    def _too_big(self) -> None:
        dismiss(self._ws, CloseCode.MESSAGE_TOO_BIG, "message too big")

    def _too_many(self) -> bool:
        dismiss(self._ws, CloseCode.POLICY_VIOLATION, "too many messages")
        return False


class Bucket:
    """Tokens for messages: so many a second, and a burst of them.

    What somebody waits for has just come. When nobody waited, messages were piling up, and are
    read at once although they came one after the other: the tokens of that time are kept besides
    the burst, and lost again at the same rate while somebody waits.

    Args:
        rate: Tokens in a second.
    """

    __slots__ = ("_last", "_most", "_rate", "_tokens")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = self._tokens = rate * _BURST + MAX_MESSAGES
        self._last = time.monotonic()

    def passed(self, waited: bool) -> None:
        """Add the tokens of the time since the last call, in which somebody waited, or nobody."""
        now = time.monotonic()
        gained = (now - self._last) * self._rate
        self._last = now
        if waited:
            self._tokens = max(min(self._tokens + gained, self._most), self._tokens - gained)
        else:
            self._tokens += gained

    def take(self) -> bool:
        """Take a token for a message; say whether there was one."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
