"""An end that the client has brought about: a violation, or a connection that is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import pytest

from server.channels import BAD, LOST, MOMENT, opened
from server.transports import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    RSV1,
    TEXT,
    closing,
    frame,
    in_no_time,
    turns,
)
from telex._types import CloseRecord
from telex.server._channel import Channel
from telex.server._linger import LINGER_TIMEOUT
from telex.server._outbound import ClientDisconnected

# --- violations ---


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (BAD, 1007),
        (frame(TEXT, b"\xff", fin=False), 1007),
        (frame(TEXT, b"\xff" * 100)[:20], 1007),
        (frame(TEXT, rsv=RSV1), 1002),
        (frame(PING, rsv=RSV1), 1002),
        (frame(CONTINUATION), 1002),
        (frame(3), 1002),
        (frame(11), 1002),
        (frame(PING, fin=False), 1002),
        (frame(PING, bytes(126)), 1002),
        (frame(TEXT, mask=None), 1002),
        (b"\x81\xfe\x00\x7d", 1002),
        (b"\x81\xff\x80" + bytes(7), 1002),
        (frame(BINARY, bytes(1001)), 1009),
        (frame(BINARY, bytes(1001))[:8], 1009),
        (frame(BINARY, bytes(70_000)), 1009),
        (frame(BINARY, bytes(600), fin=False) + frame(CONTINUATION, bytes(401)), 1009),
    ],
)
@pytest.mark.parametrize("step", [1, 100_000])
@in_no_time
async def test_a_violation_is_answered_with_its_code(data: bytes, code: int, step: int) -> None:
    connection = opened(max_size=1000)
    data = frame(BINARY, b"before") + data
    for start in range(0, len(data), step):
        connection.transport.feed(data[start : start + step])
    assert connection.channel.closed is None
    assert connection.channel.poll() == b"before"
    assert connection.transport.written == b""
    assert connection.channel.poll() is None
    assert connection.channel.closed is not None
    assert (connection.channel.closed.code, connection.channel.closed.closed_by) == (code, "server")
    ((first, payload),) = connection.transport.frames()
    assert first == FIN | CLOSE
    assert payload == closing(code, connection.channel.closed.reason)
    assert connection.transport.shut
    assert not connection.transport.closing


@in_no_time
async def test_without_messages_before_it_a_violation_is_answered_at_once() -> None:
    connection = opened()
    waiter = connection.channel.wait()
    connection.transport.feed(BAD)
    assert waiter.done()
    assert connection.channel.closed == CloseRecord(1007, "text is not UTF-8", "server")
    assert connection.transport.shut


@in_no_time
async def test_messages_before_a_violation_may_be_answered() -> None:
    connection = opened()
    connection.transport.feed(frame(TEXT, b"a") + frame(PING, b"?") + BAD)
    assert connection.channel.poll() == "a"
    connection.channel.write_text("answer")
    connection.channel.write_bytes(b"x" * 9000)
    connection.channel.write_frame(connection.channel.prepare("prepared"))
    assert connection.channel.poll() is None
    written = connection.transport.frames()
    assert written[0] == (FIN | PONG, b"?")
    assert written[1:4] == [
        (FIN | TEXT, b"answer"),
        (FIN | BINARY, b"x" * 9000),
        (FIN | TEXT, b"prepared"),
    ]
    assert written[4][0] == FIN | CLOSE
    assert len(written) == 5


@pytest.mark.parametrize("bad", [BAD, frame(3)])
@in_no_time
async def test_an_application_that_asks_for_nothing_has_a_moment(bad: bytes) -> None:
    connection = opened()
    connection.transport.feed(frame(TEXT, b"a") + bad)
    await asyncio.sleep(MOMENT - 0.1)
    connection.channel.write_text("late")
    assert connection.transport.frames() == [(FIN | TEXT, b"late")]
    await asyncio.sleep(0.2)
    assert connection.channel.closed is not None
    assert connection.transport.shut
    with pytest.raises(ClientDisconnected):
        connection.channel.write_text("too late")
    assert connection.polled() == ["a"]
    await asyncio.sleep(LINGER_TIMEOUT)
    assert connection.transport.aborted


@in_no_time
async def test_what_follows_a_violation_is_thrown_away() -> None:
    connection = opened()
    connection.transport.feed(frame(TEXT, b"a") + BAD + frame(TEXT, b"b") + frame(CLOSE))
    connection.transport.feed(frame(TEXT, b"c") + frame(PING) + frame(CLOSE) + frame(3))
    assert connection.polled() == ["a"]
    ((first, payload),) = connection.transport.frames()
    assert (first, payload[:2]) == (FIN | CLOSE, closing(1007))


@in_no_time
async def test_an_application_that_closes_after_a_violation_says_what_it_was() -> None:
    connection = opened()
    connection.transport.feed(frame(TEXT, b"a") + BAD)
    connection.channel.close(1000, "mine")
    assert connection.closes == [closing(1007, "text is not UTF-8")]
    connection.channel.close(1000, "mine")
    await asyncio.sleep(MOMENT + 0.1)
    assert connection.closes == []


@in_no_time
async def test_a_client_may_leave_before_it_is_told_of_its_violation() -> None:
    connection = opened()
    connection.transport.feed(frame(TEXT, b"a") + BAD)
    connection.transport.lose(None)
    await turns()
    assert connection.lost == 1
    assert connection.channel.closed == CloseRecord(1007, "text is not UTF-8", "server")
    assert connection.polled() == ["a"]
    assert connection.transport.written == b""
    await asyncio.sleep(MOMENT + 0.1)


@in_no_time
async def test_a_keepalive_and_an_abort_end_a_violation_too() -> None:
    for end in ("expire", "abort"):
        connection = opened()
        connection.transport.feed(frame(TEXT, b"a") + BAD)
        getattr(connection.channel, end)()
        assert connection.transport.aborted
        await asyncio.sleep(MOMENT + 0.1)
        assert connection.lost == 1
        assert connection.channel.closed is not None


@in_no_time
async def test_over_tls_both_sides_are_shut_after_a_violation() -> None:
    connection = opened(tls=True)
    connection.transport.feed(BAD)
    assert connection.transport.closing
    assert connection.closes == [closing(1007, "text is not UTF-8")]


@in_no_time
async def test_a_mistake_of_ours_is_reported_and_ends_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = opened()

    def on_control(self: Channel, first_byte: int, payload: bytes) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(Channel, "on_control", on_control)
    with caplog.at_level(logging.ERROR, "telex.server"):
        connection.transport.feed(frame(PING))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert connection.closes == [closing(1011)]


# --- the transport is gone ---


@in_no_time
async def test_a_lost_connection_is_an_end_without_a_close_frame() -> None:
    connection = opened()
    connection.transport.feed(frame(TEXT, b"last"))
    waiter = connection.channel.wait()
    connection.transport.lose(ConnectionResetError())
    await turns()
    assert connection.channel.closed == LOST
    assert waiter.done()
    assert connection.polled() == ["last"]
    assert connection.lost == 1
    connection.channel.on_lost()
    assert connection.lost == 1


WRITES: Final[list[Callable[[Channel], object]]] = [
    lambda channel: channel.write_text("x"),
    lambda channel: channel.write_bytes(bytes(10_000)),
    lambda channel: channel.write_frame(channel.prepare("x")),
    lambda channel: channel.ping(),
    lambda channel: channel.on_control(FIN | PING, b""),
]


@pytest.mark.parametrize("write", WRITES)
@in_no_time
async def test_a_write_that_finds_the_client_gone_is_the_end(
    write: Callable[[Channel], object],
) -> None:
    connection = opened()
    connection.transport.breaks = True
    write(connection.channel)
    assert connection.channel.closed == LOST
    with pytest.raises(ClientDisconnected):
        connection.channel.write_text("x")
    await turns()
    assert connection.lost == 1


@in_no_time
async def test_who_waits_for_room_is_let_go_at_the_end() -> None:
    for end in ("close", "lose"):
        connection = opened()
        connection.transport.get_protocol().pause_writing()
        assert not connection.channel.writable
        task = asyncio.create_task(connection.channel.drain())
        await turns()
        assert not task.done()
        if end == "close":
            connection.channel.close(1000, "")
        else:
            connection.transport.lose(None)
        await asyncio.wait_for(task, 1)
        connection.channel.abort()


@in_no_time
async def test_what_the_transport_says_of_its_buffer_is_handed_on() -> None:
    connection = opened()
    parser: Any = connection.transport.get_protocol()
    parser.pause_writing()
    assert not connection.channel.writable
    parser.resume_writing()
    assert connection.channel.writable


@in_no_time
async def test_a_client_that_shuts_its_side_is_gone() -> None:
    connection = opened()
    parser: Any = connection.transport.get_protocol()
    assert not parser.eof_received()
