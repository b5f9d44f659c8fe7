"""Functions as endpoints: what a handler receives is read from its signature, once.

| parameter | it is filled with |
|---|---|
| annotated with `WebSocket`, or named `websocket` or `ws` | the connection |
| annotated with `State` or `App` | the state of the connection, the application |
| named like a parameter of the path | its value, as the type says |
| `Annotated[..., Query()]`, `Path()`, `Header()`, `Cookie()` | a value of the request |
| `Annotated[..., Depends(function)]` | what the function returns or yields |
| exactly `scope, receive, send`, none of the others | the ASGI triple, which keeps the state |

A handler without parameters finds the connection in `telex.websocket`. Other parameters with a
default, `*args` and `**kwargs` are left alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

from telex.binding import bind, declared, describe, innermost
from telex.context import current
from telex.lifecycle import Endpoint
from telex.websockets import link_of

_TRIPLE: Final = ("scope", "receive", "send")


def function_endpoint(fn: Callable[..., Any]) -> Endpoint:
    """Return a handler as an endpoint without parameters.

    Args:
        fn: An async function, bound method, partial of one, or object with an async `__call__`.

    Raises:
        TypeError: It is not asynchronous, or has a parameter that nothing can fill.
    """
    _check_async(fn)
    if _takes_triple(fn):
        return _with_triple(fn)
    return bind(fn)


def _check_async(fn: object) -> None:
    if not callable(fn):
        raise TypeError(f"a handler must be an async function, got {fn!r}")
    call = innermost(fn)
    if inspect.isclass(call) or not (
        inspect.iscoroutinefunction(call)
        or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004
    ):
        kind = "an async generator" if inspect.isasyncgenfunction(call) else "not async"
        raise TypeError(f"handler {describe(fn)} must be an async function; it is {kind}")


def _takes_triple(fn: Callable[..., object]) -> bool:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [
        each
        for each in inspect.signature(fn).parameters.values()
        if each.default is each.empty and each.kind not in variadic
    ]
    return (
        tuple(each.name for each in required) == _TRIPLE
        and all(each.kind is not each.KEYWORD_ONLY for each in required)
        # Who asks for something else as well is told what is wrong with that.
        and not any(each.marker for each in declared(fn))
    )


def _with_triple(fn: Callable[..., Awaitable[object]]) -> Endpoint:
    @functools.wraps(fn, updated=())
    async def endpoint() -> object:
        ws = current.get()
        link = link_of(ws)
        return await fn(ws.scope, link.receive, link.send)

    return endpoint
