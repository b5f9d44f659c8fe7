"""The messages of a connection: receiving, sending, iterating over text, bytes and JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Literal, TypeVar

from telex._link import Link
from telex._state import Phase
from telex.codecs import decode_json, encode_json
from telex.exceptions import (
    WebSocketDisconnect,
    WebSocketFrameError,
    WebSocketModeError,
    WebSocketRuntimeError,
)

Mode = Literal["text", "binary"]
Item = TypeVar("Item")


class MessageIterator(AsyncIterator[Item], Generic[Item]):
    """Iterates over the messages of a connection until it ends.

    It holds nothing: after `break`, another loop goes on with the next message, and two tasks may
    iterate at once. It ends when the peer's disconnect arrives (the code is then in
    `ws.close_code`) and when the server closes; iterating again after the disconnect raises
    `WebSocketDisconnect`.
    """

    __slots__ = ("_link", "_receive")

    def __init__(self, link: Link, receive: Callable[[], Awaitable[Item]]) -> None:
        self._link = link
        self._receive = receive

    def __aiter__(self) -> MessageIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        progress = self._link.progress
        ended_before = progress.peer_gone
        try:
            return await self._receive()
        except WebSocketDisconnect:
            if ended_before:
                raise
            raise StopAsyncIteration from None
        except WebSocketRuntimeError:
            if progress.application is Phase.DISCONNECTED:
                raise StopAsyncIteration from None
            raise


class Frames:
    """The part of `WebSocket` that moves messages."""

    _link: Link

    async def receive_text(self) -> str:
        """Return the next message, which must be text.

        Waits for a message. Cancelling it loses no message. Several tasks may wait at once; each
        message goes to one of them, first come first served.

        Returns:
            The text, `""` for an empty message.

        Raises:
            WebSocketFrameError: It is binary. It is consumed, the connection stays open.
            WebSocketDisconnect: The peer ended the connection; all messages before were read.
            WebSocketRuntimeError: Not accepted yet, or closed by us, also while waiting.
        """
        data = await self._link.inbox.read()
        if not isinstance(data, str):
            raise WebSocketFrameError(f"expected a text message, got {len(data)} bytes of binary")
        return data

    async def receive_bytes(self) -> bytes:
        """Return the next message, which must be binary. See `receive_text` for the rest.

        Raises:
            WebSocketFrameError: It is text. It is consumed, the connection stays open.
            WebSocketDisconnect: The peer ended the connection; all messages before were read.
            WebSocketRuntimeError: Not accepted yet, or closed by us, also while waiting.
        """
        data = await self._link.inbox.read()
        if isinstance(data, str):
            raise WebSocketFrameError(
                f"expected a binary message, got {len(data)} characters of text"
            )
        return bytes(data)

    async def receive_json(self, mode: Mode = "text") -> Any:
        """Return the next message, decoded from JSON (RFC 8259).

        Waits and may be cancelled like `receive_text`.

        Args:
            mode: `"text"` wants the JSON in a text message, `"binary"` in a binary one.

        Raises:
            WebSocketModeError: Another mode; nothing was read.
            json.JSONDecodeError: No valid JSON, also NaN, Infinity, bad UTF-8, too deep or too
                long to read. It is consumed, the connection stays open.
            WebSocketFrameError: A message of the other kind. It is consumed.
            WebSocketDisconnect: The peer ended the connection; all messages before were read.
            WebSocketRuntimeError: Not accepted yet, or closed by us, also while waiting.
        """
        _check_mode(mode)
        if mode == "text":
            return decode_json(await self.receive_text())
        return decode_json(await self.receive_bytes())

    async def send_text(self, data: str) -> None:
        """Send one text message.

        Waits while the server says that its buffer is full. Several tasks may send; messages go
        out in the order of the calls. When it is cancelled the message may have been sent.

        Raises:
            TypeError: Not a `str`; nothing was sent.
            ValueError: It holds a lone surrogate, which UTF-8 cannot express; nothing was sent.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us; nothing was sent.
        """
        await self._link.outlet.write(_checked_text(data))

    async def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send one binary message. Waits, is cancelled and orders like `send_text`.

        Args:
            data: A `bytearray` or `memoryview` is copied first.

        Raises:
            TypeError: Not bytes-like; nothing was sent.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us; nothing was sent.
        """
        await self._link.outlet.write(_checked_bytes(data))

    async def send_json(self, data: Any, mode: Mode = "text") -> None:
        """Send a value as JSON: compact, characters beyond ASCII as they are.

        Waits, is cancelled and orders like `send_text`. Encodes before it sends anything.

        Args:
            data: What `json.dumps` takes.
            mode: `"text"` sends a text message, `"binary"` the same JSON in UTF-8 as binary.

        Raises:
            WebSocketModeError: Another mode; nothing was sent.
            TypeError: The value cannot be expressed; nothing was sent.
            ValueError: NaN, Infinity or a circular value; nothing was sent.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us; nothing was sent.
        """
        _check_mode(mode)
        text = encode_json(data)
        await self._link.outlet.write(text if mode == "text" else text.encode())

    def send_nowait(self, data: str | bytes | bytearray | memoryview) -> bool:
        """Send a message without waiting: a text message for `str`, else a binary one.

        What the server does not take at once waits in the bounded outbox of the connection, so
        that one client which does not read stalls nobody. Call it on the connection's event loop.

        Returns:
            `False` when the message was dropped: the outbox is full (its policy decides, see
            `Outbox`), or the connection is over.

        Raises:
            TypeError: Neither `str` nor bytes-like.
            ValueError: Text with a lone surrogate.
            WebSocketRuntimeError: Not accepted yet.
        """
        checked = _checked_text(data) if isinstance(data, str) else _checked_bytes(data)
        return self._link.outlet.write_nowait(checked)

    def iter_text(self) -> MessageIterator[str]:
        """Iterate over text messages until the connection ends.

        Raises, out of the loop, what `receive_text` raises, except that the first disconnect and
        a close by the server end the loop instead.
        """
        return MessageIterator(self._link, self.receive_text)

    def iter_bytes(self) -> MessageIterator[bytes]:
        """Iterate over binary messages until the connection ends; see `iter_text`."""
        return MessageIterator(self._link, self.receive_bytes)

    def iter_json(self, mode: Mode = "text") -> MessageIterator[Any]:
        """Iterate over messages decoded from JSON until the connection ends; see `iter_text`.

        Raises:
            WebSocketModeError: Neither `"text"` nor `"binary"`; at the call, before the loop.
        """
        _check_mode(mode)
        return MessageIterator(self._link, lambda: self.receive_json(mode))

    def __aiter__(self) -> MessageIterator[str | bytes]:
        """Iterate over messages as they come, `str` or `bytes`; see `iter_text`."""
        return MessageIterator(self._link, self._link.inbox.read)


def _check_mode(mode: object) -> None:
    if mode not in ("text", "binary"):
        raise WebSocketModeError(mode)


def _checked_text(data: object) -> str:
    if not isinstance(data, str):
        raise TypeError(f"expected str, got {type(data).__name__}")
    if not data.isascii():
        try:
            data.encode()
        except UnicodeEncodeError as exc:
            raise ValueError(
                f"text with a lone surrogate cannot be sent: {exc.object[exc.start]!r} "
                f"at position {exc.start}"
            ) from None
    return data


def _checked_bytes(data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"expected bytes, got {type(data).__name__}")
