"""Streams over real sockets, as WebSocket and as Server-Sent Events, on several servers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from playwright.async_api import Browser, Page, async_playwright
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from integration.servers import KINDS, Kind, Server, running
from integration.test_demo_browser import FLAGS, STEP, chromium
from sse import Event, parse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

APP = "integration.streams_app:app"
DEADLINE = 20.0
NAMES = ("telex", "uvicorn websockets-sansio", "hypercorn")
CLOSED = Event('{"code":1000,"reason":""}', event="close")


@pytest.fixture(scope="module", params=NAMES)
def running_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(KINDS[request.param], APP) as server:
        yield server


@pytest.fixture
async def server(running_server: Server) -> Server:
    """A server in which nothing is going on, and which has counted nothing yet."""
    running_server.begin()
    await counts_when(running_server, lambda told: told["begun"] == 0, path="/anew")
    return running_server


@pytest.fixture(params=NAMES[:2])
def uvicorn_kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


async def counts(server: Server, path: str = "/counts") -> dict[str, Any]:
    """Ask the application what is going on in it."""
    async with httpx2.AsyncClient(verify=False) as client:
        told: dict[str, Any] = (await client.get(server.url(path, "http"))).json()
    return told


async def counts_when(
    server: Server,
    condition: Callable[[dict[str, Any]], object],
    deadline: float = DEADLINE,
    path: str = "/counts",
) -> dict[str, Any]:
    """Ask until something is so."""
    async with asyncio.timeout(deadline):
        while True:
            told = await counts(server, path)
            if condition(told):
                return told
            await asyncio.sleep(0.02)


def all_ended(told: dict[str, Any]) -> bool:
    return bool(told["begun"] == told["ended"] and told["generators"] == 0)


def only_this_is_asked(told: dict[str, Any]) -> bool:
    """Whether uvicorn answers no other request; streams end before their requests do."""
    return all_ended(told) and told["tasks"].count("RequestResponseCycle.run_asgi") == 1


@asynccontextmanager
async def events(
    server: Server, path: str, **headers: str
) -> AsyncIterator[tuple[httpx2.Response, AsyncIterator[str]]]:
    """Ask for events; give the response and its lines."""
    async with (
        httpx2.AsyncClient(timeout=DEADLINE, verify=False) as client,
        client.stream(
            "GET",
            server.url(path, "http"),
            headers={"accept": "text/event-stream", **headers},
        ) as response,
    ):
        yield response, response.aiter_lines()


async def text(response: httpx2.Response) -> str:
    return (await response.aread()).decode()


# WebSocket


async def test_items_come_and_then_the_close(server: Server) -> None:
    async with connect(server.url("/numbers/3"), proxy=None) as ws:
        received = []
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                received.append(await ws.recv())
    assert received == ['{"n":1}', '{"n":2}', '{"n":3}']
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


@pytest.mark.parametrize("path", ["/waits", "/ticks", "/pours"])
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_client_that_leaves_ends_its_generator(server: Server, path: str, how: str) -> None:
    async with connect(server.url(path), proxy=None, close_timeout=1) as ws:
        await ws.recv()
        if how == "abort":
            ws.transport.abort()
    told = await counts_when(server, all_ended)
    assert told["begun"] == 1
    assert "Traceback" not in server.new_output


async def test_a_client_that_does_not_read_stops_the_generator(server: Server) -> None:
    # Compressed, it would all fit into the buffers of the kernel.
    url = server.url("/pours")
    async with connect(url, proxy=None, compression=None, max_queue=1, close_timeout=1) as ws:
        stopped = await standstill(server)
        for _ in range(stopped + 1):
            await ws.recv()
        assert (await counts(server))["yielded"] > stopped
    await counts_when(server, all_ended)


async def standstill(server: Server) -> int:
    """Wait until the generator yields nothing more; return how much it has yielded."""
    before, now = -1, 0
    while now != before:
        before = now
        await asyncio.sleep(0.2)
        now = (await counts(server))["yielded"]
    assert now > 0
    return int(now)


# Server-Sent Events


async def test_events_come_and_then_the_close(server: Server) -> None:
    async with events(server, "/numbers/3", **{"last-event-id": "7"}) as (response, _):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        received = [*parse(await text(response))]
    assert received == [
        Event('{"n":1}', "8"),
        Event('{"n":2}', "9", "even", "50"),
        Event('{"n":3}', "10"),
        CLOSED,
    ]


@pytest.mark.parametrize("path", ["/waits", "/ticks", "/pours"])
async def test_a_client_of_events_that_leaves_ends_its_generator(server: Server, path: str) -> None:
    async with events(server, path) as (_, lines):
        assert await anext(lines) == "id: 1"
    told = await counts_when(server, all_ended)
    assert told["begun"] == 1
    assert "Traceback" not in server.new_output


async def test_a_client_that_does_not_read_its_events_stops_the_generator(
    server: Server,
) -> None:
    async with events(server, "/pours") as (_, lines):
        stopped = await standstill(server)
        for _ in range(3 * stopped + 3):
            await anext(lines)
        assert (await counts(server))["yielded"] > stopped
    await counts_when(server, all_ended)


async def test_other_requests_on_the_path_of_a_stream_are_those_of_the_page(
    server: Server,
) -> None:
    async with httpx2.AsyncClient(verify=False) as client:
        for method in ("GET", "POST", "HEAD"):
            answer = await client.request(method, server.url("/waits", "http"))
            assert (answer.status_code, answer.text) == (200, "" if method == "HEAD" else "a page")


# The server stops


async def test_a_server_that_stops_ends_its_streams(uvicorn_kind: Kind) -> None:
    with running(uvicorn_kind, APP) as server:
        async with (
            connect(server.url("/waits"), proxy=None) as ws,
            events(server, "/waits") as (_, lines),
        ):
            assert await ws.recv() == "first"
            assert await anext(lines) == "id: 1"
            server.terminate()
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
            # No event says that it is over: the client is to come back.
            assert [line async for line in lines if line] == ["data: first"]
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert await asyncio.to_thread(server.finish) == -signal.SIGTERM
        assert server.output == ""


# Many


async def visit(server: Server, chance: random.Random) -> None:
    """Connect in some way, read a little, and leave in some way."""
    path = chance.choice(["/waits", "/ticks", "/ticks", "/pours", "/numbers/5"])
    if chance.random() < 0.2:
        async with events(server, path) as (_, lines):
            assert await anext(lines) == "id: 1"
        return
    async with connect(
        server.url(path), proxy=None, max_queue=None, close_timeout=1, compression=None
    ) as ws:
        await ws.recv()
        await part(ws, chance)


async def part(ws: ClientConnection, chance: random.Random) -> None:
    match chance.randrange(3):
        case 0:
            ws.transport.abort()
        case 1:
            await ws.close(4000, "bye")
        case 2:
            with contextlib.suppress(ConnectionClosed):
                await ws.send("I go")


@pytest.mark.timeout(150)
@pytest.mark.parametrize("wave", [50])
async def test_a_thousand_clients_that_leave_at_random_leave_nothing_behind(
    uvicorn_kind: Kind, wave: int
) -> None:
    chance = random.Random(8)
    with running(uvicorn_kind, APP) as server:
        # The first request for events starts the library's one task for good.
        async with events(server, "/numbers/1"):
            pass
        before = await counts_when(server, only_this_is_asked)
        for _ in range(1000 // wave):
            await asyncio.gather(*[visit(server, chance) for _ in range(wave)])
        told = await counts_when(
            server,
            lambda told: all_ended(told) and told["tasks"] == before["tasks"],
            # uvicorn may need its ping and the wait for the answer to find that a client is gone.
            deadline=60,
        )
        assert told["begun"] - before["begun"] == 1000
        assert "Traceback" not in server.output
        assert "destroyed" not in server.output
        assert "never" not in server.output


# A browser


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    executable = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


LISTEN = """([url, amount]) => new Promise((resolve) => {
  const told = [];
  const source = new EventSource(url);
  const tell = (event) => told.push([event.type, event.data, event.lastEventId]);
  const end = () => { source.close(); resolve(told); };
  source.onmessage = (event) => { tell(event); if (told.length == amount) end(); };
  source.addEventListener("even", tell);
  source.addEventListener("close", (event) => { tell(event); end(); });
})"""


async def opened(browser: Browser, server: Server) -> Page:
    page = await browser.new_page()
    page.set_default_timeout(STEP)
    await page.goto(server.url("/", "http"))
    return page


@pytest.mark.browser
async def test_an_event_source_gets_the_items_their_ids_and_the_end(browser: Browser) -> None:
    with running(KINDS["telex"], APP) as server:
        page = await opened(browser, server)
        assert await page.evaluate(LISTEN, ["/numbers/3", 0]) == [
            ["message", '{"n":1}', "1"],
            ["even", '{"n":2}', "2"],
            ["message", '{"n":3}', "3"],
            ["close", '{"code":1000,"reason":""}', "3"],
        ]


@pytest.mark.browser
async def test_an_event_source_that_is_cut_off_goes_on_where_it_was(browser: Browser) -> None:
    with running(KINDS["telex"], APP) as server:
        page = await opened(browser, server)
        ids = [told[2] for told in await page.evaluate(LISTEN, ["/cut", 9])]
        assert ids == [str(n) for n in range(1, 10)]
        assert "Traceback" not in server.output
