"""The values of a request, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from telex.binding._coerce import MISSING, Misfit
from telex.binding._reading import read_values
from telex.binding._sources import ABSENT
from telex.binding._steps import Value
from telex.connection import Connection
from telex.exceptions import BindingError

CONNECTION = Connection({"type": "websocket"})


def value(
    raw: Any = "x",
    *problems: tuple[str, str],
    key: str = "it",
    default: Callable[[], Any] | None = None,
    secret: bool = False,
) -> Value:
    """Return a step that finds something, which becomes itself or does not fit."""

    def convert(found: Any) -> Any:
        if problems:
            raise Misfit(*problems)
        return found

    return Value("query", key, lambda _: raw, convert, default, secret, "int")


def errors_of(*steps: Value) -> list[dict[str, Any]]:
    with pytest.raises(BindingError) as caught:
        read_values(steps, CONNECTION)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value.errors


def test_every_step_has_its_value() -> None:
    steps = [value("a"), value("b"), value(ABSENT, default=list), value("c", default=list)]
    assert read_values(steps, CONNECTION) == dict(zip(steps, ["a", "b", [], "c"], strict=True))
    assert read_values([], CONNECTION) == {}


def test_all_that_is_wrong_is_told_in_order_and_once() -> None:
    errors = errors_of(
        value("x", ("", "no"), key="b"),
        value("fine"),
        value(ABSENT, key="a"),
        value({"f": "1"}, ("g", MISSING), ("f", "odd")),
        value(ABSENT, key="a"),
        value("x", ("", "no"), key="b"),
        value("y", ("", "no"), key="b"),
    )
    assert [(e["in"], e["name"], e["message"], e["value"]) for e in errors] == [
        ("query", "b", "no", "x"),
        ("query", "a", "required", None),
        ("query", "g", "required", None),
        ("query", "f", "odd", "1"),
        ("query", "b", "no", "y"),
    ]


def test_the_text_of_the_error_has_names_and_messages() -> None:
    with pytest.raises(BindingError) as caught:
        read_values([value("x", ("", "no")), value(ABSENT, key="a")], CONNECTION)
    assert str(caught.value) == "query it: no; query a: required"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("x" * 200, "x" * 200),
        ("x" * 201, f"{'x' * 200}…"),
        (["x" * 300] * 11, [f"{'x' * 200}…"] * 10),
        (5, "5"),
        (float("nan"), "nan"),
        (b"x", "b'x'"),
        (None, None),
        ({"a": "b"}, None),
    ],
)
def test_a_value_is_shown_as_text_and_not_at_length(raw: Any, shown: Any) -> None:
    assert errors_of(value(raw, ("", "no")))[0]["value"] == shown


def test_names_and_messages_are_not_told_at_length() -> None:
    [error] = errors_of(value({"n" * 300: "x"}, ("n" * 300, "m" * 300)))
    assert (error["name"], error["message"]) == (f"{'n' * 200}…", f"{'m' * 200}…")
    assert error["value"] == "x"


@pytest.mark.parametrize("raw", ["s3cret", ["s3cret"], {"f": "s3cret"}, {}, 5])
@pytest.mark.parametrize("field", ["", "f"])
def test_a_secret_is_never_shown(raw: Any, field: str) -> None:
    [error] = errors_of(value(raw, (field, "not s3cret"), secret=True))
    assert error == {
        "in": "query",
        "name": field or "it",
        "message": "not a valid int",
        "value": None,
    }


def test_a_missing_secret_is_called_required() -> None:
    [error] = errors_of(value(ABSENT, secret=True))
    assert (error["message"], error["value"]) == ("required", None)
    [error] = errors_of(value({}, ("f", MISSING), secret=True))
    assert (error["name"], error["message"]) == ("f", "required")
