"""Receiving text, bytes and JSON: what comes back, what is refused, and what survives it."""

from __future__ import annotations

import asyncio
from collections import UserDict
from collections.abc import Awaitable, Callable
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest

from opened import connecting, left, opened, soon, turns
from peer import B, D, Peer, T, make_scope
from telex import (
    WebSocket,
    WebSocketDisconnect,
    WebSocketError,
    WebSocketFrameError,
    WebSocketRuntimeError,
    WebSocketState,
)
from telex._types import Message

RECEIVES = [
    pytest.param("receive_text", (), T("x"), id="text"),
    pytest.param("receive_bytes", (), B(b"x"), id="bytes"),
    pytest.param("receive_json", (), T("{}"), id="json"),
    pytest.param("receive_json", ("binary",), B(b"{}"), id="json-binary"),
]


# --- text and bytes ---


@pytest.mark.row("K34", "L32", "G44")
@pytest.mark.parametrize("text", ["hi", "", "é 数据 \U0001f600", "\0", "a" * 100_000])
async def test_receive_text_returns_the_text(text: str) -> None:
    ws, _ = await opened(T(text))
    received = await ws.receive_text()
    assert received == text
    assert type(received) is str


@pytest.mark.row("K35", "L33", "G35")
@pytest.mark.parametrize("data", [b"\x00", b"x", b"", b"\xff\xfe" * 1000])
async def test_receive_bytes_returns_the_data(data: bytes) -> None:
    ws, _ = await opened(B(data))
    received = await ws.receive_bytes()
    assert received == data
    assert type(received) is bytes


async def test_other_forms_of_bytes_from_a_server_become_bytes() -> None:
    message: Message = {"type": "websocket.receive", "bytes": bytearray(b"x")}
    ws, _ = await opened(message, dict(message), {**message, "bytes": memoryview(b"x")})
    assert type(await ws.receive_bytes()) is bytes
    assert [type(data) for data in (await anext(aiter(ws)), await anext(aiter(ws)))] == [bytes] * 2


@pytest.mark.row("G5", "G46", "C17", "T18")
async def test_receive_text_refuses_a_binary_message_and_consumes_it() -> None:
    ws, _ = await opened(B(b"x"), T("y"))
    with pytest.raises(WebSocketFrameError) as raised:
        await ws.receive_text()
    assert isinstance(raised.value, TypeError)
    assert isinstance(raised.value, WebSocketError)
    assert await ws.receive_text() == "y"
    assert ws.connection_state is WebSocketState.CONNECTED


@pytest.mark.row("G6", "G37", "C17", "T18")
async def test_receive_bytes_refuses_a_text_message_and_consumes_it() -> None:
    ws, _ = await opened(T("x"), B(b"y"))
    with pytest.raises(WebSocketFrameError) as raised:
        await ws.receive_bytes()
    assert isinstance(raised.value, TypeError)
    assert await ws.receive_bytes() == b"y"
    assert ws.connection_state is WebSocketState.CONNECTED


# --- both keys, one key, no key ---


@pytest.mark.row("C20", "T23", "G5", "G6")
@pytest.mark.parametrize("wrong", ["receive_text", "receive_bytes"])
async def test_a_key_that_is_none_does_not_count(wrong: str) -> None:
    text: Message = {"type": "websocket.receive", "text": "x", "bytes": None}
    binary: Message = {"type": "websocket.receive", "text": None, "bytes": b"x"}
    ws, _ = await opened(text, binary, binary if wrong == "receive_text" else text, T("after"))
    assert await ws.receive_text() == "x"
    assert await ws.receive_bytes() == b"x"
    with pytest.raises(TypeError):
        await getattr(ws, wrong)()
    assert await ws.receive_text() == "after"


@pytest.mark.row("C20", "T23", "T24")
async def test_an_empty_message_is_a_message() -> None:
    ws, _ = await opened(
        {"type": "websocket.receive", "text": "", "bytes": None},
        {"type": "websocket.receive", "text": None, "bytes": b""},
    )
    assert await ws.receive_text() == ""
    assert await ws.receive_bytes() == b""


@pytest.mark.row("C20", "T23", "L50")
@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.receive", "text": "x", "bytes": b"x"},
        {"type": "websocket.receive", "text": "", "bytes": b""},
        {"type": "websocket.receive", "text": None, "bytes": None},
        {"type": "websocket.receive"},
        {"type": "websocket.other", "text": "x"},
        {"type": "http.request"},
        {"text": "x"},
    ],
)
@pytest.mark.parametrize(("method", "arguments", "_"), RECEIVES)
async def test_an_event_that_is_no_message_is_an_error_and_is_consumed(
    method: str, arguments: tuple[Any], _: object, event: Message
) -> None:
    ws, _peer = await opened(event, T("after"))
    with pytest.raises(WebSocketRuntimeError):
        await soon(getattr(ws, method)(*arguments))
    assert await soon(ws.receive_text()) == "after"


@pytest.mark.row("T86", "G14")
async def test_events_may_be_any_mapping_with_any_str_as_type() -> None:
    class Kind(StrEnum):
        CONNECT = "websocket.connect"
        RECEIVE = "websocket.receive"
        DISCONNECT = "websocket.disconnect"

    ws, peer = connecting(
        UserDict({"type": Kind.CONNECT}),
        UserDict({"type": Kind.RECEIVE, "text": "x"}),
        UserDict({"type": Kind.DISCONNECT, "code": 4000}),
        connect=False,
    )
    await ws.accept()
    assert await ws.receive_text() == "x"
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.receive_text()
    assert raised.value.code == 4000
    assert type(peer.sent[0]["type"]) is str


