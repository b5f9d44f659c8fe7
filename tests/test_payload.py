from __future__ import annotations

from typing import Any

import pytest

from telex._payload import checked_bytes, checked_text


@pytest.mark.parametrize("text", ["", "a", "é", "\U0001f600", "\x00", "x" * 100_000])
def test_text_is_sent_as_it_is(text: str) -> None:
    assert checked_text(text) is text


@pytest.mark.parametrize("wrong", [b"x", None, 1, ["x"]])
def test_what_is_no_text_is_a_type_error_that_names_the_type(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"expected str, got {type(wrong).__name__}"):
        checked_text(wrong)


@pytest.mark.parametrize(("text", "position"), [("ab\ud800", 2), ("\udfff", 0), ("é\udc80é", 1)])
def test_a_lone_surrogate_is_a_value_error_that_says_where(text: str, position: int) -> None:
    with pytest.raises(ValueError, match=f"lone surrogate .* at position {position}") as raised:
        checked_text(text)
    assert not isinstance(raised.value, UnicodeError)


def test_bytes_are_sent_as_they_are() -> None:
    data = b"\xff\x00"
    assert checked_bytes(data) is data


@pytest.mark.parametrize("make", [bytearray, memoryview])
def test_what_may_still_change_is_copied(make: Any) -> None:
    source = bytearray(b"before")
    checked = checked_bytes(make(source) if make is memoryview else source)
    source[:] = b"after!"
    assert checked == b"before"
    assert type(checked) is bytes


@pytest.mark.parametrize("wrong", ["x", None, 1, [1]])
def test_what_is_not_like_bytes_is_a_type_error_that_names_the_type(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"expected bytes, got {type(wrong).__name__}"):
        checked_bytes(wrong)
