"""How handlers end, on real servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from integration.servers import KINDS, Server, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

DEADLINE = 20.0
SECRET = "1234"


@pytest.fixture(scope="module", params=sorted(KINDS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(KINDS[request.param], "integration.endings:app") as server:
        yield server


async def status_of(url: str) -> int:
    """The HTTP status of a handshake that must not succeed."""
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(InvalidStatus) as caught:
            await connect(url, proxy=None)
        status: int = caught.value.response.status_code
        assert SECRET.encode() not in (caught.value.response.body or b"")
        return status


async def end_of(url: str) -> tuple[int, str]:
    """Code and reason that a connection ends with which the server ends at once."""
    async with asyncio.timeout(DEADLINE), connect(url, proxy=None) as ws:
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert ws.close_code is not None
        return ws.close_code, ws.close_reason or ""


async def told(server: Server) -> int:
    """The code that `on_disconnect` was called with."""
    async with asyncio.timeout(DEADLINE), connect(server.url("/codes"), proxy=None) as ws:
        code: int = json.loads(await ws.recv())
        return code


@pytest.mark.row("T42", "C54", "S3")
async def test_a_handler_that_returns_closes_with_1000(server: Server) -> None:
    assert await end_of(server.url("/returns")) == (1000, "")


@pytest.mark.row("T42", "T43", "C53", "S3")
async def test_a_handler_that_fails_closes_with_1011(server: Server) -> None:
    # Daphne takes no code of the protocol but 1000.
    code = 4011 if server.kind.name == "daphne" else 1011
    assert await end_of(server.url("/fails")) == (code, "")


@pytest.mark.row("C53", "T43", "S2")
async def test_a_handler_that_fails_before_the_accept_is_a_500(server: Server) -> None:
    # Daphne knows no denial responses: there it is a 403.
    assert await status_of(server.url("/fails-early")) in (500, 403)


@pytest.mark.row("V16", "C55", "S2")
async def test_a_handler_that_does_nothing_never_opens(server: Server) -> None:
    assert await status_of(server.url("/nothing")) == 403


@pytest.mark.row("L55", "S1", "T37")
async def test_the_closing_application_is_a_403(server: Server) -> None:
    assert await status_of(server.url("/closes")) == 403


@pytest.mark.row("C58")
async def test_an_unknown_path_is_a_404_where_that_can_be_said(server: Server) -> None:
    assert await status_of(server.url("/no-such-path")) in (404, 403)


@pytest.mark.row("K7", "Z3")
async def test_the_echo_function_of_the_document_runs(server: Server) -> None:
    before = server.output
    async with asyncio.timeout(DEADLINE), connect(server.url("/ws"), proxy=None) as ws:
        for text in ('{"a":1}', "[1,null]", '"é"'):
            await ws.send(text)
            assert json.loads(await ws.recv()) == {"echo": json.loads(text)}
    await status_of(server.url("/nothing"))  # by now the handler before has ended
    assert "Traceback" not in server.output.removeprefix(before)


@pytest.mark.row("K17", "Z8", "K49", "K20")
async def test_the_chat_view_of_the_document_runs(server: Server) -> None:
    before = server.output
    async with asyncio.timeout(DEADLINE), connect(server.url("/chat"), proxy=None) as ws:
        await ws.send('{"a":1}')
        assert json.loads(await ws.recv()) == {"echo": {"a": 1}}
        await ws.close(4001, "bye")
    # Hypercorn does not tell the code of a client.
    assert await told(server) == (1006 if server.kind.name == "hypercorn" else 4001)
    assert "Traceback" not in server.output.removeprefix(before)


@pytest.mark.row("K20", "C49")
async def test_a_handler_that_is_busy_is_ended_when_its_client_leaves(server: Server) -> None:
    before = server.output
    async with asyncio.timeout(DEADLINE), connect(server.url("/busy"), proxy=None) as ws:
        await ws.close(4001)
    assert await told(server) == (1006 if server.kind.name == "hypercorn" else 4001)
    assert "Traceback" not in server.output.removeprefix(before)


@pytest.mark.row("T44")
async def test_a_server_that_stops_leaves_nobody_without_an_end(server: Server) -> None:
    """Runs last: the server is gone afterwards."""
    async with asyncio.timeout(DEADLINE):
        async with connect(server.url("/busy"), proxy=None) as ws:
            await asyncio.to_thread(server.terminate)
            with pytest.raises((ConnectionClosed, InvalidHandshake)):
                await ws.recv()
            # uvicorn closes by itself (1012) before it cancels; others cancel, and we do.
            assert ws.close_code in (1001, 1012, 1006)
        await asyncio.to_thread(server.finish)
