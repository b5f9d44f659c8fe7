"""After the end, as Lilya and genro-asgi have it.

The core says of every call after the client has left that it has left, `WebSocketDisconnect`, so
that a reader and a writer see one kind of exception. There it is said once; who goes on makes a
mistake, `WebSocketRuntimeError`. What is raised here is both: it is caught as their documents say,
and a handler that it ends has ended because the client left, which is no error.
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
    """A connection whose end is told once: calls after that raise `ToldBefore`.

    A reader that waits when the client leaves gets `WebSocketDisconnect`, and so does a sender who
    is the first to find it out.
    """

    def _iterate(self, convert: Callable[[str | bytes], Item]) -> MessageIterator[Item]:
        return _OnceIterator(self._link, convert)


class ToldBefore(WebSocketDisconnect, WebSocketRuntimeError):
    """The client has left, which this connection has said before; nothing was read or sent.

    Attributes:
        action: What was called.
    """

    def __init__(self, action: str, code: int = 1000, reason: str | None = None) -> None:
        self.action = action
        super().__init__(code, reason)

    def __str__(self) -> str:
        return f"cannot {self.action}: the client has left, which was said before"


class _OnceIterator(MessageIterator[Item]):
    """Iterates until the connection ends; over one that has ended it cannot."""

    __slots__ = ()

    def _over(self, error: WebSocketHandshakeError) -> Exception:
        raised = super()._over(error)
        if not isinstance(raised, WebSocketDisconnect):
            return raised
        return ToldBefore("iterate", raised.code, raised.reason)


def _once(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(call)
    async def checked(self: EndedOnce, *args: Any, **kwargs: Any) -> Any:
        progress = self._link.progress
        if progress.peer_gone:
            gone = progress.disconnect()
            raise ToldBefore(call.__name__, gone.code, gone.reason)
        return await call(self, *args, **kwargs)

    return checked


def _check_calls(cls: type[EndedOnce]) -> None:
    for name in _CALLS:
        setattr(cls, name, _once(getattr(WebSocket, name)))


_check_calls(EndedOnce)
