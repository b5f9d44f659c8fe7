"""A connection and its scripted peer, as most tests begin.

ws, peer = await opened(T("hello"), D(1001))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from peer import DEADLINE, Peer, make_scope
from telex import WebSocket, WebSocketState
from telex._types import Message

Result = TypeVar("Result")

TURNS = 10
"""Turns of the event loop after which everything that can happen has happened."""


def connecting(*script: Message, connect: bool = True, **scope: Any) -> tuple[WebSocket, Peer]:
    """Return a connection before its handshake; keywords are keys of its scope."""
    peer = Peer(*script, connect=connect)
    return WebSocket(make_scope(**scope), peer.receive, peer.send), peer


async def opened(*script: Message, **scope: Any) -> tuple[WebSocket, Peer]:
    """Return an accepted connection whose peer will send a script."""
    ws, peer = connecting(*script, **scope)
    await ws.accept()
    return ws, peer


async def left(code: int = 1001, reason: str | None = None) -> tuple[WebSocket, Peer]:
    """Return a connection whose peer has left, and that was told so by a read."""
    ws, peer = await opened({"type": "websocket.disconnect", "code": code, "reason": reason})
    await ws.receive()
    return ws, peer


async def turns(amount: int = TURNS) -> None:
    """Let the event loop turn."""
    for _ in range(amount):
        await asyncio.sleep(0)


async def soon(work: Awaitable[Result]) -> Result:
    """Await something that must not take long."""
    async with asyncio.timeout(DEADLINE):
        return await work


def state(ws: WebSocket) -> WebSocketState:
    """The state now; mypy believes that a property it has seen keeps its value."""
    return ws.connection_state


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came to that")
