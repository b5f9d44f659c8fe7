"""Lilya's `lilya.controllers`: `WebSocketController`.

It is a `telex.SocketView` whose hooks take the connection, and which has no other parameters.
`on_disconnect` is not called when `on_connect` has raised. The default `on_disconnect` does
nothing: the connection is closed already.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from telex._types import Receive, Scope, Send
from telex.compat.lilya.websockets import WebSocket
from telex.views import SocketView

__all__ = ["WebSocketController"]


class WebSocketController:
    """A connection as a class. Subclass it, override the hooks, and register the class.

    One instance is made per connection. The hooks run one after the other.

    Args:
        scope: The ASGI scope.
        receive: The ASGI `receive`, which keeps the state of the connection.
        send: The ASGI `send`, likewise.

    Attributes:
        encoding: What `on_receive` gets: `"text"` a `str`, `"bytes"` a `bytes`, `"json"` the
            decoded value, `None` whichever came. A message of another kind, or malformed JSON,
            closes the connection with 1003.
    """

    encoding: ClassVar[Literal["text", "bytes", "json"] | None] = None

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send

    async def on_connect(self, websocket: WebSocket) -> None:
        """Called once, when the client asks for the connection. Accepts it."""
        await websocket.accept()

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        """Called for every message, in order. Does nothing.

        Args:
            websocket: The connection.
            data: The message, as `encoding` says.
        """

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        """Called once after the connection has ended, unless `on_connect` raised. Does nothing.

        Args:
            websocket: The connection.
            close_code: The client's close code or our own; 1011 after an exception, 1006 when the
                handler was cancelled or the connection broke.
        """


def view_of(controller: type[WebSocketController]) -> type[SocketView]:
    """Return a controller as a view.

    Raises:
        TypeError: An unknown `encoding`.
    """

    class View(SocketView):
        encoding = controller.encoding or "anystr"

        def __init__(self, websocket: WebSocket) -> None:
            self._ws = websocket
            self._controller = controller(websocket.scope, websocket.receive, websocket.send)
            self._connected = False

        async def on_connect(self) -> None:
            await self._controller.on_connect(self._ws)
            self._connected = True

        async def on_receive(self, data: Any) -> None:
            await self._controller.on_receive(self._ws, data)

        async def on_disconnect(self, close_code: int) -> None:
            if self._connected:
                await self._controller.on_disconnect(self._ws, close_code)

    View.__name__ = controller.__name__
    View.__qualname__ = controller.__qualname__
    View.__module__ = controller.__module__
    return View
