"""One connection after its handshake: messages both ways, and an end that is said once."""

from __future__ import annotations

import asyncio
import gc
import weakref
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
    frames_in,
    in_no_time,
    turns,
)
from telex._types import CloseRecord
from telex.server._channel import CLOSE_TIMEOUT, Channel
from telex.server._linger import LINGER_TIMEOUT
from telex.server._outbound import ClientDisconnected
from telex.server._violation import Violation

# --- before the handshake is through ---


@in_no_time
async def test_before_it_is_open_nothing_can_be_written_or_read() -> None:
    connection = Connection()
    channel = connection.channel
    assert channel.poll() is None
    assert channel.closed is None
    assert not channel.wait().done()
    channel.close(1000, "")
    assert channel.closed is None
    with pytest.raises(OSError):
        channel.write_text("x")
    assert connection.transport.written == b""


@in_no_time
async def test_a_client_may_leave_before_it_is_open() -> None:
    connection = Connection()
    waiter = connection.channel.wait()
    connection.channel.on_lost()
    assert connection.channel.closed == LOST
    assert waiter.done()
    assert connection.lost == 1


@in_no_time
async def test_a_handshake_that_is_denied_ends_it() -> None:
    connection = Connection()
    connection.transport.write(b"HTTP/1.1 403")
    connection.channel.deny()
    assert connection.channel.closed == CloseRecord(1006, "", "server")
    assert connection.transport.closing
    assert connection.transport.written == b"HTTP/1.1 403"


@pytest.mark.parametrize("buffered", [0, 1])
@in_no_time
async def test_a_denied_client_has_to_read_what_was_sent_in_time(buffered: int) -> None:
    connection = Connection()
    connection.transport.buffered = buffered
    connection.channel.deny()
    connection.channel.deny()
    await asyncio.sleep(CLOSE_TIMEOUT + 0.1)
    assert connection.transport.aborted == bool(buffered)


# --- messages ---


@pytest.mark.parametrize("size", [1, 3, 10, 2047, 100_000])
@in_no_time
async def test_messages_come_in_whatever_the_pieces(size: int) -> None:
    connection = opened()
    data = b"".join(
        [
            frame(TEXT, "é".encode()),
            frame(BINARY, bytes(300)),
            frame(TEXT, b"a" * 5000, fin=False),
            frame(PING, b"?"),
            frame(CONTINUATION, b"b"),
            frame(BINARY),
        ]
    )
    for start in range(0, len(data), size):
        assert connection.transport.feed(data[start : start + size]) == b""
    assert connection.polled() == ["é", bytes(300), "a" * 5000 + "b", b""]
    assert connection.transport.frames() == [(FIN | PONG, b"?")]


@in_no_time
async def test_messages_go_out_in_the_order_of_the_calls() -> None:
    connection = opened()
    channel = connection.channel
    channel.write_text("é")
    channel.write_frame(channel.prepare("prepared"))
    channel.write_bytes(bytes(10_000))
    channel.write_text("")
    connection.transport.feed(frame(PING, b"?"))
    channel.write_bytes(b"last")
    assert connection.transport.frames() == [
        (FIN | TEXT, "é".encode()),
        (FIN | TEXT, b"prepared"),
        (FIN | BINARY, bytes(10_000)),
        (FIN | TEXT, b""),
        (FIN | PONG, b"?"),
        (FIN | BINARY, b"last"),
    ]


@in_no_time
async def test_compressed_messages_go_out_with_their_bit_set() -> None:
    connection = opened(compressed=True)
    connection.channel.write_text("x" * 1000)
    connection.channel.write_bytes(b"x")
    (big, payload), small = connection.transport.frames()
    assert big == FIN | RSV1 | TEXT
    assert len(payload) < 100
    assert small == (FIN | BINARY, b"x")
    connection.transport.feed(frame(BINARY, payload, rsv=RSV1))
    assert connection.channel.poll() == b"x" * 1000