@pytest.mark.row("T86")
async def test_types_may_be_members_of_an_enum_of_strings() -> None:
    class Kind(str, Enum):  # noqa: UP042 - what Lilya sends
        CONNECT = "websocket.connect"
        SEND = "websocket.send"

    ws, peer = connecting({"type": Kind.CONNECT}, connect=False)
    await ws.accept()
    await ws.send({"type": Kind.SEND, "text": "x"})
    assert peer.types == ["accept", "send"]
    assert all(type(message["type"]) is str for message in peer.sent)


@pytest.mark.row("G14")
async def test_receive_may_be_a_plain_function_that_returns_a_future() -> None:
    peer = Peer(T("x"), D(1001))

    def receive() -> Awaitable[Message]:
        return asyncio.ensure_future(peer.receive())

    ws = WebSocket(make_scope(), receive, peer.send)
    await ws.accept()
    assert [text async for text in ws.iter_text()] == ["x"]


# --- the end ---


@pytest.mark.row("K10", "L35", "G38", "G43", "G47", "C16")
@pytest.mark.parametrize(("method", "arguments", "message"), RECEIVES)
async def test_the_peers_end_is_a_disconnect_with_code_and_reason(
    method: str, arguments: tuple[Any], message: Message
) -> None:
    ws, _ = await opened(message, D(1001, "bye"))
    await getattr(ws, method)(*arguments)
    with pytest.raises(WebSocketDisconnect) as raised:
        await getattr(ws, method)(*arguments)
    assert (raised.value.code, raised.value.reason) == (1001, "bye")
    assert ws.connection_state is WebSocketState.DISCONNECTED
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (1001, "bye", "client")


class Code(IntEnum):
    GONE = 1001


@pytest.mark.row("C16", "G38")
@pytest.mark.parametrize(
    ("keys", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": None, "reason": None}, 1000, ""),
        ({"code": 1005}, 1005, ""),
        ({"code": Code.GONE, "reason": "x"}, 1001, "x"),
        ({"code": "4000"}, 4000, ""),
        ({"code": "odd"}, 1006, ""),
    ],
)
async def test_however_a_server_says_it_code_is_an_int_and_reason_a_str(
    keys: dict[str, Any], code: int, reason: str
) -> None:
    ws, _ = await opened({"type": "websocket.disconnect", **keys})
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.receive_text()
    assert (raised.value.code, raised.value.reason) == (code, reason)
    assert type(raised.value.code) is int
    assert type(raised.value.reason) is str
    assert (ws.close_code, ws.close_reason) == (code, reason)


@pytest.mark.row("C16", "GX4", "L35")
def test_a_disconnect_can_be_made_without_arguments() -> None:
    error = WebSocketDisconnect()
    assert (error.code, error.reason) == (1000, "")
    assert not isinstance(error, RuntimeError)


@pytest.mark.row("G36", "G40", "G45", "C9", "C14", "L50")
@pytest.mark.parametrize(("method", "arguments", "message"), RECEIVES)
async def test_while_not_open_nothing_is_received_and_the_server_is_not_asked(
    method: str, arguments: tuple[Any], message: Message
) -> None:
    ws, peer = connecting(message)
    with pytest.raises(RuntimeError):
        await soon(getattr(ws, method)(*arguments))
    assert peer.reads == 0

    ws, peer = await opened(message)
    await ws.close()
    with pytest.raises(WebSocketRuntimeError) as raised:
        await soon(getattr(ws, method)(*arguments))
    assert isinstance(raised.value, RuntimeError)
    assert peer.reads == 1

    ws, peer = await left(4001, "bye")
    peer.feed(message)
    asked = peer.reads
    for _ in range(2):
        with pytest.raises(WebSocketDisconnect) as again:
            await soon(getattr(ws, method)(*arguments))
        assert (again.value.code, again.value.reason) == (4001, "bye")
    assert peer.reads == asked


@pytest.mark.row("C14")
async def test_our_close_wakes_a_reader_that_is_waiting() -> None:
    ws, _ = await opened()
    waiting = asyncio.create_task(ws.receive_text())
    await turns()
    await ws.close()
    with pytest.raises(WebSocketRuntimeError):
        await soon(waiting)


async def test_messages_before_the_end_are_read_first() -> None:
    ws, peer = await opened(*[T(str(n)) for n in range(100)], D(1001))
    assert [await ws.receive_text() for _ in range(100)] == [str(n) for n in range(100)]
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()
    assert peer.reads == 102


async def test_an_error_of_the_server_comes_out_of_the_read() -> None:
    async def receive() -> Message:
        if peer.incoming:
            return await peer.receive()
        raise LookupError("server bug")

    peer = Peer(T("x"))
    ws = WebSocket(make_scope(), receive, peer.send)
    await ws.accept()
    assert await ws.receive_text() == "x"
    with pytest.raises(LookupError, match="server bug"):
        await soon(ws.receive_text())
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(ws.receive_text())
    assert raised.value.code == 1006


WAITS: list[Callable[[WebSocket], Awaitable[object]]] = [
    lambda ws: ws.receive_text(),
    lambda ws: anext(ws.iter_text()),
    lambda ws: anext(aiter(ws)),
    lambda ws: ws.receive(),
]


@pytest.mark.parametrize("wait", WAITS)
async def test_cancelling_a_read_loses_no_message(
    wait: Callable[[WebSocket], Awaitable[object]],
) -> None:
    ws, peer = await opened()
    for number in range(50):
        waiting = asyncio.ensure_future(wait(ws))
        await turns(number % 4)
        peer.feed(T(str(number)))
        await turns(number % 3)
        waiting.cancel()
        await asyncio.wait((waiting,))
        if waiting.cancelled():
            assert await soon(ws.receive_text()) == str(number)
        else:
            assert str(number) in str(waiting.result())
