"""Timeouts and task groups in work that cannot be cancelled, and its own time limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from loops import LONG, LOOPS, SHORT, Loop, Work, in_a_task, turns, uncancelled
from telex import _uncancelled

seen: list[str] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Loop:
    return LOOPS[request.param]


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have stubborn work cancelled again soon."""
    monkeypatch.setattr(_uncancelled, "AGAIN", SHORT)


# Cancellation by the work itself


async def asyncio_timeout(wait: Awaitable[Any]) -> None:
    async with asyncio.timeout(SHORT):
        await wait


async def anyio_timeout(wait: Awaitable[Any]) -> None:
    with anyio.fail_after(SHORT):
        await wait


async def wait_for(wait: Awaitable[Any]) -> None:
    await asyncio.wait_for(wait, SHORT)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def turning() -> None:
    while True:
        await turns(1)


async def busy_with_a_task() -> None:
    await asyncio.get_running_loop().create_task(for_ever())


async def nested() -> None:
    async with asyncio.timeout(LONG):
        await uncancelled(asyncio_timeout(for_ever()))


each_wait = pytest.mark.parametrize("wait", [for_ever, turning, busy_with_a_task, nested])
each_timeout = pytest.mark.parametrize("limited", [asyncio_timeout, anyio_timeout, wait_for])


@each_wait
@each_timeout
def test_a_timeout_inside_works(
    run: Loop, limited: Callable[[Any], Work], wait: Callable[[], Work]
) -> None:
    async def work() -> str:
        with pytest.raises(TimeoutError):
            await limited(wait())
        return "done"

    async def main() -> None:
        async with in_a_task(work(), seen=seen) as task:
            pass
        assert task.result() == "done"
        assert task.cancelling() == 0

    run(main())


@each_wait
@each_timeout
def test_a_timeout_inside_is_in_time_in_a_task_that_is_cancelled(
    run: Loop, limited: Callable[[Any], Work], wait: Callable[[], Work]
) -> None:
    """The block does not always know then that it was the timeout; it is so in any task."""

    async def work() -> None:
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            await limited(wait())
        await asyncio.sleep(0)
        seen.append("worked")

    async def main() -> None:
        async with in_a_task(work(), seen=seen) as task:
            task.cancel()
        assert task.cancelled()
        assert task.cancelling() == 1

    run(main())
    assert seen == ["worked", "cancelled"]


def test_a_task_group_inside_ends_with_its_first_error(run: Loop) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("from a child")

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await for_ever()

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await uncancelled(work())
        assert isinstance(caught.value.exceptions[0], ValueError)

    run(main())


def test_a_task_group_around_it_that_fails_meanwhile_ends_with_its_error(run: Loop) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("from a child")

    async def main() -> None:
        group = asyncio.TaskGroup()
        await group.__aenter__()
        group.create_task(fail())
        with pytest.raises(ExceptionGroup):
            await uncancelled(group.__aexit__(None, None, None))

    run(main())


def test_an_anyio_group_around_it_can_be_cancelled_in_it(run: Loop) -> None:
    async def main() -> None:
        group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(anyio.sleep_forever)

        async def work() -> None:
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)

        await uncancelled(work())
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main())


def test_an_anyio_group_around_it_that_was_cancelled_before_does_not_cancel_it(run: Loop) -> None:
    async def main() -> None:
        group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(anyio.sleep_forever)
        group.cancel_scope.cancel()

        async def work() -> None:
            await asyncio.sleep(SHORT)
            seen.append("worked")
            await group.__aexit__(None, None, None)

        await uncancelled(work())
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main())
    assert seen == ["worked"]


def test_work_that_cancels_its_own_task_is_cancelled_afterwards(run: Loop) -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        seen.append("worked")

    async def main() -> None:
        async with in_a_task(work(), seen=seen) as task:
            pass
        assert task.cancelled()

    run(main())
    assert seen == ["worked", "cancelled"]


# The time is up


@pytest.mark.parametrize("work", [for_ever, turning, busy_with_a_task])
def test_work_that_takes_too_long_is_cancelled(
    run: Loop, work: Callable[[], Work], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"the work took longer than 0\.02 s") as caught:
            await uncancelled(work(), SHORT)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)

    with caplog.at_level(logging.ERROR, "telex"):
        run(main())
    assert [each.getMessage() for each in caplog.records if each.name == "telex"] == [
        "the work took longer than 0.02 s and is cancelled"
    ]


def test_too_late_is_no_timeout_in_a_task_that_is_cancelled(run: Loop) -> None:
    async def main() -> None:
        async with in_a_task(for_ever(), 3 * SHORT, seen=seen) as task:
            task.cancel()
        assert task.cancelled()

    run(main())


def test_what_the_work_makes_of_the_time_limit_counts(run: Loop) -> None:
    async def returning() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await for_ever()
        await asyncio.sleep(0)
        return "done"

    async def raising() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            raise ValueError from None

    async def main() -> None:
        assert await uncancelled(returning(), SHORT) == "done"
        with pytest.raises(ValueError):
            await uncancelled(raising(), SHORT)

    run(main())


def test_a_task_that_the_work_waits_for_may_clean_up_before_the_work_goes_on(run: Loop) -> None:
    async def child() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            seen.append("child")

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_task(child())
        finally:
            seen.append("work")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await uncancelled(work(), SHORT)

    run(main())
    assert seen == ["child", "work"]


@pytest.mark.usefixtures("again")
def test_stubborn_work_is_cancelled_until_it_ends(
    run: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        while len(seen) < 3:
            try:
                await for_ever()
            except asyncio.CancelledError:
                seen.append("no")

    async def main() -> None:
        await uncancelled(work(), SHORT)

    with caplog.at_level(logging.ERROR, "telex"):
        run(main())
    assert seen == ["no", "no", "no"]
    assert [each.name for each in caplog.records].count("telex") == 1


@pytest.mark.usefixtures("again")
def test_stubborn_work_in_a_cancelled_task_comes_to_its_end(run: Loop) -> None:
    async def work() -> None:
        while len(seen) < 2:
            try:
                await for_ever()
            except asyncio.CancelledError:
                seen.append("no")

    async def main() -> None:
        async with in_a_task(work(), SHORT, seen=seen) as task:
            task.cancel()
        assert task.cancelled()

    run(main())
    assert seen == ["no", "no", "cancelled"]
