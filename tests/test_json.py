from __future__ import annotations

import enum
import json
import math
import sys
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex import _json
from telex._json import decode_json, encode_json

C_MAKE_ENCODER: Any = getattr(json.encoder, "c_make_encoder", None)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs", "Lu", "Cc"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters()), inner, max_size=4)
        | st.dictionaries(
            st.integers()
            | st.booleans()
            | st.none()
            | st.floats(allow_nan=False).filter(math.isfinite),
            inner,
            max_size=3,
        )
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=12,
)


class Point(NamedTuple):
    x: int
    y: float


class Text(str):
    __slots__ = ()


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


def outcome(function: Any, *args: Any) -> Any:
    """What a call returns, with the types that `==` does not tell apart, or that it refuses."""
    try:
        value = function(*args)
    except json.JSONDecodeError:
        return json.JSONDecodeError
    return repr(value), type(value)


def stdlib_decode(text: str) -> Any:
    """The contract in other words: the standard library, less what JSON has not."""

    def number(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise json.JSONDecodeError("", text, 0)
        return value

    def constant(_: str) -> None:
        raise json.JSONDecodeError("", text, 0)

    return json.loads(text, parse_float=number, parse_constant=constant)


# --- reading ---


@pytest.mark.row("C22", "T32")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":[1,2.5,"x",true,false,null]}', {"a": [1, 2.5, "x", True, False, None]}),
        ("0", 0),
        ("-0", 0),
        ("-0.0", -0.0),
        ("1.0", 1.0),
        ("1E2", 100.0),
        ('""', ""),
        ("null", None),
        ("[]", []),
        ("{}", {}),
        (" \t\r\n1 \t\r\n", 1),
        ('{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
        ('{"a":{"b":1},"a":{"c":2}}', {"a": {"c": 2}}),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\u0000\\/\\b"', "\0/\b"),
        ('"\x7f\u2028"', "\x7f\u2028"),
        ("9007199254740993", 9007199254740993),
        ("18446744073709551616", 18446744073709551616),
        ("-9223372036854775809", -9223372036854775809),
        ("1" * 400, int("1" * 400)),
        ("1" * 4300, int("1" * 4300)),
        ("0.1", 0.1),
        ("0.10000000000000000000000000000000000000001", 0.1),
        ("1e-999", 0.0),
        ("5e-324", 5e-324),
        ("1.7976931348623157e308", sys.float_info.max),
        ("123456789012345678901234567890.5", 1.2345678901234568e29),
    ],
)
def test_json_is_read(text: str, value: Any) -> None:
    for data in (text, Text(text), text.encode()):
        assert outcome(decode_json, data) == (repr(value), type(value))


@pytest.mark.row("T32", "T22")
def test_numbers_are_exact_integers_or_the_nearest_float() -> None:
    assert decode_json("12345678901234567890123") == 12345678901234567890123
    assert type(decode_json("12345678901234567890123")) is int
    assert type(decode_json("1.0")) is float
    assert decode_json("3.14159265358979323846") == math.pi


MALFORMED = [
    "",
    " ",
    "{bad",
    "[1,]",
    '{"a":1,}',
    '{"a"}',
    "{1:2}",
    "'a'",
    "01",
    "1.",
    ".5",
    "+1",
    "-",
    "1 2",
    '{"a":1} x',
    "trux",
    "True",
    "nul",
    '"open',
    '"\x01"',
    '"\n"',
    '"\\x"',
    '"\\u12"',
    "\x00",
    "1\x00",
    "\xa01",
    "\x0b1",
    "// no\n1",
    "[",
    "{",
    '{"a":',
]


@pytest.mark.row("G42", "T20")
@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_json_is_a_json_decode_error(text: str) -> None:
    for data in (text, Text(text), text.encode()):
        with pytest.raises(json.JSONDecodeError):
            decode_json(data)


@pytest.mark.row("C23", "T21")
@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 310 + ".0"]
)
@pytest.mark.parametrize("frame", ["{}", "[{}]", '{{"a":[1,{{"b":{}}}]}}', '[{}, "\\ud800"]'])
def test_numbers_that_are_none_are_refused_at_any_depth(text: str, frame: str) -> None:
    for data in (frame.format(text), frame.format(text).encode()):
        with pytest.raises(json.JSONDecodeError):
            decode_json(data)


