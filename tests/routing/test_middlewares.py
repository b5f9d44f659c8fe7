"""Socket middlewares end to end: every place, `functools.wraps`, and handlers with parameters."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import pytest

from clients import connected, ending, rejection
from telex import (
    App,
    Depends,
    Query,
    Reject,
    Routes,
    SocketRoute,
    SocketView,
    WebSocket,
    websocket,
)

Endpoint = Callable[[], Awaitable[object]]
Log = list[str]


def named(name: str, log: Log, *, wraps: bool = True) -> Callable[[Endpoint], Endpoint]:
    """A middleware that writes down when it is entered and left."""

    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> object:
            log.append(f"{name}>")
            try:
                return await endpoint()
            finally:
                log.append(f"<{name}")

        return functools.wraps(endpoint)(wrapper) if wraps else wrapper

    return middleware


async def plain() -> None:
    """No parameters."""
    await websocket.accept()
    await websocket.send_text("plain")


async def with_connection(ws: WebSocket) -> None:
    """The connection."""
    await ws.accept()
    await ws.send_text("with_connection")


async def with_values(room: int, ws: WebSocket, q: Annotated[str, Query()] = "none") -> None:
    """A path parameter and a value of the query."""
    await ws.accept()
    await ws.send_text(f"with_values {room} {q}")


async def a_word() -> AsyncIterator[str]:
    yield "word"


async def with_dependency(ws: WebSocket, word: Annotated[str, Depends(a_word)]) -> None:
    """Something that is closed afterwards."""
    await ws.accept()
    await ws.send_text(f"with_dependency {word}")


async def noted(app: App) -> AsyncIterator[None]:
    app.state.log.append("open")
    yield
    app.state.log.append("closed")


class View(SocketView):
    """A class."""

    async def on_connect(self) -> None:
        await self.websocket.accept()
        await self.websocket.send_text("View")
        await self.websocket.close()


HANDLERS: dict[Any, str] = {
    plain: "plain",
    with_connection: "with_connection",
    with_values: "with_values 7 x",
    with_dependency: "with_dependency word",
    View: "View",
}

every_handler = pytest.mark.parametrize("handler", HANDLERS)


async def said(app: App) -> str:
    async with connected(app, "/g/7?q=x") as ws:
        text = await ws.receive_text()
        await ws.expect_close(1000)
        return text


@pytest.mark.row("KX1", "KX2", "KX3", "KX4", "KX6", "KX7", "KX8", "C60")
@every_handler
@pytest.mark.parametrize("wraps", [True, False])
async def test_all_places_at_once_around_every_kind_of_handler(handler: Any, wraps: bool) -> None:
    log: Log = []

    def each(*names: str) -> list[Callable[[Endpoint], Endpoint]]:
        return [named(name, log, wraps=wraps) for name in names]

    routes = Routes(socket_middlewares=each("g1", "g2"))
    routes.socket_middleware(each("g3")[0])
    route = SocketRoute("/{room:int}", handler, middlewares=each("r1", "r2"))
    routes << route @ each("@1")[0] @ each("@2")[0]
    app = App(socket_middlewares=each("a1", "a2"))
    app.router <<= "/g" // routes
    assert await said(app) == HANDLERS[handler]
    order = ["a1", "a2", "g1", "g2", "g3", "@2", "@1", "r1", "r2"]
    assert log == [*(f"{name}>" for name in order), *(f"<{name}" for name in reversed(order))]


@pytest.mark.row("KX4", "KX8")
@pytest.mark.parametrize("handler", [plain, with_connection, with_dependency, with_values, View])
def test_every_middleware_sees_the_name_of_the_handler(handler: Any) -> None:
    seen: list[str] = []

    def middleware(endpoint: Endpoint) -> Endpoint:
        seen.append(getattr(endpoint, "__name__", ""))
        return named("m", [])(endpoint)

    SocketRoute("/{room:int}", handler) @ middleware @ middleware
    assert seen == [handler.__name__] * 2


@pytest.mark.row("KX4")
@pytest.mark.parametrize("handler", [with_connection, with_values, with_dependency])
async def test_a_middleware_may_return_the_endpoint_it_was_given(handler: Any) -> None:
    app = App([SocketRoute("/g/{room:int}", handler, middlewares=[lambda endpoint: endpoint])])
    assert await said(app) == HANDLERS[handler]


@pytest.mark.row("KX4")
async def test_a_middleware_may_return_the_endpoint_of_a_handler_without_parameters() -> None:
    app = App([SocketRoute("/g/7", plain, middlewares=[lambda endpoint: endpoint] * 2)])
    assert await said(app) == "plain"


@pytest.mark.row("KX4")
@every_handler
async def test_a_middleware_may_answer_in_place_of_the_handler(handler: Any) -> None:
    def guard(endpoint: Endpoint) -> Callable[[WebSocket], Awaitable[object]]:
        @functools.wraps(endpoint)
        async def check(ws: WebSocket) -> object:
            if "q" in ws.query_params:
                raise Reject(401, "not you")
            return await endpoint()

        return check

    app = App([SocketRoute("/g/{room:int}", handler)], socket_middlewares=[guard])
    refused = await rejection(app, "/g/7?q=x")
    assert (refused.status, refused.body) == (401, b"not you")


@pytest.mark.row("KX4")
async def test_a_middleware_sees_what_the_handler_raises_and_may_translate_it() -> None:
    def translating(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def wrapper() -> object:
            try:
                return await endpoint()
            except LookupError:
                raise Reject(404, "no such thing") from None

        return wrapper

    async def fails(ws: WebSocket, word: Annotated[str, Depends(a_word)]) -> None:
        raise LookupError

    refused = await rejection(App([SocketRoute("/", fails) @ translating]))
    assert (refused.status, refused.body) == (404, b"no such thing")


@pytest.mark.row("KX4")
async def test_dependencies_of_the_handler_are_closed_before_a_middleware_goes_on() -> None:
    log: Log = []

    async def handler(ws: WebSocket, it: Annotated[None, Depends(noted)]) -> None:
        await ws.accept()
        log.append("handler")

    app = App([SocketRoute("/", handler)], socket_middlewares=[named("m", log)])
    app.state.log = log
    assert await ending(app) == (1000, "")
    assert log == ["m>", "open", "handler", "closed", "<m"]


@pytest.mark.row("KX1", "C60")
async def test_the_same_handler_goes_with_and_without_a_middleware() -> None:
    log: Log = []
    guarded = SocketRoute("/g/{room:int}", with_values, name="guarded") @ named("m", log)
    app = App([guarded, SocketRoute("/free/{room:int}", with_values, name="free")])
    async with connected(app, "/free/7") as ws:
        assert await ws.receive_text() == "with_values 7 none"
    assert log == []
    assert await said(app) == "with_values 7 x"
    assert log == ["m>", "<m"]


@pytest.mark.row("KX6")
async def test_a_list_that_changes_after_registration_changes_nothing() -> None:
    log: Log = []
    middlewares = [named("m", log)]
    app = App(socket_middlewares=middlewares)
    app.websocket("/g/{room:int}", middlewares=middlewares)(with_values)
    middlewares.clear()
    await said(app)
    assert log == ["m>", "m>", "<m", "<m"]


@pytest.mark.row("T74", "C60")
def test_parameters_that_nothing_fills_are_found_whoever_declares_them() -> None:
    def middleware(endpoint: Endpoint) -> Callable[..., Awaitable[object]]:
        async def wrapper(nobody: int) -> object:
            return await endpoint()

        return wrapper

    with pytest.raises(TypeError, match="'nobody'"):
        App([SocketRoute("/", plain)], socket_middlewares=[middleware])
    with pytest.raises(TypeError, match="'room'"):
        App([SocketRoute("/", with_values)], socket_middlewares=[named("m", [])])
