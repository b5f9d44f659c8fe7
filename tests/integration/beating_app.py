"""Applications with heartbeats, and their books: who ended how, which timers were set.

| path | heartbeat | what it does |
|---|---|---|
| `/` (HTTP) | | a page without anything |
| `/echo` | of the application | sends back what it gets; tells `latency` |
| `/waits` | of the application | waits for something that never comes |
| `/inherits` | `None`: of the application | as `/echo` |
| `/never` | `math.inf`: none | as `/echo` |
| `/patient` | of its own, long | as `/echo` |
| `/impatient` | of its own, with little time | as `/echo` |
| `/unasked` | pings of the protocol only | as `/echo` |
| `/accepted/echo` | of its application | as `/echo`, but a middleware accepts |
| `/calm/never` | its application has none | as `/echo` |
| `/calm/own` | of its own, its application has none | as `/echo` |
| `/blocks` | none | blocks the event loop for so many seconds |
| `/blocks-reading` | none | the same, where it may be called while sockets are read |
| `/books` | none | tells how somebody has ended, by name |
| `/timers` | none | counts timers for so many seconds |
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from telex import App, Heartbeat, WebSocket, WebSocketState

INTERVAL = 0.25
"""Seconds between pings."""
TIMEOUT = 0.4
"""Seconds for a sign of life."""
IMPATIENT = (1.2, 0.3)
"""A heartbeat with no more time than there is between two looks at those who were asked."""
GRACE = 0.2
"""Seconds a handler may go on after the end of its connection."""


class Accepts:
    async def on_handshake(self, ws: WebSocket) -> None:
        await ws.accept()


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse("<!doctype html><title>a page</title>")


app = App(
    http=Starlette(routes=[Route("/", page)]),
    heartbeat=(INTERVAL, TIMEOUT),
    disconnect_grace=GRACE,
)
calm = App(disconnect_grace=GRACE)
accepted = App(heartbeat=(INTERVAL, TIMEOUT), connection_middleware=[Accepts()])
app.mount("/calm", calm)
app.mount("/accepted", accepted)

ended: dict[str, dict[str, Any]] = {}


def in_the_books(ws: WebSocket) -> Callable[[], None]:
    def note() -> None:
        ended[ws.query_params["name"]] = {"code": ws.close_code, "by": ws.closed_by}

    return note


async def echo(ws: WebSocket) -> None:
    ws.add_cleanup(in_the_books(ws))
    if ws.application_state == WebSocketState.CONNECTING:
        await ws.accept()
    async for message in ws:
        await ws.send_text(json.dumps(ws.latency) if message == "latency" else str(message))


def echoing(to: App, path: str, **limits: Any) -> None:
    to.websocket(path, name=path, **limits)(echo)


echoing(app, "/echo")
echoing(app, "/inherits", heartbeat=None)
echoing(app, "/never", heartbeat=math.inf)
echoing(app, "/patient", heartbeat=(60, 60))
echoing(app, "/impatient", heartbeat=IMPATIENT)
echoing(app, "/unasked", heartbeat=Heartbeat(INTERVAL, TIMEOUT, ping=None))
echoing(accepted, "/echo")
echoing(calm, "/never")
echoing(calm, "/own", heartbeat=(INTERVAL, TIMEOUT))


@app.websocket("/waits")
async def waits(ws: WebSocket) -> None:
    ws.add_cleanup(in_the_books(ws))
    await ws.accept()
    await asyncio.Event().wait()


@app.websocket("/blocks", heartbeat=math.inf)
async def blocks(ws: WebSocket) -> None:
    async with ws:
        async for message in ws:
            time.sleep(float(message))  # noqa: ASYNC251 - it is what this is about
            await ws.send_text("done")


@app.websocket_listener("/blocks-reading", heartbeat=math.inf)
async def blocks_reading(data: float) -> str:
    time.sleep(data)  # noqa: ASYNC251
    return "done"


@app.websocket("/books", heartbeat=math.inf)
async def books(ws: WebSocket) -> None:
    async with ws:
        async for name in ws:
            await ws.send_json(ended.get(str(name)))


@app.websocket("/timers", heartbeat=math.inf)
async def timers(ws: WebSocket) -> None:
    async with ws:
        async for seconds in ws:
            await ws.send_json(await timers_of(float(seconds)))


async def timers_of(seconds: float) -> dict[str, int]:
    """Count what is told to the event loop to be called later."""
    loop = asyncio.get_running_loop()
    counted: Counter[str] = Counter()

    def call_later(delay: float, callback: Callable[..., object], *args: Any, **more: Any) -> Any:
        counted[getattr(callback, "__qualname__", repr(callback))] += 1
        return type(loop).call_later(loop, delay, callback, *args, **more)

    over = loop.create_future()
    loop.call_later(seconds, over.set_result, None)
    loop.call_later = call_later  # type: ignore[assignment, method-assign]
    try:
        await over
    finally:
        del loop.call_later
    return counted
