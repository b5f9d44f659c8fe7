"""Whatever a client says goes to all, with Starlette: the loop that everybody writes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

connections: list[WebSocket] = []


async def join(ws: WebSocket) -> None:
    await ws.accept()
    connections.append(ws)
    try:
        async for message in ws.iter_text():
            for each in connections.copy():
                await each.send_text(message)
    finally:
        connections.remove(ws)


app = Starlette(routes=[WebSocketRoute("/", join)])
