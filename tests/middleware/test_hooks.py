"""Connection middleware: order, other middleware, mounted applications, what it costs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount as StarletteMount
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket

from clients import connected, rejection
from hooked import Data, Handler, Log, Marking, Raising, Watching, both_ways, echo, hooked, run
from peer import B, D, Peer, T, make_scope
from sse import events_of, parse, response_of
from streaming import Generator, stream_app
from telex import (
    App,
    Depends,
    Reject,
    WebSocket,
    WebSocketException,
)
from telex._types import ASGIApp, CloseRecord, Message, Receive, Scope, Send
from telex.middleware.hooks import HooksMiddleware, attach, check_hooks
from telex.testing import AsyncTestClient
from telex.websockets import link_of

# Order


@both_ways
async def test_the_first_is_the_outermost(path: str) -> None:
    log: Log = []
    app = hooked(echo, Marking("a", log), Marking("b", log))
    channel = await run(app, path, T("hi"), B(b"hi"), D(1001))
    assert channel.data == ["hi<a<b>b>a", b"hi<a<b>b>a"]
    assert log == [
        "a handshake /",
        "b handshake /",
        "a close 1001 by the client",
        "b close 1001 by the client",
    ]


@both_ways
async def test_an_object_may_have_one_hook_only(path: str) -> None:
    log: Log = []
    whole = Marking("whole", log)
    for hook in ("on_handshake", "on_message", "on_send", "on_close"):
        log.clear()
        part = type("Part", (), {hook: staticmethod(getattr(whole, hook))})()
        channel = await run(hooked(echo, part), path, T("x"), D(1001))
        marks = {"on_message": "<whole", "on_send": ">whole"}
        assert channel.data == ["x" + marks.get(hook, "")]
        assert len(log) == (0 if hook in marks else 1)


@both_ways
@pytest.mark.parametrize("where", ["message", "send"])
async def test_neither_hook_of_a_pair_needs_the_other(path: str, where: str) -> None:
    seen = Watching()
    part = type("Part", (), {f"on_{where}": staticmethod(getattr(seen, f"on_{where}"))})()
    await run(hooked(echo, part), path, T("x"), D())
    assert (seen.messages or seen.sent) == ["x"]


# Attached later


Places = dict[str, Callable[[App, Handler], object]]


def places(log: Log) -> Places:
    """Where a connection middleware can be attached; each registers a handler on an application."""

    async def late(ws: WebSocket) -> None:
        await attach(ws, Marking("late", log))

    async def generator(ws: WebSocket) -> AsyncIterator[None]:
        await late(ws)
        yield

    def middleware(endpoint: Callable[[], Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        @functools.wraps(endpoint)
        async def wrapper(ws: WebSocket) -> object:
            await late(ws)
            return await endpoint()

        return wrapper

    def depending(dependency: Callable[..., Any]) -> Callable[[App, Handler], object]:
        async def wrapper(ws: WebSocket, attached: Any) -> None:
            await echo(ws)

        wrapper.__annotations__["attached"] = Annotated[None, Depends(dependency)]
        return lambda app, handler: app.websocket("/")(wrapper)

    async def handler_itself(ws: WebSocket) -> None:
        await late(ws)
        await echo(ws)

    return {
        "socket middleware": lambda app, h: app.websocket("/", middlewares=[middleware])(h),
        "dependency": depending(late),
        "generator": depending(generator),
        "handler": lambda app, h: app.websocket("/")(handler_itself),
    }


@both_ways
@pytest.mark.parametrize("how", places([]))
async def test_a_connection_middleware_can_be_attached_during_the_handshake(
    path: str, how: str
) -> None:
    log: Log = []
    app = App(connection_middleware=[Marking("app", log)])
    places(log)[how](app, echo)
    channel = await run(app, path, T("x"), D(1001))
    assert channel.data == ["x<app<late>late>app"]
    assert log == [
        "app handshake /",
        "late handshake /",
        "app close 1001 by the client",
        "late close 1001 by the client",
    ]


@both_ways
async def test_what_is_attached_to_one_connection_is_not_on_the_next(path: str) -> None:
    first = [True]

    async def handler(ws: WebSocket) -> None:
        if first:
            first.clear()
            await attach(ws, Marking("m", []))
        await echo(ws)

    app = hooked(handler, Watching())
    assert (await run(app, path, T("x"), D())).data == ["x<m>m"]
    assert (await run(app, path, T("x"), D())).data == ["x"]


async def test_what_cannot_be_used_cannot_be_attached() -> None:
    ws = WebSocket(make_scope(), Peer().receive, Peer().send)
    with pytest.raises(TypeError, match="has no hook"):
        await attach(ws, object())


# Other middleware


class Wrapping:
    """ASGI middleware that wraps `send`, as Starlette's do, and what goes through it."""

    seen: list[str]

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self.app = app
        self.seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def wrapped(message: Message) -> None:
            self.seen.append(message.get("text") or message["type"])
            await send(message)

        await self.app(scope, receive, wrapped)


