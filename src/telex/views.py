"""`SocketView`: a class with one method for each thing that happens on a connection."""

from __future__ import annotations

import inspect
import json
import logging
from typing import Any, ClassVar, Final, Literal, get_args

from telex._end import peer_name
from telex._json import decode_json
from telex.binding import bind
from telex.close_codes import CloseCode, may_send
from telex.context import current
from telex.exceptions import WebSocketFrameError
from telex.lifecycle import Endpoint, on_end
from telex.websockets import WebSocket, link_of

log: Final = logging.getLogger("telex")

Encoding = Literal["text", "bytes", "json", "anystr"]


class SocketView:
    """A connection as a class. Subclass it, override the hooks, and register the class.

    One instance is made per connection, so attributes are not shared. The hooks run one after the
    other in the connection's task; `on_receive` is not called again before it has returned.

    Attributes:
        encoding: What `on_receive` gets: `"text"` a `str`, `"bytes"` a `bytes`, `"json"` the
            decoded value, `"anystr"` whichever came. A message of another kind, or malformed
            JSON, closes the connection with 1003.
        websocket: The connection.

    Raises:
        TypeError: When the class is made: an unknown `encoding`, or a hook that is not async.
    """

    encoding: ClassVar[Encoding] = "anystr"
    websocket: WebSocket

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.encoding not in get_args(Encoding):
            known = ", ".join(map(repr, get_args(Encoding)))
            raise TypeError(
                f"{cls.__qualname__}.encoding must be one of {known}, not {cls.encoding!r}"
            )
        for hook in ("on_connect", "on_receive", "on_disconnect"):
            if not inspect.iscoroutinefunction(getattr(cls, hook)):
                raise TypeError(f"{cls.__qualname__}.{hook} must be an async method")

    async def on_connect(self) -> None:
        """Called once, when the client asks for the connection. Accepts it.

        Override it to accept yourself, or to reject; when it returns without accepting, no
        message is read.
        """
        await self.websocket.accept()

    async def on_receive(self, data: Any) -> None:
        """Called for every message, in order. Does nothing.

        Args:
            data: The message, as `encoding` says.
        """

    async def on_disconnect(self, close_code: int) -> None:
        """Called once after the connection has ended, however it did, if `on_connect` was called.

        It may wait 10 seconds, together with the dependencies that are closed behind it; a
        cancellation waits meanwhile.

        Args:
            close_code: The client's close code or our own; 1011 after an exception, 1006 when the
                handler was cancelled or the connection broke.
        """
        if may_send(close_code):
            await self.websocket.close(close_code)


def view_endpoint(cls: type[SocketView]) -> Endpoint:
    """Return a view class as an endpoint without parameters.

    The parameters of its constructor are filled as those of a handler are.

    Raises:
        TypeError: A parameter that nothing can fill.
    """

    async def endpoint(*args: Any, **kwargs: Any) -> None:
        view = cls(*args, **kwargs)
        view.websocket = current.get()
        on_end(view.on_disconnect)
        await view.on_connect()
        await _receive_all(view)

    endpoint.__name__ = cls.__name__
    endpoint.__qualname__ = cls.__qualname__
    endpoint.__module__ = cls.__module__
    return bind(endpoint, cls)


async def _receive_all(view: SocketView) -> None:
    ws = view.websocket
    encoding = view.encoding
    if not link_of(ws).progress.open:
        return
    async for message in ws:
        try:
            data = _decode(message, encoding)
        except (WebSocketFrameError, json.JSONDecodeError) as exc:
            log.info("%s sent a message that is not %s: %s", peer_name(ws.scope), encoding, exc)
            await ws.close(CloseCode.UNSUPPORTED_DATA, f"expected {encoding}")
            return
        await view.on_receive(data)


def _decode(message: str | bytes, encoding: Encoding) -> Any:
    if encoding == "anystr":
        return message
    if encoding == "json":
        return decode_json(message)
    wanted = str if encoding == "text" else bytes
    if not isinstance(message, wanted):
        raise WebSocketFrameError(f"expected {encoding}, got {type(message).__name__}")
    return message
