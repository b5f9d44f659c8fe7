"""The application: everything put together, alone, inside others and around others."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount as StarletteMount
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket

from lifespans import LifespanServer
from peer import DEADLINE, Peer, make_scope, serve
from telex import (
    URL,
    Address,
    App,
    Headers,
    ImproperlyConfigured,
    Mount,
    NoMatchFound,
    Outbox,
    QueryParams,
    Router,
    Routes,
    RoutingError,
    SocketRoute,
    State,
    WebSocket,
    websocket,
)
from telex._settings import settings_of
from telex._types import ASGIApp, Receive, Scope, Send
from telex.context import current
from telex.server.run import STOP_TIMEOUT
from telex.testing import AsyncTestClient, ConnectionRejected
from telex.websockets import link_of


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(f"{ws.path} {text}")


def app_with(handler: Any = echo, path: str = "/", **options: Any) -> App:
    app = App(**options)
    app.websocket(path)(handler)
    return app


async def visit(app: ASGIApp, url: str = "/", **options: Any) -> None:
    """Connect and wait until the handler has returned."""
    async with AsyncTestClient(app) as client, client.websocket(url, **options) as ws:
        await ws.expect_close(1000)


# The examples of the documents


@pytest.mark.row("K7", "Z2", "Z3", "K12")
@pytest.mark.parametrize("comment", ["", "  # 装饰器"])
async def test_the_echo_function_of_the_document_runs(
    comment: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = f"""
from telex import websocket

@app.router.websocket("/ws"){comment}
async def ws_handler():
    await websocket.accept()
    async for data in websocket.iter_json():
        await websocket.send_json({{"echo": data}})
