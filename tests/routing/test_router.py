from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from starlette.responses import PlainTextResponse

from peer import Peer, make_scope
from telex import App, WebSocket, websocket
from telex._types import ASGIApp, Receive, Scope, Send
from telex.exceptions import RoutingError
from telex.routing import Mount, Router, Routes, SocketRoute
from telex.testing import AsyncTestClient, ConnectionRejected
from telex.views import SocketView


async def ws_handler() -> None:
    await websocket.accept()
    await websocket.send_text(f"{websocket.path} {dict(websocket.path_params)}")


async def other_handler() -> None:
    await websocket.accept()
    await websocket.send_text("other")


class ChatView(SocketView):
    async def on_connect(self) -> None:
        await websocket.accept()
        await websocket.close(4000)


def handler(answer: str) -> Any:
    async def answering(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text(f"{answer} {dict(ws.path_params)}")

    return answering


async def no_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("not to be called")


def router_of(*paths: str, **options: Any) -> Router:
    return Router([SocketRoute(path, handler(path), name=path) for path in paths], **options)


async def data(app: ASGIApp, url: str, **scope: Any) -> list[str | bytes]:
    """Return what a handler sends until it returns; keywords are keys of the scope."""
    async with AsyncTestClient(app) as client, client.websocket(quote(url), scope=scope) as ws:
        messages = [message async for message in ws]
        await ws.expect_close(1000)
        return messages


async def refusal(app: ASGIApp, url: str, **scope: Any) -> ConnectionRejected:
    with pytest.raises(ConnectionRejected) as refused:
        await data(app, url, **scope)
    return refused.value


# --- registering ---


@pytest.mark.row("K3", "K53", "T73")
async def test_the_decorator_registers_a_function_without_parameters() -> None:
    app = App()
    registered = app.router.websocket("/ws", name="websocket")(ws_handler)
    assert registered is ws_handler
    assert await data(app, "/ws") == ["/ws {}"]
    assert app.router.url_path_for("websocket") == "/ws"


@pytest.mark.row("K12", "T73")
async def test_the_decorator_registers_a_view() -> None:
    app = App()
    assert app.router.websocket("/chat")(ChatView) is ChatView
    async with AsyncTestClient(app) as client, client.websocket("/chat") as ws:
        await ws.expect_close(4000)


@pytest.mark.row("V11")
async def test_the_path_slash_is_that_path_alone() -> None:
    app = App()
    app.websocket("/")(ws_handler)
    assert await data(app, "/") == ["/ {}"]
    assert await data(app, "/", path="") == ["/ {}"]
    for path in ("/x", "//"):
        assert (await refusal(app, path)).status == 404


@pytest.mark.row("K52", "Z24")
async def test_decorator_and_route_object_do_the_same() -> None:
    decorated, added = Router(), Router()
    decorated.websocket("/{a}", name="x")(ws_handler)
    added.add(SocketRoute("/{a}", ws_handler, name="x"))
    for router in (decorated, added):
        assert await data(router, "/1") == ["/1 {'a': '1'}"]
        assert router.url_path_for("x", a=1) == "/1"
        assert [(path, route.name) for path, route in router.walk()] == [("/{a}", "x")]


@pytest.mark.row("K55", "T72")
async def test_shifting_adds_and_keeps_the_router() -> None:
    app = App()
    router = app.router
    app.router <<= SocketRoute("/ws", ws_handler)
    assert app.router is router
    assert router << [SocketRoute("/other", other_handler)] is router
    assert await data(app, "/ws") == ["/ws {}"]
    assert await data(app, "/other") == ["other"]


@pytest.mark.row("K56", "Z25")
async def test_the_two_halves_of_the_routing_example_are_alternatives() -> None:
    first = App()

    @first.router.websocket("/ws", name="websocket")
    async def ws_handler() -> None:
        await websocket.accept()

    second = App()
    second.router <<= SocketRoute("/ws", ws_handler, name="websocket")
    for app in (first, second):
        assert await data(app, "/ws") == []
        assert app.router.url_path_for("websocket") == "/ws"
    with pytest.raises(ValueError, match="the name"):
        first.router <<= SocketRoute("/ws", ws_handler, name="websocket")


@pytest.mark.row("K56", "KX13", "C61")
@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        (("/a", "x"), ("/b", "x"), "the name"),
        (("/a", "x"), ("/a", "y"), "the path"),
        (("/a", None), ("/a", None), "the path"),
        (("/{a}", "x"), ("/<b>", "y"), "the path"),
        (("/{a}/x-{n:int}", "x"), ("/{b}/x-{m:int}", "y"), "the path"),
    ],
)
def test_a_name_and_a_path_are_registered_once(first: Any, second: Any, what: str) -> None:
    router = Router([SocketRoute(first[0], ws_handler, name=first[1])])
    with pytest.raises(RoutingError, match=f"^{what} of .*other_handler.* taken by .*ws_handler"):
        router.add(SocketRoute(second[0], other_handler, name=second[1]))


