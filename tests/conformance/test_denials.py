"""Saying no before accept: a plain close, an HTTP response, or a code that browsers see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from opened import connecting, left, opened, soon, state, turns
from peer import D, Peer
from telex import CloseCode, WebSocketRuntimeError, WebSocketState
from telex._types import Message, Receive, Scope, Send


def response_of(peer: Peer) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the denial that was sent."""
    start, *bodies = peer.sent
    assert start["type"] == "websocket.http.response.start"
    assert all(body["type"] == "websocket.http.response.body" for body in bodies)
    assert all(type(message["type"]) is str for message in peer.sent)
    assert [body.get("more_body", False) for body in bodies][-1] is False
    content = b"".join(body.get("body", b"") for body in bodies)
    return start["status"], dict(start["headers"]), content


@pytest.mark.row("C2", "T37", "C69", "L44", "G24")
async def test_close_before_accept_rejects_the_handshake() -> None:
    ws, peer = connecting(denial=True)
    await ws.close(4000, "bye")
    assert peer.sent == [{"type": "websocket.close", "code": 4000, "reason": "bye"}]
    assert ws.connection_state is WebSocketState.DISCONNECTED
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4000, "bye", "server")
    await ws.close()
    assert len(peer.sent) == 1


@pytest.mark.row("T38", "T37")
async def test_reject_sends_a_response_where_the_server_can() -> None:
    ws, peer = connecting(denial=True)
    await ws.reject(401, body="who are you?", headers={"WWW-Authenticate": "Bearer"})
    status, headers, body = response_of(peer)
    assert (status, body) == (401, b"who are you?")
    assert headers[b"www-authenticate"] == b"Bearer"
    assert headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert headers[b"content-length"] == b"12"
    assert ws.connection_state is WebSocketState.DISCONNECTED
    assert ws.closed_by == "server"


@pytest.mark.row("T38")
@pytest.mark.parametrize("extensions", [{}, None, {"other": {}}])
async def test_reject_closes_where_the_server_cannot(extensions: dict[str, Any] | None) -> None:
    for response in (None, PlainTextResponse("who?", 401)):
        ws, peer = connecting(extensions=extensions)
        if response is None:
            await ws.reject(401, body="who?")
        else:
            await ws.send_denial_response(response)
        assert peer.closes == [(1008, "")]
        assert len(peer.sent) == 1
        assert ws.connection_state is WebSocketState.DISCONNECTED


@pytest.mark.row("T38")
async def test_without_extensions_in_the_scope_a_failure_is_closed_as_one() -> None:
    ws, peer = connecting()
    del ws.scope["extensions"]
    await ws.reject(503)
    assert peer.closes == [(1011, "")]


async def test_reject_without_arguments_is_a_403() -> None:
    ws, peer = connecting(denial=True)
    await ws.reject()
    status, headers, body = response_of(peer)
    assert (status, body) == (403, b"")
    assert b"content-type" not in headers


async def test_a_rejection_may_have_its_own_content_type_and_repeat_headers() -> None:
    ws, peer = connecting(denial=True)
    await ws.reject(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        body="{}",
        headers=[("Content-Type", "application/json"), ("x-a", "1"), ("x-a", "2")],
    )
    assert type(peer.sent[0]["status"]) is int
    assert response_of(peer)[0] == 422
    assert [pair for pair in peer.sent[0]["headers"] if pair[0] == b"content-type"] == [
        (b"content-type", b"application/json")
    ]
    assert [pair for pair in peer.sent[0]["headers"] if pair[0] == b"x-a"] == [
        (b"x-a", b"1"),
        (b"x-a", b"2"),
    ]


async def test_a_rejection_may_carry_bytes() -> None:
    ws, peer = connecting(denial=True)
    await ws.reject(451, body=b"\xff")
    status, headers, body = response_of(peer)
    assert (status, body) == (451, b"\xff")
    assert b"content-type" not in headers


@pytest.mark.parametrize("status", [200, 101, 299, 600, 0, True, "403", None, 403.0])
async def test_a_status_that_is_no_denial_is_refused(status: Any) -> None:
    ws, peer = connecting(denial=True)
    with pytest.raises(ValueError, match="HTTP status"):
        await ws.reject(status)
    assert peer.sent == []
    await ws.accept()


async def test_a_rejection_that_cannot_be_sent_leaves_the_handshake_open() -> None:
    ws, peer = connecting(denial=True)
    with pytest.raises(ValueError, match="CR"):
        await ws.reject(401, headers={"x-a": "1\r\nx-b: 2"})
    with pytest.raises(ValueError, match="1006"):
        await ws.reject(visible=1006)
    with pytest.raises(ValueError):
        await ws.reject(body="\ud800")
    assert (peer.reads, peer.sent) == (0, [])
    await ws.accept()


