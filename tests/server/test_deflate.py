"""Compression: what is agreed on, and what messages become and were."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.server._deflate import Agreement, Compression, agree
from telex.server._handshake import BadHandshake
from telex.server._violation import Violation

BIG = 1 << 20

PLAIN = Agreement("", (False, False), (12, 12))


def agreement(client: bool = False, server: bool = False, bits: int = 12) -> Agreement:
    return Agreement("", (client, server), (bits, bits))


class Client:
    """The client's side of a compression, by zlib itself."""

    def __init__(self, *, forgets: bool = False, bits: int = 12) -> None:
        self.forgets, self.bits = forgets, bits
        self._begin()

    def _begin(self) -> None:
        self.compressor = zlib.compressobj(wbits=-self.bits)
        self.decompressor = zlib.decompressobj(wbits=-self.bits)

    def deflate(self, data: bytes) -> bytes:
        if self.forgets:
            self._begin()
        data = self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
        return data.removesuffix(b"\0\0\xff\xff")

    def inflate(self, data: bytes) -> bytes:
        if self.forgets:
            self._begin()
        return self.decompressor.decompress(data + b"\0\0\xff\xff")


def inflated(compression: Compression, *parts: bytes, max_size: int = BIG) -> bytes:
    """Inflate one message that comes in frames."""
    out = b""
    for index, part in enumerate(parts):
        first, fin = index == 0, index == len(parts) - 1
        out += compression.inflate(part, first=first, fin=fin, max_size=max_size)
    return out


def refused(compression: Compression, *parts: bytes, max_size: int = BIG) -> int:
    with pytest.raises(Violation) as caught:
        inflated(compression, *parts, max_size=max_size)
    return caught.value.code


# --- what is agreed on ---


@pytest.mark.parametrize(
    ("offer", "header", "forgets", "bits"),
    [
        ("permessage-deflate; client_max_window_bits", "client_max_window_bits=12", "", (12, 12)),
        (
            "permessage-deflate; client_max_window_bits=10",
            "client_max_window_bits=10",
            "",
            (10, 12),
        ),
        (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=9",
            "client_max_window_bits=12",
            "",
            (12, 9),
        ),
        (
            "permessage-deflate; client_max_window_bits; client_no_context_takeover",
            "client_no_context_takeover",
            "client",
            (12, 12),
        ),
        (
            "permessage-deflate; client_max_window_bits; server_no_context_takeover",
            "server_no_context_takeover",
            "server",
            (12, 12),
        ),
        (
            "x-webkit, permessage-deflate; client_max_window_bits",
            "permessage-deflate",
            "",
            (12, 12),
        ),
        (
            "permessage-deflate; nonsense, permessage-deflate; client_max_window_bits",
            "permessage-deflate",
            "",
            (12, 12),
        ),
    ],
)
def test_an_offer_that_can_be_taken(
    offer: str, header: str, forgets: str, bits: tuple[int, int]
) -> None:
    agreed = agree(offer)
    assert agreed is not None
    assert agreed.header.startswith("permessage-deflate")
    assert header in agreed.header
    assert agreed.forgets == (forgets == "client", forgets == "server")
    assert agreed.bits == bits


@pytest.mark.parametrize(
    "offer",
    [
        "x-webkit-deflate-frame",
        "permessage-deflate; nonsense",
        "permessage-deflate; server_max_window_bits=8; server_max_window_bits=9",
        "permessage-deflate; client_max_window_bits=16",
    ],
)
def test_an_offer_that_cannot_be_taken_is_declined(offer: str) -> None:
    assert agree(offer) is None


@pytest.mark.parametrize("offer", [";", "a;", "a b", "a; b=", 'a; b="', "\xff"])
def test_an_offer_that_is_malformed_is_refused(offer: str) -> None:
    with pytest.raises(BadHandshake) as caught:
        agree(offer)
    assert caught.value.status == 400


def test_the_same_offer_gives_the_same_agreement() -> None:
    offer = "permessage-deflate; client_max_window_bits"
    assert agree(offer) is agree(offer)


# --- what messages were ---


@given(
    messages=st.lists(st.binary(max_size=3000), max_size=4),
    forgets=st.booleans(),
    bits=st.integers(9, 15),
)
def test_what_a_client_deflates_is_inflated(
    messages: list[bytes], forgets: bool, bits: int
) -> None:
    client = Client(forgets=forgets, bits=bits)
    compression = Compression(agreement(client=forgets, bits=bits))
    for message in messages:
        data = client.deflate(message)
        cut = len(data) // 2
        assert inflated(compression, data[:cut], data[cut:]) == message


