"""Streams as Server-Sent Events (HTML §9.2), for clients that cannot use WebSockets.

A `GET` with `Accept: text/event-stream` on the path of a stream is served by the same route: to it
the request is a WebSocket connection whose client never says anything. So binding, dependencies,
middlewares and errors are the same.

Messages are counted, and the count is the id of the event, unless the stream gives one
(`StreamEvent`); a client that connects again sends the last one as `Last-Event-ID`, where counting
goes on. When the stream is over, an event of type `close` says so with the close code, for
otherwise an `EventSource` would connect again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

from telex._json import encode_json
from telex._types import DENIAL_EXTENSION, ASGIApp, Message, Receive, Scope, Send
from telex.close_codes import CloseCode
from telex.exceptions import MissingDependency
from telex.streams import LABELS_KEY, Label, Stream

log: Final = logging.getLogger("telex")

EVENT_STREAM: Final = b"text/event-stream"

_COUNT_DIGITS: Final = 15
"""Digits of the longest `Last-Event-ID` that can be a count of ours."""


class ClientDisconnected(OSError):
    """What `send` raises when the client is gone (ASGI 2.4)."""


def asks_for_events(scope: Scope) -> bool:
    """Whether a request wants Server-Sent Events."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and any(
            name == b"accept" and EVENT_STREAM in value.lower() for name, value in scope["headers"]
        )
    )


def can_serve_events(endpoint: object) -> bool:
    """Whether an endpoint is a stream, and what writes events is installed."""
    if not isinstance(endpoint, Stream):
        return False
    try:
        _library()
    except MissingDependency as missing:
        log.warning("a client asks for events: %s", missing)
        return False
    return True


def _library() -> Any:
    try:
        import sse_starlette
    except ImportError as error:
        raise MissingDependency("sse-starlette", "sse", "a stream of events") from error
    return sse_starlette


async def serve_events(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a request by the application of a stream route."""
    bridge = _Bridge(scope, receive, send)
    try:
        await app(bridge.scope, bridge.receive, bridge.send)
    finally:
        await bridge.finish()


class _Bridge:
    """A WebSocket connection to the application, a stream of events to the client."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._http = (scope, receive, send)
        self.scope: Scope = {
            **scope,
            "type": "websocket",
            "subprotocols": [],
            "extensions": {DENIAL_EXTENSION: {}},
            LABELS_KEY: self,
        }
        self._response: asyncio.Task[None] | None = None
        self._connected = self._closed = False
        self._begun = asyncio.Event()
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(1)
        self._label = Label()
        last = dict(scope["headers"]).get(b"last-event-id", b"")
        self._count = int(last) if last.isdigit() and len(last) <= _COUNT_DIGITS else 0

    def next(self, label: Label) -> None:
        """Take what belongs to the next message."""
        self._label = label

    async def receive(self) -> Message:
        """Return the connect, then wait for the client to leave."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        # Only the response may await the server's `receive`.
        await self._begun.wait()
        if self._response is not None:
            await asyncio.wait((self._response,))
        return {"type": "websocket.disconnect", "code": int(CloseCode.GOING_AWAY), "reason": ""}

    async def send(self, message: Message) -> None:
        """Pass on what the application says.

        Raises:
            OSError: The client is gone.
        """
        kind = str(message["type"]).removeprefix("websocket.")
        if kind == "accept":
            self._accept(message)
        elif kind == "send":
            await self._put(self._event(message))
        elif kind == "close" and self._response is not None:
            code, reason = message.get("code", 1000), message.get("reason") or ""
            data = encode_json({"code": code, "reason": reason})
            await self._put({"event": "close", "data": data})
            self._closed = True
            await self._put(None)
        else:
            await self._deny(kind, message)

    async def finish(self) -> None:
        """Wait for the response, which is cut off if the application has not closed."""
        response = self._response
        if response is None:
            return
        if not self._closed:
            response.cancel()
        await asyncio.wait((response,))
        if not response.cancelled() and (failure := response.exception()) is not None:
            log.info("a stream of events broke off: %r", failure)

    def _accept(self, message: Message) -> None:
        scope, receive, send = self._http
        response = _library().EventSourceResponse(self._items(), sep="\n")
        response.raw_headers.extend(message.get("headers") or ())
        self._response = asyncio.get_running_loop().create_task(response(scope, receive, send))
        self._response.add_done_callback(self._over)
        self._begun.set()

    async def _deny(self, kind: str, message: Message) -> None:
        _, _, send = self._http
        self._begun.set()
        if kind == "close":
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({**message, "type": kind})

    async def _items(self) -> AsyncIterator[dict[str, Any]]:
        while (event := await self._events.get()) is not None:
            yield event

    async def _put(self, event: dict[str, Any] | None) -> None:
        await self._events.put(event)
        if self._response is None or self._response.done():
            raise ClientDisconnected

    def _over(self, _: object) -> None:
        # Whoever waits for room would wait for ever.
        while not self._events.empty():
            self._events.get_nowait()

    def _event(self, message: Message) -> dict[str, Any]:
        label, self._label = self._label, Label()
        self._count += 1
        data = message.get("text")
        if data is None:
            # What is no text cannot be an event: the application's mistake.
            data = str(message["bytes"], "utf-8")
        event = {"data": data, "id": label.id if label.id is not None else str(self._count)}
        if label.event is not None:
            event["event"] = label.event
        return event if label.retry is None else {**event, "retry": label.retry}
