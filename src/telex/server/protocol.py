"""WebSockets for uvicorn: `uvicorn main:app --ws telex.server:WebSocketProtocol`.

uvicorn's HTTP protocol hands over the transport with the head of the request. From there on this
is the connection's protocol until the application has accepted; then picows reads from the
transport, into the connection's `Channel`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol, cast
from urllib.parse import quote
from weakref import WeakKeyDictionary

from telex._types import DENIAL_EXTENSION, FRAMES_EXTENSION, Scope
from telex.close_codes import CloseCode
from telex.server._channel import Channel
from telex.server._conversation import Conversation
from telex.server._deflate import Agreement, Compression, agree
from telex.server._handshake import (
    BadHandshake,
    Headers,
    Upgrade,
    parse,
    plain_text,
    response_head,
    switching_protocols,
)
from telex.server._inbound import Bounds
from telex.server._outbound import ClientDisconnected

log: Final = logging.getLogger("uvicorn.error")

SPEC_VERSION: Final = "2.4"
"""Of the ASGI specification for WebSockets: `send` raises `OSError` once the client is gone."""

_MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's head."""

_SHUTDOWN_MOMENT: Final = 1.0
"""Seconds for the client's close frame when the server stops."""

_TOO_LONG: Final = BadHandshake(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too long."
)
_UNAVAILABLE: Final = BadHandshake(HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable")

_NOT_A_SECOND: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""To linger for no time at all: closing a socket then resets the connection."""


class ServerState(Protocol):
    """What uvicorn's servers share with their protocols."""

    connections: set[Any]
    tasks: set[asyncio.Task[None]]
    default_headers: list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What uvicorn's configuration says about WebSockets, worked out once a server.

    Attributes:
        app: The application, behind uvicorn's own middleware.
        asgi: The `asgi` of every scope.
        root_path: Where the application is mounted.
        bounds: What one connection may take.
        compress: Whether permessage-deflate is offered.
        ping: Seconds between pings, and for an answer.
        limit: Connections and tasks at which more are refused.
        own_context: Whether each connection gets a context without anything in it.
    """

    app: Callable[..., Awaitable[object]]
    asgi: dict[str, str]
    root_path: str
    bounds: Bounds
    compress: bool
    ping: tuple[float | None, float | None]
    limit: int | None
    own_context: bool

    @classmethod
    def of(cls, config: Any) -> Settings:
        """Return those of a `uvicorn.Config`, the same ones every time."""
        settings = _settings.get(config)
        if settings is None:
            if not config.loaded:
                config.load()
            settings = _settings[config] = cls(
                app=config.loaded_app,
                asgi={"version": config.asgi_version, "spec_version": SPEC_VERSION},
                root_path=config.root_path,
                bounds=Bounds(config.ws_max_size, max(config.ws_max_queue or 0, 1)),
                compress=config.ws_per_message_deflate,
                ping=(config.ws_ping_interval, config.ws_ping_timeout),
                limit=config.limit_concurrency,
                own_context=getattr(config, "reset_contextvars", False),
            )
        return settings


_settings: WeakKeyDictionary[Any, Settings] = WeakKeyDictionary()


class WebSocketProtocol(asyncio.Protocol):
    """A WebSocket connection as uvicorn sees it.

    Give the class, or `"telex.server:WebSocketProtocol"`, to uvicorn as `ws`. It serves any ASGI
    application (ASGI 3.0, WebSocket 2.4 with denial responses) by RFC 6455 and RFC 7692, and gives
    Telex applications the frame channel besides.

    Args:
        config: A `uvicorn.Config`.
        server_state: What the server shares with its protocols.
        app_state: The state of the lifespan, of which each scope gets a copy.
    """

    def __init__(
        self,
        config: Any,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._settings = Settings.of(config)
        self._server = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._head: bytearray | None = bytearray()
        self._early = b""
        self._upgrade: Upgrade | None = None
        self._agreement: Agreement | None = None
        self._scope: Scope = {}
        self._conversation: Conversation | None = None

    # What the transport calls, until the channel has it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._channel = Channel(
            self._transport, self._loop, self._settings.bounds, self._connection_gone
        )
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take the head of the request, in pieces or whole."""
        if self._head is None:
            self._keep_early(data)
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if len(self._head) > _MAX_HEAD:
            self._head = None
            self._refuse(_TOO_LONG)
        elif end >= 0:
            head, self._early = bytes(self._head[: end + 2]), bytes(self._head[end + 4 :])
            self._head = None
            self._read_head(head)

    def _keep_early(self, data: bytes) -> None:
        """A client should wait for the answer; what comes before it is kept, but not much."""
        self._early += data
        if len(self._early) > _MAX_HEAD:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Let the transport close itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone before it was accepted, or after it was denied."""
        self._channel.on_lost()

    def pause_writing(self) -> None:
        """The outgoing buffer is full."""
        self._channel.pause_writing()

    def resume_writing(self) -> None:
        """It has room again."""
        self._channel.resume_writing()

    # What the server uses

    @property
    def transport(self) -> asyncio.Transport:
        """Of the connection."""
        return self._transport

    def shutdown(self) -> None:
        """End the connection: the server stops."""
        if self._conversation is not None:
            self._conversation.shut_down()
        elif self._channel.closed is None:
            self._refuse(_UNAVAILABLE)
        self._channel.hurry(_SHUTDOWN_MOMENT)

    # The handshake

    def _read_head(self, head: bytes) -> None:
        settings, server = self._settings, self._server
        try:
            upgrade = parse(head)
            if settings.compress and upgrade.extensions:
                self._agreement = agree(upgrade.extensions)
        except BadHandshake as bad:
            log.warning("Invalid WebSocket handshake: %s", bad)
            self._refuse(bad)
            return
        self._scope = self._made_scope(upgrade)
        self._upgrade = upgrade
        limit = settings.limit
        if limit is not None and max(len(server.connections), len(server.tasks)) >= limit:
            log.warning("Exceeded concurrency limit.")
            self._refuse(_UNAVAILABLE)
            return
        # uvicorn makes this the transport's protocol when this call has returned, and would undo
        # the work of an application that starts, and accepts, within it.
        self._loop.call_soon(self._start)

    def _refuse(self, bad: BadHandshake) -> None:
        body = str(bad).encode()
        self.respond(bad.status, [*bad.headers, *plain_text(body)])
        self.write(body)
        self.hang_up()

    def _made_scope(self, upgrade: Upgrade) -> Scope:
        settings, transport = self._settings, self._transport
        root_path = settings.root_path
        return {
            "type": "websocket",
            "asgi": settings.asgi,
            "http_version": "1.1",
            "scheme": "wss" if transport.get_extra_info("sslcontext") else "ws",
            "server": _address(transport.get_extra_info("sockname")),
            "client": _client(transport.get_extra_info("peername")),
            "root_path": root_path,
            "path": root_path + upgrade.path,
            "raw_path": root_path.encode("ascii") + upgrade.raw_path,
            "query_string": upgrade.query_string,
            "headers": upgrade.headers,
            "subprotocols": upgrade.subprotocols,
            "state": self._app_state.copy(),
            "extensions": {DENIAL_EXTENSION: {}, FRAMES_EXTENSION: self._channel},
        }

    def _start(self) -> None:
        if self._channel.closed is not None:
            return
        context = contextvars.Context() if self._settings.own_context else None
        task = self._loop.create_task(self._run(), context=context)
        task.add_done_callback(self._server.tasks.discard)
        self._server.tasks.add(task)

    async def _run(self) -> None:
        channel = self._channel
        conversation = self._conversation = Conversation(channel, self)
        channel.asgi_receive, channel.asgi_send = conversation.receive, conversation.send
        code = CloseCode.INTERNAL_ERROR
        try:
            result = await self._settings.app(self._scope, channel.asgi_receive, channel.asgi_send)
            code = CloseCode.NORMAL
            if result is not None:
                log.error("ASGI callable should return None, but returned '%s'.", result)
        except ClientDisconnected:
            code = CloseCode.NORMAL
        except asyncio.CancelledError:
            code = CloseCode.SERVICE_RESTART
            raise
        except Exception:
            log.exception("Exception in ASGI application\n")
        finally:
            conversation.finish(code)
            # It holds this protocol and the channel: no cycle may be left.
            self._conversation = None
            del channel.asgi_receive, channel.asgi_send

    # What the conversation calls

    @property
    def subprotocols(self) -> Sequence[str]:
        """What the client offers."""
        return self._upgrade.subprotocols if self._upgrade else ()

    def switch(self, subprotocol: str | None, headers: Headers) -> None:
        """Send the 101 and open the channel."""
        assert self._upgrade is not None
        agreement = self._agreement
        head = switching_protocols(
            self._upgrade.key,
            subprotocol,
            agreement.header if agreement else "",
            [*self._server.default_headers, *headers],
        )
        self._note("[accepted]")
        self._transport.write(head)
        self._channel.open(Compression(agreement) if agreement else None, self._early)
        self._early = b""
        self._channel.keep_alive(*(self._channel.beat or self._settings.ping))

    def respond(self, status: int, headers: Headers) -> None:
        """Send the head of another response."""
        self._note(status)
        self.write(response_head(status, [*self._server.default_headers, *headers]))

    def write(self, data: bytes) -> None:
        """Send a part of its body."""
        if self._channel.closed is None:
            self._channel.write_raw(data)

    def hang_up(self) -> None:
        """End the connection when everything is sent."""
        self._channel.deny()

    def break_off(self) -> None:
        """End the connection in a way that shows that something is missing.

        A body without a length ends with the connection (RFC 9112 §8): only a reset tells.
        """
        if self._channel.closed is None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOT_A_SECOND)
            self._channel.abort()

    def _note(self, status: int | str) -> None:
        """Write uvicorn's access log line for a handshake."""
        if self._scope and log.isEnabledFor(logging.INFO):
            scope = self._scope
            client = scope.get("client")
            path = quote(scope["path"])
            if scope["query_string"]:
                path += "?" + scope["query_string"].decode("ascii")
            peer = f"{client[0]}:{client[1]}" if client else ""
            log.info('%s - "WebSocket %s" %s', peer, path, status)

    def _connection_gone(self) -> None:
        self._server.connections.discard(self)
        self._channel.keep_alive(None, None)


def _address(name: Any) -> tuple[str, int | None] | None:
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return (name, None) if isinstance(name, str) else None


def _client(name: Any) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
