"""Lilya's `lilya.websockets`.

| what | Lilya | Telex |
|---|---|---|
| a second `close()` of ours | `WebSocketRuntimeError` | nothing happens |
| any call after the client's end was told | `WebSocketRuntimeError` | `WebSocketDisconnect` |
| `cookies` | `%` escapes are undone | they are left as they are |
| `receive_json(data, mode="binary")` | `data` is ignored, with a warning | a `TypeError` |

`close()` after the client has left does nothing in both. Everything else is Telex's own.
"""

from __future__ import annotations

import warnings
from types import EllipsisType, TracebackType
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import unquote

from telex._state import WebSocketState
from telex.compat._ended import EndedOnce
from telex.exceptions import WebSocketDisconnect, WebSocketRuntimeError
from telex.websockets import WebSocketClose

__all__ = [
    "WebSocket",
    "WebSocketClose",
    "WebSocketDisconnect",
    "WebSocketRuntimeError",
    "WebSocketState",
]

Mode: TypeAlias = Literal["text", "binary"]


class WebSocket(EndedOnce):
    """A connection as Lilya has it: `telex.WebSocket` but for what the head of the module says."""

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name, `%` escapes undone."""
        try:
            return self._cookies
        except AttributeError:
            self._cookies = {name: unquote(value) for name, value in super().cookies.items()}
            return self._cookies

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection, once; before accept: reject the handshake, HTTP 403.

        Waits and is cancelled like `telex.WebSocket.close`. After the client has left it does
        nothing.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: Text for the client, cut to 123 bytes of UTF-8; `None` for none.

        Raises:
            ValueError: A code that may not be sent; nothing was sent.
            WebSocketRuntimeError: Closed or rejected by us before; nothing was sent.
        """
        if self.closed_by == "server":
            raise WebSocketRuntimeError("cannot close: the connection was closed by us before")
        await super().close(code, reason)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close as `telex.WebSocket` does; who has closed in the block has made no mistake."""
        if self.closed_by is None:
            await super().__aexit__(kind, exc, traceback)

    async def receive_json(  # type: ignore[override]
        self, data: Any = ..., mode: Mode | EllipsisType = ...
    ) -> Any:
        """Wait for the next message and decode it from JSON.

        Waits and is cancelled like `telex.WebSocket.receive_json`.

        Args:
            data: The mode, when it is the only argument and a `str`. Anything else is ignored with
                a `DeprecationWarning`: Lilya's page writes `receive_json(data, mode="binary")`.
            mode: `"text"`, which is the default, for JSON in a text message, `"binary"` in a
                binary one.

        Raises:
            WebSocketModeError: Another mode; nothing was read.
            json.JSONDecodeError: No valid JSON. It is consumed, the connection stays open.
            WebSocketFrameError: A message of the other kind. It is consumed.
            WebSocketDisconnect: The client has left.
            WebSocketRuntimeError: Not accepted yet, or over.
        """
        if mode is ... and isinstance(data, str):
            data, mode = ..., cast(Mode, data)
        if data is not ...:
            warnings.warn(
                "receive_json() takes no data; what was given is ignored",
                DeprecationWarning,
                stacklevel=2,
            )
        return await super().receive_json("text" if mode is ... else mode)
