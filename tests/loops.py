"""Event loops of every kind to run a test on, and work for a task that is being cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import uvloop

from telex._uncancelled import Uncancelled

LONG = 5.0
SHORT = 0.02

Work = Coroutine[Any, Any, Any]
Loop = Callable[[Work], Any]


def _run(kind: str, work: Work) -> Any:
    factory = uvloop.new_event_loop if kind == "uvloop" else None
    with asyncio.Runner(debug=kind == "debug", loop_factory=factory) as runner:
        complaints: list[Any] = []
        runner.get_loop().set_exception_handler(lambda _, each: complaints.append(each))
        try:
            return runner.run(asyncio.wait_for(work, LONG))
        finally:
            gc.collect()
            assert complaints == []


LOOPS: Final[dict[str, Loop]] = {
    kind: functools.partial(_run, kind) for kind in ("asyncio", "debug", "uvloop")
}
"""Each runs a coroutine on an event loop of its own, and fails for what the loop complains of."""


def uncancelled(work: Work, timeout: float = LONG) -> Uncancelled[Any]:
    return Uncancelled(work, timeout, "the work")


async def turns(amount: int = 5) -> None:
    for _ in range(amount):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def in_a_task(
    work: Work, timeout: float = LONG, seen: list[str] | None = None
) -> AsyncIterator[asyncio.Task[Any]]:
    """A task in which work is done, begun and not cancelled yet; the block waits for its end."""

    async def outer() -> Any:
        try:
            return await uncancelled(work, timeout)
        except asyncio.CancelledError:
            if seen is not None:
                seen.append("cancelled")
            raise

    task = asyncio.get_running_loop().create_task(outer())
    await turns(3)
    yield task
    with contextlib.suppress(BaseException):
        await task
