"""What a handler parameter is filled with: the markers that go into `Annotated`.

    async def room(
        ws: WebSocket,
        name: str,                                            # from the path
        limit: Annotated[int, Query()] = 50,                  # ?limit=20
        session: Annotated[Session, Depends(open_session)],   # what the function returns
    ) -> None: ...

A marker says where a value comes from, the type what it becomes; see `docs/binding.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, TypeAlias

Where: TypeAlias = Literal["query", "path", "header", "cookie"]
DependencyScope: TypeAlias = Literal["connection", "handshake", "message"]

SCOPES: Final = ("connection", "handshake", "message")


@dataclass(frozen=True, slots=True)
class Param:
    """What `Query`, `Path`, `Header` and `Cookie` have in common; use one of these.

    Args:
        default: The value when there is none; `...` for none, then it is required. The default
            of the parameter, `= 5`, is the same.
        alias: The name outside, where it differs from that of the parameter.
        default_factory: Called for the value when there is none.

    Raises:
        TypeError: Both a default and a factory, a factory that cannot be called, an alias that is
            no name, or `Param` itself.
    """

    where: ClassVar[Where]
    secret: ClassVar[bool] = False
    """Whether its value must not be shown to anybody."""

    default: Any = ...
    alias: str | None = field(default=None, kw_only=True)
    default_factory: Callable[[], Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        factory = self.default_factory
        name = type(self).__name__
        if not hasattr(self, "where"):
            raise TypeError(f"{name} does not say where; use Query, Path, Header or Cookie")
        if factory is not None and not callable(factory):
            raise TypeError(f"{name}(default_factory=) must be callable, got {factory!r}")
        if factory is not None and self.default is not ...:
            raise TypeError(f"{name} takes a default or a default_factory, not both")
        if self.alias is not None and (not isinstance(self.alias, str) or not self.alias):
            raise TypeError(f"{name}(alias=) must be a name, got {self.alias!r}")


class Query(Param):
    """A parameter from the query string: `Annotated[int, Query()]`.

    A list, set or tuple takes all values of that name. A Struct, dataclass, TypedDict or pydantic
    model takes the whole query, a field for each name.
    """

    __slots__ = ()
    where = "query"


class Path(Param):
    """A parameter from the path, where its name is not enough: under a mounted prefix, or `alias`.

    A parameter without a marker that bears the name of a path parameter is filled as well.
    """

    __slots__ = ()
    where = "path"


class Header(Param):
    """A parameter from a request header; `user_agent` is `user-agent`. Never shown in an error."""

    __slots__ = ()
    where = "header"
    secret = True


class Cookie(Param):
    """A parameter from a cookie. Never shown in an error."""

    __slots__ = ()
    where = "cookie"
    secret = True


@dataclass(frozen=True, slots=True)
class Depends:
    """A parameter that a function makes: `Annotated[Session, Depends(open_session)]`.

    The function may have parameters like a handler's, dependencies too. What it returns is the
    value; a generator function yields it, and goes on when the connection has ended, with the
    exception that ended the handler thrown in, if there was one.

    Args:
        dependency: A function, coroutine function, generator function or asynchronous one, a
            class, or any callable object. `None`: the type of the parameter.
        use_cache: Whether one call per connection is enough for everybody who depends on it.
        scope: When a generator goes on: `"connection"` when the handler has ended, `"handshake"`
            right after accept (so that no database connection is held for hours), `"message"`
            after each message of a listener.
        thread: Run a function that blocks, or a generator's steps, in a thread.

    Raises:
        TypeError: It cannot be called.
        ValueError: Another scope.
    """

    dependency: Callable[..., Any] | None = None
    use_cache: bool = field(default=True, kw_only=True)
    scope: DependencyScope = field(default="connection", kw_only=True)
    thread: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.dependency is not None and not callable(self.dependency):
            raise TypeError(f"Depends() takes something to call, got {self.dependency!r}")
        if self.scope not in SCOPES:
            known = ", ".join(map(repr, SCOPES))
            raise ValueError(f"Depends(scope=) must be one of {known}, not {self.scope!r}")
