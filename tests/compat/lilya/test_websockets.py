from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import telex
from foreign import example
from peer import B, D, Peer, T, make_scope, serve
from telex import WebSocketRuntimeError
from telex.compat.lilya import websockets
from telex.compat.lilya.websockets import (
    WebSocket,
    WebSocketClose,
    WebSocketDisconnect,
    WebSocketState,
)
from telex.exceptions import ImproperlyConfigured, WebSocketModeError

Act = Callable[[WebSocket], Awaitable[Any]]


def connecting(*script: Any, **scope: Any) -> tuple[WebSocket, Peer]:
    peer = Peer(*script)
    return WebSocket(make_scope(**scope), peer.receive, peer.send), peer


async def opened(*script: Any, **scope: Any) -> tuple[WebSocket, Peer]:
    ws, peer = connecting(*script, **scope)
    await ws.accept()
    return ws, peer


@pytest.mark.row("L3", "L35", "L48", "L54")
def test_what_is_the_same_is_the_same_object() -> None:
    assert issubclass(WebSocket, telex.WebSocket)
    assert WebSocketClose is telex.WebSocketClose
    assert WebSocketDisconnect is telex.WebSocketDisconnect
    assert WebSocketState is telex.WebSocketState
    assert websockets.WebSocketRuntimeError is telex.WebSocketRuntimeError
    changed = {name for name in vars(WebSocket) if not name.startswith("_")}
    assert changed == {"cookies", "close", "receive_json"}


# The examples of the page


@pytest.mark.row("L7", "L1", "L2", "L3", "L4", "L6", "L29", "L31")
async def test_the_first_example() -> None:
    peer = await serve(example("lilya", "L7")()["app"])
    assert peer.types == ["accept", "send", "close"]
    assert peer.data == [b'{"message":"Hello, world!"}']
    assert peer.closes == [(1000, "")]


@pytest.mark.row("L13", "L5", "L10", "L11", "L12")
def test_the_example_of_the_url() -> None:
    peer = Peer()
    scope = make_scope("/123", headers=[(b"host", b"example.com:123")], query_string=b"a=abc")
    names = example("lilya", "L13")(scope=scope, receive=peer.receive, send=peer.send)
    url = names["websocket"].url
    assert (url.scheme, url.path, url.port) == ("ws", "/123", 123)
    assert isinstance(url, str)
    assert f"{url}" == "ws://example.com:123/123?a=abc"
    assert url is names["websocket"].url


@pytest.mark.row("L13")
def test_a_url_without_a_port_has_none() -> None:
    assert connecting()[0].url.port is None


@pytest.mark.row("L15", "L17", "L19", "L14", "L16", "L18")
def test_the_examples_of_what_the_client_sends_along() -> None:
    peer = Peer()
    scope = make_scope(
        query_string=b"search=x&search=y",
        headers=[(b"sec-websocket-version", b"13"), (b"a", b"1"), (b"a", b"2")],
        path_params={"username": "bob"},
    )
    names = {"scope": scope, "receive": peer.receive, "send": peer.send}
    headers = example("lilya", "L15")(**names)["websocket"].headers
    assert headers["Sec-WebSocket-Version"] == "13"
    assert headers.getlist("a") == headers.getall("a") == ["1", "2"]
    params = example("lilya", "L17")(**names)["websocket"].query_params
    assert params["search"] == "x"
    assert params.multi_items() == [("search", "x"), ("search", "y")]
    assert example("lilya", "L19")(**names)["websocket"].path_params == {"username": "bob"}


@pytest.mark.row("L42", "L40", "L43")
async def test_the_example_of_iterating() -> None:
    peer = await serve(example("lilya", "L42")()["app"], T("1"), T("null"), D(1001))
    assert peer.data == [
        b'{"message":"Message text was: 1"}',
        b'{"message":"Message text was: None"}',
    ]
    assert peer.types == ["accept", "send", "send"]


@pytest.mark.row("L55", "L54")
async def test_the_example_of_a_close() -> None:
    peer = await serve(example("lilya", "L55")()["close_app"])
    assert (peer.types, peer.closes) == (["close"], [(1000, "done")])


# The mapping, and what middleware puts there


