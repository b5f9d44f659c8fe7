"""An application with little patience, and its books: who is connected, and how everybody ended.

| path | what it does |
|---|---|
| `/hub` | gets what one task sends to everybody with `send_nowait` |
| `/own` | gets the same from a task of its own, with `send_text` |
| `/direct` | the same from its handler, with `send_text` |
| `/waits` | waits for something that never comes |
| `/books` | tells the books |
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from telex import App, WebSocket, WebSocketHandshakeError
from telex._outbox import Outbox

GRACE = 1.0
"""Seconds a handler may go on after its client left."""
PATIENCE = 1.0
"""Seconds a client may take nothing."""
INTERVAL = 0.04
"""Seconds between two messages to everybody."""
PAYLOAD = "x" * 32 * 1024

listening: set[WebSocket] = set()
ended: list[dict[str, Any]] = []
here: dict[str, int] = {}


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    task = asyncio.create_task(broadcast())
    yield
    task.cancel()


async def broadcast() -> None:
    while True:
        for ws in [*listening]:
            ws.send_nowait(PAYLOAD)
        await asyncio.sleep(INTERVAL)


app = App(
    lifespan=lifespan,
    disconnect_grace=GRACE,
    outbox=Outbox(max_messages=32, policy="drop_oldest", timeout=PATIENCE),
)


@asynccontextmanager
async def booked(ws: WebSocket) -> AsyncIterator[None]:
    here[ws.path] = here.get(ws.path, 0) + 1
    try:
        yield
    finally:
        here[ws.path] -= 1
        end = {"path": ws.path, "at": time.monotonic(), "code": ws.close_code}
        ended.append({**end, "by": ws.closed_by, "queued": queued(ws), "dropped": ws.dropped})


def queued(ws: WebSocket) -> int:
    queue = ws._link.outlet.queue
    return 0 if queue is None else queue.buffered


@app.websocket("/hub")
async def hub(ws: WebSocket) -> None:
    await ws.accept()
    async with booked(ws):
        listening.add(ws)
        try:
            await ws.wait_closed()
        finally:
            listening.discard(ws)


@app.websocket("/own")
async def own(ws: WebSocket) -> None:
    await ws.accept()
    async with booked(ws):
        sender = asyncio.create_task(send_for_ever(ws))
        try:
            await ws.wait_closed()
        finally:
            done, _ = await asyncio.wait((sender,), timeout=5)
            assert done, "a sender waits for ever"


async def send_for_ever(ws: WebSocket) -> None:
    try:
        while True:
            await ws.send_text(PAYLOAD)
            await asyncio.sleep(INTERVAL)
    except WebSocketHandshakeError:
        pass


@app.websocket("/direct")
async def direct(ws: WebSocket) -> None:
    await ws.accept()
    async with booked(ws):
        await send_for_ever(ws)


@app.websocket("/waits")
async def waits(ws: WebSocket) -> None:
    await ws.accept()
    async with booked(ws):
        await asyncio.Event().wait()


def resident() -> int:
    """Bytes of memory of this process; 0 where there is no /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0


def open_files() -> int:
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.exists() else 0


@app.websocket("/books")
async def books(ws: WebSocket) -> None:
    async with ws:
        async for _ in ws:
            known = {"here": here, "ended": ended, "rss": resident(), "files": open_files()}
            await ws.send_json({**known, "tasks": len(asyncio.all_tasks())})
