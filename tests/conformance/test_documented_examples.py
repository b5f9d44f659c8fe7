"""The examples that other frameworks document, with the import line changed, on a scripted peer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from opened import connecting, left, soon
from peer import B, D, Peer, T, make_scope, serve
from telex import App, WebSocket, WebSocketHandshakeError, WebSocketState, websocket


async def handle(handler: Callable[[], Awaitable[None]], peer: Peer) -> None:
    app = App()
    app.websocket("/")(handler)
    await soon(peer.run(app))


@pytest.mark.row("K29", "K26", "K27", "K28")
async def test_the_connection_management_block() -> None:
    answers: list[bool] = []

    async def handler() -> None:
        await websocket.accept()
        await websocket.close(code=1000)
        is_closed = await websocket.is_disconnected()
        answers.append(is_closed)

    peer = Peer()
    await handle(handler, peer)
    assert peer.types == ["accept", "close"]
    assert peer.closes == [(1000, "")]
    assert answers == [True]


@pytest.mark.row("K30", "K31", "K32", "K6")
async def test_the_sending_block() -> None:
    async def handler() -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.send_bytes(b"\x00\x01")
        await websocket.send_json({"key": "value"})

    peer = Peer()
    await handle(handler, peer)
    assert peer.sent[1:4] == [
        {"type": "websocket.send", "text": "hello"},
        {"type": "websocket.send", "bytes": b"\x00\x01"},
        {"type": "websocket.send", "text": '{"key":"value"}'},
    ]


@pytest.mark.row("K38", "K34", "K35", "K36", "K37")
async def test_the_receiving_block() -> None:
    got: list[object] = []

    async def handler() -> None:
        await websocket.accept()
        text = await websocket.receive_text()
        data = await websocket.receive_bytes()
        obj = await websocket.receive_json()
        got.extend((text, data, obj))
        async for msg in websocket.iter_json():
            got.append(msg)  # noqa: PERF401 - as it is documented

    await handle(handler, Peer(T("hi"), B(b"\x00"), T("[1,null]"), T("2"), T("null"), D(1001)))
    assert got == ["hi", b"\x00", [1, None], 2, None]


@pytest.mark.row("V23", "V22")
async def test_the_context_manager_route() -> None:
    app = App()

    @app.websocket("/")
    async def websocket_route(ws: WebSocket) -> None:
        async with ws:
            ...

    peer = await serve(app)
    assert peer.types == ["accept", "close"]
    assert peer.closes == [(1000, "")]


@pytest.mark.row("V24")
async def test_a_client_that_leaves_before_our_close_is_a_handshake_error() -> None:
    ws, peer = connecting(D(1001))
    with pytest.raises(WebSocketHandshakeError):
        async with ws:
            await ws.receive_text()
    assert peer.types == ["accept"]


@pytest.mark.row("V24")
async def test_a_raw_receive_after_the_end_is_a_handshake_error_too() -> None:
    ws, _ = await left()
    with pytest.raises(WebSocketHandshakeError):
        await ws.receive()


@pytest.mark.row("G12", "G4")
async def test_accept_receive_echo_close() -> None:
    peer = Peer(T("hi"))
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    message = await ws.receive_text()
    await ws.send_text(f"Echo: {message}")
    await ws.close()
    assert peer.types == ["accept", "send", "close"]
    assert peer.data == ["Echo: hi"]


@pytest.mark.row("G72")
async def test_the_states_of_the_example() -> None:
    ws, _ = connecting()
    assert (ws.connection_state == WebSocketState.CONNECTING) is True
    await ws.accept()
    assert (ws.connection_state == WebSocketState.CONNECTED) is True