@both_ways
@pytest.mark.parametrize("where", ["outside", "inside", "both"])
async def test_each_message_goes_through_a_hook_once_with_asgi_middleware(
    path: str, where: str
) -> None:
    seen: list[str] = []
    entry = Middleware(Wrapping, seen=seen)
    outside = [entry] if where in ("outside", "both") else []
    inside = [entry] if where in ("inside", "both") else []
    app = App(middleware=outside, connection_middleware=[Marking("m", [])])
    app.websocket("/", middleware=inside)(echo)
    channel = await run(app, path, T("x"), D())
    assert channel.data == ["x<m>m"]
    assert seen.count("x<m>m") == len(outside + inside)


@both_ways
async def test_each_message_goes_through_a_hook_once_with_the_methods_of_a_connection(
    path: str,
) -> None:
    """A middleware may hand on the `receive` and `send` of a connection, wrapped or not."""

    class Facing:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            ws = WebSocket(scope, receive, send)

            async def reading() -> Message:
                return await ws.receive()

            async def sending(message: Message) -> None:
                await ws.send(message)

            await self.app(scope, reading, sending)

    app = App(connection_middleware=[Marking("m", [])])
    app.websocket("/", middleware=[Middleware(Facing)])(echo)
    assert (await run(app, path, T("x"), D())).data == ["x<m>m"]


@pytest.mark.row("L22")
async def test_hooks_see_the_session_behind_starlettes_middleware() -> None:
    sessions: list[dict[str, Any]] = []

    class Reading:
        async def on_handshake(self, ws: WebSocket) -> None:
            sessions.append(dict(ws.session))

    entry = Middleware(SessionMiddleware, secret_key="k")
    app = hooked(echo, Reading(), Marking("m", []), middleware=[entry])
    async with connected(app) as ws:
        await ws.send_text("x")
        assert await ws.receive_text() == "x<m>m"
    assert sessions == [{}]


async def test_requests_and_the_lifespan_go_past() -> None:
    class Never:
        async def on_handshake(self, ws: WebSocket) -> None:
            pytest.fail("no handshake")

    http = Starlette(routes=[Route("/page", PlainTextResponse("page"))])
    app = App(http=http, connection_middleware=[Never()])
    async with AsyncTestClient(app) as client:
        assert (await client.http.get("/page")).text == "page"


# Mounted applications


@both_ways
async def test_a_mounted_application_has_hooks_of_its_own_inside_the_outer_ones(path: str) -> None:
    log: Log = []
    outer = App(connection_middleware=[Marking("outer", log)])
    outer.mount("/", hooked(echo, Marking("inner", log)))
    channel = await run(outer, path, T("x"), D(1001))
    assert channel.data == ["x<outer<inner>inner>outer"]
    assert [line.split()[:2] for line in log] == [
        ["outer", "handshake"],
        ["inner", "handshake"],
        ["outer", "close"],
        ["inner", "close"],
    ]


async def test_hooks_of_two_applications_stay_apart() -> None:
    one, two = (hooked(echo, Marking(name, [])) for name in ("one", "two"))
    outer = App()
    outer.mount("/one", one)
    outer.mount("/two", two)
    for name in ("one", "two"):
        async with connected(outer, f"/{name}/") as ws:
            await ws.send_text("x")
            assert await ws.receive_text() == f"x<{name}>{name}"


@both_ways
async def test_a_telex_application_in_starlette_has_its_hooks(path: str) -> None:
    app = Starlette(
        routes=[StarletteMount("/", hooked(echo, Marking("m", [])))],
        middleware=[Middleware(SessionMiddleware, secret_key="k")],
    )
    assert (await run(app, path, T("x"), D(1001))).data == ["x<m>m"]


