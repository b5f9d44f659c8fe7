"""Typed text, as genro-tytx has it and without what it lets through."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex._tytx import read_typed, require_tytx, write_typed
from telex.exceptions import MissingDependency

NOON = dt.datetime(2025, 1, 2, 12, 0, tzinfo=dt.UTC)


@pytest.mark.row("G48", "G49", "GX7", "C62")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":"1.5::N"}::JS', {"a": Decimal("1.5")}),
        ('["2025-01-02::D",{"b":"5::L"}]::JS', [dt.date(2025, 1, 2), {"b": 5}]),
        ('{"at":"2025-01-02T12:00:00.000Z::DHZ"}::JS', {"at": NOON}),
        ('{"a":"1::"}::JS', {"a": "1::"}),
        ("3::JS", 3),
        ("null::JS", None),
        ("1.5::N", Decimal("1.5")),
        ("2025-01-02::D", dt.date(2025, 1, 2)),
        ("2025-01-02T12:00:00.000Z::DHZ", NOON),
        ("10:20:30::H", dt.time(10, 20, 30)),
        ("5::L", 5),
        ("1.5::R", 1.5),
        ("true::B", True),
        ("abc::T", "abc"),
        ("YWJj::RAW", b"abc"),
        ("::NN", None),
    ],
)
def test_typed_text_becomes_its_values(text: str, value: Any) -> None:
    for data in (text, text.encode()):
        read = read_typed(data)
        assert read == value
        assert type(read) is type(value)


@pytest.mark.row("G49", "C62")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":1}', {"a": 1}),
        ("[1,null,true,1.5]", [1, None, True, 1.5]),
        ('{"a":"1::L"}', {"a": "1::L"}),
        ('"1.5::N"', "1.5::N"),
        ('"::JS"', "::JS"),
        ('{"a":"b::JS"}', {"a": "b::JS"}),
        ("5", 5),
        ("null", None),
    ],
)
def test_plain_json_stays_what_it_is(text: str, value: Any) -> None:
    assert read_typed(text) == value
    assert read_typed(text.encode()) == value


@pytest.mark.row("T92", "C62")
@pytest.mark.parametrize(
    "data",
    [
        "",
        "abc",
        "abc::XYZ",
        "::JS",
        "{bad::JS",
        '{"a":1}::JS ',
        '"a::JS',
        "1::L::JS",
        '{"a":NaN}::JS',
        "NaN",
        "x::N",
        "x::L",
        '{"a":"x::N"}::JS',
        '{"a":"x::L"}::JS',
        '{"a":"2025-13-01::D"}::JS',
        "9" * 5000 + "::L",
        "[" * 100_000 + "::JS",
        "[" * 100_000,
        b"\xff",
        b'{"a":"\xff"}::JS',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_anything_else_is_no_valid_json(data: str | bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        read_typed(data)


def test_an_error_repeats_a_little_of_the_text() -> None:
    with pytest.raises(json.JSONDecodeError) as raised:
        read_typed("x" * 100_000 + "::D")
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "number",
    ["1e5000", "1e-5000", "1e999999999", "-1e-999999999", "9" * 4301, "0." + "1" * 5000],
    ids=lambda number: number[:12],
)
def test_a_number_that_would_take_minutes_to_compute_with_is_refused(number: str) -> None:
    for text in (f"{number}::N", f'{{"a":[{{"b":"{number}::N"}}]}}::JS'):
        with pytest.raises(json.JSONDecodeError, match="out of range"):
            read_typed(text)


@pytest.mark.parametrize("number", ["1e4000", "1e-4000", "-0", "NaN", "sNaN", "Infinity"])
def test_other_numbers_are_read(number: str) -> None:
    assert str(read_typed(f"{number}::N")) == str(Decimal(number))


@given(data=st.binary() | st.text() | st.from_regex(r'[\[{"]*[0-9eE.-]*["\]}]*::[A-Z]{1,3}'))
def test_whatever_comes_is_read_or_no_valid_json(data: str | bytes) -> None:
    with contextlib.suppress(json.JSONDecodeError):
        read_typed(data)


@pytest.mark.row("G60", "GX7")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": Decimal("1.50")}, '{"a":"1.50::N"}::JS'),
        ({"a": [dt.date(2025, 1, 2), 1]}, '{"a":["2025-01-02::D",1]}::JS'),
        ({"a": b"abc"}, '{"a":"YWJj::RAW"}::JS'),
        (Decimal("1.50"), "1.50::N"),
        (dt.date(2025, 1, 2), "2025-01-02::D"),
        (NOON, "2025-01-02T12:00:00.000Z::DHZ"),
        ({"a": 1, "b": [None, True, "é"]}, '{"a":1,"b":[null,true,"é"]}'),
        ("1::L", '"1::L"'),
        ({"a": "NaN and Infinity"}, '{"a":"NaN and Infinity"}'),
        ({"a": "NaN", "b": Decimal(1)}, '{"a":"NaN","b":"1::N"}::JS'),
        (Decimal("NaN"), "NaN::N"),
    ],
)
def test_values_become_typed_text_with_a_marker_where_there_is_need(value: Any, text: str) -> None:
    assert write_typed(value) == text


@pytest.mark.row("T92")
def test_what_typed_text_loses_is_lost() -> None:
    def through(value: Any) -> Any:
        return read_typed(write_typed(value))

    assert through((1, 2)) == [1, 2]
    assert through(dt.datetime(2025, 1, 2, 12, 0)) == NOON  # noqa: DTZ001
    assert through(NOON.replace(microsecond=1999)) == NOON.replace(microsecond=1000)
    assert through({"looks": "1::L", "typed": Decimal(1)}) == {"looks": 1, "typed": Decimal(1)}


@pytest.mark.parametrize("value", [object(), 1j, {1}, {(1, 2): 3}, {"a": [object()]}, print])
def test_a_value_that_it_has_no_word_for_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        write_typed(value)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {"a": [-math.inf]}, {"a": math.nan, "b": Decimal(1)}, 10**5000],
    ids=lambda value: str(type(value)),
)
def test_a_number_that_json_does_not_have_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError):
        write_typed(value)


def test_a_value_that_is_too_deep_or_circular_is_a_value_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep = nested(100_000)
    for value in (circle, deep):
        with pytest.raises(ValueError):
            write_typed(value)
    while deep:
        deep = deep.pop()


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3)
    | st.dates()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner)
    ),
    max_leaves=10,
)


@given(value=plain)
def test_values_survive_a_round_trip(value: Any) -> None:
    assert read_typed(write_typed(value)) == value


@pytest.mark.row("G50", "G61", "T93")
def test_the_library_is_looked_for_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "genro_tytx", None)
        for call in (require_tytx, lambda: read_typed("1"), lambda: write_typed(1)):
            with pytest.raises(MissingDependency, match="genro-tytx") as raised:
                call()
            assert isinstance(raised.value, ImportError)
    assert require_tytx().__name__ == "genro_tytx"
    assert read_typed("1") == 1
