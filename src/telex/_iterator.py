"""Iterating over the messages of a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Generic, TypeVar

from telex._link import Link
from telex._state import Phase
from telex.exceptions import WebSocketDisconnect, WebSocketHandshakeError

Item = TypeVar("Item")


class MessageIterator(AsyncIterator[Item], Generic[Item]):
    """Iterates over the messages of a connection until it ends.

    It holds no message: after `break`, another loop goes on with the next one, and two tasks may
    iterate at once. It ends quietly once, when the peer has left (the code is then in
    `ws.close_code`), whoever noticed that; used again, or begun after that, it raises
    `WebSocketDisconnect`. When the server has closed it always ends quietly.
    """

    __slots__ = ("_convert", "_ended", "_inbox")

    def __init__(self, link: Link, convert: Callable[[str | bytes], Item]) -> None:
        self._inbox = link.inbox
        self._convert = convert
        self._ended = link.progress.peer_gone

    def __aiter__(self) -> MessageIterator[Item]:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Item]:
        return self._inbox.iterate(self._convert, self._over)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to give back. For `contextlib.aclosing`."""

    def _over(self, error: WebSocketHandshakeError) -> Exception:
        if isinstance(error, WebSocketDisconnect):
            if self._ended:
                return error
            self._ended = True
            return StopAsyncIteration()
        if self._inbox.progress.application is Phase.DISCONNECTED:
            return StopAsyncIteration()
        return error


class Iterating:
    """What can be iterated over has a link; a subclass may have an iterator of its own."""

    _link: Link

    def _iterate(self, convert: Callable[[str | bytes], Item]) -> MessageIterator[Item]:
        return MessageIterator(self._link, convert)
