"""An object for an object with FastAPI, which leaves messages to the handler."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from apps.orders_pydantic import Order

app = FastAPI()


@app.websocket("/json")
async def orders(ws: WebSocket) -> None:
    await ws.accept()
    try:
        while True:
            data = Order.model_validate_json(await ws.receive_text())
            await ws.send_text(data.model_dump_json())
    except WebSocketDisconnect:
        pass
