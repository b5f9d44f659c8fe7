"""Several things at once in one connection: tasks that never outlive it.

Rules:

1. Whatever ends first ends the rest: the body returns, a task fails, the peer leaves, we close.
   The remaining tasks are cancelled, once, and their `finally` blocks awaited before the block is
   left. (`asyncio.TaskGroup` would cancel again a task that is cleaning up already.)
2. A body that is waiting for a message learns of the end from its reader, like everywhere else.
   A body that is waiting for something else is cancelled, and `WebSocketDisconnect` is raised in
   its place.
3. The peer leaving is one event, however many tasks found it: `WebSocketDisconnect` comes out
   bare. A task that still wanted to send when we had closed has not failed. Other errors come out
   in an `ExceptionGroup`; also that another connection has ended, while this one goes on.
4. A client can end a task that was started for a message of its: `{"type": "cancel", "ref": …}`,
   with the `ref` that the task was given. Such a message is no message to readers. It is seen
   while somebody reads, and while nobody does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from telex._cleanup import CLEANUP_TIMEOUT
from telex._link import Link
from telex._replies import Ref, replies_of
from telex._source import AsgiSource
from telex._state import Phase
from telex.codecs import Codec
from telex.exceptions import WebSocketDisconnect, WebSocketHandshakeError

Result = TypeVar("Result")


class ConnectionTasks:
    """What `async with ws.tasks() as tasks:` gives.

    Args:
        link: The connection.
        codec: Returns what reads the messages that cancel a task; `None`: they are JSON or
            MessagePack.
    """

    __slots__ = (
        "_children",
        "_codec",
        "_errors",
        "_finders",
        "_interrupted",
        "_left",
        "_link",
        "_parent",
        "_stoppable",
    )

    def __init__(self, link: Link, codec: Callable[[], Codec] | None = None) -> None:
        self._link = link
        self._codec = codec
        self._children: set[asyncio.Task[Any]] = set()
        self._stoppable: set[asyncio.Task[Any]] = set()
        self._errors: list[BaseException] = []
        self._finders: set[asyncio.Task[Any]] = set()
        self._parent: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._left = False

    def start(
        self,
        coro: Coroutine[Any, Any, Result],
        *,
        name: str | None = None,
        ref: Ref | None = None,
    ) -> asyncio.Task[Result]:
        """Run a coroutine beside the body. Does not wait.

        Args:
            coro: The coroutine; it is cancelled when the connection or the body ends.
            name: The name of the task, `None` for one of asyncio's.
            ref: By which the client may cancel the task as long as it runs: the `ref` of its
                message. With `None` it cannot.

        Returns:
            The task, to wait for its result or to cancel it. One that the client cancels is
            cancelled once; that is no failure of the block.

        Raises:
            RuntimeError: The block was not entered, or is being left.
            TypeError: No coroutine, or a `ref` that is neither `str` nor `int`; nothing was begun.
            ValueError: A task with this `ref` is running; nothing was started.
        """
        if not isinstance(coro, Coroutine):
            raise TypeError(f"start() takes a coroutine, not {coro!r}; call the function")
        try:
            if self._left or self._parent is None:
                raise RuntimeError("tasks can be started inside `async with ws.tasks()` only")
            task = self._create(coro, name, ref)
        except BaseException:
            coro.close()
            raise
        self._children.add(task)
        task.add_done_callback(self._done)
        if self._link.progress.over:
            task.cancel()
        else:
            self._stoppable.add(task)
        return task

    def _create(
        self, coro: Coroutine[Any, Any, Result], name: str | None, ref: Ref | None
    ) -> asyncio.Task[Result]:
        create = asyncio.get_running_loop().create_task
        if ref is None or self._link.progress.over:
            return create(coro, name=name)
        # The client can only speak of it later: no message is looked at before the task is there.
        replies = replies_of(self._link.inbox)

        def cancel() -> None:
            if task in self._stoppable:
                self._stoppable.discard(task)
                task.cancel("the client cancelled it")

        replies.watch(ref, cancel, None if self._codec is None else self._codec())
        task = create(coro, name=name)
        task.add_done_callback(lambda _: replies.unwatch(ref))
        return task

    async def __aenter__(self) -> Self:
        """Begin to watch the connection."""
        self._parent = asyncio.current_task()
        source = self._link.inbox.source
        if isinstance(source, AsgiSource):
            source.start()
        self._link.progress.watchers.append(self._changed)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Cancel what still runs and wait for it; say how it ended."""
        self._left = True
        self._link.progress.watchers.remove(self._changed)
        self._stop()
        cancelled = await self._wait_for_children()
        ours = self._take_back_interruption()
        interrupted = ours and isinstance(exc, asyncio.CancelledError)
        if isinstance(exc, Exception):
            self._errors.append(exc)
        disconnected = self._raise_errors()
        if cancelled is not None and not ours:
            raise cancelled
        if interrupted:
            if self._link.progress.application is Phase.DISCONNECTED:
                return True
            raise await self._link.inbox.deliver() from None
        if disconnected and not isinstance(exc, WebSocketDisconnect | asyncio.CancelledError):
            raise self._link.progress.disconnect()
        return None

    def _changed(self) -> None:
        link = self._link
        source = link.inbox.source
        if link.progress.over:
            # Whoever found the end is on its way out already, which nothing may disturb, however
            # often the end is told; the others have to be told.
            finder = asyncio.current_task()
            if finder is not None:
                self._finders.add(finder)
            self._stop()
        elif source.closed is not None and not link.inbox.has_reader and not link.inbox.unread:
            self._stop()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._children.discard(task)
        self._stoppable.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._errors.append(error)
            self._stop()

    def _stop(self) -> None:
        for task in self._stoppable - self._finders:
            self._stoppable.discard(task)
            task.cancel()
        parent = self._parent
        assert parent is not None
        if parent in self._finders or self._left or self._interrupted:
            return
        # Who is being cancelled already is cleaning up.
        if not parent.cancelling():
            self._interrupted = True
            parent.cancel("the connection, or a task of it, has ended")

    def _stop_finders(self) -> None:
        self._finders.clear()
        self._stop()

    async def _wait_for_children(self) -> asyncio.CancelledError | None:
        cancelled = None
        timer = asyncio.get_running_loop().call_later(CLEANUP_TIMEOUT, self._stop_finders)
        while self._children:
            try:
                await asyncio.wait(self._children)
            except asyncio.CancelledError as exc:
                cancelled = exc
        timer.cancel()
        return cancelled

    def _take_back_interruption(self) -> bool:
        """Undo our own cancellation; say whether nobody else cancelled the body too."""
        if not self._interrupted or self._parent is None:
            return False
        return self._parent.uncancel() == 0

    def _raise_errors(self) -> bool:
        """Raise what went wrong; say whether the only thing was that the peer left."""
        if not self._errors:
            return False
        progress = self._link.progress
        closed_by_us = progress.application is Phase.DISCONNECTED
        expected: tuple[type[WebSocketHandshakeError], ...] = ()
        if closed_by_us:
            expected = (WebSocketHandshakeError,)
        elif progress.over or progress.told or self._link.inbox.source.closed is not None:
            # Before that it is the end of another connection.
            expected = (WebSocketDisconnect,)
        group = BaseExceptionGroup("errors in the tasks of a connection", self._errors)
        quiet, errors = group.split(expected)
        if errors is not None:
            raise errors from None
        return quiet is not None and not closed_by_us
