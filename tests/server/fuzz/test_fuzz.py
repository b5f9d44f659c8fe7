"""Generated streams and handshakes on the server's protocol; `scripts/fuzz` tries a million."""

from __future__ import annotations

import gc
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.protocol import Protocol, Side

from server.fuzz.campaign import attempt
from server.fuzz.cases import AGREED, MAX_SIZES, Case, make
from server.fuzz.heads import check_head, make_head
from server.fuzz.reference import OK, PARTIAL, Deflate, Verdict, judge, utf8
from server.fuzz.streams import Client, damage, frame
from server.fuzz.trial import Bench

QUICK: Final = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SEEDED: Final = 900
"""Inputs of the campaign that are tried in every run of the tests."""
FLAT: Final = 32 * 1024
"""Bytes that may stay allocated after some hundred connections."""

KEPT: Final = {
    "two violations in one read": Case(
        b"B\x80\0\0\0\0B\x80\0\0\0\0\x80\x85\xff\x80\x7f\0\xa4\xab\xa7\xc0\xd8\xf1\x7f\0\xff\x89",
        [],
    ),
    "a bad frame after our close frame": Case(
        b"\x81\x80\0\0\0\0\x8b\x80\0\0\0\0", [6], app="raises"
    ),
    "bad text, then a bad frame": Case(b"\x81\x81\0\0\0\0\xff\x88\x81\0\0\0\0\x03", []),
    "rubbish after a close frame": Case(b"\x88\x82\0\0\0\0\x03\xe8\x8b\x80\0\0\0\0", []),
    "a final block, then another message": Case(
        frame(0xC2, zlib.compress(b"hello", wbits=-12) + b"\0")
        + frame(0xC2, zlib.compress(b"again", wbits=-12) + b"\0"),
        [],
        offer=2,
    ),
    "a final block within a message": Case(
        frame(0x42, zlib.compress(b"hello", wbits=-12)) + frame(0x80, b"more"), [], offer=2
    ),
}
"""What was found once."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@st.composite
def cases(draw: st.DrawFn) -> Case:
    return make(lambda below: draw(st.integers(0, below - 1)))


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    return make_head(lambda below: draw(st.integers(0, below - 1)))


@QUICK
@given(case=cases())
def test_a_stream_comes_out_as_the_reference_says(bench: Bench, case: Case) -> None:
    bench.check(case)


@QUICK
@given(head=heads(), seed=st.integers(0, 1000))
def test_a_handshake_is_accepted_or_refused(bench: Bench, head: bytes, seed: int) -> None:
    check_head(bench, random.Random(seed).randrange, head)


@QUICK
@given(head=st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_handshake(bench: Bench, head: bytes) -> None:
    check_head(bench, random.Random(0).randrange, head)


@pytest.mark.parametrize("part", range(3))
def test_the_first_inputs_of_the_campaign(bench: Bench, part: int) -> None:
    for number in range(part, SEEDED, 3):
        attempt(bench, number)


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_what_was_found_once_is_not_found_again(bench: Bench, name: str, tls: bool) -> None:
    case = replace(KEPT[name], tls=tls)
    bench.check(case)
    bench.check(replace(case, cuts=[*range(1, len(case.stream))]))


def test_a_stream_may_be_cut_at_every_place(bench: Bench) -> None:
    text = "aé€😀".encode()
    stream = (
        frame(0x01, text[:4])
        + frame(0x89, b"ping")
        + frame(0x80, text[4:])
        + frame(0x82, bytes(130))
        + frame(0x81, text[:-1] + b"x")
    )
    expected = bench.check(Case(stream, []))
    assert expected.received == ["aé€😀", bytes(130)]
    assert expected.sent(8)[0][:2] == (1007).to_bytes(2, "big")
    for at in range(1, len(stream)):
        assert bench.check(Case(stream, [at])) == expected


def test_memory_is_flat(bench: Bench) -> None:
    def once() -> None:
        for number in range(100):
            attempt(bench, number)
        gc.collect()

    once()
    tracemalloc.start()
    try:
        once()
        before = tracemalloc.get_traced_memory()[0]
        once()
        assert tracemalloc.get_traced_memory()[0] - before < FLAT
    finally:
        tracemalloc.stop()


# The reference itself


@pytest.mark.parametrize("code_point", [0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0x10FFFF])
def test_the_reference_knows_utf8(code_point: int) -> None:
    data = chr(code_point).encode()
    assert utf8(data) == OK
    assert {utf8(data[:size]) for size in range(1, len(data))} <= {PARTIAL}


@given(data=st.binary(max_size=6))
def test_the_reference_and_python_agree_on_utf8(data: bytes) -> None:
    assert (utf8(data) == OK) == (data == data.decode(errors="ignore").encode())


def second_opinion(stream: bytes, max_size: int) -> int | None:
    """The close code of `websockets` for frames that are wrong, `None` without one."""
    other = Protocol(Side.SERVER, max_size=max_size)
    other.receive_data(stream)
    if other.parser_exc is None or other.close_sent is None:
        return None
    return int(other.close_sent.code)


def test_the_reference_finds_what_websockets_finds() -> None:
    """Not the other way round: it takes lengths that are not the shortest, and looks at no text.

    Its limit of size counts control frames between fragments, so that is not compared.
    """
    found = 0
    for number in range(2000):
        dice = random.Random(number).randrange
        max_size = MAX_SIZES[number % len(MAX_SIZES)]
        stream = damage(dice, Client(dice, max_size, None).frames())
        code = second_opinion(stream, max_size)
        if code == 1002:
            found += 1
            verdict = judge(stream, max_size, None)
            # It takes no close frame between fragments, which RFC 6455 §5.4 allows.
            assert verdict.refused or verdict.closed is not None, (number, stream)
    assert found > 200


def test_the_reference_inflates() -> None:
    packed = zlib.compress(b"a" * 20, wbits=-12) + b"\0"
    agreed: Deflate | None = AGREED[2]
    assert judge(frame(0xC2, packed), 20, agreed) == Verdict(messages=[b"a" * 20])
    assert judge(frame(0xC2, packed), 19, agreed).refused == {1009}
    assert judge(frame(0xC2, packed), 20, None).refused == {1002}
