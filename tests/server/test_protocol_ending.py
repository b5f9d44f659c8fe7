"""How a connection ends for uvicorn: by its application, by its client, by the server."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import socket
import struct
import sys
import weakref
from typing import Any, Final

import pytest

from server.serving_one import DEFLATE, App, Served, accepts, denies, noted, waits
from server.transports import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    PONG,
    TEXT,
    FakeSocket,
    FakeTransport,
    closing,
    frame,
    head,
    in_no_time,
    turns,
)
from telex.server._linger import LINGER_TIMEOUT

# --- the end of an application ---


@pytest.mark.parametrize(
    ("ends", "code", "level"),
    [("returns", 1000, None), ("raises", 1011, "ERROR"), ("cancelled", 1012, None)],
)
@in_no_time
async def test_the_end_of_an_application_is_told_with_a_code(
    ends: str, code: int, level: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        await receive()
        if ends == "raises":
            raise ZeroDivisionError("a mistake")

    served = Served(app)
    await served.opened()
    if ends == "cancelled":
        next(iter(served.state.tasks)).cancel()
    else:
        served.transport.feed(frame(TEXT))
    await turns()
    assert served.transport.frames() == [(FIN | CLOSE, closing(code))]
    assert served.state.tasks == set()
    records = [each for each in caplog.records if each.levelname != "INFO"]
    assert [each.levelname for each in records] == ([] if level is None else [level])
    if level is not None:
        assert records[0].getMessage() == "Exception in ASGI application\n"
        assert records[0].exc_info is not None
        assert records[0].exc_info[0] is ZeroDivisionError
    served.transport.feed(frame(CLOSE, closing(code)))
    assert served.transport.shut
    served.transport.feed_eof()
    assert served.transport.closing


@in_no_time
async def test_what_an_application_returns_is_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> object:
        await send({"type": "websocket.accept"})
        return 17

    served = Served(app)
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        await served.opened()
    assert noted(caplog) == [("ERROR", "ASGI callable should return None, but returned '17'.")]
    served.transport.lose(None)


@in_no_time
async def test_an_application_may_let_the_error_of_a_lost_client_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "text": "x"})

    served = Served(app)
    served.ask()
    await turns(3)
    served.transport.lose(None)
    await turns(50)
    assert [each for each in noted(caplog) if each[0] != "INFO"] == []
    assert served.state.tasks == set()


@in_no_time
async def test_a_body_without_its_end_ends_with_a_reset() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 200})
        await send({"type": "websocket.http.response.body", "body": b"x", "more_body": True})

    sock = FakeSocket()
    served = Served(app, transport=FakeTransport(extra={"socket": sock}))
    served.ask()
    await turns()
    assert sock.options == [(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))]
    assert served.transport.aborted


@in_no_time
async def test_an_application_hears_of_the_end_before_its_client_hangs_up() -> None:
    events: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        events.extend([await receive(), await receive()])
        try:
            await send({"type": "websocket.send", "text": "late"})
        except OSError:
            events.append("gone")
        await asyncio.sleep(1)
        served.transport.feed(b"behind the close frame")
        events.append(await receive())

    served = Served(app)
    await served.opened()
    served.transport.feed(frame(TEXT, b"last") + frame(CLOSE, closing(4001, "bye")))
    await turns()
    end = {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}
    assert events == [{"type": "websocket.receive", "text": "last"}, end, "gone"]
    await asyncio.sleep(1.5)
    assert events[3:] == [end]
    assert served.state.tasks == set()
    assert not served.transport.closing
    await asyncio.sleep(1)
    assert served.transport.aborted
    assert served.state.connections == set()


# --- pings ---


@in_no_time
async def test_pings_are_sent_and_must_be_answered() -> None:
    served = Served(accepts, ws_ping_interval=20.0, ws_ping_timeout=20.0)
    await served.opened()
    await asyncio.sleep(20.5)
    ((first, payload),) = served.transport.frames()
    assert first == FIN | PING
    served.transport.feed(frame(PONG, payload))
    await asyncio.sleep(20)
    assert [first for first, _ in served.transport.frames()] == [FIN | PING]
    await asyncio.sleep(21.5)
    assert served.transport.frames()[-1] == (
        FIN | CLOSE,
        closing(1011, "keepalive ping timeout"),
    )
    assert served.transport.aborted
    assert served.state.connections == set()


@in_no_time
async def test_pings_can_be_switched_off() -> None:
    served = Served(accepts, ws_ping_interval=None)
    await served.opened()
    await asyncio.sleep(1000)
    assert served.transport.written == b""
    served.transport.lose(None)
    await turns()


@in_no_time
async def test_one_that_has_closed_but_not_hung_up_gets_none_and_need_not_answer() -> None:
    served = Served(accepts, ws_ping_interval=0.5, ws_ping_timeout=0.5)
    await served.opened()
    await asyncio.sleep(0.55)
    assert [first for first, _ in served.transport.frames()] == [FIN | PING]
    served.transport.feed(frame(CLOSE, closing(1000)))
    assert served.transport.frames() == [(FIN | CLOSE, closing(1000))]
    await asyncio.sleep(LINGER_TIMEOUT - 0.1)
    assert served.transport.written == b""
    assert not served.transport.closing
    keepalive = served.protocol._channel.keepalive
    assert served.protocol._channel in keepalive._slot_of
    await asyncio.sleep(0.2)
    assert served.transport.aborted
    assert served.state.connections == set()
    assert served.protocol._channel not in keepalive._slot_of
    # Its timer finds nobody there the next time, and is the last.
    await asyncio.sleep(0.5)
    assert not keepalive._armed


# --- the server stops ---


@in_no_time
async def test_at_shutdown_before_a_request_it_is_unavailable() -> None:
    served = Served(accepts)
    served.transport.feed(head()[:20])
    served.protocol.shutdown()
    served.protocol.shutdown()
    answer = await served.answer()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert served.state.connections == set()


@pytest.mark.parametrize("started", [False, True])
@in_no_time
async def test_at_shutdown_before_the_accept_it_is_unavailable(started: bool) -> None:
    served = Served(waits)
    served.ask()
    if started:
        await turns()
    served.protocol.shutdown()
    assert (await served.answer()).startswith(b"HTTP/1.1 503 ")
    assert served.state.connections == served.state.tasks == set()


@in_no_time
async def test_at_shutdown_a_connected_client_has_a_second() -> None:
    served = Served(accepts)
    await served.opened()
    served.protocol.shutdown()
    served.protocol.shutdown()
    await turns()
    assert served.transport.frames() == [(FIN | CLOSE, closing(1012))]
    assert served.state.tasks == set()
    assert served.state.connections == {served.protocol}
    await asyncio.sleep(0.9)
    assert not served.transport.closing
    await asyncio.sleep(0.2)
    assert served.transport.aborted
    assert served.state.connections == set()


@in_no_time
async def test_at_shutdown_a_client_that_answers_goes_at_once() -> None:
    served = Served(accepts)
    await served.opened()
    served.protocol.shutdown()
    served.transport.feed(frame(CLOSE, closing(1012)))
    await turns()
    assert served.transport.gone
    assert not served.transport.aborted
    assert served.state.connections == set()


@pytest.mark.parametrize("buffered", [0, 1])
@in_no_time
async def test_at_shutdown_a_client_that_has_only_to_hang_up_is_not_waited_for(
    buffered: int,
) -> None:
    served = Served(accepts)
    await served.opened()
    served.transport.buffered = buffered
    served.transport.feed(frame(CLOSE))
    await asyncio.sleep(0.1)
    assert served.state.connections == {served.protocol}
    served.protocol.shutdown()
    served.protocol.shutdown()
    await turns()
    # Closing sends what is still buffered.
    assert served.transport.gone
    assert not served.transport.aborted
    assert served.state.connections == set()
    await asyncio.sleep(15)
    assert not served.transport.aborted


@in_no_time
async def test_at_shutdown_a_client_still_has_that_second_to_read_of_its_violation() -> None:
    served = Served(accepts)
    await served.opened()
    served.transport.feed(frame(3))
    served.protocol.shutdown()
    assert served.transport.shut
    await asyncio.sleep(0.9)
    assert not served.transport.closing
    served.transport.feed(b"more of it")
    await asyncio.sleep(0.2)
    assert served.transport.aborted
    assert served.state.connections == set()


@in_no_time
async def test_at_shutdown_a_close_that_waits_is_cut_short() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    served = Served(app)
    await served.opened()
    served.protocol.shutdown()
    await asyncio.sleep(1.1)
    assert served.transport.aborted


@in_no_time
async def test_at_shutdown_a_denial_has_a_second() -> None:
    served = Served(denies)
    served.ask()
    assert (await served.answer()).startswith(b"HTTP/1.1 401 ")
    served.protocol.shutdown()
    await asyncio.sleep(1.1)
    assert served.transport.aborted
    await turns()
    assert served.state.connections == served.state.tasks == set()


@in_no_time
async def test_at_shutdown_an_application_that_sends_on_is_told() -> None:
    errors: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        await receive()
        try:
            await send({"type": "websocket.send", "text": "late"})
        except OSError as error:
            errors.append(error)

    served = Served(app)
    await served.opened()
    served.protocol.shutdown()
    await turns()
    assert len(errors) == 1
    served.transport.lose(None)


# --- tasks ---

VARIABLE: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("VARIABLE", default="nothing")


@pytest.mark.parametrize("reset", [False, True])
@in_no_time
async def test_a_connection_may_begin_with_an_empty_context(reset: bool) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("of the application")

    VARIABLE.set("of the server")
    for _ in range(2):
        Served(app, reset_contextvars=reset).ask()
        await turns()
    assert seen == ["nothing" if reset else "of the server"] * 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
@in_no_time
async def test_tasks_that_start_at_once_are_served_too() -> None:
    async def returns(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    factory: Any = getattr(asyncio, "eager_task_factory")  # noqa: B009 - not on 3.11
    asyncio.get_running_loop().set_task_factory(factory)
    for app in (returns, accepts):
        served = Served(app)
        await served.opened()
        served.transport.feed(frame(CLOSE, closing(1000)))
        served.transport.feed_eof()
        await turns()
        assert served.state.tasks == served.state.connections == set()


# --- nothing is left behind ---


async def raises(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "x" * 1000})
    await receive()
    await receive()
    raise ZeroDivisionError


async def closes(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close"})


async def listens(scope: Any, receive: Any, send: Any) -> None:
    scope["extensions"]["telex.frames"].on_close(lambda record: None)
    await accepts(scope, receive, send)


@pytest.mark.parametrize("app", [accepts, waits, denies, raises, closes, listens])
@pytest.mark.parametrize("first", ["client", "shutdown", "cancelled", "lost"])
@pytest.mark.parametrize("lines", [(), (DEFLATE,)])
@in_no_time
async def test_after_the_end_everything_goes_without_the_collector(
    app: App, first: str, lines: tuple[bytes, ...]
) -> None:
    logging.getLogger("uvicorn.error").addFilter(nothing := (lambda record: False))
    gc.collect()
    gc.disable()
    try:
        served = Served(app)
        served.ask(*lines, early=frame(BINARY, bytes(3000)))
        await turns()
        alive = served.state.connections or served.state.tasks
        dead = [weakref.ref(served.protocol), weakref.ref(served.protocol._channel), *tasks(served)]
        assert alive
        await ended(served, first)
        del served
        await turns()
        assert [each() for each in dead] == [None] * len(dead)
    finally:
        gc.enable()
        logging.getLogger("uvicorn.error").removeFilter(nothing)


def tasks(served: Served) -> list[weakref.ref[Any]]:
    return [weakref.ref(task) for task in served.state.tasks]


async def ended(served: Served, first: str) -> None:
    """Bring a connection and its application to their end."""
    if first == "client":
        served.transport.feed(frame(CLOSE, closing(1000)))
    elif first == "shutdown":
        served.protocol.shutdown()
    elif first == "cancelled":
        for task in served.state.tasks:
            task.cancel()
    await turns()
    served.transport.lose(None)
    await asyncio.sleep(15)
    assert served.state.connections == served.state.tasks == set()
