from __future__ import annotations

import functools
import threading
from typing import Any

import pytest
from starlette.middleware import Middleware

import telex
from clients import connected, ending, rejection
from foreign import example
from telex import SocketView
from telex._settings import Settings, settings_of
from telex._types import ASGIApp, Receive, Scope, Send
from telex.compat.lilya.apps import Lilya
from telex.compat.lilya.exceptions import PermissionDenied, WebSocketException
from telex.compat.lilya.routing import Include, Router, WebSocketPath, WebSocketRoute
from telex.compat.lilya.websockets import WebSocket, WebSocketClose
from telex.exceptions import RoutingError

pytestmark = pytest.mark.row("LX1")


async def world(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(4000, "world")


class Noted:
    """ASGI middleware that notes that it was passed."""

    def __init__(self, app: ASGIApp, calls: list[str], name: str = "class") -> None:
        self.app, self.calls, self.name = app, calls, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append(self.name)
        await self.app(scope, receive, send)


class Deny:
    """A permission that nobody has."""

    def __init__(self, app: ASGIApp, *args: Any, **kwargs: Any) -> None:
        pass

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise PermissionDenied


class Entry:
    """Middleware as `DefineMiddleware` of Lilya hands it out: class, arguments, options."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __iter__(self) -> Any:
        return iter(self.parts)


# The example, and what a route is


async def test_the_example_of_the_document() -> None:
    app = example("lilya", "LX1")()["app"]
    async with connected(app, "/anything") as ws:
        await ws.send_json({"hello": "world"})
        await ws.expect_close(1000)
    assert (await rejection(app, "/any/thing")).status == 404


def test_a_route_is_that_of_telex_with_other_arguments() -> None:
    route = WebSocketPath("/{room}", handler=world, include_in_schema=False)
    assert WebSocketRoute is WebSocketPath
    assert isinstance(route, telex.SocketRoute)
    assert (route.path, route.name, route.include_in_schema) == ("/{room}", "world", False)
    assert route.handler is route.endpoint is world
    assert WebSocketPath("/", world, name="other").name == "other"
    assert WebSocketPath("/", world).include_in_schema is True


@pytest.mark.parametrize("separator", [".", ":"])
async def test_a_handler_is_imported(separator: str) -> None:
    name = f"integration.documents_lilya{separator}denied"
    app = Lilya(routes=[WebSocketPath("/", name)])
    assert (await rejection(app)).status == 403


@pytest.mark.parametrize(
    "name", ["telex.nothing_there", "telex:nothing_there", "no_such_module.handler", "handler", ""]
)
def test_a_handler_that_cannot_be_imported_is_told(name: str) -> None:
    with pytest.raises(ImportError):
        WebSocketPath("/", name)


async def test_a_handler_may_be_an_asgi_object_or_a_view() -> None:
    class View(SocketView):
        async def on_connect(self) -> None:
            await self.websocket.accept()
            await self.websocket.close(4000, "view")

        async def on_disconnect(self, close_code: int) -> None:
            assert close_code == 4000

    app = Lilya(
        routes=[
            WebSocketPath("/close", WebSocketClose(1000, "done"), name="close"),
            WebSocketPath("/view", View),
        ]
    )
    assert (await rejection(app, "/close")).code == 1000
    assert await ending(app, "/view") == (4000, "view")


@pytest.mark.row("C3", "C51")
async def test_a_view_that_has_closed_makes_no_mistake_at_its_end() -> None:
    class View(SocketView):
        async def on_connect(self) -> None:
            await self.websocket.accept()
            await self.websocket.close(4000, "view")

    assert await ending(Lilya(routes=[WebSocketPath("/", View)])) == (4000, "view")


def test_a_handler_that_is_not_async_is_told() -> None:
    with pytest.raises(TypeError, match="async"):
        WebSocketPath("/", lambda websocket: None)


@pytest.mark.row("L24", "L25")
async def test_routes_are_reversed_by_name() -> None:
    async def handler(websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        await websocket.send_json(
            [websocket.path_for("ws", name=name), websocket.url_path_for("ws", name=name)]
        )

    app = Lilya(routes=[WebSocketPath("/ws/{name}", handler, name="ws")])
    async with connected(app, "/ws/bob") as ws:
        assert await ws.receive_json() == ["ws://testserver/ws/bob"] * 2


@pytest.mark.row("LX4")
@pytest.mark.parametrize(
    ("path", "matching", "other"),
    [
        ("/{n:int}", "/5", "/x"),
        ("/<n:int>", "/5", "/x"),
        ("/{n:float}", "/1.5", "/x"),
        ("/<n:uuid>", "/123e4567-e89b-12d3-a456-426614174000", "/5"),
        ("/{n:datetime}", "/2026-01-02T03:04:05", "/5"),
        ("/{n:str}", "/x", "/x/y"),
        ("/<n:path>", "/x/y", ""),
    ],
)
async def test_paths_have_types(path: str, matching: str, other: str) -> None:
    async def handler(connection: Any, n: Any) -> None:
        await connection.accept()
        await connection.close(4000, type(n).__name__)

    app = Lilya(routes=[WebSocketPath(path, handler)])
    assert (await ending(app, matching))[0] == 4000
    if other:
        assert (await rejection(app, other)).status == 404


# What goes around a handler


async def test_middleware_goes_around_permissions_and_these_around_the_handler() -> None:
    calls: list[str] = []

    async def handler(websocket: WebSocket) -> None:
        calls.append("handler")
        await world(websocket)

    route = WebSocketPath(
        "/",
        handler,
        permissions=[Entry(Noted, (calls, "permission"), {})],
        middleware=[
            Middleware(Noted, calls, name="entry"),
            functools.partial(Noted, calls=calls),
        ],
    )
    assert await ending(Lilya(routes=[route])) == (4000, "world")
    assert calls == ["entry", "class", "permission", "handler"]


async def test_a_permission_that_is_lacked_is_a_403() -> None:
    calls: list[str] = []
    middleware = [Middleware(Noted, calls)]
    route = WebSocketPath("/", world, permissions=[Deny], middleware=middleware)
    refused = await rejection(Lilya(routes=[route]))
    assert (refused.status, refused.text) == (403, PermissionDenied.detail)
    assert calls == ["class"]


async def test_hooks_run_before_and_after_the_handler() -> None:
    calls: list[Any] = []
    main = threading.get_ident()

    async def later(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append(("later", scope["path"]))

    def plain(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append(("plain", threading.get_ident() == main))

    class Hook:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            calls.append("class")

    async def handler(websocket: WebSocket, a: str) -> None:
        calls.append(a)
        await world(websocket)

    route = WebSocketPath(
        "/x",
        handler,
        before_request=[later, plain],
        after_request=[Hook, later],
        dependencies={"a": lambda: "handler"},
    )
    assert await ending(Lilya(routes=[route]), "/x") == (4000, "world")
    assert calls == [("later", "/x"), ("plain", False), "handler", "class", ("later", "/x")]


async def test_a_hook_that_ends_the_connection_has_the_last_word() -> None:
    calls: list[str] = []

    async def close(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", "code": 4003, "reason": "no"})

    async def handler(websocket: WebSocket) -> None:
        calls.append("handler")

    async def after(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append("after")

    route = WebSocketPath("/", handler, before_request=[close], after_request=[after])
    assert (await rejection(Lilya(routes=[route]))).code == 4003
    assert calls == []


@pytest.mark.parametrize(("leaves", "expected"), [(True, ["after"]), (False, [])])
async def test_after_a_failure_no_hook_runs_but_leaving_is_none(
    leaves: bool, expected: list[str]
) -> None:
    calls: list[str] = []

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        raise LookupError("a failure")

    async def after(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append("after")

    app = Lilya(routes=[WebSocketPath("/", handler, after_request=[after])])
    async with connected(app, raise_app_exceptions=False) as ws:
        if leaves:
            await ws.close(1001)
        else:
            await ws.send_text("x")
            await ws.expect_close(1011)
    assert calls == expected


@pytest.mark.parametrize(
    ("error", "code"), [(KeyError("x"), 4001), (LookupError("x"), 4002), (OSError("x"), 4003)]
)
async def test_of_exception_handlers_the_nearest_class_counts_and_then_that_of_the_route(
    error: Exception, code: int
) -> None:
    def closing(code: int) -> Any:
        def handle(websocket: WebSocket, exc: Exception) -> None:
            assert type(websocket) is WebSocket
            raise WebSocketException(code, type(exc).__name__)

        return handle

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        raise error

    own = {KeyError: closing(4001), Exception: closing(4008)}
    app = Lilya(
        routes=[WebSocketPath("/", handler, exception_handlers=own)],
        exception_handlers={
            KeyError: closing(4009),
            LookupError: closing(4002),
            OSError: closing(4003),
        },
    )
    assert await ending(app) == (code, type(error).__name__)


async def test_what_a_route_makes_of_the_settings_of_an_application_is_made_once() -> None:
    found: list[Settings] = []

    async def handle(websocket: WebSocket, exc: Exception) -> None:
        raise WebSocketException(4001)

    async def handler(websocket: WebSocket) -> None:
        found.append(settings_of(websocket.scope))
        await websocket.accept()
        raise KeyError

    router = Router([WebSocketPath("/", handler, exception_handlers={KeyError: handle})])
    one, two = Lilya(debug=True), Lilya()
    for app in (one, two):
        app.mount("/", router)
    for app in (one, one, two):
        assert await ending(app) == (4001, "")
    assert found[0] is found[1]
    assert [each.debug for each in found] == [True, True, False]


async def test_a_handler_that_comes_later_counts_too() -> None:
    async def handle(websocket: WebSocket, exc: Exception) -> None:
        raise WebSocketException(4001)

    async def later(websocket: WebSocket, exc: Exception) -> None:
        raise WebSocketException(4002, "later")

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        raise OSError

    app = Lilya(routes=[WebSocketPath("/", handler, exception_handlers={Exception: handle})])
    assert await ending(app) == (4001, "")
    app.add_exception_handler(OSError, later)
    assert await ending(app) == (4002, "later")


async def test_an_exception_of_a_permission_reaches_the_handlers_of_the_route() -> None:
    async def handle(websocket: WebSocket, exc: Exception) -> None:
        raise WebSocketException(4001)

    route = WebSocketPath(
        "/", world, permissions=[Deny], exception_handlers={PermissionDenied: handle}
    )
    refused = await rejection(Lilya(routes=[route]))
    assert (refused.status, refused.code) == (403, 4001)


@pytest.mark.row("LX8")
@pytest.mark.parametrize("accepted", [True, False])
async def test_an_exception_closes_with_its_code_and_reason(accepted: bool) -> None:
    async def handler(websocket: WebSocket) -> None:
        if accepted:
            await websocket.accept()
        raise WebSocketException(4000, "no")

    app = Lilya(routes=[WebSocketPath("/", handler)])
    if accepted:
        assert await ending(app) == (4000, "no")
    else:
        assert (await rejection(app)).status == 403


async def test_the_options_of_telex_work_too() -> None:
    calls: list[str] = []

    def noting(name: str) -> Any:
        def middleware(endpoint: Any) -> Any:
            async def wrapper() -> None:
                calls.append(name)
                await endpoint()

            return wrapper

        return middleware

    async def before(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append("before")

    route = WebSocketPath("/", world, middlewares=[noting("own")], before_request=[before])
    app = Lilya(routes=[route @ noting("outer")])
    assert await ending(app) == (4000, "world")
    assert calls == ["outer", "own", "before"]
    with pytest.raises(TypeError, match="nonsense"):
        WebSocketPath("/", world, nonsense=True)


# Routers


async def test_a_router_of_its_own() -> None:
    router = Router(dependencies={"a": lambda: "given"})

    @router.websocket("/decorated", name="named")
    async def handler(connection: Any, a: str) -> None:
        await connection.accept()
        await connection.close(4000, a)

    router.add_websocket_route("/added", handler, dependencies={"a": lambda: "route"})
    assert [route.name for route in router] == ["named", "handler"]
    assert await ending(router, "/decorated") == (4000, "given")
    assert await ending(router, "/added") == (4000, "route")


def test_a_decorator_without_a_path_is_told() -> None:
    with pytest.raises(RoutingError):
        Router().websocket(world)  # type: ignore[arg-type]


async def test_included_routes_get_what_the_application_gives() -> None:
    async def handler(connection: Any, room: str, a: str) -> None:
        await connection.accept()
        await connection.close(4000, f"{room} {a} {connection.path_for('rooms:handler', room='x')}")

    routes = [Include("/rooms", routes=[WebSocketPath("/{room}", handler)], name="rooms")]
    app = Lilya(routes=routes, dependencies={"a": lambda: "given"})
    assert await ending(app, "/rooms/lobby") == (4000, "lobby given ws://testserver/rooms/x")


async def test_a_parameter_of_the_prefix_is_one_of_the_path() -> None:
    async def handler(room: str, connection: WebSocket) -> None:
        await connection.accept()
        await connection.close(4000, room)

    group = Include("/{room}", routes=[WebSocketPath("/chat", handler)])
    assert await ending(Lilya(routes=[group]), "/lobby/chat") == (4000, "lobby")


async def test_an_application_is_included_with_dependencies_of_its_own() -> None:
    async def handler(connection: Any, a: str) -> None:
        await connection.accept()
        await connection.close(4000, a)

    child = Lilya(routes=[WebSocketPath("/x", handler)], dependencies={"a": lambda: "child"})
    app = Lilya(routes=[Include(path="/in", app=child)], dependencies={"a": lambda: "outer"})
    assert await ending(app, "/in/x") == (4000, "child")


async def test_routes_can_be_included_without_a_prefix() -> None:
    app = Lilya(routes=[Include("/", routes=[WebSocketPath("/x", world)])])
    assert await ending(app, "/x") == (4000, "world")
