"""The clients of the crowd: what they do with their connections, and what must come of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from apps.crowd import AGE, HANDSHAKE, IDLE, MAX_SIZE, PER_CLIENT, RATE

from server.fuzz.soak_clients import Client, expect, frame, request

PACE: Final = 500
"""Messages that are said in rooms in a second."""
MESSAGES: Final = 7
"""What one client says, at most."""
IN_A_ROOM: Final = 5
"""Clients in a room, about."""


@dataclass
class Crowd:
    """All clients.

    Attributes:
        port: Of the server.
        size: How many there are at a time.
        made: Connections, by what their clients did.
        said: Messages that were sent and came back.
        failures: What went wrong.
        over: Whether all are to leave.
    """

    port: int
    size: int
    made: Counter[str] = field(default_factory=Counter)
    said: int = 0
    failures: list[str] = field(default_factory=list)
    over: bool = False
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def pause(self) -> float:
        """Seconds, at most, between two messages of one client."""
        return 2 * self.size / PACE

    def newcomer(self) -> str:
        """Return the name of a user who was never there."""
        return f"u{next(self._numbers)}"

    def room(self, dice: random.Random) -> str:
        """Return the path of a room."""
        return f"/rooms/{dice.randrange(max(self.size // IN_A_ROOM, 1))}"

    @asynccontextmanager
    async def connected(self, buffer: int | None = None) -> AsyncIterator[Client]:
        """Open a connection, with a receive buffer of so many bytes."""
        sock = socket.socket()
        sock.setblocking(False)
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
            reader, writer = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def talks(crowd: Crowd, dice: random.Random) -> None:
    """Say something now and then, hear what others say, and leave in one way or another."""
    user = crowd.newcomer()
    loop = asyncio.get_running_loop()
    async with crowd.connected() as client:
        await client.accepted(f"{crowd.room(dice)}?user={user}")
        for number in range(dice.randrange(1, MESSAGES + 1)):
            said = f"{user} says {number}".encode()
            # Not a timeout around the read, which would be in the middle of a frame.
            timer = loop.call_later(
                dice.uniform(0, crowd.pause), client.writer.write, frame(0x81, said)
            )
            try:
                heard = b""
                while heard != said:
                    first, heard = await client.read()
                    expect(first == 0x81, f"a text, got {first:#x} {heard!r}")
            finally:
                timer.cancel()
            crowd.said += 1
            if crowd.over:
                break
        await leaves(client, dice)


async def leaves(client: Client, dice: random.Random) -> None:
    """End a connection: politely, with a FIN, or with an RST."""
    how = dice.randrange(3)
    if how == 0:
        client.writer.write(frame(0x88, b"\x03\xe8"))
        while (await client.read())[0] != 0x88:
            pass
    elif how == 1:
        client.writer.write_eof()
        await client.reader.read()
    else:
        client.reset()


async def is_one_too_many(crowd: Crowd, dice: random.Random) -> None:
    """Connect more often than one client may; once again when one has left."""
    target = f"{crowd.room(dice)}?user={crowd.newcomer()}"
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(crowd.connected()) for _ in range(PER_CLIENT)]
        for client in clients:
            await client.accepted(target)
        async with crowd.connected() as another:
            another.writer.write(request(target))
            answer = await another.reader.read()
            expect(answer.split(b" ")[1] == b"429", f"429, got {answer[:200]!r}")
        await leaves(clients[0], random.Random(0))
    await forgotten(crowd, target)


async def forgotten(crowd: Crowd, target: str) -> None:
    """Connect where there was no place, until there is."""
    while True:
        async with crowd.connected() as client:
            client.writer.write(request(target))
            head = await client.reader.readuntil(b"\r\n\r\n")
            if b" 429 " not in head:
                expect(b" 101 " in head, f"accepted, got {head!r}")
                return
        await asyncio.sleep(0.1)


async def floods(crowd: Crowd, dice: random.Random) -> None:
    """Send more messages than one may."""
    async with crowd.connected() as client:
        await client.accepted(f"/listen?user={crowd.newcomer()}")
        client.writer.write(frame(0x81, b"spam") * RATE * 20)
        await client.closed(1008)


async def sends_too_much(crowd: Crowd, dice: random.Random) -> None:
    """Send a message that is longer than one may be."""
    async with crowd.connected() as client:
        await client.accepted(f"{crowd.room(dice)}?user={crowd.newcomer()}")
        client.writer.write(frame(0x82, bytes(MAX_SIZE + 1)))
        await client.closed(1009)


async def waits_in_vain(crowd: Crowd, dice: random.Random) -> None:
    """Ask a handler that does not answer the handshake; stay, or leave before."""
    async with crowd.connected() as client:
        client.writer.write(request(f"/hesitate?user={crowd.newcomer()}"))
        if dice.random() < 0.5:
            await asyncio.sleep(dice.uniform(0, HANDSHAKE))
            client.reset()
            return
        answer = await client.reader.read()
        expect(answer.split(b" ")[1] == b"503", f"503, got {answer[:200]!r}")


async def idles(crowd: Crowd, dice: random.Random) -> None:
    """Say nothing for too long."""
    async with crowd.connected() as client:
        await client.accepted(f"/idle?user={crowd.newcomer()}")
        async with asyncio.timeout(IDLE * 10):
            await client.closed(3008)


async def ages(crowd: Crowd, dice: random.Random) -> None:
    """Stay for too long."""
    async with crowd.connected() as client:
        await client.accepted(f"/age?user={crowd.newcomer()}")
        async with asyncio.timeout(AGE * 10):
            await client.closed(1012)


async def does_not_read(crowd: Crowd, dice: random.Random) -> None:
    """Ask for much and read nothing of it; the server hangs up at some time."""
    async with crowd.connected(buffer=8192) as client:
        await client.accepted(f"/push?user={crowd.newcomer()}")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(dice.uniform(1, 8))
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            while await client.reader.read(1 << 16):
                pass


async def is_dismissed(crowd: Crowd, dice: random.Random) -> None:
    """Be connected twice, and be closed by name."""
    user = crowd.newcomer()
    async with crowd.connected() as one, crowd.connected() as two, crowd.connected() as boss:
        for client in (one, two):
            await client.accepted(f"{crowd.room(dice)}?user={user}")
        await boss.accepted(f"/dismiss?name={user}")
        for client in (one, two):
            await closed_among_others(client, 4401)
        expect(await boss.read() == (0x81, b"2"), "two connections were closed")


async def closed_among_others(client: Client, code: int) -> None:
    """Read what others say, up to a close frame; answer it."""
    while True:
        first, payload = await client.read()
        if first == 0x88:
            break
    expect(payload[:2] == code.to_bytes(2), f"{code}, got {payload!r}")
    client.writer.write(frame(0x88, payload[:2]))
    await client.reader.read()


Act = Callable[[Crowd, random.Random], Coroutine[Any, Any, None]]
ACTS: Final[dict[Act, int]] = {
    talks: 400,
    is_one_too_many: 10,
    floods: 10,
    sends_too_much: 10,
    waits_in_vain: 10,
    idles: 10,
    ages: 10,
    is_dismissed: 10,
    does_not_read: 4,
}
"""How often each is chosen."""
