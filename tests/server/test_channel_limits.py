"""A size that is known only after the handshake holds from then on, wherever a frame is."""

from __future__ import annotations

import asyncio

import pytest

from server.channels import BAD, Connection, opened
from server.transports import (
    BINARY,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    TEXT,
    closing,
    frame,
    in_no_time,
    turns,
)


def smaller(connection: Connection, size: int = 100) -> None:
    connection.channel.limit_size(size, pytest.fail)


def too_big(connection: Connection) -> bool:
    """Whether the client was told so, and nothing else."""
    return [payload[:2] for payload in connection.closes] == [closing(1009)]


@pytest.mark.parametrize("compressed", [False, True])
@in_no_time
async def test_a_size_that_comes_late_holds_for_what_comes_then(compressed: bool) -> None:
    connection = opened(compressed=compressed)
    connection.transport.feed(frame(TEXT, b"a" * 200))
    smaller(connection)
    connection.transport.feed(frame(TEXT, b"b" * 100))
    connection.channel.write_text("answer")
    assert connection.transport.frames() == [(FIN | TEXT, b"answer")]
    # What was read before it was known is not looked at again.
    assert connection.polled() == ["a" * 200, "b" * 100]
    connection.transport.feed(frame(TEXT, b"c" * 101))
    assert connection.polled() == []
    assert too_big(connection)


@in_no_time
async def test_a_size_that_is_no_smaller_changes_nothing() -> None:
    connection = opened(max_size=100)
    parser = connection.transport.get_protocol()
    smaller(connection, 100)
    smaller(connection, 1000)
    assert connection.transport.get_protocol() is parser


@pytest.mark.parametrize("known", [2, 8, 100, 207])
@in_no_time
async def test_it_holds_for_a_frame_that_has_come_in_part(known: int) -> None:
    """Its size is in the first four bytes, its head has eight."""
    connection = opened()
    data = frame(BINARY, bytes(200))
    connection.transport.feed(data[:known])
    smaller(connection)
    assert (connection.channel.closed is not None) == (known >= 8)
    connection.transport.feed(data[known:])
    assert connection.polled() == []
    assert too_big(connection)


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@in_no_time
async def test_it_holds_while_frames_come_that_never_end_together(kind: int) -> None:
    connection = opened()
    small, start = frame(kind, b"a" * 50), frame(kind, b"a" * 50)[:20]
    connection.transport.feed(start)
    smaller(connection)
    parser = connection.transport.get_protocol()
    for _ in range(5):
        await asyncio.sleep(0.5)
        connection.transport.feed(small[20:] + small + start)
        assert len(connection.polled()) == 2
    assert connection.transport.get_protocol() is parser
    connection.transport.feed(small[20:] + small + frame(kind, b"b" * 200))
    assert len(connection.polled()) == 2
    assert too_big(connection)


@in_no_time
async def test_then_the_parser_sees_to_it_again() -> None:
    connection = opened()
    data = frame(TEXT, b"begun")
    connection.transport.feed(data[:-1])
    smaller(connection)
    parser = connection.transport.get_protocol()
    connection.transport.feed(data[-1:])
    await asyncio.sleep(2.1)
    assert connection.transport.get_protocol() is not parser
    assert connection.channel._text == FIN | TEXT
    connection.transport.feed(frame(TEXT, b"a" * 100) + frame(TEXT, b"b" * 101))
    assert connection.polled() == ["begun", "a" * 100]
    assert too_big(connection)


@pytest.mark.parametrize(("first", "more"), [(60, 41), (100, 1), (200, 0)])
@in_no_time
async def test_it_holds_for_the_message_whose_fragments_come(first: int, more: int) -> None:
    connection = opened()
    connection.transport.feed(frame(BINARY, bytes(first), fin=False))
    smaller(connection)
    connection.transport.feed(frame(PING, b"between"))
    assert connection.transport.frames() == [(FIN | PONG, b"between")]
    connection.transport.feed(frame(CONTINUATION, bytes(more)))
    assert connection.polled() == []
    assert too_big(connection)


@pytest.mark.parametrize("end", ["close", "violation", "lost"])
@in_no_time
async def test_after_the_end_it_does_not_matter(end: str) -> None:
    connection = opened()
    if end == "close":
        connection.channel.close(1000, "")
    elif end == "violation":
        connection.transport.feed(BAD)
    else:
        connection.transport.lose(None)
        await turns()
    protocol = connection.transport.protocol
    smaller(connection)
    assert connection.transport.protocol is protocol
