"""A frame channel in memory, and the paths on which a connection can run.

`FakeChannel` is the server's side of one connection: a script of events to receive and a log of
what was sent, whichever way it went. `connecting_over(path)` offers it to a `WebSocket`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from opened import soon
from peer import make_scope
from telex import WebSocket
from telex._types import FRAMES_EXTENSION, CloseRecord, Message, Receive, Scope, Send

PATHS: Final = ("asgi", "frames", "wrapped send", "wrapped receive", "wrapped both")
"""Plain ASGI; the frame channel both ways; with a middleware around one direction, or both."""


class FakeChannel:
    """Implements `telex._types.FrameChannel`, and the ASGI callables it belongs to.

    `feed` lets events arrive, `drop` lets the peer go without a word, `block` and `unblock` fill
    and empty the outgoing buffer. `frames_in` and `frames_out` count what went through the
    channel, `events_in` and `events_out` what went through ASGI.
    """

    def __init__(self, *script: Message, connect: bool = True) -> None:
        self.asgi_receive: Receive = self._receive
        self.asgi_send: Send = self._send
        self.closed: CloseRecord | None = None
        self.latency: float | None = None
        self.aborted = False
        self.refused = False
        """Whether something was sent after the peer had gone."""
        self.log: list[dict[str, Any]] = []
        self.frames_in = self.frames_out = self.events_in = self.events_out = 0
        self._incoming: deque[Message] = deque()
        self._callbacks: list[Callable[[CloseRecord], None]] = []
        self._waiter: asyncio.Future[None] | None = None
        self._begin: Callable[[str | bytes], bool] | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._buffered = 0
        if connect:
            self.feed({"type": "websocket.connect"})
        self.feed(*script)

        self.max_size: int | None = None
        self.beat: tuple[float, float] | None = None

    def limit_size(self, size: int, too_big: Callable[[], None]) -> None:
        self.max_size = size

    def heartbeat(self, interval: float, timeout: float) -> None:
        self.beat = (interval, timeout)

    # The peer

    def feed(self, *messages: Message) -> None:
        """Let events arrive."""
        for message in messages:
            if self._is_taken_at_once(message):
                continue
            self._incoming.append(message)
            if message["type"] == "websocket.disconnect":
                reason = message.get("reason") or ""
                self._end(CloseRecord(message.get("code", 1000), reason, "client"))
        self._wake()

    def deliver(self, *messages: Message) -> None:
        """Let events arrive as from a server's transport: outside of every task."""
        asyncio.get_running_loop().call_soon(self.feed, *messages)

    def drop(self) -> None:
        """Let the peer be gone without a close frame."""
        self.feed({"type": "websocket.disconnect", "code": 1006})

    def block(self) -> None:
        """Let the outgoing buffer be full."""
        self._room.clear()

    def unblock(self) -> None:
        """Let the peer read what is buffered."""
        self._buffered = 0
        self._room.set()

    @property
    def types(self) -> list[str]:
        """The types of what was sent, without the `websocket.` in front."""
        return [message["type"].removeprefix("websocket.") for message in self.log]

    @property
    def data(self) -> list[str | bytes]:
        """The payloads of the messages that were sent."""
        sends = [message for message in self.log if message["type"] == "websocket.send"]
        return [m["text"] if m.get("text") is not None else m["bytes"] for m in sends]

    @property
    def closes(self) -> list[tuple[int, str]]:
        """Code and reason of every close that was sent."""
        return [(m["code"], m["reason"]) for m in self.log if m["type"] == "websocket.close"]

    # The source

    @property
    def pending(self) -> int:
        return sum(message["type"] == "websocket.receive" for message in self._incoming)

    def poll(self) -> str | bytes | None:
        while self._incoming and self._incoming[0]["type"] == "websocket.connect":
            self._incoming.popleft()
        if not self._incoming or self._incoming[0]["type"] == "websocket.disconnect":
            return None
        message = self._incoming.popleft()
        self.frames_in += 1
        text: str | None = message.get("text")
        return text if text is not None else bytes(message["bytes"])

    def wait(self) -> asyncio.Future[None]:
        self._waiter = asyncio.get_running_loop().create_future()
        if self._incoming or self.closed is not None:
            self._waiter.set_result(None)
        return self._waiter

    # The channel

    def write_text(self, data: str) -> None:
        self._write({"type": "websocket.send", "text": data})

    def write_bytes(self, data: bytes) -> None:
        self._write({"type": "websocket.send", "bytes": data})

    def prepare(self, data: str | bytes) -> bytes:
        return b"T" + data.encode() if isinstance(data, str) else b"B" + data

    def write_frame(self, prepared: bytes) -> None:
        if prepared[:1] == b"T":
            self.write_text(prepared[1:].decode())
        else:
            self.write_bytes(prepared[1:])

    @property
    def writable(self) -> bool:
        return self._room.is_set()

    async def drain(self) -> None:
        await self._room.wait()

    @property
    def buffered(self) -> int:
        return self._buffered

    def on_close(self, callback: Callable[[CloseRecord], None]) -> None:
        self._callbacks.append(callback)

    def on_message(self, callback: Callable[[str | bytes], bool] | None) -> None:
        self._begin = callback

    def abort(self) -> None:
        self.aborted = True
        self.drop()

    # Below

    async def _receive(self) -> Message:
        while not self._incoming:
            self._arrived.clear()
            await self._arrived.wait()
        self.events_in += 1
        return self._incoming.popleft()

    async def _send(self, message: Message) -> None:
        if self.closed is not None:
            self.refused = True
            raise ConnectionResetError("the peer is gone")
        self.events_out += 1
        self.log.append(dict(message))
        if message["type"] == "websocket.send":
            await self._room.wait()

    def _write(self, message: dict[str, Any]) -> None:
        if self.closed is not None:
            self.refused = True
            raise ConnectionResetError("the peer is gone")
        self.frames_out += 1
        self.log.append(message)
        if not self.writable:
            self._buffered += len(message.get("text") or message.get("bytes") or "")

    def _end(self, record: CloseRecord) -> None:
        if self.closed is None:
            self.closed = record
            self._room.set()
            for callback in self._callbacks:
                asyncio.get_running_loop().call_soon(callback, record)

    def _is_taken_at_once(self, message: Message) -> bool:
        waits = self._waiter is not None and not self._waiter.done() and not self._incoming
        if self._begin is None or not waits or message["type"] != "websocket.receive":
            return False
        text: str | None = message.get("text")
        return self._begin(text if text is not None else bytes(message["bytes"]))

    def _wake(self) -> None:
        self._arrived.set()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def wrap_receive(receive: Receive) -> Receive:
    """Return what a middleware would hand on: another callable, the same events."""

    async def receive_through() -> Message:
        return await receive()

    return receive_through


