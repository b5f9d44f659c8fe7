"""The application: `new_app`, and the decorators that register at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from telex._json import encode_json
from telex.app import App as CoreApp
from telex.compat.view._inputs import Handler
from telex.compat.view._routes import (
    Decorator,
    DuplicateRouteError,
    Route,
    body,
    query,
    websocket,
)
from telex.compat.view._websocket import WebSocket
from telex.exceptions import BindingError, Reject, RoutingError
from telex.routing import SocketRoute

if TYPE_CHECKING:
    from telex.compat.view._testing import TestingContext


class App(CoreApp):
    """An application as view.py has it; what is not written here is `telex.App`."""

    websocket_class = WebSocket

    query = staticmethod(query)
    body = staticmethod(body)

    def __init__(self, **options: Any) -> None:
        handlers = {BindingError: _bad_request, **(options.pop("exception_handlers", None) or {})}
        super().__init__(**options, exception_handlers=handlers)
        self._loaded: list[Route] = []

    def websocket(  # type: ignore[override] # the options of Telex are not those of view.py
        self, path_or_route: str | None = None, doc: str | None = None
    ) -> Decorator:
        """Register the function below for a path, as `websocket` and `load` do together.

        Args:
            path_or_route: Its path, like `/rooms/{room}` or `/items/{id:int}`.
            doc: What it does; `None` for its docstring.

        Returns:
            A decorator, which returns the route. It raises what `websocket` and `load` raise.

        Raises:
            InvalidRouteError: No path.
        """
        made = websocket(path_or_route, doc)

        def register(handler: Handler | Route) -> Route:
            route = made(handler)
            self.load(route)
            return route

        return register

    def load(self, *routes: Route | Iterable[Route]) -> None:
        """Register routes, one by one or in lists. Those that are registered already stay.

        Raises:
            DuplicateRouteError: Another route has that path, or one that matches the same.
            TypeError: Something that `websocket` has not made.
        """
        for each in routes:
            for route in [each] if isinstance(each, Route) else each:
                self._register(route)

    def _register(self, route: Route) -> None:
        if not isinstance(route, Route) or not route.path:
            raise TypeError(f"expected a route made by @websocket('/path'), got {route!r}")
        if any(route is each for each in self._loaded):
            return
        made = SocketRoute(route.path, route.endpoint(), name=None)
        try:
            self.router.add(made)
        except RoutingError as error:
            raise DuplicateRouteError(str(error)) from error
        self._loaded.append(route)

    @asynccontextmanager
    async def test(self) -> AsyncIterator[TestingContext]:
        """Run the application for a test: `async with app.test() as t, t.websocket("/") as ws:`.

        Yields what connects to it; see `telex.testing.AsyncTestClient`, which this is built on,
        for what is raised.
        """
        from telex.compat.view._testing import TestingContext
        from telex.testing import AsyncTestClient

        async with AsyncTestClient(self) as client:
            yield TestingContext(client)


def new_app(**options: Any) -> App:
    """Return a new application.

    Args:
        **options: Those of `telex.App`, `http` and `debug` for example.
    """
    return App(**options)


def _bad_request(_: WebSocket, exc: BindingError) -> NoReturn:
    """Tell the client what is wrong with the inputs, as Telex does with another status."""
    errors = encode_json({"errors": exc.errors})
    raise Reject(400, errors, {"content-type": "application/json"})
