"""What a callable declares; annotations in this module are text."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeVar

import pytest
from typing_extensions import TypeAliasType

from telex import Cookie, Depends, Header, Path, Query
from telex.binding._signature import EMPTY, UNKNOWN, Declared, declared, describe, innermost
from telex.params import Param

if TYPE_CHECKING:
    import nowhere  # type: ignore[import-not-found]
    from nowhere import Marker, Missing, maker

T = TypeVar("T")
Number = TypeAliasType("Number", Annotated[int, Query(3)])
NAME = ""
BELONGS = "it belongs around all of it"


def dependency() -> int:
    return 3


def one(fn: Callable[..., Any]) -> Declared:
    [it] = declared(fn)
    return it


def typed(hint: Any, default: Any = EMPTY) -> Callable[..., Any]:
    """Return a function whose parameter has an annotation that is evaluated already."""

    def function(it: Any) -> None: ...

    function.__annotations__["it"] = hint
    if default is not EMPTY:
        function.__defaults__ = (default,)
    return function


def error_of(fn: Callable[..., Any]) -> str:
    with pytest.raises(TypeError) as caught:
        declared(fn)
    text = str(caught.value)
    prefix = f"{describe(fn)}: parameter 'it'"
    assert text.startswith(prefix)
    return text.removeprefix(prefix)


# Parameters


@pytest.mark.row("T74")
def test_parameters_have_type_marker_and_default() -> None:
    def function(
        a: int,
        /,
        b: Annotated[int, Query()],
        c: Annotated[str, "doc", Header("h"), 5] = "d",
        *args: int,
        d: Annotated[int, Depends(dependency)],
        e: None = None,
        **kwargs: int,
    ) -> None: ...

    assert declared(function) == [
        Declared("a", int, None, EMPTY, True),
        Declared("b", int, Query(), EMPTY, False),
        Declared("c", Annotated[str, "doc", 5], Header("h"), "d", False),
        Declared("d", int, Depends(dependency), EMPTY, False),
        Declared("e", type(None), None, None, False),
    ]


def test_a_parameter_may_have_no_annotation() -> None:
    def function(it, other=3):  # type: ignore[no-untyped-def]
        ...

    assert [(each.hint, each.unclear) for each in declared(function)] == [(UNKNOWN, None)] * 2


@pytest.mark.parametrize("marker", [Query, Path, Header, Cookie, Depends])
def test_the_class_of_a_marker_is_a_marker(marker: Any) -> None:
    assert one(typed(Annotated[int, marker])).marker == marker()


def test_a_name_for_a_type_is_looked_through() -> None:
    def function(it: Number) -> None: ...

    assert one(function) == Declared("it", int, Query(3), EMPTY, False)


def test_markers_of_annotated_in_annotated_are_found() -> None:
    assert one(typed(Annotated[Annotated[int, Query()], "doc"])).marker == Query()


@pytest.mark.row("T74")
def test_a_partial_object_leaves_out_what_it_has_filled() -> None:
    def function(a: int, b: int, c: int = 3) -> None: ...

    def names(fn: Callable[..., Any]) -> list[str]:
        return [each.name for each in declared(fn)]

    assert names(functools.partial(function, 1)) == ["b", "c"]
    assert names(functools.partial(function, b=1)) == ["a", "c"]
    assert names(functools.partial(functools.partial(function, c=1), 1)) == ["b"]


@dataclasses.dataclass
class Base:
    it: Annotated[int, Query()]


class WithNew:
    def __new__(cls, it: Annotated[int, Query()]) -> Self:
        return super().__new__(cls)


class WithInit:
    def __init__(self, it: Annotated[int, Query()]) -> None: ...

    def method(self, it: Annotated[int, Query()]) -> None: ...

    def __call__(self, it: Annotated[int, Query()]) -> None: ...


class Typed(Generic[T]):
    def __init__(self, it: Annotated[int, Query()]) -> None: ...


@functools.lru_cache
def cached(it: Annotated[int, Query()]) -> None: ...


@functools.wraps(cached)
def wrapped(*args: Any) -> None: ...


def elsewhere(base: type) -> type:
    """Return a subclass that was made in a module that has none of the names used here."""
    module = types.ModuleType("elsewhere")
    code = "import dataclasses\n@dataclasses.dataclass\nclass Derived(Base): pass"
    vars(module)["Base"] = base
    exec(code, vars(module))
    derived: type = module.Derived
    return derived


@pytest.mark.row("T74", "T47")
@pytest.mark.parametrize(
    "fn",
    [
        Base,
        WithNew,
        WithInit,
        Typed,
        WithInit(1).method,
        WithInit(1),
        functools.partial(WithInit),
        cached,
        wrapped,
        type("Derived", (WithInit,), {"__module__": "json"}),
        type("Derived", (Base,), {"__module__": "not.loaded"}),
        elsewhere(Base),
    ],
)
def test_annotations_are_read_where_they_were_written(fn: Callable[..., Any]) -> None:
    assert one(fn) == Declared("it", int, Query(), EMPTY, False)


def test_a_class_without_constructor_has_no_parameters() -> None:
    assert declared(type("Empty", (), {})) == []


# Names that only the type checker knows


@pytest.mark.row("T74")
def test_a_name_that_is_not_there_spoils_its_own_parameter_alone() -> None:
    def function(it: Missing | None, other: int, last: list[nowhere.Missing[int]]) -> Missing: ...

    text = "name 'Missing' is not defined"
    assert declared(function) == [
        Declared("it", UNKNOWN, None, EMPTY, False, text),
        Declared("other", int, None, EMPTY, False),
        Declared("last", UNKNOWN, None, EMPTY, False, "name 'nowhere' is not defined"),
    ]


@pytest.mark.row("T74")
def test_a_type_that_is_not_there_does_not_hide_a_marker() -> None:
    def function(it: Annotated[dict[Missing, nowhere.x.Y] | None, Depends(dependency)]) -> None: ...

    declaration = one(function)
    assert (declaration.hint, declaration.marker) == (UNKNOWN, Depends(dependency))
    assert declaration.unclear == "name 'nowhere' is not defined"


def test_a_marker_that_is_not_there_is_an_error_even_with_a_default() -> None:
    def by_call(it: Annotated[int, Marker()] = 3) -> None: ...
    def by_class(it: Annotated[int, Marker] = 3) -> None: ...
    def by_function(it: Annotated[int, Depends(maker)]) -> None: ...

    assert error_of(by_call) == ": name 'Marker' is not defined"
    assert error_of(by_class) == ": name 'Marker' is not defined"
    assert error_of(by_function) == ": name 'maker' is not defined"


# What is wrong


def test_an_annotation_that_cannot_be_evaluated_is_an_error() -> None:
    def bad_marker(it: Annotated[int, Query(alias=NAME)] = 3) -> None: ...
    def bad_syntax(it: "list[") -> None: ...  # type: ignore[valid-type] # noqa: F722
    def bad_attribute(it: functools.nothing) -> None: ...  # type: ignore[name-defined]

    assert error_of(bad_marker) == ": Query(alias=) must be a name, got ''"
    assert "Forward reference must be an expression" in error_of(bad_syntax)
    assert error_of(bad_attribute) == ": module 'functools' has no attribute 'nothing'"


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (
            typed(Annotated[int, Query(), Header]),
            " has 2 markers, Query() and Header(); one is enough",
        ),
        (
            typed(Annotated[int, Query(), Depends(dependency), Query()]),
            " has 3 markers, Query() and Depends() and Query(); one is enough",
        ),
        (typed(int, Query(3)), ": Query() is no default; annotate it: Annotated[..., Query()]"),
        (typed(int, Depends), ": Depends() is no default; annotate it: Annotated[..., Depends()]"),
        (
            typed(Annotated[int, Query()] | None, None),
            " has Query() inside of its type; it belongs around all of it: Annotated[..., Query()]",
        ),
        (
            typed(list[Annotated[int, "doc", Header]]),
            f" has Header() inside of its type; {BELONGS}: Annotated[..., Header()]",
        ),
        (
            typed(Annotated[list[Annotated[int, Depends()]], Query()]),
            f" has Depends() inside of its type; {BELONGS}: Annotated[..., Depends()]",
        ),
        (
            typed(Annotated[int, Param]),
            ": Param does not say where; use Query, Path, Header or Cookie",
        ),
    ],
)
def test_markers_in_the_wrong_place_are_told(fn: Callable[..., Any], text: str) -> None:
    assert error_of(fn) == text


def test_a_signature_that_cannot_be_read_is_told() -> None:
    with pytest.raises(TypeError, match=r"^builtins\.int: its signature cannot be read: "):
        declared(int)


def test_a_callable_is_described_by_module_and_name() -> None:
    assert describe(dependency) == f"{__name__}.dependency"
    assert describe(functools.partial(functools.partial(dependency))) == describe(dependency)
    assert describe(WithInit) == f"{__name__}.WithInit"
    assert describe(WithInit(1)) == f"{__name__}.WithInit"
    assert describe(WithInit(1).method) == f"{__name__}.WithInit.method"
    assert innermost(functools.partial(functools.partial(dependency))) is dependency


class Lazy:
    """A name for a type as Python 3.12 has it: evaluated late, where it was written."""

    @property
    def __value__(self) -> Any:
        raise NameError("name 'Missing' is not defined", name="Missing")


def test_a_name_for_a_type_that_is_not_there_is_an_error() -> None:
    assert error_of(typed(Lazy())) == ": name 'Missing' is not defined"
