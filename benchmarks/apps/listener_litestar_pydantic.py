"""An object for an object with Litestar: a listener with a pydantic model."""

from __future__ import annotations

from litestar import Litestar, websocket_listener
from litestar.plugins.pydantic import PydanticDTO

from apps.orders_pydantic import Order


@websocket_listener("/json", dto=PydanticDTO[Order])
async def orders(data: Order) -> Order:
    return data


app = Litestar([orders])
