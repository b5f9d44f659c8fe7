"""The open connections of an application: finding and closing some, and the end of all."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Final

from telex._cleanup import CLEANUP_TIMEOUT
from telex._dismissal import dismiss
from telex._draining import drains_here, server_here, stops_here
from telex._end import path_name
from telex._limits import check_drain_timeout
from telex._progress import Progress
from telex.close_codes import CloseCode, check_code
from telex.standing import labels_of
from telex.websockets import WebSocket, link_of

log: Final = logging.getLogger("telex")

_BATCH: Final = 50
"""Connections that are closed in one go when the server stops."""

_NOTICE: Final = 0.1
"""The part of the time to stop that those have who wait for it, before connections are closed."""

_SPREAD: Final = 0.5
"""The part in which connections are closed; the rest is for their handlers."""

_SPARE: Final = 1.0
"""Seconds for what is cancelled once more."""


class Connections:
    """The connections that are served by the routes of one application, from handshake to end.

    `app.connections`. Iterating gives each `WebSocket`; a connection counts until its handler has
    ended. Use it on the event loop of the connections.

    Args:
        drain_timeout: Seconds in which all of them are closed when the server stops.
    """

    def __init__(self, drain_timeout: float = 10.0) -> None:
        check_drain_timeout(drain_timeout)
        self._drain_timeout = drain_timeout
        self._server: weakref.ref[object] | None = None
        self._open: dict[Progress, tuple[WebSocket, asyncio.Task[Any] | None, object]] = {}
        self._labelled: dict[tuple[str, Any], set[Progress]] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._stopping: set[object] = set()
        self._closing: list[tuple[object, asyncio.Future[None]]] = []

    @property
    def draining(self) -> bool:
        """Whether the server is stopping, the current task's if it has one, else any.

        New connections are refused then.
        """
        return bool(self._stopping) and stops_here(self._stopping)

    def __len__(self) -> int:
        return len(self._open)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[WebSocket]:
        """Go through the connections that are open now."""
        return iter([ws for ws, _, _ in self._open.values()])

    def find(self, **labels: Any) -> list[WebSocket]:
        """Return the connections that have all of these labels; without any, all connections."""
        return [self._open[progress][0] for progress in self._found(labels)]

    async def close(
        self, *, code: int = CloseCode.POLICY_VIOLATION, reason: str = "", **labels: Any
    ) -> int:
        """Close the connections that have all of these labels; without any, all connections.

        Those that are not accepted yet are rejected with 403. Waits until their handlers have
        ended, at most the time to stop (`drain_timeout`); progress that calls it does not wait for
        itself. Cancelling it takes nothing back.

        Args:
            code: The close code; 4401 where access was revoked.
            reason: The close reason.
            **labels: Labels as they were given to `WebSocket.label`.

        Returns:
            How many were closed.

        Raises:
            ValueError: A code that may not be sent; nothing was closed.
        """
        check_code(code)
        found = self._found(labels)
        ended = {each for each in found if self._dismiss(each, code, reason, status=403)}
        await self._wait_without(ended, self._drain_timeout)
        return len(ended)

    def _found(self, labels: Mapping[str, Any]) -> list[Progress]:
        if not labels:
            return list(self._open)
        sets = [self._labelled.get(label, set()) for label in labels.items()]
        smallest, *others = sorted(sets, key=len)
        return [progress for progress in smallest if all(progress in other for other in others)]

    def _dismiss(self, progress: Progress, code: int, reason: str, *, status: int) -> bool:
        return dismiss(self._open[progress][0], code, reason, status=status)

    # What connections call

    def enter(self, ws: WebSocket) -> None:
        """Count a connection, whose handler the current task runs."""
        server = server_here()
        if self._server is None or self._server() is not server:
            self._server = weakref.ref(server)
            drains_here(self)
        progress = link_of(ws).progress
        self._open[progress] = (ws, asyncio.current_task(), server)
        for label in labels_of(progress).items():
            self.label(progress, label)

    def leave(self, ws: WebSocket, *, goes_on: bool = False) -> None:
        """Count it no more; its handler has ended, unless it goes on and keeps its labels."""
        progress = link_of(ws).progress
        own = labels_of(progress)
        for label in own.items():
            self.unlabel(progress, label)
        if not goes_on:
            own.clear()
        self._open.pop(progress, None)
        if self._waiting:
            loop = asyncio.get_running_loop()
            for waiting in self._waiting:
                if waiting.get_loop() is loop and not waiting.done():
                    waiting.set_result(None)

    def label(self, progress: Progress, label: tuple[str, Any]) -> None:
        """Let a connection be found by a label, if it is counted."""
        if progress in self._open:
            self._labelled.setdefault(label, set()).add(progress)

    def unlabel(self, progress: Progress, label: tuple[str, Any]) -> None:
        """Let it be found by the label no more."""
        having = self._labelled.get(label, set())
        having.discard(progress)
        if not having:
            self._labelled.pop(label, None)

    async def wait_closing(self) -> None:
        """Wait until the server begins to stop."""
        if not self.draining:
            closing = (server_here(), asyncio.get_running_loop().create_future())
            self._closing.append(closing)
            try:
                await closing[1]
            finally:
                if closing in self._closing:
                    self._closing.remove(closing)

    # What the server calls

    async def drain(
        self, timeout: float = math.inf, cleanup_timeout: float = CLEANUP_TIMEOUT
    ) -> list[asyncio.Task[Any]]:
        """End all connections of the current task's server, and those of no known one.

        They are closed with 1012, a few at a time, then what goes on is cancelled.

        Those who `wait_closing` have a moment before that. New connections are refused until
        `drained` is called.

        Args:
            timeout: Seconds until handlers are cancelled, unless `drain_timeout` is shorter.
            cleanup_timeout: Seconds they have for their end then. Those that take longer are
                cancelled once more, and not waited for any longer.

        Returns:
            The tasks of handlers that go on although they were cancelled.
        """
        loop, server = asyncio.get_running_loop(), server_here()
        self._stopping.add(server)
        self._server = None
        own = (server, loop)
        time = min(self._drain_timeout, timeout)
        end = loop.time() + time
        if self._tell(own):
            await asyncio.sleep(time * _NOTICE)
        await self._close_in_batches(self._those_of(own), time * _SPREAD)
        await self._wait_without(set(self._those_of(own)), max(end - loop.time(), 0))
        return await self._cancel_the_rest(own, cleanup_timeout)

    def drained(self) -> None:
        """Let connections in again: the server has stopped, and another one may serve them."""
        self._stopping.discard(server_here())

    def _those_of(self, servers: tuple[object, ...]) -> list[Progress]:
        return [progress for progress, (_, _, server) in [*self._open.items()] if server in servers]

    def _tell(self, servers: tuple[object, ...]) -> bool:
        """Wake those who wait for the end of some servers; say whether there are any."""
        told = [each for each in self._closing if each[0] in servers]
        self._closing = [each for each in self._closing if each[0] not in servers]
        waiting = [closing for _, closing in told if not closing.done()]
        for each in waiting:
            each.set_result(None)
        return bool(waiting)

    async def _close_in_batches(self, those: list[Progress], time: float) -> None:
        """Close connections within that many seconds, some at a time at random moments.

        Their clients connect again, and shall not all do it at once.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        random.shuffle(those)
        pause = time * _BATCH / max(len(those), 1)
        for first in range(0, len(those), _BATCH):
            if first:
                moment = start + pause * (first / _BATCH - random.random())
                await asyncio.sleep(max(moment - loop.time(), 0))
            for progress in those[first : first + _BATCH]:
                if progress in self._open:
                    self._dismiss(progress, CloseCode.SERVICE_RESTART, "", status=503)

    async def _cancel_the_rest(
        self, servers: tuple[object, ...], timeout: float
    ) -> list[asyncio.Task[Any]]:
        opened = [self._open[progress] for progress in self._those_of(servers)]
        handlers = {
            task: ws
            for ws, task, _ in opened
            if task is not None and task is not asyncio.current_task()
        }
        rest = {*handlers}
        for time in (timeout, min(_SPARE, timeout / 2)):
            if rest:
                for task in rest:
                    task.cancel("the server stops")
                _, rest = await asyncio.wait(rest, timeout=time)
        for task in rest:
            log.error(
                "the handler of %s goes on although it was cancelled",
                path_name(handlers[task].scope),
            )
        return list(rest)

    async def _wait_without(self, those: set[Progress], timeout: float) -> None:
        """Wait until the handlers of some connections have ended, the current one aside."""
        loop, current = asyncio.get_running_loop(), asyncio.current_task()
        try:
            async with asyncio.timeout(timeout):
                for progress in those:
                    while progress in self._open and self._open[progress][1] is not current:
                        # Of this loop: an event would belong to that of its first waiter for ever.
                        changed = loop.create_future()
                        self._waiting.add(changed)
                        try:
                            await changed
                        finally:
                            self._waiting.discard(changed)
        except TimeoutError:
            pass