@pytest.mark.row("C61")
def test_two_routes_may_be_unnamed_or_differ_in_type_or_slash() -> None:
    router = Router()
    for path in ("/{a}", "/{a:int}", "/{a}/", "/a"):
        router.add(SocketRoute(path, ws_handler, name=None))
    router.mount("/a", no_app)
    assert len(router) == 5
    with pytest.raises(RoutingError, match="the path"):
        router.mount("/a", no_app)


@pytest.mark.row("C61")
async def test_adding_is_all_or_nothing() -> None:
    router = router_of("/a")
    with pytest.raises(RoutingError):
        router.add([SocketRoute("/b", ws_handler), SocketRoute("/a", other_handler)])
    assert [route.path for route in router] == ["/a"]
    assert (await refusal(router, "/b")).status == 404
    router.add(SocketRoute("/b", ws_handler))
    assert await data(router, "/b") == ["/b {}"]


@pytest.mark.row("KX13")
def test_names_come_from_the_endpoint_the_argument_or_the_namespace() -> None:
    router = Router()
    router.websocket("/a")(ws_handler)
    router.websocket("/b", name="named")(ws_handler)
    router.websocket("/c", name=None)(ws_handler)
    router << Routes(SocketRoute("/d", ws_handler), namespace="ns")
    assert router.url_path_for("ws_handler") == "/a"
    assert router.url_path_for("named") == "/b"
    assert router.url_path_for("ns:ws_handler") == "/d"
    assert [route.name for route in router] == ["ws_handler", "named", None, "ns:ws_handler"]


def test_an_empty_router_is_true_and_has_no_length() -> None:
    assert Router()
    assert len(Router()) == 0


# --- matching ---


@pytest.mark.row("KX9", "T69", "V6", "C45")
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/users/me", "/users/me {}"),
        ("/users/bob", "/users/{id} {'id': 'bob'}"),
        ("/users/7", "/users/{id:int} {'id': 7}"),
        ("/users/7/x", "/users/{id}/x {'id': '7'}"),
        ("/users/bob/x", "/users/{id}/x {'id': 'bob'}"),
        ("/users/7/y", "/users/<name:int>/y {'name': 7}"),
        ("/users/%2F", "/users/{id} {'id': '%2F'}"),
        ("/files/a/b", "/files/<p:path> {'p': 'a/b'}"),
    ],
)
async def test_the_most_specific_route_serves(path: str, answer: str) -> None:
    router = router_of(
        "/files/<p:path>",
        "/users/{id}",
        "/users/{id:int}",
        "/users/me",
        "/users/<name:int>/y",
        "/users/{id}/x",
    )
    assert await data(router, path) == [answer]


@pytest.mark.row("T70", "C58")
@pytest.mark.parametrize("path", ["/ws/", "/w", "/ws//", "/WS", "/slash", "/users/"])
async def test_no_route_is_a_404_and_never_a_redirect(path: str) -> None:
    router = router_of("/ws", "/slash/", "/users/{id}")
    denied = await refusal(router, path)
    assert (denied.status, denied.body) == (404, b"Not Found")
    closed = await refusal(router, path, extensions={})
    assert (closed.status, closed.body) == (403, b"")


@pytest.mark.row("T58")
@pytest.mark.parametrize(
    ("root_path", "path", "served"),
    [
        ("/api", "/api/ws", True),
        ("/api", "/ws", True),
        ("/api/", "/api/ws", True),
        ("/api", "/apiws", False),
        ("/api", "/api", False),
        ("/ws", "/ws/ws", True),
        ("", "/api/ws", False),
    ],
)
async def test_the_root_path_is_not_matched(root_path: str, path: str, served: bool) -> None:
    router = router_of("/ws")
    if served:
        assert await data(router, path, root_path=root_path) == ["/ws {}"]
    else:
        assert (await refusal(router, path, root_path=root_path)).status == 404


