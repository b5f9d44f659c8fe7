from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

import msgspec
import pytest

from channel import wrap_receive, wrap_send
from clients import connected
from opened import soon
from peer import B, D, Peer, T, make_scope, serve
from telex import URL, Address, State, WebSocketRuntimeError
from telex.compat.kui._websocket import Headers, QueryParams
from telex.compat.kui.asgi import (
    Depends,
    Header,
    Kui,
    Query,
    SocketRoute,
    SocketView,
    WebSocket,
    websocket,
)


def made(**scope: Any) -> WebSocket:
    peer = Peer()
    return WebSocket(make_scope(**scope), peer.receive, peer.send)


async def opened(*script: Any, **scope: Any) -> tuple[WebSocket, Peer]:
    peer = Peer(*script)
    ws = WebSocket(make_scope(**scope), peer.receive, peer.send)
    await soon(ws.accept())
    return ws, peer


# What is known of the request


@pytest.mark.row("K39", "K40", "K41", "K42", "K43", "K44", "K45", "K46", "Z20")
async def test_the_attributes_of_a_connection() -> None:
    app = Kui()
    seen: dict[str, Any] = {}

    @app.router.websocket("/ws/{n:int}")
    async def handler() -> None:
        for name in ("url", "headers", "query_params", "path_params", "client", "cookies"):
            seen[name] = getattr(websocket, name)
        seen["app"], seen["state"] = websocket.app, websocket.state
        websocket.state.mine = 1
        await websocket.accept()

    headers = {"cookie": "a=1; b=2", "X-One": "1"}
    async with connected(app, "/ws/7?a=1&b=", headers=headers) as ws:
        await ws.expect_close(1000)
    assert isinstance(seen["url"], URL)
    assert seen["url"] == "ws://testserver/ws/7?a=1&b="
    assert isinstance(seen["headers"], Headers)
    assert seen["headers"]["x-ONE"] == "1"
    assert isinstance(seen["query_params"], QueryParams)
    assert (seen["query_params"]["a"], seen["query_params"]["b"]) == ("1", "")
    assert seen["path_params"] == {"n": 7}
    assert isinstance(seen["client"], Address)
    assert seen["cookies"] == {"a": "1", "b": "2"}
    assert isinstance(seen["state"], State)
    assert seen["state"]["mine"] == 1
    assert seen["app"] is app


@pytest.mark.row("K25", "Z16", "K45")
async def test_each_of_two_handlers_sees_its_own_connection() -> None:
    app = Kui()

    @app.router.websocket("/{name}")
    async def handler() -> None:
        await websocket.accept()
        assert "name" not in websocket.state
        websocket.state.name = websocket.path_params["name"]
        await websocket.receive_text()
        await websocket.send_json([websocket["path"], websocket.state.name])

    async with connected(app, "/one") as one, connected(app, "/two") as two:
        await two.send_text("go")
        await one.send_text("go")
        assert await one.receive_json() == ["/one", "one"]
        assert await two.receive_json() == ["/two", "two"]


@pytest.mark.row("C41", "K41")
def test_a_repeated_query_parameter_has_its_last_value() -> None:
    params = made(query_string=b"x=1&y=3&x=2").query_params
    assert (params["x"], params.get("x"), params["y"]) == ("2", "2", "3")
    assert dict(params) == {"x": "2", "y": "3"}
    assert params.getlist("x") == ["1", "2"]
    assert params.get("z") is None
    assert params.get("z", "none") == "none"
    with pytest.raises(KeyError):
        params["z"]


@pytest.mark.row("C42", "K40")
def test_a_repeated_header_has_all_its_values_in_one() -> None:
    headers = made(headers=[(b"X", b"1"), (b"y", b"\xe9"), (b"x", b"2")]).headers
    assert (headers["X"], headers.get("x"), headers["y"]) == ("1, 2", "1, 2", "é")
    assert headers.getlist("x") == ["1", "2"]
    assert headers.get("z") is None
    with pytest.raises(KeyError):
        headers["z"]


