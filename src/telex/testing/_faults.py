"""Bad connections on purpose: late, in pieces, broken in the middle; never out of order.

Rules:

1. A message is counted, delayed and dropped as it arrives, which is after splitting: five pieces
   are five messages.
2. Incoming messages are read ahead, so that their delays pass side by side, as on a long line.
   Outgoing ones wait in the application's own `send`: no task has to outlive the application, and
   a test finds it parked where a full buffer would park it.
3. What was under way when the connection is dropped is lost; what had arrived is still received.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any, Final

from telex._source import STOP_TIMEOUT
from telex._types import FRAMES_EXTENSION, ASGIApp, Message, Receive, Scope, Send
from telex.testing._wire import ABORT_EXTENSION

MAX_AHEAD: Final = 32
"""Incoming messages that may be under way at once; more stay with the server."""

_DATA: Final = ("websocket.receive", "websocket.send")
_BROKEN: Final[Message] = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
_SECONDS: Final = "a number of seconds, 0 or more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is wrong with one direction of a connection.

    Attributes:
        delay: Seconds after which each message arrives, or a function that is called with the
            number of the message (0, 1, 2, …) and returns them. The close and the disconnect
            have a delay too, and the number behind the last message; the handshake has none. A
            message with a shorter delay than the one before it arrives right behind that.
        split: Data messages that are longer arrive as several of at most so many characters of
            text or bytes; text is not cut inside a character. For applications that read
            messages as a stream. `None` splits nothing.
        drop_after: Data messages after which the connection breaks, `None` for never. Incoming:
            as soon as the application has received that many (with 0, when it has accepted).
            Outgoing: in the middle of the send behind them.

    Raises:
        TypeError: An argument of the wrong type.
        ValueError: A number out of range.
    """

    delay: float | Callable[[int], float] = 0.0
    split: int | None = None
    drop_after: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.delay):
            expected = f"{_SECONDS}, or a function of the message's number"
            _check("Faults(delay=…)", self.delay, float, 0, expected)
        for name, least in (("split", 1), ("drop_after", 0)):
            value = getattr(self, name)
            if value is not None:
                expected = f"an int of at least {least} or None"
                _check(f"Faults({name}=…)", value, int, least, expected)


class LinkDropped(ConnectionResetError):
    """What `send` raises behind a `FaultyLink` once the connection is broken.

    Attributes:
        connection: The broken connection.
    """

    def __init__(self, connection: FaultyConnection) -> None:
        self.connection = connection
        super().__init__("the connection was dropped by a FaultyLink")


class FaultyLink:
    """An ASGI application around another one, whose WebSocket connections are bad.

    It runs under a server and under the in-process test client alike, and never changes the order
    of messages. HTTP requests and the lifespan pass through untouched.

    When a connection breaks, `receive` returns `websocket.disconnect` with 1006 from then on, and
    `send` raises an `OSError` (which may leave the application), also where it was waiting. The
    client sees 1006 at once under the in-process client and under a server with the extension
    `telex.frames`, elsewhere when the application returns; until then nothing reaches it, not
    even the application's close.

    A `send` returns when its message was handed over, `delay` seconds later. Tasks that send at
    the same time wait side by side, and their messages go out in the order of the calls.
    Cancelling a send that waits takes back what was not handed over yet. Cancelling a receive
    loses nothing.

    Args:
        app: Any ASGI application.
        incoming: What is wrong with messages from the client, `None` for nothing.
        outgoing: What is wrong with messages to the client, `None` for nothing.

    Raises:
        TypeError: `app` cannot be called, or the others are no `Faults`.
    """

    def __init__(
        self, app: ASGIApp, *, incoming: Faults | None = None, outgoing: Faults | None = None
    ) -> None:
        if not callable(app):
            raise TypeError(f"FaultyLink(app) must be an ASGI application, not {app!r}")
        for name, faults in (("incoming", incoming), ("outgoing", outgoing)):
            if faults is not None and not isinstance(faults, Faults):
                raise TypeError(f"FaultyLink({name}=…) must be Faults or None, not {faults!r}")
        self.app = app
        self.incoming = incoming or Faults()
        self.outgoing = outgoing or Faults()
        self._connections: list[FaultyConnection] = []

    @property
    def connections(self) -> list[FaultyConnection]:
        """The connections that are neither broken nor over, the oldest first; a new list.

        One is in it before its client learns that it was accepted.
        """
        return [connection for connection in self._connections if not connection.dropped]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application on one scope, as servers do."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        connection = FaultyConnection(scope, receive, send, self.incoming, self.outgoing)
        self._connections.append(connection)
        try:
            await self.app(scope, connection._receive, connection._send)
        except LinkDropped as exc:
            # Servers take their own OSError back in the same way.
            if exc.connection is not connection:
                raise
        finally:
            self._connections.remove(connection)
            await connection._finish()


