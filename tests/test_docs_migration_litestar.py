"""The page for those who come from Litestar: both sides run, and the comparison is so."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from typing import Any

import litestar
import pytest
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.exceptions import LitestarWarning
from litestar.handlers import WebsocketListener, websocket_listener, websocket_stream
from litestar.params import FromPath

import telex
from clients import connected, ending, rejection
from documented import example
from migrating import answers, ours, their
from telex.testing import AsyncTestClient, AsyncTestSession, HandlersSurvived

Socket = litestar.WebSocket[Any, Any, Any]


def site(*handlers: Any, **options: Any) -> Any:
    # Its types of ASGI's messages are its own, so type checkers take it for no application.
    return Litestar(list(handlers), logging_config=None, **options)


# Around and inside


async def test_telex_around_litestar_and_its_channels() -> None:
    module = example("litestar-around")
    async with AsyncTestClient(module.app) as client:
        assert (await client.http.get("/schema/openapi.json")).status_code == 200
        async with client.websocket("/news") as ws:
            await ws.expect_nothing(0)
            module.channels.publish({"weather": "sun"}, "news")
            assert await ws.receive_json() == {"weather": "sun"}
        assert module.channels._channels["news"] == set()


@litestar.websocket("/old/{n:int}")
async def old(socket: Socket, n: FromPath[int]) -> None:
    await socket.accept()
    await socket.send_text(f"{socket.url.path} {n}")
    await socket.close()


async def test_handlers_of_litestar_inside_of_telex() -> None:
    inner = site(old)
    app = telex.App(http=inner)
    app.mount("/", inner)
    assert await answers(app, url="/old/4") == ["/old/4 4"]
    foreign = {"origin": "https://foe.example", "cookie": "session=1"}
    assert (await rejection(app, "/old/4", headers=foreign)).body == b"origin not allowed"


async def test_telex_inside_of_litestar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "main", example("starlette-mount"))
    module = their("inside_litestar")
    async with connected(module.site, "/live/echo") as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"
    assert (await rejection(module.site, "/live/nowhere")).status == 404


async def test_litestar_leaves_a_slash_at_the_end_of_the_path() -> None:
    @litestar.asgi("/live", is_mount=True, copy_scope=True)
    async def live(
        scope: litestar.types.Scope, receive: litestar.types.Receive, send: litestar.types.Send
    ) -> None:
        triple: Any = (scope, receive, send)
        async with telex.WebSocket(*triple) as ws:
            await ws.send_json([scope["path"], scope["root_path"]])

    assert await answers(site(live), url="/live/echo") == ['["/echo/",""]']


@litestar.websocket("/{n:int}")
async def double(socket: Socket, n: FromPath[int]) -> None:
    triple: Any = (socket.scope, socket.receive, socket.send)
    async with telex.WebSocket(*triple) as ws:
        await ws.send_value(2 * n)


async def test_only_the_class_in_a_handler() -> None:
    assert await answers(site(double), url="/4") == ["8"]


# Side by side


async def test_the_same_orders_until_one_does_not_fit() -> None:
    theirs, mine = their("litestar_orders").app, example("litestar-orders").app
    for app in (theirs, mine):
        async with connected(app, "/orders") as ws:
            await ws.send_json({"item": "tea", "price": 4})
            assert await ws.receive_json() == {"total": 5.0}
    wrong = json.dumps({"item": "tea", "price": "much"})
    async with connected(theirs, "/orders") as ws:
        await ws.send_text(wrong)
        await ws.expect_close(4500)
    async with connected(mine, "/orders") as ws:
        await ws.send_text(wrong)
        assert (await ws.receive_json())["errors"][0]["path"] == "$.price"
        await ws.send_json({"item": "tea", "price": 4})
        assert await ws.receive_json() == {"total": 5.0}


class Ordered:
    item: str


@websocket_listener("/")
async def kind_of(data: Ordered) -> str:
    return type(data).__name__


async def test_without_a_dto_the_annotation_is_not_looked_at() -> None:
    async with connected(site(kind_of)) as ws:
        await ws.send_json({"item": 5})
        assert await ws.receive_text() == "dict"


async def test_the_same_rooms() -> None:
    theirs, mine = their("litestar_rooms").app, example("litestar-rooms").app
    staff = {"x-staff": "yes"}
    for app in (theirs, mine):
        for query, limit in (("", 50), ("?limit=2", 2)):
            async with connected(app, f"/rooms/7{query}", headers=staff) as ws:
                assert await ws.receive_json() == ["kitchen", limit]
                await ws.expect_close(1000)
    for app, body in ((theirs, b""), (mine, b"staff only")):
        refused = await rejection(app, "/rooms/7")
        assert (refused.status, refused.body) == (403, body)
    for app, status in ((theirs, 403), (mine, 422)):
        assert (await rejection(app, "/rooms/7?limit=x", headers=staff)).status == status
        unknown = await rejection(app, "/nowhere")
        assert unknown.status == (403 if app is theirs else 404)


async def test_the_same_clock() -> None:
    for app in (their("litestar_clock").app, example("litestar-clock").app):
        async with connected(app, "/clock") as ws:
            assert await ws.receive_text() == "tick"
            await ws.send_text("hello")
            assert await ws.receive_text() == "you said hello"


async def ticks() -> AsyncGenerator[str, None]:
    yield "tick"
    await asyncio.Event().wait()


async def talk(ws: AsyncTestSession) -> None:
    await ws.send_text("hello")
    await ws.expect_nothing(0)


async def test_streams_of_litestar_warn_when_the_client_talks() -> None:
    app = telex.App()
    app.websocket_stream("/")(ticks)
    async with connected(app) as ws:
        assert await ws.receive_text() == "tick"
        await talk(ws)
    async with connected(site(websocket_stream("/")(ticks))) as ws:
        assert await ws.receive_text() == "tick"
        with pytest.warns(LitestarWarning, match="received data"):
            await talk(ws)


# What changes


@litestar.websocket("/raises")
async def raises(socket: Socket) -> None:
    await socket.accept()
    raise KeyError("x")


@litestar.websocket("/early")
async def early(socket: Socket) -> None:
    raise KeyError("x")


@litestar.websocket("/read")
async def read(socket: Socket) -> None:
    await socket.send_text(repr(await socket.receive_text()))
    await socket.close()


@litestar.websocket("/sends")
async def sends(socket: Socket) -> None:
    await socket.send_text("not accepted")


@litestar.websocket("/waits")
async def waits(socket: Socket) -> None:
    await socket.accept()
    await asyncio.Event().wait()


@litestar.websocket("/returns")
async def returns(socket: Socket) -> None:
    await socket.accept()


@websocket_listener("/json")
async def anything(data: Any) -> dict[str, Any] | None:
    return None


@websocket_listener("/text")
async def nothing(data: str) -> str | None:
    return None


ALL = (raises, early, read, sends, waits, returns, anything, nothing)


async def test_exceptions_are_4500_and_their_handlers_are_not_called() -> None:
    def handler(*_: Any) -> None:
        pytest.fail("it is called")

    app = site(*ALL, exception_handlers={KeyError: handler})
    assert (await ending(app, "/raises"))[0] == 4500
    assert (await rejection(app, "/early")).status == 403


async def test_a_binary_message_is_empty_text() -> None:
    async with connected(site(*ALL), "/read") as ws:
        await ws.send_bytes(b"x")
        assert await ws.receive_text() == "''"


async def test_sending_accepts() -> None:
    assert (await answers(site(*ALL), url="/sends")) == ["not accepted"]

    async def mine(ws: Any) -> None:
        with pytest.raises(telex.WebSocketRuntimeError):
            await ws.send_text("not accepted")
        await ws.reject(418)

    assert (await rejection(ours(mine))).status == 418


async def test_none_of_a_listener_and_json_that_cannot_be_read() -> None:
    for path, message, end in (("/json", "{", 4500), ("/text", "x", 4500)):
        async with connected(site(*ALL), path) as ws:
            await ws.send_text(message)
            await ws.expect_close(end)
    async with connected(site(*ALL), "/json") as ws:
        await ws.send_text("1")
        assert await ws.receive_text() == "null"


async def test_handlers_that_return_or_wait() -> None:
    assert await ending(site(*ALL), "/returns") == (1006, "")
    with pytest.raises(HandlersSurvived):
        async with connected(site(*ALL), "/waits", timeout=0.2):
            pass


async def test_sending_when_the_client_has_left() -> None:
    found: list[type[Exception]] = []

    async def late(ws: Any) -> None:
        await ws.accept()
        for _ in range(1000):
            try:
                await ws.send_text("x")
                await asyncio.sleep(0)
            except Exception as exc:
                found.append(type(exc))
                return

    @litestar.websocket("/")
    async def theirs(socket: Socket) -> None:
        await late(socket)

    for app in (site(theirs), ours(late)):
        async with connected(app):
            pass
    assert issubclass(found[0], OSError)
    assert found[1] is telex.WebSocketDisconnect


async def test_foreign_pages_get_in() -> None:
    cors = CORSConfig(allow_origins=["https://friend.example"])
    foreign = {"origin": "https://foe.example", "cookie": "session=1"}
    async with connected(site(*ALL, cors_config=cors), "/text", headers=foreign):
        pass


class One(WebsocketListener):
    path = "/one"

    async def on_receive(self, data: str) -> int:
        return id(self)


async def test_a_class_has_one_object_for_all_connections() -> None:
    app = site(One)
    seen = set()
    async with connected(app, "/one") as first, connected(app, "/one", lifespan=False) as second:
        for ws in (first, second):
            await ws.send_text("x")
            seen.add(await ws.receive_text())
    assert len(seen) == 1
