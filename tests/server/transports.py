"""A transport in memory, an event loop whose time passes at once, and frames as clients send them.

@in_no_time
async def test_a_deadline() -> None:
    transport = FakeTransport()
"""

from __future__ import annotations

import asyncio
import errno
import functools
import selectors
import socket
import struct
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Condition = Callable[[], object]
T = TypeVar("T")

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10

HOUR: Final = 3600.0
"""Seconds, which pass in no time; no test takes longer."""


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: the time jumps to the next timer."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everything waits, and no timer is set")
            self.now += max(timeout, 0)
        return ready


class QuickLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        # Also where `-X dev` says otherwise: it takes ten times as long, and finds nothing here.
        self.set_debug(False)
        self.complaints: list[Any] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return self._jump.now


async def within(work: Coroutine[Any, Any, T], seconds: float = HOUR) -> T:
    async with asyncio.timeout(seconds):
        return await work


def in_no_time(
    test: Callable[Parameters, Coroutine[Any, Any, None]],
) -> Callable[Parameters, None]:
    """Run a test on an event loop whose time passes at once, and fail for what it complains of."""

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        loop = QuickLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(within(test(*args, **kwargs)))
        assert loop.complaints == []

    return run


class FakeSocket:
    """Stands in for a socket: whoever writes to its number gets an error."""

    family = socket.AF_UNSPEC

    def __init__(self) -> None:
        self.options: list[tuple[Any, ...]] = []

    def setsockopt(self, *option: Any) -> None:
        self.options.append(option)

    def fileno(self) -> int:
        return -1


class FakeTransport(asyncio.Transport):
    """Gives bytes to its protocol as the transports of asyncio do, and keeps what is written.

    Args:
        tls: Whether it cannot be shut on one side.
        extra: What `get_extra_info` knows besides.
    """

    def __init__(self, *, tls: bool = False, extra: Mapping[str, Any] | None = None) -> None:
        # An `ssl_object` keeps picows from writing to the descriptor behind the transport's back.
        super().__init__({"ssl_object": True, "socket": FakeSocket(), **(extra or {})})
        self._loop = asyncio.get_running_loop()
        self._tls = tls
        self._leaving = False
        self.protocol: Any = None
        self.writes: list[bytes] = []
        self.buffered = 0
        self.breaks = False
        """Whether the next write finds that the client is gone."""
        self.vanished = False
        """Whether the client is gone already, and shutting our side finds it."""
        self.closing = self.aborted = self.shut = self.paused = self.gone = False
        self.resumed = 0
        """How often reading was to go on."""

    # What was done with it

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        written = self.written
        self.writes.clear()
        return written

    def frames(self) -> list[tuple[int, bytes]]:
        """Return the frames written since the last call: first byte and payload."""
        return frames_in(self.take())

    # What protocols call

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self.protocol
        return protocol

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        # That of asyncio cannot be aborted after that.
        assert not (self._tls and self.closing), "closed twice"
        self.lose(None)

    def abort(self) -> None:
        self.aborted = True
        self.lose(None)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self.resumed += 1

    def is_reading(self) -> bool:
        return not self.paused and not self.closing

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def can_write_eof(self) -> bool:
        return not self._tls

    def write_eof(self) -> None:
        assert not self._tls
        if self.vanished:
            raise OSError(errno.ENOTCONN, "not connected")
        self.shut = True

    def write(self, data: Any) -> None:
        assert not self.shut, "written after the end"
        if self.breaks:
            self.lose(ConnectionResetError("broken"))
        if not self.closing:
            self.writes.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    # What the network does

    def feed(self, data: bytes) -> bytes:
        """Have data come in; return what is not read, because it is paused or gone."""
        while data and self.is_reading():
            protocol = self.protocol
            if isinstance(protocol, asyncio.BufferedProtocol):
                view: Any = protocol.get_buffer(-1)
                size = min(len(view), len(data))
                assert size > 0, "an empty buffer"
                view[:size] = data[:size]
                data = data[size:]
                protocol.buffer_updated(size)
            else:
                piece, data = data, b""
                protocol.data_received(piece)
        return data

    def feed_eof(self) -> None:
        """Have the client say that nothing more comes."""
        if self.is_reading() and not self.protocol.eof_received():
            self.close()

    def lose(self, error: Exception | None) -> None:
        """Have the connection end; its protocol hears of it a turn later, and once."""
        self.closing = True
        if not self._leaving:
            self._leaving = True
            self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        self.gone = True
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connection_lost(error)


MASK: Final = b"\x11\x22\x33\x44"


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """Return a payload masked, or one that was masked."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def frame(
    kind: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
) -> bytes:
    """Return a frame as a client sends it; without a mask, as a server does."""
    bit = 0x80 if mask else 0
    size = len(payload)
    head = bytes(((FIN if fin else 0) | rsv | kind,))
    if size < 126:
        head += bytes((bit | size,))
    elif size < 1 << 16:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    return head + payload if mask is None else head + mask + masked(payload, mask)


def closing(code: int = 1000, reason: str = "") -> bytes:
    """Return the payload of a close frame."""
    return struct.pack("!H", code) + reason.encode()


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """Return the frames that a server wrote: first byte and payload."""
    frames = []
    while data:
        size, start = data[1], 2
        assert size < 128, "a server masks nothing"
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        assert len(data) >= start + size, "a frame is cut off"
        frames.append((data[0], data[start : start + size]))
        data = data[start + size :]
    return frames


KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""Of RFC 6455 §1.3."""


def head(
    *lines: bytes,
    target: bytes = b"/",
    first: bytes | None = None,
    without: bytes = b"",
) -> bytes:
    """Return the head of a handshake request, up to and with its last header line.

    Args:
        lines: Headers besides the usual.
        target: Of the request.
        first: The request line, instead of the usual one.
        without: The name of a header that is left out.
    """
    usual = [
        b"Host: h",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + KEY,
    ]
    usual = [line for line in usual if line.partition(b":")[0] != without]
    first = b"GET %b HTTP/1.1" % target if first is None else first
    return b"".join(line + b"\r\n" for line in [first, *usual, *lines])


async def turns(amount: int = 10) -> None:
    """Let the event loop turn."""
    for _ in range(amount):
        await asyncio.sleep(0)
