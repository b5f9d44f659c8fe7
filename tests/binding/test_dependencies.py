"""Dependencies: what can be one, how often it is called, what it may do on the way in."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from clients import connected, ending, rejection
from depending import handed, serving
from telex import App, Depends, Query, Reject, WebSocket, websocket
from telex.binding._dependencies import STANDS_FOR
from telex.lifecycle import Endpoint

log: list[Any] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


async def value_of(dependency: Any, url: str = "/", **options: Any) -> Any:
    """What a handler gets that depends on something."""
    got: list[Any] = []

    async def handler(ws: WebSocket, it: Annotated[Any, Depends(dependency, **options)]) -> None:
        got.append(it)
        await ws.accept()

    assert await ending(serving(handler), url) == (1000, "")
    return got[0]


# Kinds


def function(q: Annotated[int, Query()]) -> int:
    return q


async def async_function(q: Annotated[int, Query()]) -> int:
    await asyncio.sleep(0)
    return q


def generator(q: Annotated[int, Query()]) -> Iterator[int]:
    yield q
    log.append("closed")


async def async_generator(q: Annotated[int, Query()]) -> AsyncIterator[int]:
    await asyncio.sleep(0)
    yield q
    log.append("closed")


class Thing:
    def __init__(self, q: Annotated[int, Query()]) -> None:
        self.q = q

    def __eq__(self, other: object) -> bool:
        return other == self.q

    __hash__ = None  # type: ignore[assignment]


class Calling:
    def __call__(self, q: Annotated[int, Query()]) -> int:
        return q

    async def method(self, q: Annotated[int, Query()]) -> int:
        return q

    def generator(self, q: Annotated[int, Query()]) -> Iterator[int]:
        yield q
        log.append("closed")

    async def async_generator(self, q: Annotated[int, Query()]) -> AsyncIterator[int]:
        yield q
        log.append("closed")

    @classmethod
    def of_class(cls, q: Annotated[int, Query()]) -> int:
        return q

    @staticmethod
    async def static(q: Annotated[int, Query()]) -> int:
        return q


class CallingAsync:
    async def __call__(self, q: Annotated[int, Query()]) -> int:
        return q


class CallingGenerator:
    def __call__(self, q: Annotated[int, Query()]) -> Iterator[int]:
        yield q
        log.append("closed")


class CallingAsyncGenerator:
    async def __call__(self, q: Annotated[int, Query()]) -> AsyncIterator[int]:
        yield q
        log.append("closed")


@dataclass
class Unhashable:
    by: int = 1

    def __call__(self, q: Annotated[int, Query()]) -> int:
        return q * self.by


def times(by: int, q: Annotated[int, Query()]) -> int:
    return by * q


def generator_by(by: int, q: Annotated[int, Query()]) -> Iterator[int]:
    yield by * q
    log.append("closed")


@pytest.mark.parametrize(
    "dependency",
    [
        function,
        async_function,
        generator,
        async_generator,
        Thing,
        Calling(),
        Calling().method,
        Calling().generator,
        Calling().async_generator,
        Calling.of_class,
        Calling.static,
        CallingAsync(),
        CallingGenerator(),
        CallingAsyncGenerator(),
        Unhashable(),
        functools.partial(times, 1),
        functools.partial(times, by=1),
        functools.partial(generator_by, 1),
        functools.partial(Calling().method),
        functools.partial(functools.partial(CallingAsyncGenerator())),
        lambda q: int(q),
    ],
)
async def test_everything_that_can_be_called_can_be_a_dependency(dependency: Any) -> None:
    path = "/{q}" if getattr(dependency, "__name__", "") == "<lambda>" else "/"
    got: list[Any] = []

    async def handler(it: Annotated[Any, Depends(dependency)]) -> None:
        got.append(it)
        assert log == []
        await websocket.accept()

    await ending(serving(handler, path), "/5" if path == "/{q}" else "/?q=5")
    assert got == [5]
    kept = innermost_name(dependency)
    assert log == (["closed"] if "generator" in kept.lower() else [])


def innermost_name(dependency: Any) -> str:
    while isinstance(dependency, functools.partial):
        dependency = dependency.func
    return str(getattr(dependency, "__name__", type(dependency).__name__))


async def test_depends_without_a_function_takes_the_type() -> None:
    async def handler(ws: WebSocket, thing: Annotated[Thing, Depends()]) -> None:
        log.append(thing.q)
        await ws.accept()

    await ending(serving(handler), "/?q=7")
    assert log == [7]


async def test_a_coroutine_is_awaited_whoever_returns_it() -> None:
    async def work() -> str:
        return "worked"

    assert await value_of(lambda: work()) == "worked"


async def test_a_coroutine_that_a_thread_returns_is_awaited() -> None:
    async def work() -> str:
        return "worked"

    assert await value_of(lambda: work(), thread=True) == "worked"


async def test_another_awaitable_is_the_value_itself() -> None:
    """A pool, a client or a task may be awaited, and is no result to be waited for."""

    class Pool:
        def __await__(self) -> Any:
            raise AssertionError

    assert isinstance(await value_of(Pool), Pool)
    future = asyncio.get_running_loop().create_future()
    assert await value_of(lambda: future) is future


async def test_dependencies_get_what_handlers_get() -> None:
    def dependency(ws: WebSocket, app: App, room: str, q: Annotated[int, Query()] = 3) -> Any:
        assert ws == websocket
        return app, room, q

    async def handler(it: Annotated[Any, Depends(dependency)], ws: WebSocket) -> None:
        log.append(it)
        await ws.accept()

    app = serving(handler, "/{room}")
    await ending(app, "/den")
    assert log == [(app, "den", 3)]


# Sharing


def counted() -> int:
    log.append("called")
    return len(log)


async def test_objects_that_cannot_be_hashed_are_told_apart() -> None:
    one, two = Unhashable(1), Unhashable(1)

    async def handler(
        ws: WebSocket,
        a: Annotated[int, Depends(one)],
        b: Annotated[int, Depends(two)],
        c: Annotated[int, Depends(one)],
    ) -> None:
        one.by = 2
        await ws.accept()
        await ws.send_json([a, b, c])

    async with connected(serving(handler), "/?q=4") as ws:
        assert await ws.receive_json() == [4, 4, 4]


async def test_what_stands_for_a_function_is_overridden_as_that_function() -> None:
    adapter = functools.partial(counted)
    setattr(adapter, STANDS_FOR, counted)

    def fake(original: Annotated[int, Depends(counted)]) -> list[int]:
        return [original]

    async def handler(ws: WebSocket, it: Annotated[Any, Depends(adapter)]) -> None:
        await ws.accept()
        await ws.send_json(it)

    app = serving(handler)
    assert await handed(app) == 1
    app.dependency_overrides[counted] = fake
    assert await handed(app) == [2]


def resource() -> Iterator[list[str]]:
    log.append("open")
    yield ["mine"]
    log.append("close")


Resource = Annotated[list[str], Depends(resource)]


async def test_a_socket_middleware_shares_with_the_handler() -> None:
    def middleware(endpoint: Endpoint) -> Callable[..., Awaitable[object]]:
        async def wrapper(outer: Resource) -> None:
            outer.append("from the middleware")
            await endpoint()
            log.append("back")

        return wrapper

    async def handler(ws: WebSocket, inner: Resource) -> None:
        log.append(list(inner))
        await ws.accept()

    await ending(serving(handler, middlewares=[middleware]))
    assert log == ["open", ["mine", "from the middleware"], "back", "close"]


async def test_what_was_closed_is_not_shared_any_more() -> None:
    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> None:
            await endpoint()
            await endpoint()

        return wrapper

    async def handler(ws: WebSocket, it: Resource) -> None:
        it.append("used")
        log.append(len(it))
        if len(log) > 3:
            await ws.accept()

    await ending(serving(handler, middlewares=[middleware]))
    assert log == ["open", 2, "close", "open", 2, "close"]


# Nothing is called for a bad request; errors on the way in


async def test_a_bad_request_is_told_everything_and_nothing_is_called() -> None:
    def deep(a: Annotated[int, Query()]) -> int:
        log.append("called")
        return a

    def shallow(b: Annotated[int, Query()], deep: Annotated[int, Depends(deep)]) -> int:
        log.append("called")
        return b

    async def handler(
        counted: Annotated[int, Depends(counted)],
        c: Annotated[int, Query()],
        s: Annotated[int, Depends(shallow)],
    ) -> None:
        log.append("called")

    refused = await rejection(serving(handler), "/?b=x")
    assert refused.status == 422
    assert {each["name"] for each in refused.json()["errors"]} == {"a", "b", "c"}
    assert log == []


@pytest.mark.parametrize("kind", ["function", "generator"])
async def test_a_dependency_may_reject(kind: str) -> None:
    async def function() -> None:
        raise Reject(401, "who?")

    async def generator() -> AsyncIterator[None]:
        raise Reject(401, "who?")
        yield

    async def outer() -> AsyncIterator[None]:
        try:
            yield
        except Reject as exc:
            log.append(f"closed by {exc.status}")
            raise

    guard = function if kind == "function" else generator

    async def handler(
        a: Annotated[None, Depends(outer)], b: Annotated[None, Depends(guard)]
    ) -> None:
        log.append("handled")

    refused = await rejection(serving(handler))
    assert (refused.status, refused.text) == (401, "who?")
    assert log == ["closed by 401"]


async def test_a_dependency_may_accept() -> None:
    async def accepted(ws: WebSocket) -> WebSocket:
        await ws.accept()
        return ws

    async def handler(ws: Annotated[WebSocket, Depends(accepted)]) -> None:
        await ws.send_text("hello")

    async with connected(serving(handler)) as ws:
        assert await ws.receive_text() == "hello"
        await ws.expect_close(1000)


async def test_a_dependency_may_read_the_first_message() -> None:
    async def token(ws: WebSocket) -> str:
        await ws.accept()
        return await ws.receive_text()

    async def handler(ws: WebSocket, token: Annotated[str, Depends(token)]) -> None:
        await ws.send_text(token)

    async with connected(serving(handler)) as ws:
        await ws.send_text("secret")
        assert await ws.receive_text() == "secret"


async def test_after_a_dependency_has_closed_the_handler_is_not_called() -> None:
    async def closed(ws: WebSocket) -> None:
        await ws.accept()
        await ws.close(4000, "enough")

    async def handler(it: Annotated[None, Depends(closed)]) -> None:
        log.append("called")

    assert await ending(serving(handler)) == (4000, "enough")
    assert log == []


async def test_after_a_dependency_has_rejected_the_handler_is_not_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def rejected(ws: WebSocket) -> None:
        await ws.reject(401)

    async def handler(ws: WebSocket, it: Annotated[None, Depends(rejected)]) -> None:
        await ws.accept()

    assert (await rejection(serving(handler))).status == 401
    assert caplog.records == []


# Threads


async def test_a_function_may_run_in_a_thread() -> None:
    def blocking(ws: WebSocket) -> tuple[int, str]:
        return threading.get_ident(), websocket.path

    thread, path = await value_of(blocking, thread=True)
    assert thread != threading.get_ident()
    assert path == "/"


async def test_what_is_not_asked_to_stays_on_the_loop() -> None:
    assert await value_of(lambda: threading.get_ident()) == threading.get_ident()


@pytest.mark.parametrize("thread", [False, True])
async def test_a_function_that_runs_out_of_items_is_an_error_and_does_not_hang(
    thread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def first() -> Any:
        return next(iter(()))

    async def handler(it: Annotated[Any, Depends(first, thread=thread)]) -> None: ...

    refused = await rejection(serving(handler), raise_app_exceptions=False)
    assert refused.status == 500
    assert "StopIteration" in caplog.text


async def test_a_handler_that_is_cancelled_does_not_wait_for_a_function_in_a_thread() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def blocking() -> None:
        begun.set()
        go_on.wait(5)

    async def handler(it: Annotated[None, Depends(blocking, thread=True)]) -> None:
        log.append("handled")

    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> None:
            task = asyncio.ensure_future(endpoint())
            await asyncio.to_thread(begun.wait)
            task.cancel()
            await asyncio.wait((task,))
            log.append(task.cancelled())

        return wrapper

    try:
        await rejection(serving(handler, middlewares=[middleware]))
    finally:
        go_on.set()
    assert log == [True]
