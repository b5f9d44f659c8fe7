from __future__ import annotations

import inspect
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

import telex
from clients import Overheard, connected, ending, rejection
from peer import D, T, make_scope, serve
from telex.compat import view
from telex.compat.view import (
    InvalidRouteError,
    WebSocket,
    new_app,
    websocket,
)
from telex.testing import AsyncTestClient

NAMES = """
    DuplicateRouteError InvalidRouteError WebSocket WebSocketDisconnectError WebSocketError
    WebSocketExpectError WebSocketHandshakeError body new_app query websocket
"""


@pytest.mark.row("V9", "VX1")
def test_the_names_of_view() -> None:
    assert sorted(view.__all__) == sorted(NAMES.split())
    assert all(hasattr(view, name) for name in view.__all__)


@pytest.mark.row("VX1", "C16")
def test_what_is_the_same_as_in_telex_is_the_same_object() -> None:
    assert view.WebSocketError is telex.WebSocketError
    assert view.WebSocketHandshakeError is telex.WebSocketHandshakeError
    assert view.WebSocketDisconnectError is telex.WebSocketDisconnect
    assert view.WebSocketExpectError is telex.WebSocketExpectError
    assert issubclass(view.WebSocket, telex.WebSocket)


@pytest.mark.row("V10")
async def test_new_app_makes_an_application_with_the_options_of_telex() -> None:
    app = new_app(http=PlainTextResponse("hello"), debug=True)
    assert isinstance(app, telex.App)
    assert app.debug
    async with AsyncTestClient(app) as client:
        assert (await client.http.get("/")).text == "hello"


# Routes


@pytest.mark.row("V2", "V11")
async def test_the_direct_and_the_standard_form_serve_a_path_and_no_other() -> None:
    app = new_app()

    @app.websocket("/direct")
    async def direct(ws: WebSocket) -> None:
        async with ws:
            await ws.send("direct")

    @websocket("/standard")
    async def standard(ws: WebSocket) -> None:
        async with ws:
            await ws.send("standard")

    assert (await rejection(app, "/standard")).status == 404
    app.load(standard)
    for path in ("direct", "standard"):
        async with connected(app, f"/{path}") as ws:
            assert await ws.receive_text() == path
    for path in ("/", "/direct/", "/elsewhere"):
        assert (await rejection(app, path)).status == 404


@pytest.mark.row("V3")
def test_both_forms_have_one_signature() -> None:
    assert inspect.signature(websocket) == inspect.signature(new_app().websocket)
    assert list(inspect.signature(websocket).parameters) == ["path_or_route", "doc"]
    assert inspect.signature(view.query) == inspect.signature(new_app().query)
    assert inspect.signature(view.body) == inspect.signature(new_app().body)


@pytest.mark.row("V2")
def test_load_takes_routes_and_lists_of_them_and_each_once() -> None:
    app = new_app()

    @app.websocket("/a")
    async def a(ws: WebSocket) -> None: ...

    @websocket("/b")
    async def b(ws: WebSocket) -> None: ...

    app.load()
    app.load([a, b])
    app.load(a, [b], ())
    assert [path for path, _ in app.router.walk()] == ["/a", "/b"]


@pytest.mark.row("V2")
def test_load_takes_nothing_else() -> None:
    async def handler(ws: WebSocket, x: int) -> None: ...

    without_path = view.query("x", int)(handler)
    for wrong in (without_path, [handler]):
        with pytest.raises(TypeError, match="made by @websocket"):
            new_app().load(wrong)  # type: ignore[arg-type]


@pytest.mark.row("V45", "V7")
def test_a_route_that_cannot_be_is_refused_when_it_is_registered() -> None:
    app = new_app()
    with pytest.raises(InvalidRouteError):

        @app.websocket("/")
        async def nothing() -> None: ...

    with pytest.raises(InvalidRouteError):

        @app.websocket("/")
        @app.body("foo", str)
        async def with_body(ws: WebSocket, foo: str) -> None: ...

    with pytest.raises(InvalidRouteError):

        @app.body("foo", str)
        @app.websocket("/")
        async def below(ws: WebSocket, foo: str) -> None: ...


@pytest.mark.row("V5")
async def test_an_input_by_the_application(connections: list[object]) -> None:
    app = new_app()

    @app.websocket("/")
    @app.query("hello", int)
    async def handler(ws: WebSocket, hello: int) -> None:
        await ws.accept()
        connections.append(hello)

    assert await ending(app, "/?hello=5") == (1000, "")
    assert connections == [5]


@pytest.fixture
def connections() -> list[object]:
    return []


@pytest.mark.row("VX8", "C58", "T38")
async def test_an_unknown_path_with_and_without_the_denial_extension() -> None:
    app = new_app()
    assert (await rejection(app, "/none")).status == 404
    peer = await serve(app, scope=make_scope("/none"))
    assert peer.types == ["close"]


@pytest.mark.row("VX8")
async def test_a_path_that_only_http_knows_is_an_unknown_path() -> None:
    app = new_app(http=PlainTextResponse("hello"))
    assert (await rejection(app, "/")).status == 404


# The life of a connection is the handler's matter


@pytest.mark.row("V8", "T33", "C56")
@pytest.mark.parametrize("returned", [None, "hello", 42, PlainTextResponse("x"), object()])
async def test_what_a_handler_returns_means_nothing(returned: Any) -> None:
    app = new_app()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> Any:
        await ws.accept()
        await ws.close()
        return returned

    # A type checker expects `None`.
    @app.websocket("/wrong")  # type: ignore[arg-type]
    async def wrong(ws: WebSocket) -> int:
        return 42

    peer = await serve(app)
    assert peer.types == ["accept", "close"]


@pytest.mark.row("V17", "V46", "V16")
async def test_nothing_is_sent_for_the_handler_while_it_runs() -> None:
    app = new_app()
    heard = Overheard(app)
    while_running: list[list[str]] = []

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        while_running.append([*heard.types])
        await ws.accept()
        while_running.append([*heard.types])
        await ws.receive()
        while_running.append([*heard.types])

    async with connected(heard) as ws:
        await ws.send_text("x")
        await ws.expect_close(1000)
    assert while_running == [[], ["accept"], ["accept"]]


@pytest.mark.row("VX7", "C53")
async def test_after_an_exception_inside_the_block_the_application_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    opened_after: list[bool] = []

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        try:
            async with ws:
                raise ValueError("secret")
        finally:
            opened_after.append(ws.open)

    peer = await serve(app)
    assert opened_after == [True]
    assert peer.closes == [(1011, "")]
    assert "secret" in caplog.text


@pytest.mark.row("V24", "C57", "T50")
async def test_the_clients_end_is_no_error_of_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    ends: list[int | None] = []

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        try:
            async with ws:
                await ws.receive()
        except view.WebSocketHandshakeError:
            ends.append(ws.close_code)
            raise

    peer = await serve(app, D(1001))
    assert ends == [1001]
    assert peer.types == ["accept"]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.row("V42", "C30", "V44")
async def test_an_unexpected_message_closes_with_1008() -> None:
    app = new_app()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            await ws.expect("hello")

    peer = await serve(app, T("bye"))
    assert peer.closes == [(1008, "")]
