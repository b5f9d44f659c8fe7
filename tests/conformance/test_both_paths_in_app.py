"""Applications over plain ASGI, over a server's frame channel, and with one of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from starlette.middleware import Middleware

from channel import PATHS, FakeChannel, opened_over, triple_over, wrap_send
from opened import soon, turns, until
from peer import B, D, T
from telex import (
    App,
    Outbox,
    SocketView,
    WebSocket,
    WebSocketDisconnect,
    WebSocketState,
)
from telex._types import ASGIApp, Message, Receive, Scope, Send

CONNECT: Message = {"type": "websocket.connect"}


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    """How the messages of the connection travel."""
    name: str = request.param
    return name


async def visit(
    app: ASGIApp, path: str, *script: Message, at: str = "/", **extra: Any
) -> FakeChannel:
    """Run an application for a client that sends its script once it has an answer."""
    channel = FakeChannel()
    scope, receive, send = triple_over(path, channel, **extra)
    scope.update(path=at, raw_path=at.encode())
    serving = asyncio.ensure_future(app(scope, receive, send))
    await until(lambda: channel.log or serving.done())
    for message in script:
        channel.feed(message)
        await turns(30)
    await soon(serving)
    return channel


# --- in an application ---


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text * 2)


class Echo(SocketView):
    encoding = "text"

    async def on_receive(self, data: str) -> None:
        await self.websocket.send_text(data * 2)


@pytest.mark.parametrize("handler", [echo, Echo])
async def test_a_handler_serves_a_client_until_it_leaves(path: str, handler: Any) -> None:
    app = App()
    app.websocket("/")(handler)
    server = await visit(app, path, T("a"), T("é"), D(1001))
    assert server.types == ["accept", "send", "send"]
    assert server.data == ["aa", "éé"]


async def test_every_end_of_a_handler_closes_once_and_cleans_up_once(path: str) -> None:
    app = App(disconnect_grace=0.01)
    ended: list[str] = []

    @app.websocket("/{how}")
    async def handler(ws: WebSocket) -> None:
        how = ws.path_params["how"]
        ws.add_cleanup(lambda: ended.append(how))
        await ws.accept()
        if how == "busy":
            await asyncio.Event().wait()
        text = await ws.receive_text()
        if how == "fails":
            raise LookupError("secret")
        if how == "closes":
            await ws.close(4000, text)

    for how, leaving, closes in [
        ("returns", T("bye"), [(1000, "")]),
        ("closes", T("bye"), [(4000, "bye")]),
        ("fails", T("bye"), [(1011, "")]),
        ("leaves", D(4001), []),
        ("busy", D(4001), []),
    ]:
        server = await visit(app, path, leaving, at=f"/{how}")
        assert (how, server.closes) == (how, closes)
    assert ended == ["returns", "closes", "fails", "leaves", "busy"]


async def test_a_view_learns_the_code_with_which_its_client_left(path: str) -> None:
    app = App()
    codes: list[int] = []

    @app.websocket("/")
    class View(SocketView):
        async def on_disconnect(self, close_code: int) -> None:
            codes.append(close_code)

    server = await visit(app, path, T("a"), D(4001))
    assert codes == [4001]
    assert server.types == ["accept"]


async def test_an_unknown_path_is_denied_through_send(path: str) -> None:
    server = await visit(App(), path, denial=True, at="/nowhere")
    assert server.log[0]["status"] == 404
    assert (server.frames_in, server.frames_out) == (0, 0)


# --- which way the messages go ---


@pytest.mark.row("T87")
@pytest.mark.parametrize(
    ("path", "reads", "writes"),
    [
        ("asgi", "event", "event"),
        ("frames", "frame", "frame"),
        ("wrapped send", "frame", "event"),
        ("wrapped receive", "event", "frame"),
        ("wrapped both", "event", "event"),
    ],
)
async def test_each_direction_takes_the_channel_unless_somebody_wrapped_it(
    path: str, reads: str, writes: str
) -> None:
    ws, server = await opened_over(path, T("a"), B(b"b"))
    assert [await soon(ws.receive_text()), await soon(ws.receive_bytes())] == ["a", b"b"]
    await ws.send_text("c")
    await ws.send_bytes(b"d")
    assert ws.send_nowait("e")
    await ws.close()
    assert server.data == ["c", b"d", "e"]
    assert (server.frames_in, server.events_in) == ((2, 1) if reads == "frame" else (0, 3))
    # The accept and the close always go through send.
    assert (server.frames_out, server.events_out) == ((3, 2) if writes == "frame" else (0, 5))


class Shout:
    """A middleware around `send`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def shout(message: Message) -> None:
            if message.get("text"):
                message = {**message, "text": message["text"].upper()}
            await send(message)

        await self.app(scope, receive, shout)


