"""The FastAPI example over real uvicorn, both ways round."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from served import EXAMPLES, served

pytestmark = pytest.mark.integration
DEADLINE = 20.0


@pytest.mark.parametrize(("target", "prefix"), [("api", "/live"), ("app", "")])
async def test_http_and_websockets_share_one_server(target: str, prefix: str) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        served(f"in_fastapi:{target}", EXAMPLES) as host,
        httpx.AsyncClient(base_url=f"http://{host}", trust_env=False) as http,
    ):
        async with connect(f"ws://{host}{prefix}/rooms/lobby", proxy=None) as ws:
            await ws.send("hello")
            assert await ws.recv() == "lobby: hello"
            assert (await http.get("/people/lobby")).json() == 1
        assert (await http.get("/people/nobody")).json() == 0
        assert (await http.get("/docs")).status_code == 200
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://{host}{prefix}/nowhere", proxy=None)
        assert caught.value.response.status_code == 404
