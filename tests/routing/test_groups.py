from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from telex import App, websocket
from telex._types import ASGIApp
from telex.exceptions import RoutingError
from telex.lifecycle import Endpoint
from telex.routing import Mount, Router, Routes, SocketRoute
from telex.routing._groups import flatten
from telex.testing import AsyncTestClient, ConnectionRejected

Log = list[str]


async def chat() -> None:
    await websocket.accept()
    await websocket.send_text(f"chat at {websocket.path}")


async def notify() -> None:
    await websocket.accept()
    await websocket.send_text(f"notify at {websocket.path}")


async def other_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4000, "reason": ""})


def named(name: str, log: Log) -> Callable[[Endpoint], Endpoint]:
    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> object:
            log.append(name)
            return await endpoint()

        return wrapper

    return middleware


def group() -> Routes:
    return Routes(SocketRoute("/chat", chat), SocketRoute("/notifications", notify))


def paths(routes: Sequence[SocketRoute | Mount]) -> list[str]:
    return [route.path for route in routes]


async def data(app: ASGIApp, path: str) -> list[str | bytes]:
    """Return what a handler sends until it returns."""
    async with AsyncTestClient(app) as client, client.websocket(path) as ws:
        messages = [message async for message in ws]
        await ws.expect_close(1000)
        return messages


@pytest.mark.row("K57", "Z26")
def test_a_group_is_a_sequence_of_its_routes() -> None:
    first, second = SocketRoute("/chat", chat), SocketRoute("/notifications", notify)
    routes = Routes(first, second)
    assert len(routes) == 2
    assert list(routes) == [first, second]
    assert (routes[0], routes[-1], routes[:1]) == (first, second, [first])
    assert second in routes
    assert routes.index(second) == 1
    assert "/chat" in repr(routes)


@pytest.mark.row("K58", "K59", "Z26", "Z27")
async def test_a_prefixed_group_is_served_under_its_prefix() -> None:
    ws_routes = group()
    router = Router()
    router <<= "/ws" // ws_routes
    assert await data(router, "/ws/chat") == ["chat at /ws/chat"]
    assert await data(router, "/ws/notifications") == ["notify at /ws/notifications"]
    with pytest.raises(ConnectionRejected, match="404"):
        await data(router, "/chat")