"""
    app = App()
    exec(source, {"app": app, "__name__": "document"})
    async with AsyncTestClient(app) as client, client.websocket("/ws") as ws:
        for sent, answer in [('{"a":1}', '{"echo":{"a":1}}'), ("null", '{"echo":null}')]:
            await ws.send_text(sent)
            assert await ws.receive_text() == answer
        await ws.close(1001)
    assert caplog.messages == []


ATTRIBUTES = {
    "url": URL,
    "headers": Headers,
    "query_params": QueryParams,
    "path_params": dict,
    "client": Address,
    "cookies": dict,
    "state": State,
    "app": App,
}


@pytest.mark.row("Z20")
async def test_a_connection_has_the_attributes_of_the_document() -> None:
    seen: dict[str, Any] = {}

    async def handler(ws: WebSocket) -> None:
        for name in ATTRIBUTES:
            seen[name] = getattr(websocket, name)
        await ws.accept()

    await visit(app_with(handler, "/rooms/{room:int}"), "/rooms/7?a=1", cookies={"c": "d"})
    assert {name: type(value) for name, value in seen.items()} == ATTRIBUTES
    assert seen["path_params"] == {"room": 7}
    assert seen["query_params"] == {"a": "1"}
    assert seen["cookies"] == {"c": "d"}


@pytest.mark.row("K46", "Z20")
async def test_the_app_of_a_connection_is_the_application() -> None:
    apps: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        apps.append(ws.app)
        await ws.accept()

    app = app_with(handler)
    await visit(app)
    assert apps == [app]
    assert app.state is not None


async def test_handlers_share_the_state_of_the_application() -> None:
    async def handler(ws: WebSocket) -> None:
        ws.app.state.count = ws.app.state.get("count", 0) + 1
        await ws.accept()

    app = app_with(handler)
    await visit(app)
    await visit(app)
    assert app.state.count == 2
    assert "count" not in App().state


# HTTP beside it


async def page(request: Request) -> JSONResponse:
    app = type(request.app).__name__
    return JSONResponse({"app": app, "path": request.url.path, "state": {**request.state._state}})


async def test_http_requests_go_to_the_http_application() -> None:
    app = app_with(path="/ws", http=Starlette(routes=[Route("/page", page)]))
    async with AsyncTestClient(app) as client, client.websocket("/ws") as ws:
        response = await client.http.get("/page")
        assert response.json() == {"app": "Starlette", "path": "/page", "state": {}}
        assert (await client.http.get("/none")).status_code == 404
        await ws.send_text("a")
        assert await ws.receive_text() == "/ws a"


async def test_http_requests_go_to_fastapi() -> None:
    api = FastAPI()

    @api.get("/items/{item}")
    async def item(item: int) -> dict[str, int]:
        return {"item": item}

    async with AsyncTestClient(app_with(http=api)) as client:
        assert (await client.http.get("/items/7")).json() == {"item": 7}
        assert (await client.http.get("/items/x")).status_code == 422
        assert (await client.http.get("/openapi.json")).status_code == 200


async def test_without_an_http_application_requests_are_told_so() -> None:
    async with AsyncTestClient(app_with(path="/ws")) as client:
        assert (await client.http.get("/")).status_code == 404
        response = await client.http.get("/ws")
    assert response.status_code == 426
    assert response.headers["upgrade"] == "websocket"


@pytest.mark.row("C58", "T38")
@pytest.mark.parametrize(("scope", "status"), [({}, 404), ({"extensions": {}}, 403)])
async def test_an_unknown_path_is_denied_with_404(scope: Scope, status: int) -> None:
    """Where the server cannot send denial responses, the close before accept is a 403."""
    with pytest.raises(ConnectionRejected) as refused:
        await visit(app_with(), "/none", scope=scope)
    assert refused.value.status == status


async def test_an_unknown_kind_of_scope_is_an_error() -> None:
    peer = Peer()
    with pytest.raises(ValueError, match="'telepathy'"):
        await App()({"type": "telepathy", "path": "/"}, peer.receive, peer.send)


# State of the lifespan


@asynccontextmanager
async def with_pool(app: App) -> AsyncIterator[dict[str, Any]]:
    yield {"pool": ["shared"]}


@asynccontextmanager
async def started(app: ASGIApp, **scope: Any) -> AsyncIterator[dict[str, Any]]:
    """Run the lifespan of an application; gives the state it left with the server."""
    server = LifespanServer(app, **scope)
    assert await server.startup() == "startup.complete"
    yield server.scope.get("state", {})
    assert await server.shutdown() == "shutdown.complete"


@pytest.mark.row("T83")
@pytest.mark.parametrize("server", ["copies", "shares", "knows no state"])
async def test_every_connection_has_its_own_copy_of_what_the_lifespan_left(server: str) -> None:
    seen: list[dict[str, Any]] = []

    async def handler(ws: WebSocket) -> None:
        seen.append(dict(ws.state))
        ws.state.visitor = ws.path
        ws.state["pool"].append(ws.path)
        assert ws.scope["state"]["visitor"] == ws.path

    app = app_with(handler, "/{name}", lifespan=with_pool)
    async with started(app, **({} if server == "knows no state" else {"state": {}})) as state:
        for path in ("/a", "/b"):
            scope: dict[str, Any] = {}
            if server == "copies":
                scope = {"state": dict(state)}
            elif server == "shares":
                scope = {"state": state}
            scope = make_scope(path, **scope)
            if server == "knows no state":
                del scope["state"]
            await serve(app, scope=scope)
        assert set(state) == {"pool"}
    assert [set(each) for each in seen] == [{"pool"}, {"pool"}]
    assert seen[0]["pool"] is seen[1]["pool"]
    assert seen[0]["pool"] == ["shared", "/a", "/b"]


@pytest.mark.row("T83")
async def test_requests_see_the_state_of_both_lifespans() -> None:
    @asynccontextmanager
    async def inner(app: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"inner": 1}

    @asynccontextmanager
    async def ours(app: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"ours": 2}

    http = Starlette(routes=[Route("/page", page)], lifespan=inner)
    both = {"inner": 1, "ours": 2}
    async with AsyncTestClient(App(http=http, lifespan=ours)) as client:
        assert (await client.http.get("/page")).json()["state"] == both
    app = App(http=http, lifespan=ours)
    knows_no_state = httpx.ASGITransport(app)
    base = "http://testserver"
    async with started(app), httpx.AsyncClient(transport=knows_no_state, base_url=base) as server:
        assert (await server.get("/page")).json()["state"] == both


@pytest.mark.row("T83")
async def test_state_of_an_outer_application_stays_the_same_object() -> None:
    """Only what the lifespan shares is copied: middleware outside sees what handlers wrote."""

    async def handler(ws: WebSocket) -> None:
        ws.state.user = "ada"

    app = app_with(handler, lifespan=with_pool)
    state: dict[str, Any] = {"outer": 1}
    async with started(app):
        await serve(app, scope=make_scope("/", state=state))
    assert state == {"outer": 1, "user": "ada"}


# ASGI middleware


def noting(name: str, log: list[str]) -> Middleware:
    class Noting:
        def __init__(self, app: ASGIApp, suffix: str) -> None:
            self.app = app
            self.name = name + suffix

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            log.append(f"{scope['type']} into {self.name}")
            await self.app(scope, receive, send)
            log.append(f"{scope['type']} out of {self.name}")

    return Middleware(Noting, suffix="!")


@pytest.mark.row("C60")
async def test_the_first_middleware_is_the_outermost_for_every_scope() -> None:
    log: list[str] = []
    app = app_with(middleware=[noting("a", log), noting("b", log)])
    async with AsyncTestClient(app) as client:
        async with client.websocket("/"):
            pass
        await client.http.get("/")
    inwards, outwards = ["into a!", "into b!"], ["out of b!", "out of a!"]
    assert log == [
        *(f"lifespan {step}" for step in inwards),
        *(f"websocket {step}" for step in inwards + outwards),
        *(f"http {step}" for step in inwards + outwards),
        *(f"lifespan {step}" for step in outwards),
    ]


@pytest.mark.row("C60")
async def test_socket_middlewares_go_around_routes_and_inside_asgi_middleware() -> None:
    log: list[str] = []

    def socket(name: str) -> Any:
        def middleware(endpoint: Any) -> Any:
            async def wrapper() -> object:
                log.append(f"into {name} {websocket.path}")
                return await endpoint()

            return wrapper

        return middleware

    app = App(middleware=[noting("asgi", log)], socket_middlewares=[socket("a"), socket("b")])
    app.websocket("/", middlewares=[socket("route")])(echo)
    async with AsyncTestClient(app, lifespan=False) as client:
        async with client.websocket("/"):
            pass
        assert log == [
            "websocket into asgi!",
            "into a /",
            "into b /",
            "into route /",
            "websocket out of asgi!",
        ]
        log.clear()
        assert (await client.http.get("/")).status_code == 426
    assert log == ["http into asgi!", "http out of asgi!"]


@pytest.mark.row("C60")
async def test_a_middleware_that_wraps_receive_and_send_is_never_gone_around() -> None:
    class Shouting:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def louder() -> Any:
                message = await receive()
                if "text" in message:
                    message["text"] = message["text"].upper()
                return message

            async def marked(message: Any) -> None:
                if "text" in message:
                    message["text"] += "!"
                await send(message)

            await self.app(scope, louder, marked)

    app = app_with(middleware=[Middleware(Shouting)])
    async with AsyncTestClient(app) as client, client.websocket("/") as ws:
        for text in ("hello", "again"):
            await ws.send_text(text)
            assert await ws.receive_text() == f"/ {text.upper()}!"


async def test_the_session_of_starlette_is_readable() -> None:
    sessions: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        sessions.append(dict(ws.session))
        await ws.accept()

    async def login(request: Request) -> PlainTextResponse:
        request.session["user"] = "ada"
        return PlainTextResponse("welcome")

    http = Starlette(routes=[Route("/login", login)])
    middleware = [Middleware(SessionMiddleware, secret_key="k")]
    app = app_with(handler, http=http, middleware=middleware)
    async with AsyncTestClient(app) as client:
        async with client.websocket("/"):
            pass
        await client.http.get("/login")
        async with client.websocket("/"):
            pass
    assert sessions == [{}, {"user": "ada"}]


async def test_a_missing_session_names_the_middleware(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        ws.session["user"]

    with pytest.raises(ConnectionRejected) as refused:
        await visit(app_with(handler), raise_app_exceptions=False)
    assert refused.value.status == 500
    error = caplog.records[0].exc_info
    assert error is not None
    assert isinstance(error[1], ImproperlyConfigured)
    assert "SessionMiddleware" in str(error[1])


# Inside others, around others


@pytest.mark.parametrize("outer", ["starlette", "fastapi", "telex"])
async def test_telex_can_be_mounted(outer: str) -> None:
    apps: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        apps.append(ws.app)
        await echo(ws)

    app = app_with(handler, "/ws")
    outside: Any
    if outer == "starlette":
        outside = Starlette(routes=[Route("/page", page), StarletteMount("/live", app)])
    else:
        outside = FastAPI() if outer == "fastapi" else App()
        outside.mount("/live", app)
    async with AsyncTestClient(outside) as client:
        async with client.websocket("/live/ws") as ws:
            for text in ("a", "b"):
                await ws.send_text(text)
                assert await ws.receive_text() == f"/live/ws {text}"
        assert apps == [app]
        assert (await client.http.get("/live/ws")).status_code == 426
    with pytest.raises(ConnectionRejected) as refused:
        await visit(outside, "/live/none")
    assert refused.value.status == 404


async def test_starlette_can_be_mounted() -> None:
    async def endpoint(websocket: StarletteWebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close(4000)

    inner = Starlette(routes=[WebSocketRoute("/ws", endpoint), Route("/page", page)])
    async with AsyncTestClient(App([Mount("/in", inner)])) as client:
        async with client.websocket("/in/ws") as ws:
            await ws.send_text("a")
            assert await ws.receive_text() == "a"
            await ws.expect_close(4000)
        assert (await client.http.get("/in/page")).json()["path"] == "/in/page"


async def test_fastapi_can_be_mounted_and_keeps_its_own_ways() -> None:
    api = FastAPI()

    @api.websocket("/ws/{room}")
    async def endpoint(websocket: FastAPIWebSocket, room: int) -> None:
        await websocket.accept()
        await websocket.send_json({"room": room})

    app = App([Mount("/in", api)])
    async with AsyncTestClient(app) as client, client.websocket("/in/ws/7") as ws:
        assert [message async for message in ws] == ['{"room":7}']
    peer = await serve(app, scope=make_scope("/in/ws/x"))
    assert peer.types == ["close"]


async def test_a_validation_error_of_fastapi_is_a_rejection() -> None:
    api = FastAPI()

    @api.websocket("/ws/{room}")
    async def endpoint(websocket: FastAPIWebSocket, room: int) -> None:
        raise AssertionError("not to be called")

    with pytest.raises(ConnectionRejected) as refused:
        await visit(api, "/ws/x")
    assert (refused.value.status, refused.value.code) == (403, 1008)


async def test_a_mounted_application_has_settings_and_handlers_of_its_own() -> None:
    async def fails(ws: WebSocket) -> None:
        await ws.accept()
        raise LookupError("it")

    inner = app_with(fails, exception_handlers={LookupError: lambda ws, exc: ws.close(4001)})
    outer = App(exception_handlers={LookupError: lambda ws, exc: ws.close(4002)})
    outer.mount("/in", inner)
    outer.websocket("/out")(fails)
    async with AsyncTestClient(outer) as client:
        for path, code in [("/in/", 4001), ("/out", 4002)]:
            async with client.websocket(path) as ws:
                await ws.expect_close(code)


async def test_the_outbox_of_the_innermost_application_counts() -> None:
    taken: list[bool] = []

    async def floods(ws: WebSocket) -> None:
        await ws.accept()
        taken.extend(ws.send_nowait("x") for _ in range(3))

    outer = App(outbox=Outbox(max_messages=3))
    outer.mount("/in", app_with(floods, outbox=Outbox(max_messages=1)))
    async with AsyncTestClient(outer) as client, client.websocket("/in/") as ws:
        assert [message async for message in ws] == ["x"]
    assert taken == [True, False, False]


async def test_a_middleware_that_accepts_and_returns_leaves_a_proper_end() -> None:
    class Greets:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            ws = WebSocket(scope, receive, send)
            await ws.accept()
            await ws.send_text("closed today")

    app = App(middleware=[Middleware(Greets)])
    async with AsyncTestClient(app) as client, client.websocket("/") as ws:
        assert await ws.receive_text() == "closed today"
        await ws.expect_close(1000)


async def test_a_route_inside_an_outer_handler_leaves_its_context_behind() -> None:
    seen: list[bool] = []
    inner = App()

    @inner.websocket("/")
    async def handler(ws: WebSocket) -> None:
        seen.append(current.get() is ws)
        await ws.accept()

    async def outer(ws: WebSocket) -> None:
        receive, send = link_of(ws).asgi
        await inner(ws.scope, receive, send)
        seen.append(current.get() is ws)

    await visit(app_with(outer))
    assert seen == [True, True]


# Options and registration


def test_options_become_the_settings_of_every_connection() -> None:
    outbox = Outbox(max_messages=3)
    app = App(disconnect_grace=None, outbox=outbox, debug=True)
    settings = app._settings
    assert (settings.disconnect_grace, settings.outbox, settings.debug) == (None, outbox, True)
    assert app.debug is True
    defaults = App()._settings
    assert (defaults.disconnect_grace, defaults.outbox) == (5.0, Outbox())
    assert App().debug is False


async def test_settings_are_found_in_the_scope() -> None:
    found: list[float | None] = []

    async def handler(ws: WebSocket) -> None:
        found.append(settings_of(ws.scope).disconnect_grace)
        await ws.accept()

    await visit(app_with(handler, disconnect_grace=7.5))
    assert found == [7.5]


def test_a_grace_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="disconnect_grace"):
        App(disconnect_grace=-1)


@pytest.mark.parametrize("seconds", [None, "5", -1, math.inf])
def test_a_time_to_stop_that_breaks_the_stop_is_refused(seconds: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^drain_timeout must be a finite number"):
        App(drain_timeout=seconds)


def test_routes_can_be_given_decorated_mounted_and_shifted_in() -> None:
    app = App([SocketRoute("/given", echo, name="given"), Routes()])
    assert app.websocket("/decorated", name="decorated")(echo) is echo
    app.router <<= SocketRoute("/shifted/{n:int}", echo, name="shifted")
    app.mount("/in", App([SocketRoute("/deep", echo, name="deep")]), name="inner")
    assert app.url_path_for("given") == "/given"
    assert app.url_path_for("decorated") == "/decorated"
    assert app.url_path_for("shifted", n=3) == "/shifted/3"
    assert app.url_path_for("inner:deep") == "/in/deep"
    with pytest.raises(NoMatchFound):
        app.url_path_for("nothing")
    with pytest.raises(RoutingError):
        app.websocket("/given", name="again")(echo)


def test_the_router_cannot_be_replaced() -> None:
    app = App()
    with pytest.raises(AttributeError, match="cannot be replaced"):
        app.router = Router()
    assert app.router is app.router


# Running it

MAIN = """
import telex

