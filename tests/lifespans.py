"""The server's side of one lifespan.

server = LifespanServer(app)
assert await server.startup() == "startup.complete"
assert await server.shutdown() == "shutdown.complete"
"""

from __future__ import annotations

import asyncio
from typing import Any

from opened import soon
from peer import DEADLINE
from telex._types import ASGIApp, Message


class LifespanServer:
    """What a server does with an application around all its connections."""

    def __init__(self, app: ASGIApp, **scope: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, **scope}
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answered = asyncio.Event()
        self.task = asyncio.ensure_future(self._run(app))

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self._events.get, self._send)
        finally:
            self._answered.set()

    async def _send(self, message: Message) -> None:
        self.sent.append(dict(message))
        self._answered.set()

    async def startup(self) -> str:
        return await self._ask("startup")

    async def shutdown(self) -> str:
        answer = await self._ask("shutdown")
        await asyncio.wait((self.task,), timeout=DEADLINE)
        assert self.task.done()
        return answer

    async def _ask(self, phase: str) -> str:
        self._answered.clear()
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        await soon(self._answered.wait())
        kind: str = self.sent[-1]["type"]
        return kind.removeprefix("lifespan.")
