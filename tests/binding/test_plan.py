"""From a signature to a plan, once; everything that is wrong with it is found then."""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, cast

import msgspec
import pytest

from clients import rejection
from telex import App, Cookie, Depends, Header, Path, Query, State, WebSocket
from telex.binding import describe
from telex.binding._plan import build_plan
from telex.binding._steps import Dependency, Given, Plan, Value
from telex.connection import Connection

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

T = TypeVar("T")


class Filters(msgspec.Struct):
    limit: int


class Service:
    def __init__(self, limit: Annotated[int, Query()] = 3) -> None:
        self.limit = limit

    def __call__(self) -> None: ...


class Repository(Generic[T]):
    def __init__(self, room: str) -> None: ...


class Opaque:
    """A class that nothing can be made into."""


def function() -> None: ...


async def coroutine_function() -> None: ...


def generator() -> Iterator[None]:
    yield


async def async_generator() -> AsyncIterator[None]:
    yield


class Generator:
    def __call__(self) -> Iterator[None]:
        yield


def values(plan: Plan) -> list[tuple[str, str, str]]:
    return [(s.where, s.key, s.expected) for s in plan.steps() if isinstance(s, Value)]


def dependency(plan: Plan) -> Dependency:
    [step] = plan.steps()
    assert isinstance(step, Dependency)
    return step


def typed(hint: Any, default: Any = ...) -> Callable[..., Any]:
    def fn(it: Any) -> None: ...

    fn.__annotations__["it"] = hint
    if default is not ...:
        fn.__defaults__ = (default,)
    return fn


def error_of(fn: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(TypeError) as caught:
        build_plan(fn, **options)
    assert type(caught.value) is TypeError
    text = str(caught.value)
    prefix = f"{describe(fn)}: parameter 'it': "
    assert text.startswith(prefix)
    return text.removeprefix(prefix)


# Plans


def test_every_argument_has_a_step_in_the_order_of_the_signature() -> None:
    def fn(
        first: int,
        second: int = 2,
        /,
        third: Annotated[int, Query()] = 3,
        left_alone: list[int] | set[int] | None = None,
        *,
        state: State,
        page_size: Annotated[int, Header()],
        other: Annotated[int, Cookie(alias="o")],
    ) -> None: ...

    plan = build_plan(fn)
    assert plan.name == describe(fn)
    assert len(plan.positional) == 2
    assert [name for name, _ in plan.named] == ["third", "state", "page_size", "other"]
    assert values(plan) == [
        ("path", "first", "int"),
        ("path", "second", "int"),
        ("query", "third", "int"),
        ("header", "page-size", "int"),
        ("cookie", "o", "int"),
    ]
    assert {*plan.needs} == {"first"}
    assert not plan.has_dependencies


def test_a_positional_argument_that_nothing_fills_keeps_its_default() -> None:
    def fn(it: list[int] | set[int] | int = 3, other: int = 4, /) -> None: ...

    first, second = build_plan(fn).steps()
    assert isinstance(first, Given)
    assert first.get(cast("WebSocket", None)) == 3
    assert isinstance(second, Value)


@pytest.mark.parametrize(
    ("name", "hint", "given"),
    [
        ("it", WebSocket, True),
        ("it", Annotated[WebSocket, "doc"], True),
        ("it", Connection, True),
        ("it", Annotated[Connection, "doc"], True),
        ("it", State, True),
        ("it", App, True),
        ("it", Annotated[State, "doc"], True),
        ("ws", None, True),
        ("websocket", Any, True),
        ("it", str, False),
        ("it", Any, False),
        ("state", Any, False),
    ],
)
def test_what_is_there_is_given_by_type_or_name(name: str, hint: Any, given: bool) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def fn({name}): ...", namespace)
    fn = namespace["fn"]
    if hint is not None:
        fn.__annotations__[name] = hint
    [step] = build_plan(fn).steps()
    assert isinstance(step, Given if given else Value)


def test_a_named_connection_with_a_default_is_none_of_ours() -> None:
    def fn(ws: Opaque | None = None) -> None: ...

    [step] = build_plan(fn).steps()
    assert isinstance(step, Value)


def test_what_dependencies_need_of_the_path_is_known() -> None:
    def inner(day: str, room: Annotated[str, Path()]) -> None: ...
    def outer(it: Annotated[None, Depends(inner)], hour: int) -> None: ...
    def fn(name: str, it: Annotated[None, Depends(outer)]) -> None: ...

    fn.__annotations__["it"] = Annotated[None, Depends(outer)]
    outer.__annotations__["it"] = Annotated[None, Depends(inner)]
    plan = build_plan(fn)
    assert {*plan.needs} == {"day", "hour", "name"}
    assert plan.has_dependencies


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (function, "function"),
        (coroutine_function, "function"),
        (generator, "generator"),
        (async_generator, "async generator"),
        (Generator(), "generator"),
        (Service, "function"),
        (functools.partial(async_generator), "async generator"),
        (functools.partial(Generator()), "generator"),
    ],
)
def test_the_kind_of_a_dependency_is_known(call: Any, kind: str) -> None:
    step = dependency(build_plan(typed(Annotated[Any, Depends(call)])))
    assert (step.kind, step.call, step.run) == (kind, call, call)


