"""Connections through `telex.testing`, as most tests begin and end.

async with connected(app, "/echo") as ws:
    await ws.send_text("hello")
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from telex._types import ASGIApp, Message, Receive, Scope, Send
from telex.testing import AsyncTestClient, AsyncTestSession, ConnectionRejected


@asynccontextmanager
async def connected(
    app: ASGIApp, url: str = "/", *, lifespan: bool = True, **options: Any
) -> AsyncIterator[AsyncTestSession]:
    """Connect with a client of its own; the options are those of `client.websocket`."""
    async with (
        AsyncTestClient(app, lifespan=lifespan) as client,
        client.websocket(url, **options) as ws,
    ):
        yield ws


async def rejection(app: ASGIApp, url: str = "/", **options: Any) -> ConnectionRejected:
    """Connect, and return how the application refuses."""
    with pytest.raises(ConnectionRejected) as caught:
        async with connected(app, url, **options):
            pytest.fail("the application has accepted")
    return caught.value


async def ending(app: ASGIApp, url: str = "/", **options: Any) -> tuple[int, str]:
    """Connect, and return code and reason of the close, before which nothing may come."""
    async with connected(app, url, **options) as ws:
        record = await ws.expect_close()
    return record.code, record.reason


class Overheard:
    """An application, and the types of what it sends, also of what its client does not get."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.types: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            self.types.append(message["type"].removeprefix("websocket."))
            await send(message)

        await self.app(scope, receive, noted if scope["type"] == "websocket" else send)
