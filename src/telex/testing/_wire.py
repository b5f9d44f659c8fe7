"""The server's side of one connection, without a server and without a network.

It holds an application to the rules that servers hold it to, so that a test does not pass what a
server refuses: the order of messages (`telex._state`), their types, close codes and reasons
(RFC 6455 §7.4, §5.5), and `OSError` from `send` once the client is gone (ASGI specification,
"Disconnect - receive event").
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from telex._state import Phase, advance_application
from telex._types import DENIAL_EXTENSION, CloseRecord, Message, Scope
from telex.close_codes import MAX_REASON_BYTES, CloseCode, check_code
from telex.datastructures import Headers, encode_headers
from telex.testing._bell import Bell
from telex.testing._errors import ConnectionRejected

ABORT_EXTENSION: Final = "telex.abort"
"""Key in `scope["extensions"]`: a function that breaks the connection, for `FaultyLink`."""

MAX_UNREAD: Final = 10_000
"""Messages a test may leave unread before the application has to wait, as behind a real client."""


class ClientGone(OSError):
    """What `send` raises when the client has left, as servers do."""

    def __init__(self) -> None:
        super().__init__("the test client is gone")


class Wire:
    """What lies between one client and the application; for one event loop.

    Attributes:
        bell: Rings whenever one of the other attributes has changed.
        accepted: The `websocket.accept` of the application, as soon as it was sent.
        rejected: How it refused the handshake, as soon as this is known.
        arrived: Messages of the application that the test has not read, its close behind them.
        closed: How the connection ended, `None` while it has not.
        last: The last message that reached the client, for error texts.
        count: How many did.
    """

    def __init__(self, scope: Scope) -> None:
        self.bell = Bell()
        self.accepted: Message | None = None
        self.rejected: ConnectionRejected | None = None
        self.arrived: deque[Message] = deque()
        self.closed: CloseRecord | None = None
        self.last: Message | None = None
        self.count = 0
        self._offered = list(scope["subprotocols"])
        self._extensions = scope.get("extensions") or {}
        self._phase = Phase.CONNECTING
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._denial_start: Message = {}
        self._denial_body = bytearray()
        self._waiting = 0
        self._held: deque[Message] = deque()
        self._held_bytes = 0
        self._buffer: int | None = None
        self.feed({"type": "websocket.connect"})

    # The client's end

    def feed(self, message: Message) -> None:
        """Let an event reach the application."""
        self._events.put_nowait(message)

    def leave(self, record: CloseRecord, message: Message) -> None:
        """End the connection from the client's side; does nothing when it is over."""
        if self.closed is None:
            self.closed = record
            self.feed(message)
            self.bell.ring()

    def drop(self) -> None:
        """Break the connection, as a network does: both ends see 1006."""
        if self.closed is None:
            self._close(CloseRecord(int(CloseCode.ABNORMAL), "", "server"))
            self.bell.ring()

    def take(self) -> Message:
        """Take the oldest message that has arrived, which makes room for another."""
        message = self.arrived.popleft()
        self.bell.ring()
        return message

    @property
    def paused(self) -> bool:
        """Whether the client does not read."""
        return self._buffer is not None

    @property
    def blocked(self) -> int:
        """Sends of the application that wait for room."""
        # Those that have room by now only wait for their turn of the loop.
        return 0 if self._has_room() else self._waiting

    def pause(self, buffer: int) -> None:
        """Stop reading; what the application sends stays in a buffer of so many bytes.

        When it is paused already, only the size of the buffer changes.
        """
        self._buffer = buffer
        self.bell.ring()

    def resume(self) -> None:
        """Read what is in the buffer, and what comes."""
        self._buffer = None
        held, self._held = self._held, deque()
        self._held_bytes = 0
        for message in held:
            self._arrive(message)
        self.bell.ring()

    # The application's end

    async def receive(self) -> Message:
        """Return the next event; the disconnect again and again."""
        message = await self._events.get()
        if message.get("type") == "websocket.disconnect":
            self._events.put_nowait(message)
            # An application that ignores the end must not stop the loop; the same in `send`.
            await asyncio.sleep(0)
        return dict(message)

    async def send(self, message: Message) -> None:
        """Take what the application sends, and wait while the client has no room for more."""
        if self.closed is not None:
            await asyncio.sleep(0)
        self._check_client()
        after = advance_application(self._phase, message)
        match message["type"]:
            case "websocket.accept":
                self._on_accept(dict(message))
            case "websocket.send":
                self._on_send(dict(message))
            case "websocket.close":
                self._on_close(message)
            case _:
                self._on_denial(message)
        self._phase = after
        self.bell.ring()
        # Without it an application that sends in a loop would never let the test go on.
        await asyncio.sleep(0)
        await self._wait_for_room()

    def app_ended(self) -> None:
        """The application has returned or raised; what it left open ends as on uvicorn."""
        if self.closed is not None:
            pass
        elif self._phase is Phase.CONNECTING:
            self._reject(ConnectionRejected(500, body=b"Internal Server Error"))
        elif self._phase is Phase.DENYING:
            self._deny()
        else:
            self._close(CloseRecord(int(CloseCode.ABNORMAL), "", "server"))
        self.bell.ring()

    async def _wait_for_room(self) -> None:
        if self._has_room():
            return
        self._waiting += 1
        self.bell.ring()
        try:
            await self.bell.until(self._has_room)
        finally:
            self._waiting -= 1
        self._check_client()

    def _check_client(self) -> None:
        # After its own close the application is told by the table what it did wrong.
        if self.closed is not None and self._phase is not Phase.DISCONNECTED:
            raise ClientGone

    def _has_room(self) -> bool:
        if self.closed is not None:
            return True
        if self._buffer is not None:
            return self._held_bytes <= self._buffer
        return len(self.arrived) <= MAX_UNREAD

    def _on_accept(self, message: Message) -> None:
        subprotocol = message.get("subprotocol")
        if subprotocol and subprotocol not in self._offered:
            offered = ", ".join(map(repr, self._offered)) or "none"
            raise ValueError(
                f"subprotocol {subprotocol!r} was not offered (offered: {offered}); "
                "clients fail the handshake then (RFC 6455 §4.1)"
            )
        message["headers"] = _header_pairs(message.get("headers") or ())
        self.accepted = message
        self._note(message)

    def _on_send(self, message: Message) -> None:
        size = _settle_payload(message)
        if self._buffer is not None:
            self._held.append(message)
            # An empty message is a frame too.
            self._held_bytes += max(1, size)
        else:
            self._arrive(message)

    def _on_close(self, message: Message) -> None:
        code, reason = message.get("code"), message.get("reason")
        code = CloseCode.NORMAL if code is None else code
        reason = "" if reason is None else reason
        if self._phase is Phase.CONNECTING:
            # Servers answer 403 and look at neither; FastAPI gives a list as the reason.
            self._reject(ConnectionRejected(403, code=int(code), reason=str(reason)))
            return
        code = check_code(code)
        if not isinstance(reason, str):
            raise TypeError(f"a close reason must be a str, not {type(reason).__name__}")
        if len(reason.encode()) > MAX_REASON_BYTES:
            raise ValueError(f"a close reason has at most {MAX_REASON_BYTES} bytes: {reason!r}")
        self._close(CloseRecord(code, reason, "server"))

    def _on_denial(self, message: Message) -> None:
        if DENIAL_EXTENSION not in self._extensions:
            raise RuntimeError(f"{message['type']!r}: the scope has no denial extension")
        if message["type"].endswith(".start"):
            status = message.get("status")
            if not isinstance(status, int):
                raise TypeError(f"the status of a response must be an int, not {status!r}")
            fields = _header_pairs(message.get("headers") or ())
            self._denial_start = {"status": int(status), "headers": Headers(fields)}
            return
        body = message.get("body", b"")
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise TypeError(f"the body of a response must be bytes, not {type(body).__name__}")
        self._denial_body += body
        if not message.get("more_body", False):
            self._deny()

    def _deny(self) -> None:
        self._reject(ConnectionRejected(**self._denial_start, body=bytes(self._denial_body)))

    def _reject(self, rejection: ConnectionRejected) -> None:
        self.rejected = rejection
        code = CloseCode.ABNORMAL if rejection.code is None else rejection.code
        self._end(CloseRecord(int(code), rejection.reason, "server", rejection.status))

    def _close(self, record: CloseRecord) -> None:
        message = {"type": "websocket.close", "code": int(record.code), "reason": record.reason}
        if self._buffer is not None:
            self._held.append(message)
        else:
            self._arrive(message)
        self._end(record)

    def _end(self, record: CloseRecord) -> None:
        self.closed = record
        # The client answers a close, and the server tells the application.
        code, reason = int(record.code), record.reason
        self.feed({"type": "websocket.disconnect", "code": code, "reason": reason})

    def _arrive(self, message: Message) -> None:
        self.arrived.append(message)
        self._note(message)

    def _note(self, message: Message) -> None:
        self.last = message
        self.count += 1


def _header_pairs(fields: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    """Return headers, which may be any iterable, as a list.

    Raises:
        TypeError: They are not bytes.
        ValueError: A name is no token, or a value has a CR, LF or NUL.
    """
    pairs = [(name, value) for name, value in fields]
    for name, value in pairs:
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise TypeError(f"ASGI headers are pairs of bytes, not {(name, value)!r}")
    return encode_headers(pairs)


def _settle_payload(message: Message) -> int:
    """Return the bytes of a data message, and keep a copy of what the application may change.

    Raises:
        TypeError: It has text and bytes, or neither, or of another type.
        UnicodeEncodeError: Text that UTF-8 cannot express.
    """
    text, data = message.get("text"), message.get("bytes")
    if (text is None) == (data is None):
        raise TypeError(f"a websocket.send has either text or bytes: {message!r}")
    if text is not None:
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        return len(text.encode())
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"bytes must be bytes, not {type(data).__name__}")
    message["bytes"] = bytes(data)
    return len(message["bytes"])
