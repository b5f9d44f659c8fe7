"""The part of a connection that moves messages. What it promises of each call is in
`conformance/test_receiving.py`, `test_iterating.py` and `test_sending.py`; here is what is left.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from channel import connecting_over
from opened import opened, turns
from peer import B, T
from telex import Outbox, WebSocketDisconnect, WebSocketFrameError
from telex._settings import SETTINGS_KEY, Settings
from telex.exceptions import WebSocketModeError

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
    ws, channel = connecting_over("asgi", **settings)
    await ws.accept()
    channel.block()
    assert ws.send_nowait("in the hands of the server")
    assert [ws.send_nowait(str(n)) for n in range(4)] == [True, True, False, False]
    channel.unblock()
    await turns()
    assert channel.data[1:] == ["0", "1"]
    assert ws.send_nowait("later") is True
    assert channel.data[1:] == ["0", "1", "later"]


async def test_a_queued_message_that_finds_the_peer_gone_ends_the_connection() -> None:
    ws, peer = await opened()
    peer.fail_sends_with = OSError()
    assert ws.send_nowait("x") is True
    assert ws.close_code is None
    await turns()
    assert ws.close_code == 1006
    assert ws.send_nowait("y") is False
    with pytest.raises(WebSocketDisconnect):
        await ws.send_text("z")
