"""Messages wait in one place, in their order, and a client that sends too many is not read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.transports import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    RSV1,
    TEXT,
    FakeTransport,
    frame,
    in_no_time,
    turns,
)
from telex._types import CloseRecord
from telex.server._inbound import Bounds, Inbound
from telex.server._violation import Violation

GONE = CloseRecord(1001, "bye", "client")


class FakeFrame:
    """A frame as picows reports it."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.tail_size = 0

    def get_payload_as_bytes(self) -> bytes:
        return self.payload

    def get_payload_as_utf8_text(self) -> str:
        return self.payload.decode()


class Incoming(Inbound):
    """The reading half alone: keeps what it would tell the rest of a connection."""

    def __init__(self, **bounds: int) -> None:
        self.fake = FakeTransport()
        loop = asyncio.get_running_loop()
        given = {"max_size": 1 << 20, "max_messages": 32, **bounds}
        super().__init__(self.fake, loop, Bounds(**given))
        self.expect_messages()
        self.controls: list[tuple[int, bytes]] = []
        self.violations: list[int] = []
        self.parted = 0
        self.surplus = 0

    def on_control(self, first_byte: int, payload: bytes) -> None:
        if first_byte == FIN | CLOSE and payload == b"bad":
            raise Violation(1002, "bad")
        self.controls.append((first_byte, payload))

    def fail(self, violation: Violation) -> None:
        self.violations.append(violation.code)
        self.expect_nothing()

    def part(self) -> None:
        self.parted += 1

    def on_surplus(self) -> None:
        self.surplus += 1

    def come(self, first_byte: int, payload: bytes | str = b"") -> None:
        """Have a frame come."""
        self.view, self.count, self.rest = bytes((first_byte,)), 1, 1
        payload = payload.encode() if isinstance(payload, str) else payload
        self.on_ws_frame(None, FakeFrame(payload))  # type: ignore[arg-type]

    def text(self, data: str) -> None:
        self.come(FIN | TEXT, data)

    def binary(self, data: bytes) -> None:
        self.come(FIN | BINARY, data)

    def polled(self) -> list[str | bytes]:
        """Take all that is there."""
        messages = []
        while (data := self.poll()) is not None:
            messages.append(data)
        return messages


# --- messages ---


@in_no_time
async def test_messages_wait_in_their_order() -> None:
    inbound = Incoming()
    assert inbound.poll() is None
    inbound.text("a")
    inbound.binary(b"b")
    inbound.text("")
    inbound.binary(b"")
    assert inbound.polled() == ["a", b"b", "", b""]
    assert inbound.poll() is None


@in_no_time
async def test_fragments_become_a_message_when_the_last_one_is_there() -> None:
    inbound = Incoming()
    inbound.text("before")
    inbound.come(TEXT, "mes")
    assert inbound.polled() == ["before"]
    inbound.come(FIN | PING, b"between")
    inbound.come(CONTINUATION, "sa")
    assert inbound.poll() is None
    inbound.come(FIN | CONTINUATION, "ge")
    inbound.binary(b"after")
    assert inbound.polled() == ["message", b"after"]
    assert inbound.controls == [(FIN | PING, b"between")]


@pytest.mark.parametrize("first", [FIN | TEXT, FIN | BINARY])
@in_no_time
async def test_a_whole_message_within_another_is_a_violation(first: int) -> None:
    inbound = Incoming()
    inbound.come(TEXT, "begun")
    inbound.come(first, b"whole")
    assert inbound.violations == [1002]
    assert inbound.poll() is None


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@in_no_time
async def test_after_fragments_whole_messages_are_taken_again(opcode: int) -> None:
    inbound = Incoming()
    for _ in range(2):
        inbound.come(opcode, b"a")
        inbound.come(FIN | CONTINUATION, b"b")
        inbound.come(FIN | opcode, b"whole")
    assert inbound.violations == []
    assert len(inbound.polled()) == 4


@in_no_time
async def test_strict_it_takes_no_whole_message_that_is_too_big() -> None:
    inbound = Incoming(max_size=4)
    inbound.text("the parser looks")
    inbound.be_strict(True)
    for data in ("a", "ab", "abcd"):
        inbound.text(data)
    inbound.be_strict(False)
    inbound.text("the parser looks")
    assert inbound.polled() == ["the parser looks", "a", "ab", "abcd", "the parser looks"]
    inbound.be_strict(True)
    inbound.text("abcde")
    assert inbound.violations == [1009]
    assert inbound.polled() == []


@in_no_time
async def test_between_fragments_no_whole_message_is_taken_however_strict() -> None:
    inbound = Incoming()
    inbound.come(TEXT, "a")
    inbound.be_strict(True)
    inbound.be_strict(False)
    inbound.text("b")
    assert inbound.violations == [1002]


