"""Telex in Starlette, in FastAPI, around FastAPI, and alone, over a real uvicorn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.calls import DEADLINE
from integration.servers import KINDS, Server, start, stop

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

Serve = Callable[[str], Server]

HOSTS = ["in_starlette", "in_fastapi", "around_fastapi"]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts uvicorn with an application of `mounted.py` at its first use."""
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in running:
            kind = KINDS["uvicorn websockets-sansio"]
            running[name] = start(kind, f"integration.mounted:{name}")
            running[name].wait_until_it_answers()
        return running[name]

    yield get
    stop(*running.values())


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
    assert seen["path"] == "/live/rooms/other"


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
async def test_the_lifespan_is_run_and_its_state_is_seen(
    serve: Serve, name: str, ran: set[str]
) -> None:
    server = serve(name)
    path = "/rooms/a" if name == "alone" else "/live/rooms/a"
    async with asyncio.timeout(DEADLINE):
        async with connect(server.url(path), proxy=None) as ws:
            state = json.loads(await ws.recv())["state"]
    assert state == dict.fromkeys(ran, "was started")
    if name != "alone":
        assert (await get(server, "/hello")).json()["state"] == state
    server.terminate()
    assert server.finish() == 0
    for each in ("host", "telex"):
        lines = [server.output.count(f"{each} {what}") for what in ("started", "stopped")]
        assert lines == ([1, 1] if each in ran else [0, 0])


@pytest.fixture(scope="module")
def serve_again(serve: Serve) -> Serve:
    """Servers that the test of the lifespan does not stop."""
    return serve


@pytest.mark.parametrize("name", [*HOSTS, "alone"])
@pytest.mark.parametrize("path", ["/live/nothing", "/live", "/nothing"])
async def test_an_unknown_path_is_denied(serve: Serve, name: str, path: str) -> None:
    server = serve(name)
    with pytest.raises(InvalidStatus) as denied:
        async with asyncio.timeout(DEADLINE), connect(server.url(path), proxy=None):
            pass
    assert denied.value.response.status_code == 404


async def test_starlettes_own_answer_to_an_unknown_path_is_403(serve: Serve) -> None:
    pass


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


@pytest.mark.parametrize(
    ("path", "status"), [("/rooms/a", 426), ("/nothing", 404), ("/", 404)]
)
async def test_alone_too(serve: Serve, path: str, status: int) -> None:
    assert (await get(serve("alone"), path)).status_code == status