@pytest.mark.parametrize("hint", [Service, Annotated[Service, "doc"]])
def test_a_dependency_without_a_function_is_the_class(hint: Any) -> None:
    step = dependency(build_plan(typed(Annotated[hint, Depends()])))
    assert step.call is Service
    assert values(step.plan) == [("query", "limit", "int")]


def test_the_type_arguments_of_a_class_are_not_for_calling() -> None:
    plan = build_plan(typed(Annotated[Repository[int], Depends()]))
    assert dependency(plan).call is Repository
    assert {*plan.needs} == {"room"}


@pytest.mark.parametrize("default", [[1], {"a": 1}, {1}])
def test_a_default_that_can_be_changed_is_copied(default: Any) -> None:
    for fn in (
        typed(Annotated[Any, Query()], default),
        typed(Annotated[Any, Query(default)]),
    ):
        [step] = build_plan(fn).steps()
        assert isinstance(step, Value)
        assert step.default is not None
        assert step.default() == default
        assert step.default() is not default


def test_another_default_is_the_object_itself() -> None:
    default = Opaque()
    [step] = build_plan(typed(Annotated[Any, Query()], default)).steps()
    assert isinstance(step, Value)
    assert step.default is not None
    assert step.default() is default


# What is wrong


def needs_itself(it: Any) -> None: ...


needs_itself.__annotations__["it"] = Annotated[Any, Depends(needs_itself)]


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (typed(Annotated[Opaque, Query()]), "Opaque cannot be read from text"),
        (typed(Annotated[WebSocket, Query()]), "WebSocket cannot be read from text"),
        (
            typed(Annotated[list[list[int]], Header()], 3),
            "list[list[int]] cannot be read from text",
        ),
        (
            typed(Annotated[Filters, Query(alias="f")]),
            "Filters takes every name there is, so it has no alias",
        ),
        (
            typed(Annotated[dict[str, str], Cookie(alias="f")]),
            "dict[str, str] takes every name there is, so it has no alias",
        ),
        (
            typed(Annotated[int, Query(3)], 4),
            "it has two defaults, one in the marker and one behind '='",
        ),
        (
            typed(Annotated[int, Query(default_factory=int)], 4),
            "it has two defaults, one in the marker and one behind '='",
        ),
        (typed(Annotated[int, Depends(function)], 4), "a dependency has no default"),
        (
            typed(Annotated[int | None, Depends()]),
            "Depends() without a function needs a class as the type",
        ),
        (
            typed(Annotated[Any, Depends(coroutine_function, thread=True)]),
            f"{describe(coroutine_function)} is asynchronous and cannot run in a thread",
        ),
        (
            typed(Annotated[Any, Depends(async_generator, thread=True)]),
            f"{describe(async_generator)} is asynchronous and cannot run in a thread",
        ),
        (
            typed(Annotated[Any, Depends(function, scope="message")]),
            "scope='message' is for listeners, which are called for each message",
        ),
    ],
)
def test_what_is_wrong_with_a_parameter_is_told_with_its_name(
    fn: Callable[..., Any], text: str
) -> None:
    assert error_of(fn) == text


