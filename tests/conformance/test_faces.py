"""Several faces of one connection, and links over callables that somebody wrapped."""

from __future__ import annotations

import asyncio

import pytest

from channel import FakeChannel, triple_over, wrap_receive, wrap_send
from opened import soon, turns
from peer import D, Peer, T, make_scope
from telex import App, WebSocket, WebSocketDisconnect, WebSocketRuntimeError, WebSocketState
from telex._types import Message, Receive, Scope, Send
from telex.testing import AsyncTestClient
from telex.websockets import link_of

CONNECTED = WebSocketState.CONNECTED


@pytest.mark.row("T87")
async def test_faces_over_the_same_callables_are_one_connection() -> None:
    peer = Peer(T("1"), T("2"), D(4001))
    scope = make_scope()
    one = WebSocket(scope, peer.receive, peer.send)
    two = WebSocket(scope, peer.receive, peer.send)
    three = WebSocket(dict(scope), peer.receive, peer.send)
    four = WebSocket(scope, link_of(one).receive, link_of(one).send)
    assert link_of(one) is link_of(two) is link_of(three) is link_of(four)
    await one.accept()
    assert (await one.receive_text(), await three.receive_text()) == ("1", "2")
    with pytest.raises(WebSocketDisconnect):
        await four.receive_text()
    assert [ws.close_code for ws in (one, two, three, four)] == [4001] * 4


@pytest.mark.row("T87")
async def test_faces_over_wrapped_callables_share_the_state_and_the_cleanups() -> None:
    peer = Peer(T("1"))
    scope = make_scope()
    outer = WebSocket(scope, peer.receive, peer.send)
    inner = WebSocket(scope, wrap_receive(peer.receive), wrap_send(peer.send))
    done: list[str] = []
    outer.add_cleanup(lambda: done.append("outer"))
    inner.add_cleanup(lambda: done.append("inner"))
    await inner.accept()
    assert outer.connection_state is CONNECTED
    assert await inner.receive_text() == "1"
    waiting = asyncio.create_task(outer.wait_closed())
    await inner.close(4000)
    await outer.close(4001)
    await soon(waiting)
    assert peer.closes == [(4000, "")]
    assert (outer.close_code, done) == (4000, ["outer", "inner"])


@pytest.mark.row("T87")
async def test_links_with_the_same_receive_share_what_was_read_ahead() -> None:
    peer = Peer(T("1"), T("2"))
    scope = make_scope()
    receive = wrap_receive(peer.receive)
    base = WebSocket(scope, peer.receive, peer.send)
    one = WebSocket(scope, receive, peer.send)
    two = WebSocket(scope, receive, wrap_send(peer.send))
    assert link_of(one).inbox is link_of(two).inbox is not link_of(base).inbox
    await two.accept()
    assert not await one.is_disconnected()
    assert (await two.receive_text(), await one.receive_text()) == ("1", "2")
    await two.close()


class Recording:
    """A middleware that wraps both callables of a connection and notes what passes."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.inner_receive, self.inner_send = receive, send
        self.seen: list[str] = []

    async def receive(self) -> Message:
        message = await self.inner_receive()
        self.seen.append(f"< {message['type']}")
        return message

    async def send(self, message: Message) -> None:
        self.seen.append(f"> {message['type']}")
        await self.inner_send(message)


@pytest.mark.row("T87")
@pytest.mark.parametrize("path", ["asgi", "frames", "wrapped send", "wrapped receive"])
@pytest.mark.parametrize("layers", [1, 2, 3])
async def test_a_link_can_be_wrapped_and_linked_to_again(path: str, layers: int) -> None:
    channel = FakeChannel(T("1"), T("2"))
    scope, receive, send = triple_over(path, channel)
    faces = [WebSocket(scope, receive, send)]
    records: list[Recording] = []
    for _ in range(layers):
        link = link_of(faces[-1])
        records.append(Recording(link.receive, link.send))
        faces.append(WebSocket(scope, records[-1].receive, records[-1].send))
    ws = faces[-1]
    await soon(ws.accept())
    assert [face.connection_state for face in faces] == [CONNECTED] * (layers + 1)
    assert await soon(ws.receive_text()) == "1"
    await ws.send_text("a")
    assert ws.send_nowait("b")
    await soon(ws.close(4000))
    assert channel.types == ["accept", "send", "send", "close"]
    assert {face.close_code for face in faces} == {4000}
    for record in records:
        assert [line for line in record.seen if line[0] == ">"] == [
            f"> websocket.{kind}" for kind in ("accept", "send", "send", "close")
        ]
    await link_of(faces[0]).finish()
    assert link_of(ws).progress.sent == 2
    assert link_of(ws).progress.received == 1


@pytest.mark.row("T87")
async def test_a_wrapped_link_delivers_every_message_before_the_disconnect() -> None:
    peer = Peer(*(T(str(n)) for n in range(100)), D(4001))
    scope = make_scope()
    outer = WebSocket(scope, peer.receive, peer.send)
    link = link_of(outer)
    inner = WebSocket(scope, wrap_receive(link.receive), wrap_send(link.send))
    await soon(inner.accept())
    seen = [message async for message in inner]
    assert seen == [str(n) for n in range(100)]
    assert (outer.close_code, inner.close_code) == (4001, 4001)


@pytest.mark.row("T87")
@pytest.mark.parametrize("gone", [D(1001), None])
async def test_both_layers_learn_that_the_peer_is_gone(gone: Message | None) -> None:
    peer = Peer()
    scope = make_scope()
    outer = WebSocket(scope, peer.receive, peer.send)
    link = link_of(outer)
    inner = WebSocket(scope, wrap_receive(link.receive), wrap_send(link.send))
    await soon(inner.accept())
    waiting = [asyncio.create_task(ws.wait_closed()) for ws in (outer, inner)]
    await turns()
    if gone is None:
        peer.fail_sends_with = OSError()
        with pytest.raises(WebSocketDisconnect):
            await inner.send_text("x")
    else:
        peer.feed(gone)
    await soon(asyncio.gather(*waiting))
    await link.finish()


@pytest.mark.row("T87")
async def test_a_handler_with_the_asgi_triple_may_wrap_it_and_run_another_application() -> None:
    app = App()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        async with WebSocket(scope, receive, send) as ws:
            async for message in ws:
                await ws.send_text(f"echo {message!s}")

    @app.websocket("/")
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await application(scope, wrap_receive(receive), wrap_send(send))

    async with AsyncTestClient(app) as client, client.websocket("/") as ws:
        for text in ("1", "2"):
            await ws.send_text(text)
            assert await ws.receive_text() == f"echo {text}"


@pytest.mark.row("T87")
async def test_a_middleware_that_closes_on_its_own_is_noticed() -> None:
    peer = Peer(T("1"))
    scope = make_scope()
    outer = WebSocket(scope, peer.receive, peer.send)
    link = link_of(outer)

    async def send(message: Message) -> None:
        await link.send(message)
        if message["type"] == "websocket.send":
            await link.send({"type": "websocket.close", "code": 4000})

    inner = WebSocket(scope, link.receive, send)
    await soon(inner.accept())
    await soon(inner.send_text("x"))
    assert inner.close_code == outer.close_code == 4000
    with pytest.raises(WebSocketRuntimeError):
        await inner.send_text("y")
    await inner.close()
    assert peer.types == ["accept", "send", "close"]
