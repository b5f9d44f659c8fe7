"""What `slow_app` knows of its clients, and the servers on which it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from integration.plain_clients import DEADLINE
from integration.servers import KINDS, Kind, Server

TELEX_RUN = Kind(
    "telex run",
    ("uvicorn", "picows"),
    "telex run {app} --host 127.0.0.1 --port {port} --log-level warning",
)
SERVERS = [TELEX_RUN, KINDS["uvicorn websockets"], KINDS["uvicorn websockets-sansio"]]


_PAUSE = 0.05


class Books:
    """What the application knows."""

    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws

    async def read(self) -> dict[str, Any]:
        await self._ws.send("")
        books: dict[str, Any] = json.loads(await self._ws.recv())
        return books

    async def ends(self, path: str, since: float, amount: int) -> list[dict[str, Any]]:
        """Wait until so many handlers of a path have ended, and tell how."""

        def found(books: dict[str, Any]) -> list[dict[str, Any]]:
            return [end for end in books["ended"] if end["path"] == path and end["at"] > since]

        return found(await self.until(lambda books: len(found(books)) >= amount))

    async def until(self, so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read again and again until something is so."""
        while True:
            books = await self.read()
            if so(books):
                return books
            await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def books_of(server: Server) -> AsyncIterator[Books]:
    async with asyncio.timeout(DEADLINE), connect(server.url("/books"), proxy=None) as ws:
        yield Books(ws)
