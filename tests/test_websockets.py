"""The connection object itself: how it is made, left, described, and what it offers."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections import UserDict
from typing import Any

import pytest

import telex.websockets
from opened import connecting, left, opened, soon, turns
from peer import B, D, Peer, T, make_scope, serve
from telex import (
    WebSocket,
    WebSocketClose,
    WebSocketState,
)
from telex._types import Message, Receive, Scope, Send

# --- making one ---


async def never_received() -> Message:
    raise AssertionError("receive was called")


async def never_sent(message: Message) -> None:
    raise AssertionError("send was called")


@pytest.mark.row("G3", "G4", "G8", "L4", "L5")
def test_it_is_made_from_scope_receive_and_send_and_calls_neither() -> None:
    scope = make_scope("/ws")
    for ws in (
        WebSocket(scope, never_received, never_sent),
        WebSocket(scope=scope, receive=never_received, send=never_sent),
    ):
        assert ws.path == "/ws"
        assert ws.asgi_receive is never_received
    assert list(inspect.signature(WebSocket).parameters) == ["scope", "receive", "send"]


@pytest.mark.row("G10", "G52", "G13")
def test_the_scope_is_the_one_that_was_given() -> None:
    for scope in (make_scope(), UserDict(make_scope())):
        assert WebSocket(scope, never_received, never_sent).scope is scope


@pytest.mark.row("C36", "G16")
@pytest.mark.parametrize("keys", [{"type": "http"}, {"type": "lifespan"}, {"type": None}, {}])
def test_another_scope_is_refused(keys: dict[str, Any]) -> None:
    scope: Scope = {**make_scope(), **keys}
    if not keys:
        del scope["type"]
    with pytest.raises(ValueError, match="websocket"):
        WebSocket(scope, never_received, never_sent)


@pytest.mark.row("G65", "G13", "T86")
async def test_a_scope_with_nothing_but_its_type_is_enough() -> None:
    peer = Peer(T("x"), D(1001))
    ws = WebSocket(UserDict(type="websocket"), peer.receive, peer.send)
    await ws.accept()
    assert [text async for text in ws.iter_text()] == ["x"]
    assert (ws.url, ws.path, ws.scheme, ws.client, ws.subprotocols) == ("/", "/", "ws", None, ())


@pytest.mark.row("G14", "T86")
async def test_it_works_with_scopes_and_events_that_are_no_dicts() -> None:
    peer = Peer(UserDict(T("x")), UserDict(B(b"y")), UserDict(D(1001)))
    peer.incoming[0] = UserDict(peer.incoming[0])
    ws = WebSocket(UserDict(make_scope("/ws")), peer.receive, peer.send)
    await ws.accept()
    assert [message async for message in ws] == ["x", b"y"]
    assert ws.url.path == "/ws"
    ws.state.x = 1
    assert ws.scope["state"] == {"x": 1}


@pytest.mark.row("LX9", "C37", "T85")
async def test_it_equals_itself_alone_and_is_true() -> None:
    scope = make_scope()
    one, same_scope = (WebSocket(scope, never_received, never_sent) for _ in range(2))
    other, _ = connecting()
    assert one == one
    assert one != other
    assert one != same_scope
    for mapping in (scope, dict(scope), UserDict(scope)):
        assert one != mapping
    assert len({one, other, one}) == 2
    assert bool(one)
    assert bool(WebSocket({"type": "websocket"}, never_received, never_sent))


@pytest.mark.row("T94")
def test_users_may_set_attributes_and_subclass() -> None:
    class Named(WebSocket):
        def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
            super().__init__(scope, receive, send)
            self.name = scope["path"]

    ws = Named(make_scope("/a"), never_received, never_sent)
    ws.anything = 1  # type: ignore[attr-defined]
    assert (ws.name, ws.anything) == ("/a", 1)  # type: ignore[attr-defined]
    assert vars(ws)["name"] == "/a"
    with pytest.raises(AttributeError):
        _ = ws.nothing  # type: ignore[attr-defined]
    made = type("Made", (WebSocket,), {"extra": 2})(make_scope(), never_received, never_sent)
    assert made.extra == 2


async def test_faces_over_the_same_callables_share_the_state() -> None:
    class Face(WebSocket):
        pass

    ws, peer = await opened(T("a"), T("b"))
    face = Face(ws.scope, ws.asgi_receive, ws.asgi_send)
    assert face.connection_state is WebSocketState.CONNECTED
    assert [await ws.receive_text(), await face.receive_text()] == ["a", "b"]
    await face.close(4000)
    await ws.close()
    assert peer.closes == [(4000, "")]
    assert ws.close_code == 4000


async def test_its_repr_tells_path_and_state() -> None:
    ws, _ = connecting(path="/chat")
    assert repr(ws) == "<WebSocket '/chat' connecting>"
    await ws.accept()
    assert repr(ws) == "<WebSocket '/chat' connected>"
    await ws.close()
    assert repr(ws) == "<WebSocket '/chat' disconnected>"


def test_a_copy_is_another_face_of_the_connection() -> None:
    ws, _ = connecting(path="/a")
    assert copy.copy(ws).path == "/a"
    assert copy.copy(ws) != ws


# --- cleanups ---


@pytest.mark.row("L52")
async def test_functions_and_coroutine_functions_may_be_cleanups() -> None:
    async def clean() -> None:
        raise AssertionError("not yet")

    ws, _ = await opened()
    for fn in (lambda: None, clean):
        assert ws.add_cleanup(fn) is None  # type: ignore[func-returns-value]
    for wrong in (None, 1, "clean"):
        with pytest.raises(TypeError):
            ws.add_cleanup(wrong)  # type: ignore[arg-type]


@pytest.mark.row("L53")
async def test_cleanups_have_run_once_and_in_order_when_close_returns() -> None:
    ws, peer = await opened()
    ran: list[str] = []

    async def later() -> None:
        await asyncio.sleep(0)
        ran.append("async")

    ws.add_cleanup(lambda: ran.append("first"))
    ws.add_cleanup(later)
    ws.add_cleanup(lambda: ran.append("last"))
    await ws.close()
    assert ran == ["first", "async", "last"]
    await ws.close()
    assert len(ran) == 3
    assert peer.types == ["accept", "close"]


@pytest.mark.row("L53")
@pytest.mark.parametrize(
    "end",
    [
        lambda ws, peer: ws.close(),
        lambda ws, peer: ws.send({"type": "websocket.close", "code": 1000, "reason": ""}),
        lambda ws, peer: ws.abort(),
        lambda ws, peer: peer.feed(D(1001)) or ws.receive(),
        lambda ws, peer: peer.feed(D(1001)) or anext(ws.iter_text(), None),
    ],
    ids=["close", "raw close", "abort", "raw disconnect", "iteration"],
)
async def test_cleanups_run_once_however_the_connection_ends(end: Any) -> None:
    ws, peer = await opened()
    ran: list[str] = []
    ws.add_cleanup(lambda: ran.append("x"))
    await soon(end(ws, peer))
    assert ran == ["x"]
    await ws.close()
    assert ran == ["x"]


@pytest.mark.row("L53")
async def test_a_cleanup_registered_after_the_end_runs_at_once() -> None:
    ws, _ = await left()
    ran: list[str] = []
    ws.add_cleanup(lambda: ran.append("sync"))
    assert ran == ["sync"]

    async def clean() -> None:
        ran.append("async")

    ws.add_cleanup(clean)
    await turns()
    assert ran == ["sync", "async"]


# --- WebSocketClose ---


@pytest.mark.row("L54", "L55")
async def test_websocket_close_is_an_application_that_closes() -> None:
    assert telex.websockets.WebSocketClose is WebSocketClose
    peer = Peer()
    await WebSocketClose(code=1000, reason="done")(make_scope(), peer.receive, peer.send)
    assert peer.sent == [{"type": "websocket.close", "code": 1000, "reason": "done"}]
    assert (await serve(WebSocketClose())).closes == [(1000, "")]
    assert (await serve(WebSocketClose(4000))).closes == [(4000, "")]


@pytest.mark.row("L54", "C65", "T35")
async def test_websocket_close_checks_its_arguments_when_it_is_made() -> None:
    for code in (1005, 999, True):
        with pytest.raises(ValueError):
            WebSocketClose(code)
    with pytest.raises(ValueError):
        WebSocketClose(1000, b"bye")  # type: ignore[arg-type]
    assert (await serve(WebSocketClose(4000, "é" * 100))).closes == [(4000, "é" * 61)]


async def test_websocket_close_does_nothing_to_a_connection_that_is_over() -> None:
    ws, peer = await opened()
    await ws.close(4000)
    await WebSocketClose(4001)(ws.scope, ws.asgi_receive, ws.asgi_send)
    assert peer.closes == [(4000, "")]
