"""After the end, as Lilya and genro-asgi have it.

The core says of every call after the client has left that it has left, `WebSocketDisconnect`, so
that a reader and a writer see one kind of exception. There it is said once; who goes on makes a
mistake, `WebSocketRuntimeError`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from telex._iterator import MessageIterator
from telex.exceptions import (
    WebSocketDisconnect,
    WebSocketHandshakeError,
    WebSocketRuntimeError,
)
from telex.websockets import WebSocket

Item = TypeVar("Item")

_CALLS: Final = (
    *("receive", "receive_text", "receive_bytes", "receive_json", "receive_as", "receive_typed"),
    *("send", "send_text", "send_bytes", "send_json", "send_value", "send_typed"),
    *("pair", "expect", "request"),
)


class EndedOnce(WebSocket):
    """A connection whose end is told once: calls after that raise `WebSocketRuntimeError`.

    A reader that waits when the client leaves gets `WebSocketDisconnect`, and so does a sender who
    is the first to find it out.
    """

    def _iterate(self, convert: Callable[[str | bytes], Item]) -> MessageIterator[Item]:
        return _OnceIterator(self._link, convert)


class _OnceIterator(MessageIterator[Item]):
    """Iterates until the connection ends; over one that has ended it cannot."""

    __slots__ = ()

    def _over(self, error: WebSocketHandshakeError) -> Exception:
        raised = super()._over(error)
        return _too_late("iterate") if isinstance(raised, WebSocketDisconnect) else raised


def _once(
    call: Callable[..., Awaitable[Any]],
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(call)
    async def checked(self: EndedOnce, *args: Any, **kwargs: Any) -> Any:
        if self._link.progress.peer_gone:
            raise _too_late(call.__name__)
        return await call(self, *args, **kwargs)

    return checked


def _too_late(action: str) -> WebSocketRuntimeError:
    return WebSocketRuntimeError(f"cannot {action}: the client has left, which was said before")


for _name in _CALLS:
    setattr(EndedOnce, _name, _once(getattr(WebSocket, _name)))
