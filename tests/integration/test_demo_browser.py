"""The demo in a real Chromium: tabs that talk, lose the server, and find each other again.

A tab is a browser context of its own, so that each has its own storage, as two people would.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    WebSocket,
    WebSocketRoute,
    async_playwright,
    expect,
)

from child import SERVING, Child, start

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.timeout(180)]

CHAT = Path(__file__).parents[2] / "examples" / "chat"
STEP = 30_000
"""Milliseconds one step of the page may take, also on a busy machine."""
PHONE = {"width": 360, "height": 640}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """The system's browser; without one the test fails on CI and is skipped elsewhere."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    missing = "no Chromium on PATH (Debian: apt-get install chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    executable = chromium()
    expect.set_options(timeout=STEP)
    async with asyncio.timeout(150), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
def port() -> int:
    """A free port that stays free while the server is away.

    It lies below the ports that the kernel hands out: none of the tabs' own connections, and no
    other test, is given it meanwhile.
    """
    for candidate in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    pytest.fail("no free port")


def serving(port: int) -> AbstractAsyncContextManager[Child]:
    """The demo's server as a process of its own; leaving the block kills it (SIGKILL)."""

    @asynccontextmanager
    async def run() -> AsyncIterator[Child]:
        command = ["-m", "telex", "run", "main:app", "--app-dir", str(CHAT), "--port", str(port)]
        async with start(*command, "--no-access-log", cwd=CHAT) as server:
            await server.line(SERVING)
            yield server

    return run()


class Tab:
    """One person's page, and everything it asked for and complained about."""

    def __init__(self, page: Page, port: int) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self._host = f"127.0.0.1:{port}"
        page.set_default_timeout(STEP)
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._note_address)
        page.on("websocket", self._note_address)

    @classmethod
    async def open(cls, browser: Browser, port: int, name: str, *, room: str = "lobby") -> Tab:
        """Open the page and join a room."""
        tab = cls(await (await browser.new_context()).new_page(), port)
        await tab.page.goto(f"http://127.0.0.1:{port}/#{room}")
        await tab.join(name)
        return tab

    async def join(self, name: str) -> None:
        await self.page.get_by_label("Your name").fill(name)
        await self.page.get_by_role("button", name="Join the room").click()
        await self.is_in_state("connected")

    async def is_in_state(self, state: str) -> None:
        await expect(self.page.locator("#status")).to_have_attribute("data-state", state)

    async def say(self, text: str) -> None:
        box = self.page.get_by_label("Your message")
        await box.fill(text)
        await box.press("Enter")

    async def shows(self, text: str) -> None:
        """Wait for something that was said: confirmed by the server, and shown once."""
        bubble = self.page.locator("#said .bubble").get_by_text(text, exact=True)
        await expect(bubble).to_have_count(1)

    async def tells(self, line: str) -> None:
        """Wait for a line about somebody who came or went."""
        await expect(self.page.locator("#said .line").get_by_text(line)).to_be_visible()

    async def has_members(self, *names: str) -> None:
        await expect(self.page.locator("#members li .name")).to_contain_text(list(names))
        await expect(self.page.locator("#members li")).to_have_count(len(names))

    async def overhang(self) -> int:
        """Pixels by which the page, or a part of it that scrolls, is wider than its place."""
        width: int = await self.page.evaluate(
            """() => {
              const parts = [...document.querySelectorAll("html, .log, .lists")];
              return Math.max(...parts.map((part) => part.scrollWidth - part.clientWidth));
            }"""
        )
        return width

    def is_clean(self, *, was_cut_off: bool = False) -> None:
        """Assert that nothing was asked of other hosts and the console holds no error.

        Chromium itself reports every attempt to reach a server that is away.
        """
        complaints = self.complaints
        if was_cut_off:
            complaints = [c for c in complaints if not c.startswith("WebSocket connection to")]
        assert complaints == []
        assert self.foreign == []

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _note_address(self, asked: Request | WebSocket) -> None:
        if urlsplit(asked.url).netloc != self._host:
            self.foreign.append(asked.url)


