"""The last moment of a connection: what was said can be read, what still comes is thrown away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from loops import LOOPS, Loop
from server.transports import FakeTransport, in_no_time, turns
from telex.server._linger import LINGER_TIMEOUT, Linger


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
