"""A server with one connection in memory, and applications that need no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
import uvicorn
from uvicorn.server import ServerState

from server.transports import (
    FakeTransport,
    head,
    turns,
)
from telex.server.protocol import WebSocketProtocol

App = Callable[[Any, Any, Any], Awaitable[object]]
PEERS: Final[dict[str, Any]] = {
    "peername": ("192.0.2.1", 50_000),
    "sockname": ("127.0.0.1", 8000),
}
WRITERS: Final = ("protocol.py", "_conversation.py", "websockets_sansio_impl.py")
"""Uvicorn's protocol hands its logger on to the `websockets` library, whose words are not meant."""
DEFLATE: Final = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


class Served:
    """A server with one connection, over a transport in memory."""

    def __init__(
        self, app: App, *, kind: Any = WebSocketProtocol, transport: Any = None, **config: Any
    ) -> None:
        self.config = uvicorn.Config(app, log_config=None, **{"interface": "asgi3", **config})
        self.config.load()
        self.state: Any = ServerState()
        self.state.default_headers = [(b"server", b"uvicorn")]
        self.lifespan = {"of": "lifespan"}
        self.protocol = kind(self.config, self.state, self.lifespan)
        # Uvicorn's own asks a socket for addresses; without one it asks the transport too.
        theirs = {} if kind is WebSocketProtocol else {"socket": None}
        self.transport = transport or FakeTransport(extra=PEERS | theirs)
        self.protocol.connection_made(self.transport)
        self.transport.set_protocol(self.protocol)

    def ask(self, *lines: bytes, early: bytes = b"", **options: Any) -> None:
        """Have a request come."""
        self.transport.feed(head(*lines, **options) + b"\r\n" + early)

    async def answer(self) -> bytes:
        """Return what was written by now."""
        await turns()
        written: bytes = self.transport.take()
        return written

    async def opened(self, *lines: bytes, early: bytes = b"") -> bytes:
        """Have the handshake go through; return what was written after it."""
        self.ask(*lines, early=early)
        first, _, rest = (await self.answer()).partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 101")
        return rest


async def accepts(scope: Any, receive: Any, send: Any) -> None:
    """Accept, and read to the end."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def waits(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing; end with the client."""
    await receive()
    await receive()


async def denies(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.http.response.start", "status": 401})
    await receive()
    await receive()


def noted(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.filename in WRITERS
    ]
