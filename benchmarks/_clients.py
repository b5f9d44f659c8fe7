"""Connections of a benchmark, from the handshake to the first message that came back right."""

from __future__ import annotations

import contextlib
import json
import socket
import zlib
from collections.abc import Sequence
from typing import Final

from _messages import FLUSHED, Kind

TIMEOUT: Final = 20.0
"""Seconds a server may take for a handshake or for a first message."""

AT_ONCE: Final = 50
"""Handshakes that are on their way together."""

GOODBYE: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
"""A client's close frame with code 1000, masked with zeros."""

DEFLATE: Final = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
"""What browsers offer."""


def connect_all(port: int, count: int, asked: bytes) -> list[socket.socket]:
    """Open connections, some at a time.

    Args:
        port: Where the server listens.
        count: How many to open.
        asked: The request of each. When it offers compression the server must take it.

    Raises:
        RuntimeError: The server did not accept, or not the compression that was offered.
    """
    opened: list[socket.socket] = []
    try:
        while len(opened) < count:
            batch = [_asking(port, asked) for _ in range(min(AT_ONCE, count - len(opened)))]
            opened += batch
            for client in batch:
                _accepted(client, deflate=b"permessage-deflate" in asked)
    except BaseException:
        close_all(opened)
        raise
    return opened


def _asking(port: int, asked: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(asked)
    return client


def _accepted(client: socket.socket, *, deflate: bool) -> None:
    """Read the head of the answer and not a byte more: that is for whoever reads messages."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte:
            break
        head += byte
    if not head.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"expected an accept, got {head!r}")
    if (b"permessage-deflate" in head) != deflate:
        raise RuntimeError(f"compression offered: {deflate}, the server answered {head!r}")


def close_all(clients: Sequence[socket.socket]) -> None:
    """Say goodbye on connections that are idle, and leave."""
    for client in clients:
        with client, contextlib.suppress(OSError):
            client.sendall(GOODBYE)


def check_echo(client: socket.socket, kind: Kind, frame: bytes, data: bytes) -> None:
    """Send a message and make sure that the same comes back.

    Raises:
        RuntimeError: Something else did.
    """
    client.sendall(frame)
    answer = read_message(client, "binary" if kind == "binary" else "text")
    same = json.loads(answer) == json.loads(data) if kind == "json" else answer == data
    if not same:
        raise RuntimeError(f"not an echo: {answer[:100]!r}")


def read_message(client: socket.socket, kind: str) -> bytes:
    """Read one message, decompressed.

    Raises:
        RuntimeError: It is of another kind.
    """
    expected, message, compressed = (2 if kind == "binary" else 1), b"", False
    while True:
        first, size = _exactly(client, 2)
        if size >= 126:
            size = int.from_bytes(_exactly(client, 2 if size == 126 else 8))
        data = _exactly(client, size)
        if first & 0x0F == 9:
            continue
        if first & 0x0F != expected:
            raise RuntimeError(f"expected a {kind} message, got {bytes([first])!r} {data[:100]!r}")
        compressed, expected = compressed or bool(first & 0x40), 0
        message += data
        if first & 0x80:
            break
    return zlib.decompressobj(-15).decompress(message + FLUSHED) if compressed else message


def _exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = client.recv(min(size - len(data), 1 << 16))
        if not part:
            raise RuntimeError("the server has hung up")
        data += part
    return data
