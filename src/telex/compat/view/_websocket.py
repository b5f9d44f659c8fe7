"""`WebSocket`: what is sent and received are values; the rest is `telex.WebSocket`."""

from __future__ import annotations

from types import TracebackType
from typing import Any, TypeVar, overload

from telex._state import Phase
from telex.casts import shorten
from telex.compat.view._casts import reader, written
from telex.exceptions import WebSocketExpectError
from telex.values import same
from telex.websockets import WebSocket as CoreWebSocket

T = TypeVar("T")


class WebSocket(CoreWebSocket):
    """A connection as view.py has it; what is not written here is `telex.WebSocket`.

    Accepting and closing is up to the handler, by hand or by `async with ws`.
    """

    # Messages

    @overload  # type: ignore[override] # events in the core
    async def receive(self) -> str: ...
    @overload
    async def receive(self, tp: type[T]) -> T: ...
    async def receive(self, tp: Any = str) -> Any:
        """Return the next message as a value of a type.

        Waits, is cancelled and shared between tasks like `receive_text`. Text and binary messages
        are both taken.

        Args:
            tp: `str`, `bytes`, `int`, `bool` or `dict`, which is for any JSON value.

        Raises:
            TypeError: Another type; nothing was consumed.
            WebSocketExpectError: The message does not fit. It is consumed, the connection open.
            WebSocketDisconnectError: The client has left; all messages before were read.
            WebSocketHandshakeError: Not accepted yet, or closed by us, also while waiting.
        """
        read = reader(tp)
        return read(await self._link.inbox.read())

    async def send(self, message: Any) -> None:
        """Send a value as one message: `bytes` as binary, everything else as text.

        Waits, is cancelled and orders like `send_text`.

        Args:
            message: `str` and `bytes` as they are, `dict` as JSON, `int` in digits, `bool` as
                `true` or `false`.

        Raises:
            TypeError: A value of another type; nothing was sent.
            ValueError: A value that cannot be expressed; nothing was sent.
            WebSocketDisconnectError: The client has left.
            WebSocketHandshakeError: Not accepted yet, or closed by us; nothing was sent.
        """
        rest = self._link.outlet.write(written(message))
        if rest is not None:
            await rest

    @overload  # type: ignore[override] # the options by position in the core
    async def pair(self, message: Any, *, recv_first: bool = False) -> str: ...
    @overload
    async def pair(self, message: Any, *, tp: type[T], recv_first: bool = False) -> T: ...
    async def pair(self, message: Any, *, tp: Any = str, recv_first: bool = False) -> Any:
        """Send a value and return the next message, or the other way round.

        Cancelling it may leave it half done.

        Args:
            message: As for `send`.
            tp: As for `receive`.
            recv_first: Whether to receive before sending.

        Raises:
            TypeError: A value or type that is not possible; nothing was sent or consumed.
            ValueError: A value that cannot be expressed; nothing was sent or consumed.
            WebSocketExpectError: The message does not fit. With `recv_first` nothing was sent.
            WebSocketDisconnectError: The client has left.
            WebSocketHandshakeError: Not accepted yet, or closed by us.
        """
        link = self._link
        read, data = reader(tp), written(message)
        if recv_first:
            received = read(await link.inbox.read())
        rest = link.outlet.write(data)
        if rest is not None:
            await rest
        return received if recv_first else read(await link.inbox.read())

    async def expect(self, message: Any) -> None:  # type: ignore[override] # returns it in the core
        """Receive the next message, which must be a certain value, and drop it.

        Waits and may be cancelled like `receive_text`.

        Args:
            message: What it must be. It is read as the type of this, and compared exactly.

        Raises:
            TypeError: A value of a type that cannot be read; nothing was consumed.
            WebSocketExpectError: It is something else. It is consumed.
            WebSocketDisconnectError: The client has left.
            WebSocketHandshakeError: Not accepted yet, or closed by us.
        """
        received = await self.receive(type(message))
        if not same(received, message):
            raise WebSocketExpectError(f"expected {shorten(message)}, got {shorten(received)}")

    recv = receive

    # Beginning and ending

    connect = CoreWebSocket.accept

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection, which must be open; otherwise `telex.WebSocket.close`.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: Text for the client, cut to 123 bytes of UTF-8; `None` for none.

        Raises:
            ValueError: A code that may not be sent; nothing was sent.
            WebSocketDisconnectError: The client has left.
            WebSocketHandshakeError: Not accepted yet, or closed before; nothing was sent.
        """
        if not self.open:
            raise self._link.progress.refuse("close")
        await super().close(code, reason)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close unless the connection is over; after an exception leave that to the application.

        Raises nothing about the state of the connection.
        """
        if exc is None:
            await super().close()

    @property
    def open(self) -> bool:
        """Whether messages can flow: accepted, not closed, and the client is not known to be gone.

        It is known when a call has told so.
        """
        return self._link.progress.open

    @property
    def done(self) -> bool:
        """Whether we have ended the connection."""
        return self._link.progress.application is Phase.DISCONNECTED
