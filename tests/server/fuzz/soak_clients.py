"""The clients of the soak test: what they do with a connection, well-behaved or not."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import zlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

from websockets.utils import apply_mask

from server.fuzz.soak_app import MAX_SIZE, PING, PONG

TAIL: Final = b"\x00\x00\xff\xff"
"""What is left out at the end of a compressed message (RFC 7692 §7.2.1)."""


def request(target: str, *headers: str) -> bytes:
    """Return the request of a handshake."""
    lines = (
        f"GET {target} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def frame(first: int, payload: bytes, mask: bytes = b"\x12\x34\x56\x78") -> bytes:
    """Build a client's frame."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + mask + apply_mask(payload, mask)


class Client:
    """A connection of the load, of which every byte is ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def accepted(self, target: str, *, deflate: bool = False) -> None:
        """Do the handshake."""
        offer = ["Sec-WebSocket-Extensions: permessage-deflate"] if deflate else []
        self.writer.write(request(target, *offer))
        head = await self.reader.readuntil(b"\r\n\r\n")
        expect(head.startswith(b"HTTP/1.1 101"), f"accepted, got {head!r}")
        expect((b"permessage-deflate" in head) == deflate, f"deflate={deflate}, got {head!r}")

    async def read(self) -> tuple[int, bytes]:
        """Return first byte and payload of the next frame; answers pings."""
        while True:
            first, size = await self.reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
            payload = await self.reader.readexactly(size)
            if first != 0x89:
                return first, payload
            self.writer.write(frame(0x8A, payload))

    async def closed(self, *codes: int) -> None:
        """Read up to a close frame with one of some codes, and the end."""
        while True:
            first, payload = await self.read()
            if first == 0x88:
                break
        code = int.from_bytes(payload[:2])
        expect(code in codes, f"a close frame with {codes}, got {payload!r}")
        with contextlib.suppress(ConnectionError):
            self.writer.write(frame(0x88, payload[:2]))
            rest = await self.reader.read()
            expect(not rest, f"the end, got {rest[:100]!r}")

    async def leave(self) -> None:
        """Do the close handshake."""
        self.writer.write(frame(0x88, b"\x03\xe8"))
        await self.closed(1000)

    def reset(self) -> None:
        """Vanish with an RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def expect(right: bool, what: str) -> None:
    """Fail for what the server has done."""
    if not right:
        raise AssertionError(f"expected {what}")


