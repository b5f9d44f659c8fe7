"""From text to a value of a type: which types can be read, and that nothing is lost on the way."""

from __future__ import annotations

import dataclasses
import enum
import math
import sys
import uuid
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    TypedDict,
    TypeVar,
)
from urllib.parse import urlencode

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from telex.binding._coerce import Field, Misfit, converter, describe_type, fields_of, is_many
from telex.binding._sources import taker
from telex.connection import Connection

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    ODD = "ö &=+%"


class Level(enum.IntEnum):
    LOW = -1
    HIGH = 2


class Everything(Struct):
    number: int
    share: float
    flag: bool
    day: date
    moment: datetime
    key: uuid.UUID
    colour: Colour
    price: Decimal
    text: str
    numbers: list[int] = []
    colours: list[Colour] = []
    perhaps: int | None = None


class Alone(Struct):
    it: int


class Nested(Struct):
    inner: Alone


class Generated(Struct, Generic[T]):
    items: list[T]


class InOrder(Struct, array_like=True):
    a: int


class Pair(NamedTuple):
    a: int


class Page(TypedDict):
    number: int
    sizes: NotRequired[list[int]]
    order: Required[str]


@dataclasses.dataclass
class Range:
    start: int
    steps: list[int] = dataclasses.field(default_factory=list)
    size: int = dataclasses.field(default=0, init=False)


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)

    plain: int
    many: list[int] = pydantic.Field(alias="ids")
    other: str = pydantic.Field(
        "", validation_alias=pydantic.AliasChoices("o", "O", pydantic.AliasPath("deep", 0))
    )


class Opaque:
    """A class that nothing can be made into."""


class Fractions(enum.Enum):
    HALF = 0.5


# Round trips: a value, as a client would write it, and back


