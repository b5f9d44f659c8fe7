"""Load on open connections, by a C library where there is a compiler, else in Python.

The library (`load.c`) takes well under a microsecond of a message's time, so that one core can
load any server to its limit. Python takes several: the processor time of the server is still
right, messages a second and latencies are then those of the load.
"""

from __future__ import annotations

import ctypes
import socket
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Protocol

from _clients import DEFLATE, check_echo, close_all, connect_all
from _compile import compiled
from _handshake_load import request
from _load_python import PythonLoad
from _messages import Kind, frame, payload

TENDED: Final = 5.0
"""Seconds after which idle connections are looked at for pings."""

_FAILURES: Final = {
    -1: "no answer from the server",
    -2: "the server has hung up",
    -3: "the server has closed a connection",
    -4: "no memory or no descriptors for the load",
}


class Engine(Protocol):
    """What loads open connections."""

    name: str

    def echo(self, fds: Sequence[int], message: bytes, seconds: float) -> int:
        """Keep one message on its way on each connection; return how many came back."""

    def fanout(self, fds: Sequence[int], message: bytes, seconds: float) -> int:
        """Send on the first, wait until each has one, again; return how many arrived."""

    def paced(self, fds: Sequence[int], message: bytes, rate: float, total: int) -> list[int]:
        """Send at a fixed rate; return the nanoseconds from due to back of each message."""

    def tend(self, fds: Sequence[int]) -> None:
        """Answer the pings that came while a connection was idle."""


class CLoad:
    """The engine in C."""

    name = "C"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for function in (library.echo, library.fanout, library.paced, library.tend):
            function.restype = ctypes.c_int64

    def echo(self, fds: Sequence[int], message: bytes, seconds: float) -> int:
        size = ctypes.c_size_t(len(message))
        return _checked(
            self._library.echo(_array(fds), len(fds), message, size, ctypes.c_double(seconds))
        )

    def fanout(self, fds: Sequence[int], message: bytes, seconds: float) -> int:
        size = ctypes.c_size_t(len(message))
        return _checked(
            self._library.fanout(_array(fds), len(fds), message, size, ctypes.c_double(seconds))
        )

    def paced(self, fds: Sequence[int], message: bytes, rate: float, total: int) -> list[int]:
        times = (ctypes.c_int64 * total)()
        size = ctypes.c_size_t(len(message))
        pace, count = ctypes.c_double(rate), ctypes.c_int64(total)
        _checked(self._library.paced(_array(fds), len(fds), message, size, pace, count, times))
        return list(times)

    def tend(self, fds: Sequence[int]) -> None:
        _checked(self._library.tend(_array(fds), len(fds)))


def _array(fds: Sequence[int]) -> ctypes.Array[ctypes.c_int]:
    return (ctypes.c_int * len(fds))(*fds)


def _checked(outcome: Any) -> int:
    if outcome < 0:
        raise RuntimeError(_FAILURES[outcome])
    return int(outcome)


@cache
def engine() -> Engine:
    """Return the faster engine that works here."""
    library = compiled("load.c", "-shared", "-fPIC")
    return PythonLoad() if library is None else CLoad(ctypes.CDLL(str(library)))


class EchoLoad:
    """The same message again and again on some connections, which stay open between slices.

    Args:
        kind: What the message is; it is also the path that is asked for.
        size: Bytes of its payload.
        connections: How many are open to each server.
        deflate: Whether to agree on compression, and to compress the message.
        data: Another payload than the usual one of that kind and size.
    """

    def __init__(
        self,
        kind: Kind,
        size: int,
        connections: int,
        *,
        deflate: bool = False,
        data: bytes | None = None,
    ) -> None:
        self._kind: Kind = kind
        self._connections = connections
        self._deflate = deflate
        self._data = payload(kind, size) if data is None else data
        self._message = frame(kind, self._data, deflate=deflate)
        self._open: dict[int, list[socket.socket]] = {}
        self._tended = time.monotonic()

    def __call__(self, port: int, seconds: float) -> int:
        """Load a server for some seconds; return how many messages came back.

        Raises:
            RuntimeError: It does not echo, or stopped to.
        """
        return engine().echo(self.fds(port), self._message, seconds)

    def paced(self, port: int, rate: float, total: int) -> list[int]:
        """Send at a fixed rate, see `Engine.paced`."""
        return engine().paced(self.fds(port), self._message, rate, total)

    def fds(self, port: int) -> list[int]:
        """Return the connections to a server, opened and tried at the first call."""
        if port not in self._open:
            asked = request(f"/{self._kind}", *([DEFLATE] if self._deflate else []))
            opened = connect_all(port, self._connections, asked)
            self._open[port] = opened
            for client in opened:
                check_echo(client, self._kind, self._message, self._data)
                client.setblocking(False)
        self._tend(port)
        return [client.fileno() for client in self._open[port]]

    def _tend(self, loaded: int) -> None:
        """Answer what servers ask of connections that are idle while another one is loaded."""
        now = time.monotonic()
        if now < self._tended + TENDED:
            return
        self._tended = now
        for port, clients in self._open.items():
            if port != loaded:
                engine().tend([client.fileno() for client in clients])

    def close(self) -> None:
        """Cut all connections."""
        for clients in self._open.values():
            close_all(clients)
        self._open.clear()
