"""The protocol as uvicorn sees it: what it is made with, what it notes, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import weakref
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

import telex.server
from server.serving_one import DEFLATE, PEERS, Served, accepts, noted, waits
from server.transports import (
    ACCEPT,
    CLOSE,
    FIN,
    PING,
    PONG,
    RSV1,
    TEXT,
    FakeTransport,
    closing,
    frame,
    frames_in,
    head,
    in_no_time,
    turns,
)
from telex.exceptions import MissingDependency
from telex.server.protocol import Settings, WebSocketProtocol

# --- the name by which it is found ---


def test_the_room_has_it_under_its_name_and_nothing_else() -> None:
    assert telex.server.WebSocketProtocol is WebSocketProtocol
    assert telex.server.__all__ == ["Server", "WebSocketProtocol"]
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = telex.server.Nonsense


@pytest.mark.parametrize("missing", ["picows", "websockets"])
def test_without_its_libraries_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is imported anew must not be found by later tests, in no place.
    for name, value in vars(telex.server).items():
        if isinstance(value, ModuleType):
            monkeypatch.setattr(telex.server, name, value)
    for name in [name for name in sys.modules if name.startswith(("telex.server.", missing))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingDependency, match="standard") as caught:
        _ = telex.server.WebSocketProtocol
    assert missing in str(caught.value)


def test_uvicorn_loads_it_by_its_name() -> None:
    config = uvicorn.Config(accepts, ws="telex.server:WebSocketProtocol", log_config=None)
    config.load()
    assert config.ws_protocol_class is WebSocketProtocol


# --- what it is made with ---


@in_no_time
async def test_the_settings_are_those_of_uvicorn() -> None:
    config = uvicorn.Config(
        accepts,
        log_config=None,
        interface="asgi3",
        ws_max_size=1,
        ws_max_queue=2,
        ws_ping_interval=3.0,
        ws_ping_timeout=4.0,
        ws_per_message_deflate=False,
        limit_concurrency=5,
        root_path="/mounted",
    )
    settings = Settings.of(config)
    assert config.loaded
    assert settings.app is config.loaded_app
    assert settings.asgi == {"version": "3.0", "spec_version": "2.4"}
    assert settings.root_path == "/mounted"
    assert (settings.bounds.max_size, settings.bounds.max_messages) == (1, 2)
    assert not settings.compress
    assert settings.ping == (3.0, 4.0)
    assert settings.limit == 5
    assert not settings.own_context
    assert Settings.of(config) is settings


@pytest.mark.parametrize("queue", [0, None])
def test_a_queue_without_places_has_one(queue: Any) -> None:
    config = uvicorn.Config(accepts, log_config=None, ws_max_queue=queue)
    assert Settings.of(config).bounds.max_messages == 1


def test_settings_go_with_their_configuration() -> None:
    config = uvicorn.Config(accepts, log_config=None)
    settings = weakref.ref(config)
    Settings.of(config)
    del config
    gc.collect()
    assert settings() is None


@in_no_time
async def test_it_takes_the_loop_that_it_is_given() -> None:
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(accepts, log_config=None)
    protocol = WebSocketProtocol(config, ServerState(), {}, _loop=loop)
    assert protocol._loop is loop


# --- the scope ---


async def scope_of(served: Served, scopes: list[Any], *lines: bytes, **options: Any) -> Any:
    served.ask(*lines, **options)
    await served.answer()
    return scopes[0]


@pytest.mark.parametrize("root_path", ["", "/mounted"])
@pytest.mark.parametrize("secure", [False, True])
@in_no_time
async def test_the_scope(root_path: str, secure: bool) -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    extra = {"sslcontext": object()} if secure else {}
    served = Served(app, root_path=root_path, transport=FakeTransport(extra=PEERS | extra))
    lines = b"Sec-WebSocket-Protocol: a, b", b"X-A: 1"
    scope = await scope_of(served, scopes, *lines, target=b"/p%20q?r=%20s")
    headers, extensions = scope.pop("headers"), scope.pop("extensions")
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if secure else "ws",
        "server": ("127.0.0.1", 8000),
        "client": ("192.0.2.1", 50_000),
        "root_path": root_path,
        "path": root_path + "/p q",
        "raw_path": root_path.encode() + b"/p%20q",
        "query_string": b"r=%20s",
        "subprotocols": ["a", "b"],
        "state": {"of": "lifespan"},
    }
    assert scope["state"] is not served.lifespan
    assert headers[-1] == (b"x-a", b"1")
    assert {*extensions} == {"websocket.http.response", "telex.frames"}


@pytest.mark.parametrize(
    ("sockname", "peername", "server", "client"),
    [
        (("::1", 8000, 0, 0), ("::1", 5, 0, 0), ("::1", 8000), ("::1", 5)),
        ("/run/telex.sock", "", ("/run/telex.sock", None), None),
        (None, None, None, None),
    ],
)
@in_no_time
async def test_addresses_of_other_families(
    sockname: Any, peername: Any, server: Any, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await accepts(scope, receive, send)

    served = Served(
        app, transport=FakeTransport(extra={"sockname": sockname, "peername": peername})
    )
    with caplog.at_level(logging.INFO, "uvicorn.error"):
        scope = await scope_of(served, scopes)
    assert (scope["server"], scope["client"]) == (server, client)
    peer = "::1:5" if client else ""
    assert noted(caplog) == [("INFO", f'{peer} - "WebSocket /" [accepted]')]
    served.transport.lose(None)
    await turns()


@in_no_time
async def test_the_callables_of_the_channel_are_those_of_the_application() -> None:
    seen: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        channel = scope["extensions"]["telex.frames"]
        seen.append(channel.asgi_receive is receive and channel.asgi_send is send)

    Served(app).ask()
    await turns()
    assert seen == [True]


# --- the handshake ---


@pytest.mark.parametrize("size", [1, 7, 10_000])
@in_no_time
async def test_the_head_may_come_in_pieces(size: int) -> None:
    served = Served(accepts)
    data = head() + b"\r\n" + frame(PING, b"early")
    for start in range(0, len(data), size):
        served.transport.feed(data[start : start + size])
    answer = await served.answer()
    assert answer == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\nserver: uvicorn\r\n\r\n"
    ) + frame(PONG, b"early", mask=None)
    served.transport.lose(None)
    await turns()


@in_no_time
async def test_the_application_starts_a_turn_later_and_gets_what_came_before_its_answer() -> None:
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await turns(3)
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1")]})
        got.extend([await receive(), await receive()])

    served = Served(app)
    served.ask(b"Sec-WebSocket-Protocol: a, b", early=frame(TEXT, b"a"))
    assert served.state.tasks == set()
    await turns(2)
    assert len(served.state.tasks) == 1
    served.transport.feed(frame(TEXT, b"b"))
    answer = await served.answer()
    assert b"\r\nSec-WebSocket-Protocol: b\r\n" in answer
    assert b"\r\nx-a: 1\r\n" in answer
    assert [event["text"] for event in got] == ["a", "b"]
    assert answer.endswith(frame(CLOSE, closing(1000), mask=None))
    served.transport.lose(None)


@pytest.mark.parametrize("amount", [0, 1])
@in_no_time
async def test_not_much_is_kept_of_what_comes_before_the_answer(amount: int) -> None:
    served = Served(waits)
    served.ask()
    served.transport.feed(bytes(64 * 1024 + amount))
    assert served.transport.paused == bool(amount)
    served.transport.lose(None)
    await turns()


@pytest.mark.parametrize("whole", [False, True])
@in_no_time
async def test_a_head_that_is_too_long_is_refused(whole: bool) -> None:
    served = Served(accepts)
    data = head(b"X: " + b"x" * 70_000) + (b"\r\n" if whole else b"")
    if whole:
        served.transport.feed(data)
    else:
        for start in range(0, len(data), 1000):
            served.transport.feed(data[start : start + 1000])
    answer = await served.answer()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"\r\nserver: uvicorn\r\n" in answer
    assert served.transport.closing
    assert served.state.tasks == set()


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"Content-Length: 1", 400), (DEFLATE + b";;", 400), (b"Sec-WebSocket-Version: 1", 426)],
)
@in_no_time
async def test_a_request_that_is_no_handshake_is_refused(
    line: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    served = Served(accepts)
    with caplog.at_level(logging.INFO, "uvicorn.error"):
        served.ask(line)
        answer = await served.answer()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    headers, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\ncontent-length: %d\r\n" % len(body) in headers
    assert headers.endswith(b"\r\nConnection: close")
    assert served.transport.gone
    assert served.state.connections == served.state.tasks == set()
    ((level, text),) = noted(caplog)
    assert (level, text) == ("WARNING", f"Invalid WebSocket handshake: {body.decode()}")
    served.protocol.shutdown()


@pytest.mark.parametrize("wanted", [False, True])
@in_no_time
async def test_compression_is_agreed_on_where_it_is_wanted(wanted: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "x" * 1000})

    served = Served(app, ws_per_message_deflate=wanted)
    served.ask(DEFLATE)
    answer, _, rest = (await served.answer()).partition(b"\r\n\r\n")
    assert (b"Sec-WebSocket-Extensions: permessage-deflate" in answer) == wanted
    assert frames_in(rest)[0][0] == FIN | TEXT | (RSV1 if wanted else 0)
    served.transport.lose(None)


@pytest.mark.parametrize("what", ["connections", "tasks"])
@in_no_time
async def test_over_the_limit_it_is_unavailable(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    for others, taken in ((1, False), (2, True)):
        served = Served(accepts, limit_concurrency=3 if what == "connections" else 2)
        getattr(served.state, what).update(range(others))
        with caplog.at_level(logging.INFO, "uvicorn.error"):
            served.ask()
            answer = await served.answer()
        assert answer.startswith(b"HTTP/1.1 503 " if taken else b"HTTP/1.1 101 ")
        served.transport.lose(None)
        await turns()
    assert [each for each in noted(caplog) if each[0] != "INFO"] == [
        ("WARNING", "Exceeded concurrency limit.")
    ]


@in_no_time
async def test_a_client_that_has_left_before_the_application_starts_is_not_served() -> None:
    served = Served(accepts)
    served.ask()
    served.protocol.connection_lost(None)
    await turns()
    assert served.transport.written == b""
    assert served.state.tasks == served.state.connections == set()


# --- what the server shares ---


@in_no_time
async def test_connections_and_tasks_are_noted_as_long_as_they_are_there() -> None:
    served = Served(accepts)
    assert served.state.connections == {served.protocol}
    await served.opened()
    assert len(served.state.tasks) == 1
    served.transport.feed(frame(CLOSE, closing(1000)))
    await turns()
    # The application has ended; the descriptor is there as long as the client has not hung up.
    assert served.state.tasks == set()
    assert served.state.connections == {served.protocol}
    served.transport.feed_eof()
    await turns()
    assert served.state.connections == set()


@in_no_time
async def test_a_connection_that_is_gone_is_forgotten_while_its_application_goes_on() -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await go.wait()

    served = Served(app)
    await served.opened()
    served.transport.lose(ConnectionResetError())
    await turns()
    assert served.state.connections == set()
    assert len(served.state.tasks) == 1
    go.set()
    await turns()
    assert served.state.tasks == set()


@in_no_time
async def test_a_buffer_that_is_full_before_the_accept_holds_a_denial_back() -> None:
    said: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 200})
        said.append("start")
        await send({"type": "websocket.http.response.body", "body": b"x"})

    served = Served(app)
    served.ask()
    served.protocol.pause_writing()
    await turns()
    assert said == []
    served.protocol.resume_writing()
    await turns()
    assert said == ["start"]
    assert served.transport.gone


@in_no_time
async def test_a_client_that_shuts_its_side_before_the_answer_is_gone() -> None:
    served = Served(waits)
    served.ask()
    assert not served.protocol.eof_received()
    served.transport.lose(None)
    await turns()
    assert served.state.tasks == set()


@in_no_time
async def test_a_broken_transport_is_noticed_by_the_response() -> None:
    errors: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 200})
        served.transport.breaks = True
        try:
            for _ in range(100):
                await send(
                    {"type": "websocket.http.response.body", "body": b"x", "more_body": True}
                )
        except OSError as error:
            errors.append(error)

    served = Served(app)
    served.ask()
    await turns()
    assert len(errors) == 1
    served.protocol.write(b"late")
    served.protocol.break_off()
    assert not served.transport.aborted


# --- what uvicorn would write ---


async def accepted_then_left(kind: Any, caplog: pytest.LogCaptureFixture) -> list[Any]:
    served = Served(accepts, kind=kind)
    served.ask(target=b"/a%20b%C3%A9?c=%20")
    await turns()
    served.transport.lose(None)
    await turns()
    return noted(caplog)


async def refused(kind: Any, caplog: pytest.LogCaptureFixture) -> list[Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    Served(app, kind=kind).ask(target=b"/x")
    await turns()
    return noted(caplog)


async def denied(kind: Any, caplog: pytest.LogCaptureFixture) -> list[Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 418})
        await send({"type": "websocket.http.response.body", "body": b""})

    Served(app, kind=kind).ask(target=b"/x?")
    await turns()
    return noted(caplog)


async def failing(kind: Any, caplog: pytest.LogCaptureFixture) -> list[Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise ZeroDivisionError

    served = Served(app, kind=kind)
    served.ask()
    await turns()
    served.transport.lose(None)
    await turns()
    return noted(caplog)


async def returning(kind: Any, caplog: pytest.LogCaptureFixture) -> list[Any]:
    async def app(scope: Any, receive: Any, send: Any) -> object:
        await send({"type": "websocket.accept"})
        return "something"

    served = Served(app, kind=kind)
    served.ask()
    await turns()
    served.transport.lose(None)
    await turns()
    return noted(caplog)


@pytest.mark.parametrize("scene", [accepted_then_left, refused, failing, returning])
@in_no_time
async def test_the_log_says_what_uvicorn_would_say(
    scene: Callable[..., Awaitable[list[Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    ours = await scene(WebSocketProtocol, caplog)
    caplog.clear()
    theirs = await scene(WebSocketsSansIOProtocol, caplog)
    assert ours == theirs
    assert ours != []


@in_no_time
async def test_a_denial_is_in_the_log_as_it_is_in_that_of_uvicorn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """uvicorn adds to every denial that it was no answer, which is not so."""
    caplog.set_level(logging.INFO, "uvicorn.error")
    ours = await denied(WebSocketProtocol, caplog)
    caplog.clear()
    theirs = await denied(WebSocketsSansIOProtocol, caplog)
    assert ours == theirs[:1]


@in_no_time
async def test_the_log_says_nothing_where_it_is_not_listened_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "uvicorn.error")
    assert await accepted_then_left(WebSocketProtocol, caplog) == []
