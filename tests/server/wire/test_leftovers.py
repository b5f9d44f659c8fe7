"""Connections that have ended leave nothing: no task, no timer, no descriptor, no object."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from server.wire.apps import ACCEPT, CLOSE, closing, denying, echo, saying, sending, to_the_end
from server.wire.client import (
    RSV1,
    TEXT,
    Client,
    dial,
    frame,
    is_text,
    open_client,
    request,
    text,
)
from server.wire.client import closing as close_frame
from server.wire.serving import OURS, Served, Servers, Venue, until
from telex._types import Receive, Scope, Send

COUNT = 200

WATCHED = ("telex.server", "picows", "asyncio", "uvicorn.protocols", "websockets")
"""Modules of whose objects none may be left."""

OUR_OWN = ("telex.server._channel", "telex.server._conversation", "telex.server._picows")


async def raising(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    raise LookupError("expected")


def its_close(server: Served) -> None:
    client = open_client(server, echo)
    client.write(text("hello"), frame(2, b"x" * 1000))
    assert client.frame() == is_text("hello")
    client.write(close_frame(1000))
    client.rest()
    client.hang_up()


def our_close(server: Served) -> None:
    client = open_client(server, saying(ACCEPT, sending("hello"), closing(4000)))
    assert client.frame() == is_text("hello")
    assert client.close_frame() == (4000, "")
    client.write(close_frame(4000))
    assert client.rest() == b""
    client.hang_up()


def our_close_without_an_answer(server: Served) -> None:
    client = open_client(server, saying(ACCEPT))
    client.close_frame()
    client.hang_up()


def a_big_message(server: Served) -> None:
    client = open_client(server, echo)
    client.write(frame(2, b"x" * 200_000))
    client.frame()
    client.write(close_frame(1000))
    client.rest()
    client.hang_up()


def a_compressed_message(server: Served) -> None:
    more = [(b"Sec-WebSocket-Extensions", b"permessage-deflate")]
    client = open_client(server, echo, more=more)
    client.write(frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=RSV1), frame(2, b"x" * 1000))
    client.frame()
    client.frame()
    client.write(close_frame(1000))
    client.rest()
    client.hang_up()


def a_loss(server: Served) -> None:
    client = open_client(server, echo)
    client.write(text("half")[:5])
    client.reset()


def a_fin(server: Served) -> None:
    open_client(server, echo).hang_up()


def a_violation(server: Served) -> None:
    client = open_client(server, echo)
    client.write(text("fine", fin=False), frame(3))
    client.last_words()
    client.hang_up()


def bad_text(server: Served) -> None:
    client = open_client(server, echo)
    client.write(frame(TEXT, b"\xff" * 100)[:20])
    client.last_words()
    client.hang_up()


def an_error(server: Served) -> None:
    client = open_client(server, raising)
    client.close_frame()
    client.write(close_frame(1011))
    client.rest()
    client.hang_up()


def refused_with(*messages: Any) -> Callable[[Served], None]:
    def refused(server: Served) -> None:
        client = dial(server)
        client.write(request(server.play(saying(*messages))))
        client.response()
        client.hang_up()

    return refused


def a_bad_request(server: Served) -> None:
    client = dial(server)
    client.write(request("none", change={b"Sec-WebSocket-Key": b"x"}))
    client.response()
    client.hang_up()


def a_loss_before_the_answer(server: Served) -> None:
    client = dial(server)
    client.write(request(server.play(saying(then=to_the_end))))
    client.reset()


def a_loss_while_we_send(server: Served) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        for _ in range(10):
            await send(sending(b"x" * 300_000))

    client: Client = open_client(server, app, receive_buffer=65_536)
    client.read(10)
    client.reset()


ENDS: dict[str, Callable[[Served], None]] = {
    "its close": its_close,
    "our close": our_close,
    "our close without an answer": our_close_without_an_answer,
    "a big message": a_big_message,
    "a compressed message": a_compressed_message,
    "a loss": a_loss,
    "a FIN": a_fin,
    "a violation": a_violation,
    "bad text": bad_text,
    "an error": an_error,
    "a denial": refused_with(*denying(404, b"nothing", b"here")),
    "403": refused_with(CLOSE),
    "500": refused_with(),
    "a bad request": a_bad_request,
    "a loss before the answer": a_loss_before_the_answer,
    "a loss while we send": a_loss_while_we_send,
}


NOT_WATCHED = "asyncio.events.TimerHandle"
"""The event loop keeps those that were cancelled a while, without what they were for."""


def objects(modules: tuple[str, ...]) -> Counter[str]:
    """Count the objects of the classes of some packages."""
    counted: Counter[str] = Counter()
    for each in gc.get_objects():
        kind = type(each)
        if str(kind.__module__).startswith(modules):
            counted[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return counted


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def timers(server: Served) -> int:
    """Timers on an event loop of asyncio that were not cancelled."""
    scheduled = getattr(server.loop, "_scheduled", [])
    count: int = server.call(lambda: sum(not timer.cancelled() for timer in scheduled))
    return count


@pytest.fixture
def unlogged(caplog: pytest.LogCaptureFixture) -> Callable[[], None]:
    """Keeps log records, which hold on to what they are about, from being made."""
    return lambda: caplog.set_level("CRITICAL", "uvicorn.error")


def end(server: Served, how: Callable[[Served], None], count: int) -> None:
    """Have so many connections end, and wait until the server has forgotten them."""
    for _ in range(count):
        how(server)
    server.end_clients()
    server.settle()
    server.turn()


@contextmanager
def without_a_collection() -> Iterator[None]:
    """What is freed in the block is freed because nothing refers to it any more."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors by /proc")
