"""The examples that other frameworks document, with the import line changed."""

from __future__ import annotations

import pytest

from clients import connected, ending
from opened import connecting, left
from peer import D
from telex import App, WebSocket, WebSocketHandshakeError, WebSocketState, websocket
from telex._types import Receive, Scope, Send


@pytest.mark.row("K29", "K26", "K27", "K28")
async def test_the_connection_management_block() -> None:
    app = App()
    answers: list[bool] = []

    @app.websocket("/")
    async def handler() -> None:
        await websocket.accept()
        await websocket.close(code=1000)
        is_closed = await websocket.is_disconnected()
        answers.append(is_closed)

    assert await ending(app) == (1000, "")
    assert answers == [True]


@pytest.mark.row("K30", "K31", "K32", "K6")
async def test_the_sending_block() -> None:
    app = App()

    @app.websocket("/")
    async def handler() -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.send_bytes(b"\x00\x01")
        await websocket.send_json({"key": "value"})

    async with connected(app) as ws:
        assert [await ws.receive() for _ in range(3)] == [
            {"type": "websocket.send", "text": "hello"},
            {"type": "websocket.send", "bytes": b"\x00\x01"},
            {"type": "websocket.send", "text": '{"key":"value"}'},
        ]


@pytest.mark.row("K38", "K34", "K35", "K36", "K37")
async def test_the_receiving_block() -> None:
    app = App()
    got: list[object] = []

    @app.websocket("/")
    async def handler() -> None:
        await websocket.accept()
        text = await websocket.receive_text()
        data = await websocket.receive_bytes()
        obj = await websocket.receive_json()
        got.extend((text, data, obj))
        async for msg in websocket.iter_json():
            got.append(msg)  # noqa: PERF401 - as it is documented

    async with connected(app) as ws:
        for data in ("hi", b"\x00", "[1,null]", "2", "null"):
            await ws.send_value(data)
        await ws.close(1001)
    assert got == ["hi", b"\x00", [1, None], 2, None]


@pytest.mark.row("V23", "V22")
async def test_the_context_manager_route() -> None:
    app = App()

    @app.websocket("/")
    async def websocket_route(ws: WebSocket) -> None:
        async with ws:
            ...

    assert await ending(app) == (1000, "")


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
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ws = WebSocket(scope, receive, send)
        await ws.accept()
        message = await ws.receive_text()
        await ws.send_text(f"Echo: {message}")
        await ws.close()

    async with connected(app) as ws:
        await ws.send_text("hi")
        assert [text async for text in ws] == ["Echo: hi"]
        await ws.expect_close(1000)


@pytest.mark.row("G72")
async def test_the_states_of_the_example() -> None:
    ws, _ = connecting()
    assert (ws.connection_state == WebSocketState.CONNECTING) is True
    await ws.accept()
    assert (ws.connection_state == WebSocketState.CONNECTED) is True
