"""Whatever a client says goes to all, with Litestar's channels, in memory."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect


@websocket("/")
async def join(socket: WebSocket[Any, Any, Any], channels: ChannelsPlugin) -> None:
    await socket.accept()
    async with (
        channels.start_subscription(["all"]) as subscriber,
        subscriber.run_in_background(socket.send_text),
    ):
        try:
            while True:
                channels.publish(await socket.receive_text(), "all")
        except WebSocketDisconnect:
            pass


app = Litestar([join], plugins=[ChannelsPlugin(MemoryChannelsBackend(), channels=["all"])])