async def test_two_tabs_talk_lose_the_server_and_find_each_other_again(
    browser: Browser, port: int
) -> None:
    async with serving(port):
        ada = await Tab.open(browser, port, "Ada")
        grace = await Tab.open(browser, port, "Grace")
        await ada.tells("Grace joined")
        await ada.has_members("Ada", "Grace")
        await grace.has_members("Grace", "Ada")
        await ada.say("Good morning, Grace")
        await grace.shows("Good morning, Grace")
        await grace.say("<b>Good morning</b>, Ada &amp; all")
        for tab in (ada, grace):
            await tab.shows("<b>Good morning</b>, Ada &amp; all")
            tab.is_clean()
    for tab in (ada, grace):
        await tab.is_in_state("reconnecting")
        await expect(tab.page.locator("#trouble")).to_contain_text("The connection is lost.")
    async with serving(port):
        for tab in (ada, grace):
            await tab.is_in_state("connected")
            await tab.has_members(*(("Ada", "Grace") if tab is ada else ("Grace", "Ada")))
        await ada.say("Are you back?")
        await grace.shows("Are you back?")
        await grace.say("So are you!")
        await ada.shows("So are you!")
        for tab in (ada, grace):
            tab.is_clean(was_cut_off=True)


async def test_what_is_typed_while_the_server_is_away_is_marked_and_sent_later(
    browser: Browser, port: int
) -> None:
    async with serving(port):
        ada = await Tab.open(browser, port, "Ada")
        grace = await Tab.open(browser, port, "Grace")
    await ada.is_in_state("reconnecting")
    unsent = ada.page.locator("#unsent .group")
    await ada.say("first")
    await ada.say("second")
    await expect(unsent).to_have_count(2)
    await expect(unsent.first).to_contain_text("Not sent yet")
    async with serving(port):
        await grace.is_in_state("connected")
        await ada.is_in_state("connected")
        for tab in (ada, grace):
            await tab.shows("second")
            await expect(tab.page.locator("#said .bubble")).to_have_text(["first", "second"])
        await expect(unsent).to_have_count(0)
        for tab in (ada, grace):
            tab.is_clean(was_cut_off=True)


async def test_try_now_does_not_wait_for_the_next_attempt(browser: Browser, port: int) -> None:
    async with serving(port):
        ada = await Tab.open(browser, port, "Ada")
        # From here on every waiting time is the longest there is.
        await ada.page.evaluate("Math.random = () => 3_000")
    await ada.is_in_state("reconnecting")
    async with serving(port):
        await expect(ada.page.locator("#countdown")).to_contain_text("Trying again in")
        await ada.page.get_by_role("button", name="Try now").click()
        await ada.is_in_state("connected")
        await expect(ada.page.locator("#trouble")).to_be_hidden()
        ada.is_clean(was_cut_off=True)


async def test_a_tab_comes_back_at_once_when_the_network_does(browser: Browser, port: int) -> None:
    async with serving(port):
        ada = await Tab.open(browser, port, "Ada")
        await ada.page.evaluate("Math.random = () => 3_000")
    await ada.is_in_state("reconnecting")
    async with serving(port):
        await ada.page.evaluate("dispatchEvent(new Event('online'))")
        await ada.is_in_state("connected")
        ada.is_clean(was_cut_off=True)


