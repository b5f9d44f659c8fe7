"""The writing half of a connection, upon the reading half: messages, pings and pongs go out.

The writing functions are changed for refusing ones at the end, so that nobody asks before each
message whether it has come; nothing may be written to the descriptor after that.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from telex.close_codes import CloseCode
from telex.server._assembly import BINARY, CLOSE, FIN, PING, PONG, TEXT
from telex.server._deflate import WORTH_IT
from telex.server._flow import Flow, flow_of
from telex.server._inbound import Bounds, Inbound
from telex.server._keepalive import Keepalive, keepalive
from telex.server._picows import NOTHING_READ, Wire
from telex.server._violation import Violation

_LONG_STREAK: Final = 64 * 1024
"""Bytes that may be written in one turn of the event loop, until the next `drain`."""


class ClientDisconnected(OSError):
    """A message was sent to a client that is gone."""


class Outbound(Inbound):
    """What goes out on one connection.

    Args:
        transport: Of the connection.
        loop: Its event loop.
        bounds: What it may take.
    """

    __slots__ = (
        "_full",
        "_reliefs",
        "_room",
        "_streak",
        "_wire",
        "beat",
        "keepalive",
        "latency",
        "writable",
        "write_bytes",
        "write_text",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        bounds: Bounds,
    ) -> None:
        super().__init__(transport, loop, bounds)
        self._room: asyncio.Future[None] | None = None
        self._wire: Wire | None = None
        self._full = False
        # How often the outgoing buffer was full, and had room again.
        self._reliefs = 0
        self._streak = 0
        self.writable = True
        """Whether the outgoing buffer is below its high-water mark."""
        self.beat: tuple[float | None, float | None] | None = None
        """Seconds between pings, and for an answer; `None`: what the server has for all."""
        self.keepalive: Keepalive | None = None
        """What pings it."""
        self.latency: float | None = None
        """Seconds the last ping took, `None` before the first pong."""
        self.write_text: Callable[[str], Any] = refuse
        """Write one text message."""
        self.write_bytes: Callable[[bytes], Any] = refuse
        """Write one binary message."""

    def on_ws_connected(self, transport: Any) -> None:
        self._wire = transport
        if self.compression is None:
            send = transport.send
            self.write_text = partial(send, TEXT)
            self.write_bytes = partial(send, BINARY)
        else:
            self.write_text = self._write_compressed
            self.write_bytes = self._write_compressed

    def _write_compressed(self, data: str | bytes) -> None:
        wire, compression = self._wire, self.compression
        assert wire is not None
        assert compression is not None
        kind = TEXT if isinstance(data, str) else BINARY
        payload = data.encode() if isinstance(data, str) else data
        if len(payload) < WORTH_IT:
            wire.send(kind, payload)
        else:
            wire.send(kind, compression.deflate(payload), True, True)

    def prepare(self, data: str | bytes) -> bytes:
        return frame(TEXT, data.encode()) if isinstance(data, str) else frame(BINARY, data)

    def write_frame(self, prepared: bytes) -> None:
        if self.closed is not None:
            refuse(prepared)
        self.write_raw(prepared)

    def _write_plainly(self, data: str | bytes) -> None:
        self.write_frame(self.prepare(data))

    def write_raw(self, *parts: bytes) -> None:
        """Write bytes to the transport.

        Whoever writes much without a pause waits for a turn of the event loop at its next `drain`:
        some transports throw away what is written to a client that is gone, and can say so only in
        such a turn.
        """
        transport = self._transport
        if len(parts) == 1:
            transport.write(parts[0])
        else:
            transport.writelines(parts)
        self._streak += sum(map(len, parts))
        if transport.is_closing():
            self.on_broken()
        elif self._streak > _LONG_STREAK and self.writable:
            self.writable = False
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._streak = 0
        if not self._full:
            self.resume_writing()

    def on_broken(self) -> None:
        """A write has found that the client is gone; the transport will tell later."""
        raise NotImplementedError

    async def drain(self) -> None:
        while not self.writable:
            if self._room is None:
                self._room = self._loop.create_future()
            # Shared by all who wait; one of them may be cancelled.
            await asyncio.shield(self._room)

    def pause_writing(self) -> None:
        self._full = True
        self.writable = False

    def resume_writing(self) -> None:
        self._reliefs += self._full
        self._full = False
        self.writable = True
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    @property
    def buffered(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        transport = self._transport
        return 0 if transport.is_closing() else transport.get_write_buffer_size()

    def on_control(self, first_byte: int, payload: bytes) -> None:
        if first_byte == FIN | PING:
            # A client that does not read gets no pongs either (RFC 6455 §5.5.3 asks for the last).
            if self.writable and self.closed is None:
                self.write_raw(frame(PONG, payload))
        elif first_byte == FIN | PONG:
            self._on_pong(payload)
        elif first_byte == FIN | CLOSE:
            self.on_close_frame(payload)
        else:
            raise Violation(CloseCode.PROTOCOL_ERROR, "reserved bits must be 0")

    def heartbeat(self, interval: float, timeout: float) -> None:
        self.beat = (None if interval == math.inf else interval, timeout)
        if self._wire is not None:
            # A middleware has accepted.
            self.keep_alive(*self.beat)

    def keep_alive(self, interval: float | None, timeout: float | None) -> None:
        """Be pinged like that from now on, and no more as before; see `keepalive`."""
        if self.keepalive is not None:
            self.keepalive.discard(self)
        self.keepalive = keepalive(self._loop, interval, timeout)
        if self.keepalive is not None:
            self.keepalive.add(self)

    def ping(self) -> None:
        """Send a ping, unless one is unanswered or its answer would not be read."""
        if self.pinged is None and self.closed is None and not self._paused:
            self.pinged = self._loop.time()
            self.count = NOTHING_READ
            self.write_raw(frame(PING, struct.pack("!d", self.pinged)))

    def visit(self, _now: float, _late: float) -> None:
        """Be visited by the keepalive."""
        self.ping()

    @property
    def silent(self) -> bool:
        """Whether nothing at all was read since the last ping."""
        return self.count == NOTHING_READ

    def flow(self) -> Flow:
        """Return how far what is sent has come; see `telex.server._flow`."""
        taken, waiting = flow_of(self._transport)
        return Flow(taken + self._reliefs, waiting)

    def _on_pong(self, payload: bytes) -> None:
        if self.pinged is not None and payload == struct.pack("!d", self.pinged):
            self.latency = self._loop.time() - self.pinged
            self.pinged = None

    def on_close_frame(self, payload: bytes) -> None:
        """Take a close frame.

        Raises:
            Violation: The client may not send that.
        """
        raise NotImplementedError


def frame(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((FIN | kind, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", FIN | kind, 126, size) + payload
    return struct.pack("!BBQ", FIN | kind, 127, size) + payload


def refuse(_data: object) -> None:
    raise ClientDisconnected("the client is gone")
