"""Where a task waits, in the lines of the application and no others."""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from opened import soon, turns
from peer import Peer, make_scope
from telex import App, WebSocket
from telex.testing._parked import _is_library, describe

Work = Coroutine[Any, Any, object]
HERE = Path(__file__).name


@contextlib.asynccontextmanager
async def parked(work: Work, name: str = "it") -> AsyncIterator[asyncio.Task[Any]]:
    """Run a coroutine until it waits; cancel it afterwards."""
    task = asyncio.create_task(work, name=name)
    await turns()
    try:
        yield task
    finally:
        task.cancel()
        await soon(asyncio.wait({task}))


async def lines_of(work: Work) -> list[str]:
    """Describe where a coroutine waits; return the lines of code, without the places."""
    async with parked(work) as task:
        first, *rest = describe(task).splitlines()
    assert first == "it, waiting at"
    places, code = rest[::2], rest[1::2]
    assert all(place.startswith('  File "') and HERE in place for place in places)
    return [line.strip() for line in code]


async def for_ever() -> None:
    await asyncio.Event().wait()  # here


async def test_a_task_is_described_with_its_name_the_place_and_the_line() -> None:
    async with parked(for_ever(), "a name") as task:
        described = describe(task)
    line = for_ever.__code__.co_firstlineno + 1
    assert described == (
        f'a name, waiting at\n  File "{__file__}", line {line}, in for_ever\n'
        "    await asyncio.Event().wait()  # here"
    )


async def test_nested_coroutines_are_told_from_the_outermost_to_the_innermost() -> None:
    async def inner() -> None:
        await for_ever()

    async def outer() -> None:
        await inner()  # from outer

    assert await lines_of(outer()) == [
        "await inner()  # from outer",
        "await for_ever()",
        "await asyncio.Event().wait()  # here",
    ]


async def numbers() -> AsyncIterator[int]:
    await for_ever()  # before the first number
    yield 1


@pytest.mark.parametrize("how", ["for", "anext", "anext with a default", "athrow"])
async def test_the_inside_of_an_async_generator_is_told(how: str) -> None:
    async def with_for() -> None:
        async for _ in numbers():
            pass

    async def throwing(generator: Any) -> None:
        await generator.athrow(LookupError())

    async def catching() -> AsyncIterator[int]:
        try:
            yield 1
        except LookupError:
            await for_ever()  # before the first number

    async def consumer() -> None:
        generator: Any = numbers()
        if how == "for":
            await with_for()
        elif how == "anext":
            await anext(generator)
        elif how == "anext with a default":
            await anext(generator, None)
        else:
            generator = catching()
            await anext(generator)
            await throwing(generator)

    lines = await lines_of(consumer())
    assert lines[-2:] == [
        "await for_ever()  # before the first number",
        "await asyncio.Event().wait()  # here",
    ]
    assert len(lines) >= 3


async def test_an_async_context_manager_is_told_without_the_library_between() -> None:
    @contextlib.asynccontextmanager
    async def room() -> AsyncIterator[None]:
        await for_ever()  # entering
        yield

    async def handler() -> None:
        async with room():
            pass

    lines = await lines_of(handler())
    assert lines[0] == "async with room():"
    assert lines[1:] == ["await for_ever()  # entering", "await asyncio.Event().wait()  # here"]


async def test_an_object_that_awaits_a_coroutine_does_not_hide_it() -> None:
    class Lazy:
        def __await__(self) -> Generator[Any, Any, None]:
            return for_ever().__await__()

    async def handler() -> None:
        await Lazy()

    assert await lines_of(handler()) == ["await Lazy()", "await asyncio.Event().wait()  # here"]


async def test_generators_that_are_awaited_are_told() -> None:
    class Slow:
        def __await__(self) -> Generator[Any, Any, None]:
            yield from for_ever().__await__()  # in a generator

    @types.coroutine
    def old_style() -> Iterator[Any]:
        yield from for_ever().__await__()  # in a coroutine of old

    async def handler() -> None:
        await Slow()

    async def old_handler() -> None:
        await old_style()

    assert (await lines_of(handler()))[1] == "yield from for_ever().__await__()  # in a generator"
    told = await lines_of(old_handler())
    assert told[1] == "yield from for_ever().__await__()  # in a coroutine of old"


