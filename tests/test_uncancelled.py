"""Work that goes on in a task that is being cancelled: what it gets, and what waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import ContextVar, Token
from typing import Any

import anyio
import pytest

from loops import LONG, LOOPS, SHORT, Loop, Work, in_a_task, turns, uncancelled
from telex._uncancelled import Uncancelled

seen: list[str] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Loop:
    return LOOPS[request.param]


# What the work awaits


async def bare() -> str:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return "done"


async def nothing() -> str:
    return "done"


async def a_future() -> str:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, "done")
    return str(await future)


async def a_future_that_is_done() -> str:
    future = asyncio.get_running_loop().create_future()
    future.set_result("done")
    return str(await future)


async def a_task() -> str:
    return await asyncio.get_running_loop().create_task(bare())


async def several_tasks() -> str:
    first, second = await asyncio.gather(bare(), a_future())
    assert first == second
    return first


async def a_timer() -> str:
    return await asyncio.sleep(0.001, "done")


async def a_thread() -> str:
    return await asyncio.to_thread(str, "done")


async def a_queue() -> str:
    queue: asyncio.Queue[str] = asyncio.Queue()
    asyncio.get_running_loop().call_soon(queue.put_nowait, "done")
    return await queue.get()


async def with_wait_for() -> str:
    return await asyncio.wait_for(a_timer(), LONG)


async def a_shield() -> str:
    return await asyncio.shield(a_timer())


async def a_group() -> str:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(a_timer())
    return task.result()


async def an_anyio_group() -> str:
    async with anyio.create_task_group() as group:
        group.start_soon(bare)
        await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    return "done"


async def an_object() -> str:
    class Thing:
        def __await__(self) -> Generator[Any, None, str]:
            yield from asyncio.sleep(0.001).__await__()
            return "done"

    return await Thing()


async def itself_nested() -> str:
    return str(await uncancelled(uncancelled_inside()))


async def uncancelled_inside() -> str:
    return str(await uncancelled(a_timer()))


EVERYTHING = [
    bare,
    nothing,
    a_future,
    a_future_that_is_done,
    a_task,
    several_tasks,
    a_timer,
    a_thread,
    a_queue,
    with_wait_for,
    a_shield,
    a_group,
    an_anyio_group,
    an_object,
    itself_nested,
]
each_kind = pytest.mark.parametrize("work", EVERYTHING, ids=lambda work: work.__name__)


@each_kind
def test_what_the_work_returns_is_returned(run: Loop, work: Callable[[], Work]) -> None:
    async def main() -> Any:
        return await uncancelled(work())

    assert run(main()) == "done"


@pytest.mark.parametrize(
    "work",
    [each for each in EVERYTHING if each not in (nothing, a_future_that_is_done)],
    ids=lambda work: work.__name__,
)
def test_work_comes_to_its_end_in_a_task_that_is_cancelled_all_the_time(
    run: Loop, work: Callable[[], Work]
) -> None:
    async def noted() -> None:
        seen.append(await work())

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(outer())
        await asyncio.sleep(0)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()

    async def outer() -> None:
        await uncancelled(noted())

    run(main())
    assert seen == ["done"]


def test_it_runs_in_the_task_that_awaits_it(run: Loop) -> None:
    variable: ContextVar[int] = ContextVar("variable")

    async def work(token: Token[int]) -> asyncio.Task[Any] | None:
        await asyncio.sleep(0)
        variable.reset(token)
        return asyncio.current_task()

    async def main() -> None:
        assert await uncancelled(work(variable.set(1))) is asyncio.current_task()
        assert variable.get(None) is None

    run(main())


# Errors


@pytest.mark.parametrize("error", [ValueError("x"), StopAsyncIteration("x"), BaseException("x")])
def test_what_the_work_raises_is_raised(run: Loop, error: BaseException) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise error

    async def main() -> None:
        with pytest.raises(type(error)) as caught:
            await uncancelled(work())
        assert caught.value is error

    run(main())


@pytest.mark.parametrize("wait", [0, 1])
def test_what_a_future_raises_reaches_the_work(run: Loop, wait: int) -> None:
    async def work() -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ValueError("from the future"))
        for _ in range(wait):
            await asyncio.sleep(0)
        try:
            await future
        except ValueError as exc:
            return str(exc)
        return "nothing"

    async def main() -> None:
        assert await uncancelled(work()) == "from the future"

    run(main())


def test_an_error_is_raised_in_place_of_a_cancellation(run: Loop) -> None:
    async def work() -> None:
        await asyncio.sleep(SHORT)
        raise ValueError("the commit failed")

    async def main() -> None:
        async with in_a_task(work(), seen=seen) as task:
            task.cancel()
        assert isinstance(task.exception(), ValueError)

    run(main())


def test_a_future_of_another_loop_is_an_error_as_in_a_task(run: Loop) -> None:
    other = asyncio.new_event_loop()
    future = other.create_future()

    async def work() -> None:
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            await future
        seen.append("told")

    async def main() -> None:
        await uncancelled(work())

    run(main())
    other.close()
    assert seen == ["told"]


def test_a_task_that_waits_for_itself_is_an_error_as_in_a_task(run: Loop) -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(RuntimeError, match="cannot await on itself"):
            await task
        seen.append("told")

    async def main() -> None:
        await uncancelled(work())

    run(main())
    assert seen == ["told"]


def test_what_cannot_be_awaited_at_all_is_an_error_as_in_a_task(run: Loop) -> None:
    class Bad:
        def __await__(self) -> Generator[Any, None, None]:
            yield 5

    async def work() -> None:
        with pytest.raises(RuntimeError, match="bad yield"):
            await Bad()
        await asyncio.sleep(0)
        seen.append("told")

    async def main() -> None:
        await uncancelled(work())

    run(main())
    assert seen == ["told"]


# Cancellation from outside


def test_a_cancellation_is_raised_after_the_work(run: Loop) -> None:
    async def work() -> None:
        await asyncio.sleep(SHORT)
        seen.append("worked")

    async def main() -> None:
        async with in_a_task(work(), seen=seen) as task:
            task.cancel("why")
        assert task.cancelled()
        assert seen == ["worked", "cancelled"]

    run(main())


def test_the_message_of_the_cancellation_is_kept() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel, "why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await uncancelled(a_timer())
        task.uncancel()

    asyncio.run(main())


def test_a_cancellation_from_before_does_not_reach_the_work(run: Loop) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        seen.append("worked")

    async def cancelled_by_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await uncancelled(work())
        finally:
            seen.append("left")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(cancelled_by_itself())
        await asyncio.wait((task,))
        assert task.cancelled()

    run(main())
    assert seen == ["worked", "left"]


def test_work_without_a_wait_leaves_a_cancellation_from_before_for_the_next_wait(
    run: Loop,
) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        assert await uncancelled(nothing()) == "done"
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        task.uncancel()

    run(main())


def test_a_cancellation_in_the_same_turn_as_the_result_is_raised_after_the_work(run: Loop) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()

        async def work() -> None:
            await future
            seen.append("worked")

        async with in_a_task(work(), seen=seen) as task:
            future.set_result(None)
            task.cancel()
        assert task.cancelled()
        assert seen == ["worked", "cancelled"]

    run(main())


def test_a_cancellation_that_is_being_raised_already_is_not_raised_again(run: Loop) -> None:
    async def outer() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(await uncancelled(a_timer()))

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(outer())
        await turns()
        task.cancel("first")
        await asyncio.wait((task,))
        assert task.cancelled()

    run(main())
    assert seen == ["done"]


def test_a_cancellation_that_was_taken_back_is_not_raised(run: Loop) -> None:
    async def main() -> None:
        async with in_a_task(a_timer(), seen=seen) as task:
            task.cancel()
            task.uncancel()
        assert task.result() == "done"

    run(main())


def test_after_it_the_task_can_be_cancelled_as_ever(run: Loop) -> None:
    async def outer() -> None:
        await uncancelled(bare())
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(outer())
        await turns(10)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()

    run(main())


def test_a_timeout_around_it_takes_effect_after_the_work(run: Loop) -> None:
    async def work() -> None:
        await asyncio.sleep(3 * SHORT)
        seen.append("worked")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await uncancelled(work())

    run(main())
    assert seen == ["worked"]


def test_a_nested_one_is_not_reached_by_a_timeout_between_the_two(run: Loop) -> None:
    async def inner() -> None:
        await asyncio.sleep(3 * SHORT)
        seen.append("inner")

    async def outer() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await uncancelled(inner())
        seen.append("outer")

    async def main() -> None:
        await uncancelled(outer())

    run(main())
    assert seen == ["inner", "outer"]


def test_work_that_was_cancelled_by_what_it_waits_for_is_cancelled(run: Loop) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()

        async def work() -> None:
            await future

        async with in_a_task(work(), seen=seen) as task:
            future.cancel()
        assert task.cancelled()

    run(main())


# Nothing is left behind


def test_a_loop_that_is_gone_closes_the_work() -> None:
    def left() -> Iterator[None]:
        try:
            yield
        finally:
            seen.append("closed")

    async def work() -> None:
        with contextlib.contextmanager(left)():
            await asyncio.Event().wait()

    async def outer() -> None:
        await uncancelled(work())

    async def begin() -> Coroutine[Any, Any, None]:
        coroutine = outer()
        coroutine.send(None)
        return coroutine

    coroutine = asyncio.run(begin())
    assert seen == []
    coroutine.close()
    assert seen == ["closed"]


def test_no_timer_is_left(run: Loop) -> None:
    async def main() -> None:
        await uncancelled(bare(), 2 * SHORT)
        await asyncio.sleep(3 * SHORT)

    run(main())


def test_many_run_at_once_without_disturbing_each_other(run: Loop) -> None:
    async def work(number: int) -> int:
        for _ in range(number % 7):
            await asyncio.sleep(0.001)
        return number

    async def outer(number: int) -> int:
        return int(await uncancelled(work(number)))

    async def main() -> None:
        assert await asyncio.gather(*map(outer, range(100))) == list(range(100))

    run(main())


def test_it_can_be_made_outside_a_loop() -> None:
    async def main(work: Uncancelled[Any]) -> None:
        assert await work == "done"

    asyncio.run(main(uncancelled(nothing())))
