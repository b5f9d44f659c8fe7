"""Tasks belong to whoever made them, whatever task factory the loop has."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from contextlib import ExitStack
from typing import Any

import anyio
import pytest

from opened import soon, turns, until
from telex.testing._owner import Owned, owner, watching_tasks

NEEDS_EAGER = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="eager tasks came with Python 3.12"
)


class Gate(asyncio.Event):
    """Something to wait for."""

    async def passed(self) -> None:
        await self.wait()


class Recording:
    """A task factory that somebody else has set."""

    def __init__(self, before: Any = None) -> None:
        self.before = before
        self.made: list[str] = []

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        self.made.append(coro.__name__)
        if self.before is not None:
            made: asyncio.Task[Any] = self.before(loop, coro, **options)
            return made
        return asyncio.Task(coro, loop=loop, **options)


def factory() -> Any:
    return asyncio.get_running_loop().get_task_factory()


async def owned_by(owned: Owned, gate: Gate) -> asyncio.Task[None]:
    """Make a task as a handler with that owner would."""

    async def handler() -> asyncio.Task[None]:
        owner.set(owned)
        return asyncio.create_task(gate.passed(), name="child")

    return await asyncio.create_task(handler())


# What belongs to whom


async def test_a_task_belongs_to_the_owner_in_whose_context_it_is_made() -> None:
    gate, one, two = Gate(), Owned(), Owned()
    with watching_tasks():
        child = await owned_by(one, gate)
        other = await owned_by(two, gate)
        nobodys = asyncio.create_task(gate.passed())
        assert (one.running(), two.running()) == ({child}, {other})
        gate.set()
        await soon(asyncio.wait({child, other, nobodys}))
    assert (one.running(), two.running()) == (set(), set())


async def test_the_tasks_of_a_task_belong_to_the_same_owner() -> None:
    gate, owned = Gate(), Owned()

    async def parent() -> None:
        await asyncio.create_task(gate.passed(), name="grandchild")

    async def handler() -> asyncio.Task[None]:
        owner.set(owned)
        return asyncio.create_task(parent(), name="parent")

    with watching_tasks():
        task = await asyncio.create_task(handler())
        await asyncio.sleep(0)
        assert {t.get_name() for t in owned.running()} == {"parent", "grandchild"}
        gate.set()
        await soon(task)


@pytest.mark.parametrize("way", ["group", "anyio", "ensure_future", "call_soon", "gather"])
async def test_however_a_task_is_made_it_is_seen(way: str) -> None:
    gate, owned = Gate(), Owned()

    async def handler() -> None:
        owner.set(owned)
        loop = asyncio.get_running_loop()
        if way == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(gate.passed())
        elif way == "anyio":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(gate.passed)
        elif way == "ensure_future":
            await asyncio.ensure_future(gate.passed())
        elif way == "call_soon":
            loop.call_soon(lambda: kept.append(loop.create_task(gate.passed())))
        else:
            await asyncio.gather(gate.passed())

    kept: list[asyncio.Task[None]] = []
    with watching_tasks():
        task = asyncio.create_task(handler())
        await until(owned.running)
        assert task not in owned.running()
        assert len(owned.running()) == 1
        gate.set()
        await soon(asyncio.wait({task, *kept}))


async def test_a_task_that_is_gone_is_forgotten() -> None:
    gate, owned = Gate(), Owned()
    with watching_tasks():
        gate.set()
        await soon(await owned_by(owned, gate))
    await turns()  # the loop holds the handle that it has run last
    gc.collect()
    assert len(owned._tasks) == 0


async def test_a_name_and_a_context_reach_the_task() -> None:
    owned, seen = Owned(), list[Owned | None]()

    async def look() -> None:
        seen.append(owner.get())

    with watching_tasks():
        context = contextvars.copy_context()
        context.run(owner.set, owned)
        task = asyncio.get_running_loop().create_task(look(), name="a name", context=context)
        assert task.get_name() == "a name"
        await soon(task)
    assert seen == [owned]


# The loop is left as it was


async def test_the_loop_has_no_factory_before_and_after() -> None:
    assert factory() is None
    with watching_tasks():
        assert factory() is not None
    assert factory() is None


async def test_the_factory_that_was_there_makes_the_tasks_and_comes_back() -> None:
    theirs, gate, owned = Recording(), Gate(), Owned()
    asyncio.get_running_loop().set_task_factory(theirs)
    with watching_tasks():
        child = await owned_by(owned, gate)
        assert owned.running() == {child}
        gate.set()
        await soon(child)
    assert theirs.made == ["handler", "passed"]
    assert factory() is theirs


async def test_the_factory_comes_back_after_a_failure_too() -> None:
    with pytest.raises(LookupError), watching_tasks():
        raise LookupError
    assert factory() is None


@pytest.mark.parametrize("first_out", [0, 1])
async def test_uses_may_overlap_and_end_in_any_order(first_out: int) -> None:
    gate, owned, stacks = Gate(), Owned(), (ExitStack(), ExitStack())
    for stack in stacks:
        stack.enter_context(watching_tasks())
    stacks[first_out].close()
    child = await owned_by(owned, gate)
    assert owned.running() == {child}
    stacks[1 - first_out].close()
    assert factory() is None
    gate.set()
    await soon(child)


async def test_one_factory_serves_all_uses() -> None:
    with watching_tasks():
        first = factory()
        with watching_tasks():
            assert factory() is first


async def test_a_factory_that_is_set_meanwhile_stays() -> None:
    with watching_tasks():
        theirs = Recording(factory())
        asyncio.get_running_loop().set_task_factory(theirs)
    assert factory() is theirs
    asyncio.get_running_loop().set_task_factory(None)


async def test_tasks_are_seen_through_a_factory_that_is_set_meanwhile() -> None:
    gate, owned = Gate(), Owned()
    with watching_tasks():
        outer = factory()
        theirs = Recording(outer)
        asyncio.get_running_loop().set_task_factory(theirs)
        with watching_tasks():
            child = await owned_by(owned, gate)
            assert owned.running() == {child}
        assert factory() is theirs
        asyncio.get_running_loop().set_task_factory(outer)
    assert factory() is None
    gate.set()
    await soon(child)


async def test_a_factory_that_is_taken_away_is_not_set_again() -> None:
    with watching_tasks():
        asyncio.get_running_loop().set_task_factory(None)
    assert factory() is None


async def test_a_factory_that_is_put_back_after_its_use_serves_the_next_one() -> None:
    gate, owned = Gate(), Owned()
    with watching_tasks():
        ours = factory()
        asyncio.get_running_loop().set_task_factory(Recording(ours))
    asyncio.get_running_loop().set_task_factory(ours)
    with watching_tasks():
        child = await owned_by(owned, gate)
        assert owned.running() == {child}
    assert factory() is None
    gate.set()
    await soon(child)


async def test_a_future_that_is_no_task_is_let_through() -> None:
    owned = Owned()
    loop = asyncio.get_running_loop()

    class Named(asyncio.Future[None]):
        def set_name(self, name: object) -> None: ...

    def odd(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        coro.close()
        return Named(loop=loop)

    async def never() -> None: ...

    loop.set_task_factory(odd)
    token = owner.set(owned)
    with watching_tasks():
        made = loop.create_task(never())
    owner.reset(token)
    loop.set_task_factory(None)
    assert isinstance(made, asyncio.Future)
    assert owned.running() == set()


def test_without_a_running_loop_it_cannot_be_used() -> None:
    with pytest.raises(RuntimeError), watching_tasks():
        pass


# Other loops and factories


async def _child_is_seen() -> None:
    gate, owned = Gate(), Owned()
    before = factory()
    with watching_tasks():
        child = await owned_by(owned, gate)
        assert owned.running() == {child}
        assert child.get_name() == "child"
        gate.set()
        await soon(child)
    assert factory() is before


def test_it_works_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_child_is_seen())


@NEEDS_EAGER
async def test_it_works_with_eager_tasks() -> None:
    loop = asyncio.get_running_loop()
    eager = getattr(asyncio, "eager_task_factory", None)
    loop.set_task_factory(eager)
    await _child_is_seen()
    assert factory() is eager


@NEEDS_EAGER
async def test_an_eager_task_that_ends_at_once_is_not_running() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))
    owned, gate = Owned(), Gate()
    gate.set()
    with watching_tasks():
        child = await owned_by(owned, gate)
        assert child.done()
    assert owned.running() == set()
