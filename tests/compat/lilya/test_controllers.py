from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clients import connected, ending, rejection
from telex.compat.lilya.apps import Lilya
from telex.compat.lilya.controllers import WebSocketController
from telex.compat.lilya.routing import WebSocketPath
from telex.compat.lilya.websockets import WebSocket
from telex.testing import ConnectionRejected

pytestmark = pytest.mark.row("LX6")


class Noting(WebSocketController):
    """Notes what happens to it."""

    calls: list[Any]

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        assert type(websocket) is WebSocket
        self.calls.append(data)
        await websocket.send_json(len(self.calls))

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        self.calls.append(("left", close_code, websocket.close_code))


def noting(encoding: Any, **hooks: Any) -> tuple[Lilya, list[Any]]:
    """An application with a controller of that encoding, and what that notes."""
    calls: list[Any] = []
    made = type("Made", (Noting,), {"encoding": encoding, "calls": calls, **hooks})
    return Lilya(routes=[WebSocketPath("/", made)]), calls


@pytest.mark.parametrize(
    ("encoding", "message", "data"),
    [
        ("text", "x", "x"),
        ("bytes", b"x", b"x"),
        ("json", '{"a": 1}', {"a": 1}),
        ("json", b"[1]", [1]),
        (None, "x", "x"),
        (None, b"x", b"x"),
        (None, "", ""),
    ],
)
async def test_messages_come_as_the_encoding_says(
    encoding: str | None, message: str | bytes, data: Any
) -> None:
    app, calls = noting(encoding)
    async with connected(app) as ws:
        await ws.send_value(message)
        assert await ws.receive_json() == 1
        await ws.close(4001)
    assert calls == [data, ("left", 4001, 4001)]


@pytest.mark.row("C50")
@pytest.mark.parametrize(
    ("encoding", "message"), [("text", b"x"), ("bytes", "x"), ("json", "{"), ("json", b"\xff")]
)
async def test_a_message_of_another_kind_closes_with_1003(
    encoding: str, message: str | bytes
) -> None:
    app, calls = noting(encoding)
    async with connected(app) as ws:
        await ws.send_value(message)
        await ws.expect_close(1003)
    assert calls == [("left", 1003, 1003)]


def test_an_unknown_encoding_is_told_at_registration() -> None:
    with pytest.raises(TypeError, match="encoding"):
        noting("yaml")


async def test_the_end_is_told_when_a_hook_raises() -> None:
    async def on_receive(self: Any, websocket: WebSocket, data: Any) -> None:
        raise LookupError(data)

    app, calls = noting(None, on_receive=on_receive)
    async with connected(app, raise_app_exceptions=False) as ws:
        await ws.send_text("x")
        await ws.expect_close(1011)
    assert calls == [("left", 1011, 1011)]


@pytest.mark.row("C49")
async def test_the_end_is_not_told_when_on_connect_raised() -> None:
    async def on_connect(self: Any, websocket: WebSocket) -> None:
        raise LookupError("before accept")

    app, calls = noting(None, on_connect=on_connect)
    assert (await rejection(app, raise_app_exceptions=False)).status == 500
    assert calls == []


async def test_the_end_is_told_when_on_connect_has_rejected() -> None:
    async def on_connect(self: Any, websocket: WebSocket) -> None:
        await websocket.close(4003)

    app, calls = noting(None, on_connect=on_connect)
    refused = await rejection(app)
    assert isinstance(refused, ConnectionRejected)
    assert (refused.status, calls) == (403, [("left", 4003, 4003)])


async def test_the_hooks_can_be_left_out() -> None:
    class Silent(WebSocketController):
        pass

    async with connected(Lilya(routes=[WebSocketPath("/", Silent)])) as ws:
        await ws.send_text("x")
        await ws.expect_nothing(0)


async def test_each_connection_has_an_instance_of_its_own_with_the_asgi_triple() -> None:
    seen: list[WebSocketController] = []

    class Own(WebSocketController):
        def __init__(self, scope: Any, receive: Any, send: Any) -> None:
            super().__init__(scope, receive, send)
            seen.append(self)

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:
            assert self.scope is websocket.scope
            await self.send({"type": "websocket.send", "text": data})
            assert (await self.receive())["text"] == "raw"
            await websocket.close(4000)

    app = Lilya(routes=[WebSocketPath("/{room}", Own)])
    for room in "ab":
        async with connected(app, f"/{room}") as ws:
            await ws.send_text(room)
            assert await ws.receive_text() == room
            await ws.send_text("raw")
            await ws.expect_close(4000)
    assert [each.scope["path_params"] for each in seen] == [{"room": "a"}, {"room": "b"}]


async def test_a_route_is_named_after_the_controller() -> None:
    class Chat(WebSocketController):
        async def on_connect(self, websocket: WebSocket) -> None:
            await websocket.accept()
            await asyncio.sleep(0)
            await websocket.close(4000, websocket.url_path_for("Chat"))

    assert await ending(Lilya(routes=[WebSocketPath("/chat", Chat)]), "/chat") == (
        4000,
        "ws://testserver/chat",
    )
