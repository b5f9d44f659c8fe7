"""A function with parameters becomes one without, which fills them for the current connection."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from telex.binding._coerce import Misfit
from telex.binding._dependencies import Dependencies
from telex.binding._plan import build_plan
from telex.binding._reading import read_values
from telex.binding._steps import Dependency, Payload, Plan, Step, Value
from telex.context import current
from telex.websockets import WebSocket

Bound = Callable[[], Awaitable[object]]

B = TypeVar("B", bound=Callable[[], Awaitable[object]])

_NEEDS: Final = "__telex_needs__"


def bind(fn: Callable[..., Awaitable[object]], declares: Callable[..., Any] | None = None) -> Bound:
    """Return a function without parameters that calls another one for the current connection.

    Its dependencies are closed when it has ended, with what it raised. Two connections may call
    it at the same time.

    Args:
        fn: The function to call.
        declares: What has the parameters, where that is not the function itself: a class.

    Raises:
        TypeError: A parameter that nothing can fill; the text names it.
        BindingError (when called): The request does not give what the parameters ask for; nothing
            was called.
    """
    plan = build_plan(fn if declares is None else declares)
    if not plan.positional and not plan.named:
        return fn
    bound = _with_dependencies(fn, plan) if plan.has_dependencies else _with_values(fn, plan)
    setattr(bound, _NEEDS, plan.needs)
    return bound


def needs_of(endpoint: Bound) -> Mapping[str, str]:
    """Return what must be in the path for a bound function to be called, and who asks for it."""
    needs: Mapping[str, str] = getattr(endpoint, _NEEDS, {})
    return needs


def needing(endpoint: Bound, names: Mapping[str, str]) -> Bound:
    """Return a function that does the same, and needs more of the path."""
    if names.keys() <= needs_of(endpoint).keys():
        return endpoint
    # Not set on the function itself, which may be anybody's.
    same = _named_like(endpoint, functools.partial(endpoint))
    setattr(same, _NEEDS, {**names, **needs_of(endpoint)})
    return same


def _with_values(fn: Callable[..., Awaitable[object]], plan: Plan) -> Bound:
    values = tuple(step for step in plan.steps() if isinstance(step, Value))
    positional = [_getter(step) for step in plan.positional]
    named = [(name, _getter(step)) for name, step in plan.named]

    async def bound() -> object:
        ws = current.get()
        try:
            args = [get(ws) for get in positional]
            kwargs = {name: get(ws) for name, get in named}
        except Misfit:
            # That is the first one; all of them are told.
            read_values(values, ws)
            raise
        return await fn(*args, **kwargs)

    return _named_like(fn, bound)


def _getter(step: Step) -> Callable[[WebSocket], Any]:
    assert not isinstance(step, Dependency | Payload)
    return step.get


def _with_dependencies(fn: Callable[..., Awaitable[object]], plan: Plan) -> Bound:
    async def bound() -> object:
        async with Dependencies(current.get()) as dependencies:
            found = await dependencies.arguments(plan)
            if found is None:
                return None
            positional, named = found
            return await fn(*positional, **named)

    return _named_like(fn, bound)


def _named_like(fn: Callable[..., Any], bound: B) -> B:
    """Give a function the name of the one it calls, but not its signature."""
    functools.update_wrapper(bound, fn, updated=())
    del bound.__wrapped__  # type: ignore[attr-defined]
    return bound
