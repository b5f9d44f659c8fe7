"""The pages for those who come from elsewhere: both sides run, and the comparison is so."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import sys
import threading
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import fastapi
import pytest
import starlette.websockets as starlette_websockets
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import pages
import telex
from clients import connected, ending, rejection
from documented import RUNNABLE, example
from migrating import FILES, PAGES, Handler, answers, ours, starlette, their
from telex.testing import AsyncTestClient, HandlersSurvived, LiveServer

TOKEN = {"authorization": "Bearer let-me-in"}

# All pages


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_python_block_has_a_name(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    python = [block for block in pages.blocks(text) if block.language == "python"]
    assert len(pages.files(text)) == sum(block.name is None for block in python)


def test_every_file_is_played() -> None:
    tests = Path(__file__).parent.glob("test_docs_*.py")
    source = "".join(path.read_text(encoding="utf-8") for path in tests)
    missing = [
        name
        for name in FILES
        if not re.search(rf'(their|moved)\("{name.removesuffix(".py")}"', source)
    ]
    assert missing == []


@pytest.mark.integration
@pytest.mark.parametrize("name", ["starlette_echo", "fastapi_orders", "litestar_orders"])
def test_applications_run_on_the_server_protocol_as_they_are(name: str) -> None:
    message, answer = {
        "starlette_echo": ("1", '{"echo":1}'),
        "fastapi_orders": ('{"item": "tea", "price": 4}', '{"total":5.0}'),
        "litestar_orders": ('{"item": "tea", "price": 4}', '{"total":5.0}'),
    }[name]
    app = their(name).app
    with LiveServer(app, ws="telex.server:WebSocketProtocol") as server:
        url = f"{server.url}/{name.partition('_')[2]}"
        with connect(url, additional_headers=TOKEN, proxy=None) as ws:
            ws.send(message)
            assert ws.recv(timeout=5) == answer


@pytest.mark.integration
@pytest.mark.parametrize(
    ("ws", "codes"),
    [("telex.server:WebSocketProtocol", [1000, 1011]), ("websockets-sansio", [1006, 1006])],
)
def test_ends_on_the_server_protocol(ws: str, codes: list[int]) -> None:
    async def fails(ws: Any) -> None:
        await ws.accept()
        raise KeyError("x")

    seen = []
    for handler in (returns, fails):
        with LiveServer(starlette(handler), ws=ws) as server, connect(server.url, proxy=None) as c:
            with pytest.raises(ConnectionClosed) as closed:
                c.recv(timeout=5)
            received = closed.value.rcvd
            seen.append(received.code if received else 1006)
    assert seen == codes


# from-starlette.md


async def test_telex_mounted_in_starlette() -> None:
    module = example("starlette-mount")
    async with connected(module.site, "/live/echo") as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"


async def test_starlette_inside_of_telex_for_http_and_for_its_sockets() -> None:
    async def old(ws: Any) -> None:
        await ws.accept()
        await ws.send_text(f"old {ws.url.path}")
        await ws.close()

    async def home(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    site = Starlette(routes=[Route("/", home), WebSocketRoute("/old", old)])
    app = telex.App([telex.SocketRoute("/echo", example("starlette-echo").echo)], http=site)
    app.mount("/", site)
    async with AsyncTestClient(app) as client:
        assert (await client.http.get("/")).text == "hello"
        async with client.websocket("/old") as ws:
            assert [text async for text in ws] == ["old /old"]
        async with client.websocket("/echo", headers=TOKEN) as ws:
            await ws.send_text("1")
            assert await ws.receive_text() == '{"echo":1}'


async def test_only_the_class_in_a_handler_of_starlette() -> None:
    async def echo(websocket: Any) -> None:
        triple = (websocket.scope, websocket.receive, websocket.send)
        async with telex.WebSocket(*triple) as ws:
            async for text in ws.iter_text():
                await ws.send_text(text)
            seen.append((ws.closed_by, ws.close_code))

    seen: list[Any] = []
    async with connected(starlette(echo)) as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"
        await ws.close(4001)
    assert seen == [("client", 4001)]


def echoes() -> dict[str, Any]:
    """Starlette's handler, the same with our import, and ours."""
    imports = "from starlette.websockets import WebSocket, WebSocketDisconnect"
    changed = their("starlette_echo", **{imports: imports.replace("starlette.websockets", "telex")})
    app, mine = their("starlette_echo").app, example("starlette-echo").app
    route = telex.SocketRoute("/echo", changed.echo)
    return {"starlette": app, "imports": telex.App([route]), "telex": mine}


