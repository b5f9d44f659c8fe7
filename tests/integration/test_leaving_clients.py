"""Handlers that wait for something else end when their clients leave, in whatever way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from integration.books import SERVERS, books_of
from integration.plain_clients import Deaf
from integration.servers import Server, running
from integration.slow_app import GRACE

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(120)]

CLIENTS = 20
SPARE = 0.5
"""Seconds a busy machine may be late."""


@pytest.fixture(scope="module", params=SERVERS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param, "integration.slow_app:app") as server:
        yield server


async def test_all_handlers_end_within_the_grace(server: Server) -> None:
    async with books_of(server) as books:
        arrive = (asyncio.to_thread(Deaf, server.port, "/waits") for _ in range(CLIENTS))
        clients = await asyncio.gather(*arrive)
        await books.until(lambda known: known["here"].get("/waits") == CLIENTS)
        left = time.monotonic()
        ways: list[Callable[[], None]] = [
            client.abort if n % 2 else client.leave for n, client in enumerate(clients)
        ]
        for leave in ways:
            leave()
        ends = await books.ends("/waits", left, CLIENTS)
        slowest = max(end["at"] for end in ends) - left
        assert slowest < GRACE + SPARE
        assert len(ends) == CLIENTS
        assert (await books.read())["here"]["/waits"] == 0
    assert "Traceback" not in server.output
    assert "goes on although" not in server.output