def written(value: Any) -> str:
    """Return a value as text."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return value.isoformat() if isinstance(value, date) else str(value)


def through_a_query(tp: Any, fields: dict[str, Any]) -> Any:
    """Return what becomes of values in a query string."""
    pairs = {
        name: [*map(written, value)] if isinstance(value, list) else written(value)
        for name, value in fields.items()
    }
    query = urlencode(pairs, doseq=True).encode()
    connection = Connection({"type": "websocket", "query_string": query})
    found = fields_of(tp)
    take = taker("query", "it", many=is_many(tp), fields=found)
    return converter(tp, fields=found)(take(connection))


MOMENTS = st.datetimes(
    timezones=st.sampled_from(
        [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-3))]
    )
)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    date: st.dates(),
    datetime: MOMENTS,
    uuid.UUID: st.uuids(),
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Decimal: st.decimals(allow_nan=False),
    str: st.text(st.characters(exclude_categories=["Cs"])),
}


@settings(max_examples=50)
@given(st.data())
@pytest.mark.parametrize("tp", SCALARS)
def test_a_value_that_was_written_is_read_again(tp: Any, data: st.DataObject) -> None:
    value = data.draw(SCALARS[tp])
    read = through_a_query(tp, {"it": value})
    assert (read, type(read)) == (value, type(value))


@settings(max_examples=50)
@given(st.data())
@pytest.mark.parametrize("tp", [each for each in SCALARS if each is not str])
def test_an_optional_value_that_was_written_is_read_again(tp: Any, data: st.DataObject) -> None:
    value = data.draw(SCALARS[tp] | st.none())
    assert through_a_query(tp | None, {"it": value}) == value


@settings(max_examples=50)
@given(st.data())
@pytest.mark.parametrize("tp", SCALARS)
def test_a_list_that_was_written_is_read_again(tp: Any, data: st.DataObject) -> None:
    values = data.draw(st.lists(SCALARS[tp], min_size=1))
    assert through_a_query(list[tp], {"it": values}) == values
    assert through_a_query(tuple[tp, ...], {"it": values}) == tuple(values)
    assert through_a_query(set[tp], {"it": values}) == set(values)


@given(
    st.builds(
        Everything,
        share=SCALARS[float],
        moment=MOMENTS,
        price=SCALARS[Decimal],
        text=SCALARS[str],
    )
)
def test_a_struct_that_was_written_is_read_again(value: Everything) -> None:
    assert through_a_query(Everything, msgspec.structs.asdict(value)) == value
    assert through_a_query(Everything | None, msgspec.structs.asdict(value)) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()))
def test_a_dictionary_that_was_written_is_read_again(value: dict[str, int]) -> None:
    assert through_a_query(dict[str, int], value) == value


def test_what_is_no_number_is_read_as_such() -> None:
    assert math.isnan(converter(float)("nan"))
    assert converter(Decimal)("NaN").is_nan()


@given(st.text())
@pytest.mark.parametrize("tp", SCALARS)
def test_any_text_is_a_value_or_a_misfit(tp: Any, text: str) -> None:
    try:
        value = converter(tp)(text)
    except Misfit as misfit:
        [(field, message)] = misfit.problems
        assert field == ""
        assert message
    else:
        assert type(value) is tp


# Types


@pytest.mark.parametrize(
    "tp",
    [
        Opaque,
        type,
        Pair,
        InOrder,
        list[Opaque],
        list[list[int]],
        list[Alone],
        list[dict[str, int]],
        dict[str, Alone],
        dict[str, dict[str, int]],
        tuple[int, list[int]],
        int | list[int],
        list[int] | int | None,
        Annotated[list[Alone], Meta(min_length=1)],
        Model | int,
        list[Model],
        dict[str, Model],
    ],
)
def test_what_text_cannot_become_is_refused(tp: Any) -> None:
    with pytest.raises(TypeError) as caught:
        converter(tp, fields=fields_of(tp))
    assert str(caught.value) == f"{describe_type(tp)} cannot be read from text"


def test_a_field_that_text_cannot_become_is_named() -> None:
    with pytest.raises(TypeError) as caught:
        converter(Nested, fields=fields_of(Nested))
    assert str(caught.value) == "Nested cannot be read from text, its field 'inner' is Alone"


@pytest.mark.parametrize(
    ("tp", "text"),
    [
        (Fractions, "Fractions cannot be read from a request: Enums must contain"),
        (date | str, "date | str cannot be read from a request: Type unions may not contain"),
        (3, "3 cannot be read from a request: Type '3' is not supported"),
        (Annotated[int, Meta(min_length=3)], "int cannot be read from a request: Can only set"),
        (
            Annotated[Opaque, pydantic.Field(gt=3)],
            "Opaque cannot be read from a request: Unable to generate pydantic-core schema",
        ),
    ],
)
@pytest.mark.parametrize("text_only", [True, False])
def test_what_nothing_can_become_is_refused(tp: Any, text: str, text_only: bool) -> None:
    with pytest.raises(TypeError) as caught:
        converter(tp, text_only=text_only)
    assert str(caught.value).startswith(text)


def test_a_class_whose_fields_cannot_be_told_is_refused() -> None:
    class Local(Struct):
        field: Undefined  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(TypeError, match="Local cannot be read from a request: name 'Undefined'"):
        fields_of(Local)


def test_what_a_convertor_has_made_may_be_of_any_class() -> None:
    made = Opaque()
    assert converter(Opaque, text_only=False)(made) is made
    assert converter(list[int], text_only=False)([1]) == [1]
    with pytest.raises(Misfit) as caught:
        converter(Opaque, text_only=False)("text")
    assert caught.value.problems == (("", "Expected `Opaque`, got `str`"),)


def test_a_path_parameter_that_is_text_becomes_text() -> None:
    assert converter(str, text_only=False)(5) == "5"
    assert converter(str)("5") == "5"


@pytest.mark.parametrize("tp", [Any, object])
def test_what_may_be_anything_is_left_as_it_is(tp: Any) -> None:
    made = Opaque()
    assert converter(tp)(made) is made


@pytest.mark.row("T63")
@pytest.mark.parametrize(
    ("tp", "many"),
    [
        (int, False),
        (str, False),
        (bytes, False),
        (Any, False),
        (list, True),
        (list[int], True),
        (set[int] | None, True),
        (frozenset[int], True),
        (tuple[int, ...], True),
        (Annotated[list[int] | None, Meta(title="t")], True),
        (Sequence[int], True),
        (AbstractSet[int], True),
        (Collection[int], True),
        (NotRequired[list[int]], True),
        (list[int] | set[int], False),
        (int | None, False),
        (dict, False),
        (dict[str, int], False),
        (dict[str, list[int]], True),
        (Mapping[str, list[int]], True),
        (Alone, False),
    ],
)
def test_a_type_takes_many_values_or_one(tp: Any, many: bool) -> None:
    assert is_many(tp) is many


@pytest.mark.parametrize(
    "tp", [int, str, Any, list[int], int | None, Colour, Pair, InOrder, Literal["a"], 3, Opaque]
)
def test_a_type_for_one_value_has_no_fields(tp: Any) -> None:
    assert fields_of(tp) is None


@pytest.mark.parametrize("tp", [dict, dict[str, int], dict[str, int] | None, Mapping[str, str]])
def test_a_dictionary_takes_all_names(tp: Any) -> None:
    assert fields_of(tp) == []


@pytest.mark.parametrize(
    ("tp", "fields"),
    [
        (Alone, [Field("it", False, int, True, False)]),
        (Annotated[Alone, "x"] | None, [Field("it", False, int, True, False)]),
        (Generated[int], [Field("items", True, list[int], True, False)]),
        (
            Range,
            [
                Field("start", False, int, True, False),
                Field("steps", True, list[int], False, False),
            ],
        ),
        (
            Page,
            [
                Field("number", False, int, True, False),
                Field("sizes", True, list[int], False, False),
                Field("order", False, str, True, False),
            ],
        ),
        (
            Model,
            [
                Field("plain", False, int, True, False),
                Field("ids", True, list[int], True, True),
                Field("many", True, list[int], True, False),
                Field("o", False, str, False, True),
                Field("O", False, str, False, True),
                Field("other", False, str, False, False),
            ],
        ),
    ],
)
def test_a_type_has_the_fields_that_are_asked_for(tp: Any, fields: list[Field]) -> None:
    found = fields_of(tp)
    assert found is not None
    assert sorted(found, key=lambda f: f.name) == sorted(fields, key=lambda f: f.name)


@pytest.mark.parametrize(
    ("tp", "text"),
    [
        (int, "int"),
        (None, "None"),
        (type(None), "None"),
        (Any, "Any"),
        (int | None, "int | None"),
        (list[int], "list[int]"),
        (dict[str, list[int] | None], "dict[str, list[int] | None]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Sequence[Colour], "Sequence[Colour]"),
        (Annotated[int, Meta(ge=3)], "int"),
        (list[Annotated[int, Meta(ge=3)]], "list[int]"),
        (Literal["secret"], "Literal"),
        (Literal["secret"] | None, "Literal | None"),
        (Generated[int], "Generated[int]"),
        (T, "T"),
        (3, "3"),
    ],
)
def test_a_type_is_described_without_what_it_allows(tp: Any, text: str) -> None:
    assert describe_type(tp) == text


def test_without_pydantic_its_models_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pydantic")
    assert converter(Annotated[int, Meta(ge=0)])("5") == 5
    assert fields_of(Alone) is not None


# What does not fit


@pytest.mark.parametrize(
    ("tp", "value", "problems"),
    [
        (int, "x", [("", "Expected `int`, got `str`")]),
        (int, "\udc80", [("", "Invalid Unicode")]),
        (list[int], ["1", "x"], [("", "Expected `int`, got `str`")]),
        (Alone, {}, [("it", "required")]),
        (Alone, {"it": "\udc80"}, [("it", "Invalid Unicode")]),
        (Range, {"steps": ["x"]}, [("start", "required"), ("steps", "Expected `int`, got `str`")]),
        (dict[str, int], {"$.a[0]": "x"}, [("$.a[0]", "Expected `int`, got `str`")]),
        (
            dict[str, int],
            {str(n): "x" for n in range(99)},
            [(str(n), "Expected `int`, got `str`") for n in range(20)],
        ),
        (
            Annotated[dict[str, int], Meta(max_length=1)],
            {"a": "1", "b": "2"},
            [("", "Expected `object` of length <= 1")],
        ),
        (Model, {"o": "x", "ids": ["1", "x"]}, [("plain", "required"), ("ids", None)]),
        (list[pydantic.PositiveInt], ["0"], [("", "Input should be greater than 0")]),
    ],
)
def test_a_misfit_names_what_does_not_fit(
    tp: Any, value: Any, problems: list[tuple[str, str | None]]
) -> None:
    with pytest.raises(Misfit) as caught:
        converter(tp, fields=fields_of(tp))(value)
    assert [field for field, _ in caught.value.problems] == [field for field, _ in problems]
    for (_, message), (_, expected) in zip(caught.value.problems, problems, strict=True):
        assert expected in (None, message)
