"""Handshakes over real sockets: denials, subprotocols, headers, the scope, on every server."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake

from integration import capabilities as table
from integration.calls import DEADLINE, Call, calling, denied
from integration.servers import KINDS, Server, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

WITHOUT_BODY = "403 without body"


def expected(server: Server, status: int, body: bytes) -> tuple[int, bytes]:
    """What is left of a denial on this server."""
    return (403, b"") if table.DENIAL.on(server) == WITHOUT_BODY else (status, body)


@pytest.mark.row("C2")
@pytest.mark.parametrize(
    ("how", "status", "body"),
    [
        ("body", 401, b"log in first"),
        ("raise", 409, b'{"taken": true}'),
        ("close", 403, b""),
        ("return", 403, b""),
    ],
)
async def test_a_rejected_client_sees_status_and_body(
    quiet_server: Server, how: str, status: int, body: bytes
) -> None:
    call, response = await denied(quiet_server, f"/reject/{how}")
    assert response is not None
    assert (response.status_code, response.body) == expected(quiet_server, status, body)
    await call.noted("cleanup")
    assert await call.count("cleanup") == 1


async def test_a_rejected_client_sees_the_headers(quiet_server: Server) -> None:
    _, response = await denied(quiet_server, "/reject/body")
    assert response is not None
    if table.DENIAL.on(quiet_server) != WITHOUT_BODY:
        assert response.headers["X-Token"] == "expired"
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_a_header_may_be_there_twice(server: Server) -> None:
    happens = table.REPEATED_DENIAL_HEADER.on(server)
    if "crashes" in happens:
        # Not on the server of the other tests.
        with running(KINDS[str(server)], "integration.app:served") as victim:
            _, response = await denied(victim, "/reject/cookies")
            assert response is None
            victim.finish()
            assert "panicked" in victim.output
        return
    _, response = await denied(server, "/reject/cookies")
    assert response is not None
    if happens == WITHOUT_BODY:
        assert response.status_code == 403
    else:
        assert response.status_code == 401
        assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


async def test_a_streamed_denial(server: Server) -> None:
    call, response = await denied(server, "/reject/stream")
    assert response is not None
    happens = table.STREAMED_DENIAL.on(server)
    if happens == table.YES:
        assert (response.status_code, response.body) == (429, b"slow down")
    else:
        assert happens.startswith(WITHOUT_BODY)
        assert (response.status_code, response.body) == (403, b"")
    raised = "RuntimeError" if "RuntimeError" in happens else None
    assert (await call.noted("left"))["error"] == raised


@pytest.mark.row("C53", "T43")
async def test_a_handler_that_raises_before_accept_is_a_500_that_tells_nothing(
    server: Server,
) -> None:
    call, response = await denied(server, "/reject/crash")
    assert response is not None
    seen = (response.status_code, response.body)
    assert seen == expected(server, 500, b"Internal Server Error")
    assert (await call.noted("left"))["error"] == "RuntimeError"
    await call.noted("cleanup")
    assert server.new_output.count("RuntimeError: a secret") == 1


@pytest.mark.row("C58")
async def test_an_unknown_path_is_a_404(quiet_server: Server) -> None:
    _, response = await denied(quiet_server, "/no/such/path")
    assert response is not None
    assert (response.status_code, response.body) == expected(quiet_server, 404, b"Not Found")


async def test_a_visible_rejection_is_a_close_code_that_browsers_show(
    quiet_server: Server,
) -> None:
    reason = "log in first" if table.OWN_REASON.on(quiet_server) == table.YES else ""
    async with calling(quiet_server, "/reject/visible") as call:
        assert await call.closed() == (4401, reason)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["v1"], "v1"), (["v1", "v2.json"], "v2.json"), (None, None)]
)
async def test_a_subprotocol_is_agreed_on(
    quiet_server: Server, offered: list[str] | None, chosen: str | None
) -> None:
    async with calling(quiet_server, "/subprotocol", subprotocols=offered) as call:
        assert call.ws.subprotocol == chosen
        assert json.loads(await call.ws.recv()) == [offered or [], chosen]


@pytest.mark.row("C64")
async def test_a_subprotocol_that_was_not_offered_never_goes_out(server: Server) -> None:
    call, response = await denied(server, "/reject/subprotocol", subprotocols=["v1"])
    assert response is not None
    assert response.status_code == expected(server, 500, b"")[0]
    assert (await call.noted("left"))["error"] == "ValueError"


async def test_accept_headers_arrive_where_the_server_sends_them(quiet_server: Server) -> None:
    async with calling(quiet_server, "/scope/a/1/x") as call:
        assert call.ws.response is not None
        headers = call.ws.response.headers
        arrived = (headers.get("X-One"), headers.get_all("Set-Cookie"))
    sent = table.ACCEPT_HEADERS.on(quiet_server) == table.YES
    assert arrived == (("1", ["a=1", "b=2"]) if sent else (None, []))


async def test_path_query_headers_and_cookies_arrive(quiet_server: Server) -> None:
    path = f"/scope/{quote('b é')}/-7/x%252Fy/a%2Fz?q=1&q=%C3%A9+%2B&e="
    headers = [("Cookie", 'a=1; b="2"'), ("X-Twice", "1"), ("X-Twice", "2")]
    async with calling(quiet_server, path, additional_headers=headers) as call:
        seen = json.loads(await call.ws.recv())
    assert seen["path"] == "/scope/b é/-7/x%2Fy/a/z"
    assert seen["path_params"] == {"name": "b é", "number": -7, "rest": "x%2Fy/a/z"}
    assert seen["query"][:3] == [["q", "1"], ["q", "é +"], ["e", ""]]
    assert seen["cookies"] == {"a": "1", "b": "2"}
    joined = table.REPEATED_HEADER.on(quiet_server) != "both values"
    assert seen["header"] == (["1,2"] if joined else ["1", "2"])
    assert seen["url"].startswith(quiet_server.url("/scope/b%20%C3%A9/-7/x%252Fy/a"))
    assert seen["client"][0] == "127.0.0.1"
    assert type(seen["client"][1]) is int


@pytest.mark.row("T57")
async def test_only_the_server_believes_forwarded_headers(quiet_server: Server) -> None:
    headers = {
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "99",
        "X-Forwarded-Prefix": "/evil",
    }
    async with calling(quiet_server, "/scope/a/1/x", additional_headers=headers) as call:
        seen = json.loads(await call.ws.recv())
    assert "evil" not in seen["url"]
    assert f"://127.0.0.1:{quiet_server.port}/scope/" in seen["url"]
    if table.FORWARDED.on(quiet_server).startswith(table.YES):
        assert (seen["client"], seen["scheme"]) == (["192.0.2.7", 0], "wss")
    else:
        assert (seen["client"][0], seen["scheme"]) == ("127.0.0.1", "ws")


@pytest.mark.row("T57")
@pytest.mark.parametrize("name", [name for name in KINDS if name.startswith("uvicorn")])
async def test_nobody_believes_them_when_uvicorn_is_told_not_to(name: str) -> None:
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    app = "integration.app:served"
    with running(KINDS[name], app, "--no-proxy-headers") as server:
        async with calling(server, "/scope/a/1/x", additional_headers=headers) as call:
            seen = json.loads(await call.ws.recv())
    assert (seen["client"][0], seen["scheme"]) == ("127.0.0.1", "ws")


async def test_a_client_that_leaves_before_accept_is_noticed(quiet_server: Server) -> None:
    call = Call(quiet_server, "/late")
    async with asyncio.timeout(DEADLINE):
        connecting = asyncio.ensure_future(_connect(call))
        await call.noted("connected")
        connecting.cancel()
        await asyncio.wait([connecting])
        left = await call.noted("left")
    assert (left["error"], left["closed_by"]) == ("WebSocketDisconnect", "client")
    at_once = table.LATE_ACCEPT.on(quiet_server) == "at once"
    assert await call.count("accepted") == (0 if at_once else 1)


async def _connect(call: Call) -> None:
    with pytest.raises(InvalidHandshake):
        async with connect(call.url, proxy=None):
            pass
