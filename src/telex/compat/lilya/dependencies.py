"""Lilya's `lilya.dependencies`, as far as handlers of WebSockets use it: `Provide`, `Provides`.

    app = Lilya(routes=[WebSocketPath("/", chat)], dependencies={"db": Provide(connect)})

    async def chat(websocket: WebSocket, db: Any = Provides()) -> None: ...

Telex asks in the signature, `Annotated[..., Depends(connect)]`; here a map gives values to
parameters by name, that of the route before that of the application.

| parameter | there is a dependency of its name | there is none |
|---|---|---|
| `db=Provides()` | it gets the value | `ImproperlyConfigured` when the route is added |
| `db`, `db: Any` | it gets the value | it is any other parameter |
| `db=None` | it gets the value | it keeps its default |
| marked as Telex does it | what the mark says | what the mark says |

What is provided has parameters of the same kinds, so that one can build upon another. Elsewhere
`Provides()` is `ImproperlyConfigured` when the route is added: in a class view, a listener, a
stream, a `telex.SocketRoute` and below `Depends`, where Telex asks in the signature. The rest goes
as with every handler of Telex: path parameters by name, generators are closed at the end, and
`app.dependency_overrides[connect] = fake` is for tests; a fake asks in its signature too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final

from telex.app import App
from telex.binding import declared, describe
from telex.binding._dependencies import STANDS_FOR
from telex.binding._signature import Declared
from telex.compat.lilya.websockets import WebSocket
from telex.datastructures import State
from telex.exceptions import ImproperlyConfigured
from telex.listeners import Listener
from telex.params import Depends
from telex.streams import Stream
from telex.websockets import WebSocket as AnyWebSocket

__all__ = ["Provide", "Provides"]

_EMPTY: Final = inspect.Parameter.empty
_CONNECTION_NAMES: Final = ("websocket", "ws", "request")
_TRIPLE: Final = ["scope", "receive", "send"]


class Provide:
    """How a value is made: an entry of `dependencies`.

    Args:
        dependency: What is called: a function, coroutine function or generator function of either
            kind, whose parameters are filled as the module says, or a class.
        *args: With any of these, and for a class, it is called with just these.
        use_cache: Whether one call per connection is enough for everybody who depends on it.
        **kwargs: The same by name.

    Raises:
        TypeError: It cannot be called.
    """

    def __init__(
        self, dependency: Callable[..., Any], *args: Any, use_cache: bool = False, **kwargs: Any
    ) -> None:
        if not callable(dependency):
            raise TypeError(f"Provide() takes something to call, got {dependency!r}")
        self.dependency = dependency
        self.provided_args = args
        self.provided_kwargs = kwargs
        self.use_cache = use_cache

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be filled."""
        given = self.provided_args or self.provided_kwargs
        return bool(given) or isinstance(self.dependency, type)


class Provides:
    """The default of a parameter that must get the dependency of its name."""


def provided(dependencies: Mapping[str, Any] | None) -> dict[str, Provide]:
    """Return a map as Lilya takes it, functions and plain values made to what provides them."""
    return {name: _provide(each) for name, each in (dependencies or {}).items()}


def adapted(
    handler: Callable[..., Any],
    provides: Mapping[str, Provide],
    path: Collection[str],
    *,
    complete: bool,
) -> Callable[..., Any]:
    """Return a handler with a signature that says in Telex's words where its arguments come from.

    Args:
        handler: A function, bound method, partial object or object with `__call__`.
        provides: What it can get by name.
        path: The names of the parameters of its path.
        complete: Whether a missing dependency is a mistake already: the route has been added.

    Raises:
        ImproperlyConfigured: A dependency that must be there is not, and `complete`.
        TypeError: A signature that cannot be read.
    """
    required = [each.name for each in declared(handler) if each.default is _EMPTY]
    if required == _TRIPLE:
        return handler
    return _Adapter(provides, path, complete).handler(handler)


def check_unadapted(endpoint: Any) -> None:
    """Make sure that nothing is `Provides()` that Telex calls without an adapter.

    Args:
        endpoint: A function, a class, of which all methods are looked at, a listener or a stream.

    Raises:
        ImproperlyConfigured: A parameter is; it would get just that.
    """
    calls = [endpoint]
    if isinstance(endpoint, type):
        calls += [each for _, each in inspect.getmembers_static(endpoint, inspect.isfunction)]
    elif isinstance(endpoint, Listener | Stream):
        calls = [vars(endpoint)["__wrapped__"]]
    for each in calls:
        _refuse_provides(each)


