"""A transport without a socket and an event loop without waiting, to try many inputs quickly."""

from __future__ import annotations

import asyncio
import selectors
import socket
from typing import Any, Final


class _Jump(selectors.DefaultSelector):
    """Lets the time pass in no time: nothing but timers ever becomes ready."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and no timer is set")
        self.now += max(timeout, 0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        # Also where `-X dev` says otherwise: it takes ten times as long, and finds nothing here.
        self.set_debug(False)
        # After millions of seconds a float is no longer exact to the nanosecond that asyncio allows
        # timers to be early by, and the last of them would never come.
        self._clock_resolution = 1e-3

    def time(self) -> float:
        return self._jump.now


class _Socket:
    """Stands in for a socket: whoever writes to its number gets an error."""

    family = socket.AF_UNIX

    def setsockopt(self, *_options: object) -> None:
        pass

    def fileno(self) -> int:
        return -1


_SOCKET: Final = _Socket()


class VirtualTransport(asyncio.Transport):
    """Gives bytes to its protocol as asyncio's transports do, and keeps what is written.

    Args:
        loop: Of the connection.
        tls: Whether its side cannot be shut alone.
        room: Bytes that the client reads; `None` for all.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, tls: bool = False, room: int | None = None
    ) -> None:
        # An `ssl_object` keeps picows from writing to the descriptor behind the transport's back.
        super().__init__({"ssl_object": True, "socket": _SOCKET})
        self._loop = loop
        self._tls = tls
        self._room = room
        self._protocol: Any = None
        self._closing = self._going = False
        self.written = bytearray()
        self.paused = False
        self.shut = False
        self.gone = False

    # What protocols call

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        return self._closing

    @property
    def clogged(self) -> bool:
        """Whether more was written than the client reads."""
        return self._room is not None and len(self.written) > self._room

    def close(self) -> None:
        if self.clogged:
            # It is over when everything is sent, which is never.
            self._closing = True
        else:
            self._go(None)

    def abort(self) -> None:
        self._go(None)

    def _go(self, error: Exception | None) -> None:
        self._closing = True
        if not self._going:
            self._going = True
            self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        self.gone = True
        self._protocol.connection_lost(error)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_reading(self) -> bool:
        return not self.paused and not self._closing

    def get_write_buffer_size(self) -> int:
        return int(self.clogged)

    def can_write_eof(self) -> bool:
        return not self._tls

    def write_eof(self) -> None:
        assert not self._tls
        self.shut = True

    def write(self, data: Any) -> None:
        assert not self.shut, "written after the end"
        if not self._closing:
            before = self.clogged
            self.written += data
            if self.clogged and not before:
                self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    # What the network does

    def feed(self, data: bytes) -> bytes:
        """Have data come in; return what is not read, because the transport is paused or gone."""
        while data and self.is_reading():
            protocol = self._protocol
            if isinstance(protocol, asyncio.BufferedProtocol):
                view: Any = protocol.get_buffer(-1)
                size = min(len(view), len(data))
                assert size > 0, "an empty buffer"
                view[:size] = data[:size]
                protocol.buffer_updated(size)
                data = data[size:]
            else:
                piece, data = data, b""
                protocol.data_received(piece)
        return data

    def feed_eof(self) -> None:
        """Have the client shut its side."""
        if self.is_reading() and not self._protocol.eof_received():
            self.close()

    def reset(self) -> None:
        """Have the connection break."""
        self._go(ConnectionResetError("reset"))