@pytest.mark.parametrize("who", ["starlette", "imports", "telex"])
async def test_the_same_echo(who: str) -> None:
    app = echoes()[who]
    options: Any = {"headers": TOKEN, "subprotocols": ["chat"]}
    async with connected(app, "/echo", **options) as ws:
        assert ws.accepted_subprotocol == "chat"
        await ws.send_json([1, None])
        assert await ws.receive_text() == '{"echo":[1,null]}'
        await ws.close(1001)
    refused = await rejection(app, "/echo")
    assert (refused.status, refused.body) == (401, b"a token is needed")


async def test_without_denial_responses_starlette_raises_and_telex_refuses() -> None:
    theirs, mine = their("starlette_echo").app, example("starlette-echo").app
    with pytest.raises(RuntimeError, match="doesn't support the Websocket Denial Response"):
        async with connected(theirs, "/echo", scope={"extensions": {}}):
            pytest.fail("it was not accepted")
    assert (await rejection(mine, "/echo", scope={"extensions": {}})).status == 403


async def news_behind_a_client_that_does_not_read(app: Any) -> list[str]:
    async with connected(app, "/news") as slow, connected(app, "/news") as ws:
        for each in (slow, ws):
            assert await each.receive_text() == "tick"
        slow.pause_reading(buffer=1)
        await ws.send_text("one")
        await slow.expect_blocked()
        heard = [] if app.__class__ is Starlette else [await ws.receive_text()]
        await ws.expect_nothing(0)
        slow.resume_reading()
        assert await slow.receive_text() == "one"
    return heard


async def test_news_wait_for_a_client_that_does_not_read_only_in_starlette() -> None:
    theirs, mine = their("starlette_news").app, example("starlette-news").app
    assert await news_behind_a_client_that_does_not_read(theirs) == []
    assert await news_behind_a_client_that_does_not_read(mine) == ["one"]


async def test_an_error_in_a_task_is_seen_by_nobody_only_in_starlette() -> None:
    async def failing(ws: Any) -> None:
        raise ZeroDivisionError

    module = their("starlette_news")
    module.tick = failing
    async with connected(module.app, "/news") as ws:
        await ws.send_text("goes on")
        assert await ws.receive_text() == "goes on"
    mine = types.ModuleType("news")
    exec(RUNNABLE["starlette-news"], mine.__dict__)
    mine.__dict__["tick"] = failing
    async with connected(mine.__dict__["app"], "/news", raise_app_exceptions=False) as ws:
        await ws.expect_close(1011)


def test_starlettes_test_and_the_same_with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = {
        "from starlette.testclient": "from telex.testing",
        "websocket_connect(": "websocket(",
    }
    for changed in ({}, replaced):
        for app in (their("starlette_echo").app, example("starlette-echo").app):
            monkeypatch.setitem(sys.modules, "starlette_echo", types.SimpleNamespace(app=app))
            their("test_starlette_echo", **changed).test_echo()


class Kept:
    """What a view was told at its end."""

    def __init__(self) -> None:
        self.codes: list[int] = []


async def test_malformed_json_in_class_views() -> None:
    kept = Kept()

    class Theirs(WebSocketEndpoint):
        encoding = "json"

        async def on_disconnect(self, websocket: Any, close_code: int) -> None:
            kept.codes.append(close_code)

    class Mine(telex.SocketView):
        encoding = "json"

        async def on_disconnect(self, close_code: int) -> None:
            kept.codes.append(close_code)

    app = telex.App([telex.SocketRoute("/", Mine)])
    with pytest.raises(RuntimeError, match="Malformed JSON"):
        async with connected(Starlette(routes=[WebSocketRoute("/", Theirs)])) as ws:
            await ws.send_text("{")
            await ws.expect_close(1003)
    async with connected(app) as ws:
        await ws.send_text("{")
        await ws.expect_close(1003)
    assert kept.codes == [1011, 1003]


def caught(call: Callable[[Any], Awaitable[Any]]) -> Handler:
    """A handler that tells what a call raises, by name."""

    async def handler(ws: Any) -> None:
        await ws.accept()
        try:
            result = await call(ws)
        except Exception as exc:
            result = [type(exc).__name__, isinstance(exc, RuntimeError)]
        await ws.send_json(result)
        await ws.close()

    return handler


