"""Sending what a function that was called for a message gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from telex._state import Phase
from telex.values import payload
from telex.websockets import WebSocket, link_of


def replier(ws: WebSocket) -> Callable[[Any], Awaitable[None] | None]:
    """Return what sends values on a connection, as `send_value` does.

    What it returns is awaited if it is something: most messages need no waiting, and so no
    coroutine. The codec is asked for once, with the first value, for it is known after accept.

    When we have closed, a function that ends with a value has done nothing wrong: that is dropped.
    One that goes on giving values is told by a `WebSocketRuntimeError`, or it might never end.
    """
    progress, write = link_of(ws).progress, link_of(ws).outlet.write
    codec = None
    dropped = False

    def reply(value: Any) -> Awaitable[None] | None:
        nonlocal codec, dropped
        if not progress.open and progress.application is Phase.DISCONNECTED and not dropped:
            dropped = True
            return None
        if codec is None:
            codec = ws.codec
        return write(payload(codec, value))

    return reply
