"""Registering: what routers and groups have in common, and the group `Routes`."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import EllipsisType
from typing import Any, ClassVar, Self, TypeAlias, TypeVar, Unpack, overload

from starlette.middleware import Middleware

from telex._intake import MAX_INVALID, OnInvalid
from telex._limits import LimitOptions
from telex._types import ASGIApp
from telex.binding import describe
from telex.codecs import Codec
from telex.listeners import Key, Listener
from telex.routing._endpoints import Handler, SocketMiddleware
from telex.routing._routes import Mount, Route, SocketRoute, check_prefix
from telex.streams import Stream

E = TypeVar("E", bound=Handler)
F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=SocketMiddleware)

Addable: TypeAlias = "SocketRoute | Mount | Iterable[Addable]"
"""What can be added: a route, a mount, a group, a list of these."""


class RouteOptions(LimitOptions, total=False):
    """What every way to register a route takes, see `SocketRoute`."""

    name: str | EllipsisType | None
    middlewares: Iterable[SocketMiddleware]
    middleware: Iterable[Middleware]
    codec: Codec | None
    codecs: Mapping[str, Codec] | None
    disconnect_grace: float | None


class Registry(ABC):
    """What routes can be registered on.

    Attributes:
        route_class: For subclasses: what is made of a handler, a subclass of `SocketRoute`.
    """

    route_class: ClassVar[type[SocketRoute]] = SocketRoute

    @abstractmethod
    def add(self, item: Addable) -> None:
        """Add a route, a mount, or several: a group, a list."""

    def websocket(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[E], E]:
        """Register the function or `SocketView` class below; it stays what it is.

        Args:
            path: The path with its parameters, see `SocketRoute`.
            **options: Those of `SocketRoute`: `name`, `middlewares`, `middleware`, `codec`,
                `codecs`.

        Returns:
            The decorator. It raises what `SocketRoute` and `add` raise.
        """
        _check_path(path, "websocket")

        def register(endpoint: E) -> E:
            self.add(self.route_class(path, endpoint, **options))
            return endpoint

        return register

    def websocket_listener(
        self,
        path: str,
        *,
        on_invalid: OnInvalid = "reply",
        max_invalid: int = MAX_INVALID,
        concurrency: int = 1,
        key: Key | None = None,
        **options: Unpack[RouteOptions],
    ) -> Callable[[F], F]:
        """Register the function below to be called for each message; it stays what it is.

        Args:
            path: The path with its parameters, see `SocketRoute`.
            on_invalid: What a message that does not fit leads to: `"reply"`, `"close"` or
                `"raise"`; see `Listener`.
            max_invalid: How many of them in a row are answered before the connection is closed.
            concurrency: How many messages are handled at once; 1: in order.
            key: With `concurrency`: messages for which it gives the same are handled in order.
            **options: Those of `SocketRoute`.

        Returns:
            The decorator. It raises what `Listener`, `SocketRoute` and `add` raise.
        """
        _check_path(path, "websocket_listener")

        def register(fn: F) -> F:
            listener = Listener(
                fn,
                on_invalid=on_invalid,
                max_invalid=max_invalid,
                concurrency=concurrency,
                key=key,
            )
            self.add(self.route_class(path, listener, **options))
            return fn

        return register

    def websocket_stream(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register the async generator function below, whose items are sent; it stays what it is.

        A `GET` with `Accept: text/event-stream` gets them as Server-Sent Events.

        Args:
            path: The path with its parameters, see `SocketRoute`.
            **options: Those of `SocketRoute`.

        Returns:
            The decorator. It raises what `Stream`, `SocketRoute` and `add` raise.
        """
        _check_path(path, "websocket_stream")

        def register(fn: F) -> F:
            self.add(self.route_class(path, Stream(fn), **options))
            return fn

        return register

    def mount(
        self,
        prefix: str,
        app: ASGIApp,
        *,
        name: str | None = None,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        """Put another ASGI application under a prefix, see `Mount`."""
        self.add(Mount(prefix, app, name=name, middleware=middleware))

    def __lshift__(self, item: Addable) -> Self:
        """Add, and return the same object, so that `app.router <<= route` works too."""
        self.add(item)
        return self


class Routes(Registry, Sequence[Route]):
    """A group of routes: a sequence that gives each of them a prefix, a namespace, middlewares.

    What is added is placed at once, so the routes inside have their full path and name.
    `"/prefix" // routes` is a new group with the prefix before every route, also before those
    that are added to it later; the old group stays as it is. A group that was added to a router
    or to another group is complete: a route that came later would silently not be served.

    Args:
        routes: Routes, mounts, other groups.
        socket_middlewares: Go around every route, outside of the route's own; the first
            outermost. Not around mounts.
        namespace: With it every name becomes `namespace:name`.
    """

    def __init__(
        self,
        *routes: Addable,
        socket_middlewares: Iterable[SocketMiddleware] = (),
        namespace: str = "",
    ) -> None:
        self._prefix = ""
        self._namespace = namespace
        self._middlewares = tuple(socket_middlewares)
        self._complete = False
        self._items: list[Route] = []
        for each in routes:
            self.add(each)

    @property
    def socket_middlewares(self) -> tuple[SocketMiddleware, ...]:
        """The middlewares of the group, the first outermost."""
        return self._middlewares

    @property
    def namespace(self) -> str:
        """What stands before the names, `""` for nothing."""
        return self._namespace

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Route: ...
    @overload
    def __getitem__(self, index: slice) -> list[Route]: ...
    def __getitem__(self, index: int | slice) -> Route | list[Route]:
        return self._items[index]

    def __repr__(self) -> str:
        return f"Routes({', '.join(map(repr, self._items))})"

    def __rfloordiv__(self, prefix: str) -> Self:
        """Return a copy of the group under a prefix.

        Raises:
            RoutingError: The prefix does not begin with a slash or ends with one, or a path makes
                no sense under it.
        """
        new = copy.copy(self)
        new._prefix = check_prefix(prefix) + self._prefix
        new._items = [prefix // item for item in self._items]
        new._complete = False
        return new

    def append(self, item: Addable) -> None:
        """Add a route, a mount or another group at the end; the same as `add`."""
        self.add(item)

    def add(self, item: Addable) -> None:
        """Add a route, a mount, another group or a list of these at the end.

        Raises:
            RuntimeError: The group was added to a router or another group before.
            TypeError: It is something else.
            RoutingError: Prefix and path make no sense together.
        """
        if self._complete:
            raise RuntimeError(
                f"this group was added elsewhere, {item!r} would not be served: add it before"
            )
        self._items.extend([self._placed(each) for each in flatten(item)])

    def socket_middleware(self, middleware: M) -> M:
        """Put a middleware around every route of the group, inside of those it has.

        Returns:
            The middleware, so that this is a decorator.

        Raises:
            RuntimeError: The group has routes already; they would go without it.
        """
        if self._items:
            raise RuntimeError("add socket middlewares to a group before its routes")
        self._middlewares += (middleware,)
        return middleware

    def _placed(self, route: Route) -> Route:
        """Return a route with everything the group gives it."""
        route = route.wrapped(self._middlewares)
        if self._namespace:
            route = route.named_in(self._namespace)
        return self._prefix // route if self._prefix else route

    def _seal(self) -> list[Route]:
        """Return the routes and take no more."""
        self._complete = True
        return self._items


def _check_path(path: object, decorator: str) -> None:
    if callable(path):
        raise TypeError(f"write @….{decorator}('/path') above {describe(path)}, with a path")


def flatten(item: Any) -> list[Route]:
    """Return the routes of what was added; a group is complete from then on.

    Raises:
        TypeError: It is no route, mount, group or list of these.
    """
    if isinstance(item, (SocketRoute, Mount)):
        return [item]
    if isinstance(item, Routes):
        return item._seal()
    if isinstance(item, Iterable) and not isinstance(item, (str, bytes)):
        return [route for each in item for route in flatten(each)]
    raise TypeError(f"expected a SocketRoute, a Mount or Routes, got {item!r}")
