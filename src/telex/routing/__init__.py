"""Routing: which handler serves a path, and which path belongs to a name."""

from __future__ import annotations

from telex.routing._convertors import Convertor, register_convertor
from telex.routing._endpoints import SocketMiddleware
from telex.routing._groups import Routes
from telex.routing._pattern import Pattern
from telex.routing._router import Router
from telex.routing._routes import Mount, SocketRoute

__all__ = [
    "Convertor",
    "Mount",
    "Pattern",
    "Router",
    "Routes",
    "SocketMiddleware",
    "SocketRoute",
    "register_convertor",
]
