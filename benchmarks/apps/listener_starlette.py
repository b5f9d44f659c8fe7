"""An object for an object with Starlette and msgspec by hand: no framework does it with less."""

from __future__ import annotations

from msgspec.json import Decoder, Encoder
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from apps.orders import Order

decode = Decoder(Order).decode
encode = Encoder().encode


async def orders(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(encode(decode(message)).decode())


app = Starlette(routes=[WebSocketRoute("/json", orders)])
