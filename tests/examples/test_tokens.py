"""The language model that can be stopped, over real uvicorn."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from served import EXAMPLES, served

pytestmark = pytest.mark.integration
DEADLINE = 20.0
PROMPT = {"type": "prompt", "text": "green tea"}


async def say(ws: ClientConnection, message: Any) -> None:
    await ws.send(json.dumps(message))


async def hears(ws: ClientConnection) -> Any:
    return json.loads(await ws.recv())


def token(text: str) -> dict[str, str]:
    return {"type": "token", "text": text}


async def test_words_come_until_the_user_says_stop() -> None:
    async with asyncio.timeout(DEADLINE), served("tokens:app", EXAMPLES) as host:
        async with connect(f"ws://{host}/chat", proxy=None) as ws:
            await say(ws, PROMPT)
            assert [await hears(ws) for _ in range(3)] == [*map(token, ("green", "tea", "green"))]
            await say(ws, {"type": "stop"})
            while (message := await hears(ws)) != {"type": "stopped"}:
                assert message["type"] == "token"
            # Nothing of the old answer comes behind that, so the next word is of the new one.
            await say(ws, {"type": "prompt", "text": "black"})
            assert await hears(ws) == token("black")
        assert ws.close_code == 1000


async def test_a_new_question_stops_the_old_answer() -> None:
    async with (
        asyncio.timeout(DEADLINE),
        served("tokens:app", EXAMPLES) as host,
        connect(f"ws://{host}/chat", proxy=None) as ws,
    ):
        await say(ws, PROMPT)
        await say(ws, {"type": "prompt", "text": "coffee"})
        while await hears(ws) != {"type": "stopped"}:
            pass
        assert await hears(ws) == token("coffee")
