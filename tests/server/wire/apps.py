"""Applications that tests have served, and what they write down."""

from __future__ import annotations

import queue
from collections.abc import Awaitable, Callable
from typing import Any

from server.wire.serving import DEADLINE, Gate
from telex._types import ASGIApp, Message, Receive, Scope, Send

ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close"}

Part = Callable[[Receive, Send], Awaitable[object]]


class Notes:
    """What an application has written down, for a test in another thread."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def add(self, note: object) -> None:
        self._queue.put(note)

    def get(self, timeout: float = DEADLINE) -> Any:
        """Wait for the next note."""
        return self._queue.get(timeout=timeout)

    @property
    def empty(self) -> bool:
        return self._queue.empty()


def sending(data: str | bytes) -> Message:
    """Return the event that sends a message."""
    return {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}


def received(data: str | bytes) -> Message:
    """Return the event of a message that came."""
    return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}


def disconnected(code: int, reason: str = "") -> Message:
    """Return the event of an end."""
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def closing(code: int, reason: str = "") -> Message:
    """Return the event that ends a connection."""
    return {"type": "websocket.close", "code": code, "reason": reason}


def denying(status: int, *parts: bytes, headers: object = ()) -> list[Message]:
    """Return the events of a denial response; the last part of the body ends it."""
    start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
    kind = "websocket.http.response.body"
    bodies = [{"type": kind, "body": part, "more_body": True} for part in parts[:-1]]
    return [start, *bodies, {"type": kind, "body": parts[-1] if parts else b""}]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


def listening(notes: Notes) -> ASGIApp:
    """Return an application that writes down every event after the connect."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send(ACCEPT)
        while True:
            notes.add(event := await receive())
            if event["type"] == "websocket.disconnect":
                return

    return app


def saying(*messages: Message, then: Part | None = None) -> ASGIApp:
    """Return an application that reads the connect, sends these events and goes on with `then`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        for message in messages:
            await send(message)
        if then is not None:
            await then(receive, send)

    return app


async def to_the_end(receive: Receive, send: Send) -> Message:
    """Receive until the disconnect, and return it."""
    while (event := await receive())["type"] != "websocket.disconnect":
        pass
    return event


def waiting(gate: Gate, then: Part = to_the_end) -> ASGIApp:
    """Return an application that accepts, and waits before it does anything else."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await gate.wait()
        await receive()
        await then(receive, send)

    return app


async def attempt(notes: Notes, call: Awaitable[object]) -> None:
    """Write down the exception that something raises, or `None`."""
    try:
        await call
    except Exception as error:
        notes.add(error)
    else:
        notes.add(None)
