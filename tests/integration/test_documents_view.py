"""The programs of view.py's document on every server, with a real client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.servers import Server

pytestmark = pytest.mark.integration

DEADLINE = 15.0
"""Seconds one conversation may take."""


@asynccontextmanager
async def client(server: Server, path: str) -> AsyncIterator[ClientConnection]:
    async with asyncio.timeout(DEADLINE), connect(server.url(f"/view{path}"), proxy=None) as ws:
        yield ws


async def close_of(ws: ClientConnection) -> int | None:
    """Read the close and return its code."""
    with pytest.raises(ConnectionClosed):
        await ws.recv()
    return ws.close_code


async def status_of(server: Server, path: str) -> int:
    """Return the HTTP status with which a handshake is answered."""
    with pytest.raises(InvalidStatus) as raised:
        async with client(server, path):
            pytest.fail("let in")
    return raised.value.response.status_code


@pytest.mark.row("V1", "V21", "V25")
async def test_either_side_may_begin(documents: Server) -> None:
    async with client(documents, "/talk/") as ws:
        assert await ws.recv() == "first"
        await ws.send("one")
        await ws.send("two")
        assert await ws.recv() == "last"
        assert await close_of(ws) == 1000


@pytest.mark.row("V12", "V16", "C55")
async def test_the_route_that_does_nothing_lets_nobody_in(documents: Server) -> None:
    assert await status_of(documents, "/V12/") == 403


@pytest.mark.row("V20", "V21", "V23", "V19")
@pytest.mark.parametrize("number", ["V20", "V23"])
async def test_accepted_and_closed(documents: Server, number: str) -> None:
    async with client(documents, f"/{number}/") as ws:
        assert ws.response is not None
        assert ws.response.status_code == 101
        assert await close_of(ws) == 1000


@pytest.mark.row("V26", "V28", "V38", "V24", "T90")
@pytest.mark.parametrize("number", ["V26", "V38"])
async def test_a_chat(documents: Server, number: str) -> None:
    async with client(documents, f"/{number}/") as ws:
        for word in ("hi", "and bye"):
            line = await ws.recv()
            assert isinstance(line, str)
            assert line.startswith("line ")
            await ws.send(f"{word} to {line.strip()}")
        # What it types next is on its way when the client closes.
        assert await ws.recv()


@pytest.mark.row("V35")
async def test_json_is_received(documents: Server) -> None:
    async with client(documents, "/V35/") as ws:
        await ws.send('{"k":1}')
        assert await close_of(ws) == 1000
    async with client(documents, "/V35/") as ws:
        await ws.send("{")
        assert await close_of(ws) == 1008


@pytest.mark.row("V41", "V40", "T91")
async def test_a_pair_that_receives_first(documents: Server) -> None:
    async with client(documents, "/V41/2") as ws:
        for word in ("one", "two"):
            await ws.send(word)
            assert await ws.recv() == "typed\n"
        assert await close_of(ws) == 1000


@pytest.mark.row("V44", "V42")
async def test_the_greeting_of_a_protocol(documents: Server) -> None:
    async with client(documents, "/V44/") as ws:
        await ws.send("MYPROTOCOL V1.1")
        assert await ws.recv() == "ACK"
        assert await close_of(ws) == 1000
    async with client(documents, "/V44/") as ws:
        await ws.send("hello")
        assert await close_of(ws) == 1008


@pytest.mark.row("V5", "V6", "VX8", "C59")
async def test_inputs_of_a_real_handshake(documents: Server) -> None:
    async with client(documents, "/inputs/caf%C3%A9?limit=5") as ws:
        assert json.loads(await ws.recv()) == {"room": "café", "limit": 5}
        assert await close_of(ws) == 1000
    assert await status_of(documents, "/inputs/x?limit=many") == 400
    assert await status_of(documents, "/inputs/x") == 400
    assert await status_of(documents, "/inputs/x/y?limit=5") == 404
