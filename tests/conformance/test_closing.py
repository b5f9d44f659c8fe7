"""Closing: what is sent, once, and what is refused."""

from __future__ import annotations

import asyncio
import inspect
from enum import IntEnum
from typing import Any

import pytest

from opened import connecting, left, opened, soon, state, turns
from peer import D, Peer, T, make_scope
from telex import (
    CloseCode,
    WebSocket,
    WebSocketDisconnect,
    WebSocketState,
)
from telex._types import Message


@pytest.mark.row("K27", "L44", "V19", "C5", "C69", "T36")
async def test_close_sends_code_and_reason_whatever_is_given() -> None:
    for arguments, keywords, expected in (
        ((), {}, (1000, "")),
        ((), {"code": 1000}, (1000, "")),
        ((4000,), {}, (4000, "")),
        ((4000, "bye"), {}, (4000, "bye")),
        ((), {"code": 4000, "reason": "bye"}, (4000, "bye")),
        ((), {"reason": None}, (1000, "")),
        ((1001, ""), {}, (1001, "")),
    ):
        ws, peer = await opened()
        await ws.close(*arguments, **keywords)
        code, reason = expected
        assert peer.sent[1:] == [{"type": "websocket.close", "code": code, "reason": reason}]
        assert type(peer.sent[1]["type"]) is str
        assert type(peer.sent[1]["code"]) is int
        assert type(peer.sent[1]["reason"]) is str


@pytest.mark.row("C5", "G21", "G24", "L44")
async def test_the_signature_of_close() -> None:
    parameters = inspect.signature(WebSocket.close).parameters
    assert list(parameters) == ["self", "code", "reason"]
    assert parameters["code"].default == 1000
    assert not parameters["reason"].default
    ws, peer = await opened()
    assert await ws.close(4000, "bye") is None  # type: ignore[func-returns-value]
    assert peer.closes == [(4000, "bye")]


async def test_after_close_the_connection_says_how_it_ended() -> None:
    ws, _ = await opened()
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (None, None, None)
    await ws.close(4000, "bye")
    assert ws.connection_state is WebSocketState.DISCONNECTED
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4000, "bye", "server")


# --- once ---


@pytest.mark.row("G22", "C3")
async def test_a_second_close_does_nothing_and_the_first_one_counts() -> None:
    ws, peer = await opened()
    await ws.close(4000, "first")
    await ws.close(4001, "second")
    await ws.close()
    assert peer.closes == [(4000, "first")]
    assert (ws.close_code, ws.close_reason) == (4000, "first")


@pytest.mark.row("G22", "C4", "T34")
async def test_close_after_the_peer_left_sends_nothing() -> None:
    for code in (1000, 1005, 1006):
        ws, peer = await left(code, "bye")
        await ws.close()
        await ws.close(code)
        assert peer.types == ["accept"]
        assert (ws.close_code, ws.close_reason, ws.closed_by) == (code, "bye", "client")


@pytest.mark.row("C4", "G22")
async def test_close_after_iterating_or_a_failed_send_sends_nothing() -> None:
    ws, peer = await opened(T("a"), D(1001))
    assert [text async for text in ws.iter_text()] == ["a"]
    await ws.close()
    assert peer.types == ["accept"]
    ws, peer = await opened()
    peer.fail_sends_with = OSError()
    with pytest.raises(WebSocketDisconnect):
        await ws.send_text("x")
    await ws.close()
    assert peer.types == ["accept"]


@pytest.mark.row("C4")
async def test_close_after_a_poll_found_the_end_sends_nothing() -> None:
    ws, peer = await opened(D(1001))
    assert await ws.is_disconnected()
    await ws.close(4000)
    assert peer.types == ["accept"]


@pytest.mark.row("C4", "G71")
async def test_after_a_poll_and_a_close_the_connection_is_over() -> None:
    ws, _ = await opened(D(4001, "bye"))
    assert await ws.is_disconnected()
    await ws.close()
    assert ws.connection_state is WebSocketState.DISCONNECTED
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4001, "bye", "client")


class SlowPeer(Peer):
    """A peer whose `send` takes no close until the gate is opened."""

    def __init__(self, *script: Message) -> None:
        super().__init__(*script)
        self.gate = asyncio.Event()

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.close":
            await self.gate.wait()
        await super().send(message)


@pytest.mark.row("T39")
async def test_of_two_tasks_that_close_at_once_one_does() -> None:
    ws, peer = await opened()
    await asyncio.gather(ws.close(4000), ws.close(4001), ws.close(4002))
    assert peer.closes == [(4000, "")]

    slow = SlowPeer()
    ws = WebSocket(make_scope(), slow.receive, slow.send)
    await ws.accept()
    first = asyncio.create_task(ws.close(4000))
    await turns()
    assert ws.connection_state is WebSocketState.DISCONNECTED
    await soon(ws.close(4001))
    assert slow.closes == []
    slow.gate.set()
    await soon(first)
    assert slow.closes == [(4000, "")]


@pytest.mark.row("T39")
async def test_a_close_that_fails_or_is_cancelled_stays_a_close() -> None:
    ws, peer = await opened()
    peer.fail_sends_with = KeyError("server bug")
    with pytest.raises(KeyError):
        await ws.close(4000)
    peer.fail_sends_with = None
    await ws.close()
    assert peer.types == ["accept"]
    assert ws.connection_state is WebSocketState.DISCONNECTED

    slow = SlowPeer()
    ws = WebSocket(make_scope(), slow.receive, slow.send)
    await ws.accept()
    closing = asyncio.create_task(ws.close(4000))
    await turns()
    closing.cancel()
    await asyncio.wait((closing,))
    assert closing.cancelled()
    await ws.close()
    assert state(ws) is WebSocketState.DISCONNECTED
    assert ws.close_code == 4000


