"""Values as messages and messages as values, and how a message looks in an error text."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telex import WebSocketExpectError
from telex.testing._values import data_of, decode_value, encode_value, show_data, show_message


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Model(pydantic.BaseModel):
    name: str
    age: int = 1


@dataclass
class Move:
    to: Point
    at: datetime | None = None


class Colour(enum.Enum):
    RED = "red"


MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = UUID("12345678-1234-5678-1234-567812345678")


# Values to messages


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("text", "text"),
        ("", ""),
        (b"bytes", b"bytes"),
        (b"", b""),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (Point(1), '{"x":1,"y":0}'),
        (Model(name="ada"), '{"name":"ada","age":1}'),
        (Move(Point(1, 2), MOMENT), '{"to":{"x":1,"y":2},"at":"2026-01-02T03:04:05Z"}'),
        (ID, '"12345678-1234-5678-1234-567812345678"'),
        (Colour.RED, '"red"'),
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        (12, "12"),
        (1.5, "1.5"),
        (None, "null"),
        (2**70, "1180591620717411303424"),
        (["caf\u00e9"], '["caf\u00e9"]'),
    ],
)
def test_a_value_as_the_data_of_a_message(value: object, data: str | bytes) -> None:
    encoded = encode_value(value)
    assert encoded == data
    assert type(encoded) is type(data)


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, [object()], 1j])
def test_what_json_does_not_have_cannot_be_sent(value: object) -> None:
    with pytest.raises(TypeError):
        encode_value(value)


# Messages to values


@pytest.mark.parametrize(
    ("data", "tp", "value"),
    [
        ("text", str, "text"),
        (b"caf\xc3\xa9", str, "caf\u00e9"),
        (b"bytes", bytes, b"bytes"),
        ("caf\u00e9", bytes, b"caf\xc3\xa9"),
        ("12", int, 12),
        ("true", bool, True),
        ('{"a": 1}', dict, {"a": 1}),
        ('{"x": 1}', Point, Point(1)),
        (b'{"x": 1, "y": 2}', Point, Point(1, 2)),
        ('{"name": "ada"}', Model, Model(name="ada")),
        (b'{"name": "ada", "age": 3}', Model, Model(name="ada", age=3)),
        ('{"to": {"x": 1}}', Move, Move(Point(1))),
        ("[1, 2]", list[int], [1, 2]),
        ("null", int | None, None),
        ('{"a": 1.5}', dict[str, float], {"a": 1.5}),
        ("[1]", Any, [1]),
        ("1.5", float, 1.5),
        ('"red"', Colour, Colour.RED),
        ('"2026-01-02T03:04:05Z"', datetime, MOMENT),
    ],
)
def test_the_data_of_a_message_as_a_value(data: str | bytes, tp: Any, value: object) -> None:
    decoded = decode_value(data, tp)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    ("data", "tp"),
    [
        (b"\xff", str),
        ("\ud800", bytes),
        ("twelve", int),
        ("maybe", bool),
        ("[1]", dict),
        ('{"x": "one"}', Point),
        ("{}", Point),
        ("no json", Point),
        (b"\xff", Point),
        ('"\ud800"', list[str]),
        ("{}", Model),
        ("no json", Model),
        (b"\xff", Model),
        ('["a"]', list[int]),
        ("[" * 100_000, list[Any]),
        ("", Any),
    ],
)
def test_a_message_that_does_not_fit_is_not_what_was_expected(data: str | bytes, tp: Any) -> None:
    with pytest.raises(WebSocketExpectError):
        decode_value(data, tp)


def test_the_text_for_a_message_that_does_not_fit_says_what_came_and_why() -> None:
    with pytest.raises(WebSocketExpectError) as caught:
        decode_value('{"x": "one"}', Point)
    assert str(caught.value) == (
        'Expected `int`, got `str` - at `$.x`; received text \'{"x": "one"}\''
    )
    assert isinstance(caught.value.__cause__, msgspec.ValidationError)


def test_what_a_pydantic_model_says_is_in_the_text() -> None:
    with pytest.raises(WebSocketExpectError, match="name") as caught:
        decode_value(b"{}", Model)
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)
    assert str(caught.value).endswith("; received bytes b'{}'")


@pytest.mark.parametrize("tp", [list[Mapping[int, object]] | set[int], "Point", 5])
def test_a_type_that_cannot_be_read_is_a_mistake_of_the_test(tp: Any) -> None:
    with pytest.raises(TypeError) as caught:
        decode_value("[]", tp)
    assert not isinstance(caught.value, WebSocketExpectError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(json_values.filter(lambda value: not isinstance(value, str)))
def test_a_json_value_comes_back_as_it_was(value: object) -> None:
    assert decode_value(encode_value(value), Any) == value


@given(st.text() | st.binary())
def test_text_and_bytes_come_back_as_they_were(data: str | bytes) -> None:
    assert encode_value(data) is data
    assert decode_value(data, type(data)) is data


def test_no_infinity_is_written_that_json_does_not_have() -> None:
    assert encode_value([math.nan, math.inf]) == "[null,null]"


# In error texts


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("hello", "text 'hello'"),
        ("", "text ''"),
        (b"\x00a", r"bytes b'\x00a'"),
        (bytearray(b"ab"), "bytes b'ab'"),
        (memoryview(b"ab"), "bytes b'ab'"),
        ("x" * 200, f"text {'x' * 200!r}"),
        ("x" * 201, f"text {'x' * 200!r}… (201 in all)"),
        (b"x" * 201, f"bytes {b'x' * 200!r}… (201 in all)"),
        (None, "None"),
    ],
)
def test_data_in_an_error_text(data: object, shown: str) -> None:
    assert show_data(data) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (None, "nothing"),
        ({"type": "websocket.send", "text": "hi"}, "text 'hi'"),
        ({"type": "websocket.send", "text": None, "bytes": b"hi"}, "bytes b'hi'"),
        ({"type": "websocket.close", "code": 4000, "reason": "bye"}, "close 4000 'bye'"),
        ({"type": "websocket.accept", "subprotocol": None}, "the acceptance"),
        ({"type": "else"}, "{'type': 'else'}"),
    ],
)
def test_a_message_in_an_error_text(message: dict[str, Any] | None, shown: str) -> None:
    assert show_message(message) == shown


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ({"text": ""}, ""),
        ({"text": "a", "bytes": None}, "a"),
        ({"bytes": b""}, b""),
        ({"bytes": bytearray(b"a"), "text": None}, b"a"),
    ],
)
def test_the_data_of_a_message(message: dict[str, Any], data: str | bytes) -> None:
    assert data_of(message) == data
    assert type(data_of(message)) is type(data)
