"""One type of every kind that messages can be read as, and values of them beside their plain form.

`VALID` and `INVALID` are tables for all codecs: a type, what the message holds, and the value, or
the path of what is wrong.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pydantic.dataclasses

T = TypeVar("T")


class Point(msgspec.Struct):
    x: int
    y: float = 0.0


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    known: int = 0


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    name: str


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)


class Mark(TypedDict):
    label: str
    at: Point


class Couple(NamedTuple):
    one: int
    other: str


@attrs.define
class Box:
    width: int


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 2


class User(pydantic.BaseModel):
    name: str
    born: dt.date | None = None
    friends: list[User] = []


class Guest(pydantic.BaseModel):
    seat: int


class Aliased(pydantic.BaseModel):
    first: int = pydantic.Field(alias="1st")


class Network(pydantic.BaseModel):
    address: IPv4Address
    home: PurePosixPath = PurePosixPath("/")


class ByKind(pydantic.BaseModel):
    kind: Literal["by"]


class OfKind(pydantic.BaseModel):
    kind: Literal["of"]


@pydantic.dataclasses.dataclass
class Room:
    number: int
    guest: Guest | None = None


@dataclass
class Table:
    guests: list[Guest]


@dataclass
class Unresolved:
    value: Nowhere  # type: ignore[name-defined]  # noqa: F821


class UnresolvedModel(pydantic.BaseModel):
    value: Nowhere  # type: ignore[name-defined]  # noqa: F821


class Untagged(msgspec.Struct):
    a: int


class Mixed(msgspec.Struct):
    guest: Guest


class Colour:
    """A type that no library knows."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Colour) and other.name == self.name

    __hash__ = None  # type: ignore[assignment]


