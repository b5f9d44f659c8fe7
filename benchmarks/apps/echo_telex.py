"""Echo with Telex."""

from __future__ import annotations

from telex import App, WebSocket

app = App()


@app.websocket("/text")
async def text(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(message)


@app.websocket("/binary")
async def binary(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_bytes():
        await ws.send_bytes(message)


@app.websocket("/json")
async def json(ws: WebSocket) -> None:
    await ws.accept()
    async for value in ws.iter_json():
        await ws.send_json(value)
