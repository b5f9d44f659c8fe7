"""How far one connection has come: the two phases, the close record, the counters.

Shared by every face and every link over the same connection, so that a middleware which wrapped
`send` and the handler behind it agree on what was sent.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

from telex._state import (
    Phase,
    WebSocketState,
    advance_application,
    advance_client,
    combined_state,
    refusal,
)
from telex._types import CloseRecord, Message
from telex.exceptions import (
    WebSocketDisconnect,
    WebSocketHandshakeError,
    WebSocketRuntimeError,
)

Filter = Callable[[str | bytes], str | bytes]
"""Gets the data of a message and returns what goes on in its place."""

READING: Final = "reading"

passing: Final[ContextVar[tuple[Progress, str] | None]] = ContextVar("telex.passing", default=None)
"""What a link hands to callables that somebody wrapped: the type of an event, or `READING`.

When they lead to another link of the same connection, that one passes the event on and leaves the
state alone, which has been advanced already.
"""


handling: Final[ContextVar[Progress | None]] = ContextVar("telex.handling", default=None)
"""The connection of whose handler the current task is part; nothing in `Progress.own_context`."""


def kind_of(message: Message) -> str:
    """Return the type of an event as a plain `str`, also for members of string enums."""
    kind = message.get("type")
    return str.__str__(kind) if isinstance(kind, str) else repr(kind)


class Progress:
    """The state of one connection. Synchronous, does no I/O.

    Attributes:
        application: How far our side has come.
        began: When the connection was first seen, on the monotonic clock, in seconds.
        filters_in: Functions through which the data of every message goes before it is read.
        filters_out: The same before it is sent.
        informed: The handler, or a task of it, has learned of the end, or is its cause.
        handed_out: Somebody may be awaiting the server's `receive`; nobody else may begin to.
        open: Accepted, not closed by us, the peer's end not delivered. What the hot path asks.
        record: How it ended, `None` before the end.
        bound: What was made for this connection once, for everybody who depends on it; `None`
            until there is something.
        client: How far the client's side has come.
        context: That of the handler, before it runs that of the first face; see `own_context`.
        dismissed: The connection is ended from outside of its handler.
        connect_taken: Somebody has read, or is reading, the `websocket.connect`.
        subprotocol: The accepted subprotocol.
        supervised: A life cycle runs the handler and will end the connection.
        on_accept: Awaited once, in order, right after the accept went out; `None` for nothing.
        told: The application was told that the peer is gone without reading up to the end.
        watchers: Called when the peer is known to be gone, and when we close.
        received: Messages handed to the application.
        sent: Messages handed to the server.
    """

    __slots__ = (
        "application",
        "began",
        "bound",
        "client",
        "connect_taken",
        "context",
        "dismissed",
        "filters_in",
        "filters_out",
        "handed_out",
        "informed",
        "on_accept",
        "open",
        "received",
        "record",
        "sent",
        "subprotocol",
        "supervised",
        "told",
        "watchers",
    )

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.client = Phase.CONNECTING
        self.application = Phase.CONNECTING
        self.open = False
        self.record: CloseRecord | None = None
        self.connect_taken = False
        self.context = copy_context()
        self.dismissed = False
        self.handed_out = False
        self.informed = False
        self.subprotocol: str | None = None
        self.supervised = False
        self.told = False
        self.on_accept: list[Callable[[], Awaitable[None]]] | None = None
        self.filters_in: tuple[Filter, ...] = ()
        self.filters_out: tuple[Filter, ...] = ()
        self.bound: dict[object, Any] | None = None
        self.watchers: list[Callable[[], None]] = []
        self.received = 0
        self.sent = 0

    @property
    def state(self) -> WebSocketState:
        """The state of the connection as a whole."""
        return combined_state(self.client, self.application)

    @property
    def peer_gone(self) -> bool:
        """Whether the application has been told that the peer ended the connection."""
        return self.client is Phase.DISCONNECTED

    @property
    def over(self) -> bool:
        """Whether either side has ended it."""
        # Spelled out, for it is asked often.
        gone = Phase.DISCONNECTED
        return self.client is gone or self.application is gone

    def own_context(self) -> Context:
        """Return a context for what is done on behalf of the connection, whoever caused it.

        Cleanups and ASGI middlewares find in it what was there when the route was called.
        """
        return self.context.copy()

    def cleanup_context(self) -> Context | None:
        """Return that for the cleanups; `None`, the caller's, where the handler finds the end."""
        found_by_it = not self.supervised or handling.get() is self
        return None if found_by_it else self.own_context()

    def came(self, message: Message) -> None:
        """Take note of an event from the server; raises when it is not legal now."""
        self.client = advance_client(self.client, kind_of(message))
        if self.client is Phase.DISCONNECTED:
            self._inform()

    def going(self, message: Message) -> None:
        """Take note of an event about to be sent; raises when it is not legal now."""
        try:
            self.application = advance_application(self.application, message)
        except WebSocketRuntimeError:
            if self.over:
                self._inform()
            raise
        if self.application is Phase.DISCONNECTED:
            self.open = False
            self._inform()

    def accepted(self) -> None:
        """Take note that the accept is out: messages may flow, unless it is over meanwhile."""
        self.open = self.application is Phase.CONNECTED and not self.peer_gone

    def not_accepted(self) -> None:
        """Take back an accept that the server refused."""
        if self.application is Phase.CONNECTED:
            self.application = Phase.CONNECTING

    def end(self, record: CloseRecord) -> None:
        """Write the close record, unless there is one: the first end counts."""
        if self.record is None:
            self.record = record

    def tell(self, record: CloseRecord | None) -> None:
        """Take note that the application knows of the end, though messages may be unread."""
        self.told = True
        self._inform()
        if record is not None:
            self.end(record)

    def cut(self) -> None:
        """Take note that we end the connection without a close."""
        self.application = Phase.DISCONNECTED
        self.open = False
        self._inform()
        self.end(CloseRecord(1006, "", "server"))

    def deliver(self, record: CloseRecord) -> WebSocketHandshakeError:
        """Tell the application that the peer is gone; returns the error to raise."""
        self.client = Phase.DISCONNECTED
        self.open = False
        self.end(record)
        return self.refuse("go on")

    def _inform(self) -> None:
        # Also a publisher elsewhere may be told, of whom the handler knows nothing.
        if handling.get() is self:
            self.informed = True

    def filtered(self, data: str | bytes) -> str | bytes:
        """Return data on its way out as the filters want it."""
        for each in self.filters_out:
            data = each(data)
        return data

    def notify(self, _record: CloseRecord | None = None) -> None:
        """Tell the watchers that one of the sides has ended the connection."""
        for watcher in tuple(self.watchers):
            watcher()

    def disconnect(self) -> WebSocketDisconnect:
        """Return the error for a call after the peer ended the connection."""
        record = self.record
        ours = record is not None and record.closed_by == "server"
        if record is None or (ours and self.application is not Phase.CONNECTED):
            # A denial was on its way.
            return WebSocketDisconnect(1006)
        return WebSocketDisconnect(record.code, record.reason)

    def refuse(self, action: str) -> WebSocketHandshakeError:
        """Return the error for a call while the connection is not open."""
        if self.over:
            self._inform()
        closed_by_us = self.application is Phase.DISCONNECTED and (
            self.record is not None and self.record.closed_by == "server"
        )
        if self.peer_gone and not closed_by_us:
            return self.disconnect()
        if self.application is Phase.CONNECTED and not self.open:
            # The accept is on its way.
            return refusal(Phase.CONNECTING, action)
        return refusal(self.application, action)
