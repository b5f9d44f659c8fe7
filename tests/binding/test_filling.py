"""Filling arguments: what is shared, for whom, and what ends it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

import pytest

from clients import connected, ending
from depending import serving
from opened import opened
from peer import Peer
from telex import Depends, WebSocket
from telex.binding._filling import Filling, Key, Over, identity
from telex.binding._generators import Open
from telex.binding._plan import build_plan
from telex.binding._steps import Step
from telex.params import DependencyScope

log: list[Any] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


def counted() -> int:
    log.append("called")
    return len(log)


def left(it: Annotated[int, Depends(counted)]) -> int:
    return it


def right(it: Annotated[int, Depends(counted)]) -> int:
    return it


async def test_two_that_depend_on_the_same_get_the_same() -> None:
    async def handler(
        ws: WebSocket, a: Annotated[int, Depends(left)], b: Annotated[int, Depends(right)]
    ) -> None:
        await ws.accept()
        await ws.send_json([a, b])

    async with connected(serving(handler)) as ws:
        assert await ws.receive_json() == [1, 1]


async def test_no_two_connections_share() -> None:
    async def handler(ws: WebSocket, it: Annotated[int, Depends(counted)]) -> None:
        await ws.accept()
        await ws.send_json(it)
        await ws.receive_text()

    app = serving(handler)
    async with connected(app) as first, connected(app) as second:
        assert await first.receive_json() == 1
        assert await second.receive_json() == 2


async def test_who_wants_one_of_its_own_gets_it() -> None:
    async def handler(
        ws: WebSocket,
        a: Annotated[int, Depends(counted)],
        b: Annotated[int, Depends(counted, use_cache=False)],
        c: Annotated[int, Depends(counted)],
    ) -> None:
        await ws.accept()
        await ws.send_json([a, b, c])

    async with connected(serving(handler)) as ws:
        assert await ws.receive_json() == [1, 2, 1]


async def test_none_is_a_value_that_is_shared() -> None:
    def nothing() -> None:
        log.append("called")

    async def handler(
        ws: WebSocket, a: Annotated[None, Depends(nothing)], b: Annotated[None, Depends(nothing)]
    ) -> None:
        await ws.accept()

    await ending(serving(handler))
    assert log == ["called"]


async def test_a_method_is_the_same_however_often_it_is_asked_for() -> None:
    class Service:
        def __call__(self) -> None: ...

        def get(self) -> int:
            return counted()

    service = Service()

    async def handler(
        ws: WebSocket,
        a: Annotated[int, Depends(service.get)],
        b: Annotated[int, Depends(service.get)],
    ) -> None:
        await ws.accept()
        await ws.send_json([a, b])

    async with connected(serving(handler)) as ws:
        assert await ws.receive_json() == [1, 1]


# One call by itself


class Alone(Filling):
    """Fills the arguments of a function that depends on nothing of a request."""

    def __init__(self, ws: WebSocket) -> None:
        super().__init__(ws, {})
        self.open: list[Open] = []
        self.scopes: list[DependencyScope] = []

    async def arguments(self, fn: Any) -> dict[str, Any]:
        _, named = await self._arguments(build_plan(fn))
        return named

    def _opened(self, scope: DependencyScope) -> list[Open]:
        self.scopes.append(scope)
        return self.open

    def _read(self, step: Step) -> Any:
        return "read"


async def alone() -> tuple[Alone, WebSocket, Peer]:
    ws, peer = await opened()
    return Alone(ws), ws, peer


async def kept() -> AsyncIterator[str]:
    yield "kept"


async def test_each_kind_of_argument_is_filled() -> None:
    async def fn(
        ws: WebSocket,
        room: str,
        a: Annotated[int, Depends(counted)],
        b: Annotated[str, Depends(kept)],
    ) -> None: ...

    filling, ws, _ = await alone()
    assert await filling.arguments(fn) == {"ws": ws, "room": "read", "a": 1, "b": "kept"}
    assert filling.scopes == ["connection"]
    [kept_open] = filling.open
    assert kept_open.key == Key(kept, kept, "connection")


async def test_what_is_made_twice_is_made_once_unless_asked_for() -> None:
    async def fn(
        a: Annotated[int, Depends(counted)],
        b: Annotated[int, Depends(counted)],
        c: Annotated[int, Depends(counted, use_cache=False)],
    ) -> None: ...

    filling, _, _ = await alone()
    assert await filling.arguments(fn) == {"a": 1, "b": 1, "c": 2}
    assert await filling.arguments(fn) == {"a": 1, "b": 1, "c": 3}


@pytest.mark.parametrize("kind", ["function", "generator", "generator that does not yield"])
async def test_after_one_that_ended_the_connection_nothing_more_is_called(kind: str) -> None:
    async def function(ws: WebSocket) -> None:
        await ws.close(4000)

    async def generator(ws: WebSocket) -> AsyncIterator[None]:
        await ws.close(4000)
        yield

    async def barren(ws: WebSocket) -> AsyncIterator[None]:
        await ws.close(4000)
        if ws.close_code is None:
            yield

    closing: Any = {"function": function, "generator": generator}.get(kind, barren)

    async def fn(
        a: Annotated[None, Depends(closing)], b: Annotated[int, Depends(counted)]
    ) -> None: ...

    filling, _, _ = await alone()
    with pytest.raises(Over):
        await filling.arguments(fn)
    assert log == []
    assert len(filling.open) == (kind == "generator")
    async with AsyncExitStack() as stack:
        for each in filling.open:
            stack.push_async_exit(each.manager)


async def test_a_generator_that_does_not_yield_is_named() -> None:
    def barren() -> Iterator[None]:
        yield from ()

    async def fn(it: Annotated[None, Depends(barren)]) -> None: ...

    filling, _, _ = await alone()
    with pytest.raises(RuntimeError, match=r"barren.* did not yield"):
        await filling.arguments(fn)


async def test_another_runtime_error_of_a_generator_is_its_own() -> None:
    async def fails() -> AsyncIterator[None]:
        if log == []:
            raise RuntimeError("out of order")
        yield

    async def fn(it: Annotated[None, Depends(fails)]) -> None: ...

    filling, _, _ = await alone()
    with pytest.raises(RuntimeError, match="out of order"):
        await filling.arguments(fn)


async def test_what_can_be_awaited_but_is_no_coroutine_is_the_value() -> None:
    future = asyncio.get_running_loop().create_future()

    async def fn(it: Annotated[Any, Depends(lambda: future)]) -> None: ...

    filling, _, _ = await alone()
    assert await filling.arguments(fn) == {"it": future}


def test_what_cannot_be_hashed_is_known_by_what_it_is() -> None:
    unhashable: list[int] = []
    assert identity(counted) is counted
    assert identity(unhashable) == id(unhashable)
