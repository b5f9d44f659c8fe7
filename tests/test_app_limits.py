"""Every limit in a whole application: by application and by route, on both paths."""

from __future__ import annotations

import asyncio
import logging
import math
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.middleware import Middleware

from channel import PATHS, FakeChannel, triple_over
from opened import soon, turns, until
from peer import B, D, T
from server.transports import in_no_time
from telex import App, WebSocket, WebSocketHandshakeError
from telex import _guard as guard_module
from telex._guard import _BURST
from telex._limits import PING, Heartbeat
from telex._source import MAX_MESSAGES
from telex._types import ASGIApp, Receive, Scope, Send
from telex.websockets import link_of

GRACE = 0.05
FOR_EVER = 600.0
BOTH = ("asgi", "frames")


class Client:
    """A connection to an application, over one of the paths."""

    def __init__(self, app: App, over: str = "asgi", *, denial: bool = False, **keys: Any) -> None:
        self.channel = FakeChannel()
        scope, receive, send = triple_over(over, self.channel)
        if denial:
            scope["extensions"]["websocket.http.response"] = {}
        scope.update(keys)
        self.task = asyncio.ensure_future(app(scope, receive, send))

    async def accepted(self) -> Client:
        await until(lambda: self.channel.log)
        await turns()
        assert self.channel.types[0] == "accept"
        return self

    async def leave(self) -> None:
        self.channel.feed(D(1001))
        await soon(self.task)

    @property
    def status(self) -> int:
        status: int = self.channel.log[0].get("status", 403)
        return status


def app_with(level: str, limits: dict[str, Any], lifted: bool = False, **options: Any) -> App:
    """Return an application that echoes, with limits of its own or of its route."""
    beats = {"heartbeat"} & limits.keys()
    none = dict.fromkeys(limits.keys() - beats, math.inf) | dict.fromkeys(beats, math.inf)
    of_app, of_route = (limits, none if lifted else {}) if level == "app" else ({}, limits)
    app = App(disconnect_grace=GRACE, **of_app, **options)

    @app.websocket("/", **of_route)
    async def echo(ws: WebSocket) -> None:
        await ws.accept()
        async for message in ws:
            await ws.send(message) if isinstance(message, dict) else await ws.send_text("echo")

    return app


LEVELS = ("app", "route")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


