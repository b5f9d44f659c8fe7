"""Steps: where an argument comes from, and plans made of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest

from opened import connecting
from telex import Depends, Path, Query, State, WebSocket
from telex.binding._coerce import MISSING, Misfit
from telex.binding._plan import build_plan, dependency_of
from telex.binding._steps import Dependency, Given, Payload, Plan, Step, Value, constant
from telex.exceptions import ImproperlyConfigured


def generator() -> Iterator[None]:
    yield


async def async_generator() -> AsyncIterator[None]:
    yield


def typed(hint: Any, default: Any = ...) -> Callable[..., Any]:
    def fn(it: Any) -> None: ...

    fn.__annotations__["it"] = hint
    if default is not ...:
        fn.__defaults__ = (default,)
    return fn


def only(plan: Plan, kind: type[Any]) -> Any:
    [step] = plan.steps()
    assert isinstance(step, kind)
    return step


def asked(query: str, hint: Any, default: Any = ...) -> Any:
    """What a parameter gets from a request."""
    ws, _ = connecting(query_string=query.encode())
    return only(build_plan(typed(hint, default)), Value).get(ws)


# Values


def test_a_value_is_converted() -> None:
    assert asked("it=3", Annotated[int, Query()]) == 3


def test_a_value_that_is_not_there_has_its_default() -> None:
    assert asked("", Annotated[int, Query()], 7) == 7


@pytest.mark.parametrize("query", ["", "it=x"])
def test_a_value_that_is_missing_or_wrong_does_not_fit(query: str) -> None:
    with pytest.raises(Misfit) as caught:
        asked(query, Annotated[int, Query()])
    assert (("", MISSING) in caught.value.args) == (query == "")


def test_a_path_without_the_parameter_is_a_mistake_of_the_application() -> None:
    with pytest.raises(ImproperlyConfigured, match="no parameter 'it'; it has none"):
        asked("", Annotated[int, Path()])


# Plans


def everything(
    first: Annotated[int, Query()],
    /,
    ws: WebSocket,
    *,
    state: State,
    data: int,
    it: Annotated[None, Depends(generator)],
) -> None: ...


def test_the_steps_are_in_the_order_of_the_signature() -> None:
    plan = build_plan(everything, message=True)
    assert [type(step) for step in plan.steps()] == [Value, Given, Given, Payload, Dependency]
    assert plan.has_dependencies


def test_only_what_has_to_be_called_is_a_dependency() -> None:
    assert not build_plan(typed(WebSocket)).has_dependencies


def test_a_plan_makes_its_arguments_by_a_function() -> None:
    plan = build_plan(everything, message=True)
    names: dict[Step, int] = {step: n for n, step in enumerate(plan.steps())}
    assert plan.call_with(names.__getitem__) == ([0], {"ws": 1, "state": 2, "data": 3, "it": 4})


def test_replacing_steps_leaves_the_plan_as_it_is() -> None:
    plan = build_plan(everything, message=True)
    ws, _ = connecting()
    replaced = plan.replaced(lambda step: constant(7))
    given = [step.get(ws) for step in replaced.steps() if isinstance(step, Given)]
    assert given == [7] * 5
    assert (replaced.name, replaced.needs) == (plan.name, plan.needs)
    assert not replaced.has_dependencies
    assert plan.has_dependencies


def test_a_plan_can_have_its_dependencies_replaced() -> None:
    plan = build_plan(typed(Annotated[Any, Depends(generator, thread=True)]))

    def other(step: Step) -> Step:
        assert isinstance(step, Dependency)
        return dependency_of(async_generator, step)

    replaced = plan.replaced(other)
    step = only(replaced, Dependency)
    assert (step.call, step.run, step.kind) == (generator, async_generator, "async generator")
    assert not step.thread
    assert only(plan, Dependency).run is generator
