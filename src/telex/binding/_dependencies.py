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
import functools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from telex._cleanup import CLEANUP_TIMEOUT
from telex._link import EndHook
from telex._settings import settings_of
from telex._uncancelled import Uncancelled
from telex.binding._filling import Filling, Over, identity
from telex.binding._generators import Open, close_all
from telex.binding._plan import dependency_of
from telex.binding._reading import read_values
from telex.binding._steps import Dependency, Plan, Step, Value, constant
from telex.params import DependencyScope
from telex.websockets import WebSocket, link_of

T = TypeVar("T")

_WHAT: Final = "closing the dependencies"

STANDS_FOR: Final = "__telex_stands_for__"
"""Set on what a dialect has made of a function: the function, by which it is overridden."""


class Dependencies(Filling):
    """Fills the arguments of one call and closes what it opened; an asynchronous context manager.

    Args:
        ws: The connection. What is made for it once is shared by all calls for it.
    """

    def __init__(self, ws: WebSocket) -> None:
        progress = link_of(ws).progress
        # Made here and not before, for most connections depend on nothing.
        if progress.on_accept is None:
            progress.on_accept = []
        if progress.bound is None:
            progress.bound = {}
        super().__init__(ws, progress.bound)
        self._on_accept = progress.on_accept
        self._overrides = settings_of(ws.scope).dependency_overrides
        self._values: dict[Value, Any] = {}
        self._for_connection: list[Open] = []
        self._for_handshake: list[Open] = []

    async def arguments(self, plan: Plan) -> tuple[list[Any], dict[str, Any]] | None:
        """Return the arguments for a plan; `None` when the connection was ended on the way.

        Raises:
            BindingError: The request does not give what is asked for; nothing was called.
            Exception: What a dependency raised.
        """
        return await self._before(plan, self._arguments)

    async def settled(self, plan: Plan) -> Plan | None:
        """Return a plan for messages, with everything made that lives as long as the connection.

        What is left in it is the message, and what is made for each. `None` when the connection
        was ended on the way.

        Raises:
            BindingError: The request does not give what is asked for; nothing was called.
            Exception: What a dependency raised.
        """
        return await self._before(plan, self._settled)

    async def _before(self, plan: Plan, make: Callable[[Plan], Awaitable[T]]) -> T | None:
        if self._overrides:
            plan = self._overridden(plan, ())
        self._values = read_values(_values(plan), self._ws)
        if not self._progress.open:
            # Before those further out, on which these may depend.
            self._on_accept.insert(0, self._release_handshake)
        try:
            made = await make(plan)
        except Over:
            return None
        if self._progress.open:
            # Somebody has accepted before the handler could.
            await self._release_handshake()
        return made

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

        def replaced(step: Step) -> Step:
            if not isinstance(step, Dependency):
                return step
            call = identity(getattr(step.call, STANDS_FOR, step.call))
            other = None if call in within else self._overrides.get(call)
            if other is not None:
                step = dependency_of(other, step)
            return replace(step, plan=self._overridden(step.plan, (*within, call)))

        return plan.replaced(replaced)

    async def _settled(self, plan: Plan) -> Plan:
        """Return a plan for messages with what is made once in place of how it is made."""
        settled = {step: await self._settle(step) for step in plan.steps()}
        return plan.replaced(settled.__getitem__)

    async def _settle(self, step: Step) -> Step:
        if isinstance(step, Dependency):
            if step.scope == "message":
                return replace(step, plan=await self._settled(step.plan))
            return constant(await self._value(step))
        if isinstance(step, Value):
            return constant(self._values[step])
        return step

    def _opened(self, scope: DependencyScope) -> list[Open]:
        return self._for_handshake if scope == "handshake" else self._for_connection

    def _read(self, step: Step) -> Any:
        assert isinstance(step, Value)
        return self._values[step]


def _values(plan: Plan) -> Iterator[Value]:
    for step in plan.steps():
        if isinstance(step, Value):
            yield step
        elif isinstance(step, Dependency):
            yield from _values(step.plan)
