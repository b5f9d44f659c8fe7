"""Routes as data: a WebSocket route, and another application under a prefix.

They do not change: `"/prefix" // route` and `route @ middleware` return new ones.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import Any, Self, Unpack

from starlette.middleware import Middleware

from telex._limits import LimitOptions, check_grace
from telex._settings import Overrides, limit_settings
from telex._types import ASGIApp, Receive, Scope, Send
from telex._url import URLPath
from telex.binding import PAYLOAD_NAME, describe, needs_of
from telex.codecs import Codec, check_codecs
from telex.exceptions import NoMatchFound, RoutingError
from telex.lifecycle import connection_app
from telex.middleware.stack import wrap_app
from telex.routing._answers import live, not_found, upgrade_required
from telex.routing._endpoints import (
    Handler,
    SocketMiddleware,
    compile_endpoint,
    default_name,
    wrap,
)
from telex.routing._events import asks_for_events, can_serve_events, serve_events
from telex.routing._pattern import Pattern
from telex.routing._scope import below, enter, route_path
from telex.routing._tree import Tree


class _Named:
    """What has a name for `url_path_for`."""

    name: str | None

    def named_in(self, namespace: str) -> Self:
        """Return the same with `namespace:` before its name, if it has one."""
        if self.name is None:
            return self
        new = copy.copy(self)
        new.name = f"{namespace}:{self.name}"
        return new


class SocketRoute(_Named):
    """A path and the handler that serves WebSocket connections there.

    It is an ASGI application by itself, for one route without a router. Any number of tasks and
    routers may use it.

    Args:
        path: A path with parameters: `/rooms/{room}`, `/users/{id:int}`, `/files/<name:path>`.
        endpoint: An `async def` function, or a class derived from `SocketView`.
        name: What `url_path_for` calls it. Omitted: the endpoint's own name. `None`: no name.
        middlewares: Socket middlewares, the first outermost.
        middleware: ASGI middleware around all of them, as Starlette's `Middleware` entries; the
            first outermost.
        codec: What makes values of messages here, `None` for the application's.
        codecs: The same by subprotocol.
        disconnect_grace: As for `App`, whose value counts unless given; `math.inf` for ever.
        **limits: As for `App`, in place of what that says; `math.inf` for no limit. Both counts of
            connections hold.

    Attributes:
        path: The path, with the prefixes of the groups it is in.
        endpoint: What was registered, unchanged.
        name: Its name, with the namespaces of the groups it is in, or `None`.
        middlewares: All socket middlewares around the endpoint, the first outermost.
        pattern: The path, taken apart.

    Raises:
        RoutingError: The path or the name cannot be used.
        TypeError: The endpoint or a middleware cannot be used: it is not async, say.
    """

    def __init__(
        self,
        path: str,
        endpoint: Handler,
        *,
        name: str | EllipsisType | None = ...,
        middlewares: Iterable[SocketMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        codec: Codec | None = None,
        codecs: Mapping[str, Codec] | None = None,
        disconnect_grace: float | None = None,
        **limits: Unpack[LimitOptions],
    ) -> None:
        self.pattern = Pattern(path)
        self.endpoint = endpoint
        check_codecs(codec, codecs)
        check_grace(disconnect_grace)
        self._overrides = Overrides(
            codec=codec,
            codecs=codecs,
            disconnect_grace=disconnect_grace,
            **limit_settings(limits),
        )
        self.name = _checked_name(default_name(endpoint) if name is ... else name)
        self.middlewares = tuple(middlewares)
        self._middleware = tuple(middleware)
        self._call = wrap(compile_endpoint(endpoint), self.middlewares)
        self.app = self._build()

    def _build(self) -> ASGIApp:
        return wrap_app(
            connection_app(self._call, self._overrides), self._middleware, f"route {self.path!r}"
        )

    @property
    def path(self) -> str:
        """The path, with the prefixes of the groups it is in."""
        return self.pattern.path

    def __repr__(self) -> str:
        return f"SocketRoute({self.path!r}, {describe(self.endpoint)}, name={self.name!r})"

    def __matmul__(self, middleware: SocketMiddleware) -> Self:
        """Return this route with one more middleware, outside of those it has."""
        return self.wrapped([middleware])

    def __rfloordiv__(self, prefix: str) -> Self:
        """Return this route under a prefix.

        Raises:
            RoutingError: The prefix does not begin with a slash or ends with one, or the path
                makes no sense under it.
        """
        new = copy.copy(self)
        new.pattern = Pattern(check_prefix(prefix) + self.path)
        return new

    def wrapped(self, middlewares: Iterable[SocketMiddleware]) -> Self:
        """Return this route with more middlewares, the first outermost, outside of its own.

        Raises:
            TypeError: A middleware cannot be called, or does not return an async function.
        """
        outer = tuple(middlewares)
        if not outer:
            return self
        new = copy.copy(self)
        new.middlewares = outer + self.middlewares
        new._call = wrap(self._call, outer)
        new.app = new._build()
        return new

    def check(self) -> None:
        """Make sure that the path has what handler and middlewares take from it by name.

        A router does it, for only there the path is complete. What a mounted prefix brings is
        asked for with `Annotated[..., Path()]`, which is not checked.

        Raises:
            TypeError: A parameter that nothing fills.
        """
        needs = needs_of(self._call)
        missing = sorted(needs.keys() - {*self.pattern.names})
        if missing:
            raise TypeError(
                f"handler {needs[missing[0]]}: parameter {missing[0]!r} is none of the path "
                f"{self.path!r}; annotate it with telex.WebSocket, or with Annotated[..., Query()] "
                f"(Path(), Header(), Cookie(), Depends(function)){_hint(missing[0])}"
            )

    def url_path_for(self, name: str, /, **params: Any) -> URLPath:
        """Return the path for these parameters, not percent-encoded.

        Raises:
            NoMatchFound: The route has another name, or takes other parameters or values.
        """
        if name != self.name:
            raise NoMatchFound(name, params)
        try:
            return URLPath(self.pattern.fill(**params), protocol="websocket")
        except (LookupError, ValueError) as error:
            raise NoMatchFound(name, params) from error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection as a router with this route alone would."""
        if scope["type"] == "lifespan":
            return await live(receive, send)
        params = self.pattern.match(route_path(scope))
        if params is None:
            return await not_found(scope, receive, send)
        events = asks_for_events(scope) and can_serve_events(self.endpoint)
        if scope["type"] != "websocket" and not events:
            return await upgrade_required(scope, receive, send)
        self.check()
        enter(scope, self, self.endpoint, params)
        if events:
            return await serve_events(self.app, scope, receive, send)
        return await self.app(scope, receive, send)


