"""Functions with parameters as functions without: what is bound, for whom, and what is needed."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import pytest

from clients import connected, ending, rejection
from depending import handed, serving
from telex import App, Depends, Query, SocketView, WebSocket, websocket
from telex.binding import bind, needs_of
from telex.binding._resolve import needing
from telex.context import current
from telex.lifecycle import Endpoint, connection_app

log: list[Any] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


async def bare() -> None: ...


async def room(name: str, ws: WebSocket) -> None: ...


async def told(q: Annotated[int, Query()], ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_json(q)


# What is bound


def test_a_function_without_parameters_stays_itself() -> None:
    assert bind(bare) is bare


def test_a_bound_function_looks_like_the_one_in_it() -> None:
    bound: Any = bind(room)
    assert bound.__name__ == "room"
    assert inspect.iscoroutinefunction(bound)


def test_what_the_path_must_have_is_known() -> None:
    assert {*needs_of(bind(room))} == {"name"}
    assert {*needs_of(bind(told))} == set()
    assert {*needs_of(bare)} == set()


def test_what_dependencies_take_from_the_path_is_known() -> None:
    def dependency(it: str) -> None: ...

    async def handler(it: Annotated[None, Depends(dependency)]) -> None: ...

    assert {*needs_of(bind(handler))} == {"it"}


def test_more_needs_leave_the_function_alone() -> None:
    more = needing(bare, {"x": "m"})
    assert {*needs_of(more)} == {"x"}
    assert {*needs_of(bare)} == set()
    assert needing(more, {"x": "m"}) is more
    assert {*needs_of(needing(bind(room), {"x": "m"}))} == {"x", "name"}


def test_the_parameters_may_be_those_of_a_class() -> None:
    class Declares:
        def __init__(self, name: str) -> None: ...

    async def fn(name: str) -> None: ...

    assert {*needs_of(bind(fn, declares=Declares))} == {"name"}


def test_a_parameter_that_nothing_fills_is_an_error_that_names_it() -> None:
    async def handler(it: Annotated[int | str, Depends()]) -> None: ...

    with pytest.raises(TypeError, match="'it'"):
        bind(handler)


class Objects:
    async def method(self, q: Annotated[int, Query()], ws: WebSocket) -> None:
        await told(q, ws)

    async def __call__(self, q: Annotated[int, Query()], ws: WebSocket) -> None:
        await told(q, ws)


async def by_position(
    prefix: list[int], q: Annotated[int, Query()], /, ws: WebSocket, *args: Any, **more: Any
) -> None:
    assert (prefix, args, more) == ([0], (), {})
    await told(q, ws)


@pytest.mark.parametrize(
    "handler",
    [
        told,
        Objects(),
        Objects().method,
        functools.partial(told),
        functools.partial(by_position, [0]),
        functools.partial(Objects().method),
    ],
)
async def test_handlers_of_every_kind_get_their_arguments(handler: Any) -> None:
    assert await handed(serving(handler), "/?q=5") == 5


async def test_what_a_partial_has_filled_is_not_taken_from_the_request() -> None:
    assert await handed(serving(functools.partial(told, q=1)), "/?q=5") == 1


async def test_what_a_view_depends_on_lives_until_its_last_message() -> None:
    async def session() -> AsyncIterator[str]:
        log.append("open")
        yield "session"
        log.append("close")

    class View(SocketView):
        def __init__(self, it: Annotated[str, Depends(session)]) -> None:
            self.it = it

        async def on_receive(self, data: Any) -> None:
            await websocket.send_text(self.it)

        async def on_disconnect(self, close_code: int) -> None:
            log.append(close_code)

    app = App()
    app.websocket("/")(View)
    async with connected(app) as ws:
        await ws.send_text("x")
        assert await ws.receive_text() == "session"
        assert log == ["open"]
    assert log == ["open", 1000, "close"]


# For whom


async def test_many_connections_do_not_mix_up_their_arguments() -> None:
    async def slow(q: Annotated[int, Query()]) -> int:
        await asyncio.sleep(0.001 * (q % 3))
        return q

    async def handler(
        ws: WebSocket, a: Annotated[int, Query(alias="q")], b: Annotated[int, Depends(slow)]
    ) -> None:
        await ws.accept()
        await ws.send_json([a, b])

    app = serving(handler)
    got = await asyncio.gather(*(handed(app, f"/?q={number}") for number in range(50)))
    assert got == [[number, number] for number in range(50)]


async def test_the_endpoint_may_run_in_a_task_of_its_own() -> None:
    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> None:
            await asyncio.ensure_future(endpoint())

        return wrapper

    assert await handed(serving(told, middlewares=[middleware]), "/?q=3") == 3


async def test_two_tasks_of_one_connection_may_run_it_one_after_the_other() -> None:
    async def session() -> AsyncIterator[list[int]]:
        opened: list[int] = []
        yield opened
        log.append(opened)

    async def body(it: Annotated[list[int], Depends(session)]) -> None:
        it.append(len(log))

    endpoint = bind(body)

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        for _ in range(2):
            await asyncio.ensure_future(endpoint())

    await ending(serving(handler))
    assert log == [[0], [1]]


async def test_outside_a_connection_it_cannot_run() -> None:
    with pytest.raises(LookupError):
        await bind(told)()


async def test_without_an_application_there_are_no_overrides_and_it_works() -> None:
    async def handler(ws: WebSocket, it: Annotated[int, Depends(lambda: 4)]) -> None:
        assert current.get() is ws
        await told(it, ws)

    assert await handed(connection_app(bind(handler))) == 4


async def test_a_wrapper_and_a_handler_both_say_what_is_wrong() -> None:
    def middleware(endpoint: Endpoint) -> Callable[..., Awaitable[object]]:
        async def wrapper(token: Annotated[int, Query()]) -> object:
            log.append("called")
            return await endpoint()

        return wrapper

    app = serving(told, middlewares=[middleware])
    refused = await rejection(app, "/?q=x")
    assert [each["name"] for each in refused.json()["errors"]] == ["token"]
    refused = await rejection(app, "/?q=x&token=1")
    assert [each["name"] for each in refused.json()["errors"]] == ["q"]
    assert log == ["called"]


async def test_what_the_handler_returns_comes_out_of_the_endpoint() -> None:
    async def handler(ws: WebSocket, it: Annotated[str, Depends(lambda: "x")]) -> str:
        await ws.accept()
        return it

    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> None:
            log.append(await endpoint())

        return wrapper

    await ending(serving(handler, middlewares=[middleware]))
    assert log == ["x"]
