"""An object for an object with msgspec and no framework: what the server alone takes."""

from __future__ import annotations

from typing import Any

from msgspec.json import Decoder, Encoder

from apps.orders import Order

decode = Decoder(Order).decode
encode = Encoder().encode


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Accept, and answer until the client has gone."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            await send({"type": message["type"] + ".complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        data = decode(message["text"])
        await send({"type": "websocket.send", "text": encode(data).decode()})
