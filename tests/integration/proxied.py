"""The application behind nginx. `silent` has no heartbeat, `beating` one that nginx notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from telex import App, Reject, WebSocket

silent = App()
beating = App(heartbeat=(0.3, 5))


@silent.websocket("/echo")
@beating.websocket("/echo")
async def echo(ws: WebSocket) -> None:
    async with ws:
        async for message in ws:
            await ws.send_text(str(message))


@silent.websocket("/chat")
async def chat(ws: WebSocket) -> None:
    await ws.accept(subprotocol="chat.v2", headers={"x-room": "tea"})
    await ws.close(4000, "go to the other room")


@silent.websocket("/request")
async def request(ws: WebSocket) -> None:
    """Say what has arrived of the client's request."""
    client = None if ws.client is None else ws.client.host
    async with ws:
        await ws.send_text(json.dumps({"client": client, "url": str(ws.url), **ws.headers}))


@silent.websocket("/refuse")
async def refuse(ws: WebSocket) -> None:
    raise Reject(401, "log in first", {"x-why": "no token"})


@silent.websocket_stream("/news")
async def news() -> AsyncIterator[str]:
    yield "something happened"
    await asyncio.Event().wait()


@silent.websocket("/listen")
async def listen(ws: WebSocket) -> None:
    await ws.accept()
    async for _ in ws:
        pass
