"""Lifespan: the application's own context manager, and that of the HTTP application inside it.

ASGI specification, "Lifespan Protocol".
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from telex._types import ASGIApp, Message, Receive, Scope, Send

log: Final = logging.getLogger("telex")

LifespanContext = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]
"""Called with the application; what it yields, if anything, is added to every scope's state."""


async def serve_lifespan(
    context: AbstractAsyncContextManager[None], receive: Receive, send: Send
) -> None:
    """Answer a lifespan scope: enter the context at start-up, leave it at shutdown.

    Raises:
        Exception: What the context raised; the server was told before.
    """
    await receive()
    phase = "startup"
    try:
        async with context:
            await send({"type": "lifespan.startup.complete"})
            phase = "shutdown"
            await receive()
    except BaseException:
        await send({"type": f"lifespan.{phase}.failed", "message": traceback.format_exc()})
        raise
    await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def inner_lifespan(app: ASGIApp, scope: Scope) -> AsyncIterator[None]:
    """Run the lifespan of another application for as long as the context is open.

    An application that knows no lifespan (it raises, or returns, before it answers) is left
    alone, as servers do.

    Raises:
        RuntimeError: Its start-up or shutdown failed; the text is what it reported.
    """
    inner = _InnerLifespan(app, {**scope})
    await inner.startup()
    try:
        yield
    finally:
        await inner.shutdown()


class _InnerLifespan:
    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._app = app
        self._scope = scope
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="telex lifespan")
        await self._ask("startup")

    async def shutdown(self) -> None:
        assert self._task is not None
        if not self._task.done():
            await self._ask("shutdown")
            await asyncio.wait((self._task,))

    async def _ask(self, phase: str) -> None:
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        answer = await self._answers.get()
        if answer is not None and answer["type"] == f"lifespan.{phase}.failed":
            raise RuntimeError(
                f"the {phase} of the HTTP application failed: {answer.get('message', '')}"
            )

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._events.get, self._answers.put)
        except Exception as exc:
            log.debug("the HTTP application has no lifespan: %r", exc)
        finally:
            self._answers.put_nowait(None)
