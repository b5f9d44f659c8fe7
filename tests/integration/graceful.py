"""An application for SIGTERM: handlers that listen, wait, hesitate, say goodbye, will not go."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

from telex import App, SocketView, WebSocket
from telex._types import Receive, Scope, Send
from telex.server import Server

DRAIN_TIMEOUT = 4.0
GRACE = 1.0
CLEANUP_TIMEOUT = 0.5

# So long that it is worth waiting for in earnest, and not in tests.
Server.cleanup_timeout = CLEANUP_TIMEOUT


def tell(what: str) -> None:
    # One write: there may be several processes.
    sys.stderr.write(f"<{what}>\n")


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    tell(f"lifespan of {os.getpid()} began")
    yield
    tell(f"lifespan over with {len(app.connections)} open")


async def http(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer after so many seconds as `?for=` says."""
    if scope["type"] != "http":
        raise RuntimeError("not known here")
    seconds = float(parse_qs(scope["query_string"].decode())["for"][0])
    tell("http begun")
    try:
        await asyncio.sleep(seconds)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
    except asyncio.CancelledError:
        tell("http cancelled")
        raise
    tell("http done")


app = App(drain_timeout=DRAIN_TIMEOUT, disconnect_grace=GRACE, lifespan=lifespan, http=http)


def clean_up_later(ws: WebSocket) -> None:
    async def clean_up() -> None:
        await asyncio.sleep(0)
        tell("cleaned up")

    ws.add_cleanup(clean_up)


@app.websocket("/listens")
class Listens(SocketView):
    async def on_connect(self) -> None:
        clean_up_later(self.websocket)
        await self.websocket.accept()

    async def on_receive(self, data: str) -> None:
        await self.websocket.send_text(data)

    async def on_disconnect(self, close_code: int) -> None:
        tell(f"on_disconnect {close_code}")


@app.websocket("/waits")
async def waits(ws: WebSocket) -> None:
    clean_up_later(ws)
    await ws.accept()
    try:
        await asyncio.Event().wait()
    finally:
        tell(f"waited until draining was {app.draining}")


@app.websocket("/hesitates")
async def hesitates(ws: WebSocket) -> None:
    clean_up_later(ws)
    tell("hesitates")
    await asyncio.Event().wait()


@app.websocket("/polite")
async def polite(ws: WebSocket) -> None:
    clean_up_later(ws)
    await ws.accept()
    await ws.wait_closing()
    await ws.send_text("goodbye")
    await asyncio.Event().wait()


@app.websocket_stream("/ticks")
async def ticks() -> AsyncIterator[str]:
    try:
        while True:
            yield "tick"
            await asyncio.sleep(0.1)
    finally:
        tell("stream closed")


@app.websocket("/stubborn")
async def stubborn(ws: WebSocket) -> None:
    await ws.accept()
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tell("stubborn")


@app.websocket("/slow")
async def slow(ws: WebSocket) -> None:
    """Take a while for the end, but end."""
    clean_up_later(ws)
    await ws.accept()
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(1.5 * GRACE)
