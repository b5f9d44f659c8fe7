"""Exceptions become a denial before accept and a close after it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket

from clients import Overheard, connected, ending, rejection
from peer import Peer, make_scope, serve
from telex import (
    App,
    CloseCode,
    Mount,
    Reject,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    WebSocketExpectError,
)
from telex._settings import DEFAULTS, Settings
from telex._types import ASGIApp, Receive, Scope, Send
from telex.middleware.errors import ErrorMiddleware, answer, find_handler
from telex.testing import ConnectionRejected
from telex.websockets import link_of

SECRET = "the password is 1234"


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[type[BaseException] | None]:
    """The classes of the exceptions that were logged with a traceback."""
    return [record.exc_info[0] for record in caplog.records if record.exc_info]


def raising(exc: BaseException, *, accept: bool, **options: Any) -> App:
    """Return an application whose handler raises."""
    app = App(**options)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        if accept:
            await ws.accept()
        raise exc

    return app


async def denied(app: ASGIApp, url: str = "/") -> tuple[int, dict[str, str], bytes]:
    """Connect, be denied with a response and nothing else; return status, headers and body."""
    app = Overheard(app)
    refused = await rejection(app, url, lifespan=False, raise_app_exceptions=False)
    start, *bodies = app.types
    assert (start, {*bodies}) == ("http.response.start", {"http.response.body"})
    return refused.status, dict(refused.headers), refused.body


async def closed(app: ASGIApp) -> tuple[int, str]:
    """Connect, be accepted and closed and nothing else; return code and reason."""
    app = Overheard(app)
    end = await ending(app, lifespan=False, raise_app_exceptions=False)
    assert app.types == ["accept", "close"]
    return end


# Registered handlers


@pytest.mark.row("C53")
async def test_a_handler_may_answer_with_a_response_before_accept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def on_lookup(ws: WebSocket, exc: LookupError) -> Response:
        return JSONResponse({"missing": str(exc)}, 404, {"x-why": "gone"})

    app = raising(LookupError("it"), accept=False, exception_handlers={LookupError: on_lookup})
    status, headers, body = await denied(app)
    assert (status, headers["x-why"], body) == (404, "gone", b'{"missing":"it"}')
    assert tracebacks(caplog) == []


@pytest.mark.row("T38")
async def test_the_response_of_a_handler_is_a_plain_close_without_the_extension() -> None:
    app = raising(LookupError(), accept=False)
    app.add_exception_handler(LookupError, lambda ws, exc: Response("no", 404))
    refused = await rejection(app, raise_app_exceptions=False, scope={"extensions": {}})
    assert (refused.status, refused.body, refused.code, refused.reason) == (403, b"", 1008, "")


async def test_a_streaming_response_is_sent_to_its_end() -> None:
    async def parts() -> Any:
        yield b"one "
        yield b"two"

    app = raising(LookupError(), accept=False)
    app.add_exception_handler(LookupError, lambda ws, exc: StreamingResponse(parts(), 400))
    assert await denied(app) == (400, {}, b"one two")


async def test_a_handler_may_close_after_accept(caplog: pytest.LogCaptureFixture) -> None:
    async def on_lookup(ws: WebSocket, exc: LookupError) -> None:
        await ws.send_json({"error": str(exc)})
        await ws.close(4404, "missing")

    app = raising(LookupError("it"), accept=True, exception_handlers={LookupError: on_lookup})
    async with connected(app) as ws:
        assert await ws.receive_text() == '{"error":"it"}'
        assert (await ws.expect_close(4404)).reason == "missing"
    assert tracebacks(caplog) == []


@pytest.mark.parametrize("accept", [True, False])
async def test_a_handler_that_does_nothing_leaves_the_usual_end(accept: bool) -> None:
    app = raising(LookupError("it"), accept=accept)
    app.add_exception_handler(LookupError, lambda ws, exc: None)
    if accept:
        assert await closed(app) == (1011, "")
    else:
        status, _, body = await denied(app)
        assert (status, body) == (500, b"")


async def test_a_response_after_accept_is_a_close() -> None:
    app = raising(LookupError("it"), accept=True)
    app.add_exception_handler(LookupError, lambda ws, exc: Response("too late", 404))
    assert await closed(app) == (1011, "")


async def test_the_nearest_class_decides() -> None:
    app = raising(KeyError(), accept=True)
    app.add_exception_handler(Exception, lambda ws, exc: ws.close(4001))
    app.add_exception_handler(LookupError, lambda ws, exc: ws.close(4002))
    app.add_exception_handler(IndexError, lambda ws, exc: ws.close(4003))
    assert await closed(app) == (4002, "")
    app.add_exception_handler(KeyError, lambda ws, exc: ws.close(4004))
    assert await closed(app) == (4004, "")


async def test_the_decorator_registers_for_subclasses_and_returns_the_function() -> None:
    app = raising(KeyError("it"), accept=True)

    @app.exception_handler(LookupError)
    async def on_lookup(ws: WebSocket, exc: LookupError) -> None:
        await ws.close(4004, repr(exc))

    assert asyncio.iscoroutinefunction(on_lookup)
    assert await closed(app) == (4004, "KeyError('it')")


@pytest.mark.row("T45")
async def test_what_a_handler_raises_is_answered_with_both_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(ws: WebSocket, exc: LookupError) -> None:
        raise TypeError("in the handler")

    app = raising(LookupError(SECRET), accept=True, exception_handlers={LookupError: broken})
    assert await closed(app) == (1011, "")
    assert tracebacks(caplog) == [TypeError]
    error = caplog.records[0].exc_info
    assert error is not None
    assert error[1] is not None
    assert isinstance(error[1].__context__, LookupError)


async def test_a_handler_may_translate_into_an_ending(caplog: pytest.LogCaptureFixture) -> None:
    def translate(ws: WebSocket, exc: PermissionError) -> None:
        raise Reject(401, "log in first")

    app = raising(PermissionError(SECRET), accept=False)
    app.add_exception_handler(PermissionError, translate)
    status, _, body = await denied(app)
    assert (status, body) == (401, b"log in first")
    assert tracebacks(caplog) == []


async def test_a_handler_that_raises_what_it_was_given_leaves_it_to_us(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def not_mine(ws: WebSocket, exc: Exception) -> None:
        raise exc

    app = raising(WebSocketException(4005, "x"), accept=True)
    app.add_exception_handler(WebSocketException, not_mine)
    assert await closed(app) == (4005, "x")
    app = raising(ValueError(SECRET), accept=True)
    app.add_exception_handler(ValueError, not_mine)
    assert await closed(app) == (1011, "")
    assert tracebacks(caplog) == [ValueError]


@pytest.mark.row("T50", "C57")
async def test_a_handler_for_every_error_gets_no_endings() -> None:
    got: list[Exception] = []

    async def on_error(ws: WebSocket, exc: Exception) -> None:
        got.append(exc)

    async def leaves(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    app = App(exception_handlers={Exception: on_error})
    app.websocket("/")(leaves)
    async with connected(app) as ws:
        await ws.close(1001)
    endings = (WebSocketException(4000), Reject(401), HTTPException(401), WebSocketDisconnect())
    for exc in endings:
        await rejection(raising(exc, accept=False, exception_handlers={Exception: on_error}))
    assert got == []
    expected = WebSocketExpectError("not this")
    await closed(raising(expected, accept=True, exception_handlers={Exception: on_error}))
    assert got == [expected]


async def test_an_ending_with_a_handler_of_its_own_is_handled() -> None:
    app = raising(Reject(401), accept=False)
    app.add_exception_handler(Reject, lambda ws, exc: Response("handled", exc.status))
    status, _, body = await denied(app)
    assert (status, body) == (401, b"handled")


async def test_a_handler_is_found_for_what_a_group_holds() -> None:
    group = ExceptionGroup("tasks", [WebSocketDisconnect(), ExceptionGroup("", [KeyError()])])
    app = raising(group, accept=True)
    app.add_exception_handler(KeyError, lambda ws, exc: ws.close(4004, type(exc).__name__))
    assert await closed(app) == (4004, "KeyError")


async def test_a_handler_for_groups_gets_those_with_several() -> None:
    app = raising(ExceptionGroup("tasks", [KeyError(), ValueError()]), accept=True)
    app.add_exception_handler(ExceptionGroup, lambda ws, exc: ws.close(4000, exc.message))
    assert await closed(app) == (4000, "tasks")


async def test_a_handler_runs_although_the_client_has_left() -> None:
    got: list[int | None] = []
    app = App()
    app.add_exception_handler(ValueError, lambda ws, exc: got.append(ws.close_code))

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()
        raise ValueError

    overheard = Overheard(app)
    async with connected(overheard) as ws:
        await ws.close(1001)
    assert got == [1001]
    assert overheard.types == ["accept"]


def test_without_a_handler_for_it_none_is_found() -> None:
    settings = Settings(exception_handlers={LookupError: print})
    assert find_handler(KeyError(), settings) is print
    assert find_handler(ValueError(), settings) is None
    assert find_handler(KeyError(), DEFAULTS) is None


@pytest.mark.parametrize("junk", [404, "ValueError", ValueError(), int, asyncio.CancelledError])
def test_only_classes_of_errors_can_be_registered(junk: Any) -> None:
    with pytest.raises(TypeError, match="derived from Exception"):
        App().add_exception_handler(junk, print)


def test_only_what_can_be_called_can_be_registered() -> None:
    handler: Any = "print"
    with pytest.raises(TypeError, match="callable"):
        App(exception_handlers={ValueError: handler})


# Endings by exception


@pytest.mark.row("T37")
async def test_a_rejection_has_status_body_and_headers() -> None:
    exc = Reject(429, "slow down", {"retry-after": "5", "content-type": "text/x-why"})
    status, headers, body = await denied(raising(exc, accept=False))
    assert (status, body) == (429, b"slow down")
    assert headers == {"retry-after": "5", "content-type": "text/x-why", "content-length": "9"}


async def test_an_http_error_has_its_detail_and_headers() -> None:
    exc = HTTPException(401, "log in", {"www-authenticate": "Bearer"})
    status, headers, body = await denied(raising(exc, accept=False))
    assert (status, body, headers["www-authenticate"]) == (401, b"log in", "Bearer")
    assert await closed(raising(exc, accept=True)) == (1008, "log in")


async def test_an_http_error_of_fastapi_may_have_any_detail() -> None:
    from fastapi import HTTPException as FastAPIException

    exc = FastAPIException(422, [{"field": "é"}])
    status, headers, body = await denied(raising(exc, accept=False))
    assert (status, headers["content-type"]) == (422, "application/json")
    assert body == '{"detail":[{"field":"é"}]}'.encode()
    assert await closed(raising(exc, accept=True)) == (1008, "")


@pytest.mark.parametrize(
    "exc",
    [
        Reject(99),
        Reject(200),
        Reject(404, {"no": "text"}),  # type: ignore[arg-type]
        Reject(404, "", {"x": "a\r\nb: c"}),
        HTTPException(204),
    ],
    ids=repr,
)
async def test_an_ending_that_makes_no_sense_is_an_error(
    exc: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    status, _, body = await denied(raising(exc, accept=False))
    assert (status, body) == (500, b"Internal Server Error")
    assert len(tracebacks(caplog)) == 1


@pytest.mark.row("GX4", "LX8")
@pytest.mark.parametrize("code", [1005, 1006, 1015, 999, 5000])
async def test_a_code_that_may_not_be_sent_is_an_error(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    exc = WebSocketException(code, SECRET)
    assert await closed(raising(exc, accept=True)) == (1011, "")
    assert tracebacks(caplog) == [WebSocketException]


@pytest.mark.row("GX4")
def test_the_exceptions_have_the_defaults_of_their_documents() -> None:
    assert (WebSocketDisconnect().code, WebSocketDisconnect().reason) == (1000, "")
    assert (WebSocketException().code, WebSocketException().reason) == (1000, "")


@pytest.mark.row("C30")
async def test_an_expectation_that_is_not_met_says_nothing_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")
    assert await closed(raising(WebSocketExpectError(SECRET), accept=True)) == (1008, "")
    assert tracebacks(caplog) == []
    assert f"'/': {SECRET!r}" in caplog.messages


@pytest.mark.row("T43")
async def test_debug_mode_survives_texts_that_cannot_be_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "telex")  # a surrogate cannot be logged to a file either

    class Odd(Exception):
        def __repr__(self) -> str:
            raise AssertionError("never ask for it")

    for exc in (Odd("\ud800" * 200), ValueError("é" * 300), ValueError("\n\n")):
        code, reason = await closed(raising(exc, accept=True, debug=True))
        assert code == 1011
        assert 0 < len(reason.encode()) <= 123
        status, _, body = await denied(raising(exc, accept=False, debug=True))
        assert status == 500
        assert b"Traceback" in body


@pytest.mark.row("T50", "C57")
async def test_a_client_that_leaves_is_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telex")

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    app = App()
    app.websocket("/")(handler)
    async with connected(app) as ws:
        await ws.close(1001)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "closed by the client with 1001" in caplog.messages[0]


async def test_answering_twice_sends_once() -> None:
    peer = Peer()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    await answer(ws, WebSocketException(4000), DEFAULTS)
    await answer(ws, ValueError(), DEFAULTS)
    assert peer.closes == [(4000, "")]


# Other middleware


class Around:
    """An ASGI middleware that wraps `send` and raises around what it wraps."""

    def __init__(self, app: ASGIApp, *, before: bool = False, exc: Exception) -> None:
        self.app = app
        self.before = before
        self.exc = exc
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def wrapped(message: Any) -> None:
            self.seen.append(message["type"])
            await send(message)

        if not self.before:
            await self.app(scope, receive, wrapped)
        raise self.exc


def behind(handler: Any, **options: Any) -> App:
    app = App(middleware=[Middleware(Around, **options)])
    app.websocket("/")(handler)
    return app


async def accepts(ws: WebSocket) -> None:
    await ws.accept()


async def accepts_and_closes(ws: WebSocket) -> None:
    await ws.accept()
    await ws.close(4001)


async def rejects(ws: WebSocket) -> None:
    await ws.reject(404)


@pytest.mark.row("C53", "T42")
async def test_a_middleware_that_raises_before_the_handler_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = behind(accepts, before=True, exc=ValueError(SECRET))
    status, _, body = await denied(app)
    assert (status, body) == (500, b"Internal Server Error")
    assert tracebacks(caplog) == [ValueError]
    status, _, body = await denied(behind(accepts, before=True, exc=Reject(401, "who?")))
    assert (status, body) == (401, b"who?")


@pytest.mark.row("C53", "T42")
@pytest.mark.parametrize(
    ("handler", "sent"),
    [
        (accepts, ["accept", "close"]),
        (accepts_and_closes, ["accept", "close"]),
        (rejects, ["http.response.start", "http.response.body"]),
    ],
)
async def test_a_middleware_that_raises_after_the_end_changes_nothing(
    handler: Any, sent: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "telex")
    app = Overheard(behind(handler, exc=ValueError(SECRET)))
    with suppress(ConnectionRejected):
        await ending(app, lifespan=False, raise_app_exceptions=False)
    assert app.types == sent
    assert tracebacks(caplog) == [ValueError]
    assert len([r for r in caplog.records if r.name == "telex.connection"]) == 1


@pytest.mark.row("C53", "T42")
async def test_a_middleware_that_raises_while_the_connection_is_open_closes_it() -> None:
    class Raising:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def wrapped(message: Any) -> None:
                await send(message)

            ws = WebSocket(scope, receive, wrapped)
            await ws.accept()
            raise ValueError(SECRET)

    app = App(middleware=[Middleware(Raising)])
    assert await closed(app) == (1011, "")


async def test_a_middleware_whose_send_refuses_is_an_error_like_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Refusing:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def wrapped(message: Any) -> None:
                if message["type"] == "websocket.send":
                    raise ValueError("too long")
                await send(message)

            await self.app(scope, receive, wrapped)

    app = App(middleware=[Middleware(Refusing)])

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            await ws.send_text("hello")

    assert await closed(app) == (1011, "")
    assert tracebacks(caplog) == [ValueError]


@pytest.mark.row("C60")
async def test_errors_pass_a_middleware_inside_out() -> None:
    """An exception of the handler is answered at the handler: middleware does not see it."""
    seen: list[str] = []

    class Watching:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def wrapped(message: Any) -> None:
                seen.append(message["type"])
                await send(message)

            await self.app(scope, receive, wrapped)
            seen.append("returned")

    app = raising(ValueError(), accept=True, middleware=[Middleware(Watching)])
    assert await closed(app) == (1011, "")
    assert seen == ["websocket.accept", "websocket.close", "returned"]


async def test_neither_receive_nor_send_is_wrapped() -> None:
    got: list[Any] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        got.extend((receive, send))
        ws = WebSocket(scope, receive, send)
        assert link_of(ws).asgi == (receive, send)
        await ws.close()

    peer = Peer()
    receive, send = peer.receive, peer.send
    await ErrorMiddleware(inner)(make_scope(), receive, send)
    await App(middleware=[Middleware(lambda app: inner)])(make_scope(), receive, send)
    assert got == [receive, send, receive, send]


@pytest.mark.parametrize("kind", ["http", "lifespan"])
async def test_other_scopes_go_through_untouched(kind: str) -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError(kind)

    peer = Peer()
    with pytest.raises(ValueError, match=kind):
        await ErrorMiddleware(inner)({"type": kind}, peer.receive, peer.send)
    assert peer.sent == []


# Mounted applications of others


def mounting(endpoint: Any) -> App:
    """Return an application with one of Starlette in it, whose route is `/in/x`."""
    return App([Mount("/in", Starlette(routes=[WebSocketRoute("/x", endpoint)]))])


@pytest.mark.row("T42", "C53")
async def test_a_mounted_application_that_fails_after_its_accept_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")

    async def endpoint(websocket: StarletteWebSocket) -> None:
        await websocket.accept()
        raise ValueError(SECRET)

    # The denial that is tried first is refused: Telex has not seen the accept.
    app = mounting(endpoint)
    assert await ending(app, "/in/x", raise_app_exceptions=False) == (1011, "")
    assert tracebacks(caplog) == [ValueError]
    assert "closed by the server with 1011" in caplog.messages[-1]


async def test_a_mounted_application_that_fails_before_its_accept_is_denied() -> None:
    async def endpoint(websocket: StarletteWebSocket) -> None:
        raise ValueError(SECRET)

    status, _, _ = await denied(mounting(endpoint), "/in/x")
    assert status == 500


@pytest.mark.row("C57", "T50")
async def test_the_client_of_a_mounted_application_may_leave(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")

    async def endpoint(websocket: StarletteWebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_text(await websocket.receive_text())

    overheard = Overheard(mounting(endpoint))
    async with connected(overheard, "/in/x") as ws:
        await ws.send_text("a")
        assert await ws.receive_text() == "a"
        await ws.close(1001, "bye")
    assert overheard.types == ["accept", "send"]
    assert tracebacks(caplog) == []
    [line] = caplog.messages
    assert "closed by the client with 1001" in line


class Strict(Peer):
    """A server that takes nothing after the end, like uvicorn."""

    async def send(self, message: Any) -> None:
        if "close" in self.types:
            raise RuntimeError(f"unexpected {message['type']}")
        await super().send(message)


async def test_what_the_server_refuses_altogether_goes_on_to_it() -> None:
    async def endpoint(websocket: StarletteWebSocket) -> None:
        await websocket.accept()
        await websocket.close(4000)
        raise ValueError(SECRET)

    with pytest.raises(RuntimeError, match=r"unexpected websocket\.close") as caught:
        await Strict().run(mounting(endpoint), make_scope("/in/x"))
    chain = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(type(error))
        error = error.__context__
    assert chain[-1] is ValueError


async def test_every_close_code_of_an_exception_is_a_plain_number() -> None:
    exc = WebSocketException(CloseCode.FORBIDDEN, "no")
    peer = await serve(raising(exc, accept=True))
    assert type(peer.sent[-1]["code"]) is int