@pytest.mark.row("C43", "K44")
def test_two_cookie_headers_are_not_joined_with_a_comma() -> None:
    ws = made(headers=[(b"cookie", b"a=1"), (b"cookie", b"b=2")])
    assert ws.cookies == {"a": "1", "b": "2"}


@pytest.mark.parametrize("name", ["headers", "query_params"])
def test_what_was_made_of_the_scope_is_kept_until_it_changes(name: str) -> None:
    ws = made()
    before = getattr(ws, name)
    assert getattr(ws, name) is before
    ws["headers"] = [(b"x", b"1")]
    assert getattr(ws, name) is not before


@pytest.mark.row("C44", "K43", "T66")
def test_an_unknown_client_has_neither_host_nor_port() -> None:
    assert made(client=None).client == Address(None, None)  # type: ignore[arg-type]
    assert isinstance(made(client=None).client, Address)
    assert made(client=["::1", 80]).client == ("::1", 80)


class Both(msgspec.Struct):
    x: int
    y: list[int]


@pytest.mark.row("C41", "C42", "T63", "KX15")
async def test_parameters_are_bound_to_the_same_values() -> None:
    app = Kui()

    @app.router.websocket("/")
    async def handler(
        x: Annotated[int, Query()],
        y: Annotated[list[int], Query()],
        h: Annotated[str, Header()],
        both: Annotated[Both, Query()],
    ) -> None:
        await websocket.accept()
        await websocket.send_json([x, y, h, both.x, both.y])

    headers = [(b"host", b"testserver"), (b"h", b"1"), (b"h", b"2")]
    scope = make_scope(query_string=b"x=1&x=2&y=3&y=4", headers=headers)
    peer = await serve(app, scope=scope)
    assert peer.data == ['[2,[3,4],"1, 2",2,[3,4]]']


@pytest.mark.row("C47", "KX12", "T75")
async def test_a_url_is_made_with_a_mapping_or_keywords_or_both() -> None:
    app = Kui()

    @app.router.websocket("/rooms/{name}/{n:int}", name="room")
    async def handler() -> None:
        await websocket.accept()
        for url in (
            websocket.url_for("room", {"name": "blue", "n": 1}),
            websocket.url_for("room", name="blue", n=2),
            websocket.url_for("room", {"name": "blue"}, n=3),
            websocket.url_for("room", path_params={"name": "blue", "n": 4}),
            websocket.url_for("home"),
        ):
            await websocket.send_text(url)

    app.router <<= SocketRoute("/", handler, "home")
    async with connected(app, "/rooms/red/0?x=1") as ws:
        assert [url async for url in ws] == [
            *(f"ws://testserver/rooms/blue/{n}" for n in (1, 2, 3, 4)),
            "ws://testserver/",
        ]


# The methods


@pytest.mark.row("KX12")
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("accept", {}),
        ("accept", {"subprotocol": None}),
        ("close", {"code": 1000, "reason": None}),
        ("receive_json", {"mode": "text"}),
        ("send_json", {"data": {}, "mode": "text"}),
        ("iter_text", {}),
        ("iter_bytes", {}),
        ("receive", {}),
        ("send", {"message": {}}),
    ],
)
def test_the_methods_take_what_they_take_there(name: str, given: dict[str, Any]) -> None:
    bound = inspect.signature(getattr(made(), name)).bind(**given)
    bound.apply_defaults()
    assert bound.arguments.items() >= given.items()


@pytest.mark.row("KX12", "C24")
async def test_json_goes_as_binary_too_and_raw_messages_can_be_had() -> None:
    ws, peer = await opened(B(b"[1]"), T("x"), B(b"y"), T("raw"), D(1001))
    await ws.send_json({"a": 1}, mode="binary")
    await ws.send({"type": "websocket.send", "text": "raw"})
    assert peer.data == [b'{"a":1}', "raw"]
    assert await ws.receive_json(mode="binary") == [1]
    assert await anext(ws.iter_text()) == "x"
    assert await anext(ws.iter_bytes()) == b"y"
    assert await ws.receive() == T("raw")
    assert (await ws.receive())["type"] == "websocket.disconnect"


# What is left and done at the end


