"""Whatever a client says goes to all, with Telex: `send_nowait` on each connection."""

from __future__ import annotations

from telex import App, WebSocket

app = App()

connections: set[WebSocket] = set()


@app.websocket("/")
async def join(ws: WebSocket) -> None:
    await ws.accept()
    connections.add(ws)
    try:
        async for message in ws.iter_text():
            for each in connections:
                each.send_nowait(message)
    finally:
        connections.discard(ws)