@pytest.mark.parametrize(
    ("first", "payload", "code"),
    [
        (FIN | TEXT, b"\xff", 1007),
        (TEXT, b"\xff", 1007),
        (FIN | BINARY | RSV1, b"", 1002),
        (FIN | CONTINUATION, b"", 1002),
        (BINARY, bytes(11), 1009),
        (FIN | CLOSE, b"bad", 1002),
    ],
)
@in_no_time
async def test_a_violation_ends_it(first: int, payload: bytes, code: int) -> None:
    inbound = Incoming(max_size=10)
    inbound.text("before")
    inbound.come(first, payload)
    assert inbound.violations == [code]
    assert inbound.polled() == ["before"]


# --- after the end ---


@in_no_time
async def test_nothing_but_a_close_frame_is_taken_when_nothing_is_expected() -> None:
    inbound = Incoming()
    inbound.text("before")
    inbound.come(TEXT, "begun")
    inbound.expect_nothing()
    for first in (FIN | TEXT, FIN | BINARY, TEXT, FIN | CONTINUATION, FIN | PING):
        inbound.come(first, b"late")
    inbound.on_unfinished(frame(TEXT, b"\xff"), begins=True)
    assert inbound.surplus == 6
    inbound.come(FIN | CLOSE, b"")
    assert inbound.surplus == 6
    assert inbound.controls == [(FIN | CLOSE, b"")]
    assert inbound.violations == []
    assert inbound.polled() == ["before"]


@in_no_time
async def test_who_has_taken_the_last_message_lets_the_end_be_said() -> None:
    inbound = Incoming()
    inbound.text("last")
    inbound.expect_nothing()
    assert inbound.poll() == "last"
    assert inbound.parted == 0
    assert inbound.poll() is None
    assert inbound.parted == 1


@in_no_time
async def test_when_it_is_over_nothing_is_to_be_said() -> None:
    inbound = Incoming()
    inbound.text("last")
    inbound.finish(GONE)
    assert inbound.closed is GONE
    assert inbound.compression is None
    assert inbound.polled() == ["last"]
    assert inbound.poll() is None
    assert inbound.parted == 0


# --- waiting ---


@in_no_time
async def test_a_future_is_done_when_a_message_is_there() -> None:
    inbound = Incoming()
    waiter = inbound.wait()
    await turns()
    assert not waiter.done()
    inbound.text("a")
    assert waiter.done()
    assert inbound.wait().done()
    assert inbound.polled() == ["a"]
    assert not inbound.wait().done()


@in_no_time
async def test_a_future_is_done_when_it_is_over() -> None:
    inbound = Incoming()
    waiter = inbound.wait()
    inbound.finish(GONE)
    assert waiter.done()
    assert inbound.wait().done()


@in_no_time
async def test_a_fragment_wakes_nobody_but_the_last_one_does() -> None:
    inbound = Incoming()
    waiter = inbound.wait()
    inbound.come(TEXT, "a")
    inbound.come(FIN | PING)
    assert not waiter.done()
    inbound.come(FIN | CONTINUATION, "b")
    assert waiter.done()


@in_no_time
async def test_a_future_that_was_cancelled_loses_nothing() -> None:
    inbound = Incoming()
    for first in (FIN | TEXT, FIN | CONTINUATION):
        inbound.wait().cancel()
        inbound.come(first, "a")
        assert inbound.wait().done()
        inbound.polled()
        inbound.come(TEXT, "b")
    inbound.wait().cancel()
    second = inbound.wait()
    assert not second.done()
    inbound.finish(GONE)
    assert second.done()


@pytest.mark.parametrize("how", ["message", "fragment", "end"])
@in_no_time
async def test_everybody_who_waits_is_woken(how: str) -> None:
    inbound = Incoming()
    inbound.come(TEXT, "a")
    waiters = [inbound.wait() for _ in range(4)]
    waiters[2].cancel()
    if how == "message":
        inbound.expect_messages()
        inbound.text("a")
    elif how == "fragment":
        inbound.come(FIN | CONTINUATION)
    else:
        inbound.finish(GONE)
    assert all(waiter.done() for waiter in waiters)
    again = inbound.wait()
    assert again.done()


# --- the bounds ---


@pytest.mark.parametrize("most", [1, 2, 3, 8])
@in_no_time
async def test_the_client_is_not_read_while_many_messages_wait(most: int) -> None:
    inbound = Incoming(max_messages=most)
    for number in range(max(most, 2)):
        assert not inbound.fake.paused
        inbound.text(str(number))
    assert inbound.fake.paused
    while len(inbound._messages) > most // 2:
        assert inbound.fake.paused
        inbound.poll()
    assert not inbound.fake.paused
    assert inbound.fake.resumed == 1


