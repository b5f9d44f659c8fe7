"""SIGTERM with open connections, on uvicorn: everything ends, in order, and clients are told."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.calls import DEADLINE
from integration.servers import KINDS, Kind, Server, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

APP = "integration.stopping:served"
ENDS = {
    "iterates": "returned",
    "receives": "left by WebSocketDisconnect",
    "view": "returned",
    "sends": "left by WebSocketDisconnect",
    "sleeps": "left by CancelledError",
}
"""How each handler ends."""


@pytest.fixture(params=[name for name, kind in KINDS.items() if "uvicorn" in kind.packages])
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@asynccontextmanager
async def connected(server: Server, *paths: str) -> AsyncIterator[list[ClientConnection]]:
    async with asyncio.timeout(DEADLINE), AsyncExitStack() as stack:
        urls = [server.url(f"/{path}") for path in paths]
        yield [await stack.enter_async_context(connect(url, proxy=None)) for url in urls]


async def close_code(ws: ClientConnection) -> int | None:
    try:
        while True:
            await ws.recv()
    except ConnectionClosed as exc:
        return None if exc.rcvd is None else int(exc.rcvd.code)


async def stop(server: Server) -> list[str]:
    """Wait for the end of a server that was told to stop; return what its handlers printed."""
    # It stops in good order and then lets the signal have its way.
    assert await asyncio.to_thread(server.finish) == -signal.SIGTERM
    assert "Traceback" not in server.output
    return re.findall(r"<(.*)>", server.output)


async def test_every_handler_ends_and_cleans_up_before_the_lifespan_does(kind: Kind) -> None:
    with running(kind, APP) as server:
        async with connected(server, *ENDS):
            server.terminate()
            told = await stop(server)
    assert told[-1] == "lifespan over"
    for name, end in ENDS.items():
        assert told.count(f"{name} {end}") == 1
        assert told.count(f"{name} cleaned up") == 1
    assert told.count("on_disconnect 1012 in /view") == 1


async def test_clients_are_told_to_come_back_later(kind: Kind) -> None:
    with running(kind, APP) as server:
        async with connected(server, *ENDS) as clients:
            server.terminate()
            assert [await close_code(ws) for ws in clients] == [1012] * len(clients)
            await stop(server)


async def test_a_handshake_that_is_going_on_is_denied(kind: Kind) -> None:
    with running(kind, APP) as server:

        async def ask() -> None:
            async with connected(server, "hesitates"):
                raise AssertionError("the handshake was completed")

        asking = asyncio.ensure_future(ask())
        await asyncio.to_thread(server.wait_for, "<hesitates runs>")
        server.terminate()
        with pytest.raises(InvalidStatus) as denied:
            await asking
        assert denied.value.response.status_code == (503 if kind.name == "telex" else 500)
        told = await stop(server)
    assert told.count("hesitates left by CancelledError") == 1
    assert told.count("hesitates cleaned up") == 1


@pytest.mark.row("T44")
@pytest.mark.xfail(
    reason="uvicorn exits right after the lifespan, which does not wait for cancelled handlers",
    strict=True,
)
async def test_handlers_that_outlast_the_servers_patience_clean_up(kind: Kind) -> None:
    with running(kind, APP, "--timeout-graceful-shutdown", "1") as server:
        async with connected(server, "sleeps-on", "viewed") as clients:
            server.terminate()
            assert [await close_code(ws) for ws in clients] == [1012, 1012]
            told = await stop(server)
    assert told.count("sleeps-on left by CancelledError") == 1
    assert told.count("sleeps-on cleaned up") == 1
    assert told.count("viewed cleaned up") == 1
    assert [line for line in told if line.startswith("on_disconnect")] != []
    assert told[-1] == "lifespan over"


async def test_handlers_that_outlast_the_servers_patience_do_not_outlast_the_server(
    kind: Kind,
) -> None:
    with running(kind, APP, "--timeout-graceful-shutdown", "1") as server:
        async with connected(server, "sleeps-on", "viewed") as clients:
            server.terminate()
            assert [await close_code(ws) for ws in clients] == [1012, 1012]
            told = await stop(server)
    assert told.count("sleeps-on left by CancelledError") == 1
    assert told.count("viewed left by CancelledError") == 1
    assert told.count("lifespan over") == 1
