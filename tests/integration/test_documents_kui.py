"""The examples of Kui's documentation, English and Chinese, on every server, with a real client."""

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
    url = server.url(f"/kui/{path}")
    async with asyncio.timeout(DEADLINE), connect(url, proxy=None) as ws:
        yield ws


async def ends(ws: ClientConnection) -> int | None:
    """Read the close and return its code."""
    with pytest.raises(ConnectionClosed):
        await ws.recv()
    return ws.close_code


async def told(server: Server, example: str) -> Any:
    """What the example has left behind on the server."""
    async with client(server, f"{example}/told") as ws:
        return json.loads(await ws.recv())


async def said(server: Server, path: str) -> list[str | bytes]:
    async with client(server, path) as ws:
        return [message async for message in ws]


async def refusal(server: Server, path: str) -> int:
    with pytest.raises(InvalidStatus) as raised:
        async with client(server, path):
            pytest.fail("let in")
    return raised.value.response.status_code


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("en/K7", marks=pytest.mark.row("K7")),
        pytest.param("zh/Z3", marks=pytest.mark.row("Z3")),
    ],
)
async def test_a_function_that_echoes(documents: Server, example: str) -> None:
    async with client(documents, f"{example}/ws") as ws:
        for value in ({"a": 1}, None):
            await ws.send(json.dumps(value))
            assert json.loads(await ws.recv()) == {"echo": value}


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("en/K17", marks=pytest.mark.row("K17")),
        pytest.param("zh/Z8", marks=pytest.mark.row("Z8")),
    ],
)
async def test_a_view_that_echoes_and_is_told_the_clients_code(
    documents: Server, example: str
) -> None:
    async with client(documents, f"{example}/chat") as ws:
        await ws.send("[1]")
        assert json.loads(await ws.recv()) == {"echo": [1]}
        await ws.close(4001)
    code = 1006 if documents.kind.name == "hypercorn" else 4001
    assert await told(documents, example) == code


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("en/K29", marks=pytest.mark.row("K29")),
        pytest.param("zh/Z17", marks=pytest.mark.row("Z17")),
    ],
)
async def test_managing_a_connection(documents: Server, example: str) -> None:
    async with client(documents, f"{example}/ws") as ws:
        assert await ends(ws) == 1000
    assert await told(documents, example) is True


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("en/K33", marks=pytest.mark.row("K33")),
        pytest.param("zh/Z18", marks=pytest.mark.row("Z18")),
    ],
)
async def test_sending(documents: Server, example: str) -> None:
    async with client(documents, f"{example}/ws") as ws:
        assert [await ws.recv() for _ in range(3)] == ["hello", b"\x00\x01", '{"key":"value"}']
        assert await ends(ws) == 1000


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("en/K38", marks=pytest.mark.row("K38")),
        pytest.param("zh/Z19", marks=pytest.mark.row("Z19")),
    ],
)
async def test_receiving(documents: Server, example: str) -> None:
    async with client(documents, f"{example}/ws") as ws:
        for data in ("hi", b"\x00\x01", "[1,null]", "2", '"x"'):
            await ws.send(data)
    assert await told(documents, example) == ["hi", "0001", [1, None], 2, "x"]


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("en/K49", marks=pytest.mark.row("K49")),
        pytest.param("zh/Z22", marks=pytest.mark.row("Z22")),
    ],
)
async def test_a_view_beside_which_parameters_are_imported(documents: Server, example: str) -> None:
    async with client(documents, f"{example}/ws?token=t") as ws:
        await ws.send('{"a":1}')
        assert json.loads(await ws.recv()) == {"a": 1}


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("en/K56", marks=pytest.mark.row("K56")),
        pytest.param("zh/Z25", marks=pytest.mark.row("Z25")),
    ],
)
async def test_a_decorator_and_a_route_object(documents: Server, example: str) -> None:
    """Their handlers accept nothing, as they stand there."""
    assert await refusal(documents, f"{example}/decorator/ws") == 403
    assert await refusal(documents, f"{example}/ws") == 403
    assert await told(documents, example) == "the route object"


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("en/K59", marks=pytest.mark.row("K59")),
        pytest.param("zh/Z27", marks=pytest.mark.row("Z27")),
    ],
)
async def test_a_group_under_a_prefix(documents: Server, example: str) -> None:
    assert await said(documents, f"{example}/ws/chat") == ["chat"]
    assert await said(documents, f"{example}/ws/notifications") == ["notify"]


@pytest.mark.parametrize(
    "example",
    [
        pytest.param("en/KX3", marks=pytest.mark.row("KX3", "KX1", "KX2", "K60")),
        pytest.param("zh/KX3", marks=pytest.mark.row("Z28")),
    ],
)
async def test_middleware_around_a_route_and_around_an_application(
    documents: Server, example: str
) -> None:
    assert await said(documents, f"{example}/ws") == ["first"]
    assert await told(documents, example) == "auth"
    assert await said(documents, f"{example}/second/ws") == ["second"]
    assert await told(documents, example) == "logging"
