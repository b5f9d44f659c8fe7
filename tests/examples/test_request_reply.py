"""Questions and answers in both directions, over real uvicorn."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from served import EXAMPLES, served

pytestmark = pytest.mark.integration
DEADLINE = 20.0


async def say(ws: ClientConnection, **message: Any) -> None:
    await ws.send(json.dumps(message))


async def hears(ws: ClientConnection) -> Any:
    return json.loads(await ws.recv())


async def test_the_server_asks_first_and_the_client_asks_then() -> None:
    async with asyncio.timeout(DEADLINE), served("request_reply:app", EXAMPLES) as host:
        async with connect(f"ws://{host}/work", proxy=None) as ws:
            question = await hears(ws)
            assert question["question"] == "your name?"
            await say(ws, type="count", to=1, ref=1)  # kept until the question is answered
            await say(ws, name="Ada", ref=question["ref"])
            assert await hears(ws) == {"ref": 1, "counted": 1, "for": "Ada"}
        assert ws.close_code == 1000


async def test_work_can_be_cancelled_and_a_late_cancel_does_no_harm() -> None:
    async with asyncio.timeout(DEADLINE), served("request_reply:app", EXAMPLES) as host:
        async with connect(f"ws://{host}/work", proxy=None) as ws:
            await say(ws, name="Ada", ref=(await hears(ws))["ref"])
            await say(ws, type="count", to=10_000, ref=1)
            await say(ws, type="count", to=10_000, ref=1)
            assert (await hears(ws))["error"] == "a task with ref 1 is running already"
            for _ in range(2):
                await say(ws, type="cancel", ref=1)
            assert await hears(ws) == {"ref": 1, "cancelled": True}
            await say(ws, type="count", to=0, ref=2)
            assert await hears(ws) == {"ref": 2, "counted": 0, "for": "Ada"}
            await say(ws, type="count", to=10_000, ref=3)  # ends with the connection
        assert ws.close_code == 1000
