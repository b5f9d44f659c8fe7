"""The part of a connection that moves messages. What it promises of each call is in
`conformance/test_receiving.py`, `test_iterating.py` and `test_sending.py`; here is what is left.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from opened import connecting, opened, soon, turns
from peer import B, D, T
from telex import Outbox, WebSocketDisconnect, WebSocketFrameError, WebSocketRuntimeError
from telex._iterator import MessageIterator
from telex._settings import SETTINGS_KEY, Settings
from telex.exceptions import WebSocketModeError

# --- the iterator ---


@pytest.mark.row("T15")
async def test_an_iterator_is_a_small_object_that_holds_no_message() -> None:
    ws, peer = await opened(T("a"), T("b"))
    for iterator in (ws.iter_text(), ws.iter_bytes(), ws.iter_json(), aiter(ws)):
        assert isinstance(iterator, MessageIterator)
        assert isinstance(iterator, AsyncIterator)
        assert not hasattr(iterator, "__dict__")
    abandoned = ws.iter_text()
    assert await anext(abandoned) == "a"
    del abandoned
    gc.collect()
    assert await ws.receive_text() == "b"
    assert peer.reads == 3


@pytest.mark.row("T15")
async def test_iterators_of_different_kinds_take_turns_on_one_stream() -> None:
    ws, _ = await opened(T("a"), B(b"b"), T("3"), T("d"), D(1001))
    texts, data, values, anything = ws.iter_text(), ws.iter_bytes(), ws.iter_json(), aiter(ws)
    assert [await anext(texts), await anext(data), await anext(values)] == ["a", b"b", 3]
    assert await anext(anything) == "d"
    for iterator in (texts, data, values, anything):
        with pytest.raises(StopAsyncIteration):
            await soon(anext(iterator))
    for iterator in (texts, data, values, anything):
        with pytest.raises(WebSocketDisconnect):
            await soon(anext(iterator))


@pytest.mark.row("T15")
async def test_two_tasks_may_share_one_iterator() -> None:
    ws, peer = await opened()
    shared = ws.iter_text()
    waiting = [asyncio.ensure_future(anext(shared)) for _ in range(3)]
    await turns()
    peer.feed(T("a"), T("b"), T("c"))
    assert await soon(asyncio.gather(*waiting)) == ["a", "b", "c"]


async def test_an_iterator_begun_before_accept_works_after_it() -> None:
    ws, _ = connecting(T("a"))
    texts = ws.iter_text()
    with pytest.raises(WebSocketRuntimeError):
        await anext(texts)
    await ws.accept()
    assert await anext(texts) == "a"


async def test_a_default_for_anext_covers_the_end() -> None:
    ws, _ = await opened(D(1001))
    assert await anext(ws.iter_text(), "end") == "end"


async def test_our_close_ends_an_iterator_that_has_seen_the_peers_end_as_well() -> None:
    ws, peer = await opened()
    await ws.close(4000)
    peer.feed(D(1005))
    await ws.receive()
    assert [message async for message in ws] == []


# --- error texts ---


async def test_errors_say_what_came_without_repeating_it() -> None:
    ws, _ = await opened(B(b"secret"), T("secret"), T("secret"))
    with pytest.raises(WebSocketFrameError, match="expected a text message, got 6 bytes"):
        await ws.receive_text()
    with pytest.raises(WebSocketFrameError, match="expected a binary message, got 6 characters"):
        await ws.receive_bytes()
    with pytest.raises(json.JSONDecodeError) as raised:
        await ws.receive_json()
    assert "secret" not in str(raised.value)


async def test_errors_of_arguments_name_the_type() -> None:
    ws, _ = await opened()
    with pytest.raises(TypeError, match="expected str, got bytes"):
        await ws.send_text(b"x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected bytes, got str"):
        await ws.send_bytes("x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'\\ud800' at position 2"):
        await ws.send_text("ab\ud800")
    with pytest.raises(WebSocketModeError, match="'text' or 'binary', not 'x'"):
        await ws.receive_json(mode="x")  # type: ignore[arg-type]


# --- send_nowait ---


@pytest.mark.parametrize("data", ["text", b"binary", bytearray(b"array"), memoryview(b"view")])
async def test_send_nowait_sends_text_or_binary_by_type(
    data: str | bytes | bytearray | memoryview,
) -> None:
    ws, peer = await opened()
    assert ws.send_nowait(data) is True
    await turns()
    sent = data if isinstance(data, str) else bytes(data)
    assert peer.sent[1:] == [
        {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": sent}
    ]


async def test_what_does_not_fit_into_the_outbox_is_dropped_and_the_caller_learns_of_it() -> None:
    settings: dict[str, Any] = {
        SETTINGS_KEY: Settings(outbox=Outbox(max_messages=2, policy="drop_newest"))
    }
    ws, peer = connecting(**settings)
    await ws.accept()
    assert [ws.send_nowait(str(n)) for n in range(4)] == [True, True, False, False]
    await turns()
    assert peer.data == ["0", "1"]
    assert ws.send_nowait("later") is True
    await turns()
    assert peer.data == ["0", "1", "later"]


async def test_a_queued_message_that_finds_the_peer_gone_ends_the_connection() -> None:
    ws, peer = await opened()
    assert ws.send_nowait("x") is True
    peer.fail_sends_with = OSError()
    await turns()
    assert ws.close_code == 1006
    assert ws.send_nowait("y") is False
    with pytest.raises(WebSocketDisconnect):
        await ws.send_text("z")
