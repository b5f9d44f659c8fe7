"""The last moment of a connection: what was said can be read, what still comes is thrown away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from loops import LOOPS, Loop
from server.transports import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    FakeTransport,
    closing,
    frame,
    frames_in,
    in_no_time,
    turns,
)
from telex.server._channel import Channel
from telex.server._inbound import Bounds
from telex.server._linger import LINGER_TIMEOUT, Linger
from telex.server._picows import FrameParser


class Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.gone = asyncio.Event()

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def on_lost(self) -> None:
        self.told.append("lost")
        self.gone.set()


def lingering(*, tls: bool = False) -> tuple[Linger, FakeTransport, Owner]:
    transport, owner = FakeTransport(tls=tls), Owner()
    transport.pause_reading()
    return Linger(transport, owner), transport, owner


@in_no_time
async def test_it_reads_from_now_on_and_throws_away() -> None:
    linger, transport, owner = lingering()
    assert transport.get_protocol() is linger
    assert transport.feed(b"x" * 100_000) == b""
    assert transport.written == b""
    assert owner.told == []


@in_no_time
async def test_what_was_not_said_yet_may_still_be_written() -> None:
    _, transport, _ = lingering()
    transport.write(b"the last word")
    assert not transport.shut
    assert not transport.closing


@in_no_time
async def test_our_side_is_shut_and_the_client_may_hang_up() -> None:
    linger, transport, owner = lingering()
    linger.begin()
    assert transport.shut
    assert not transport.closing
    transport.lose(None)
    await turns()
    assert owner.told == ["lost"]
    await asyncio.sleep(2 * LINGER_TIMEOUT)
    assert not transport.aborted


@in_no_time
async def test_a_client_that_does_not_hang_up_is_dropped() -> None:
    linger, transport, owner = lingering()
    linger.begin()
    await asyncio.sleep(LINGER_TIMEOUT - 0.1)
    transport.feed(b"still here")
    assert not transport.aborted
    await asyncio.sleep(0.2)
    assert transport.aborted
    assert owner.told == ["lost"]


@in_no_time
async def test_a_client_that_shuts_its_side_has_hung_up() -> None:
    linger, transport, owner = lingering()
    linger.begin()
    transport.feed_eof()
    assert transport.closing
    await turns()
    assert owner.told == ["lost"]
    assert not transport.aborted


@in_no_time
async def test_a_client_that_has_reset_the_connection_is_not_waited_for() -> None:
    linger, transport, owner = lingering()
    transport.vanished = True
    linger.begin()
    assert transport.aborted
    await turns()
    assert owner.told == ["lost"]


@in_no_time
async def test_where_one_side_cannot_be_shut_alone_both_are() -> None:
    linger, transport, owner = lingering(tls=True)
    linger.begin()
    assert transport.closing
    await turns()
    assert owner.told == ["lost"]


@in_no_time
async def test_the_rest_is_the_owners_business() -> None:
    linger, _, owner = lingering()
    linger.pause_writing()
    linger.resume_writing()
    linger.connection_lost(None)
    assert owner.told == ["pause", "resume", "lost"]


# --- on real sockets ---


@contextlib.asynccontextmanager
async def connected(make: Callable[[], asyncio.Protocol]) -> Any:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(make, sock=ours)
        try:
            yield transport, theirs
        finally:
            transport.abort()


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_client_reads_the_last_word_though_it_goes_on_sending(loop: Loop) -> None:
    async def run() -> None:
        async with connected(asyncio.Protocol) as (transport, theirs):
            owner = Owner()
            linger = Linger(transport, owner)
            running = asyncio.get_running_loop()
            await running.sock_sendall(theirs, b"x" * 300_000)
            transport.write(b"the last word")
            linger.begin()
            assert await running.sock_recv(theirs, 100) == b"the last word"
            assert await running.sock_recv(theirs, 100) == b""
            await running.sock_sendall(theirs, b"x" * 300_000)
            theirs.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(LINGER_TIMEOUT / 2):
                await owner.gone.wait()
            assert owner.told == ["lost"]

    loop(run())


@contextlib.asynccontextmanager
async def over_tcp(make: Callable[[], asyncio.Protocol]) -> Any:
    """Only TCP knows resets."""
    running = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with theirs:
        theirs.setblocking(False)
        transport, _ = await running.connect_accepted_socket(make, ours)
        try:
            yield transport, theirs
        finally:
            transport.abort()


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_reset_that_has_just_come_is_no_mistake(loop: Loop) -> None:
    async def run() -> None:
        async with over_tcp(asyncio.Protocol) as (transport, theirs):
            owner = Owner()
            linger = Linger(transport, owner)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            linger.begin()
            async with asyncio.timeout(LINGER_TIMEOUT / 2):
                await owner.gone.wait()
            assert owner.told == ["lost"]

    loop(run())


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_client_that_sends_for_ever_is_dropped_all_the_same(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with over_tcp(asyncio.Protocol) as (transport, theirs):
            owner = Owner()
            running = asyncio.get_running_loop()
            monkeypatch.setattr("telex.server._linger.LINGER_TIMEOUT", 0.2)
            Linger(transport, owner).begin()
            begun, sent = running.time(), 0
            with pytest.raises(ConnectionError):
                while True:
                    await running.sock_sendall(theirs, bytes(1 << 20))
                    sent += 1
            assert sent > 0
            await owner.gone.wait()
            assert 0.1 < running.time() - begun < LINGER_TIMEOUT

    loop(run())


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_client_that_says_something_behind_its_close_frame_loses_nothing(loop: Loop) -> None:
    """It would, were the socket closed at once: the reset throws away what is not read yet."""
    message = bytes(4 << 20)

    async def run() -> None:
        gone = asyncio.Event()
        running = asyncio.get_running_loop()
        async with over_tcp(asyncio.Protocol) as (transport, theirs):
            channel = Channel(transport, running, Bounds(1 << 20, 8), gone.set)
            channel.open(None, b"")
            channel.write_bytes(message)
            await running.sock_sendall(theirs, frame(CLOSE, closing(1000)))
            await channel.wait()
            for _ in range(3):
                await running.sock_sendall(theirs, frame(PING, b"late"))
                await asyncio.sleep(0.02)
            got = bytearray()
            while data := await running.sock_recv(theirs, 1 << 20):
                got += data
            assert frames_in(bytes(got)) == [
                (FIN | BINARY, message),
                (FIN | CLOSE, closing(1000)),
            ]
            assert not gone.is_set()
            theirs.close()
            async with asyncio.timeout(LINGER_TIMEOUT / 2):
                await gone.wait()

    loop(run())


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_no_event_loop_keeps_what_has_read_before(loop: Loop) -> None:
    """Its buffer may be big, and is that of a connection of which nothing is read any more."""

    async def run() -> None:
        gone = asyncio.Event()
        running = asyncio.get_running_loop()
        async with over_tcp(asyncio.Protocol) as (transport, theirs):
            channel = Channel(transport, running, Bounds(1 << 20, 8), gone.set)
            channel.open(None, b"")
            data = frame(BINARY, bytes(300_000)) + frame(CLOSE, closing(1000))
            await running.sock_sendall(theirs, data)
            while channel.closed is None:
                await channel.wait()
                channel.poll()
            await turns()
            gc.collect()
            assert not gone.is_set()
            assert [each for each in gc.get_objects() if isinstance(each, FrameParser)] == []
            theirs.close()
            await gone.wait()

    loop(run())
