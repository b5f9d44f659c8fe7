"""Clients: one connection to the server, with what the application wrote down about it.

async with calling(server, "/echo") as call:
    await call.ws.send("hello")
    ...
left = await call.noted("left")
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import quote
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.http11 import Response

from integration.journal import Entry
from integration.servers import Server

DEADLINE = 15.0
"""Seconds one exchange with a server may take."""

Close = tuple[int, str]
"""Code and reason of a close frame."""


class Call:
    """What a test knows about one connection.

    Attributes:
        ws: The client's side.
        key: The key of its entries in the journal.
    """

    ws: ClientConnection

    def __init__(self, server: Server, path: str) -> None:
        self.server = server
        self.key = uuid4().hex
        self.url = f"{server.url(path)}{'&' if '?' in path else '?'}key={self.key}"

    async def noted(self, what: str) -> Entry:
        """Wait for an entry of that name and return the first."""
        return (await self.entries(until=what))[-1]

    async def entries(self, until: str) -> list[Entry]:
        """Wait for an entry of that name and return all up to it."""
        entries: list[Entry] = []
        url = self.server.url(f"/journal?key={self.key}")
        if until == "asked":
            url += "&asked"
        async with asyncio.timeout(DEADLINE), connect(url, proxy=None) as ws:
            while not entries or entries[-1]["what"] != until:
                entries.append(json.loads(await ws.recv()))
        return entries

    async def count(self, what: str) -> int:
        """How many entries of that name there are by now."""
        return [entry["what"] for entry in await self.entries(until="asked")].count(what)

    async def closed(self) -> Close | None:
        """Read to the end and return the server's close frame, `None` when there was none."""
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    await self.ws.recv()
                except ConnectionClosed as exc:
                    return None if exc.rcvd is None else (int(exc.rcvd.code), exc.rcvd.reason)

    def vanish(self, how: Literal["RST", "FIN"] = "RST") -> None:
        """Drop the TCP connection without a close frame, rudely or with a FIN."""
        if how == "RST":
            endpoint = self.ws.transport.get_extra_info("socket")
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.ws.transport.abort()


@asynccontextmanager
async def calling(server: Server, path: str, **options: Any) -> AsyncIterator[Call]:
    """Connect for the length of the block, which has a deadline."""
    call = Call(server, path)
    # Granian leaves the TCP connection open now and then.
    options.setdefault("close_timeout", 2)
    async with (
        asyncio.timeout(DEADLINE),
        connect(call.url, proxy=None, max_size=None, **options) as call.ws,
    ):
        yield call


async def denied(server: Server, path: str, **options: Any) -> tuple[Call, Response | None]:
    """Ask for a connection that is not given; return the response, `None` when there was none."""
    call = Call(server, path)
    async with asyncio.timeout(DEADLINE):
        try:
            async with connect(call.url, proxy=None, **options):
                raise AssertionError(f"{path} let the client in")
        except InvalidStatus as exc:
            return call, exc.response
        except InvalidHandshake:
            return call, None


def script(*steps: tuple[Any, ...]) -> str:
    """The path on which the bare application does these steps."""
    return f"/raw?script={quote(repr(steps))}"
