from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, Union

import pytest

from telex.compat.view._casts import input_cast, reader, written
from telex.exceptions import WebSocketExpectError


@dataclass
class Person:
    name: str
    age: int = 0


class Pet(TypedDict):
    name: str


MESSAGES = [
    (str, "x", "x"),
    (str, b"\xc3\xa9", "é"),
    (str, "", ""),
    (bytes, "é", b"\xc3\xa9"),
    (bytes, b"raw", b"raw"),
    (int, "42", 42),
    (int, "-7", -7),
    (int, " 42 ", 42),
    (int, "+7", 7),
    (int, "4_2", 42),
    (int, "٤٢", 42),
    (int, b"42", 42),
    (bool, "true", True),
    (bool, "True", True),
    (bool, "false", False),
    (bool, "False", False),
    (bool, "2", True),
    (bool, "00", False),
    (bool, b"true", True),
    (dict, '{"a":1}', {"a": 1}),
    (dict, b'{"a":1}', {"a": 1}),
    (dict, "[1]", [1]),
    (dict, "5", 5),
    (dict, "null", None),
]

MISFITS = [
    (str, b"\xff"),
    (bytes, "\ud800"),
    (int, ""),
    (int, "1.5"),
    (int, "true"),
    (int, b"\xff"),
    (int, "9" * 5000),
    (bool, ""),
    (bool, "yes"),
    (bool, "²"),
    (dict, "{"),
    (dict, ""),
    (dict, "NaN"),
    (dict, b"\xff"),
    (dict, "[" * 100_000),
]


@pytest.mark.row("VX10", "C25", "C26", "C27", "C28", "T28", "T31")
@pytest.mark.parametrize(("tp", "data", "value"), MESSAGES)
def test_a_message_becomes_a_value(tp: type, data: str | bytes, value: object) -> None:
    made = reader(tp)(data)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.row("C25", "C26", "C27", "C28", "T28", "C21")
@pytest.mark.parametrize(("tp", "data"), MISFITS)
def test_a_message_that_does_not_fit_is_one_kind_of_error(tp: type, data: str | bytes) -> None:
    with pytest.raises(WebSocketExpectError) as raised:
        reader(tp)(data)
    assert len(str(raised.value)) < 300


@pytest.mark.row("C21")
def test_what_is_no_json_is_called_malformed() -> None:
    with pytest.raises(WebSocketExpectError) as raised:
        reader(dict)("{")
    assert raised.value.malformed


@pytest.mark.row("C29", "T29")
@pytest.mark.parametrize("tp", [float, list, None, object, dict[str, int], int | None, "str"])
def test_messages_are_read_as_no_other_type(tp: Any) -> None:
    with pytest.raises(TypeError, match="possible are str, bytes, int, bool, dict"):
        reader(tp)


@pytest.mark.row("VX3", "T27", "C22")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a", "a"),
        (b"a", b"a"),
        ({"ä": [1, None, True]}, '{"ä":[1,null,true]}'),
        ({"a": "\ud800"}, '{"a":"\\ud800"}'),
        (7, "7"),
        (-(2**70), "-1180591620717411303424"),
        (True, "true"),
        (False, "false"),
    ],
)
def test_a_value_becomes_a_message(value: object, message: str | bytes) -> None:
    made = written(value)
    assert made == message
    assert type(made) is type(message)


@pytest.mark.row("VX3", "C29")
@pytest.mark.parametrize("value", [1.5, None, [1], object(), bytearray(b"x"), {"a": object()}])
def test_nothing_else_becomes_a_message(value: object) -> None:
    with pytest.raises(TypeError):
        written(value)


@pytest.mark.row("C23", "T19")
@pytest.mark.parametrize("value", ["\ud800", {"a": float("nan")}])
def test_what_cannot_be_expressed_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        written(value)


INPUTS = [
    ([], "5", "5"),
    ([Any], "5", "5"),
    ([str], "true", "true"),
    ([int], "5", 5),
    ([int], " +5 ", 5),
    ([bool], "true", True),
    ([bool], "false", False),
    ([None], "null", None),
    ([dict], '{"a":1}', {"a": 1}),
    ([dict[str, int]], '{"a":"1"}', {"a": 1}),
    ([list], '[1,"a"]', [1, "a"]),
    ([list[int]], "[1,2]", [1, 2]),
    ([float], "1.5", 1.5),
    ([Person], '{"name":"Ann","age":"3"}', Person("Ann", 3)),
    ([Pet], '{"name":"Rex"}', {"name": "Rex"}),
    ([Annotated[int, "how many"]], "5", 5),
    # The order of a union does not count for `str`, which takes everything.
    ([str, int], "1", 1),
    ([str, int], "a", "a"),
    ([Union[str, int]], "1", 1),  # noqa: UP007
    ([int | bool | None], "true", True),
    ([int | bool | None], "null", None),
    ([int, Any], "a", "a"),
]


@pytest.mark.row("VX10")
@pytest.mark.parametrize(("types", "text", "value"), INPUTS)
def test_the_text_of_an_input_becomes_a_value(
    types: Sequence[Any], text: str, value: object
) -> None:
    made = input_cast(types)(text)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.row("VX10")
@pytest.mark.parametrize(
    ("types", "text", "message"),
    [
        ([int], "a", "expected an integer, got 'a'"),
        ([bool], "True", "expected true or false, got 'True'"),
        ([bool], "1", "expected true or false, got '1'"),
        ([None], "None", "expected null, got 'None'"),
        ([dict], "{'a': 1}", "a JSON object"),
        ([dict], "[1]", "a JSON object"),
        ([list], "{}", "array"),
        ([Person], "{}", "name"),
        ([int, bool, None], "a", "expected int or bool or null, got 'a'"),
        ([list[int] | bool], "a", r"expected list.* or bool, got 'a'"),
    ],
)
def test_an_input_that_does_not_fit_says_so(types: Sequence[Any], text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        input_cast(types)(text)


@pytest.mark.parametrize("tp", [object(), bytes, Annotated[asyncio.Lock, "what for"]])
def test_a_type_that_cannot_be_read_is_found_at_once(tp: Any) -> None:
    with pytest.raises(TypeError):
        input_cast([int, tp])