# Connections


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("denial", [True, False])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("limit", "status"), [("max_connections", 503), ("max_connections_per_client", 429)]
)
async def test_one_connection_too_many_is_denied(
    path: str, denial: bool, level: str, limit: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with(level, {limit: 1})
    first = await Client(app, path).accepted()
    second = Client(app, path, denial=denial)
    await soon(second.task)
    assert second.status == (status if denial else 403)
    assert second.channel.types == (
        ["http.response.start", "http.response.body"] if denial else ["close"]
    )
    await first.leave()
    third = await Client(app, path).accepted()
    await third.leave()
    assert errors(caplog) == []


async def test_another_client_has_a_count_of_its_own() -> None:
    app = app_with("app", {"max_connections_per_client": 1})
    clients = [await Client(app, client=(host, 1)).accepted() for host in ("a", "b")]
    clients += [await Client(app, client=None).accepted() for _ in range(2)]
    again = Client(app, denial=True, client=("a", 2))
    await soon(again.task)
    assert again.status == 429
    for each in clients:
        await each.leave()


async def test_both_counts_hold_and_a_route_cannot_lift_its_applications() -> None:
    app = App(max_connections=3)

    @app.websocket("/narrow", max_connections=1)
    async def narrow(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()

    @app.websocket("/wide", max_connections=math.inf)
    async def wide(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()

    def client(path: str) -> Client:
        return Client(app, denial=True, path=path)

    clients = [await client("/narrow").accepted()]
    denied = client("/narrow")
    await soon(denied.task)
    assert denied.status == 503
    clients += [await client("/wide").accepted() for _ in range(2)]
    denied = client("/wide")
    await soon(denied.task)
    assert denied.status == 503
    for each in clients:
        await each.leave()


async def test_the_key_of_an_application_counts_in_its_routes_unless_they_have_one() -> None:
    app = App(client_key=lambda ws: ws.headers.get("user"))

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()

    app.websocket("/", name="a", max_connections_per_client=1)(handler)
    key = lambda ws: ws.headers.get("tenant")  # noqa: E731
    app.websocket("/own", name="b", max_connections_per_client=1, client_key=key)(handler)

    def client(path: str, user: bytes, tenant: bytes) -> Client:
        headers = [(b"host", b"testserver"), (b"user", user), (b"tenant", tenant)]
        return Client(app, denial=True, path=path, headers=headers)

    clients = [await client("/", b"u1", b"t").accepted(), await client("/", b"u2", b"t").accepted()]
    clients += [await client("/own", b"u1", b"t").accepted()]
    for path, user, tenant in (("/", b"u1", b"x"), ("/own", b"u9", b"t")):
        denied = client(path, user, tenant)
        await soon(denied.task)
        assert denied.status == 429
    for each in clients:
        await each.leave()


async def test_who_was_accepted_by_a_middleware_is_closed_with_1013(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def accepting(app: ASGIApp) -> ASGIApp:
        async def accepts(scope: Scope, receive: Receive, send: Send) -> None:
            await WebSocket(scope, receive, send).accept()
            await app(scope, receive, send)

        return accepts

    app = App(middleware=[Middleware(accepting)], max_connections=1)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.receive()

    first = await Client(app).accepted()
    second = Client(app, denial=True)
    await soon(second.task)
    assert second.channel.types == ["accept", "close"]
    assert second.channel.closes == [(1013, "Service Unavailable")]
    await first.leave()
    assert errors(caplog) == []


# Messages


def text_of(size: int) -> str:
    """Text that is half as many characters as bytes."""
    return "é" * (size // 2) + "x" * (size % 2)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("big", [T(text_of(101)), T("x" * 101), B(b"x" * 101), T("€" * 34)])
async def test_a_longer_message_closes_with_1009(
    level: str, big: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with(level, {"max_message_size": 100})
    client = await Client(app).accepted()
    client.channel.feed(T(text_of(100)), T("x" * 100), B(b"x" * 100), T("€" * 33))
    await until(lambda: len(client.channel.data) == 4)
    client.channel.feed(T("before"), big, T("after"))
    await soon(client.task)
    assert client.channel.data == ["echo"] * 5
    assert client.channel.closes == [(1009, "message too big")]
    assert errors(caplog) == []


@pytest.mark.parametrize("level", LEVELS)
async def test_a_server_with_a_channel_is_told_the_size(level: str) -> None:
    client = await Client(app_with(level, {"max_message_size": 100}), "frames").accepted()
    assert client.channel.max_size == 100
    await client.leave()


@pytest.mark.parametrize("raw", [True, False])
async def test_what_came_before_is_read_and_nothing_that_came_after(raw: bool) -> None:
    read: list[str] = []
    app = App(max_message_size=9)
    go = asyncio.Event()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        assert not await ws.is_disconnected()
        await go.wait()
        while True:
            read.append((await ws.receive())["text"] if raw else await ws.receive_text())
            await asyncio.sleep(0)
            await ws.send_text("read")

    client = await Client(app).accepted()
    client.channel.feed(T("a"), T("b"), T("x" * 10), T("c"))
    await turns()
    go.set()
    await soon(client.task)
    assert read == ["a", "b"]
    assert client.channel.data == ["read", "read"]
    assert client.channel.closes == [(1009, "message too big")]


RATE = 10
MOST = int(RATE * _BURST) + MAX_MESSAGES


async def rated(app: App, way: str, **options: Any) -> list[str]:
    """Register a handler that reads in one of the ways; return what it will have read."""
    read: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        if way == "iterator":
            async for text in ws.iter_text():
                read.extend([text])
        while way != "iterator":
            read.append((await ws.receive())["text"] if way == "raw" else await ws.receive_text())

    async def listener(data: str) -> None:
        read.append(data)

    if way == "listener":
        app.websocket_listener("/", **options)(listener)
    else:
        app.websocket("/", **options)(handler)
    return read


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("way", ["iterator", "receive", "raw", "listener"])
@pytest.mark.parametrize("level", LEVELS)
async def test_too_many_messages_close_with_1008(
    path: str, way: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits: dict[str, Any] = {"max_messages_per_second": RATE}
    app = App(**(limits if level == "app" else {}))
    read = await rated(app, way, **({} if level == "app" else limits))
    client = Client(app, path)
    await until(lambda: client.channel.log)
    for _ in range(2 * MOST):
        client.channel.deliver(T("x"))
        await asyncio.sleep(0)
    await soon(client.task)
    assert MOST <= len(read) <= MOST + 10
    assert client.channel.closes == [(1008, "too many messages")]
    assert errors(caplog) == []


@pytest.mark.parametrize("path", BOTH)
async def test_where_there_is_no_rate_a_flood_is_no_limit(path: str) -> None:
    app = App(max_messages_per_second=RATE)
    read = await rated(app, "listener", max_messages_per_second=math.inf)
    client = Client(app, path)
    await until(lambda: client.channel.log)
    client.channel.feed(*[T("x")] * (3 * MOST))
    await until(lambda: len(read) == 3 * MOST)
    await client.leave()
    assert client.channel.closes == []


@pytest.mark.parametrize("path", BOTH)
def test_a_slow_reader_is_not_held_against_its_client(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @in_no_time
    async def check() -> None:
        clock = SimpleNamespace(monotonic=asyncio.get_running_loop().time)
        monkeypatch.setattr(guard_module, "time", clock)
        app = App(max_messages_per_second=RATE, disconnect_grace=None)
        read: list[str] = []

        @app.websocket("/")
        async def handler(ws: WebSocket) -> None:
            await ws.accept()
            await asyncio.sleep(100.0)
            async for text in ws.iter_text():
                read.extend([text])

        client = await Client(app, path).accepted()
        for _ in range(99):
            client.channel.feed(*[T("x")] * RATE)
            await asyncio.sleep(1.0)
        await asyncio.sleep(2.0)
        await until(lambda: len(read) == 99 * RATE)
        client.channel.feed(*[T("x")] * RATE)
        await turns(100)
        assert len(read) == 100 * RATE
        await asyncio.sleep(100.0)
        client.channel.feed(*[T("x")] * 1000)
        await client.task
        assert client.channel.closes == [(1008, "too many messages")]

    check()


@pytest.mark.parametrize("rate", [None, 5])
async def test_eager_calls_are_for_connections_without_a_rate(rate: float | None) -> None:
    app = App(max_messages_per_second=rate)
    direct: list[bool] = []

    @app.websocket_listener("/")
    async def listener(ws: WebSocket, data: str) -> None:
        direct.append(link_of(ws).inbox.direct)

    client = Client(app, "frames")
    await until(lambda: client.channel.log)
    await turns()
    client.channel.deliver(T("x"))
    await until(lambda: direct)
    assert direct == [rate is None]
    await client.leave()


# Times


@pytest.mark.parametrize("denial", [True, False])
@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("level", LEVELS)
def test_a_handshake_that_takes_too_long_is_denied(path: str, level: str, denial: bool) -> None:
    @in_no_time
    async def check() -> None:
        limits: dict[str, Any] = {"handshake_timeout": 10.0}
        app = App(**(limits if level == "app" else {}))

        @app.websocket("/", **({} if level == "app" else limits))
        async def handler(ws: WebSocket) -> None:
            await asyncio.sleep(FOR_EVER)

        client = Client(app, path, denial=denial)
        await client.task
        assert client.status == (503 if denial else 403)

    check()


TIMES = {
    "idle_timeout": (5.0, 3008, "idle for too long"),
    "max_age": (5.0, 1012, "connected for too long"),
    "heartbeat": ((5.0, 2.0), 1011, "heartbeat timeout"),
}


@pytest.mark.parametrize("limit", [*TIMES])
@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("level", LEVELS)
def test_a_time_that_is_over_closes(path: str, level: str, limit: str) -> None:
    @in_no_time
    async def check() -> None:
        value, code, reason = TIMES[limit]
        client = await Client(app_with(level, {limit: value}), path).accepted()
        if limit == "heartbeat" and path == "frames":
            assert client.channel.beat == value
            await client.leave()
            return
        await client.task
        assert client.channel.closes == [(code, reason)]
        assert client.channel.data == ([PING] if limit == "heartbeat" else [])

    check()


@pytest.mark.parametrize("limit", [*TIMES, "max_message_size", "max_messages_per_second"])
@pytest.mark.parametrize("path", BOTH)
def test_a_route_can_lift_what_its_application_limits(path: str, limit: str) -> None:
    @in_no_time
    async def check() -> None:
        value = TIMES[limit][0] if limit in TIMES else 1
        app = app_with("app", {limit: value}, lifted=True)
        client = await Client(app, path).accepted()
        client.channel.feed(*[T("more than one")] * 100)
        await until(lambda: len(client.channel.data) == 100)
        await asyncio.sleep(1000.0)
        assert client.channel.types == ["accept", *["send"] * 100]
        assert client.channel.max_size is None or limit != "max_message_size"
        if limit == "heartbeat" and path == "frames":
            assert client.channel.beat == (math.inf, math.inf)
        await client.leave()

    check()


# The frame channel


ALL: dict[str, Any] = {
    "max_message_size": 1000,
    "max_messages_per_second": 1000,
    "max_connections": 100,
    "max_connections_per_client": 100,
    "handshake_timeout": 30.0,
    "idle_timeout": 60.0,
    "max_age": 3600.0,
    "heartbeat": Heartbeat(20.0, 10.0),
}


@pytest.mark.parametrize("limits", [{}, ALL], ids=["defaults", "all"])
async def test_with_every_limit_on_messages_take_the_frame_channel(limits: dict[str, Any]) -> None:
    client = await Client(app_with("app", limits), "frames").accepted()
    channel = client.channel
    channel.feed(T("a"), T("b"))
    await until(lambda: len(channel.data) == 2)
    assert (channel.frames_in, channel.frames_out) == (2, 2)
    assert (channel.events_in, channel.events_out) == (1, 1), "the connect and the accept"
    await client.leave()


async def test_the_default_limits_leave_the_path_to_the_reader_direct() -> None:
    seen: list[bool] = []
    app = App(**{**ALL, "max_messages_per_second": None})

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        seen.append(link_of(ws).inbox.direct)

    await soon(Client(app, "frames").task)
    assert seen == [True]


async def test_a_connection_outside_of_an_application_is_left_alone() -> None:
    channel = FakeChannel(T("x" * 100))
    ws = WebSocket(*triple_over("asgi", channel))
    await ws.accept()
    progress = link_of(ws).progress
    assert not progress.on_accept
    channel.feed(D(1001))
    assert [len(text) async for text in ws.iter_text()] == [100]
    with pytest.raises(WebSocketHandshakeError):
        await ws.receive_text()
    assert channel.closes == []
