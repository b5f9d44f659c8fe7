"""Handshakes that are answered with another response (ASGI's `websocket.http.response`)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from server.wire.apps import ACCEPT, CLOSE, Notes, attempt, denying, saying
from server.wire.client import Client, dial, request
from server.wire.serving import Served, Servers, until
from telex._types import ASGIApp, Message, Receive, Scope, Send

START: Message = {"type": "websocket.http.response.start", "status": 404}
MEBIBYTE = 2**20


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "websocket.http.response.body", "body": data, "more_body": more}


def denied(server: Served, app: ASGIApp, receive_buffer: int | None = None) -> Client:
    """Return a client that has asked, and reads the answer now."""
    client = dial(server, receive_buffer=receive_buffer)
    client.write(request(server.play(app)))
    return client


def test_status_headers_and_body_arrive(anywhere: Served) -> None:
    headers = [(b"content-type", b"text/plain"), (b"x-own", b"yes")]
    client = denied(anywhere, saying(*denying(401, b"who are you?", headers=headers)))
    head, text = client.response()
    assert (head.status, text) == (401, b"who are you?")
    assert head.one(b"content-type") == b"text/plain"
    assert head.one(b"x-own") == b"yes"
    assert head.one(b"connection") == b"close"


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
def test_a_body_in_parts_arrives_whole(either: Served, length: bool) -> None:
    parts = [b"one ", b"", b"two ", b"x" * 100_000, b" three"]
    whole = b"".join(parts)
    headers = [(b"content-length", b"%d" % len(whole))] if length else []
    client = denied(either, saying(*denying(403, *parts, headers=headers)))
    head, text = client.response()
    assert (head.status, text) == (403, whole)
    assert head.all(b"content-length") in ([], [b"%d" % len(whole)])


def test_a_body_is_sent_as_it_comes(server: Served) -> None:
    gate = server.gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"first", more=True))
        await gate.wait()
        await send(body(b"second"))

    client = denied(server, app)
    assert client.head().status == 404
    assert client.read(5) == b"first"
    gate.open()
    assert client.rest() == b"second"


def test_a_header_may_be_there_twice(either: Served) -> None:
    headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    client = denied(either, saying(*denying(403, headers=headers)))
    assert client.head().all(b"set-cookie") == [b"a=1", b"b=2"]


def test_what_the_application_says_of_the_connection_is_left_out(server: Served) -> None:
    headers = [(b"Connection", b"keep-alive")]
    client = denied(server, saying(*denying(403, headers=headers)))
    assert client.head().all(b"connection") == [b"close"]


@pytest.mark.parametrize("status", [200, 204, 299, 302, 404, 418, 499, 503, 599])
def test_any_final_status_passes(either: Served, status: int) -> None:
    assert denied(either, saying(*denying(status))).head().status == status


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, 1000, -1, "404", None])
def test_another_status_is_refused(server: Served, status: object) -> None:
    client = denied(server, saying({**START, "status": status}))
    assert client.head().status == 500


@pytest.mark.parametrize(
    "header", [(b"x-a", b"b\r\nx-evil: 1"), (b"x-a\n", b"b"), ("x-a", "b"), (b"", b"b")], ids=str
)
def test_a_bad_header_is_refused(server: Served, header: Any) -> None:
    head = denied(server, saying(*denying(403, headers=[header]))).head()
    assert head.status == 500
    assert head.all(b"x-evil") == []


def test_closing_before_accept_is_403_without_a_body(either: Served) -> None:
    client = denied(either, saying({**CLOSE, "code": 4000, "reason": "no"}))
    head, text = client.response()
    assert (head.status, head.one(b"content-length"), text) == (403, b"0", b"")


def test_a_big_body_makes_the_application_wait_for_a_slow_reader(anywhere: Served) -> None:
    notes = Notes()
    parts = 64

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for number in range(parts):
            await send(body(b"x" * (MEBIBYTE // 4), more=True))
            notes.add(number)
        await send(body(b"the end"))

    client = denied(anywhere, app, receive_buffer=64 * 1024)
    assert client.head().status == 404
    # It stops somewhere, and not for lack of time.
    anywhere.turn()
    assert not any(number == parts - 1 for number in drained(notes))
    data = client.rest()
    assert (len(data), data[-7:]) == (parts * MEBIBYTE // 4 + 7, b"the end")


def drained(notes: Notes) -> list[Any]:
    """Take the notes that are there."""
    taken = []
    while not notes.empty:
        taken.append(notes.get())
    return taken


def test_the_last_part_of_a_big_body_arrives_though_the_application_has_ended(
    anywhere: Served,
) -> None:
    client = denied(
        anywhere, saying(*denying(503, b"x" * 4 * MEBIBYTE, b"end")), receive_buffer=64 * 1024
    )
    assert client.head().status == 503
    assert len(client.rest()) == 4 * MEBIBYTE + 3


def test_an_application_that_fails_in_the_middle_sends_less_than_it_said(either: Served) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"content-length", b"1000")]})
        await send(body(b"x" * 100, more=True))
        raise LookupError("nobody of that name")

    client = denied(either, app)
    with pytest.raises((AssertionError, ConnectionError)):
        client.head()
        client.read(1000)


def test_without_a_length_a_body_that_is_not_whole_ends_in_an_error(server: Served) -> None:
    # Without a length only an error of the transport says that something is missing (RFC 9112 §8).
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"x" * 100, more=True))
        raise LookupError("nobody of that name")

    client = denied(server, app)
    with pytest.raises(ConnectionError):
        client.response()


def test_an_application_that_returns_in_the_middle_ends_the_response(server: Served) -> None:
    client = denied(server, saying(START, body(b"some", more=True)))
    assert client.head().status == 404
    until("the end", lambda: server.idle)


def test_a_client_that_leaves_is_an_error_of_the_next_part(anywhere: Served) -> None:
    notes = Notes()
    gate = anywhere.gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"first", more=True))
        await receive()
        notes.add(await receive())
        await attempt(notes, send(body(b"second", more=True)))
        await attempt(notes, send(body(b"third", more=True)))
        gate.open()

    client = denied(anywhere, app)
    client.head()
    client.hang_up()
    assert notes.get()["type"] == "websocket.disconnect"
    assert isinstance(notes.get(), OSError)
    assert isinstance(notes.get(), OSError)


def test_a_client_that_leaves_lets_a_waiting_send_go(anywhere: Served) -> None:
    notes, waits = Notes(), Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        # A bound on time only for the case that it hears nothing.
        give_up = time.monotonic() + 2
        try:
            while time.monotonic() < give_up:
                waits.add("sends")
                await send(body(b"x" * MEBIBYTE, more=True))
            notes.add("has heard nothing")
        except OSError as error:
            notes.add(error)
            raise

    client = denied(anywhere, app, receive_buffer=64 * 1024)
    client.head()
    waits.get()
    client.reset()
    assert isinstance(notes.get(), OSError)


def test_a_reader_that_never_reads_is_dropped_in_bounded_time(servers: Servers) -> None:
    server = servers.get(hasten=10)
    client = denied(server, saying(*denying(403, b"x" * 8 * MEBIBYTE)), receive_buffer=4096)
    until("it is dropped", lambda: server.idle, deadline=3)
    client.hang_up()


@pytest.mark.parametrize(
    "wrong",
    [
        [ACCEPT, START],
        [ACCEPT, body(b"x")],
        [START, ACCEPT],
        [START, START],
        [START, CLOSE],
        [START, {"type": "websocket.send", "text": "x"}],
        [body(b"x")],
        [START, body(b"x"), body(b"y")],
        [START, body(b"x"), START],
        [START, body(b"x"), ACCEPT],
        [CLOSE, START],
        [CLOSE, ACCEPT],
        [CLOSE, body(b"x")],
        [CLOSE, CLOSE],
    ],
    ids=lambda wrong: "-".join(each["type"].rpartition(".")[2] for each in wrong),
)
def test_events_in_a_wrong_order_are_errors(server: Served, wrong: list[Message]) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for message in wrong[:-1]:
            await send(message)
        await attempt(notes, send(wrong[-1]))

    denied(server, app)
    assert isinstance(notes.get(), RuntimeError)