@pytest.mark.row("T20")
@pytest.mark.parametrize("depth", [100_000, 1_000_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_json_that_is_nested_too_deeply_is_a_json_decode_error(
    depth: int, brackets: tuple[str, str]
) -> None:
    start, end = brackets
    for text in (start * depth + "1" + end * depth, start * depth):
        with pytest.raises(json.JSONDecodeError):
            decode_json(text)
    assert decode_json("[1]") == [1]


@pytest.mark.row("T20")
@pytest.mark.parametrize("text", ["1" * 5000, "-" + "1" * 5000, "[" + "1" * 5000 + "]"])
def test_an_integer_with_too_many_digits_is_a_json_decode_error(text: str) -> None:
    for data in (text, text.encode()):
        with pytest.raises(json.JSONDecodeError):
            decode_json(data)


@pytest.mark.row("T20")
def test_the_digit_limit_is_that_of_the_interpreter() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert decode_json("1" * 640) > 0
        with pytest.raises(json.JSONDecodeError):
            decode_json("1" * 641)
        sys.set_int_max_str_digits(0)
        assert decode_json("1" * 5000) > 0
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.row("T25")
@pytest.mark.parametrize(
    "data",
    [
        b'"\xff"',
        b"\xff",
        b'{"a":"\xc3"}',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b"\xef\xbb\xbf1",
        b"\xef\xbb\xbf{}",
        "1".encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
    ],
)
def test_bytes_that_are_no_utf_8_without_a_mark_are_malformed_json(data: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        decode_json(data)


@pytest.mark.row("T25")
def test_text_that_begins_with_a_byte_order_mark_is_malformed_json() -> None:
    with pytest.raises(json.JSONDecodeError, match="BOM"):
        decode_json("\ufeff{}")


@pytest.mark.row("T25")
def test_the_error_says_where_utf_8_ends() -> None:
    with pytest.raises(json.JSONDecodeError, match="Not UTF-8") as caught:
        decode_json('"é\n'.encode() + b'\xff"')
    assert (caught.value.lineno, caught.value.colno, caught.value.pos) == (2, 1, 3)


@pytest.mark.row("T22")
def test_the_error_is_json_s_own_and_hides_the_libraries_behind_it() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        decode_json("[1, 2")
    assert type(caught.value) is json.JSONDecodeError
    assert caught.value.doc == "[1, 2"
    assert caught.value.__context__ is None


@pytest.mark.row("T19")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\ud800"', "\ud800"),
        ('"\\udc00"', "\udc00"),
        ('"\\ud83dA"', "\ud83dA"),
        ('"\\ud83d\\u0041"', "\ud83dA"),
        ('{"\\ud800":["\\udfff"]}', {"\ud800": ["\udfff"]}),
    ],
)
def test_a_lone_surrogate_is_read_and_written_as_its_escape(text: str, value: Any) -> None:
    assert decode_json(text) == decode_json(text.encode()) == value
    echoed = encode_json(value)
    assert echoed.encode().decode() == echoed
    assert decode_json(echoed) == value


@pytest.mark.row("T22")
@pytest.mark.parametrize("data", [None, 5, [1], {}])
def test_only_text_and_bytes_are_read(data: Any) -> None:
    with pytest.raises(TypeError):
        decode_json(data)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_kind_of_bytes_is_read(kind: Any) -> None:
    assert decode_json(kind(b'{"a":1}')) == {"a": 1}
    with pytest.raises(json.JSONDecodeError):
        decode_json(kind(b'"\xff"'))
    with pytest.raises(json.JSONDecodeError):
        decode_json(kind(b"[1"))


@pytest.mark.row("T22", "T32")
@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_json_writes_is_read_as_json_reads_it(
    value: Any, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert outcome(decode_json, text) == outcome(stdlib_decode, text)


@pytest.mark.row("T22")
@given(st.text('[]{}:,"\\ud8c0 \t\n-+.eE0123456789truefalsn\ufeff\ud800é', max_size=24))
def test_any_text_is_read_or_refused_as_the_contract_says(text: str) -> None:
    assert outcome(decode_json, text) == outcome(stdlib_decode, text)


@pytest.mark.row("T22", "T32")
@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,400})(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
)
def test_any_number_is_read_or_refused_as_the_contract_says(text: str) -> None:
    assert outcome(decode_json, text) == outcome(stdlib_decode, text)


@pytest.mark.row("T25", "T22")
@given(st.binary(max_size=24) | st.text(max_size=8).map(lambda text: json.dumps(text).encode()))
def test_any_bytes_are_read_as_the_text_they_encode_or_refused(data: bytes) -> None:
    try:
        wanted = outcome(stdlib_decode, data.decode())
    except UnicodeDecodeError:
        wanted = json.JSONDecodeError
    assert outcome(decode_json, data) == wanted


# --- writing ---


