"""ASGI middleware around an application: Starlette's `Middleware` entries, the first outermost."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakSet

from starlette.middleware import Middleware

from telex._types import ASGIApp

log: Final = logging.getLogger("telex")

_SKIPS_WEBSOCKETS: Final = {
    "starlette.middleware.base.BaseHTTPMiddleware": "write it as ASGI middleware, or use "
    "socket_middlewares or connection_middleware",
    "starlette.middleware.cors.CORSMiddleware": "CORS does not apply to WebSockets; "
    "allowed_origins does",
}
"""Middleware that passes WebSockets by, and what does the job there."""

_warned: Final[WeakSet[Middleware]] = WeakSet()
"""Entries that were warned about: a route builds its stack again for each group it is put in."""


def wrap_app(app: ASGIApp, middleware: Iterable[Middleware], where: str) -> ASGIApp:
    """Return an application with middleware around it, the first one outermost.

    Middleware that is known to pass WebSockets by is put there all the same, with one warning for
    each entry.

    Args:
        app: The application.
        middleware: Starlette's entries: a class and its further arguments.
        where: What it is put around, for the warning.

    Raises:
        TypeError: Something that is no entry.
    """
    entries = tuple(middleware)
    for entry in reversed(entries):
        if not isinstance(entry, Middleware):
            raise TypeError(f"middleware of {where}: {entry!r} is no starlette Middleware(...)")
        _warn(entry, where)
        cls: Any = entry.cls
        app = cls(app, *entry.args, **entry.kwargs)
    return app


def _warn(entry: Middleware, where: str) -> None:
    cls: Any = entry.cls
    # By name: importing the classes would cost everybody, to tell a few.
    names = (f"{each.__module__}.{each.__qualname__}" for each in getattr(cls, "__mro__", ()))
    advice = next((_SKIPS_WEBSOCKETS[name] for name in names if name in _SKIPS_WEBSOCKETS), None)
    if advice is not None and entry not in _warned:
        _warned.add(entry)
        log.warning("%s of %s passes WebSockets by: %s", cls.__qualname__, where, advice)
