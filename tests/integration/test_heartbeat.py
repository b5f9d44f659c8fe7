"""Heartbeats over real sockets: pings of the protocol on Telex's server, messages on others.

Most of the time goes by in waiting, so each test runs on all servers at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

from integration.beating_app import IMPATIENT, INTERVAL, TIMEOUT
from integration.conftest import assert_quiet
from integration.plain_clients import handshake
from integration.servers import KINDS, Kind, Server, start, stop
from server.wire.client import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, closing, frame
from telex._limits import PING as PING_MESSAGE
from telex._limits import PONG as PONG_MESSAGE

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(60)]

APP = "integration.beating_app:app"
DEADLINE = 20.0
"""Seconds for one test."""
LATE = 3.0
"""Seconds by which a close may come later than it should, on a busy machine."""
MANY = 5
"""Pings after which a connection is taken to stay."""
BLOCKED = 0.8
"""Seconds in which the event loop does nothing, more than a ping and its answer may take."""
CROWD = 100
WINDOW = 0.8
"""Seconds in which timers are counted, and everybody is pinged more than once."""


def _ours(loop: str) -> Kind:
    command = f"{KINDS['telex'].command} --loop {loop}"
    return Kind(f"telex on {loop}", KINDS["telex"].packages, command)


OURS = [_ours("asyncio"), _ours("uvloop")]
THEIRS = [
    KINDS[name]
    for name in ("uvicorn websockets", "uvicorn websockets-sansio", "uvicorn wsproto", "hypercorn")
]

Check = Callable[[Server], Awaitable[None]]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    started = [start(kind, APP) for kind in (*OURS, *THEIRS)]
    try:
        for server in started:
            server.wait_until_it_answers()
        yield started
        for server in started:
            assert_quiet(server)
    finally:
        stop(*started)


def on(*kinds: Kind) -> Callable[[Check], Callable[[list[Server]], Awaitable[None]]]:
    """Run a check on servers of these kinds at once."""

    async def named(check: Check, server: Server) -> None:
        try:
            await check(server)
        except Exception as exc:
            exc.add_note(f"on {server}")
            raise

    def decorate(check: Check) -> Callable[[list[Server]], Awaitable[None]]:
        async def test(servers: list[Server]) -> None:
            async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
                for server in servers:
                    if server.kind in kinds:
                        tasks.create_task(named(check, server))

        return test

    return decorate


everywhere = on(*OURS, *THEIRS)


class Client:
    """A client that does nothing by itself: it answers neither pings nor close frames.

    Attributes:
        name: By which it stands in the books.
        asked: How often it was asked for a sign of life.
    """

    names = map(str, range(1_000_000))

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.name = ""
        self.asked = 0
        self.reader = reader
        self._writer = writer

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame."""
        first, size = await self.reader.readexactly(2)
        assert first & FIN
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2))
        assert size != 127
        return first & 0x0F, await self.reader.readexactly(size)

    async def ping(self) -> bytes:
        """Wait until it is asked for a sign of life; return the answer."""
        opcode, payload = await self.frame()
        while opcode == PONG:
            # Of a ping of our own.
            opcode, payload = await self.frame()
        self.asked += 1
        if self.server.kind in OURS:
            assert opcode == PING
            return frame(PONG, payload)
        assert (opcode, payload) == (TEXT, PING_MESSAGE.encode())
        return frame(TEXT, PONG_MESSAGE.encode())

    async def stay(self, pings: int) -> None:
        """Answer so many pings."""
        for _ in range(pings):
            self.write(await self.ping())

    async def message(self) -> str:
        """Return the next message; answer the pings before it."""
        while True:
            opcode, payload = await self.frame()
            if opcode == TEXT and payload != PING_MESSAGE.encode():
                return payload.decode()
            assert opcode in (PING, TEXT)
            pong = (PONG, payload) if opcode == PING else (TEXT, PONG_MESSAGE.encode())
            self.write(frame(*pong))
            self.asked += 1

    async def tell(self, text: str) -> str:
        """Send a message and return the answer."""
        self.write(frame(TEXT, text.encode()))
        return await self.message()

    async def closed(self) -> int:
        """Return the code of the close frame, which comes next."""
        opcode, payload = await self.frame()
        assert opcode == CLOSE, payload
        return int.from_bytes(payload[:2])

    async def leave(self) -> None:
        """Close the connection as one should."""
        self.write(closing(1000))
        assert await self.closed() == 1000

    async def end(self) -> dict[str, Any]:
        """Wait until its handler has cleaned up; return what the books say of it."""
        async with opened(self.server, "/books") as books:
            while True:
                end: dict[str, Any] | None = json.loads(await books.tell(self.name))
                if end is not None:
                    return end
                await asyncio.sleep(0.05)


