from __future__ import annotations

import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.casts import cast, check_type
from telex.exceptions import WebSocketExpectError

TYPES: list[type] = [str, bytes, int, bool, dict]


class MyInt(int):
    __slots__ = ()


class Level(enum.IntEnum):
    HIGH = 1


def assert_refused(data: str | bytes, tp: type) -> None:
    with pytest.raises(WebSocketExpectError) as caught:
        cast(data, tp)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, AssertionError)


@pytest.mark.row("C25", "T28")
@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("42", 42),
        ("-42", -42),
        ("0", 0),
        ("-0", 0),
        ("007", 7),
        (" 42 ", 42),
        ("\t\r\n 42\n", 42),
        (b"42", 42),
        (b" -7\n", -7),
        ("1" * 4300, int("1" * 4300)),
    ],
)
def test_an_integer_is_ascii_digits_with_blanks_around(data: str | bytes, value: int) -> None:
    assert cast(data, int) == value
    assert type(cast(data, int)) is int


@pytest.mark.row("C25", "T28")
@pytest.mark.parametrize(
    "data",
    [
        "",
        " ",
        "-",
        "+7",
        "4_2",
        "1.0",
        "1e3",
        "0x10",
        "- 7",
        "--7",
        "4 2",
        "true",
        "²",
        "٣",
        "\uff14\uff12",
        "\xa042",
        "\u200742",
        "\x0b42",
        "42\0",
        b"\xff",
        b"\xd9\xa3",
        "1" * 5000,
        '"42"',
    ],
)
def test_anything_else_is_no_integer(data: str | bytes) -> None:
    assert_refused(data, int)


@pytest.mark.row("C26", "T28", "T27")
@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("true", True),
        ("True", True),
        ("false", False),
        ("False", False),
        ("1", True),
        ("2", True),
        ("10", True),
        ("0", False),
        ("00", False),
        ("001", True),
        ("1" * 5000, True),
        ("0" * 5000, False),
        (b"true", True),
        (b"False", False),
        (b"0", False),
        (b"2", True),
    ],
)
def test_a_boolean_is_one_of_four_words_or_ascii_digits(data: str | bytes, value: bool) -> None:
    assert cast(data, bool) is value


@pytest.mark.row("C26", "T28")
@pytest.mark.parametrize(
    "data",
    [
        "",
        "TRUE",
        "yes",
        "on",
        " true",
        "true\n",
        "-1",
        "+1",
        "1.0",
        "²",
        "٣",
        "\uff10",
        "null",
        b"\xff",
    ],
)
def test_anything_else_is_no_boolean(data: str | bytes) -> None:
    assert_refused(data, bool)


@pytest.mark.row("C27", "T31")
@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("{}", {}),
        ('{"k": 1}', {"k": 1}),
        (b'{"k":[1,{"a":null}]}', {"k": [1, {"a": None}]}),
        (' {"a":1,"a":2} ', {"a": 2}),
    ],
)
def test_a_dict_is_a_json_object(data: str | bytes, value: dict[str, Any]) -> None:
    assert cast(data, dict) == value


@pytest.mark.row("C27", "T31", "C28")
@pytest.mark.parametrize(
    "data",
    ["[1]", "5", "null", "true", '"{}"', "", "{bad", '{"a":NaN}', b'{"a":"\xff"}', "[" * 100_000],
)
def test_anything_else_is_no_dict(data: str | bytes) -> None:
    assert_refused(data, dict)


@pytest.mark.row("C28")
@pytest.mark.parametrize(
    ("data", "tp", "value"),
    [
        ("", str, ""),
        ("é", str, "é"),
        ("\ud800", str, "\ud800"),
        (b"", str, ""),
        (b"\xc3\xa9", str, "é"),
        (b"", bytes, b""),
        (b"\xff\x00", bytes, b"\xff\x00"),
        ("", bytes, b""),
        ("é", bytes, b"\xc3\xa9"),
    ],
)
def test_text_and_bytes_become_each_other_through_utf_8(
    data: str | bytes, tp: type, value: str | bytes
) -> None:
    assert cast(data, tp) == value
    assert type(cast(data, tp)) is tp


@pytest.mark.row("C28")
@pytest.mark.parametrize(
    ("data", "tp"), [(b"\xff", str), (b"\xed\xa0\x80", str), (b"\xc3", str), ("\ud800", bytes)]
)
def test_what_is_no_utf_8_is_refused(data: str | bytes, tp: type) -> None:
    assert_refused(data, tp)


@pytest.mark.row("T27")
def test_bool_and_int_are_told_apart_by_the_type_asked_for() -> None:
    assert cast("1", int) == 1
    assert type(cast("1", int)) is int
    assert cast("1", bool) is True
    assert_refused("true", int)


UNSUPPORTED: list[Any] = [
    float,
    list,
    tuple,
    set,
    object,
    type(None),
    type,
    MyInt,
    Level,
    None,
    "str",
    5,
    dict[str, int],
    int | None,
    Any,
    [],
]


@pytest.mark.row("T27", "C29")
@pytest.mark.parametrize("tp", UNSUPPORTED)
def test_another_type_is_a_type_error_before_the_data_is_looked_at(tp: Any) -> None:
    with pytest.raises(TypeError, match="str, bytes, int, bool, dict") as caught:
        check_type(tp)
    assert not isinstance(caught.value, WebSocketExpectError)
    with pytest.raises(TypeError) as caught:
        cast(object(), tp)  # type: ignore[arg-type]
    assert not isinstance(caught.value, WebSocketExpectError)


@pytest.mark.parametrize("tp", TYPES)
def test_the_five_types_are_possible(tp: type) -> None:
    check_type(tp)


@pytest.mark.parametrize("data", ["x" * 1_000_000, b"\xff" * 1_000_000])
def test_an_error_shows_a_little_of_the_data(data: str | bytes) -> None:
    with pytest.raises(WebSocketExpectError, match="expected") as caught:
        cast(data, int)
    assert len(str(caught.value)) < 200


@pytest.mark.row("C25", "C26", "C27", "C28")
@given(st.text() | st.binary() | st.text("0123456789-+ _truefals{}"), st.sampled_from(TYPES))
def test_any_data_is_cast_or_refused(data: str | bytes, tp: type) -> None:
    try:
        value: Any = cast(data, tp)
    except WebSocketExpectError:
        return
    assert type(value) is tp
