"""Which parameter of a handler gets what, in applications on a scripted peer."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import pytest

from clients import connected, rejection
from peer import D, make_scope, serve
from telex import Depends, Header, Reject
from telex.compat.view import InvalidRouteError, WebSocket, body, new_app, query, websocket
from telex.compat.view._inputs import bound, made_input
from telex.exceptions import BindingError
from telex.websockets import WebSocket as CoreWebSocket

if TYPE_CHECKING:
    from decimal import Decimal

Seen = list[Any]


async def seen(
    handler: Callable[..., Awaitable[None]],
    path: str = "/",
    /,
    *decorators: Any,
    at: str | None = None,
    **given: str,
) -> None:
    """Connect to a handler, whose decorators are given in the order in which they are written."""
    app = new_app()
    route: Any = handler
    for decorator in reversed(decorators):
        route = decorator(route)
    app.load(websocket(path)(route))
    async with connected(app, f"{at or path}?{urlencode(given)}") as ws:
        await ws.expect_close(1000)


class Shouting(WebSocket):
    """What somebody makes of a connection."""


@pytest.fixture
def got() -> Seen:
    """What the handler of a test was given."""
    return []


# The connection


@pytest.mark.row("V4", "V45")
async def test_one_parameter_is_the_connection_whatever_it_is_called(got: Seen) -> None:
    async def any_name(anything):  # type: ignore[no-untyped-def]
        await anything.accept()
        got.append(type(anything))

    async def any_type(ws: int) -> None:
        await ws.accept()  # type: ignore[attr-defined]
        got.append(type(ws))

    async def core(ws: CoreWebSocket) -> None:
        await ws.accept()
        got.append(type(ws))

    for handler in (any_name, any_type, core):
        await seen(handler)
    assert got == [WebSocket] * 3


@pytest.mark.row("V4")
async def test_it_may_be_of_a_class_of_ones_own_and_in_another_place(got: Seen) -> None:
    async def handler(name: str, ws: Shouting) -> None:
        await ws.accept()
        got.extend([name, type(ws)])

    await seen(handler, name="Ann")
    assert got == ["Ann", Shouting]


@pytest.mark.row("V4", "T74")
async def test_handlers_may_be_methods_partial_functions_and_objects(got: Seen) -> None:
    class Room:
        async def enter(self, ws: WebSocket, name: str, /, *rest: int, age: int = 0) -> None:
            await ws.accept()
            got.append((name, age, rest))

        async def __call__(self, ws: WebSocket, **more: int) -> None:
            await ws.accept()
            got.append(more)

    await seen(Room().enter, name="Ann", age="7")
    await seen(functools.partial(Room().enter, age=8), name="Bob")
    await seen(Room())
    assert got == [("Ann", 7, ()), ("Bob", 8, ()), {}]


# Inputs from the query string


@pytest.mark.row("V5", "VX11")
async def test_a_query_input_has_a_type(got: Seen) -> None:
    async def handler(ws: WebSocket, hello: int) -> None:
        await ws.accept()
        got.append(hello)

    await seen(handler, "/", query("hello", int), hello="5")
    assert got == [5]


@pytest.mark.row("VX11")
async def test_stacked_inputs_fill_parameters_by_position(got: Seen) -> None:
    async def handler(ws: WebSocket, world: str, hello: str) -> None:
        await ws.accept()
        got.extend([world, hello])

    await seen(handler, "/", query("hello", str), query("world", str), hello="1", world="2")
    assert got == ["1", "2"]


@pytest.mark.row("VX11")
async def test_an_undeclared_parameter_is_read_by_its_name_and_annotation(got: Seen) -> None:
    async def handler(ws: WebSocket, x: str, number: int, plain, last: bool = True) -> None:  # type: ignore[no-untyped-def]
        await ws.accept()
        got.extend([x, number, plain, last])

    await seen(handler, x="a", number="3", plain="b")
    assert got == ["a", 3, "b", True]


@pytest.mark.row("VX11")
async def test_declared_and_undeclared_inputs_together(got: Seen) -> None:
    async def handler(ws: WebSocket, first: str, second: int, x: str) -> None:
        await ws.accept()
        got.extend([first, second, x])

    await seen(handler, "/", query("a"), query("b", int), a="1", b="2", x="3")
    # With fewer decorators than parameters a name that fits counts.
    await seen(handler, "/", query("x", int), query("a"), a="1", second="2", x="3")
    await seen(handler, "/", query("x"), query("x", int), x="3", second="2")
    assert got == ["1", 2, "3", "1", 2, 3, 3, 2, "3"]


@pytest.mark.row("V5")
async def test_defaults_of_decorators_and_of_parameters(got: Seen) -> None:
    async def handler(ws: WebSocket, a: Any, b: Any = "own", c: Any = "own") -> None:
        await ws.accept()
        a.append(1)
        got.extend([a, b, c])

    default: list[int] = []
    decorators = [query("a", list, default=default), query("b"), query("c", default=None)]
    await seen(handler, "/", *decorators)
    await seen(handler, "/", *decorators, b="x", c="y")
    assert got == [[1], "own", None, [1], "x", "y"]
    assert default == []


@pytest.mark.row("C41")
async def test_the_first_of_several_values_counts(got: Seen) -> None:
    async def handler(ws: WebSocket, x: int) -> None:
        await ws.accept()
        got.append(x)

    app = new_app()
    app.websocket("/")(handler)
    await serve(app, D(), scope=make_scope(query_string=b"x=1&x=2"))
    assert got == [1]


# Parameters of the path


@pytest.mark.row("V6", "C45")
async def test_parameters_of_the_path_go_by_name(got: Seen) -> None:
    async def handler(ws: WebSocket, limit: int, name: str, age: int, whole: int) -> None:
        await ws.accept()
        got.extend([limit, name, age, whole])

    path = "/a/{name}/{age: int}/{whole}"
    await seen(handler, path, query("max", int), at="/a/bob/7/8", max="9")
    assert got == [9, "bob", 7, 8]


@pytest.mark.row("V6", "C59")
async def test_a_parameter_of_the_path_that_does_not_fit() -> None:
    async def handler(ws: WebSocket, n: int, typed: int) -> None:
        raise AssertionError("called")

    app = new_app()
    app.websocket("/{n}/{typed:int}")(handler)
    denied = await rejection(app, "/a/1")
    assert denied.status == 400
    assert json.loads(denied.body)["errors"][0]["in"] == "path"
    assert (await rejection(app, "/1/a")).status == 404


# What is wrong with a request


@pytest.mark.row("VX8", "C59")
async def test_missing_and_wrong_inputs_are_a_400_that_names_each() -> None:
    async def handler(ws: WebSocket, hello: int, name: str, long: bool) -> None:
        raise AssertionError("called")

    app = new_app()
    app.websocket("/")(handler)
    denied = await rejection(app, f"/?hello=many&long={'x' * 1000}")
    assert denied.status == 400
    assert denied.headers["content-type"] == "application/json"
    errors = {error["name"]: error for error in json.loads(denied.body)["errors"]}
    assert errors["hello"] == {
        "in": "query",
        "name": "hello",
        "message": "expected an integer, got 'many'",
        "value": "many",
    }
    assert errors["name"] == {
        "in": "query",
        "name": "name",
        "message": "required",
        "value": None,
    }
    assert len(errors["long"]["value"]) == 200
    assert len(errors["long"]["message"]) < 200


@pytest.mark.row("VX8", "C59", "T38")
async def test_without_the_denial_extension_a_wrong_input_is_a_plain_close() -> None:
    app = new_app()

    @app.websocket("/")
    async def handler(ws: WebSocket, hello: int) -> None:
        raise AssertionError("called")

    peer = await serve(app, scope=make_scope())
    assert peer.types == ["close"]


@pytest.mark.row("C59")
async def test_an_application_may_answer_in_another_way() -> None:
    def teapot(ws: WebSocket, error: BindingError) -> None:
        raise Reject(418)

    app = new_app(exception_handlers={BindingError: teapot})

    @app.websocket("/")
    async def handler(ws: WebSocket, hello: int) -> None:
        raise AssertionError("called")

    assert (await rejection(app)).status == 418


# What Telex knows


async def agent_of(agent: Annotated[str, Header(alias="user-agent")]) -> str:
    return agent.upper()


async def test_markers_of_telex_are_left_to_telex(got: Seen) -> None:
    async def handler(
        language: Annotated[str, Header(alias="accept-language")],
        ws: WebSocket,
        agent: Annotated[Any, Depends(agent_of)],
        untyped: Annotated[Decimal, Depends(agent_of)],
        x: int,
        other: Annotated[int, Header()] = 3,
    ) -> None:
        await ws.accept()
        got.extend([language, agent, untyped, x, other])

    app = new_app()
    app.websocket("/")(handler)
    headers = {"user-agent": "curl", "accept-language": "en"}
    async with connected(app, "/?x=1", headers=headers) as ws:
        await ws.expect_close(1000)
    assert got == ["en", "CURL", "CURL", 1, 3]


# What is wrong with a handler


async def unready(ws: WebSocket) -> None:
    raise AssertionError("called")


@pytest.mark.row("V45")
def test_a_handler_without_parameters_is_no_route() -> None:
    async def none() -> None: ...

    async def marked(agent: Annotated[str, Header()]) -> None: ...

    async def variadic(*args: Any) -> None: ...

    for handler in (none, marked, variadic):
        with pytest.raises(InvalidRouteError, match="no parameter for the connection"):
            websocket("/")(handler)


@pytest.mark.row("V7")
def test_an_input_from_the_body_is_refused_in_whatever_order() -> None:
    app = new_app()
    for decorator in (body("foo", str), app.body("foo", str)):
        with pytest.raises(InvalidRouteError, match="no body for 'foo'"):
            app.websocket("/")(decorator(unready))
        with pytest.raises(InvalidRouteError, match="no body for 'foo'"):
            decorator(websocket("/")(unready))
    assert len(app.router) == 0


def test_more_inputs_than_parameters() -> None:
    with pytest.raises(InvalidRouteError, match="has 0 parameters for 1 inputs"):
        websocket("/")(query("x")(unready))


@pytest.mark.row("T74")
def test_a_handler_that_is_not_async() -> None:
    def sync(ws: WebSocket) -> None: ...

    for handler in (sync, functools.partial(sync), 7):
        with pytest.raises(InvalidRouteError, match="must be an async function"):
            websocket("/")(handler)  # type: ignore[arg-type]


def test_types_that_cannot_be_read() -> None:
    async def handler(ws: WebSocket, x: asyncio.Lock) -> None: ...

    async def nowhere(ws: WebSocket, x: Decimal) -> None: ...

    with pytest.raises(InvalidRouteError, match="the input 'x': "):
        query("x", asyncio.Lock)
    with pytest.raises(InvalidRouteError, match="parameter 'x': "):
        websocket("/")(handler)
    with pytest.raises(InvalidRouteError, match=r"'x': its type cannot be told: .*'Decimal'"):
        websocket("/")(nowhere)


def test_what_telex_finds_wrong_is_an_invalid_route_too() -> None:
    async def handler(ws: WebSocket, x: int = Depends(agent_of)) -> None: ...  # type: ignore[assignment]

    async def scoped(
        ws: WebSocket, x: Annotated[int, Depends(agent_of, scope="message")]
    ) -> None: ...

    for wrong, text in ((handler, "is no default"), (scoped, "is for listeners")):
        with pytest.raises(InvalidRouteError, match=text):
            websocket("/")(wrong)


def test_a_bound_function_is_called_like_its_handler() -> None:
    made = bound(unready, [], [])
    assert made.__name__ == "unready"
    assert made_input("x", [int], ...).cast("5") == 5