app = telex.App()

@app.websocket("/")
async def websocket_route(ws: telex.WebSocket):
    ...

app.run()
"""


@pytest.mark.row("T89", "V12")
def test_a_file_that_runs_itself_hands_its_application_to_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def serve(app: Any, options: dict[str, Any]) -> None:
        assert options.pop("ws") == "telex.server:WebSocketProtocol"
        assert options.pop("workers") == 1
        assert options.pop("timeout_graceful_shutdown") == STOP_TIMEOUT
        calls.append({"app": app, "log_level": "info", **options})

    monkeypatch.setattr("telex.server._serving.serve", serve)
    file = tmp_path / "main.py"
    file.write_text(MAIN)
    names = runpy.run_path(str(file), run_name="__main__")
    app = names["app"]
    assert calls == [{"app": app, "host": "127.0.0.1", "port": 8000, "log_level": "info"}]
    app.run("::1", 9000, log_level="debug")
    assert calls[1] == {"app": app, "host": "::1", "port": 9000, "log_level": "debug"}
    with pytest.raises(TypeError, match="no option 'log_levle'; did you mean log_level"):
        app.run(log_levle="debug")


@pytest.mark.row("T89")
def test_importing_such_a_file_starts_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", "import main; print(type(main.app).__name__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=10 * DEADLINE,
        check=True,
    )
    assert result.stdout == "App\n"
    assert "no second server is started" in result.stderr
