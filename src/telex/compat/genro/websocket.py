"""`genro_asgi.websocket`: `WebSocket` and `WebSocketState`.

What its document says otherwise than Telex:

| | here | Telex |
|---|---|---|
| `close()` before accept | `RuntimeError`; nothing is sent | rejects the handshake |
| `refuse()` | rejects the handshake with a close code | `close()`, or `reject()` with a status |
| `url` | host of the server, then `Host`, then `localhost` | `Host`, then the server |
| `async for` | texts; `TypeError` on binary | texts and binary |
| calls after the client's end was told | `RuntimeError` | `WebSocketDisconnect` |
| `send_typed` | its parameter is called `data` | `value` |
"""

from __future__ import annotations

from typing import Any

from telex._iterator import MessageIterator
from telex._state import Phase, WebSocketState, refusal
from telex._url import URL
from telex.close_codes import check_code
from telex.compat._ended import EndedOnce
from telex.exceptions import WebSocketDisconnect

__all__ = ["WebSocket", "WebSocketDisconnect", "WebSocketState"]


class WebSocket(EndedOnce):
    """A connection as genro-asgi has it; what is not written here is `telex.WebSocket`."""

    async def close(self, code: int = 1000, reason: str | None = "") -> None:
        """Close the connection, which must have been accepted; otherwise `telex.WebSocket.close`.

        Calling it again, or after the client left, does nothing.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: Text for the client, cut to 123 bytes of UTF-8; `""` and `None` for none.

        Raises:
            ValueError: A code that may not be sent; nothing was sent.
            WebSocketRuntimeError: Not accepted yet; nothing was sent, and `accept` and `refuse`
                still work.
        """
        if self.connection_state is WebSocketState.CONNECTING:
            raise refusal(self._link.progress.application, "close")
        await super().close(code, reason)

    async def refuse(self, code: int = 1008, reason: str = "") -> None:
        """Reject the handshake with a close; servers answer HTTP 403, which hides the code.

        Waits for the `websocket.connect` event unless it was read before. When that wait is
        cancelled, nothing was sent. Does nothing when the client has given up meanwhile.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: Text that goes along, cut to 123 bytes of UTF-8.

        Raises:
            ValueError: A code that may not be sent; nothing was read or sent.
            WebSocketRuntimeError: Accepted, refused or closed before.
        """
        if self.connection_state is not WebSocketState.CONNECTING:
            raise refusal(Phase(self.connection_state), "refuse")
        check_code(code)
        if not self._link.progress.connect_taken:
            await self.receive()
        await super().close(code, reason)

    async def send_typed(self, data: Any) -> None:
        """Send a value as typed text (TYTX), see `telex.WebSocket.send_typed`."""
        await super().send_typed(data)

    def __aiter__(self) -> MessageIterator[str]:  # type: ignore[override] # union in the core
        """Iterate over text messages, as `iter_text` does."""
        return self.iter_text()

    @property
    def url(self) -> URL:
        """The URL that the client connected to, on the server's own address where it is known."""
        try:
            return self._url
        except AttributeError:
            self._url = URL.from_scope(self.scope, server_first=True)
            return self._url
