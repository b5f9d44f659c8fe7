"""Accept and close, with Telex."""

from __future__ import annotations

from telex import App, WebSocket

app = App()


@app.websocket("/")
async def close(ws: WebSocket) -> None:
    await ws.accept()
    await ws.close()
