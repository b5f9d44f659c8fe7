"""uvicorn in a thread of the test's process, on every transport, with its insides to look at.

`LiveServer` shows an application's tests what a client sees. These tests ask besides which
connections a server still counts, and want Unix sockets.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import trustme
import uvicorn
from uvicorn.server import ServerState

from telex._types import ASGIApp, Receive, Scope, Send

DEADLINE = 5.0
"""Seconds one step of a test may take."""

PROTOCOLS = {"telex": "telex.server:WebSocketProtocol", "uvicorn": "auto"}
"""Values of uvicorn's `ws`: our class, and what uvicorn takes by itself."""


@dataclass(frozen=True)
class Venue:
    """What carries a connection.

    Attributes:
        protocol: A key of `PROTOCOLS`.
        transport: What is under the frames.
        loop: uvicorn's name of an event loop.
        http: uvicorn's name of a HTTP parser.
    """

    protocol: str = "telex"
    transport: Literal["tcp", "tls", "unix"] = "tcp"
    loop: Literal["asyncio", "uvloop"] = "asyncio"
    http: Literal["httptools", "h11"] = "httptools"

    def __str__(self) -> str:
        return "-".join((self.protocol, self.transport, self.loop, self.http))


OURS = Venue()
"""Where a test runs for which the transport does not matter."""

EVERYWHERE = (
    OURS,
    Venue(transport="tls", http="h11"),
    Venue(transport="unix"),
    Venue(loop="uvloop", http="h11"),
    Venue(transport="tls", loop="uvloop"),
    Venue(transport="unix", loop="uvloop", http="h11"),
)
"""Every transport on every loop, and every HTTP parser on both."""

BOTH = (OURS, Venue(protocol="uvicorn"))
"""Our class, and uvicorn's, which is asked what a server should do."""


