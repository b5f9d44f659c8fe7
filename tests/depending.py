"""Applications with one handler, as tests of dependencies begin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from clients import connected
from telex import App, websocket
from telex._types import ASGIApp
from telex.lifecycle import Endpoint


def serving(handler: Callable[..., Any], path: str = "/", **options: Any) -> App:
    """An application with this handler alone."""
    app = App()
    app.websocket(path, **options)(handler)
    return app


async def handed(app: ASGIApp, url: str = "/") -> Any:
    """What the handler sends first."""
    async with connected(app, url) as ws:
        return await ws.receive_json()


def name_of(exc: BaseException | None) -> str:
    """The name of the class of an exception."""
    return "None" if exc is None else type(exc).__name__


def cancelling_into(
    log: list[Any], after: asyncio.Event, times: int = 1
) -> Callable[[Endpoint], Endpoint]:
    """A socket middleware that cancels the handler as a server does that stops."""

    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> None:
            task = asyncio.ensure_future(endpoint())
            await after.wait()
            for _ in range(times):
                task.cancel()
                for _ in range(3):
                    await asyncio.sleep(0)
            await asyncio.wait((task,))
            log.append("cancelled" if task.cancelled() else name_of(task.exception()))
            if not websocket.close_code:
                await websocket.close(4000)

        return wrapper

    return middleware
