"""Every close code: what it means and who may send it, boundary by boundary."""

from __future__ import annotations

from enum import IntEnum

import pytest

from telex.close_codes import (
    MAX_REASON_BYTES,
    CloseCode,
    all_close_codes,
    check_code,
    clip_reason,
    describe,
    may_send,
)

SENDABLE = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


@pytest.mark.row("C65", "T34")
def test_the_sendable_codes_are_exactly_these() -> None:
    assert {code for code in range(-10, 70_000) if may_send(code)} == SENDABLE


@pytest.mark.row("C65", "T34")
@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 3999, 4000, 4999])
def test_both_ends_of_each_range_pass_as_plain_integers(code: int) -> None:
    assert check_code(code) == code
    assert type(check_code(code)) is int


@pytest.mark.row("C65", "T34")
@pytest.mark.parametrize(
    ("code", "name"),
    [
        (-1, "Unassigned"),
        (0, "Unassigned"),
        (500, "Unassigned"),
        (999, "Unassigned"),
        (1004, "Reserved"),
        (1005, "No Status Received"),
        (1006, "Abnormal Closure"),
        (1015, "TLS Handshake"),
        (1016, "Unassigned"),
        (2999, "Unassigned"),
        (5000, "Unassigned"),
        (65_536, "Unassigned"),
    ],
)
def test_what_lies_beyond_is_refused_by_name(code: int, name: str) -> None:
    with pytest.raises(ValueError, match="may not be sent") as caught:
        check_code(code)
    assert str(caught.value) == (
        f"close code {code} may not be sent ({name}); use 1000-1003, 1007-1014 or 3000-4999"
    )


@pytest.mark.row("T34")
def test_members_of_any_integer_enumeration_are_codes() -> None:
    class Own(IntEnum):
        KICKED = 4100

    assert type(check_code(Own.KICKED)) is int
    assert check_code(CloseCode.GOING_AWAY) == 1001
    with pytest.raises(ValueError, match="close code 1006 may not be sent"):
        check_code(CloseCode.ABNORMAL)


@pytest.mark.row("T34")
@pytest.mark.parametrize("code", [True, False, None, "1000", 1000.0, b"1000"])
def test_what_is_no_integer_is_no_code(code: object) -> None:
    with pytest.raises(ValueError, match="a close code must be an int") as caught:
        check_code(code)
    assert str(caught.value) == f"a close code must be an int, not {code!r}"


@pytest.mark.row("C65", "T35")
@pytest.mark.parametrize(
    ("reason", "clipped", "size"),
    [
        (None, "", 0),
        ("", "", 0),
        ("bye", "bye", 3),
        ("x" * 123, "x" * 123, 123),
        ("x" * 124, "x" * 123, 123),
        ("é" * 61 + "x", "é" * 61 + "x", 123),
        ("é" * 100, "é" * 61, 122),
        ("a" + "€" * 60, "a" + "€" * 40, 121),
        ("𝄞" * 40, "𝄞" * 30, 120),
        ("x" * 122 + "é", "x" * 122, 122),
        ("a\ud800b", "a?b", 3),
    ],
)
def test_a_reason_is_cut_between_characters(reason: str | None, clipped: str, size: int) -> None:
    assert clip_reason(reason) == clipped
    assert len(clip_reason(reason).encode()) == size <= MAX_REASON_BYTES


@pytest.mark.row("C65")
@pytest.mark.parametrize("reason", [b"bye", 1, ["bye"]])
def test_a_reason_that_is_no_text_is_refused(reason: str) -> None:
    with pytest.raises(ValueError, match="a close reason must be a str or None"):
        clip_reason(reason)


def test_every_named_code_has_a_meaning_of_its_own() -> None:
    known = {info.code: info for info in all_close_codes()}
    assert set(CloseCode) | {1004} == known.keys()
    assert len({info.name for info in known.values()}) == len(known)
    assert len({info.meaning for info in known.values()}) == len(known)


def test_all_close_codes_are_plain_integers_in_order() -> None:
    codes = [info.code for info in all_close_codes()]
    assert codes == sorted(codes)
    assert {type(code) for code in codes} == {int}


def test_nobody_sends_exactly_the_known_codes_that_may_not_be_sent() -> None:
    for info in all_close_codes():
        assert (info.sender == "nobody") == (not may_send(info.code))


@pytest.mark.parametrize(
    ("code", "reconnect"),
    [(1000, False), (1001, True), (1006, True), (1008, False), (1012, True), (3000, False)],
)
def test_a_code_says_whether_a_client_should_come_back(code: int, reconnect: bool) -> None:
    assert describe(code).reconnect is reconnect


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (3001, "Registered"),
        (3999, "Registered"),
        (4000, "Private"),
        (4999, "Private"),
        (1016, "Unassigned"),
        (5000, "Unassigned"),
    ],
)
def test_a_code_without_a_meaning_is_described_by_its_range(code: int, name: str) -> None:
    info = describe(code)
    assert (info.code, info.name, info.reconnect) == (code, name, None)
    assert info.sender == ("both" if may_send(code) else "nobody")
