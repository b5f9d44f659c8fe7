"""`AsyncTestSession`: the verbs of a test that holds the client's end of one connection."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal, Self, TypeVar

from telex._json import decode_json, encode_json
from telex._types import CloseRecord, Message, Scope
from telex.close_codes import MAX_REASON_BYTES, CloseCode, check_code
from telex.datastructures import Headers
from telex.exceptions import WebSocketFrameError, WebSocketModeError
from telex.testing._client_end import ClientEnd
from telex.testing._errors import DeadlinePassed, ExpectationFailed
from telex.testing._values import data_of, decode_value, encode_value, show_data, show_message

T = TypeVar("T")
Mode = Literal["text", "binary"]

DEFAULT_BUFFER: Final = 65_536
"""Bytes that asyncio's transports take before a writer has to wait."""


class AsyncTestSession:
    """The client's end of one accepted connection; made by `AsyncTestClient.websocket`.

    Every method that waits fails with `DeadlinePassed` after the timeout. An exception of the
    application that nothing has handled is raised by the next call that would otherwise wait or
    tell of the end, after all messages that came before it. Several tasks may call any method;
    each message goes to one of them. Cancelling a call loses no message.
    """

    __test__ = False

    def __init__(self, scope: Scope, end: ClientEnd) -> None:
        self._scope = scope
        self._end = end
        self._wire = end.wire

    # What the handshake has brought

    @property
    def scope(self) -> Scope:
        """The ASGI scope that the application was called with."""
        return self._scope

    @property
    def accepted_subprotocol(self) -> str | None:
        """The subprotocol that the application has chosen, `None` for none."""
        accepted = self._wire.accepted or {}
        return accepted.get("subprotocol") or None

    @property
    def response_headers(self) -> Headers:
        """The headers that the application has added to its acceptance."""
        return Headers((self._wire.accepted or {}).get("headers") or ())

    @property
    def closed(self) -> CloseRecord | None:
        """How the connection ended, read or not; `None` while it is open."""
        return self._wire.closed

    # Sending

    async def send_text(self, data: str) -> None:
        """Send a text message. Lets the application run, does not wait for it to read.

        Raises:
            TypeError: It is no `str`.
            UnicodeEncodeError: It has lone surrogates, which no client can send.
            WebSocketDisconnect: The application has closed.
            WebSocketRuntimeError: The test has closed.
        """
        if not isinstance(data, str):
            raise TypeError(f"send_text takes a str, not {type(data).__name__}")
        data.encode()
        await self.send({"type": "websocket.receive", "text": data})

    async def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send a binary message; otherwise as `send_text`."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"send_bytes takes bytes, not {type(data).__name__}")
        await self.send({"type": "websocket.receive", "bytes": bytes(data)})

    async def send_json(self, value: Any, mode: Mode = "text") -> None:
        """Send a value as JSON.

        Args:
            value: What `telex.WebSocket.send_json` takes.
            mode: The kind of message, `"text"` or `"binary"`.

        Raises:
            WebSocketModeError: Another mode.
            TypeError: A value that JSON does not have.
            ValueError: NaN, an infinity, or a value that contains itself.
        """
        _check_mode(mode)
        text = encode_json(value)
        await (self.send_text(text) if mode == "text" else self.send_bytes(text.encode()))

    async def send_value(self, value: object) -> None:
        """Send a value: `str` as text, `bytes` as binary, everything else as JSON text.

        Args:
            value: Also a msgspec Struct, a dataclass, a pydantic model, `datetime`, `UUID`, …

        Raises:
            TypeError: It cannot be encoded.
        """
        data = encode_value(value)
        await (self.send_text(data) if isinstance(data, str) else self.send_bytes(data))

    async def send(self, message: Message) -> None:
        """Let a raw ASGI event reach the application, `websocket.receive` or `.disconnect`.

        For what servers do and no other verb does, such as events with both keys.

        Raises:
            ValueError: Another type of event.
        """
        kind = message.get("type")
        if kind not in ("websocket.receive", "websocket.disconnect"):
            raise ValueError(f"a server sends websocket.receive or .disconnect, not {kind!r}")
        self._end.check_open("send")
        if kind == "websocket.disconnect":
            code = message.get("code") or CloseCode.NO_STATUS
            self._end.leave(code, message.get("reason"), message)
        else:
            self._wire.feed(message)
        # Without it a test that sends in a loop would never let the application run.
        await asyncio.sleep(0)

    # Receiving

    async def receive_text(self) -> str:
        """Wait for a text message and return it.

        Raises:
            WebSocketFrameError: A binary message came. It is consumed.
            WebSocketDisconnect: The application has closed.
            WebSocketRuntimeError: The test has closed, or does not read.
            DeadlinePassed: Nothing came in time.
        """
        data = await self._data("a text message")
        if not isinstance(data, str):
            raise WebSocketFrameError(f"expected text, received {show_data(data)}")
        return data

    async def receive_bytes(self) -> bytes:
        """Wait for a binary message; otherwise as `receive_text`."""
        data = await self._data("a binary message")
        if isinstance(data, str):
            raise WebSocketFrameError(f"expected bytes, received {show_data(data)}")
        return data

    async def receive_json(self, mode: Mode = "text") -> Any:
        """Wait for a message and return its JSON value.

        Args:
            mode: The kind of message it must be, `"text"` or `"binary"`.

        Raises:
            json.JSONDecodeError: It is not JSON. It is consumed.
            WebSocketFrameError: A message of the other kind came; otherwise as `receive_text`.
        """
        _check_mode(mode)
        return decode_json(await (self.receive_text() if mode == "text" else self.receive_bytes()))

    async def receive_as(self, tp: type[T]) -> T:
        """Wait for a message of either kind and return it as a value of a type.

        Args:
            tp: `str`, `bytes`, `int`, `bool`, `dict`, a pydantic model, or what msgspec decodes.

        Raises:
            WebSocketExpectError: It does not fit; otherwise as `receive_text`.
        """
        return decode_value(await self._data(f"a message for {tp!r}"), tp)

    async def receive(self) -> Message:
        """Wait for the next raw ASGI message of the application, `websocket.send` or `.close`.

        Raises:
            WebSocketDisconnect: Its close was returned before; otherwise as `receive_text`.
        """
        message = await self._end.next("a message or a close")
        if message is None:
            raise self._end.over("receive")
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            message = await self._end.next("a message or a close")
        except StopAsyncIteration as exc:
            # It would end the loop of the test as if nothing had happened; see PEP 479.
            raise RuntimeError("the application raised StopAsyncIteration") from exc
        if message is None or message["type"] == "websocket.close":
            raise StopAsyncIteration
        return data_of(message)

    async def _data(self, awaited: str) -> str | bytes:
        message = await self._end.next(awaited)
        if message is None or message["type"] == "websocket.close":
            raise self._end.over("receive")
        return data_of(message)

    # Ending

    async def close(self, code: int | None = 1000, reason: str | None = None) -> None:
        """Close the connection; does nothing when it is over. Does not wait for the handler.

        Args:
            code: The close code, `None` for a close frame without one: the application sees 1005.
            reason: The close reason, `None` for none.

        Raises:
            ValueError: A code that no client may send (RFC 6455 §7.4), a reason without a code, or
                one of more than 123 bytes.
        """
        if code is None and reason:
            raise ValueError("a close frame without a code has no reason (RFC 6455 §5.5.1)")
        if len((reason or "").encode()) > MAX_REASON_BYTES:
            raise ValueError(f"a close reason has at most {MAX_REASON_BYTES} bytes: {reason!r}")
        self._end.leave(CloseCode.NO_STATUS if code is None else check_code(code), reason)
        await asyncio.sleep(0)

    async def abort(self) -> None:
        """Drop the connection without a close frame, as a broken network does.

        The application sees 1006, and its sends raise `OSError`. Does nothing after the end.
        """
        self._end.leave(CloseCode.ABNORMAL, None)
        await asyncio.sleep(0)

    # Not reading

    def pause_reading(self, *, buffer: int = DEFAULT_BUFFER) -> None:
        """Stop reading, as a slow client does, until `resume_reading`.

        Args:
            buffer: Bytes that the way to the client still takes. The send that goes beyond waits,
                and so does every later one. 0: each send waits. The default is what a server has
                in front of the kernel's buffers.

        Raises:
            ValueError: It is negative.
        """
        if buffer < 0:
            raise ValueError(f"buffer must be bytes, 0 or more, not {buffer!r}")
        self._wire.pause(buffer)

    def resume_reading(self) -> None:
        """Read again; sends that waited go on."""
        self._wire.resume()

    # Expectations

    async def expect_close(self, code: int | None = None) -> CloseRecord:
        """Wait for the application's close and return it. May be called again.

        Args:
            code: The close code it must have, `None` for any. 1006 stands for no close frame: the
                application has returned without one.

        Raises:
            ExpectationFailed: Another code, or a message instead.
            DeadlinePassed: Neither came in time.
            WebSocketRuntimeError: The test has closed, or does not read.
        """
        wanted = "a close" if code is None else f"a close with {int(code)}"
        message = await self._end.next(wanted)
        if message is not None and message["type"] == "websocket.send":
            raise ExpectationFailed(f"expected {wanted}, received {show_message(message)}")
        record = self._wire.closed
        if record is None or record.closed_by == "client":
            raise self._end.over("expect a close")
        if code is not None and record.code != code:
            closed = f"a close with {record.code} {record.reason!r}"
            raise ExpectationFailed(f"expected {wanted}, received {closed}")
        return record

    async def expect_nothing(self, seconds: float) -> None:
        """Make sure that nothing comes: no message, no close. What has come already counts.

        Args:
            seconds: How long to wait; 0 looks at what is there.

        Raises:
            ExpectationFailed: Something came; a message is consumed.
        """
        try:
            message = await self._end.next("nothing", patience=seconds)
        except DeadlinePassed:
            return
        if message is None:
            raise self._end.over("expect nothing")
        raise ExpectationFailed(f"expected nothing, received {show_message(message)}")

    async def expect_blocked(self) -> None:
        """Wait until a send of the application waits because this client does not read.

        Raises:
            DeadlinePassed: The application does not send enough.
        """
        wire = self._wire
        await self._end.until(lambda: wire.blocked or wire.closed, "a send that has to wait")
        if not wire.blocked:
            self._end.check_open("expect a send")


def _check_mode(mode: object) -> None:
    if mode not in ("text", "binary"):
        raise WebSocketModeError(mode)
