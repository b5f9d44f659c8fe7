"""What a callable declares: its parameters with their hints, whatever kind of callable it is.

Functions, bound methods, partial objects, classes, objects with `__call__`, wrappers made with
`functools.wraps`; annotations as objects or as text.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin, get_type_hints

from telex.params import Depends, Param

UNKNOWN: Final = object()
"""The hint of a parameter without annotation, or with one that cannot be told."""

EMPTY: Final = inspect.Parameter.empty


class Declared(NamedTuple):
    """One parameter.

    Attributes:
        name: Its name.
        hint: Its type without our markers, `UNKNOWN` without one.
        marker: What `Annotated` says about where it comes from, else `None`.
        default: Its default, `EMPTY` without one.
        positional: Whether it can be given by position only.
    """

    name: str
    hint: Any
    marker: Param | Depends | None
    default: Any
    positional: bool


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
            place of a default.
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


def _declared(fn: Callable[..., Any], parameter: inspect.Parameter) -> Declared:
    hint = _hint(fn, parameter)
    markers = []
    if get_origin(hint) is Annotated:
        plain, *extras = get_args(hint)
        markers = [_made(each) for each in extras if _is_marker(each)]
        kept = [each for each in extras if not _is_marker(each)]
        hint = Annotated[plain, *kept] if kept else plain
    where = f"{describe(fn)}: parameter {parameter.name!r}"
    if len(markers) > 1:
        raise TypeError(f"{where} has {len(markers)} markers, {markers!r}; one is enough")
    if _is_marker(parameter.default):
        marker = parameter.default
        raise TypeError(f"{where}: {marker!r} belongs into Annotated[..., {marker!r}]")
    positional = parameter.kind is parameter.POSITIONAL_ONLY
    marker = markers[0] if markers else None
    return Declared(parameter.name, hint, marker, parameter.default, positional)


def _is_marker(thing: Any) -> bool:
    return isinstance(thing, (Param, Depends)) or (
        isinstance(thing, type) and issubclass(thing, (Param, Depends)) and thing is not Param
    )


def _made(marker: Any) -> Param | Depends:
    """`Annotated[int, Query]` says the same as `Annotated[int, Query()]`."""
    made: Param | Depends = marker() if isinstance(marker, type) else marker
    return made


def _hint(fn: Any, parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        return UNKNOWN
    # One at a time: a name that exists for the type checker only spoils its own parameter alone.
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        hints = get_type_hints(holder, _globals(fn), include_extras=True)
    except Exception:
        return UNKNOWN
    return hints[parameter.name]


def _globals(fn: Any) -> dict[str, Any]:
    """Return the names that the annotations of a callable can use."""
    fn = innermost(fn)
    if isinstance(fn, type):
        module = sys.modules.get(fn.__module__)
        return {**vars(module)} if module else {}
    function: Any = inspect.unwrap(fn if inspect.isroutine(fn) else fn.__call__)
    names: dict[str, Any] = getattr(function, "__globals__", {})
    return names
