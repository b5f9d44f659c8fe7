"""Connections that end without a word, at every stage: a FIN, a reset, and half of something."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from server.wire.apps import (
    ACCEPT,
    Notes,
    attempt,
    closing,
    disconnected,
    echo,
    listening,
    received,
    saying,
    sending,
    to_the_end,
    waiting,
)
from server.wire.client import (
    CONTINUATION,
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
from server.wire.serving import DEADLINE, Served, Servers, Venue, until
from telex._types import Receive, Scope, Send

Leave = Callable[[Client], None]

LEAVES: dict[str, Leave] = {"FIN": Client.hang_up, "reset": Client.reset, "half FIN": Client.fin}


@pytest.fixture(params=[*LEAVES.values()], ids=[*LEAVES])
def leave(request: pytest.FixtureRequest) -> Leave:
    """How the client goes."""
    how: Leave = request.param
    return how


def forgotten(server: Served) -> None:
    """The server knows nothing of the connection any more."""
    until("it is forgotten", lambda: server.idle)


@pytest.mark.parametrize("size", [0, 1, 20, 100])
def test_before_the_request_is_complete(anywhere: Served, leave: Leave, size: int) -> None:
    client = dial(anywhere)
    client.write(request("none")[:size])
    anywhere.turn()
    leave(client)
    forgotten(anywhere)


def test_before_the_application_has_answered(anywhere: Served, leave: Leave) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        notes.add(await receive())
        notes.add(await receive())

    client = dial(anywhere)
    client.write(request(anywhere.play(app)))
    assert notes.get()["type"] == "websocket.connect"
    leave(client)
    assert notes.get() == disconnected(1006)
    forgotten(anywhere)


def test_before_an_application_that_does_not_look_accepts(anywhere: Served, leave: Leave) -> None:
    gate, notes = anywhere.gate(), Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        notes.add("called")
        await gate.wait()
        await attempt(notes, send(ACCEPT))
        await attempt(notes, send(sending("x")))

    client = dial(anywhere)
    client.write(request(anywhere.play(app)))
    notes.get()
    leave(client)
    anywhere.turn()
    gate.open()
    for _ in range(2):
        assert isinstance(notes.get(), (OSError, RuntimeError))
    forgotten(anywhere)


PARTS = {
    "nothing": b"",
    "one byte": b"\x81",
    "half a head": frame(TEXT, b"x" * 200)[:3],
    "half a mask": frame(TEXT, b"x" * 200)[:6],
    "half a text": frame(TEXT, b"x" * 200)[:100],
    "half a big frame": frame(2, b"x" * 2**20)[:300_000],
    "half a character": frame(TEXT, "€".encode() * 100)[:13],
    "a fragment": text("x", fin=False),
    "a fragment and a half": text("x", fin=False) + frame(CONTINUATION, b"x" * 100)[:50],
    "half a ping": frame(9, b"x" * 100)[:50],
    "half a close frame": frame(8, b"\x03\xe8")[:5],
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_in_the_middle_of_a_frame(anywhere: Served, leave: Leave, part: bytes) -> None:
    notes = Notes()
    client = open_client(anywhere, listening(notes))
    client.write(text("whole"))
    assert notes.get() == received("whole")
    client.write(part)
    anywhere.turn()
    leave(client)
    assert notes.get() == disconnected(1006)
    forgotten(anywhere)


@pytest.mark.parametrize("size", [10, 100_000])
def test_while_the_application_sends_without_a_pause(
    anywhere: Served, leave: Leave, size: int
) -> None:
    notes, started = Notes(), Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        try:
            # It must hear of the loss, though it never lets the event loop go on by itself.
            give_up = time.monotonic() + 2
            while time.monotonic() < give_up:
                await send(sending(b"x" * size))
                if started.empty:
                    started.add("sent")
            notes.add("has heard nothing")
        except OSError as error:
            notes.add(error)
            notes.add(await receive())

    client = open_client(anywhere, app)
    started.get()
    leave(client)
    if leave is Client.fin:
        client.hang_up()
    assert isinstance(notes.get(), OSError)
    assert notes.get() == disconnected(1006)
    forgotten(anywhere)


def test_while_the_application_waits_to_send(anywhere: Served, leave: Leave) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        try:
            while True:
                notes.add("sends")
                await send(sending(b"x" * 2**20))
        except OSError:
            notes.add("gone")

    client = open_client(anywhere, app, receive_buffer=65_536)
    notes.get()
    anywhere.turn()
    leave(client)
    client.hang_up()
    while notes.get() != "gone":
        pass
    forgotten(anywhere)


def test_while_our_close_frame_is_not_answered(anywhere: Served, leave: Leave) -> None:
    notes = Notes()

    async def after(receive: Receive, send: Send) -> None:
        notes.add(await to_the_end(receive, send))

    client = open_client(anywhere, saying(ACCEPT, closing(4000, "enough"), then=after))
    assert client.close_frame() == (4000, "enough")
    leave(client)
    assert notes.get() == disconnected(4000, "enough")
    forgotten(anywhere)


def test_right_after_its_own_close_frame(anywhere: Served, leave: Leave) -> None:
    notes = Notes()
    client = open_client(anywhere, listening(notes))
    client.write(close_frame(4321, b"bye"))
    anywhere.turn()
    leave(client)
    assert notes.get() == disconnected(4321, "bye")
    forgotten(anywhere)


def test_right_after_a_violation(anywhere: Served, leave: Leave) -> None:
    notes = Notes()
    client = open_client(anywhere, listening(notes))
    client.write(frame(3))
    assert client.close_frame()[0] == 1002
    leave(client)
    assert notes.get()["code"] == 1002
    forgotten(anywhere)


def test_messages_before_a_fin_are_all_received(anywhere: Served) -> None:
    notes = Notes()
    client = open_client(anywhere, listening(notes))
    client.write(*(text(str(number)) for number in range(200)))
    client.hang_up()
    for number in range(200):
        assert notes.get() == received(str(number))
    assert notes.get() == disconnected(1006)


def test_while_the_application_does_not_read(anywhere: Served, leave: Leave) -> None:
    notes, gate = Notes(), anywhere.gate()

    async def take(receive: Receive, send: Send) -> None:
        notes.add(await to_the_end(receive, send))

    client = open_client(anywhere, waiting(gate, take))
    client.write(*[frame(2, b"x" * 1000)] * 100)
    anywhere.turn()
    leave(client)
    anywhere.turn()
    gate.open()
    assert notes.get() == disconnected(1006)
    forgotten(anywhere)


def test_a_client_that_has_said_all_may_still_listen(server: Served) -> None:
    """Half of a connection is none: what a FIN ends is ended both ways."""
    client = open_client(server, echo)
    client.write(text("one"))
    assert client.frame() == is_text("one")
    client.fin()
    assert client.rest() == b""


# Under TLS


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    "said",
    [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n\r\n"],
)
def test_in_the_middle_of_a_tls_handshake(
    servers: Servers, leave: Leave, loop: Any, said: bytes
) -> None:
    server = servers.get(Venue(transport="tls", loop=loop))
    client = Client(socket.create_connection(("127.0.0.1", server.port), DEADLINE))
    client.write(said)
    server.turn()
    leave(client)
    client.hang_up()
    forgotten(server)
    # It goes on with others.
    other = open_client(server, echo)
    other.write(text("fine"))
    assert other.frame() == is_text("fine")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_with_a_broken_record(servers: Servers, loop: Any) -> None:
    server = servers.get(Venue(transport="tls", loop=loop))
    notes = Notes()
    client = open_client(server, listening(notes))
    raw = socket.socket(fileno=socket.dup(client.socket.fileno()))
    raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert notes.get() == disconnected(1006)
    raw.close()
    forgotten(server)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_proper_end_of_tls_without_a_close_frame_is_a_loss_too(
    servers: Servers, loop: Any
) -> None:
    server = servers.get(Venue(transport="tls", loop=loop))
    notes = Notes()
    client = open_client(server, listening(notes))
    client.write(text("one"))
    assert notes.get() == received("one")
    client.socket.unwrap().close()  # type: ignore[attr-defined]
    assert notes.get() == disconnected(1006)
    forgotten(server)
