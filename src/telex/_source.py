"""Messages from plain ASGI: one bounded reader task per connection.

Rules:

1. The task is started by the first read and never before, so that code which awaits the server's
   own `receive` finds every event there.
2. What the server handed over sits in a buffer until it is taken. Nobody who waits holds a
   message, so cancelling a waiter cannot lose one. The server is asked by one task at a time.
3. The buffer is bounded. When it is full the task stops asking the server, whose own flow control
   then stops the client. A disconnect behind a full buffer is noticed when somebody reads.
4. After the disconnect the server is never asked again: some answer with a second disconnect,
   others never.
5. After a message that is too big nothing is taken. The connection is closed when somebody asks
   for more than what came before it, or after a second.

A task and a future per connection cost 3 % CPU against awaiting `receive` directly; a task per
message costs 29 % (measured on uvicorn).
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from telex._failures import report
from telex._progress import READING, Progress, passing
from telex._types import CloseRecord, Message, Receive
from telex._uncancelled import is_being_cancelled
from telex.exceptions import WebSocketRuntimeError

MAX_MESSAGES: Final = 32
"""Messages read ahead at most."""

MAX_BYTES: Final = 256 * 1024
"""Payload read ahead at most, in characters or bytes, behind a first message of any length. One
message more may arrive, however long it is."""

PARTING_TIMEOUT: Final = 1.0
"""Seconds for what came before a message that was too big, as on Telex's server."""

STOP_TIMEOUT: Final = 1.0
"""Seconds to wait for a `receive` that does not end when it is cancelled."""

_SIZED: Final = (str, bytes, bytearray, memoryview)

ABNORMAL: Final = CloseRecord(1006, "", "client")
"""What is known of a peer that went without saying so."""


def close_record(message: Message) -> CloseRecord:
    """Return what a `websocket.disconnect` says; servers leave keys out or use enum members."""
    code = message.get("code")
    try:
        number = 1000 if code is None else int(code)
    except (TypeError, ValueError, OverflowError):
        number = 1006
    reason = message.get("reason")
    if isinstance(reason, bytes):
        reason = reason.decode("utf-8", "replace")
    return CloseRecord(number, "" if reason is None else str(reason), "client")


def payload(message: Message) -> str | bytes:
    """Return the text or the bytes of a `websocket.receive`.

    Some servers send both keys and set the other one to `None`, so presence says nothing.

    Raises:
        WebSocketRuntimeError: Both are set, or neither, to something else, or it is another kind of
            event.
    """
    if message.get("type") != "websocket.receive":
        raise WebSocketRuntimeError(
            f"expected 'websocket.receive' from the server, got {message.get('type')!r}"
        )
    text, data = message.get("text"), message.get("bytes")
    if data is None and isinstance(text, str):
        return text
    if text is None and isinstance(data, bytes | bytearray | memoryview):
        return data if isinstance(data, bytes) else bytes(data)
    if text is None and data is None:
        found = "neither"
    elif text is not None and data is not None:
        found = "both"
    else:
        found = f"{type(data if text is None else text).__name__} in their place"
    raise WebSocketRuntimeError(f"expected text or bytes in 'websocket.receive', got {found}")


def _size(message: Message) -> int:
    data: Any = message.get("text")
    if type(data) is str:
        return len(data)
    if data is None:
        data = message.get("bytes")
    return len(data) if isinstance(data, _SIZED) else 0


def _exceeds(message: Message, size: int) -> bool:
    """Whether the payload is longer than so many bytes."""
    text: Any = message.get("text")
    wide = isinstance(text, str) and len(text) <= size
    return (len(text.encode("utf-8", "surrogatepass")) if wide else _size(message)) > size


