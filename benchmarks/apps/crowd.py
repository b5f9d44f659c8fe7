"""The application of the crowd, with every limit on: `telex run apps.crowd:app`.

HTTP requests get what the process holds as JSON; `?settle` throws away first what nobody needs.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import re
from typing import Any, Final

from telex import App, Outbox, WebSocket

MAX_SIZE: Final = 16_384
RATE: Final = 50
"""Messages a second."""
PER_CLIENT: Final = 2
HANDSHAKE: Final = 2.0
IDLE: Final = 2.0
AGE: Final = 3.0

# The command sets up loggers of uvicorn only.
logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


async def known(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what the process holds."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    body = json.dumps(counts(settle=scope["query_string"] == b"settle")).encode()
    await send({"type": "http.response.body", "body": body})


def user_of(ws: WebSocket) -> str | None:
    """Say whose connection it is; who has no name is not counted."""
    return ws.query_params.get("user")


app = App(
    http=known,
    max_message_size=MAX_SIZE,
    max_messages_per_second=RATE,
    max_connections=100_000,
    max_connections_per_client=PER_CLIENT,
    client_key=user_of,
    handshake_timeout=HANDSHAKE,
    idle_timeout=120.0,
    max_age=600.0,
    heartbeat=(10.0, 30.0),
    outbox=Outbox(max_messages=64, policy="close"),
    disconnect_grace=1.0,
)


@app.websocket("/rooms/{room}")
async def talk(ws: WebSocket) -> None:
    """Pass what is said on to everybody in the room."""
    room = ws.path_params["room"]
    await ws.accept()
    ws.label(user=user_of(ws), room=room)
    async for said in ws:
        for other in app.connections.find(room=room):
            other.send_nowait(said)


@app.websocket("/dismiss")
async def dismiss(ws: WebSocket) -> None:
    """Close the connections of a user, and say how many they were."""
    await ws.accept()
    closed = await app.connections.close(user=ws.query_params["name"], code=4401)
    await ws.send_text(str(closed))


@app.websocket("/hesitate")
async def hesitate(ws: WebSocket) -> None:
    """Never answer the handshake."""
    await asyncio.Event().wait()


@app.websocket("/listen", name=None)
@app.websocket("/idle", idle_timeout=IDLE)
@app.websocket("/age", max_age=AGE, name=None)
async def listen(ws: WebSocket) -> None:
    """Read, and say nothing."""
    await ws.accept()
    async for _ in ws:
        pass


@app.websocket("/push")
async def push(ws: WebSocket) -> None:
    """Send until there is no room."""
    await ws.accept()
    refused = False
    while not refused:
        refused = not ws.send_nowait("x" * MAX_SIZE)
        await asyncio.sleep(0)
    await ws.wait_closed()


def counts(*, settle: bool) -> dict[str, int]:
    """Count what the process holds."""
    if settle:
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
    [slots] = app._settings.slots
    with open("/proc/self/status", encoding="ascii") as status:
        resident = re.search(r"VmRSS:\s+(\d+) kB", status.read())
    assert resident is not None
    return {
        "connections": len(app.connections),
        "slots": len(slots),
        "clients": slots.clients,
        "labels": len(app.connections._labelled),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "objects": len(gc.get_objects()) if settle else 0,
        "memory": int(resident[1]) * 1024,
    }