def test_a_type_that_is_not_there_is_told() -> None:
    def by_path(it: Missing) -> None: ...
    def by_query(it: Annotated[Missing, Query()] = 3) -> None: ...
    def by_class(it: Annotated[Missing, Depends()]) -> None: ...

    why = "name 'Missing' is not defined"
    assert error_of(by_path) == f"its type cannot be told: {why}"
    assert error_of(by_query) == f"its type cannot be told: {why}"
    assert error_of(by_class) == (
        f"Depends() without a function needs a class as the type, which cannot be told: {why}"
    )


def test_an_error_in_a_dependency_is_told_where_it_is() -> None:
    inner = typed(Annotated[Opaque, Query()])
    with pytest.raises(TypeError) as caught:
        build_plan(typed(Annotated[Any, Depends(inner)]))
    text = f"{describe(inner)}: parameter 'it': Opaque cannot be read from text"
    assert str(caught.value) == text


def test_a_circle_of_dependencies_is_told() -> None:
    with pytest.raises(TypeError) as caught:
        build_plan(needs_itself)
    name = describe(needs_itself)
    assert str(caught.value) == (f"{name}: parameter 'it': it depends on itself: {name} -> {name}")


@pytest.mark.parametrize(
    ("outer", "inner", "fine"),
    [
        ("connection", "connection", True),
        ("handshake", "handshake", True),
        ("message", "message", True),
        ("handshake", "connection", True),
        ("message", "connection", True),
        ("connection", "handshake", False),
        ("connection", "message", False),
        ("message", "handshake", False),
    ],
)
def test_what_lives_longer_does_not_depend_on_what_lives_shorter(
    outer: Any, inner: Any, fine: bool
) -> None:
    between = typed(Annotated[Any, Depends(function, scope=inner)])
    fn = typed(Annotated[Any, Depends(between, scope=outer)])
    if fine:
        build_plan(fn, message=True)
        return
    with pytest.raises(TypeError) as caught:
        build_plan(fn, message=True)
    assert str(caught.value) == (
        f"{describe(between)}: parameter 'it': a dependency with scope={outer!r} outlives one "
        f"with scope={inner!r}"
    )


# Once


@contextmanager
def watching() -> Iterator[list[tuple[str, str]]]:
    """Note every look at a signature or a type: the module that looks, and how."""
    looked: list[tuple[str, str]] = []

    def watch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watcher(*args: Any, **kwargs: Any) -> Any:
            looked.append((sys._getframe(1).f_globals["__name__"], name))
            return real(*args, **kwargs)

        patch.setattr(owner, name, watcher)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("signature", "unwrap", "isgeneratorfunction", "getattr_static"):
            watch(inspect, name)
        watch(typing, "get_type_hints")
        watch(msgspec.inspect, "type_info")
        watch(msgspec.structs, "fields")
        # Under the names they were imported by, too.
        for module in [each for key, each in sys.modules.items() if "telex.binding." in key]:
            for name in ("get_type_hints", "declared", "fields_of", "converter", "build_plan"):
                if hasattr(module, name):
                    watch(module, name)
        yield looked


@pytest.mark.row("T74")
async def test_serving_looks_at_no_signature() -> None:
    got: list[Any] = []
    app = App()

    async def handler(
        ws: WebSocket,
        room: str,
        service: Annotated[Service, Depends()],
        filters: Annotated[Filters, Query()],
        user_agent: Annotated[str, Header()] = "",
    ) -> None:
        got.append((room, service.limit, filters.limit, user_agent))

    app.websocket("/{room}")(handler)
    with watching() as looked:
        fits = await rejection(app, "/lobby?limit=5")
        wrong = await rejection(app, "/lobby?limit=x")
        served = [each for each in looked if each[0].startswith("telex.")]
        looked.clear()
        app.websocket("/other/{room}", name="other")(handler)
    assert (fits.status, wrong.status, got) == (403, 422, [("lobby", 5, 5, "telex-testing")])
    assert served == []
    assert {name for _, name in looked} >= {"signature", "get_type_hints", "type_info", "fields"}
