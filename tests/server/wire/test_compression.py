"""permessage-deflate over real sockets (RFC 7692): the agreement, and what it does to frames."""

from __future__ import annotations

import asyncio
import random
import zlib
from typing import Any

import pytest
from websockets.asyncio.client import connect

from server.wire.apps import ACCEPT, Notes, echo, listening, received, saying, sending, to_the_end
from server.wire.client import (
    BINARY,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    RSV1,
    TEXT,
    Client,
    Frame,
    dial,
    frame,
    is_text,
    request,
    text,
)
from server.wire.serving import DEADLINE, Served, Servers, Venue

OFFER = b"permessage-deflate"


class Packer:
    """Compresses and decompresses the messages of one connection, as a client does.

    Args:
        bits: The size of the windows, as a power of two.
    """

    def __init__(self, bits: int = 12) -> None:
        self._packer = zlib.compressobj(wbits=-bits)
        self._unpacker = zlib.decompressobj(wbits=-bits)

    def pack(self, data: bytes) -> bytes:
        packed = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        return packed[:-4]

    def unpack(self, data: bytes) -> bytes:
        return self._unpacker.decompress(data + b"\0\0\xff\xff")


def agreed(server: Served, *offers: bytes, app: Any = echo) -> tuple[Client, str]:
    """Return a client that has made these offers, and what the server said."""
    client = dial(server)
    more = [(b"Sec-WebSocket-Extensions", offer) for offer in offers]
    client.write(request(server.play(app), more=more))
    head = client.head()
    assert head.status == 101
    return client, b"; ".join(head.all(b"sec-websocket-extensions")).decode()


# Agreeing


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (b"permessage-deflate", "server_max_window_bits=12"),
        (
            b"permessage-deflate; client_max_window_bits",
            "server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            b"permessage-deflate; client_max_window_bits=15",
            "server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            b"permessage-deflate; client_max_window_bits=10",
            "server_max_window_bits=12; client_max_window_bits=10",
        ),
        (b"permessage-deflate; server_max_window_bits=15", "server_max_window_bits=12"),
        (b"permessage-deflate; server_max_window_bits=9", "server_max_window_bits=9"),
        (b'permessage-deflate; server_max_window_bits="10"', "server_max_window_bits=10"),
        (
            b"permessage-deflate; server_no_context_takeover",
            "server_no_context_takeover; server_max_window_bits=12",
        ),
        (
            b"permessage-deflate; client_no_context_takeover",
            "client_no_context_takeover; server_max_window_bits=12",
        ),
        (b"x-unknown; a=b, permessage-deflate", "server_max_window_bits=12"),
        (b"permessage-deflate; x=1, permessage-deflate", "server_max_window_bits=12"),
        (
            b"permessage-deflate; server_max_window_bits=8, permessage-deflate",
            "server_max_window_bits=12",
        ),
        (
            b"permessage-deflate; server_max_window_bits=10, permessage-deflate",
            "server_max_window_bits=10",
        ),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_the_first_offer_that_can_be_met_is_taken(
    either: Served, offer: bytes, answer: str
) -> None:
    client, said = agreed(either, offer)
    name, *parameters = said.split("; ")
    assert name == "permessage-deflate"
    assert parameters == answer.split("; ")
    client.write(text("fine"))
    assert client.frame().opcode == TEXT


@pytest.mark.parametrize(
    "offer",
    [
        b"x-unknown",
        b"permessage-deflate; x",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; server_max_window_bits=7",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; server_max_window_bits=08",
        b"permessage-deflate; client_max_window_bits=7",
        b"permessage-deflate; client_max_window_bits=16",
        b"permessage-deflate; server_no_context_takeover=1",
        b"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    ],
)
def test_an_offer_that_cannot_be_met_is_declined(either: Served, offer: bytes) -> None:
    client, said = agreed(either, offer)
    assert said == ""
    client.write(text("plain"))
    assert client.frame() == is_text("plain")


@pytest.mark.parametrize(
    "offer", [b"=", b";", b"a;", b"a b", b'a="b', b"a;=b", b"permessage-deflate;;"]
)
def test_a_malformed_header_is_refused(either: Served, offer: bytes) -> None:
    client = dial(either)
    client.write(request("none", more=[(b"Sec-WebSocket-Extensions", offer)]))
    assert client.head().status == 400


def test_offers_of_several_lines_are_one_list(either: Served) -> None:
    _, said = agreed(either, b"x-unknown", b"permessage-deflate; server_max_window_bits=11")
    assert said == "permessage-deflate; server_max_window_bits=11"


@pytest.mark.parametrize("protocol", ["telex", "uvicorn"])
def test_it_can_be_switched_off(servers: Servers, protocol: str) -> None:
    server = servers.get(Venue(protocol), ws_per_message_deflate=False)
    client, said = agreed(server, OFFER)
    assert said == ""
    data = "x" * 5000
    client.write(text(data))
    assert client.frame() == is_text(data)
    client.write(frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=RSV1))
    assert client.last_words()[0] == 1002


