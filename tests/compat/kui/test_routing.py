from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

import pytest

from clients import connected, rejection
from telex import NoMatchFound
from telex.compat.kui.asgi import Kui, Query, Routes, SocketRoute, websocket

Endpoint = Callable[[], Awaitable[object]]
Middleware = Callable[[Endpoint], Endpoint]
Log = list[str]


def noting(log: Log, names: str, *, wraps: bool = False) -> list[Middleware]:
    """Middlewares that write down their names when they are entered."""

    def made(name: str) -> Middleware:
        def middleware(endpoint: Endpoint) -> Endpoint:
            async def wrapper() -> object:
                log.append(name)
                return await endpoint()

            return functools.wraps(endpoint)(wrapper) if wraps else wrapper

        return middleware

    return [made(name) for name in names.split()]


async def handler() -> None:
    await websocket.accept()
    await websocket.send_text(websocket.path)


async def said(app: Kui, path: str) -> list[str | bytes]:
    async with connected(app, path) as ws:
        return [message async for message in ws]


# The order of middlewares


@pytest.mark.row("KX7", "KX6", "KX8", "C60", "K60")
@pytest.mark.parametrize("wraps", [False, True])
async def test_everywhere_the_last_middleware_is_the_outermost(wraps: bool) -> None:
    log: Log = []
    each = functools.partial(noting, log, wraps=wraps)
    routes = Routes(socket_middlewares=each("g1 g2"))
    for middleware in each("g3 g4"):
        assert routes.socket_middleware(middleware) is middleware
    route = SocketRoute("/chat", handler, middlewares=each("r1 r2"))
    for middleware in each("@1 @2"):
        route = route @ middleware
    routes << route
    app = Kui(socket_middlewares=each("app1 app2"))
    app.router <<= "/ws" // Routes(routes, socket_middlewares=each("o1 o2"))
    assert await said(app, "/ws/chat") == ["/ws/chat"]
    assert log == ["app2", "app1", "o2", "o1", "g4", "g3", "g2", "g1", "@2", "@1", "r2", "r1"]


@pytest.mark.row("KX7", "KX6")
@pytest.mark.parametrize("place", ["router", "group", "app"])
async def test_the_order_holds_for_decorators(place: str) -> None:
    log: Log = []
    app = Kui()
    routes = Routes()
    places = {
        "router": app.router.websocket,
        "group": routes.websocket,
        "app": app.websocket,
    }
    places[place]("/", middlewares=noting(log, "a b"))(handler)
    app.router <<= routes
    assert await said(app, "/") == ["/"]
    assert log == ["b", "a"]


async def answer(data: str) -> str:
    return data


async def numbers() -> AsyncIterator[str]:
    yield "1"


@pytest.mark.row("KX7")
async def test_the_order_holds_for_listeners_and_streams_too() -> None:
    log: Log = []
    app = Kui()
    app.router.websocket_listener("/listener", middlewares=noting(log, "a b"))(answer)
    app.router.websocket_stream("/stream", middlewares=noting(log, "c d"))(numbers)
    async with connected(app, "/listener") as ws:
        await ws.send_text('"x"')
        assert await ws.receive_text() == '"x"'
    assert await said(app, "/stream") == ["1"]
    assert log == ["b", "a", "d", "c"]


@pytest.mark.row("KX6")
def test_a_group_with_routes_takes_no_more_middlewares() -> None:
    log: Log = []
    routes = Routes(SocketRoute("/", handler), socket_middlewares=(before := noting(log, "a b")))
    with pytest.raises(RuntimeError, match="before its routes"):
        routes.socket_middleware(noting(log, "c")[0])
    assert routes.socket_middlewares == tuple(reversed(before))