@pytest.mark.parametrize("size", [10, 100_000])
@in_no_time
async def test_what_came_before_the_answer_is_not_lost(size: int) -> None:
    data = bytes(size)
    connection = opened(frame(BINARY, data) + frame(TEXT, b"begun")[:-1])
    connection.transport.feed(frame(TEXT, b"begun")[-1:])
    assert connection.polled() == [data, "begun"]


@pytest.mark.parametrize("full", [False, True])
@in_no_time
async def test_early_messages_are_bounded_like_all_others(full: bool) -> None:
    connection = Connection(max_messages=3)
    connection.transport.pause_reading()
    connection.channel.open(None, frame(TEXT, b"a") * (3 if full else 2))
    assert connection.transport.paused == full
    assert len(connection.polled()) == (3 if full else 2)
    assert not connection.transport.paused


# --- the client closes ---


@pytest.mark.parametrize(
    ("payload", "code", "reason", "answer"),
    [
        (b"", 1005, "", b""),
        (closing(1000), 1000, "", closing(1000)),
        (closing(1001, "by–e"), 1001, "by–e", closing(1001)),
        (closing(3000, "x" * 123), 3000, "x" * 123, closing(3000)),
        (closing(4999), 4999, "", closing(4999)),
    ],
)
@in_no_time
async def test_a_close_frame_is_answered_with_its_code(
    payload: bytes, code: int, reason: str, answer: bytes
) -> None:
    connection = opened()
    connection.transport.feed(frame(TEXT, b"last") + frame(CLOSE, payload))
    channel = connection.channel
    assert channel.closed == CloseRecord(code, reason, "client")
    assert connection.polled() == ["last"]
    assert connection.closes == [answer]
    assert connection.transport.shut
    with pytest.raises(ClientDisconnected):
        channel.write_text("x")
    with pytest.raises(ClientDisconnected):
        channel.write_bytes(b"x")
    await turns()
    assert not connection.transport.closing
    assert connection.lost == 0
    connection.transport.feed_eof()
    assert connection.transport.closing
    await turns()
    assert connection.lost == 1
    await asyncio.sleep(2 * CLOSE_TIMEOUT)
    assert not connection.transport.aborted


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        (closing(0), 1002),
        (closing(999), 1002),
        (closing(1004), 1002),
        (closing(1005), 1002),
        (closing(1006), 1002),
        (closing(1015), 1002),
        (closing(1016), 1002),
        (closing(2999), 1002),
        (closing(5000), 1002),
        (closing(65535), 1002),
        (closing(1000) + b"\xff", 1007),
        (closing(4000) + b"\xed\xa0\x80", 1007),
    ],
)
@in_no_time
async def test_a_close_frame_that_may_not_be_is_a_violation(payload: bytes, code: int) -> None:
    connection = opened()
    connection.transport.feed(frame(CLOSE, payload))
    assert connection.channel.closed is not None
    assert connection.channel.closed.code == code
    assert connection.channel.closed.closed_by == "server"
    (answer,) = connection.closes
    assert answer[:2] == closing(code)
    assert connection.transport.shut


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), (closing(1006), 1002), (closing(1000) + b"\xff", 1007)],
)
@in_no_time
async def test_that_does_not_hang_on_picows_which_looks_too(payload: bytes, code: int) -> None:
    with pytest.raises(Violation) as caught:
        opened().channel.on_close_frame(payload)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "behind", [b"\xff\xff", frame(CLOSE, closing(1001)), BAD, frame(TEXT, b"late"), frame(PING)]
)
@pytest.mark.parametrize("apart", [False, True])
@in_no_time
async def test_nothing_counts_behind_a_close_frame(behind: bytes, apart: bool) -> None:
    connection = opened()
    if apart:
        connection.transport.feed(frame(CLOSE, closing(1000)))
        await turns()
        assert connection.transport.feed(behind) == b""
    else:
        assert connection.transport.feed(frame(CLOSE, closing(1000)) + behind) == b""
    assert connection.channel.closed == CloseRecord(1000, "", "client")
    assert connection.transport.frames() == [(FIN | CLOSE, closing(1000))]
    assert connection.polled() == []
    assert not connection.transport.closing
    connection.transport.feed_eof()
    await turns()
    assert connection.lost == 1