async def echoes(client: Client, dice: random.Random) -> None:
    """Small and big messages, compressed or not."""
    deflate = dice.random() < 0.5
    await client.accepted(dice.choice(["/echo", "/starlette/echo"]), deflate=deflate)
    packer, unpacker = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
    for size in dice.choices([0, 1, 125, 126, 200, 255, 256, 5000, 70_000, 300_000], k=8):
        message = payload = dice.randbytes(size // 2) + bytes(size - size // 2)
        compressed = deflate and dice.random() < 0.5
        if compressed:
            packed = packer.compress(message) + packer.flush(zlib.Z_SYNC_FLUSH)
            payload = packed.removesuffix(TAIL)
        client.writer.write(frame(0xC2 if compressed else 0x82, payload))
        first, payload = await client.read()
        expect(first & 0xBF == 0x82, f"an echo, got {first:#x} {payload[:50]!r}")
        if first & 0x40:
            payload = unpacker.decompress(payload + TAIL)
        expect(payload == message, f"the same {size} bytes, got {len(payload)}")
    await client.leave()


async def fragments(client: Client, dice: random.Random) -> None:
    """Messages in pieces, with pings between them."""
    await client.accepted("/echo")
    for _ in range(5):
        pieces = [("é" * dice.randrange(300)).encode() for _ in range(dice.randrange(2, 6))]
        for at, piece in enumerate(pieces):
            client.writer.write(frame(0x01 if at == 0 else 0x00, piece))
            client.writer.write(frame(0x89, bytes([at])))
            await asyncio.sleep(0)
        client.writer.write(frame(0x80, b""))
        for at in range(len(pieces)):
            expect(await client.read() == (0x8A, bytes([at])), "a pong")
        expect(await client.read() == (0x81, b"".join(pieces)), "an echo")
    await client.leave()


async def reads_slowly(client: Client, dice: random.Random) -> None:
    """Does not read what is pushed for a while; then reads all, or vanishes."""
    await client.accepted("/push")
    await asyncio.sleep(dice.uniform(0.2, 1.5))
    if dice.random() < 0.5:
        await client.closed(1000)
    else:
        client.reset()


async def never_reads(client: Client, dice: random.Random) -> None:
    """Sends for echoes that it does not read; vanishes, or waits for the ping timeout."""
    await client.accepted("/echo", deflate=dice.random() < 0.5)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(dice.choice([0.5, 0.5, 0.5, PING + PONG + 1])):
            while True:
                client.writer.write(frame(0x82, bytes(60_000)))
                await client.writer.drain()
    client.reset()


async def vanishes(client: Client, dice: random.Random) -> None:
    """Ends at any moment: within the handshake, within a frame, after a message."""
    target = dice.choice(["/echo", "/push", "/raise", "/reject", "/close", "/starlette/echo"])
    data = request(target) + frame(0x81, b"x" * dice.choice([1, 200, 70_000])) + frame(0x88, b"")
    client.writer.write(data[: dice.randrange(1, len(data) + 1)])
    await asyncio.sleep(dice.choice([0, 0, 0.01, 0.1]))
    if dice.random() < 0.5:
        client.reset()
    elif dice.random() < 0.5:
        client.writer.write_eof()
        await client.reader.read()


async def violates(client: Client, dice: random.Random) -> None:
    """Breaks the protocol, and is told so."""
    await client.accepted(dice.choice(["/echo", "/starlette/echo"]), deflate=dice.random() < 0.3)
    bad, code = dice.choice(
        [
            (frame(0x83, b""), 1002),
            (frame(0x91, b"x"), 1002),
            (frame(0x80, b"x"), 1002),
            (frame(0x09, b"x"), 1002),
            (b"\x81\x01x", 1002),
            (frame(0x88, b"\x03"), 1002),
            (frame(0x81, b"\xff"), 1007),
            (frame(0x81, b"abc\xed\xa0\x80def")[:-2], 1007),
            (struct.pack("!BBQ", 0x82, 0xFF, MAX_SIZE + 1) + bytes(40), 1009),
            (frame(0x02, bytes(MAX_SIZE)) + frame(0x80, b"x"), 1009),
        ]
    )
    client.writer.write(frame(0x81, b"before") + bad)
    await client.closed(code)


async def is_refused(client: Client, dice: random.Random) -> None:
    """A handshake that is answered with something else than 101."""
    right = request("/echo")
    data, status = dice.choice(
        [
            (request("/reject"), b"403"),
            (request("/nowhere"), b"404"),
            (right.replace(b"Version: 13", b"Version: 8"), b"426"),
            (right.replace(b"Key: dGhl", b"Key: "), b"400"),
        ]
    )
    client.writer.write(data)
    answer = await client.reader.read()
    expect(answer.split(b" ")[1] == status, f"{status!r}, got {answer[:200]!r}")


async def is_ended(client: Client, dice: random.Random) -> None:
    """The handler raises, or closes."""
    target, code = dice.choice([("/raise", 1011), ("/close", 4000), ("/starlette/raise", 1011)])
    await client.accepted(target, deflate=dice.random() < 0.3)
    client.writer.write(frame(0x81, b"go"))
    await client.closed(code)


async def pings(client: Client, dice: random.Random) -> None:
    """Pings, and is quiet long enough to be pinged; answers, or is dropped for not answering."""
    await client.accepted("/echo", deflate=dice.random() < 0.5)
    for number in range(10):
        client.writer.write(frame(0x89, bytes([number]) * 125))
        expect(await client.read() == (0x8A, bytes([number]) * 125), "a pong")
    kind = dice.randrange(20)
    if kind == 0:
        first, _ = await client.reader.readexactly(2)
        expect(first == 0x89, f"a ping, got {first:#x}")
        await client.reader.read()
    elif kind == 1:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5 * PING):
                await client.read()
    if kind:
        await client.leave()


Act = Callable[[Client, random.Random], Coroutine[Any, Any, None]]
ACTS: Final[dict[Act, int]] = {
    vanishes: 8,
    violates: 4,
    is_refused: 4,
    is_ended: 4,
    echoes: 3,
    fragments: 2,
    pings: 2,
    reads_slowly: 1,
    never_reads: 1,
}
"""How often each is chosen."""
