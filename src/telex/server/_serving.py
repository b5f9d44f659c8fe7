"""uvicorn's server, with an end in good order, in one process or several.

1. No new connections; HTTP connections in which nothing happens are closed.
2. Applications end their WebSocket connections (`telex._draining`).
3. HTTP requests, and what belongs to other frameworks, have the rest of the time. Connections in
   which nothing runs any more have it too, as long as a client takes what was sent.
4. What goes on is cancelled, waited for, and when that is in vain, left alone.
5. Then there is nothing for which uvicorn would wait, and it runs the lifespan to its end.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import os
import sys
import threading
from collections.abc import Collection, Mapping
from socket import socket
from typing import Any, Final

import uvicorn
from uvicorn.config import Config
from uvicorn.supervisors import ChangeReload, Multiprocess, multiprocess

from telex._draining import Draining
from telex.server._flow import Flow, flow_of

log: Final = logging.getLogger("uvicorn.error")

_STARTUP_FAILURE: Final = 3
"""uvicorn's exit code for it; where it is defined has moved."""

_GLANCE: Final = 0.1
"""Seconds between two looks at what goes on; uvicorn's signal handlers only leave a mark."""

_MOMENT: Final = 1.5
"""Seconds that are left for close handshakes when the time is up, at most as many as it was.

Also those that a client has to take the next part of an answer when nothing runs any more.
"""

_HURRY: Final = 1.0
"""Seconds for the end of what is cancelled once more, or at once because the user will not wait.

At most half of those for the first time.
"""