@asynccontextmanager
async def opened(server: Server, path: str) -> AsyncIterator[Client]:
    client = Client(server, *await asyncio.open_connection("127.0.0.1", server.port))
    client.name = next(Client.names)
    try:
        client.write(handshake(f"{path}?name={client.name}"))
        assert b" 101 " in await client.reader.readuntil(b"\r\n\r\n")
        yield client
    finally:
        client._writer.close()
        with contextlib.suppress(ConnectionError):
            await client._writer.wait_closed()


async def intervals(server: Server, amount: int) -> None:
    """Let so many intervals pass, as another client of the server counts them."""
    async with opened(server, "/echo") as client:
        await client.stay(amount)
        await client.leave()


async def dismissed(server: Server, path: str) -> None:
    """Assert that a client is closed, and its handler ended, which gives no sign of life."""
    began = time.monotonic()
    async with opened(server, path) as client:
        await client.ping()
        assert time.monotonic() - began > INTERVAL / 2
        assert await client.closed() == 1011
        took = time.monotonic() - began
        assert INTERVAL / 2 + TIMEOUT * 0.8 < took < INTERVAL + TIMEOUT + LATE
        end = await client.end()
        assert (end["code"], end["by"]) == (1011, "server")
        assert time.monotonic() - began < took + LATE
        if server.kind in OURS:
            # Nobody waits for the close frame of a client that says nothing.
            with contextlib.suppress(ConnectionResetError):
                assert await client.reader.read() == b""


async def kept(server: Server, path: str, sign: bytes, *more: bytes) -> None:
    """Assert that a client stays which answers each ping with something of its own."""
    async with opened(server, path) as client:
        for each in (sign, *more):
            await client.ping()
            client.write(each)
        await client.ping()


