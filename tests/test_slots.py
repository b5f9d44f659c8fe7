"""Counting connections: all together, and of one client."""

from __future__ import annotations

import math
from collections import Counter
from http import HTTPStatus
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opened import connecting
from telex._slots import Slots, client_host

FULL = HTTPStatus.SERVICE_UNAVAILABLE
TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS


def test_no_more_than_the_total_may_come() -> None:
    slots = Slots(2)
    assert [slots.take(None) for _ in range(3)] == [None, None, FULL]
    slots.give_back(None)
    assert slots.take(None) is None
    assert len(slots) == 2


def test_no_more_of_one_client() -> None:
    slots = Slots(per_client=1)
    assert [slots.take(client) for client in ("a", "b", "a")] == [None, None, TOO_MANY]
    assert (len(slots), slots.clients) == (2, 2)
    slots.give_back("a")
    assert (len(slots), slots.clients) == (1, 1)
    assert slots.take("a") is None


def test_when_there_is_room_for_nobody_it_does_not_matter_who_asks() -> None:
    slots = Slots(1, 1)
    assert slots.take("a") is None
    assert slots.take("a") is FULL
    assert slots.take("b") is FULL


def test_who_is_not_known_counts_for_no_client() -> None:
    slots = Slots(3, 1)
    assert [slots.take(None) for _ in range(4)] == [None, None, None, FULL]
    assert slots.clients == 0
    slots.give_back(None)
    assert len(slots) == 2


def test_clients_are_forgotten_where_they_do_not_matter() -> None:
    slots = Slots(9)
    assert not slots.tells_clients_apart
    slots.take("a")
    assert slots.clients == 0
    slots.give_back("a")
    assert len(slots) == 0


def test_an_empty_count_is_a_count() -> None:
    assert Slots(1)


def test_slots_are_made_of_limits_that_ask_for_them() -> None:
    assert Slots.of({}) is None
    assert Slots.of({"max_age": 3}) is None
    assert Slots.of({"max_connections": math.inf, "max_connections_per_client": math.inf}) is None
    total = Slots.of({"max_connections": 1})
    assert total is not None
    assert not total.tells_clients_apart
    each = Slots.of({"max_connections_per_client": 1})
    assert each is not None
    assert each.tells_clients_apart


@given(
    total=st.sampled_from([1, 3, math.inf]),
    per_client=st.sampled_from([1, 2, math.inf]),
    script=st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", None]))),
)
def test_a_count_is_never_negative_and_ends_at_nothing(
    total: float, per_client: float, script: list[tuple[bool, Any]]
) -> None:
    slots = Slots(total, per_client)
    held: list[Any] = []
    for comes, client in script:
        if comes and slots.take(client) is None:
            held.append(client)
        elif not comes and held:
            slots.give_back(held.pop())
        counted = Counter(each for each in held if each is not None)
        assert len(slots) == len(held) <= total
        assert max(counted.values(), default=0) <= per_client
        if slots.tells_clients_apart:
            assert slots.clients == len(counted)
    while held:
        slots.give_back(held.pop())
    assert (len(slots), slots.clients) == (0, 0)


def test_a_client_is_its_host() -> None:
    assert client_host(connecting(client=("10.0.0.1", 5))[0]) == "10.0.0.1"
    assert client_host(connecting(client=None)[0]) is None
