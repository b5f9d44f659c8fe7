"""Sending text, bytes and JSON: what goes out, what is refused before anything does."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable
from decimal import Decimal
from typing import Any

import pytest

from opened import connecting, left, opened, soon, turns
from peer import D, Peer, T, make_scope
from telex import WebSocket, WebSocketDisconnect, WebSocketRuntimeError, WebSocketState
from telex._types import Message
from telex.frames import Mode

SENDS: list[tuple[str, tuple[Any, ...]]] = [
    ("send_text", ("x",)),
    ("send_bytes", (b"x",)),
    ("send_json", ({"a": 1},)),
    ("send_json", ({"a": 1}, "binary")),
]


MODES: list[Mode] = ["text", "binary"]


class Text(str):
    """A `str` with another name."""

    __slots__ = ()


# --- text and bytes ---


@pytest.mark.row("K30", "L27", "G58", "T86")
@pytest.mark.parametrize("text", ["hello", "", "é 数据 \U0001f600", "\0", "a" * 100_000])
async def test_send_text_sends_one_text_message(text: str) -> None:
    ws, peer = await opened()
    await ws.send_text(text)
    assert peer.sent[1:] == [{"type": "websocket.send", "text": text}]
    assert type(peer.sent[1]["type"]) is str


@pytest.mark.row("K31", "L28", "G53")
@pytest.mark.parametrize("data", [b"\x00\x01", b"", b"x" * 100_000])
async def test_send_bytes_sends_one_binary_message(data: bytes) -> None:
    ws, peer = await opened()
    await ws.send_bytes(data)
    assert peer.sent[1:] == [{"type": "websocket.send", "bytes": data}]


@pytest.mark.row("G53", "G58", "G55")
@pytest.mark.parametrize(("method", "arguments"), SENDS)
async def test_sending_returns_none(method: str, arguments: tuple[Any, ...]) -> None:
    ws, peer = await opened()
    assert await getattr(ws, method)(*arguments) is None
    assert peer.types == ["accept", "send"]


@pytest.mark.row("C68", "T26")
@pytest.mark.parametrize("data", [b"x", bytearray(b"x"), memoryview(b"x"), 1, None, ["x"], {}])
async def test_send_text_takes_nothing_but_str(data: Any) -> None:
    ws, peer = await opened()
    with pytest.raises(TypeError):
        await ws.send_text(data)
    assert peer.types == ["accept"]
    await ws.send_text(Text("x"))
    assert peer.data == ["x"]


@pytest.mark.row("C68", "T26")
@pytest.mark.parametrize("data", ["x", "", 1, None, [1], object()])
async def test_send_bytes_takes_nothing_but_bytes(data: Any) -> None:
    ws, peer = await opened()
    with pytest.raises(TypeError):
        await ws.send_bytes(data)
    with pytest.raises(TypeError):
        ws.send_nowait(data if not isinstance(data, str) else 1)  # type: ignore[arg-type]
    assert peer.types == ["accept"]


@pytest.mark.row("C68", "T26")
@pytest.mark.parametrize("make", [bytearray, lambda data: memoryview(bytearray(data))])
async def test_a_buffer_that_its_owner_may_change_is_copied(make: Any) -> None:
    ws, peer = await opened()
    data = make(b"before")
    await ws.send_bytes(data)
    assert ws.send_nowait(data)
    data[:] = b"after!"
    await turns()
    assert peer.data == [b"before", b"before"]
    assert all(type(sent) is bytes for sent in peer.data)


async def test_a_view_with_gaps_is_sent_as_it_reads() -> None:
    ws, peer = await opened()
    await ws.send_bytes(memoryview(b"abcdef")[::2])
    assert peer.data == [b"ace"]


@pytest.mark.row("T19")
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc00\ud800"])
async def test_a_lone_surrogate_in_text_is_refused_at_the_call(text: str) -> None:
    ws, peer = await opened()
    with pytest.raises(ValueError, match="surrogate"):
        await ws.send_text(text)
    with pytest.raises(ValueError, match="surrogate"):
        ws.send_nowait(text)
    assert peer.types == ["accept"]
    await ws.send_text("after")
    assert peer.data == ["after"]


@pytest.mark.row("T19")
async def test_a_surrogate_that_a_client_escaped_can_be_echoed_as_json() -> None:
    ws, peer = await opened(T('{"a":"\\ud800é"}'))
    await ws.send_json(await ws.receive_json())
    await ws.send_json("\ud800", mode="binary")
    assert peer.data == ['{"a":"\\ud800é"}', b'"\\ud800"']


# --- JSON ---


@pytest.mark.row("K6", "K32", "L29", "L30", "G55")
@pytest.mark.parametrize(
    "value",
    [{"a": [1, None, True, 1.5, {"b": "é"}]}, [], {}, "", 0, False, None, 2**70, "\u2028</script>"],
)
async def test_send_json_sends_text_that_reads_back_as_the_value(value: object) -> None:
    ws, peer = await opened()
    await ws.send_json(value)
    message = peer.sent[1]
    assert message.keys() == {"type", "text"}
    assert json.loads(message["text"]) == value


@pytest.mark.row("L31", "C24")
async def test_json_goes_out_as_binary_when_asked() -> None:
    ws, peer = await opened()
    await ws.send_json({"é": 1}, mode="binary")
    await ws.send_json({"é": 1}, "text")
    assert peer.sent[1:] == [
        {"type": "websocket.send", "bytes": '{"é":1}'.encode()},
        {"type": "websocket.send", "text": '{"é":1}'},
    ]


@pytest.mark.row("C22", "LX10", "T22")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"test": "数据"}, '{"test":"数据"}'),
        ([1, 2.0, "a/b"], '[1,2.0,"a/b"]'),
        ({1: True, None: None}, '{"1":true,"null":null}'),
        ((1, (2,)), "[1,[2]]"),
        ({"z": 1, "a": 2}, '{"z":1,"a":2}'),
        (2**64, "18446744073709551616"),
    ],
)
async def test_json_is_compact_and_keeps_what_is_not_ascii(value: object, text: str) -> None:
    ws, peer = await opened()
    await ws.send_json(value)
    await ws.send_json(value, mode="binary")
    assert peer.data == [text, text.encode()]


@pytest.mark.row("G57", "T22")
@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"x", {(1, 2): 3}, [Decimal(1)], Exception, {"a": {"b": 1j}}]
)
async def test_what_json_cannot_express_is_refused(value: object) -> None:
    ws, peer = await opened()
    with pytest.raises(TypeError):
        await ws.send_json(value)
    assert peer.types == ["accept"]
    assert ws.connection_state is WebSocketState.CONNECTED
    await ws.send_json(1)
    assert peer.data == ["1"]


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.row("C23", "T21")
@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": {"b": -math.inf}}, CIRCLE])
async def test_numbers_that_are_no_json_and_circles_are_refused(value: object) -> None:
    ws, peer = await opened()
    for mode in MODES:
        with pytest.raises(ValueError):
            await ws.send_json(value, mode=mode)
    assert peer.types == ["accept"]
    await ws.send_json(1)


# --- the wrong moment ---


@pytest.mark.row("G54", "G56", "G59", "G18", "C11", "C12", "L51")
@pytest.mark.parametrize(("method", "arguments"), SENDS)
async def test_while_not_open_nothing_is_sent(method: str, arguments: tuple[Any, ...]) -> None:
    ws, peer = connecting()
    with pytest.raises(WebSocketRuntimeError) as raised:
        await getattr(ws, method)(*arguments)
    assert isinstance(raised.value, RuntimeError)
    assert peer.sent == []

    ws, peer = await opened()
    await ws.close()
    with pytest.raises(WebSocketRuntimeError) as raised:
        await getattr(ws, method)(*arguments)
    assert isinstance(raised.value, RuntimeError)
    assert peer.types == ["accept", "close"]

    ws, peer = await left(4001, "bye")
    with pytest.raises(WebSocketDisconnect) as gone:
        await getattr(ws, method)(*arguments)
    assert (gone.value.code, gone.value.reason) == (4001, "bye")
    assert peer.types == ["accept"]


@pytest.mark.row("C12", "C68")
@pytest.mark.parametrize(("method", "arguments"), SENDS)
async def test_bad_arguments_are_found_first_and_both_are_errors(
    method: str, arguments: tuple[Any, ...]
) -> None:
    ws, peer = await opened()
    await ws.close()
    with pytest.raises((TypeError, WebSocketRuntimeError)):
        await getattr(ws, method)(object(), *arguments[1:])
    assert peer.types == ["accept", "close"]


@pytest.mark.row("C12")
async def test_after_the_end_send_nowait_says_that_it_dropped() -> None:
    ws, peer = await opened()
    await ws.close()
    assert ws.send_nowait("x") is False
    assert peer.types == ["accept", "close"]
    ws, peer = await left()
    assert ws.send_nowait("x") is False
    assert peer.types == ["accept"]


# --- the peer leaves while we send ---


@pytest.mark.parametrize("error", [OSError(), ConnectionResetError(), BrokenPipeError()])
@pytest.mark.parametrize(("method", "arguments"), SENDS)
async def test_a_send_that_finds_the_peer_gone_is_a_disconnect(
    method: str, arguments: tuple[Any, ...], error: OSError
) -> None:
    ws, peer = await opened()
    peer.fail_sends_with = error
    with pytest.raises(WebSocketDisconnect) as raised:
        await getattr(ws, method)(*arguments)
    assert raised.value.code == 1006
    assert raised.value.__cause__ is error
    assert ws.connection_state is WebSocketState.DISCONNECTED
    assert (ws.close_code, ws.closed_by) == (1006, "client")
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()


async def test_a_send_that_fails_tells_the_code_when_it_is_known() -> None:
    ws, peer = await opened(T("a"), D(4001, "bye"))
    assert await ws.receive_text() == "a"
    await turns()
    peer.fail_sends_with = RuntimeError("the server's own words")
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.send_text("x")
    assert (raised.value.code, raised.value.reason) == (4001, "bye")


async def test_the_servers_own_complaint_comes_out() -> None:
    ws, peer = await opened()
    peer.fail_sends_with = KeyError("server bug")
    with pytest.raises(KeyError, match="server bug"):
        await ws.send_text("x")
    peer.fail_sends_with = None
    await ws.send_text("y")
    assert peer.data == ["y"]


# --- the callable ---


@pytest.mark.row("G15")
async def test_send_may_be_a_plain_function_that_returns_a_future() -> None:
    calls: list[tuple[tuple[Message, ...], dict[str, object]]] = []

    def send(*arguments: Message, **keywords: object) -> Awaitable[None]:
        calls.append((arguments, keywords))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    ws = WebSocket(make_scope(), Peer().receive, send)
    await ws.accept()
    await ws.send_text("x")
    await ws.send_bytes(b"y")
    await ws.close()
    assert [len(arguments) for arguments, _ in calls] == [1, 1, 1, 1]
    assert [keywords for _, keywords in calls] == [{}] * 4
    assert [arguments[0]["type"].split(".")[1] for arguments, _ in calls] == [
        "accept",
        "send",
        "send",
        "close",
    ]


class SlowPeer(Peer):
    """A peer whose `send` takes nothing more until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.send":
            await self.gate.wait()
        await super().send(message)


