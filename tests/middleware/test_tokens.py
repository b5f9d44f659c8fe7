"""Where a token is found; `test_auth.py` has the other places."""

from __future__ import annotations

from typing import Any

import pytest

from opened import connecting
from telex import Reject
from telex.middleware._tokens import UNUSABLE, Places, in_message, only, without

NOWHERE: dict[str, Any] = {
    "header": False,
    "subprotocol": None,
    "query": None,
    "cookie": None,
    "first_message": False,
}
IN_COOKIE = Places(**{**NOWHERE, "cookie": "session"})


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        (["session=a"], "a"),
        (["x=1; session=a; y=2"], "a"),
        (['session="a"'], "a"),
        # For two paths of the site.
        (["session=a; session=a"], "a"),
        (["session=a", 'session="a"'], "a"),
        (["session=; session=a"], "a"),
        (["session=a; session="], "a"),
        (["session="], None),
        (["session"], None),
        (["Session=a"], None),
        ([], None),
        # A page of another subdomain can set one, and which of them comes first.
        (["session=a; session=b"], UNUSABLE),
        (["session=b; x=1; session=a"], UNUSABLE),
        (["session=a", "session=b"], UNUSABLE),
        (["session=a; session=; session=b"], UNUSABLE),
        (["session=a b"], UNUSABLE),
    ],
)
def test_several_cookies_of_the_name_must_be_the_same(
    headers: list[str], token: str | None
) -> None:
    ws, _ = connecting(headers=[(b"cookie", value.encode()) for value in headers])
    assert IN_COOKIE.find(ws) == token


def test_there_must_be_a_place() -> None:
    with pytest.raises(TypeError, match="needs a place"):
        Places(**NOWHERE)


@pytest.mark.parametrize(
    ("values", "token"),
    [
        ([], None),
        (["a"], "a"),
        ([" a\t"], "a"),
        (["a", "a"], UNUSABLE),
        ([""], UNUSABLE),
        ([7], UNUSABLE),
        (["a b"], UNUSABLE),
    ],
)
def test_there_is_one_token_or_none(values: list[Any], token: str | None) -> None:
    assert only(values) == token


def test_a_message_is_a_token_or_holds_one() -> None:
    assert in_message("a", "token") == in_message('{"token": "a"}', "token") == "a"
    assert in_message("[]", "token") == "[]"
    assert in_message('{"token": null}', "token") == in_message("{", "token") == UNUSABLE


class Unspeakable:
    def __repr__(self) -> str:
        raise OSError


def test_what_tells_the_token_is_replaced_and_nothing_else() -> None:
    token = "a\\b'c\"d"
    for told in (token, repr(token), f"{token!r} it's", repr(token.encode())):
        stand_in = without(token, Reject(400, told), "verify raised Reject")
        assert str(stand_in).startswith("verify raised Reject, whose text is not shown")
    for failure in (Reject(400, "abcd"), OSError("x")):
        assert without(token, failure, "") is failure
    odd = OSError("x")
    odd.odd = Unspeakable()  # type: ignore[attr-defined]
    assert without(token, odd, "") is odd