def wrap_send(send: Send) -> Send:
    """Return what a middleware would hand on: another callable, the same events."""

    async def send_through(message: Message) -> None:
        await send(message)

    return send_through


def triple_over(path: str, channel: FakeChannel, **extra: Any) -> tuple[Scope, Receive, Send]:
    """Return what a server, and the middleware of a path, call an application with."""
    scope = make_scope(**extra)
    if path != "asgi":
        scope["extensions"] = {**scope["extensions"], FRAMES_EXTENSION: channel}
    receive, send = channel.asgi_receive, channel.asgi_send
    if path in ("wrapped receive", "wrapped both"):
        receive = wrap_receive(receive)
    if path in ("wrapped send", "wrapped both"):
        send = wrap_send(send)
    return scope, receive, send


def connecting_over(path: str, *script: Message, **extra: Any) -> tuple[WebSocket, FakeChannel]:
    """Return a connection before its handshake; keywords are keys of its scope."""
    channel = FakeChannel(*script)
    return WebSocket(*triple_over(path, channel, **extra)), channel


async def opened_over(path: str, *script: Message) -> tuple[WebSocket, FakeChannel]:
    """Return an accepted connection whose peer then sends a script."""
    ws, channel = connecting_over(path)
    await soon(ws.accept())
    channel.feed(*script)
    return ws, channel
