"""How a connection stands: its states, its end, its health, and what the application calls it."""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import math
import time
from typing import Any, Final

from telex._link import Link
from telex._progress import Progress
from telex._settings import settings_of
from telex._source import AsgiSource
from telex._state import WebSocketState, public_state
from telex._types import ClosedBy, Scope
from telex.close_codes import CloseCode

_LOOK_AGAIN: Final = 30.0
"""Seconds after which a moment that is far away is looked at again: the clock may be set."""

_LABELS: Final = "labels"
"""Where the labels of a connection are kept, also before it is counted."""

_now: Final = time.time


class Standing:
    """The part of `WebSocket` that tells how it stands."""

    scope: Scope
    _link: Link

    @property
    def client_state(self) -> WebSocketState:
        """The client's side: connected once its connect was read, over once its end was read."""
        return public_state(self._link.progress.client)

    @property
    def application_state(self) -> WebSocketState:
        """Our side: connected once accepted, over once closed or rejected."""
        return public_state(self._link.progress.application)

    @property
    def connection_state(self) -> WebSocketState:
        """Both sides together: over if either is, connected once accepted."""
        return self._link.progress.state

    @property
    def close_code(self) -> int | None:
        """The code the connection ended with, `None` before; the first end counts."""
        record = self._link.progress.record
        return None if record is None else record.code

    @property
    def close_reason(self) -> str | None:
        """The reason the connection ended with, `""` if none was given, `None` before the end."""
        record = self._link.progress.record
        return None if record is None else record.reason

    @property
    def closed_by(self) -> ClosedBy | None:
        """Who ended the connection, `"client"` or `"server"`, `None` before the end."""
        record = self._link.progress.record
        return None if record is None else record.closed_by

    @property
    def accepted_subprotocol(self) -> str | None:
        """The subprotocol that was agreed on, `None` for none or before accept."""
        return self._link.progress.subprotocol

    @property
    def latency(self) -> float | None:
        """Seconds the last ping took, `None` where the server does not tell."""
        channel, source = self._link.channel, self._link.inbox.source
        if channel is not None:
            return channel.latency
        return source.latency if isinstance(source, AsgiSource) else None

    @property
    def buffered(self) -> int:
        """Bytes waiting to go out: in the outbox, and in the server where it tells."""
        return self._link.outlet.buffered

    @property
    def dropped(self) -> int:
        """Messages that were refused or thrown away."""
        return self._link.outlet.dropped

    # What the application knows of it

    @property
    def labels(self) -> dict[str, Any]:
        """What `label` was told; a copy, and empty when the connection is over."""
        return dict(labels_of(self._link.progress))

    def label(self, **labels: Any) -> None:
        """Say what `app.connections` shall find the connection by: `ws.label(user="7")`.

        Several connections may have the same labels. A connection can be found as soon as its
        handler is called; labels that it was given before, by connection middleware, count from
        then on. Without an application, or after the end, it does nothing.

        Args:
            **labels: Names and values, which must be hashable; `None` takes a label away.

        Raises:
            TypeError: A value that is not hashable; no label was changed.
        """
        for value in labels.values():
            hash(value)
        progress, connections = self._link.progress, settings_of(self.scope).connections
        if connections is None or progress.over:
            return
        if progress.bound is None:
            progress.bound = {}
        own = progress.bound.setdefault(_LABELS, {})
        for name, value in labels.items():
            if name in own:
                connections.unlabel(progress, (name, own.pop(name)))
            if value is not None:
                own[name] = value
                connections.label(progress, (name, value))

    @property
    def expires_at(self) -> float | None:
        """When the client's credentials end, in seconds since 1970, `None` for never.

        At that moment the connection is closed with 4401, or right after accept when it is later.
        Set it again, to a later moment or `None`, when the client has shown new credentials. It can
        be a `datetime` with a time zone, too. `Authenticate` sets it by itself. After the end of
        the connection it is `None`, and setting it does nothing.
        """
        expiry = (self._link.progress.bound or {}).get(_Expiry)
        return None if expiry is None or expiry.at == math.inf else float(expiry.at)

    @expires_at.setter
    def expires_at(self, moment: float | dt.datetime | None) -> None:
        at = epoch_seconds(moment)
        progress = self._link.progress
        if progress.bound is None:
            progress.bound = {}
        expiry = progress.bound.get(_Expiry)
        if expiry is None and not progress.over:
            expiry = progress.bound[_Expiry] = _Expiry(self._link)
        if expiry is not None:
            expiry.begin(at)

    async def wait_closing(self) -> None:
        """Wait until the server begins to stop, or the connection is over.

        A handler may then bring to an end what it does: the connection will be closed with 1012.
        Cancelling it changes nothing; several tasks may wait. Only Telex's server tells before it
        closes; without an application, and on other servers, it waits for the end.
        """
        connections = settings_of(self.scope).connections
        over = asyncio.ensure_future(self._link.wait_over())
        waiting = {over}
        if connections is not None:
            waiting.add(asyncio.ensure_future(connections.wait_closing()))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)


def labels_of(progress: Progress) -> dict[str, Any]:
    """Return the labels of a connection, as they are kept; for `Connections`."""
    own: dict[str, Any] = (progress.bound or {}).get(_LABELS, {})
    return own


class _Expiry:
    """Ends one connection at a moment on the wall clock."""

    __slots__ = ("_link", "_timer", "at")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._timer: asyncio.TimerHandle | None = None
        self.at = math.inf
        link.cleanups.add(self._finish)

    def begin(self, at: float) -> None:
        """Wait for a moment, and for the one that was said before no more."""
        self.at = at
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at < math.inf and not self._link.progress.over:
            delay = min(max(at - _now(), 0.0), _LOOK_AGAIN)
            # Loops keep the context of a timer for a while, also when it was cancelled.
            self._timer = asyncio.get_running_loop().call_later(
                delay, self._look, context=contextvars.Context()
            )

    def _finish(self) -> None:
        self.begin(math.inf)
        # It holds the link, which leads to it: the garbage collector shall have nothing to do.
        (self._link.progress.bound or {}).pop(_Expiry, None)

    def _look(self) -> None:
        progress = self._link.progress
        if _now() < self.at:
            self.begin(self.at)
        elif progress.open:
            self._link.end(CloseCode.CREDENTIALS_REFUSED, "credentials expired")
        elif not progress.over:
            # Told after accept: browsers hide from scripts why a handshake was refused.
            if progress.on_accept is None:
                progress.on_accept = []
            progress.on_accept.append(self._accepted)

    async def _accepted(self) -> None:
        # Before the handler goes on, which might send.
        self._look()


def epoch_seconds(moment: float | dt.datetime | None) -> float:
    """Return a moment in seconds since 1970, infinity for `None`.

    Raises:
        TypeError: Something else.
        ValueError: A `datetime` without a time zone, or NaN.
    """
    if moment is None:
        return math.inf
    if isinstance(moment, dt.datetime):
        if moment.utcoffset() is None:
            raise ValueError(f"a moment needs a time zone, {moment!r} has none")
        return moment.timestamp()
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise TypeError(f"a moment is a number of seconds or a datetime, not {moment!r}")
    if math.isnan(moment):
        raise ValueError("NaN is no moment")
    return float(moment)
