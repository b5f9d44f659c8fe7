"""Bytes written on four ways arrive in the order of the calls, and on no other connection.

picows writes to the descriptor itself and uses one buffer again and again, uvloop keeps references
to what it was given, and control frames and prepared ones go through the transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest

from loops import LOOPS, Loop
from server.transports import BINARY, CLOSE, FIN, PING, PONG, TEXT, closing, frame, frames_in
from telex._types import CloseRecord
from telex.server._channel import Channel
from telex.server._inbound import Bounds

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

DEADLINE: Final = 20.0
SIZES: Final = (0, 1, 125, 126, 1000, 8191, 8192, 8193, 20_000, 65_535, 65_536, 200_000)
Expected = list[tuple[int, bytes]]


def pair(family: str) -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets, with a small buffer for what we send."""
    if family == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            theirs = socket.create_connection(server.getsockname())
            ours, _ = server.accept()
    for each in (ours, theirs):
        each.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    return ours, theirs


@contextlib.asynccontextmanager
async def connected(family: str = "unix") -> AsyncIterator[tuple[Channel, socket.socket]]:
    """A channel that is open on a real transport, and the client's socket."""
    ours, theirs = pair(family)
    loop = asyncio.get_running_loop()
    with theirs:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        lost = loop.create_future()
        channel = Channel(transport, loop, Bounds(1 << 20, 8), lambda: lost.set_result(None))
        transport.write(b"101")
        channel.open(None, b"")
        async with asyncio.timeout(DEADLINE):
            assert await loop.sock_recv(theirs, 3) == b"101"
            try:
                yield channel, theirs
            finally:
                transport.abort()
                await lost


