"""Read messages and say how long they are, with Telex. Without messages: idle connections."""

from __future__ import annotations

from telex import App, WebSocket

app = App()


@app.websocket("/")
async def measure(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_text():
        size = len(message)
        # A handler keeps the last message while it waits for the next one.
        del message
        await ws.send_text(str(size))
