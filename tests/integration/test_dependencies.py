"""Dependencies over real sockets: closed whatever the end, and what middleware leaves for them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.calls import DEADLINE, Call
from integration.servers import KINDS, Server, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

APP = "integration.depending:served"
NAMES = [name for name in KINDS if name.startswith("uvicorn") or name == "hypercorn"]


@pytest.fixture(scope="module", params=NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(KINDS[request.param], APP) as server:
        yield server


class Told:
    """What a server has printed about one connection."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.key = uuid4().hex

    def url(self, path: str) -> str:
        return self.server.url(f"{path}?key={self.key}")

    @property
    def lines(self) -> list[str]:
        return re.findall(rf"<{self.key} (.*)>", self.server.output)

    async def until(self, line: str) -> list[str]:
        await asyncio.to_thread(self.server.wait_for, f"<{self.key} {line}>")
        return self.lines


@pytest.fixture
def told(server: Server) -> Told:
    return Told(server)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[ClientConnection]:
    async with asyncio.timeout(DEADLINE), connect(url, proxy=None, close_timeout=2) as ws:
        yield ws


async def close_code(ws: ClientConnection) -> int | None:
    try:
        while True:
            await ws.recv()
    except ConnectionClosed as exc:
        return None if exc.rcvd is None else int(exc.rcvd.code)


def all_closed(exc: str) -> list[str]:
    """What a connection tells whose dependencies were closed by an exception, each once."""
    names = ["inner", "blocking", "outer"]
    return ["outer open", "inner open", *(f"{name} closed by {exc}" for name in names)]


ENDS = {
    "/reads": "WebSocketDisconnect",
    "/iterates": "nothing",
    "/busy": "CancelledError",
}
"""What ends each handler when its client leaves."""


@pytest.mark.parametrize("leave", ["close", "RST", "FIN"])
@pytest.mark.parametrize(("path", "exc"), ENDS.items())
async def test_they_are_closed_when_the_client_leaves(
    told: Told, path: str, exc: str, leave: str
) -> None:
    async with connected(told.url(path)) as ws:
        if leave == "close":
            await ws.close(4000)
        else:
            call = Call(told.server, path)
            call.ws = ws
            call.vanish("RST" if leave == "RST" else "FIN")
    lines = await told.until(f"outer closed by {exc}")
    assert [line for line in lines if line != "busy"] == all_closed(exc)


async def test_they_are_closed_when_the_server_closes(told: Told) -> None:
    async with connected(told.url("/closes")) as ws:
        assert await close_code(ws) == 4001
    assert await told.until("outer closed by nothing") == all_closed("nothing")


async def test_they_are_closed_by_the_exception_of_the_handler_before_the_client_is_told(
    told: Told,
) -> None:
    async with connected(told.url("/raises")) as ws:
        assert await close_code(ws) == 1011
    assert told.lines == all_closed("KeyError")


@pytest.mark.parametrize("path", ["/rejects", "/guarded"])
async def test_they_are_closed_when_the_handshake_is_rejected(told: Told, path: str) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        async with connected(told.url(path)):
            pass
    names = ["inner", "blocking", "outer"] if path == "/rejects" else ["blocking", "inner", "outer"]
    assert told.lines[2:] == [f"{name} closed by Reject" for name in names]


async def test_a_commit_that_fails_is_an_error_for_the_client(told: Told) -> None:
    async with connected(told.url("/commits")) as ws:
        assert await close_code(ws) == 1011
    assert told.lines == ["outer open", "outer closed by ValueError"]


async def test_what_a_handshake_needs_is_released_before_the_first_message(told: Told) -> None:
    async with connected(told.url("/handshake")) as ws:
        await ws.send("x")
        assert await ws.recv() == "answer"
        assert told.lines == [
            "outer open",
            "inner open",
            "inner closed by nothing",
            "accepted",
            "message",
        ]
    assert (await told.until("outer closed by nothing"))[5:] == ["outer closed by nothing"]


# Starlette's middleware


@pytest.mark.row("L20", "L21", "L22", "C46")
async def test_user_and_session_are_there_behind_starlettes_middleware(server: Server) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as client:
        response = await client.get(server.url("/behind/login", "http"))
    cookie = {"cookie": f"session={response.cookies['session']}"}
    url = server.url("/behind/who?name=Ada")
    async with asyncio.timeout(DEADLINE), connect(url, proxy=None, additional_headers=cookie) as ws:
        assert json.loads(await ws.recv()) == {
            "user": "Ada",
            "known": True,
            "scopes": ["chat"],
            "session": {"visits": 1},
        }


@pytest.mark.row("L21", "L22")
async def test_without_a_login_there_is_an_empty_session_and_an_unknown_user(
    server: Server,
) -> None:
    async with connected(server.url("/behind/who")) as ws:
        assert json.loads(await ws.recv()) == {
            "user": "",
            "known": False,
            "scopes": [],
            "session": {},
        }


@pytest.mark.row("L22")
async def test_a_change_of_the_session_is_seen_in_the_scope(server: Server) -> None:
    """Starlette sends the cookie with HTTP responses alone, so no later handshake sees it."""
    async with connected(server.url("/behind/counts")) as ws:
        assert json.loads(await ws.recv()) == {"visits": 1}
        assert ws.response is not None
        assert "set-cookie" not in ws.response.headers


@pytest.mark.row("L23", "C46")
@pytest.mark.parametrize(
    ("what", "middleware"),
    [
        ("session", "SessionMiddleware"),
        ("user", "AuthenticationMiddleware"),
        ("auth", "AuthenticationMiddleware"),
    ],
)
async def test_without_the_middleware_the_error_names_it(
    server: Server, what: str, middleware: str
) -> None:
    async with connected(server.url(f"/nobody/{what}")) as ws:
        error, text = json.loads(await ws.recv())
    assert error == "ImproperlyConfigured"
    assert middleware in text


# The server stops


@pytest.mark.row("T44")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", ["/busy", "/reads"])
async def test_they_are_closed_when_the_server_stops(name: str, path: str) -> None:
    with running(KINDS[name], APP) as server:
        told = Told(server)
        async with connected(told.url(path)) as ws:
            await told.until("inner open")
            server.terminate()
            assert await close_code(ws) in (1001, 1012, None)
        await asyncio.to_thread(server.finish)
        lines = [line for line in told.lines if line != "busy"]
        ended_by = lines[2].rpartition(" ")[2]
        assert ended_by in ("CancelledError", "WebSocketDisconnect")
        assert lines == all_closed(ended_by)
        if name.startswith("uvicorn"):
            # Hypercorn cancels a task of which asyncio asks how it failed.
            assert "Traceback" not in server.output
