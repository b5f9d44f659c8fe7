from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount as StarletteMount
from starlette.routing import Route as StarletteRoute
from starlette.routing import WebSocketRoute

from peer import Peer, make_scope
from telex import WebSocket, websocket
from telex._types import Receive, Scope, Send
from telex.codecs import JSON
from telex.exceptions import NoMatchFound, RoutingError
from telex.lifecycle import Endpoint
from telex.routing import Mount, Router, SocketRoute
from telex.testing import AsyncTestClient, ConnectionRejected
from telex.views import SocketView


async def echo_params(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text(repr(dict(ws.path_params)))


async def echo_triple(scope: Scope, receive: Receive, send: Send) -> None:
    scope["seen"].append(scope)


class ChatView(SocketView):
    async def on_connect(self) -> None:
        await websocket.accept()
        await websocket.close(4000)


# --- routes ---


@pytest.mark.row("K54")
def test_a_route_has_path_endpoint_and_name() -> None:
    route = SocketRoute("/ws", echo_params, name="websocket")
    assert (route.path, route.endpoint, route.name) == ("/ws", echo_params, "websocket")
    assert repr(route).startswith("SocketRoute('/ws', ")


@pytest.mark.row("KX13")
def test_a_route_is_named_after_its_endpoint_unless_told_otherwise() -> None:
    assert SocketRoute("/ws", echo_params).name == "echo_params"
    assert SocketRoute("/ws", ChatView).name == "ChatView"
    assert SocketRoute("/ws", echo_params, name=None).name is None


@pytest.mark.parametrize("name", ["", 7])
def test_a_name_is_text(name: Any) -> None:
    with pytest.raises(RoutingError, match="named with text"):
        SocketRoute("/ws", echo_params, name=name)


@pytest.mark.row("T74")
def test_a_bad_handler_is_refused_when_the_route_is_made() -> None:
    def sync() -> None: ...

    with pytest.raises(TypeError, match="sync must be an async function"):
        SocketRoute("/ws", sync)  # type: ignore[arg-type]


@pytest.mark.row("V6", "C45")
async def test_a_route_serves_its_path_without_a_router() -> None:
    route = SocketRoute("/rooms/{room}/<n:int>", echo_params)
    async with AsyncTestClient(route) as client, client.websocket("/rooms/blue/7") as ws:
        assert await ws.receive_text() == "{'room': 'blue', 'n': 7}"
        assert ws.scope["route"] is route
        assert ws.scope["endpoint"] is echo_params


@pytest.mark.row("K12")
async def test_a_route_serves_a_view() -> None:
    route = SocketRoute("/chat", ChatView)
    async with AsyncTestClient(route) as client, client.websocket("/chat") as ws:
        await ws.expect_close(4000)


@pytest.mark.row("C58")
async def test_a_route_refuses_other_paths() -> None:
    async with AsyncTestClient(SocketRoute("/chat", ChatView)) as client:
        with pytest.raises(ConnectionRejected, match="404"):
            async with client.websocket("/chat/"):
                pass


@pytest.mark.parametrize(("path", "status"), [("/chat", 426), ("/other", 404)])
async def test_a_route_answers_plain_http(path: str, status: int) -> None:
    async with AsyncTestClient(SocketRoute("/chat", ChatView)) as client:
        assert (await client.http.get(path)).status_code == status


async def test_a_route_and_a_mount_go_through_the_lifespan() -> None:
    for app in (SocketRoute("/chat", ChatView), Mount("/x", echo_triple)):
        peer = Peer({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, connect=False)
        await peer.run(app, {"type": "lifespan"})
        assert [each["type"] for each in peer.sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]


@pytest.mark.row("KX1", "KX3", "K60", "Z28", "KX7")
async def test_middlewares_go_around_a_route_the_right_most_outermost() -> None:
    log: list[str] = []

    def named(name: str) -> Any:
        def middleware(endpoint: Endpoint) -> Endpoint:
            async def wrapper() -> object:
                log.append(name)
                return await endpoint()

            return wrapper

        return middleware

    plain = SocketRoute("/ws", echo_params, middlewares=[named("list 1"), named("list 2")])
    wrapped = plain @ named("r1") @ named("r2")
    for route, entered in [
        (wrapped, ["r2", "r1", "list 1", "list 2"]),
        (plain, ["list 1", "list 2"]),
    ]:
        log.clear()
        async with AsyncTestClient(route) as client, client.websocket("/ws"):
            assert log == entered
    assert (wrapped.path, wrapped.name, wrapped.endpoint) == ("/ws", "echo_params", echo_params)
    assert len(wrapped.middlewares) == 4


def no_middleware(endpoint: Endpoint) -> Any:
    return None


@pytest.mark.row("C60")
def test_a_bad_middleware_is_refused_when_the_route_is_made() -> None:
    with pytest.raises(TypeError, match="'auth' cannot be called"):
        SocketRoute("/ws", echo_params, middlewares=["auth"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="must return an async function"):
        SocketRoute("/ws", echo_params) @ no_middleware


@pytest.mark.row("T71")
@pytest.mark.parametrize("prefix", ["ws", "/ws/", "", "/", 7])
@pytest.mark.parametrize("under", [SocketRoute("/x", echo_params), Mount("/x", echo_triple)])
def test_a_prefix_begins_with_a_slash_and_does_not_end_with_one(prefix: Any, under: Any) -> None:
    with pytest.raises(RoutingError, match="must begin with '/' and not end with '/'"):
        prefix // under


@pytest.mark.row("K58", "T71")
def test_a_prefix_makes_a_new_route() -> None:
    route = SocketRoute("/{id}", echo_params)
    assert ("/a/{b}" // route).path == "/a/{b}/{id}"
    assert ("/a" // ("/b" // route)).path == "/a/b/{id}"
    assert ("/a" // SocketRoute("/", echo_params)).path == "/a/"
    assert route.path == "/{id}"
    with pytest.raises(RoutingError, match="'id' appears twice"):
        "/{id}" // route


@pytest.mark.row("T75", "K53")
def test_a_route_is_reversed() -> None:
    route = SocketRoute("/{name}/{self:int}", echo_params, name="odd")
    path = route.url_path_for("odd", name="a b", self=7)
    assert path == "/a b/7"
    assert path.protocol == "websocket"
    with pytest.raises(NoMatchFound, match="'even'"):
        route.url_path_for("even", name="a", self=7)
    with pytest.raises(NoMatchFound, match="'odd'"):
        route.url_path_for("odd", name="a")


# --- mounts ---


async def see(mount: Mount, path: str, **extra: Any) -> Scope | None:
    seen: list[Scope] = []
    scope = make_scope(path, seen=seen, **extra)
    before = dict(scope)
    await Peer().run(mount, scope)
    if seen:
        assert {key: scope[key] for key in before} == before
        return seen[0]
    return None


@pytest.mark.row("T58")
@pytest.mark.parametrize(
    ("prefix", "path", "root_path", "child_root", "child_path"),
    [
        ("/ws", "/ws/chat", "", "/ws", "/ws/chat"),
        ("/ws", "/ws", "", "/ws", "/ws"),
        ("/ws", "/ws/", "", "/ws", "/ws/"),
        ("/ws", "/api/ws/chat", "/api", "/api/ws", "/api/ws/chat"),
        ("/ws", "/ws/chat", "/api", "/api/ws", "/api/ws/chat"),
        ("", "/chat", "", "", "/chat"),
        ("/", "/chat", "/api", "/api", "/api/chat"),
        ("/{a}/{b:int}", "/x y/7/z", "", "/x y/7", "/x y/7/z"),
    ],
)
async def test_a_mount_passes_the_whole_path_and_a_longer_root_path(
    prefix: str, path: str, root_path: str, child_root: str, child_path: str
) -> None:
    child = await see(Mount(prefix, echo_triple), path, root_path=root_path)
    assert child is not None
    assert (child["root_path"], child["path"]) == (child_root, child_path)


async def test_parameters_of_a_prefix_are_added_to_those_outside() -> None:
    mount = Mount("/{b:int}", echo_triple)
    child = await see(mount, "/7/x", path_params={"a": 1})
    assert child is not None
    assert child["path_params"] == {"a": 1, "b": 7}


@pytest.mark.parametrize("path", ["/wsx", "/other", "/"])
async def test_a_mount_refuses_other_paths(path: str) -> None:
    assert await see(Mount("/ws", echo_triple), path) is None


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("ws", "must begin with '/'"),
        ("/ws/", "not end with '/'"),
        ("/{p:path}", "a mount cannot end with a type that takes '/'"),
        ("/{p:what}", "unknown type"),
    ],
)
def test_a_bad_prefix_is_refused(prefix: str, message: str) -> None:
    with pytest.raises(RoutingError, match=message):
        Mount(prefix, echo_triple)


def test_a_mount_needs_an_application() -> None:
    with pytest.raises(TypeError, match="'app' is no ASGI application"):
        Mount("/ws", "app")  # type: ignore[arg-type]


def test_a_mount_under_a_prefix_is_a_new_one() -> None:
    mount = Mount("/ws", echo_triple, name="m")
    assert ("/a" // mount).path == "/a/ws"
    assert ("/a" // Mount("/", echo_triple)).path == "/a"
    assert mount.path == "/ws"
    assert repr(mount).startswith("Mount('/ws', ")


def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.url_for('page', x='a b')} {request.url.path}")


async def starlette_socket(ws: Any) -> None:
    await ws.accept()
    await ws.send_text(str(ws.url_for("page", x="1")))
    await ws.close()


ROUTES = [
    StarletteRoute("/pages/{x}", page, name="page"),
    WebSocketRoute("/socket/{n:int}", starlette_socket, name="socket"),
    StarletteMount("/static", echo_triple, name="static"),
]
FASTAPI = FastAPI(routes=list(ROUTES))
STARLETTE = Starlette(routes=list(ROUTES))


@pytest.mark.row("T75")
@pytest.mark.parametrize("app", [STARLETTE, FASTAPI], ids=["Starlette", "FastAPI"])
@pytest.mark.parametrize("name", [None, "web"])
@pytest.mark.parametrize(
    ("child", "params", "path", "protocol"),
    [
        ("page", {"x": "a b"}, "/p/7/pages/a b", "http"),
        ("socket", {"n": 3}, "/p/7/socket/3", "websocket"),
        ("static", {"path": "/a.css"}, "/p/7/static/a.css", "http"),
    ],
)
def test_a_starlette_application_is_reversed_through_a_mount(
    app: Any, name: str | None, child: str, params: dict[str, Any], path: str, protocol: str
) -> None:
    mount = Mount("/p/{id:int}", app, name=name)
    found = mount.url_path_for(child if name is None else f"{name}:{child}", id=7, **params)
    assert found == path
    assert found.protocol == protocol


@pytest.mark.row("T75")
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("web:page", {"id": 7}),
        ("web:page", {"x": "1"}),
        ("web:page", {"id": "x", "x": "1"}),
        ("web:other", {"id": 7}),
        ("web:page", {"id": 7, "x": "a/b"}),
        ("web:socket", {"id": 7, "n": "x"}),
        ("page", {"id": 7, "x": "1"}),
        ("other:page", {"id": 7, "x": "1"}),
        ("web", {"id": 7}),
    ],
)
def test_what_a_mount_cannot_reverse_is_no_match(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(NoMatchFound):
        Mount("/p/{id:int}", STARLETTE, name="web").url_path_for(name, **params)


def test_an_application_that_cannot_be_reversed_is_no_match() -> None:
    with pytest.raises(NoMatchFound):
        Mount("/p", echo_triple).url_path_for("page")


def test_the_name_of_a_mount_with_a_path_is_a_path_below_it() -> None:
    mount = Mount("/static", echo_triple, name="static")
    for path in ("/css/a b.css", "css/a b.css"):
        found = mount.url_path_for("static", path=path)
        assert (found, found.protocol) == ("/static/css/a b.css", "http")


@pytest.mark.row("T58")
@pytest.mark.parametrize("app", [STARLETTE, FASTAPI], ids=["Starlette", "FastAPI"])
@pytest.mark.parametrize("root_path", ["", "/api"])
@pytest.mark.parametrize("included", [True, False])
async def test_a_starlette_application_works_under_a_mount(
    app: Any, root_path: str, included: bool
) -> None:
    outside = root_path if included else ""
    router = Router([Mount("/web", app)])
    asked = f"{outside}/web/pages/x"
    scope = make_scope(asked, type="http", method="GET", scheme="http", root_path=root_path)
    peer = Peer({"type": "http.request", "body": b"", "more_body": False}, connect=False)
    await peer.run(router, scope)
    body = f"http://testserver{root_path}/web/pages/a b {root_path}/web/pages/x"
    assert peer.sent[1]["body"].decode() == body
    asked, below = f"{outside}/web/socket/3", {"root_path": root_path}
    async with AsyncTestClient(router) as client, client.websocket(asked, scope=below) as ws:
        assert await ws.receive_text() == f"http://testserver{root_path}/web/pages/1"
        await ws.expect_close(1000)


async def test_a_route_has_its_own_codec_also_under_a_prefix_and_with_middlewares() -> None:
    async def echo(ws: WebSocket) -> None:
        async with ws:
            await ws.send_value(await ws.receive_as(dict))

    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> object:
            return await endpoint()

        return wrapper

    route = "/deep" // SocketRoute("/echo", echo, codec=JSON(binary=True)) @ middleware
    async with (
        AsyncTestClient(route, lifespan=False) as client,
        client.websocket("/deep/echo") as ws,
    ):
        await ws.send_text('{"a": 1}')
        assert await ws.receive_bytes() == b'{"a":1}'
