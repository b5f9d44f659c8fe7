"""Live prices over real uvicorn: by WebSocket, as Server-Sent Events, and in a browser."""

from __future__ import annotations

import asyncio
import json
import re
from itertools import pairwise

import httpx
import pytest
from playwright.async_api import async_playwright, expect
from websockets.asyncio.client import connect

from integration.test_demo_browser import FLAGS, chromium
from served import EXAMPLES, served

pytestmark = pytest.mark.integration
DEADLINE = 20.0
STARTING = 50.0
"""The same, with a browser that has to be started."""


async def test_prices_come_over_websocket() -> None:
    async with asyncio.timeout(DEADLINE), served("prices:app", EXAMPLES) as host:
        async with connect(f"ws://{host}/prices/tea", proxy=None) as ws:
            prices = [json.loads(await ws.recv()) for _ in range(3)]
        assert {price["symbol"] for price in prices} == {"tea"}
        assert prices[0]["cents"] == 450
        assert all(abs(a["cents"] - b["cents"]) <= 20 for a, b in pairwise(prices))


async def test_the_same_prices_come_as_events() -> None:
    async with (
        asyncio.timeout(DEADLINE),
        served("prices:app", EXAMPLES) as host,
        httpx.AsyncClient(base_url=f"http://{host}", trust_env=False) as http,
    ):
        wanted = {"accept": "text/event-stream", "last-event-id": "7"}
        async with http.stream("GET", "/prices/tea", headers=wanted) as response:
            lines = response.aiter_lines()
            got = [await anext(lines) for _ in range(4)]
        assert got[0] == "id: 8"
        assert json.loads(got[1].removeprefix("data: ")) == {"symbol": "tea", "cents": 450}
        assert got[2:] == ["", "id: 9"]
        # Where nobody asks for events, the application beside it answers.
        assert (await http.get("/prices/tea")).status_code == 404
        assert "EventSource" in (await http.get("/")).text


@pytest.mark.browser
async def test_the_page_shows_both() -> None:
    executable = chromium()
    async with (
        asyncio.timeout(STARTING),
        served("prices:app", EXAMPLES) as host,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = await browser.new_page()
        await page.goto(f"http://{host}/")
        for symbol in ("tea", "coffee"):
            await expect(page.locator(f"#{symbol}")).to_have_text(re.compile(r"\d\.\d\d"))
        await browser.close()
