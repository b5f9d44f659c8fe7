"""Live prices, over WebSocket or as Server-Sent Events. Needs `pip install sse-starlette`.

telex run prices:app --app-dir examples     # and open http://127.0.0.1:8000
telex connect ws://127.0.0.1:8000/prices/tea
curl -N -H 'Accept: text/event-stream' http://127.0.0.1:8000/prices/tea
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

import telex

page = FileResponse(Path(__file__).with_name("prices.html"))
app = telex.App(http=Starlette(routes=[Route("/", lambda request: page)]))


class Price(msgspec.Struct):
    symbol: str
    cents: int


@app.websocket_stream("/prices/{symbol}")
async def prices(symbol: str) -> AsyncIterator[Price]:
    cents = 450
    while True:  # ends where it waits, when the client leaves
        yield Price(symbol, cents)
        await asyncio.sleep(random.uniform(0.1, 1))
        cents = max(1, cents + random.randint(-20, 20))
