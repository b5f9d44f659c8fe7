"""Lilya's `lilya.routing`, as far as it is about WebSockets.

`WebSocketPath` is a `telex.SocketRoute` with Lilya's arguments, `Router` a `telex.Router` on which
they are registered. What differs from Telex:

- A handler gets the connection as its first parameter, whatever it is called, and dependencies by
  name; see `telex.compat.lilya.dependencies`. It may be given as text, `"module.name"` or
  `"module:name"`, and may be a `WebSocketController` class.
- `middleware` takes classes too. `permissions` are the same, inside of it.
- `before_request` and `after_request` go around the handler, inside of both. When one before it
  has ended the connection the handler is not called; those after it run unless it has raised,
  where the client's leaving counts as an end like any other.
- `exception_handlers` of a route stand beside those of the application: of all, the one for the
  nearest class counts, for the same class that of the route.
- `include_in_schema` is kept for who wants to know.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections import ChainMap
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any, Self, TypeVar, cast

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from telex._settings import SETTINGS_KEY, ExceptionHandler, Settings, settings_of
from telex._types import ASGIApp, Receive, Scope, Send
from telex.compat.lilya.controllers import WebSocketController, view_of
from telex.compat.lilya.dependencies import Provide, adapted, check_unadapted, provided
from telex.context import current
from telex.exceptions import WebSocketDisconnect
from telex.lifecycle import Endpoint
from telex.listeners import Listener
from telex.routing import Mount, Pattern, Routes, SocketMiddleware, SocketRoute
from telex.routing import Router as CoreRouter
from telex.routing._endpoints import compile_endpoint, wrap
from telex.routing._groups import Addable, flatten
from telex.routing._routes import Route
from telex.streams import Stream
from telex.websockets import link_of

__all__ = ["Include", "Router", "WebSocketPath", "WebSocketRoute"]

H = TypeVar("H", bound=Callable[..., Any])

Hook = Callable[..., Any]
"""Called with scope, receive and send; a class is called without arguments first."""


class WebSocketPath(SocketRoute):
    """A path and the handler that serves WebSocket connections there.

    Args:
        path: A path with parameters: `/rooms/{room}`, `/users/{id:int}`, `/files/<name:path>`.
        handler: An async function, a `WebSocketController` class, or where to import it from.
        name: What `path_for` calls it; `None`: the handler's own name.
        include_in_schema: Kept as an attribute.
        permissions: ASGI middleware around the handler: classes, or entries with arguments.
        middleware: The same, around the permissions; of both the first is the outermost.
        exception_handlers: Functions `handler(websocket, exc)` by exception class, beside those of
            the application.
        dependencies: How parameters are filled, by name; see `telex.compat.lilya.dependencies`.
        before_request: Functions `hook(scope, receive, send)` called before the handler.
        after_request: The same, called after it.
        **options: The others of `telex.SocketRoute`.

    Attributes:
        handler: The handler.
        dependencies: What it can get by name; in an application also what that gives.

    Raises:
        ImportError: The handler cannot be imported.
        RoutingError: The path or the name cannot be used.
        TypeError: The handler or a middleware cannot be used.
    """

    def __init__(
        self,
        path: str,
        handler: Callable[..., Any] | str,
        *,
        name: str | None = None,
        include_in_schema: bool = True,
        permissions: Iterable[Any] | None = None,
        middleware: Iterable[Any] | None = None,
        exception_handlers: Mapping[type[Exception], ExceptionHandler] | None = None,
        dependencies: Mapping[str, Any] | None = None,
        before_request: Iterable[Hook] | None = None,
        after_request: Iterable[Hook] | None = None,
        **options: Any,
    ) -> None:
        self.handler = _imported(handler) if isinstance(handler, str) else handler
        self.include_in_schema = include_in_schema
        self.dependencies = provided(dependencies)
        self._exception_handlers: dict[type[BaseException], ExceptionHandler] = dict(
            (exception_handlers or {}).items()
        )
        before, after = tuple(before_request or ()), tuple(after_request or ())
        if before or after:
            options["middlewares"] = (*options.get("middlewares", ()), _hooked(before, after))
        super().__init__(
            path,
            self._adapted(Pattern(path), complete=False),
            name=... if name is None else name,
            middleware=[*entries(middleware), *entries(permissions)],
            **options,
        )
        self.endpoint = self.handler

    def given(self, dependencies: Mapping[str, Provide]) -> Self:
        """Return this route with the dependencies of who it is added to, behind its own.

        Raises:
            ImproperlyConfigured: One that it must have is missing, or is asked for where nobody
                gives any.
        """
        new = copy.copy(self)
        new.dependencies = {**dependencies, **self.dependencies}
        endpoint = new._adapted(new.pattern, complete=True)
        new._call = wrap(compile_endpoint(endpoint), new.middlewares)
        new.app = new._build()
        # Of a controller itself: the view in its place has no parameters.
        check_unadapted(new.handler if isinstance(new.handler, type) else endpoint)
        return new

    def _adapted(self, pattern: Pattern, *, complete: bool) -> Any:
        handler = self.handler
        if isinstance(handler, type) and issubclass(handler, WebSocketController):
            return view_of(handler)
        if isinstance(handler, (type, Listener, Stream)):
            return handler
        return adapted(handler, self.dependencies, pattern.names, complete=complete)

    def _build(self) -> ASGIApp:
        app = super()._build()
        handlers = self._exception_handlers
        if not handlers:
            return app

        last: tuple[Settings, Settings] | None = None

        async def answering(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal last
            base = settings_of(scope)
            # Read once, as in `telex._settings.Overrides`.
            known = last
            if known is None or known[0] is not base:
                known = last = (base, _answered_by(handlers, base))
            scope[SETTINGS_KEY] = known[1]
            await app(scope, receive, send)

        return answering


WebSocketRoute = WebSocketPath


class Router(CoreRouter):
    """A router on which `WebSocketPath` are registered.

    Args:
        routes: Routes, mounts and groups.
        dependencies: What the handlers of its routes can get by name.
        **options: Those of `telex.Router`.

    Raises:
        ImproperlyConfigured: A handler must have a dependency that is missing.
        RoutingError: Two routes have the same name, or match the same paths.
    """

    def __init__(
        self,
        routes: Addable = (),
        *,
        dependencies: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.dependencies = provided(dependencies)
        super().__init__(routes, **options)

    def add(self, item: Addable) -> None:
        """Add a route, a mount, a group or a list of these: all of it, or nothing.

        Raises:
            ImproperlyConfigured: A handler must have a dependency that is missing.
            RoutingError: A name is taken, or a path that matches the same.
            TypeError: It is something else.
        """
        super().add([self._completed(each) for each in flatten(item)])

    def _completed(self, route: Route) -> Route:
        if isinstance(route, WebSocketPath):
            return route.given(self.dependencies)
        if isinstance(route, SocketRoute):
            check_unadapted(route.endpoint)
        return route

    def websocket(self, path: str, **options: Any) -> Callable[[H], H]:
        """Register the handler below; it stays what it is.

        Args:
            path: The path with its parameters.
            **options: Those of `WebSocketPath`.

        Returns:
            The decorator. It raises what `WebSocketPath` and `add` raise.
        """
        # Also says so when there is no path and the handler stands in its place.
        Pattern(path)

        def register(handler: H) -> H:
            self.add_websocket_route(path, handler, **options)
            return handler

        return register

    def add_websocket_route(
        self, path: str, handler: Callable[..., Any] | str, **options: Any
    ) -> None:
        """Register a handler, with the options of `WebSocketPath`; raises what `add` raises."""
        self.add(WebSocketPath(path, handler, **options))


def Include(
    path: str, app: ASGIApp | None = None, routes: Addable = (), *, name: str | None = None
) -> Mount | Routes:
    """Put an application, or routes, under a prefix; the routes get what the application gives.

    Args:
        path: The prefix; `"/"` for none.
        app: An ASGI application, with dependencies of its own.
        routes: Routes and groups, where there is no application.
        name: What stands before the names of the routes, with a colon; `None` for nothing.

    Raises:
        RoutingError: The prefix does not begin with a slash or ends with one.
    """
    if app is not None:
        return Mount(path, app, name=name)
    group = Routes(routes, namespace=name or "")
    return group if path in ("", "/") else path // group


def entries(middleware: Iterable[Any] | None) -> Iterator[Middleware]:
    """Go through middleware as Lilya takes it: a class, or an entry of class and arguments."""
    for each in middleware or ():
        cls, args, options = each if isinstance(each, Iterable) else (each, (), {})
        yield Middleware(cls, *args, **options)


def _imported(name: str) -> Any:
    module, _, attribute = name.rpartition(":" if ":" in name else ".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (AttributeError, ValueError) as error:
        raise ImportError(f"there is no handler {name!r}: {error}") from error


def _answered_by(
    handlers: dict[type[BaseException], ExceptionHandler], settings: Settings
) -> Settings:
    """Return settings with the handlers of a route before their own, which may still grow."""
    others = cast(
        MutableMapping[type[BaseException], ExceptionHandler], settings.exception_handlers
    )
    return replace(settings, exception_handlers=ChainMap(handlers, others))


def _hooked(before: Iterable[Hook], after: Iterable[Hook]) -> SocketMiddleware:
    def around(endpoint: Endpoint) -> Callable[[], Awaitable[None]]:
        async def hooked() -> None:
            await _call(before)
            if link_of(current.get()).progress.over:
                return
            try:
                await endpoint()
            except WebSocketDisconnect:
                await _call(after)
                raise
            await _call(after)

        return hooked

    return around


async def _call(hooks: Iterable[Hook]) -> None:
    ws = current.get()
    link = link_of(ws)
    for each in hooks:
        hook = each() if isinstance(each, type) else each
        call = getattr(hook, "__call__", None)  # noqa: B004
        if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(call):
            await hook(ws.scope, link.receive, link.send)
        else:
            await run_in_threadpool(hook, ws.scope, link.receive, link.send)
