"""A server that stops: clients are told, applications hear of it, and it does not take long."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from server.wire.apps import (
    ACCEPT,
    Notes,
    closing,
    denying,
    disconnected,
    echo,
    listening,
    saying,
    sending,
    to_the_end,
)
from server.wire.client import Client, dial, frame, is_text, open_client, request, text
from server.wire.client import closing as close_frame
from server.wire.serving import BOTH, EVERYWHERE, OURS, PROTOCOLS, Served, Servers, Venue, until
from telex._types import Receive, Scope, Send
from telex.testing._server import LiveServer

QUICKLY = 2.5
"""Seconds for a stop: one for the clients' close frames, and what uvicorn and the machine take."""


@pytest.fixture(params=EVERYWHERE, ids=str)
def everywhere(request: pytest.FixtureRequest, servers: Servers) -> Served:
    """A server of the test's own, everywhere."""
    return servers.fresh(request.param)


@pytest.fixture
def mortal(servers: Servers) -> Served:
    """The same, in one place."""
    return servers.fresh(OURS)


def stops_quickly(server: Served) -> None:
    assert server.stop() < QUICKLY
    assert server.idle


def test_without_connections_it_stops_at_once(mortal: Served) -> None:
    assert mortal.stop() < 1


def test_an_idle_client_gets_1012_and_the_application_hears_of_it(everywhere: Served) -> None:
    notes = Notes()
    client = open_client(everywhere, listening(notes))
    everywhere.begin_to_stop()
    assert client.close_frame() == (1012, "")
    assert notes.get() == disconnected(1012)
    client.write(close_frame(1012))
    assert client.rest() == b""
    stops_quickly(everywhere)


@pytest.mark.parametrize("venue", BOTH, ids=str)
def test_both_say_1012(servers: Servers, venue: Venue) -> None:
    server = servers.fresh(venue)
    client = open_client(server, echo)
    server.begin_to_stop()
    assert client.close_frame() == (1012, "")
    client.write(close_frame(1012))
    stops_quickly(server)


def test_many_clients_are_told_at_once(mortal: Served) -> None:
    clients = [open_client(mortal, echo) for _ in range(50)]
    mortal.begin_to_stop()
    for client in clients:
        assert client.close_frame() == (1012, "")
        client.write(close_frame(1012))
    stops_quickly(mortal)


def test_a_client_that_does_not_answer_is_not_waited_for_long(everywhere: Served) -> None:
    open_client(everywhere, echo)
    stops_quickly(everywhere)


def test_a_client_in_the_middle_of_a_message_is_told(mortal: Served) -> None:
    client = open_client(mortal, echo)
    client.write(frame(2, b"x" * 100_000)[:50_000])
    mortal.turn()
    mortal.begin_to_stop()
    assert client.close_frame() == (1012, "")
    client.write(frame(2, b"x" * 100_000)[50_000:], close_frame(1012))
    assert client.rest() == b""
    stops_quickly(mortal)


def test_what_was_sent_before_arrives_before_1012(mortal: Served) -> None:
    client = open_client(mortal, saying(ACCEPT, *[sending("x" * 1000)] * 50, then=to_the_end))
    mortal.turn()
    mortal.begin_to_stop()
    for _ in range(50):
        assert client.frame() == is_text("x" * 1000)
    assert client.close_frame() == (1012, "")


def test_a_client_that_does_not_read_is_not_waited_for_long(everywhere: Served) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        try:
            while True:
                await send(sending(b"x" * 100_000))
        except OSError:
            notes.add(await receive())

    open_client(everywhere, app, receive_buffer=65_536)
    everywhere.turn()
    stops_quickly(everywhere)
    assert notes.get() == disconnected(1012)


def test_a_handshake_that_is_not_answered_yet_is_answered_with_503(everywhere: Served) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        notes.add("connected")
        notes.add(await receive())

    client = dial(everywhere)
    client.write(request(everywhere.play(app)))
    notes.get()
    everywhere.begin_to_stop()
    head, _ = client.response()
    assert head.status == 503
    assert notes.get()["type"] == "websocket.disconnect"
    stops_quickly(everywhere)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nUpgr"], ids=["none", "half"])
