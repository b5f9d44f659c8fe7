"""An object for an object with Telex: the loop that a listener saves."""

from __future__ import annotations

from apps.orders import Order
from telex import App, WebSocket

app = App()


@app.websocket("/json")
async def orders(ws: WebSocket) -> None:
    await ws.accept()
    async for data in ws.iter_as(Order):
        await ws.send_value(data)
