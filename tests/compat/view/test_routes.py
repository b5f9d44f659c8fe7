from __future__ import annotations

import asyncio

import pytest

from clients import connected, rejection
from telex.compat.view import (
    DuplicateRouteError,
    InvalidRouteError,
    WebSocket,
    new_app,
    query,
    websocket,
)
from telex.compat.view._routes import Route
from telex.exceptions import RoutingError


async def greet(ws: WebSocket, name: str = "nobody") -> None:
    """Say hello."""
    async with ws:
        await ws.send(name)


@pytest.mark.row("VX1")
def test_wrong_routes_are_errors_of_routing() -> None:
    assert issubclass(InvalidRouteError, RoutingError)
    assert issubclass(InvalidRouteError, TypeError)
    assert issubclass(DuplicateRouteError, RoutingError)


def test_a_route_knows_what_it_was_made_of() -> None:
    route = websocket("/a")(greet)
    assert isinstance(route, Route)
    assert (route.func, route.path, route.doc) == (greet, "/a", "Say hello.")
    assert repr(route).startswith("Route('/a', ")
    assert repr(route).endswith("greet)")
    assert websocket("/a", "What it does.")(greet).doc == "What it does."


@pytest.mark.row("T73")
async def test_calling_a_route_calls_the_handler() -> None:
    said: list[str] = []

    @websocket("/")
    async def handler(ws: WebSocket, name: str) -> None:
        said.append(name)

    await handler(None, name="Ann")
    assert said == ["Ann"]


@pytest.mark.row("VX11", "V2")
@pytest.mark.parametrize("last", [False, True])
async def test_inputs_may_be_declared_before_and_after_the_route_is_registered(last: bool) -> None:
    app = new_app()
    given = query("who", str)
    if last:
        route = app.websocket("/")(greet)
        assert given(route) is route
    else:
        app.websocket("/")(given(greet))
    async with connected(app, "/?who=Ann") as ws:
        assert await ws.receive_text() == "Ann"


@pytest.mark.row("V7")
async def test_an_input_that_is_refused_leaves_the_route_as_it_was() -> None:
    app = new_app()
    route = app.websocket("/")(greet)
    with pytest.raises(InvalidRouteError, match="1 parameters for 2 inputs"):
        query("b")(query("a")(route))
    assert [each.name for each in route.inputs] == ["a"]
    async with connected(app, "/?a=Ann") as ws:
        assert await ws.receive_text() == "Ann"


async def test_one_handler_may_have_two_paths() -> None:
    app = new_app()
    one = app.websocket("/one")(greet)
    two = app.websocket("/two")(one)
    query("who", str)(two)
    async with connected(app, "/one?name=Ann") as ws:
        assert await ws.receive_text() == "Ann"
    async with connected(app, "/two?who=Bob") as ws:
        assert await ws.receive_text() == "Bob"


async def test_connections_at_the_same_time_have_their_own_inputs() -> None:
    app = new_app()
    both = asyncio.Barrier(2)

    @app.websocket("/{room}")
    async def handler(ws: WebSocket, room: str) -> None:
        async with ws:
            await both.wait()
            await ws.send(room)

    async with connected(app, "/a") as one, connected(app, "/b") as two:
        assert [await one.receive_text(), await two.receive_text()] == ["a", "b"]


@pytest.mark.parametrize("path", ["room", "", "/{a}/{a}", "/{n:nothing}"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(InvalidRouteError):
        websocket(path)(greet)


@pytest.mark.row("V3")
def test_a_route_needs_a_path() -> None:
    for wrong in (None, greet):
        with pytest.raises(InvalidRouteError, match="write websocket"):
            websocket(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidRouteError, match="write websocket"):
        new_app().websocket()


@pytest.mark.row("C61")
async def test_a_path_belongs_to_one_route_and_names_do_not_matter() -> None:
    app = new_app()
    app.websocket("/{a}")(greet)
    with pytest.raises(DuplicateRouteError, match="is taken by"):
        app.websocket("/{b}")(greet)
    with pytest.raises(DuplicateRouteError):
        app.load(websocket("/{c}")(greet))
    app.websocket("/")(greet)
    assert (await rejection(app, "/a/b")).status == 404