@pytest.mark.parametrize(
    ("call", "theirs", "mine"),
    [
        (lambda ws: ws.receive_text(), '["KeyError",false]', '["WebSocketFrameError",false]'),
        (lambda ws: ws.accept(), '["RuntimeError",true]', '["WebSocketRuntimeError",true]'),
        (lambda ws: ws.send_json(math.nan), "NaN", '["ValueError",false]'),
    ],
)
async def test_what_calls_do(call: Any, theirs: str, mine: str) -> None:
    assert (await answers(starlette(caught(call)), b"x"))[0] == theirs
    assert (await answers(ours(caught(call)), b"x"))[0] == mine


async def test_ends_found_twice() -> None:
    found: list[list[tuple[str, Any]]] = []

    async def handler(ws: Any) -> None:
        await ws.accept()
        seen: list[tuple[str, Any]] = []
        calls = [ws.receive_text, ws.receive_text, lambda: ws.send_text("late"), ws.close]
        for call in calls:
            try:
                await call()
            except Exception as exc:
                seen.append((type(exc).__name__, getattr(exc, "code", None)))
        found.append(seen)

    for app in (starlette(handler), ours(handler)):
        async with connected(app) as ws:
            await ws.close(4001)
    theirs, mine = found
    assert theirs[:2] == [("WebSocketDisconnect", 4001), ("WebSocketDisconnected", None)]
    assert theirs[2] == ("WebSocketDisconnect", 1006)
    assert mine == [("WebSocketDisconnect", 4001)] * 3


async def test_closing_twice() -> None:
    async def handler(ws: Any) -> None:
        await ws.accept()
        await ws.close(4000)
        await ws.close(4001)

    assert await ending(ours(handler)) == (4000, "")
    with pytest.raises(starlette_websockets.WebSocketDisconnected):
        async with connected(starlette(handler)) as ws:
            await ws.expect_close(4000)


async def returns(ws: Any) -> None:
    await ws.accept()


async def returns_early(ws: Any) -> None:
    pass


async def test_handlers_that_just_return() -> None:
    assert await ending(starlette(returns)) == (1006, "")
    assert await ending(ours(returns)) == (1000, "")
    assert (await rejection(starlette(returns_early))).status == 500
    assert (await rejection(ours(returns_early))).status == 403


async def test_unknown_paths() -> None:
    assert (await rejection(starlette(returns), "/nowhere")).status == 403
    assert (await rejection(ours(returns), "/nowhere")).status == 404


async def test_an_exception_handler_for_everything() -> None:
    async def fails(ws: Any) -> None:
        await ws.accept()
        raise KeyError("x")

    async def handler(ws: Any, exc: Exception) -> None:
        await ws.close(4000, type(exc).__name__)

    for only, app in ((KeyError, starlette), (KeyError, ours), (Exception, ours)):
        assert await ending(app(fails, exception_handlers={only: handler})) == (4000, "KeyError")
    with pytest.raises(KeyError):
        await ending(starlette(fails, exception_handlers={Exception: handler}))


async def test_starlettes_exceptions() -> None:
    async def late(ws: Any) -> None:
        await ws.accept()
        raise HTTPException(401, "no")

    async def early(ws: Any) -> None:
        raise HTTPException(401, "no")

    async def closing(ws: Any) -> None:
        await ws.accept()
        raise WebSocketException(4001, "no")

    with pytest.raises(RuntimeError, match="response"):
        await ending(starlette(late))
    assert await ending(ours(late)) == (1008, "no")
    for app in (starlette, ours):
        assert (await rejection(app(early))).status == 401
        assert await ending(app(closing)) == (4001, "no")