async def test_a_visible_rejection_accepts_and_closes() -> None:
    for denial in (True, False):
        ws, peer = connecting(denial=denial)
        await ws.reject(401, body="log in", visible=4401)
        assert peer.types == ["accept", "close"]
        assert peer.closes == [(4401, "log in")]
        assert ws.close_code == 4401
    ws, peer = connecting()
    await ws.reject(body=b"\xff", visible=4401)
    assert peer.closes == [(4401, "")]


async def test_after_accept_and_after_the_end_nothing_can_be_rejected() -> None:
    for visible in (None, 4000):
        for connection in (opened(), opened(denial=True)):
            ws, peer = await connection
            with pytest.raises(WebSocketRuntimeError):
                await ws.reject(visible=visible)
            assert peer.types == ["accept"]
        ws, peer = connecting(denial=True)
        await ws.reject()
        sent = list(peer.sent)
        with pytest.raises(WebSocketRuntimeError):
            await ws.reject(visible=visible)
        with pytest.raises(WebSocketRuntimeError):
            await ws.send_denial_response(Response())
        assert peer.sent == sent


async def test_rejecting_a_client_that_has_given_up_does_nothing() -> None:
    for visible in (None, 4401):
        ws, peer = connecting(D(1001), connect=False)
        assert (await ws.receive())["type"] == "websocket.disconnect"
        await ws.reject(visible=visible)
        assert peer.sent == []
        assert (ws.close_code, ws.closed_by) == (1001, "client")
    ws, peer = connecting(D(1001), connect=False)
    await soon(ws.reject(visible=4401))
    assert peer.sent == []


async def test_rejecting_after_the_client_left_an_accepted_connection_is_refused() -> None:
    ws, peer = await left()
    with pytest.raises(WebSocketRuntimeError):
        await ws.reject()
    assert peer.types == ["accept"]


async def test_any_starlette_response_can_be_the_denial() -> None:
    ran: list[int] = []
    response = JSONResponse(
        {"error": "é"}, 409, {"x-a": "1"}, background=BackgroundTask(ran.append, 1)
    )
    response.set_cookie("a", "1")
    ws, peer = connecting(denial=True)
    await ws.send_denial_response(response)
    status, headers, body = response_of(peer)
    assert (status, body, ran) == (409, '{"error":"é"}'.encode(), [1])
    assert headers[b"x-a"] == b"1"
    assert headers[b"set-cookie"].startswith(b"a=1")


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_a_denial_may_be_a_stream(spec_version: str) -> None:
    async def parts() -> AsyncIterator[str]:
        for part in ("one", "two"):
            await asyncio.sleep(0)
            assert ws.connection_state is WebSocketState.CONNECTING
            yield part

    ws, peer = connecting(denial=True, asgi={"version": "3.0", "spec_version": spec_version})
    await soon(ws.send_denial_response(StreamingResponse(parts(), 403)))
    assert response_of(peer)[2] == b"onetwo"
    assert ws.connection_state is WebSocketState.DISCONNECTED


async def test_a_stream_for_a_client_that_gives_up_is_stopped() -> None:
    async def endless() -> AsyncIterator[str]:
        yield "one"
        peer.fail_sends_with = OSError()
        yield "two"
        raise AssertionError("asked for more")

    ws, peer = connecting(denial=True)
    await soon(ws.send_denial_response(StreamingResponse(endless(), 403)))
    assert peer.types == ["http.response.start", "http.response.body"]


async def test_a_response_that_listens_is_told_that_the_client_gave_up() -> None:
    class Patient(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            heard.append(await receive())

    heard: list[Message] = []
    ws, peer = connecting(denial=True)
    denying = asyncio.create_task(ws.send_denial_response(Patient()))
    await turns()
    assert heard == []
    peer.feed(D(1006))
    await soon(denying)
    assert heard == [{"type": "http.disconnect"}]
    assert peer.types == ["http.response.start"]


async def test_a_denial_may_be_written_by_hand() -> None:
    ws, peer = connecting(denial=True)
    await ws.send({"type": "websocket.http.response.start", "status": 503, "headers": []})
    assert ws.connection_state is WebSocketState.CONNECTING
    with pytest.raises(WebSocketRuntimeError):
        await ws.close()
    with pytest.raises(WebSocketRuntimeError):
        await ws.reject()
    body = {"type": "websocket.http.response.body", "body": b"x", "more_body": True}
    await ws.send(body)
    assert ws.connection_state is WebSocketState.CONNECTING
    await ws.send({**body, "more_body": False})
    assert state(ws) is WebSocketState.DISCONNECTED
    assert (ws.close_code, ws.closed_by) == (CloseCode.INTERNAL_ERROR, "server")
    with pytest.raises(WebSocketRuntimeError):
        await ws.send(body)
    await ws.close()
    assert peer.types == ["http.response.start", "http.response.body", "http.response.body"]
