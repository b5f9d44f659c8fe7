"""The messages of a connection: receiving, sending, iterating over text, bytes and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from telex._iterator import Iterating, MessageIterator
from telex._json import decode_json, encode_json
from telex._payload import checked_bytes, checked_text
from telex.exceptions import WebSocketFrameError, WebSocketModeError

Mode = Literal["text", "binary"]


class Frames(Iterating):
    """The part of `WebSocket` that moves messages."""

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
        return _as_text(await self._link.inbox.read())

    async def receive_bytes(self) -> bytes:
        """Return the next message, which must be binary.

        Waits, is cancelled and shared between tasks like `receive_text`.

        Returns:
            The data, `b""` for an empty message.

        Raises:
            WebSocketFrameError: It is text. It is consumed, the connection stays open.
            WebSocketDisconnect: The peer ended the connection; all messages before were read.
            WebSocketRuntimeError: Not accepted yet, or closed by us, also while waiting.
        """
        return _as_bytes(await self._link.inbox.read())

    async def receive_json(self, mode: Mode = "text") -> Any:
        """Return the next message, decoded from JSON (RFC 8259).

        Waits and may be cancelled like `receive_text`.

        Args:
            mode: `"text"` wants the JSON in a text message, `"binary"` in a binary one.

        Returns:
            The value: `dict`, `list`, `str`, `int`, `float`, `bool` or `None`.

        Raises:
            WebSocketModeError: Another mode; nothing was read.
            json.JSONDecodeError: No valid JSON, also NaN, Infinity, bad UTF-8, too deep or too
                long to read. It is consumed, the connection stays open.
            WebSocketFrameError: A message of the other kind. It is consumed.
            WebSocketDisconnect: The peer ended the connection; all messages before were read.
            WebSocketRuntimeError: Not accepted yet, or closed by us, also while waiting.
        """
        decode = _decoder(mode)
        return decode(await self._link.inbox.read())

    async def send_text(self, data: str) -> None:
        """Send one text message.

        Waits while the server says that its buffer is full. With the policy `"drop_newest"` a
        message that finds the outbox full is dropped instead, see `Outbox`. Several tasks may send;
        messages go out in the order of the calls. When it is cancelled the message may have been
        sent.

        Args:
            data: The text, `""` for an empty message.

        Raises:
            TypeError: Not a `str`; nothing was sent.
            ValueError: It holds a lone surrogate, which UTF-8 cannot express; nothing was sent.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us; nothing was sent.
        """
        rest = self._link.outlet.write(checked_text(data))
        if rest is not None:
            await rest

    async def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send one binary message.

        Waits, drops, is cancelled and orders like `send_text`.

        Args:
            data: The payload; a `bytearray` or `memoryview` is copied first.

        Raises:
            TypeError: Not bytes-like; nothing was sent.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us; nothing was sent.
        """
        rest = self._link.outlet.write(checked_bytes(data))
        if rest is not None:
            await rest

    async def send_json(self, data: Any, mode: Mode = "text") -> None:
        """Send a value as JSON: compact, characters beyond ASCII as they are.

        Waits, drops, is cancelled and orders like `send_text`. Encodes before it sends anything.

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
        rest = self._link.outlet.write(text if mode == "text" else text.encode())
        if rest is not None:
            await rest

    def send_nowait(self, data: str | bytes | bytearray | memoryview) -> bool:
        """Send a message without waiting: a text message for `str`, else a binary one.

        What the server does not take at once waits in the bounded outbox of the connection, so
        that one client which does not read stalls nobody. It goes out in the order of the calls,
        before what is sent later with `send_text`. Call it on the connection's event loop.

        Args:
            data: The message; a `bytearray` or `memoryview` is copied first.

        Returns:
            `False` when it was not sent and will not be: the outbox is full (its policy decides,
            see `Outbox`; `dropped` counts it), or the connection is over. `True` is no promise: the
            message may be dropped while it waits, or the client leave.

        Raises:
            TypeError: Neither `str` nor bytes-like.
            ValueError: Text with a lone surrogate.
            WebSocketRuntimeError: Not accepted yet.
        """
        checked = checked_text(data) if isinstance(data, str) else checked_bytes(data)
        return self._link.outlet.write_nowait(checked)

    def iter_text(self) -> MessageIterator[str]:
        """Iterate over text messages until the connection ends, see `MessageIterator`.

        Calling it waits for nothing and raises nothing; each turn of the loop waits and is
        cancelled like `receive_text`.

        Raises:
            WebSocketFrameError: Out of the loop: the message is binary. It is consumed.
            WebSocketDisconnect: Out of the loop: the peer had left before the loop was begun.
            WebSocketRuntimeError: Out of the loop: not accepted yet.
        """
        return self._iterate(_as_text)

    def iter_bytes(self) -> MessageIterator[bytes]:
        """Iterate over binary messages until the connection ends; otherwise like `iter_text`.

        Raises:
            WebSocketFrameError: Out of the loop: the message is text. It is consumed.
            WebSocketDisconnect: Out of the loop: the peer had left before the loop was begun.
            WebSocketRuntimeError: Out of the loop: not accepted yet.
        """
        return self._iterate(_as_bytes)

    def iter_json(self, mode: Mode = "text") -> MessageIterator[Any]:
        """Iterate over messages decoded from JSON until the connection ends, like `iter_text`.

        Args:
            mode: Which messages hold the JSON, as for `receive_json`.

        Raises:
            WebSocketModeError: Neither `"text"` nor `"binary"`; at the call, before the loop.
            json.JSONDecodeError: Out of the loop: no valid JSON. It is consumed.
            WebSocketFrameError: Out of the loop: a message of the other kind. It is consumed.
            WebSocketDisconnect: Out of the loop: the peer had left before the loop was begun.
            WebSocketRuntimeError: Out of the loop: not accepted yet.
        """
        return self._iterate(_decoder(mode))

    def __aiter__(self) -> MessageIterator[str | bytes]:
        """Iterate over messages as they come, `str` or `bytes`; otherwise like `iter_text`."""
        return self._iterate(_as_it_is)


def _as_it_is(data: str | bytes) -> str | bytes:
    return data


def _as_text(data: str | bytes) -> str:
    if not isinstance(data, str):
        raise WebSocketFrameError(f"expected a text message, got {len(data)} bytes of binary")
    return data


def _as_bytes(data: str | bytes) -> bytes:
    if isinstance(data, str):
        raise WebSocketFrameError(f"expected a binary message, got {len(data)} characters of text")
    return bytes(data)


def _json_from_text(data: str | bytes) -> Any:
    return decode_json(_as_text(data))


def _json_from_bytes(data: str | bytes) -> Any:
    return decode_json(_as_bytes(data))


def _decoder(mode: object) -> Callable[[str | bytes], Any]:
    _check_mode(mode)
    return _json_from_text if mode == "text" else _json_from_bytes


def _check_mode(mode: object) -> None:
    if mode not in ("text", "binary"):
        raise WebSocketModeError(mode)
