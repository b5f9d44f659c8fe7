"""The markers in `Annotated`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

import telex
from telex import Cookie, Depends, Header, Path, Query
from telex.params import Param

MARKERS = [Query, Path, Header, Cookie]


@pytest.mark.row("K50")
@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_is_exported_and_made_without_arguments(marker: Callable[..., Param]) -> None:
    made = marker()
    assert (made.default, made.alias, made.default_factory) == (..., None, None)
    assert getattr(telex, type(made).__name__) is marker


def test_a_marker_says_where_and_whether_it_is_secret() -> None:
    assert [(each.where, each.secret) for each in MARKERS] == [
        ("query", False),
        ("path", False),
        ("header", True),
        ("cookie", True),
    ]


@pytest.mark.row("K50")
@pytest.mark.parametrize("marker", MARKERS)
def test_a_default_is_given_by_position_or_by_name(marker: Callable[..., Param]) -> None:
    assert marker(3) == marker(default=3)
    assert marker(...) == marker()
    assert marker(None).default is None


@pytest.mark.parametrize("marker", MARKERS)
def test_markers_do_not_change_and_equal_those_of_their_kind(marker: Callable[..., Any]) -> None:
    made = marker(3, alias="a")
    assert made == marker(3, alias="a")
    assert made != marker(3, alias="b")
    assert [made == each(3, alias="a") for each in MARKERS].count(True) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.alias = "b"
    with pytest.raises((AttributeError, TypeError)):
        made.extra = 1


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"default_factory": 3}, "{}(default_factory=) must be callable, got 3"),
        (
            {"default": 3, "default_factory": list},
            "{} takes a default or a default_factory, not both",
        ),
        (
            {"default": None, "default_factory": list},
            "{} takes a default or a default_factory, not both",
        ),
        ({"alias": ""}, "{}(alias=) must be a name, got ''"),
        ({"alias": 3}, "{}(alias=) must be a name, got 3"),
    ],
)
def test_a_marker_that_makes_no_sense_is_refused(
    marker: Callable[..., Param], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(TypeError) as caught:
        marker(**options)
    assert str(caught.value) == text.format(marker.__name__)


def test_what_markers_have_in_common_is_none_itself() -> None:
    with pytest.raises(TypeError) as caught:
        Param()
    assert str(caught.value) == "Param does not say where; use Query, Path, Header or Cookie"


def test_a_dependency_is_shared_for_the_connection_unless_said_otherwise() -> None:
    made = Depends(print)
    assert (made.use_cache, made.scope, made.thread) == (True, "connection", False)
    assert Depends().dependency is None
    assert Depends(print) == Depends(dependency=print)
    assert hash(Depends(print)) == hash(Depends(print))


def test_a_dependency_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        Depends("print")  # type: ignore[arg-type]
    assert str(caught.value) == "Depends() takes something to call, got 'print'"


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        Depends(print, scope="request")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "Depends(scope=) must be one of 'connection', 'handshake', 'message', not 'request'"
    )
