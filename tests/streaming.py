"""Applications with one stream, which count their generators."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import types
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from telex import App

Generator = AsyncGenerator[Any, None]


@dataclass
class Lives:
    """How many generators have begun, have ended, and what they have yielded."""

    begun: int = 0
    ended: int = 0
    yielded: int = 0

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """One generator; ending takes it a while."""
        self.begun += 1
        try:
            yield
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.ended += 1

    @property
    def open(self) -> int:
        return self.begun - self.ended


def stream_app(fn: Callable[..., Generator], path: str = "/", **options: Any) -> App:
    """Return an application with one stream."""
    app = App(**options)
    app.websocket_stream(path)(fn)
    return app


def of(*items: Any) -> App:
    """Return an application that streams these."""

    async def stream() -> Generator:
        for item in items:
            yield item

    return stream_app(stream)


def waiting(lives: Lives) -> App:
    """Return an application that sends one item and then waits for what never comes."""

    async def stream() -> Generator:
        async with lives.one():
            yield "first"
            await asyncio.Event().wait()

    return stream_app(stream)


def pouring(lives: Lives, item: str = "item") -> App:
    """Return an application that never waits."""

    async def stream() -> Generator:
        async with lives.one():
            while True:
                lives.yielded += 1
                yield item

    return stream_app(stream)


def open_generators() -> int:
    """Count the generators of streams that were begun and are not at their end."""
    gc.collect()
    return sum(
        isinstance(each, types.AsyncGeneratorType)
        and each.__qualname__.endswith("<locals>.stream")
        and each.ag_frame is not None
        for each in gc.get_objects()
    )
