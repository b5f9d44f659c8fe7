"""The pages for those who come from Kui, view.py, Lilya and genro-asgi.

Their examples run with nothing but the import changed, and do the same as ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

import pages
import telex
from clients import connected, ending, rejection
from documented import example
from foreign import PLACES
from migrating import moved
from telex.compat import view
from telex.compat.genro import wsx
from telex.compat.genro.websocket import WebSocket as GenroWebSocket
from telex.compat.kui import asgi as kui
from telex.compat.lilya import apps, controllers, routing
from telex.compat.lilya import exceptions as lilya_exceptions
from telex.compat.lilya.testclient import TestClient as LilyaTestClient
from telex.compat.lilya.websockets import WebSocket as LilyaWebSocket
from telex.testing import AsyncTestClient

SYSTEMS = {"kui": "kui", "view": "view", "lilya": "lilya", "genro": "genro_asgi"}
TITLES = {"kui": "Kui", "view": "view.py", "lilya": "Lilya", "genro": "genro-asgi"}


def text_of(system: str) -> str:
    return (pages.ROOT / "docs" / f"from-{system}.md").read_text(encoding="utf-8")


def imports(system: str) -> list[tuple[str, str]]:
    """The names that the first table of a page has on its left, with our modules for theirs."""
    theirs = SYSTEMS[system]
    found: list[tuple[str, str]] = []
    for left, right in pages.table(text_of(system), TITLES[system]):
        module = re.search(rf"`(?:from )?({theirs}(?:\.\w+)?)", left)
        if module and ("telex" in right or right == "the same"):
            names = left.partition(" import " if " import " in left else ":")[2]
            place = module[1].replace(theirs, PLACES[theirs], 1)
            found += [(place, name) for name in re.findall(r"\b[A-Za-z]\w+", names)]
    return found


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_a_page_says_can_be_imported_can(system: str) -> None:
    for module in set(re.findall(r"telex\.compat(?:\.[a-z]+)+", text_of(system))):
        import_module(module)
    named = imports(system)
    assert len(named) > 5
    assert [each for each in named if not hasattr(import_module(each[0]), each[1])] == []


# from-kui.md


def kui_apps() -> list[Any]:
    return [moved("kui_chat")["app"], example("kui-chat").app]


async def test_the_same_chat(capsys: pytest.CaptureFixture[str]) -> None:
    for app in kui_apps():
        async with connected(app, "/chat?name=Ada") as ws:
            await ws.send_json("hello")
            assert await ws.receive_json() == {"from": "Ada", "said": "hello"}
            await ws.close(4001)
        assert capsys.readouterr().out == "Ada left with 4001\n"


async def test_the_same_count_behind_a_middleware() -> None:
    for app in kui_apps():
        async with connected(app, "/count?start=5&staff=true") as ws:
            await ws.send_json(2)
            assert await ws.receive_json() == 7
        assert (await rejection(app, "/count?start=5")).status == 403
        assert (await rejection(app, "/count?start=x&staff=true")).status == 422
        assert (await rejection(app, "/nowhere")).status == 404


async def test_kui_keeps_http_in_another_application() -> None:
    async def http(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    for make in (kui.Kui, view.new_app, apps.Lilya):
        async with AsyncTestClient(make(http=http), lifespan=False) as client:
            assert (await client.http.get("/")).text == "hello"


def viewed(handler: Callable[..., Any]) -> telex.App:
    app = view.new_app()
    app.websocket("/")(handler)
    return app


async def told(cls: type[telex.App], tell: Callable[[Any], Any], url: str = "/", **o: Any) -> Any:
    """What a handler of an application reads from its connection."""

    async def handler(ws: telex.WebSocket) -> None:
        seen.append(tell(telex.websocket))
        await ws.reject(418)

    seen: list[Any] = []
    app = cls()
    app.websocket("/")(handler)
    await rejection(app, url, **o)
    return seen[0]


async def test_kui_and_telex_read_repeated_names_differently() -> None:
    repeated = [("x-a", "1"), ("x-a", "2")]
    scope = {"client": None}
    for tell, theirs, mine in (
        (lambda ws: ws.query_params["a"], "2", "1"),
        (lambda ws: ws.headers["x-a"], "1, 2", "1"),
        (lambda ws: ws.headers.getlist("x-a"), ["1", "2"], ["1", "2"]),
        (lambda ws: ws.client, (None, None), None),
    ):
        options: Any = {"headers": repeated, "scope": scope}
        assert await told(kui.Kui, tell, "/?a=1&a=2", **options) == theirs
        assert await told(telex.App, tell, "/?a=1&a=2", **options) == mine


def around(name: str, seen: list[str]) -> Any:
    def middleware(endpoint: Any) -> Any:
        async def wrapper() -> None:
            seen.append(name)
            await endpoint()

        return wrapper

    return middleware


async def test_kui_has_the_last_middleware_outermost() -> None:
    for cls, order in ((kui.Kui, ["b", "a"]), (telex.App, ["a", "b"])):
        seen: list[str] = []
        app = cls(socket_middlewares=[around("a", seen), around("b", seen)])
        app.websocket("/")(closing)
        assert (await rejection(app)).status == 418
        assert seen == order


async def closing(ws: telex.WebSocket) -> None:
    await ws.reject(418)


async def test_kui_refuses_an_unknown_encoding_when_the_class_is_made() -> None:
    with pytest.raises((TypeError, ValueError), match="junk"):

        class Junk(kui.SocketView):
            encoding = "junk"  # type: ignore[assignment]


# from-view.md


async def test_the_same_quiz() -> None:
    for app in (moved("view_quiz")["app"], example("view-quiz").app):
        for url, question, right in (("/quiz", "1 + 1?", 2), ("/quiz?level=4", "4 + 4?", 8)):
            async with connected(app, url) as ws:
                await ws.send_text("HELLO")
                assert await ws.receive_text() == question
                await ws.send_text(str(right))
                assert await ws.receive_json() == {"right": True}
                await ws.expect_close(1000)
        async with connected(app, "/quiz") as ws:
            await ws.send_text("GOOD MORNING")
            await ws.expect_close(1008)


async def test_an_input_that_does_not_fit() -> None:
    assert (await rejection(moved("view_quiz")["app"], "/quiz?level=x")).status == 400
    assert (await rejection(example("view-quiz").app, "/quiz?level=x")).status == 422


async def test_view_closes_once_and_after_accept() -> None:
    async def handler(ws: view.WebSocket) -> None:
        with pytest.raises(view.WebSocketHandshakeError):
            await ws.close()
        await ws.accept()
        assert (ws.open, ws.done) == (True, False)
        await ws.close(4001, "bye")
        assert (ws.open, ws.done) == (False, True)
        with pytest.raises(view.WebSocketHandshakeError):
            await ws.close()

    assert await ending(viewed(handler)) == (4001, "bye")


async def test_view_tells_code_and_reason_and_reads_bytes() -> None:
    found: list[Any] = []

    async def handler(ws: view.WebSocket) -> None:
        await ws.accept()
        found.append(await ws.receive(tp=bytes))
        for wrong in (ValueError, view.WebSocketExpectError):
            with pytest.raises(wrong):
                await ws.receive(tp=int)
        with pytest.raises(TypeError):
            await ws.receive(tp=list)
        found.append(await ws.receive(tp=dict))
        for _ in range(2):
            with pytest.raises(view.WebSocketDisconnectError) as gone:
                await ws.receive()
            found.append((gone.value.code, gone.value.reason))

    async with connected(viewed(handler)) as ws:
        for message in (b"\xff", "x", "y", "[1]"):
            await ws.send_value(message)
        await ws.close(4001, "bye")
    assert found == [b"\xff", [1], (4001, "bye"), (4001, "bye")]


async def test_view_ignores_what_a_handler_returns_and_a_body_is_refused() -> None:
    async def handler(ws: view.WebSocket) -> Any:
        await ws.accept()
        return "hello"

    assert await ending(viewed(handler)) == (1000, "")
    with pytest.raises(view.InvalidRouteError):
        view.new_app().websocket("/")(view.body("x", str)(handler))


async def test_views_own_test_client() -> None:
    app = moved("view_quiz")["app"]
    async with app.test() as t, t.websocket("/quiz") as ws:
        await ws.send("HELLO")
        assert await ws.receive() == "1 + 1?"
        await ws.send("3")
        assert await ws.receive(dict) == {"right": False}


# from-lilya.md


async def test_the_same_rooms_and_what_is_closed() -> None:
    theirs = moved("lilya_rooms")
    mine = vars(example("lilya-rooms"))
    for module in (theirs, mine):
        async with connected(module["app"], "/rooms/tea") as ws:
            await ws.send_json([1])
            assert await ws.receive_json() == {"room": "kitchen", "got": [1]}
        assert sorted(module["log"]) == ["cleanup", "database closed"]
        module["log"].clear()


async def test_lilya_says_the_end_once_and_closes_once() -> None:
    found: list[bool] = []

    async def handler(websocket: LilyaWebSocket) -> None:
        await websocket.accept()
        for call in (websocket.receive_text, websocket.receive_text):
            with pytest.raises(telex.WebSocketDisconnect) as caught:
                await call()
            found.append(isinstance(caught.value, telex.WebSocketRuntimeError))

    async def closes(websocket: LilyaWebSocket) -> None:
        await websocket.accept()
        await websocket.close()
        with pytest.raises(telex.WebSocketRuntimeError):
            await websocket.close()

    async with connected(apps.Lilya([routing.WebSocketPath("/", handler)])):
        pass
    assert found == [False, True]
    assert await ending(apps.Lilya([routing.WebSocketPath("/", closes)])) == (1000, "")


async def test_lilya_refuses_with_a_status() -> None:
    async def handler(websocket: LilyaWebSocket) -> None:
        raise lilya_exceptions.NotAuthorized

    app = apps.Lilya([routing.WebSocketPath("/", handler)])
    assert (await rejection(app)).status == 401
    assert (await rejection(app, "/nowhere")).status == 404


async def test_lilyas_call_with_data_works_and_warns() -> None:
    found: list[Any] = []

    async def handler(websocket: LilyaWebSocket) -> None:
        await websocket.accept()
        with pytest.warns(DeprecationWarning, match="no data"):
            found.append(await websocket.receive_json({}, mode="binary"))
        found.append(isinstance(websocket.url, str))

    async with connected(apps.Lilya([routing.WebSocketPath("/", handler)])) as ws:
        await ws.send_bytes(b"[1]")
        await ws.expect_close(1000)
    assert found == [[1], True]


async def test_controllers_of_lilya() -> None:
    class Echo(controllers.WebSocketController):
        encoding = "text"

        async def on_receive(self, websocket: LilyaWebSocket, data: str) -> None:
            await websocket.send_text(data)

    async with connected(apps.Lilya([routing.WebSocketPath("/", Echo)])) as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"


def test_lilyas_test_client() -> None:
    app = moved("lilya_rooms")["app"]
    with LilyaTestClient(app).websocket_connect("/rooms/tea") as ws:
        ws.send_json(1)
        assert ws.receive_json() == {"room": "kitchen", "got": 1}


# from-genro.md


async def test_the_same_prices() -> None:
    module = moved("genro_prices")
    bare = module["prices"]
    routed = telex.App([telex.SocketRoute("/prices", bare)])
    for app in (bare, routed, example("genro-prices").app):
        async with connected(app, "/prices", lifespan=app is not bare) as ws:
            await ws.send_text('{"net": "4::N"}::JS')
            assert await ws.receive_text() == '{"gross":"5.00::N"}::JS'
            await ws.close(4001)
    assert module["gone"] == [4001, 4001]


async def genro(tell: Callable[[GenroWebSocket], Any], *messages: Any, **options: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await tell(GenroWebSocket(scope, receive, send))

    async with connected(app, lifespan=False, **options) as ws:
        for message in messages:
            await ws.send_value(message)


async def test_genro_raises_its_kinds_of_errors() -> None:
    async def tell(ws: GenroWebSocket) -> None:
        with pytest.raises(RuntimeError):
            await ws.close()
        with pytest.raises(ValueError, match="not offered"):
            await ws.accept("chat")
        await ws.accept(headers={"x-a": "1"})
        with pytest.raises(ValueError, match="Out of range"):
            await ws.send_json(math.nan)
        with pytest.raises(TypeError):
            await ws.receive_text()
        assert await ws.receive_typed() == {"net": "1.25::N"}
        with pytest.raises(ValueError, match="Expecting"):
            await ws.receive_typed()
        with pytest.raises(telex.WebSocketDisconnect):
            await ws.receive_text()
        with pytest.raises(RuntimeError):
            await ws.receive_text()
        with pytest.raises(ValueError, match="websocket"):
            GenroWebSocket({"type": "http"}, ws.asgi_receive, ws.asgi_send)

    await genro(tell, b"x", '{"net": "1.25::N"}', "{")


async def test_genro_iterates_texts_and_takes_the_url_of_the_server() -> None:
    seen: list[str] = []

    async def tell(ws: GenroWebSocket) -> None:
        await ws.accept()
        seen.append(str(ws.url))
        texts = aiter(ws)
        seen.append(await anext(texts))
        with pytest.raises(TypeError):
            await anext(texts)
        await ws.close()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await tell(GenroWebSocket(scope, receive, send))

    options: Any = {"scope": {"server": ("::1", 8000), "root_path": "/api", "path": "/api/x"}}
    async with connected(app, "/api/x", lifespan=False, **options) as ws:
        await ws.send_text("a")
        await ws.send_bytes(b"b")
        await ws.expect_close(1000)
    assert seen == ["ws://[::1]:8000/api/x", "a"]


async def test_genro_refuses_and_has_its_messages() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await GenroWebSocket(scope, receive, send).refuse()

    refused = await rejection(app, lifespan=False)
    assert (refused.status, refused.code) == (403, 1008)
    message = wsx.build_wsx_message(id="1", method="GET", path="/x")
    assert wsx.parse_wsx_message(message) == {"id": "1", "method": "GET", "path": "/x"}