@pytest.mark.row("T39", "C4")
async def test_a_peer_that_leaves_during_the_close_is_no_error() -> None:
    ws, peer = await opened()
    peer.fail_sends_with = ConnectionResetError()
    await ws.close()
    assert ws.connection_state is WebSocketState.DISCONNECTED
    ws, peer = await opened(T("a"), D(1001))
    await ws.receive_text()
    await turns()
    peer.fail_sends_with = RuntimeError("the server has closed already")
    await ws.close()
    assert ws.connection_state is WebSocketState.DISCONNECTED


# --- codes ---


class Private(IntEnum):
    OURS = 4242


@pytest.mark.row("C65")
@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1014, 3000, 3999, 4000, 4999]
)
async def test_a_code_that_may_be_sent_is_sent(code: int) -> None:
    ws, peer = await opened()
    await ws.close(code)
    assert peer.closes == [(code, "")]


@pytest.mark.row("C65", "C69")
async def test_a_member_of_an_enum_is_sent_as_an_int() -> None:
    for code in (Private.OURS, CloseCode.GOING_AWAY):
        ws, peer = await opened()
        await ws.close(code)
        assert type(peer.sent[1]["code"]) is int
        assert peer.closes == [(int(code), "")]


@pytest.mark.row("C65")
@pytest.mark.parametrize(
    "code",
    [
        *(-1, 0, 500, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65536),
        *(True, False, 1000.0, "1000", None),
    ],
)
async def test_a_code_that_may_not_be_sent_is_refused_and_the_connection_stays(code: Any) -> None:
    ws, peer = await opened()
    with pytest.raises(ValueError):
        await ws.close(code)
    assert peer.types == ["accept"]
    assert ws.connection_state is WebSocketState.CONNECTED
    await ws.send_text("still open")
    await ws.close()
    assert peer.closes == [(1000, "")]


# --- reasons ---


@pytest.mark.row("C65", "T35")
@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("a" * 123, "a" * 123),
        ("a" * 124, "a" * 123),
        ("é" * 100, "é" * 61),
        ("a" + "€" * 60, "a" + "€" * 40),
        ("\U0001f600" * 40, "\U0001f600" * 30),
        ("x\ud800y", "x?y"),
        ("\0", "\0"),
    ],
)
async def test_a_reason_is_cut_on_a_character_and_can_always_be_encoded(
    reason: str, sent: str
) -> None:
    ws, peer = await opened()
    await ws.close(4000, reason)
    assert peer.closes == [(4000, sent)]
    assert len(sent.encode()) <= 123
    assert ws.close_reason == sent


@pytest.mark.row("T35", "T36")
async def test_a_reason_needs_no_code_and_none_is_empty() -> None:
    ws, peer = await opened()
    await ws.close(reason="bye")
    assert peer.closes == [(1000, "bye")]
    ws, peer = connecting()
    await ws.close(reason=None)
    assert peer.closes == [(1000, "")]


@pytest.mark.row("C65", "T35")
@pytest.mark.parametrize("reason", [b"bye", 1, ["bye"]])
async def test_a_reason_that_is_no_text_is_refused(reason: Any) -> None:
    ws, peer = await opened()
    with pytest.raises(ValueError):
        await ws.close(4000, reason)
    assert peer.types == ["accept"]
    assert ws.connection_state is WebSocketState.CONNECTED


# --- the other ways to end ---


async def test_abort_over_plain_asgi_closes_with_1001() -> None:
    ws, peer = await opened()
    await ws.abort()
    assert peer.closes == [(1001, "")]
    assert ws.connection_state is WebSocketState.DISCONNECTED
    await ws.abort()
    assert len(peer.closes) == 1


@pytest.mark.parametrize("trouble", ["a denial is being sent", "the server refuses the close"])
async def test_abort_is_best_effort_and_never_raises(trouble: str) -> None:
    if trouble == "a denial is being sent":
        ws, peer = connecting(denial=True)
        await ws.send({"type": "websocket.http.response.start", "status": 403, "headers": []})
    else:
        ws, peer = await opened()
        peer.fail_sends_with = KeyError("server bug")
    await ws.abort()
    assert ws.connection_state is WebSocketState.DISCONNECTED


async def test_abort_does_not_wait_for_what_is_queued() -> None:
    class Stuck(Peer):
        async def send(self, message: Message) -> None:
            if message["type"] == "websocket.send":
                await asyncio.Event().wait()
            await super().send(message)

    peer = Stuck()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    assert ws.send_nowait("x")
    await turns()
    await soon(ws.abort())
    assert peer.types == ["accept", "close"]


async def test_a_close_that_is_cancelled_behind_the_queue_is_sent_all_the_same() -> None:
    class Gate(Peer):
        def __init__(self) -> None:
            super().__init__()
            self.gate = asyncio.Event()

        async def send(self, message: Message) -> None:
            if message["type"] == "websocket.send":
                await self.gate.wait()
            await super().send(message)

    peer = Gate()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    assert ws.send_nowait("x")
    closing = asyncio.create_task(ws.close(4000))
    await turns()
    closing.cancel()
    await asyncio.wait((closing,))
    peer.gate.set()
    await turns()
    await ws.close()
    assert peer.types == ["accept", "send", "close"]
