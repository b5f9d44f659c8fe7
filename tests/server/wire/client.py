"""A client that writes and reads exact bytes, and the frames it does it with."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from server.wire.serving import DEADLINE, Served
from telex._types import ASGIApp

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""Of RFC 6455 §1.3."""

MASK = b"\x11\x22\x33\x44"

STALLED = 0.25
"""Seconds after which a server that takes nothing is taken to have stopped reading."""

Headers = Iterable[tuple[bytes, bytes]]


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length: bytes | None = None,
) -> bytes:
    """Return a frame as a client sends it.

    Args:
        opcode: Its kind.
        payload: What it carries.
        fin: Whether the message ends with it.
        rsv: Reserved bits.
        mask: Of four bytes, `None` for none.
        length: The length as it is written instead of the right one, without the mask bit.
    """
    if length is None:
        length = encoded_length(len(payload))
    head = bytes(((FIN if fin else 0) | rsv | opcode,))
    if mask is None:
        return head + length + payload
    return head + bytes((length[0] | 0x80,)) + length[1:] + mask + masked(payload, mask)


def encoded_length(size: int) -> bytes:
    """Return the shortest form of a payload length."""
    if size < 126:
        return bytes((size,))
    return struct.pack("!BH", 126, size) if size < 1 << 16 else struct.pack("!BQ", 127, size)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Return a payload masked, or one that was masked."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def text(data: str, *, fin: bool = True) -> bytes:
    return frame(TEXT, data.encode(), fin=fin)