class AsgiSource:
    """The `Source` over an ASGI `receive`.

    Args:
        receive: The callable to ask. It is asked by one task at a time.
        progress: The state of the connection, which is told as soon as the peer is gone.
        wrapped: Whether `receive` may lead to another link of the same connection.
    """

    __slots__ = (
        "_asking",
        "_buffer",
        "_closed",
        "_failure",
        "_max_size",
        "_others",
        "_parting",
        "_progress",
        "_receive",
        "_room",
        "_small",
        "_stopped",
        "_task",
        "_too_big",
        "_waiter",
        "_wanted",
        "_weight",
        "_wrapped",
        "connect",
        "farewell",
        "heard",
        "latency",
    )

    def __init__(self, receive: Receive, progress: Progress, *, wrapped: bool = False) -> None:
        self._receive = receive
        self._progress = progress
        self._wrapped = wrapped
        self._buffer: deque[Message] = deque()
        self._weight = 0
        self._closed: CloseRecord | None = None
        self._failure: Exception | None = None
        self._room: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._others: list[asyncio.Future[None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._asking = False
        self._wanted = False
        self._stopped = False
        self._max_size = self._small = sys.maxsize
        self._too_big: Callable[[], None] | None = None
        self._parting: asyncio.TimerHandle | None = None
        self.heard: Callable[[Message], bool] | None = None
        """Called with each message that comes; one for which it returns true goes nowhere else."""
        self.latency: float | None = None
        """Seconds in which a sign of life was last answered, `None` before."""
        self.connect: Message | None = None
        """The `websocket.connect`, as long as `event` has not returned it."""
        self.farewell: Message | None = None
        """The `websocket.disconnect` as it came."""

    @property
    def closed(self) -> CloseRecord | None:
        """How the peer ended the connection, as soon as it is known."""
        return self._closed

    @property
    def pending(self) -> int:
        """How many messages wait to be polled."""
        return len(self._buffer)

    @property
    def full(self) -> bool:
        """Whether the server is not asked because nobody takes what is here."""
        return self._room is not None and not self._room.done()

    def limit_size(self, size: int, too_big: Callable[[], None]) -> None:
        """Take no message that is longer, and nothing that comes after it; see rule 5."""
        # A character has one to four bytes.
        self._max_size, self._small, self._too_big = size, size // 4, too_big

    def forget(self) -> None:
        """Hold nobody any more who was to be called."""
        self._too_big = self.heard = None
        if self._parting is not None:
            self._parting.cancel()

    def start(self) -> None:
        """Start the task, once; while `event` is asking, when that has its answer."""
        if self._asking:
            self._wanted = True
        elif self._task is None and not self._stopped and self._closed is None:
            create, context = asyncio.get_running_loop().create_task, self._progress.own_context()
            self._task = create(self._read(), name="telex reader", context=context)
            self._task.add_done_callback(self._stopped_reading)

    def poll(self) -> str | bytes | None:
        """Take the payload of the next message, `None` when none is here.

        Raises:
            WebSocketRuntimeError: The event is no proper message; it is consumed.
            Exception: What `receive` raised, once, after the messages before it.
        """
        if self._buffer:
            return payload(self._next())
        message = self.poll_message()
        return None if message is None else payload(message)

    def poll_message(self) -> Message | None:
        """Take the next event as it came, `None` when none is here."""
        if not self._buffer:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._parting is not None:
                self._part()
            return None
        return self._next()

    def _next(self) -> Message:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        message = self._buffer.popleft()
        if not self._buffer:
            self._weight = 0
        return message

    def wait(self) -> asyncio.Future[None]:
        """Return a future that is done when there is something new; starts the task."""
        if self._task is None:
            self.start()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._buffer or self._closed is not None:
            waiter.set_result(None)
        else:
            self._waiter = waiter
        return waiter

    async def event(self) -> Message:
        """Return the next event of any kind, the connect too, and at the end the disconnect.

        Asks the server itself as long as there is no task, so that nothing is read ahead.

        Raises:
            Exception: What `receive` raised, once.
        """
        while True:
            message, self.connect = self.connect, None
            if message is None:
                message = self.poll_message()
            if message is not None:
                return message
            if self._closed is not None:
                return self.last_event()
            if self._asking or (self._task is not None and not self._task.done()):
                await self._change()
            else:
                await self._ask()

    def last_event(self) -> Message:
        """Return the disconnect as it came, or what stands for it."""
        if self.farewell is not None:
            return self.farewell
        record = self._closed or ABNORMAL
        return {"type": "websocket.disconnect", "code": record.code, "reason": record.reason}

    def cancel(self) -> asyncio.Task[None] | None:
        """Cancel the task for good; return it as long as it has not ended."""
        self._stopped = True
        if self._failure is not None:
            failure, self._failure = self._failure, None
            report(failure, "nobody read what the server's receive raised")
        task = self._task
        if task is None or task.done() or task is asyncio.current_task():
            return None
        task.cancel()
        return task

    async def stop(self) -> None:
        """Cancel the task and wait until it has ended. Calling it again does nothing."""
        task = self.cancel()
        if task is not None:
            await asyncio.wait((task,), timeout=STOP_TIMEOUT)

    async def _read(self) -> None:
        if self._wrapped:
            passing.set((self._progress, READING))
        try:
            while self._closed is None and not self._stopped:
                if len(self._buffer) >= MAX_MESSAGES or (
                    self._weight >= MAX_BYTES and self._weigh() >= MAX_BYTES
                ):
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
                    continue
                self._arrived(await self._receive())
        except Exception as exc:
            self._failed(exc)

    def _stopped_reading(self, task: asyncio.Task[None]) -> None:
        if self._closed is None and not self._stopped:
            # Cancelled by the server, or the loop shuts down: nobody may be left waiting.
            self._end(ABNORMAL)
        self._wake()

    def _weigh(self) -> int:
        self._weight = sum(map(_size, self._buffer))
        return self._weight

    async def _ask(self) -> None:
        self._asking = True
        token = passing.set((self._progress, READING)) if self._wrapped else None
        try:
            self._arrived(await self._receive())
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            self._end(ABNORMAL)
        except Exception as exc:
            self._failed(exc)
        finally:
            if token is not None:
                passing.reset(token)
            self._asking = False
            if self._wanted:
                self.start()
            self._wake()

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._others is None:
            self._others = []
        self._others.append(waiter)
        await waiter

    def _arrived(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "websocket.disconnect":
            self.farewell = message
            self._end(close_record(message))
            return
        if kind == "websocket.connect":
            # Either accept() will ask for it, or accept() was cancelled while it was on its way.
            self.connect = message
        elif self.heard is None or not self.heard(message):
            size = _size(message)
            if size > self._small and self._is_too_big(message):
                return
            # A rough weight: not of the first, which mostly is the only one, and never less
            # when one is taken. `_weigh` is exact, and not often needed.
            if self._buffer:
                self._weight += size
            self._buffer.append(message)
        self._wake()

    def _is_too_big(self, message: Message) -> bool:
        if self._parting is None and _exceeds(message, self._max_size):
            # Of what follows, nothing is small enough.
            self._small = -1
            later = asyncio.get_running_loop().call_later
            self._parting = later(PARTING_TIMEOUT if self._buffer else 0, self._part)
        return self._parting is not None

    def _part(self) -> None:
        too_big, self._too_big = self._too_big, None
        if too_big is not None:
            too_big()

    def _failed(self, exc: Exception) -> None:
        if isinstance(exc, StopIteration | StopAsyncIteration):
            # Where it is raised again it would end a loop as if all were well.
            wrapped = RuntimeError(f"receive raised {exc!r}")
            wrapped.__cause__ = exc
            exc = wrapped
        if not isinstance(exc, OSError):
            self._failure = exc
        self._end(ABNORMAL)

    def _end(self, record: CloseRecord) -> None:
        self._closed = record
        self._wake()
        self._progress.notify()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._others:
            others, self._others = self._others, None
            for other in others:
                if not other.done():
                    other.set_result(None)
