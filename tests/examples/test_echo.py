"""The smallest example over real uvicorn."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from served import EXAMPLES, served

pytestmark = pytest.mark.integration
DEADLINE = 20.0


async def test_text_and_binary_come_back_as_they_went() -> None:
    async with asyncio.timeout(DEADLINE), served("echo:app", EXAMPLES) as host:
        async with connect(f"ws://{host}/echo", proxy=None) as ws:
            for message in ("hello", "", "π", b"\x00\xff"):
                await ws.send(message)
                assert await ws.recv() == message
        assert ws.close_code == 1000


async def test_a_stopping_server_says_so_to_who_is_still_there() -> None:
    async with asyncio.timeout(DEADLINE):
        async with served("echo:app", EXAMPLES) as host:
            ws = await connect(f"ws://{host}/echo", proxy=None)
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
        assert ws.close_code == 1012
