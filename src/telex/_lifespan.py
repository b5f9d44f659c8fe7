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

STOP_TIMEOUT: Final = 1.0
"""Seconds the lifespan of the HTTP application may go on after its last answer."""

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
async def inner_lifespan(
    app: ASGIApp, scope: Scope, *, name: str = "the HTTP application", strict: bool = False
) -> AsyncIterator[None]:
    """Run the lifespan of another application for as long as the context is open.

    An application that knows no lifespan (it raises, or returns, before it answers) is left
    alone, as servers do.

    Args:
        app: The application.
        scope: The lifespan scope; it gets a copy.
        name: What it is called in error texts and in the log.
        strict: Raise also what it raised without reporting it. Servers only log that.

    Raises:
        RuntimeError: Its start-up or shutdown failed; the text is what it reported, the cause
            what it raised, if it did.
        Exception: What it raised instead, if `strict`.
    """
    inner = _InnerLifespan(app, {**scope}, name)
    try:
        await inner.ask("startup")
        try:
            yield
        finally:
            await inner.ask("shutdown")
    finally:
        await inner.stop()
    if strict and inner.unreported is not None:
        raise inner.unreported


class _InnerLifespan:
    """The other application as a task, with this side of its `receive` and `send`."""

    def __init__(self, app: ASGIApp, scope: Scope, name: str) -> None:
        self._app = app
        self._scope = scope
        self._name = name
        self._failure: Exception | None = None
        self.unreported: Exception | None = None
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self._last_answer = ""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="telex lifespan")

    async def ask(self, phase: str) -> None:
        if self._task.done():
            return
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        answer = await self._answers.get()
        if answer is not None and answer["type"] == f"lifespan.{phase}.failed":
            await self.stop()
            raise RuntimeError(
                f"the {phase} of {self._name} failed: {answer.get('message', '')}"
            ) from self._failure

    async def stop(self) -> None:
        """Let the task come to its end; one that has more to do than it said is cancelled."""
        _, running = await asyncio.wait((self._task,), timeout=STOP_TIMEOUT)
        for task in running:
            task.cancel()
            await asyncio.wait((task,), timeout=STOP_TIMEOUT)

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._events.get, self._answer)
        except Exception as exc:
            if not self._last_answer:
                log.debug("%s has no lifespan: %r", self._name, exc)
            elif not self._last_answer.endswith(".failed"):
                log.exception("the lifespan of %s failed", self._name)
                self.unreported = exc
            self._failure = exc
        finally:
            self._answers.put_nowait(None)

    async def _answer(self, message: Message) -> None:
        self._last_answer = message["type"]
        self._answers.put_nowait(message)