def test_a_client_may_begin_anew_without_saying_so() -> None:
    compression = Compression(PLAIN)
    for _ in range(3):
        assert inflated(compression, Client().deflate(b"again " * 100)) == b"again " * 100


def test_a_client_that_forgets_may_not_look_back() -> None:
    client = Client()
    first, second = client.deflate(b"again " * 100), client.deflate(b"again " * 100)
    compression = Compression(agreement(client=True))
    assert inflated(compression, first) == b"again " * 100
    assert refused(compression, second) == 1002


def test_a_message_that_holds_too_much_is_not_inflated_further() -> None:
    bomb = Client().deflate(b"\0" * (1 << 20))
    assert len(bomb) < 2000
    assert refused(Compression(PLAIN), bomb, max_size=1000) == 1009


@pytest.mark.parametrize(("max_size", "fits"), [(99, False), (100, True), (101, True)])
def test_the_bound_is_the_size_that_is_let_through(max_size: int, fits: bool) -> None:
    data = Client().deflate(b"x" * 100)
    if fits:
        assert len(inflated(Compression(PLAIN), data, max_size=max_size)) == 100
    else:
        assert refused(Compression(PLAIN), data, max_size=max_size) == 1009


def test_nothing_fits_where_no_room_is_left() -> None:
    client = Client()
    compression = Compression(PLAIN)
    assert inflated(compression, client.deflate(b""), max_size=0) == b""
    assert refused(compression, client.deflate(b"x"), max_size=0) == 1009


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x06", b"not deflated"])
def test_what_is_not_deflated_is_refused(data: bytes) -> None:
    assert refused(Compression(PLAIN), data) == 1002


# --- a final block ---


def final(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    return compressor.compress(data) + compressor.flush(zlib.Z_FINISH)


def test_a_message_may_end_with_a_final_block_and_the_next_begins_anew() -> None:
    compression = Compression(PLAIN)
    assert inflated(compression, final(b"one")) == b"one"
    assert inflated(compression, final(b"two") + b"\0") == b"two"
    assert inflated(compression, Client().deflate(b"three")) == b"three"


def test_nothing_may_follow_a_final_block_in_a_message() -> None:
    assert refused(Compression(PLAIN), final(b"one"), b"more") == 1002


def test_an_empty_frame_may_follow_a_final_block() -> None:
    compression = Compression(PLAIN)
    assert inflated(compression, final(b"one"), b"", b"") == b"one"
    assert inflated(compression, Client().deflate(b"two")) == b"two"


@pytest.mark.parametrize("forgets", [False, True])
def test_a_final_block_may_come_where_the_client_forgets(forgets: bool) -> None:
    compression = Compression(agreement(client=forgets))
    for data in (b"one", b"two"):
        assert inflated(compression, final(data)) == data


# --- what messages become ---


@given(
    messages=st.lists(st.binary(max_size=3000), max_size=4),
    forgets=st.booleans(),
    bits=st.integers(9, 15),
)
def test_what_is_deflated_a_client_can_inflate(
    messages: list[bytes], forgets: bool, bits: int
) -> None:
    client = Client(forgets=forgets, bits=bits)
    compression = Compression(agreement(server=forgets, bits=bits))
    for message in messages:
        assert client.inflate(bytes(compression.deflate(message))) == message


def test_what_was_said_before_makes_the_next_one_smaller() -> None:
    compression = Compression(PLAIN)
    data = bytes(range(256)) * 2
    first, second = (len(compression.deflate(data)) for _ in range(2))
    assert second < first / 3


def test_where_the_server_forgets_every_message_is_as_big() -> None:
    compression = Compression(agreement(server=True))
    assert len({bytes(compression.deflate(b"again " * 100)) for _ in range(3)}) == 1


def test_nothing_is_made_before_a_message_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def watched(name: str) -> Any:
        real = getattr(zlib, name)

        def make(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            return real(*args, **kwargs)

        return make

    data = Client().deflate(b"x")
    monkeypatch.setattr(zlib, "compressobj", watched("compressobj"))
    monkeypatch.setattr(zlib, "decompressobj", watched("decompressobj"))
    compression = Compression(PLAIN)
    assert made == []
    inflated(compression, data)
    assert made == ["decompressobj"]
    compression.deflate(b"x")
    assert made == ["decompressobj", "compressobj"]