# What clients send


def test_the_examples_of_the_rfc_are_understood(either: Served) -> None:
    # RFC 7692 §7.2.3.1 and §7.2.3.2.
    notes = Notes()
    client, _ = agreed(either, OFFER, app=listening(notes))
    client.write(frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=RSV1))
    client.write(frame(TEXT, b"\xf2\x00\x11\x00\x00", rsv=RSV1))
    client.write(frame(TEXT, b"\xf2\x48\xcd", rsv=RSV1, fin=False))
    client.write(frame(PING), frame(CONTINUATION, b"\xc9\xc9\x07\x00"))
    client.write(frame(TEXT, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", rsv=RSV1))
    for _ in range(4):
        assert notes.get() == received("Hello")


def test_a_block_that_says_it_is_the_last_is_followed_by_more(server: Served) -> None:
    # RFC 7692 §7.2.3.4: a message may end with such a block; the next one is another message.
    notes = Notes()
    client, _ = agreed(server, OFFER, app=listening(notes))
    for _ in range(3):
        client.write(frame(TEXT, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", rsv=RSV1))
    client.write(frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=RSV1))
    for _ in range(4):
        assert notes.get() == received("Hello")


@pytest.mark.parametrize(
    "offer",
    [OFFER, OFFER + b"; client_no_context_takeover; server_no_context_takeover"],
    ids=["remembers", "forgets"],
)
def test_messages_go_both_ways(anywhere: Served, offer: bytes) -> None:
    client, _ = agreed(anywhere, offer)
    forgets = b"no_context" in offer
    packer = Packer()
    sizes = []
    data = random.Random(5).randbytes(300) * 5
    for _ in range(4):
        if forgets:
            packer = Packer()
        client.write(frame(BINARY, packer.pack(data), rsv=RSV1))
        got = client.frame()
        assert got.first_byte == FIN | RSV1 | BINARY
        assert packer.unpack(got.payload) == data
        sizes.append(len(got.payload))
    assert len(set(sizes)) == 1 if forgets else sizes[1] < sizes[0] / 5


def test_a_client_may_leave_messages_uncompressed(either: Served) -> None:
    notes = Notes()
    client, _ = agreed(either, OFFER, app=listening(notes))
    packer = Packer()
    for number in range(6):
        data = f"message {number}"
        if number % 2:
            client.write(text(data))
        else:
            client.write(frame(TEXT, packer.pack(data.encode()), rsv=RSV1))
        assert notes.get() == received(data)


def test_a_compressed_message_may_be_empty_and_in_many_pieces(either: Served) -> None:
    notes = Notes()
    client, _ = agreed(either, OFFER, app=listening(notes))
    packer = Packer()
    client.write(frame(BINARY, b"\0", rsv=RSV1))
    assert notes.get() == received(b"")
    data = random.Random(3).randbytes(5000)
    packed = packer.pack(data)
    first, *others = (packed[begin : begin + 100] for begin in range(0, len(packed), 100))
    client.write(frame(BINARY, first, rsv=RSV1, fin=False))
    client.write(*(frame(CONTINUATION, part, fin=False) for part in others))
    client.write(frame(PING, b"?"), frame(CONTINUATION))
    assert notes.get() == received(data)
    assert client.frame() == Frame(FIN | PONG, b"?")


def test_compressed_text_is_checked_when_it_is_inflated(either: Served) -> None:
    client, _ = agreed(either, OFFER)
    client.write(frame(TEXT, Packer().pack(b"abc\xff"), rsv=RSV1))
    assert client.last_words()[0] == 1007


def test_compressed_bytes_are_no_text_and_not_checked_as_such(anywhere: Served) -> None:
    notes = Notes()
    client, _ = agreed(anywhere, OFFER, app=listening(notes))
    data = "Grüße €𝄞 " * 400
    sent = frame(TEXT, Packer().pack(data.encode()), rsv=RSV1)
    assert not sent.isascii()
    for byte in sent:
        client.write(bytes((byte,)))
    assert notes.get() == received(data)


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"\xf2\x48", rsv=RSV1, fin=False) + frame(CONTINUATION, b"\0", rsv=RSV1),
        text("plain", fin=False) + frame(CONTINUATION, b"\xf2\x48\xcd", rsv=RSV1),
        frame(PING, rsv=RSV1),
    ],
    ids=["continuation", "plain continuation", "ping"],
)
def test_the_mark_of_compression_is_for_the_first_frame_only(server: Served, sent: bytes) -> None:
    client, _ = agreed(server, OFFER)
    client.write(sent)
    assert client.last_words()[0] == 1002


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x06", b"\xf2\x48\xff\xff\xff\xff\xff" * 3])
def test_data_that_cannot_be_inflated_ends_the_connection(either: Served, data: bytes) -> None:
    client, _ = agreed(either, OFFER)
    client.write(frame(BINARY, data, rsv=RSV1))
    assert client.last_words()[0] in (1002, 1007)


