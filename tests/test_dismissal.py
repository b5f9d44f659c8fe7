"""Ending a connection from outside of its handler: one close, and the handler comes to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

import pytest

from channel import PATHS, FakeChannel, triple_over
from opened import connecting, opened, soon, turns, until
from peer import D, Peer, T
from telex import (
    App,
    Outbox,
    WebSocket,
    WebSocketDisconnect,
    WebSocketRuntimeError,
    websocket,
)
from telex import _dismissal as dismissal_module
from telex._dismissal import dismiss
from telex._types import Message, Receive, Scope, Send
from telex.websockets import link_of

GRACE = 0.05
FOR_EVER = 600.0

Handler = Callable[[WebSocket], Awaitable[object]]


class Served:
    """A handler in an application, over one of the paths, whose connection a test dismisses."""

    def __init__(
        self, handler: Handler, path: str = "asgi", *script: Message, denial: bool = False
    ) -> None:
        self.ws: WebSocket | None = None
        self.outcome: BaseException | str = "nothing"
        self.left = asyncio.Event()
        self.channel = FakeChannel(*script)

        async def noted(ws: WebSocket) -> None:
            self.ws = ws
            try:
                await handler(ws)
                self.outcome = "returned"
            except BaseException as exc:
                self.outcome = exc
                raise
            finally:
                self.left.set()

        app = App(disconnect_grace=GRACE)
        app.websocket("/")(noted)
        triple = triple_over(path, self.channel, denial=denial)
        self.task = asyncio.ensure_future(app(*triple))

    async def inside(self, condition: Callable[[WebSocket], object]) -> WebSocket:
        await until(lambda: self.ws is not None and condition(self.ws))
        await turns()
        assert self.ws is not None
        return self.ws

    async def open(self) -> WebSocket:
        return await self.inside(lambda ws: ws.connection_state == 1)

    async def end(self) -> list[str]:
        await soon(self.task)
        return self.channel.types


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


# Open connections


@pytest.mark.parametrize("path", PATHS)
async def test_a_loop_over_messages_ends_quietly(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async for _ in ws.iter_text():
            pass

    served = Served(handler, path)
    ws = await served.open()
    assert dismiss(ws, 4401, "revoked")
    assert await served.end() == ["accept", "close"]
    assert served.channel.closes == [(4401, "revoked")]
    assert served.outcome == "returned"
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4401, "revoked", "server")
    assert errors(caplog) == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["receive_text", "receive", "receive_json"])
async def test_a_read_raises_which_is_no_error_when_it_escapes(
    path: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await getattr(ws, method)()

    served = Served(handler, path)
    assert dismiss(await served.open(), 4000)
    assert await served.end() == ["accept", "close"]
    assert isinstance(served.outcome, WebSocketRuntimeError)
    assert errors(caplog) == []


async def test_nor_is_a_send_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    dismissed = asyncio.Event()

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await dismissed.wait()
        await ws.send_text("too late")

    served = Served(handler)
    assert dismiss(await served.open(), 4000)
    dismissed.set()
    assert await served.end() == ["accept", "close"]
    assert isinstance(served.outcome, WebSocketRuntimeError)
    assert errors(caplog) == []


async def test_nor_that_several_tasks_find_out(caplog: pytest.LogCaptureFixture) -> None:
    async def read(ws: WebSocket) -> None:
        await ws.receive_text()

    async def write(ws: WebSocket) -> None:
        while True:
            await asyncio.sleep(0)
            await ws.send_text("x")

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        results = await asyncio.gather(read(ws), write(ws), return_exceptions=True)
        raise BaseExceptionGroup("both", [r for r in results if isinstance(r, BaseException)])

    served = Served(handler)
    dismiss(await served.open(), 4000)
    await served.end()
    assert isinstance(served.outcome, ExceptionGroup)
    assert len(served.outcome.exceptions) == 2
    assert errors(caplog) == []


async def test_another_failure_after_it_is_still_one(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async for _ in ws.iter_text():
            pass
        raise ValueError("while tidying")

    served = Served(handler)
    dismiss(await served.open(), 4000)
    assert await served.end() == ["accept", "close"]
    assert len(errors(caplog)) == 1


async def test_a_close_of_the_handlers_own_is_still_its_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.close()
        await ws.receive_text()

    await Served(handler).end()
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_a_handler_that_waits_for_something_else_is_cancelled_after_its_grace(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await asyncio.sleep(FOR_EVER)

    served = Served(handler, path)
    ws = await served.open()
    began = asyncio.get_running_loop().time()
    assert dismiss(ws, 4000)
    assert await served.end() == ["accept", "close"]
    assert 0.9 * GRACE <= asyncio.get_running_loop().time() - began < 20 * GRACE
    assert isinstance(served.outcome, asyncio.CancelledError)
    assert str(served.outcome) == "its connection was closed"
    assert errors(caplog) == []


async def test_a_handler_that_knows_may_take_its_time() -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async for _ in ws.iter_text():
            pass
        await asyncio.sleep(4 * GRACE)

    served = Served(handler)
    dismiss(await served.open(), 4000)
    await served.end()
    assert served.outcome == "returned"


async def test_one_that_goes_on_is_named_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        while not errors(caplog):
            try:
                await asyncio.sleep(GRACE)
            except asyncio.CancelledError:
                continue

    served = Served(handler)
    dismiss(await served.open(), 4000)
    await served.end()
    expected = "the handler of '/' goes on although its connection was closed and it was cancelled"
    assert errors(caplog) == [expected]


async def test_the_end_is_told_more_than_once_which_does_not_put_it_off() -> None:
    """The close waits for a slow client; the handler is not given that time, too."""

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("never taken")
        await asyncio.sleep(FOR_EVER)

    served = Served(handler, "asgi")
    served.channel.block()
    ws = await served.open()
    loop = asyncio.get_running_loop()
    dismiss(ws, 4000)
    began = loop.time()
    await soon(served.left.wait())
    assert loop.time() - began < 10 * GRACE
    served.channel.unblock()
    assert await served.end() == ["accept", "send", "close"]


@pytest.mark.parametrize("path", PATHS)
async def test_two_dismissals_are_one(path: str) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async for _ in ws.iter_text():
            pass

    served = Served(handler, path)
    ws = await served.open()
    assert dismiss(ws, 4001, "first")
    assert not dismiss(ws, 4002, "second")
    await turns()
    assert not dismiss(ws, 4003, "third")
    await served.end()
    assert not dismiss(ws, 4004, "fourth")
    assert served.channel.closes == [(4001, "first")]


async def test_after_the_end_there_is_nothing_to_end() -> None:
    ws, peer = await opened()
    await ws.close(4000)
    assert not dismiss(ws, 4001)
    ws, _ = await opened(D(1001))
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()
    assert not dismiss(ws, 4001)
    assert peer.closes == [(4000, "")]


async def test_nor_when_the_client_is_known_to_have_left() -> None:
    """Somebody else sees to it: the disconnect watch, or the messages that are unread."""
    ws, peer = await opened(T("unread"), D(1001))
    await ws.wait_closed()
    assert not dismiss(ws, 4001)
    await turns()
    assert peer.types == ["accept"]


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 5000])
@pytest.mark.parametrize("accepted", [True, False])
async def test_a_code_that_may_not_be_sent_is_refused_before_anything(
    code: int, accepted: bool
) -> None:
    ws, peer = await opened() if accepted else connecting()
    with pytest.raises(ValueError, match=str(code)):
        dismiss(ws, code)
    await turns()
    assert peer.types == (["accept"] if accepted else [])
    assert dismiss(ws, 4000)
    await turns()
    assert len(peer.sent) == (2 if accepted else 1)


# Before accept


@pytest.mark.parametrize("denial", [True, False])
@pytest.mark.parametrize("path", PATHS)
async def test_a_handshake_is_rejected_and_its_handler_cancelled(
    path: str, denial: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket) -> None:
        await asyncio.sleep(FOR_EVER)

    served = Served(handler, path, denial=denial)
    ws = await served.inside(lambda _: True)
    assert dismiss(ws, 1013, status=429, body="slow down")
    assert not dismiss(ws, 1013)
    types = await served.end()
    if denial:
        assert types == ["http.response.start", "http.response.body"]
        assert served.channel.log[0]["status"] == 429
        assert served.channel.log[1]["body"] == b"slow down"
    else:
        assert types == ["close"]
    assert isinstance(served.outcome, asyncio.CancelledError)
    assert errors(caplog) == []


async def test_a_late_accept_is_refused_quietly(caplog: pytest.LogCaptureFixture) -> None:
    late = asyncio.Event()

    async def handler(ws: WebSocket) -> None:
        await late.wait()
        await ws.accept()

    served = Served(handler, denial=True)
    dismiss(await served.inside(lambda _: True), 1013)
    await until(lambda: len(served.channel.log) == 2)
    late.set()
    assert await served.end() == ["http.response.start", "http.response.body"]
    assert isinstance(served.outcome, WebSocketRuntimeError)
    assert errors(caplog) == []


async def test_an_accept_that_is_faster_than_the_denial_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ws: WebSocket) -> None:
        assert dismiss(ws, 4000, "no")
        await ws.accept()
        await ws.receive_text()

    served = Served(handler, denial=True)
    assert await served.end() == ["accept", "close"]
    assert served.channel.closes == [(4000, "no")]
    assert isinstance(served.outcome, WebSocketRuntimeError)
    assert errors(caplog) == []


class SlowAccept:
    """A server that takes its time over an accept."""

    def __init__(self) -> None:
        self.peer = Peer()
        self.accepting, self.go = asyncio.Event(), asyncio.Event()

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            self.accepting.set()
            await self.go.wait()
        await self.peer.send(message)


@pytest.mark.parametrize("just_before", [True, False])
async def test_an_accept_that_is_on_its_way_goes_first(just_before: bool) -> None:
    server = SlowAccept()
    ws, _ = connecting()
    ws = WebSocket({**ws.scope}, server.peer.receive, server.send)
    accepting = asyncio.ensure_future(ws.accept())
    if just_before:
        assert dismiss(ws, 4000, "no")
    await soon(server.accepting.wait())
    if not just_before:
        assert dismiss(ws, 4000, "no")
    assert not dismiss(ws, 4001)
    await turns()
    assert server.peer.sent == []
    server.go.set()
    await soon(accepting)
    with pytest.raises(WebSocketRuntimeError):
        await soon(ws.receive_text())
    await until(lambda: len(server.peer.sent) == 2)
    assert server.peer.types == ["accept", "close"]
    assert server.peer.closes == [(4000, "no")]


async def test_a_handler_whose_accept_the_server_never_takes_is_cancelled() -> None:
    server = SlowAccept()
    app = App(disconnect_grace=GRACE)
    seen: list[WebSocket] = []

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        seen.append(ws)
        await ws.accept()

    serving = asyncio.ensure_future(
        app({**connecting()[0].scope}, server.peer.receive, server.send)
    )
    await soon(server.accepting.wait())
    assert dismiss(seen[0], 4000)
    await soon(serving)
    assert server.peer.types == ["close"]


async def test_a_denial_of_the_handlers_own_is_left_alone() -> None:
    half, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        half.set()
        await go.wait()
        await send({"type": "websocket.http.response.body", "body": b"who are you?"})

    ws, peer = connecting(denial=True)
    serving = asyncio.ensure_future(app(ws.scope, ws.receive, ws.send))
    await soon(half.wait())
    assert not dismiss(ws, 4000)
    go.set()
    await soon(serving)
    assert peer.types == ["http.response.start", "http.response.body"]
    assert peer.sent[0]["status"] == 401


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_server_that_takes_no_denial_keeps_no_handler(
    hangs: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dismissal_module, "DISMISSAL_TIMEOUT", GRACE)
    app = App(disconnect_grace=GRACE)
    inside: list[WebSocket] = []

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        inside.append(ws)
        await asyncio.sleep(FOR_EVER)

    peer = Peer()

    async def send(_message: Message) -> None:
        if hangs:
            await asyncio.sleep(FOR_EVER)
        raise ValueError("the server says no")

    scope: dict[str, Any] = {**connecting(denial=True)[0].scope}
    serving = asyncio.ensure_future(app(scope, peer.receive, send))
    await until(lambda: inside)
    assert dismiss(inside[0], 4000)
    await soon(serving)
    assert bool(errors(caplog)) is not hangs


@pytest.mark.parametrize("accepted", [True, False])
async def test_no_task_is_left(accepted: bool) -> None:
    async def handler(ws: WebSocket) -> None:
        if accepted:
            await ws.accept()
        await asyncio.sleep(FOR_EVER)

    before = asyncio.all_tasks()
    served = Served(handler)
    ws = await (served.open() if accepted else served.inside(lambda _: True))
    dismiss(ws, 4000)
    await served.end()
    await turns()
    assert asyncio.all_tasks() == before


# Whose context

origin: ContextVar[str] = ContextVar("origin")


async def _overflow(ws: WebSocket) -> None:
    while ws.send_nowait("for nobody"):
        await turns(1)


async def _dismiss(ws: WebSocket) -> None:
    dismiss(ws, 4000)


async def _expire(ws: WebSocket) -> None:
    ws.expires_at = 1.0


OUTSIDE: dict[str, Callable[[WebSocket], Coroutine[Any, Any, object]]] = {
    "dismissed": _dismiss,
    "closed by a label": lambda ws: ws.app.connections.close(user="7"),
    "expired": _expire,
    "too slow": _overflow,
}


@pytest.mark.parametrize("way", OUTSIDE)
@pytest.mark.parametrize("path", PATHS)
async def test_cleanups_find_their_own_connection_whoever_ends_it(path: str, way: str) -> None:
    seen: list[object] = []
    inside: list[WebSocket] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        ws.label(user="7")
        ws.add_cleanup(lambda: seen.append((origin.get(None), websocket.path)))
        inside.append(ws)
        await asyncio.sleep(FOR_EVER)

    app = App(disconnect_grace=GRACE, outbox=Outbox(max_messages=1, policy="close"))
    app.websocket("/")(handler)

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        origin.set("middleware")
        await app(scope, receive, send)

    channel = FakeChannel()
    served = asyncio.ensure_future(middleware(*triple_over(path, channel)))
    await until(lambda: inside)
    channel.block()
    elsewhere = asyncio.get_running_loop().create_task(OUTSIDE[way](inside[0]), context=Context())
    await until(lambda: link_of(inside[0]).progress.over)
    channel.unblock()
    await soon(served)
    await soon(elsewhere)
    assert seen == [("middleware", "/")]


@pytest.mark.parametrize("path", PATHS)
async def test_cleanups_find_their_own_connection_whoever_finds_that_the_client_has_left(
    path: str,
) -> None:
    seen: list[str] = []
    inside: list[WebSocket] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        ws.add_cleanup(lambda: seen.append(websocket.path))
        inside.append(ws)
        await asyncio.sleep(FOR_EVER)

    app = App(disconnect_grace=GRACE)
    app.websocket("/")(handler)
    channel = FakeChannel()
    served = asyncio.ensure_future(app(*triple_over(path, channel)))
    await until(lambda: inside)
    channel.drop()
    with pytest.raises(WebSocketDisconnect):
        await asyncio.get_running_loop().create_task(inside[0].receive_text(), context=Context())
    await soon(served)
    assert seen == ["/"]


@pytest.mark.parametrize("path", PATHS)
async def test_cleanups_find_what_the_handler_has_set_when_it_ends_itself(path: str) -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        origin.set("handler")
        ws.add_cleanup(lambda: seen.append(origin.get()))

    served = Served(handler, path)
    await served.end()
    assert seen == ["handler"]


# An accept that is cut short


async def test_who_is_dismissed_while_the_accept_is_cut_short_is_closed() -> None:
    """A middleware holds the accept up, and the handler has lost patience."""
    held = asyncio.Event()
    inside: list[WebSocket] = []

    async def handler(ws: WebSocket) -> None:
        inside.append(ws)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await ws.accept()
        with contextlib.suppress(WebSocketRuntimeError):
            async for _ in ws:
                pass

    app = App(disconnect_grace=GRACE)
    app.websocket("/")(handler)
    channel = FakeChannel()
    scope, receive, send = triple_over("asgi", channel)

    async def holding(message: Message) -> None:
        await send(message)
        if message["type"] == "websocket.accept":
            await held.wait()

    served = asyncio.ensure_future(app(scope, receive, holding))
    await until(lambda: "accept" in channel.types)
    assert dismiss(inside[0], 4401)
    await soon(served)
    assert channel.closes == [(4401, "")]
