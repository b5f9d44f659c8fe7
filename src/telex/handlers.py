"""Functions as endpoints: what a handler receives is read from its signature, once.

| signature | it is called with |
|---|---|
| no parameters | nothing; the connection is `telex.websocket` |
| one annotated with `WebSocket`, or named `websocket` or `ws` | the connection |
| exactly `scope, receive, send` | the ASGI triple; its callables keep the state |

Parameters with a default, `*args` and `**kwargs` are left alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, get_type_hints

from telex.connection import Connection
from telex.context import current
from telex.lifecycle import Endpoint
from telex.websockets import WebSocket, link_of

CONNECTION_NAMES: Final = ("websocket", "ws")
_TRIPLE: Final = ("scope", "receive", "send")


def function_endpoint(fn: Callable[..., Any]) -> Endpoint:
    """Return a handler as an endpoint without parameters.

    Args:
        fn: An async function, bound method, partial of one, or object with an async `__call__`.

    Raises:
        TypeError: It is not asynchronous, or has a parameter nothing is known about.
    """
    _check_async(fn)
    parameters = _required(fn)
    if _is_triple(parameters):
        return _with_triple(fn)
    faces = {name: _face(name, _hint(fn, each)) for name, each in parameters.items()}
    unknown = [name for name, face in faces.items() if face is None]
    if unknown or len(faces) > 1:
        raise TypeError(
            f"handler {describe(fn)} has the parameter{'s' if len(parameters) > 1 else ''} "
            f"{', '.join(map(repr, unknown or parameters))}; expected none, one connection "
            "(annotated with telex.WebSocket, or named 'websocket' or 'ws'), or exactly "
            "scope, receive, send"
        )
    if not faces:
        return fn
    name, face = faces.popitem()
    return _with_connection(fn, name, face or WebSocket, parameters[name])


def describe(fn: object) -> str:
    """Return a name for an endpoint in an error text: module and qualified name."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    named = fn if hasattr(fn, "__qualname__") else type(fn)
    return f"{named.__module__}.{getattr(named, '__qualname__', named.__class__.__name__)}"


def _check_async(fn: object) -> None:
    if not callable(fn):
        raise TypeError(f"a handler must be an async function, got {fn!r}")
    call: object = fn
    while isinstance(call, functools.partial):
        call = call.func
    if inspect.isclass(call) or not (
        inspect.iscoroutinefunction(call)
        or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004
    ):
        kind = "an async generator" if inspect.isasyncgenfunction(call) else "not async"
        raise TypeError(f"handler {describe(fn)} must be an async function; it is {kind}")


def _required(fn: Callable[..., object]) -> dict[str, inspect.Parameter]:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: parameter
        for name, parameter in inspect.signature(fn).parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in variadic
    }


def _is_triple(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return tuple(parameters) == _TRIPLE and all(
        each.kind is not each.KEYWORD_ONLY for each in parameters.values()
    )


def _hint(fn: Any, parameter: inspect.Parameter) -> Any:
    """Return what a parameter is annotated with, `None` when that cannot be told."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    function = inspect.unwrap(fn if inspect.isroutine(fn) else fn.__call__)
    if parameter.annotation is parameter.empty:
        return None
    # One at a time: a name that exists for the type checker only spoils its own parameter alone.
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return get_type_hints(holder, getattr(function, "__globals__", {}))[parameter.name]
    except Exception:
        return None


def _face(name: str, hint: Any) -> type[WebSocket] | None:
    """Return which class of connection a parameter wants, `None` when it wants none."""
    if inspect.isclass(hint) and issubclass(hint, WebSocket):
        return hint
    if name in CONNECTION_NAMES or hint is Connection:
        return WebSocket
    return None


def _with_connection(
    fn: Callable[..., Awaitable[object]],
    name: str,
    face: type[WebSocket],
    parameter: inspect.Parameter,
) -> Endpoint:
    by_keyword = parameter.kind is parameter.KEYWORD_ONLY

    @functools.wraps(fn, updated=())
    async def endpoint() -> object:
        ws = current.get()
        if type(ws) is not face and face is not WebSocket:
            ws = face(ws.scope, *link_of(ws).asgi)
        return await (fn(**{name: ws}) if by_keyword else fn(ws))

    return endpoint


def _with_triple(fn: Callable[..., Awaitable[object]]) -> Endpoint:
    @functools.wraps(fn, updated=())
    async def endpoint() -> object:
        ws = current.get()
        link = link_of(ws)
        return await fn(ws.scope, link.receive, link.send)

    return endpoint
