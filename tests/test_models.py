"""Which library reads a type, with pydantic installed and without."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from shapes import (
    UNREADABLE,
    Aliased,
    Cat,
    Colour,
    Dog,
    Guest,
    Mark,
    Mixed,
    Network,
    Node,
    Page,
    Point,
    Room,
    Table,
    Tagged,
    Unresolved,
    UnresolvedModel,
    User,
    label,
)
from telex._models import (
    describe,
    is_model,
    model_json_reader,
    model_problems,
    model_reader,
    plain_model,
    plain_value,
    reader_of,
)

MSGSPEC: list[Any] = [
    Any,
    int,
    list[Point],
    Page[Point],
    Cat | Dog | None,
    Node,
    Mark,
    Annotated[int, msgspec.Meta(gt=0)],
    Annotated[int, "a note"],
]

PYDANTIC: list[Any] = [
    User,
    list[User],
    User | Guest,
    dict[str, User | None],
    Tagged,
    Room,
    Table,
    pydantic.PositiveInt,
    list[pydantic.PositiveInt],
    Annotated[int, pydantic.Field(gt=0)],
    pydantic.SecretStr,
    pydantic.HttpUrl,
    complex,
]


@pytest.fixture
def no_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)


# --- reading ---


@pytest.mark.parametrize("tp", MSGSPEC, ids=label)
@pytest.mark.parametrize("own_types", [False, True])
def test_msgspec_reads_what_it_knows(tp: Any, own_types: bool) -> None:
    assert reader_of(tp, own_types=own_types) == "msgspec"


@pytest.mark.usefixtures("no_pydantic")
@pytest.mark.parametrize("tp", MSGSPEC, ids=label)
def test_for_that_pydantic_is_not_needed(tp: Any) -> None:
    assert reader_of(tp, own_types=False) == "msgspec"


@pytest.mark.parametrize("tp", PYDANTIC, ids=label)
def test_pydantic_reads_its_models_and_what_else_it_knows(tp: Any) -> None:
    assert reader_of(tp, own_types=False) == "pydantic"


@pytest.mark.parametrize(("tp", "library"), [(Colour, "msgspec"), (User, "pydantic")])
def test_with_a_hook_unknown_types_go_to_msgspec_but_no_models(tp: Any, library: str) -> None:
    assert reader_of(tp, own_types=True) == library
    assert reader_of(list[tp], own_types=True) == library


@pytest.mark.parametrize("tp", [User | Guest, Tagged, pydantic.PositiveInt])
def test_with_a_hook_what_only_pydantic_understands_is_left_to_it(tp: Any) -> None:
    assert reader_of(tp, own_types=True) == "pydantic"


@pytest.mark.row("C29")
@pytest.mark.usefixtures("no_pydantic")
@pytest.mark.parametrize("tp", [*PYDANTIC, *UNREADABLE], ids=label)
def test_without_pydantic_the_rest_is_a_type_error(tp: Any) -> None:
    with pytest.raises(TypeError, match="cannot read messages as"):
        reader_of(tp, own_types=False)


@pytest.mark.usefixtures("no_pydantic")
@pytest.mark.parametrize(
    ("tp", "name"), [(list[User], "User"), (Table, "Guest"), (pydantic.PositiveInt, "Gt")]
)
def test_without_pydantic_the_error_says_for_what_it_is_needed(tp: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"does not know {name}, and pydantic is not installed"):
        reader_of(tp, own_types=False)


@pytest.mark.row("C29")
@pytest.mark.parametrize(
    ("tp", "reason"),
    [
        (print, "it is a function"),
        (Unresolved, "'Nowhere' is not defined"),
        (UnresolvedModel, "'Nowhere' is not defined"),
        (Point | dict, "more than one dict-like type"),
        (Mixed, "neither msgspec nor pydantic knows it"),
    ],
    ids=label,
)
def test_a_type_error_says_why(tp: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        reader_of(tp, own_types=False)


class Later(pydantic.BaseModel):
    after: Defined


class Defined(pydantic.BaseModel):
    n: int


def test_a_model_that_was_defined_before_its_parts_is_read() -> None:
    assert reader_of(Later, own_types=False) == "pydantic"
    assert model_reader(Later)({"after": {"n": "1"}}) == Later(after=Defined(n=1))


def test_models_are_read_from_json_and_from_plain_values() -> None:
    for data in ('{"seat":1}', b'{"seat":1}'):
        assert model_json_reader(Guest)(data) == Guest(seat=1)
    assert model_reader(list[Guest])([{"seat": "1"}]) == [Guest(seat=1)]


# --- what is wrong ---


def problems(tp: Any, data: str) -> Any:
    with pytest.raises(ValueError) as raised:
        model_json_reader(tp)(data)
    return model_problems(raised.value)


def test_problems_have_paths_and_say_whether_it_was_json() -> None:
    found, malformed = problems(list[User], '[{"name":"a"},{"friends":[{}]}]')
    assert [each["path"] for each in found] == ["$[1].name", "$[1].friends[0].name"]
    assert found[0]["message"] == "Field required"
    assert not malformed
    found, malformed = problems(User, "{")
    assert [each["path"] for each in found] == ["$"]
    assert malformed


def test_a_hundred_problems_are_told_and_more_are_counted() -> None:
    found, malformed = problems(list[Guest], "[" + "{}," * 99 + "{}]")
    assert len(found) == 100
    found, malformed = problems(list[Guest], "[" + "{}," * 100 + "{}]")
    assert found == [{"path": "$", "message": "101 things do not fit"}]
    assert not malformed


def test_other_errors_are_not_its_own() -> None:
    assert model_problems(ValueError("x")) is None
    assert model_problems(pydantic.errors.PydanticUserError("x", code=None)) is None


class Careful(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        if name != "known":
            raise ValueError("nobody knows them")
        return name


def test_what_a_validator_says_reaches_the_reader() -> None:
    found, _ = problems(Careful, '{"name":"x"}')
    assert found == [{"path": "$.name", "message": "Value error, nobody knows them"}]


# --- writing ---


def test_models_are_told_from_other_values() -> None:
    assert is_model(Guest(seat=1))
    assert is_model(pydantic.RootModel[int](1))
    for value in (Guest, Room(1), Point(1), 1, None):
        assert not is_model(value)


def test_models_are_written_by_the_names_they_are_read_by() -> None:
    assert plain_model(Aliased.model_validate({"1st": 1}), "json") == {"1st": 1}
    assert plain_model(pydantic.RootModel[list[int]]([1]), "python") == [1]


def test_json_has_more_to_be_said_in_strings() -> None:
    network = Network.model_validate({"address": "127.0.0.1"})
    assert plain_model(network, "json") == {"address": "127.0.0.1", "home": "/"}
    assert plain_model(network, "python") == {"address": network.address, "home": network.home}


def test_what_pydantic_knows_can_be_written() -> None:
    network = Network.model_validate({"address": "127.0.0.1"})
    assert plain_value(network.address) == "127.0.0.1"
    assert plain_value(pydantic.HttpUrl("http://a.example")) == "http://a.example/"


def test_a_secret_stays_one() -> None:
    assert "hidden" not in plain_value(pydantic.SecretStr("hidden"))


@pytest.mark.row("C29")
@pytest.mark.parametrize("value", [object(), Colour("red"), 1j, (1, 2), [1], {1: 2}, len])
def test_what_nobody_knows_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=f"of type {type(value).__name__} cannot be sent"):
        plain_value(value)


@pytest.mark.usefixtures("no_pydantic")
def test_without_pydantic_there_is_nobody_to_ask() -> None:
    with pytest.raises(TypeError, match="IPv4Address cannot be sent"):
        plain_value(Network.model_validate({"address": "127.0.0.1"}).address)


# --- names and imports ---


@pytest.mark.parametrize(
    ("tp", "name"), [(Point, "Point"), (int | None, "int | None"), (list[int], "list[int]")]
)
def test_types_are_named_as_in_annotations(tp: Any, name: str) -> None:
    assert describe(tp) == name


USES = """
import sys
from dataclasses import dataclass

import telex
from telex.codecs import JSON, MessagePack

@dataclass
class Point:
    x: int

for codec in (JSON(), MessagePack()):
    assert codec.decoder(Point)(codec.encode(Point(1))) == Point(1)
print(*sys.modules, sep="\\n")
"""


@pytest.mark.integration
def test_neither_pydantic_nor_tytx_is_imported_before_it_is_needed() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", USES],
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert {"pydantic", "pydantic_core", "genro_tytx"}.isdisjoint(result.stdout.splitlines())
