"""From a signature to a plan, once for each handler: where every argument will come from.

Everything that is wrong with a signature is found here, with the name of the parameter. Serving a
connection looks at no signature.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Final, get_args, get_origin

from telex.binding._coerce import converter, describe_type, fields_of, is_many
from telex.binding._signature import EMPTY, UNKNOWN, Declared, declared, describe, innermost
from telex.binding._sources import outside, taker
from telex.binding._steps import Dependency, Given, Kind, Payload, Plan, Step, Value, constant
from telex.connection import Connection
from telex.datastructures import State
from telex.params import DependencyScope, Depends, Param, Path
from telex.websockets import WebSocket, face_of

CONNECTION_NAMES: Final = ("websocket", "ws")

PAYLOAD_NAME: Final = "data"
"""The parameter that gets the message, in what is called for each message."""


def _state(ws: WebSocket, cls: type[State]) -> State:
    state = ws.state
    return state if cls is State else cls(ws.scope["state"])


_injectables: Final[dict[type, Callable[[WebSocket, Any], Any]]] = {State: _state}


def register_injectable(cls: type, get: Callable[[WebSocket, Any], Any]) -> None:
    """Fill parameters annotated with a class, or one derived from it, with what a function gives.

    For whoever builds on binding and must not be imported by it.

    Args:
        cls: The class.
        get: Called with the connection and the class of the parameter.
    """
    _injectables[cls] = get


def build_plan(
    fn: Callable[..., Any], *, message: bool = False, scope: DependencyScope | None = None
) -> Plan:
    """Return the plan for a callable.

    Args:
        fn: The callable.
        message: Whether it is called for each message, so that dependencies may live as long.
        scope: How long its result lives, if it is a dependency.

    Raises:
        TypeError: A parameter that nothing can fill; the text names it.
    """
    try:
        return _Builder(message=message, scope=scope).plan(fn)
    except _Misdeclared as error:
        raise TypeError(str(error)) from error.__cause__


def dependency_of(call: Callable[..., Any], instead_of: Dependency) -> Dependency:
    """Return a callable as a dependency in place of another one, with that one's options.

    Raises:
        TypeError: A parameter that nothing can fill, or it cannot run where the other one does.
    """
    scope = instead_of.scope
    plan = build_plan(call, message=scope == "message", scope=scope)
    thread = instead_of.thread and not _is_async(call)
    return replace(instead_of, run=call, kind=_kind(call), plan=plan, thread=thread)


class _Builder:
    """Builds one plan, and those of the dependencies in it."""

    def __init__(self, *, message: bool, scope: DependencyScope | None) -> None:
        self._message = message
        self._within: list[Callable[..., Any]] = []
        self._scopes: list[DependencyScope] = [] if scope is None else [scope]

    def plan(self, fn: Callable[..., Any]) -> Plan:
        positional: list[Step] = []
        named: list[tuple[str, Step]] = []
        needs: dict[str, str] = {}
        for parameter in declared(fn):
            try:
                step = self._step(parameter, needs, describe(fn))
            except _Misdeclared:
                raise
            except TypeError as error:
                where = f"{describe(fn)}: parameter {parameter.name!r}"
                raise _Misdeclared(f"{where}: {error}") from error
            if parameter.positional:
                positional.append(step or constant(parameter.default))
            elif step is not None:
                named.append((parameter.name, step))
        return Plan(describe(fn), tuple(positional), tuple(named), needs)

    def _step(self, parameter: Declared, needs: dict[str, str], owner: str) -> Step | None:
        """Return where an argument comes from, `None` when it is left alone."""
        marker = parameter.marker
        if isinstance(marker, Depends):
            return self._dependency(parameter, marker, needs)
        if marker is not None:
            return _value(parameter, marker)
        given = _given(parameter)
        if given is not None:
            return given
        if parameter.name == PAYLOAD_NAME and self._sees_messages():
            return _payload(parameter)
        # The alias: it is the value of that name, and no type takes all of them.
        by_name = Path(alias=parameter.name)
        if parameter.default is EMPTY:
            needs[parameter.name] = owner
            return _value(parameter, by_name)
        if parameter.unclear is not None:
            # Perhaps it has nothing to do with the path, so that is no mistake yet.
            parameter = parameter._replace(hint=UNKNOWN, unclear=None)
        try:
            # It is filled when the path has such a parameter.
            return _value(parameter, by_name)
        except TypeError:
            return None

    def _dependency(
        self, parameter: Declared, marker: Depends, needs: dict[str, str]
    ) -> Dependency:
        call = marker.dependency if marker.dependency is not None else _class(parameter)
        if parameter.default is not EMPTY:
            raise TypeError("a dependency has no default")
        if any(call is each for each in self._within):
            chain = " -> ".join(describe(each) for each in (*self._within, call))
            raise TypeError(f"it depends on itself: {chain}")
        self._check_scope(marker.scope)
        if marker.thread and _is_async(call):
            raise TypeError(f"{describe(call)} is asynchronous and cannot run in a thread")
        self._within.append(call)
        self._scopes.append(marker.scope)
        try:
            plan = self.plan(call)
        finally:
            self._within.pop()
            self._scopes.pop()
        needs.update(plan.needs)
        kind, cached, thread = _kind(call), marker.use_cache, marker.thread
        return Dependency(call, call, kind, plan, cached, marker.scope, thread)

    def _sees_messages(self) -> bool:
        return self._message and self._scopes[-1:] in ([], ["message"])

    def _check_scope(self, scope: DependencyScope) -> None:
        if scope == "message" and not self._message:
            raise TypeError("scope='message' is for listeners, which are called for each message")
        outer = self._scopes[-1] if self._scopes else None
        if outer is not None and scope not in ("connection", outer):
            raise TypeError(f"a dependency with scope={outer!r} outlives one with scope={scope!r}")


class _Misdeclared(TypeError):
    """The error of a parameter, named already."""


def _given(parameter: Declared) -> Given | None:
    """Return the step for what is there anyway, found by type or by name."""
    hint = parameter.hint
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if isinstance(hint, type):
        if issubclass(hint, WebSocket):
            return Given(_face(hint))
        for cls, get in _injectables.items():
            if issubclass(hint, cls):
                return Given(functools.partial(_injected, get, hint))
    if hint is Connection or (parameter.name in CONNECTION_NAMES and parameter.default is EMPTY):
        return Given(_itself)
    return None


def _class(parameter: Declared) -> type:
    """Return the class that a parameter is annotated with, without its type arguments."""
    hint = parameter.hint
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    cls = get_origin(hint) or hint
    if isinstance(cls, type) and cls is not UnionType:
        if cls.__module__ == "builtins":
            raise TypeError(
                f"Depends() without a function calls the type, and {cls.__name__} tells "
                "not with what; name the function: Depends(function)"
            )
        return cls
    because = "" if parameter.unclear is None else f", which cannot be told: {parameter.unclear}"
    raise TypeError(f"Depends() without a function needs a class as the type{because}")


def _payload(parameter: Declared) -> Payload:
    if parameter.unclear is not None:
        raise TypeError(f"its type cannot be told: {parameter.unclear}")
    return Payload(Any if parameter.hint is UNKNOWN else parameter.hint)


def _injected(get: Callable[[WebSocket, Any], Any], cls: type, ws: WebSocket) -> Any:
    return get(ws, cls)


def _itself(ws: WebSocket) -> WebSocket:
    return ws


def _face(cls: type[WebSocket]) -> Callable[[WebSocket], WebSocket]:
    """Return what gives the connection as an object of a class, another one over the same link."""
    return _itself if cls is WebSocket else functools.partial(_as, cls)


def _as(cls: type[WebSocket], ws: WebSocket) -> WebSocket:
    return face_of(ws, cls)


def _value(parameter: Declared, marker: Param) -> Value:
    if parameter.unclear is not None:
        raise TypeError(f"its type cannot be told: {parameter.unclear}")
    where, hint = marker.where, Any if parameter.hint is UNKNOWN else parameter.hint
    key = marker.alias or outside(where, parameter.name)
    text_only = where != "path"
    fields = fields_of(hint) if marker.alias is None or text_only else None
    if fields is not None and marker.alias is not None:
        raise TypeError(f"{describe_type(hint)} takes every name there is, so it has no alias")
    convert = converter(hint, fields=fields, text_only=text_only)
    default = _default(parameter, marker, whole=fields is not None)
    take = taker(where, key, many=is_many(hint), fields=fields, required=default is None)
    return Value(where, key, take, convert, default, marker.secret, describe_type(hint))


def _default(parameter: Declared, marker: Param, *, whole: bool) -> Callable[[], Any] | None:
    own = parameter.default is not EMPTY
    if own and (marker.default is not ... or marker.default_factory is not None):
        raise TypeError("it has two defaults, one in the marker and one behind '='")
    if marker.default_factory is not None:
        return marker.default_factory
    value = parameter.default if own else marker.default
    if value is not ... and (whole or isinstance(value, (list, dict, set, bytearray))):
        # Connections share nothing that one of them may change.
        return functools.partial(copy.deepcopy, value)
    return None if value is ... else lambda: value


def _kind(call: Any) -> Kind:
    function = _function(call)
    if inspect.isasyncgenfunction(function):
        return "async generator"
    return "generator" if inspect.isgeneratorfunction(function) else "function"


def _is_async(call: Any) -> bool:
    function = _function(call)
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _function(call: Any) -> Any:
    """Return the function that runs when something is called; a class stays itself."""
    plain = innermost(call)
    return plain if inspect.isroutine(plain) or isinstance(plain, type) else plain.__call__