async def read(theirs: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < size:
        piece = await loop.sock_recv(theirs, min(size - len(data), 1 << 16))
        assert piece, "the connection is gone"
        data += piece
    return bytes(data)


class Writer:
    """Writes in all ways, each time something else, and knows what must arrive."""

    def __init__(self, channel: Channel, seed: int) -> None:
        self.channel = channel
        self.random = random.Random(seed)
        self.expected: Expected = []
        self.size = 0
        self.ways = [self.text, self.bytes, self.prepared, self.ping, self.pong, self.several]

    def expect(self, kind: int, payload: bytes) -> None:
        self.expected.append((FIN | kind, payload))
        head = 2 if len(payload) < 126 else 4 if len(payload) < 1 << 16 else 10
        self.size += head + len(payload)

    def some(self, *, most: int = SIZES[-1]) -> bytes:
        """Return bytes that are like no others."""
        size = min(self.random.choice(SIZES), most)
        return self.random.randbytes(size)

    def text(self) -> None:
        data = self.some().hex()[: self.random.choice(SIZES)]
        self.channel.write_text(data)
        self.expect(TEXT, data.encode())

    def bytes(self) -> None:
        data = self.some()
        self.channel.write_bytes(data)
        self.expect(BINARY, data)

    def prepared(self) -> None:
        data = self.some()
        self.channel.write_frame(self.channel.prepare(data))
        self.expect(BINARY, data)

    def several(self) -> None:
        """Many small ones, for which picows uses its buffer again."""
        for _ in range(5):
            data = self.some(most=50)
            self.channel.write_bytes(data)
            self.expect(BINARY, data)

    def ping(self) -> None:
        self.channel.pinged = None
        self.channel.ping()
        assert self.channel.pinged is not None
        self.expect(PING, struct.pack("!d", self.channel.pinged))

    def pong(self) -> None:
        data = self.some(most=125)
        if self.channel.writable:
            self.channel.on_control(FIN | PING, data)
            self.expect(PONG, data)

    def one(self) -> None:
        self.random.choice(self.ways)()

    async def check(self, theirs: socket.socket) -> None:
        """Read everything that was written, and compare."""
        data = await read(theirs, self.size)
        assert frames_in(data) == self.expected
        self.expected, self.size = [], 0


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("family", ["unix", "tcp"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_in_one_turn_arrives_in_order_and_unchanged(
    loop: Loop, family: str, seed: int
) -> None:
    async def run() -> None:
        async with connected(family) as (channel, theirs):
            writer = Writer(channel, seed)
            for amount in (1, 2, 3, 60, 5, 1):
                for _ in range(amount):
                    writer.one()
                await writer.check(theirs)
                assert channel.buffered == 0

    loop(run())


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("family", ["unix", "tcp"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_while_the_client_reads_does_too(
    loop: Loop, family: str, seed: int
) -> None:
    async def run() -> None:
        async with connected(family) as (channel, theirs):
            writer = Writer(channel, seed)
            running = asyncio.get_running_loop()
            got, sizes = bytearray(), random.Random(seed)

            def reading() -> None:
                got.extend(theirs.recv(sizes.randrange(1, 30_000)))

            running.add_reader(theirs, reading)
            for _ in range(150):
                for _ in range(writer.random.randrange(4)):
                    writer.one()
                for _ in range(writer.random.randrange(3)):
                    await asyncio.sleep(0)
            running.remove_reader(theirs)
            got += await read(theirs, writer.size - len(got))
            assert frames_in(bytes(got)) == writer.expected

    loop(run())


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("size", SIZES)
def test_behind_a_full_socket_buffer_every_size_keeps_its_place(loop: Loop, size: int) -> None:
    async def run() -> None:
        async with connected() as (channel, theirs):
            writer = Writer(channel, size)
            while channel.buffered < 1000:
                writer.bytes()
            for way in (0, 1, 2, 3):
                data = bytes([way]) * size
                if way == 0:
                    channel.write_bytes(data)
                elif way == 1:
                    channel.write_text(data.decode())
                elif way == 2:
                    channel.write_frame(channel.prepare(data))
                else:
                    channel.write_bytes(data)
                writer.expect(TEXT if way == 1 else BINARY, data)
                writer.ping()
            await writer.check(theirs)

    loop(run())


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_close_frame_is_behind_all_that_was_written(loop: Loop) -> None:
    async def run() -> None:
        async with connected() as (channel, theirs):
            writer = Writer(channel, 0)
            for _ in range(30):
                writer.one()
            channel.close(1001, "by–e")
            writer.expect(CLOSE, closing(1001, "by–e"))
            await writer.check(theirs)

    loop(run())


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_answers_to_what_came_together_are_in_order_too(loop: Loop) -> None:
    async def run() -> None:
        async with connected() as (channel, theirs):
            running = asyncio.get_running_loop()
            expected: Expected = []
            for number in range(50):
                data = frame(TEXT, b"%d" % number) + frame(PING, b"%d" % number)
                await running.sock_sendall(theirs, data * 3)
                for _ in range(3):
                    while (text := channel.poll()) is None:
                        await channel.wait()
                    channel.write_text(str(text))
                    expected.append((FIN | TEXT, str(text).encode()))
            size = sum(2 + len(payload) for _, payload in expected)
            got = frames_in(await read(theirs, 2 * size))
            assert [each for each in got if each[0] == FIN | TEXT] == expected
            assert [payload for first, payload in got if first == FIN | PONG] == [
                payload for _, payload in expected
            ]

    loop(run())


# --- after the end ---


async def by_the_client(channel: Channel, theirs: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(theirs, frame(CLOSE, closing(1000)))


async def by_a_reset(channel: Channel, theirs: socket.socket) -> None:
    theirs.close()


async def by_our_close(channel: Channel, theirs: socket.socket) -> None:
    channel.close(1000, "")
    await by_the_client(channel, theirs)


async def by_an_abort(channel: Channel, theirs: socket.socket) -> None:
    channel.abort()


async def by_a_violation(channel: Channel, theirs: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(theirs, frame(3))
    await channel.wait()
    theirs.shutdown(socket.SHUT_WR)


async def by_a_timeout(channel: Channel, theirs: socket.socket) -> None:
    channel.expire()


ENDS: Final = (
    by_the_client,
    by_a_reset,
    by_our_close,
    by_an_abort,
    by_a_violation,
    by_a_timeout,
)


def kept(channel: Channel) -> list[Callable[[], object]]:
    """Return functions that somebody has kept from the time when the connection was open."""
    text, data, prepared = channel.write_text, channel.write_bytes, channel.prepare("x")
    wire: Any = channel._wire
    return [
        lambda: text("x"),
        lambda: data(b"x"),
        lambda: data(bytes(10_000)),
        lambda: channel.write_text("x"),
        lambda: channel.write_frame(prepared),
        lambda: channel.ping(),
        lambda: channel.expire(),
        lambda: channel.on_control(FIN | PING, b"x"),
        lambda: channel.close(1000, ""),
        lambda: wire.send(TEXT, b"x"),
        lambda: wire.send_ping(b"x"),
        lambda: wire.send_close(1000, b"x"),
    ]


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("tidied", [False, True])
def test_a_descriptor_that_is_used_again_gets_nothing_of_the_old_connection(
    loop: Loop, end: Callable[[Channel, socket.socket], Any], tidied: bool
) -> None:
    async def run() -> None:
        async with connected() as (channel, theirs):
            number = channel._transport.get_extra_info("socket").fileno()
            writes = kept(channel)
            if tidied:
                channel._tidy()
                writes += kept(channel)
            lost = asyncio.Event()
            there, channel._on_lost = channel._on_lost, None
            channel._on_lost = lost.set
            await end(channel, theirs)
            await lost.wait()
            await asyncio.sleep(0)
            assert there is not None
            there()
            assert is_free(number)
            with another_under(number) as others:
                for write in writes:
                    with contextlib.suppress(OSError):
                        write()
                await asyncio.sleep(0.02)
                for other in others:
                    with pytest.raises(BlockingIOError):
                        other.recv(100)

    loop(run())


def is_free(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


@contextlib.contextmanager
def another_under(number: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return two connected sockets, one of which has a certain number (as well)."""
    sockets = socket.socketpair()
    with sockets[0], sockets[1]:
        for each in sockets:
            each.setblocking(False)
        if number in [each.fileno() for each in sockets]:
            yield sockets
            return
        os.dup2(sockets[0].fileno(), number)
        try:
            yield sockets
        finally:
            os.close(number)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("end", ENDS)
def test_after_the_end_nothing_waits_for_the_collector(
    loop: Loop, end: Callable[[Channel, socket.socket], Any]
) -> None:
    async def run() -> list[weakref.ref[Any]]:
        async with connected() as (channel, theirs):
            channel.on_close(ignore)
            channel.write_text("x")
            await asyncio.get_running_loop().sock_sendall(theirs, frame(BINARY, bytes(50_000)))
            while channel.poll() is None:
                await channel.wait()
            await end(channel, theirs)
            while channel.closed is None:
                await channel.wait()
            return [weakref.ref(channel)]

    async def outer() -> None:
        dead = await run()
        # picows has set timers of 10 ms for what it refuses.
        await asyncio.sleep(0.03)
        assert [each() for each in dead] == [None]

    gc.collect()
    gc.disable()
    try:
        loop(outer())
    finally:
        gc.enable()


def ignore(record: CloseRecord) -> None:
    """Do nothing with it."""