@pytest.mark.row("T87")
@pytest.mark.parametrize("handler", [echo, Echo])
@pytest.mark.parametrize("mounted", [False, True])
async def test_no_middleware_of_ours_stands_between_a_handler_and_the_channel(
    handler: Any, mounted: bool
) -> None:
    inner = App(outbox=Outbox(max_messages=1), disconnect_grace=1, debug=True)
    inner.websocket("/")(handler)
    app = inner
    if mounted:
        app = App()
        app.mount("/below", inner)
    server = await visit(app, "frames", T("a"), T("b"), D(), at="/below/" if mounted else "/")
    assert server.data == ["aa", "bb"]
    assert (server.frames_in, server.events_in) == (2, 1)
    assert (server.frames_out, server.events_out) == (2, 1)


@pytest.mark.row("T87")
async def test_a_middleware_around_send_is_never_gone_around() -> None:
    app = App(middleware=[Middleware(Shout)])
    app.websocket("/")(echo)
    server = await visit(app, "frames", T("a"), T("b"), D())
    assert server.data == ["AA", "BB"]
    assert (server.frames_in, server.frames_out) == (2, 0)


class Listen:
    """A middleware around `receive`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> Message:
            message = await receive()
            if message.get("text"):
                message = {**message, "text": message["text"].upper()}
            return message

        await self.app(scope, listen, send)


@pytest.mark.row("T87")
@pytest.mark.parametrize("handler", [echo, Echo])
async def test_a_middleware_around_receive_is_never_gone_around(handler: Any) -> None:
    app = App(middleware=[Middleware(Listen)])
    app.websocket("/")(handler)
    server = await visit(app, "frames", T("a"), T("b"), D())
    assert server.data == ["AA", "BB"]
    assert (server.frames_in, server.frames_out) == (0, 2)
    assert server.events_in == 4, "connect, two messages, disconnect"


async def test_a_write_that_fails_is_the_end_though_the_channel_knows_of_none_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(data: str) -> None:
        raise BrokenPipeError

    ws, server = await opened_over("frames")
    monkeypatch.setattr(server, "write_text", broken)
    ended: list[str] = []
    ws.add_cleanup(lambda: ended.append("once"))
    reader = asyncio.create_task(ws.receive_text())
    await turns()
    for call in (ws.send_text("x"), reader, ws.send_text("y"), ws.receive_text()):
        with pytest.raises(WebSocketDisconnect) as raised:
            await soon(call)
        assert raised.value.code == 1006
    await soon(ws.close())
    assert (server.types, ended) == (["accept"], ["once"])


@pytest.mark.row("T87")
async def test_a_second_face_with_other_callables_goes_its_own_way() -> None:
    channel = FakeChannel()
    scope, receive, send = triple_over("frames", channel)
    outer = WebSocket(scope, receive, send)
    inner = WebSocket(scope, receive, wrap_send(send))
    await soon(inner.accept())
    assert outer.connection_state is WebSocketState.CONNECTED
    await inner.send_text("through the wrapper")
    assert (channel.frames_out, channel.events_out) == (0, 2)
    await outer.send_text("through the channel")
    assert (channel.frames_out, channel.events_out) == (1, 2)
    channel.feed(T("a"), T("b"))
    assert [await soon(inner.receive_text()), await soon(outer.receive_text())] == ["a", "b"]
    assert channel.frames_in == 2
    await soon(outer.close())
    assert await inner.is_disconnected() is True


async def test_readers_of_two_faces_over_one_channel_share_its_messages_in_order() -> None:
    channel = FakeChannel()
    scope, receive, send = triple_over("frames", channel)
    faces = [WebSocket(scope, receive, send), WebSocket(scope, receive, wrap_send(send))]
    await soon(faces[0].accept())
    readers: list[Awaitable[str]] = [
        asyncio.ensure_future(faces[number % 2].receive_text()) for number in range(4)
    ]
    await turns()
    channel.feed(*[T(str(number)) for number in range(4)])
    assert await soon(asyncio.gather(*readers)) == ["0", "1", "2", "3"]


async def test_latency_is_what_the_channel_says() -> None:
    ws, server = await opened_over("frames")
    assert ws.latency is None
    server.latency = 0.025
    assert ws.latency == 0.025
    plain, _ = await opened_over("asgi")
    assert plain.latency is None


async def test_the_callables_of_the_server_stay_within_reach(path: str) -> None:
    channel = FakeChannel()
    scope, receive, send = triple_over(path, channel)
    ws = WebSocket(scope, receive, send)
    assert (ws.asgi_receive, ws.asgi_send) == (receive, send)
    assert await soon(ws.asgi_receive()) == CONNECT