async def test_of_an_application_of_others_hooks_see_the_handshake_and_the_end() -> None:
    async def endpoint(websocket: StarletteWebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    shaken: list[str] = []

    class Shaking(Watching):
        async def on_handshake(self, ws: WebSocket) -> None:
            shaken.append(ws.path)

    seen = Shaking()
    app = App(connection_middleware=[seen])
    app.mount("/in", Starlette(routes=[WebSocketRoute("/x", endpoint)]))
    async with connected(app, "/in/x") as ws:
        await ws.send_text("hi")
        assert await ws.receive_text() == "hi"
        await ws.expect_close(1000)
    assert shaken == ["/in/x"]
    assert (seen.messages, seen.sent, seen.records) == ([], [], [None])


# Streams of events


async def items(ws: WebSocket) -> Generator:
    yield "item"
    yield b"bytes"


def events(answered: Any) -> list[str | None]:
    return [event.data for event in parse(answered.body.decode())]


@pytest.mark.parametrize(
    "exc", [Reject(401, "who?"), LookupError("secret"), WebSocketException(4001)], ids=repr
)
async def test_who_refuses_a_connection_refuses_events_with_the_same_answer(exc: Exception) -> None:
    async def never(ws: WebSocket) -> Generator:
        pytest.fail("refused")
        yield

    outer, inner = Watching(), Watching()
    app = stream_app(never, connection_middleware=[outer, Raising("on_handshake", exc), inner])
    answered = await response_of(app)
    refused = await rejection(app, raise_app_exceptions=False)
    assert (answered.status, answered.body) == (refused.status, refused.body)
    assert answered.complete
    assert outer.records[0] == outer.records[1] is not None
    assert inner.records == []


async def test_who_closes_in_the_handshake_refuses_events_with_403() -> None:
    class Closing:
        async def on_handshake(self, ws: WebSocket) -> None:
            await ws.close(1008)

    answered = await response_of(stream_app(items, connection_middleware=[Closing()]))
    assert (answered.status, answered.body, answered.complete) == (403, b"", True)


async def test_hooks_see_events_and_their_end() -> None:
    log: Log = []
    app = stream_app(items, connection_middleware=[Marking("a", log), Marking("b", log)])
    assert events(await response_of(app))[:2] == ["item>b>a", "bytes>b>a"]
    assert log == [
        "a handshake /",
        "b handshake /",
        "a close 1000 by the server",
        "b close 1000 by the server",
    ]


async def test_hooks_see_a_client_leave_that_gets_events() -> None:
    async def lasting() -> Generator:
        yield "item"
        await asyncio.Event().wait()

    seen = Watching()
    async with events_of(stream_app(lasting, connection_middleware=[seen])) as stream:
        await stream.next()
    [record] = seen.records
    assert record is not None
    assert (record.code, record.closed_by) == (1001, "client")
    assert seen.messages == []


async def test_a_hook_may_raise_because_of_an_event() -> None:
    raising = Raising("on_send", WebSocketException(4001, "no more"))
    answered = await response_of(stream_app(items, connection_middleware=[raising]))
    assert events(answered) == ['{"code":4001,"reason":"no more"}']


async def test_a_hook_may_accept_a_stream_of_events() -> None:
    class Accepting:
        async def on_handshake(self, ws: WebSocket) -> None:
            await ws.accept(headers={"x-by": "hook"})

    answered = await response_of(stream_app(items, connection_middleware=[Accepting()]))
    assert (b"x-by", b"hook") in answered.headers
    assert events(answered)[0] == "item"


async def test_hooks_of_the_outer_application_come_first_for_events_too() -> None:
    log: Log = []
    outer = App(connection_middleware=[Marking("outer", log)])
    outer.mount("/in", stream_app(items, connection_middleware=[Marking("inner", log)]))
    assert events(await response_of(outer, "/in/"))[0] == "item>inner>outer"
    assert [line.split()[:2] for line in log] == [
        ["outer", "handshake"],
        ["inner", "handshake"],
        ["outer", "close"],
        ["inner", "close"],
    ]


async def test_each_hook_sees_the_scope_of_its_own_application() -> None:
    seen: dict[str, Any] = {}

    class Looking:
        def __init__(self, name: str) -> None:
            self.name = name

        async def on_handshake(self, ws: WebSocket) -> None:
            ws.scope.setdefault("user", self.name)
            seen[self.name] = (ws.app, ws.scope["root_path"], ws.scope["user"], ws.path_params)

    async def whose(ws: WebSocket) -> Generator:
        yield [ws.scope["user"], ws.path_params, ws.app is inner]

    inner = stream_app(whose, "/{n}", connection_middleware=[Looking("inner")])
    outer = App(connection_middleware=[Looking("outer")])
    outer.mount("/in/{m}", inner)
    answered = await response_of(outer, "/in/1/2")
    assert seen == {
        "outer": (outer, "", "outer", {}),
        "inner": (inner, "/in/1", "outer", {"m": "1"}),
    }
    assert events(answered)[0] == '["outer",{"m":"1","n":"2"},true]'


@pytest.mark.parametrize("who", ["outer", "inner"])
async def test_the_application_of_a_hook_answers_what_it_raises(who: str) -> None:
    def app(name: str) -> App:
        async def deny(ws: WebSocket, exc: Exception) -> None:
            await ws.reject(401, body=name)

        raising = [Raising("on_handshake", LookupError())] if name == who else []
        return App(connection_middleware=raising, exception_handlers={LookupError: deny})

    outer, inner = app("outer"), app("inner")
    inner.websocket_stream("/")(items)
    outer.mount("/in", inner)
    answered = await response_of(outer, "/in/")
    assert (answered.status, answered.body) == (401, who.encode())


async def test_a_request_for_events_that_no_stream_answers_meets_no_hook() -> None:
    app = hooked(echo, Raising("on_handshake", LookupError()), http=PlainTextResponse("page"))
    assert (await response_of(app)).body == b"page"
    async with AsyncTestClient(app) as client:
        assert (await client.http.get("/")).text == "page"


async def test_who_tries_one_application_after_the_other_meets_the_hooks_of_the_last() -> None:
    one = App(connection_middleware=[Marking("one", [])])
    two = stream_app(items, connection_middleware=[Marking("two", [])])

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        async def nothing(message: Message) -> None: ...

        await one(scope, receive, nothing)
        await two(scope, receive, send)

    assert events(await response_of(either))[0] == "item>two"


# What it costs


async def test_messages_take_the_frame_channel_both_ways_with_hooks() -> None:
    channel = await run(hooked(echo, Marking("m", [])), "frames", T("a"), B(b"b"), D())
    assert channel.data == ["a<m>m", b"b<m>m"]
    assert (channel.frames_in, channel.frames_out) == (2, 2)
    assert channel.events_out == 1  # the accept


@both_ways
@pytest.mark.parametrize("hooks", [False, True])
async def test_without_a_hook_for_messages_reading_is_the_sources_own(
    path: str, hooks: bool
) -> None:
    class Quiet:
        async def on_handshake(self, ws: WebSocket) -> None: ...
        async def on_close(self, ws: WebSocket, record: CloseRecord) -> None: ...

    checked: list[str] = []

    async def handler(ws: WebSocket) -> None:
        link = link_of(ws)
        assert link.inbox._poll == link.inbox.source.poll
        assert link.progress.filters_in == link.progress.filters_out == ()
        checked.append(path)
        await ws.accept()

    await run(hooked(handler, *[Quiet()] * hooks), path)
    assert checked == [path]


async def test_neither_receive_nor_send_is_wrapped() -> None:
    got: list[Any] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        got.extend((receive, send))

    peer = Peer()
    receive, send = peer.receive, peer.send
    await HooksMiddleware(inner, [Marking("m", [])])(make_scope(), receive, send)
    assert got == [receive, send]


# What can be registered


class NotAsync:
    def on_handshake(self, ws: WebSocket) -> None: ...


class NotPlain:
    async def on_message(self, ws: WebSocket, data: Data) -> None: ...


class SendNotPlain:
    async def on_send(self, ws: WebSocket, data: Data) -> None: ...


class CloseNotAsync:
    def on_close(self, ws: WebSocket, record: CloseRecord) -> None: ...


class NoFunction:
    on_send = "print"


class Misspelled:
    def on_massage(self, ws: WebSocket, data: Data) -> None: ...


@pytest.mark.parametrize(
    ("junk", "expected"),
    [
        (Misspelled(), "has no hook; expected an object with on_handshake, on_message, on_send"),
        (None, "None has no hook"),
        (Middleware(SessionMiddleware, secret_key="k"), "has no hook"),
        (Watching, "must be an object, not the class"),
        (NotAsync(), r"NotAsync\.on_handshake must be an async method"),
        (CloseNotAsync(), r"CloseNotAsync\.on_close must be an async method"),
        (NotPlain(), r"NotPlain\.on_message must be a plain method"),
        (SendNotPlain(), r"SendNotPlain\.on_send must be a plain method"),
        (NoFunction(), r"NoFunction\.on_send must be a method, not 'print'"),
    ],
)
def test_what_cannot_be_used_is_refused_when_the_application_is_made(
    junk: Any, expected: str
) -> None:
    with pytest.raises(TypeError, match=expected):
        App(connection_middleware=[Watching(), junk])
    with pytest.raises(TypeError, match=expected):
        check_hooks(junk)