class FaultyConnection:
    """One connection behind a `FaultyLink`; made by that.

    Attributes:
        scope: The ASGI scope of the connection.
        dropped: Whether it was broken, by `drop` or by `Faults.drop_after`.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, incoming: Faults, outgoing: Faults
    ) -> None:
        self.scope = scope
        self.dropped = False
        self._loop = asyncio.get_running_loop()
        self._hand_over = send
        self._split = outgoing.split
        self._schedule = _Schedule(outgoing)
        self._arrivals = _Arrivals(receive, incoming)
        self._received_until_drop = incoming.drop_after
        self._sent_until_drop = outgoing.drop_after
        self._reading = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._handing: asyncio.Timeout | None = None
        self._gone = asyncio.Event()
        self._accepted = False
        self._over = False

    def drop(self) -> None:
        """Break the connection now; does nothing when it is broken or over.

        Does not wait, and any task may call it. From another thread than the connection's it
        takes effect as soon as the event loop there comes to it.
        """
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._cut()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        if self.dropped or self._over:
            return
        self.dropped = True
        self._gone.set()
        self._arrivals.cut(self._received_until_drop)
        if self._handing is not None:
            self._handing.reschedule(self._loop.time())
        extensions = self.scope.get("extensions") or {}
        if ABORT_EXTENSION in extensions:
            extensions[ABORT_EXTENSION]()
        elif FRAMES_EXTENSION in extensions:
            extensions[FRAMES_EXTENSION].abort()

    async def _receive(self) -> Message:
        async with self._reading:
            message = await self._arrivals.next()
        if message["type"] in _DATA and self._received_until_drop:
            self._received_until_drop -= 1
            if self._received_until_drop == 0:
                self._cut()
        return message

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        batch = [(0.0, message)]
        if self._accepted and kind in ("websocket.send", "websocket.close"):
            # Before the first await, so that the order of the calls counts.
            pieces = _pieces(message, self._split)
            batch = [(self._schedule.next(), piece) for piece in pieces]
        self._accepted = self._accepted or kind == "websocket.accept"
        try:
            async with self._writing:
                for due, piece in batch:
                    await self._send_piece(due, piece)
        except LinkDropped:
            if kind != "websocket.close":
                raise
        if kind == "websocket.accept" and self._received_until_drop == 0:
            self._cut()

    async def _send_piece(self, due: float, piece: Message) -> None:
        if due > self._loop.time():
            await _wait(self._gone, due)
        if piece["type"] in _DATA and self._sent_until_drop is not None:
            if self._sent_until_drop == 0:
                self._cut()
            self._sent_until_drop -= 1
        try:
            if piece["type"] == "websocket.close":
                # Granian 2.8 sends no close while somebody waits in its `receive`.
                await self._arrivals.pause()
            if self.dropped:
                raise LinkDropped(self)
            async with asyncio.timeout(None) as self._handing:
                await self._hand_over(piece)
        except LinkDropped:
            raise
        except OSError as exc:
            # The TimeoutError that `_cut` brings about is one of them.
            if self.dropped:
                raise LinkDropped(self) from exc
            raise
        finally:
            self._handing = None
            self._arrivals.go_on()

    async def _finish(self) -> None:
        self._over = True
        self._arrivals.cut(0)
        await self._arrivals.pause()


class _Schedule:
    """Numbers the messages of one direction and says when each arrives, in the loop's time."""

    def __init__(self, faults: Faults) -> None:
        self._delay = faults.delay
        self._number = 0

    def next(self) -> float:
        seconds = self._delay(self._number) if callable(self._delay) else self._delay
        _check(f"what Faults(delay=…) returns for {self._number}", seconds, float, 0, _SECONDS)
        self._number += 1
        return asyncio.get_running_loop().time() + seconds


