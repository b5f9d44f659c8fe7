"""The server of the soak test: a Telex application, a Starlette one, and what is known of both.

`python -m server.fuzz.soak_app LOOP` prints its port, and serves until it is told to stop. LOOP is
uvicorn's option of that name.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket

from telex import App, Depends, Reject, WebSocket

MAX_SIZE: Final = 1 << 20
PING: Final = 2.0
"""Seconds between pings."""
PONG: Final = 8.0
"""Seconds for an answer; enough for clients on a busy machine."""

telex_app = App()
kept: Counter[str] = Counter()


class Soaked(RuntimeError):
    """What handlers raise here on purpose."""


async def resource() -> AsyncIterator[int]:
    """Count what is open."""
    kept["resources"] += 1
    try:
        yield kept["resources"]
    finally:
        await asyncio.sleep(0)
        kept["resources"] -= 1


@telex_app.websocket("/echo")
async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws:
        if isinstance(message, str):
            await ws.send_text(message)
        else:
            await ws.send_bytes(message)


@telex_app.websocket("/push")
async def push(ws: WebSocket, it: Annotated[int, Depends(resource)]) -> None:
    await ws.accept()
    for number in range(2000):
        await ws.send_text(str(number) * 200)


@telex_app.websocket("/raise")
async def fail(ws: WebSocket, it: Annotated[int, Depends(resource)]) -> None:
    await ws.accept()
    await ws.receive_text()
    raise Soaked


@telex_app.websocket("/close")
async def close(ws: WebSocket, it: Annotated[int, Depends(resource)]) -> None:
    await ws.accept()
    await ws.receive_text()
    await ws.close(4000, "enough")


@telex_app.websocket("/reject")
async def reject(it: Annotated[int, Depends(resource)]) -> None:
    raise Reject(403)


async def starlette_echo(ws: StarletteWebSocket) -> None:
    await ws.accept()
    while (message := await ws.receive())["type"] == "websocket.receive":
        await ws.send({**message, "type": "websocket.send"})


async def starlette_raise(ws: StarletteWebSocket) -> None:
    await ws.accept()
    await ws.receive_text()
    raise Soaked


starlette_app = Starlette(
    routes=[
        WebSocketRoute("/starlette/echo", starlette_echo),
        WebSocketRoute("/starlette/raise", starlette_raise),
    ]
)


def serve(loop: str) -> None:
    """Serve both applications, and what is known of the server as JSON over HTTP."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            counts = json.dumps(known(server)).encode()
            await send({"type": "http.response.body", "body": counts})
        elif scope.get("path", "").startswith("/starlette/"):
            await starlette_app(scope, receive, send)
        else:
            await telex_app(scope, receive, send)

    for name in ("uvicorn.error", "telex"):
        logging.getLogger(name).addFilter(_is_unexpected)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        config = uvicorn.Config(
            app,
            ws="telex.server:WebSocketProtocol",
            loop=loop,
            ws_max_size=MAX_SIZE,
            ws_ping_interval=PING,
            ws_ping_timeout=PONG,
            log_level="error",
            timeout_keep_alive=1,
        )
        server = uvicorn.Server(config)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        server.run(sockets=[listener])


def _is_unexpected(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], Soaked))


def known(server: uvicorn.Server) -> dict[str, int]:
    """Count what the server process holds, without what nobody holds any more."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return {
        "connections": len(server.server_state.connections),
        "server tasks": len(server.server_state.tasks),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "resources": kept["resources"],
        "objects": len(gc.get_objects()),
    }


if __name__ == "__main__":
    serve(sys.argv[1])
