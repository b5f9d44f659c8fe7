"""Coroutines that are begun where they are made, and see nothing of it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
from collections.abc import Coroutine, Generator
from typing import Any

import anyio
import pytest

from loops import LOOPS, Loop
from opened import soon, turns
from telex._eager_tasks import EagerTasks, eager_tasks

Work = Coroutine[Any, Any, None]

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


class Begun:
    """Begins coroutines like the queue of a connection; keeps how they ended."""

    def __init__(self) -> None:
        self.tasks = eager_tasks()
        self.task: asyncio.Task[None] | None = None
        self.ended: list[BaseException | None] = []
        self.over = asyncio.Event()

    def begin(self, coro: Work) -> bool:
        self.task = self.tasks.task("a name")
        assert self.task is not None
        return self.tasks.begin(coro, self.then, contextvars.copy_context())

    async def then(self, error: BaseException | None) -> None:
        assert asyncio.current_task() is self.task
        self.ended.append(error)
        self.over.set()


async def nothing() -> None: ...


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


# --- what is over at once ---


async def test_what_does_not_wait_is_over_at_once_and_leaves_no_task() -> None:
    begun = Begun()
    seen: list[asyncio.Task[Any] | None] = []

    async def work() -> None:
        seen.append(asyncio.current_task())

    ours = asyncio.current_task()
    assert begun.begin(work())
    assert asyncio.current_task() is ours
    assert seen == [begun.task]
    assert seen != [ours]
    await turns(2)
    assert asyncio.all_tasks() == {ours}
    assert begun.ended == []


async def test_all_of_a_turn_that_do_not_wait_share_a_task() -> None:
    begun = Begun()
    tasks = []
    for _ in range(100):
        assert begun.begin(nothing())
        tasks.append(begun.task)
    assert len({*tasks}) == 1
    await turns(2)
    assert begun.begin(nothing())
    assert begun.task not in tasks


async def test_what_is_begun_from_within_is_in_a_task_of_its_own() -> None:
    outer, inner = Begun(), Begun()

    async def work() -> None:
        assert inner.begin(nothing())
        assert asyncio.current_task() is outer.task

    assert outer.begin(work())
    assert inner.task is not outer.task


async def test_it_may_be_begun_outside_of_any_task() -> None:
    begun = Begun()
    done = asyncio.get_running_loop().create_future()

    def call() -> None:
        result = begun.begin(nothing()), asyncio.current_task()
        done.set_result(result)

    asyncio.get_running_loop().call_soon(call)
    assert await soon(done) == (True, None)


async def test_it_sees_the_variables_of_the_caller_who_does_not_see_its_own() -> None:
    begun, go = Begun(), asyncio.Event()
    seen = []

    async def work() -> None:
        seen.append(variable.get())
        token = variable.set("inside")
        await go.wait()
        seen.append(variable.get())
        variable.reset(token)

    variable.set("outside")
    assert not begun.begin(work())
    assert variable.get() == "outside"
    go.set()
    await soon(begun.over.wait())
    assert seen == ["outside", "inside"]
    assert begun.ended == [None]


# --- what waits ---


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_what_waits_goes_on_in_the_task_in_which_it_began(loop: Loop) -> None:
    async def check() -> None:
        begun, go = Begun(), asyncio.Event()
        seen = []

        async def work() -> None:
            seen.append(asyncio.current_task())
            await go.wait()
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())

        assert not begun.begin(work())
        task = begun.task
        assert begun.tasks.task("another") is not task
        await turns(3)
        assert begun.ended == []
        go.set()
        await soon(begun.over.wait())
        assert seen == [task] * 3
        assert begun.ended == [None]
        await turns(2)
        assert len(asyncio.all_tasks()) <= 2

    loop(check())


async def test_a_bare_yield_is_one_turn() -> None:
    begun = Begun()
    assert not begun.begin(asyncio.sleep(0))
    await turns(1)
    assert begun.ended == [None]


async def test_several_may_wait_for_the_same() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await future

    several = [Begun() for _ in range(3)]
    assert not any(begun.begin(work()) for begun in several)
    other = asyncio.ensure_future(work())
    await turns(1)
    future.set_result(None)
    await soon(asyncio.gather(other, *(begun.over.wait() for begun in several)))


async def test_what_it_waits_for_may_come_before_the_task_does() -> None:
    begun, go = Begun(), asyncio.Event()
    assert not begun.begin(wait_for(go))
    go.set()
    await soon(begun.over.wait())
    assert begun.ended == [None]


async def test_a_lock_is_waited_for_in_turn() -> None:
    lock, order = asyncio.Lock(), []

    async def work(n: int) -> None:
        async with lock:
            order.append(n)
            await asyncio.sleep(0)

    several = [Begun() for _ in range(3)]
    assert not any(begun.begin(work(n)) for n, begun in enumerate(several))
    await soon(asyncio.gather(*(begun.over.wait() for begun in several)))
    assert order == [0, 1, 2]
    assert not lock.locked()


@pytest.mark.parametrize(
    "limit", [asyncio.timeout, anyio.fail_after], ids=["asyncio.timeout", "anyio.fail_after"]
)
async def test_a_time_limit_inside_ends_it_and_nothing_else(limit: Any) -> None:
    begun = Begun()

    async def work() -> None:
        with pytest.raises(TimeoutError):
            if limit is asyncio.timeout:
                async with limit(0.01):
                    await asyncio.Event().wait()
            else:
                with limit(0.01):
                    await asyncio.Event().wait()
        await asyncio.sleep(0)

    assert not begun.begin(work())
    await soon(begun.over.wait())
    assert begun.ended == [None]


async def test_what_may_not_be_yielded_is_refused_as_in_any_task() -> None:
    class Odd:
        def __await__(self) -> Generator[Any, Any, None]:
            yield "odd"

    async def work() -> None:
        await Odd()

    begun = Begun()
    assert not begun.begin(work())
    await soon(begun.over.wait())
    (error,) = begun.ended
    assert isinstance(error, RuntimeError)
    assert "bad yield" in str(error)


async def test_the_stack_of_the_task_shows_where_it_waits() -> None:
    begun = Begun()
    assert not begun.begin(wait_for(asyncio.Event()))
    assert begun.task is not None
    shown = io.StringIO()
    begun.task.print_stack(file=shown)
    assert "wait_for" in shown.getvalue()
    begun.task.cancel()
    await soon(begun.over.wait())


# --- what fails ---


async def test_what_fails_at_once_is_told_of_in_the_task() -> None:
    async def work() -> None:
        raise ValueError("at once")

    begun = Begun()
    assert not begun.begin(work())
    assert begun.ended == []
    await soon(begun.over.wait())
    assert [str(error) for error in begun.ended] == ["at once"]


async def test_what_fails_later_is_told_of_as_well() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("later")

    begun = Begun()
    assert not begun.begin(work())
    await soon(begun.over.wait())
    assert [str(error) for error in begun.ended] == ["later"]


async def test_what_ends_the_process_comes_through() -> None:
    async def work() -> None:
        raise SystemExit(3)

    ours = asyncio.current_task()
    with pytest.raises(SystemExit):
        Begun().begin(work())
    assert asyncio.current_task() is ours
    assert Begun().begin(nothing())


# --- cancellation ---


@pytest.mark.parametrize("pause", [0, 1, 3], ids=lambda pause: f"after {pause} turns")
async def test_a_cancellation_reaches_it_where_it_waits(pause: int) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cleaned = []

    async def work() -> None:
        try:
            await future
        finally:
            cleaned.append(asyncio.current_task())

    begun = Begun()
    assert not begun.begin(work())
    await turns(pause)
    assert begun.task is not None
    assert begun.task.cancel("enough")
    await soon(begun.over.wait())
    assert cleaned == [begun.task]
    assert future.cancelled()
    (error,) = begun.ended
    assert isinstance(error, asyncio.CancelledError)
    assert error.args == ("enough",)


async def test_a_cancellation_at_a_bare_yield_reaches_it() -> None:
    begun = Begun()
    assert not begun.begin(asyncio.sleep(0))
    assert begun.task is not None
    begun.task.cancel()
    await soon(begun.over.wait())
    assert isinstance(begun.ended[0], asyncio.CancelledError)


async def test_a_cancellation_does_not_stop_the_word_that_it_failed() -> None:
    async def work() -> None:
        raise ValueError

    begun = Begun()
    assert not begun.begin(work())
    assert begun.task is not None
    begun.task.cancel()
    await soon(begun.over.wait())
    assert isinstance(begun.ended[0], asyncio.CancelledError)


async def test_one_that_cancels_itself_cancels_nobody_else() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    begun, other = Begun(), Begun()
    assert begun.begin(work())
    assert not other.begin(asyncio.sleep(0))
    assert other.task is not begun.task
    await soon(other.over.wait())
    assert other.ended == [None]
    assert begun.task is not None
    with pytest.raises(asyncio.CancelledError):
        await begun.task


async def test_one_that_raises_a_cancellation_is_told_of() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    begun = Begun()
    assert not begun.begin(work())
    await soon(begun.over.wait())
    assert isinstance(begun.ended[0], asyncio.CancelledError)


# --- what is left ---


async def test_no_circle_is_left() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError

    async def every_way() -> None:
        for coro in (nothing(), asyncio.sleep(0), fail(), wait_for(asyncio.Event())):
            begun = Begun()
            begun.begin(coro)
            await turns(2)
            if not begun.over.is_set() and begun.task is not None:
                begun.task.cancel()
            await turns(3)
            del begun, coro

    await every_way()
    gc.collect()
    gc.disable()
    try:
        await every_way()
        assert gc.collect() == 0
    finally:
        gc.enable()


async def test_where_somebody_else_makes_tasks_nothing_is_begun() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options))
    try:
        assert eager_tasks().task("a name") is None
    finally:
        loop.set_task_factory(None)


async def test_there_is_one_for_each_loop() -> None:
    assert eager_tasks() is eager_tasks()
    assert isinstance(eager_tasks(), EagerTasks)
    assert await asyncio.to_thread(asyncio.run, other_loop()) is not eager_tasks()


async def other_loop() -> EagerTasks:
    return eager_tasks()
