"""Tokens over real sockets: what the client sees, and that no server's log has one from Telex."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration import capabilities as table
from integration.authenticated import SECRET
from integration.calls import DEADLINE
from integration.conftest import assert_quiet
from integration.servers import KINDS, Server, Start

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

ADA = f"Ada.60.{SECRET}"
WRONG = "Ada.60.wr0ng-s3cret"
BANNED = f"Bob.60.{SECRET}"


@pytest.fixture(params=KINDS)
def guarded(request: pytest.FixtureRequest, start_once: Start) -> Iterator[Server]:
    """Each of the servers with `authenticated`; no token may end up in what it prints."""
    server = start_once(KINDS[request.param], "tokens", "integration.authenticated:served")
    yield server
    assert_quiet(server)
    assert SECRET not in server.new_output
    assert "wr0ng" not in server.new_output


def handshake(server: Server, path: str = "/handshake", **options: Any) -> connect:
    return connect(server.url(path), proxy=None, open_timeout=DEADLINE, **options)


def bearer(token: str) -> dict[str, Any]:
    return {"additional_headers": [("Authorization", f"Bearer {token}")]}


def page(token: str, server: Server) -> dict[str, Any]:
    """What a page of the same origin sends that has logged in."""
    origin = server.url("", "http")
    return {"additional_headers": [("Cookie", f"session={token}"), ("Origin", origin)]}


def offer(*names: str) -> dict[str, Any]:
    return {"subprotocols": [*names]}


async def end_of(ws: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as ended:
        await ws.recv()
    assert ended.value.rcvd is not None
    return int(ended.value.rcvd.code), ended.value.rcvd.reason


def told(server: Server, reason: str) -> str:
    """What the client gets of a reason."""
    return reason if table.OWN_REASON.on(server) == table.YES else ""


@pytest.mark.parametrize("place", ["header", "cookie", "query", "subprotocol"])
async def test_who_shows_a_token_is_let_in(guarded: Server, place: str) -> None:
    path, options = (
        "/handshake",
        {
            "header": bearer(ADA),
            "cookie": page(ADA, guarded),
            "query": {},
            "subprotocol": offer("bearer", ADA),
        }[place],
    )
    if place == "query":
        path += f"?token={ADA}"
    async with asyncio.timeout(DEADLINE), handshake(guarded, path, **options) as ws:
        assert await ws.recv() == "hello Ada"
        assert ws.subprotocol == ("bearer" if place == "subprotocol" else None)


@pytest.mark.parametrize(
    ("token", "status", "challenge"),
    [
        (None, 401, "Bearer"),
        (WRONG, 401, 'Bearer error="invalid_token"'),
        (BANNED, 403, None),
    ],
)
@pytest.mark.parametrize("place", ["header", "subprotocol"])
async def test_who_has_none_or_a_bad_one_is_denied(
    guarded: Server, token: str | None, status: int, challenge: str | None, place: str
) -> None:
    options: dict[str, Any] = {}
    if token is not None:
        options = bearer(token) if place == "header" else offer("bearer", token)
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(InvalidStatus) as refused:
            async with handshake(guarded, **options):
                pass
    response = refused.value.response
    if table.DENIAL.on(guarded) == "403 without body":
        assert response.status_code == 403
    else:
        assert response.status_code == status
        assert response.headers.get("WWW-Authenticate") == challenge
    assert SECRET not in f"{response.headers} {response.body!r}"


async def head_of(server: Server, *headers: str) -> str:
    """Send a handshake as it is written here, and return the head of the response."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /handshake HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *headers,
        "\r\n",
    ]
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write("\r\n".join(lines).encode())
            return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        finally:
            writer.close()
            await writer.wait_closed()


NAME = "Sec-WebSocket-Protocol"


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ([f"{NAME}: bearer, {ADA}"], "bearer"),
        ([f"{NAME}: bearer,{ADA}"], "bearer"),
        ([f"{NAME}: bearer", f"{NAME}: {ADA}"], "bearer"),
        ([f"{NAME}: chat, bearer", f"{NAME}:{ADA} , news"], "bearer"),
        ([f"{NAME}: bearer, {ADA}, json"], "json"),
        ([f"{NAME}: json", f"{NAME}: bearer, {ADA}"], "json"),
        ([f"{NAME}: bearer", f"Authorization: bearer {ADA}"], "bearer"),
    ],
)
async def test_the_answer_to_subprotocols_is_a_name(
    guarded: Server, headers: list[str], answer: str
) -> None:
    head = await head_of(guarded, *headers)
    if head.startswith("HTTP/1.1 400") and len(headers) == 2 and headers[1].startswith(NAME):
        # A server may take such a request for a mistake, and never call the application.
        assert SECRET not in head
        return
    assert head.startswith("HTTP/1.1 101"), head
    found = [line for line in head.split("\r\n") if line.lower().startswith(NAME.lower())]
    answers = [line.partition(":")[2].strip() for line in found]
    if guarded.kind.name == "hypercorn" and len(headers) == 2 and headers[1].startswith(NAME):
        # It knows the last header only, and refuses other names; Telex sees both.
        assert answers in ([], ["bearer"])
    else:
        assert answers == [answer]
    assert SECRET not in head


async def test_the_first_message_lets_in(guarded: Server) -> None:
    async with asyncio.timeout(DEADLINE):
        for message in (ADA, f'{{"token": "{ADA}"}}'):
            async with handshake(guarded, "/message") as ws:
                await ws.send(message)
                assert await ws.recv() == "hello Ada"


@pytest.mark.parametrize(
    ("message", "code"),
    [(WRONG, 4401), ("{", 4401), (b"x", 4401), ("{}", 4401), (None, 4401), (BANNED, 4403)],
)
async def test_a_bad_first_message_or_none_closes(
    guarded: Server, message: str | bytes | None, code: int
) -> None:
    reason = "unauthorized" if code == 4401 else "forbidden"
    async with asyncio.timeout(DEADLINE), handshake(guarded, "/message") as ws:
        if message is not None:
            await ws.send(message)
        assert await end_of(ws) == (code, told(guarded, reason))


async def test_the_connection_ends_with_the_token_unless_there_is_a_new_one(
    guarded: Server,
) -> None:
    short = f"Ada.1.{SECRET}"
    async with (
        asyncio.timeout(DEADLINE),
        handshake(guarded, **bearer(short)) as left,
        handshake(guarded, **bearer(short)) as stays,
    ):
        for ws in (left, stays):
            assert await ws.recv() == "hello Ada"
        await stays.send(ADA)
        assert await stays.recv() == "refreshed"
        assert await end_of(left) == (4401, told(guarded, "credentials expired"))
        await stays.send(ADA)
        assert await stays.recv() == "refreshed"
        await stays.send(ADA.replace("Ada", "Eve"))
        assert await end_of(stays) == (4403, told(guarded, "forbidden"))


async def test_revoking_closes_all_connections_of_a_user(guarded: Server) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        handshake(guarded, **bearer(f"Mia.60.{SECRET}")) as one,
        handshake(guarded, "/message") as two,
        handshake(guarded, **bearer(ADA)) as other,
    ):
        await two.send(f"Mia.60.{SECRET}")
        for ws, name in ((one, "Mia"), (two, "Mia"), (other, "Ada")):
            assert await ws.recv() == f"hello {name}"
        await other.send("close Mia")
        assert await other.recv() == "closed 2"
        for ws in (one, two):
            assert await end_of(ws) == (4401, told(guarded, "revoked"))
        await other.send(ADA)
        assert await other.recv() == "refreshed"
