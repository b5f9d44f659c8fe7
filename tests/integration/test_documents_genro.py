"""The examples of genro-asgi's document on real servers, with a real client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from integration.servers import Server
from telex.compat.genro.wsx import build_wsx_message, parse_wsx_message

pytestmark = pytest.mark.integration

DEADLINE = 15.0
"""Seconds one conversation may take."""


@asynccontextmanager
async def client(server: Server, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    url = server.url(f"/genro{path}")
    async with asyncio.timeout(DEADLINE), connect(url, proxy=None, **options) as ws:
        yield ws


def told(server: Server, code: int) -> int:
    """The code that an application gets to see when a client closes with one."""
    return 1006 if server.kind.name == "hypercorn" else code


async def noted(server: Server, key: str) -> Any:
    """Return what the application has noted under a key."""
    async with client(server, f"/journal?key={key}") as ws:
        return json.loads(await ws.recv())


@pytest.mark.row("G12", "G4")
async def test_the_example_of_an_echo(documents: Server) -> None:
    async with client(documents, "/G12") as ws:
        await ws.send("hi")
        assert await ws.recv() == "Echo: hi"
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert (ws.close_code, ws.close_reason) == (1000, "")


@pytest.mark.row("G72")
async def test_the_example_of_the_states(documents: Server) -> None:
    async with client(documents, "/G72") as ws:
        assert await ws.recv() == "as written"


@pytest.mark.row("G9", "G5", "G6", "G48", "G60", "GX2", "GX3")
async def test_a_conversation_with_every_method(documents: Server) -> None:
    offers = [Subprotocol("v2"), Subprotocol("v1")]
    async with client(documents, "/every-method?key=all", subprotocols=offers) as ws:
        assert ws.subprotocol == "v1"
        assert ws.response is not None
        assert ws.response.headers["X-Genro"] == "1"
        for message in ("", b"\x00", '{"a":null}', '{"price":"1.25::N"}::JS', "text", b""):
            await ws.send(message)
        assert [await ws.recv() for _ in range(6)] == [
            "",
            b"\x00",
            '{"a":null}',
            '{"price":"2.50::N"}::JS',
            '"text"',
            b"",
        ]
        for wrong in ("text", b"binary"):
            await ws.send(wrong)
            assert await ws.recv() == "WebSocketFrameError"
        await ws.send("last")
        await ws.close(4001)
    entry = await noted(documents, "all")
    assert entry == {"what": "over", "texts": ["last"], "code": told(documents, 4001)}


@pytest.mark.row("G43", "G71")
async def test_a_read_says_that_the_client_has_left(documents: Server) -> None:
    async with client(documents, "/disconnected?key=left") as ws:
        await ws.close(4001)
    entry = await noted(documents, "left")
    assert entry == {"what": "left", "state": "DISCONNECTED", "code": told(documents, 4001)}


@pytest.mark.row("G23", "C2")
async def test_after_a_close_that_came_too_early_accept_works(documents: Server) -> None:
    async with client(documents, "/close-first") as ws:
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert (ws.close_code, ws.close_reason) == (4000, "bye")


@pytest.mark.row("GX9")
async def test_who_is_refused_gets_a_403(documents: Server) -> None:
    with pytest.raises(InvalidStatus) as raised:
        async with client(documents, "/refuse"):
            raise AssertionError("let in")
    assert raised.value.response.status_code == 403


@pytest.mark.row("G66", "C39")
async def test_the_url_is_that_of_the_server(documents: Server) -> None:
    at = f"127.0.0.1:{documents.port}"
    url = "ws://somewhere.example/genro/address?a=1"
    options: dict[str, Any] = {"host": "127.0.0.1", "port": documents.port, "proxy": None}
    async with asyncio.timeout(DEADLINE), connect(url, **options) as ws:
        assert await ws.recv() == f"ws://{at}/genro/address?a=1"


@pytest.mark.row("GX8")
async def test_a_request_is_answered_by_a_stream_of_responses(documents: Server) -> None:
    async with client(documents, "/wsx") as ws:
        await ws.send(build_wsx_message(id="7", method="GET", data=[1, 2]))
        got = [parse_wsx_message(await ws.recv()) for _ in range(3)]
    assert [(each["id"], each.get("data"), each.get("stream")) for each in got] == [
        ("7", 1, True),
        ("7", 2, True),
        ("7", None, None),
    ]