@pytest.mark.row("L8", "L9", "LX9")
def test_a_connection_is_the_mapping_of_its_scope() -> None:
    ws, _ = connecting(path="/chat")
    assert ws["path"] == "/chat"
    assert dict(ws) == ws.scope
    assert ("path" in ws, "nothing" in ws, ws.get("nothing"), len(ws)) == (
        *(True, False),
        *(None, len(ws.scope)),
    )
    assert ws != WebSocket(ws.scope, *ws._link.asgi)
    assert len({ws, ws}) == 1


@pytest.mark.row("L20", "L21", "L22", "L23")
@pytest.mark.parametrize("name", ["auth", "user", "session"])
def test_what_no_middleware_has_set_is_told_so(name: str) -> None:
    value = object()
    assert getattr(connecting(**{name: value})[0], name) is value
    with pytest.raises(ImproperlyConfigured, match=name):
        getattr(connecting()[0], name)


@pytest.mark.row("C43")
def test_percent_escapes_in_cookies_are_undone() -> None:
    headers = [(b"cookie", b'a=%7B%22x%22%3A1%7D; b="%41"'), (b"cookie", b"c=%zz")]
    ws, _ = connecting(headers=headers)
    assert ws.cookies == {"a": '{"x":1}', "b": "A", "c": "%zz"}
    assert ws.cookies is ws.cookies
    ws["headers"] = []
    assert ws.cookies == {}


# Sending and receiving


@pytest.mark.row("L26", "LX10")
@pytest.mark.parametrize(
    "accept",
    [
        lambda ws: ws.accept("wamp", [(b"x-a", b"1")]),
        lambda ws: ws.accept(subprotocol="wamp", headers=[(b"x-a", b"1")]),
    ],
)
async def test_accepting_with_a_subprotocol_and_headers(accept: Act) -> None:
    ws, peer = connecting(subprotocols=["wamp"])
    await accept(ws)
    assert peer.sent[0]["subprotocol"] == "wamp"
    assert peer.sent[0]["headers"] == [(b"x-a", b"1")]
    _, plain = await opened()
    assert plain.sent[0]["headers"] == []


@pytest.mark.row("L27", "L28", "L29", "L30", "L31", "LX10")
async def test_what_is_sent() -> None:
    ws, peer = await opened()
    await ws.send_text("x")
    await ws.send_bytes(b"x")
    await ws.send_json({"test": "数据"})
    await ws.send_json([1], mode="binary")
    assert peer.data == ["x", b"x", '{"test":"数据"}', b"[1]"]


@pytest.mark.row("L32", "L33", "L34", "L36", "L37")
async def test_what_is_received() -> None:
    ws, _ = await opened(T("x"), B(b"x"), T("[1]"), T("2"), B(b'{"a":1}'), B(b"3"))
    assert await ws.receive_text() == "x"
    assert await ws.receive_bytes() == b"x"
    assert await ws.receive_json() == [1]
    assert await ws.receive_json(mode="text") == 2
    assert await ws.receive_json(mode="binary") == {"a": 1}
    assert await ws.receive_json("binary") == 3


@pytest.mark.row("L38", "L39", "L40", "L41", "L43")
async def test_iterators_end_with_the_connection() -> None:
    ws, _ = await opened(T("a"), T("b"), D())
    iterator = ws.iter_text()
    assert hasattr(iterator, "__anext__")
    assert [each async for each in iterator] == ["a", "b"]
    ws, _ = await opened(B(b"a"), B(b"b"), D())
    assert [each async for each in ws.iter_bytes()] == [b"a", b"b"]
    ws, _ = await opened(T("1"), T("null"), D())
    assert [each async for each in ws.iter_json()] == [1, None]


@pytest.mark.row("T55", "L37")
@pytest.mark.parametrize("data", ["text", "anything", {"a": 1}, None, b""])
async def test_the_data_that_the_page_gives_is_ignored_with_a_warning(data: Any) -> None:
    ws, _ = await opened(B(b'{"a":1}'))
    with pytest.warns(DeprecationWarning, match="takes no data") as warned:
        assert await ws.receive_json(data, mode="binary") == {"a": 1}
    assert warned[0].filename == __file__


@pytest.mark.row("T55")
@pytest.mark.parametrize("data", [{"a": 1}, None, 5])
async def test_data_alone_leaves_the_mode_as_it_is(data: Any) -> None:
    ws, _ = await opened(T('{"a":1}'))
    with pytest.warns(DeprecationWarning, match="ignored"):
        assert await ws.receive_json(data) == {"a": 1}


