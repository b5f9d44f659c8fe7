"""Messages put together from frames, and frames looked at before they are complete."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.transports import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    MASK,
    PING,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    frame,
)
from telex.server._assembly import Assembly, Unfinished, Utf8Check, not_utf8
from telex.server._deflate import Agreement, Compression
from telex.server._violation import Violation

BIG = 1 << 20

NOT_UTF8 = [
    b"\xff",
    b"a\x80",
    b"\xc0\x80",
    b"\xc3\x28",
    b"\xe2\x28",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
]

# Mostly text, broken in places.
ALMOST_TEXT = st.one_of(
    st.text().map(str.encode),
    st.binary(),
    st.builds(lambda a, b, c: a.encode() + b + c.encode(), st.text(), st.binary(), st.text()),
    st.lists(st.sampled_from([b"\xed", b"\xa0", b"\x9f", b"\xf0", b"\xf4", b"\x90", b"a"])).map(
        b"".join
    ),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return pieces of something, cut anywhere, also twice in one place."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(marks)]


def in_frames(kind: int, pieces: list[bytes]) -> list[tuple[int, bytes]]:
    """Return first byte and payload of the frames of one message."""
    heads = [kind] + [CONTINUATION] * (len(pieces) - 1)
    heads[-1] |= FIN
    return list(zip(heads, pieces, strict=True))


def compressing() -> Compression:
    return Compression(Agreement("", (False, False), (12, 12)))


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\0\0\xff\xff")


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def may_become_utf8(data: bytes) -> bool:
    """Whether something could follow that makes it UTF-8 (RFC 3629 §4)."""
    return any(is_utf8(data + rest) for rest in REST)


REST = [
    b"",
    b"\x80",
    b"\x80\x80",
    b"\x80\x80\x80",
    b"\xa0\x80",
    b"\x90\x80\x80",
]
"""What completes any character that has begun: the lowest bytes, and the lowest second bytes after
E0 and F0."""


def test_what_text_that_is_no_utf8_means() -> None:
    assert (not_utf8().code, not_utf8().reason) == (1007, "text is not UTF-8")


# --- text piece by piece ---


@given(data=ALMOST_TEXT, places=st.lists(st.integers(0, 1000), max_size=5))
def test_a_text_in_pieces_is_utf8_where_it_is_one_as_a_whole(
    data: bytes, places: list[int]
) -> None:
    check = Utf8Check()
    pieces = cut(data, places)
    try:
        for piece in pieces[:-1]:
            check.feed(piece)
        check.feed(pieces[-1], final=True)
    except Violation as violation:
        assert violation.code == 1007  # noqa: PT017 - that it may pass is the point
        assert not is_utf8(data)
    else:
        assert is_utf8(data)


@given(ALMOST_TEXT)
def test_the_first_byte_that_is_wrong_is_found_as_soon_as_it_is_there(data: bytes) -> None:
    check = Utf8Check()
    for count in range(len(data)):
        if not may_become_utf8(data[: count + 1]):
            with pytest.raises(Violation):
                check.feed(data[count : count + 1])
            return
        check.feed(data[count : count + 1])


@pytest.mark.parametrize("data", [b"\xed\xa0", b"\xed\xbf", b"ab\xed\xb0"])
def test_the_second_byte_of_a_surrogate_is_wrong_already(data: bytes) -> None:
    with pytest.raises(Violation):
        Utf8Check().feed(data)
    check = Utf8Check()
    check.feed(data[:-1])
    with pytest.raises(Violation):
        check.feed(data[-1:])


@pytest.mark.parametrize("data", [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xf4\x8f\xbf\xbf"])
def test_what_is_next_to_what_is_wrong_is_right(data: bytes) -> None:
    check = Utf8Check()
    for count in range(len(data)):
        check.feed(data[count : count + 1])
    check.feed(b"", final=True)


def test_a_text_may_not_end_within_a_character() -> None:
    check = Utf8Check()
    check.feed("é".encode()[:1])
    with pytest.raises(Violation):
        check.feed(b"", final=True)


def test_a_copy_goes_on_where_its_original_is_and_leaves_it_there() -> None:
    check = Utf8Check()
    check.feed(b"\xe2\x82")
    with pytest.raises(Violation):
        check.copy().feed(b"\x28")
    check.copy().feed(b"\xac", final=True)
    check.feed(b"\xac", final=True)


# --- messages from frames ---


@given(
    messages=st.lists(
        st.tuples(st.one_of(st.text(), st.binary()), st.lists(st.integers(0, 100), max_size=4)),
        max_size=5,
    )
)
def test_messages_come_out_of_their_fragments(
    messages: list[tuple[str | bytes, list[int]]],
) -> None:
    assembly = Assembly(BIG, None)
    for message, places in messages:
        data = message.encode() if isinstance(message, str) else message
        frames = in_frames(TEXT if isinstance(message, str) else BINARY, cut(data, places))
        for head in frames[:-1]:
            assert assembly.add(*head) is None
            assert assembly.begun
        assert assembly.add(*frames[-1]) == message
        assert not assembly.begun


@given(
    messages=st.lists(
        st.tuples(st.one_of(st.text(), st.binary()), st.lists(st.integers(0, 100), max_size=4)),
        max_size=5,
    )
)
def test_messages_come_out_of_their_fragments_compressed_or_not(
    messages: list[tuple[str | bytes, list[int]]],
) -> None:
    assembly = Assembly(BIG, compressing())
    for number, (message, places) in enumerate(messages):
        data = message.encode() if isinstance(message, str) else message
        kind = TEXT if isinstance(message, str) else BINARY
        if number % 2 == 0:
            data, kind = deflated(data), kind | RSV1
        results = [assembly.add(*head) for head in in_frames(kind, cut(data, places))]
        assert results == [None] * (len(results) - 1) + [message]


@given(data=ALMOST_TEXT, places=st.lists(st.integers(0, 1000), max_size=5), squeezed=st.booleans())
def test_a_text_in_fragments_is_checked_like_a_whole_one(
    data: bytes, places: list[int], squeezed: bool
) -> None:
    assembly = Assembly(BIG, compressing())
    sent, kind = (deflated(data), TEXT | RSV1) if squeezed else (data, TEXT)
    try:
        results = [assembly.add(*head) for head in in_frames(kind, cut(sent, places))]
    except Violation as violation:
        assert violation.code == 1007  # noqa: PT017 - that it may pass is the point
        assert not is_utf8(data)
    else:
        assert results[-1] == data.decode()


@pytest.mark.parametrize("bad", NOT_UTF8)
def test_a_fragment_that_is_no_utf8_ends_it_before_the_last_one(bad: bytes) -> None:
    with pytest.raises(Violation) as caught:
        Assembly(BIG, None).add(TEXT, b"good " + bad)
    assert caught.value.code == 1007


@pytest.mark.parametrize("begun", [None, BINARY])
@pytest.mark.parametrize("bad", NOT_UTF8)
def test_binary_data_may_be_anything(begun: int | None, bad: bytes) -> None:
    assembly = Assembly(BIG, None)
    if begun is None:
        assert assembly.add(FIN | BINARY, bad) == bad
    else:
        assembly.add(begun, b"")
        assert assembly.add(FIN | CONTINUATION, bad) == bad


@pytest.mark.parametrize("first", [TEXT, BINARY, FIN | TEXT, FIN | BINARY, TEXT | RSV1])
def test_a_message_may_not_begin_within_another(first: int) -> None:
    assembly = Assembly(BIG, compressing())
    assembly.add(TEXT, b"a")
    with pytest.raises(Violation) as caught:
        assembly.add(first, b"")
    assert (caught.value.code, caught.value.reason) == (1002, "expected a continuation frame")


@pytest.mark.parametrize("first", [CONTINUATION, FIN | CONTINUATION])
def test_what_has_not_begun_does_not_go_on(first: int) -> None:
    assembly = Assembly(BIG, None)
    for _ in range(2):
        with pytest.raises(Violation) as caught:
            assembly.add(first, b"")
        assert (caught.value.code, caught.value.reason) == (1002, "unexpected continuation frame")
        assembly.add(FIN | TEXT, b"whole")


@pytest.mark.parametrize(
    ("first", "begun", "compressed"),
    [
        (TEXT | RSV1, False, False),
        (TEXT | RSV2, False, True),
        (BINARY | RSV3, False, False),
        (BINARY | RSV1 | RSV2, False, True),
        (CONTINUATION | RSV1, True, True),
        (CONTINUATION | RSV1, True, False),
        (CONTINUATION | RSV3, True, True),
    ],
)
def test_reserved_bits_are_zero_but_for_the_first_of_a_compressed_message(
    first: int, begun: bool, compressed: bool
) -> None:
    assembly = Assembly(BIG, compressing() if compressed else None)
    if begun:
        assembly.add(TEXT, b"a")
    with pytest.raises(Violation) as caught:
        assembly.add(FIN | first, b"")
    assert (caught.value.code, caught.value.reason) == (1002, "reserved bits must be 0")


@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6), squeezed=st.booleans())
def test_the_bound_holds_for_a_whole_message(sizes: list[int], squeezed: bool) -> None:
    assembly = Assembly(20, compressing())
    kind = BINARY | RSV1 if squeezed else BINARY
    pieces = [b"x" * size for size in sizes]
    if squeezed:
        compressor = zlib.compressobj(wbits=-12)
        pieces = [compressor.compress(p) + compressor.flush(zlib.Z_SYNC_FLUSH) for p in pieces]
    try:
        for head in in_frames(kind, pieces):
            assembly.add(*head)
    except Violation as violation:
        assert violation.code == 1009  # noqa: PT017 - that it may pass is the point
        assert sum(sizes) > 20
    else:
        assert sum(sizes) <= 20


def test_the_size_of_compressed_data_is_not_that_of_the_message() -> None:
    data = deflated(b"")
    assert Assembly(0, compressing()).add(FIN | BINARY | RSV1, data) == b""


@pytest.mark.parametrize("bound", [0, 40, 49])
@pytest.mark.parametrize("squeezed", [False, True])
def test_a_bound_that_gets_less_holds_for_what_has_begun(squeezed: bool, bound: int) -> None:
    assembly = Assembly(BIG, compressing() if squeezed else None)
    assembly.add(
        BINARY | RSV1 if squeezed else BINARY, deflated(bytes(50)) if squeezed else bytes(50)
    )
    assembly.max_size = bound
    with pytest.raises(Violation, match="message too big"):
        assembly.add(CONTINUATION, b"\0" if squeezed else b"")


# --- frames that are not complete ---


def see(assembly: Assembly, data: bytes, places: list[int]) -> bytes:
    """Have the beginning of a frame looked at in pieces; return how far it came."""
    unfinished = Unfinished(assembly)
    seen = b""
    for piece in cut(data, places):
        seen += piece
        try:
            unfinished.feed(piece)
        except Violation:
            return seen
    return b""


@given(
    data=ALMOST_TEXT,
    mask=st.binary(min_size=4, max_size=4),
    places=st.lists(st.integers(0, 1000), max_size=6),
    more=st.sampled_from([0, 1, 200, 70_000]),
)
def test_a_text_is_checked_as_far_as_it_has_come(
    data: bytes, mask: bytes, places: list[int], more: int
) -> None:
    begun = frame(TEXT, data + bytes(more), mask=mask)[: -more or None]
    seen = see(Assembly(BIG, None), begun, places)
    assert bool(seen) == (not may_become_utf8(data))


@given(data=ALMOST_TEXT, size=st.integers(1, 1000))
def test_the_first_piece_that_is_wrong_ends_it(data: bytes, size: int) -> None:
    begun = frame(TEXT, data)
    head = len(begun) - len(data)
    seen = see(Assembly(BIG, None), begun, list(range(len(begun))))
    wrong = [n for n in range(1, len(data) + 1) if not may_become_utf8(data[:n])]
    assert len(seen) == (head + wrong[0] if wrong else 0)


@given(
    before=st.sampled_from([b"", b"a", b"\xe2", b"\xe2\x82", "€".encode()]),
    data=ALMOST_TEXT,
    places=st.lists(st.integers(0, 1000), max_size=6),
)
def test_a_fragment_goes_on_where_the_last_one_has_ended(
    before: bytes, data: bytes, places: list[int]
) -> None:
    assembly = Assembly(BIG, None)
    assembly.add(TEXT, before)
    begun = frame(CONTINUATION, data)
    assert bool(see(assembly, begun, places)) == (not may_become_utf8(before + data))


@given(st.lists(st.integers(0, 1000), max_size=6))
def test_looking_at_a_fragment_changes_nothing_for_the_whole_one(places: list[int]) -> None:
    assembly = Assembly(BIG, None)
    assembly.add(TEXT, b"\xe2")
    assert see(assembly, frame(CONTINUATION, b"\x82\xac"), places) == b""
    assert assembly.add(FIN | CONTINUATION, b"\x82\xac") == "€"


@pytest.mark.parametrize("bad", NOT_UTF8)
@pytest.mark.parametrize(
    ("begun", "first"),
    [(None, BINARY), (BINARY, CONTINUATION), (None, TEXT | RSV1), (TEXT | RSV1, CONTINUATION)],
)
def test_what_is_no_text_as_it_comes_is_not_looked_at(
    begun: int | None, first: int, bad: bytes
) -> None:
    assembly = Assembly(BIG, compressing())
    if begun is not None:
        assembly.add(begun, deflated(b"a"))
    assert see(assembly, frame(first & 0xF, bad, rsv=first & 0x70), [3, 7, 9]) == b""


@pytest.mark.parametrize("opcode", [CLOSE, PING])
def test_control_frames_are_not_looked_at(opcode: int) -> None:
    assembly = Assembly(0, None)
    assembly.add(TEXT, b"")
    assert see(assembly, frame(opcode, b"\xff" * 100, rsv=RSV1), [1, 5, 20]) == b""


@pytest.mark.parametrize(
    ("data", "begun", "code"),
    [
        (frame(BINARY, bytes(10)), False, None),
        (frame(BINARY, bytes(11)), False, 1009),
        (frame(BINARY, bytes(500)), False, 1009),
        (frame(BINARY, bytes(70_000)), False, 1009),
        (frame(CONTINUATION, bytes(7)), True, None),
        (frame(CONTINUATION, bytes(8)), True, 1009),
        (frame(CONTINUATION), False, 1002),
        (frame(TEXT), True, 1002),
        (frame(TEXT, rsv=RSV1), False, 1002),
        (frame(TEXT, rsv=RSV2), False, 1002),
    ],
)
def test_a_head_is_checked_when_it_is_complete(data: bytes, begun: bool, code: int | None) -> None:
    size = 8 if data[1] & 0x7F == 126 else 14 if data[1] & 0x7F == 127 else 6
    for places in ([], list(range(size))):
        assembly = Assembly(10, None)
        if begun:
            assembly.add(TEXT, b"abc")
        unfinished = Unfinished(assembly)
        *before, last = cut(data[:size], places)
        for piece in before:
            if piece != data[:size]:
                unfinished.feed(piece)
        if code is None:
            unfinished.feed(last)
        else:
            with pytest.raises(Violation) as caught:
                unfinished.feed(last)
            assert caught.value.code == code


@pytest.mark.parametrize(("known", "size", "fits"), [(5, 9, True), (6, 9, False), (6, 10, True)])
def test_the_size_of_an_unfinished_frame_can_be_checked_again(
    known: int, size: int, fits: bool
) -> None:
    assembly = Assembly(BIG, None)
    unfinished = Unfinished(assembly)
    unfinished.feed(frame(BINARY, bytes(10))[:known])
    assembly.max_size = size
    if fits:
        unfinished.check_size()
    else:
        with pytest.raises(Violation, match="message too big"):
            unfinished.check_size()


def test_that_of_a_control_frame_is_not_checked_again() -> None:
    assembly = Assembly(BIG, None)
    unfinished = Unfinished(assembly)
    unfinished.feed(frame(PING, bytes(10))[:8])
    assembly.max_size = 0
    unfinished.check_size()


def test_the_mask_turns_with_every_piece() -> None:
    data = frame(TEXT, "ä€𐍈".encode() * 5, mask=MASK)
    for size in range(1, len(data)):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        unfinished = Unfinished(Assembly(BIG, None))
        for piece in pieces:
            unfinished.feed(piece)
