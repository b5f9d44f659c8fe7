"""Both sides of the pages for those who come from elsewhere.

    their("starlette_echo").app

is the application of the file `starlette_echo.py` that a page shows. Our side of it is an example
with a name, `documented.example("starlette-echo").app`.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

import foreign
import pages
import telex
from clients import connected
from documented import logging_as_it_was

PAGES = sorted((pages.ROOT / "docs").glob("from-*.md"))
FILES = {
    name: code
    for path in PAGES
    for name, code in pages.files(path.read_text(encoding="utf-8")).items()
}

Handler = Callable[[Any], Awaitable[None]]


def their(name: str, **changed: str) -> Any:
    """Run a file that a page shows, with some texts replaced, as a module."""
    made = types.ModuleType(name)
    code = FILES[f"{name}.py"]
    for old, new in changed.items():
        code = code.replace(old, new)
    sys.modules[name] = made  # where Litestar looks for the names in annotations
    try:
        with logging_as_it_was():
            exec(compile(code, f"docs:{name}.py", "exec", dont_inherit=True), made.__dict__)
    finally:
        del sys.modules[name]
    return made


def starlette(handler: Handler, **options: Any) -> Any:
    return Starlette(routes=[WebSocketRoute("/", handler)], **options)


def ours(handler: Handler, **options: Any) -> telex.App:
    async def adapted(ws: telex.WebSocket) -> None:
        await handler(ws)

    return telex.App([telex.SocketRoute("/", adapted)], **options)


async def answers(app: Any, *messages: str | bytes, url: str = "/") -> list[Any]:
    """What an application says to these messages, until it closes."""
    async with connected(app, url) as ws:
        for message in messages:
            await ws.send_value(message)
        return [message async for message in ws]


def moved(name: str, **names: Any) -> dict[str, Any]:
    """Run a file that a page shows, with our imports in place of its own; return its names."""
    return foreign.Example(name, FILES[f"{name}.py"])(**names)