@pytest.mark.parametrize(("buffered", "timeout"), [(0, LINGER_TIMEOUT), (1, CLOSE_TIMEOUT)])
@in_no_time
async def test_a_client_that_does_not_hang_up_is_dropped_after_its_close(
    buffered: int, timeout: float
) -> None:
    """It has longer when it has yet to read what was sent before."""
    connection = opened()
    connection.transport.buffered = buffered
    connection.transport.feed(frame(CLOSE))
    await asyncio.sleep(timeout - 0.1)
    assert not connection.transport.closing
    assert connection.lost == 0
    await asyncio.sleep(0.2)
    assert connection.transport.aborted
    assert connection.lost == 1


# --- we close ---


@in_no_time
async def test_our_close_waits_for_that_of_the_client() -> None:
    connection = opened()
    connection.channel.close(1001, "by–e")
    assert connection.channel.closed == CloseRecord(1001, "by–e", "server")
    assert connection.closes == [closing(1001, "by–e")]
    assert not connection.transport.closing
    connection.transport.feed(frame(TEXT, b"late") + frame(PING))
    assert connection.polled() == []
    connection.transport.feed(frame(CLOSE, closing(1001)))
    assert connection.transport.shut
    assert connection.transport.written == b""
    await turns()
    assert not connection.transport.closing
    connection.transport.feed_eof()
    assert connection.transport.closing
    await turns()
    assert connection.lost == 1
    await asyncio.sleep(2 * CLOSE_TIMEOUT)
    assert not connection.transport.aborted


@in_no_time
async def test_a_client_that_does_not_answer_our_close_is_dropped() -> None:
    connection = opened()
    connection.channel.close(1000, "")
    await asyncio.sleep(CLOSE_TIMEOUT - 0.1)
    assert not connection.transport.closing
    await asyncio.sleep(0.2)
    assert connection.transport.aborted
    assert connection.lost == 1


@in_no_time
async def test_the_wait_can_be_cut_short() -> None:
    connection = opened()
    connection.channel.close(1012, "")
    connection.channel.hurry(1.0)
    await asyncio.sleep(1.1)
    assert connection.transport.aborted


@in_no_time
async def test_the_first_end_counts() -> None:
    connection = opened()
    channel = connection.channel
    channel.close(1001, "first")
    channel.close(1011, "second")
    channel.fail(Violation(1002, "third"))
    channel.deny()
    channel.abort()
    channel.on_lost()
    assert channel.closed == CloseRecord(1001, "first", "server")
    assert connection.closes == [closing(1001, "first")]


@in_no_time
async def test_whoever_closes_reads_up_to_the_clients_close_though_nobody_takes_messages() -> None:
    connection = opened(max_messages=2)
    assert connection.transport.feed(frame(TEXT) * 2) == b""
    assert connection.transport.paused
    connection.channel.close(1000, "")
    assert not connection.transport.paused
    connection.transport.feed(frame(TEXT) * 100 + frame(CLOSE))
    assert connection.transport.shut
    assert connection.polled() == ["", ""]


@in_no_time
async def test_what_follows_the_clients_answer_ends_it_too() -> None:
    connection = opened()
    connection.channel.close(1000, "")
    connection.transport.feed(b"\xff\xff")
    assert connection.transport.shut
    assert connection.closes == [closing(1000)]
    connection.transport.feed_eof()
    assert connection.transport.closing


@in_no_time
async def test_an_abort_says_nothing() -> None:
    connection = opened()
    connection.channel.abort()
    assert connection.channel.closed == CloseRecord(1006, "", "server")
    assert connection.transport.aborted
    assert connection.transport.written == b""


