from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telex.exceptions import RoutingError
from telex.routing import Convertor, Pattern, register_convertor
from telex.routing._convertors import find_convertor

HEX = "0123456789abcdef0123456789abcdef"
HYPHENS = "01234567-89ab-cdef-0123-456789abcdef"

MATCHES: list[tuple[str, str, Any]] = [
    ("str", "bob", "bob"),
    ("str", "a b", "a b"),
    ("str", "%2F", "%2F"),
    ("str", "line\nbreak", "line\nbreak"),
    ("str", "{brackets}", "{brackets}"),
    ("int", "7", 7),
    ("int", "-7", -7),
    ("int", "007", 7),
    ("int", "9" * 100, int("9" * 100)),
    ("float", "1.5", 1.5),
    ("float", "-3", -3.0),
    ("float", "0.1", 0.1),
    ("decimal", "1.50", Decimal("1.50")),
    ("decimal", "-3", Decimal(-3)),
    ("decimal", "9" * 500, Decimal("9" * 500)),
    ("date", "2024-02-29", date(2024, 2, 29)),
    ("datetime", "2024-02-29T12:30", datetime.fromisoformat("2024-02-29 12:30")),
    ("datetime", "2024-02-29T12:30:15", datetime.fromisoformat("2024-02-29 12:30:15")),
    ("datetime", "2024-02-29T12:30:15.25", datetime.fromisoformat("2024-02-29 12:30:15.25")),
    ("datetime", "2024-02-29T12:30:15Z", datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC)),
    ("datetime", "2024-02-29T14:30+02:00", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
    ("uuid", HYPHENS, UUID(HEX)),
    ("uuid", HYPHENS.upper(), UUID(HEX)),
    ("uuid", HEX, UUID(HEX)),
    ("path", "", ""),
    ("path", "a/b.txt", "a/b.txt"),
    ("path", "a//b/", "a//b/"),
    ("path", "line\nbreak/x", "line\nbreak/x"),
    ("any", "a", "a"),
    ("any", "a/b", "a/b"),
    ("any", "/", "/"),
]

MISSES = [
    ("str", ""),
    ("str", "a/b"),
    ("int", ""),
    ("int", "abc"),
    ("int", "1x5"),
    ("int", "1.5"),
    ("int", "+5"),
    ("int", "--5"),
    ("int", "1_000"),
    ("int", " 1"),
    ("int", "1\n"),
    ("int", "\u0663"),
    pytest.param("int", "9" * 5000, id="5000-digits"),
    ("float", "1x5"),
    ("float", "1."),
    ("float", ".5"),
    ("float", "1e5"),
    ("float", "nan"),
    ("float", "inf"),
    ("float", "1.5\n"),
    ("float", "\u0661.\u0665"),
    pytest.param("float", "9" * 400, id="400-digits"),
    ("decimal", "1x5"),
    ("decimal", "NaN"),
    ("decimal", "1e5"),
    ("decimal", "\u0967"),
    ("date", "2024-13-45"),
    ("date", "2023-02-29"),
    ("date", "20240229"),
    ("date", "2024-2-9"),
    ("date", "0000-01-01"),
    ("date", "2024-02-29T12:30"),
    ("datetime", "2024-13-45T12:30"),
    ("datetime", "2024-02-29T25:30"),
    ("datetime", "2024-02-29"),
    ("datetime", "2024-02-29 12:30"),
    ("datetime", "2024-02-29T12:30+99:00"),
    ("datetime", "2024-02-29T12:30+00:00:00.5"),
    ("uuid", HEX[:-1]),
    ("uuid", HEX + "0"),
    ("uuid", HYPHENS.replace("a", "g")),
    ("uuid", "{" + HYPHENS + "}"),
    ("any", ""),
]


@pytest.mark.row("KX9", "LX4", "C45", "T68")
@pytest.mark.parametrize("brackets", ["{{value:{}}}", "<value:{}>"])
@pytest.mark.parametrize(("kind", "text", "value"), MATCHES)
def test_a_text_of_the_type_is_converted(
    brackets: str, kind: str, text: str, value: object
) -> None:
    params = Pattern("/at/" + brackets.format(kind)).match(f"/at/{text}")
    assert params == {"value": value}
    assert type(params["value"]) is type(value)


@pytest.mark.row("KX9", "LX4", "C45", "T68")
@pytest.mark.parametrize("brackets", ["{{value:{}}}", "<value:{}>"])
@pytest.mark.parametrize(("kind", "text"), MISSES)
def test_any_other_text_is_no_match_and_no_exception(brackets: str, kind: str, text: str) -> None:
    assert Pattern("/at/" + brackets.format(kind)).match(f"/at/{text}") is None


@pytest.mark.row("C45")
@pytest.mark.parametrize("path", ["/{name}", "/<name>", "/{name:str}", "/<name:str>"])
def test_a_parameter_without_a_type_is_str(path: str) -> None:
    assert Pattern(path).match("/bob") == {"name": "bob"}
    assert Pattern(path).match("/bob/x") is None


SEGMENT_TEXT = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
# Not named zones: times in their gaps equal nothing in another zone (PEP 495).
OFFSETS = st.none() | st.integers(-80_000, 80_000).map(lambda n: timezone(timedelta(seconds=n)))

ROUND_TRIPS: dict[str, st.SearchStrategy[Any]] = {
    "str": SEGMENT_TEXT,
    "int": st.integers(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False),
    "date": st.dates(),
    "datetime": st.datetimes(timezones=OFFSETS),
    "uuid": st.uuids(),
    "path": ANY_TEXT,
    "any": ANY_TEXT.filter(bool),
}


