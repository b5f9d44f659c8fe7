"""SIGTERM with open connections: `telex run` ends them in good order, stock uvicorn at once."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from operator import attrgetter

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.calls import DEADLINE
from integration.graceful import CLEANUP_TIMEOUT, DRAIN_TIMEOUT, GRACE
from integration.servers import KINDS, Kind, Server, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

APP = "integration.graceful:app"
COMMAND = "telex run {app} --host 127.0.0.1 --port {port} --log-level warning"
TELEX_RUN = Kind("telex run", ("uvicorn", "picows"), COMMAND)
WORKERS = Kind("telex run --workers 2", ("uvicorn", "picows"), f"{COMMAND} --workers 2")
STOCK = [kind for kind in KINDS.values() if "uvicorn" in kind.packages]

MANY = 200
STOPPING = 3.0
"""Seconds for what has no limit of its own: threads, the lifespan, the end of the interpreter."""


def processes(kind: Kind) -> int:
    return 2 if kind is WORKERS else 1


def until_told(server: Server, what: str, times: int = 1) -> None:
    give_up = time.monotonic() + DEADLINE
    while server.output.count(f"<{what}") < times:
        assert server.running, server.output
        assert time.monotonic() < give_up, server.output
        time.sleep(0.05)


@asynccontextmanager
async def serving(kind: Kind, *options: str) -> AsyncIterator[Server]:
    with running(kind, APP, *options) as server:
        await asyncio.to_thread(until_told, server, "lifespan of", processes(kind))
        yield server


@asynccontextmanager
async def connected(server: Server, *paths: str) -> AsyncIterator[list[ClientConnection]]:
    async with asyncio.timeout(3 * DEADLINE), AsyncExitStack() as stack:
        urls = [server.url(f"/{path}") for path in paths]
        yield [await stack.enter_async_context(connect(url, proxy=None)) for url in urls]


async def end_of(ws: ClientConnection) -> tuple[int | None, list[str | bytes], float]:
    """Return the close code, `None` without a close frame, the messages before it, and when."""
    messages = []
    try:
        while True:
            messages.append(await ws.recv())
    except ConnectionClosed as exc:
        code = None if exc.rcvd is None else int(exc.rcvd.code)
        return code, messages, time.monotonic()


async def codes_of(clients: list[ClientConnection]) -> Counter[int | None]:
    return Counter([code for code, _, _ in await asyncio.gather(*map(end_of, clients))])


async def told_at_the_end(server: Server) -> list[str]:
    """Wait until a server that was told to stop has; return what its handlers printed."""
    code = await asyncio.to_thread(server.finish)
    # The signal has its way in the end, but for a parent of workers.
    assert code in (0, -signal.SIGTERM)
    assert "Traceback" not in server.output
    assert "never" not in server.output
    return re.findall(r"<(.*)>", server.output)


def signalled(server: Server, number: signal.Signals) -> None:
    os.kill(server._process.pid, number)


# --- telex run ---


@pytest.mark.parametrize("kind", [TELEX_RUN, WORKERS], ids=attrgetter("name"))
async def test_every_one_of_many_clients_is_told_to_come_back(kind: Kind) -> None:
    async with serving(kind) as server:
        paths = ["listens", "waits"] * (MANY // 2)
        async with connected(server, *paths) as clients:
            begin = time.monotonic()
            server.terminate()
            ends = await asyncio.gather(*map(end_of, clients))
            told = await told_at_the_end(server)
            took = time.monotonic() - begin
    assert [code for code, _, _ in ends] == [1012] * MANY
    assert took < DRAIN_TIMEOUT + STOPPING
    # Not all at once.
    moments = sorted(moment for _, _, moment in ends)
    assert moments[-1] - moments[0] > 0.1
    assert moments[-1] - begin < DRAIN_TIMEOUT
    counts = Counter(told)
    assert counts["cleaned up"] == MANY
    assert counts["on_disconnect 1012"] == MANY // 2
    assert counts["waited until draining was True"] == MANY // 2
    assert counts["lifespan over with 0 open"] == processes(kind)
    assert told[-1] == "lifespan over with 0 open"


async def test_handlers_that_wait_for_something_else_end_within_the_grace() -> None:
    async with serving(TELEX_RUN) as server, connected(server, *["waits"] * 10) as clients:
        begin = time.monotonic()
        server.terminate()
        assert await codes_of(clients) == {1012: 10}
        told = await told_at_the_end(server)
        assert GRACE <= time.monotonic() - begin < GRACE + STOPPING
    assert told.count("waited until draining was True") == 10


async def test_a_handler_that_hears_of_it_has_time_to_say_goodbye() -> None:
    async with serving(TELEX_RUN) as server, connected(server, "polite") as (client,):
        server.terminate()
        code, messages, _ = await end_of(client)
        assert (messages, code) == (["goodbye"], 1012)
        assert "cleaned up" in await told_at_the_end(server)


async def test_a_handshake_that_is_going_on_is_denied_with_503() -> None:
    async with serving(TELEX_RUN) as server:

        async def ask() -> None:
            async with connected(server, "hesitates"):
                raise AssertionError("the handshake was completed")

        asking = asyncio.ensure_future(ask())
        await asyncio.to_thread(until_told, server, "hesitates")
        server.terminate()
        with pytest.raises(InvalidStatus) as denied:
            await asking
        assert denied.value.response.status_code == 503
        assert "cleaned up" in await told_at_the_end(server)


@pytest.mark.parametrize("kind", [TELEX_RUN, WORKERS], ids=attrgetter("name"))
async def test_a_handler_that_will_not_go_is_logged_and_left_behind(kind: Kind) -> None:
    async with serving(kind) as server, connected(server, "stubborn", "waits") as clients:
        begin = time.monotonic()
        server.terminate()
        assert await codes_of(clients) == {1012: 2}
        told = await told_at_the_end(server)
        took = time.monotonic() - begin
        output = server.output
    assert DRAIN_TIMEOUT < took < DRAIN_TIMEOUT + CLEANUP_TIMEOUT + 1 + STOPPING
    assert output.count("the handler of '/stubborn' goes on although it was cancelled") == 1
    # uvicorn did not wait for it, nor asyncio.
    assert "Time is up" not in output
    assert "Task was destroyed" not in output
    assert told.count("cleaned up") == 1
    assert [line for line in told if line.startswith("lifespan over")] != []


async def test_an_interrupt_leaves_no_traceback_of_a_handler_that_will_not_go() -> None:
    async with serving(TELEX_RUN) as server, connected(server, "stubborn", "waits") as clients:
        signalled(server, signal.SIGINT)
        assert await codes_of(clients) == {1012: 2}
        assert await asyncio.to_thread(server.finish) == 0
        output = server.output
    assert output.count("the handler of '/stubborn' goes on although it was cancelled") == 1
    assert "Traceback" not in output
    assert "Task was destroyed" not in output
    assert "ignored" not in output


async def test_a_long_http_request_is_answered_meanwhile() -> None:
    async with (
        serving(TELEX_RUN) as server,
        connected(server, "listens") as clients,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        asking = asyncio.ensure_future(http.get(server.url("/?for=1.5", "http")))
        await asyncio.to_thread(until_told, server, "http begun")
        server.terminate()
        assert await codes_of(clients) == {1012: 1}
        answer = await asking
        told = await told_at_the_end(server)
    assert (answer.status_code, answer.text) == (200, "done")
    assert answer.headers["connection"] == "close"
    assert told.index("on_disconnect 1012") < told.index("http done")
    assert told[-1] == "lifespan over with 0 open"


async def test_a_stream_of_events_over_http_ends_with_the_others() -> None:
    async with (
        serving(TELEX_RUN) as server,
        connected(server, "ticks") as (client,),
        httpx.AsyncClient(trust_env=False) as http,
        http.stream(
            "GET", server.url("/ticks", "http"), headers={"accept": "text/event-stream"}
        ) as stream,
    ):
        lines = stream.aiter_lines()
        assert await anext(lines) != ""
        begin = time.monotonic()
        server.terminate()
        # It ends, and is not broken off.
        assert all([not line or ":" in line async for line in lines])
        code, _, _ = await end_of(client)
        told = await told_at_the_end(server)
        assert time.monotonic() - begin < GRACE + STOPPING
    assert code == 1012
    assert told == [told[0], "stream closed", "stream closed", "lifespan over with 0 open"]


async def test_what_takes_longer_than_allowed_is_cancelled_before_the_lifespan_ends() -> None:
    async with (
        serving(TELEX_RUN, "--timeout-graceful-shutdown", "2") as server,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        asking = asyncio.ensure_future(http.get(server.url("/?for=600", "http")))
        await asyncio.to_thread(until_told, server, "http begun")
        begin = time.monotonic()
        server.terminate()
        # So uvicorn answers for an application that was cancelled, and logs it with a traceback.
        assert (await asking).status_code == 500
        await asyncio.to_thread(server.finish)
        assert 2 <= time.monotonic() - begin < 2 + STOPPING
        output = server.output
    assert "Time is up: cancelling 1 running task(s)" in output
    assert output.index("<http cancelled>") < output.index("<lifespan over with 0 open>")


async def test_a_connection_in_which_nothing_happens_does_not_keep_it() -> None:
    async with serving(TELEX_RUN) as server, connected(server, "waits"):
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(server.url("/?for=0", "http"))
            begin = time.monotonic()
            server.terminate()
            await told_at_the_end(server)
        assert time.monotonic() - begin < GRACE + STOPPING


async def test_a_second_interrupt_cuts_it_short() -> None:
    async with serving(TELEX_RUN) as server:
        async with connected(server, "polite", "stubborn", "listens") as clients:
            begin = time.monotonic()
            signalled(server, signal.SIGINT)
            assert await clients[0].recv() == "goodbye"
            signalled(server, signal.SIGINT)
            codes = await codes_of(clients)
            assert await asyncio.to_thread(server.finish) == 0
            took = time.monotonic() - begin
        output = server.output
    assert codes == {1012: 3}
    assert took < DRAIN_TIMEOUT
    assert "1 task(s) go on although they were cancelled" in output
    assert "<lifespan over" not in output


async def flood(ws: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            await ws.send("x" * 2000)
            await asyncio.sleep(0)


async def codes_of_busy(clients: list[ClientConnection], server: Server) -> Counter[int | None]:
    """Return the codes that clients see which send all the time while the server stops."""
    floods = [asyncio.ensure_future(flood(client)) for client in clients]
    codes = asyncio.ensure_future(codes_of(clients))
    await asyncio.sleep(0.3)
    server.terminate()
    found = await codes
    await asyncio.gather(*floods)
    await told_at_the_end(server)
    return found


async def test_busy_clients_are_told_too() -> None:
    async with serving(TELEX_RUN) as server, connected(server, *["listens"] * 20) as clients:
        assert await codes_of_busy(clients, server) == {1012: 20}


# --- stock uvicorn: what docs/deployment.md says of it ---


@pytest.mark.parametrize("kind", STOCK, ids=attrgetter("name"))
async def test_stock_uvicorn_tells_all_at_once_and_waits_for_the_handlers(kind: Kind) -> None:
    async with serving(kind) as server:
        paths = ["listens", "waits"] * (MANY // 2)
        async with connected(server, *paths) as clients:
            begin = time.monotonic()
            server.terminate()
            ends = await asyncio.gather(*map(end_of, clients))
            told = await told_at_the_end(server)
            took = time.monotonic() - begin
    assert {code for code, _, _ in ends} == {1012}
    assert max(moment for _, _, moment in ends) - begin < GRACE
    assert GRACE <= took < GRACE + 2 * STOPPING
    counts = Counter(told)
    assert counts["cleaned up"] == MANY
    assert counts["on_disconnect 1012"] == MANY // 2
    # It has no way to say so before.
    assert counts["waited until draining was False"] == MANY // 2
    assert told[-1] == "lifespan over with 0 open"


@pytest.mark.parametrize("kind", STOCK, ids=attrgetter("name"))
async def test_on_stock_uvicorn_busy_clients_may_not_see_the_code(kind: Kind) -> None:
    async with serving(kind) as server, connected(server, *["listens"] * 20) as clients:
        codes = await codes_of_busy(clients, server)
    if kind.name == "telex":
        assert codes == {1012: 20}
    else:
        # It hangs up without reading what they sent: the connection is reset.
        assert codes.keys() <= {1012, None}


@pytest.mark.parametrize("kind", STOCK, ids=attrgetter("name"))
async def test_on_stock_uvicorn_nobody_hears_of_the_stop_before_the_end(kind: Kind) -> None:
    async with serving(kind) as server, connected(server, "polite") as (client,):
        server.terminate()
        code, messages, _ = await end_of(client)
        assert (messages, code) == ([], 1012)
        await told_at_the_end(server)


@pytest.mark.parametrize("kind", STOCK, ids=attrgetter("name"))
async def test_stock_uvicorn_waits_for_ever_for_a_handler_that_will_not_go(kind: Kind) -> None:
    async with serving(kind) as server, connected(server, "stubborn") as clients:
        server.terminate()
        assert await codes_of(clients) == {1012: 1}
        await asyncio.to_thread(server.wait_for, "goes on although")
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(server.finish, 1)
        server.kill()


@pytest.mark.parametrize("kind", STOCK, ids=attrgetter("name"))
async def test_stock_uvicorn_with_a_limit_does_not_wait_for_clean_ups(kind: Kind) -> None:
    limit = ("--timeout-graceful-shutdown", "1")
    async with serving(kind, *limit) as server, connected(server, "stubborn", "slow") as clients:
        server.terminate()
        assert await codes_of(clients) == {1012: 2}
        told = await told_at_the_end(server)
    assert "cleaned up" not in told[: told.index("lifespan over with 2 open")]