@pytest.mark.row("K58", "T71")
def test_a_prefix_makes_a_new_group_and_leaves_the_old_one() -> None:
    routes = group()
    prefixed = "/ws" // routes
    assert paths(routes) == ["/chat", "/notifications"]
    assert paths(prefixed) == ["/ws/chat", "/ws/notifications"]
    routes.append(SocketRoute("/late", chat, name="late"))
    assert len(prefixed) == 2
    assert paths("/a" // prefixed) == ["/a/ws/chat", "/a/ws/notifications"]


@pytest.mark.row("T71")
def test_what_is_added_to_a_prefixed_group_later_gets_the_prefix_too() -> None:
    prefixed = "/a" // ("/b" // Routes(namespace="ns"))
    prefixed.append(SocketRoute("/chat", chat))
    prefixed.mount("/app", other_app)
    assert paths(prefixed) == ["/a/b/chat", "/a/b/app"]
    assert prefixed[0].name == "ns:chat"


@pytest.mark.row("T71")
@pytest.mark.parametrize("prefix", ["ws", "/ws/", "", "/", "/{"])
def test_a_prefix_is_checked_even_for_an_empty_group(prefix: str) -> None:
    with pytest.raises(RoutingError):
        prefix // group()
    if prefix != "/{":
        with pytest.raises(RoutingError, match="must begin with '/' and not end with '/'"):
            prefix // Routes()


@pytest.mark.row("T71")
def test_one_group_under_two_prefixes_needs_two_namespaces() -> None:
    routes = group()
    with pytest.raises(RoutingError, match="the name"):
        Router(["/a" // routes, "/b" // routes])
    router = Router([Routes("/a" // routes, namespace="a"), Routes("/b" // routes, namespace="b")])
    assert router.url_path_for("a:chat") == "/a/chat"
    assert router.url_path_for("b:chat") == "/b/chat"


@pytest.mark.row("KX13")
def test_a_namespace_is_put_before_the_names_of_routes_that_have_one() -> None:
    inner = Routes(
        SocketRoute("/a", chat, name="a"),
        SocketRoute("/b", chat, name=None),
        Mount("/c", other_app, name="c"),
        Mount("/d", other_app),
        namespace="in",
    )
    assert inner.namespace == "in"
    assert [each.name for each in inner] == ["in:a", None, "in:c", None]
    outer = Routes(inner, namespace="out")
    assert [each.name for each in outer] == ["out:in:a", None, "out:in:c", None]


@pytest.mark.row("T73", "KX6")
async def test_the_decorator_registers_and_returns_the_function() -> None:
    routes = Routes()
    log: Log = []
    registered = routes.websocket("/chat", name="x", middlewares=[named("m", log)])(chat)
    assert registered is chat
    assert routes[0].name == "x"
    assert await data(Router(routes), "/chat") == ["chat at /chat"]
    assert log == ["m"]


@pytest.mark.row("KX6")
async def test_a_middleware_of_a_group_is_entered_once_for_each_route() -> None:
    log: Log = []
    routes = Routes(*group(), socket_middlewares=[named("m", log)])
    router = Router(["/ws" // routes])
    assert await data(router, "/ws/chat") == ["chat at /ws/chat"]
    assert log == ["m"]
    await data(router, "/ws/notifications")
    assert log == ["m", "m"]


@pytest.mark.row("KX6", "T73")
async def test_the_middleware_decorator_is_for_empty_groups() -> None:
    log: Log = []
    routes = Routes(socket_middlewares=[named("first", log)])
    middleware = named("second", log)
    assert routes.socket_middleware(middleware) is middleware
    assert len(routes.socket_middlewares) == 2
    routes << SocketRoute("/chat", chat)
    await data(Router(routes), "/chat")
    assert log == ["first", "second"]
    with pytest.raises(RuntimeError, match="before its routes"):
        routes.socket_middleware(middleware)


@pytest.mark.row("KX7", "C60")
async def test_middlewares_of_nested_groups_go_from_outside_to_inside() -> None:
    log: Log = []
    route = SocketRoute("/chat", chat) @ named("r1", log) @ named("r2", log)
    inner = Routes(route, socket_middlewares=[named("g3", log), named("g4", log)])
    outer = Routes("/in" // inner, socket_middlewares=[named("g1", log), named("g2", log)])
    router = Router([outer], socket_middlewares=[named("app1", log), named("app2", log)])
    await data(router, "/in/chat")
    assert log == ["app1", "app2", "g1", "g2", "g3", "g4", "r2", "r1"]


async def test_a_mount_in_a_group_goes_without_socket_middlewares() -> None:
    log: Log = []
    routes = Routes(Mount("/app", other_app), socket_middlewares=[named("m", log)])
    router = Router(["/x" // routes])
    async with AsyncTestClient(router) as client, client.websocket("/x/app") as ws:
        await ws.expect_close(4000)
    assert log == []


@pytest.mark.parametrize("take", [Router, lambda routes: Router([routes]), Routes])
def test_a_group_that_was_added_elsewhere_takes_no_more(take: Callable[[Routes], object]) -> None:
    routes = Routes(group())
    take(routes)
    with pytest.raises(RuntimeError, match="would not be served"):
        routes.append(SocketRoute("/late", chat, name="late"))
    late = "/p" // routes
    late.append(SocketRoute("/late", chat, name="late"))
    assert len(late) == 3


def test_a_group_can_be_added_to_two_routers() -> None:
    routes = group()
    assert len(Router([routes])) == len(Router([routes])) == 2


def test_lists_and_groups_are_taken_apart() -> None:
    route, mount = SocketRoute("/chat", chat), Mount("/app", other_app)
    assert flatten([route, [mount], Routes(), (route,)]) == [route, mount, route]


@pytest.mark.parametrize("junk", [chat, "/chat", b"", None, ["/chat"], 7])
def test_anything_else_is_refused(junk: Any) -> None:
    with pytest.raises(TypeError, match="expected a SocketRoute, a Mount or Routes"):
        Routes(junk)
    with pytest.raises(TypeError, match="expected a SocketRoute, a Mount or Routes"):
        Router() << junk


# --- middlewares of everything ---


@pytest.mark.row("KX2", "KX3", "K60", "Z28")
async def test_a_middleware_of_the_application_goes_around_every_websocket_and_no_http() -> None:
    log: list[str] = []
    http = Starlette(routes=[Route("/page", PlainTextResponse("page"))])
    app = App(socket_middlewares=[named("m", log)], http=http)
    app.router <<= SocketRoute("/a", chat) @ named("r", log)
    app.router.websocket("/b")(notify)
    assert await data(app, "/a") == ["chat at /a"]
    assert await data(app, "/b") == ["notify at /b"]
    assert log == ["m", "r", "m"]
    async with AsyncTestClient(app) as client:
        assert (await client.http.get("/page")).text == "page"
    assert len(log) == 3


@pytest.mark.row("KX6")
async def test_a_middleware_is_entered_once_wherever_it_was_added() -> None:
    log: list[str] = []
    routes = Routes(socket_middlewares=[named("routes", log)])
    routes.socket_middleware(named("decorator", log))
    router = Router(socket_middlewares=[named("router", log)])
    routes.websocket("/a", middlewares=[named("route", log)])(chat)
    router << routes
    await data(router, "/a")
    assert log == ["router", "routes", "decorator", "route"]


@pytest.mark.row("KX7", "C60")
async def test_the_order_is_application_group_route() -> None:
    log: list[str] = []
    route = SocketRoute("/ws", chat) @ named("r1", log) @ named("r2", log)
    group = Routes(route, socket_middlewares=[named("g1", log), named("g2", log)])
    await data(App([group], socket_middlewares=[named("a1", log), named("a2", log)]), "/ws")
    # Lists say the outermost first; the one that was put around last is outside.
    assert log == ["a1", "a2", "g1", "g2", "r2", "r1"]


@pytest.mark.row("C60")
def test_a_bad_middleware_of_the_router_is_refused_when_a_route_is_added() -> None:
    router = Router(socket_middlewares=[7])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="socket middleware 7 cannot be called"):
        router.add(SocketRoute("/ws", chat))
    assert len(router) == 0


async def doubled(data: int) -> int:
    return data * 2


async def test_a_listener_of_a_group_has_its_prefix_its_namespace_and_its_middlewares() -> None:
    log: Log = []
    group = Routes(namespace="numbers", socket_middlewares=[named("group", log)])
    decorated = group.websocket_listener("/double", middlewares=[named("route", log)])(doubled)
    assert decorated is doubled
    router = Router()
    router.add("/numbers" // group)
    assert router.url_path_for("numbers:doubled") == "/numbers/double"
    async with (
        AsyncTestClient(router, lifespan=False) as client,
        client.websocket("/numbers/double") as ws,
    ):
        await ws.send_text("2")
        assert await ws.receive_text() == "4"
    assert log[:2] == ["group", "route"]


def test_a_listener_that_cannot_be_one_is_refused_when_it_is_decorated() -> None:
    group = Routes()
    with pytest.raises(TypeError, match="needs a parameter 'data'"):
        group.websocket_listener("/chat")(chat)
    with pytest.raises(ValueError, match="concurrency must be at least 1"):
        group.websocket_listener("/double", concurrency=0)(doubled)
    assert len(group) == 0
