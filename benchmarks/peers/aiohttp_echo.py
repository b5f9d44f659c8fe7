"""Echo with aiohttp's own server, on uvloop. Prints its port."""

from __future__ import annotations

import asyncio

import uvloop
from aiohttp import WSMsgType, web


async def plain(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(compress=False)
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


async def json(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(compress=False)
    await ws.prepare(request)
    async for message in ws:
        await ws.send_json(message.json())
    return ws


async def serve() -> None:
    """Serve until told to stop."""
    app = web.Application()
    app.add_routes([web.get("/text", plain), web.get("/binary", plain), web.get("/json", json)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
