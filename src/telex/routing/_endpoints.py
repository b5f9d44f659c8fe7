"""From what was registered to the function that runs, with the socket middlewares around it.

A socket middleware is a function that gets the endpoint and returns another one:

    def timed(endpoint):
        @functools.wraps(endpoint)
        async def wrapper():
            started = perf_counter()
            try:
                return await endpoint()
            finally:
                log.info("%s took %.1f s", websocket.url.path, perf_counter() - started)
        return wrapper

The wrapper may take what a handler may take. It may leave the endpoint uncalled, to reject.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn

from telex.binding import describe, needing, needs_of
from telex.handlers import function_endpoint
from telex.lifecycle import Endpoint
from telex.listeners import Listener
from telex.streams import Stream
from telex.views import SocketView, view_endpoint

Handler = Callable[..., Awaitable[object]] | type[SocketView] | Listener | Stream
"""What can be registered: an async function, a `SocketView` class, a `Listener`, a `Stream`."""

SocketMiddleware = Callable[[Endpoint], Callable[..., Awaitable[object]]]
"""Gets the endpoint, which is called without arguments, and returns what runs instead."""

_NAMES: Final = ("__module__", "__name__", "__qualname__", "__doc__")


def compile_endpoint(endpoint: Handler) -> Endpoint:
    """Return what runs for a handler.

    Raises:
        TypeError: It is neither an async function nor a `SocketView`, or its parameters cannot
            be served.
    """
    if isinstance(endpoint, Listener | Stream):
        return needing(endpoint.__call__, endpoint.needs)
    if not isinstance(endpoint, type):
        return function_endpoint(endpoint)
    if not issubclass(endpoint, SocketView):
        raise TypeError(f"{describe(endpoint)} is a class, but no SocketView")
    return view_endpoint(endpoint)


def wrap(endpoint: Endpoint, middlewares: Sequence[SocketMiddleware]) -> Endpoint:
    """Put middlewares around an endpoint, the first one outermost.

    Raises:
        TypeError: A middleware cannot be called, or does not return an async function.
    """
    for middleware in reversed(middlewares):
        endpoint = _wrap_once(endpoint, middleware)
    return endpoint


def default_name(endpoint: Any) -> str:
    """Return the name of a route that was given none: that of the function or class behind it."""
    while isinstance(endpoint, functools.partial):
        endpoint = endpoint.func
    name = getattr(endpoint, "__name__", None)
    return name if isinstance(name, str) else type(endpoint).__name__


def _wrap_once(endpoint: Endpoint, middleware: SocketMiddleware) -> Endpoint:
    """Put one middleware around an endpoint."""
    if not callable(middleware):
        raise TypeError(f"socket middleware {middleware!r} cannot be called")
    inner = _nameplate(endpoint)
    wrapper = middleware(inner)
    if inspect.iscoroutine(wrapper):
        # An `async def` middleware; closed, so that nothing is reported as never awaited.
        wrapper.close()
    _forget(wrapper, inner)
    try:
        return needing(function_endpoint(wrapper), needs_of(endpoint))
    except TypeError as error:
        raise TypeError(
            f"socket middleware {describe(middleware)} must return an async function: {error}"
        ) from error


def _nameplate(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that has the name of another one, but none of its annotations."""
    inner = _Nameplate(endpoint)
    for name in _NAMES:
        if hasattr(endpoint, name):
            setattr(inner, name, getattr(endpoint, name))
    return inner


class _Nameplate(functools.partial[Awaitable[object]]):
    """An endpoint without annotations.

    `functools.wraps` copies annotations over those of the wrapper, which would then be lost. A
    partial object has none to copy, until somebody looks for them on its class.
    """

    @property
    def __annotations__(self) -> NoReturn:  # type: ignore[override]
        raise AttributeError("__annotations__")


def _forget(wrapper: object, inner: Endpoint) -> None:
    """Undo the claim of `functools.wraps` that a wrapper has the signature of its endpoint."""
    each: Any = wrapper
    while (wrapped := getattr(each, "__wrapped__", None)) is not None:
        if wrapped is inner:
            del each.__wrapped__
            return
        each = wrapped
