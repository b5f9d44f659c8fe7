"""Raw ASGI events through the connection: passed as they are, and the state stays right."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opened import connecting, left, opened, soon, state, turns
from peer import B, D, Peer, T, make_scope
from telex import WebSocket, WebSocketDisconnect, WebSocketRuntimeError, WebSocketState
from telex._types import Message, Receive, Scope, Send


@pytest.mark.row("L47", "L48", "L45")
async def test_receive_returns_the_very_mappings_and_moves_the_clients_state() -> None:
    connect: Message = {"type": "websocket.connect", "x": object()}
    events: list[Message] = [connect, T("x"), B(b"y"), D(1001, "bye")]
    ws, peer = connecting(*events, connect=False)
    assert ws.client_state is WebSocketState.CONNECTING
    assert await ws.receive() is events[0]
    assert state_of_client(ws) is WebSocketState.CONNECTED
    await ws.accept()
    for event in events[1:]:
        assert await ws.receive() is event
    assert state_of_client(ws) is WebSocketState.DISCONNECTED
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (1001, "bye", "client")
    assert peer.types == ["accept"]


def state_of_client(ws: WebSocket) -> WebSocketState:
    return ws.client_state


@pytest.mark.row("L45", "L46", "L49")
async def test_send_passes_events_unchanged_and_moves_our_state() -> None:
    ws, peer = connecting(subprotocols=["a"])
    accept: Message = {"type": "websocket.accept", "subprotocol": "a", "headers": [(b"X", b"1")]}
    await ws.send(accept)
    assert ws.application_state is WebSocketState.CONNECTED
    assert ws.accepted_subprotocol == "a"
    data: Message = {"type": "websocket.send", "text": "x", "bytes": None, "extra": 1}
    await ws.send(data)
    close: Message = {"type": "websocket.close", "code": 4000, "reason": "bye"}
    await ws.send(close)
    assert peer.sent == [accept, data, close]
    assert state(ws) is WebSocketState.DISCONNECTED
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4000, "bye", "server")
    await ws.close()
    assert len(peer.sent) == 3


@pytest.mark.row("L46")
async def test_a_raw_event_is_passed_on_as_the_same_object() -> None:
    passed: list[Message] = []

    async def send(message: Message) -> None:
        passed.append(message)

    ws = WebSocket(make_scope(), Peer().receive, send)
    accept: Message = {"type": "websocket.accept"}
    data: Message = {"type": "websocket.send", "text": "x"}
    await ws.send(accept)
    await ws.send(data)
    assert passed[0] is accept
    assert passed[1] is data


@pytest.mark.row("L47", "C10")
async def test_raw_and_typed_calls_can_be_mixed() -> None:
    ws, peer = connecting(T("a"), T("b"), B(b"c"), D(1001))
    assert (await ws.receive())["type"] == "websocket.connect"
    await ws.send({"type": "websocket.accept"})
    assert await ws.receive_text() == "a"
    assert await ws.receive() == T("b")
    assert await ws.receive_bytes() == b"c"
    await ws.send_text("x")
    await ws.send({"type": "websocket.send", "bytes": b"y"})
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()
    assert peer.data == ["x", b"y"]


async def test_an_accept_sent_raw_needs_no_connect_to_be_read() -> None:
    ws, _ = connecting(T("x"))
    await ws.send({"type": "websocket.accept"})
    assert ws.connection_state is WebSocketState.CONNECTED
    assert await soon(ws.receive_text()) == "x"
    ws, _ = connecting(T("x"))
    await ws.send({"type": "websocket.accept"})
    assert await soon(ws.receive()) == {"type": "websocket.connect"}
    assert await soon(ws.receive()) == T("x")


# --- receiving at the wrong moment ---


@pytest.mark.row("C10", "L50")
async def test_before_accept_a_second_receive_gives_a_disconnect_and_nothing_else() -> None:
    ws, _ = connecting(D(1001))
    assert (await ws.receive())["type"] == "websocket.connect"
    assert await soon(ws.receive()) == D(1001)
    assert ws.connection_state is WebSocketState.DISCONNECTED

    ws, _ = connecting(T("early"))
    assert (await ws.receive())["type"] == "websocket.connect"
    with pytest.raises(WebSocketRuntimeError, match="before"):
        await soon(ws.receive())
    await ws.accept()
    assert await soon(ws.receive_text()) == "early"


@pytest.mark.row("C10")
async def test_before_accept_a_second_receive_waits_for_the_disconnect() -> None:
    ws, peer = connecting()
    await ws.receive()
    waiting = asyncio.create_task(ws.receive())
    await turns()
    assert not waiting.done()
    peer.feed(D(1001))
    assert (await soon(waiting))["type"] == "websocket.disconnect"


@pytest.mark.row("L50", "L47", "LX10")
async def test_after_the_disconnect_was_delivered_the_server_is_not_asked_again() -> None:
    ws, peer = await left(4001, "bye")
    peer.feed(D(1005))
    asked = peer.reads
    for _ in range(2):
        with pytest.raises(WebSocketDisconnect) as raised:
            await soon(ws.receive())
        assert (raised.value.code, raised.value.reason) == (4001, "bye")
    assert peer.reads == asked


@pytest.mark.row("C14")
async def test_after_our_close_raw_events_may_still_be_read_until_the_disconnect() -> None:
    ws, peer = await opened()
    await ws.close(4000, "ours")
    peer.feed(T("late"), D(1005))
    assert await soon(ws.receive()) == T("late")
    assert await soon(ws.receive()) == D(1005)
    with pytest.raises(WebSocketRuntimeError):
        await soon(ws.receive())
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4000, "ours", "server")


@pytest.mark.row("C14")
async def test_after_our_close_what_was_read_ahead_is_not_asked_for_again() -> None:
    ws, peer = await opened(T("a"), D(4001))
    assert await ws.receive_text() == "a"
    await turns()
    await ws.close()
    asked = peer.reads
    assert (await soon(ws.receive()))["type"] == "websocket.disconnect"
    assert peer.reads == asked


async def test_cancelling_a_raw_receive_loses_not_even_the_connect() -> None:
    ws, peer = connecting(connect=False)
    waiting = asyncio.create_task(ws.receive())
    await turns()
    waiting.cancel()
    await asyncio.wait((waiting,))
    peer.feed({"type": "websocket.connect"})
    assert (await soon(ws.receive()))["type"] == "websocket.connect"


async def test_a_disconnect_that_raw_receive_returns_wakes_the_other_readers() -> None:
    ws, peer = await opened()
    raw = asyncio.create_task(ws.receive())
    await turns()
    reader = asyncio.create_task(ws.receive_text())
    await turns()
    peer.feed(D(1001))
    assert (await soon(raw))["type"] == "websocket.disconnect"
    with pytest.raises(WebSocketDisconnect):
        await soon(reader)


# --- sending at the wrong moment ---

SEND: Message = {"type": "websocket.send", "text": "x"}
ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close", "code": 1000, "reason": ""}


@pytest.mark.row("L51", "C7", "C11", "C12")
async def test_an_event_that_is_not_legal_now_is_refused_and_not_sent() -> None:
    ws, peer = connecting()
    for message in (SEND, {"type": "websocket.http.response.body"}, {"type": "http.x"}, {}):
        with pytest.raises(WebSocketRuntimeError):
            await ws.send(dict(message))
    assert peer.sent == []
    await ws.accept()
    for message in (ACCEPT, {"type": "websocket.http.response.start", "status": 403}):
        with pytest.raises(WebSocketRuntimeError):
            await ws.send(dict(message))
    assert peer.types == ["accept"]
    await ws.close()
    for message in (SEND, ACCEPT, CLOSE):
        with pytest.raises(WebSocketRuntimeError):
            await ws.send(dict(message))
    assert peer.types == ["accept", "close"]


@pytest.mark.row("L51")
async def test_after_the_peer_left_every_raw_send_is_a_disconnect() -> None:
    ws, peer = await left(4001)
    for message in (SEND, ACCEPT, CLOSE):
        with pytest.raises(WebSocketDisconnect) as raised:
            await ws.send(dict(message))
        assert raised.value.code == 4001
    assert peer.types == ["accept"]


@pytest.mark.row("C69", "T36")
@pytest.mark.parametrize("keys", [{}, {"code": None}, {"reason": None}, {"code": 1000}])
async def test_a_raw_close_is_sent_with_an_int_and_a_str(keys: dict[str, Any]) -> None:
    ws, peer = await opened()
    await ws.send({"type": "websocket.close", **keys})
    assert peer.closes == [(1000, "")]
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (1000, "", "server")


@pytest.mark.row("C65")
@pytest.mark.parametrize("code", [1005, 1006, 999, 5000, "1000", True])
async def test_a_raw_close_with_a_code_that_may_not_be_sent_is_refused(code: Any) -> None:
    ws, peer = await opened()
    with pytest.raises(ValueError):
        await ws.send({"type": "websocket.close", "code": code})
    assert peer.types == ["accept"]
    await ws.send_text("still open")


@pytest.mark.row("L45", "L53")
async def test_a_raw_close_runs_the_cleanups() -> None:
    ran: list[str] = []
    ws, _ = await opened()
    ws.add_cleanup(lambda: ran.append("x"))
    await ws.send(dict(CLOSE))
    assert ran == ["x"]


# --- the callables themselves ---


@pytest.mark.row("G20", "GX1")
async def test_the_asgi_callables_are_the_very_ones_that_were_given() -> None:
    async def receive() -> Message:
        raise AssertionError("called")

    async def send(message: Message) -> None:
        raise AssertionError("called")

    ws = WebSocket(make_scope(), receive, send)
    assert ws.asgi_receive is receive
    assert ws.asgi_send is send


@pytest.mark.row("L6", "L45")
async def test_a_bare_asgi_application_needs_nothing_else() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ws = WebSocket(scope=scope, receive=receive, send=send)
        await ws.accept()
        async for text in ws.iter_text():
            await ws.send_text(f"Echo: {text}")
        await ws.close()

    peer = Peer(T("a"), T("b"), D(1001))
    await peer.run(app)
    assert peer.data == ["Echo: a", "Echo: b"]
    assert peer.types == ["accept", "send", "send"]