async def test_a_task_that_waits_for_a_future_is_told() -> None:
    async def handler() -> None:
        await asyncio.get_running_loop().create_future()  # a future

    assert await lines_of(handler()) == [
        "await asyncio.get_running_loop().create_future()  # a future"
    ]


async def test_a_task_that_waits_for_another_says_where_it_waits_itself() -> None:
    async with parked(for_ever(), "other") as other:

        async def handler() -> None:
            await asyncio.wait({other})  # for the other one

        assert await lines_of(handler()) == ["await asyncio.wait({other})  # for the other one"]


async def anyio_group() -> None:
    async with anyio.create_task_group() as group:  # the group
        group.start_soon(for_ever)


async def asyncio_group() -> None:
    async with asyncio.TaskGroup() as group:  # the group
        group.create_task(for_ever())


@pytest.mark.parametrize("grouped", [anyio_group, asyncio_group])
async def test_a_task_that_waits_for_its_group_says_so(grouped: Callable[[], Work]) -> None:
    (line,) = await lines_of(grouped())
    assert line.endswith("as group:  # the group")


async def test_the_children_of_an_anyio_group_are_told_too() -> None:
    before = asyncio.all_tasks()
    async with parked(anyio_group()) as task:
        (child,) = asyncio.all_tasks() - before - {task}
        assert "await asyncio.Event().wait()  # here" in describe(child)


async def test_a_task_that_has_not_begun_says_so() -> None:
    task = asyncio.create_task(for_ever(), name="late")
    assert describe(task) == "late: has not begun"
    task.cancel()
    await asyncio.wait({task})


async def test_the_running_task_is_told_at_the_line_where_it_is() -> None:
    task = asyncio.current_task()
    assert task is not None
    described = describe(task)  # now
    assert described.splitlines()[-1] == "    described = describe(task)  # now"


async def test_only_lines_of_libraries_are_better_than_none() -> None:
    async with parked(asyncio.Event().wait(), "bare") as task:
        first, place, code = describe(task).splitlines()
    assert first == "bare, waiting at"
    assert place.endswith("in wait")
    assert "locks.py" in place
    assert code.strip() == "await fut"


async def test_lines_of_telex_are_left_out() -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()  # the handler

    peer = Peer()

    async def connection() -> None:
        await app(make_scope(), peer.receive, peer.send)

    assert await lines_of(connection()) == [
        "await app(make_scope(), peer.receive, peer.send)",
        "await ws.receive_text()  # the handler",
    ]


async def test_a_task_of_another_kind_of_coroutine_says_that_nothing_can_be_seen() -> None:
    class Odd(Coroutine[Any, Any, None]):
        """As compiled code has them: no frames."""

        def send(self, value: Any) -> Any:
            return None

        def throw(self, *args: Any) -> Any:
            raise args[0] if isinstance(args[0], BaseException) else args[0]()

        def close(self) -> None: ...

        def __await__(self) -> Generator[Any, Any, None]:
            raise NotImplementedError

    async with parked(Odd(), "odd") as task:
        assert describe(task) == "odd, at a place that cannot be seen"


async def test_a_task_that_has_ended_has_no_place() -> None:
    async def brief() -> None: ...

    task = asyncio.create_task(brief(), name="over")
    await soon(task)
    assert describe(task) == "over, at a place that cannot be seen"


@pytest.mark.parametrize(
    ("filename", "library"),
    [
        (asyncio.__file__, True),
        (anyio.__file__, True),
        (describe.__code__.co_filename, True),
        ("<frozen importlib._bootstrap>", True),
        ("<string>", False),
        (__file__, False),
        ("/app/main.py", False),
    ],
)
def test_what_counts_as_a_library(filename: str, library: bool) -> None:
    assert _is_library(filename) is library


async def test_code_without_a_file_is_told_without_its_line() -> None:
    scope: dict[str, Any] = {"asyncio": asyncio}
    exec("async def handler():\n    await asyncio.Event().wait()", scope)
    async with parked(scope["handler"](), "made up") as task:
        assert describe(task) == 'made up, waiting at\n  File "<string>", line 2, in handler'