@in_no_time
async def test_one_that_does_not_answer_pings_is_told_and_dropped() -> None:
    connection = opened()
    connection.channel.expire()
    assert connection.channel.closed == CloseRecord(1011, "keepalive ping timeout", "server")
    assert connection.closes == [closing(1011, "keepalive ping timeout")]
    assert connection.transport.aborted


# --- who wants to know of the end ---


@in_no_time
async def test_callbacks_are_told_of_the_end_once() -> None:
    connection = opened()
    told: list[CloseRecord] = []
    connection.channel.on_close(told.append)
    connection.channel.on_close(told.append)
    connection.transport.feed(frame(CLOSE, closing(1001)))
    record = CloseRecord(1001, "", "client")
    assert told == [record, record]
    await turns()
    assert told == [record, record]


@in_no_time
async def test_a_callback_that_comes_late_is_told_in_the_next_turn() -> None:
    connection = opened()
    connection.channel.close(1000, "")
    told: list[CloseRecord] = []
    connection.channel.on_close(told.append)
    assert told == []
    await turns()
    assert told == [CloseRecord(1000, "", "server")]


def failing(record: CloseRecord) -> None:
    raise ZeroDivisionError("of the one who wants to know")


@pytest.mark.parametrize("end", ["lost", "close", "client"])
def test_a_callback_that_fails_stops_nothing(end: str) -> None:
    """It is reported to the event loop or the log; either will do."""
    connections: list[Connection] = []
    told: list[CloseRecord] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        connection = opened()
        connections.append(connection)
        connection.channel.on_close(failing)
        connection.channel.on_close(told.append)
        await within_end(end, connection)
        connection.transport.lose(None)
        await turns()

    asyncio.run(run())
    assert len(told) == 1
    assert connections[0].lost == 1


@in_no_time
async def test_a_ping_is_forgotten_at_the_end() -> None:
    """The keepalive would drop a client that has answered it, and still reads."""
    connection = opened()
    connection.channel.ping()
    ((_, payload),) = connection.transport.frames()
    connection.channel.close(1000, "")
    connection.transport.feed(frame(PONG, payload))
    assert connection.channel.pinged is None


# --- a big read buffer ---


def room(connection: Connection) -> int:
    """The size of the read buffer."""
    protocol: Any = connection.transport.get_protocol()
    return len(protocol.get_buffer(-1))


@in_no_time
async def test_a_big_read_buffer_is_given_back_after_a_moment() -> None:
    connection = opened()
    small = room(connection)
    for _ in range(2):
        connection.transport.feed(frame(BINARY, bytes(200_000)))
        assert room(connection) > 100_000
        connection.transport.feed(frame(BINARY, bytes(200_000)))
        connection.polled()
        await asyncio.sleep(2.1)
        assert room(connection) == small
        connection.channel.write_text("still here")
        assert connection.transport.frames() == [(FIN | TEXT, b"still here")]
    connection.transport.feed(frame(CLOSE, closing(1000)))
    assert connection.closes == [closing(1000)]


@in_no_time
async def test_it_is_kept_while_big_messages_come() -> None:
    connection = opened()
    connection.transport.feed(frame(BINARY, bytes(200_000)))
    parser = connection.transport.get_protocol()
    for _ in range(5):
        await asyncio.sleep(0.9)
        connection.transport.feed(frame(BINARY, bytes(200_000)))
        connection.polled()
    assert connection.transport.get_protocol() is parser
    await asyncio.sleep(2.1)
    assert connection.transport.get_protocol() is not parser


@in_no_time
async def test_it_is_not_given_back_while_a_frame_is_unfinished() -> None:
    connection = opened()
    connection.transport.feed(frame(BINARY, bytes(200_000)) + frame(TEXT, b"begun")[:-1])
    await asyncio.sleep(1.1)
    connection.transport.feed(frame(TEXT, b"begun")[-1:])
    assert connection.polled() == [bytes(200_000), "begun"]
    connection.transport.feed(frame(TEXT, b"begun")[:-1])
    await asyncio.sleep(1.1)
    connection.transport.feed(frame(TEXT, b"begun")[-1:])
    assert connection.polled() == ["begun"]
    connection.transport.feed(frame(TEXT, b"begun", fin=False))
    await asyncio.sleep(2.2)
    assert room(connection) < 10_000
    connection.transport.feed(frame(CONTINUATION, b", ended"))
    assert connection.polled() == ["begun, ended"]


