"""`WebSocket` on a scripted peer, without an application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from channel import PATHS, opened_over
from compat.view.programs import connecting, opened
from opened import soon, turns
from peer import B, D, Peer, T, make_scope
from telex.compat.view import (
    WebSocket,
    WebSocketDisconnectError,
    WebSocketError,
    WebSocketExpectError,
    WebSocketHandshakeError,
)
from telex.websockets import WebSocket as CoreWebSocket
from telex.websockets import face_of

Call = Callable[[WebSocket], Awaitable[object]]

CALLS: dict[str, Call] = {
    "receive": lambda ws: ws.receive(),
    "recv": lambda ws: ws.recv(),
    "send": lambda ws: ws.send("x"),
    "pair": lambda ws: ws.pair("x"),
    "pair, receiving first": lambda ws: ws.pair("x", recv_first=True),
    "expect": lambda ws: ws.expect("x"),
    "close": lambda ws: ws.close(),
}


async def left(code: int = 1001) -> tuple[WebSocket, Peer]:
    """Return a connection whose client has left, and which was told so."""
    ws, peer = await opened(D(code))
    with pytest.raises(WebSocketDisconnectError):
        await soon(ws.receive())
    return ws, peer


# Errors


@pytest.mark.row("VX1", "C16", "C67")
def test_the_errors_are_those_of_telex() -> None:
    assert issubclass(WebSocketDisconnectError, WebSocketHandshakeError)
    assert issubclass(WebSocketHandshakeError, WebSocketError)
    assert not issubclass(WebSocketDisconnectError, RuntimeError)
    for base in (WebSocketError, AssertionError, TypeError):
        assert issubclass(WebSocketExpectError, base)


@pytest.mark.row("C16")
async def test_a_disconnect_has_code_and_reason() -> None:
    ws, _ = await opened(D(4001, "bye"))
    with pytest.raises(WebSocketDisconnectError) as raised:
        await soon(ws.receive())
    assert (raised.value.code, raised.value.reason) == (4001, "bye")


# Receiving


@pytest.mark.row("V25", "V27", "C1")
async def test_receive_returns_text() -> None:
    ws, _ = await opened(T("b"), B("é".encode()))
    assert await soon(ws.receive()) == "b"
    assert await soon(ws.receive()) == "é"


@pytest.mark.row("V29", "V30", "V31", "V32", "V33", "V34")
@pytest.mark.parametrize(
    ("message", "tp", "value"),
    [
        (T("x"), str, "x"),
        (T("42"), int, 42),
        (T("true"), bool, True),
        (T("false"), bool, False),
        (T("é"), bytes, b"\xc3\xa9"),
        (B(b"raw"), bytes, b"raw"),
        (T('{"a":1}'), dict, {"a": 1}),
    ],
)
async def test_receive_returns_a_value_of_a_type(message: Any, tp: type, value: object) -> None:
    ws, _ = await opened(message, message, message)
    received: object
    for received in (await ws.receive(tp=tp), await ws.receive(tp), await ws.recv(tp=tp)):
        assert received == value
        assert type(received) is type(value)


@pytest.mark.row("C29", "T29", "V47")
@pytest.mark.parametrize("tp", [float, list, None, dict[str, int]])
async def test_another_type_is_refused_before_a_message_is_consumed(tp: Any) -> None:
    ws, peer = await opened(T("1"))
    for call in (ws.receive(tp), ws.pair("x", tp=tp), ws.pair("x", tp=tp, recv_first=True)):
        with pytest.raises(TypeError, match="cannot read a message as"):
            await soon(call)
    assert peer.data == []
    assert await soon(ws.receive()) == "1"


@pytest.mark.row("C25", "C21", "T18")
async def test_a_message_that_does_not_fit_is_consumed_alone() -> None:
    ws, _ = await opened(T("many"), T("{"), T("7"))
    with pytest.raises(WebSocketExpectError):
        await soon(ws.receive(tp=int))
    with pytest.raises(WebSocketExpectError):
        await soon(ws.receive(tp=dict))
    assert await soon(ws.receive(tp=int)) == 7
    assert ws.open


# Sending


@pytest.mark.row("VX3", "V25", "T27", "C1")
async def test_send_takes_values() -> None:
    ws, peer = await opened()
    for value in ("a", b"b", {"type": "websocket.close"}, 7, True):
        await soon(ws.send(value))
    assert peer.data == ["a", b"b", '{"type":"websocket.close"}', "7", "true"]
    assert ws.open


@pytest.mark.row("VX3", "C29")
@pytest.mark.parametrize("value", [1.5, None, [1], object()])
async def test_other_values_are_refused_before_anything_is_sent_or_read(value: object) -> None:
    ws, peer = await opened(T("next"))
    for call in (ws.send(value), ws.pair(value), ws.pair(value, recv_first=True)):
        with pytest.raises(TypeError, match="cannot send"):
            await soon(call)
    assert peer.data == []
    assert await soon(ws.receive()) == "next"


@pytest.mark.parametrize("path", PATHS)
async def test_values_go_every_way_that_messages_go(path: str) -> None:
    core, server = await opened_over(path, T("1"), T("2"))
    ws = face_of(core, WebSocket)
    await soon(ws.send({"a": 1}))
    assert await soon(ws.pair("x", tp=int)) == 1
    assert await soon(ws.pair("y", tp=int, recv_first=True)) == 2
    assert server.data == ['{"a":1}', "x", "y"]


async def test_sending_waits_for_a_slow_client() -> None:
    core, server = await opened_over("frames", T("reply"))
    ws = face_of(core, WebSocket)
    server.block()
    calls = [asyncio.create_task(call) for call in (ws.send("x"), ws.pair("y"))]
    await turns()
    assert not any(call.done() for call in calls)
    server.unblock()
    assert await soon(asyncio.gather(*calls)) == [None, "reply"]


# Pairs and expectations


class Noted(Peer):
    """Notes in which order messages are read and sent."""

    def __init__(self, *script: Any) -> None:
        super().__init__(*script)
        self.order: list[str] = []

    async def receive(self) -> Any:
        message = await super().receive()
        self.order.append(f"received {message.get('text')}")
        return message

    async def send(self, message: Any) -> None:
        await super().send(message)
        self.order.append(f"sent {message.get('text')}")


async def noted(*script: Any) -> tuple[WebSocket, Noted]:
    peer = Noted(*script)
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    peer.order.clear()
    return ws, peer


@pytest.mark.row("V36", "VX4")
async def test_pair_sends_and_returns_the_next_message() -> None:
    ws, peer = await noted(T("7"))
    assert await soon(ws.pair(3, tp=int)) == 7
    assert peer.order[0] == "sent 3"


@pytest.mark.row("V37", "V48")
async def test_pair_is_send_and_receive() -> None:
    one, one_peer = await noted(T("reply"))
    two, two_peer = await noted(T("reply"))
    reply = await soon(one.pair("out"))
    await soon(two.send("out"))
    assert reply == await soon(two.receive())
    assert one_peer.order == two_peer.order


@pytest.mark.row("V39", "V40", "C31")
async def test_pair_may_receive_first_and_returns_what_it_has_received() -> None:
    ws, peer = await noted()
    pair = asyncio.create_task(ws.pair("out", recv_first=True))
    await turns()
    assert peer.data == []
    peer.feed(T("in"))
    assert await soon(pair) == "in"
    assert peer.order == ["received in", "sent out"]


@pytest.mark.row("V39", "VX4")
async def test_the_options_of_pair_have_names() -> None:
    ws, _ = await opened(T("in"))
    with pytest.raises(TypeError, match="positional"):
        await ws.pair("out", int)  # type: ignore[call-overload]


@pytest.mark.row("C31")
@pytest.mark.parametrize(("recv_first", "sent"), [(False, ["out"]), (True, [])])
async def test_pair_without_a_client(recv_first: bool, sent: list[str]) -> None:
    ws, peer = await opened(D(1001))
    with pytest.raises(WebSocketDisconnectError):
        await soon(ws.pair("out", recv_first=recv_first))
    assert peer.data == sent


@pytest.mark.row("V42", "V43", "VX5")
@pytest.mark.parametrize(
    ("message", "value"),
    [
        (T("MYPROTOCOL V1.1"), "MYPROTOCOL V1.1"),
        (T("1"), 1),
        (T("+1"), 1),
        (T("1"), True),
        (T("x"), b"x"),
        (T('{"b":[true],"a":1}'), {"a": 1, "b": [True]}),
    ],
)
async def test_expect_takes_the_value_and_drops_it(message: Any, value: object) -> None:
    ws, _ = await opened(message, T("next"))
    expecting: Awaitable[object] = ws.expect(value)
    assert await soon(expecting) is None
    assert await soon(ws.receive()) == "next"


@pytest.mark.row("V42", "VX5", "T27", "C30")
@pytest.mark.parametrize(
    ("message", "value"),
    [
        (T("hello"), "MYPROTOCOL V1.1"),
        (T("2"), 1),
        (T("one"), 1),
        (T("0"), True),
        (T('{"a":1}'), {"a": True}),
        (T('{"a":1}'), {"a": 1.0}),
        (T("[1]"), {"a": 1}),
        (T("{"), {"a": 1}),
    ],
)
async def test_expect_refuses_another_value(message: Any, value: object) -> None:
    ws, _ = await opened(message, T("next"))
    with pytest.raises(WebSocketExpectError):
        await soon(ws.expect(value))
    assert await soon(ws.receive()) == "next"


@pytest.mark.row("T30", "C29")
@pytest.mark.parametrize("value", [1.5, None, [1]])
async def test_what_cannot_be_expected_consumes_nothing(value: object) -> None:
    ws, _ = await opened(T("1"))
    with pytest.raises(TypeError, match="cannot read a message as"):
        await soon(ws.expect(value))
    assert await soon(ws.receive()) == "1"


@pytest.mark.row("V48")
async def test_expect_is_receive_and_compare() -> None:
    one, one_peer = await noted(T("1"))
    two, two_peer = await noted(T("1"))
    await soon(one.expect(1))
    assert await soon(two.receive(tp=int)) == 1
    assert one_peer.order == two_peer.order


# States


@pytest.mark.row("VX2", "C34")
async def test_open_and_done_along_the_way() -> None:
    ws, _ = connecting()
    assert (ws.open, ws.done) == (False, False)
    await soon(ws.connect())
    assert (ws.open, ws.done) == (True, False)
    await soon(ws.close())
    assert (ws.open, ws.done) == (False, True)


@pytest.mark.row("VX2", "C34")
async def test_a_connection_that_the_client_has_left_is_neither_open_nor_done() -> None:
    ws, _ = await left()
    assert (ws.open, ws.done) == (False, False)


@pytest.mark.row("VX6", "C2", "C9", "C11")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_nothing_is_possible_before_accept(call: Call) -> None:
    ws, peer = connecting(T("x"))
    with pytest.raises(WebSocketHandshakeError, match="not accepted yet"):
        await soon(call(ws))
    assert (peer.reads, peer.sent) == (0, [])
    await soon(ws.accept())


@pytest.mark.row("VX6", "C3", "C12", "C14")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_nothing_is_possible_after_our_close(call: Call) -> None:
    ws, peer = await opened()
    await soon(ws.close())
    reads = peer.reads
    with pytest.raises(WebSocketHandshakeError, match="is closed"):
        await soon(call(ws))
    assert (peer.reads, peer.types) == (reads, ["accept", "close"])


@pytest.mark.row("VX6", "C7")
@pytest.mark.parametrize("closed", [False, True])
async def test_accept_works_once(closed: bool) -> None:
    ws, peer = await opened()
    if closed:
        await soon(ws.close())
    sent = peer.types
    for call in (ws.accept, ws.connect):
        with pytest.raises(WebSocketHandshakeError):
            await soon(call())
    assert peer.types == sent


@pytest.mark.row("C13", "C15", "C4", "V24")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_every_call_after_the_clients_end_tells_of_it(call: Call) -> None:
    ws, peer = await left(4000)
    reads = peer.reads
    with pytest.raises(WebSocketDisconnectError) as raised:
        await soon(call(ws))
    assert raised.value.code == 4000
    assert (peer.reads, peer.types) == (reads, ["accept"])


@pytest.mark.row("V18", "V19", "V46")
async def test_accept_and_close_by_hand() -> None:
    ws, peer = connecting()
    assert peer.sent == []
    await soon(ws.accept())
    assert (peer.reads, peer.types) == (1, ["accept"])
    await soon(ws.close())
    assert peer.closes == [(1000, "")]


async def test_close_takes_code_and_reason_as_well() -> None:
    ws, peer = await opened()
    await soon(ws.close(4000, "enough"))
    assert peer.closes == [(4000, "enough")]


# The context manager


@pytest.mark.row("V22", "V23")
async def test_the_context_manager_accepts_and_closes() -> None:
    ws, peer = connecting()
    async with ws as entered:
        assert entered is ws
        assert peer.types == ["accept"]
    assert peer.closes == [(1000, "")]


@pytest.mark.row("V24", "VX7", "C32")
async def test_the_clients_end_leaves_the_block_as_a_handshake_error() -> None:
    ws, peer = connecting(D(1001))
    with pytest.raises(WebSocketHandshakeError) as raised:
        async with ws:
            await soon(ws.receive())
    assert isinstance(raised.value, WebSocketDisconnectError)
    assert peer.types == ["accept"]


@pytest.mark.row("C4")
async def test_the_end_of_the_block_says_nothing_of_a_client_that_has_left() -> None:
    ws, peer = connecting(D(1001))
    async with ws:
        with pytest.raises(WebSocketDisconnectError):
            await soon(ws.receive())
    assert peer.types == ["accept"]


@pytest.mark.row("T49")
async def test_the_block_may_close_by_itself() -> None:
    ws, peer = connecting()
    async with ws:
        await soon(ws.close(4000))
    assert peer.closes == [(4000, "")]


@pytest.mark.row("VX7", "C32")
async def test_an_exception_leaves_the_block_and_closing_to_others() -> None:
    ws, peer = connecting()
    with pytest.raises(ZeroDivisionError):
        async with ws:
            raise ZeroDivisionError
    assert peer.types == ["accept"]
    assert ws.open
    await soon(ws.close())


# One connection


@pytest.mark.row("C1")
async def test_another_face_of_the_same_connection_shares_its_state() -> None:
    ws, peer = await opened(T("1"), T("2"))
    core = CoreWebSocket(ws.scope, peer.receive, peer.send)
    assert await soon(core.receive()) == T("1")
    assert await soon(ws.receive(tp=int)) == 2
    await soon(ws.close())
    assert core.close_code == 1000


@pytest.mark.row("C1")
async def test_what_telex_has_under_other_names_is_there() -> None:
    ws, peer = await opened(T("[1]"))
    assert await soon(ws.receive_as(list[int])) == [1]
    await soon(ws.send_value([1]))
    assert peer.data == ["[1]"]