@pytest.mark.parametrize(
    ("code", "state"),
    [(1008, "stopped"), (4409, "stopped"), (4008, "reconnecting"), (1012, "reconnecting")],
)
async def test_the_close_code_decides_whether_a_tab_comes_back(
    browser: Browser, port: int, code: int, state: str
) -> None:
    attempts: list[WebSocketRoute] = []

    async def turn_away(route: WebSocketRoute) -> None:
        attempts.append(route)
        await route.close(code=code, reason="because")

    async with serving(port):
        ada = Tab(await (await browser.new_context()).new_page(), port)
        await ada.page.goto(f"http://127.0.0.1:{port}/")
        await ada.page.route_web_socket("**/ws/*", turn_away)
        await ada.page.get_by_label("Your name").fill("Ada")
        await ada.page.get_by_role("button", name="Join the room").click()
        await ada.is_in_state(state)
        if state == "stopped":
            await expect(ada.page.locator("#trouble")).to_contain_text(f"because ({code})")
            await ada.page.get_by_role("button", name="Connect again").click()
            await ada.is_in_state(state)
            assert len(attempts) == 2
        else:
            await expect(ada.page.get_by_role("button", name="Try now")).to_be_visible()
        ada.is_clean()


async def test_delays_grow_to_a_limit_with_full_jitter(browser: Browser, port: int) -> None:
    async with serving(port):
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{port}/")
        delays = await page.evaluate(
            """async () => {
              const { backoff } = await import("./static/connection.js");
              const many = (attempt) => Array.from({ length: 500 }, () => backoff(attempt));
              return [0, 1, 2, 3, 4, 5, 6, 50].map(many);
            }"""
        )
        for drawn, limit in zip(delays, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
            assert max(drawn) <= limit * 1_000
            assert max(drawn) > limit * 900
            assert min(drawn) < limit * 100


async def test_rooms_are_apart_and_can_be_changed(browser: Browser, port: int) -> None:
    async with serving(port):
        ada = await Tab.open(browser, port, "Ada")
        grace = await Tab.open(browser, port, "Grace")
        await grace.page.get_by_label("Open another room").fill("Engine Room")
        await grace.page.get_by_label("Open another room").press("Enter")
        await expect(grace.page.get_by_role("heading", level=1)).to_have_text("#engine-room")
        await grace.has_members("Grace")
        await ada.tells("Grace left")
        await grace.say("Anybody here?")
        await grace.shows("Anybody here?")
        await expect(ada.page.get_by_text("Anybody here?")).to_have_count(0)
        await ada.page.goto(f"http://127.0.0.1:{port}/#engine-room")
        await ada.shows("Anybody here?")
        await grace.tells("Ada joined")
        await grace.page.go_back()
        await expect(grace.page.get_by_role("heading", level=1)).to_have_text("#lobby")
        for tab in (ada, grace):
            tab.is_clean()


async def test_a_reload_goes_back_in_and_a_new_tab_remembers_the_name(
    browser: Browser, port: int
) -> None:
    async with serving(port):
        ada = await Tab.open(browser, port, "Ada")
        await ada.page.reload()
        await ada.is_in_state("connected")
        await ada.has_members("Ada")
        second = Tab(await ada.page.context.new_page(), port)
        await second.page.goto(f"http://127.0.0.1:{port}/#lobby")
        await expect(second.page.get_by_label("Your name")).to_have_value("Ada")
        await second.join("Ada")
        await second.has_members("Ada 2", "Ada")
        for tab in (ada, second):
            tab.is_clean()


async def test_the_page_fits_a_phone(browser: Browser, port: int) -> None:
    async with serving(port):
        context = await browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True)  # type: ignore[arg-type]
        tab = Tab(await context.new_page(), port)
        await tab.page.goto(f"http://127.0.0.1:{port}/")
        assert await tab.overhang() == 0
        await tab.join("Ada " + "L" * 20)
        await tab.say("W" * 300)
        await tab.shows("W" * 300)
        assert await tab.overhang() == 0
        await tab.page.get_by_role("button", name="Rooms and people").click()
        await expect(tab.page.get_by_role("link", name="coffee")).to_be_in_viewport()
        assert await tab.overhang() == 0
        await tab.page.get_by_role("link", name="coffee").click()
        await expect(tab.page.get_by_role("heading", level=1)).to_have_text("#coffee")
        await expect(tab.page.get_by_role("link", name="coffee")).to_be_hidden()
        assert await tab.overhang() == 0
        tab.is_clean()