@pytest.mark.row("C22", "T27")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, "é", None]}, '{"a":[1,"é",null]}'),
        ([], "[]"),
        ({}, "{}"),
        ("", '""'),
        (None, "null"),
        (0, "0"),
        (True, "true"),
        (False, "false"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e16, "1e+16"),
        (1e-5, "1e-05"),
        (0.1, "0.1"),
        (2**70, "1180591620717411303424"),
        ((1, (2,)), "[1,[2]]"),
        (Point(1, 2.0), "[1,2.0]"),
        (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        (Text("x"), '"x"'),
        (Color.RED, '"red"'),
        (Level.HIGH, "3"),
        ({Color.RED: Level.HIGH, Text("k"): 1}, '{"red":3,"k":1}'),
        ("😀/\u2028\x7f", '"😀/\u2028\x7f"'),
        ('\0\n\r\t\b\f"\\\x1f', '"\\u0000\\n\\r\\t\\b\\f\\"\\\\\\u001f"'),
    ],
)
def test_json_is_written_compactly_as_utf_8_text(value: Any, text: str) -> None:
    assert encode_json(value) == text
    assert type(encode_json(value)) is str


@pytest.mark.row("G57", "T22")
@pytest.mark.parametrize(
    ("key", "text"),
    [(1, "1"), (True, "true"), (None, "null"), (1.5, "1.5"), (2**70, str(2**70)), ("", "")],
)
def test_keys_that_can_be_text_become_text(key: Any, text: str) -> None:
    assert encode_json({key: 0}) == f'{{"{text}":0}}'


@pytest.mark.row("G57", "T22")
@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        b"x",
        bytearray(b"x"),
        {(1, 2): 3},
        {b"k": 1},
        [{"a": {object(): 1}}],
        1j,
        Decimal("1.5"),
        datetime(2020, 1, 1, tzinfo=UTC),
        range(3),
        iter(()),
        [1, [2, object()]],
    ],
)
def test_what_json_has_no_form_for_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        encode_json(value)


@pytest.mark.row("C23", "T21")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_not_written(number: float) -> None:
    for value in (number, [number], {"a": [{"b": number}]}, {number: 1}):
        with pytest.raises(ValueError):
            encode_json(value)


@pytest.mark.row("T20")
def test_a_value_that_is_nested_too_deeply_or_in_itself_is_a_value_error() -> None:
    deep: Any = []
    for _ in range(200_000):
        deep = [deep]
    loop: list[Any] = [1]
    loop.append({"again": loop})
    for value in (deep, loop):
        with pytest.raises(ValueError, match="nested"):
            encode_json(value)
    assert encode_json([1]) == "[1]"
    while deep:  # one level at a time: freeing all at once recurses
        deep = deep.pop()


@pytest.mark.row("T20")
def test_an_integer_with_too_many_digits_is_not_written() -> None:
    with pytest.raises(ValueError, match="digits"):
        encode_json(10**5000)


@pytest.mark.row("T19", "C22")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\ud800", '"\\ud800"'),
        ("é\udfffé", '"é\\udfffé"'),
        ("\\\ud800", '"\\\\\\ud800"'),
        ({"\udc00": "\ud83d"}, '{"\\udc00":"\\ud83d"}'),
        ("😀", '"😀"'),
    ],
)
def test_only_lone_surrogates_are_escaped(value: Any, text: str) -> None:
    assert encode_json(value) == text


@pytest.mark.row("C22", "T22", "T19")
@given(VALUES)
def test_what_is_written_is_what_json_writes(value: Any) -> None:
    text = encode_json(value)
    plain = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        plain.encode()
    except UnicodeEncodeError:
        text.encode()
    else:
        assert text == plain
    # dumps escapes everything here, so that it may be compared whatever the text contains
    assert repr(decode_json(text)) == repr(json.loads(json.dumps(value)))


def made_in_another_way(markers: Any, *rest: Any) -> Any:
    if markers is None:
        raise TypeError
    return C_MAKE_ENCODER(markers, *rest)


@pytest.mark.row("T22")
@pytest.mark.parametrize("maker", [None, made_in_another_way])
def test_an_interpreter_with_another_encoder_writes_the_same(
    monkeypatch: pytest.MonkeyPatch, maker: Any
) -> None:
    monkeypatch.setattr(json.encoder, "c_make_encoder", maker)
    write = _json._make_writer()
    monkeypatch.setattr(_json, "_write", write)
    value = {"a": [1, "é\ud800", None, 1.5], "b": (True,)}
    assert encode_json(value) == '{"a":[1,"é\\ud800",null,1.5],"b":[true]}'
    with pytest.raises(TypeError):
        encode_json({(1, 2): 3})
    loop: list[Any] = []
    loop.append(loop)
    for bad in (loop, math.nan):
        with pytest.raises(ValueError):
            encode_json(bad)
