"""Messages in frames over real sockets (RFC 6455 §5), whole and in pieces, cut at every place."""

from __future__ import annotations

import random

import pytest

from server.wire.apps import Notes, disconnected, echo, listening, received
from server.wire.client import (
    BINARY,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    TEXT,
    Client,
    Frame,
    closing,
    frame,
    is_binary,
    is_text,
    open_client,
    text,
)
from server.wire.serving import OURS, Served, Servers, Venue

MEBIBYTE = 2**20
SIZES = [0, 1, 2, 124, 125, 126, 127, 128, 1000, 65_534, 65_535, 65_536, 65_537]


def binary(data: bytes, *, fin: bool = True) -> bytes:
    return frame(BINARY, data, fin=fin)


def more(data: bytes, *, fin: bool = True) -> bytes:
    return frame(CONTINUATION, data, fin=fin)


@pytest.mark.parametrize("size", SIZES)
def test_binary_messages_of_every_length_form_come_back(either: Served, size: int) -> None:
    client = open_client(either, echo)
    data = random.Random(size).randbytes(size)
    for _ in range(2):
        client.write(binary(data))
        assert client.frame() == is_binary(data)


@pytest.mark.parametrize("size", SIZES)
def test_texts_of_every_length_form_come_back(either: Served, size: int) -> None:
    client = open_client(either, echo)
    data = ("ü€𝄞x" * size)[: size // 3]
    for _ in range(2):
        client.write(text(data))
        assert client.frame() == is_text(data)


def test_a_mebibyte_comes_back(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    data = random.Random(1).randbytes(MEBIBYTE)
    for _ in range(3):
        client.write(binary(data), text("and then"))
        assert client.frame() == is_binary(data)
        assert client.frame() == is_text("and then")


def test_many_messages_in_one_write_come_back_in_order(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    client.write(*(text(str(number)) for number in range(1000)))
    assert [client.frame().payload for _ in range(1000)] == [
        str(number).encode() for number in range(1000)
    ]


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x01"])
def test_every_mask_is_taken_off(either: Served, mask: bytes) -> None:
    client = open_client(either, echo)
    for size in (0, 1, 3, 4, 5, 7, 8, 9, 15, 17, 31, 33, 63, 65, 129, 1001):
        data = random.Random(size).randbytes(size)
        client.write(frame(BINARY, data, mask=mask))
        assert client.frame() == is_binary(data)


@pytest.mark.parametrize(
    "parts",
    [
        [b"a", b"b"],
        [b"", b"", b"ab"],
        [b"ab", b""],
        [b"", b""],
        [b"a"] * 100,
        [b"x" * 70_000, b"y" * 126, b"z"],
    ],
    ids=["two", "empty first", "empty last", "all empty", "many", "big"],
)
def test_fragments_are_put_together(either: Served, parts: list[bytes]) -> None:
    client = open_client(either, echo)
    frames = [binary(parts[0], fin=False), *(more(part, fin=False) for part in parts[1:-1])]
    client.write(*frames, more(parts[-1]))
    assert client.frame() == is_binary(b"".join(parts))
    client.write(text("whole again"))
    assert client.frame() == is_text("whole again")


def test_a_character_may_be_cut_by_a_fragment(either: Served) -> None:
    whole = "€𝄞ü".encode()
    client = open_client(either, echo)
    for cut in range(len(whole) + 1):
        client.write(frame(TEXT, whole[:cut], fin=False), more(whole[cut:]))
        assert client.frame() == is_text("€𝄞ü")


def test_a_character_may_be_cut_by_every_fragment_and_every_write(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    whole = "€𝄞ü".encode()
    for byte in whole:
        client.write(frame(CONTINUATION if byte != whole[0] else TEXT, bytes((byte,)), fin=False))
        client.write(frame(PING))
        assert client.frame() == Frame(FIN | PONG, b"")
    client.write(more(b""))
    assert client.frame() == is_text("€𝄞ü")


def test_control_frames_may_come_between_fragments(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    client.write(
        text("one, ", fin=False),
        frame(PING, b"1"),
        more(b"two, ", fin=False),
        frame(PONG, b"nobody asked"),
        frame(PING, b"x" * 125),
        more(b"three"),
        frame(PING, b"3"),
    )
    got = [client.frame() for _ in range(4)]
    pongs = [each for each in got if each.opcode == PONG]
    assert pongs == [Frame(FIN | PONG, data) for data in (b"1", b"x" * 125, b"3")]
    assert is_text("one, two, three") in got


def test_a_close_frame_may_come_between_fragments(anywhere: Served) -> None:
    notes = Notes()
    client = open_client(anywhere, listening(notes))
    client.write(text("half", fin=False), closing(4000, b"enough"))
    assert client.last_words()[0] == 4000
    assert notes.get() == disconnected(4000, "enough")


CONVERSATION = b"".join(
    (
        text("Grüße"),
        frame(PING, b"?"),
        frame(TEXT, "€𝄞".encode()[:5], fin=False),
        frame(CONTINUATION, fin=False),
        frame(CONTINUATION, "€𝄞".encode()[5:]),
        binary(b"\0\xff" * 70),
        text(""),
        closing(4000, "Schluß".encode()),
    )
)
HEARD = [
    received("Grüße"),
    received("€𝄞"),
    received(b"\0\xff" * 70),
    received(""),
    disconnected(4000, "Schluß"),
]


def heard(client: Client, notes: Notes) -> None:
    """See that the conversation was understood."""
    assert client.frame() == Frame(FIN | PONG, b"?")
    assert client.close_frame()[0] == 4000
    assert client.rest() == b""
    assert [notes.get() for _ in HEARD] == HEARD


@pytest.mark.parametrize(
    "venue",
    [OURS, Venue(loop="uvloop"), Venue(protocol="uvicorn")],
    ids=str,
)
def test_a_conversation_may_be_cut_at_every_place(servers: Servers, venue: Venue) -> None:
    server = servers.get(venue)
    for cut in range(1, len(CONVERSATION)):
        notes = Notes()
        client = open_client(server, listening(notes))
        client.write(CONVERSATION[:cut])
        server.turn()
        client.write(CONVERSATION[cut:])
        heard(client, notes)
        client.hang_up()


def test_a_conversation_may_come_byte_by_byte(anywhere: Served) -> None:
    notes = Notes()
    client = open_client(anywhere, listening(notes))
    for byte in CONVERSATION:
        client.write(bytes((byte,)))
        anywhere.turn()
    heard(client, notes)


def test_a_big_frame_may_be_cut_anywhere(anywhere: Served) -> None:
    client = open_client(anywhere, echo)
    data = ("Grüße " * 50_000).encode()
    sent = frame(TEXT, data) + text("behind")
    chance = random.Random(7)
    for _ in range(3):
        cuts = sorted(chance.sample(range(len(sent)), 12))
        for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            client.write(sent[begin:end])
            anywhere.turn()
        assert client.frame() == Frame(FIN | TEXT, data)
        assert client.frame() == is_text("behind")


@pytest.mark.parametrize("size", [1730, 1900, 2036, 2060, 4090, 65_536])
def test_messages_around_the_size_of_a_read_buffer_come_back(server: Served, size: int) -> None:
    client = open_client(server, echo)
    for near in range(size - 12, size + 12):
        data = b"x" * near
        sent = binary(data)
        client.write(sent[: near // 2])
        server.turn()
        client.write(sent[near // 2 :], text("é"))
        assert client.frame() == is_binary(data)
        assert client.frame() == is_text("é")


def test_after_a_big_message_small_ones_go_on_while_the_buffer_is_given_back(
    servers: Servers,
) -> None:
    server = servers.get(hasten=50, ws_ping_interval=None)
    client = open_client(server, echo)
    for turn in range(20):
        data = bytes((turn,)) * 300_000
        sent = binary(data)
        client.write(sent[:200_000])
        server.turn()
        client.write(sent[200_000:], text("small"), text("é")[:3])
        assert client.frame() == is_binary(data)
        assert client.frame() == is_text("small")
        client.write(text("é")[3:])
        assert client.frame() == is_text("é")
