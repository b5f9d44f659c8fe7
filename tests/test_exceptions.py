"""The error tree and the text of every error, pinned."""

from __future__ import annotations

import copy
import inspect
import pickle
from enum import IntEnum

import pytest

from telex import exceptions
from telex.exceptions import (
    BindingError,
    ImproperlyConfigured,
    MissingDependency,
    NoMatchFound,
    Reject,
    RoutingError,
    WebSocketDisconnect,
    WebSocketError,
    WebSocketException,
    WebSocketExpectError,
    WebSocketFrameError,
    WebSocketHandshakeError,
    WebSocketModeError,
    WebSocketRuntimeError,
)

BASES: dict[type[Exception], tuple[type, ...]] = {
    WebSocketError: (Exception,),
    WebSocketHandshakeError: (WebSocketError,),
    WebSocketDisconnect: (WebSocketHandshakeError,),
    WebSocketRuntimeError: (WebSocketHandshakeError, RuntimeError),
    WebSocketModeError: (WebSocketRuntimeError, ValueError),
    WebSocketFrameError: (WebSocketError, TypeError),
    WebSocketExpectError: (WebSocketError, AssertionError, TypeError, ValueError),
    WebSocketException: (WebSocketError,),
    BindingError: (WebSocketError,),
    Reject: (WebSocketError,),
    RoutingError: (ValueError,),
    NoMatchFound: (LookupError,),
    ImproperlyConfigured: (RuntimeError, ValueError),
    MissingDependency: (ImportError,),
}

TEXTS: list[tuple[Exception, str]] = [
    (WebSocketDisconnect(), "the peer closed the connection with code 1000"),
    (WebSocketDisconnect(1001, ""), "the peer closed the connection with code 1001"),
    (WebSocketDisconnect(4000, "bye"), "the peer closed the connection with code 4000: bye"),
    (WebSocketRuntimeError("cannot send"), "cannot send"),
    (WebSocketModeError("json"), "mode must be 'text' or 'binary', not 'json'"),
    (WebSocketModeError(None), "mode must be 'text' or 'binary', not None"),
    (WebSocketFrameError("got bytes"), "got bytes"),
    (WebSocketExpectError("got 1"), "got 1"),
    (WebSocketException(), "close with code 1000"),
    (WebSocketException(1008, "no"), "close with code 1008: no"),
    (
        BindingError(
            [
                {"in": "query", "name": "page", "message": "required", "value": None},
                {"in": "path", "name": "id", "message": "Expected `int`, got `str`", "value": "x"},
            ]
        ),
        "query page: required; path id: Expected `int`, got `str`",
    ),
    (BindingError([]), ""),
    (Reject(), "reject the handshake with HTTP 403"),
    (Reject(401, "no", {"x": "y"}), "reject the handshake with HTTP 401"),
    (RoutingError("bad path"), "bad path"),
    (
        NoMatchFound("room", {"b": 1, "a": 2}),
        "no route is named 'room' and takes these parameters: a, b",
    ),
    (NoMatchFound("room", {}), "no route is named 'room' and takes these parameters: none"),
    (ImproperlyConfigured("no session"), "no session"),
    (
        MissingDependency("uvicorn", "standard", "App.run()"),
        "App.run() needs uvicorn, which is not installed: pip install 'telex[standard]'",
    ),
    (
        MissingDependency("a or b", "standard", "Serving", also="pip install a"),
        (
            "Serving needs a or b, which is not installed: "
            "pip install 'telex[standard]' (or: pip install a)"
        ),
    ),
]


@pytest.mark.row("C30", "C67")
def test_the_tree_is_the_one_drawn_at_the_head_of_the_module() -> None:
    defined = {
        cls
        for cls in vars(exceptions).values()
        if inspect.isclass(cls) and cls.__module__ == exceptions.__name__
    }
    assert defined == BASES.keys()
    for cls, bases in BASES.items():
        assert cls.__bases__ == bases
        assert f"{cls.__name__}" in str(exceptions.__doc__)


@pytest.mark.row("C67")
def test_a_disconnect_is_never_caught_as_a_runtime_error() -> None:
    assert not issubclass(WebSocketDisconnect, RuntimeError)
    assert not issubclass(WebSocketRuntimeError, WebSocketDisconnect)


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=lambda value: str(value)[:40])
def test_the_text_of_every_error_is_pinned(error: Exception, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("error", [error for error, _ in TEXTS], ids=repr)
def test_every_error_survives_copying_and_pickling(error: Exception) -> None:
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


@pytest.mark.row("C16")
@pytest.mark.parametrize("cls", [WebSocketDisconnect, WebSocketException])
def test_code_is_a_plain_int_and_reason_a_str(
    cls: type[WebSocketDisconnect | WebSocketException],
) -> None:
    class Code(IntEnum):
        GOING_AWAY = 1001

    error = cls(Code.GOING_AWAY, None)
    assert (error.code, type(error.code)) == (1001, int)
    assert error.reason == ""
    assert (cls().code, cls().reason) == (1000, "")
    assert (cls(code=4000, reason="x").code, cls(4000, "x").reason) == (4000, "x")


def test_a_rejection_keeps_what_it_was_given() -> None:
    headers = [("set-cookie", "a"), ("set-cookie", "b")]
    error = Reject(401, b"no", headers)
    assert (error.status, error.body, error.headers) == (401, b"no", headers)
    assert (Reject().status, Reject().body, Reject().headers) == (403, b"", None)


def test_a_binding_error_keeps_copies_of_what_it_was_given() -> None:
    entry = {"in": "query", "name": "page", "message": "required", "value": None}
    error = BindingError(iter([entry]))
    entry.clear()
    assert error.errors == [{"in": "query", "name": "page", "message": "required", "value": None}]


def test_a_failed_lookup_keeps_a_copy_of_the_parameters() -> None:
    params = {"id": 1}
    error = NoMatchFound("item", params)
    params.clear()
    assert (error.name, error.params) == ("item", {"id": 1})
