"""What a plan consists of: where each argument of a callable comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from telex.binding._coerce import MISSING, Convert, Misfit
from telex.binding._sources import ABSENT, Take
from telex.connection import Connection
from telex.exceptions import ImproperlyConfigured
from telex.params import DependencyScope, Where
from telex.websockets import WebSocket

Kind: TypeAlias = Literal["function", "generator", "async generator"]


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An argument from the request.

    Attributes:
        where: The part of the request.
        key: Its name there.
        take: Gets it from the connection, `ABSENT` when it is not there.
        convert: Makes a value of it.
        default: Gives the value when it is not there; `None`: it is required.
        secret: Whether it must not be shown.
        expected: The name of its type.
    """

    where: Where
    key: str
    take: Take
    convert: Convert
    default: Callable[[], Any] | None
    secret: bool
    expected: str

    def get(self, ws: Connection) -> Any:
        """Return the argument.

        Raises:
            Misfit: It is missing or does not fit.
            ImproperlyConfigured: The path has no parameter of that name.
        """
        raw = self.take(ws)
        if raw is not ABSENT:
            return self.convert(raw)
        if self.default is not None:
            return self.default()
        if self.where == "path":
            # No client can leave that out.
            raise ImproperlyConfigured(
                f"the path {ws.path!r} has no parameter {self.key!r}; "
                f"it has {sorted(ws.path_params) or 'none'}"
            )
        raise Misfit(("", MISSING))


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """An argument that is there: the connection, its state, the application."""

    get: Callable[[WebSocket], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Payload:
    """The argument that is the message itself.

    Attributes:
        hint: Its type.
    """

    hint: Any


@dataclass(frozen=True, slots=True, eq=False)
class Dependency:
    """An argument that a callable makes.

    Attributes:
        call: The callable that was named, which stands for it.
        run: The one that is called; another one where it is overridden.
        kind: What is to be done with what it returns.
        plan: How it is called.
        use_cache: Whether one call per connection is enough.
        scope: How long a generator stays open.
        thread: Whether it runs in a thread.
    """

    call: Callable[..., Any]
    run: Callable[..., Any]
    kind: Kind
    plan: Plan
    use_cache: bool
    scope: DependencyScope
    thread: bool


Step: TypeAlias = Value | Given | Payload | Dependency


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How a callable is called.

    Attributes:
        name: The callable, for error texts.
        positional: The arguments by position.
        named: The arguments by name.
        needs: Names that must be parameters of the path, and whose parameters they are.
    """

    name: str
    positional: tuple[Step, ...]
    named: tuple[tuple[str, Step], ...]
    needs: Mapping[str, str]

    def steps(self) -> Iterator[Step]:
        """Go through the arguments."""
        yield from self.positional
        for _, step in self.named:
            yield step

    def call_with(self, argument: Callable[[Step], Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments, each made by a function from its step."""
        return [argument(s) for s in self.positional], {n: argument(s) for n, s in self.named}

    def replaced(self, new: Callable[[Step], Step]) -> Plan:
        """Return the same plan with every step replaced by what a function returns."""
        positional = tuple(new(step) for step in self.positional)
        return replace(self, positional=positional, named=tuple((n, new(s)) for n, s in self.named))

    @property
    def has_dependencies(self) -> bool:
        """Whether something has to be called first."""
        return any(isinstance(step, Dependency) for step in self.steps())


def constant(value: Any) -> Given:
    """Return the step for a value that is known."""
    return Given(lambda _: value)
