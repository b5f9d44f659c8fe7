"""ASGI applications of one function each, with nothing of Telex but the class, or not even that.

The first three are examples of the documented systems, as they stand there.
"""

from __future__ import annotations

import asyncio
import random

from integration.impatient import ENOUGH
from integration.journal import Journal
from telex import WebSocket
from telex._types import ASGIApp, Receive, Scope, Send


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    websocket = WebSocket(scope=scope, receive=receive, send=send)
    await websocket.accept()
    await websocket.send_json({"message": "Hello, world!"}, mode="binary")
    await websocket.close()


async def iterate(scope: Scope, receive: Receive, send: Send) -> None:
    websocket = WebSocket(scope=scope, receive=receive, send=send)
    await websocket.accept()

    async for message in websocket.iter_json():
        data = {"message": f"Message text was: {message}"}
        await websocket.send_json(data, mode="binary")
    await websocket.close()


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    ws = WebSocket(scope, receive, send)
    await ws.accept()
    message = await ws.receive_text()
    await ws.send_text(f"Echo: {message}")
    await ws.close()


async def wait_inside(scope: Scope, receive: Receive, send: Send) -> None:
    async with WebSocket(scope, receive, send) as ws:
        await ws.receive_text()


async def impatient(scope: Scope, receive: Receive, send: Send) -> None:
    """Cancel reads of the server's own `receive`; tell how many messages came through."""
    await receive()
    await send({"type": "websocket.accept"})
    chance = random.Random(7)
    received: list[str] = []
    given_up = 0
    while given_up < 5 * ENOUGH:
        reading = asyncio.ensure_future(receive())
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        reading.cancel()
        try:
            received.append((await reading)["text"])
        except asyncio.CancelledError:
            given_up += 1
    await send({"type": "websocket.send", "text": "enough"})
    while received[-1:] != ["end"]:
        received.append((await receive())["text"])
    await send({"type": "websocket.send", "text": str(len(received))})
    await send({"type": "websocket.close"})


APPS: dict[str, ASGIApp] = {
    "/bare/hello": hello,
    "/bare/iterate": iterate,
    "/bare/answer": answer,
    "/bare/wait-inside": wait_inside,
    "/bare/impatient": impatient,
}
"""By path."""


async def run_bare(journal: Journal, scope: Scope, receive: Receive, send: Send) -> None:
    """Run one of them and write down whether it raised; the server gets the exception too."""
    try:
        await APPS[scope["path"]](scope, receive, send)
    except BaseException as exc:
        kinds = [cls.__name__ for cls in type(exc).__mro__]
        journal.write(scope, "left", error=type(exc).__name__, kinds=kinds, text=str(exc))
        raise
    journal.write(scope, "left", error=None)
