"""Lilya's `lilya.apps`: `Lilya`.

It is a `telex.App` whose handlers get the connection of `telex.compat.lilya.websockets`, and whose
routes are those of `telex.compat.lilya.routing`. Besides Telex's arguments it takes
`dependencies`, `on_startup` and `on_shutdown`; `middleware` takes classes too.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from telex._lifespan import LifespanContext
from telex.app import App
from telex.compat.lilya.dependencies import provided
from telex.compat.lilya.routing import Router, entries
from telex.compat.lilya.websockets import WebSocket
from telex.exceptions import ImproperlyConfigured
from telex.routing._groups import Addable

__all__ = ["Lilya"]

Event = Callable[[], Any]
"""A function or coroutine function without parameters."""


class Lilya(App):
    """An application as Lilya has it.

    Args:
        routes: `WebSocketPath` and the rest of what `telex.App` takes; `None` for none.
        dependencies: What handlers can get by name; see `telex.compat.lilya.dependencies`.
        middleware: ASGI middleware around everything, the first outermost: classes, or entries
            with arguments.
        on_startup: Called in order at start-up.
        on_shutdown: Called in order at shutdown.
        lifespan: In place of these: `lifespan(app)` returns an asynchronous context manager.
        **options: The others of `telex.App`.

    Raises:
        ImproperlyConfigured: A handler must have a dependency that is missing, or there are both
            `lifespan` and one of `on_startup` and `on_shutdown`.
        RoutingError: Two routes have the same name, or match the same paths.
    """

    websocket_class = WebSocket
    router_class = Router

    def __init__(
        self,
        routes: Addable | None = None,
        *,
        dependencies: Mapping[str, Any] | None = None,
        middleware: Iterable[Any] | None = None,
        on_startup: Iterable[Event] | None = None,
        on_shutdown: Iterable[Event] | None = None,
        lifespan: LifespanContext | None = None,
        **options: Any,
    ) -> None:
        if on_startup is not None or on_shutdown is not None:
            if lifespan is not None:
                raise ImproperlyConfigured("either lifespan, or on_startup and on_shutdown")
            lifespan = _lifespan(tuple(on_startup or ()), tuple(on_shutdown or ()))
        super().__init__(middleware=[*entries(middleware)], lifespan=lifespan, **options)
        router = cast(Router, self.router)
        router.dependencies.update(provided(dependencies))
        router.add(routes or ())

    def add_websocket_route(
        self, path: str, handler: Callable[..., Any] | str, **options: Any
    ) -> None:
        """Register a handler for a path, with the options of `WebSocketPath`.

        Raises:
            ImproperlyConfigured: It must have a dependency that is missing.
            RoutingError: A bad path, or a name or path that is registered already.
            TypeError: A handler that is not async, or has a parameter that nothing can fill.
        """
        cast(Router, self.router).add_websocket_route(path, handler, **options)


def _lifespan(startup: Iterable[Event], shutdown: Iterable[Event]) -> LifespanContext:
    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        await _call(startup)
        yield
        await _call(shutdown)

    return lifespan


async def _call(events: Iterable[Event]) -> None:
    for each in events:
        done = each()
        if inspect.isawaitable(done):
            await done
