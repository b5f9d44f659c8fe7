"""What the dependencies of one call hold open: made on the way in, closed on the way out.

Rules:

1. All values of the request are read first, those of the dependencies too. A request that is
   wrong in three places is told all three, and nothing was called for it.
2. A generator is left in the task that entered it, so that context variables, task groups and
   timeouts around its `yield` work. Cancellations wait until it is closed, for a limited time.
3. The last one opened is closed first, each with what ended the handler, or what the one closed
   before made of it. Swallowing an exception does not make it go away for the others.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from telex._cleanup import CLEANUP_TIMEOUT
from telex._link import EndHook
from telex._settings import settings_of
from telex._uncancelled import Uncancelled
from telex.binding._generators import Open, close_all, in_thread, manager_of
from telex.binding._plan import Dependency, Given, Plan, Step, Value, dependency_of
from telex.binding._reading import read_values
from telex.binding._signature import describe
from telex.params import DependencyScope
from telex.websockets import WebSocket, link_of

_WHAT: Final = "closing the dependencies"


class _Over(Exception):
    """A dependency has ended the connection; nothing further is called for it."""


class _Key(NamedTuple):
    """What a value is remembered by."""

    call: object
    run: object
    scope: DependencyScope


class Dependencies:
    """Fills the arguments of one call and closes what it opened; an asynchronous context manager.

    Args:
        ws: The connection. What is made for it once is shared by all calls for it.
    """

    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws
        progress = self._progress = link_of(ws).progress
        # Made here and not before, for most connections depend on nothing.
        if progress.on_accept is None:
            progress.on_accept = []
        if progress.bound is None:
            progress.bound = {}
        self._on_accept, self._bound = progress.on_accept, progress.bound
        self._overrides = settings_of(ws.scope).dependency_overrides
        self._read: dict[Value, Any] = {}
        self._for_connection: list[Open] = []
        self._for_handshake: list[Open] = []
        self._made: list[_Key] = []

    async def arguments(self, plan: Plan) -> tuple[list[Any], dict[str, Any]] | None:
        """Return the arguments for a plan; `None` when the connection was ended on the way.

        Raises:
            BindingError: The request does not give what is asked for; nothing was called.
            Exception: What a dependency raised.
        """
        if self._overrides:
            plan = self._overridden(plan, ())
        self._read = read_values(_values(plan), self._ws)
        if not self._progress.open:
            # Before those further out, on which these may depend.
            self._on_accept.insert(0, self._release_handshake)
        try:
            found = await self._arguments(plan)
        except _Over:
            return None
        if self._progress.open:
            # Somebody has accepted before the handler could.
            await self._release_handshake()
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close everything, with the exception; raises what that was turned into.

        Where a hook waits for the end of the connection, `on_disconnect` of a view, it is closed
        behind that, for the view still holds what it got.
        """
        if isinstance(exc, GeneratorExit):
            # The event loop is gone: nothing can be awaited any more.
            return
        with contextlib.suppress(ValueError):
            self._on_accept.remove(self._release_handshake)
        link = link_of(self._ws)
        if link.end_hook is None:
            await self._close(exc)
        else:
            link.end_hook = functools.partial(self._close_behind, link.end_hook, exc)

    async def _close_behind(self, hook: EndHook, exc: BaseException | None, code: int) -> None:
        try:
            await hook(code)
        finally:
            await self._close(exc)

    async def _close(self, exc: BaseException | None) -> None:
        for key in self._made:
            self._bound.pop(key, None)
        if self._for_handshake or self._for_connection:
            work = close_all([*self._for_connection, *self._for_handshake], exc)
            await Uncancelled(work, CLEANUP_TIMEOUT, _WHAT)

    async def _release_handshake(self) -> None:
        opened, self._for_handshake = self._for_handshake, []
        for key in self._made:
            # What was made of a closed one is not worth more.
            if key.scope == "handshake":
                self._bound.pop(key, None)
        if opened:
            await Uncancelled(close_all(opened, None), CLEANUP_TIMEOUT, _WHAT)

    def _overridden(self, plan: Plan, within: tuple[object, ...]) -> Plan:
        """Return a plan with what the application has put in place of its dependencies.

        A replacement may depend on what it replaces, which is then the original.
        """

        def replaced(step: Dependency) -> Dependency:
            call = _identity(step.call)
            other = None if call in within else self._overrides.get(call)
            if other is not None:
                step = dependency_of(other, step)
            return replace(step, plan=self._overridden(step.plan, (*within, call)))

        return plan.replaced(replaced)

    async def _arguments(self, plan: Plan) -> tuple[list[Any], dict[str, Any]]:
        made: dict[Step, Any] = {}
        for step in plan.steps():
            if isinstance(step, Dependency):
                made[step] = await self._value(step)
                if self._progress.over:
                    raise _Over

        def argument(step: Step) -> Any:
            if isinstance(step, Given):
                return step.get(self._ws)
            return made[step] if isinstance(step, Dependency) else self._read[step]

        return plan.call_with(argument)

    async def _value(self, step: Dependency) -> Any:
        # What is called is part of it: an application further in may override another function,
        # and a replacement gets the original.
        key = _Key(_identity(step.call), _identity(step.run), step.scope)
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
                raise _Over from None
            raise RuntimeError(f"the dependency {describe(step.run)} did not yield") from None
        opened = self._for_handshake if step.scope == "handshake" else self._for_connection
        opened.append(Open(manager, key))
        return value


def _identity(call: Any) -> Any:
    """Return what stands for a callable in a dictionary: itself, unless that is impossible."""
    try:
        hash(call)
    except TypeError:
        return id(call)
    return call


def _values(plan: Plan) -> Iterator[Value]:
    for step in plan.steps():
        if isinstance(step, Value):
            yield step
        elif isinstance(step, Dependency):
            yield from _values(step.plan)
