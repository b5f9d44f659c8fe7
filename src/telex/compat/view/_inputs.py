"""Inputs of routes: where the value of each parameter of a handler comes from.

The parameter annotated with a class of connections is the connection, or else the first one,
whatever it is called. Of the others:

1. What is called like a parameter of the path is that.
2. Are as many left as decorators: the one on top is for the first of them, and so on, whatever
   they are called.
3. Are more left: each decorator is for the parameter of its name, or else for the first that no
   decorator names.
4. The rest is read from the query string by name and annotation.

What a parameter is annotated with for Telex, `Annotated[..., Depends(function)]`, is left to that.
All inputs of a request are read before the handler is called.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from telex.binding import bind, declared, describe, innermost
from telex.binding._signature import EMPTY, UNKNOWN, Declared
from telex.compat.view._casts import Cast, input_cast
from telex.compat.view._websocket import WebSocket
from telex.connection import Connection
from telex.exceptions import BindingError, RoutingError
from telex.params import Depends
from telex.websockets import WebSocket as CoreWebSocket

Handler: TypeAlias = Callable[..., Awaitable[None]]
"""An async function; what it returns is ignored, and a type checker expects `None`."""

Bound: TypeAlias = Callable[[], Awaitable[object]]
"""Serves the current connection."""

NAMES: Final = ("__module__", "__name__", "__qualname__", "__doc__")
"""What a function takes over from the one that it stands for."""

_VALUES: Final = "_values_of_inputs"
"""The parameter in which all inputs arrive together."""

_MUTABLE: Final = (list, dict, set, bytearray)

_SHOWN: Final = 200
"""Characters of a value that an error repeats."""


class InvalidRouteError(RoutingError, TypeError):
    """A route that cannot be served: its path, its handler or its inputs are wrong."""


class Input(NamedTuple):
    """What a decorator has declared.

    Attributes:
        name: Its name in the query string.
        cast: Makes its value.
        default: What it is when it is not there, `...` for none.
        is_body: Whether it is from a body, which a WebSocket request does not have.
    """

    name: str
    cast: Cast
    default: Any = ...
    is_body: bool = False


class _Slot(NamedTuple):
    """Where the value of a parameter comes from: `"query"` or `"path"`, and its name there."""

    where: str
    key: str
    cast: Cast
    default: Any


def made_input(name: str, types: Sequence[Any], default: Any, *, is_body: bool = False) -> Input:
    """Return an input.

    Raises:
        InvalidRouteError: A type that cannot be read.
    """
    return Input(name, _cast(f"the input {name!r}", types), default, is_body)


def bound(func: Handler, in_path: Iterable[str], inputs: Sequence[Input]) -> Bound:
    """Return a function without parameters that calls a handler for the current connection.

    Args:
        func: The handler.
        in_path: The names of the parameters of its path.
        inputs: What decorators have declared, the one on top first.

    Raises:
        InvalidRouteError: It is not async, has no parameter for the connection, or its inputs
            cannot be.
        BindingError (when called): Inputs are missing or do not fit; all of them are named.
    """
    name = describe(func)
    _check_async(func, name)
    for each in inputs:
        if each.is_body:
            raise InvalidRouteError(f"{name}: a WebSocket request has no body for {each.name!r}")
    try:
        parameters = declared(func)
        annotations, slots = _sources(parameters, frozenset(in_path), inputs, name)
        return bind(_adapter(func, parameters, annotations, slots))
    except InvalidRouteError:
        raise
    except TypeError as error:
        raise InvalidRouteError(str(error)) from error


def _check_async(func: Handler, name: str) -> None:
    call = innermost(func)
    asynchronous = inspect.iscoroutinefunction
    if not asynchronous(call) and not asynchronous(getattr(call, "__call__", None)):  # noqa: B004
        raise InvalidRouteError(f"the handler {name} must be an async function")


def _sources(
    parameters: Sequence[Declared], in_path: frozenset[str], inputs: Sequence[Input], name: str
) -> tuple[dict[str, Any], dict[str, _Slot]]:
    """Return what Telex fills, as annotations, and what is read from the request."""
    plain = [each for each in parameters if each.marker is None]
    if not plain:
        raise InvalidRouteError(f"{name} has no parameter for the connection")
    socket = next((each for each in plain if _is_socket(each.hint)), plain[0])
    plain.remove(socket)
    annotations: dict[str, Any] = {
        each.name: Annotated[Any if each.hint is UNKNOWN else each.hint, each.marker]
        for each in parameters
        if each.marker is not None
    }
    own = _is_socket(socket.hint) and socket.hint is not CoreWebSocket
    annotations[socket.name] = socket.hint if own else WebSocket
    left = [each.name for each in plain if each.name not in in_path]
    if len(inputs) > len(left):
        raise InvalidRouteError(f"{name} has {len(left)} parameters for {len(inputs)} inputs")
    matched = _matched(left, inputs)
    slots = {
        each.name: _slot(each, matched.get(each.name), is_path=each.name in in_path, owner=name)
        for each in plain
    }
    return annotations, slots


def _is_socket(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, CoreWebSocket)


def _matched(names: Sequence[str], inputs: Sequence[Input]) -> dict[str, Input]:
    if len(names) == len(inputs):
        return dict(zip(names, inputs, strict=True))
    matched: dict[str, Input] = {}
    unnamed: list[Input] = []
    for each in inputs:
        if each.name in names and each.name not in matched:
            matched[each.name] = each
        else:
            unnamed.append(each)
    free = [name for name in names if name not in matched]
    return matched | dict(zip(free, unnamed, strict=False))


def _slot(parameter: Declared, given: Input | None, *, is_path: bool, owner: str) -> _Slot:
    default = ... if parameter.default is EMPTY else parameter.default
    if given is not None:
        if given.default is not ...:
            default = given.default
        return _Slot("query", given.name, given.cast, default)
    what = f"{owner}: parameter {parameter.name!r}"
    if parameter.unclear is not None:
        raise InvalidRouteError(f"{what}: its type cannot be told: {parameter.unclear}")
    cast = _cast(what, () if parameter.hint is UNKNOWN else (parameter.hint,))
    return _Slot("path" if is_path else "query", parameter.name, cast, default)


def _cast(what: str, types: Sequence[Any]) -> Cast:
    try:
        return input_cast(types)
    except TypeError as error:
        raise InvalidRouteError(f"{what}: {error}") from error


def _adapter(
    func: Callable[..., Awaitable[object]],
    parameters: Sequence[Declared],
    annotations: Mapping[str, Any],
    slots: Mapping[str, _Slot],
) -> Callable[..., Awaitable[object]]:
    """Return a function for the same, which says in Telex's words what its parameters are."""
    positional = [each.name for each in parameters if each.positional]
    defaults = {each.name: each.default for each in parameters if each.marker is not None}
    if slots:
        read = Depends(functools.partial(_read, slots))
        annotations = {**annotations, _VALUES: Annotated[dict[str, Any], read]}

    async def adapter(**given: Any) -> object:
        given |= given.pop(_VALUES, {})
        return await func(*[given.pop(name) for name in positional], **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    made: Any = functools.update_wrapper(adapter, func, assigned=NAMES, updated=())
    made.__signature__ = inspect.Signature(
        [
            inspect.Parameter(name, keyword, annotation=hint, default=defaults.get(name, EMPTY))
            for name, hint in annotations.items()
        ]
    )
    return adapter


def _read(slots: Mapping[str, _Slot], connection: Connection) -> dict[str, Any]:
    """Return the value of every parameter; raises `BindingError`."""
    values: dict[str, Any] = {}
    problems: list[dict[str, Any]] = []
    for name, (where, key, cast, default) in slots.items():
        raw = (connection.path_params if where == "path" else connection.query_params).get(key)
        problem = {"in": where, "name": key, "message": "required", "value": None}
        if isinstance(raw, str):
            try:
                values[name] = cast(raw)
            except ValueError as error:
                problems.append({**problem, "message": str(error), "value": raw[:_SHOWN]})
        elif raw is not None:
            # The path says what it is.
            values[name] = raw
        elif default is ...:
            problems.append(problem)
        else:
            # Connections share nothing that one of them may change.
            values[name] = copy.deepcopy(default) if isinstance(default, _MUTABLE) else default
    if problems:
        raise BindingError(problems)
    return values
