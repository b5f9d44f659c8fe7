"""What the Autobahn cases are run against: every message comes back, as what it was.

Twice: an ASGI application without any of Telex, and a handler, which on Telex's own server reads
and writes through the frame channel.
"""

from __future__ import annotations

import telex
from telex._types import Receive, Scope, Send


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo over plain ASGI."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


app = telex.App()


@app.websocket("/telex")
async def echo(ws: telex.WebSocket) -> None:
    """Echo with a handler."""
    await ws.accept()
    async for message in ws:
        if isinstance(message, str):
            await ws.send_text(message)
        else:
            await ws.send_bytes(message)


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    """Both: the first on `/asgi`, the second on `/telex`."""
    if scope["type"] == "websocket" and scope["path"] == "/asgi":
        await asgi(scope, receive, send)
    else:
        await app(scope, receive, send)
