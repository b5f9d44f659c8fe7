"""Cancelling reads loses no message, not even on Granian, whose own `receive` loses most."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import ClientConnection, connect

from integration import capabilities as table
from integration.calls import DEADLINE
from integration.impatient import ENOUGH, MESSAGES, ROUNDS
from integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def count_until_told(ws: ClientConnection) -> list[str]:
    """Send numbers until the server says that it is enough; return what was sent."""
    sent: list[str] = []
    told = asyncio.ensure_future(ws.recv())
    while not told.done():
        sent.append(str(len(sent)))
        await ws.send(sent[-1])
        # One by one: what comes in a bunch is read without waiting, and nothing is cancelled.
        await (await ws.ping())
    assert await told == "enough"
    sent.append("end")
    await ws.send("end")
    return sent


@pytest.mark.row("T4")
async def test_a_thousand_cancelled_reads_lose_and_reorder_nothing(
    quiet_server: Server,
) -> None:
    url = quiet_server.url("/impatient/cancelled")
    async with asyncio.timeout(DEADLINE), connect(url, proxy=None) as ws:
        sent = await count_until_told(ws)
        seen = json.loads(await ws.recv())
    assert seen["received"] == sent
    assert seen["cancelled"] >= ENOUGH
    assert len(sent) >= MESSAGES


@pytest.mark.row("T4")
async def test_the_second_reader_gets_what_the_first_was_woken_for(quiet_server: Server) -> None:
    url = quiet_server.url("/impatient/two-readers")
    sent: list[str] = []
    async with asyncio.timeout(DEADLINE), connect(url, proxy=None) as ws:
        while (told := await ws.recv()) == "next":
            sent.append(str(len(sent)))
            await ws.send(sent[-1])
    seen = json.loads(told)
    assert seen["received"] == sent
    assert len(sent) == ROUNDS
    assert seen["caught"] > 0


async def test_what_cancelling_loses_without_telex(quiet_server: Server) -> None:
    """Why Telex reads through a task of its own."""
    url = quiet_server.url("/bare/impatient")
    async with asyncio.timeout(DEADLINE), connect(url, proxy=None) as ws:
        sent = await count_until_told(ws)
        came_through = int(await ws.recv())
    if table.CANCELLED_RECEIVE.on(quiet_server) == "loses nothing":
        assert came_through == len(sent)
    else:
        assert came_through < len(sent)
