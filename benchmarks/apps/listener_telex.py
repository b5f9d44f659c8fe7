"""An object for an object with Telex: a listener."""

from __future__ import annotations

from apps.orders import Order
from telex import App

app = App()


@app.websocket_listener("/json")
async def orders(data: Order) -> Order:
    return data
