"""Routes as Kui has them: of a list of middlewares the last one is the outermost.

| | Kui | Telex |
|---|---|---|
| `socket_middlewares=[a, b]`, `middlewares=[a, b]` | `b` is around `a` | `a` is around `b` |
| `@routes.socket_middleware` | around those before it | inside of them |
| `route @ a @ b` | `b` is around `a` | the same |
| `SocketRoute(path, endpoint, "name")` | the third argument is the name | `name=` is a keyword |
| `name=""` | the name of the endpoint, as without | refused |
| `router.url_for(name, mapping)` | there | there it is `url_path_for(name, **params)` |

Application, group, route: that order is the same, the application outermost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import Any, cast

from telex import routing
from telex._types import ASGIApp
from telex._url import URLPath
from telex.routing import SocketMiddleware
from telex.routing._endpoints import Handler
from telex.routing._groups import Addable, M, RouteOptions


class SocketRoute(routing.SocketRoute):
    """A path and its handler; see `telex.SocketRoute`.

    Args:
        path: A path with parameters: `/rooms/{room}`, `/users/{id:int}`.
        endpoint: An `async def` function, or a class derived from `SocketView`.
        name: What `url_for` calls it. `""`: the endpoint's own name. `None`: no name.
        middlewares: Socket middlewares, the last one outermost.
        **options: The others of `telex.SocketRoute`.

    Raises:
        RoutingError: The path or the name cannot be used.
        TypeError: The endpoint or a middleware cannot be used: it is not async, say.
    """

    def __init__(
        self,
        path: str,
        endpoint: Handler,
        name: str | EllipsisType | None = "",
        *,
        middlewares: Iterable[SocketMiddleware] = (),
        **options: Any,
    ) -> None:
        told = _as_ours({**options, "name": name, "middlewares": middlewares})
        super().__init__(path, endpoint, **told)


class Routes(routing.Routes):
    """A group of routes; see `telex.Routes`.

    Args:
        routes: Routes, mounts, other groups.
        socket_middlewares: Go around every route, outside of the route's own; the last one
            outermost.
        namespace: With it every name becomes `namespace:name`.
    """

    route_class = SocketRoute

    def __init__(
        self,
        *routes: Addable,
        socket_middlewares: Iterable[SocketMiddleware] = (),
        namespace: str = "",
    ) -> None:
        ours = _outermost_first(socket_middlewares)
        super().__init__(*routes, socket_middlewares=ours, namespace=namespace)

    def socket_middleware(self, middleware: M) -> M:
        """Put a middleware around every route of the group, outside of those it has.

        Returns:
            The middleware, so that this is a decorator.

        Raises:
            RuntimeError: The group has routes already; they would go without it.
        """
        before = self._middlewares
        super().socket_middleware(middleware)
        self._middlewares = (middleware, *before)
        return middleware


class Router(routing.Router):
    """The router of a `Kui`; see `telex.Router`.

    Args:
        routes: Routes, mounts and groups.
        socket_middlewares: Go around every route, outermost; the last of them outside.
        http: The application for HTTP requests that no mount takes.

    Raises:
        RoutingError: Two routes have the same name, or match the same paths.
        TypeError: Something that is no route, or a middleware that cannot be used.
    """

    route_class = SocketRoute

    def __init__(
        self,
        routes: Addable = (),
        *,
        socket_middlewares: Iterable[SocketMiddleware] = (),
        http: ASGIApp | None = None,
    ) -> None:
        ours = _outermost_first(socket_middlewares)
        super().__init__(routes, socket_middlewares=ours, http=http)

    def url_for(self, name: str, path_params: Mapping[str, Any] | None = None) -> URLPath:
        """Return the path of the route with that name; see `telex.Router.url_path_for`.

        Args:
            name: The route's name.
            path_params: The parameters in its path, `None` for none.

        Raises:
            NoMatchFound: No route has that name and takes exactly these parameters.
        """
        return self.url_path_for(name, **(path_params or {}))


def _as_ours(options: Mapping[str, Any]) -> RouteOptions:
    """Return the options of a route as Telex has them."""
    ours = {**options, "middlewares": _outermost_first(options.get("middlewares", ()))}
    if ours.get("name") == "":
        del ours["name"]
    return cast(RouteOptions, ours)


def _outermost_first(middlewares: Iterable[SocketMiddleware]) -> tuple[SocketMiddleware, ...]:
    return tuple(middlewares)[::-1]
