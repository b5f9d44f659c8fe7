"""What `app.test()` gives: the client's side of connections to the application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

from telex.testing import AsyncTestClient, AsyncTestSession

T = TypeVar("T")


class TestingContext:
    """Connects to an application that runs."""

    __test__ = False

    def __init__(self, client: AsyncTestClient) -> None:
        self._client = client

    @asynccontextmanager
    async def websocket(self, route: str, **options: Any) -> AsyncIterator[VirtualWebSocket]:
        """Connect for the length of a block, see `telex.testing.AsyncTestClient.websocket`.

        Args:
            route: A path with an optional query.
            **options: Those of the client.
        """
        async with self._client.websocket(route, **options) as session:
            yield VirtualWebSocket(session)


class VirtualWebSocket:
    """The client's end of a connection."""

    __test__ = False

    def __init__(self, session: AsyncTestSession) -> None:
        self._session = session

    async def send(self, message: str | bytes) -> None:
        """Send a text, or a binary message, see `telex.testing.AsyncTestSession.send_text`."""
        await self._session.send_value(message)

    @overload
    async def receive(self) -> str: ...
    @overload
    async def receive(self, tp: type[T]) -> T: ...
    async def receive(self, tp: Any = str) -> Any:
        """Return the next message, see `telex.testing.AsyncTestSession.receive_as`."""
        return await self._session.receive_as(tp)

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()