def test_a_request_that_has_not_come_is_not_waited_for(mortal: Served, sent: bytes) -> None:
    client = dial(mortal)
    client.write(sent)
    mortal.turn()
    stops_quickly(mortal)


def test_a_close_handshake_that_goes_on_is_given_no_more_than_others(mortal: Served) -> None:
    client = open_client(mortal, saying(ACCEPT, closing(4000)))
    assert client.close_frame() == (4000, "")
    until("the application has ended", lambda: not mortal.state.tasks)
    stops_quickly(mortal)


def test_a_close_frame_that_is_not_read_is_given_no_more_than_others(mortal: Served) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send(sending(b"x" * 8 * 2**20))

    client = open_client(mortal, app, receive_buffer=4096)
    client.write(close_frame())
    mortal.turn()
    stops_quickly(mortal)


def test_a_client_that_has_only_to_hang_up_is_not_waited_for(everywhere: Served) -> None:
    clients = [open_client(everywhere, echo) for _ in range(3)]
    for client in clients:
        client.write(close_frame())
        assert client.last_words() == (1000, "")
    # TLS has an end of its own, for which a client is given no more than others.
    assert everywhere.stop() < (QUICKLY if everywhere.venue.transport == "tls" else 1)
    assert everywhere.idle


def test_a_violation_that_was_told_is_given_no_more_than_others(mortal: Served) -> None:
    client = open_client(mortal, echo)
    client.write(frame(3))
    assert client.close_frame()[0] == 1002
    stops_quickly(mortal)


def test_a_refusal_that_is_not_read_is_given_no_more_than_others(mortal: Served) -> None:
    client = dial(mortal, receive_buffer=4096)
    client.write(request(mortal.play(saying(*denying(403, b"x" * 8 * 2**20)))))
    assert client.head().status == 403
    stops_quickly(mortal)


@pytest.mark.parametrize("accepts", [True, False])
def test_an_application_that_goes_on_is_cancelled(servers: Servers, accepts: bool) -> None:
    server = servers.fresh(OURS, timeout_graceful_shutdown=0.3)
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if accepts:
            await send(ACCEPT)
        notes.add("runs")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            notes.add("cancelled")
            raise

    client = dial(server)
    client.write(request(server.play(app)))
    notes.get()
    server.begin_to_stop()
    assert client.head().status == (101 if accepts else 503)
    if accepts:
        assert client.close_frame() == (1012, "")
        client.write(close_frame(1012))
    assert notes.get() == "cancelled"
    assert server.stop() < QUICKLY


def test_an_application_may_still_clean_up(mortal: Served) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await to_the_end(receive, send)
        await asyncio.sleep(0.2)
        notes.add("clean")

    open_client(mortal, app)
    mortal.stop()
    assert notes.get(0) == "clean"


def test_a_client_that_comes_while_it_stops_is_not_left_hanging(mortal: Served) -> None:
    open_client(mortal, echo)
    mortal.begin_to_stop()
    until("it listens no more", lambda: refused(mortal))
    mortal.stop()


def refused(server: Served) -> bool:
    try:
        client: Client = dial(server)
    except OSError:
        return True
    client.hang_up()
    return False


@pytest.mark.parametrize("answers", [True, False])
def test_a_live_server_stops_quickly(answers: bool) -> None:
    live = LiveServer(echo, ws=PROTOCOLS["telex"], lifespan="off")
    with live:
        client = connected(live)
        client.write(request("any"))
        assert client.head().status == 101
        client.write(text("hello"))
        assert client.frame() == is_text("hello")
        if answers:
            client.write(close_frame())
            assert client.last_words() == (1000, "")
        before = time.monotonic()
    assert time.monotonic() - before < QUICKLY
    client.hang_up()


def connected(live: LiveServer) -> Client:
    address: Any = ("127.0.0.1", live.url.port)
    return Client(socket.create_connection(address, 5))