async def opened_slowly() -> tuple[WebSocket, SlowPeer]:
    peer = SlowPeer()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    return ws, peer


async def test_messages_go_out_in_the_order_of_the_calls() -> None:
    ws, peer = await opened_slowly()
    assert ws.send_nowait("0")
    waiting = asyncio.create_task(ws.send_text("1"))
    await turns()
    assert ws.send_nowait("2")
    last = asyncio.create_task(ws.send_text("3"))
    await turns()
    peer.gate.set()
    await soon(asyncio.gather(waiting, last))
    await turns()
    assert peer.data == ["0", "1", "2", "3"]


async def test_after_a_cancelled_send_the_connection_goes_on() -> None:
    ws, peer = await opened_slowly()
    waiting = asyncio.create_task(ws.send_text("cancelled"))
    await turns()
    waiting.cancel()
    await asyncio.wait((waiting,))
    peer.gate.set()
    await ws.send_text("next")
    assert peer.data == ["next"]
    await ws.close()
    assert peer.closes == [(1000, "")]


async def test_a_close_right_after_send_nowait_comes_after_the_message() -> None:
    ws, peer = await opened()
    assert ws.send_nowait("bye")
    await ws.close()
    assert peer.types == ["accept", "send", "close"]


async def test_what_send_nowait_left_is_buffered_and_goes_out_before_the_close() -> None:
    ws, peer = await opened_slowly()
    assert ws.buffered == 0
    assert ws.send_nowait("in the hands of the server")
    assert ws.send_nowait("abc")
    assert ws.send_nowait(b"de")
    assert ws.buffered == 5
    closing = asyncio.create_task(ws.close())
    await turns()
    assert peer.types == ["accept"]
    peer.gate.set()
    await soon(closing)
    assert peer.types == ["accept", "send", "send", "send", "close"]
    assert ws.buffered == 0