def test_more_history_than_was_agreed_on_is_an_error_and_no_crash(server: Served) -> None:
    client, _ = agreed(server, OFFER + b"; client_max_window_bits")
    packer = Packer(15)
    data = random.Random(9).randbytes(20_000)
    client.write(frame(BINARY, packer.pack(data + data), rsv=RSV1))
    assert client.last_words()[0] in (1002, 1007)


# What the server sends


@pytest.mark.parametrize("size", [0, 1, 100, 255, 256, 257, 70_000])
@pytest.mark.parametrize("kind", [str, bytes])
def test_small_messages_are_left_uncompressed(server: Served, size: int, kind: Any) -> None:
    data = "x" * size if kind is str else b"x" * size
    client, _ = agreed(server, OFFER, app=saying(ACCEPT, sending(data), then=to_the_end))
    got = client.frame()
    assert bool(got.first_byte & RSV1) == (size >= 256)
    if size >= 256:
        assert len(got.payload) < size
        assert Packer().unpack(got.payload) == b"x" * size
    else:
        assert got.payload == b"x" * size


def test_small_and_big_ones_share_one_history(server: Served) -> None:
    data = random.Random(2).randbytes(1500)
    messages = [sending(data), sending(b"small"), sending(data)]
    client, _ = agreed(server, OFFER, app=saying(ACCEPT, *messages, then=to_the_end))
    packer = Packer()
    first, small, again = (client.frame() for _ in range(3))
    assert packer.unpack(first.payload) == data
    assert small == Frame(FIN | BINARY, b"small")
    assert packer.unpack(again.payload) == data
    assert len(again.payload) < len(first.payload) / 10


@pytest.mark.parametrize("bits", [9, 10, 11, 12, 15])
def test_the_window_is_no_greater_than_agreed(server: Served, bits: int) -> None:
    offer = OFFER + b"; server_max_window_bits=%d" % bits
    data = random.Random(4).randbytes(3000)
    app = saying(ACCEPT, *[sending(data * 3)] * 3, then=to_the_end)
    client, _ = agreed(server, offer, app=app)
    packer = Packer(bits)
    for _ in range(3):
        assert packer.unpack(client.frame().payload) == data * 3


@pytest.mark.parametrize("size", [10, 256, 1000, 100_000])
async def test_a_real_client_and_the_server_understand_each_other(
    anywhere: Served, size: int
) -> None:
    # Not the client with threads: OpenSSL forbids to read and write one connection in two.
    async with connect(
        anywhere.url,
        sock=anywhere.connect_without_tls(),
        ssl=anywhere.trust,
        additional_headers={"X-App": anywhere.play(echo)},
        proxy=None,
    ) as ws:
        for number in range(5):
            data = f"Grüße {number} " * (size // 10)
            await ws.send(data)
            assert await asyncio.wait_for(ws.recv(), DEADLINE) == data
            await ws.send(data.encode())
            assert await asyncio.wait_for(ws.recv(), DEADLINE) == data.encode()
