"""An object for an object with Litestar: a listener. Without the DTO it would be given a `dict`."""

from __future__ import annotations

from litestar import Litestar, websocket_listener
from litestar.dto import MsgspecDTO

from apps.orders import Order


@websocket_listener("/json", dto=MsgspecDTO[Order])
async def orders(data: Order) -> Order:
    return data


app = Litestar([orders])
