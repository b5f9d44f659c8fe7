"""The reading half of a connection: frames come in, messages wait until they are taken.

Messages wait in one place, bounded by number and bytes. Over the bound the transport is paused, and
TCP then stops the client. It is resumed when half of them are gone.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from telex._types import CloseRecord
from telex.server._assembly import BINARY, CLOSE, FIN, TEXT, Assembly, Unfinished, not_utf8
from telex.server._deflate import Compression
from telex.server._picows import Frame, Listener
from telex.server._violation import Violation

_WHOLE_TEXT: Final = FIN | TEXT
_WHOLE_BINARY: Final = FIN | BINARY
_NEVER: Final = -1

_MANY: Final = 64
"""Messages from which a list is too slow to take the first one from."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one connection may take.

    Attributes:
        max_size: Bytes of a message.
        max_messages: Messages that may wait to be read.
        max_bytes: Bytes, or characters of text, that may wait behind the first message.
    """

    max_size: int
    max_messages: int
    max_bytes: int = 256 * 1024


class Inbound(Listener):
    """What comes in on one connection: implements `telex._types.Source`.

    Args:
        transport: Of the connection.
        loop: Its event loop.
        bounds: What it may take.
    """

    __slots__ = (
        "_assembly",
        "_begin",
        "_binary",
        "_bounds",
        "_loop",
        "_messages",
        "_others",
        "_over",
        "_paused",
        "_strict",
        "_text",
        "_transport",
        "_unfinished",
        "_waiter",
        "_weight",
        "closed",
        "compression",
        "pinged",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        bounds: Bounds,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._bounds = bounds
        # A list: it is short mostly, and an empty one takes a tenth of a deque's memory.
        self._messages: list[str | bytes] | deque[str | bytes] = []
        self._weight = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._others: list[asyncio.Future[None]] | None = None
        self._begin: Callable[[str | bytes], bool] | None = None
        self._assembly: Assembly | None = None
        self._unfinished: Unfinished | None = None
        self.refused = None
        self._over = False
        # Whether the parser lets messages pass that are too big.
        self._strict = False
        # The first bytes of frames that are a message each, as long as such may come.
        self._text = self._binary = _NEVER
        self.closed: CloseRecord | None = None
        """How it ended; also when the server's side was first."""
        self.compression: Compression | None = None
        """How messages are compressed, `None` when they are not."""
        self.pinged: float | None = None
        """When the ping was sent that the client has not answered, on the loop's clock."""

    def expect_messages(self) -> None:
        """Take messages from now on."""
        self._text, self._binary = _WHOLE_TEXT, _WHOLE_BINARY

    def be_strict(self, strict: bool) -> None:
        """Look at the size of every message, or leave that to the parser."""
        self._strict = strict
        if strict or (self._assembly is not None and self._assembly.begun):
            self._text = self._binary = _NEVER
        else:
            self.expect_messages()

    def expect_nothing(self) -> None:
        """Take no more messages; those that are here may still be polled."""
        self._over = True
        self._text = self._binary = _NEVER
        self._assembly = self._unfinished = None

    def part(self) -> None:
        """Say what is to be said when the last message was taken, if anything."""
        raise NotImplementedError

    def finish(self, record: CloseRecord) -> None:
        """It is over: messages that are here may still be polled."""
        self.closed = record
        self.expect_nothing()
        self.compression = None
        self.pinged = None
        self._wake()

    def on_control(self, first_byte: int, payload: bytes) -> None:
        """Take a control frame.

        Raises:
            Violation: The client may not send that.
        """
        raise NotImplementedError

    def fail(self, violation: Violation) -> None:
        """End the connection for what the client has sent."""
        raise NotImplementedError

    def on_surplus(self) -> None:
        """Something has come behind the end."""
        raise NotImplementedError

    def on_ws_frame(self, _wire: Any, frame: Frame) -> None:
        first_byte = self.view[self.count - self.rest]
        self.rest = frame.tail_size
        data: str | bytes
        if first_byte == self._text:
            try:
                data = frame.get_payload_as_utf8_text()
            except UnicodeDecodeError:
                self.fail(not_utf8())
                return
        elif first_byte == self._binary:
            data = frame.get_payload_as_bytes()
        else:
            self._on_other(first_byte, frame.get_payload_as_bytes())
            return
        if self._unfinished is not None:
            self._unfinished = None
        waiter = self._waiter
        if waiter is not None and self._begin is not None and self._taken_at_once(data):
            return
        if self._messages:
            self._crowd(len(data))
        self._messages.append(data)
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
            if self._others:
                self._wake_others()

    def _on_other(self, first_byte: int, payload: bytes) -> None:
        """Take a frame that is not a whole message as it is."""
        if self._over and first_byte != FIN | CLOSE:
            self.on_surplus()
            return
        try:
            if first_byte & CLOSE:
                self.on_control(first_byte, payload)
                return
            self._unfinished = None
            assembly = self._assembled()
            data = assembly.add(first_byte, payload)
        except Violation as violation:
            self.fail(violation)
            return
        pieces = assembly.begun or self._strict
        self._text = _NEVER if pieces else _WHOLE_TEXT
        self._binary = _NEVER if pieces else _WHOLE_BINARY
        if data is not None and not self._taken_at_once(data):
            if self._messages:
                self._crowd(len(data))
            self._messages.append(data)
            self._wake()

    def _assembled(self) -> Assembly:
        if self._assembly is None:
            self._assembly = Assembly(self._bounds.max_size, self.compression)
        return self._assembly

    def on_unfinished(self, data: bytes, *, begins: bool) -> None:
        if self._over:
            self.on_surplus()
            return
        if begins or self._unfinished is None:
            self._unfinished = Unfinished(self._assembled())
        try:
            self._unfinished.feed(data)
        except Violation as violation:
            self.fail(violation)

    def _crowd(self, size: int) -> None:
        """A message comes while others wait: stop reading when they are many or big."""
        if len(self._messages) == 1:
            self._weight = 0
        elif len(self._messages) == _MANY:
            # Pausing keeps no frame back that was read already, and there may be a great many.
            self._messages = deque(self._messages)
        self._weight += size
        bounds = self._bounds
        if self._paused or self._over:
            return
        if len(self._messages) + 1 >= bounds.max_messages or self._weight >= bounds.max_bytes:
            self._paused = True
            # Its pong is behind what is not read.
            self.pinged = None
            self._transport.pause_reading()

    @property
    def pending(self) -> int:
        return len(self._messages)

    def poll(self) -> str | bytes | None:
        messages = self._messages
        if not messages:
            if self._over and self.closed is None:
                self.part()
            return None
        if isinstance(messages, list):
            data = messages.pop(0)
        else:
            data = messages.popleft()
            if not messages:
                self._messages = []
        if self._paused:
            self._relax(len(data))
        return data

    def _relax(self, size: int) -> None:
        # Exact enough: the first of them was not counted.
        self._weight = max(self._weight - size, 0)
        bounds = self._bounds
        few = len(self._messages) <= bounds.max_messages // 2
        if not self._messages or (few and self._weight <= bounds.max_bytes // 2):
            self._paused = False
            if self.closed is None:
                self._transport.resume_reading()

    def limit_size(self, size: int, _too_big: Callable[[], None]) -> None:
        if size < self._bounds.max_size:
            self._bounds = _smaller(self._bounds, size)
            if self._assembly is not None:
                self._assembly.max_size = size

    def wait(self) -> asyncio.Future[None]:
        waiter = self._loop.create_future()
        if self._messages or self.closed is not None:
            waiter.set_result(None)
        elif self._waiter is None or self._waiter.done():
            self._waiter = waiter
        else:
            # ASGI does not say that one task at a time may call `receive`.
            self._others = [*(self._others or ()), waiter]
        return waiter

    def on_message(self, callback: Callable[[str | bytes], bool] | None) -> None:
        self._begin = callback

    def _taken_at_once(self, data: str | bytes) -> bool:
        """Offer a message to whoever waits and has a callback."""
        waiter, begin = self._waiter, self._begin
        asleep = waiter is not None and not waiter.done() and not self._messages
        return asleep and begin is not None and begin(data)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._others:
            self._wake_others()

    def _wake_others(self) -> None:
        others, self._others = self._others or (), None
        for other in others:
            if not other.done():
                other.set_result(None)

    def unpause(self) -> None:
        """Read on, though nobody takes the messages: the close frame is behind them."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()


@functools.lru_cache(64)
def _smaller(bounds: Bounds, size: int) -> Bounds:
    """Return other bounds, the same object for all connections."""
    return replace(bounds, max_size=size)
