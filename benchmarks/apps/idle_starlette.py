"""Read messages and say how long they are, with Starlette. Without messages: idle connections."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket


async def measure(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_text():
        size = len(message)
        # A handler keeps the last message while it waits for the next one.
        del message
        await ws.send_text(str(size))


app = Starlette(routes=[WebSocketRoute("/", measure)])
