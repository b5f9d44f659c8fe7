"""What a test client raises: the tree, and what a rejected handshake tells."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from telex import Headers, WebSocketError
from telex.exceptions import WebSocketHandshakeError
from telex.testing import (
    ConnectionRejected,
    DeadlinePassed,
    ExpectationFailed,
    HandlersSurvived,
)

HTTP = "the handshake was rejected with HTTP"


@pytest.mark.parametrize("kind", [ExpectationFailed, DeadlinePassed, HandlersSurvived])
def test_what_a_test_did_not_expect_is_an_assertion_that_failed(
    kind: type[ExpectationFailed],
) -> None:
    assert issubclass(kind, ExpectationFailed)
    assert issubclass(kind, AssertionError)
    assert not issubclass(kind, WebSocketError)


def test_a_passed_deadline_is_no_timeout_error_that_an_asyncio_timeout_would_swallow() -> None:
    assert not issubclass(DeadlinePassed, (TimeoutError, OSError))


def test_a_rejection_is_a_handshake_error_and_no_failed_assertion() -> None:
    assert issubclass(ConnectionRejected, WebSocketHandshakeError)
    assert not issubclass(ConnectionRejected, (AssertionError, RuntimeError))


def test_a_rejection_has_the_response() -> None:
    rejected = ConnectionRejected(404, Headers([(b"X-Why", b"gone")]), b'{"a": [1]}')
    assert rejected.status == 404
    assert rejected.headers["x-why"] == "gone"
    assert rejected.body == b'{"a": [1]}'
    assert rejected.text == '{"a": [1]}'
    assert rejected.json() == {"a": [1]}
    assert (rejected.code, rejected.reason) == (None, "")


def test_a_rejection_without_anything_has_empty_headers_and_an_empty_body() -> None:
    rejected = ConnectionRejected(403)
    assert rejected.headers == Headers()
    assert (rejected.body, rejected.text) == (b"", "")


def test_a_body_that_is_no_text_is_shown_all_the_same() -> None:
    assert ConnectionRejected(400, body=b"\xffno").text == "\ufffdno"


@pytest.mark.parametrize("body", [b"", b"no", b"NaN", b"\xff"])
def test_a_body_that_is_no_json_says_so(body: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        ConnectionRejected(400, body=body).json()


@pytest.mark.parametrize(
    ("rejected", "text"),
    [
        (ConnectionRejected(403), f"{HTTP} 403"),
        (
            ConnectionRejected(404, body="no café".encode()),
            f"{HTTP} 404: no café",
        ),
        (
            ConnectionRejected(403, code=1008),
            f"{HTTP} 403: the application closed with 1008 before accept",
        ),
        (
            ConnectionRejected(403, code=4000, reason="bad token"),
            f"{HTTP} 403: the application closed with 4000 before accept: bad token",
        ),
        (
            ConnectionRejected(500, body=b"x" * 200),
            f"{HTTP} 500: {'x' * 200}",
        ),
        (
            ConnectionRejected(500, body=b"x" * 201),
            f"{HTTP} 500: {'x' * 200}…",
        ),
    ],
)
def test_the_text_of_a_rejection(rejected: ConnectionRejected, text: str) -> None:
    assert str(rejected) == text


def test_a_rejection_can_be_copied_and_sent_to_another_process() -> None:
    rejected = ConnectionRejected(
        403, Headers([(b"a", b"1"), (b"a", b"2")]), b"no", code=4000, reason="why"
    )
    for twin in (copy.copy(rejected), pickle.loads(pickle.dumps(rejected))):
        assert (twin.status, twin.body, twin.code, twin.reason) == (403, b"no", 4000, "why")
        assert twin.headers.getlist("a") == ["1", "2"]
        assert str(twin) == str(rejected)