MOMENT: Final = dt.datetime(2025, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
ID: Final = uuid.UUID(int=7)
Even = Annotated[int, msgspec.Meta(multiple_of=2)]
Tagged = Annotated[ByKind | OfKind, pydantic.Field(discriminator="kind")]

VALID: list[tuple[Any, Any, Any]] = [
    (Any, {"a": [1, None, True, 1.5, "é"]}, {"a": [1, None, True, 1.5, "é"]}),
    (int, -42, -42),
    (bool, True, True),
    (dict, {"a": {"b": []}}, {"a": {"b": []}}),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (float, 1.5, 1.5),
    (float, 1, 1.0),
    (list, [1, "a"], [1, "a"]),
    (list[int], [1, 2], [1, 2]),
    (tuple[int, str], [1, "a"], (1, "a")),
    (set[int], [1, 1], {1}),
    (type(None), None, None),
    (None, None, None),
    (int | None, None, None),
    (int | None, 5, 5),
    (int | str, "5", "5"),
    (Even, 4, 4),
    (Literal["a", 1], 1, 1),
    (Color, "red", Color.RED),
    (Level, 2, Level.HIGH),
    (Point, {"x": 1}, Point(1)),
    (Point, {"x": 1, "y": 2, "z": 3}, Point(1, 2.0)),
    (Page[Point], {"items": [{"x": 1}]}, Page([Point(1)])),
    (Renamed, {"firstName": "a"}, Renamed("a")),
    (Cat | Dog, {"type": "dog", "name": "a"}, Dog("a")),
    (list[Cat | Dog | None], [{"type": "cat", "lives": 9}, None], [Cat(9), None]),
    (Node, {"name": "a", "children": [{"name": "b"}]}, Node("a", [Node("b")])),
    (Mark, {"label": "a", "at": {"x": 1}}, {"label": "a", "at": Point(1)}),
    (Couple, [1, "a"], Couple(1, "a")),
    (Box, {"width": 1}, Box(1)),
    (dt.datetime, "2025-01-02T03:04:05Z", MOMENT),
    (dt.date, "2025-01-02", dt.date(2025, 1, 2)),
    (dt.time, "03:04:05", dt.time(3, 4, 5)),
    (dt.timedelta, "PT90S", dt.timedelta(seconds=90)),
    (Decimal, "1.50", Decimal("1.50")),
    (uuid.UUID, str(ID), ID),
    (User, {"name": "a", "born": "2025-01-02"}, User(name="a", born=dt.date(2025, 1, 2))),
    (User, {"name": "a", "friends": [{"name": "b"}]}, User(name="a", friends=[User(name="b")])),
    (list[User], [{"name": "a"}], [User(name="a")]),
    (User | Guest, {"seat": 1}, Guest(seat=1)),
    (User | None, None, None),
    (Tagged, {"kind": "of"}, OfKind(kind="of")),
    (Aliased, {"1st": 1}, Aliased.model_validate({"1st": 1})),
    (Room, {"number": 1, "guest": {"seat": 2}}, Room(1, Guest(seat=2))),
    (Table, {"guests": [{"seat": 2}]}, Table([Guest(seat=2)])),
    (IPv4Address, "127.0.0.1", IPv4Address("127.0.0.1")),
    (pydantic.PositiveInt, 1, 1),
]

INVALID: list[tuple[Any, Any, str]] = [
    (float, "1.5", "$"),
    (list, {}, "$"),
    (list[int], [1, "a"], "$[1]"),
    (dict[str, int], {"a": "b"}, "$[...]"),
    (tuple[int, str], [1], "$"),
    (set[int], [[]], "$[0]"),
    (type(None), 0, "$"),
    (int | None, "5", "$"),
    (Even, 3, "$"),
    (Literal["a", 1], "b", "$"),
    (Color, "blue", "$"),
    (Level, 3, "$"),
    (Point, {}, "$"),
    (Point, {"x": "1"}, "$.x"),
    (Page[Point], {"items": [{"x": 1}, {"x": None}]}, "$.items[1].x"),
    (Cat | Dog, {"type": "bird"}, "$.type"),
    (Cat | Dog, {"name": "a"}, "$"),
    (Node, {"name": "a", "children": [{"name": 1}]}, "$.children[0].name"),
    (Mark, {"label": "a", "at": {"x": []}}, "$.at.x"),
    (Couple, [1, 2], "$[1]"),
    (Box, {"width": None}, "$.width"),
    (dt.datetime, "yesterday", "$"),
    (dt.date, "2025-02-30", "$"),
    (Decimal, "x", "$"),
    (uuid.UUID, "x", "$"),
    (User, {"name": 1}, "$.name"),
    (User, {}, "$.name"),
    (User, [], "$"),
    (User, {"name": "a", "friends": [{"name": "b", "born": "x"}]}, "$.friends[0].born"),
    (list[User], [{"name": "a"}, {}], "$[1].name"),
    (Tagged, {"kind": "x"}, "$"),
    (Aliased, {"first": 1}, "$.1st"),
    (Room, {"number": "x"}, "$.number"),
    (Table, {"guests": [{}]}, "$.guests[0].seat"),
    (IPv4Address, "x", "$"),
    (pydantic.PositiveInt, 0, "$"),
    (list[pydantic.PositiveInt], [1, 0], "$[1]"),
]

UNREADABLE: list[Any] = [
    5,
    "Nowhere",
    [],
    print,
    lambda: None,
    Colour,
    list[Colour],
    Point | Untagged,
    Point | dict,
    Point | Guest,
    Mixed,
    Unresolved,
    UnresolvedModel,
    Generic,
]
"""Types of which nobody can make values."""


def label(value: object) -> str:
    """Return the name of a case, the same one in every process."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


UNSENDABLE: list[Any] = [
    object(),
    Colour("red"),
    1j,
    range(3),
    iter([1]),
    ...,
    print,
    int,
    Point,
    Guest,
    [object()],
    {"a": {"b": Colour("red")}},
    Page([object()]),
    msgspec.UNSET,
]
"""Values that no codec can express."""
