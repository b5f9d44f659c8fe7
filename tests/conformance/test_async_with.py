"""`async with ws`: accepting on the way in, closing on the way out, whatever happens between."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable

import pytest
from starlette.exceptions import WebSocketException as StarletteWebSocketException

from opened import connecting, opened, soon, state
from peer import D, Peer, T, make_scope, serve
from telex import (
    App,
    Reject,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    WebSocketExpectError,
    WebSocketHandshakeError,
    WebSocketRuntimeError,
    WebSocketState,
)


@pytest.mark.row("V22", "V23", "C32")
async def test_entering_accepts_and_leaving_closes() -> None:
    ws, peer = connecting(T("x"))
    async with ws as entered:
        assert entered is ws
        assert peer.types == ["accept"]
        assert await ws.receive_text() == "x"
    assert peer.closes == [(1000, "")]


@pytest.mark.row("C32", "T49")
async def test_an_accepted_connection_cannot_be_entered() -> None:
    ws, peer = await opened()
    with pytest.raises(WebSocketRuntimeError):
        async with ws:
            raise AssertionError("entered")
    assert peer.types == ["accept"]


async def enter(ws: WebSocket, body: Callable[[], object] = lambda: None) -> None:
    async with ws:
        result = body()
        if inspect.isawaitable(result):
            await result


@pytest.mark.row("C32", "T49")
async def test_entering_it_twice_closes_it_once() -> None:
    ws, peer = connecting()
    with pytest.raises(WebSocketRuntimeError):
        await enter(ws, lambda: enter(ws))
    assert peer.closes == [(1011, "")]


@pytest.mark.row("C32", "T49", "C8")
async def test_a_client_that_gave_up_cannot_be_entered() -> None:
    ws, peer = connecting(D(1001), connect=False)
    with pytest.raises(WebSocketDisconnect):
        await enter(ws)
    assert peer.sent == []


@pytest.mark.row("V24", "C32", "T49")
async def test_the_peers_end_leaves_the_block_as_it_is_and_nothing_is_sent() -> None:
    for code in (1000, 1001):
        ws, peer = connecting(D(code))
        with pytest.raises(WebSocketHandshakeError) as raised:
            await enter(ws, ws.receive_text)
        assert isinstance(raised.value, WebSocketDisconnect)
        assert raised.value.code == code
        assert peer.types == ["accept"]


@pytest.mark.row("C32", "T49")
async def test_a_body_that_closed_is_not_closed_again() -> None:
    ws, peer = connecting()
    await enter(ws, lambda: ws.close(4000, "mine"))
    assert peer.closes == [(4000, "mine")]

    async def close_and_fail() -> None:
        await ws.close(4000, "mine")
        raise KeyError("later")

    ws, peer = connecting()
    with pytest.raises(KeyError):
        await enter(ws, close_and_fail)
    assert peer.closes == [(4000, "mine")]


ENDINGS: list[tuple[BaseException, tuple[int, str]]] = [
    (ValueError("secret"), (1011, "")),
    (asyncio.CancelledError(), (1011, "")),
    (KeyboardInterrupt(), (1011, "")),
    (WebSocketException(4000, "bye"), (4000, "bye")),
    (StarletteWebSocketException(4000, "bye"), (4000, "bye")),
    (WebSocketException(1006), (1011, "")),
    (WebSocketException(999), (1011, "")),
    (Reject(401), (1008, "")),
    (WebSocketExpectError("secret"), (1008, "")),
    (WebSocketRuntimeError("secret"), (1011, "")),
    (WebSocketDisconnect(4001, "of another connection"), (1000, "")),
]


@pytest.mark.row("C32", "T49", "T43")
@pytest.mark.parametrize(("error", "close"), ENDINGS, ids=lambda value: repr(value))
async def test_an_exception_closes_says_nothing_and_goes_on(
    error: BaseException, close: tuple[int, str]
) -> None:
    async def fail() -> None:
        raise error

    ws, peer = connecting()
    with pytest.raises(type(error)) as raised:
        await enter(ws, fail)
    assert raised.value is error
    assert peer.closes == [close]
    assert state(ws) is WebSocketState.DISCONNECTED


@pytest.mark.row("C32", "T49")
async def test_leaving_never_hides_the_exception_of_the_body() -> None:
    async def fail() -> None:
        peer.fail_sends_with = RuntimeError("cannot close")
        raise KeyError("the body's own")

    ws, peer = connecting()
    with pytest.raises(KeyError, match="the body's own"):
        await enter(ws, fail)


@pytest.mark.row("C32")
async def test_in_an_application_a_cancellation_is_left_to_who_knows_why() -> None:
    app = App()
    entered = asyncio.Event()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            entered.set()
            await asyncio.Event().wait()

    peer = Peer()
    serving = asyncio.create_task(peer.run(app))
    await soon(entered.wait())
    serving.cancel()
    await asyncio.wait((serving,))
    assert serving.cancelled()
    assert peer.closes == [(1012, "")]


class Refused(Exception):
    pass


async def test_in_an_application_an_exception_with_a_handler_is_left_to_it() -> None:
    app = App()

    @app.exception_handler(Refused)
    async def explain(ws: WebSocket, exc: Refused) -> None:
        await ws.send_text("no")
        await ws.close(4003)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            raise Refused

    peer = await serve(app)
    assert peer.data == ["no"]
    assert peer.closes == [(4003, "")]


@pytest.mark.row("T43")
async def test_in_an_application_no_exception_text_reaches_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.websocket("/with")
    async def with_block(ws: WebSocket) -> None:
        async with ws:
            raise ValueError("secret")

    @app.websocket("/without")
    async def without_block(ws: WebSocket) -> None:
        await ws.accept()
        raise ValueError("secret")

    @app.websocket("/early")
    async def early(ws: WebSocket) -> None:
        raise ValueError("secret")

    for path in ("/with", "/without", "/early"):
        with caplog.at_level(logging.ERROR, "telex"):
            peer = await serve(app, scope=make_scope(path, denial=True))
        assert "secret" not in repr(peer.sent)
        assert "ValueError" not in repr(peer.sent)
        assert peer.closes in ([(1011, "")], [])
    assert caplog.text.count("ValueError: secret") == 3