@asynccontextmanager
async def resource(log: list[str]) -> AsyncIterator[str]:
    log.append("opened")
    yield "resource"
    log.append("left")


async def note(log: list[str], word: str, *, times: int = 1) -> None:
    await asyncio.sleep(0)
    log.extend([word] * times)


async def fail(ws: WebSocket) -> None:
    raise LookupError


ENDS: dict[str, Callable[[WebSocket], Any]] = {
    "the client leaves": lambda ws: ws.receive_text(),
    "it returns": lambda ws: asyncio.sleep(0),
    "we close": lambda ws: ws.close(4000),
    "it fails": fail,
}


@pytest.mark.row("KX12", "C52")
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_the_stack_is_left_and_then_the_background_tasks_run(end: Any) -> None:
    app = Kui()
    log: list[str] = []

    @app.router.websocket("/")
    async def handler(ws: WebSocket) -> None:
        websocket.background_tasks.append(note, log, "async", times=2)
        ws.background_tasks.append(log.append, "sync")
        await websocket.accept()
        assert await ws.exit_stack.enter_async_context(resource(log)) == "resource"
        assert ws.exit_stack is websocket.exit_stack
        log.append("handler")
        await end(ws)

    with suppress(LookupError):
        await serve(app, D(1001))
    assert log == ["opened", "handler", "left", "async", "async", "sync"]


@pytest.mark.row("KX12", "T87")
@pytest.mark.parametrize("wrapped", [False, True])
async def test_all_objects_for_a_connection_share_what_is_done_at_its_end(wrapped: bool) -> None:
    log: list[str] = []
    one, peer = await opened()
    receive = wrap_receive(peer.receive) if wrapped else peer.receive
    send = wrap_send(peer.send) if wrapped else peer.send
    two = WebSocket(one.scope, receive, send)
    assert two.exit_stack is one.exit_stack
    one.exit_stack.callback(log.append, "one")
    two.exit_stack.callback(log.append, "two")
    two.background_tasks.append(log.append, "task")
    await soon(one.close())
    assert log == ["two", "one", "task"]


@pytest.mark.row("KX12")
async def test_what_fails_at_the_end_is_logged_and_the_rest_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    ws, _ = await opened()
    ws.exit_stack.callback(int, "stack")
    ws.background_tasks.append(int, "task")
    ws.background_tasks.append(log.append, "last")
    await soon(ws.close())
    assert log == ["last"]
    assert [str(each.exc_info[1])[-7:] for each in caplog.records if each.exc_info] == [
        "'stack'",
        " 'task'",
    ]


@pytest.mark.row("KX12")
@pytest.mark.parametrize("used", ["before", "never"])
async def test_after_the_end_a_stack_is_refused_and_a_task_runs_at_once(used: str) -> None:
    log: list[str] = []
    ws, _ = await opened()
    if used == "before":
        ws.exit_stack.callback(log.append, "stack")
    await soon(ws.close())
    ws.background_tasks.append(log.append, "task")
    assert log == (["stack", "task"] if used == "before" else ["task"])
    with pytest.raises(WebSocketRuntimeError, match="closed when the connection ended"):
        ws.exit_stack  # noqa: B018 - asking is what fails


@pytest.mark.row("KX12")
async def test_a_view_may_leave_tasks_when_it_is_told_of_the_end() -> None:
    app = Kui()
    log: list[str] = []

    @app.router.websocket("/")
    class View(SocketView):
        async def on_disconnect(self, close_code: int) -> None:
            websocket.background_tasks.append(note, log, f"ended with {close_code}")

    await serve(app, D(4001))
    assert log == ["ended with 4001"]


stacked: list[str] = []


async def from_the_stack() -> str:
    return await websocket.exit_stack.enter_async_context(resource(stacked))


@pytest.mark.row("KX12", "KX14")
async def test_a_dependency_may_put_something_on_the_stack() -> None:
    stacked.clear()
    app = Kui()

    @app.router.websocket("/")
    async def handler(word: Annotated[str, Depends(from_the_stack)]) -> None:
        await websocket.accept()
        stacked.append(word)

    await serve(app)
    assert stacked == ["opened", "resource", "left"]
