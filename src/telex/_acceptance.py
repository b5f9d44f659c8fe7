"""What waits for a connection to be accepted, and is done although the accept is cut short."""

from __future__ import annotations

import asyncio

from telex._failures import report
from telex._progress import Progress


async def complete(progress: Progress) -> None:
    """Await what waits for the accept, one after the other, whatever becomes of some of them.

    Cancelling it leaves the rest to `complete_later`.

    Raises:
        Exception: What the first of those raised that failed.
    """
    failures: list[Exception] = []
    while progress.on_accept:
        try:
            await progress.on_accept.pop(0)()
        except Exception as exc:
            failures.append(exc)
    for each in failures[1:]:
        report(each, "error after an accept")
    if failures:
        raise failures[0]


def complete_later(progress: Progress) -> asyncio.Task[None] | None:
    """Do so in a task, which is returned; errors are logged. `None`: there is nothing to do."""
    if not progress.on_accept:
        return None

    async def work() -> None:
        try:
            await complete(progress)
        except Exception as exc:
            report(exc, "error after an accept")

    create = asyncio.get_running_loop().create_task
    return create(work(), name="telex acceptance", context=progress.own_context())
