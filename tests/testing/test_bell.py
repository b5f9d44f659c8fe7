"""Waiting for a condition: nobody is forgotten, nobody is woken for nothing."""

from __future__ import annotations

import asyncio

import pytest

from opened import soon, turns
from telex.testing._bell import Bell


async def test_a_condition_that_holds_already_is_not_waited_for() -> None:
    turned: list[bool] = []
    asyncio.get_running_loop().call_soon(turned.append, True)
    await Bell().until(lambda: True)
    assert turned == []


async def test_ringing_without_anybody_waiting_is_not_remembered() -> None:
    bell, true = Bell(), False
    bell.ring()
    waiter = asyncio.create_task(bell.until(lambda: true))
    await turns()
    assert not waiter.done()
    true = True
    bell.ring()
    await soon(waiter)


async def test_who_waits_goes_on_waiting_while_the_condition_does_not_hold() -> None:
    bell, seen = Bell(), list[int]()

    def third_look() -> bool:
        seen.append(len(seen))
        return len(seen) == 3

    waiter = asyncio.create_task(bell.until(third_look))
    await turns()
    bell.ring()
    await turns()
    assert (seen, waiter.done()) == ([0, 1], False)
    bell.ring()
    await soon(waiter)
    assert seen == [0, 1, 2]


async def test_everybody_who_waits_is_woken() -> None:
    bell, over = Bell(), False
    waiters = [asyncio.create_task(bell.until(lambda: over)) for _ in range(5)]
    await turns()
    over = True
    bell.ring()
    await soon(asyncio.gather(*waiters))


async def test_ringing_twice_before_anybody_looks_is_as_good_as_once() -> None:
    bell, over = Bell(), False
    waiter = asyncio.create_task(bell.until(lambda: over))
    await turns()
    bell.ring()
    over = True
    bell.ring()
    await soon(waiter)


async def test_a_cancelled_waiter_does_not_disturb_the_others() -> None:
    bell, over = Bell(), False
    gone = asyncio.create_task(bell.until(lambda: over))
    stays = asyncio.create_task(bell.until(lambda: over))
    await turns()
    gone.cancel()
    bell.ring()
    with pytest.raises(asyncio.CancelledError):
        await soon(gone)
    over = True
    bell.ring()
    await soon(stays)
    assert bell._waiting == set()


async def test_what_a_condition_raises_reaches_who_waits() -> None:
    bell, broken = Bell(), False

    def look() -> bool:
        if broken:
            raise LookupError("no such thing")
        return False

    waiter = asyncio.create_task(bell.until(look))
    await turns()
    broken = True
    bell.ring()
    with pytest.raises(LookupError, match="no such thing"):
        await soon(waiter)
    assert bell._waiting == set()


async def test_a_condition_that_holds_only_for_a_moment_may_be_missed() -> None:
    bell, here = Bell(), True
    here = False
    waiter = asyncio.create_task(bell.until(lambda: here))
    await turns()
    here = True
    bell.ring()
    here = False
    await turns()
    assert not waiter.done()
    here = True
    bell.ring()
    await soon(waiter)
