"""A violation says with which close code, and why, a connection ends."""

from __future__ import annotations

from telex.close_codes import CloseCode
from telex.server._violation import Violation


def test_it_carries_code_and_reason() -> None:
    violation = Violation(CloseCode.MESSAGE_TOO_BIG, "message too big")
    assert (violation.code, violation.reason) == (1009, "message too big")


def test_its_code_is_a_plain_number() -> None:
    assert type(Violation(CloseCode.PROTOCOL_ERROR, "").code) is int


def test_its_text_says_both() -> None:
    assert str(Violation(CloseCode.INVALID_PAYLOAD, "text is not UTF-8")) == (
        "text is not UTF-8 (1007)"
    )
