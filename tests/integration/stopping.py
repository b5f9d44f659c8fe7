"""Handlers of every habit, which print how they end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from telex import App, SocketView, WebSocket, websocket
from telex._types import Receive, Scope, Send
from telex.context import current
from telex.lifecycle import Endpoint


def tell(what: str) -> None:
    sys.stderr.write(f"<{what}>\n")


def noted(endpoint: Endpoint) -> Endpoint:
    async def run() -> None:
        name = current.get().path.strip("/")

        async def clean_up() -> None:
            await asyncio.sleep(0)
            tell(f"{name} cleaned up")

        current.get().add_cleanup(clean_up)
        tell(f"{name} runs")
        try:
            await endpoint()
        except BaseException as exc:
            tell(f"{name} left by {type(exc).__name__}")
            raise
        else:
            tell(f"{name} returned")

    return run


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    yield
    tell("lifespan over")


app = App(disconnect_grace=0.3, socket_middlewares=[noted], lifespan=lifespan)
patient = App(disconnect_grace=None, socket_middlewares=[noted])


@app.websocket("/iterates")
async def iterates(ws: WebSocket) -> None:
    async with ws:
        async for message in ws:
            await ws.send_text(str(message))


@app.websocket("/receives")
async def receives(ws: WebSocket) -> None:
    await ws.accept()
    await ws.receive_text()


@app.websocket("/view")
class View(SocketView):
    async def on_disconnect(self, close_code: int) -> None:
        tell(f"on_disconnect {close_code} in {websocket.path}")


@app.websocket("/sends")
async def sends(ws: WebSocket) -> None:
    await ws.accept()
    while True:
        await ws.send_text("tick")
        await asyncio.sleep(0.01)


@app.websocket("/sleeps")
@patient.websocket("/sleeps-on")
async def sleeps(ws: WebSocket) -> None:
    await ws.accept()
    await asyncio.Event().wait()


@app.websocket("/hesitates")
async def hesitates(ws: WebSocket) -> None:
    await asyncio.Event().wait()


@patient.websocket("/viewed")
class PatientView(View):
    async def on_connect(self) -> None:
        await self.websocket.accept()
        await asyncio.Event().wait()


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    """Without the watch for two paths, with it for the others."""
    unwatched = scope.get("path") in ("/sleeps-on", "/viewed")
    await (patient if unwatched else app)(scope, receive, send)
