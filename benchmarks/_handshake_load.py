"""Handshakes without end, from as little Python as possible: connect, wait for accept and close."""

from __future__ import annotations

import select
import socket
import time
from typing import Final

WIDTH: Final = 16
"""How many handshakes are on their way at once, so that a server always has something to do."""

STALLED: Final = 10.0
"""Seconds without any answer after which the load gives up."""

CLOSE: Final = b"\x88\x02\x03\xe8"
"""A server's close frame with code 1000."""

REPLY: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
"""The client's answer, masked with zeros."""


def request(target: str, *headers: str) -> bytes:
    """Return a WebSocket handshake as a browser sends it, without `Host` and `Origin`'s port."""
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Origin: http://127.0.0.1",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


class Handshakes:
    """The load of a benchmark: the same handshake again and again.

    Args:
        asked: The request, see `request`.
    """

    def __init__(self, asked: bytes) -> None:
        self._asked = asked
        self._open: dict[int, socket.socket] = {}
        self._read: dict[int, bytes] = {}

    def __call__(self, port: int, seconds: float) -> int:
        """Load a server for some seconds; return how many handshakes it has finished.

        Raises:
            RuntimeError: It answered something else than 101 and a close with 1000, or nothing.
        """
        until, done = time.perf_counter() + seconds, 0
        with select.epoll() as poll:
            try:
                for _ in range(WIDTH):
                    self._begin(poll, port)
                while self._open:
                    ready = poll.poll(STALLED)
                    if not ready:
                        raise RuntimeError(f"no answer from the server in {STALLED} s")
                    for number, _ in ready:
                        if self._is_over(number):
                            done += 1
                            if time.perf_counter() < until:
                                self._begin(poll, port)
            finally:
                for each in self._open.values():
                    each.close()
                self._open.clear()
        return done

    def _begin(self, poll: select.epoll, port: int) -> None:
        client = socket.create_connection(("127.0.0.1", port), STALLED)
        number = client.fileno()
        self._open[number], self._read[number] = client, b""
        client.sendall(self._asked)
        poll.register(number, select.EPOLLIN)

    def _is_over(self, number: int) -> bool:
        """Read what is there, answer a close, and say whether the server has hung up."""
        client = self._open[number]
        data = client.recv(4096)
        if data:
            read = self._read[number] + data
            self._read[number] = read
            if read.endswith(CLOSE):
                client.sendall(REPLY)
            return False
        read = self._read[number]
        if not (read.startswith(b"HTTP/1.1 101") and read.endswith(CLOSE)):
            raise RuntimeError(f"expected an accept and a close, got {read!r}")
        self._open.pop(number).close()
        return True
