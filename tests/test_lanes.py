"""Calls side by side: so many at once, in order by key, and room that is waited for."""

# mypy: disable-error-code="unused-awaitable"

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import pytest

from opened import opened, turns
from peer import DEADLINE, D, Peer
from telex._lanes import _WAITING, Job, Lanes


class Calls:
    """Calls that run until they are let go, and what is known of them."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.most = 0
        self._gates: dict[str, asyncio.Event] = {}

    def __call__(self, name: str) -> Job:
        async def job() -> None:
            self.begun.append(name)
            self.most = max(self.most, len(self.begun) - len(self.ended))
            try:
                await self._gate(name).wait()
            finally:
                await asyncio.sleep(0)
                self.ended.append(name)

        return job

    async def let_go(self, *names: str) -> None:
        for name in names:
            self._gate(name).set()
        await turns()

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())


@asynccontextmanager
async def lanes(width: int) -> AsyncIterator[tuple[Lanes, Peer]]:
    """Lanes over a connection, which are left as they are when the block ends."""
    ws, peer = await opened()
    async with asyncio.timeout(DEADLINE):
        async with ws.tasks() as tasks:
            yield Lanes(tasks, width), peer
        await ws.close()


async def put_all(lanes: Lanes, calls: Calls, *named: tuple[str, Hashable | None]) -> None:
    for name, key in named:
        await lanes.put(calls(name), key)


async def test_so_many_run_at_once_and_putting_one_more_waits() -> None:
    calls = Calls()
    async with lanes(2) as (two, _):
        await put_all(two, calls, ("a", None), ("b", None))
        third = asyncio.ensure_future(two.put(calls("c")))
        await turns()
        assert (calls.begun, third.done()) == (["a", "b"], False)
        await calls.let_go("b")
        assert (calls.begun, third.done()) == (["a", "b", "c"], True)
        assert calls.most == 2


async def test_a_call_has_begun_when_put_returns() -> None:
    calls = Calls()
    async with lanes(2) as (two, _):
        await two.put(calls("a"))
        assert calls.begun == ["a"]


async def test_those_of_one_key_run_in_order_beside_the_others() -> None:
    calls = Calls()
    async with lanes(3) as (three, _):
        await put_all(three, calls, ("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"))
        assert calls.begun == ["a1", "b1"]
        await calls.let_go("a2", "a3")
        assert calls.begun == ["a1", "b1"]
        await calls.let_go("a1")
        assert calls.begun == ["a1", "b1", "a2", "a3"]
        assert calls.ended == ["a1", "a2", "a3"]


async def test_a_key_whose_calls_are_through_begins_anew() -> None:
    calls = Calls()
    async with lanes(2) as (two, _):
        for name in ("one", "two", "three"):
            await two.put(calls(name), "key")
            await calls.let_go(name)
        assert calls.ended == ["one", "two", "three"]
        assert two._by_key == {}


async def test_waiting_behind_a_key_takes_no_room_from_others() -> None:
    calls = Calls()
    async with lanes(2) as (two, _):
        await put_all(two, calls, ("a1", "a"), ("a2", "a"), ("a3", "a"), ("b", "b"))
        assert calls.begun == ["a1", "b"]


async def test_so_many_may_wait_behind_one_key() -> None:
    calls = Calls()
    async with lanes(2) as (two, _):
        await put_all(two, calls, *((str(n), "key") for n in range(_WAITING + 1)))
        more = asyncio.ensure_future(two.put(calls("more"), "key"))
        await turns()
        assert not more.done()
        await calls.let_go("0")
        assert more.done()
        assert calls.begun == ["0", "1"]


async def test_zero_and_false_and_the_empty_string_are_keys() -> None:
    calls = Calls()
    async with lanes(9) as (nine, _):
        await put_all(nine, calls, ("a", 0), ("b", 0), ("c", ""), ("d", ""))
        assert calls.begun == ["a", "c"]


async def test_a_key_that_cannot_be_hashed_is_an_error_and_nothing_runs() -> None:
    calls = Calls()
    async with lanes(2) as (two, _):
        with pytest.raises(TypeError, match="unhashable"):
            await two.put(calls("a"), ["list"])  # type: ignore[arg-type]
        assert calls.begun == []


async def test_a_call_that_fails_takes_those_behind_it_with_it() -> None:
    calls = Calls()

    async def fail() -> None:
        raise LookupError("broken")

    with pytest.raises(ExceptionGroup) as caught:
        async with lanes(3) as (three, _):
            await put_all(three, calls, ("other", None))
            await three.put(fail, "key")
            await three.put(calls("behind"), "key")
            await asyncio.Event().wait()
    assert [repr(error) for error in caught.value.exceptions] == ["LookupError('broken')"]
    assert (calls.begun, calls.ended) == (["other"], ["other"])


async def test_who_waits_for_room_does_not_outlive_the_connection() -> None:
    calls = Calls()
    ws, peer = await opened()
    with pytest.raises(Exception, match="1001"):
        async with asyncio.timeout(DEADLINE), ws.tasks() as tasks:
            one = Lanes(tasks, 1)
            await one.put(calls("a"))
            peer.feed(D(1001))
            await one.put(calls("b"))
    assert (calls.begun, calls.ended) == (["a"], ["a"])


@pytest.mark.parametrize("key", [None, "key"])
async def test_a_call_whose_work_was_cancelled_is_an_error_and_not_a_silent_end(
    key: str | None,
) -> None:
    calls = Calls()

    async def await_what_was_cancelled() -> None:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    with pytest.raises(ExceptionGroup) as caught:
        async with lanes(2) as (two, _):
            await put_all(two, calls, ("first", key))
            await two.put(await_what_was_cancelled, key)
            await two.put(calls("behind"), key)
            await calls.let_go("first")
            await asyncio.Event().wait()
    [error] = caught.value.exceptions
    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, asyncio.CancelledError)


async def test_a_call_that_was_cancelled_leaves_nothing_to_the_garbage_collector() -> None:
    tasks: list[weakref.ref[asyncio.Task[object]]] = []

    async def note_and_wait() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(weakref.ref(task))
        del task
        await asyncio.Event().wait()

    gc.disable()
    try:
        async with lanes(2) as (two, _):
            await two.put(note_and_wait)
        await turns()
        assert [task() for task in tasks] == [None]
    finally:
        gc.enable()
