"""Handlers that end in every way, for `test_endings.py`, and what connects to them.

The applications around them are those that the test clients are compared with.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import telex
from telex._types import ASGIApp, Receive, Scope, Send
from telex.testing import AsyncTestClient, AsyncTestSession
from testing.rival_apps import FRAMEWORKS, Notes, Plain, Socket

LIMIT = 1.0
"""Seconds that a whole scene may take, whatever the application does."""

PATIENCE = 0.25
"""Seconds that one wait of the client may take."""

WHY = {"why": "full"}
"""The body of a denial."""

Handler = Callable[[Socket], Awaitable[None]]


class OwnError(Exception):
    """What failing handlers raise."""


def build(framework: str, handler: Handler) -> ASGIApp:
    """An application of a framework that has this handler at `/`."""

    async def noted(ws: Socket, notes: Notes) -> None:
        await handler(ws)

    return FRAMEWORKS[framework](noted, Notes())


@asynccontextmanager
async def connected(app: ASGIApp, **options: Any) -> AsyncIterator[AsyncTestSession]:
    """Connect within the limit, which counts for the block and for leaving it as well."""
    options = {"timeout": PATIENCE, **options}
    limit, client = asyncio.timeout(LIMIT), AsyncTestClient(app, **options)
    async with limit, client, client.websocket("/") as ws:
        yield ws


async def connect(app: ASGIApp, *expected: str, **options: Any) -> None:
    """Connect, read what is expected, and leave at once."""
    async with connected(app, **options) as ws:
        for text in expected:
            assert await ws.receive_text() == text


# Handlers


async def returns_without_closing(ws: Socket) -> None:
    await ws.accept()
    await ws.send_text("last")


async def returns_at_once(ws: Socket) -> None: ...


async def raises_at_once(ws: Socket) -> None:
    raise OwnError("before accept")


async def raises_after_a_message(ws: Socket) -> None:
    await ws.accept()
    await ws.send_text("first")
    raise OwnError("after accept")


async def raises_after_the_answer(ws: Socket) -> None:
    await ws.accept()
    await ws.receive_text()
    raise OwnError("after a message")


async def raises_a_group(ws: Socket) -> None:
    await ws.accept()
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.Event().wait())
        await ws.send_text("in a group")
        raise OwnError("in a group")


async def cancels_itself(ws: Socket) -> None:
    await ws.accept()
    await ws.send_text("going")
    raise asyncio.CancelledError


async def cancels_itself_at_once(ws: Socket) -> None:
    raise asyncio.CancelledError


async def closes_first(ws: Socket) -> None:
    await ws.accept()
    await ws.send_text("last")
    await ws.close(code=4001, reason="bye")


async def closes_before_accept(ws: Socket) -> None:
    if isinstance(ws, Plain):
        await ws._receive()
    await ws.close(code=4002, reason="not you")


async def sends_without_end(ws: Socket) -> None:
    await ws.accept()
    while True:
        await ws.send_text("more")


async def listens(ws: Socket) -> None:
    """Read until the client has left."""
    await ws.accept()
    with contextlib.suppress(ConnectionError):
        while True:
            await ws.receive_text()


async def never_accepts(ws: Socket) -> None:
    await asyncio.Event().wait()  # never accepts


async def is_parked(ws: Socket) -> None:
    await ws.accept()
    await ws.send_text("parked")
    await asyncio.Event().wait()  # parked here


async def leaves_a_task(ws: Socket) -> None:
    await ws.accept()
    child = asyncio.create_task(waits_for_ever(), name="left behind")
    assert not child.done()
    await ws.send_text("on its way")


async def waits_for_ever() -> None:
    await asyncio.Event().wait()  # the child


async def leaves_a_task_and_raises(ws: Socket) -> None:
    await leaves_a_task(ws)
    raise OwnError("and a task is left")


async def raises_when_the_client_has_left(ws: Socket) -> None:
    await ws.accept()
    try:
        await ws.receive_text()
    finally:
        raise OwnError("in finally")


async def swallows_the_cancellation(ws: Socket) -> None:
    await ws.accept()
    await ws.send_text("parked")
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def swallows_every_cancellation(ws: Socket) -> None:
    """Until the third, so that nothing is left behind for good."""
    await ws.accept()
    await ws.send_text("parked")
    for _ in range(3):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def rejects(ws: Socket) -> None:
    """Answer with 418, a header and JSON, in the framework's own way."""
    headers = {"x-why": "full"}
    if isinstance(ws, telex.WebSocket):
        fields = {**headers, "content-type": "application/json"}
        await ws.reject(418, body=json.dumps(WHY), headers=fields)
    elif isinstance(ws, Plain):
        await _deny(ws._scope, ws._receive, ws._send)
    elif type(ws).__module__.startswith("litestar."):
        from litestar.exceptions import HTTPException

        raise HTTPException("full", status_code=418)
    else:
        from starlette.responses import JSONResponse
        from starlette.websockets import WebSocket

        assert isinstance(ws, WebSocket)
        await ws.send_denial_response(JSONResponse(WHY, 418, headers))


async def _deny(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    fields = [(b"x-why", b"full"), (b"content-type", b"application/json")]
    start = {"type": "websocket.http.response.start", "status": 418, "headers": fields}
    await send(start)
    body = json.dumps(WHY).encode()
    await send({"type": "websocket.http.response.body", "body": body[:5], "more_body": True})
    await send({"type": "websocket.http.response.body", "body": body[5:]})
