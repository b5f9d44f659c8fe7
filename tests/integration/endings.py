"""Handlers that end in every way."""

from __future__ import annotations

import asyncio
from typing import Any

from telex import App, SocketView, WebSocket, WebSocketClose, websocket

app = App(disconnect_grace=0.3)
codes: asyncio.Queue[int] = asyncio.Queue()


@app.websocket("/returns")
async def returns(ws: WebSocket) -> None:
    await ws.accept()


@app.websocket("/fails")
async def fails(ws: WebSocket) -> None:
    await ws.accept()
    raise ValueError("the password is 1234")


@app.websocket("/nothing")
async def nothing(ws: WebSocket) -> None: ...


@app.websocket("/fails-early")
async def fails_early(ws: WebSocket) -> None:
    raise ValueError("the password is 1234")


app.websocket("/closes", name="closes")(WebSocketClose(code=1000, reason="done"))


@app.router.websocket("/ws")
async def ws_handler() -> None:
    await websocket.accept()
    async for data in websocket.iter_json():
        await websocket.send_json({"echo": data})


@app.router.websocket("/chat")
class ChatView(SocketView):
    encoding = "json"

    async def on_connect(self) -> None:
        await websocket.accept()

    async def on_receive(self, data: Any) -> None:
        await websocket.send_json({"echo": data})

    async def on_disconnect(self, close_code: int) -> None:
        codes.put_nowait(close_code)


@app.websocket("/busy")
class Busy(SocketView):
    async def on_connect(self) -> None:
        await self.websocket.accept()
        await asyncio.Event().wait()

    async def on_disconnect(self, close_code: int) -> None:
        codes.put_nowait(close_code)


@app.websocket("/codes")
async def tell(ws: WebSocket) -> None:
    async with ws:
        await ws.send_json(await codes.get())
