"""The table behind `telex routes`."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_ENDLESS: Final = 10_000


class NoRoutes(Exception):
    """The application has no Telex router; the message says what it is."""


def print_routes(target: str, app: object) -> None:
    """Write one line a route: path, name, endpoint, kind and middlewares.

    Raises:
        NoRoutes: The application is not a Telex one.
    """
    walk = getattr(getattr(app, "router", app), "walk", None)
    if walk is None:
        raise NoRoutes(f"{target} is a {type(app).__name__}; only Telex routes can be listed")
    rows = [_row(path, route) for path, route in walk()]
    console = Console(highlight=False)
    if not rows:
        console.print(f"{target} has no WebSocket routes.")
        return
    table = Table(box=None, header_style="bold")
    for heading in ("Path", "Name", "Endpoint", "Kind", "Middlewares"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    if not console.is_terminal:
        # In a file or a pipe a route stays on its line, however long it is.
        console.width = _ENDLESS
    console.print(table)


def _row(path: str, route: Any) -> tuple[str, str, str, str, str]:
    endpoint = getattr(route, "endpoint", None)
    if endpoint is None:
        kind, endpoint = "mount", route.app
    else:
        kind = "view" if isinstance(endpoint, type) else "function"
    middlewares: Iterable[object] = getattr(route, "middlewares", ())
    return (
        path,
        getattr(route, "name", None) or "",
        _where(endpoint),
        kind,
        ", ".join(_where(middleware) for middleware in middlewares),
    )


def _where(thing: Any) -> str:
    while isinstance(thing, functools.partial):
        thing = thing.func
    if not hasattr(thing, "__qualname__"):
        thing = type(thing)
    return f"{thing.__module__}.{thing.__qualname__}"
