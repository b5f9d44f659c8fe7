"""Middleware for connections and messages, beside the one for ASGI applications and for endpoints.

    class Metrics:
        async def on_handshake(self, ws): ...     # before the handler; may reject or accept
        def on_message(self, ws, data): ...       # every message, before the handler reads it
        def on_send(self, ws, data): ...          # every message, before it is sent
        async def on_close(self, ws, record): ... # once, however the connection ended

    app = App(connection_middleware=[Metrics()])

Any object with one of these methods will do. The methods for messages are plain functions, because
they run for each of them; they return what goes on in place of the data, `str` or `bytes`, or
`None` for the data itself, and may raise what a handler may raise. A hook that is not defined costs
nothing.

They are registered on the connection and wrap neither `receive` nor `send`, so that a server's
faster path stays in use. Of a mounted application that is not Telex's they see the handshake and
the end only. The record is `None` where nobody knows how it ended: such an application ended it,
or the handshake was cancelled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final

from telex._link import LINK_KEY, Link
from telex._progress import Filter
from telex._types import ASGIApp, Receive, Scope, Send
from telex.websockets import WebSocket, link_of

HOOKS: Final = ("on_handshake", "on_message", "on_send", "on_close")
_PLAIN: Final = ("on_message", "on_send")


class HooksMiddleware:
    """An ASGI application that has every WebSocket connection go through connection middleware.

    Args:
        app: What is behind it. HTTP and lifespan pass.
        middleware: Objects with some of the hooks; the first is the outermost: it sees incoming
            messages first and outgoing ones last.

    Raises:
        TypeError: An object without hooks, or with one that cannot be used.
    """

    def __init__(self, app: ASGIApp, middleware: Iterable[object]) -> None:
        self.app = app
        self._middleware = tuple(middleware)
        for each in self._middleware:
            check_hooks(each)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; see the class."""
        if scope["type"] == "websocket":
            ws = WebSocket(scope, receive, send)
            for each in self._middleware:
                await _attach(ws, each)
                if link_of(ws).progress.over:
                    return
        await self.app(scope, receive, send)


async def attach(ws: WebSocket, middleware: object) -> None:
    """Have one connection go through a connection middleware from now on.

    Waits for its `on_handshake`. For the handshake: in a dependency, a socket middleware, or a
    handler before accept.

    Args:
        ws: The connection.
        middleware: An object with some of the hooks; it goes inside of those attached before.

    Raises:
        TypeError: An object without hooks, or with one that cannot be used.
        Exception: What `on_handshake` raises.
    """
    check_hooks(middleware)
    await _attach(ws, middleware)


async def _attach(ws: WebSocket, middleware: object) -> None:
    on_handshake, on_message, on_send, on_close = (getattr(middleware, n, None) for n in HOOKS)
    progress = link_of(ws).progress
    if on_close is not None:
        ws.add_cleanup(lambda: on_close(ws, progress.record))
    if on_send is not None:
        progress.filters_out = (_filter(on_send, ws), *progress.filters_out)
    if on_message is not None:
        progress.filters_in = (*progress.filters_in, _filter(on_message, ws))
        first = ws.get(LINK_KEY)
        for link in first.links if isinstance(first, Link) else (link_of(ws),):
            link.inbox.filter()
    if on_handshake is not None:
        await on_handshake(ws)


def check_hooks(middleware: object) -> None:
    """Make sure that an object can be used as connection middleware.

    Raises:
        TypeError: It has none of the hooks, or one that is no function or of the wrong kind.
    """
    name = type(middleware).__qualname__
    if isinstance(middleware, type):
        raise TypeError(f"connection middleware must be an object, not the class {middleware!r}")
    found = {hook: getattr(middleware, hook) for hook in HOOKS if hasattr(middleware, hook)}
    if not found:
        raise TypeError(
            f"connection middleware {middleware!r} has no hook; expected an object with "
            f"{', '.join(HOOKS[:-1])} or {HOOKS[-1]}"
        )
    for hook, function in found.items():
        if not callable(function):
            raise TypeError(f"{name}.{hook} must be a method, not {function!r}")
        if inspect.iscoroutinefunction(function) != (hook not in _PLAIN):
            kind = "a plain method" if hook in _PLAIN else "an async method"
            raise TypeError(f"{name}.{hook} must be {kind}")


def _filter(hook: Callable[[WebSocket, str | bytes], Any], ws: WebSocket) -> Filter:
    def filtered(data: str | bytes) -> str | bytes:
        changed = hook(ws, data)
        if changed is None:
            return data
        if not isinstance(changed, (str, bytes)):
            raise TypeError(
                f"{hook!r} must return str, bytes or None, not {type(changed).__name__}"
            )
        return changed

    return filtered
