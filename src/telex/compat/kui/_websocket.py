"""The connection as Kui has it.

| | Kui | Telex |
|---|---|---|
| `query_params[name]`, repeated | the last value | the first |
| `headers[name]`, repeated | all of them, joined with `", "` | the first |
| `client`, unknown | `Address(None, None)` | `None` |
| `url_for` | takes the parameters as a mapping, too | as keywords |
| `exit_stack`, `background_tasks` | there | not there, it has `add_cleanup` |

What the signature of a handler asks for follows: `x: Annotated[int, Query()]` is the last `x`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, ParamSpec, cast

from telex import datastructures, websockets
from telex._url import URL
from telex.datastructures import Address
from telex.exceptions import WebSocketRuntimeError
from telex.websockets import link_of

P = ParamSpec("P")

_UNKNOWN: Final = Address(cast(str, None), None)


class QueryParams(datastructures.QueryParams):
    """Query parameters, of which `[]` and `get` give the last value of a name."""

    __slots__ = ()

    def __getitem__(self, name: str) -> str:
        return self._pairs.getall(name)[-1]

    get = Mapping.get  # type: ignore[assignment]


class Headers(datastructures.Headers):
    """Headers, of which `[]` and `get` give all values of a name, joined with `", "`."""

    __slots__ = ()

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._pairs.getall(name))

    get = Mapping.get  # type: ignore[assignment]


class BackgroundTasks:
    """What is still to be done when the connection has ended.

    Args:
        connection: Whose end is waited for.
    """

    def __init__(self, connection: websockets.WebSocket) -> None:
        self._connection = connection

    def append(self, func: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function after the connection has ended, after the end at once.

        They run one after the other, after `exit_stack` was closed, within the 10 seconds of
        `WebSocket.add_cleanup`. What one raises is logged, and the next one runs.

        Args:
            func: A function or coroutine function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Raises:
            TypeError: It cannot be called.
        """
        self._connection.add_cleanup(functools.partial(func, *args, **kwargs))


class WebSocket(websockets.WebSocket):
    """A connection; see `telex.WebSocket`, and the head of this file for what differs."""

    headers_class = Headers
    query_params_class = QueryParams

    @property
    def client(self) -> Address:
        """The client's address, `Address(None, None)` when the server does not know it."""
        return super().client or _UNKNOWN

    def url_for(
        self, name: str, /, path_params: Mapping[str, Any] | None = None, **params: Any
    ) -> URL:
        """Return the absolute URL of a route, on the host that this connection came to.

        Args:
            name: The route's name.
            path_params: The parameters in its path, `None` for none.
            **params: The same as keywords.

        Raises:
            NoMatchFound: No route has that name and these parameters.
            ImproperlyConfigured: There is no router in the scope.
        """
        return super().url_for(name, **{**(path_params or {}), **params})

    @property
    def exit_stack(self) -> AsyncExitStack:
        """What is put on this stack is left when the connection has ended, in whatever way.

        All objects for one connection have the same stack. It is closed in a task of its own,
        within the 10 seconds of `add_cleanup`, and without the exception that ended the handler.

        Raises:
            WebSocketRuntimeError: It was closed, for the connection has ended.
        """
        stack = _stack_of(self)
        if stack.closed:
            raise WebSocketRuntimeError("exit_stack was closed when the connection ended")
        return stack

    @property
    def background_tasks(self) -> BackgroundTasks:
        """What is still to be done when the connection has ended."""
        # Made now, so that it is closed before the first of them runs.
        _stack_of(self)
        return BackgroundTasks(self)


class _ExitStack(AsyncExitStack):
    """A stack that knows whether it was closed."""

    closed = False

    def end(self) -> Coroutine[Any, Any, None]:
        # Said before it is awaited: what is put on it meanwhile nobody would take off.
        self.closed = True
        return self.aclose()


def _stack_of(ws: websockets.WebSocket) -> _ExitStack:
    """Return the stack of a connection, made at its first use."""
    progress = link_of(ws).progress
    if progress.bound is None:
        progress.bound = {}
    stack: _ExitStack | None = progress.bound.get(_ExitStack)
    if stack is None:
        stack = progress.bound[_ExitStack] = _ExitStack()
        ws.add_cleanup(stack.end)
    return stack
