"""The application's end of a connection as a function of the test, on plain ASGI.

async def greets(server: ServerEnd) -> None:
    await server.text("hello")

async with opened(greets) as ws:
    assert await ws.receive_text() == "hello"
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from telex._types import ASGIApp, Message, Receive, Scope, Send
from telex.testing import AsyncTestClient, AsyncTestSession

PATIENCE = 0.2
"""Seconds that one wait of the client may take."""


class ServerEnd:
    """What an application has, with names."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.send = scope, receive, send

    async def text(self, data: str) -> None:
        await self.send({"type": "websocket.send", "text": data})

    async def bytes(self, data: bytes) -> None:
        await self.send({"type": "websocket.send", "bytes": data})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.send({"type": "websocket.close", "code": code, "reason": reason})

    async def left(self) -> Message:
        """Read until the client has left, and return the disconnect."""
        while True:
            message = await self.receive()
            if message["type"] == "websocket.disconnect":
                return message


Server = Callable[[ServerEnd], Awaitable[object]]


def application(server: Server, **accept: Any) -> ASGIApp:
    """An application that accepts, runs a function, and waits until the client has left."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        end = ServerEnd(scope, receive, send)
        await receive()
        await send({"type": "websocket.accept", **accept})
        await server(end)
        await end.left()

    return app


def sending(*messages: str | bytes, close: int | None = None) -> Server:
    """A function that sends messages, and perhaps a close behind them."""

    async def send_all(server: ServerEnd) -> None:
        for data in messages:
            await (server.text(data) if isinstance(data, str) else server.bytes(data))
        if close is not None:
            await server.close(close, "bye")

    return send_all


async def quiet(server: ServerEnd) -> None:
    """Send nothing."""


async def echo(server: ServerEnd) -> None:
    """Send every message back, both keys as they came."""
    while (message := await server.receive())["type"] == "websocket.receive":
        await server.send({**message, "type": "websocket.send"})


def recording() -> tuple[Server, list[Message]]:
    """A function that writes down every event, and the list of them."""
    events: list[Message] = []

    async def record(server: ServerEnd) -> None:
        while not events or events[-1]["type"] != "websocket.disconnect":
            events.append(await server.receive())

    return record, events


@asynccontextmanager
async def opened(server: Server, **options: Any) -> AsyncIterator[AsyncTestSession]:
    """Connect to an application that runs a function."""
    client = AsyncTestClient(application(server), timeout=PATIENCE, lifespan=False)
    async with asyncio.timeout(5), client, client.websocket("/", **options) as ws:
        yield ws
