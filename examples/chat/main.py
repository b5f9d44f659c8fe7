"""A live chat: rooms, names, who is here. Run it with `telex run main:app`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from messages import MAX_FRAME, Error, Join, Ping, Pong, Say, SlowDown, ToClient, decode, encode
from rooms import Hub, Member, Refused, RoomFull, TokenBucket, is_room_name
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import telex

STATIC = Path(__file__).parent / "static"
JOIN_DEADLINE = 10.0
"""Seconds a client may take to say its name."""
PATIENCE = 30.0
"""A client that owes more seconds than this to the token bucket is cut off."""
TAKEN_OVER = 4409
"""Close code for a connection that a newer one of the same page has replaced."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def index(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


async def add_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


pages = Starlette(
    routes=[Route("/", index), Mount("/static", StaticFiles(directory=STATIC), name="static")],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=add_headers)],
)

# What waits for a client that does not read is bounded; beyond it, that client is closed with
# 4008 and everybody else goes on.
outbox = telex.Outbox(max_messages=256, max_bytes=512 * 1024, policy="close")
app = telex.App(http=pages, outbox=outbox)
hub = Hub()


@app.websocket("/ws/{room}")
async def chat(ws: telex.WebSocket) -> None:
    room: str = ws.path_params["room"]
    if not is_room_name(room):
        await ws.reject(404, visible=4404)
        return
    await ws.accept()
    visit = Visit(room, ws.send_nowait)
    try:
        async with asyncio.timeout(JOIN_DEADLINE) as deadline:
            async for data in ws:
                visit.take(data)
                if visit.member is not None:
                    deadline.reschedule(None)
    except TimeoutError:
        await ws.close(telex.CloseCode.TIMEOUT, "no name was given in time")
    finally:
        visit.end()


class Visit:
    """One client's stay: what it sends comes in, what it gets goes out through `send`."""

    def __init__(self, room: str, send: Callable[[str], object]) -> None:
        self.room = room
        self.send = send
        self.member: Member | None = None
        self.bucket = TokenBucket(time.monotonic)

    def take(self, data: str | bytes) -> None:
        """Answer one message. Whatever is in it, it is answered or the client is closed."""
        if len(data) > MAX_FRAME:
            raise telex.WebSocketException(telex.CloseCode.MESSAGE_TOO_BIG, "message too long")
        wait = self.bucket.take()
        if wait > PATIENCE:
            raise telex.WebSocketException(telex.CloseCode.POLICY_VIOLATION, "too many messages")
        try:
            message = decode(data)
        except ValueError as error:
            self.reply(Error(str(error)))
            return
        if wait:
            again = message.id if isinstance(message, Say) else None
            self.reply(SlowDown("Not so fast, please.", retry_in=wait, id=again))
        elif isinstance(message, Ping):
            self.reply(Pong(hub.busiest()))
        elif isinstance(message, Join):
            self.join(message)
        else:
            self.say(message)

    def join(self, message: Join) -> None:
        if self.member is not None:
            self.reply(Error("You are here already."))
            return
        try:
            self.member = hub.join(self.room, message.name, message.key, self.send)
        except RoomFull:
            raise telex.WebSocketException(
                telex.CloseCode.TRY_AGAIN_LATER, "this room is full"
            ) from None

    def say(self, message: Say) -> None:
        if self.member is None:
            self.reply(Error("Say your name first: send a join message.", message.id))
        elif not hub.is_here(self.member):
            raise telex.WebSocketException(TAKEN_OVER, "this page is connected a second time")
        else:
            try:
                self.member.room.say(self.member, message)
            except Refused as error:
                self.reply(Error(str(error), message.id))

    def reply(self, message: ToClient) -> None:
        self.send(encode(message))

    def end(self) -> None:
        if self.member is not None:
            hub.leave(self.member)
