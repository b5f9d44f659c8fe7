"""Everything that Telex uses of picows, which parses and builds frames in C.

`WSProtocol` is no documented interface: `tests/server/test_picows.py` fails when a version moves
it, and `pyproject.toml` holds picows to one minor version. What has to be known about it:

1. It does a handshake of its own before it parses frames. It is given a canned request, and its
   answer goes nowhere: ours was sent before.
2. It asks the socket for TCP options, which Unix sockets refuse, and makes a logger for each
   connection unless what it is given is no `logging.Logger`.
3. It writes to the file descriptor itself while the transport's buffer is empty. After the end of
   the connection that number may be somebody else's. It writes nothing once it believes that the
   connection is lost, so that is what it is told at the end (`mute`).
4. It hands a view of its own buffer to `writelines`, which some transports keep.
5. It reports whole frames. What has come of an unfinished one is to be seen in `get_buffer`'s
   view until the buffer grows (when it is nearly full) or a frame is complete (the rest then
   moves to its beginning).
6. Asking a frame for its type costs as much as everything else about it; its first byte does not.
7. Its read buffer never shrinks.
8. It parses one frame ahead, and answers what it refuses with a close frame before it has reported
   the frame before that. It logs first: that is how we learn of it, and mute it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from asyncio.trsock import TransportSocket
from http import HTTPStatus
from typing import Any, Final, Protocol

from picows import WSListener, WSUpgradeResponseWithListener
from picows.common import WSUpgradeResponse
from picows.picows import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined]
from picows.picows import WSFrame as Frame

from telex.close_codes import CloseCode

__all__ = ["NOTHING_READ", "Frame", "FrameParser", "Listener", "Wire", "attach"]


class Wire(Protocol):
    """What writes frames: `picows.WSTransport`, whose annotations ask for members of its enum."""

    def send(self, kind: int, payload: Any, fin: bool = True, rsv1: bool = False, /) -> None:
        """Write one frame."""


_REQUEST: Final = b"GET / HTTP/1.1\r\n\r\n"
_HEADERS: Final = {
    "upgrade": "websocket",
    "connection": "upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
"""What the request would say: put in after picows has parsed it, which takes it longer."""


_NOTHING: Final = bytearray()


class _Response(WSUpgradeResponse):
    """A 101 that goes nowhere, and so is not spelled out for each connection."""

    def __init__(self) -> None:
        self.status = HTTPStatus.SWITCHING_PROTOCOLS
        self.headers: Any = {}

    def to_bytes(self) -> bytearray:
        return _NOTHING


_RESPONSE: Final = _Response()

_BUFFER_SIZE: Final = 2048
"""Bytes of the read buffer at first; picows takes no fewer."""

_NEARLY_FULL: Final = 0.85
"""The part of the free read buffer that may be filled without it growing. picows says 0.9."""
_SPARE: Final = 512
"""Bytes of it that must stay free for that. picows says 256."""

_BIG_BUFFER: Final = 64 * 1024
"""Bytes from which a read buffer is not kept."""

_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)

NOTHING_READ: Final = -1
"""What somebody leaves in `Listener.count` to learn later whether anything was read since."""

_parse = WSProtocol.buffer_updated


class Listener(WSListener):
    """What a parser tells of, and where it leaves what it knows of the frames.

    To picows it is a logger too: one object less for each connection.

    Attributes:
        refused: Close code and reason for what the parser has refused.
        view: What was read, from the first byte of the first frame in it.
        count: Bytes in it. It is set at every read and means nothing between two of them.
        rest: Bytes in it behind the last frame that was reported; all before the first. So the
            first byte of the next frame is `view[count - rest]`.
    """

    __slots__ = ("count", "refused", "rest", "view")

    view: memoryview | bytes
    count: int
    rest: int
    refused: tuple[int, str] | None

    def on_ws_connected(self, transport: Any) -> None:
        """Take what writes the frames."""
        raise NotImplementedError

    def on_unfinished(self, data: bytes, *, begins: bool) -> None:
        """Look at the next bytes of a frame that is not complete.

        Args:
            data: They, as they came.
            begins: Whether the frame begins with them.
        """
        raise NotImplementedError

    def on_big_buffer(self) -> None:
        """The read buffer has grown beyond what an idle connection may keep."""
        raise NotImplementedError

    def on_refused(self, code: int, reason: str) -> None:
        """The parser reads no further: what comes now is refused."""
        raise NotImplementedError

    def write_raw(self, *parts: bytes) -> None:
        """Write bytes to the transport."""
        raise NotImplementedError

    def on_lost(self) -> None:
        """The transport is gone."""
        raise NotImplementedError

    def mute(self) -> None:
        """Have picows write nothing any more."""
        raise NotImplementedError

    # As a logger

    def isEnabledFor(self, _level: int) -> bool:
        """Ask for no more than what picows logs anyway."""
        return False

    def debug(self, *_args: object) -> None:
        """Say nothing."""

    info = log = warning = debug

    def error(self, _text: str, refused: tuple[int, str]) -> None:
        """Take note of a frame that picows refuses."""
        self.refused = (int(refused[0]), str(refused[1]))
        self.mute()

    def exception(self, text: str, *args: object) -> None:
        """Report a mistake of ours that picows has caught, out of its handler."""
        logging.getLogger("telex.server").exception(text, *args)  # noqa: LOG004
        self.on_refused(CloseCode.INTERNAL_ERROR, "")


class _Transport:
    """The transport as picows sees it."""

    __slots__ = ("_listener", "_real", "get_write_buffer_size", "quiet")

    def __init__(self, real: asyncio.Transport, listener: Listener) -> None:
        self._real = real
        self._listener = listener
        self.quiet = True
        self.get_write_buffer_size = real.get_write_buffer_size

    def write(self, data: bytes) -> None:
        """Write what the kernel has not taken at once."""
        if not self.quiet:
            self._listener.write_raw(data)

    def get_extra_info(self, name: str) -> Any:
        return self if name == "socket" else self._real.get_extra_info(name)

    def fileno(self) -> int:
        number: int = self._real.get_extra_info("socket").fileno()
        return number

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Switch Nagle's algorithm off where asyncio has not: on sockets it was handed."""
        sock = self._real.get_extra_info("socket")
        if (
            option == socket.TCP_NODELAY
            and isinstance(sock, TransportSocket)
            and sock.family in _INTERNET
        ):
            sock.setsockopt(level, option, value)

    def getsockopt(self, *_args: object) -> int:
        return 0

    def writelines(self, parts: list[Any]) -> None:
        head, payload = parts
        self._listener.write_raw(bytes(head), payload)

    def close(self) -> None:
        """Do nothing: when the connection ends is our decision."""

    abort = close


