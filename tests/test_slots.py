"""Counting connections: all together, and of one client."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import Counter
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opened import connecting
from telex._slots import Client, Slots, client_host, client_of

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
    clients = [Client(key) for key in ("a", "b", "a")]
    assert [slots.take(client) for client in clients] == [None, None, TOO_MANY]
    assert (len(slots), slots.clients) == (2, 2)
    slots.give_back(clients[0])
    assert (len(slots), slots.clients) == (1, 1)
    assert slots.take(Client("a")) is None


def test_a_client_is_forgotten_with_its_last_connection_whichever_that_is() -> None:
    slots, other = Slots(per_client=2), Slots(per_client=9)
    first, second = Client("a"), Client("a")
    for client in (first, second):
        assert (slots.take(client), other.take(client)) == (None, None)
    slots.give_back(first)
    assert (len(slots), slots.clients, other.clients) == (1, 1, 1)
    assert slots.take(Client("a")) is None
    assert slots.take(Client("a")) is TOO_MANY
    slots.give_back(second)
    assert slots.clients == 1
    other.give_back(second)
    other.give_back(first)
    assert (len(other), other.clients) == (0, 0)


def test_when_there_is_room_for_nobody_it_does_not_matter_who_asks() -> None:
    slots = Slots(1, 1)
    assert slots.take(Client("a")) is None
    assert slots.take(Client("a")) is FULL
    assert slots.take(Client("b")) is FULL


def test_who_is_not_known_counts_for_no_client() -> None:
    slots = Slots(3, 1)
    assert [slots.take(None) for _ in range(4)] == [None, None, None, FULL]
    assert slots.clients == 0
    slots.give_back(None)
    assert len(slots) == 2


def test_clients_are_forgotten_where_they_do_not_matter() -> None:
    slots = Slots(9)
    assert not slots.tells_clients_apart
    client = Client("a")
    slots.take(client)
    assert slots.clients == 0
    slots.give_back(client)
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
    held: list[tuple[Any, Client | None]] = []
    for comes, key in script:
        client = client_of(key)
        if comes and slots.take(client) is None:
            held.append((key, client))
        elif not comes and held:
            slots.give_back(held.pop()[1])
        counted = Counter(key for key, _ in held if key is not None)
        assert len(slots) == len(held) <= total
        assert max(counted.values(), default=0) <= per_client
        if slots.tells_clients_apart:
            assert slots.clients == len(counted)
    while held:
        slots.give_back(held.pop()[1])
    assert (len(slots), slots.clients) == (0, 0)


class Key:
    """A key whose value may change, or be gone."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(self.known)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.known == other.known

    @property
    def known(self) -> Any:
        if self.value is None:
            raise RuntimeError("the value is gone")
        return self.value


@pytest.mark.parametrize("later", ["b", "c", None])
def test_a_key_that_changes_is_given_back_all_the_same(later: str | None) -> None:
    slots, keys = Slots(9, 2), [Key("a"), Key("b"), Key("a"), Key("a")]
    clients = [Client(key) for key in keys]
    assert [slots.take(client) for client in clients] == [None, None, None, TOO_MANY]
    assert slots.clients == 2
    for key in keys:
        key.value = later
    for client in clients[:3]:
        slots.give_back(client)
    assert (len(slots), slots.clients) == (0, 0)


def test_a_key_with_another_hash_each_time_is_given_back_too() -> None:
    class Unstable:
        hashed = 0

        def __hash__(self) -> int:
            self.hashed += 1
            return self.hashed

    slots, key = Slots(9, 2), Unstable()
    clients = [Client(key) for _ in range(3)]
    for client in clients:
        slots.take(client)
    for client in clients:
        slots.give_back(client)
    assert (len(slots), slots.clients) == (0, 0)


# What a key may be


def test_none_is_no_client_and_all_else_is_one_by_what_it_equals() -> None:
    assert client_of(None) is None
    assert client_of(("a", 1)) == client_of(("a", 1)) != client_of("a")
    assert client_of("") is not None
    assert client_of(0) != 0
    nan = math.nan
    assert client_of(nan) == client_of(nan)


@pytest.mark.parametrize("key", [["a"], {}, ("a", [])])
def test_what_cannot_be_told_apart_is_named(key: Any) -> None:
    with pytest.raises(TypeError) as caught:
        client_of(key)
    assert str(caught.value) == f"client_key must return something hashable, not {key!r}"


async def test_what_would_have_to_be_awaited_is_no_client() -> None:
    async def key() -> str:
        raise AssertionError("nobody has awaited it")

    waiting = asyncio.get_running_loop().create_future()
    coroutine = key()
    for each in (coroutine, waiting):
        with pytest.raises(TypeError, match=r"^client_key must be a plain function, not async: "):
            client_of(each)
    # Closed: there is no warning that it was never awaited.
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_a_client_is_its_host() -> None:
    assert client_host(connecting(client=("10.0.0.1", 5))[0]) == "10.0.0.1"
    assert client_host(connecting(client=None)[0]) is None
