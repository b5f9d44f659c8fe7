"""Pings and pongs over real sockets: ours, the clients', and those that are not answered."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any

import pytest

from server.wire.apps import ACCEPT, Notes, disconnected, echo, listening, received, to_the_end
from server.wire.client import (
    CONTINUATION,
    FIN,
    PING,
    PONG,
    RSV1,
    TEXT,
    Client,
    Frame,
    frame,
    is_text,
    open_client,
    text,
)
from server.wire.serving import DEADLINE, OURS, Served, Servers, Venue, until
from telex._types import FRAMES_EXTENSION, Receive, Scope, Send

INTERVAL = 0.16
"""Seconds between pings, where they are wanted."""


def pinging(servers: Servers, venue: Venue = OURS, **options: Any) -> Served:
    return servers.get(venue, **{"ws_ping_interval": INTERVAL, "ws_ping_timeout": 0.32, **options})


# The client's


@pytest.mark.parametrize("payload", [b"", b"x", b"\0\xff" * 62, b"x" * 125])
def test_a_ping_is_answered_with_its_payload(anywhere: Served, payload: bytes) -> None:
    client = open_client(anywhere, echo)
    client.write(frame(PING, payload))
    assert client.frame() == Frame(FIN | PONG, payload)


def test_pings_are_answered_in_order_and_between_messages(either: Served) -> None:
    client = open_client(either, echo)
    for number in range(50):
        client.write(frame(PING, str(number).encode()))
    for number in range(50):
        assert client.frame() == Frame(FIN | PONG, str(number).encode())
    client.write(text("half", fin=False), frame(PING, b"within"))
    assert client.frame() == Frame(FIN | PONG, b"within")
    client.write(frame(CONTINUATION, b" and half"))
    assert client.frame() == is_text("half and half")


def test_pongs_that_nobody_asked_for_are_taken_no_notice_of(either: Served) -> None:
    notes = Notes()
    client = open_client(either, listening(notes))
    client.write(frame(PONG), frame(PONG, b"x" * 125), frame(PONG, b"\0" * 8), text("and on"))
    assert notes.get() == received("and on")


def test_a_ping_before_the_end_is_answered_first(either: Served) -> None:
    client = open_client(either, echo)
    client.write(frame(PING, b"last"), frame(8, b"\x03\xe8"))
    assert client.frame() == Frame(FIN | PONG, b"last")
    assert client.last_words() == (1000, "")


def test_a_flood_of_pings_from_a_client_that_does_not_read_fills_no_memory(
    anywhere: Served,
) -> None:
    channels: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        channels.append(scope["extensions"][FRAMES_EXTENSION])
        await echo(scope, receive, send)

    client = open_client(anywhere, app, receive_buffer=65_536)
    client.flood(frame(PING, b"x" * 125), most=16 * 2**20)
    anywhere.turn()
    assert anywhere.call(lambda: channels[0].buffered) < 2**20


def test_after_a_flood_of_pings_the_connection_goes_on(server: Served) -> None:
    client = open_client(server, echo, receive_buffer=65_536)
    sent = frame(PING, b"x" * 125)
    client.finish(sent, client.flood(sent, most=16 * 2**20))
    client.write(text("still there"))
    while (got := client.frame()).opcode == PONG:
        assert got.payload == b"x" * 125
    assert got == is_text("still there")


# Ours


def next_ping(client: Client) -> Frame:
    got = client.frame()
    assert got.first_byte == FIN | PING
    return got


@pytest.mark.parametrize("protocol", ["telex", "uvicorn"])
def test_an_idle_client_is_pinged_again_and_again(servers: Servers, protocol: str) -> None:
    client = open_client(pinging(servers, Venue(protocol)), echo)
    payloads = set()
    for _ in range(4):
        got = next_ping(client)
        assert 0 < len(got.payload) <= 125
        payloads.add(got.payload)
        client.write(frame(PONG, got.payload))
    assert len(payloads) == 4
    client.write(text("alive"))
    while (got := client.frame()).opcode == PING:
        pass
    assert got == is_text("alive")


def test_pings_come_as_often_as_they_should(servers: Servers) -> None:
    client = open_client(pinging(servers), echo)
    client.write(frame(PONG, next_ping(client).payload))
    before = time.monotonic()
    for _ in range(5):
        client.write(frame(PONG, next_ping(client).payload))
    assert 3 * INTERVAL < time.monotonic() - before < 12 * INTERVAL


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_does_not_answer_is_dropped_with_1011(servers: Servers, loop: Any) -> None:
    server = pinging(servers, Venue(loop=loop))
    notes = Notes()
    client = open_client(server, listening(notes))
    event = notes.get(timeout=2)
    assert event == disconnected(1011, "keepalive ping timeout")
    until("it is dropped", lambda: server.idle, deadline=1)
    client.hang_up()


@pytest.mark.parametrize("answer", [b"", b"wrong", b"\0" * 8])
def test_another_pong_is_no_answer(servers: Servers, answer: bytes) -> None:
    server = pinging(servers)
    notes = Notes()
    client = open_client(server, listening(notes))
    next_ping(client)
    client.write(frame(PONG, answer))
    assert notes.get(timeout=2)["code"] == 1011


def test_messages_are_no_answer_either(servers: Servers) -> None:
    server = pinging(servers)
    notes = Notes()
    client = open_client(server, listening(notes))
    next_ping(client)
    client.write(text("busy"))
    assert notes.get() == received("busy")
    assert notes.get(timeout=2)["code"] == 1011


def test_a_client_that_reads_nothing_while_much_is_sent_is_dropped(servers: Servers) -> None:
    server = pinging(servers)
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        try:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 200_000})
        except OSError:
            notes.add(await receive())

    client = open_client(server, app, receive_buffer=4096)
    assert notes.get(timeout=3)["code"] == 1011
    until("it is dropped", lambda: server.idle, deadline=1)
    client.hang_up()


@pytest.mark.skipif(sys.platform != "linux", reason="is seen too late elsewhere")
@pytest.mark.parametrize("venue", [OURS, Venue(transport="tls", loop="uvloop")], ids=str)
def test_a_client_that_reads_slowly_is_dropped_when_it_stops(
    servers: Servers, venue: Venue
) -> None:
    """It is sent more than it reads in the time for an answer, so that it answers no ping."""
    server = pinging(servers, venue)
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        try:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 20_000})
        except OSError:
            notes.add(await receive())

    client = open_client(server, app, receive_buffer=4096)
    pace = threading.Event()
    give_up = time.monotonic() + 15 * INTERVAL
    while time.monotonic() < give_up:
        assert client.socket.recv(4096)
        pace.wait(0.01)
    assert notes.empty
    assert notes.get(timeout=3)["code"] == 1011
    until("it is dropped", lambda: server.idle, deadline=1)
    client.hang_up()


def test_without_a_timeout_nobody_is_dropped(servers: Servers) -> None:
    client = open_client(pinging(servers, ws_ping_timeout=None), echo)
    next_ping(client)
    client.write(text("alive"))
    while (got := client.frame()).opcode == PING:
        pass
    assert got == is_text("alive")


@pytest.mark.parametrize("interval", [None, 0])
def test_without_an_interval_there_are_no_pings(servers: Servers, interval: Any) -> None:
    server = servers.get(hasten=100, ws_ping_interval=interval, ws_ping_timeout=20)
    client = open_client(server, echo)
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.frame()
    client.socket.settimeout(DEADLINE)
    client.write(text("alive"))
    assert client.frame() == is_text("alive")


def test_an_application_that_does_not_read_keeps_its_connection(servers: Servers) -> None:
    """What the client answers is behind the messages that nobody takes."""
    server = pinging(servers)
    gate, notes = server.gate(), Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await asyncio.sleep(8 * INTERVAL)
        await gate.wait()
        await listening_on(notes, receive)

    client = open_client(server, app)
    piece = frame(2, b"x" * 10_000)
    written = client.flood(piece)
    client.socket.settimeout(0.05)
    give_up = time.monotonic() + 8 * INTERVAL
    while time.monotonic() < give_up:
        try:
            assert client.frame().opcode == PING
        except TimeoutError:
            pass
    client.socket.settimeout(DEADLINE)
    gate.open()
    for _ in range(client.finish(piece, written)):
        assert notes.get()["type"] == "websocket.receive"
    client.write(text("all is well"))
    assert notes.get() == received("all is well")


async def listening_on(notes: Notes, receive: Receive) -> None:
    while (event := await receive())["type"] == "websocket.receive":
        notes.add(event)
    notes.add(event)


def test_the_time_of_an_answer_is_known(servers: Servers) -> None:
    server = pinging(servers, ws_ping_timeout=20)
    channels: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        channels.append(scope["extensions"][FRAMES_EXTENSION])
        await receive()
        await send(ACCEPT)
        await to_the_end(receive, send)

    client = open_client(server, app)
    got = next_ping(client)
    client.write(frame(PONG, got.payload))
    until("the pong is read", lambda: channels[0].latency is not None)
    latency: float = channels[0].latency
    assert 0 <= latency < DEADLINE


def test_pings_go_between_fragments_of_the_client(servers: Servers) -> None:
    client = open_client(pinging(servers, ws_ping_timeout=20), echo)
    client.write(text("half", fin=False))
    got = next_ping(client)
    client.write(frame(PONG, got.payload), frame(CONTINUATION, b" and half"))
    while (got := client.frame()).opcode == PING:
        pass
    assert got == is_text("half and half")


def test_a_compressed_connection_has_pings_that_are_not(servers: Servers) -> None:
    more = [(b"Sec-WebSocket-Extensions", b"permessage-deflate")]
    client = open_client(pinging(servers), echo, more=more)
    assert not next_ping(client).first_byte & RSV1
    client.write(frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=RSV1))
    while (got := client.frame()).opcode == PING:
        pass
    assert got == is_text("Hello")
