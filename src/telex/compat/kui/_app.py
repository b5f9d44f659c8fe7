"""The application as Kui has it: with Kui's `WebSocket`, and Kui's order of middlewares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from telex import context, routing
from telex.app import App
from telex.compat.kui._routing import Router
from telex.compat.kui._websocket import WebSocket

websocket: Final = cast(WebSocket, context.websocket)
"""The connection whose handler is running; see `telex.context`."""


class Kui(App):
    """A WebSocket application; see `telex.App` for its arguments.

    Of `socket_middlewares` the last one is the outermost, as in every list of the dialect.

    Args:
        lifespan: `lifespan(app)`, an async generator function that yields once, or what returns
            an asynchronous context manager.
        **options: The arguments of `telex.App`.
    """

    websocket_class = WebSocket
    router_class = Router

    _router: Router

    def __init__(
        self,
        *args: Any,
        lifespan: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        if lifespan is not None and inspect.isasyncgenfunction(lifespan):
            lifespan = asynccontextmanager(lifespan)
        super().__init__(*args, lifespan=lifespan, **options)

    @property
    def router(self) -> Router:
        """The router; `app.router <<= route` adds to it."""
        return self._router

    @router.setter
    def router(self, router: routing.Router) -> None:
        cast(property, App.router).__set__(self, router)