@in_no_time
async def test_the_client_is_not_read_while_big_messages_wait() -> None:
    inbound = Incoming(max_bytes=100)
    inbound.binary(bytes(1000))
    assert not inbound.fake.paused
    inbound.binary(bytes(99))
    assert not inbound.fake.paused
    inbound.text("x")
    assert inbound.fake.paused
    inbound.poll()
    inbound.poll()
    assert not inbound.fake.paused


@in_no_time
async def test_fragments_count_like_whole_messages() -> None:
    inbound = Incoming(max_messages=3)
    for _ in range(3):
        assert not inbound.fake.paused
        inbound.come(TEXT, "a")
        inbound.come(FIN | CONTINUATION, "b")
    assert inbound.fake.paused


@in_no_time
async def test_messages_that_come_although_it_is_paused_are_kept() -> None:
    inbound = Incoming(max_messages=2)
    for number in range(10):
        inbound.text(str(number))
    assert inbound.polled() == [str(number) for number in range(10)]
    assert inbound.fake.resumed == 1


@in_no_time
async def test_a_ping_is_forgotten_when_its_answer_will_not_be_read() -> None:
    inbound = Incoming(max_messages=2)
    inbound.pinged = 1.0
    inbound.text("a")
    assert inbound.pinged == 1.0
    inbound.text("b")
    assert inbound.pinged is None


@in_no_time
async def test_after_the_end_reading_is_neither_stopped_nor_begun() -> None:
    inbound = Incoming(max_messages=2)
    inbound.text("a")
    inbound.text("b")
    assert inbound.fake.paused
    inbound.finish(GONE)
    assert inbound.polled() == ["a", "b"]
    assert inbound.fake.resumed == 0


@in_no_time
async def test_reading_can_be_made_to_go_on_though_nobody_reads() -> None:
    inbound = Incoming(max_messages=2)
    inbound.unpause()
    assert inbound.fake.resumed == 0
    inbound.text("a")
    inbound.text("b")
    inbound.unpause()
    assert not inbound.fake.paused


@given(
    sizes=st.lists(st.integers(0, 40), max_size=30),
    takes=st.lists(st.integers(0, 4), max_size=30),
)
def test_a_client_is_read_exactly_while_it_may_be(sizes: list[int], takes: list[int]) -> None:
    @in_no_time
    async def check() -> None:
        inbound = Incoming(max_messages=6, max_bytes=100)
        takes.extend([0] * len(sizes))
        waiting = sent = 0
        for size, take in zip(sizes, takes, strict=False):
            if inbound.fake.paused:
                assert waiting > 0
            else:
                inbound.binary(bytes(size))
                waiting, sent = waiting + 1, sent + 1
            assert waiting <= 6
            for _ in range(min(take, waiting)):
                assert inbound.poll() is not None
                waiting -= 1
        inbound.polled()
        assert not inbound.fake.paused

    check()


# --- frames that are not complete ---


@in_no_time
async def test_an_unfinished_frame_is_looked_at_as_it_comes() -> None:
    inbound = Incoming()
    data = frame(TEXT, b"good\xff" + bytes(100))
    inbound.on_unfinished(data[:3], begins=True)
    inbound.on_unfinished(data[3:10], begins=False)
    assert inbound.violations == []
    inbound.on_unfinished(data[10:11], begins=False)
    assert inbound.violations == [1007]


@in_no_time
async def test_one_that_begins_is_another_one() -> None:
    inbound = Incoming()
    data = frame(TEXT, b"good")
    inbound.on_unfinished(data[:7], begins=True)
    inbound.text("good")
    inbound.on_unfinished(data[:7], begins=True)
    inbound.come(TEXT, "good")
    inbound.on_unfinished(frame(CONTINUATION, b"\xff" * 9)[:-1], begins=False)
    assert inbound.violations == [1007]


@in_no_time
async def test_what_has_become_whole_is_forgotten() -> None:
    inbound = Incoming()
    inbound.on_unfinished(frame(BINARY, bytes(9))[:-1], begins=True)
    inbound.binary(bytes(9))
    inbound.on_unfinished(frame(TEXT, b"\xff" * 9)[:-1], begins=False)
    assert inbound.violations == [1007]


# --- what the rest of a connection has to say ---


@pytest.mark.parametrize(
    "call",
    [
        lambda inbound: inbound.part(),
        lambda inbound: inbound.on_control(FIN | PING, b""),
        lambda inbound: inbound.fail(Violation(1002, "")),
    ],
)
@in_no_time
async def test_the_reading_half_alone_says_nothing(call: Any) -> None:
    inbound = Inbound(FakeTransport(), asyncio.get_running_loop(), Bounds(1, 1))
    with pytest.raises(NotImplementedError):
        call(inbound)


@in_no_time
async def test_before_the_handshake_no_messages_are_expected() -> None:
    inbound = Inbound(FakeTransport(), asyncio.get_running_loop(), Bounds(1, 1))
    assert inbound.poll() is None
    assert inbound.closed is None
    assert inbound.pinged is None
