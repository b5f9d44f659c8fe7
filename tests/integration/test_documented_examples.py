"""The examples that other frameworks document, on every server, with a real client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.servers import KINDS, Server, running

pytestmark = pytest.mark.integration

DEADLINE = 15.0
"""Seconds one conversation may take."""


@pytest.fixture(scope="module", params=KINDS)
def examples(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each server with the examples; nothing they do may look like an error in its log."""
    with running(KINDS[request.param], "integration.examples_app:served") as server:
        yield server
        assert "Traceback" not in server.output


@asynccontextmanager
async def client(server: Server, path: str) -> AsyncIterator[ClientConnection]:
    async with asyncio.timeout(DEADLINE), connect(server.url(path), proxy=None) as ws:
        yield ws


async def close_of(ws: ClientConnection) -> int | None:
    """Read the close and return its code."""
    with pytest.raises(ConnectionClosed):
        await ws.recv()
    return ws.close_code


@pytest.mark.row("L7", "L31")
async def test_json_as_binary_and_then_a_close(examples: Server) -> None:
    async with client(examples, "/hello") as ws:
        message = await ws.recv()
        assert isinstance(message, bytes)
        assert json.loads(message) == {"message": "Hello, world!"}
        assert await close_of(ws) == 1000


@pytest.mark.row("L42")
async def test_iterating_json_until_the_client_leaves_and_closing_after_it(
    examples: Server,
) -> None:
    async with client(examples, "/message-text") as ws:
        await ws.send("1")
        assert await ws.recv() == b'{"message":"Message text was: 1"}'
        await ws.send('{"a":null}')
        assert await ws.recv() == b'{"message":"Message text was: {\'a\': None}"}'


@pytest.mark.row("L9", "L15", "L17")
async def test_what_a_real_handshake_brings(examples: Server) -> None:
    async with client(examples, "/scope-view?search=x") as ws:
        assert json.loads(await ws.recv()) == ["/scope-view", "13", "x"]


@pytest.mark.row("G12", "G4")
async def test_accept_receive_echo_close(examples: Server) -> None:
    async with client(examples, "/echo-once") as ws:
        await ws.send("hi")
        assert await ws.recv() == "Echo: hi"
        assert await close_of(ws) == 1000


@pytest.mark.row("V20", "V19")
async def test_accept_then_close(examples: Server) -> None:
    async with client(examples, "/accept-then-close") as ws:
        assert await close_of(ws) == 1000


@pytest.mark.row("V21", "V23")
async def test_after_accepting_messages_can_be_exchanged(examples: Server) -> None:
    async with client(examples, "/context-manager") as ws:
        assert ws.response is not None
        assert ws.response.status_code == 101
        await ws.send("ping")
        assert await ws.recv() == "ping"
        assert await close_of(ws) == 1000


@pytest.mark.row("K33")
async def test_text_bytes_and_json_in_order(examples: Server) -> None:
    async with client(examples, "/sending") as ws:
        assert await ws.recv() == "hello"
        assert await ws.recv() == b"\x00\x01"
        assert json.loads(await ws.recv()) == {"key": "value"}
        assert await close_of(ws) == 1000


@pytest.mark.row("L55", "C2", "T37")
@pytest.mark.parametrize("path", ["/websocket-close", "/close-first"])
async def test_a_close_before_accept_is_a_403(examples: Server, path: str) -> None:
    with pytest.raises(InvalidStatus) as raised:
        async with client(examples, path):
            raise AssertionError("let in")
    assert raised.value.response.status_code == 403
    assert b"never seen" not in raised.value.response.serialize()
