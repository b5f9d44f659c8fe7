"""Echo over the frame channel of Telex's server: one future for each message, no framework.

What any coroutine on that protocol class must cost. Without a frame channel it closes at once.
"""

from __future__ import annotations

import json
from typing import Any

from telex._types import FRAMES_EXTENSION, FrameChannel, Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, and echo by the path, until the client has gone."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            await send({"type": message["type"] + ".complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    channel: FrameChannel | None = scope["extensions"].get(FRAMES_EXTENSION)
    if channel is None:
        await send({"type": "websocket.close", "code": 1011, "reason": "no frame channel"})
    elif scope["path"] == "/json":
        await _json(channel)
    else:
        await _plain(channel)


async def _plain(channel: FrameChannel) -> None:
    while True:
        data = channel.poll()
        if data is None:
            if channel.closed is not None:
                return
            await channel.wait()
        elif isinstance(data, str):
            channel.write_text(data)
        else:
            channel.write_bytes(data)


async def _json(channel: FrameChannel) -> None:
    while True:
        data = channel.poll()
        if data is None:
            if channel.closed is not None:
                return
            await channel.wait()
        else:
            value: Any = json.loads(data)
            channel.write_text(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