class _Arrivals:
    """The incoming messages of one connection, read ahead by a task; for one reader at a time."""

    def __init__(self, receive: Receive, faults: Faults) -> None:
        self._receive = receive
        self._split = faults.split
        self._schedule = _Schedule(faults)
        self._buffer: deque[tuple[float, Message]] = deque()
        self._last: Message | Exception | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def next(self) -> Message:
        """Wait for the next event; at the end return the disconnect again and again."""
        loop = asyncio.get_running_loop()
        while True:
            due = self._buffer[0][0] if self._buffer else None
            if due is not None and due <= loop.time():
                self._room.set()
                return self._buffer.popleft()[1]
            if due is None:
                if isinstance(self._last, Exception):
                    raise self._last
                if self._last is not None:
                    return dict(self._last)
                self._start()
            self._news.clear()
            await _wait(self._news, due)

    def cut(self, most: int | None) -> None:
        """Keep so many data messages that are here, lose what is under way, end with 1006."""
        now = asyncio.get_running_loop().time()
        here = takewhile(lambda e: e[0] <= now and e[1]["type"] in _DATA, self._buffer)
        self._buffer = deque(islice(here, most))
        self._last = _BROKEN
        if self._task is not None:
            self._task.cancel()
        self._news.set()

    async def pause(self) -> None:
        """Leave the server's `receive` alone until `go_on`."""
        self._paused = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=STOP_TIMEOUT)

    def go_on(self) -> None:
        """Ask the server again, if somebody reads."""
        if self._paused:
            self._paused = False
            self._news.set()

    def _start(self) -> None:
        # In the context of the reader: links of Telex further out know it by that.
        if not self._paused and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._read(), name="telex faulty link")

    async def _read(self) -> None:
        try:
            while self._last is None:
                if len(self._buffer) >= MAX_AHEAD:
                    self._room.clear()
                    await self._room.wait()
                elif not self._arrived(await self._receive()):
                    return
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The server has cancelled what it waited for itself.
            self._last = self._last or _BROKEN
        except Exception as exc:
            self._last = self._last or exc
        finally:
            self._news.set()

    def _arrived(self, message: Message) -> bool:
        """Put an event in; return whether to go on before somebody asks for the next."""
        kind = message["type"]
        if self._last is not None:
            return False
        if kind == "websocket.connect":
            self._buffer.append((0.0, message))
            return False
        for piece in _pieces(message, self._split):
            self._buffer.append((self._schedule.next(), piece))
        if kind == "websocket.disconnect":
            self._last = message
        self._news.set()
        return True


async def _wait(event: asyncio.Event, until: float | None) -> None:
    """Wait for an event, at most until a moment in the loop's time."""
    try:
        async with asyncio.timeout_at(until):
            await event.wait()
    except TimeoutError:
        pass


def _pieces(message: Message, split: int | None) -> Iterator[Message]:
    """Return a message in pieces, in their order; what is short or no data stays as it is."""
    key = "bytes" if message.get("text") is None else "text"
    data: Any = message.get(key)
    sliceable = message["type"] in _DATA and isinstance(data, str | bytes | bytearray | memoryview)
    if split is None or not sliceable or len(data) <= split:
        yield message
        return
    for start in range(0, len(data), split):
        yield {**message, key: data[start : start + split]}


def _check(name: str, value: Any, kind: type, least: int, expected: str) -> None:
    if type(value) not in (int, kind):
        raise TypeError(f"{name} must be {expected}, not {value!r}")
    if not least <= value < math.inf:
        raise ValueError(f"{name} must be {expected}, not {value!r}")
