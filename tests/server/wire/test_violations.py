"""What clients may not send, and how it ends: the right close code, at once, and no more input."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from server.wire.apps import ACCEPT, Notes, disconnected, echo, listening, received, saying, sending
from server.wire.client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Client,
    closing,
    frame,
    is_binary,
    is_text,
    open_client,
    text,
)
from server.wire.serving import Served, Servers, Venue, until
from telex._types import Receive, Scope, Send

DEFLATE = [(b"Sec-WebSocket-Extensions", b"permessage-deflate")]
MEBIBYTE = 2**20

VIOLATIONS: dict[str, tuple[bytes, int]] = {
    "RSV1 without an extension": (frame(TEXT, b"x", rsv=RSV1), 1002),
    "RSV2": (frame(TEXT, b"x", rsv=RSV2), 1002),
    "RSV3": (frame(BINARY, b"x", rsv=RSV3), 1002),
    "RSV1 on a ping": (frame(PING, rsv=RSV1), 1002),
    "RSV2 on a pong": (frame(PONG, rsv=RSV2), 1002),
    "RSV3 on a close frame": (frame(CLOSE, b"\x03\xe8", rsv=RSV3), 1002),
    "RSV1 on a continuation": (
        text("x", fin=False) + frame(CONTINUATION, b"x", rsv=RSV1),
        1002,
    ),
    **{f"opcode {code}": (frame(code, b"x"), 1002) for code in (3, 4, 5, 6, 7)},
    **{f"opcode {code}": (frame(code), 1002) for code in (11, 12, 13, 14, 15)},
    "no mask": (frame(TEXT, b"x", mask=None), 1002),
    "no mask, empty": (frame(BINARY, b"", mask=None), 1002),
    "no mask on a ping": (frame(PING, mask=None), 1002),
    "no mask on a close frame": (frame(CLOSE, b"\x03\xe8", mask=None), 1002),
    "a ping of 126": (frame(PING, b"x" * 126), 1002),
    "a pong of 65536": (frame(PONG, b"x" * 65_536), 1002),
    "a close frame of 126": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "a ping in fragments": (frame(PING, b"x", fin=False), 1002),
    "a pong in fragments": (frame(PONG, b"x", fin=False), 1002),
    "a close frame in fragments": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a continuation after the end": (
        text("x", fin=False) + frame(CONTINUATION, b"x") + frame(CONTINUATION, b"x"),
        1002,
    ),
    "a text within a message": (text("x", fin=False) + text("x"), 1002),
    "a binary within a message": (text("x", fin=False) + frame(BINARY, fin=False), 1002),
    "a close frame of one byte": (frame(CLOSE, b"\x03"), 1002),
    **{
        f"close code {code}": (closing(code), 1002)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    "a close reason that is no UTF-8": (closing(1000, b"\xff"), 1007),
    "a close reason that is cut": (closing(1000, "€".encode()[:2]), 1007),
    "no UTF-8": (frame(TEXT, b"abc\xff"), 1007),
    "UTF-8 that is too long": (frame(TEXT, b"\xc0\xaf"), 1007),
    "UTF-8 of a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "UTF-8 above U+10FFFF": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "UTF-8 that is cut": (frame(TEXT, "€".encode()[:2]), 1007),
    "UTF-8 that is cut at the end of fragments": (
        frame(TEXT, "€".encode()[:1], fin=False) + frame(CONTINUATION, "€".encode()[1:2]),
        1007,
    ),
}

LENGTHS = {
    "5 in two bytes": frame(BINARY, b"x" * 5, length=struct.pack("!BH", 126, 5)),
    "125 in two bytes": frame(BINARY, b"x" * 125, length=struct.pack("!BH", 126, 125)),
    "5 in eight bytes": frame(BINARY, b"x" * 5, length=struct.pack("!BQ", 127, 5)),
    "65535 in eight bytes": frame(BINARY, b"x" * 65_535, length=struct.pack("!BQ", 127, 65_535)),
    "the highest bit": frame(BINARY, length=struct.pack("!BQ", 127, 1 << 63)),
}
"""Lengths in a form that RFC 6455 §5.2 does not allow; `websockets` takes them."""


def ends_with(client: Client, code: int) -> str:
    """Read to the close frame, see its code and that nothing comes after it; return the reason."""
    got, reason = client.last_words()
    assert got == code, reason
    return reason


@pytest.mark.parametrize(("sent", "code"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_violation_ends_the_connection_with_its_code(
    either: Served, sent: bytes, code: int
) -> None:
    notes = Notes()
    client = open_client(either, listening(notes))
    client.write(sent)
    reason = ends_with(client, code)
    while (event := notes.get())["type"] == "websocket.receive":
        pass
    assert event == disconnected(code, reason)


@pytest.mark.parametrize("sent", LENGTHS.values(), ids=LENGTHS)
def test_a_length_is_written_in_its_shortest_form(server: Served, sent: bytes) -> None:
    client = open_client(server, echo)
    client.write(sent)
    ends_with(client, 1002)


@pytest.mark.parametrize(
    "name", ["opcode 3", "RSV2", "no UTF-8", "a ping of 126", "close code 999", "no mask"]
)
def test_what_came_before_a_violation_is_not_lost(anywhere: Served, name: str) -> None:
    sent, code = VIOLATIONS[name]
    notes = Notes()
    client = open_client(anywhere, listening(notes))
    client.write(text("one"), frame(BINARY, b"two"), sent, text("never seen"))
    ends_with(client, code)
    assert notes.get() == received("one")
    assert notes.get() == received(b"two")
    event = notes.get()
    assert (event["type"], event["code"]) == ("websocket.disconnect", code)


@pytest.mark.parametrize("name", ["opcode 3", "RSV2", "no UTF-8", "close code 999"])
def test_a_violation_may_be_cut_at_every_place(server: Served, name: str) -> None:
    sent, code = VIOLATIONS[name]
    for cut in range(1, len(sent)):
        client = open_client(server, echo)
        client.write(sent[:cut])
        server.turn()
        client.write(sent[cut:])
        ends_with(client, code)
        client.hang_up()


# UTF-8 that fails before the frame is complete


@pytest.mark.parametrize("size", [100, 1000, 100_000, MEBIBYTE])
def test_text_fails_at_the_first_bad_byte_of_a_frame_that_is_not_complete(
    anywhere: Served, size: int
) -> None:
    client = open_client(anywhere, echo)
    client.write(frame(TEXT, "Grüße ".encode() + b"\xff" * size)[:25])
    ends_with(client, 1007)


def test_text_fails_at_the_first_bad_byte_of_a_continuation(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    client.write(frame(TEXT, "€".encode()[:2], fin=False))
    anywhere.turn()
    client.write(frame(CONTINUATION, b"x" * 1000)[:9])
    ends_with(client, 1007)


def test_text_fails_in_a_fragment_that_is_not_the_last(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    client.write(text("fine", fin=False), frame(CONTINUATION, b"\x80", fin=False))
    ends_with(client, 1007)


@pytest.mark.parametrize("cut", range(1, 12))
def test_text_that_comes_slowly_is_looked_at_as_it_comes(server: Served, cut: int) -> None:
    sent = frame(TEXT, b"abc\xffdef" + b"x" * 110)
    client = open_client(server, echo)
    client.write(sent[:cut])
    server.turn()
    if cut < 10:
        client.write(sent[cut:10])
    ends_with(client, 1007)


def test_text_that_is_fine_so_far_is_waited_for(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    data = "Grüße an €𝄞 " * 5000
    sent = text(data)
    for begin in range(0, len(sent), 7919):
        client.write(sent[begin : begin + 7919])
        anywhere.turn()
    assert client.frame() == is_text(data)


def test_bad_text_behind_a_lot_of_good_text_fails(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    data = ("Grüße " * 50_000).encode()
    client.write(frame(TEXT, data + b"\xff" + b"x" * MEBIBYTE)[: len(data) + 20])
    ends_with(client, 1007)


def test_binary_data_may_be_anything(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    data = b"\xff\xc0\x80" * 1000
    sent = frame(BINARY, data)
    client.write(sent[:100])
    anywhere.turn()
    client.write(sent[100:])
    assert client.frame() == is_binary(data)


# Sizes

MAX_SIZE = 1000


def limited(servers: Servers, protocol: str = "telex", size: int = MAX_SIZE) -> Served:
    return servers.get(Venue(protocol), ws_max_size=size)


def pieces(data: bytes, size: int) -> list[bytes]:
    """Return a binary message in fragments."""
    parts = [data[begin : begin + size] for begin in range(0, len(data), size)]
    return [
        frame(BINARY if part is parts[0] else CONTINUATION, part, fin=part is parts[-1])
        for part in parts
    ]


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-12)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("protocol", ["telex", "uvicorn"])
def test_a_message_of_the_greatest_size_passes_in_any_form(servers: Servers, protocol: str) -> None:
    client = open_client(limited(servers, protocol), echo, more=DEFLATE)
    data = bytes(range(250)) * 4
    client.write(frame(BINARY, data), *pieces(data, 300))
    client.write(frame(BINARY, deflated(data), rsv=RSV1))
    client.write(*pieces(data, 1))
    client.write(text("x" * MAX_SIZE))
    for _ in range(5):
        assert client.frame().opcode in (BINARY, TEXT)
    client.write(closing())
    ends_with(client, 1000)


@pytest.mark.parametrize("protocol", ["telex", "uvicorn"])
@pytest.mark.parametrize("form", ["one", "text", "fragments", "last", "compressed", "in pieces"])
def test_one_byte_more_is_too_big_in_any_form(servers: Servers, form: str, protocol: str) -> None:
    data = b"x" * (MAX_SIZE + 1)
    small = deflated(data)
    sent = {
        "one": frame(BINARY, data),
        "text": frame(TEXT, data),
        "fragments": b"".join(pieces(data, 300)),
        "last": b"".join(pieces(data, MAX_SIZE)),
        "compressed": frame(BINARY, small, rsv=RSV1),
        "in pieces": frame(BINARY, small[:5], rsv=RSV1, fin=False) + frame(CONTINUATION, small[5:]),
    }[form]
    notes = Notes()
    client = open_client(limited(servers, protocol), listening(notes), more=DEFLATE)
    client.write(sent)
    reason = ends_with(client, 1009)
    assert notes.get() == disconnected(1009, reason)


def test_a_frame_that_says_it_is_too_big_is_not_waited_for(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    client.write(frame(BINARY, length=struct.pack("!BQ", 127, 2**40)))
    ends_with(client, 1009)


def test_fragments_are_too_big_before_the_last_one_comes(servers: Servers) -> None:
    client = open_client(limited(servers), echo)
    client.write(frame(BINARY, b"x" * 600, fin=False), frame(CONTINUATION, b"x" * 600, fin=False))
    ends_with(client, 1009)


def test_a_zip_bomb_is_too_big_and_takes_no_memory(servers: Servers) -> None:
    server = limited(servers, size=MEBIBYTE)
    packer = zlib.compressobj(wbits=-12)
    piece = packer.compress(bytes(MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = frame(BINARY, piece * 512, rsv=RSV1)
    assert len(bomb) < MEBIBYTE
    client = open_client(server, echo, more=DEFLATE)
    tracemalloc.start()
    try:
        client.write(bomb)
        ends_with(client, 1009)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEBIBYTE


# The end of a client that has done wrong


def pouring(notes: Notes) -> Any:
    """Return an application that sends until the client is gone, and then waits for the reason."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        try:
            while True:
                await send(sending(b"x" * 100_000))
        except OSError:
            notes.add(await receive())

    return app