@pytest.mark.row("KX4")
async def test_a_middleware_may_reject_in_place_of_the_handler() -> None:
    def closed(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> None:
            await websocket.close(4003)

        return wrapper

    app = Kui(socket_middlewares=[closed])
    app.router <<= SocketRoute("/", handler)
    assert (await rejection(app, "/")).status == 403


@pytest.mark.row("KX5")
async def test_what_a_middleware_returns_may_have_parameters() -> None:
    log: Log = []

    def auth(endpoint: Endpoint) -> Callable[..., Awaitable[object]]:
        async def wrapper(auth: Annotated[str, Query("x")]) -> object:
            log.append(auth)
            return await endpoint()

        return wrapper

    app = Kui(socket_middlewares=[auth])
    app.router <<= SocketRoute("/", handler)
    await said(app, "/")
    await said(app, "/?auth=y")
    assert log == ["x", "y"]


# Names and paths


@pytest.mark.row("KX13", "K53", "K54")
def test_a_name_is_the_third_argument_and_may_be_left_out() -> None:
    assert SocketRoute("/", handler, "chat").name == "chat"
    assert SocketRoute("/", handler, name="chat").name == "chat"
    assert SocketRoute("/", handler).name == "handler"
    assert SocketRoute("/", handler, "").name == "handler"
    assert SocketRoute("/", handler, None).name is None


@pytest.mark.row("KX13")
async def test_names_of_decorated_handlers() -> None:
    app = Kui()
    app.router.websocket("/own")(handler)
    app.router.websocket("/none", name=None)(handler)
    app.router.websocket("/another", name="other")(handler)
    with pytest.raises(ValueError, match="the name of"):
        app.router.websocket("/empty", name="")(handler)
    with pytest.raises(ValueError, match="the path of"):
        app.router.websocket("/own", name=None)(handler)
    named = {"own": "handler", "another": "other", "none": None}
    assert {route.path[1:]: route.name for route in app.router} == named
    assert app.router.url_for("handler") == "/own"
    assert app.router.url_for("other", {}) == "/another"


@pytest.mark.row("KX13", "C47")
def test_the_router_reverses_a_name_with_a_mapping() -> None:
    app = Kui()
    app.router <<= Routes(SocketRoute("/rooms/{name}/{self:int}", handler), namespace="chat")
    assert app.router.url_for("chat:handler", {"name": "blue", "self": 7}) == "/rooms/blue/7"
    given = {"name": "red", "self": 8}
    assert app.router.url_for("chat:handler", path_params=given) == "/rooms/red/8"
    with pytest.raises(NoMatchFound):
        app.router.url_for("chat:handler", {"name": "blue"})


@pytest.mark.row("KX9", "K42")
@pytest.mark.parametrize(
    ("path", "kind", "value"),
    [
        ("/str/any-thing", "str", "any-thing"),
        ("/int/42", "int", "42"),
        ("/decimal/19.90", "Decimal", "19.90"),
        ("/date/2024-01-15", "date", "2024-01-15"),
        (
            "/uuid/123e4567-e89b-12d3-a456-426614174000",
            *("UUID", "123e4567-e89b-12d3-a456-426614174000"),
        ),
        ("/any/path/to/file.txt", "str", "path/to/file.txt"),
        ("/str/me", "NoneType", "None"),
    ],
)
async def test_the_types_of_a_path(path: str, kind: str, value: str) -> None:
    app = Kui()

    async def told() -> None:
        found = websocket.path_params.get("x")
        await websocket.accept()
        await websocket.send_json([found.__class__.__name__, str(found)])

    for name in ("str", "int", "decimal", "date", "uuid", "any"):
        app.router <<= SocketRoute(f"/{name}/{{x:{name}}}", told, None)
    app.router <<= SocketRoute("/str/me", told, None)
    async with connected(app, path) as ws:
        assert await ws.receive_json() == [kind, value]


@pytest.mark.row("KX9")
@pytest.mark.parametrize(
    "path",
    ["/str/a/b", "/int/4x", "/decimal/x", "/date/2024-13-45", "/uuid/123e4567", "/str/"],
)
async def test_what_does_not_fit_is_not_found(path: str) -> None:
    app = Kui()
    for name in ("str", "int", "decimal", "date", "uuid"):
        app.router <<= SocketRoute(f"/{name}/{{x:{name}}}", handler, None)
    assert (await rejection(app, path)).status == 404