def closing(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """Return a close frame; no code for `None`."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def request(
    app: str,
    target: bytes = b"/",
    *,
    change: dict[bytes, bytes | None] | None = None,
    more: Headers = (),
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """Return a handshake.

    Args:
        app: Which application is meant.
        target: The path.
        change: Values of headers that are not what they should be; `None` leaves one out.
        more: Headers at the end.
        method: Of the request.
        version: Of HTTP.
    """
    headers: dict[bytes, bytes | None] = {
        b"Host": b"127.0.0.1",
        b"Upgrade": b"websocket",
        b"Connection": b"Upgrade",
        b"Sec-WebSocket-Version": b"13",
        b"Sec-WebSocket-Key": KEY,
        b"X-App": app.encode(),
        **(change or {}),
    }
    lines = [b"%b %b %b" % (method, target, version)]
    lines += [b"%b: %b" % (name, value) for name, value in headers.items() if value is not None]
    lines += [b"%b: %b" % pair for pair in more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def accept_for(key: bytes) -> bytes:
    """Return the answer to a key (RFC 6455 §4.2.2)."""
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(key + guid).digest())


@dataclass(frozen=True)
class Head:
    """The head of a response.

    Attributes:
        status: Its status.
        headers: All of them, names in lower case.
    """

    status: int
    headers: list[tuple[bytes, bytes]]

    def all(self, name: bytes) -> list[bytes]:
        """The values of a header."""
        return [value for each, value in self.headers if each == name]

    def one(self, name: bytes) -> bytes:
        """The only value of a header."""
        (value,) = self.all(name)
        return value


@dataclass(frozen=True)
class Frame:
    """A frame as the server sent it.

    Attributes:
        first_byte: FIN, the reserved bits, and the opcode.
        payload: What it carries.
    """

    first_byte: int
    payload: bytes

    @property
    def opcode(self) -> int:
        return self.first_byte & 0x0F


def is_text(data: str) -> Frame:
    """Return the frame of a text as servers send it."""
    return Frame(FIN | TEXT, data.encode())


def is_binary(data: bytes) -> Frame:
    """Return the frame of a binary message as servers send it."""
    return Frame(FIN | BINARY, data)


class Client:
    """One connection.

    Args:
        sock: Connected to a server.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._buffer = bytearray()

    # Writing

    def write(self, *data: bytes) -> None:
        self.socket.sendall(b"".join(data))

    def flood(self, data: bytes, *, already: int = 0, most: int = 32 * 2**20) -> int:
        """Write something again and again until the server takes no more.

        Args:
            data: A frame, or some of them.
            already: The bytes of it that an earlier call has written.
            most: Bytes at which to stop.

        Returns:
            The bytes that were written, and `already`.
        """
        deadline = self.socket.gettimeout()
        self.socket.settimeout(STALLED)
        piece = memoryview(data * max(1, 65536 // len(data)))
        written = already
        try:
            while written - already < most:
                written += self.socket.send(piece[written % len(data) :])
        except TimeoutError:
            pass
        finally:
            self.socket.settimeout(deadline)
        return written

    def finish(self, data: bytes, written: int) -> int:
        """Write the rest of the frame at which a flood has stopped; return the number of all."""
        if rest := -written % len(data):
            self.write(data[-rest:])
        return (written + rest) // len(data)

    # Reading

    def read_some(self) -> bytes:
        """Return what comes next, nothing at the end."""
        if not self._buffer:
            self._buffer += self.socket.recv(65536)
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        while len(self._buffer) < size:
            data = self.socket.recv(max(65536, size - len(self._buffer)))
            assert data, f"the connection ended after {bytes(self._buffer)!r}"
            self._buffer += data
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def rest(self) -> bytes:
        """Return everything to the end."""
        while data := self.socket.recv(65536):
            self._buffer += data
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def head(self) -> Head:
        """Read the head of a response."""
        while b"\r\n\r\n" not in self._buffer:
            data = self.socket.recv(65536)
            assert data, f"the connection ended after {bytes(self._buffer)!r}"
            self._buffer += data
        size = self._buffer.index(b"\r\n\r\n") + 4
        first, *lines = self.read(size)[:-4].split(b"\r\n")
        headers = [line.partition(b":")[::2] for line in lines]
        return Head(
            int(first.split(b" ")[1]),
            [(name.lower(), value.strip(b" ")) for name, value in headers],
        )

    def response(self) -> tuple[Head, bytes]:
        """Read a whole response, which ends with the connection."""
        return self.head(), self.rest()

    def frame(self) -> Frame:
        """Read one frame."""
        first, second = self.read(2)
        assert second < 128, "a server's frame is not masked"
        size = second
        if second == 126:
            (size,) = struct.unpack("!H", self.read(2))
        elif second == 127:
            (size,) = struct.unpack("!Q", self.read(8))
        return Frame(first, self.read(size))

    def close_frame(self) -> tuple[int | None, str]:
        """Read a close frame."""
        got = self.frame()
        assert got.first_byte == FIN | CLOSE, f"no close frame: {got}"
        return close_of(got)

    def last_words(self) -> tuple[int | None, str]:
        """Read to a close frame, and see that the connection ends with it."""
        while (got := self.frame()).opcode != CLOSE:
            pass
        assert self.rest() == b""
        return close_of(got)

    # Ending

    def fin(self) -> None:
        """Say that nothing more will come."""
        self.socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """End the connection without a FIN, as a process that was killed may do."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


def close_of(got: Frame) -> tuple[int | None, str]:
    """Return code and reason of a close frame."""
    if not got.payload:
        return None, ""
    return int.from_bytes(got.payload[:2], "big"), got.payload[2:].decode()


def dial(server: Served, timeout: float = DEADLINE, receive_buffer: int | None = None) -> Client:
    """Return a client that has said nothing yet."""
    return Client(server.connect(timeout, receive_buffer))


def open_client(
    server: Served,
    app: ASGIApp,
    *,
    timeout: float = DEADLINE,
    receive_buffer: int | None = None,
    more: Headers = (),
) -> Client:
    """Return a client whose handshake is through."""
    client = dial(server, timeout, receive_buffer)
    client.write(request(server.play(app), more=more))
    assert client.head().status == 101
    return client