@pytest.mark.row("T54", "T68")
@settings(deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("path", ["/{{x:{}}}", "/at/{{x:{}}}", "/at-<x:{}>", "/é %/{{x:{}}}"])
@pytest.mark.parametrize("kind", ROUND_TRIPS)
def test_what_is_formatted_is_matched_again(path: str, kind: str, data: st.DataObject) -> None:
    value = data.draw(ROUND_TRIPS[kind])
    pattern = Pattern(path.format(kind))
    encoded = pattern.format(x=value)
    assert encoded.isascii()
    assert not set(encoded) & set(" ?#\n\\")
    assert not encoded.startswith("//")
    assert pattern.match(unquote(encoded)) == {"x": value}
    assert pattern.match(pattern.fill(x=value)) == {"x": value}


@pytest.mark.row("T68")
@settings(deadline=None)
@given(text=st.text())
@pytest.mark.parametrize("kind", ROUND_TRIPS)
def test_no_text_makes_a_convertor_raise(kind: str, text: str) -> None:
    Pattern(f"/{{x:{kind}}}").match(f"/{text}")


class Room(str, Enum):  # noqa: UP042 - str() of it is not its value
    BLUE = "blue"


@pytest.mark.row("T75")
@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("str", 7, "7"),
        ("str", UUID(HEX), HYPHENS),
        ("str", Room.BLUE, "blue"),
        ("int", "7", "7"),
        ("int", 7.0, "7"),
        ("float", 1e-7, "0.0000001"),
        ("float", 3, "3.0"),
        ("float", 1e16, "10000000000000000"),
        ("decimal", Decimal("1E+2"), "100"),
        ("decimal", 5, "5"),
        ("date", "2024-02-29", "2024-02-29"),
        ("uuid", HEX, HEX),
        ("path", "a b/c", "a%20b/c"),
    ],
)
def test_values_are_written_in_one_way(kind: str, value: object, text: str) -> None:
    assert Pattern(f"/{{x:{kind}}}").format(x=value) == f"/{text}"


@pytest.mark.row("T75")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("str", ""),
        ("str", "a/b"),
        ("str", None),
        ("str", b"bytes"),
        ("str", "\ud800"),
        ("int", True),
        ("int", 1.5),
        ("int", "seven"),
        ("int", None),
        ("int", math.inf),
        pytest.param("int", 10**5000, id="too-many-digits"),
        ("float", math.nan),
        ("float", math.inf),
        ("float", "9" * 400),
        ("float", object()),
        ("decimal", Decimal("NaN")),
        ("decimal", None),
        ("date", datetime.fromisoformat("2024-02-29 12:30")),
        ("date", "2024-13-45"),
        ("date", 20240229),
        ("datetime", date(2024, 2, 29)),
        ("uuid", 7),
        ("uuid", "not one"),
        ("any", ""),
    ],
)
def test_a_value_that_is_not_of_the_type_cannot_be_formatted(kind: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"parameter 'x'|encode"):
        Pattern(f"/{{x:{kind}}}").format(x=value)


class Colour:
    regex = "[a-z]+"
    names = ("red", "green", "blue")

    def convert(self, text: str) -> int:
        return self.names.index(text)

    def to_string(self, value: int) -> str:
        return self.names[value]


class Tail:
    regex = r"(?:v[0-9]/?)+"
    spans_segments = True

    def convert(self, text: str) -> list[str]:
        return text.split("/")

    def to_string(self, value: list[str]) -> str:
        return "/".join(value)


class Faulty(Colour):
    def convert(self, text: str) -> int:
        raise ZeroDivisionError


def registered(name: str, convertor: Convertor) -> str:
    register_convertor(name, convertor)
    return name


COLOUR, TAIL, FAULTY = Colour(), Tail(), Faulty()


@pytest.mark.row("C45")
def test_an_own_convertor_matches_and_formats() -> None:
    pattern = Pattern(f"/c/{{colour:{registered('colour', COLOUR)}}}")
    assert pattern.match("/c/blue") == {"colour": 2}
    assert pattern.match("/c/BLUE") is None
    assert pattern.format(colour=1) == "/c/green"


@pytest.mark.row("T68")
def test_an_own_convertor_that_refuses_a_text_is_no_match() -> None:
    assert Pattern(f"/{{c:{registered('colour', COLOUR)}}}").match("/mauve") is None
    assert Pattern(f"/{{c:{registered('faulty', FAULTY)}}}").match("/blue") is None


def test_an_own_convertor_that_refuses_a_value_cannot_be_formatted() -> None:
    with pytest.raises(ValueError, match="parameter 'c'"):
        Pattern(f"/{{c:{registered('colour', COLOUR)}}}").format(c=17)


def test_an_own_convertor_may_read_to_the_end_of_the_path() -> None:
    pattern = Pattern(f"/{{versions:{registered('tail', TAIL)}}}")
    assert pattern.match("/v1/v2") == {"versions": ["v1", "v2"]}
    assert pattern.format(versions=["v3", "v4"]) == "/v3/v4"


def test_registering_the_same_convertor_twice_is_harmless() -> None:
    register_convertor("colour", COLOUR)
    register_convertor("colour", COLOUR)
    assert find_convertor("colour") is COLOUR


@pytest.mark.parametrize(
    ("name", "message"),
    [("int", "already"), ("two words", "identifier"), ("", "identifier")],
)
def test_a_convertor_needs_a_name_of_its_own(name: str, message: str) -> None:
    with pytest.raises(RoutingError, match=message):
        register_convertor(name, COLOUR)


def test_a_convertor_needs_a_regex_that_compiles() -> None:
    class Broken(Colour):
        regex = "("

    with pytest.raises(RoutingError, match=r"'broken' does not compile"):
        register_convertor("broken", Broken())
    with pytest.raises(LookupError, match="unknown type 'broken'"):
        find_convertor("broken")