class Server(uvicorn.Server):
    """A `uvicorn.Server` that ends connections in good order before it stops.

    On SIGINT or SIGTERM (`should_exit`) Telex applications close their connections with 1012 and
    their handlers are waited for, see `App(drain_timeout=…)`, before the lifespan ends.
    `timeout_graceful_shutdown` of the configuration is the time for everything up to the
    cancelling, `None` for ever; Telex connections are cancelled after `drain_timeout` anyway.
    A second SIGINT (`force_exit`) cuts all of it short, and leaves out the lifespan's end.

    Several servers may run in one process, on one event loop too, also for one application: each
    ends its own connections.

    Args:
        config: A `uvicorn.Config`.
    """

    cleanup_timeout: float = 10.0
    """Seconds in which what was cancelled has to end; then it is cancelled once more."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._draining = Draining()
        self.left_behind: set[asyncio.Task[Any]] = set()
        """The tasks that go on although they were cancelled twice; it has stopped without them."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start as `uvicorn.Server` does."""
        self._draining.begin()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop. Waits as the class says; cancelling it leaves what is open as it is."""
        for each in (*self.servers, *(sockets or ())):
            each.close()
        self._shut_down(idle=True)
        loop = asyncio.get_running_loop()
        graceful = self.config.timeout_graceful_shutdown
        limit = math.inf if graceful is None else graceful
        end = loop.time() + limit
        try:
            self._let_go(await self._drain(end - loop.time()))
            self._shut_down(idle=False)
            await self._wait(max(end, loop.time() + min(_MOMENT, limit)))
            await self._cancel()
            await super().shutdown(sockets)
        finally:
            self._draining.end()

    def _shut_down(self, *, idle: bool) -> None:
        """Ask connections to end: those that are HTTP, or all."""
        for connection in [*self.server_state.connections]:
            is_http = isinstance(connection, self.config.http_protocol_class)
            if is_http and connection.transport.is_closing():
                # TLS transports of asyncio cannot be aborted any more when they were closed twice.
                continue
            if is_http or not idle:
                connection.shutdown()

    async def _drain(self, timeout: float) -> Collection[asyncio.Task[Any]]:
        if self.server_state.tasks:
            log.info("Closing connections. (CTRL+C to force quit)")
        draining = asyncio.ensure_future(self._draining.drain_all(timeout, self.cleanup_timeout))
        try:
            while not draining.done() and not self.force_exit:
                await asyncio.wait((draining,), timeout=_GLANCE)
            return draining.result() if draining.done() else ()
        finally:
            draining.cancel()

    async def _wait(self, end: float) -> None:
        """Wait until connections and tasks are gone or nothing moves, or the time is up."""
        loop, state = asyncio.get_running_loop(), self.server_state
        left_over = _LeftOver(loop.time())
        while (state.connections or state.tasks) and not self.force_exit:
            if loop.time() >= end:
                if state.tasks:
                    log.error("Time is up: cancelling %d running task(s)", len(state.tasks))
                return
            if state.tasks:
                left_over = _LeftOver(loop.time())
            elif not left_over.move(state.connections, loop.time()):
                return
            await asyncio.sleep(_GLANCE)

    async def _cancel(self) -> None:
        """Cancel what is left and wait for it, but not for ever; drop the connections."""
        tasks = {*self.server_state.tasks}
        hurry = min(_HURRY, self.cleanup_timeout / 2)
        for time in (hurry,) if self.force_exit else (self.cleanup_timeout, hurry):
            if tasks:
                for task in tasks:
                    task.cancel("the server stops")
                _, tasks = await asyncio.wait(tasks, timeout=time)
        if tasks:
            log.error("%d task(s) go on although they were cancelled", len(tasks))
            self._let_go(tasks)
        for connection in [*self.server_state.connections]:
            connection.transport.abort()
        # They are told in the next turn of the event loop.
        await asyncio.sleep(0)
        self.server_state.connections.clear()

    def _let_go(self, stubborn: Collection[asyncio.Task[Any]]) -> None:
        """Wait no longer for tasks: neither uvicorn here, nor `asyncio.run` at its end."""
        self.left_behind.update(stubborn)
        for task in stubborn:
            self.server_state.tasks.discard(task)
            # Documented in "Extending asyncio", for tasks of other makes.
            asyncio.tasks._unregister_task(task)
        if stubborn:
            # Python would close their coroutines at its end, when nothing works any more that
            # their clean-ups need. Nobody can close what a thread holds that never ends.
            forever = threading.Lock()
            forever.acquire()
            threading.Thread(
                target=_hold, args=(forever, [*stubborn]), name="telex left behind", daemon=True
            ).start()


class _LeftOver:
    """The connections that are there when nothing runs any more.

    Args:
        now: When that was so for the first time.
    """

    def __init__(self, now: float) -> None:
        self._since = now
        self._flows: dict[Any, Flow] = {}

    def move(self, connections: Collection[Any], now: float) -> bool:
        """Say whether a client has taken something since the last look, or a moment ago."""
        before = self._flows
        self._flows = {each: flow_of(each.transport) for each in connections}
        if any(flow.moved_since(before.get(each, flow)) for each, flow in self._flows.items()):
            self._since = now
        return now - self._since < _MOMENT


def _hold(forever: threading.Lock, _what: object) -> None:
    forever.acquire()


class Worker(multiprocess.Process):
    """A process of several."""

    @property
    def server(self) -> Server:
        """What runs in it."""
        if not isinstance(self._server, Server):
            self._server = Server(self.config)
        return self._server


class Workers(Multiprocess):
    """Several processes, with a `Server` in each."""

    def run(self) -> None:
        """Start them, and again those that die; block until SIGINT or SIGTERM."""
        # uvicorn has no place to say it: the class of its workers is a global of that module.
        theirs = multiprocess.Process
        multiprocess.Process = Worker  # type: ignore[misc]
        try:
            super().run()
        finally:
            multiprocess.Process = theirs  # type: ignore[misc]


def serve(app: Any, options: Mapping[str, Any]) -> None:
    """Do what `uvicorn.run` does, with a `Server` for uvicorn's own.

    Args:
        app: An ASGI application or an import string.
        options: The options of `uvicorn.run`.

    Raises:
        SystemExit: It could not start, and logged why.
    """
    call = inspect.signature(uvicorn.run).bind(app, **options)
    call.apply_defaults()
    arguments = call.arguments
    app_dir = arguments.pop("app_dir")
    if app_dir is not None:
        sys.path.insert(0, app_dir)
    config = Config(**arguments)
    several = config.should_reload or config.workers > 1
    if not several and hasattr(config, "load_app"):
        config.load_app()
    server = Server(config)
    try:
        if several:
            _supervise(config, server)
        else:
            server.run()
    except KeyboardInterrupt:
        pass
    finally:
        if config.uds and os.path.exists(config.uds):
            os.remove(config.uds)
    if not several and not server.started:
        sys.exit(_STARTUP_FAILURE)


def _supervise(config: Config, server: Server) -> None:
    with config.bind_socket() as sock:
        if config.should_reload:
            ChangeReload(config, target=server.run, sockets=[sock]).run()
        elif "target" in inspect.signature(Multiprocess).parameters:
            # Older ones of uvicorn.
            Multiprocess(config, target=server.run, sockets=[sock]).run()  # type: ignore[call-arg]
        else:
            Workers(config, [sock]).run()
