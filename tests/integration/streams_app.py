"""Streams that count their generators, and a route that tells how many are left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import types
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse

from telex import App, CloseCode, StreamEvent, WebSocket
from telex._types import Receive, Scope, Send

Generator = AsyncGenerator[Any, None]

counts = {"begun": 0, "ended": 0, "yielded": 0}


@contextlib.asynccontextmanager
async def counted() -> AsyncIterator[None]:
    counts["begun"] += 1
    try:
        yield
    finally:
        try:
            # A clean-up that takes its time; of one that is at its end the client may leave too.
            await asyncio.sleep(0.001)
        finally:
            counts["ended"] += 1


def unfinished() -> int:
    """Count the generators of streams that are not at their end."""
    gc.collect()
    return sum(
        isinstance(each, types.AsyncGeneratorType)
        and each.__qualname__ in ("waits", "ticks", "pours", "numbers")
        and each.ag_frame is not None
        for each in gc.get_objects()
    )


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell what there is, or count anew; on any other path, be a page for a browser."""
    if scope["path"] not in ("/counts", "/anew"):
        await PlainTextResponse("a page")(scope, receive, send)
        return
    if scope["path"] == "/anew" and counts["begun"] == counts["ended"]:
        counts.update(dict.fromkeys(counts, 0))
    tasks = sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())  # type: ignore[union-attr]
    told = {**counts, "generators": unfinished(), "tasks": tasks}
    await JSONResponse(told)(scope, receive, send)


app = App(http=page)


@app.websocket_stream("/waits")
async def waits() -> Generator:
    async with counted():
        yield "first"
        await asyncio.Event().wait()


@app.websocket_stream("/ticks")
async def ticks() -> Generator:
    async with counted():
        while True:
            yield "tick"
            await asyncio.sleep(0.005)


@app.websocket_stream("/pours")
async def pours() -> Generator:
    async with counted():
        while True:
            counts["yielded"] += 1
            yield "x" * 10_000


@app.websocket_stream("/numbers/{n:int}")
async def numbers(n: int) -> Generator:
    async with counted():
        for i in range(1, n + 1):
            yield {"n": i} if i % 2 else StreamEvent({"n": i}, event="even", retry=50)


@app.websocket_stream("/cut")
async def cut(ws: WebSocket) -> Generator:
    """Three items at a time; then the client is to come back."""
    for _ in range(3):
        yield StreamEvent("item", retry=50)
    await ws.close(CloseCode.SERVICE_RESTART)
