"""Messages, pings and pongs go out, and nothing goes out after the end."""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opened import until
from server.transports import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    PONG,
    RSV1,
    RSV2,
    TEXT,
    FakeTransport,
    frames_in,
    in_no_time,
    turns,
)
from telex._types import CloseRecord
from telex.server._deflate import WORTH_IT, Agreement, Compression
from telex.server._inbound import Bounds
from telex.server._outbound import ClientDisconnected, Outbound, frame, refuse
from telex.server._violation import Violation

GONE = CloseRecord(1001, "", "client")


class FakeWire:
    """Keeps what picows would write."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def send(self, kind: int, payload: Any, fin: bool = True, rsv1: bool = False) -> None:
        self.sent.append((kind, payload if isinstance(payload, str) else bytes(payload), fin, rsv1))


class Outgoing(Outbound):
    """Both halves, without an end."""

    def __init__(self, compression: Compression | None = None) -> None:
        self.fake = FakeTransport()
        self.wire = FakeWire()
        super().__init__(self.fake, asyncio.get_running_loop(), Bounds(1 << 20, 2))
        self.compression = compression
        self.expect_messages()
        self.on_ws_connected(self.wire)
        self.close_frames: list[bytes] = []
        self.broken = 0

    def on_close_frame(self, payload: bytes) -> None:
        self.close_frames.append(payload)

    def on_broken(self) -> None:
        self.broken += 1


def compressing() -> Compression:
    return Compression(Agreement("", (False, False), (12, 12)))


# --- frames ---


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "82 00"),
        (125, "82 7d"),
        (126, "82 7e 00 7e"),
        (65535, "82 7e ff ff"),
        (65536, "82 7f 00 00 00 00 00 01 00 00"),
    ],
)
def test_the_head_of_a_frame_takes_the_shortest_form(size: int, head: str) -> None:
    payload = b"x" * size
    assert frame(BINARY, payload) == bytes.fromhex(head) + payload


@given(kind=st.sampled_from([TEXT, BINARY, CLOSE, PING, PONG]), size=st.integers(0, 70_000))
@example(kind=BINARY, size=125)
def test_a_frame_says_its_kind_and_its_size(kind: int, size: int) -> None:
    payload = bytes(size)
    assert frames_in(frame(kind, payload)) == [(FIN | kind, payload)]


@pytest.mark.parametrize("data", ["", "é" * 100, b"", b"\xff" * 70_000])
@in_no_time
async def test_what_was_prepared_once_can_be_written_often(data: str | bytes) -> None:
    out = Outgoing()
    prepared = out.prepare(data)
    for _ in range(3):
        out.write_frame(prepared)
    payload = data.encode() if isinstance(data, str) else data
    kind = TEXT if isinstance(data, str) else BINARY
    assert out.fake.frames() == [(FIN | kind, payload)] * 3


@in_no_time
async def test_a_write_that_finds_the_client_gone_says_so_at_once() -> None:
    out = Outgoing()
    out.fake.breaks = True
    out.write_frame(out.prepare("x"))
    assert out.broken == 1


@in_no_time
async def test_nothing_prepared_is_written_after_the_end() -> None:
    out = Outgoing()
    prepared = out.prepare("x")
    out.finish(GONE)
    with pytest.raises(OSError, match="the client is gone"):
        out.write_frame(prepared)
    assert out.fake.written == b""


# --- messages ---


@in_no_time
async def test_before_the_handshake_there_is_nobody_to_write_to() -> None:
    out = Outbound(FakeTransport(), asyncio.get_running_loop(), Bounds(1, 1))
    with pytest.raises(ClientDisconnected):
        out.write_text("x")
    with pytest.raises(ClientDisconnected):
        out.write_bytes(b"x")


@in_no_time
async def test_messages_go_straight_to_the_wire() -> None:
    out = Outgoing()
    out.write_text("é")
    out.write_bytes(b"x")
    assert out.wire.sent == [(TEXT, "é", True, False), (BINARY, b"x", True, False)]


@in_no_time
async def test_a_message_that_is_worth_it_is_compressed() -> None:
    out = Outgoing(compressing())
    out.write_text("é" * WORTH_IT)
    out.write_bytes(b"x" * WORTH_IT)
    client = zlib.decompressobj(wbits=-12)
    for sent, data in zip(out.wire.sent, ["é".encode() * WORTH_IT, b"x" * WORTH_IT], strict=True):
        assert len(sent[1]) < WORTH_IT
        assert sent[2:] == (True, True)
        assert client.decompress(sent[1] + b"\0\0\xff\xff") == data
    assert [sent[0] for sent in out.wire.sent] == [TEXT, BINARY]


@in_no_time
async def test_a_message_that_is_not_worth_it_is_sent_as_it_is() -> None:
    out = Outgoing(compressing())
    out.write_text("x" * (WORTH_IT - 1))
    out.write_bytes(b"")
    assert out.wire.sent == [
        (TEXT, b"x" * (WORTH_IT - 1), True, False),
        (BINARY, b"", True, False),
    ]


@in_no_time
async def test_messages_can_be_written_without_the_wire() -> None:
    out = Outgoing()
    out._write_plainly("a")
    out._write_plainly(b"b")
    assert out.fake.frames() == [(FIN | TEXT, b"a"), (FIN | BINARY, b"b")]


def test_a_client_that_is_gone_is_an_oserror() -> None:
    with pytest.raises(OSError, match="the client is gone"):
        refuse(b"")


# --- a buffer that is full ---


@in_no_time
async def test_draining_waits_for_room() -> None:
    out = Outgoing()
    await out.drain()
    out.pause_writing()
    assert not out.writable
    tasks = [asyncio.create_task(out.drain()) for _ in range(3)]
    await turns()
    assert not any(task.done() for task in tasks)
    out.resume_writing()
    await asyncio.gather(*tasks)
    assert out.writable


@in_no_time
async def test_one_who_is_cancelled_leaves_the_others_waiting() -> None:
    out = Outgoing()
    out.pause_writing()
    first, second = (asyncio.create_task(out.drain()) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    assert not second.done()
    out.resume_writing()
    await second


@in_no_time
async def test_a_buffer_that_is_full_again_is_waited_for_again() -> None:
    out = Outgoing()
    out.pause_writing()
    task = asyncio.create_task(out.drain())
    await turns()
    out.resume_writing()
    out.pause_writing()
    await turns()
    assert not task.done()
    out.resume_writing()
    await until(task.done)


@in_no_time
async def test_room_in_a_buffer_that_was_full_counts_as_taken() -> None:
    out = Outgoing()
    out.fake.buffered = 100
    before = out.flow()
    assert before.waiting == 100
    out.resume_writing()
    assert out.flow() == before
    out.pause_writing()
    out.resume_writing()
    out.fake.buffered = 200
    assert out.flow().moved_since(before)
    out.fake.buffered = 0


@in_no_time
async def test_room_that_is_there_twice_harms_nobody() -> None:
    out = Outgoing()
    out.resume_writing()
    out.pause_writing()
    task = asyncio.create_task(out.drain())
    await turns()
    assert out._room is not None
    out._room.cancel()
    out.resume_writing()
    await turns()
    assert task.cancelled()


@in_no_time
async def test_what_is_buffered_is_what_the_transport_says_until_it_closes() -> None:
    out = Outgoing()
    assert out.buffered == 0
    out.fake.buffered = 17
    assert out.buffered == 17


# --- a streak of writes ---


STREAK: Final = 40_000


async def until_held_back(out: Outgoing) -> int:
    """Write until the next drain would wait; return how many bytes."""
    written = 0
    while out.writable:
        out.write_raw(bytes(STREAK // 10), b"")
        written += STREAK // 10
        assert written < 100 * STREAK
    return written


@in_no_time
async def test_who_writes_much_without_a_pause_waits_for_a_turn_of_the_loop() -> None:
    out = Outgoing()
    first = await until_held_back(out)
    await out.drain()
    assert out.writable
    assert await until_held_back(out) == first
    assert out.broken == 0
    await out.drain()


@in_no_time
async def test_a_buffer_that_is_full_then_is_waited_for_all_the_same() -> None:
    out = Outgoing()
    await until_held_back(out)
    out.pause_writing()
    await turns()
    assert not out.writable
    out.resume_writing()
    await out.drain()


@in_no_time
async def test_a_write_to_a_client_that_is_gone_holds_nobody_back() -> None:
    out = Outgoing()
    out.fake.breaks = True
    out.write_raw(bytes(100 * STREAK))
    assert out.broken == 1
    assert out.writable


# --- control frames ---


@in_no_time
async def test_a_ping_is_answered_with_what_it_carries() -> None:
    out = Outgoing()
    out.on_control(FIN | PING, b"x" * 125)
    assert out.fake.frames() == [(FIN | PONG, b"x" * 125)]


@pytest.mark.parametrize("why", ["full", "over"])
@in_no_time
async def test_a_ping_is_not_answered_where_nobody_would_read_it(why: str) -> None:
    out = Outgoing()
    if why == "full":
        out.pause_writing()
    else:
        out.finish(GONE)
    out.on_control(FIN | PING, b"x")
    assert out.fake.written == b""


@pytest.mark.parametrize("first", [PING | FIN | RSV1, PONG | FIN | RSV2, CLOSE | FIN | RSV1])
@in_no_time
async def test_control_frames_have_no_reserved_bits(first: int) -> None:
    out = Outgoing()
    with pytest.raises(Violation) as caught:
        out.on_control(first, b"")
    assert (caught.value.code, caught.value.reason) == (1002, "reserved bits must be 0")


@in_no_time
async def test_a_close_frame_is_handed_on() -> None:
    out = Outgoing()
    out.on_control(FIN | CLOSE, b"\x03\xe8")
    assert out.close_frames == [b"\x03\xe8"]


@in_no_time
async def test_this_half_alone_knows_no_end() -> None:
    out = Outbound(FakeTransport(), asyncio.get_running_loop(), Bounds(1, 1))
    with pytest.raises(NotImplementedError):
        out.on_close_frame(b"")
    with pytest.raises(NotImplementedError):
        out.on_broken()


# --- pings ---


@in_no_time
async def test_a_ping_measures_the_latency() -> None:
    out = Outgoing()
    assert out.latency is None
    out.ping()
    assert out.pinged == asyncio.get_running_loop().time()
    ((first, payload),) = out.fake.frames()
    assert first == FIN | PING
    await asyncio.sleep(1.5)
    out.on_control(FIN | PONG, payload)
    assert out.latency == pytest.approx(1.5)
    assert out.pinged is None


@in_no_time
async def test_one_ping_at_a_time_is_on_its_way() -> None:
    out = Outgoing()
    out.ping()
    await asyncio.sleep(1)
    out.ping()
    assert len(out.fake.frames()) == 1


@in_no_time
async def test_a_pong_that_answers_no_ping_is_ignored() -> None:
    out = Outgoing()
    out.on_control(FIN | PONG, b"")
    out.ping()
    ((_, payload),) = out.fake.frames()
    for wrong in (b"", payload[:-1], payload + b"x", struct.pack("!d", 0.0)):
        out.on_control(FIN | PONG, wrong)
        assert out.latency is None
        assert out.pinged is not None
    out.on_control(FIN | PONG, payload)
    assert out.latency == 0.0
    out.latency = 17.0
    out.on_control(FIN | PONG, payload)
    assert out.latency == 17.0


@pytest.mark.parametrize("why", ["paused", "over"])
@in_no_time
async def test_no_ping_is_sent_whose_answer_would_not_be_read(why: str) -> None:
    out = Outgoing()
    if why == "paused":
        out.view, out.count, out.rest = b"", 0, 0
        out._paused = True
    else:
        out.finish(GONE)
    out.ping()
    assert out.fake.written == b""
    assert out.pinged is None