@pytest.mark.parametrize("how", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("venue", [OURS, Venue(transport="tls", loop="uvloop")], ids=str)
def test_nothing_is_left_of_connections_that_have_ended(
    servers: Servers,
    unlogged: Callable[[], None],
    venue: Venue,
    how: Callable[[Served], None],
) -> None:
    server = servers.get(venue)
    unlogged()
    end(server, how, 3)
    gc.collect()
    before = (descriptors(), timers(server))
    known = objects(WATCHED)
    end(server, how, COUNT if venue is OURS else COUNT // 4)

    def left() -> dict[str, int]:
        gc.collect()
        grown = objects(WATCHED) - known
        del grown[NOT_WATCHED]
        return {name: more for name, more in grown.items() if more > 10}

    # A client that was lost at once may be accepted only now.
    until("they are freed", lambda: left() == {})
    until("they are closed", lambda: descriptors() <= before[0] + 2)
    until("their timers are gone", lambda: timers(server) <= before[1] + 2)


@pytest.mark.parametrize("how", ENDS.values(), ids=ENDS)
def test_no_cycle_of_references_keeps_a_connection(
    server: Served, unlogged: Callable[[], None], how: Callable[[Served], None]
) -> None:
    unlogged()
    end(server, how, 1)
    with without_a_collection():
        known = objects(OUR_OWN)
        end(server, how, 20)

        def left() -> dict[str, int]:
            return {name: more for name, more in (objects(OUR_OWN) - known).items() if more > 2}

        # picows has a timer of its own behind a violation, which is soon over.
        until("they are freed", lambda: left() == {}, deadline=1)


def test_a_connection_that_is_open_is_counted(server: Served) -> None:
    """The counts above would show something if there were something."""
    gc.collect()
    known = objects(OUR_OWN)
    clients = [open_client(server, echo) for _ in range(10)]
    grown = objects(OUR_OWN) - known
    assert grown["telex.server._channel.Channel"] == 10
    assert len(server.state.connections) == len(server.state.tasks) == 10
    for client in clients:
        client.hang_up()
    until("all are gone", lambda: server.idle)
