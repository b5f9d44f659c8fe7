"""Handlers that end in every way, as an application of each framework."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import telex
from telex._types import ASGIApp, Receive, Scope, Send

MANY = 200
"""How many messages of `BLOCK` characters are sent to the client that does not read."""

BLOCK = "x" * 65536


MOMENT = 0.05
"""Seconds that a client which has connected gets to begin to wait."""


class OwnError(Exception):
    """What a failing handler raises."""


class Socket(Protocol):
    """What the sockets of all frameworks have."""

    def accept(self) -> Awaitable[Any]: ...
    def send_text(self, data: str, /) -> Awaitable[Any]: ...
    def receive_text(self) -> Awaitable[str]: ...
    def close(self, *, code: int, reason: str) -> Awaitable[Any]: ...


@dataclass
class Notes:
    """What one run of a handler leaves for those who measure.

    Attributes:
        handler: What has become of the handler.
        task: The task that it left behind.
        sent: How many messages it has sent.
    """

    handler: str = "never began"
    task: asyncio.Task[object] | None = None
    sent: int = 0


Handler = Callable[[Socket, Notes], Awaitable[None]]


async def _accepts(ws: Socket, notes: Notes) -> None:
    await ws.accept()
    await asyncio.sleep(MOMENT)


async def _does_nothing(ws: Socket, notes: Notes) -> None: ...


async def _fails_first(ws: Socket, notes: Notes) -> None:
    raise OwnError("mine")


async def _fails(ws: Socket, notes: Notes) -> None:
    await ws.accept()
    await asyncio.sleep(MOMENT)
    raise OwnError("mine")


async def _refuses(ws: Socket, notes: Notes) -> None:
    await _refuse(ws)


async def _closes(ws: Socket, notes: Notes) -> None:
    await ws.accept()
    await asyncio.sleep(MOMENT)
    await ws.close(code=4001, reason="bye")


async def _streams(ws: Socket, notes: Notes) -> None:
    await ws.accept()
    while True:
        await ws.send_text("more")
        await asyncio.sleep(0)


async def _streams_without_pause(ws: Socket, notes: Notes) -> None:
    await ws.accept()
    while True:
        await ws.send_text("more")


async def _looks_away(ws: Socket, notes: Notes) -> None:
    await ws.accept()
    await ws.send_text("ready")
    await asyncio.Event().wait()


async def _never_accepts(ws: Socket, notes: Notes) -> None:
    await asyncio.Event().wait()


async def _listens(ws: Socket, notes: Notes) -> None:
    await ws.accept()
    with contextlib.suppress(Exception):
        await ws.receive_text()


async def _leaves_a_task(ws: Socket, notes: Notes) -> None:
    await ws.accept()
    notes.task = asyncio.create_task(asyncio.Event().wait())
    await ws.send_text("ready")
    with contextlib.suppress(Exception):
        await ws.receive_text()


async def _sends_much(ws: Socket, notes: Notes) -> None:
    await ws.accept()
    await asyncio.sleep(MOMENT)
    for _ in range(MANY):
        await ws.send_text(BLOCK)
        notes.sent += 1
    with contextlib.suppress(Exception):
        await ws.receive_text()


HANDLERS: dict[str, Handler] = {
    "returns": _accepts,
    "returns first": _does_nothing,
    "raises first": _fails_first,
    "raises": _fails,
    "rejects": _refuses,
    "closes": _closes,
    "sends on": _streams,
    "sends on without a pause": _streams_without_pause,
    "waits elsewhere": _looks_away,
    "never accepts": _never_accepts,
    "says nothing": _listens,
    "leaves a task": _leaves_a_task,
    "is not read": _sends_much,
    "stops reading": _sends_much,
}
"""By the name of the ending, in the order of the table."""


async def _refuse(ws: Socket) -> None:
    """Answer with 418 and a body, in the framework's own way."""
    if isinstance(ws, Plain):
        await ws.refuse()
    elif isinstance(ws, telex.WebSocket):
        await ws.reject(418, body="no")
    elif type(ws).__module__.startswith("litestar."):
        from litestar.exceptions import HTTPException

        raise HTTPException("no", status_code=418)
    else:
        from starlette.responses import PlainTextResponse

        await cast(Any, ws).send_denial_response(PlainTextResponse("no", 418))


async def _noted(handler: Handler, ws: object, notes: Notes) -> None:
    notes.handler = "goes on"
    try:
        await handler(cast(Socket, ws), notes)
    except asyncio.CancelledError:
        notes.handler = "is cancelled"
        raise
    except Exception:
        notes.handler = "fails"
        raise
    notes.handler = "ends"


class Plain:
    """The messages of ASGI with names."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send

    async def accept(self) -> None:
        await self._receive()
        await self._send({"type": "websocket.accept"})

    async def send_text(self, data: str, /) -> None:
        await self._send({"type": "websocket.send", "text": data})

    async def receive_text(self) -> str:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise ConnectionError
        return str(message["text"])

    async def close(self, *, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def refuse(self) -> None:
        """Deny, where the server offers it."""
        if "websocket.http.response" not in (self._scope.get("extensions") or {}):
            await self._send({"type": "websocket.close", "code": 1000})
            return
        start = {"type": "websocket.http.response.start", "status": 418, "headers": []}
        await self._send(start)
        await self._send({"type": "websocket.http.response.body", "body": b"no"})


def _asgi(handler: Handler, notes: Notes) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _noted(handler, Plain(scope, receive, send), notes)
            return
        for _ in range(2):
            message = await receive()
            await send({"type": message["type"] + ".complete"})

    return app


def _starlette(handler: Handler, notes: Notes) -> ASGIApp:
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    async def endpoint(socket: WebSocket) -> None:
        await _noted(handler, socket, notes)

    return cast(ASGIApp, Starlette(routes=[WebSocketRoute("/", endpoint)]))


def _fastapi(handler: Handler, notes: Notes) -> ASGIApp:
    import fastapi

    async def endpoint(socket: Any) -> None:
        await _noted(handler, socket, notes)

    # The annotation must be the class itself: fastapi is imported where it is needed.
    endpoint.__annotations__["socket"] = fastapi.WebSocket
    app = fastapi.FastAPI()
    app.websocket("/")(endpoint)
    return cast(ASGIApp, app)


def _litestar(handler: Handler, notes: Notes) -> ASGIApp:
    import litestar

    async def endpoint(socket: Any) -> None:
        await _noted(handler, socket, notes)

    endpoint.__annotations__.update({"socket": litestar.WebSocket, "return": None})
    routes = [litestar.websocket("/")(endpoint)]
    return cast(ASGIApp, litestar.Litestar(routes, logging_config=None, openapi_config=None))


def _telex(handler: Handler, notes: Notes) -> ASGIApp:
    app = telex.App()

    @app.websocket("/")
    async def endpoint(ws: telex.WebSocket) -> None:
        await _noted(handler, ws, notes)

    return app


FRAMEWORKS: dict[str, Callable[[Handler, Notes], ASGIApp]] = {
    "ASGI": _asgi,
    "Starlette": _starlette,
    "FastAPI": _fastapi,
    "Litestar": _litestar,
    "Telex": _telex,
}
"""Make an application that has one handler at `/`."""


def build(framework: str, ending: str, notes: Notes) -> ASGIApp:
    """An application that ends in one way."""
    return FRAMEWORKS[framework](HANDLERS[ending], notes)