@pytest.mark.parametrize("end", ["close", "violation", "lost"])
@in_no_time
async def test_it_is_not_given_back_after_the_end(end: str) -> None:
    connection = opened()
    connection.transport.feed(frame(BINARY, bytes(200_000)))
    if end == "close":
        connection.channel.close(1000, "")
    elif end == "violation":
        connection.transport.feed(BAD)
    else:
        connection.transport.lose(None)
    protocol = connection.transport.get_protocol()
    await asyncio.sleep(1.05)
    assert connection.transport.get_protocol() is (protocol if end != "lost" else None)


# --- nothing is left behind ---


@pytest.mark.parametrize(
    "end", ["client", "close", "violation", "parted", "refused", "lost", "broken"]
)
@pytest.mark.parametrize("compressed", [False, True])
@in_no_time
async def test_after_the_end_everything_goes_without_the_collector(
    end: str, compressed: bool
) -> None:
    gc.collect()
    gc.disable()
    try:
        connection = opened(compressed=compressed)
        transport, channel = connection.transport, connection.channel
        channel.on_close(lambda record: None)
        transport.feed(frame(BINARY, bytes(100_000)) + frame(TEXT, b"a", fin=False))
        channel.write_text("x" * 1000)
        await within_end(end, connection)
        parser = transport.get_protocol()
        transport.lose(None)
        await asyncio.sleep(5)
        dead: list[weakref.ref[Any]] = [weakref.ref(channel), weakref.ref(connection)]
        del connection, channel, parser, transport
        await asyncio.sleep(0)
        assert [each() for each in dead] == [None, None]
    finally:
        gc.enable()


async def within_end(end: str, connection: Connection) -> None:
    """Bring a connection to its end."""
    transport, channel = connection.transport, connection.channel
    if end == "client":
        transport.feed(frame(CLOSE, closing(1000)))
    elif end == "close":
        channel.close(1000, "")
    elif end == "violation":
        transport.feed(frame(PING, rsv=RSV1))
    elif end == "parted":
        transport.feed(frame(PING, rsv=RSV1))
        await asyncio.sleep(MOMENT + 0.1)
    elif end == "refused":
        connection.polled()
        transport.feed(frame(3))
    elif end == "broken":
        transport.breaks = True
        channel.write_text("x")


STALE: Final[list[Callable[[Channel], Callable[[], object]]]] = [
    lambda channel: _bound(channel.write_text, "x"),
    lambda channel: _bound(channel.write_bytes, b"x" * 9000),
    lambda channel: _bound(channel.write_frame, channel.prepare("x")),
    lambda channel: channel.ping,
    lambda channel: _bound(channel.on_control, FIN | PING, b""),
]


def _bound(function: Callable[..., object], *args: Any) -> Callable[[], object]:
    return lambda: function(*args)


@pytest.mark.parametrize("made", STALE)
@pytest.mark.parametrize("end", ["client", "close", "refused", "lost"])
@pytest.mark.parametrize("tidied", [False, True])
@in_no_time
async def test_a_function_that_was_kept_from_before_writes_nothing_after_the_end(
    made: Callable[[Channel], Callable[[], object]], end: str, tidied: bool
) -> None:
    connection = opened()
    write = made(connection.channel)
    if tidied:
        connection.transport.feed(frame(BINARY, bytes(200_000)))
        await asyncio.sleep(1.1)
    await within_end(end, connection)
    if end == "lost":
        connection.transport.lose(None)
        await turns()
    connection.polled()
    connection.transport.shut = False
    connection.transport.take()
    try:
        write()
    except OSError:
        pass
    assert frames_in(connection.transport.take()) == []
