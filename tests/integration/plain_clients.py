"""Clients that cost next to nothing, and some that behave badly."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

DEADLINE = 30.0
"""Seconds any single step may take."""


def handshake(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class Listener(asyncio.Protocol):
    """A client that counts the bytes it gets."""

    def __init__(self) -> None:
        self.bytes = 0
        self._enough = 0
        self._reached = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        if self.bytes >= self._enough:
            self._reached.set()

    async def rate(self, messages: int, size: int) -> float:
        """Wait for messages of a size; return how many come in a second."""
        began = time.monotonic()
        self._enough = self.bytes + messages * size
        self._reached.clear()
        await self._reached.wait()
        return messages / (time.monotonic() - began)


@asynccontextmanager
async def listeners(port: int, path: str, amount: int) -> AsyncIterator[list[Listener]]:
    """Clients that read as fast as they can, for the length of the block."""
    loop = asyncio.get_running_loop()
    clients = []
    async with AsyncExitStack() as stack:
        for _ in range(amount):
            transport, client = await loop.create_connection(Listener, "127.0.0.1", port)
            stack.callback(transport.abort)
            transport.write(handshake(path))
            clients.append(client)
        yield clients


async def slowest(clients: list[Listener], messages: int, size: int) -> float:
    """The rate of the slowest of some clients."""
    return min(await asyncio.gather(*(client.rate(messages, size) for client in clients)))


class Deaf:
    """A client that opens a connection and does not read from it. Blocks."""

    def __init__(self, port: int, path: str) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(handshake(path))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.sock.recv(1)
        assert b" 101 " in answer

    def is_gone(self, within: float) -> bool:
        """Whether the server ends the connection; reads what comes until then."""
        give_up = time.monotonic() + within
        try:
            while time.monotonic() < give_up:
                self.sock.settimeout(max(give_up - time.monotonic(), 0.01))
                if not self.sock.recv(1 << 16):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    def leave(self) -> None:
        """End the connection as a process does that ends: FIN."""
        self.sock.close()

    def abort(self) -> None:
        """Reset the connection: RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
