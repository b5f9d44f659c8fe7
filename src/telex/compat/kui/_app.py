"""The application as Kui has it: with Kui's `WebSocket`, and Kui's order of middlewares."""

from __future__ import annotations

from typing import Final, cast

from telex import context, routing
from telex.app import App
from telex.compat.kui._routing import Router
from telex.compat.kui._websocket import WebSocket

websocket: Final = cast(WebSocket, context.websocket)
"""The connection whose handler is running; see `telex.context`."""


class Kui(App):
    """A WebSocket application; see `telex.App` for its arguments.

    Of `socket_middlewares` the last one is the outermost, as in every list of the dialect.
    """

    websocket_class = WebSocket
    router_class = Router

    _router: Router

    @property
    def router(self) -> Router:
        """The router; `app.router <<= route` adds to it."""
        return self._router

    @router.setter
    def router(self, router: routing.Router) -> None:
        cast(property, App.router).__set__(self, router)
