"""A bad line in front of a real server: bytes late, in pieces, held up or cut off.

It works on plain sockets without streams: a byte that was not passed on yet lies in a kernel's
buffer, so that whoever sends too much is made to wait by TCP itself, as on a line that is slow.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from functools import partial
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from telex._url import DEFAULT_PORTS

CHUNK: Final = 64 * 1024
"""Bytes passed on at a time when nothing else is asked for."""


# struct linger: on, 0 seconds. Closing then sends RST instead of FIN (socket(7), SO_LINGER).
_RESET: Final = struct.pack("ii", 1, 0)


class _Cut(Exception):
    """The connection has carried as many bytes as it may."""


class FaultyProxy:
    """A TCP proxy on 127.0.0.1, on a free port, that makes the connections to a server bad.

        async with FaultyProxy(url, delay=0.05, split=100) as proxy:
            async with connect(proxy.url) as ws:
                ...

    It listens while its block runs. Leaving the block cuts what is still connected and waits
    until every task has ended. It carries bytes and knows nothing of WebSockets; TLS goes through
    it as it is. A half-closed connection stays half-closed, and one that a side resets, or that
    the server refuses, is reset for the other.

    Its methods do not wait. They belong to the event loop of the block; there any task may call
    them.

    Args:
        target: The server: a URL with the scheme `ws`, `wss`, `http` or `https`, or the number
            of a port of 127.0.0.1.
        delay: Seconds each piece is held. A piece is read when the one before it has been
            passed on, so a small `split` with a delay makes a slow line.
        split: Bytes in a piece at most, `None` for 64 KiB.
        drop_after_bytes: Bytes after which a connection is cut: in either direction, counted for
            each by itself, with the handshake. Exactly so many are passed on. `None` for never.

    Raises:
        TypeError: An argument of the wrong type.
        ValueError: A number out of range, or a URL that names no server.
    """

    def __init__(
        self,
        target: str | int,
        *,
        delay: float = 0.0,
        split: int | None = None,
        drop_after_bytes: int | None = None,
    ) -> None:
        self._target = _target(target)
        _check("delay=…", delay, 0, "a number of seconds, 0 or more", fraction=True)
        if split is not None:
            _check("split=…", split, 1, "an int of at least 1 or None")
        if drop_after_bytes is not None:
            _check("drop_after_bytes=…", drop_after_bytes, 0, "an int of at least 0 or None")
        self._delay = delay
        self._piece = split or CHUNK
        self._allowed = drop_after_bytes
        self._listener: socket.socket | None = None
        self._listening: asyncio.Task[None] | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def url(self) -> str:
        """The URL of the server, with the address of the proxy; `ws` when a port was given.

        Raises:
            RuntimeError: Outside the `async with` block.
        """
        if self._listener is None:
            raise RuntimeError("FaultyProxy.url is known inside 'async with FaultyProxy(…)' only")
        login, at, _ = self._target.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        return self._target._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()

    def drop(self) -> None:
        """Reset every connection, towards both sides. New ones are still accepted.

        It is done within a turn of the event loop. What was under way is lost.
        """
        for task in self._carrying:
            task.cancel()

    def stall(self) -> None:
        """Pass nothing on until `resume`, on present and new connections.

        One more piece in each direction may be read and held. After that the buffers of the
        kernels fill up and the senders have to wait.
        """
        self._flowing.clear()

    def resume(self) -> None:
        """Go on after `stall`. Nothing is lost."""
        self._flowing.set()

    async def __aenter__(self) -> Self:
        if self._listener is not None:
            raise RuntimeError("this FaultyProxy is in use; make another one")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._listening = asyncio.create_task(self._listen(self._listener), name="telex proxy")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        listener, listening = self._listener, self._listening
        assert listener is not None
        assert listening is not None
        try:
            listening.cancel()
            await asyncio.wait((listening,))
        finally:
            listener.close()
            self._listener = self._listening = None
            self.drop()
            if self._carrying:
                await asyncio.wait(self._carrying)

    async def _listen(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            task = loop.create_task(self._carry(client), name="telex proxy connection")
            self._carrying.add(task)
            task.add_done_callback(partial(self._carried, client))

    def _carried(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._carrying.discard(task)
        # A task that was cancelled before its first step has closed nothing.
        _reset(client)

    async def _carry(self, client: socket.socket) -> None:
        """Carry one connection until both sides have said all, or it is cut."""
        host = self._target.hostname or ""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        port = self._target.port or DEFAULT_PORTS[self._target.scheme]
        whole = False
        with socket.socket(family, socket.SOCK_STREAM) as server:
            try:
                for end in (client, server):
                    end.setblocking(False)
                    # Else Nagle's algorithm would put the pieces together again.
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await asyncio.get_running_loop().sock_connect(server, (host, port))
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._forward(client, server), name="telex proxy up")
                    group.create_task(self._forward(server, client), name="telex proxy down")
                whole = True
            except* (OSError, _Cut):
                pass
            finally:
                if not whole:
                    _reset(server)
                    _reset(client)
                client.close()

    async def _forward(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on what one side says, until it has said all."""
        loop = asyncio.get_running_loop()
        left = math.inf if self._allowed is None else self._allowed
        while left:
            await self._flowing.wait()
            piece = await loop.sock_recv(source, int(min(self._piece, left)))
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._flowing.wait()
            if not piece:
                target.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(target, piece)
            left -= len(piece)
        raise _Cut


def _reset(end: socket.socket) -> None:
    """Close a socket so that its peer sees a reset; does nothing when it is closed."""
    if end.fileno() != -1:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.close()


def _target(target: str | int) -> SplitResult:
    """Return the URL of the server in its parts."""
    if isinstance(target, int) and not isinstance(target, bool):
        _check("target=…", target, 1, "a URL or a port from 1 to 65535", most=65535)
        return urlsplit(f"ws://127.0.0.1:{target}")
    if not isinstance(target, str):
        raise TypeError(f"FaultyProxy(target=…) must be a URL or a port, not {target!r}")
    parts = urlsplit(target)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        known = ", ".join(DEFAULT_PORTS)
        raise ValueError(
            f"FaultyProxy(target=…) must be a URL with a host and one of {known}, not {target!r}"
        )
    try:
        _ = parts.port
    except ValueError as exc:
        raise ValueError(f"FaultyProxy(target=…) has no valid port: {target!r}") from exc
    return parts


def _check(
    name: str,
    value: Any,
    least: int,
    expected: str,
    *,
    fraction: bool = False,
    most: float = math.inf,
) -> None:
    number = isinstance(value, int | float) if fraction else isinstance(value, int)
    if not number or isinstance(value, bool):
        raise TypeError(f"FaultyProxy({name}) must be {expected}, not {value!r}")
    if not least <= value <= most or value == math.inf:
        raise ValueError(f"FaultyProxy({name}) must be {expected}, not {value!r}")
