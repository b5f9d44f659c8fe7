"""Accepting: what is read, what is sent, and what may be asked for."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from opened import connecting, opened, soon, turns
from peer import B, D, T
from telex import (
    WebSocket,
    WebSocketDisconnect,
    WebSocketHandshakeError,
    WebSocketRuntimeError,
    WebSocketState,
)
from telex.exceptions import HeadersInput

ACCEPT: dict[str, object] = {"type": "websocket.accept", "subprotocol": None, "headers": []}


@pytest.mark.row("K26", "V18", "G19", "L26", "LX10", "C69", "T86")
async def test_accept_reads_the_connect_and_sends_one_accept() -> None:
    ws, peer = connecting()
    await ws.accept()
    assert peer.reads == 1
    assert peer.sent == [ACCEPT]
    assert type(peer.sent[0]["type"]) is str


@pytest.mark.row("G17", "L26")
def test_accept_takes_a_subprotocol_and_headers() -> None:
    parameters = inspect.signature(WebSocket.accept).parameters
    assert list(parameters) == ["self", "subprotocol", "headers"]
    assert parameters["subprotocol"].default is None
    assert parameters["headers"].default is None


@pytest.mark.row("G17", "L26")
async def test_accept_sends_what_it_is_given_by_position_or_keyword() -> None:
    for arguments, keywords in (
        (("wamp", [(b"x-a", b"1")]), {}),
        ((), {"subprotocol": "wamp", "headers": [(b"x-a", b"1")]}),
    ):
        ws, peer = connecting(subprotocols=["wamp"])
        await ws.accept(*arguments, **keywords)  # type: ignore[arg-type]
        assert peer.sent == [{**ACCEPT, "subprotocol": "wamp", "headers": [(b"x-a", b"1")]}]


@pytest.mark.row("G19", "T11", "C10", "L47")
async def test_accept_does_not_wait_for_a_connect_that_was_read_before() -> None:
    ws, peer = connecting(T("hello"))
    assert await ws.receive() == {"type": "websocket.connect"}
    await soon(ws.accept())
    assert peer.sent == [ACCEPT]
    assert await soon(ws.receive_text()) == "hello"


async def test_accept_can_be_called_again_after_its_wait_was_cancelled() -> None:
    ws, peer = connecting(connect=False)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ws.accept(), 0)
    waiting = asyncio.create_task(ws.accept())
    await turns()
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert peer.sent == []
    peer.feed({"type": "websocket.connect"}, T("hello"))
    await soon(ws.accept())
    assert peer.sent == [ACCEPT]
    assert await soon(ws.receive_text()) == "hello"


# --- at the wrong moment ---


@pytest.mark.row("C7", "GX2", "L51", "G18")
async def test_a_second_accept_is_refused() -> None:
    ws, peer = await opened()
    with pytest.raises(WebSocketRuntimeError):
        await ws.accept()
    assert peer.sent == [ACCEPT]
    assert ws.connection_state is WebSocketState.CONNECTED


@pytest.mark.row("C7", "C67")
async def test_accept_after_close_or_reject_is_refused() -> None:
    for ending in ("close", "reject"):
        ws, peer = connecting()
        await getattr(ws, ending)()
        sent = list(peer.sent)
        with pytest.raises(WebSocketRuntimeError) as raised:
            await ws.accept()
        assert isinstance(raised.value, RuntimeError)
        assert isinstance(raised.value, WebSocketHandshakeError)
        assert peer.sent == sent


@pytest.mark.row("C7")
async def test_accept_while_a_denial_is_being_sent_is_refused() -> None:
    ws, peer = connecting(denial=True)
    await ws.send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    with pytest.raises(WebSocketRuntimeError):
        await ws.accept()
    assert peer.types == ["http.response.start"]


@pytest.mark.row("C8", "T10")
async def test_accepting_a_client_that_has_given_up_is_a_disconnect() -> None:
    ws, peer = connecting(D(1001, "bye"), connect=False)
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(ws.accept())
    assert (raised.value.code, raised.value.reason) == (1001, "bye")
    assert not isinstance(raised.value, RuntimeError)
    assert ws.connection_state is WebSocketState.DISCONNECTED
    assert ws.client_state is WebSocketState.DISCONNECTED
    await ws.close()
    assert peer.sent == []


@pytest.mark.row("C8", "T10")
async def test_a_client_that_gave_up_after_its_connect_was_read_is_a_disconnect() -> None:
    ws, peer = connecting(D(1001))
    assert (await ws.receive())["type"] == "websocket.connect"
    assert (await soon(ws.receive()))["type"] == "websocket.disconnect"
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.accept())
    assert peer.sent == []


@pytest.mark.row("GX2", "L50")
async def test_a_first_event_that_is_no_connect_is_refused() -> None:
    for event in (T("early"), B(b"early"), {"type": "http.request"}, {}):
        ws, peer = connecting(event, connect=False)
        with pytest.raises(WebSocketRuntimeError):
            await soon(ws.accept())
        assert peer.sent == []


async def test_a_server_that_refuses_the_accept_leaves_the_handshake_open() -> None:
    ws, peer = connecting(subprotocols=["a"])
    peer.fail_sends_with = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        await ws.accept("a")
    assert ws.accepted_subprotocol is None
    assert ws.connection_state is WebSocketState.CONNECTING
    peer.fail_sends_with = None
    await ws.close()
    assert peer.types == ["close"]


async def test_a_client_that_leaves_during_the_accept_is_a_disconnect() -> None:
    ws, peer = connecting(subprotocols=["a"])
    peer.fail_sends_with = ConnectionResetError()
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.accept("a")
    assert raised.value.code == 1006
    assert ws.accepted_subprotocol is None
    assert ws.connection_state is WebSocketState.DISCONNECTED


async def test_of_two_tasks_that_accept_one_does() -> None:
    ws, peer = connecting(connect=False)
    both = [asyncio.create_task(ws.accept()) for _ in range(2)]
    await turns()
    peer.feed({"type": "websocket.connect"})
    results = await soon(asyncio.gather(*both, return_exceptions=True))
    assert peer.sent == [ACCEPT]
    assert sorted(type(result).__name__ for result in results) == [
        "NoneType",
        "WebSocketRuntimeError",
    ]


async def test_a_close_during_the_wait_for_the_connect_wins() -> None:
    ws, peer = connecting(connect=False)
    accepting = asyncio.create_task(ws.accept())
    await turns()
    await ws.close()
    peer.feed({"type": "websocket.connect"})
    with pytest.raises(WebSocketRuntimeError):
        await soon(accepting)
    assert peer.types == ["close"]


# --- subprotocols ---


@pytest.mark.row("GX1", "T67")
async def test_the_offered_subprotocols_are_a_tuple() -> None:
    offered = {"none": [], "some": ["a", "b"], "missing": None}
    for protocols in offered.values():
        ws, _ = connecting(subprotocols=protocols)
        assert ws.subprotocols == tuple(protocols or ())
        assert isinstance(ws.subprotocols, tuple)
        assert ws.accepted_subprotocol is None


@pytest.mark.row("C64", "T67", "GX1")
async def test_one_of_several_offered_subprotocols_is_accepted() -> None:
    ws, peer = connecting(subprotocols=["chat", "superchat"])
    await ws.accept("superchat")
    assert peer.sent[0]["subprotocol"] == "superchat"
    assert ws.accepted_subprotocol == "superchat"


@pytest.mark.row("C64", "T67")
@pytest.mark.parametrize("offered", [[], ["chat"], None])
@pytest.mark.parametrize("wanted", ["other", "", "CHAT", "chat "])
async def test_a_subprotocol_that_was_not_offered_is_refused(
    wanted: str, offered: list[str] | None
) -> None:
    ws, peer = connecting(subprotocols=offered)
    with pytest.raises(ValueError, match="not offered"):
        await ws.accept(wanted)
    assert (peer.reads, peer.sent) == (0, [])
    assert ws.accepted_subprotocol is None
    await ws.accept()
    assert peer.sent == [ACCEPT]
    assert ws.accepted_subprotocol is None


@pytest.mark.row("C64", "T67")
async def test_a_scope_without_subprotocols_offers_none() -> None:
    ws, peer = connecting()
    del ws.scope["subprotocols"]
    with pytest.raises(ValueError, match="none"):
        await ws.accept("chat")
    await ws.accept()
    assert peer.sent == [ACCEPT]


# --- headers ---


@pytest.mark.row("C6", "GX2", "T51")
@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "1"},
        {"x-a": " 1 "},
        [("X-A", "1")],
        [(b"X-A", b"1")],
        [("X-A", b"1")],
        (["X-A", "1"] for _ in range(1)),
    ],
)
async def test_headers_may_be_a_mapping_or_pairs_of_str_or_bytes(headers: HeadersInput) -> None:
    ws, peer = connecting()
    await ws.accept(headers=headers)
    assert peer.sent == [{**ACCEPT, "headers": [(b"x-a", b"1")]}]
    name, value = peer.sent[0]["headers"][0]
    assert type(name) is type(value) is bytes


@pytest.mark.row("T51", "C6")
async def test_pairs_can_repeat_a_header() -> None:
    ws, peer = connecting()
    await ws.accept(headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=é")])
    assert peer.sent[0]["headers"] == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=\xe9")]


@pytest.mark.row("T51", "T52", "C6")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "1\r\nset-cookie: a=1"),
        ("x-a", "1\n"),
        ("x-a", "1\0"),
        ("x-a", b"1\r"),
        ("x-a", "€"),
        ("x a", "1"),
        ("x-a:", "1"),
        ("", "1"),
        ("é", "1"),
        (b"x-a\n", b"1"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("sec-websocket-accept", "x"),
        ("SEC-WEBSOCKET-EXTENSIONS", "permessage-deflate"),
        ("sec-websocket-", "x"),
        ("Connection", "close"),
        ("upgrade", "h2c"),
        (b"Content-Length", b"0"),
        ("transfer-encoding", "chunked"),
    ],
)
async def test_a_header_that_cannot_be_sent_is_refused(name: Any, value: Any) -> None:
    ws, peer = connecting()
    with pytest.raises(ValueError):
        await ws.accept(headers=[("x-good", "1"), (name, value)])
    assert (peer.reads, peer.sent) == (0, [])
    await ws.accept()
    assert peer.sent == [ACCEPT]


@pytest.mark.row("C6", "T51")
@pytest.mark.parametrize("headers", ["x-a: 1", b"x-a: 1", {"x-a": 1}, [("x-a", None)], [(1, "x")]])
async def test_headers_of_other_types_are_refused(headers: Any) -> None:
    ws, peer = connecting()
    with pytest.raises(TypeError):
        await ws.accept(headers=headers)
    assert (peer.reads, peer.sent) == (0, [])


# --- before accept, everything else waits ---


@pytest.mark.row("C9", "C11", "C67", "G18", "L50", "L51")
@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("receive_text", ()),
        ("receive_bytes", ()),
        ("receive_json", ()),
        ("send_text", ("x",)),
        ("send_bytes", (b"x",)),
        ("send_json", ({},)),
    ],
)
async def test_before_accept_nothing_is_read_or_sent(method: str, arguments: tuple[Any]) -> None:
    ws, peer = connecting(T("x"))
    with pytest.raises(WebSocketRuntimeError) as raised:
        await soon(getattr(ws, method)(*arguments))
    assert isinstance(raised.value, RuntimeError)
    assert isinstance(raised.value, WebSocketHandshakeError)
    assert "not accepted yet" in str(raised.value)
    assert (peer.reads, peer.sent) == (0, [])
    await ws.accept()
    assert await ws.receive_text() == "x"


@pytest.mark.row("C9", "C11")
async def test_before_accept_iterating_and_send_nowait_are_refused() -> None:
    ws, peer = connecting(T("x"))
    for iterator in (ws.iter_text(), ws.iter_bytes(), ws.iter_json(), aiter(ws)):
        with pytest.raises(WebSocketRuntimeError):
            await anext(iterator)
    with pytest.raises(WebSocketRuntimeError):
        ws.send_nowait("x")
    assert (peer.reads, peer.sent) == (0, [])
