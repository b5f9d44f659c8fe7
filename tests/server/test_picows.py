"""What is used of picows is as it was when it was used: a version that moves it fails here.

The numbers are those of the list in `telex/server/_picows.py`.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picows.picows import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined]

from loops import LOOPS, Loop
from server.transports import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    MASK,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    FakeTransport,
    closing,
    frame,
    frames_in,
    in_no_time,
    masked,
)
from telex.server._picows import FrameParser, Listener, attach

BIG = 1 << 24


class Heard(Listener):
    """Keeps what the parser tells, in its order."""

    def __init__(self, transport: FakeTransport | None = None, *, mutes: bool = True) -> None:
        self.refused = None
        self.transport = transport
        self.mutes = mutes
        self.parser: FrameParser | None = None
        self.wire: Any = None
        self.frames: list[tuple[int, bytes]] = []
        self.tails: list[int] = []
        self.unfinished: list[tuple[bytes, bool]] = []
        self.events: list[object] = []
        self.fails_with: Exception | None = None
        self.lost = asyncio.Event()

    def on_ws_connected(self, transport: Any) -> None:
        self.wire = transport
        self.events.append("connected")

    def on_ws_frame(self, _wire: Any, frame: Any) -> None:
        first = self.view[self.count - self.rest]
        self.rest = frame.tail_size
        self.frames.append((first, frame.get_payload_as_bytes()))
        self.tails.append(frame.tail_size)
        if self.fails_with is not None:
            raise self.fails_with

    def on_unfinished(self, data: bytes, *, begins: bool) -> None:
        self.unfinished.append((data, begins))

    def on_big_buffer(self) -> None:
        self.events.append("big")

    def on_refused(self, code: int, reason: str) -> None:
        self.events.append(("refused", code, reason))

    def on_lost(self) -> None:
        self.events.append("lost")
        self.lost.set()

    def write_raw(self, *parts: bytes) -> None:
        assert self.transport is not None
        self.events.append(("written", [bytes(part) for part in parts]))
        self.transport.write(b"".join(parts))

    def error(self, text: str, refused: tuple[int, str]) -> None:
        self.events.append(("logged", refused))
        super().error(text, refused)

    def mute(self) -> None:
        if self.mutes and self.parser is not None:
            self.parser.mute()


def parsing(max_size: int = BIG, *, mutes: bool = True) -> tuple[FrameParser, Heard, FakeTransport]:
    """Return a parser behind its handshake, what hears it, and its transport."""
    transport = FakeTransport()
    heard = Heard(transport, mutes=mutes)
    heard.parser = attach(transport, heard, max_size)
    return heard.parser, heard, transport


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


# --- how it is made ---


def test_the_version_is_one_that_was_read() -> None:
    assert version("picows").startswith("2.3."), "read its source again, and move the rules"


@pytest.mark.parametrize("amount", [14, 16])
@in_no_time
async def test_a_parser_takes_fifteen_arguments(amount: int) -> None:
    heard = Heard()
    strategy = WSAutoPingStrategy.PING_PERIODICALLY
    arguments = [None, None, False, None, heard, True, None, False, 0, 0, strategy, False]
    arguments += [BIG, None, 2048]
    WSProtocol(*arguments)
    with pytest.raises(TypeError, match="15 positional arguments"):
        WSProtocol(*[*arguments, None][:amount])


@in_no_time
async def test_it_does_a_handshake_of_its_own_that_nobody_sees() -> None:  # 1
    parser, heard, transport = parsing()
    assert heard.events == ["connected"]
    assert transport.written == b""
    assert transport.get_protocol() is parser
    assert heard.wire is parser.transport
    assert parser.listener is heard
    assert not heard.wire.is_client_side
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_no_time
async def test_both_event_loops_take_it_for_a_buffered_protocol() -> None:
    parser, _, _ = parsing()
    assert isinstance(parser, asyncio.BufferedProtocol)
    assert not isinstance(parser, asyncio.Protocol)
    assert callable(parser.get_buffer)


@in_no_time
async def test_it_sets_no_timer() -> None:
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    parsing()
    assert len(loop._scheduled) == before  # type: ignore[attr-defined]


class _Asked(FakeTransport):
    def __init__(self, sock: Any) -> None:
        super().__init__(extra={"socket": sock})
        self.names: list[str] = []

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        self.names.append(name)
        return super().get_extra_info(name, default)


@in_no_time
async def test_it_asks_a_transport_for_no_more_than_this() -> None:  # 2
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = _Asked(ours)
        attach(transport, Heard(), BIG)
        assert {*transport.names} == {"socket", "peername", "sockname", "ssl_object"}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_tcp_socket_sends_without_delay(loop: Loop) -> None:  # 2
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            client.connect(server.getsockname())
            ours, _ = server.accept()
            ours.setblocking(False)
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, sock=ours
            )
            heard = Heard()
            attach(transport, heard, BIG)
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            transport.abort()
            await heard.lost.wait()

    loop(run())


@pytest.mark.parametrize("kind", [socket.socket, TransportSocket])
@in_no_time
async def test_other_sockets_are_left_alone(kind: Any) -> None:  # 2
    ours, theirs = socket.socketpair()
    with ours, theirs:
        attach(_Asked(TransportSocket(ours) if kind is TransportSocket else ours), Heard(), BIG)


# --- what it reports ---


HEADS = [FIN | TEXT, FIN | BINARY, TEXT, BINARY, CONTINUATION, FIN | CONTINUATION]
HEADS += [FIN | PING, FIN | PONG, FIN | TEXT | RSV1, BINARY | RSV2, FIN | PING | RSV3]

FRAMES = st.lists(
    st.tuples(
        st.sampled_from(HEADS),
        st.sampled_from([0, 1, 2, 5, 100, 125]),
        st.sampled_from([0, 1, 126, 1000, 1400, 1792, 3000, 70_000]),
    ).map(lambda row: (row[0], bytes(row[1] if row[0] & 8 else row[2] + row[1]))),
    max_size=8,
)


def encoded(frames: list[tuple[int, bytes]]) -> bytes:
    return b"".join(
        frame(first & 15, payload, fin=bool(first & FIN), rsv=first & 0x70)
        for first, payload in frames
    )


@given(frames=FRAMES, sizes=st.lists(st.integers(1, 4000), max_size=20), last=st.integers(0, 14))
def test_frames_come_out_whatever_the_reads(
    frames: list[tuple[int, bytes]], sizes: list[int], last: int
) -> None:
    """Also the first byte of each, which picows does not tell: 5, 6."""

    @in_no_time
    async def check() -> None:
        _, heard, transport = parsing()
        data = encoded(frames)
        cut_off = frame(BINARY, b"unfinished")[:last]
        rest = data + cut_off
        for size in sizes:
            transport.feed(rest[:size])
            rest = rest[size:]
        transport.feed(rest)
        assert heard.frames == frames
        assert heard.refused is None
        seen = b""
        for piece, begins in heard.unfinished:
            seen = piece if begins else seen + piece
        assert seen.endswith(cut_off)

    check()


@in_no_time
async def test_a_frame_says_how_much_was_read_behind_it() -> None:
    _, heard, transport = parsing()
    data = [frame(TEXT, b"a"), frame(PING, b"bc"), frame(BINARY, bytes(300)), frame(TEXT, b"d")[:3]]
    transport.feed(b"".join(data))
    sizes = [len(each) for each in data]
    assert heard.tails == [sum(sizes[1:]), sum(sizes[2:]), sizes[3]]


@in_no_time
async def test_what_is_behind_the_last_frame_is_moved_to_the_beginning() -> None:  # 5
    parser, heard, _ = parsing()
    view = parser.get_buffer(-1)
    begun = frame(BINARY, b"begun")[:-1]
    data = frame(TEXT, b"whole") + begun
    view[: len(data)] = data
    parser.buffer_updated(len(data))
    assert bytes(view[: len(begun)]) == begun
    assert address(parser.get_buffer(-1)) == address(view) + len(begun)
    assert heard.unfinished == [(begun, True)]


@in_no_time
async def test_an_unfinished_frame_is_shown_once_and_as_it_came() -> None:
    parser, heard, transport = parsing()
    data = frame(TEXT, b"x" * 10_000)
    pieces = [data[:1], data[1:2], data[2:1000], data[1000:3000], data[3000:-1], data[-1:]]
    for piece in pieces:
        assert parser.at_boundary == (piece is pieces[0])
        transport.feed(piece)
    assert parser.at_boundary
    assert b"".join(piece for piece, _ in heard.unfinished) == data[:-1]
    assert [begins for _, begins in heard.unfinished].count(True) == 1
    assert heard.unfinished[0][1]
    assert heard.frames == [(FIN | TEXT, b"x" * 10_000)]


@in_no_time
async def test_masks_are_taken_off() -> None:
    _, heard, transport = parsing()
    for mask in (MASK, b"\xff\0\xff\0", bytes(4)):
        for size in (0, 1, 3, 4, 7, 8, 63, 64, 65, 1023):
            data = masked(bytes(size), b"mask")
            transport.feed(frame(BINARY, data, mask=mask))
            assert heard.frames.pop() == (FIN | BINARY, data)


# --- the read buffer ---


def grow(parser: FrameParser, transport: FakeTransport, size: int) -> None:
    """Have the read buffer grow to a size, and be empty."""
    while len(parser.get_buffer(-1)) < size:
        transport.feed(frame(BINARY, bytes(len(parser.get_buffer(-1)))))


@pytest.mark.parametrize("size", [1, 2000, 4000, 10_000, 100_000, 1_000_000])
@in_no_time
async def test_a_read_that_is_called_roomy_does_not_move_the_buffer(size: int) -> None:  # 5
    parser, heard, transport = parsing()
    grow(parser, transport, size)
    total = len(parser.get_buffer(-1))
    roomy: int = parser._roomy
    assert total / 2 < roomy < total
    for amount in (1, roomy // 2, roomy - 1):
        before = parser.get_buffer(-1)
        where = address(before)
        data = frame(BINARY, bytes(2 * total))[:amount]
        before[:amount] = data
        WSProtocol.buffer_updated(parser, amount)
        after = parser.get_buffer(-1)
        assert len(after) == total - amount, "it has grown"
        assert address(after) == where + amount, "it has moved"
        assert bytes(before[:amount]) == data
        parser, heard, transport = parsing()
        grow(parser, transport, size)
    assert heard.refused is None


@pytest.mark.parametrize("size", [1, 4000, 100_000])
@in_no_time
async def test_the_test_before_this_one_would_see_a_buffer_that_grows(size: int) -> None:
    parser, _, transport = parsing()
    grow(parser, transport, size)
    total = len(parser.get_buffer(-1))
    amount = total - 1
    parser.get_buffer(-1)[:amount] = frame(BINARY, bytes(2 * total))[:amount]
    WSProtocol.buffer_updated(parser, amount)
    assert len(parser.get_buffer(-1)) > total - amount


@in_no_time
async def test_the_buffer_begins_small_and_never_shrinks() -> None:  # 7
    parser, heard, transport = parsing()
    small = len(parser.get_buffer(-1))
    assert 1000 < small <= 2048
    transport.feed(frame(BINARY, bytes(200_000)))
    big = len(parser.get_buffer(-1))
    assert big >= 200_000
    for _ in range(100):
        transport.feed(frame(BINARY))
    assert len(parser.get_buffer(-1)) == big
    assert "big" in heard.events


@in_no_time
async def test_a_buffer_up_to_64_kib_is_not_called_big() -> None:
    _, heard, transport = parsing()
    transport.feed(frame(BINARY, bytes(10_000)))
    transport.feed(frame(BINARY, bytes(10_000)))
    assert heard.events == ["connected"]


@in_no_time
async def test_it_never_offers_an_empty_buffer() -> None:
    parser, _, transport = parsing()
    data = frame(BINARY, bytes(300_000))
    while data:
        assert len(parser.get_buffer(-1)) >= 256
        transport.feed(data[:255])
        data = data[255:]


# --- what it refuses ---


REFUSED = [
    (frame(3), 1002),
    (frame(PING, fin=False), 1002),
    (frame(PING, bytes(126)), 1002),
    (frame(TEXT, mask=None), 1002),
    (b"\x81\xfe\x00\x7d", 1002),
    (b"\x81\xff\x80" + bytes(7), 1002),
    (frame(BINARY, bytes(1001)), 1009),
    (frame(CLOSE, b"x"), 1002),
    (frame(CLOSE, closing(1000) + b"\xff"), 1007),
]


@pytest.mark.parametrize(("data", "code"), REFUSED)
@in_no_time
async def test_it_logs_what_it_refuses_before_it_writes_a_close_frame(  # 8
    data: bytes, code: int
) -> None:
    _, heard, transport = parsing(1000, mutes=False)
    transport.feed(data)
    logged, written = [event for event in heard.events if event != "connected"][:2]
    assert logged[0] == "logged"  # type: ignore[index]
    arguments = logged[1]  # type: ignore[index]
    assert isinstance(arguments, tuple)
    assert (int(arguments[0]), type(arguments[1])) == (code, str)
    assert written[0] == "written"  # type: ignore[index]
    assert heard.refused == (code, arguments[1])
    assert type(heard.refused[0]) is int
    ((first, payload),) = transport.frames()
    assert (first, payload[:2]) == (FIN | CLOSE, closing(code))


@pytest.mark.parametrize(("data", "code"), REFUSED)
@in_no_time
async def test_muted_by_the_log_call_it_writes_none(data: bytes, code: int) -> None:  # 3, 8
    _, heard, transport = parsing(1000)
    transport.feed(frame(TEXT, b"before") + data)
    assert heard.frames == [(FIN | TEXT, b"before")]
    assert transport.written == b""
    assert [event[:2] for event in heard.events if event[0] == "refused"] == [  # type: ignore[index]
        ("refused", code)
    ]
    await asyncio.sleep(1)
    assert transport.written == b""
    assert not transport.closing


@in_no_time
async def test_what_we_feed_ends_where_it_refuses() -> None:
    parser, heard, _ = parsing()
    parser.feed(frame(TEXT, b"a") * 2000 + frame(3) + frame(TEXT, b"b") * 2000)
    assert heard.frames == [(FIN | TEXT, b"a")] * 2000


@in_no_time
async def test_an_exception_is_caught_and_logged_as_one(caplog: pytest.LogCaptureFixture) -> None:
    _, heard, transport = parsing()
    heard.fails_with = ZeroDivisionError("ours")
    with caplog.at_level(logging.ERROR, "telex.server"):
        transport.feed(frame(TEXT, b"a"))
    assert ("refused", 1011, "") in heard.events
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is heard.fails_with


@in_no_time
async def test_it_logs_nothing_else_that_would_be_seen(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1):
        parser, heard, transport = parsing()
        transport.feed(frame(TEXT, b"a") + frame(CLOSE, closing(1000)))
        parser.connection_lost(None)
    assert caplog.records == []
    assert not heard.isEnabledFor(logging.CRITICAL)
    assert not isinstance(heard, logging.Logger)


@in_no_time
async def test_its_end_is_ours() -> None:
    parser, heard, transport = parsing()
    heard.wire.disconnect()
    heard.wire.disconnect(graceful=False)
    assert not transport.closing
    parser.connection_lost(None)
    parser.connection_lost(None)
    assert heard.events == ["connected", "lost", "lost"]


# --- what it writes ---


@pytest.mark.parametrize("size", [0, 1, 125, 126, 8192, 8193, 65_535, 65_536, 300_000])
@pytest.mark.parametrize("text", [False, True])
@in_no_time
async def test_frames_are_written_in_one_part_or_two(size: int, text: bool) -> None:  # 4
    _, heard, transport = parsing()
    heard.wire.send(TEXT if text else BINARY, "x" * size if text else b"x" * size)
    assert transport.frames() == [(FIN | (TEXT if text else BINARY), b"x" * size)]
    (written,) = [event for event in heard.events if event != "connected"]
    kind, parts = cast("tuple[str, list[bytes]]", written)
    assert kind == "written"
    assert len(parts) == (1 if size <= 8192 else 2)


@in_no_time
async def test_the_reserved_bit_is_the_fourth_argument() -> None:
    _, heard, transport = parsing()
    heard.wire.send(TEXT, b"x", True, True)
    heard.wire.send(BINARY, b"y", False)
    assert transport.frames() == [(FIN | RSV1 | TEXT, b"x"), (BINARY, b"y")]


SENDS: list[Callable[[Any], object]] = [
    lambda wire: wire.send(TEXT, "x"),
    lambda wire: wire.send(BINARY, b""),
    lambda wire: wire.send(BINARY, bytes(100_000)),
    lambda wire: wire.send(TEXT, b"x", True, True),
    lambda wire: wire.send_ping(b"x"),
    lambda wire: wire.send_pong(b"x"),
    lambda wire: wire.send_close(1000, "x"),
    lambda wire: wire.send_reuse_external_bytearray(BINARY, bytearray(100), 14),
]


@pytest.mark.parametrize("send", SENDS)
@in_no_time
async def test_muted_it_writes_nothing(send: Callable[[Any], object]) -> None:  # 3
    parser, heard, transport = parsing()
    send(heard.wire)
    assert transport.take() != b""
    parser, heard, transport = parsing()
    parser.mute()
    parser.mute()
    assert heard.wire.is_disconnected
    send(heard.wire)
    assert transport.written == b""
    assert "lost" not in heard.events


@pytest.mark.parametrize("send", SENDS)
@pytest.mark.parametrize("muted", [False, True])
def test_on_a_socket_too(send: Callable[[Any], object], muted: bool) -> None:  # 3
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(False)
            ours.setblocking(False)
            transport = FakeTransport(extra={"socket": ours, "ssl_object": None})
            heard = Heard(transport)
            parser = attach(transport, heard, BIG)
            if muted:
                parser.mute()
            send(heard.wire)
            try:
                read = theirs.recv(1 << 20)
            except BlockingIOError:
                read = b""
            assert bool(read + transport.written) == (not muted)
            assert len(frames_in(read + transport.written)) == (0 if muted else 1)

    asyncio.run(run())


@in_no_time
async def test_a_ping_gets_no_pong_and_a_close_no_answer_of_its_own() -> None:
    _, heard, transport = parsing()
    transport.feed(frame(PING, b"?") + frame(CLOSE, closing(1000)))
    await asyncio.sleep(60)
    assert heard.frames == [(FIN | PING, b"?"), (FIN | CLOSE, closing(1000))]
    assert transport.written == b""
    assert not transport.closing


# --- what a listener has to do ---


@pytest.mark.parametrize(
    "call",
    [
        lambda listener: listener.on_ws_connected(None),
        lambda listener: listener.on_unfinished(b"", begins=True),
        lambda listener: listener.on_big_buffer(),
        lambda listener: listener.on_refused(1002, ""),
        lambda listener: listener.write_raw(b""),
        lambda listener: listener.on_lost(),
        lambda listener: listener.mute(),
    ],
)
def test_a_listener_alone_does_nothing(call: Callable[[Listener], object]) -> None:
    with pytest.raises(NotImplementedError):
        call(Listener())
