"""The check of the origin in a real Chromium, which sends cookies along for any page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

from integration.servers import KINDS, Server, running
from integration.test_demo_browser import FLAGS, STEP, chromium

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.timeout(180)]

KIND = KINDS["uvicorn websockets-sansio"]

CONNECT = """(url) => new Promise((resolve) => {
  const ws = new WebSocket(url);
  ws.onmessage = (event) => resolve(`hello ${event.data}`);
  ws.onclose = (event) => resolve(`closed with ${event.code}`);
})"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    executable = chromium()
    async with asyncio.timeout(150), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


async def opened(context: Any, server: Server) -> Page:
    """Open the page of a server, which sets the cookie for all ports of the host."""
    page: Page = await context.new_page()
    page.set_default_timeout(STEP)
    await page.goto(server.url("/", "http"))
    return page


@pytest.mark.row("T76")
async def test_chromium_connects_from_the_own_page_and_from_no_other(browser: Browser) -> None:
    with (
        running(KIND, "integration.origins:default") as ours,
        running(KIND, "integration.origins:default") as foreign,
    ):
        context = await browser.new_context()
        own_page = await opened(context, ours)
        assert await own_page.evaluate(CONNECT, ours.url("/who")) == "hello ada"
        foreign_page = await opened(context, foreign)
        assert await foreign_page.evaluate(CONNECT, ours.url("/who")) == "closed with 1006"
        origin, here = (each.url("", "http") for each in (foreign, ours))
        assert f"the origin {origin!r} and this server is {here!r}" in ours.output
        # It was the origin, not the page: at home it may.
        assert await foreign_page.evaluate(CONNECT, foreign.url("/who")) == "hello ada"
        await foreign_page.close()
        assert await own_page.evaluate(CONNECT, ours.url("/who")) == "hello ada"


@pytest.mark.row("T76")
async def test_a_frame_without_an_origin_is_a_foreign_page(browser: Browser) -> None:
    with running(KIND, "integration.origins:default") as ours:
        page = await opened(await browser.new_context(), ours)
        await page.set_content('<iframe sandbox="allow-scripts" srcdoc="a frame"></iframe>')
        handle = await page.query_selector("iframe")
        assert handle is not None
        frame = await handle.content_frame()
        assert frame is not None
        answer = await frame.evaluate(CONNECT, ours.url("/who"))
        # Chromium may leave the cookie out; then it is nobody's connection.
        assert answer in ("closed with 1006", "hello nobody")
        assert ("the origin 'null'" in ours.output) == answer.startswith("closed")
