"""The state of a connection and of its two sides, from the first moment to the last."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

from opened import connecting, opened
from peer import D, T
from telex import WebSocket, WebSocketDisconnect, WebSocketState

CONNECTING, CONNECTED, DISCONNECTED = WebSocketState


def states(ws: WebSocket) -> tuple[WebSocketState, WebSocketState, WebSocketState]:
    """The client's side, our side, and both together."""
    return ws.client_state, ws.application_state, ws.connection_state


@pytest.mark.row("G2", "G68", "C34", "G73", "G74", "G75")
def test_there_is_one_int_enum_with_three_states() -> None:
    assert issubclass(WebSocketState, IntEnum)
    assert IntEnum in WebSocketState.__mro__
    assert {member.name: int(member) for member in WebSocketState} == {
        "CONNECTING": 0,
        "CONNECTED": 1,
        "DISCONNECTED": 2,
    }
    assert WebSocketState(1) is WebSocketState.CONNECTED
    assert WebSocketState(2).name == "DISCONNECTED"


@pytest.mark.row("G11", "G25", "G69", "G72", "L48", "L49", "C34")
def test_a_new_connection_is_connecting() -> None:
    ws, _ = connecting()
    assert states(ws) == (CONNECTING, CONNECTING, CONNECTING)
    assert isinstance(ws.connection_state, WebSocketState)
    assert ws.connection_state == 0


@pytest.mark.row("G26", "G70", "G72", "G73", "L48", "L49", "C34")
async def test_an_accepted_connection_is_connected() -> None:
    ws, peer = connecting(T("hello"))
    assert ws.connection_state == WebSocketState.CONNECTING
    await ws.accept()
    assert states(ws) == (CONNECTED, CONNECTED, CONNECTED)
    assert states(ws)[2] == 1
    assert await ws.receive_text() == "hello"
    await ws.send_text("hello")
    assert peer.data == ["hello"]


@pytest.mark.row("L48", "L49", "C34")
async def test_a_connect_that_was_read_connects_the_clients_side_only() -> None:
    ws, _ = connecting()
    await ws.receive()
    assert states(ws) == (CONNECTED, CONNECTING, CONNECTING)


@pytest.mark.row("G26", "G71", "L49", "C34")
async def test_after_our_close_our_side_and_the_connection_are_over() -> None:
    ws, _ = await opened()
    await ws.close()
    assert states(ws) == (CONNECTED, DISCONNECTED, DISCONNECTED)


@pytest.mark.row("G26", "G71", "L48", "C34", "G29")
async def test_after_the_peers_end_was_delivered_its_side_and_the_connection_are_over() -> None:
    ws, _ = await opened(D(1006))
    assert [data async for data in ws.iter_bytes()] == []
    assert states(ws) == (DISCONNECTED, CONNECTED, DISCONNECTED)
    ws, _ = await opened(D(1001))
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()
    assert states(ws) == (DISCONNECTED, CONNECTED, DISCONNECTED)


@pytest.mark.row("C34")
async def test_the_peers_end_changes_nothing_before_it_is_delivered() -> None:
    ws, _ = await opened(T("a"), D(1001))
    assert await ws.is_disconnected()
    assert states(ws) == (CONNECTED, CONNECTED, CONNECTED)
    assert await ws.receive_text() == "a"
    assert states(ws) == (CONNECTED, CONNECTED, CONNECTED)
    assert [text async for text in ws.iter_text()] == []
    assert states(ws) == (DISCONNECTED, CONNECTED, DISCONNECTED)


@pytest.mark.row("C34")
async def test_both_sides_may_end() -> None:
    ws, peer = await opened()
    await ws.close(4000)
    peer.feed(D(1005))
    await ws.receive()
    assert states(ws) == (DISCONNECTED, DISCONNECTED, DISCONNECTED)
    assert (ws.close_code, ws.closed_by) == (4000, "server")


@pytest.mark.row("G71", "C34")
async def test_a_rejected_connection_is_over() -> None:
    for denial in (True, False):
        ws, _ = connecting(denial=denial)
        await ws.reject()
        assert states(ws)[1:] == (DISCONNECTED, DISCONNECTED)
        assert ws.closed_by == "server"


@pytest.mark.row("G25")
@pytest.mark.parametrize(
    "name",
    [
        "connection_state",
        "client_state",
        "application_state",
        "close_code",
        "close_reason",
        "closed_by",
        "accepted_subprotocol",
        "scope",
        "url",
        "headers",
        "buffered",
        "latency",
    ],
)
def test_what_a_connection_tells_of_itself_is_read_only(name: str) -> None:
    ws: Any = connecting()[0]
    with pytest.raises(AttributeError):
        setattr(ws, name, 1)


def test_over_plain_asgi_the_latency_is_unknown() -> None:
    ws, _ = connecting()
    assert ws.latency is None
    assert ws.buffered == 0
