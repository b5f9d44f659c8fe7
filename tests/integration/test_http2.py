"""WebSockets over HTTP/2 (RFC 8441), where the handshake has no key, no upgrade, no connection.

Of the six servers Hypercorn speaks it, also without TLS. The client is written out here, for no
library has one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import h2.events
import pytest
import wsproto.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from integration import capabilities as table
from integration.calls import DEADLINE, Call
from integration.servers import KINDS, Server, Start

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

STREAM = 1
EventT = TypeVar("EventT", bound=h2.events.Event)


class Http2Client:
    """One HTTP/2 connection with one WebSocket on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._events: list[h2.events.Event] = []
        self._frames = Connection(ConnectionType.CLIENT)

    async def connect(self, authority: str, path: str) -> dict[str, str]:
        """Ask for a WebSocket with an extended CONNECT; return the headers of the response."""
        self._http.initiate_connection()
        while not self._http.remote_settings.enable_connect_protocol:
            await self._next(h2.events.RemoteSettingsChanged)
        self._http.send_headers(
            STREAM,
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", authority),
                (":path", path),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "v1, v2"),
            ],
        )
        response = await self._next(h2.events.ResponseReceived)
        return {str(name): str(value) for name, value in response.headers}

    def send(self, event: wsproto.events.Event) -> None:
        self._http.send_data(STREAM, self._frames.send(event))

    async def receive(self) -> wsproto.events.Event:
        """Return the next message or close frame."""
        while True:
            for event in self._frames.events():
                return event
            self._frames.receive_data((await self._next(h2.events.DataReceived)).data)

    async def _next(self, kind: type[EventT]) -> EventT:
        while True:
            self._writer.write(self._http.data_to_send())
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, kind):
                    return event
            data = await self._reader.read(65_536)
            assert data, "the server hung up"
            self._events += self._http.receive_data(data)


@pytest.fixture
def hypercorn(start_once: Start) -> Server:
    return start_once(KINDS["hypercorn"], "quiet tests")


@asynccontextmanager
async def http2(server: Server) -> AsyncIterator[Http2Client]:
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            yield Http2Client(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()


def target(call: Call) -> tuple[str, str]:
    """The authority and the path of a call."""
    authority, _, path = call.url.removeprefix("ws://").partition("/")
    return authority, f"/{path}"


@pytest.mark.row("T77")
async def test_messages_subprotocol_and_close_over_http2(hypercorn: Server) -> None:
    call = Call(hypercorn, "/subprotocol")
    async with http2(hypercorn) as client:
        headers = await client.connect(*target(call))
        assert (headers[":status"], headers["sec-websocket-protocol"]) == ("200", "v2")
        message = await client.receive()
        assert isinstance(message, TextMessage)
        assert message.data == '[["v1","v2"],"v2"]'
        close = await client.receive()
        assert isinstance(close, CloseConnection)
        assert close.code == 1000
    await call.noted("cleanup")
    assert "Traceback" not in hypercorn.new_output


@pytest.mark.row("T77")
async def test_an_echo_and_the_clients_close_over_http2(hypercorn: Server) -> None:
    call = Call(hypercorn, "/echo")
    async with http2(hypercorn) as client:
        assert (await client.connect(*target(call)))[":status"] == "200"
        client.send(TextMessage("hi"))
        message = await client.receive()
        assert isinstance(message, TextMessage)
        assert message.data == "hi"
        client.send(CloseConnection(4321, "bye"))
        assert isinstance(await client.receive(), CloseConnection)
    left = await call.noted("left")
    assert (left["error"], left["closed_by"]) == (None, "client")
    assert str(left["code"]) == table.CLIENT_CODE.on(hypercorn)


@pytest.mark.row("T77")
async def test_a_denial_over_http2(hypercorn: Server) -> None:
    call = Call(hypercorn, "/reject/body")
    async with http2(hypercorn) as client:
        headers = await client.connect(*target(call))
        assert (headers[":status"], headers["x-token"]) == ("401", "expired")
