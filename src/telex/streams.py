"""`Stream`: an async generator whose items go to the client, one message each.

    @app.websocket_stream("/ticks/{symbol}")
    async def ticks(symbol: str):
        async for tick in market.ticks(symbol):
            yield tick

The connection is accepted; what the client sends is read and dropped. When it leaves, the
generator is closed at once, also while it waits for something, and its `finally` blocks run. A
client that reads slowly slows the generator down. A client that cannot use WebSockets gets the
same items as Server-Sent Events, see `telex.routing`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

from telex._state import Phase
from telex._types import GIVE_WAY, LABELS_KEY
from telex.binding import bind, describe, innermost, needs_of
from telex.context import current
from telex.websockets import WebSocket, link_of

_KINDS: Final = (("id", str), ("event", str), ("retry", int))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What belongs to an item besides its data, see `StreamEvent`."""

    id: str | None = None
    event: str | None = None
    retry: int | None = None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An item of a stream with what Server-Sent Events say besides (HTML §9.2.6).

    Over a WebSocket only the data is sent.

    Args:
        data: The item.
        id: What a client that connects again sends as `Last-Event-ID`; `None`: items are counted.
        event: The type of the event, `None` for `message`.
        retry: Milliseconds after which a client that was cut off connects again, `None`: its own.

    Raises:
        TypeError: An id or event that is no `str`, a `retry` that is no `int`.
    """

    data: Any
    id: str | None = None
    event: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        # Over a WebSocket nobody would ever notice.
        for name, kind in _KINDS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} of a StreamEvent must be {kind.__name__}, not {value!r}")


class Labels(Protocol):
    """Who wants to know."""

    def next(self, label: Label) -> None:
        """Take what belongs to the next message."""


class Stream:
    """An async generator function as an endpoint that sends its items.

    Args:
        fn: The function. Its parameters are filled as those of a handler are.

    Raises:
        TypeError: It is no async generator function, or has a parameter that nothing can fill.
    """

    def __init__(self, fn: Callable[..., AsyncGenerator[Any, None]]) -> None:
        if not inspect.isasyncgenfunction(innermost(fn)):
            raise TypeError(f"stream {describe(fn)} must be an async generator function")
        functools.update_wrapper(self, fn)

        async def run(*args: Any, **kwargs: Any) -> None:
            async with aclosing(fn(*args, **kwargs)) as items:
                await _send_all(current.get(), items)

        self._run = bind(run, fn)

    @property
    def needs(self) -> Mapping[str, str]:
        """What must be in the path, and who asks for it."""
        return needs_of(self._run)

    async def __call__(self) -> None:
        """Serve the current connection until it, or the generator, ends."""
        await self._run()


async def _send_all(ws: WebSocket, items: AsyncGenerator[Any, None]) -> None:
    if not link_of(ws).progress.open:
        await ws.accept()
    labels: Labels | None = ws.scope.get(LABELS_KEY)
    sent = 0
    async with ws.tasks() as tasks:
        # Somebody has to read, or what the client says would hide that it leaves.
        _ = tasks.start(_drop_all(ws))
        async for item in items:
            event = item if isinstance(item, StreamEvent) else None
            if link_of(ws).progress.application is Phase.DISCONNECTED:
                # The generator itself has closed, or somebody did while it was handing this over.
                return
            if labels is not None:
                labels.next(Label() if event is None else _label(event))
            await ws.send_value(item if event is None else event.data)
            sent += 1
            if not sent % GIVE_WAY:
                # Servers take what fits into their buffer in no time, and a generator that has it
                # all at hand waits for nothing either.
                await asyncio.sleep(0)


async def _drop_all(ws: WebSocket) -> None:
    async for _ in ws:
        pass


def _label(event: StreamEvent) -> Label:
    return Label(id=event.id, event=event.event, retry=event.retry)
