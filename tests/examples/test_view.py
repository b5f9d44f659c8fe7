"""The class example over real uvicorn."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from served import EXAMPLES, served

pytestmark = pytest.mark.integration
DEADLINE = 20.0


async def answer(ws: ClientConnection) -> Any:
    return json.loads(await ws.recv())


async def test_votes_count_in_total_once_the_voter_has_left() -> None:
    async with asyncio.timeout(DEADLINE), served("view:app", EXAMPLES) as host:
        url = f"ws://{host}/votes"
        async with connect(url, proxy=None) as ada:
            assert await answer(ada) == {"total": {}}
            await ada.send('["Ada", "Grace", "Ada"]')
            assert await answer(ada) == {"mine": {"Ada": 2, "Grace": 1}}
            await ada.send('{"Ada": 1000}')
            assert await answer(ada) == {"error": "expected a list of names"}
            async with connect(url, proxy=None) as grace:
                assert await answer(grace) == {"total": {}}
        total: Any = {}
        while not total:  # the first stay ends on the server a moment after it ended here
            async with connect(url, proxy=None) as ada:
                total = (await answer(ada))["total"]
        assert total == {"Ada": 2, "Grace": 1}


async def test_malformed_json_closes_with_1003() -> None:
    async with asyncio.timeout(DEADLINE), served("view:app", EXAMPLES) as host:
        async with connect(f"ws://{host}/votes", proxy=None) as ws:
            await answer(ws)
            await ws.send("not json")
            with pytest.raises(ConnectionClosedError):
                await ws.recv()
        assert (ws.close_code, ws.close_reason) == (1003, "expected json")
