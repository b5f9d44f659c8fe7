"""Applications with connection middleware, and objects that have hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from channel import PATHS, FakeChannel, triple_over
from opened import soon, turns, until
from telex import App, WebSocket
from telex._types import ASGIApp, CloseRecord, Message

Log = list[str]
Data = str | bytes
Handler = Callable[[WebSocket], Awaitable[object]]

both_ways = pytest.mark.parametrize("path", PATHS)


class Marking:
    """Has every hook, and leaves its name on each message."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log

    async def on_handshake(self, ws: WebSocket) -> None:
        self.log.append(f"{self.name} handshake {ws.path}")

    def on_message(self, ws: WebSocket, data: Data) -> Data:
        return data + f"<{self.name}" if isinstance(data, str) else data + f"<{self.name}".encode()

    def on_send(self, ws: WebSocket, data: Data) -> Data:
        return data + f">{self.name}" if isinstance(data, str) else data + f">{self.name}".encode()

    async def on_close(self, ws: WebSocket, record: CloseRecord) -> None:
        self.log.append(f"{self.name} close {record.code} by the {record.closed_by}")


class Watching:
    """Changes nothing, and keeps what it saw."""

    def __init__(self) -> None:
        self.messages: list[Data] = []
        self.sent: list[Data] = []
        self.records: list[CloseRecord | None] = []

    def on_message(self, ws: WebSocket, data: Data) -> None:
        self.messages.append(data)

    def on_send(self, ws: WebSocket, data: Data) -> None:
        self.sent.append(data)

    async def on_close(self, ws: WebSocket, record: CloseRecord | None) -> None:
        self.records.append(record)


class Raising:
    """Raises where it is told to."""

    def __init__(self, hook: str, exc: Exception) -> None:
        self.hook = hook
        self.exc = exc

    def _raise(self, hook: str) -> None:
        if hook == self.hook:
            raise self.exc

    async def on_handshake(self, ws: WebSocket) -> None:
        self._raise("on_handshake")

    def on_message(self, ws: WebSocket, data: Data) -> None:
        self._raise("on_message")

    def on_send(self, ws: WebSocket, data: Data) -> None:
        self._raise("on_send")

    async def on_close(self, ws: WebSocket, record: CloseRecord) -> None:
        self._raise("on_close")


def hooked(handler: Handler, *middleware: object, **options: Any) -> App:
    """An application with one handler behind connection middleware."""
    app = App(connection_middleware=middleware, **options)
    app.websocket("/")(handler)
    return app


async def run(app: ASGIApp, path: str, *script: Message) -> FakeChannel:
    """Serve one connection over one of the paths, and return the server's side of it.

    The script begins after the accept; its disconnect comes when all has been answered.
    """
    channel = FakeChannel()
    serving = asyncio.ensure_future(app(*triple_over(path, channel)))
    await until(lambda: "accept" in channel.types or serving.done())
    for message in script:
        if message["type"] == "websocket.disconnect":
            await turns(50)
        channel.feed(message)
    await soon(serving)
    return channel


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws:
        await (ws.send_text(message) if isinstance(message, str) else ws.send_bytes(message))
