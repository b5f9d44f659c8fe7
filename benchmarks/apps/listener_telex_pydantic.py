"""An object for an object with Telex: a listener with a pydantic model."""

from __future__ import annotations

from apps.orders_pydantic import Order
from telex import App

app = App()


@app.websocket_listener("/json")
async def orders(data: Order) -> Order:
    return data
