"""Accept and close, with Starlette."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket


async def close(ws: WebSocket) -> None:
    await ws.accept()
    await ws.close()


app = Starlette(routes=[WebSocketRoute("/", close)])