async def test_the_scope_says_which_route_was_taken() -> None:
    router = Router()
    router.add(route := SocketRoute("/{a:int}", ws_handler))
    below = {"root_path": "/api"}
    async with AsyncTestClient(router) as client, client.websocket("/api/7", scope=below) as ws:
        assert ws.scope["path_params"] == {"a": 7}
        assert ws.scope["route"] is route
        assert ws.scope["endpoint"] is ws_handler
        assert ws.scope["telex.router"] == (router, "/api")


async def test_an_outer_router_stays_the_one_that_reverses() -> None:
    scopes: list[Scope] = []

    async def inner_handler(ws: WebSocket) -> None:
        scopes.append(ws.scope)
        await ws.accept()

    inner = Router([SocketRoute("/x", inner_handler)])
    outer = Router([Mount("/{a}", inner)])
    await data(outer, "/1/x")
    assert scopes[0]["telex.router"] == (outer, "")
    assert scopes[0]["path_params"] == {"a": "1"}
    assert scopes[0]["root_path"] == "/1"


@pytest.mark.row("K46")
async def test_the_application_is_in_the_connection() -> None:
    seen = []

    async def look(ws: WebSocket) -> None:
        seen.append(ws.app)
        await ws.accept()

    app = App([SocketRoute("/ws", look)])
    await data(app, "/ws")
    assert seen == [app]


# --- mounts ---


async def test_routes_win_over_mounts_and_mounts_take_the_rest() -> None:
    router = Router([Mount("/ws", router_of("/", "/x", "/chat"))])
    router.add(SocketRoute("/ws/chat", handler("outer"), name="outer"))
    assert await data(router, "/ws/chat") == ["outer {}"]
    assert await data(router, "/ws/x") == ["/x {}"]
    assert await data(router, "/ws") == ["/ {}"]
    assert await data(router, "/ws/") == ["/ {}"]
    assert (await refusal(router, "/ws/nowhere")).status == 404


async def test_a_mounted_application_is_served() -> None:
    inner = App([SocketRoute("/{b:int}", ws_handler)])
    app = App()
    app.mount("/m/{a}", inner)
    assert await data(app, "/m/x/7") == ["/m/x/7 {'a': 'x', 'b': 7}"]


# --- HTTP and lifespan ---


@pytest.mark.parametrize(
    ("path", "status"), [("/ws", 426), ("/rooms/7", 426), ("/rooms/x", 404), ("/", 404)]
)
async def test_http_alone_is_told_to_upgrade_or_404(path: str, status: int) -> None:
    async with AsyncTestClient(router_of("/ws", "/rooms/{n:int}")) as client:
        assert (await client.http.get(path)).status_code == status


async def test_http_goes_to_mounts_first_and_then_to_the_http_application() -> None:
    router = router_of("/ws", "/static/ws", http=PlainTextResponse("http"))
    router.mount("/static", PlainTextResponse("static"))
    answers = {"/static/ws": "static", "/static": "static", "/ws": "http", "/": "http"}
    async with AsyncTestClient(router, lifespan=False) as client:
        for path, answer in answers.items():
            response = await client.http.get(path)
            assert (response.status_code, response.text) == (200, answer)


@pytest.mark.row("T58")
async def test_http_mounts_are_found_below_a_root_path() -> None:
    router = Router([Mount("/static", PlainTextResponse("static"))])
    for path, answer in [
        ("/api/static/x", (200, b"static")),
        ("/apistatic/x", (404, b"Not Found")),
    ]:
        peer = Peer({"type": "http.request", "body": b"", "more_body": False}, connect=False)
        scope = make_scope(path, type="http", method="GET", scheme="http", root_path="/api")
        await peer.run(router, scope)
        assert (peer.sent[0]["status"], peer.sent[1]["body"]) == answer


async def test_the_lifespan_is_that_of_the_http_application() -> None:
    log = []

    async def http(scope: Scope, receive: Receive, send: Send) -> None:
        log.append(scope["type"])

    async with AsyncTestClient(Router(http=http)):
        pass
    assert log == ["lifespan"]


async def test_a_router_alone_goes_through_the_lifespan() -> None:
    peer = Peer({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, connect=False)
    await peer.run(Router(), {"type": "lifespan"})
    assert [each["type"] for each in peer.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_an_unknown_kind_of_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="not 'carrier pigeon'"):
        await Peer().run(Router(http=no_app), {"type": "carrier pigeon", "path": "/"})