class FrameParser(WSProtocol):  # type: ignore[misc]
    """Parses what comes from one client and reports it to a listener."""

    __slots__ = ("_first", "_listener", "_muted", "_roomy", "_view")

    def __init__(self, listener: Listener, max_frame_size: int) -> None:
        super().__init__(
            None,
            None,
            False,
            self._answer,
            listener,
            True,
            None,
            False,
            0,
            0,
            WSAutoPingStrategy.PING_PERIODICALLY,
            False,
            max_frame_size,
            None,
            _BUFFER_SIZE,
        )
        self._listener = listener
        self._muted = False
        self._first = b""

    def _answer(self, request: Any) -> WSUpgradeResponseWithListener:
        request.headers = _HEADERS
        return WSUpgradeResponseWithListener(_RESPONSE, self._listener)

    def begin(self, transport: asyncio.Transport) -> None:
        """Do the handshake that picows needs, and be ready for frames."""
        seen = _Transport(transport, self._listener)
        self.connection_made(seen)
        self.get_buffer(-1)[: len(_REQUEST)] = _REQUEST
        _parse(self, len(_REQUEST))
        seen.quiet = False
        self._at_boundary()

    def mute(self) -> None:
        """Have picows write nothing any more. Calling it again does nothing."""
        if not self._muted:
            self._muted = True
            super().connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.mute()
        self._listener.on_lost()

    def feed(self, data: bytes) -> None:
        """Take what was read by somebody else."""
        while data and not self._muted:
            room = self.get_buffer(-1)
            piece, data = data[: len(room)], data[len(room) :]
            room[: len(piece)] = piece
            self.buffer_updated(len(piece))

    @property
    def at_boundary(self) -> bool:
        """Whether every byte that was read belongs to a frame that is complete."""
        return not self._first

    def buffer_updated(self, nbytes: int) -> None:
        listener = self._listener
        if nbytes >= self._roomy:
            self._read_carefully(nbytes)
            return
        listener.count = listener.rest = nbytes
        _parse(self, nbytes)
        if listener.rest:
            # The view is valid: the buffer did not grow. Behind a complete frame the rest has
            # been moved to its beginning.
            self._left_over(bytes(self._view[: listener.rest]), begins=True)

    def _read_carefully(self, nbytes: int) -> None:
        """Read when the buffer may grow, which moves it, or into an unfinished frame."""
        listener = self._listener
        fresh = bytes(self._view[:nbytes])
        pending = self._first
        listener.view = seen = pending + fresh
        listener.count = listener.rest = len(seen)
        _parse(self, nbytes)
        rest = listener.rest
        if not rest:
            self._at_boundary()
        elif rest == len(seen):
            self._left_over(fresh, begins=not pending)
        else:
            self._left_over(fresh[-rest:], begins=True)

    def _left_over(self, data: bytes, *, begins: bool) -> None:
        refused = self._listener.refused
        if refused is not None:
            self._listener.on_refused(*refused)
            return
        if begins:
            self._first = data[:1]
        self._view = self.get_buffer(-1)
        self._roomy = 0
        self._listener.on_unfinished(data, begins=begins)

    def _at_boundary(self) -> None:
        self._first = b""
        self._listener.view = self._view = self.get_buffer(-1)
        size = len(self._view)
        self._roomy = min(int(size * _NEARLY_FULL), size - _SPARE)
        if size > _BIG_BUFFER:
            self._listener.on_big_buffer()


def attach(transport: asyncio.Transport, listener: Listener, max_frame_size: int) -> FrameParser:
    """Have a parser read from a transport from now on.

    Args:
        transport: After the handshake.
        listener: Is given the wire, and then the frames.
        max_frame_size: Bytes of the payload of a frame.
    """
    parser = FrameParser(listener, max_frame_size)
    parser.begin(transport)
    transport.set_protocol(parser)
    return parser
