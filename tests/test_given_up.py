"""What was given up is remembered for a while, and not much of it."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from opened import soon, turns, until
from telex._given_up import GIVEN_UP_FOR, MAX_GIVEN_UP, GivenUp


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telex._given_up.GIVEN_UP_FOR", 0.01)


def nothing() -> None:
    pass


async def test_what_was_added_is_in_it_until_it_is_discarded() -> None:
    given_up = GivenUp()
    assert not given_up
    given_up.add("a", nothing)
    given_up.add("b", nothing)
    given_up.discard("a")
    given_up.discard("never added")
    assert ("a" in given_up, "b" in given_up, len(given_up)) == (False, True, 1)
    assert given_up._timer is not None
    given_up.discard("b")
    assert given_up._timer is None


async def test_what_was_added_first_is_forgotten_first_when_there_is_too_much() -> None:
    given_up = GivenUp()
    for key in (*range(MAX_GIVEN_UP), 0, "more"):
        given_up.add(key, nothing)
    assert len(given_up) == MAX_GIVEN_UP
    # Adding it again has made 0 young.
    assert (0 in given_up, 1 in given_up, "more" in given_up) == (True, False, True)
    given_up.clear()


@pytest.mark.usefixtures("short")
async def test_everything_is_forgotten_in_time_and_that_is_told_once() -> None:
    given_up, told = GivenUp(), asyncio.Event()
    calls: list[int] = []

    def on_empty() -> None:
        calls.append(len(given_up))
        told.set()

    given_up.add("a", on_empty)
    given_up.add("b", on_empty)
    await soon(told.wait())
    await turns()
    assert (calls, given_up._timer, len(given_up)) == ([0], None, 0)


@pytest.mark.usefixtures("short")
async def test_what_is_younger_than_what_the_timer_was_for_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_up = GivenUp()
    given_up.add("old", nothing)
    monkeypatch.setattr("telex._given_up.GIVEN_UP_FOR", GIVEN_UP_FOR)
    given_up.add("young", nothing)
    await until(lambda: "old" not in given_up)
    assert "young" in given_up
    assert given_up._timer is not None
    given_up.clear()


async def test_after_it_was_cleared_nothing_holds_its_owner() -> None:
    class Owner:
        def on_empty(self) -> None:
            pass

    owner, given_up = Owner(), GivenUp()
    given_up.add("a", owner.on_empty)
    held = weakref.ref(owner)
    gc.disable()
    try:
        del owner
        assert held() is not None
        given_up.clear()
        assert held() is None
    finally:
        gc.enable()
