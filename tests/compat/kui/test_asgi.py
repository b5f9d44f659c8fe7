"""Kui's documentation, English and Chinese: its examples as they stand there, and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from typing import Annotated as TypingAnnotated

import pytest

import foreign
from clients import connected, ending, rejection
from peer import D, serve
from telex import exceptions, params, routing, views
from telex.compat.kui import asgi
from telex.compat.kui.asgi import (
    Cookie,
    Header,
    Kui,
    Path,
    Query,
    Routes,
    SocketRoute,
    SocketView,
    WebSocketDisconnect,
    websocket,
)

Endpoint = Callable[[], Awaitable[object]]


@pytest.mark.row("K2", "K11", "K48")
def test_what_is_no_different_is_the_same_object() -> None:
    """And importing it needs no connection."""
    assert asgi.SocketView is views.SocketView
    assert asgi.WebSocketDisconnect is exceptions.WebSocketDisconnect
    for marker in ("Query", "Path", "Header", "Cookie"):
        assert getattr(asgi, marker) is getattr(params, marker)
    assert not websocket


def test_the_names_are_exactly_these() -> None:
    assert sorted(asgi.__all__) == [
        *("Body", "Cookie", "Depends", "Header", "Kui", "Path", "Query", "Routes"),
        *("SocketRoute", "SocketView", "WebSocket", "WebSocketDisconnect", "websocket"),
    ]


def chat_of(document: str, number: str) -> tuple[Kui, dict[str, Any]]:
    app = Kui()
    return app, foreign.example(document, number)(app=app)


@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param("kui-en", "K7", marks=pytest.mark.row("K7", "K2", "K3", "K4", "K5", "K6")),
        pytest.param("kui-zh", "Z3", marks=pytest.mark.row("Z3", "Z2")),
    ],
)
async def test_a_function_that_echoes(document: str, number: str) -> None:
    app, _ = chat_of(document, number)
    async with connected(app, "/ws") as ws:
        for value in ({"a": 1}, [None], "text"):
            await ws.send_json(value)
            assert await ws.receive_json() == {"echo": value}
        await ws.close(1001)


@pytest.mark.row("K8", "Z4")
async def test_a_function_that_does_nothing_accepts_nothing() -> None:
    app = Kui()

    @app.router.websocket("/ws")
    async def ws_handler() -> None:
        pass

    assert (await rejection(app, "/ws")).status == 403


@pytest.mark.row("K9", "Z5")
async def test_polling_is_disconnected_loses_no_message() -> None:
    app = Kui()
    answers: list[bool] = []
    got: list[str] = []

    @app.router.websocket("/")
    async def handler() -> None:
        await websocket.accept()
        answers.extend([await websocket.is_disconnected() for _ in range(5)])
        got.extend([await websocket.receive_text() for _ in range(3)])
        await websocket.send_text("read")
        await websocket.wait_closed()
        answers.append(await websocket.is_disconnected())

    async with connected(app) as ws:
        for text in ("1", "2", "3"):
            await ws.send_text(text)
        assert await ws.receive_text() == "read"
        await ws.close(1001)
    assert got == ["1", "2", "3"]
    assert answers == [*[False] * 5, True]


@pytest.mark.row("K10", "Z6")
@pytest.mark.parametrize("read", ["receive_json", "receive_text", "receive_bytes"])
async def test_a_read_raises_when_the_client_leaves(read: str) -> None:
    app = Kui()
    codes: list[int] = []

    @app.router.websocket("/")
    async def handler() -> None:
        await websocket.accept()
        try:
            await getattr(websocket, read)()
        except WebSocketDisconnect as exc:
            codes.append(exc.code)

    await serve(app, D(4001))
    assert codes == [4001]


@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param(
            *("kui-en", "K17"),
            marks=pytest.mark.row("K17", "K11", "K12", "K14", "K15", "K16", "K18", "K19", "K20"),
        ),
        pytest.param("kui-zh", "Z8", marks=pytest.mark.row("Z8", "Z7", "Z9", "Z10", "Z11")),
    ],
)
async def test_a_view_that_echoes(document: str, number: str) -> None:
    app, names = chat_of(document, number)
    codes: list[int] = []

    async def on_disconnect(self: SocketView, close_code: int) -> None:
        codes.append(close_code)

    names["ChatView"].on_disconnect = on_disconnect
    async with connected(app, "/chat") as ws:
        for value in (1, {"a": [True]}, None):
            await ws.send_json(value)
            assert await ws.receive_json() == {"echo": value}
        await ws.close(4001)
    assert codes == [4001]


@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param("kui-en", "K29", marks=pytest.mark.row("K29", "K26", "K27", "K28")),
        pytest.param("kui-zh", "Z17", marks=pytest.mark.row("Z17")),
    ],
)
async def test_managing_a_connection(document: str, number: str) -> None:
    app = Kui()
    names: dict[str, Any] = {}

    @app.router.websocket("/")
    async def handler() -> None:
        names.update(await foreign.example(document, number).block(websocket=websocket))

    assert await ending(app) == (1000, "")
    assert names["is_closed"] is True


@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param("kui-en", "K33", marks=pytest.mark.row("K33", "K30", "K31", "K32")),
        pytest.param("kui-zh", "Z18", marks=pytest.mark.row("Z18")),
    ],
)
async def test_sending(document: str, number: str) -> None:
    app = Kui()

    @app.router.websocket("/")
    async def handler() -> None:
        await websocket.accept()
        await foreign.example(document, number).block(websocket=websocket)

    async with connected(app) as ws:
        assert [message async for message in ws] == ["hello", b"\x00\x01", '{"key":"value"}']


@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param("kui-en", "K38", marks=pytest.mark.row("K38", "K34", "K35", "K36", "K37")),
        pytest.param("kui-zh", "Z19", marks=pytest.mark.row("Z19")),
    ],
)
async def test_receiving(document: str, number: str) -> None:
    app = Kui()
    printed: list[object] = []
    names: dict[str, Any] = {}

    @app.router.websocket("/")
    async def handler() -> None:
        await websocket.accept()
        block = foreign.example(document, number).block
        names.update(await block(websocket=websocket, print=printed.append))

    async with connected(app) as ws:
        for data in ("hi", b"\x00", "[1,null]", "2", "null"):
            await ws.send_value(data)
        await ws.close(1001)
    assert [names[name] for name in ("text", "data", "obj")] == ["hi", b"\x00", [1, None]]
    assert printed == [2, None]


@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param("kui-en", "K49", marks=pytest.mark.row("K49")),
        pytest.param("kui-zh", "Z22", marks=pytest.mark.row("Z22")),
    ],
)
async def test_a_view_beside_which_parameters_are_imported(document: str, number: str) -> None:
    app = Kui()
    names = foreign.example(document, number)(app=app, SocketView=SocketView, websocket=websocket)
    assert (names["Annotated"], names["Query"]) == (Annotated, Query)
    async with connected(app, "/ws?token=t") as ws:
        await ws.send_json({"a": 1})
        assert await ws.receive_json() == {"a": 1}


@pytest.mark.row("K47", "K48", "K50", "KX15", "Z21", "Z23")
@pytest.mark.parametrize("query", ["?token=t&n=5", "?token=t"])
async def test_parameters_are_bound_before_a_function_runs(query: str) -> None:
    app = Kui()

    @app.router.websocket("/{room}")
    async def handler(
        token: Annotated[str, Query(...)],
        n: TypingAnnotated[int, Query(3)],
        room: Annotated[str, Path()],
        host: Annotated[str, Header()],
        c: Annotated[str, Cookie("none")],
    ) -> None:
        await websocket.accept()
        await websocket.send_json([token, n, room, host, c])

    async with connected(app, f"/blue{query}", headers={"cookie": "c=1"}) as ws:
        n = 5 if "&n=" in query else 3
        assert await ws.receive_json() == ["t", n, "blue", "testserver", "1"]


@pytest.mark.row("C59", "K50")
async def test_a_parameter_that_is_missing_is_no_error_of_the_server() -> None:
    app = Kui()

    @app.router.websocket("/")
    async def handler(token: Annotated[str, Query(...)]) -> None:
        await websocket.accept()

    assert (await rejection(app)).status == 422


@pytest.mark.row("K51", "Z23")
async def test_a_view_reads_the_query_itself() -> None:
    app = Kui()

    @app.router.websocket("/")
    class View(SocketView):
        async def on_connect(self) -> None:
            await websocket.accept()
            await websocket.send_text(websocket.query_params["token"])

    async with connected(app, "/?token=t") as ws:
        assert await ws.receive_text() == "t"


def halves(document: str, number: str) -> list[foreign.Example]:
    """The decorator and the route object of the routing block."""
    whole = foreign.example(document, number)
    decorator, *rest = whole.code.split("\n\n")
    return [foreign.Example(whole.name, text) for text in (decorator, "\n\n".join(rest))]


@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param("kui-en", "K56", marks=pytest.mark.row("K56", "K52", "K53", "K54", "K55")),
        pytest.param("kui-zh", "Z25", marks=pytest.mark.row("Z25", "Z24")),
    ],
)
async def test_a_decorator_and_a_route_object_register_the_same(
    document: str, number: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def ws_handler() -> None: ...

    for half in halves(document, number):
        app = Kui()
        router = app.router
        half(app=app, ws_handler=ws_handler)
        (route,) = app.router
        assert app.router is router
        assert isinstance(route, routing.SocketRoute)
        assert (route.path, route.name) == ("/ws", "websocket")
        assert app.router.url_path_for("websocket") == "/ws"
        assert (await rejection(app, "/ws")).status == 403
        assert caplog.messages[-1] == "the handler of '/ws' returned without accepting or rejecting"


@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param("kui-en", "K56", marks=pytest.mark.row("K56")),
        pytest.param("kui-zh", "Z25", marks=pytest.mark.row("Z25")),
    ],
)
def test_both_in_one_application_are_one_too_many(document: str, number: str) -> None:
    with pytest.raises(ValueError, match=r"the name of .* is taken by"):
        foreign.example(document, number)(app=Kui())


async def chat_handler() -> None:
    await websocket.accept()
    await websocket.send_text("chat")


async def notify_handler() -> None:
    await websocket.accept()
    await websocket.send_text("notify")


async def said(app: Kui, path: str) -> list[str | bytes]:
    async with connected(app, path) as ws:
        return [message async for message in ws]


@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param("kui-en", "K59", marks=pytest.mark.row("K59", "K57", "K58")),
        pytest.param("kui-zh", "Z27", marks=pytest.mark.row("Z27", "Z26")),
    ],
)
async def test_a_group_under_a_prefix(document: str, number: str) -> None:
    app = Kui()
    handlers = {"chat_handler": chat_handler, "notify_handler": notify_handler}
    names = foreign.example(document, number)(app=app, **handlers)
    assert await said(app, "/ws/chat") == ["chat"]
    assert await said(app, "/ws/notifications") == ["notify"]
    routes = names["ws_routes"]
    assert isinstance(routes, Routes)
    assert [route.path for route in routes] == ["/chat", "/notifications"]
    assert (await rejection(app, "/chat")).status == 404


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("kui-en", marks=pytest.mark.row("K60", "KX1", "KX2", "KX3", "KX4")),
        pytest.param("kui-zh", marks=pytest.mark.row("Z28")),
    ],
)
async def test_middleware_around_a_route_and_around_an_application(document: str) -> None:
    first, log = Kui(), list[str]()

    def noting(word: str) -> Callable[[Endpoint], Endpoint]:
        def middleware(endpoint: Endpoint) -> Endpoint:
            async def wrapper() -> object:
                log.append(word)
                result = await endpoint()
                log.append(f"{word} {websocket.path}")
                return result

            return wrapper

        return middleware

    names = foreign.example(document, "KX3")(
        app=first,
        handler=chat_handler,
        ws_auth_middleware=noting("auth"),
        ws_logging_middleware=noting("logging"),
        Kui=Kui,
        SocketRoute=SocketRoute,
    )
    second: Kui = names["app"]
    second.router <<= SocketRoute("/second", chat_handler)
    assert await said(first, "/ws") == ["chat"]
    assert await said(second, "/second") == ["chat"]
    assert log == ["auth", "auth /ws", "logging", "logging /second"]
