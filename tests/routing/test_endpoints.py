from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import pytest

from telex import Query, WebSocket, websocket
from telex.lifecycle import Endpoint, connection_app
from telex.routing._endpoints import compile_endpoint, default_name, wrap
from telex.testing import AsyncTestClient, ConnectionRejected
from telex.views import SocketView

Log = list[str]


def logging_middleware(name: str, log: Log) -> Callable[[Endpoint], Endpoint]:
    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> object:
            log.append(f"{name}>")
            result = await endpoint()
            log.append(f"<{name}")
            return result

        return wrapper

    return middleware


async def run(endpoint: Endpoint) -> None:
    """Connect to an endpoint and wait until it has returned."""
    app = connection_app(endpoint)
    async with AsyncTestClient(app) as client, client.websocket("/") as ws:
        await ws.expect_close(1000)


async def accepting() -> str:
    await websocket.accept()
    return "result"


class View(SocketView):
    pass


class Callable_:
    async def __call__(self, ws: WebSocket) -> None:
        await ws.accept()

    async def method(self) -> None:
        await websocket.accept()


async def with_suffix(ws: WebSocket, suffix: str = "") -> None:
    await ws.accept()


@pytest.mark.row("T74", "K12")
@pytest.mark.parametrize(
    "endpoint",
    [accepting, View, Callable_(), Callable_().method, functools.partial(with_suffix, suffix="x")],
    ids=["function", "view", "object", "bound method", "partial"],
)
async def test_every_kind_of_handler_runs(endpoint: Any) -> None:
    app = connection_app(compile_endpoint(endpoint))
    async with AsyncTestClient(app) as client, client.websocket("/"):
        pass


def sync_handler() -> None: ...


async def generator_handler() -> Any:
    yield 1


async def odd_handler(what: Annotated[list[list[int]], Query()]) -> None: ...


class NoView: ...


@pytest.mark.row("T74")
@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (sync_handler, "sync_handler must be an async function"),
        (functools.partial(sync_handler), "sync_handler must be an async function"),
        (generator_handler, "generator"),
        (odd_handler, r"odd_handler: parameter 'what': list\[list\[int\]\] cannot be read"),
        (NoView, "NoView is a class, but no SocketView"),
        (View(), "must be an async function"),
        ("app.handler", "'app.handler'"),
        (None, "None"),
    ],
)
def test_junk_is_refused_with_its_name(endpoint: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        compile_endpoint(endpoint)


@pytest.mark.row("T74", "KX13")
@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        (accepting, "accepting"),
        (View, "View"),
        (Callable_(), "Callable_"),
        (Callable_().method, "method"),
        (functools.partial(functools.partial(with_suffix, suffix="x")), "with_suffix"),
    ],
)
def test_the_default_name_is_that_of_the_function_or_class(endpoint: Any, name: str) -> None:
    assert default_name(endpoint) == name


@pytest.mark.row("KX4")
async def test_a_middleware_runs_before_and_after_and_sees_the_result() -> None:
    log: Log = []

    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> object:
            log.append(f"before {websocket.path}")
            result = await endpoint()
            log.append(f"after {result}")
            return result

        return wrapper

    await run(wrap(accepting, [middleware]))
    assert log == ["before /", "after result"]


@pytest.mark.row("KX4")
async def test_a_middleware_may_reject_without_calling_the_endpoint() -> None:
    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> None:
            await websocket.reject(401)

        return wrapper

    with pytest.raises(ConnectionRejected, match="401"):
        await run(wrap(accepting, [middleware]))


@pytest.mark.row("C60")
async def test_the_first_middleware_of_a_list_is_the_outermost() -> None:
    log: Log = []
    await run(wrap(accepting, [logging_middleware("a", log), logging_middleware("b", log)]))
    assert log == ["a>", "b>", "<b", "<a"]


async def test_a_wrapper_may_take_the_connection() -> None:
    seen = []

    def middleware(endpoint: Endpoint) -> Callable[[WebSocket], Awaitable[None]]:
        async def wrapper(connection: WebSocket) -> None:
            seen.append(connection.path)
            await endpoint()

        return wrapper

    await run(wrap(accepting, [middleware]))
    assert seen == ["/"]


async def plain_handler(connection: WebSocket) -> None:
    """Say nothing."""
    await connection.accept()


@pytest.mark.row("KX8", "C60")
@pytest.mark.parametrize("handler", [accepting, plain_handler, View])
@pytest.mark.parametrize("depth", [1, 2])
async def test_functools_wraps_leaves_a_wrapper_its_own_parameters(
    handler: Any, depth: int
) -> None:
    seen = []

    def middleware(endpoint: Endpoint) -> Callable[..., Awaitable[object]]:
        @functools.wraps(endpoint)
        async def wrapper(socket: WebSocket) -> object:
            seen.append(socket.path)
            return await endpoint()

        seen.append(wrapper.__name__)
        return wrapper

    app = connection_app(wrap(compile_endpoint(handler), [middleware] * depth))
    async with AsyncTestClient(app) as client, client.websocket("/"):
        pass
    assert seen == [handler.__name__] * depth + ["/"] * depth


@pytest.mark.row("KX8")
async def test_nobody_can_make_functools_wraps_take_a_wrappers_parameters() -> None:
    # Whoever asks the class for annotations gives all partial objects some, for good.
    assert functools.partial.__annotations__ == {}
    assert functools.partial(print).__annotations__ == {}
    await test_functools_wraps_leaves_a_wrapper_its_own_parameters(accepting, 1)


@pytest.mark.row("KX8")
async def test_functools_wraps_works_on_a_wrapper_without_parameters() -> None:
    def middleware(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def wrapper() -> object:
            return await endpoint()

        @functools.wraps(wrapper)
        async def decorated(*args: Any, **kwargs: Any) -> object:
            return await wrapper(*args, **kwargs)

        return decorated

    await run(wrap(compile_endpoint(plain_handler), [middleware]))


def not_async(endpoint: Endpoint) -> Any:
    return lambda: endpoint


def nothing(endpoint: Endpoint) -> Any:
    return None


async def async_middleware(endpoint: Endpoint) -> Any:
    return endpoint


@pytest.mark.row("C60", "T74")
@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        ("auth", "socket middleware 'auth' cannot be called"),
        (None, "socket middleware None cannot be called"),
        (not_async, "not_async must return an async function"),
        (nothing, "nothing must return an async function"),
        (async_middleware, "async_middleware must return an async function"),
        (functools.partial(nothing), "nothing must return an async function"),
    ],
)
def test_a_bad_middleware_is_refused_with_its_name(middleware: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        wrap(accepting, [middleware])


async def test_a_middleware_may_return_the_endpoint_itself() -> None:
    await run(wrap(accepting, [lambda endpoint: endpoint]))
