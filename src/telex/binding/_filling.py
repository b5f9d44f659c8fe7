"""Calling dependencies: each once, those it depends on first."""

from __future__ import annotations

import contextvars
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from telex.binding._generators import Open, in_thread, manager_of
from telex.binding._signature import describe
from telex.binding._steps import Dependency, Given, Plan, Step
from telex.params import DependencyScope
from telex.websockets import WebSocket, link_of


class Over(Exception):
    """A dependency has ended the connection; nothing further is called for it."""


class Key(NamedTuple):
    """What a value is remembered by."""

    call: object
    run: object
    scope: DependencyScope


class Filling(ABC):
    """Fills the arguments of calls.

    Args:
        ws: The connection.
        bound: What was made before, and what is made.
    """

    def __init__(self, ws: WebSocket, bound: dict[object, Any]) -> None:
        self._ws = ws
        self._progress = link_of(ws).progress
        self._bound = bound
        self._made: list[Key] = []

    @abstractmethod
    def _opened(self, scope: DependencyScope) -> list[Open]:
        """Return where generators of a scope are kept until they are closed."""

    @abstractmethod
    def _read(self, step: Step) -> Any:
        """Return an argument that nobody has to be called for."""

    async def _arguments(self, plan: Plan) -> tuple[list[Any], dict[str, Any]]:
        made: dict[Step, Any] = {}
        for step in plan.steps():
            if isinstance(step, Dependency):
                made[step] = await self._value(step)

        def argument(step: Step) -> Any:
            if isinstance(step, Given):
                return step.get(self._ws)
            return made[step] if isinstance(step, Dependency) else self._read(step)

        return plan.call_with(argument)

    async def _value(self, step: Dependency) -> Any:
        """Return what a dependency makes.

        Raises:
            Over: It has ended the connection.
        """
        # What is called is part of it: an application further in may override another function,
        # and a replacement gets the original.
        key = Key(identity(step.call), identity(step.run), step.scope)
        bound = self._bound
        if step.use_cache and key in bound:
            return bound[key]
        positional, named = await self._arguments(step.plan)
        call = functools.partial(step.run, *positional, **named)
        make = self._call(step, call) if step.kind == "function" else self._enter(step, call, key)
        value = await make
        if step.use_cache:
            bound[key] = value
            self._made.append(key)
        if self._progress.over:
            raise Over
        return value

    async def _call(self, step: Dependency, call: Callable[[], Any]) -> Any:
        value = await in_thread(contextvars.copy_context(), call) if step.thread else call()
        # Anything else that can be awaited, a task or a pool, is the value.
        return await value if isinstance(value, Coroutine) else value

    async def _enter(self, step: Dependency, call: Callable[[], Any], key: object) -> Any:
        manager = manager_of(call, step.kind, thread=step.thread)
        try:
            value = await manager.__aenter__()
        except RuntimeError as error:
            if str(error) != "generator didn't yield":
                raise
            if self._progress.over:
                raise Over from None
            raise RuntimeError(f"the dependency {describe(step.run)} did not yield") from None
        self._opened(step.scope).append(Open(manager, key))
        return value


def identity(call: Any) -> Any:
    """Return what stands for a callable in a dictionary: itself, unless that is impossible."""
    try:
        hash(call)
    except TypeError:
        return id(call)
    return call
