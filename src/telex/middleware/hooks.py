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

A request for Server-Sent Events becomes a connection when its stream is found. Until then the
middleware waits in the scope, and no other request ever meets it.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from telex._end import ended_elsewhere
from telex._endings import is_closed
from telex._guard import Guard
from telex._link import LINK_KEY, Link
from telex._progress import Filter, handling
from telex._settings import SETTINGS_KEY, settings_of
from telex._types import ASGIApp, Receive, Scope, Send
from telex._watch import DisconnectWatch
from telex.middleware.errors import ErrorMiddleware, refuse
from telex.websockets import WebSocket, link_of

HOOKS: Final = ("on_handshake", "on_message", "on_send", "on_close")
_PLAIN: Final = ("on_message", "on_send")

_WAITING_KEY: Final = "telex.hooks"
"""Key of the scope of a request under which connection middleware waits, the outermost first."""

_PLACE: Final = frozenset(
    ("app", "endpoint", "path", "path_params", "root_path", "route", SETTINGS_KEY)
)
"""Keys of the scope that mounts, routes and mounted applications change."""


class _Waiting(NamedTuple):
    middleware: HooksMiddleware
    place: Mapping[str, Any]


class HooksMiddleware:
    """An ASGI application that has every WebSocket connection go through connection middleware.

    Args:
        app: What is behind it. The lifespan passes, and HTTP but for streams of events.
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
        """Serve one connection or request; see the class."""
        if scope["type"] == "http":
            return await self._wait(scope, receive, send)
        if scope["type"] == "websocket":
            ws = WebSocket(scope, receive, send)
            if not await self._let_in(ws):
                return None
        return await self.app(scope, receive, send)

    async def _let_in(self, ws: WebSocket) -> bool:
        """Have a connection go through the handshake; say whether it goes on to its route.

        The limits of the application hold as they do for handlers, and `app.connections` knows it.
        """
        link, settings = link_of(ws), settings_of(ws.scope)
        guard = Guard(ws, settings)
        watch = DisconnectWatch(ws.scope, link, settings.disconnect_grace, "the middleware")
        called = handling.set(link.progress)
        goes_on = False
        try:
            refused = guard.enter(early=True)
            if refused is None:
                # What an application reads that is not ours is not for us.
                watch.arm(asks=False)
                goes_on = await self._attach_all(ws)
            else:
                await refuse(ws, refused)
        except asyncio.CancelledError:
            if not watch.settle():
                raise
        finally:
            watch.disarm()
            watch.settle()
            handling.reset(called)
            if not goes_on:
                await ended_elsewhere(link)
            guard.leave(goes_on=goes_on)
        return goes_on

    async def _attach_all(self, ws: WebSocket) -> bool:
        progress = link_of(ws).progress
        try:
            for each in self._middleware:
                await _attach(ws, each)
                if progress.over or progress.dismissed:
                    return False
        except Exception as exc:
            if progress.dismissed and is_closed(exc):
                # It was told that somebody else has closed.
                return False
            raise
        return True

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        outer = scope.get(_WAITING_KEY, ())
        # Not in a copy: who is outside may look for what is left in the scope, as for the route.
        scope[_WAITING_KEY] = (*outer, _Waiting(self, _place(scope)))
        try:
            await self.app(scope, receive, send)
        finally:
            # The same scope may be tried on another application.
            scope[_WAITING_KEY] = outer

    def _around(self, app: ASGIApp) -> HooksMiddleware:
        new = copy.copy(self)
        new.app = app
        return new


def around_events(app: ASGIApp, request: Scope) -> ASGIApp:
    """Put around a stream what WebSocket connections go through on their way to it.

    That is the connection middleware that waits in the scope of a request for events, and the
    answers to exceptions. Each middleware sees the scope as it was where it is, but for what
    those outside of it have changed.

    Args:
        app: The application of the stream.
        request: The scope of the request.

    Returns:
        An application for the scope of the WebSocket connection that the request has become.
    """
    app = _placed(ErrorMiddleware(app), _place(request))
    for middleware, place in reversed(request.get(_WAITING_KEY, ())):
        app = _placed(ErrorMiddleware(middleware._around(app)), place)
    return app


def _place(scope: Scope) -> dict[str, Any]:
    return {key: scope[key] for key in _PLACE if key in scope}


def _placed(app: ASGIApp, place: Mapping[str, Any]) -> ASGIApp:
    def placed(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        kept = {key: value for key, value in scope.items() if key not in _PLACE}
        return app({**kept, **place}, receive, send)

    return placed


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
