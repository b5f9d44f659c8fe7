"""Handlers that cancel their reads all the time. What they received in the end, they tell."""

from __future__ import annotations

import asyncio
import random

from telex import App, WebSocket
from telex._source import AsgiSource
from telex.server._inbound import Inbound
from telex.websockets import link_of

ENOUGH = 1_000
"""Reads to be cancelled, at least."""
MESSAGES = 200
"""Messages to come in between, at least."""
ROUNDS = 300
"""Messages for two readers."""

app = App()


@app.websocket("/cancelled")
async def cancelled(ws: WebSocket) -> None:
    """Read with a patience of a few turns of the loop."""
    chance = random.Random(7)
    received: list[str] = []
    given_up = 0
    told = False
    async with ws:
        while not received or received[-1] != "end":
            reading = asyncio.ensure_future(ws.receive_text())
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            reading.cancel()
            try:
                received.append(await reading)
            except asyncio.CancelledError:
                given_up += 1
            if not told and given_up >= ENOUGH and len(received) >= MESSAGES:
                told = True
                await ws.send_text("enough")
        await ws.send_json({"received": received, "cancelled": given_up})


@app.websocket("/two-readers")
async def two_readers(ws: WebSocket) -> None:
    """Of two waiting readers cancel the first when it was woken and has not run yet."""
    received: list[str] = []
    caught = 0
    async with ws:
        source = link_of(ws).inbox.source

        def arrived() -> bool:
            if isinstance(source, AsgiSource):
                return source.pending > 0
            assert isinstance(source, Inbound)
            return bool(source._messages)

        for _ in range(ROUNDS):
            first = asyncio.ensure_future(ws.receive_text())
            second = asyncio.ensure_future(ws.receive_text())
            await asyncio.sleep(0)
            await ws.send_text("next")
            # Every turn is looked at: an event would come a turn too late.
            while not arrived() and not first.done():  # noqa: ASYNC110
                await asyncio.sleep(0)
            if first.cancel():
                caught += 1
                received.append(await second)
            else:
                received.append(first.result())
                second.cancel()
            await asyncio.wait([first, second])
        await ws.send_json({"received": received, "caught": caught})
