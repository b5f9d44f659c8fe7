"""Echo with Lilya."""

from __future__ import annotations

from lilya.apps import Lilya  # type: ignore[import-not-found]
from lilya.routing import WebSocketPath  # type: ignore[import-not-found]
from lilya.websockets import WebSocket  # type: ignore[import-not-found]


async def text(websocket: WebSocket) -> None:
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message)


async def binary(websocket: WebSocket) -> None:
    await websocket.accept()
    async for message in websocket.iter_bytes():
        await websocket.send_bytes(message)


async def json(websocket: WebSocket) -> None:
    await websocket.accept()
    async for value in websocket.iter_json():
        await websocket.send_json(value)


app = Lilya(
    routes=[
        WebSocketPath("/text", text),
        WebSocketPath("/binary", binary),
        WebSocketPath("/json", json),
    ]
)
