"""Routes before they belong to an application, and the decorators that make them.

    @websocket("/rooms/{room}")
    @query("limit", int, default=50)
    async def route(ws: WebSocket, limit: int, room: str) -> None: ...

    app.load([route])

The decorators may stand in any order.
"""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from telex.binding import describe
from telex.compat.view._inputs import (
    NAMES,
    Bound,
    Handler,
    Input,
    InvalidRouteError,
    bound,
    made_input,
)
from telex.exceptions import RoutingError
from telex.routing._pattern import Pattern

Decorator: TypeAlias = "Callable[[Handler | Route], Route]"

_BLANKS: Final = re.compile(r"(\{\w+:) +")
"""In `{id: int}`."""


class DuplicateRouteError(RoutingError):
    """Another route has that path, or one that matches the same."""


class Route:
    """A handler with its inputs, and perhaps its path; calling it calls the handler.

    Attributes:
        func: The handler.
        path: Its path, `""` as long as it is no WebSocket route.
        doc: What it does, or `None`.
        inputs: What decorators have declared, the one on top first.
    """

    def __init__(self, func: Handler) -> None:
        self.func = func
        self.path = ""
        self.doc: str | None = None
        self.inputs: tuple[Input, ...] = ()
        self._bound: Bound | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[None]:
        """Call the handler."""
        return self.func(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Route({self.path!r}, {describe(self.func)})"

    def at(self, path: str, doc: str | None) -> Route:
        """Return the same as a WebSocket route.

        Raises:
            InvalidRouteError: Path, handler and inputs cannot be together.
        """
        new = copy.copy(self)
        new.path, new.doc = path, doc or inspect.getdoc(self.func)
        new._bind(self.inputs)
        return new

    def add(self, given: Input) -> Route:
        """Take one more input, on top of the others, and return this route.

        Raises:
            InvalidRouteError: It does not go with the handler of a WebSocket route.
        """
        inputs = (given, *self.inputs)
        if self.path:
            self._bind(inputs)
        self.inputs = inputs
        return self

    def _bind(self, inputs: tuple[Input, ...]) -> None:
        try:
            in_path = Pattern(self.path).names
        except RoutingError as error:
            raise InvalidRouteError(str(error)) from error
        self._bound = bound(self.func, in_path, inputs)

    def endpoint(self) -> Bound:
        """Return what serves a connection, with the inputs that there are by then."""

        async def endpoint() -> object:
            assert self._bound is not None
            return await self._bound()

        functools.update_wrapper(endpoint, self.func, assigned=NAMES, updated=())
        # It is not called like the handler.
        del endpoint.__wrapped__  # type: ignore[attr-defined]
        return endpoint


def websocket(path_or_route: str | None = None, doc: str | None = None) -> Decorator:
    """Make a WebSocket route of the function below, to be given to `app.load`.

    Args:
        path_or_route: Its path, like `/rooms/{room}` or `/items/{id:int}`.
        doc: What it does; `None` for its docstring.

    Returns:
        A decorator, which returns the route. It raises `InvalidRouteError` when the path is none,
        and when the function is not async, has no parameter for the connection, or has inputs
        that cannot be.

    Raises:
        InvalidRouteError: No path.
    """
    if not isinstance(path_or_route, str):
        raise InvalidRouteError(f"write websocket('/path'), with a path, not {path_or_route!r}")
    path = _BLANKS.sub(r"\1", path_or_route)
    return lambda handler: _route(handler).at(path, doc)


def query(name: str, *tps: Any, doc: str | None = None, default: Any = ...) -> Decorator:
    """Fill a parameter of the function below from the query string; see `_inputs` for which.

    Args:
        name: The name there.
        tps: The types it may have, none for text.
        doc: What it is.
        default: What it is when it is not there; unless given, it must be there.

    Returns:
        A decorator, which returns a route.

    Raises:
        InvalidRouteError: A type that cannot be read.
    """
    given = made_input(name, tps, default)
    return lambda handler: _route(handler).add(given)


def body(name: str, *tps: Any, doc: str | None = None, default: Any = ...) -> Decorator:
    """Declare an input from the body, which a WebSocket route cannot have.

    Args:
        name: The name there.
        tps: The types it may have.
        doc: What it is.
        default: What it is when it is not there.

    Returns:
        A decorator. On a WebSocket route it raises `InvalidRouteError`; below it, the decorator
        that makes one of it does.

    Raises:
        InvalidRouteError: A type that cannot be read.
    """
    given = made_input(name, tps, default, is_body=True)
    return lambda handler: _route(handler).add(given)


def _route(handler: Handler | Route) -> Route:
    return handler if isinstance(handler, Route) else Route(handler)
