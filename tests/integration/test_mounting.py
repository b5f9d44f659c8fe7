"""Telex in Starlette, in FastAPI, around FastAPI, and alone, over a real uvicorn."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.calls import DEADLINE
from integration.servers import KINDS, Server, running, start, stop

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

Serve = Callable[[str], Server]

KIND = KINDS["uvicorn websockets-sansio"]
HOSTS = ["in_starlette", "in_fastapi", "around_fastapi"]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts uvicorn with an application of `mounted.py` at its first use."""
    servers: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in servers:
            servers[name] = start(KIND, f"integration.mounted:{name}")
            servers[name].wait_until_it_answers()
        return servers[name]

    yield get
    stop(*servers.values())


async def get(server: Server, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as client:
        return await client.get(server.url(path, "http"))


async def close_code(ws: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        await ws.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


@pytest.mark.parametrize("name", HOSTS)
async def test_http_and_websocket_both_work(serve: Serve, name: str) -> None:
    server = serve(name)
    response = await get(server, "/hello")
    assert (response.status_code, response.json()["hello"]) == (200, "http")
    async with asyncio.timeout(DEADLINE):
        async with connect(server.url("/live/rooms/Caf%C3%A9"), proxy=None) as ws:
            seen = json.loads(await ws.recv())
            await ws.send("hi")
            assert await ws.recv() == "hi"
    assert seen["room"] == "Café"
    assert seen["url"] == server.url("/live/rooms/Caf%C3%A9")
    assert seen["other"] == server.url("/live/rooms/other")


@pytest.mark.parametrize(
    ("name", "ran"),
    [
        # Starlette starts no application that is mounted in it.
        ("in_starlette", {"host"}),
        ("in_fastapi", {"host"}),
        ("around_fastapi", {"host", "telex"}),
        ("alone", {"telex"}),
    ],
)
async def test_the_lifespan_is_run_and_its_state_is_seen(name: str, ran: set[str]) -> None:
    expected = dict.fromkeys(ran, "was started")
    with running(KIND, f"integration.mounted:{name}") as server:
        path = "/rooms/a" if name == "alone" else "/live/rooms/a"
        async with asyncio.timeout(DEADLINE), connect(server.url(path), proxy=None) as ws:
            assert json.loads(await ws.recv())["state"] == expected
        if name != "alone":
            assert (await get(server, "/hello")).json()["state"] == expected
        server.terminate()
        # uvicorn stops in good order and then lets the signal have its way.
        assert server.finish() == -signal.SIGTERM
        for each in ("host", "telex"):
            times = 1 if each in ran else 0
            assert server.output.count(f"{each} started") == times
            assert server.output.count(f"{each} stopped") == times


@pytest.mark.parametrize(
    ("name", "path", "status"),
    [
        *[(name, "/live/nothing", 404) for name in HOSTS],
        # What is outside the mount, Starlette denies in its own way.
        ("in_starlette", "/nothing", 403),
        ("in_fastapi", "/nothing", 403),
        ("around_fastapi", "/nothing", 404),
        ("alone", "/nothing", 404),
    ],
)
async def test_an_unknown_path_is_denied(serve: Serve, name: str, path: str, status: int) -> None:
    server = serve(name)
    with pytest.raises(InvalidStatus) as denied:
        async with asyncio.timeout(DEADLINE), connect(server.url(path), proxy=None):
            pass
    assert denied.value.response.status_code == status


@pytest.mark.parametrize("name", HOSTS)
async def test_a_handler_that_raises_closes_with_1011(serve: Serve, name: str) -> None:
    server = serve(name)
    async with asyncio.timeout(DEADLINE):
        async with connect(server.url("/live/crash"), proxy=None) as ws:
            assert await close_code(ws) == 1011


async def test_fastapis_own_websockets_go_on_beside_it(serve: Serve) -> None:
    server = serve("in_fastapi")
    async with asyncio.timeout(DEADLINE), connect(server.url("/own"), proxy=None) as ws:
        assert await ws.recv() == "FastAPI's own"
        assert await close_code(ws) == 1000


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize(
    ("path", "status"), [("/live/rooms/a", 426), ("/live/nothing", 404), ("/nothing", 404)]
)
async def test_plain_http_is_told_to_upgrade_or_not_found(
    serve: Serve, name: str, path: str, status: int
) -> None:
    response = await get(serve(name), path)
    assert response.status_code == status
    if status == 426:
        assert response.headers["upgrade"] == "websocket"
        assert "WebSocket" in response.text


@pytest.mark.parametrize(("path", "status"), [("/rooms/a", 426), ("/nothing", 404), ("/", 404)])
async def test_alone_too(serve: Serve, path: str, status: int) -> None:
    assert (await get(serve("alone"), path)).status_code == status