def backed_up(server: Served, notes: Notes) -> Client:
    """Return a client that does not read, while its server has much to send."""
    client = open_client(server, pouring(notes), receive_buffer=64 * 1024)
    server.turn()
    return client


def test_a_violation_is_noticed_while_the_output_is_backed_up(anywhere: Served) -> None:
    notes = Notes()
    client = backed_up(anywhere, notes)
    client.write(frame(3))
    event = notes.get()
    assert (event["type"], event["code"]) == ("websocket.disconnect", 1002)
    ends_with(client, 1002)


def test_one_who_does_wrong_and_does_not_read_is_dropped(servers: Servers) -> None:
    server = servers.get(hasten=10)
    client = backed_up(server, Notes())
    client.write(frame(3))
    until("it is dropped", lambda: server.idle, deadline=2)
    client.hang_up()


def test_one_who_does_wrong_and_does_not_hang_up_is_dropped(servers: Servers) -> None:
    server = servers.get(hasten=10)
    client = open_client(server, echo)
    client.write(frame(3))
    ends_with(client, 1002)
    until("it is dropped", lambda: server.idle, deadline=2)


def test_one_who_does_wrong_and_goes_on_can_still_read_why(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    client.write(frame(3))
    # TLS cannot be ended one way only, so there the server does not wait to the end.
    tls = anywhere.venue.transport == "tls"
    with suppress(OSError) if tls else nullcontext():
        client.write(*[text("x" * 50_000)] * 20)
    assert client.close_frame()[0] == 1002
    if not tls:
        assert client.rest() == b""


@pytest.mark.parametrize("behind", [b"\x81", b"\xff\xff\xff", text("x"), closing(), b"\0" * 5000])
def test_what_follows_a_close_frame_is_not_looked_at(anywhere: Served, behind: bytes) -> None:
    notes = Notes()
    client = open_client(anywhere, listening(notes))
    client.write(closing(4000, b"enough"), behind)
    assert client.close_frame()[0] == 4000
    assert notes.get() == disconnected(4000, "enough")


@pytest.mark.parametrize("behind", [b"\x81", b"\x81\xfe\0", frame(3), frame(TEXT, b"\xff")])
def test_nonsense_after_our_close_frame_changes_nothing(anywhere: Served, behind: bytes) -> None:
    notes = Notes()

    async def after(receive: Receive, send: Send) -> None:
        notes.add(await receive())

    client = open_client(
        anywhere, saying(ACCEPT, {"type": "websocket.close", "code": 4001}, then=after)
    )
    assert client.close_frame() == (4001, "")
    client.write(behind)
    assert notes.get() == disconnected(4001)
    anywhere.turn()
    if anywhere.venue.transport != "tls":
        client.fin()
        assert client.rest() == b""
