"""The examples of Lilya's document on real servers, with a real client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.servers import Server

pytestmark = pytest.mark.integration

DEADLINE = 15.0
"""Seconds one conversation may take."""


@asynccontextmanager
async def client(server: Server, path: str) -> AsyncIterator[ClientConnection]:
    async with (
        asyncio.timeout(DEADLINE),
        connect(server.url(f"/lilya{path}"), proxy=None) as ws,
    ):
        yield ws


async def close_of(ws: ClientConnection) -> tuple[int | None, str | None]:
    """Read the close and return its code and reason."""
    with pytest.raises(ConnectionClosed):
        await ws.recv()
    return ws.close_code, ws.close_reason


async def noted(server: Server, key: str) -> Any:
    """Return what the application has noted under a key."""
    async with client(server, f"/routes/journal?key={key}") as ws:
        return json.loads(await ws.recv())


async def refusal(server: Server, path: str) -> tuple[int, bytes]:
    """Connect, and return status and body of the refusal."""
    with pytest.raises(InvalidStatus) as raised:
        async with client(server, path):
            raise AssertionError("let in")
    return raised.value.response.status_code, bytes(raised.value.response.body or b"")


def told(server: Server, code: int) -> int:
    """The code that an application gets to see when a client closes with one."""
    return 1006 if server.kind.name == "hypercorn" else code


@pytest.mark.row("L7", "L6", "L31")
async def test_the_example_sends_json_as_binary_and_closes(documents: Server) -> None:
    async with client(documents, "/L7") as ws:
        message = await ws.recv()
        assert isinstance(message, bytes)
        assert json.loads(message) == {"message": "Hello, world!"}
        assert await close_of(ws) == (1000, "")


@pytest.mark.row("L42")
async def test_the_example_iterates_until_the_client_leaves_and_closes(documents: Server) -> None:
    async with client(documents, "/L42") as ws:
        await ws.send("1")
        assert await ws.recv() == b'{"message":"Message text was: 1"}'
        await ws.send('{"a":null}')
        assert await ws.recv() == b'{"message":"Message text was: {\'a\': None}"}'


@pytest.mark.row("L55", "C2")
async def test_the_example_of_a_close_is_a_403(documents: Server) -> None:
    status, body = await refusal(documents, "/L55")
    assert status == 403
    assert b"done" not in body


@pytest.mark.row("L13", "L15", "L17", "L19")
async def test_the_examples_of_what_a_handshake_brings(documents: Server) -> None:
    async with client(documents, "/handshake/bob?search=x") as ws:
        assert json.loads(await ws.recv()) == [
            *("ws", "/lilya/handshake/bob", documents.port),
            *("13", "x", "bob"),
        ]


@pytest.mark.row("LX1")
async def test_the_example_of_a_route(documents: Server) -> None:
    async with client(documents, "/LX1/anything") as ws:
        await ws.send('{"hello": "world"}')
        assert await close_of(ws) == (1000, "")


@pytest.mark.row("LX2", "LX5")
async def test_a_route_is_provided_with_what_it_asks_for(documents: Server) -> None:
    async with client(documents, "/routes/provides/lobby?key=provides") as ws:
        assert json.loads(await ws.recv()) == ["lobby", "hi", "a session", "as it was"]
        await ws.send("still open")
        assert await ws.recv() == "still open"
    assert await noted(documents, "provides") == {"what": "closed"}


@pytest.mark.row("LX6")
async def test_a_controller_echoes_and_hears_of_the_end(documents: Server) -> None:
    async with client(documents, "/routes/controller?key=controller") as ws:
        await ws.send('{"a": [1, null]}')
        assert await ws.recv() == '{"a":[1,null]}'
        await ws.close(4001)
    assert await noted(documents, "controller") == {"what": "left", "code": told(documents, 4001)}


@pytest.mark.row("LX10", "C3")
async def test_a_second_close_is_refused(documents: Server) -> None:
    async with client(documents, "/routes/twice?key=refused") as ws:
        await ws.send("close")
        assert await close_of(ws) == (4000, "bye")
    assert await noted(documents, "refused") == {"what": "refused"}


@pytest.mark.row("C4")
async def test_closing_after_the_client_has_left_does_nothing(documents: Server) -> None:
    async with client(documents, "/routes/twice?key=left") as ws:
        await ws.close(4001)
    entry = await noted(documents, "left")
    assert (entry["what"], entry["code"]) == ("left", told(documents, 4001))


@pytest.mark.row("LX1")
async def test_who_lacks_the_permission_gets_a_403(documents: Server) -> None:
    assert (await refusal(documents, "/routes/denied"))[0] == 403
