"""Where the raw values of a request are found."""

from __future__ import annotations

from typing import Any

import pytest

from telex.binding._coerce import Field
from telex.binding._sources import ABSENT, outside, taker
from telex.connection import Connection
from telex.params import Where


def connection() -> Connection:
    return Connection(
        {
            "type": "websocket",
            "query_string": b"a=1&b=2&a=3&c=",
            "headers": [
                (b"a", b"1"),
                (b"B-b", b"2"),
                (b"A", b"3"),
                (b"b_b", b"4"),
                (b"cookie", b"a=1; b=2; a=3; c="),
            ],
            "path_params": {"a": 1, "b": [2]},
        }
    )


def field(name: str, *, many: bool = False, renamed: bool = False) -> Field:
    return Field(name, many, Any, False, renamed)


@pytest.mark.row("T63", "C41")
@pytest.mark.parametrize(
    ("where", "key", "one", "many"),
    [
        ("query", "a", "1", ["1", "3"]),
        ("query", "b", "2", ["2"]),
        ("query", "c", "", [""]),
        ("query", "A", ABSENT, ABSENT),
        ("header", "a", "1", ["1", "3"]),
        ("header", "B-B", "2", ["2"]),
        ("header", "b_b", "4", ["4"]),
        ("header", "c", ABSENT, ABSENT),
        # The last of several cookies counts, as everywhere.
        ("cookie", "a", "3", ["3"]),
        ("cookie", "c", "", [""]),
        ("cookie", "A", ABSENT, ABSENT),
        # What a convertor has made is left as it is.
        ("path", "a", 1, 1),
        ("path", "b", [2], [2]),
        ("path", "c", ABSENT, ABSENT),
    ],
)
def test_a_value_is_taken_alone_or_as_a_list(where: Where, key: str, one: Any, many: Any) -> None:
    assert taker(where, key, many=False, fields=None)(connection()) == one
    assert taker(where, key, many=True, fields=None)(connection()) == many


@pytest.mark.parametrize(
    ("where", "fields", "expected"),
    [
        ("query", [field("a"), field("c"), field("d")], {"a": "1", "c": ""}),
        ("query", [field("a", many=True), field("b")], {"a": ["1", "3"], "b": "2"}),
        ("header", [field("a", many=True), field("b_b")], {"a": ["1", "3"], "b_b": "2"}),
        ("header", [field("b_b", renamed=True)], {"b_b": "4"}),
        ("cookie", [field("a", many=True), field("b")], {"a": ["3"], "b": "2"}),
        ("path", [field("a"), field("b", many=True)], {"a": 1, "b": [2]}),
    ],
)
def test_a_dictionary_has_the_fields_that_there_are(
    where: Where, fields: list[Field], expected: Any
) -> None:
    assert taker(where, "it", many=False, fields=fields)(connection()) == expected


@pytest.mark.parametrize(
    ("where", "one", "many"),
    [
        ("query", {"a": "1", "b": "2", "c": ""}, {"a": ["1", "3"], "b": ["2"], "c": [""]}),
        ("cookie", {"a": "3", "b": "2", "c": ""}, {"a": ["3"], "b": ["2"], "c": [""]}),
        ("path", {"a": 1, "b": [2]}, {"a": 1, "b": [2]}),
    ],
)
def test_a_dictionary_has_everything(where: Where, one: Any, many: Any) -> None:
    assert taker(where, "it", many=False, fields=[])(connection()) == one
    assert taker(where, "it", many=True, fields=[])(connection()) == many


def test_a_dictionary_of_headers_has_their_names_in_lower_case() -> None:
    found = taker("header", "it", many=False, fields=[])(connection())
    assert [*found] == ["a", "b-b", "b_b", "cookie"]


@pytest.mark.parametrize("where", ["query", "header", "cookie", "path"])
@pytest.mark.parametrize("fields", [[], [field("a")]])
def test_an_empty_dictionary_is_absent_where_there_is_a_default(
    where: Where, fields: list[Field]
) -> None:
    nothing = Connection({"type": "websocket"})
    assert taker(where, "it", many=False, fields=fields)(nothing) == {}
    assert taker(where, "it", many=False, fields=fields, required=False)(nothing) is ABSENT
    assert taker(where, "it", many=False, fields=fields, required=False)(connection())


def test_only_the_names_of_headers_have_hyphens() -> None:
    assert outside("header", "user_agent_1") == "user-agent-1"
    assert {outside(where, "a_b") for where in ("query", "cookie", "path")} == {"a_b"}
