"""Handling messages in the turn of the event loop in which they come, where the server allows it.

A reader that waits is woken a turn later, and most calls for a message never wait for anything. So
where the server has a frame channel, a call is begun right in its callback, for the task that
reads: with that task as the current one, and in its context. Nothing else has to happen when the
call is over at once. When it waits for something, the task is woken and goes on with it.

What a call sees is the same either way: one call after the other, in the task of the handler.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from telex._iterator import MessageIterator
from telex._link import Link
from telex._types import GIVE_WAY

Handle = Callable[[str | bytes], Coroutine[Any, Any, None]]
"""Handles one message; what it returns is awaited."""


class _Begun(Exception):
    """What wakes the reader: there is no message, but a call to go on with."""


Run = Callable[..., Any]
"""Calls a function with arguments."""


async def handle_all(link: Link, handle: Handle) -> None:
    """Call a function for each message, one after the other, until the connection ends.

    Ends quietly where a loop over the connection would. Cancelling it cancels the call.

    Raises:
        WebSocketRuntimeError: Not accepted yet.
        Exception: What a call raised.
    """
    channel = link.channel
    if channel is None or link.inbox.source is not channel:
        async for message in MessageIterator(link, _as_it_is):
            _tell_of_the_end(link)
            await handle(message)
        return
    reader = _EagerReader(link, handle)
    channel.on_message(reader.begin)
    try:
        await reader.run()
    finally:
        channel.on_message(None)
        reader.leave()


def _tell_of_the_end(link: Link) -> None:
    """Have a call told of the end that is known already, when it waits for something.

    Nobody else does so: who was told believed that there was a reader, and messages to read.
    """
    if link.inbox.source.closed is not None and not link.inbox.unread:
        # Two turns later: when a task is made for the call, that takes the first one.
        asyncio.get_running_loop().call_soon(_notify_soon, link)


def _notify_soon(link: Link) -> None:
    asyncio.get_running_loop().call_soon(link.progress.notify)


def _as_it_is(data: str | bytes) -> str | bytes:
    return data


class _EagerReader(MessageIterator[str | bytes]):
    """Reads for a task; while that waits for a message, begins calls for it."""

    __slots__ = (
        "_asleep",
        "_call",
        "_context",
        "_error",
        "_handle",
        "_in_a_row",
        "_link",
        "_loop",
        "_run_inside",
        "_run_outside",
        "_task",
    )

    def __init__(self, link: Link, handle: Handle) -> None:
        super().__init__(link, _as_it_is)
        task = asyncio.current_task()
        assert task is not None
        self._link = link
        self._handle = handle
        self._task = task
        self._loop = task.get_loop()
        self._context = contextvars.copy_context()
        self._run_outside, self._run_inside = _runners(task, self._context)
        self._asleep = False
        self._in_a_row = 0
        self._call: _Call | None = None
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Handle messages until the connection ends."""
        over = False
        while not over:
            message, error = await self._next()
            call, self._call = self._call, None
            try:
                over = isinstance(error, StopAsyncIteration)
                if call is not None:
                    if isinstance(error, asyncio.CancelledError):
                        call = self._run_inside(call.step, call.coro.throw, error)
                elif error is None:
                    call = self._run_inside(self._first_step, message)
                elif not over:
                    raise error
            finally:
                # Its traceback holds this frame: no circle may be left.
                error = None
            if call is not None:
                _tell_of_the_end(self._link)
                await call

    def leave(self) -> None:
        """Leave the variables that calls have set to what comes behind them."""
        if sys.version_info < (3, 12):
            _bring_home(self._context)

    async def _next(self) -> tuple[str | bytes, BaseException | None]:
        """Return the next message, or what came in its place, also from a call that was begun."""
        self._asleep, self._in_a_row = True, 0
        message: str | bytes = ""
        error: BaseException | None = None
        try:
            message = await self._inbox.iterate(_as_it_is, self._over)
        except (Exception, asyncio.CancelledError) as exc:
            error = exc
        self._asleep = False
        try:
            return message, self._error or error
        finally:
            self._error = error = None

    def begin(self, data: str | bytes) -> bool:
        """Begin the call for a message that comes; say whether that was possible."""
        begun = self._call is not None or self._error is not None
        if begun or not self._asleep or not self._inbox.direct:
            return False
        self._in_a_row += 1
        if self._in_a_row > GIVE_WAY:
            # Others want to live, too. The task takes it, and is given turns like everybody.
            return False
        try:
            asyncio._enter_task(self._loop, self._task)
        except RuntimeError:
            # This is another task. A server's transport is none.
            return False
        self._inbox.progress.received += 1
        try:
            self._call = self._run_outside(self._first_step, data)
        except BaseException as error:
            self._error = error
        finally:
            asyncio._leave_task(self._loop, self._task)
        if self._call is not None or self._error is not None:
            self._inbox.rouse(_Begun())
        return True

    def _first_step(self, data: str | bytes) -> _Call | None:
        """Begin a call; return what is left of it."""
        coro = self._handle(data)
        try:
            waits_for = coro.send(None)
        except StopIteration:
            return None
        return _Call(coro, self._run_inside, waits_for)


class _Call:
    """What is left of a call: a coroutine that has begun, to go on with in a task."""

    __slots__ = ("_blocking", "_run", "_waits_for", "coro")

    def __init__(self, coro: Coroutine[Any, Any, None], run: Run, waits_for: Any) -> None:
        self.coro = coro
        self._run = run
        self._wait_for(waits_for)

    def _wait_for(self, waits_for: Any) -> None:
        self._waits_for = waits_for
        # What is no future is asyncio's to refuse, and what has been yielded before its time.
        self._blocking = getattr(waits_for, "_asyncio_future_blocking", None) is True
        if self._blocking:
            # Somebody else may come to wait for the same before this one does.
            waits_for._asyncio_future_blocking = False

    def step(self, step: Callable[[Any], Any], value: object) -> _Call | None:
        """Make a step; return what is left."""
        try:
            self._wait_for(step(value))
        except StopIteration:
            return None
        finally:
            # An exception, whose traceback will hold this frame: no circle may be left.
            del value
        return self

    def __await__(self) -> Generator[Any, Any, None]:
        rest: _Call | None = self
        while rest is not None:
            if self._blocking:
                self._waits_for._asyncio_future_blocking = True
            step: Callable[[Any], Any] = self.coro.send
            try:
                value = yield self._waits_for
            except BaseException as error:
                step, value = self.coro.throw, error
            try:
                rest = self._run(self.step, step, value)
            finally:
                value = None


def _runners(task: asyncio.Task[Any], copy: contextvars.Context) -> tuple[Run, Run]:
    """Return what calls a function in the context of a task: from outside, and from inside."""
    if sys.version_info >= (3, 12):
        return task.get_context().run, _run
    # A task does not tell its context; a copy has the same variables, if everything runs in it.
    return copy.run, copy.run


def _run(fn: Callable[..., Any], *args: Any) -> Any:
    try:
        return fn(*args)
    finally:
        del args


def _bring_home(context: contextvars.Context) -> None:
    """Set the variables of the current context as they are in a copy of it."""
    for variable, value in context.items():
        if variable.get(None) is not value:
            variable.set(value)
