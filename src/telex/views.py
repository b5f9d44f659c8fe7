"""`SocketView`: a class with one method for each thing that happens on a connection."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, get_args

from telex._dispatch import Dispatcher
from telex._end import peer_name
from telex._intake import MAX_INVALID, Intake, OnInvalid, Policy
from telex._json import decode_json
from telex.binding import Call, bind, needing
from telex.close_codes import CloseCode, may_send
from telex.context import current
from telex.exceptions import WebSocketFrameError
from telex.lifecycle import Endpoint, on_end
from telex.websockets import WebSocket, link_of

log: Final = logging.getLogger("telex")

Encoding = Literal["text", "bytes", "json", "anystr"]


class SocketView:
    """A connection as a class. Subclass it, override the hooks, and register the class.

    Messages go to `on_receive`, or by their type to the methods with `@on`:

        class Chat(SocketView):
            @on("say")
            async def say(self, data: Say) -> Said: ...

    Such a method is called for each message of the type with the value of it in `data`, may have
    other parameters like a listener (`telex.listeners`), and what it returns is sent. One that
    overrides it is called in its place, with `@on` or without.

    One instance is made per connection, so attributes are not shared. The hooks run one after the
    other in the connection's task; `on_receive`, or a method, is not called again before it has
    returned.

    Attributes:
        encoding: What `on_receive` gets: `"text"` a `str`, `"bytes"` a `bytes`, `"json"` the
            decoded value, `"anystr"` whichever came. A message of another kind, or malformed
            JSON, closes the connection with 1003.
        discriminator: The field that holds the type of a message, for `@on`.
        on_invalid: What a message of another type, or one that does not fit, leads to, see
            `telex.listeners.Listener`.
        max_invalid: How many of them in a row are answered before the connection is closed.
        websocket: The connection.

    Raises:
        TypeError: When the class is made: an unknown `encoding`, a hook that is not async, a
            `discriminator` that is not a str, a method with `@on` that cannot be called for
            messages, or beside an `on_receive`.
        ValueError: The same: another `on_invalid`, a `max_invalid` below 1, a `discriminator` with
            a quotation mark, a backslash or a control character in it.
    """

    encoding: ClassVar[Encoding] = "anystr"
    discriminator: ClassVar[str] = "type"
    on_invalid: ClassVar[OnInvalid] = "reply"
    max_invalid: ClassVar[int] = MAX_INVALID
    _dispatcher: ClassVar[Dispatcher | None] = None
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
        dispatcher = Dispatcher(cls, cls.discriminator)
        if dispatcher and cls.on_receive is not SocketView.on_receive:
            raise TypeError(f"{cls.__qualname__} has methods with @on beside its on_receive")
        Policy(cls.on_invalid, cls.max_invalid)
        cls._dispatcher = dispatcher or None

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
            # Not by the face, for which closing a second time may be a mistake.
            await link_of(self.websocket).close(close_code)


def view_endpoint(cls: type[SocketView]) -> Endpoint:
    """Return a view class as an endpoint without parameters.

    The parameters of its constructor are filled as those of a handler are.

    Raises:
        TypeError: A parameter that nothing can fill.
    """
    dispatcher = cls._dispatcher

    async def endpoint(*args: Any, **kwargs: Any) -> None:
        view = cls(*args, **kwargs)
        view.websocket = current.get()
        if dispatcher is None:
            on_end(view.on_disconnect)
            await view.on_connect()
            await _receive_all(view)
            return
        async with dispatcher.bound(view.websocket, view) as calls:
            if calls is not None:
                on_end(view.on_disconnect)
                await view.on_connect()
                await _dispatch_all(view, dispatcher, calls)

    endpoint.__name__ = cls.__name__
    endpoint.__qualname__ = cls.__qualname__
    endpoint.__module__ = cls.__module__
    bound = bind(endpoint, cls)
    return bound if dispatcher is None else needing(bound, dispatcher.needs)


async def _dispatch_all(
    view: SocketView, dispatcher: Dispatcher, calls: Mapping[Any, Call]
) -> None:
    ws = view.websocket
    if link_of(ws).progress.open:
        policy = Policy(view.on_invalid, view.max_invalid)
        await dispatcher.serve(ws, calls, Intake(ws, ws.codec, policy))


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
            await link_of(ws).close(CloseCode.UNSUPPORTED_DATA, f"expected {encoding}")
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
