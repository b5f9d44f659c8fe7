"""Heartbeats and a real Chromium, which runs what the documentation has for browsers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, Page, async_playwright

from documented import shown
from integration.beating_app import INTERVAL, TIMEOUT
from integration.conftest import assert_quiet
from integration.servers import KINDS, Server, running
from integration.test_demo_browser import FLAGS, STEP, chromium
from integration.test_heartbeat import MANY, OURS, intervals

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.timeout(180)]

STOCK = KINDS["uvicorn websockets-sansio"]
WAIT = 20.0
"""Seconds for the intervals of one test."""

[SNIPPET] = shown("limits.md", "js")

OPEN = """(url) => new Promise((resolve) => {
  window.seen = [];
  window.code = null;
  const show = (data) => seen.push(data);
  const ws = window.ws = new WebSocket(url);
  ws.addEventListener("open", resolve);
  ws.addEventListener("close", (event) => { window.code = event.code; });
  %s
})"""

BE_BUSY = "(ms) => { for (const end = performance.now() + ms; performance.now() < end; ); }"
"""Blocks the thread of the page, as a long calculation does."""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    executable = chromium()
    async with asyncio.timeout(150), async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            page = await browser.new_page()
            page.set_default_timeout(STEP)
            yield page
        finally:
            await browser.close()


@pytest.fixture(scope="module", params=[STOCK, OURS[-1]], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param, "integration.beating_app:app") as server:
        yield server
        assert_quiet(server)


async def connect(page: Page, server: Server, code: str) -> None:
    """Have a page of the server connect, and run a script that knows `ws` and `show`."""
    await page.goto(server.url("/", "http"))
    await page.evaluate(OPEN % code, server.url("/echo?name=page"))


async def closed(page: Page) -> int:
    """Wait until the page has lost its connection; return the code."""
    code: int = await (await page.wait_for_function("code")).json_value()
    return code


async def assert_that_it_stays(page: Page, server: Server) -> None:
    async with asyncio.timeout(WAIT):
        await intervals(server, MANY)
    await page.evaluate("ws.send('hello')")
    await page.wait_for_function("seen.length || code")
    # Neither were pings shown, nor did the handler see answers and send them back.
    assert await page.evaluate("[seen, code]") == [["hello"], None]


async def test_with_what_the_documentation_says_a_page_stays(page: Page, server: Server) -> None:
    await connect(page, server, SNIPPET)
    await assert_that_it_stays(page, server)


async def test_without_it_a_page_stays_on_our_server_only(page: Page, server: Server) -> None:
    await connect(page, server, "ws.addEventListener('message', ({ data }) => show(data));")
    if server.kind in OURS:
        await assert_that_it_stays(page, server)
    else:
        assert await closed(page) == 1011
        assert await page.evaluate("seen") == ['{"type":"ping"}']


async def test_a_page_that_is_busy_is_alive_on_our_server_only(page: Page, server: Server) -> None:
    await connect(page, server, SNIPPET)
    await page.evaluate(BE_BUSY, 3_000 * (INTERVAL + TIMEOUT))
    if server.kind in OURS:
        await assert_that_it_stays(page, server)
    else:
        assert await closed(page) == 1011
