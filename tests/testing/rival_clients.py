"""The test clients that are compared, each with what a test needs of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from testing.rival_apps import FRAMEWORKS

PATIENCE = 0.25
"""Seconds the clients wait that can be told how long."""

TIMED = ", with timeouts"
"""Marks runs in which a client is told at every call that takes it how long to wait."""


@dataclass
class Session:
    """What a test does with the session of any client."""

    receive_text: Callable[[], Awaitable[object]]
    stop_reading: Callable[[], object]


Connect = Callable[[], AbstractAsyncContextManager[Session]]


def _blocking(call: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        return call()

    return run


def _not_offered() -> None:
    raise NotImplementedError


@asynccontextmanager
async def _block(opened: AbstractContextManager[Any], **options: Any) -> AsyncIterator[Session]:
    with opened as ws:
        yield Session(
            _blocking(partial(ws.receive_text, **options)),
            getattr(ws, "pause_reading", _not_offered),
        )


@asynccontextmanager
async def _starlette(app: Any, timed: bool) -> AsyncIterator[Connect]:
    from starlette.testclient import TestClient

    with TestClient(app) as client:
        yield lambda: _block(client.websocket_connect("/"))


@asynccontextmanager
async def _litestar(app: Any, timed: bool) -> AsyncIterator[Connect]:
    from litestar.testing import TestClient

    patience = PATIENCE if timed else None
    with TestClient(app, timeout=patience) as client:
        yield lambda: _block(client.websocket_connect("/"), timeout=patience)


@asynccontextmanager
async def _litestar_async(app: Any, timed: bool) -> AsyncIterator[Connect]:
    from litestar.testing import AsyncTestClient

    patience = PATIENCE if timed else None

    @asynccontextmanager
    async def connect() -> AsyncIterator[Session]:
        async with _block(await client.websocket_connect("/"), timeout=patience) as ws:
            yield ws

    async with AsyncTestClient(app, timeout=patience) as client:
        yield connect


@asynccontextmanager
async def _telex(app: Any, timed: bool) -> AsyncIterator[Connect]:
    from telex.testing import AsyncTestClient

    @asynccontextmanager
    async def connect() -> AsyncIterator[Session]:
        async with client.websocket("/") as ws:
            yield Session(ws.receive_text, ws.pause_reading)

    async with AsyncTestClient(app, timeout=PATIENCE) as client:
        yield connect


@asynccontextmanager
async def _telex_sync(app: Any, timed: bool) -> AsyncIterator[Connect]:
    from telex.testing import TestClient

    with TestClient(app, timeout=PATIENCE) as client:
        yield lambda: _block(client.websocket("/"))


def _finish(scene: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing, without an event loop in its way."""
    try:
        scene.send(None)
    except StopIteration:
        return
    raise AssertionError("a synchronous client awaited something")


@dataclass(frozen=True)
class Client:
    """One client.

    Attributes:
        title: What the docs call it.
        packages: What its outcomes depend on.
        applications: The frameworks whose applications it is given.
        imports: What is imported before the time that is measured.
        open: Enters the client and yields what connects.
        run: Runs a scene to its end.
        rest: Seconds pass for what runs in the background.
    """

    title: str
    packages: tuple[str, ...]
    applications: tuple[str, ...]
    imports: tuple[str, ...]
    open: Callable[[Any, bool], AbstractAsyncContextManager[Connect]]
    run: Callable[[Coroutine[Any, Any, None]], object] = _finish
    rest: Callable[[float], Awaitable[object]] = lambda seconds: _blocking(
        partial(time.sleep, seconds)
    )()


_LITESTAR = ("ASGI", "ASGI" + TIMED, "Litestar", "Litestar" + TIMED)
_ALL = tuple(FRAMEWORKS)

CLIENTS = {
    "starlette": Client(
        "Starlette, FastAPI",
        ("starlette", "fastapi", "anyio"),
        ("ASGI", "Starlette", "FastAPI"),
        ("starlette.testclient",),
        _starlette,
    ),
    "litestar": Client(
        "Litestar", ("litestar", "anyio"), _LITESTAR, ("litestar.testing",), _litestar
    ),
    "litestar-async": Client(
        "Litestar, async",
        ("litestar", "anyio"),
        _LITESTAR,
        ("litestar.testing",),
        _litestar_async,
        asyncio.run,
        asyncio.sleep,
    ),
    "telex": Client(
        "Telex, async", (), _ALL, ("telex.testing",), _telex, asyncio.run, asyncio.sleep
    ),
    "telex-sync": Client("Telex", (), _ALL, ("telex.testing",), _telex_sync),
}
