"""Echo with Kui, whose connection is a context variable."""

from __future__ import annotations

from kui.asgi import Kui, SocketRoute, websocket  # type: ignore[import-not-found]


async def text() -> None:
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message)


async def binary() -> None:
    await websocket.accept()
    async for message in websocket.iter_bytes():
        await websocket.send_bytes(message)


async def json() -> None:
    await websocket.accept()
    async for value in websocket.iter_json():
        await websocket.send_json(value)


app = Kui(
    routes=[
        SocketRoute("/text", text),
        SocketRoute("/binary", binary),
        SocketRoute("/json", json),
    ]
)
