"""What an application says and hears: ASGI events (HTTP & WebSocket, "WebSocket", 2.4).

It holds an application to the transition tables of `telex._state`, and turns what it says into a
handshake, frames, a response.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from telex._state import Phase, advance_application
from telex._types import GIVE_WAY, Message
from telex.close_codes import CloseCode, check_code, clip_reason
from telex.server._channel import Channel
from telex.server._handshake import Headers, checked_headers, plain_text
from telex.server._outbound import ClientDisconnected

log: Final = logging.getLogger("uvicorn.error")

_STATUSES: Final = range(200, 600)


class Handshake(Protocol):
    """What answers a handshake, on behalf of a conversation."""

    @property
    def subprotocols(self) -> Sequence[str]:
        """What the client offers."""

    def switch(self, subprotocol: str | None, headers: Headers) -> None:
        """Send a 101 and open the channel."""

    def respond(self, status: int, headers: Headers) -> None:
        """Send the head of another response."""

    def write(self, data: bytes) -> None:
        """Send a part of its body."""

    def hang_up(self) -> None:
        """End the connection when everything is sent."""

    def break_off(self) -> None:
        """End the connection in a way that shows that something is missing."""


class Conversation:
    """The two callables of one connection.

    Two tasks may call them at once.
    """

    __slots__ = ("_channel", "_connect_taken", "_handshake", "_phase", "_sent")

    def __init__(self, channel: Channel, handshake: Handshake) -> None:
        self._channel = channel
        self._handshake = handshake
        self._phase = Phase.CONNECTING
        self._connect_taken = False
        self._sent = 0

    async def receive(self) -> Message:
        """Return the next event; after the end the disconnect, as often as it is asked for."""
        if not self._connect_taken:
            self._connect_taken = True
            return {"type": "websocket.connect"}
        channel = self._channel
        while True:
            data = channel.poll()
            if data is not None:
                key = "text" if isinstance(data, str) else "bytes"
                return {"type": "websocket.receive", key: data}
            record = channel.closed
            if record is not None:
                return {
                    "type": "websocket.disconnect",
                    "code": record.code,
                    "reason": record.reason,
                }
            await channel.wait()

    async def send(self, message: Message) -> None:
        """Take an event from the application.

        Raises:
            ClientDisconnected: The client is gone, or has been told to go.
            WebSocketRuntimeError: The event may not come now.
            ValueError, TypeError: What it says cannot be sent.
        """
        if self._phase is not Phase.CONNECTED or message["type"] != "websocket.send":
            await self._control(message)
            return
        channel = self._channel
        data = message.get("bytes")
        if type(data) is bytes:
            channel.write_bytes(data)
        elif data is None and isinstance(message.get("text"), str):
            channel.write_text(message["text"])
        elif isinstance(data, bytes | bytearray | memoryview):
            channel.write_bytes(bytes(data))
        else:
            raise TypeError(f"expected text or bytes in 'websocket.send', got {message!r}")
        self._sent += 1
        if not channel.writable:
            await channel.drain()
        elif not self._sent % GIVE_WAY:
            await asyncio.sleep(0)

    async def _control(self, message: Message) -> None:
        kind = message["type"]
        phase = advance_application(self._phase, message)
        if self._channel.closed is not None and phase is not Phase.DISCONNECTED:
            raise ClientDisconnected("the client is gone")
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close" and self._phase is Phase.CONNECTED:
            code = message.get("code")
            code = check_code(int(CloseCode.NORMAL) if code is None else code)
            self._channel.close(code, clip_reason(message.get("reason")))
        elif kind == "websocket.close":
            self.deny(403)
        elif kind == "websocket.http.response.start":
            self._begin_denial(message)
        else:
            self._go_on_denying(message)
        self._phase = phase
        if not self._channel.writable:
            await self._channel.drain()

    def _accept(self, message: Message) -> None:
        subprotocol = message.get("subprotocol")
        if subprotocol and subprotocol not in self._handshake.subprotocols:
            raise ValueError(
                f"cannot accept the subprotocol {subprotocol!r}; "
                f"the client offers {list(self._handshake.subprotocols) or 'none'}"
            )
        headers = checked_headers(message.get("headers") or ())
        self._handshake.switch(subprotocol or None, headers)

    def _begin_denial(self, message: Message) -> None:
        status = message["status"]
        if status not in _STATUSES:
            raise ValueError(f"a denial response cannot have the status {status!r}")
        headers = checked_headers(message.get("headers") or ())
        self._handshake.respond(status, headers)

    def _go_on_denying(self, message: Message) -> None:
        body = message.get("body", b"")
        if body:
            self._handshake.write(body)
        if not message.get("more_body", False):
            self._handshake.hang_up()

    def deny(self, status: int, text: str = "") -> None:
        """Answer the handshake with a short response, unless it is answered or the client gone."""
        if self._phase is Phase.CONNECTING and self._channel.closed is None:
            body = text.encode()
            self._handshake.respond(status, plain_text(body))
            self._handshake.write(body)
            self._handshake.hang_up()

    def finish(self, code: CloseCode) -> None:
        """Say what the application has not said; it has ended.

        Args:
            code: The close code for a client that is connected.
        """
        if self._phase is Phase.CONNECTING:
            if code is CloseCode.NORMAL and self._channel.closed is None:
                log.error("ASGI callable returned without completing handshake.")
            self.deny(500, "Internal Server Error")
        elif self._phase is Phase.DENYING:
            self._handshake.break_off()
        else:
            self._channel.close(int(code), "")
        self._phase = Phase.DISCONNECTED

    def shut_down(self) -> None:
        """Tell the client that the server stops; the application sees the disconnect."""
        if self._phase is Phase.CONNECTED:
            self._channel.close(int(CloseCode.SERVICE_RESTART), "")
        else:
            self.deny(503, "Service Unavailable")
