"""Whether a client takes what waits for it is seen before its kernel makes room for much."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import Final

import pytest

from loops import LOOPS
from server.transports import FakeSocket, FakeTransport, in_no_time
from telex.server import _flow
from telex.server._flow import Flow, flow_of

A_LOT: Final = 8 << 20
"""Bytes that no kernel holds by itself."""

A_LITTLE: Final = 100_000
"""Bytes for which a kernel makes a transport no room yet: much less than a third of its buffer."""

STILL: Final = 0.3
"""Seconds without a change after which the buffers are full."""


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        (Flow(5, 100), Flow(5, 100), False),
        (Flow(5, 100), Flow(6, 100), True),
        (Flow(5, 100), Flow(5, 99), True),
        (Flow(5, 100), Flow(6, 200), True),
        (Flow(5, 100), Flow(5, 200), False),
        (Flow(5, 100), Flow(105, 0), True),
        (Flow(5, 0), Flow(9, 100), True),
        # All of it had room, whether or not anybody reads it.
        (Flow(5, 0), Flow(500, 0), False),
        (Flow(5, 0), Flow(5, 100), False),
    ],
)
def test_a_client_takes_something_when_what_waits_moves(
    before: Flow, now: Flow, moved: bool
) -> None:
    assert now.moved_since(before) is moved


@in_no_time
async def test_where_the_kernel_tells_nothing_the_transport_does() -> None:
    transport = FakeTransport()
    transport.buffered = 5
    assert flow_of(transport) == Flow(0, 5)
    without = FakeTransport(extra={"socket": None})
    without.buffered = 7
    assert flow_of(without) == Flow(0, 7)


class ClosedTwice(FakeTransport):
    """What is left of a TLS transport of asyncio then."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        raise AttributeError(name)


@in_no_time
async def test_of_a_tls_transport_that_was_closed_twice_nothing_is_known() -> None:
    assert flow_of(ClosedTwice()) == Flow(0, 0)


class Told(FakeSocket):
    """A socket of the internet, whose kernel says what a test wants."""

    family = socket.AF_INET

    def __init__(self, info: bytes | OSError) -> None:
        super().__init__()
        self._info = info

    def getsockopt(self, *_: int) -> bytes:
        if isinstance(self._info, OSError):
            raise self._info
        return self._info


@pytest.mark.parametrize("info", [OSError("gone"), b"", bytes(104)])
@in_no_time
async def test_a_kernel_that_tells_less_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, info: bytes | OSError
) -> None:
    monkeypatch.setattr(_flow, "_TELLS", True)
    monkeypatch.setattr(socket, "TCP_INFO", 11, raising=False)
    transport = FakeTransport(extra={"socket": Told(info)})
    transport.buffered = 3
    assert flow_of(transport) == Flow(0, 3)


@contextlib.asynccontextmanager
async def flooded() -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    """A transport that has written a lot, and its client, which has read nothing."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        theirs.connect(server.getsockname())
        ours, _ = server.accept()
    theirs.setblocking(False)
    ours.setblocking(False)
    lost = loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(None)

    with theirs:
        transport, _ = await loop.create_connection(Protocol, sock=ours)
        transport.write(bytes(A_LOT))
        try:
            yield transport, theirs
        finally:
            transport.abort()
            await lost


async def at_rest(transport: asyncio.Transport) -> Flow:
    """Return the flow when the buffers of the kernel are full."""
    while True:
        before = flow_of(transport)
        await asyncio.sleep(STILL)
        if not flow_of(transport).moved_since(before):
            return flow_of(transport)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_little_that_a_client_reads_is_seen(loop: str, closing: bool) -> None:
    async def check() -> None:
        async with flooded() as (transport, theirs):
            if closing:
                transport.close()
            before = await at_rest(transport)
            buffered = transport.get_write_buffer_size()
            assert before.waiting > buffered > 0
            read = 0
            while read < A_LITTLE:
                read += len(await asyncio.get_running_loop().sock_recv(theirs, 8192))
            while not flow_of(transport).moved_since(before):  # noqa: ASYNC110 - the kernel tells
                await asyncio.sleep(0.01)
            assert transport.get_write_buffer_size() == buffered

    LOOPS[loop](check())
