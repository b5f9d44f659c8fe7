"""An end that the client has brought about: a violation, or a connection that is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import pytest

from server.channels import BAD, LOST, MOMENT, Connection, opened
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
from telex.server._channel import CLOSE_TIMEOUT, Channel
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


# --- all was said, and the client is to hang up ---


def say_all(connection: Connection, how: str) -> None:
    """Have both sides send a close frame, or us, and the client nonsense."""
    if how != "client":
        connection.channel.close(1000, "")
    connection.transport.feed(b"\xff\xff" if how == "nonsense" else frame(CLOSE, closing(1000)))


WAYS = pytest.mark.parametrize("how", ["client", "server", "nonsense"])


@WAYS
@in_no_time
async def test_what_comes_behind_the_last_frame_is_thrown_away_and_changes_nothing(
    how: str,
) -> None:
    connection = opened()
    say_all(connection, how)
    assert connection.closes == [closing(1000)]
    kept = connection.channel.closed
    flood = frame(BINARY, bytes(100_000)) * 10
    for _ in range(10):
        for data in (flood, frame(PING), frame(CLOSE, closing(1001)), b"\xff\xff", BAD):
            assert connection.transport.feed(data) == b""
        # Time is the bound, however much comes.
        await asyncio.sleep((LINGER_TIMEOUT - 0.1) / 10)
    assert connection.transport.written == b""
    assert connection.polled() == []
    assert connection.channel.closed is kept
    assert not connection.transport.closing
    await asyncio.sleep(0.2)
    assert connection.transport.aborted
    assert connection.lost == 1


@pytest.mark.parametrize("buffered", [0, 1])
@pytest.mark.parametrize(
    "behind", [frame(TEXT)[:1], frame(TEXT), frame(PING), frame(CLOSE), b"\xff\xff", BAD]
)
@in_no_time
async def test_a_parser_reads_no_more_than_the_first_of_what_comes_behind(
    behind: bytes, buffered: int
) -> None:
    connection = opened()
    connection.transport.buffered = buffered
    connection.transport.feed(frame(CLOSE, closing(1000)))
    parser = connection.transport.get_protocol()
    await turns()
    assert connection.transport.get_protocol() is parser
    connection.transport.feed(behind)
    assert connection.transport.get_protocol() is not parser
    assert connection.channel._parser is None
    await asyncio.sleep((CLOSE_TIMEOUT if buffered else LINGER_TIMEOUT) - 0.1)
    assert not connection.transport.closing
    await asyncio.sleep(0.2)
    assert connection.transport.aborted
    assert connection.lost == 1


@WAYS
@pytest.mark.parametrize("buffered", [0, 1])
@in_no_time
async def test_over_tls_both_sides_are_shut_after_the_last_frame(how: str, buffered: int) -> None:
    connection = opened(tls=True)
    connection.transport.buffered = buffered
    say_all(connection, how)
    assert connection.closes == [closing(1000)]
    assert connection.transport.closing
    # A client that reads nothing more cannot keep what is buffered for ever.
    handle = connection.channel._deadline
    assert (handle is not None) == (how != "client" or buffered == 1)
    if handle is not None:
        assert handle.when() == pytest.approx(asyncio.get_running_loop().time() + CLOSE_TIMEOUT)
    await turns()
    assert connection.lost == 1
    assert handle is None or handle.cancelled()


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("behind", [b"", frame(BINARY, bytes(300_000))[:-1]])
@pytest.mark.parametrize("last", [frame(CLOSE), frame(3), BAD], ids=["close", "bad", "text"])
@in_no_time
async def test_no_big_buffer_is_kept_until_the_client_hangs_up(
    last: bytes, behind: bytes, apart: bool
) -> None:
    connection = opened()
    waiter = connection.channel.wait()
    connection.transport.feed(frame(BINARY, bytes(300_000)) + (b"" if apart else last + behind))
    if apart:
        connection.transport.feed(last + behind)
    assert waiter.done()
    assert connection.polled() == [bytes(300_000)]
    assert connection.transport.shut
    await turns()
    assert connection.channel._parser is None
    assert len(connection.channel.view) <= 4096
    assert connection.channel.compression is None
    assert connection.channel._assembly is None
    protocol: Any = connection.transport.get_protocol()
    others: Any = opened(BAD).transport.get_protocol()
    assert protocol.get_buffer(-1) is others.get_buffer(-1)
    await asyncio.sleep(LINGER_TIMEOUT + 0.1)


@WAYS
@in_no_time
async def test_a_client_that_is_gone_before_it_is_asked_is_let_go(how: str) -> None:
    connection = opened()
    connection.transport.vanished = True
    say_all(connection, how)
    assert connection.transport.aborted
    await turns()
    assert connection.lost == 1
    assert connection.channel.closed is not None
    assert connection.channel.closed.code == 1000


@in_no_time
async def test_a_client_whose_close_cannot_be_answered_is_not_asked() -> None:
    connection = opened()
    connection.transport.breaks = True
    connection.transport.feed(frame(CLOSE, closing(1000)))
    assert connection.channel.closed == CloseRecord(1000, "", "client")
    assert not connection.transport.shut
    await turns()
    assert connection.lost == 1


@in_no_time
async def test_who_aborts_does_not_wait_for_the_client_to_hang_up() -> None:
    connection = opened()
    say_all(connection, "client")
    connection.channel.close(1011, "")
    assert not connection.transport.closing
    connection.channel.abort()
    assert connection.transport.aborted
    await turns()
    assert connection.lost == 1
    assert connection.channel.closed == CloseRecord(1000, "", "client")


@in_no_time
async def test_a_close_frame_that_came_with_what_stopped_the_reading_is_no_dead_end() -> None:
    connection = opened(max_messages=2)
    connection.transport.feed(frame(TEXT) * 2 + frame(CLOSE, closing(1000)))
    assert not connection.transport.paused
    assert connection.polled() == ["", ""]
    connection.transport.feed_eof()
    await turns()
    assert connection.lost == 1


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
