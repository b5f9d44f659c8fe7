"""What a callable declares: its parameters with their hints, whatever kind of callable it is.

Functions, bound methods, partial objects, classes, objects with `__call__`, wrappers made with
`functools.wraps`; annotations as objects or as text.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin, get_type_hints

from telex.params import Depends, Param

UNKNOWN: Final = object()
"""The hint of a parameter without annotation, or with one that cannot be told."""

_FRAMEWORKS: Final = frozenset({"fastapi", "litestar", "lilya", "kui"})
_MARKERS: Final = frozenset(
    {"Depends", "Security", "Query", "Path", "Header", "Cookie", "Body", "Form", "File"}
    | {"Provide", "Provides", "Parameter", "ParameterKwarg", "Dependency", "DependencyKwarg"}
)
"""Whose markers are taken for Telex's by mistake, and their names."""

EMPTY: Final = inspect.Parameter.empty


class Declared(NamedTuple):
    """One parameter.

    Attributes:
        name: Its name.
        hint: Its type without our markers, `UNKNOWN` without one.
        marker: What `Annotated` says about where it comes from, else `None`.
        default: Its default, `EMPTY` without one.
        positional: Whether it can be given by position only.
        unclear: Why its type cannot be told though it has an annotation, else `None`.
    """

    name: str
    hint: Any
    marker: Param | Depends | None
    default: Any
    positional: bool
    unclear: str | None = None


class _Nowhere(type):
    """Makes what stands for a name that only the type checker knows, whatever is done with it."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, _: object) -> Any:
        return cls


def innermost(fn: Any) -> Any:
    """Return what is inside of partial objects."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def describe(fn: object) -> str:
    """Return a name for a callable in an error text: module and qualified name."""
    fn = innermost(fn)
    named = fn if hasattr(fn, "__qualname__") else type(fn)
    return f"{named.__module__}.{getattr(named, '__qualname__', named.__class__.__name__)}"


def declared(fn: Callable[..., Any]) -> list[Declared]:
    """Return the parameters that can be filled; those a partial object has filled are left out.

    Raises:
        TypeError: A signature that cannot be read, two markers on one parameter, or a marker in
            place of a default or inside of a type.
    """
    filled: set[str] = set()
    partial: Any = fn
    while isinstance(partial, functools.partial):
        filled |= partial.keywords.keys()
        partial = partial.func
    try:
        parameters = inspect.signature(fn).parameters.values()
    except ValueError as error:
        raise TypeError(f"{describe(fn)}: its signature cannot be read: {error}") from error
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        _declared(fn, each)
        for each in parameters
        if each.kind not in variadic and each.name not in filled
    ]


def _refuse_foreign(where: str, things: Iterable[Any]) -> None:
    """Make sure that no marker of another framework stands there: it would be ignored.

    Raises:
        TypeError: One does.
    """
    for each in things:
        cls = each if isinstance(each, type) else type(each)
        framework = cls.__module__.partition(".")[0]
        if framework in _FRAMEWORKS and cls.__name__ in _MARKERS:
            raise TypeError(
                f"{where} has a {cls.__name__} of {framework}, which Telex does not know; "
                "import Depends, Query and the others from telex"
            )


def _check_default(where: str, default: Any) -> None:
    """Make sure that a default is none of the markers, which belong into the annotation."""
    _refuse_foreign(where, [default])
    if _is_marker(default):
        kind = _kind_of(default)
        function = default.dependency if isinstance(default, Depends) else None
        given = "" if function is None else describe(function).rpartition(".")[2]
        raise TypeError(
            f"{where}: {kind}() is no default; annotate it: Annotated[..., {kind}({given})]"
        )


