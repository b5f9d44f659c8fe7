"""Streams as Server-Sent Events: which requests get them, what they look like, how they end."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from opened import soon, turns, until
from sse import ACCEPT, Event, end_watchers, events_of, http_scope, parse, response_of
from streaming import Generator, Lives, of, open_generators, pouring, stream_app, waiting
from telex import App, Depends, Header, Query, Reject, SocketRoute, StreamEvent, WebSocket
from telex._types import ASGIApp, Message, Receive, Scope, Send
from telex.codecs import JSON
from telex.lifecycle import Endpoint
from telex.routing import _events
from telex.routing._events import asks_for_events
from telex.streams import Stream

CLOSED = Event(event="close", data='{"code":1000,"reason":""}')


# Who gets events


@pytest.mark.parametrize(
    ("accepts", "wanted"),
    [
        (["text/event-stream"], True),
        (["TEXT/Event-Stream"], True),
        (["text/html, text/event-stream;q=0.5"], True),
        (["text/event-stream; charset=utf-8; q=1"], True),
        (["text/html", "text/event-stream"], True),
        (["text/event-stream;q=0.001"], True),
        ([" text/event-stream\t"], True),
        (["text/event-stream;q=0"], False),
        (["text/event-stream; q=0.000"], False),
        (["text/event-stream ; Q=0."], False),
        (["text/event-streams"], False),
        (["x-text/event-stream"], False),
        (["*/*"], False),
        (["text/*"], False),
        ([""], False),
        ([], False),
    ],
)
def test_a_request_wants_events_when_it_names_them(accepts: list[str], wanted: bool) -> None:
    scope = http_scope("/", [("accept", value) for value in accepts])
    assert asks_for_events(scope) is wanted


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS"])
async def test_only_a_get_gets_events(method: str) -> None:
    assert (await response_of(of("item"), method=method)).status == 426


async def test_any_other_get_is_asked_to_upgrade() -> None:
    assert (await response_of(of("item"), "/", ("accept", "text/html"))).status == 426


async def test_a_route_that_is_no_stream_has_no_events() -> None:
    app = App()

    @app.websocket("/")
    async def echo(ws: WebSocket) -> None: ...

    assert (await response_of(app)).status == 426
    assert (await response_of(app, "/other")).status == 404


async def test_beside_an_http_application_a_stream_gets_its_own_requests_only() -> None:
    app = App(http=PlainTextResponse("page"))

    @app.websocket_stream("/ticks")
    async def ticks() -> Generator:
        yield "tick"

    assert [*parse((await response_of(app, "/ticks")).body.decode())] == [
        Event("tick", "1"),
        CLOSED,
    ]
    for path, accept in [("/ticks", "text/html"), ("/other", "text/event-stream")]:
        assert (await response_of(app, path, ("accept", accept))).body == b"page"


async def test_a_stream_of_a_mounted_application() -> None:
    async def stream(n: int, ws: WebSocket) -> Generator:
        yield [n, ws.path, ws.scope["root_path"]]

    app = App()
    app.mount("/inner", stream_app(stream, "/{n:int}"))
    async with events_of(app, "/inner/3") as stream_:
        assert (await stream_.next()).data == '[3,"/inner/3","/inner"]'


async def test_a_mount_on_the_way_of_a_request_for_events_gets_it() -> None:
    app = App()
    app.mount("/page", PlainTextResponse("page"))
    assert (await response_of(app, "/page")).body == b"page"


async def test_a_route_alone_is_an_application() -> None:
    async def stream(n: int) -> Generator:
        yield n

    route = SocketRoute("/{n:int}", Stream(stream))
    async with events_of(route, "/3") as answered:
        assert await answered.next() == Event("3", "1")
    for path, accept, status in [("/x", "text/event-stream", 404), ("/3", "*/*", 426)]:
        assert (await response_of(route, path, ("accept", accept))).status == status


@pytest.mark.parametrize("alone", [True, False])
async def test_without_the_library_they_are_asked_to_upgrade(
    alone: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "sse_starlette", None)

    async def stream() -> Generator:
        yield 1

    app = SocketRoute("/", Stream(stream)) if alone else stream_app(stream)
    assert (await response_of(app)).status == 426
    (said,) = caplog.messages
    assert "telex[sse]" in said


# What they look like


async def test_a_stream_is_a_response_of_events() -> None:
    stream = await response_of(of("a", {"b": 1}, StreamEvent("c", id="x", event="tick", retry=10)))
    assert stream.status == 200
    assert (b"content-type", b"text/event-stream; charset=utf-8") in stream.headers
    assert (b"cache-control", b"no-store") in stream.headers
    assert stream.complete
    assert stream.body.decode() == (
        "id: 1\ndata: a\n\n"
        'id: 2\ndata: {"b":1}\n\n'
        "id: x\nevent: tick\ndata: c\nretry: 10\n\n"
        'event: close\ndata: {"code":1000,"reason":""}\n\n'
    )


@pytest.mark.parametrize(
    ("item", "data"),
    [
        ("", ""),
        ("日本 🐍", "日本 🐍"),
        ("one\ntwo\n\nthree", "one\ntwo\n\nthree"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("data: x", "data: x"),
        ("id: 9\n\nevent: close", "id: 9\n\nevent: close"),
        (None, "null"),
        (b"text", "text"),
    ],
)
async def test_a_text_comes_as_it_is_but_for_its_kind_of_newlines(item: Any, data: str) -> None:
    stream = await response_of(of(item))
    assert [*parse(stream.body.decode())] == [Event(data, "1"), CLOSED]


async def test_newlines_in_an_id_or_a_type_do_no_harm() -> None:
    stream = await response_of(of(StreamEvent("x", id="a\n\nb", event="c\rdata: y")))
    assert [*parse(stream.body.decode())] == [Event("x", "ab", "cdata: y"), CLOSED]


@pytest.mark.parametrize(
    ("last", "first"),
    [
        ("7", "8"),
        ("0", "1"),
        ("007", "8"),
        ("9" * 15, "1" + "0" * 15),
        ("9" * 16, "1"),
        ("-7", "1"),
        ("7.5", "1"),
        ("x7", "1"),
        ("", "1"),
        ("٣", "1"),
    ],
)
async def test_counting_goes_on_where_the_client_was(last: str, first: str) -> None:
    async with events_of(of("item"), last_id=last) as stream:
        assert (await stream.next()).id == first


async def test_an_item_with_an_id_of_its_own_counts_too() -> None:
    async with events_of(of("a", StreamEvent("b", id="own"), "c")) as stream:
        assert [(await stream.next()).id for _ in range(3)] == ["1", "own", "3"]


async def test_the_stream_may_read_where_the_client_was() -> None:
    async def stream(last_event_id: Annotated[str, Header()]) -> Generator:
        yield last_event_id

    async with events_of(stream_app(stream), last_id="row-3") as answered:
        assert (await answered.next()).data == "row-3"


async def test_headers_given_at_accept_are_those_of_the_response() -> None:
    async def stream(ws: WebSocket) -> Generator:
        yield ws.accepted_subprotocol

    accepts = stream_app(stream, socket_middlewares=[accepting])
    answered = await response_of(accepts)
    assert (b"x-by", b"middleware") in answered.headers
    assert next(iter(parse(answered.body.decode()))).data == "null"


def accepting(endpoint: Endpoint) -> Endpoint:
    async def run() -> None:
        from telex.context import current

        await current.get().accept(headers={"x-by": "middleware"})
        await endpoint()

    return run


async def test_middlewares_of_the_route_go_around_events_too() -> None:
    kinds: list[str] = []

    class Noting:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def noted(message: Any) -> None:
                kinds.append(message["type"])
                await send(message)

            await self.app(scope, receive, noted)

    app = App()

    @app.websocket_stream("/", middleware=[Middleware(Noting)])
    async def stream() -> Generator:
        yield "item"

    await response_of(app)
    assert kinds == ["websocket.accept", "websocket.send", "websocket.close"]


# What the application decides


class Shouting(JSON):
    def encode(self, value: Any) -> str | bytes:
        return f"{super().encode(value)!r}!"


async def refused_with(ws: WebSocket, exc: Exception) -> None:
    await ws.reject(418, body=str(exc))


async def closed_with(ws: WebSocket, exc: Exception) -> None:
    await ws.close(4000, str(exc))


async def test_the_codec_of_the_application_makes_events() -> None:
    async def stream() -> Generator:
        yield [1]

    async with events_of(stream_app(stream, codec=Shouting())) as answered:
        assert (await answered.next()).data == "'[1]'!"


async def test_of_mounted_applications_the_innermost_decides() -> None:
    async def stream() -> Generator:
        yield [1]

    outer = App(codec=Shouting())
    outer.mount("/in", stream_app(stream))
    async with events_of(outer, "/in/") as answered:
        assert (await answered.next()).data == "[1]"


async def test_exception_handlers_of_the_application_answer_for_streams() -> None:
    async def stream() -> Generator:
        yield "item"
        raise LookupError("gone")

    app = stream_app(stream, exception_handlers={LookupError: closed_with})
    assert (await last_event(app)).data == '{"code":4000,"reason":"gone"}'


@pytest.mark.parametrize("where", ["dependency", "middleware"])
async def test_exception_handlers_of_the_application_refuse_for_streams(where: str) -> None:
    async def fail() -> None:
        raise LookupError("gone")

    def failing(app: ASGIApp) -> ASGIApp:
        async def fails(scope: Scope, receive: Receive, send: Send) -> None:
            await fail()

        return fails

    async def needing(_: Annotated[None, Depends(fail)]) -> Generator:
        yield "never"

    needing.__annotations__["_"] = Annotated[None, Depends(fail)]
    app = App(exception_handlers={LookupError: refused_with})
    entries: Any = [Middleware(failing)] if where == "middleware" else []
    app.websocket_stream("/", middleware=entries)(of_one if entries else needing)
    answered = await response_of(app)
    assert (answered.status, answered.body, answered.complete) == (418, b"gone", True)


async def of_one() -> Generator:
    yield "item"


async def real() -> str:
    return "real"


async def test_dependencies_of_streams_can_be_overridden_for_tests() -> None:
    async def stream(which: Annotated[str, Depends(real)]) -> Generator:
        yield which

    app = stream_app(stream)
    app.dependency_overrides[real] = lambda: "other"
    async with events_of(app) as answered:
        assert (await answered.next()).data == "other"


# Denials


async def test_what_cannot_be_filled_is_an_answer_of_422() -> None:
    async def stream(n: Annotated[int, Query()]) -> Generator:
        yield n

    answered = await response_of(stream_app(stream), "/?n=x")
    assert (answered.status, answered.complete) == (422, True)
    assert b'"name":"n"' in answered.body


async def raising() -> None:
    raise Reject(401, b"log in first", {"x-token": "expired"})


async def rejecting(ws: WebSocket) -> None:
    await ws.reject(409, body="taken")
    raise Reject(400)


async def closing(ws: WebSocket) -> None:
    await ws.close(4003)


async def crashing() -> None:
    raise RuntimeError("a secret")


@pytest.mark.parametrize(
    ("dependency", "status", "body"),
    [
        (raising, 401, b"log in first"),
        (rejecting, 409, b"taken"),
        (closing, 403, b""),
        (crashing, 500, b"Internal Server Error"),
    ],
)
async def test_who_refuses_before_the_stream_decides_on_the_answer(
    dependency: Callable[..., Any], status: int, body: bytes
) -> None:
    async def stream(_: Annotated[None, Depends(dependency)]) -> Generator:
        yield "never"

    stream.__annotations__["_"] = Annotated[None, Depends(dependency)]
    answered = await response_of(stream_app(stream))
    assert (answered.status, answered.body, answered.complete) == (status, body, True)


async def test_who_returns_without_the_stream_refuses_with_403() -> None:
    def silent(_: Endpoint) -> Endpoint:
        async def run() -> None: ...

        return run

    async def stream() -> Generator:
        yield "never"

    assert (await response_of(stream_app(stream, socket_middlewares=[silent]))).status == 403


async def test_a_middleware_that_waits_for_the_end_before_it_refuses_learns_of_it() -> None:
    ended = asyncio.Event()

    class Refusing:
        def __init__(self, app: ASGIApp) -> None: ...

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            over = asyncio.ensure_future(receive())
            await send({"type": "websocket.close"})
            assert (await soon(over))["type"] == "websocket.disconnect"
            ended.set()

    app = App()

    @app.websocket_stream("/", middleware=[Middleware(Refusing)])
    async def stream() -> Generator:
        yield "item"

    assert (await response_of(app)).status == 403
    assert ended.is_set()


# Ends


async def last_event(app: App) -> Event:
    answered = await response_of(app)
    assert answered.complete
    return [*parse(answered.body.decode())][-1]


async def test_a_stream_that_raises_tells_of_1011(caplog: pytest.LogCaptureFixture) -> None:
    async def stream() -> Generator:
        yield "item"
        raise RuntimeError("a secret")

    assert (await last_event(stream_app(stream))).data == '{"code":1011,"reason":""}'
    assert "RuntimeError: a secret" in caplog.text


async def test_bytes_that_are_no_text_are_the_streams_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert (await last_event(of("item", b"\xff"))).data == '{"code":1011,"reason":""}'
    assert "an event is text, and these bytes are no UTF-8" in caplog.text


async def test_a_stream_may_close_with_its_own_code() -> None:
    async def stream(ws: WebSocket) -> Generator:
        yield "item"
        await ws.close(4001, "Grüße")
        yield "too late"

    end = await last_event(stream_app(stream))
    assert end == Event('{"code":4001,"reason":"Grüße"}', event="close")


@pytest.mark.parametrize("code", [1001, 1012, 1013])
async def test_who_is_to_come_back_is_not_told_that_it_is_over(code: int) -> None:
    async def stream(ws: WebSocket) -> Generator:
        yield "item"
        await ws.close(code)

    assert await last_event(stream_app(stream)) == Event("item", "1")


async def test_a_client_that_leaves_ends_the_stream_at_once() -> None:
    lives = Lives()
    async with events_of(waiting(lives)) as stream:
        assert await stream.next() == Event("first", "1")
        stream.leave()
        await until(lambda: lives.ended)
    assert open_generators() == 0


@pytest.mark.parametrize("turns_before", range(0, 40, 3))
async def test_it_may_leave_at_any_time(turns_before: int) -> None:
    lives = Lives()
    async with events_of(pouring(lives)) as stream:
        await turns(turns_before)
        stream.leave()
        await stream.rest()
    assert lives.open == 0


async def test_a_server_that_takes_no_more_ends_the_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    lives = Lives()
    async with events_of(pouring(lives)) as stream:
        await stream.next()
        stream.fail_sends_with = ConnectionResetError("gone")
        await stream.rest()
    assert lives.ended == 1
    assert "a stream of events broke off: ConnectionResetError('gone')" in caplog.text


async def test_a_client_that_does_not_read_stops_the_generator() -> None:
    lives = Lives()
    async with events_of(pouring(lives)) as stream:
        await stream.next()
        stream.pause()
        await turns(50)
        stopped = lives.yielded
        await turns(200)
        assert lives.yielded == stopped
        stream.go_on()
        for _ in range(100):
            await stream.next()
        assert lives.yielded > stopped
        stream.leave()
        await stream.rest()
    assert lives.open == 0


async def test_a_client_that_leaves_while_it_does_not_read_ends_the_stream() -> None:
    lives = Lives()
    async with events_of(pouring(lives)) as stream:
        await stream.next()
        stream.pause()
        await turns(50)
        stream.leave()
        await stream.rest()
    assert lives.ended == 1


async def test_several_senders_that_wait_for_room_all_learn_of_the_end() -> None:
    ends: list[str] = []

    async def say(ws: WebSocket) -> None:
        try:
            for _ in range(100):
                await ws.asgi_send({"type": "websocket.send", "text": "said"})
        except OSError as exc:
            ends.append(type(exc).__name__)

    senders: list[asyncio.Task[None]] = []

    async def stream(ws: WebSocket) -> Generator:
        yield "item"
        senders.extend(asyncio.ensure_future(say(ws)) for _ in range(5))
        await asyncio.Event().wait()

    async with events_of(stream_app(stream)) as answered:
        await answered.next()
        answered.pause()
        await turns()
        answered.leave()
        await answered.rest()
    await soon(asyncio.gather(*senders))
    assert ends == ["ClientDisconnected"] * 5


# The server stops


@pytest.mark.parametrize("app", [waiting, pouring])
@pytest.mark.parametrize("turns_before", range(0, 30, 3))
async def test_a_cancellation_may_come_at_any_time(
    app: Callable[[Lives], App], turns_before: int
) -> None:
    lives = Lives()
    async with events_of(app(lives)) as stream:
        await turns(turns_before)
        stream.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stream.rest()
    assert lives.open == 0
    assert stream.body.count(b"event: close") == 0


@pytest.mark.parametrize("app", [waiting, pouring])
async def test_a_cancellation_does_not_wait_for_a_client_that_does_not_read(
    app: Callable[[Lives], App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telex.lifecycle.GOODBYE_TIMEOUT", 0.05)
    lives = Lives()
    async with events_of(app(lives)) as stream:
        await stream.next()
        stream.pause()
        await turns(50)
        stream.task.cancel()
        await turns(50)
        stream.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stream.rest()
    assert lives.open == 0


async def test_an_end_that_nobody_reads_is_cut_off_when_the_server_stops() -> None:
    lives = Lives()

    async def stream() -> Generator:
        async with lives.one():
            yield "item"

    async with events_of(stream_app(stream)) as answered:
        answered.pause()
        await until(lambda: lives.ended)
        await turns(50)
        assert not answered.task.done()
        answered.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answered.rest()


async def test_the_librarys_own_end_of_the_server_ends_the_response_in_good_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sse_starlette = pytest.importorskip("sse_starlette.sse")
    lives = Lives()
    async with events_of(waiting(lives)) as stream:
        await stream.next()
        for event in sse_starlette._get_shutdown_state().events:
            event.set()
        assert await stream.rest() == []
        assert stream.complete
    assert lives.ended == 1


async def test_the_last_word_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_events, "_LAST_WORD_TIMEOUT", 0.01)
    sse_starlette = pytest.importorskip("sse_starlette.sse")
    async with events_of(waiting(Lives())) as stream:
        await stream.next()
        stream.pause()
        for event in sse_starlette._get_shutdown_state().events:
            event.set()
        await stream.rest()
    assert not stream.complete


# Many


async def visit(app: App, chance: random.Random) -> None:
    async with events_of(app) as stream:
        for _ in range(chance.randrange(3)):
            await stream.next()
        if chance.random() < 0.3:
            stream.pause()
        await turns(chance.randrange(20))
        match chance.randrange(3):
            case 0:
                stream.task.cancel()
            case 1:
                stream.fail_sends_with = ConnectionResetError("gone")
                stream.go_on()


async def test_a_thousand_clients_that_leave_at_random_leave_nothing_behind() -> None:
    lives, chance, tasks = Lives(), random.Random(7), asyncio.all_tasks()
    app = pouring(lives)
    for _ in range(10):
        await asyncio.gather(*[visit(app, chance) for _ in range(100)])
    assert lives.begun > 800
    assert lives.open == 0
    assert open_generators() == 0
    end_watchers()
    await turns()
    assert asyncio.all_tasks() == tasks


async def test_what_a_client_asks_for_is_known_by_its_header() -> None:
    assert ACCEPT[1].encode() == _events.EVENT_STREAM


async def test_a_server_that_is_gone_at_the_first_word_breaks_nothing() -> None:
    scope = http_scope("/", [ACCEPT])

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise OSError("gone")

    lives = Lives()
    await soon(waiting(lives)(scope, receive, send))
    assert lives.ended == lives.begun
