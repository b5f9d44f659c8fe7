"""The examples of other frameworks' documents as one server: `/kui/…`, `/view/…` and so on.

What is below `/kui` is in `documents_kui.APPS`: an application for each path, which it is mounted
under.
"""

from __future__ import annotations

import functools
import importlib

from telex import Mount, Router
from telex._types import Receive, Scope, Send
from telex.routing._answers import live


@functools.cache
def examples_of(system: str) -> Router:
    """Return the applications of a system, made at the first use."""
    apps = importlib.import_module(f"integration.documents_{system}").APPS
    return Router([Mount(f"/{system}{path}", app) for path, app in apps.items()])


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve what is asked for."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    else:
        await examples_of(scope["path"].split("/")[1])(scope, receive, send)