@pytest.mark.row("LX7", "C24")
@pytest.mark.parametrize(
    "act",
    [
        lambda ws: ws.receive_json(mode="x"),
        lambda ws: ws.receive_json("x"),
        lambda ws: ws.receive_json(mode=None),
        lambda ws: ws.send_json({}, mode="x"),
    ],
)
async def test_another_mode_is_an_error_before_anything_happens(act: Act) -> None:
    ws, peer = await opened(T("1"))
    reads, sent = peer.reads, list(peer.sent)
    with warnings.catch_warnings(), pytest.raises(WebSocketModeError) as raised:
        warnings.simplefilter("error")
        await act(ws)
    assert isinstance(raised.value, WebSocketRuntimeError)
    assert (peer.reads, peer.sent) == (reads, sent)


@pytest.mark.row("L45", "L46", "L47", "L48", "L49")
async def test_raw_messages_keep_the_state() -> None:
    text = {"type": "websocket.send", "text": "x"}
    ws, peer = connecting(T("1"), D(1001))
    assert (ws.client_state, ws.application_state) == (0, 0)
    assert await ws.receive() == {"type": "websocket.connect"}
    await ws.send({"type": "websocket.accept"})
    assert (ws.client_state, ws.application_state) == (1, 1)
    await ws.send(text)
    assert peer.sent[-1] == text
    assert await ws.receive() == T("1")
    assert await ws.receive() == D(1001)
    assert ws.client_state is WebSocketState.DISCONNECTED


# Where Lilya says something else than Telex


@pytest.mark.row("L35", "L50", "LX10", "C15", "C13")
@pytest.mark.parametrize(
    "act",
    [
        lambda ws: ws.receive(),
        lambda ws: ws.receive_text(),
        lambda ws: ws.receive_json(),
        lambda ws: ws.send_text("x"),
    ],
)
async def test_a_call_after_the_end_was_told_is_a_mistake(act: Act) -> None:
    ws, _ = await opened(D(1001, "bye"))
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.receive_text()
    assert (raised.value.code, raised.value.reason) == (1001, "bye")
    with pytest.raises(WebSocketRuntimeError):
        await act(ws)


@pytest.mark.row("L50", "L51")
@pytest.mark.parametrize(
    "act",
    [lambda ws: ws.receive_text(), lambda ws: ws.send_text("x"), lambda ws: ws.receive_json()],
)
async def test_a_call_before_accept_is_a_mistake(act: Act) -> None:
    ws, peer = connecting(T("1"))
    with pytest.raises(WebSocketRuntimeError):
        await act(ws)
    assert (peer.reads, peer.sent) == (0, [])


@pytest.mark.row("L51", "L44", "LX10", "C3")
async def test_a_second_close_is_a_mistake() -> None:
    ws, peer = await opened()
    await ws.close(4000, "bye")
    for again in (ws.close(), ws.accept(), ws.send_text("x")):
        with pytest.raises(WebSocketRuntimeError):
            await again
    assert peer.closes == [(4000, "bye")]
    assert ws.close_code == 4000


@pytest.mark.row("C3", "C2")
async def test_closing_what_was_rejected_is_a_mistake() -> None:
    ws, peer = connecting()
    await ws.close()
    with pytest.raises(WebSocketRuntimeError, match="closed by us before"):
        await ws.close()
    assert peer.types == ["close"]


@pytest.mark.row("C4")
async def test_closing_after_the_client_has_left_does_nothing() -> None:
    ws, peer = await opened(D(1001))
    await ws.receive()
    await ws.close()
    await ws.close()
    assert peer.closes == []


@pytest.mark.row("C3", "C32")
async def test_leaving_a_block_that_has_closed_is_no_second_close() -> None:
    ws, peer = connecting()
    async with ws:
        await ws.close(4000)
    assert peer.closes == [(4000, "")]


@pytest.mark.row("C32")
async def test_leaving_a_block_closes() -> None:
    ws, peer = connecting()
    async with ws:
        pass
    assert peer.closes == [(1000, "")]


@pytest.mark.row("L52", "L53")
async def test_cleanups_run_at_the_end_in_order_and_once() -> None:
    calls: list[str] = []

    async def second() -> None:
        calls.append("second")

    ws, _ = await opened()
    ws.add_cleanup(lambda: calls.append("first"))
    ws.add_cleanup(second)
    await ws.close()
    assert calls == ["first", "second"]
    with pytest.raises(WebSocketRuntimeError):
        await ws.close()
    assert calls == ["first", "second"]
