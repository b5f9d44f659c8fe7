"""Calls side by side, at most so many; those with the same key one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Final

from telex._uncancelled import is_being_cancelled
from telex.tasks import ConnectionTasks

Job = Callable[[], Awaitable[None]]

_WAITING: Final = 16
"""Calls that may wait behind one of the same key, before nothing more is taken."""


class Lanes:
    """Runs calls in the tasks of a connection. One task may put them in.

    Args:
        tasks: Ends them with the connection.
        width: How many run at once.
    """

    __slots__ = ("_by_key", "_change", "_running", "_tasks", "_width")

    def __init__(self, tasks: ConnectionTasks, width: int) -> None:
        self._tasks = tasks
        self._width = width
        self._running = 0
        self._by_key: dict[Hashable, deque[Job]] = {}
        self._change: asyncio.Future[None] | None = None

    async def put(self, job: Job, key: Hashable | None = None) -> None:
        """Have a call run; waits while there is no room for it.

        Args:
            job: The call.
            key: Those with the same one run one after the other; `None`: beside all others.
        """
        waiting = None if key is None else self._by_key.get(key)
        if waiting is not None:
            waiting.append(job)
            while len(waiting) > _WAITING:
                await self._changed()
            return
        while self._running >= self._width:
            await self._changed()
        waiting = deque((job,))
        if key is not None:
            self._by_key[key] = waiting
        self._running += 1
        _ = self._tasks.start(self._run(waiting, key))
        # It begins before the next message is looked for: that may be the end, which would cancel
        # it unbegun, and what the client sent last would be lost.
        await asyncio.sleep(0)

    async def _run(self, waiting: deque[Job], key: Hashable | None) -> None:
        try:
            while waiting:
                job = waiting.popleft()
                self._tell()
                await job()
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            # What it awaited was cancelled. A task that ends so ends without a word, and what
            # waits behind it would never run.
            raise RuntimeError("a call was cancelled, and nobody has asked for that") from error
        finally:
            self._running -= 1
            if key is not None:
                del self._by_key[key]
            self._tell()

    async def _changed(self) -> None:
        self._change = asyncio.get_running_loop().create_future()
        await self._change

    def _tell(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
