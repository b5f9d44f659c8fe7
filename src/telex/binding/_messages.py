"""Functions that are called for each message: what they need is made once, or each time.

The parameter `data` is the message. Dependencies live as long as the connection, or with
`scope="message"` as long as one call; those may take `data` too.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

from telex._cleanup import CLEANUP_TIMEOUT
from telex._types import GIVE_WAY
from telex._uncancelled import Uncancelled
from telex.binding._dependencies import Dependencies
from telex.binding._filling import Filling, Over
from telex.binding._generators import Open, close_all
from telex.binding._plan import PAYLOAD_NAME, build_plan
from telex.binding._signature import describe, innermost
from telex.binding._steps import Dependency, Given, Payload, Plan, Step
from telex.params import DependencyScope
from telex.websockets import WebSocket

Reply = Callable[[Any], Awaitable[None] | None]
"""Sends what a function has returned or yielded; what it returns, if anything, is awaited."""

Call = Callable[[Any], Coroutine[Any, Any, None]]
"""Calls a function with the value of a message and sends what comes of it."""

_WHAT: Final = "closing the dependencies of a message"
_CLOSING: Final = "closing the generator of a listener"


class MessageFunction:
    """A function that is called for each message.

    Args:
        fn: An async function, or an async generator function, with a parameter `data`.
        method: Whether its first parameter is the object it belongs to.

    Attributes:
        hint: The type of `data`.
        needs: What must be in the path for it to be called, and who asks for it.

    Raises:
        TypeError: It is neither, or has a parameter that nothing can fill.
    """

    def __init__(self, fn: Callable[..., Any], *, method: bool = False) -> None:
        self._fn = fn
        call = innermost(fn)
        self._yields = inspect.isasyncgenfunction(call)
        if not self._yields and not inspect.iscoroutinefunction(call):
            raise TypeError(
                f"{describe(fn)} is called for messages: it must be an async function or an "
                "async generator function"
            )
        self._plan = build_plan(functools.partial(fn, None) if method else fn, message=True)
        hints = [step.hint for step in self._plan.steps() if isinstance(step, Payload)]
        if not hints:
            raise TypeError(
                f"{describe(fn)} is called for messages: it needs a parameter {PAYLOAD_NAME!r}, "
                "annotated with what a message is"
            )
        self.hint = hints[0]
        self.needs: Mapping[str, str] = self._plan.needs

    @property
    def is_simple(self) -> bool:
        """Whether it needs nothing but the message."""
        return all(isinstance(step, Payload) for step in self._plan.steps())

    @asynccontextmanager
    async def bound(self, ws: WebSocket, reply: Reply, *owner: Any) -> AsyncIterator[Call | None]:
        """Make what lives as long as the connection; give what calls the function.

        Args:
            ws: The connection.
            reply: Sends what the function gives; `None` is not sent.
            owner: The object a method belongs to.

        Yields:
            `None` when a dependency has ended the connection.

        Raises:
            BindingError: The request does not give what is asked for; nothing was called.
        """
        if self.is_simple:
            yield self._caller(self._plan, ws, reply, owner)
            return
        async with Dependencies(ws) as dependencies:
            plan = await dependencies.settled(self._plan)
            yield None if plan is None else self._caller(plan, ws, reply, owner)

    def _caller(self, plan: Plan, ws: WebSocket, reply: Reply, owner: tuple[Any, ...]) -> Call:
        answer = _all_of if self._yields else _one_of
        fn = functools.partial(self._fn, *owner) if owner else self._fn
        if plan.has_dependencies or plan.positional:
            return functools.partial(_call_with_dependencies, plan, ws, fn, answer, reply)
        fixed = {name: step.get(ws) for name, step in plan.named if isinstance(step, Given)}
        if fixed:
            fn = functools.partial(fn, **fixed)

        def call(data: Any) -> Coroutine[Any, Any, None]:
            return answer(fn(data=data), reply)

        return call


async def _call_with_dependencies(
    plan: Plan,
    ws: WebSocket,
    fn: Callable[..., Any],
    answer: Callable[[Any, Reply], Coroutine[Any, Any, None]],
    reply: Reply,
    data: Any,
) -> None:
    async with _ForMessage(ws, data) as dependencies:
        found = await dependencies.arguments(plan)
        if found is not None:
            positional, named = found
            await answer(fn(*positional, **named), reply)


async def _one_of(result: Awaitable[Any], reply: Reply) -> None:
    value = await result
    if value is not None:
        rest = reply(value)
        if rest is not None:
            await rest


async def _all_of(items: Any, reply: Reply) -> None:
    sent = 0
    try:
        async for value in items:
            rest = reply(value)
            if rest is not None:
                await rest
            sent += 1
            if not sent % GIVE_WAY:
                # What a server's buffer takes waits for nothing, as may the generator.
                await asyncio.sleep(0)
    except GeneratorExit:
        # The event loop is gone: nothing can be awaited any more.
        raise
    except BaseException:
        # A reply that found the end is followed by a cancellation, which is not for what the
        # generator does at its own end.
        await Uncancelled(items.aclose(), CLEANUP_TIMEOUT, _CLOSING)
        raise


class _ForMessage(Filling):
    """Fills the arguments of one call for one message, and closes what it opened."""

    def __init__(self, ws: WebSocket, data: Any) -> None:
        super().__init__(ws, {})
        self._data = data
        self._open: list[Open] = []

    async def arguments(self, plan: Plan) -> tuple[list[Any], dict[str, Any]] | None:
        """Return the arguments; `None` when the connection was ended on the way."""
        try:
            return await self._arguments(plan)
        except Over:
            return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open and not isinstance(exc, GeneratorExit):
            await Uncancelled(close_all(self._open, exc), CLEANUP_TIMEOUT, _WHAT)

    def _opened(self, scope: DependencyScope) -> list[Open]:
        return self._open

    def _read(self, step: Step) -> Any:
        assert not isinstance(step, Dependency)
        return self._data