class Mount(_Named):
    """Another ASGI application under a prefix, for HTTP and WebSocket; not its lifespan.

    Socket middlewares of a router or a group go around its routes, not around what is mounted
    there: an application guards itself, or ASGI middleware does it.

    Args:
        prefix: Where it begins: `/admin`, also with parameters: `/rooms/{room}`. `"/admin"` takes
            `/admin`, `/admin/` and everything below; `""` or `"/"` takes every path.
        app: The application. It gets a copy of the scope in which `root_path` is longer by the
            prefix and `path` is still the whole path.
        name: With it `url_path_for("name:child")` reverses what the mounted application names
            `child`; without it `url_path_for("child")` does.
        middleware: ASGI middleware around the application, as Starlette's `Middleware` entries;
            the first outermost.

    Attributes:
        path: The prefix, `""` for every path.
        app: The application, without the middleware.
        name: The name, or `None`.

    Raises:
        RoutingError: The prefix or the name cannot be used.
        TypeError: The application cannot be called.
    """

    def __init__(
        self,
        prefix: str,
        app: ASGIApp,
        *,
        name: str | None = None,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        if not callable(app):
            raise TypeError(f"mount {prefix!r}: {app!r} is no ASGI application")
        self.app = app
        self._stack = wrap_app(app, middleware, f"mount {prefix!r}")
        self.name = _checked_name(name)
        self._place("" if prefix in ("", "/") else check_prefix(prefix))

    def _place(self, prefix: str) -> None:
        self.path = prefix
        self.pattern = Pattern(prefix) if prefix else None
        self.segments = self.pattern.segments if self.pattern else ()
        if self.segments and self.segments[-1].spans:
            raise RoutingError(f"path {prefix!r}: a mount cannot end with a type that takes '/'")

    def __repr__(self) -> str:
        return f"Mount({self.path!r}, {self.app!r}, name={self.name!r})"

    def __rfloordiv__(self, prefix: str) -> Self:
        """Return this mount under a prefix.

        Raises:
            RoutingError: The prefix does not begin with a slash or ends with one, or the path
                makes no sense under it.
        """
        new = copy.copy(self)
        new._place(check_prefix(prefix) + self.path)
        return new

    def wrapped(self, middlewares: Iterable[SocketMiddleware]) -> Self:
        """Return this mount: socket middlewares go around routes only."""
        return self

    def url_path_for(self, name: str, /, **params: Any) -> URLPath:
        """Return the path of a route of the mounted application, not percent-encoded.

        The application is asked with its `url_path_for`, as Telex, Starlette and FastAPI have it.
        The mount's own name with the one parameter `path` gives a path below it, for files.

        Raises:
            NoMatchFound: The name does not begin with that of the mount, or the application has no
                such route.
        """
        own = {key: params.pop(key) for key in self._names if key in params}
        try:
            prefix = self.pattern.fill(**own) if self.pattern else ""
        except (LookupError, ValueError) as error:
            raise NoMatchFound(name, {**own, **params}) from error
        if name == self.name and params.keys() == {"path"}:
            return URLPath(f"{prefix}/{str(params['path']).lstrip('/')}", protocol="http")
        child = name if self.name is None else name.removeprefix(f"{self.name}:")
        if child == name and self.name is not None:
            raise NoMatchFound(name, {**own, **params})
        found = _ask(self.app, child, params)
        return URLPath(prefix + found, protocol=found.protocol)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.pattern.names if self.pattern else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or connection as a router with this mount alone would."""
        if scope["type"] == "lifespan":
            return await live(receive, send)
        tree = Tree[Mount]()
        tree.mount(self.segments, self)
        found = tree.find(route_path(scope))
        if found is None:
            return await not_found(scope, receive, send)
        return await self.forward(scope, receive, send, found.values, found.prefix)

    async def forward(
        self, scope: Scope, receive: Receive, send: Send, values: tuple[Any, ...], prefix: str
    ) -> None:
        """Run the application for a path that matched.

        Args:
            scope: The scope of the router that matched.
            receive: As the router got it.
            send: As the router got it.
            values: The values of the prefix's parameters, in order.
            prefix: The part of the path that the prefix took.
        """
        params = dict(zip(self._names, values, strict=True))
        await self._stack(below(scope, prefix, params), receive, send)


Route = SocketRoute | Mount


def check_prefix(prefix: str) -> str:
    """Return a prefix that a path can follow.

    Raises:
        RoutingError: It does not begin with a slash, or ends with one.
    """
    if not isinstance(prefix, str) or not prefix.startswith("/") or prefix.endswith("/"):
        raise RoutingError(f"prefix {prefix!r}: must begin with '/' and not end with '/'")
    return prefix


def _hint(name: str) -> str:
    if name != PAYLOAD_NAME:
        return ""
    return ". Messages go to 'data' of listeners, and of their dependencies with scope='message'"


def _checked_name(name: str | None) -> str | None:
    """Return a name that can be looked up, or `None`."""
    if name is not None and (not isinstance(name, str) or not name):
        raise RoutingError(f"a route is named with text or with None, not {name!r}")
    return name


def _ask(app: Any, name: str, params: Mapping[str, Any]) -> URLPath:
    """Ask an application for the path of one of its routes."""
    # Loaded already where it matters: by the application that raises it.
    from starlette.routing import NoMatchFound as StarletteNoMatchFound

    reverse = getattr(app, "url_path_for", None)
    if reverse is None:
        raise NoMatchFound(name, params)
    try:
        found = reverse(name, **params)
    except (StarletteNoMatchFound, AssertionError, ValueError) as error:
        # The last two: its convertors refuse a value that way.
        raise NoMatchFound(name, params) from error
    # Starlette says "" for a mount in a mount, which holds files.
    speaks_websocket = getattr(found, "protocol", None) == "websocket"
    return URLPath(found, protocol="websocket" if speaks_websocket else "http")
