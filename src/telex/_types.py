"""The floor of the package: ASGI types, the frame channel, the close record.

Nothing here imports another Telex module, so every room may import this one.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

Scope = MutableMapping[str, Any]
"""An ASGI connection scope. Any mutable mapping will do, not only `dict`."""

Message = MutableMapping[str, Any]
"""One ASGI event, either way."""

Receive = Callable[[], Awaitable[Message]]
"""ASGI `receive`: a plain function that returns a future is as good as a coroutine function."""

Send = Callable[[Message], Awaitable[None]]
"""ASGI `send`: called with one message, positionally."""

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application."""

ClosedBy = Literal["client", "server"]
"""Who ended a connection."""

CleanupCallback = Callable[[], object]
"""A function without parameters; what it returns is awaited when it can be."""

FRAMES_EXTENSION = "telex.frames"
"""Key in `scope["extensions"]` under which a server offers its `FrameChannel`."""

DENIAL_EXTENSION = "websocket.http.response"
"""Key in `scope["extensions"]` of a server that can send an HTTP response instead of 101.

ASGI "WebSocket Denial Response" extension.
"""

LABELS_KEY: Final = "telex.labels"
"""Key of the scope under which somebody wants to know the ids of the items."""

GIVE_WAY: Final = 128
"""Messages after which a writer gives the event loop a turn although the server takes them all, and
a reader although they are here.

Otherwise one that never waits stops everybody, and it is never told that its client is gone.
"""


@dataclass(frozen=True, slots=True)
class CloseRecord:
    """How a connection ended. Written once; the first end counts.

    Attributes:
        code: The close code as a plain `int` (RFC 6455 §7.4), 1006 when no close frame was seen.
        reason: The close reason, `""` when none was given.
        closed_by: `"client"` or `"server"`.
        status: The HTTP status when the handshake was denied with a response, else `None`.
    """

    code: int
    reason: str
    closed_by: ClosedBy
    status: int | None = None


class Source(Protocol):
    """Where the messages of one connection come from.

    One reader at a time may wait. Messages stay inside until `poll` takes them, so that a
    cancelled waiter loses nothing.
    """

    @property
    def closed(self) -> CloseRecord | None:
        """How the peer ended the connection, as soon as this is known; else `None`.

        Messages that arrived before the end can still be polled.
        """

    @property
    def pending(self) -> int:
        """How many messages wait to be polled."""

    def poll(self) -> str | bytes | None:
        """Take the next message, or return `None` when none is here. Never waits."""

    def limit_size(self, size: int, too_big: Callable[[], None]) -> None:
        """Take no message of more bytes from now on; what was read before may still be polled.

        A source that can close the connection with 1009 does so by itself, others call `too_big`
        once, and take nothing after it.
        """

    def wait(self) -> Future[None]:
        """Return a future that is done when `poll` or `closed` has something new.

        The caller may cancel it. At most one such future is in use at a time.
        """


class FrameChannel(Source, Protocol):
    """What a server can offer under `scope["extensions"]["telex.frames"]`.

    It does what the connection's `receive` and `send` do after the handshake, without a
    dictionary and a coroutine per message. All writes are synchronous and never wait; they raise
    `OSError` when the peer is gone. They are looked up for each message: a channel may change them.
    """

    asgi_receive: Receive
    """The `receive` that the server gave to the application."""
    asgi_send: Send
    """The `send` that the server gave to the application."""

    def write_text(self, data: str) -> None:
        """Write one text message."""

    def write_bytes(self, data: bytes) -> None:
        """Write one binary message."""

    def prepare(self, data: str | bytes) -> bytes:
        """Encode one message once, for `write_frame` on many connections."""

    def write_frame(self, prepared: bytes) -> None:
        """Write what `prepare` returned."""

    @property
    def writable(self) -> bool:
        """Whether the outgoing buffer is below its high-water mark."""

    async def drain(self) -> None:
        """Wait until the channel is writable again, or the connection has ended."""

    @property
    def buffered(self) -> int:
        """Bytes written that the kernel has not taken yet."""

    @property
    def latency(self) -> float | None:
        """Seconds the last ping took, `None` before the first pong."""

    def on_close(self, callback: Callable[[CloseRecord], None]) -> None:
        """Call `callback` once, on the event loop, when the peer is gone."""

    def on_message(self, callback: Callable[[str | bytes], bool] | None) -> None:
        """Call `callback` with a message for which somebody waits.

        When it returns `True` the message is done with, and who waits goes on waiting. `None`:
        call nothing any more.
        """

    def heartbeat(self, interval: float, timeout: float) -> None:
        """Ping so often, in seconds, and drop who gives no sign of life in that time.

        In place of what the server does for all connections; before accept.
        """

    def abort(self) -> None:
        """Drop the TCP connection at once, without a close frame."""
