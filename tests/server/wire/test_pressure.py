"""Back-pressure both ways: the slow side stops the fast one, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from server.wire.apps import (
    ACCEPT,
    Notes,
    echo,
    received,
    saying,
    sending,
    to_the_end,
    waiting,
)
from server.wire.client import BINARY, FIN, Frame, frame, is_text, open_client, text
from server.wire.serving import Served, Servers, until
from telex._types import FRAMES_EXTENSION, Receive, Scope, Send

MEBIBYTE = 2**20
KERNEL = 8 * MEBIBYTE
"""Bytes that sockets on this machine may hold by themselves, generously."""

HIGH_MARK = 64 * 1024
"""Bytes in a transport of asyncio from which writing is to wait."""


# A fast client


@pytest.mark.parametrize("size", [500, 100_000, 2 * MEBIBYTE])
def test_a_slow_application_stops_a_fast_client(anywhere: Served, size: int) -> None:
    gate = anywhere.gate()
    client = open_client(anywhere, waiting(gate))
    written = client.flood(frame(BINARY, b"x" * size))
    gate.open()
    assert written < KERNEL + 4 * size


def test_messages_of_no_size_are_counted_too(server: Served) -> None:
    gate = server.gate()

    async def enough(receive: Receive, send: Send) -> None:
        """What is left may be forgotten."""

    client = open_client(server, waiting(gate, enough))
    written = client.flood(frame(BINARY))
    gate.open()
    assert written < KERNEL


def test_no_more_messages_wait_than_the_settings_say(servers: Servers) -> None:
    server = servers.get(ws_max_queue=4)
    notes, gate = Notes(), server.gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        channel = scope["extensions"][FRAMES_EXTENSION]
        await gate.wait()
        waiting = 0
        while channel.poll() is not None:
            waiting += 1
        notes.add(waiting)

    client = open_client(server, app)
    piece = frame(BINARY, b"x" * 30_000)
    client.flood(piece)
    gate.open()
    # The bound, and what was in the read buffer when it was reached.
    assert 0 < notes.get() <= 4 + 9


def test_a_client_that_was_stopped_goes_on_and_nothing_is_lost(anywhere: Served) -> None:
    notes, gate = Notes(), anywhere.gate()

    async def take(receive: Receive, send: Send) -> None:
        count = 0
        while (event := await receive())["type"] == "websocket.receive":
            assert event["bytes"] == b"x" * 5000
            count += 1
        notes.add(count)

    client = open_client(anywhere, waiting(gate, take))
    piece = frame(BINARY, b"x" * 5000)
    written = client.flood(piece)
    gate.open()
    for _ in range(3):
        written = client.flood(piece, already=written, most=MEBIBYTE)
    count = client.finish(piece, written)
    client.write(frame(8, b"\x03\xe8"))
    assert notes.get() == count


def test_stopping_and_going_on_many_times_keeps_the_order(anywhere: Served) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        number = 0
        while (event := await receive())["type"] == "websocket.receive":
            if int(event["text"][:8]) != number:
                break
            number += 1
        notes.add(number)

    client = open_client(anywhere, app)
    count = 3000
    for number in range(0, count, 100):
        client.write(
            *(text(f"{each:08d}" + "x" * (each % 700)) for each in range(number, number + 100))
        )
    client.write(frame(8, b"\x03\xe8"))
    assert notes.get() == count


def test_one_message_behind_another_that_is_big_is_not_lost(server: Served) -> None:
    gate, notes = server.gate(), Notes()

    async def take(receive: Receive, send: Send) -> None:
        for _ in range(3):
            notes.add(await receive())

    client = open_client(server, waiting(gate, take))
    client.write(text("one"), frame(BINARY, b"x" * MEBIBYTE))
    server.turn()
    gate.open()
    client.write(text("three"))
    assert notes.get() == received("one")
    assert len(notes.get()["bytes"]) == MEBIBYTE
    assert notes.get() == received("three")


def test_the_end_of_a_client_that_was_stopped_is_heard_after_its_messages(
    anywhere: Served,
) -> None:
    gate, notes = anywhere.gate(), Notes()

    async def take(receive: Receive, send: Send) -> None:
        count = 0
        while (event := await receive())["type"] == "websocket.receive":
            count += 1
        notes.add((count, event["code"], event["reason"]))

    client = open_client(anywhere, waiting(gate, take))
    client.write(*[frame(BINARY, b"x" * 100)] * 500, frame(8, b"\x0f\xa0bye"))
    anywhere.turn()
    gate.open()
    assert notes.get() == (500, 4000, "bye")


# A slow client


class Pouring:
    """An application that sends as long as it may, and knows how much is on its way."""

    def __init__(self, count: int, size: int) -> None:
        self.sent = 0
        self.channel: Any = None
        self._message = sending(b"x" * size)
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.channel = scope["extensions"][FRAMES_EXTENSION]
        await send(ACCEPT)
        for _ in range(self._count):
            await send(self._message)
            self.sent += 1
        await send(sending("the end"))
        await to_the_end(receive, send)


def stalled(server: Served, app: Pouring) -> int:
    """Wait until an application sends no more; return how many messages it has sent."""
    seen = [-1, -2, -3, -4, -5]

    def same() -> bool:
        server.turn()
        seen.append(app.sent)
        return app.sent > 0 and len(set(seen[-5:])) == 1

    until("it waits", same)
    return app.sent


@pytest.mark.parametrize("size", [5000, 100_000])
def test_a_client_that_does_not_read_makes_the_application_wait(
    anywhere: Served, size: int
) -> None:
    count = 4 * MEBIBYTE // size
    app = Pouring(count, size)
    client = open_client(anywhere, app, receive_buffer=65_536)
    sent = stalled(anywhere, app)
    assert sent < count
    assert anywhere.call(lambda: app.channel.buffered) < MEBIBYTE + size
    for _ in range(count):
        assert client.frame() == Frame(FIN | BINARY, b"x" * size)
    assert client.frame() == is_text("the end")


def test_a_message_that_is_bigger_than_every_buffer_arrives_whole(anywhere: Served) -> None:
    data = bytes(range(256)) * (32 * 1024)
    client = open_client(anywhere, echo, receive_buffer=65_536)
    client.write(frame(BINARY, data))
    assert client.frame() == Frame(FIN | BINARY, data)


def test_an_application_that_waits_for_a_client_still_hears_it(anywhere: Served) -> None:
    notes = Notes()
    app = Pouring(40, 100_000)

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        sender = asyncio.ensure_future(app(scope, receive, send))
        notes.add(await receive())
        await sender

    client = open_client(anywhere, both, receive_buffer=65_536)
    stalled(anywhere, app)
    client.write(text("I am slow"))
    assert notes.get() == received("I am slow")
    client.reset()


def test_small_messages_in_a_row_are_not_held_back(server: Served) -> None:
    """Whoever made the listening socket (uvicorn's workers, LiveServer): no Nagle delays."""
    app = saying(ACCEPT, then=answering_twice)
    client = open_client(server, app)
    before = time.monotonic()
    for _ in range(20):
        client.write(text("?"))
        assert [client.frame(), client.frame()] == [is_text("one"), is_text("two")]
    assert time.monotonic() - before < 0.4


async def answering_twice(receive: Receive, send: Send) -> None:
    while (await receive())["type"] == "websocket.receive":
        await send(sending("one"))
        await asyncio.sleep(0)
        await send(sending("two"))


def test_two_clients_do_not_wait_for_each_other(anywhere: Served) -> None:
    app = Pouring(40, 100_000)
    open_client(anywhere, app, receive_buffer=65_536)
    stalled(anywhere, app)
    other = open_client(anywhere, echo)
    for number in range(10):
        other.write(text(str(number)))
        assert other.frame() == is_text(str(number))


# The end while the output is backed up


def test_a_close_frame_that_fills_the_buffer_does_not_hold_the_application(
    servers: Servers,
) -> None:
    server = servers.get(hasten=10, ws_ping_interval=None)
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        channel = scope["extensions"][FRAMES_EXTENSION]
        await send(ACCEPT)
        while channel.buffered < HIGH_MARK - 2000:
            await send(sending(b"x" * 1000))
        await send(sending(b"x" * (HIGH_MARK - channel.buffered - 50)))
        await send({"type": "websocket.close", "code": 4000, "reason": "y" * 123})
        notes.add("has closed")

    client = open_client(server, app, receive_buffer=4096)
    assert notes.get(timeout=3) == "has closed"
    client.hang_up()


def test_our_close_lets_a_slow_reader_have_everything_even_in_the_middle_of_a_frame(
    servers: Servers,
) -> None:
    server = servers.get(hasten=10, ws_ping_interval=None)
    said = server.gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await said.wait()
        await send(sending(b"x" * 4 * MEBIBYTE))

    client = open_client(server, app, receive_buffer=4096)
    client.write(frame(BINARY, b"x" * 1000)[:500])
    server.turn()
    said.open()
    # Longer than what is granted after a violation, shorter than what is after our own close.
    client.read(1)
    server.wait(asyncio.sleep(4))
    client.write(frame(BINARY, b"x" * 1000)[500:])
    assert len(client.read(9 + 4 * MEBIBYTE)) == 9 + 4 * MEBIBYTE
    assert client.close_frame() == (1000, "")