def until(what: str, happened: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """Wait until something has happened in the thread of a server."""
    give_up = time.monotonic() + deadline
    pause = threading.Event()
    while not happened():
        assert time.monotonic() < give_up, f"after {deadline:g} s: {what}"
        pause.wait(0.005)


class Gate:
    """An event which a test sets and an application on a server waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        async with asyncio.timeout(DEADLINE):
            await self._event.wait()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Future[asyncio.AbstractEventLoop]) -> None:
        super().__init__(config)
        self._said = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._said.set_result(asyncio.get_running_loop())


class Served:
    """A running server.

    Each connection gets the application that its `X-App` header names, so that one server does for
    many tests.

    Args:
        venue: What carries its connections.
        directory: For the socket and the certificate.
        options: uvicorn's own.
    """

    def __init__(self, venue: Venue, directory: Path, **options: Any) -> None:
        self.venue = venue
        self._apps: dict[str, ASGIApp] = {}
        self._names = map(str, itertools.count())
        self._clients: list[socket.socket] = []
        self._uds = os.fspath(directory / "socket")
        self.trust: ssl.SSLContext | None = None
        """What a client trusts, `None` without TLS."""
        if venue.transport == "tls":
            options |= {"ssl_certfile": self._certificate(directory)}
        if venue.transport == "unix":
            options |= {"uds": self._uds}
        config = uvicorn.Config(
            self._application,
            ws=PROTOCOLS[venue.protocol],
            loop=venue.loop,
            http=venue.http,
            workers=1,
            **{
                "interface": "asgi3",
                "lifespan": "off",
                "log_config": None,
                "log_level": "warning",
                "timeout_graceful_shutdown": 5,
                **options,
            },
        )
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._ended: Future[None] = Future()
        self.uvicorn = _Server(config, self._started)
        self._listener: socket.socket | None = None
        if venue.transport != "unix":
            self._listener = socket.create_server(("127.0.0.1", 0))
            for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                # Of the connections too: a test need not fill what the kernel would give them.
                self._listener.setsockopt(socket.SOL_SOCKET, buffer, 128 * 1024)
            self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name=f"wire {venue}", daemon=True)
        self._thread.start()
        self.loop = self._started.result(DEADLINE)

    def _certificate(self, directory: Path) -> str:
        authority = trustme.CA()
        certificate = directory / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        return os.fspath(certificate)

    def _run(self) -> None:
        try:
            self.uvicorn.run(sockets=[self._listener] if self._listener else None)
        except BaseException as error:
            for future in (self._started, self._ended):
                if not future.done():
                    future.set_exception(error)
        else:
            self._ended.set_result(None)

    # What clients do

    def connect(
        self, timeout: float = DEADLINE, receive_buffer: int | None = None
    ) -> socket.socket:
        """Return a connected socket, which is closed when the test has ended."""
        sock = self.connect_without_tls(timeout, receive_buffer)
        if self.trust is not None:
            sock = self.trust.wrap_socket(sock, server_hostname="127.0.0.1")
            self._clients.append(sock)
        return sock

    def connect_without_tls(
        self, timeout: float = DEADLINE, receive_buffer: int | None = None
    ) -> socket.socket:
        """Return a socket like `connect`, for a client that begins TLS by itself."""
        unix = self.venue.transport == "unix"
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._clients.append(sock)
        if not unix:
            # Or what is written in two pieces waits for the acknowledgement of the first.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        sock.connect(self._uds if unix else ("127.0.0.1", self.port))
        return sock

    @property
    def url(self) -> str:
        scheme = "ws" if self.trust is None else "wss"
        port = 80 if self.venue.transport == "unix" else self.port
        return f"{scheme}://127.0.0.1:{port}/"

    def end_clients(self) -> None:
        """Close every socket that `connect` has returned."""
        clients, self._clients = self._clients, []
        for client in clients:
            client.close()

    # What applications do

    def play(self, app: ASGIApp) -> str:
        """Take an application for connections that name it; return the name."""
        name = next(self._names)
        self._apps[name] = app
        return name

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._apps[dict(scope["headers"])[b"x-app"].decode()]
        await app(scope, receive, send)

    def gate(self) -> Gate:
        return Gate(self.loop)

    # What it knows

    @property
    def state(self) -> ServerState:
        return self.uvicorn.server_state

    def call(self, function: Callable[[], Any]) -> Any:
        """Return what a function returns when it is called on the event loop."""

        async def called() -> Any:
            return function()

        return self.wait(called())

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Return what a coroutine returns on the event loop."""
        assert asyncio.iscoroutine(awaitable)
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(DEADLINE)

    def turn(self) -> None:
        """Wait until the event loop has read what clients have written before."""
        for _ in range(2):
            self.call(lambda: None)

    @property
    def idle(self) -> bool:
        """Whether it counts no connection and runs no application."""
        return not self.state.connections and not self.state.tasks

    def settle(self) -> None:
        """Wait until it is idle."""
        until(f"{self.venue} still has {self.state.connections}", lambda: self.idle)
        self._apps.clear()

    def hasten(self, factor: float) -> None:
        """Have timers of the event loop end early, so that tests need not wait for them."""
        call_later = self.loop.call_later

        def sooner(delay: float, *arguments: Any, **context: Any) -> asyncio.TimerHandle:
            return call_later(delay / factor, *arguments, **context)

        self.loop.call_later = sooner  # type: ignore[assignment,method-assign]

    # Its end

    def begin_to_stop(self) -> None:
        self.uvicorn.should_exit = True

    def stop(self) -> float:
        """Stop it as a signal does; return how many seconds it took."""
        before = time.monotonic()
        self.begin_to_stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), f"{self.venue} does not stop"
        self._ended.result(0)
        if self._listener is not None:
            self._listener.close()
        return time.monotonic() - before


class Servers:
    """The servers of one test module, started when they are first asked for."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        self._directory = directory
        self._running: dict[object, Served] = {}
        self.used: list[Served] = []

    def get(self, venue: Venue = OURS, *, hasten: float = 1, **options: Any) -> Served:
        """Return the server with these options, whose timers run so many times as fast."""
        key = (venue, hasten, *sorted(options.items()))
        if key not in self._running:
            self._running[key] = server = Served(venue, self._directory(), **options)
            if hasten != 1:
                server.hasten(hasten)
        server = self._running[key]
        if server not in self.used:
            self.used.append(server)
        return server

    def fresh(self, venue: Venue = OURS, **options: Any) -> Served:
        """Return a server of one's own, which may be stopped."""
        server = Served(venue, self._directory(), **options)
        self._running[object()] = server
        self.used.append(server)
        return server

    def end_test(self) -> list[Served]:
        """Hang up on the servers that a test has used, and wait until they have seen it."""
        used, self.used = self.used, []
        for server in used:
            server.end_clients()
        for server in used:
            try:
                server.settle()
            except BaseException:
                self._abandon(server)
                raise
        return used

    def _abandon(self, server: Served) -> None:
        """Let the next test have another server than one that hangs; its thread is a daemon."""
        self._running = {key: each for key, each in self._running.items() if each is not server}

    def stop(self) -> None:
        """Stop all."""
        for server in self._running.values():
            server.end_clients()
            server.begin_to_stop()
        for server in self._running.values():
            server.stop()
        self._running.clear()
        gc.collect()