def _refuse_provides(fn: Any) -> None:
    try:
        parameters = declared(fn)
    except TypeError:
        # Telex has said so where it fills them; here it may be anybody's method.
        return
    for each in parameters:
        if isinstance(each.default, Provides):
            raise ImproperlyConfigured(
                f"{describe(fn)}: parameter {each.name!r} is Provides(), which is for functions of "
                "a WebSocketPath and what they get; annotate it: Annotated[..., Depends(function)]"
            )
        if isinstance(each.marker, Depends):
            _refuse_provides(_named(each.marker, each.hint))


def _named(marker: Depends, hint: Any) -> Any:
    """Return what is called: a function, or the class that a parameter is annotated with."""
    if marker.dependency is not None:
        return marker.dependency
    while hasattr(hint, "__origin__"):
        hint = hint.__origin__
    return hint


def _provide(value: Any) -> Provide:
    if isinstance(value, Provide):
        return value
    return Provide(value if callable(value) else lambda: value)


class _Adapter:
    """Writes signatures for one route."""

    def __init__(
        self, provides: Mapping[str, Provide], path: Collection[str], complete: bool
    ) -> None:
        self._provides = provides
        self._path = path
        self._complete = complete
        self._made: dict[Provide, Callable[..., Any]] = {}

    def handler(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return a handler; its first parameter is the connection, if nothing else fills it."""
        parameters = declared(fn)
        return self._signed(functools.partial(fn), fn, self._connection(parameters[:1], parameters))

    def _dependency(self, provide: Provide) -> Callable[..., Any]:
        """Return what makes a value; its only parameter is the connection, in the same way."""
        made = self._made.get(provide)
        if made is not None:
            return made
        fn = provide.dependency
        call = functools.partial(fn, *provide.provided_args, **provide.provided_kwargs)
        # Before its parameters, of which it may be one: Telex then says what depends on itself.
        self._made[provide] = call
        setattr(call, STANDS_FOR, fn)
        if provide.complete:
            if self._complete:
                _refuse_provides(call)
            return _with_signature(call, [])
        parameters = declared(fn)
        alone = parameters if len(parameters) == 1 else []
        return self._signed(call, fn, self._connection(alone, parameters))

    def _connection(self, candidates: list[Declared], parameters: list[Declared]) -> str | None:
        """Return the name of the parameter that is the connection and does not say so itself."""
        if any(_is(each.hint, AnyWebSocket) for each in parameters):
            return None
        free = [each for each in parameters if self._is_free(each)]
        named = [each for each in free if each.name in _CONNECTION_NAMES]
        first = next(iter(named or [each for each in candidates if each in free]), None)
        return None if first is None else first.name

    def _is_free(self, parameter: Declared) -> bool:
        """Whether nothing else fills a parameter."""
        taken = parameter.name in self._path or parameter.name in self._provides
        return (
            not taken
            and parameter.marker is None
            and parameter.default is _EMPTY
            and not _is(parameter.hint, (State, App))
        )

    def _signed(
        self, call: functools.partial[Any], fn: Callable[..., Any], connection: str | None
    ) -> Callable[..., Any]:
        """Give a callable the signature of a function in Telex's words."""
        raw = inspect.signature(fn).parameters
        signed = []
        for each in declared(fn):
            # By name, so that the order of those with a default does not matter.
            by_name = inspect.Parameter.KEYWORD_ONLY
            parameter = raw[each.name]
            if not each.positional:
                parameter = parameter.replace(kind=by_name)
            if each.marker is None and self._is_dependency(each):
                marker = self._marker(each.name, fn)
                parameter = parameter.replace(annotation=Annotated[Any, marker], default=_EMPTY)
            elif each.name == connection:
                parameter = parameter.replace(annotation=WebSocket)
            signed.append(parameter)
        return _with_signature(call, signed)

    def _is_dependency(self, parameter: Declared) -> bool:
        return parameter.name in self._provides or isinstance(parameter.default, Provides)

    def _marker(self, name: str, owner: Callable[..., Any]) -> Depends:
        provide = self._provides.get(name)
        if provide is not None:
            return Depends(self._dependency(provide), use_cache=provide.use_cache)
        error = ImproperlyConfigured(
            f"{describe(owner)}: parameter {name!r} is Provides(), and neither the route nor the "
            "application has a dependency of that name"
        )
        if self._complete:
            raise error

        def missing() -> None:
            raise error

        return Depends(missing)


def _is(hint: Any, classes: type | tuple[type, ...]) -> bool:
    return isinstance(hint, type) and issubclass(hint, classes)


def _with_signature(
    call: functools.partial[Any], parameters: list[inspect.Parameter]
) -> Callable[..., Any]:
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call
