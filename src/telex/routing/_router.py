"""The router: which route or mount serves a path, and which path belongs to a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from telex._types import ASGIApp, Receive, Scope, Send
from telex._url import URLPath
from telex.connection import ROUTER_KEY
from telex.exceptions import NoMatchFound, RoutingError
from telex.routing._answers import live, not_found, upgrade_required
from telex.routing._endpoints import SocketMiddleware
from telex.routing._events import asks_for_events, can_serve_events, serve_events
from telex.routing._groups import Addable, Registry, flatten
from telex.routing._pattern import Shape
from telex.routing._routes import Mount, Route, SocketRoute
from telex.routing._scope import enter, route_path
from telex.routing._tree import Tree


class _Leaf(NamedTuple):
    """A route in the tree, and what runs for it."""

    route: Route
    app: ASGIApp


class Router(Registry):
    """Serves each WebSocket connection with the route of its path. An ASGI application.

    A static path wins over one with parameters, a typed parameter over a plain one, these over
    `path` and `any`, routes over mounts; between equals the first registered. Slashes at the end
    count, and nothing is redirected, for WebSocket clients do not follow.

    | request | answer |
    |---|---|
    | WebSocket, a route or mount matches | it runs |
    | WebSocket, nothing matches | 404, or 403 where the server cannot |
    | HTTP, a mount matches | it runs |
    | HTTP, `http=` was given | that application runs, also on the path of a WebSocket route |
    | HTTP, the path of a WebSocket route | 426 |
    | HTTP, anything else | 404 |
    | lifespan | `http=`'s, else nothing to do |

    Register before serving; serving any number of connections at once is fine.

    Args:
        routes: Routes, mounts and groups.
        socket_middlewares: Go around every route, outermost; the first of them outside. Not
            around mounts, and not around HTTP.
        http: The application for HTTP requests that no mount takes.

    Raises:
        RoutingError: Two routes have the same name, or match the same paths.
        TypeError: Something that is no route, or a middleware that cannot be used.
    """

    def __init__(
        self,
        routes: Addable = (),
        *,
        socket_middlewares: Iterable[SocketMiddleware] = (),
        http: ASGIApp | None = None,
    ) -> None:
        self.http = http
        self.socket_middlewares = tuple(socket_middlewares)
        self._routes: list[Route] = []
        self._by_name: dict[str, Route] = {}
        self._by_shape: dict[tuple[bool, Shape], Route] = {}
        self._tree = Tree[_Leaf]()
        self._mounts = Tree[Mount]()
        self.add(routes)

    def __len__(self) -> int:
        return len(self._routes)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Route]:
        """Go through what was added, groups taken apart, in order."""
        return iter(self._routes)

    def add(self, item: Addable) -> None:
        """Add a route, a mount, a group or a list of these: all of it, or nothing.

        Raises:
            RoutingError: A name is taken, or a path that matches the same.
            TypeError: It is something else.
        """
        names, shapes = dict(self._by_name), dict(self._by_shape)
        leaves = []
        for route in flatten(item):
            if route.name is not None:
                _claim(names, route.name, route, "the name")
            _claim(shapes, (isinstance(route, Mount), _shape(route)), route, "the path")
            leaves.append(_Leaf(route, self._app_for(route)))
        self._by_name, self._by_shape = names, shapes
        for leaf in leaves:
            self._insert(leaf)

    def walk(self) -> Iterator[tuple[str, Route]]:
        """Yield every route with its full path, in order of registration.

        A mounted Telex router or application gives its routes, any other mount itself.
        """
        for route in self._routes:
            inner = _router_in(route)
            if inner is None:
                yield route.path or "/", route
            else:
                for path, each in inner.walk():
                    yield route.path + path, each

    def url_path_for(self, name: str, /, **params: Any) -> URLPath:
        """Return the path of the route with that name, below this router, not percent-encoded.

        `WebSocket.url_for` makes a whole URL of it.

        Args:
            name: The name, `namespace:name` in a group, `mount:name` in a mounted application.
            params: A value for each parameter of the path; they may be called `name` or `self`.

        Returns:
            A `str` that knows in `protocol` whether the route speaks WebSocket or HTTP.

        Raises:
            NoMatchFound: No route has that name and takes exactly these parameters; the cause
                says what was wrong.
        """
        route = self._by_name.get(name)
        if isinstance(route, SocketRoute):
            return route.url_path_for(name, **params)
        cause: NoMatchFound | None = None
        for mount in self._routes:
            if isinstance(mount, Mount):
                try:
                    return mount.url_path_for(name, **params)
                except NoMatchFound as error:
                    cause = cause or error
        raise NoMatchFound(name, params) from cause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or request."""
        # One coroutine for the whole life of a connection: each further one costs memory.
        if scope["type"] != "websocket":
            return await self._serve_other(scope, receive, send)
        scope.setdefault(ROUTER_KEY, (self, scope.get("root_path") or ""))
        found = self._tree.find(route_path(scope))
        if found is None:
            return await not_found(scope, receive, send)
        route, app = found.leaf
        if isinstance(route, Mount):
            return await route.forward(scope, receive, send, found.values, found.prefix)
        params = dict(zip(route.pattern.names, found.values, strict=True))
        enter(scope, route, route.endpoint, params)
        return await app(scope, receive, send)

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve HTTP and the lifespan."""
        kind = scope["type"]
        if kind == "http":
            scope.setdefault(ROUTER_KEY, (self, scope.get("root_path") or ""))
            path = route_path(scope)
            if asks_for_events(scope) and await self._serve_events(scope, receive, send, path):
                return None
            found = self._mounts.find(path)
            if found is not None:
                mount = found.leaf
                return await mount.forward(scope, receive, send, found.values, found.prefix)
        elif kind != "lifespan":
            raise ValueError(f"a router serves websocket, http and lifespan, not {kind!r}")
        if self.http is not None:
            return await self.http(scope, receive, send)
        if kind == "lifespan":
            return await live(receive, send)
        answer = not_found if self._tree.find(path) is None else upgrade_required
        return await answer(scope, receive, send)

    async def _serve_events(self, scope: Scope, receive: Receive, send: Send, path: str) -> bool:
        """Serve a stream as Server-Sent Events; say whether there is one."""
        found = self._tree.find(path)
        if found is None:
            return False
        route, app = found.leaf
        if not isinstance(route, SocketRoute) or not can_serve_events(route.endpoint):
            return False
        params = dict(zip(route.pattern.names, found.values, strict=True))
        enter(scope, route, route.endpoint, params)
        await serve_events(app, scope, receive, send)
        return True

    def _app_for(self, route: Route) -> ASGIApp:
        """Return what runs for a route here, the router's middlewares around it."""
        wrapped = route.wrapped(self.socket_middlewares)
        if isinstance(wrapped, SocketRoute):
            wrapped.check()
        return wrapped.app

    def _insert(self, leaf: _Leaf) -> None:
        route = leaf.route
        self._routes.append(route)
        if isinstance(route, Mount):
            self._tree.mount(route.segments, leaf)
            self._mounts.mount(route.segments, route)
        else:
            self._tree.add(route.pattern.segments, leaf)


def _shape(route: Route) -> Shape:
    return route.pattern.shape if route.pattern is not None else ()


def _claim(taken: dict[Any, Route], key: object, route: Route, what: str) -> None:
    """Note that a key belongs to a route, unless it belongs to another one."""
    if key in taken:
        raise RoutingError(f"{what} of {route!r} is taken by {taken[key]!r}")
    taken[key] = route


def _router_in(route: Route) -> Router | None:
    """Return the Telex router behind a mount: its application, or that application's router."""
    if not isinstance(route, Mount):
        return None
    for app in (route.app, getattr(route.app, "router", None)):
        if isinstance(app, Router):
            return app
    return None