async def together(*checks: Awaitable[object]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for check in checks:
            tasks.create_task(_awaited(check))


async def _awaited(check: Awaitable[object]) -> None:
    await check


# Who gives no sign of life, and who does


@everywhere
async def test_who_answers_nothing_is_closed_with_1011(server: Server) -> None:
    paths = ["/echo", "/waits"]
    if server.kind in THEIRS:
        paths.append("/accepted/echo")
    await together(*(dismissed(server, path) for path in paths))


@everywhere
async def test_who_answers_stays_and_the_latency_is_known(server: Server) -> None:
    async with opened(server, "/echo") as client:
        assert await client.tell("latency") == "null"
        await client.stay(MANY)
        answer = await client.ping()
        delay = TIMEOUT / 3
        # The client takes its time.
        await asyncio.sleep(delay)
        client.write(answer)
        assert delay * 0.8 < float(await client.tell("latency")) < delay + LATE
        # The handler has not seen the answers.
        assert await client.tell("hello") == "hello"
        await client.leave()
    assert (await client.end())["by"] == "client"


async def echoes(server: Server, sign: bytes) -> None:
    """Assert that a client stays which answers pings with messages, and has them back."""
    async with opened(server, "/echo") as client:
        for _ in range(3):
            await client.ping()
            client.write(sign)
            opcode, payload = await client.frame()
            assert (opcode, payload) == (TEXT, str(b"x" if sign[0] & BINARY else "x").encode())
        await client.leave()


@everywhere
async def test_any_message_is_a_sign_of_life(server: Server) -> None:
    await together(*(echoes(server, frame(kind, b"x")) for kind in (TEXT, BINARY)))


FRAMES = {
    "pings": [frame(PING, b"x")] * 3,
    "pongs nobody asked for": [frame(PONG, b"x")] * 3,
    "parts of a message": [frame(TEXT, b"x", fin=False), *[frame(CONTINUATION, fin=False)] * 2],
}


@on(*OURS)
async def test_any_frame_is_a_sign_of_life_to_our_server(server: Server) -> None:
    await together(*(kept(server, "/echo", *frames) for frames in FRAMES.values()))


@on(*THEIRS)
async def test_what_is_no_message_is_none_to_others(server: Server) -> None:
    async def check(sign: bytes) -> None:
        async with opened(server, "/echo") as client:
            await client.ping()
            client.write(sign)
            while True:
                opcode, payload = await client.frame()
                if opcode != PONG:
                    break
            assert (opcode, payload[:2]) == (CLOSE, (1011).to_bytes(2))

    await together(*(check(frames[0]) for frames in FRAMES.values()))


# A server that is busy


async def outlives(server: Server, path: str, blocking: str) -> None:
    """Assert that a client is not judged by what was not read while the server was blocked."""
    async with opened(server, blocking) as other, opened(server, path) as client:
        answer = await client.ping()
        other.write(frame(TEXT, str(BLOCKED).encode()))
        # By then nobody reads.
        await asyncio.sleep(BLOCKED / 2)
        client.write(answer)
        assert "done" in await other.message()
        assert await client.tell("hello") == "hello"
        await client.leave()


@pytest.mark.parametrize(
    ("path", "blocking"), [("/echo", "/blocks"), ("/impatient", "/blocks-reading")]
)
async def test_a_blocked_event_loop_is_not_held_against_clients(
    servers: list[Server], path: str, blocking: str
) -> None:
    assert max(INTERVAL + TIMEOUT, IMPATIENT[0] / 2) < BLOCKED

    async def check(server: Server) -> None:
        await outlives(server, path, blocking)

    await everywhere(check)(servers)


# One timer for all


@everywhere
async def test_a_hundred_connections_share_a_timer(server: Server) -> None:
    async with opened(server, "/timers") as app, AsyncExitStack() as stack:
        clients, answering = [], []
        for _ in range(CROWD):
            clients.append(await stack.enter_async_context(opened(server, "/echo")))
            answering.append(asyncio.create_task(clients[-1].message()))
            stack.callback(answering[-1].cancel)
        before = sum(client.asked for client in clients)
        timers: dict[str, int] = json.loads(await app.tell(str(WINDOW)))
        pings = sum(client.asked for client in clients) - before
        assert not any(each.done() for each in answering)
        assert pings > CROWD
        assert sum(timers.values()) < pings


# Routes


@everywhere
async def test_a_route_may_have_another_heartbeat_or_none(server: Server) -> None:
    calm = ["/never", "/patient", "/calm/never"]
    if server.kind in THEIRS:
        calm.append("/unasked")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(opened(server, path)) for path in calm]
        await together(
            *(dismissed(server, path) for path in ("/inherits", "/calm/own")),
            intervals(server, MANY),
        )
        for client in clients:
            client.write(frame(TEXT, b"hello"))
            # Nothing was there before it.
            assert await client.frame() == (TEXT, b"hello")
            await client.leave()


async def test_it_begins_on_our_server_too_where_a_middleware_has_accepted(
    servers: list[Server],
) -> None:
    async def check(server: Server) -> None:
        async with asyncio.timeout(2 * (INTERVAL + TIMEOUT)):
            await dismissed(server, "/accepted/echo")

    await on(*OURS)(check)(servers)


# Clients of others


@on(*OURS)
async def test_clients_of_others_answer_by_themselves(server: Server) -> None:
    url = server.url("/echo?name=theirs")
    async with (
        connect(url, proxy=None, ping_interval=None) as theirs,
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as also_theirs,
    ):
        # It answers while somebody reads.
        reading = asyncio.create_task(also_theirs.receive_str())
        await intervals(server, MANY)
        assert not reading.done()
        await also_theirs.send_str("latency")
        # Which may be none at all: uvloop's clock goes by milliseconds.
        assert 0 <= float(await reading) < LATE
        await theirs.send("latency")
        assert 0 <= float(await theirs.recv()) < LATE
