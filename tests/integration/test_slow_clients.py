"""One client that never reads slows nobody down, and is gone in bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from integration.books import SERVERS, TELEX_RUN, books_of
from integration.plain_clients import Deaf, listeners, slowest
from integration.servers import Server, running
from integration.slow_app import PATIENCE, PAYLOAD

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(120)]

APP = "integration.slow_app:app"
OTHERS = 50
COUNTED = 20
"""Messages in a measurement of rates: about a second's."""
FREED = 5.0
"""Seconds after which our server has dropped a client that does not read the close frame."""
FILLED = 15.0
"""Seconds after which the buffers of the kernel are full, megabytes by their own decision."""


@pytest.fixture(scope="module", params=SERVERS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param, APP) as server:
        yield server


@pytest.mark.parametrize("path", ["/hub", "/own", "/direct"])
async def test_one_that_never_reads_slows_nobody_down_and_is_gone_soon(
    server: Server, path: str
) -> None:
    size = len(PAYLOAD)
    async with books_of(server) as books, listeners(server.port, path, OTHERS) as others:
        before = await slowest(others, COUNTED, size)
        known = await books.read()
        began = time.monotonic()
        deaf = await asyncio.to_thread(Deaf, server.port, path)
        try:
            waiting = asyncio.create_task(books.ends(path, began, 1))
            while not waiting.done():
                assert await slowest(others, COUNTED, size) > before / 2
            (end,) = await waiting
            assert (end["code"], end["by"], end["queued"]) == (4008, "server", 0)
            assert end["at"] - began < FILLED + 2 * PATIENCE
            assert await slowest(others, COUNTED, size) > before / 2
            if server.kind is TELEX_RUN:
                # Stock servers do not drop it before it reads.
                async with asyncio.timeout(FREED):
                    await books.until(lambda now: now["files"] <= known["files"])
        finally:
            deaf.abort()
        now = await books.read()
        assert now["here"][path] == OTHERS
        assert now["rss"] < known["rss"] + 8 * 1024 * 1024
    assert "Traceback" not in server.output
