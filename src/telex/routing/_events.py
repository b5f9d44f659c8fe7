"""Streams as Server-Sent Events (HTML §9.2), for clients that cannot use WebSockets.

A `GET` with `Accept: text/event-stream` on the path of a stream is served by the same route: to it
the request is a WebSocket connection whose client never says anything. So binding, dependencies,
middlewares, also connection middleware, and errors are the same.

Messages are counted, and the count is the id of the event, unless the stream gives one
(`StreamEvent`); a client that connects again sends the last one as `Last-Event-ID`, where counting
goes on. When the stream is over, an event of type `close` says so with the close code, for
otherwise an `EventSource` would connect again. It should do so after 1001, 1012 and 1013, and when
the server stops: then the response just ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from typing import Any, Final

from telex._json import encode_json
from telex._types import DENIAL_EXTENSION, LABELS_KEY, ASGIApp, Message, Receive, Scope, Send
from telex.close_codes import CloseCode
from telex.exceptions import MissingDependency
from telex.middleware.hooks import around_events
from telex.streams import Label, Stream

log: Final = logging.getLogger("telex")

EVENT_STREAM: Final = b"text/event-stream"

_NEVER: Final = re.compile(rb"q=0(\.0*)?")
"""The weight of what is not acceptable (RFC 9110 §12.4.2)."""

_COUNT_DIGITS: Final = 15
"""Digits of the longest `Last-Event-ID` that can be a count of ours."""


_COME_BACK: Final = (CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART, CloseCode.TRY_AGAIN_LATER)
"""Close codes after which a client is meant to connect again by itself."""

_LAST_WORD_TIMEOUT: Final = 1.0
"""Seconds the end of a response that was cut off may take."""


class ClientDisconnected(OSError):
    """What `send` raises when the client is gone (ASGI 2.4)."""


def asks_for_events(scope: Scope) -> bool:
    """Whether a request wants Server-Sent Events: it names the type, and not with `q=0`."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and any(
            name == b"accept" and any(map(_means_events, value.split(b",")))
            for name, value in scope["headers"]
        )
    )


def _means_events(accepted: bytes) -> bool:
    kind, *params = b"".join(accepted.lower().split()).split(b";")
    return kind == EVENT_STREAM and not any(map(_NEVER.fullmatch, params))


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
        await around_events(app, scope)(bridge.scope, bridge.receive, bridge.send)
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
        # As long as nothing is begun there is nothing to be completed.
        self._completed = True
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
            ValueError, TypeError: What it says cannot be an event.
        """
        kind = str(message["type"]).removeprefix("websocket.")
        if kind == "accept":
            self._accept(message)
        elif self._response is None:
            await self._deny(kind, message)
        elif kind == "send":
            await self._put(self._event(message))
        else:
            await self._close(message.get("code", 1000), message.get("reason") or "")

    async def finish(self) -> None:
        """Wait for the response, which is cut off if the application has not closed."""
        response = self._response
        if response is None:
            return
        if response.done():
            await self._complete()
            return
        if not self._closed:
            response.cancel()
        try:
            await asyncio.wait((response,))
        except asyncio.CancelledError:
            # The client does not read the end, and the server waits no longer.
            response.cancel()
            await asyncio.wait((response,))
            raise

    def _accept(self, message: Message) -> None:
        scope, receive, _ = self._http
        response = _library().EventSourceResponse(self._items(), sep="\n")
        response.raw_headers.extend(message.get("headers") or ())
        self._response = asyncio.get_running_loop().create_task(
            response(scope, receive, self._send_response)
        )
        self._response.add_done_callback(self._over)
        self._begun.set()

    async def _send_response(self, message: Message) -> None:
        _, _, send = self._http
        await send(message)
        body = message["type"] == "http.response.body"
        self._completed = body and not message.get("more_body")

    async def _deny(self, kind: str, message: Message) -> None:
        _, _, send = self._http
        self._begun.set()
        if kind == "close":
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({**message, "type": kind})

    async def _close(self, code: int, reason: str) -> None:
        if code not in _COME_BACK:
            data = encode_json({"code": code, "reason": reason})
            await self._put({"event": "close", "data": data})
        await self._put(None)
        self._closed = True

    async def _complete(self) -> None:
        """End the body of a response that was cut off by what is no fault of the client."""
        _, _, send = self._http
        if not self._completed:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LAST_WORD_TIMEOUT):
                    await send({"type": "http.response.body", "body": b""})

    async def _items(self) -> AsyncIterator[dict[str, Any]]:
        while (event := await self._events.get()) is not None:
            yield event

    async def _put(self, event: dict[str, Any] | None) -> None:
        response = self._response
        assert response is not None
        if not response.done():
            await self._events.put(event)
        if response.done():
            self._make_room()
            raise ClientDisconnected

    def _over(self, response: asyncio.Task[None]) -> None:
        self._make_room()
        if not response.cancelled() and (failure := response.exception()) is not None:
            log.info("a stream of events broke off: %r", failure)

    def _make_room(self) -> None:
        # Whoever waits for room would wait for ever; each of them makes room for the next.
        while not self._events.empty():
            self._events.get_nowait()

    def _event(self, message: Message) -> dict[str, Any]:
        label, self._label = self._label, Label()
        self._count += 1
        data = message.get("text")
        if data is None:
            try:
                data = str(message["bytes"], "utf-8")
            except UnicodeDecodeError as error:
                # The application's mistake.
                raise ValueError("an event is text, and these bytes are no UTF-8") from error
        event = {"data": data, "id": label.id if label.id is not None else str(self._count)}
        if label.event is not None:
            event["event"] = label.event
        return event if label.retry is None else {**event, "retry": label.retry}