def _declared(fn: Callable[..., Any], parameter: inspect.Parameter) -> Declared:
    where = f"{describe(fn)}: parameter {parameter.name!r}"
    _check_default(where, parameter.default)
    try:
        hint, unclear = _hint(fn, parameter)
    except Exception as error:
        raise TypeError(f"{where}: {error}") from error
    extras: list[Any] = []
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
    _refuse_foreign(where, extras)
    markers = [each for each in extras if _is_marker(each)]
    if len(markers) > 1:
        kinds = " and ".join(f"{_kind_of(each)}()" for each in markers)
        raise TypeError(f"{where} has {len(markers)} markers, {kinds}; one is enough")
    inner = next(_markers_in(hint), None)
    if inner is not None:
        raise TypeError(
            f"{where} has {_kind_of(inner)}() inside of its type; it belongs around all of it: "
            f"Annotated[..., {_kind_of(inner)}()]"
        )
    kept = [each for each in extras if not _is_marker(each)]
    named = [each.dependency for each in markers if isinstance(each, Depends)]
    if unclear is not None and not _is_clear((*kept, *named)):
        raise TypeError(f"{where}: {unclear}")
    if unclear is not None and not _is_clear([hint]):
        hint = UNKNOWN
    else:
        hint, unclear = Annotated[hint, *kept] if kept else hint, None
    try:
        marker = _made(markers[0]) if markers else None
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
    positional = parameter.kind is parameter.POSITIONAL_ONLY
    return Declared(parameter.name, hint, marker, parameter.default, positional, unclear)


def _is_marker(thing: Any) -> bool:
    return isinstance(thing, (Param, Depends)) or (
        isinstance(thing, type) and issubclass(thing, (Param, Depends))
    )


def _kind_of(marker: Any) -> str:
    cls: type = marker if isinstance(marker, type) else type(marker)
    return cls.__name__


def _made(marker: Any) -> Param | Depends:
    """`Annotated[int, Query]` says the same as `Annotated[int, Query()]`."""
    made: Param | Depends = marker() if isinstance(marker, type) else marker
    return made


def _markers_in(hint: Any) -> Iterator[Any]:
    """Go through the markers where they are not looked for: `Annotated[int, Query()] | None`."""
    for each in get_args(hint):
        if get_origin(each) is Annotated:
            yield from filter(_is_marker, get_args(each)[1:])
        yield from _markers_in(each)


def _is_clear(hints: Iterable[Any]) -> bool:
    """Whether nothing in a type stands for a name that is not there."""
    return not any(
        isinstance(each, _Nowhere)
        or isinstance(type(each), _Nowhere)
        or not _is_clear(get_args(each))
        for each in hints
    )


def _hint(fn: Any, parameter: inspect.Parameter) -> tuple[Any, str | None]:
    """Return the type of a parameter, and what is wrong when not all of it can be told."""
    if parameter.annotation is parameter.empty:
        return UNKNOWN, None
    # One at a time: a name that exists for the type checker only spoils its own parameter alone,
    # and not even that where a marker says enough: Annotated[Session, Depends(open_session)].
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    names, unclear = _globals(fn), None
    nowhere: dict[str, Any] = {}
    while True:
        try:
            hint = get_type_hints(holder, names, nowhere, include_extras=True)[parameter.name]
            while hasattr(hint, "__value__"):
                # A name for a type: type UserId = Annotated[int, Query()].
                hint = hint.__value__
        except NameError as error:
            unclear = str(error)
            if error.name is None or error.name in nowhere:
                raise
            nowhere[error.name] = _Nowhere(error.name, (), {})
        else:
            return hint, unclear


def _globals(fn: Any) -> dict[str, Any]:
    """Return the names that the annotations of a callable can use."""
    fn = innermost(fn)
    names: dict[str, Any] = {}
    if isinstance(fn, type):
        # The fields of a dataclass are told where its bases are.
        for cls in reversed(fn.__mro__):
            names |= vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
        init: Any = inspect.getattr_static(fn, "__init__")
        return names | getattr(inspect.unwrap(init), "__globals__", {})
    function = inspect.unwrap(fn if inspect.isroutine(fn) else fn.__call__)
    return names | getattr(function, "__globals__", {})