class Told:
    """An application, and what it tells the server."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.messages: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def noted(message: Any) -> None:
            self.messages.append(message)
            await send(message)

        await self.app(scope, receive, noted)


async def test_what_goes_to_the_server_in_starlette_is_refused_here() -> None:
    async def unheard(ws: Any) -> None:
        await ws.accept("chat")

    async def abnormal(ws: Any) -> None:
        await ws.accept()
        await ws.close(1006)

    for handler in (unheard, abnormal):
        for make, expected in ((starlette, 1), (ours, 0)):
            told = Told(make(handler))
            with pytest.raises(ValueError, match=r"chat|1006"):
                async with connected(told) as ws:
                    await ws.expect_close()
            wrong = [m for m in told.messages if "chat" in m.values() or 1006 in m.values()]
            assert len(wrong) == expected


async def test_what_is_read_from_the_request() -> None:
    async def handler(ws: Any) -> None:
        await ws.accept()
        params = ws.query_params
        await ws.send_json([params["a"], params.getlist("a"), isinstance(ws.url, str)])
        await ws.close()

    url = "/?a=1&a=2"
    assert await answers(starlette(handler), url=url) == ['["2",["1","2"],false]']
    assert await answers(ours(handler), url=url) == ['["1",["1","2"],true]']


async def test_which_route_wins() -> None:
    def says(text: str) -> Handler:
        async def handler(ws: Any) -> None:
            await ws.accept()
            await ws.send_text(text)
            await ws.close()

        return handler

    paths = {"/{name}": says("any"), "/me": says("me")}
    theirs = Starlette(routes=[WebSocketRoute(path, fn) for path, fn in paths.items()])
    mine = telex.App()
    for path, fn in paths.items():
        mine.websocket(path, name=None)(fn)
    assert await answers(theirs, url="/me") == ["any"]
    assert await answers(mine, url="/me") == ["me"]


async def test_what_no_middleware_has_made() -> None:
    async def handler(ws: Any) -> None:
        for name in ("session", "user"):
            try:
                getattr(ws, name)
            except Exception as exc:
                seen.append(type(exc).__name__)
        await ws.close()

    seen: list[str] = []
    for make in (starlette, ours):
        await rejection(make(handler))
    assert seen == ["AssertionError"] * 2 + ["ImproperlyConfigured"] * 2


def test_states() -> None:
    assert "RESPONSE" in starlette_websockets.WebSocketState.__members__
    assert "RESPONSE" not in telex.WebSocketState.__members__
    assert issubclass(telex.WebSocketState, int)
    assert not issubclass(starlette_websockets.WebSocketState, int)


async def waits(ws: Any) -> None:
    await ws.accept()
    await asyncio.Event().wait()


async def test_a_handler_that_waits_for_something_else() -> None:
    with pytest.raises(HandlersSurvived):
        async with connected(starlette(waits), timeout=0.2):
            pass
    async with connected(ours(waits, disconnect_grace=0)):
        pass


async def test_pages_of_other_origins() -> None:
    cors = Middleware(CORSMiddleware, allow_origins=["https://friend.example"])
    foreign = {"origin": "https://foe.example", "cookie": "session=1"}
    assert await ending(starlette(returns, middleware=[cors]), headers=foreign) == (1006, "")
    assert (await rejection(ours(returns), headers=foreign)).status == 403


# from-fastapi.md


async def test_telex_beside_and_around_fastapi() -> None:
    api = FastAPI()

    @api.get("/hello")
    async def hello() -> str:
        return "hello"

    module = example("starlette-mount")
    api.mount("/live", module.app)
    around = telex.App([telex.SocketRoute("/other", module.echo)], http=api)
    around.mount("/", api)
    for app, path in ((api, "/live/echo"), (around, "/live/echo"), (around, "/other")):
        async with AsyncTestClient(app) as client, client.websocket(path) as ws:
            assert (await client.http.get("/hello")).json() == "hello"
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"


async def test_only_the_class_in_an_endpoint_of_fastapi() -> None:
    app = FastAPI()

    @app.websocket("/{n}")
    async def double(websocket: fastapi.WebSocket, n: int) -> None:
        scope, receive, send = websocket.scope, websocket.receive, websocket.send
        async with telex.WebSocket(scope, receive, send) as ws:
            await ws.send_value(2 * n)

    assert await answers(app, url="/4") == ["8"]


async def test_the_same_rooms() -> None:
    cookie = {"session": "s3cret"}
    for app in (their("fastapi_rooms").app, example("fastapi-rooms").app):
        for query, limit in (("", 50), ("?limit=2", 2)):
            async with connected(app, f"/rooms/7{query}", cookies=cookie) as ws:
                assert await ws.receive_json() == [7, "Ada", limit]
                await ws.expect_close(1000)
        refused = await rejection(app, "/rooms/7")
        assert (refused.status, "log in first" in refused.text) == (401, True)


async def test_a_parameter_that_does_not_fit() -> None:
    theirs, mine = their("fastapi_rooms").app, example("fastapi-rooms").app
    for path in ("/rooms/x", "/rooms/7?limit=0"):
        # Dependencies come first there, so one that refuses is all that is seen.
        assert (await rejection(theirs, path)).status == 401
        refused = await rejection(theirs, path, cookies={"session": "s3cret"})
        assert (refused.status, refused.body) == (403, b"")
        assert (await rejection(mine, path)).status == 422


async def test_fastapis_exception_and_overrides_in_telex() -> None:
    module = example("fastapi-rooms")

    async def refuse() -> str:
        raise fastapi.HTTPException(402, "pay first")

    theirs = their("fastapi_rooms")
    for each in (theirs, module):
        for override, status in ((refuse, 402), (lambda: "Bob", None)):
            each.app.dependency_overrides[each.current_user] = override
            if status:
                assert (await rejection(each.app, "/rooms/7")).status == status
            else:
                assert await answers(each.app, url="/rooms/7") == ['[7,"Bob",50]']
        each.app.dependency_overrides.clear()


async def test_the_same_orders() -> None:
    for app in (their("fastapi_orders").app, example("fastapi-orders").app):
        async with connected(app, "/orders") as ws:
            await ws.send_json({"item": "tea", "price": 4})
            assert await ws.receive_json() == {"total": 5.0}
            await ws.send_json({"item": "tea", "price": -4})
            [error] = (await ws.receive_json())["errors"]
            assert "price" in error.get("path", error.get("loc"))


async def test_news_from_an_http_endpoint() -> None:
    for app in (their("fastapi_news").app, example("fastapi-news").app):
        async with AsyncTestClient(app) as client, client.websocket("/news") as ws:
            await ws.expect_nothing(0)
            assert (await client.http.post("/news?text=hello")).json() == 1
            assert await ws.receive_text() == "hello"
        readers = their("fastapi_news").readers + example("fastapi-news").readers
        assert readers == []


async def test_a_reader_that_hangs_holds_the_endpoint_of_fastapi() -> None:
    theirs, mine = their("fastapi_news").app, example("fastapi-news").app
    async with AsyncTestClient(mine) as client, client.websocket("/news") as ws:
        await ws.expect_nothing(0)
        ws.pause_reading(buffer=1)
        assert (await client.http.post("/news?text=hello")).json() == 1
    async with AsyncTestClient(theirs) as client, client.websocket("/news") as ws:
        ws.pause_reading(buffer=1)
        posting = asyncio.create_task(client.http.post("/news?text=hello"))
        await ws.expect_blocked()
        assert not posting.done()
        ws.resume_reading()
        assert (await posting).json() == 1


async def test_a_binary_message_leaves_a_reader_behind_in_fastapi() -> None:
    module = their("fastapi_news")
    with pytest.raises(KeyError):
        async with connected(module.app, "/news") as ws:
            await ws.send_bytes(b"x")
            await ws.expect_close()
    assert len(module.readers) == 1


async def test_an_exception_handler_of_fastapi_for_everything_is_not_called() -> None:
    app = FastAPI()

    @app.exception_handler(Exception)
    async def handler(request: Any, exc: Exception) -> None:
        pytest.fail("it is called")

    @app.websocket("/")
    async def fails(websocket: fastapi.WebSocket) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await rejection(app)


async def swallowing() -> AsyncIterator[None]:
    with contextlib.suppress(KeyError):
        yield


def where() -> bool:
    return threading.current_thread() is threading.main_thread()


async def test_a_dependency_that_catches() -> None:
    api, app = FastAPI(), telex.App()

    @api.websocket("/")
    async def theirs(
        websocket: fastapi.WebSocket, x: Annotated[None, fastapi.Depends(swallowing)]
    ) -> None:
        await websocket.accept()
        raise KeyError

    @app.websocket("/")
    async def mine(ws: telex.WebSocket, x: Annotated[None, telex.Depends(swallowing)]) -> None:
        await ws.accept()
        raise KeyError

    assert await ending(api) == (1006, "")
    assert await ending(app, raise_app_exceptions=False) == (1011, "")


async def test_dependencies_of_fastapi_in_telex_are_refused() -> None:
    app = telex.App()

    async def foreign(ws: telex.WebSocket, x: Annotated[int, fastapi.Query()]) -> None: ...

    async def default(ws: telex.WebSocket, x: int = telex.Query(5)) -> None: ...  # type: ignore[assignment]

    for handler in (foreign, default):
        with pytest.raises(TypeError, match=r"fastapi|is no default"):
            app.websocket("/")(handler)


async def test_plain_functions_run_in_a_thread_only_in_fastapi() -> None:
    api, app = FastAPI(), telex.App()

    @api.websocket("/")
    async def theirs(
        websocket: fastapi.WebSocket, on_loop: Annotated[bool, fastapi.Depends(where)]
    ) -> None:
        await websocket.accept()
        await websocket.send_json(on_loop)
        await websocket.close()

    @app.websocket("/")
    async def mine(ws: telex.WebSocket, on_loop: Annotated[bool, telex.Depends(where)]) -> None:
        async with ws:
            await ws.send_json(on_loop)

    assert await answers(api) == ["false"]
    assert await answers(app) == ["true"]
