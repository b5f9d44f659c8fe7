"""Limits as they are written: what is taken, and what is refused at once with the option's name."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest

from telex import App, Outbox, Router, SocketRoute, WebSocket
from telex._limits import (
    PING,
    PONG,
    Heartbeat,
    LimitOptions,
    check_drain_timeout,
    check_grace,
    checked_limits,
)

TIMES = ("handshake_timeout", "idle_timeout", "max_age")
COUNTS = ("max_message_size", "max_connections", "max_connections_per_client")
NUMBERS = (*TIMES, *COUNTS, "max_messages_per_second")
HUGE = (
    pytest.param(10**400, id="huge"),
    pytest.param(-(10**400), id="hugely negative"),
    pytest.param(10**5000, id="too long to be shown"),
)


async def handler(ws: WebSocket) -> None:
    await ws.accept()


def app_with(**options: Any) -> object:
    return App(**options)


def route_with(**options: Any) -> object:
    return SocketRoute("/", handler, **options)


def registered_with(**options: Any) -> object:
    return App().websocket("/", **options)(handler)


def listener_with(**options: Any) -> object:
    async def listener(data: str) -> None:
        """Takes anything."""

    return Router().websocket_listener("/", **options)(listener)


WAYS = (app_with, route_with, registered_with, listener_with)


def test_every_option_is_a_number_or_looked_at_by_itself() -> None:
    others = {"client_key", "heartbeat", "outbox"}
    assert {*NUMBERS} | others == LimitOptions.__optional_keys__


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [1, 2.0, math.inf])
def test_a_number_above_0_is_taken(name: str, value: float) -> None:
    assert checked_limits({name: value}) == {name: value}  # type: ignore[misc]


@pytest.mark.parametrize("name", [*TIMES, "max_messages_per_second"])
def test_times_and_rates_may_have_fractions(name: str) -> None:
    assert checked_limits({name: 0.5}) == {name: 0.5}  # type: ignore[misc]


@pytest.mark.parametrize("name", COUNTS)
def test_what_is_counted_has_none(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number or math.inf, not 1.5$"):
        checked_limits({name: 1.5})  # type: ignore[misc]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, -math.inf, math.nan])
def test_a_number_that_is_not_above_0_is_refused_at_once(
    way: Callable[..., object], name: str, value: float
) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be above 0, not "):
        way(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", HUGE)
def test_a_number_that_is_too_big_to_count_with_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be a number, not an int beyond floats$"):
        checked_limits({name: value})  # type: ignore[misc]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["1", True, (1,), b""])
def test_what_is_no_number_is_refused_at_once(
    way: Callable[..., object], name: str, value: object
) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be a number, not "):
        way(**{name: value})


@pytest.mark.parametrize("way", WAYS)
def test_options_that_are_none_are_all_named(way: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match=r"^unknown options: 'max_mesage_size', 'maxage'$"):
        way(maxage=1, max_mesage_size=None, max_age=1)


@pytest.mark.parametrize("way", WAYS)
def test_none_leaves_a_limit_as_it_is_outside(way: Callable[..., object]) -> None:
    way(**dict.fromkeys(LimitOptions.__optional_keys__))
    assert checked_limits({"max_age": None, "idle_timeout": 3}) == {"idle_timeout": 3}


@pytest.mark.parametrize("key", ["host", 7, ("a",)])
def test_a_client_key_has_to_be_callable(key: Any) -> None:
    with pytest.raises(TypeError, match=r"^client_key must be callable, not "):
        checked_limits({"client_key": key})


def test_a_client_key_cannot_be_async() -> None:
    async def wait(_connection: object) -> str:
        return ""

    key: Any = wait

    with pytest.raises(TypeError, match=r"^client_key must be a plain function"):
        checked_limits({"client_key": key})
    with pytest.raises(TypeError, match=r"^client_key must be a plain function"):
        checked_limits({"client_key": functools.partial(key, None)})


def test_an_object_that_is_called_cannot_be_async_either() -> None:
    class Key:
        async def __call__(self, _connection: object) -> str:
            return ""

    class PlainKey:
        def __call__(self, _connection: object) -> str:
            return ""

    key: Any = Key()
    with pytest.raises(TypeError, match=r"^client_key must be a plain function"):
        checked_limits({"client_key": key})
    for plain in (PlainKey(), str, functools.partial(str)):
        assert checked_limits({"client_key": plain}) == {"client_key": plain}


def test_an_outbox_is_an_outbox() -> None:
    outbox = Outbox()
    assert checked_limits({"outbox": outbox})["outbox"] is outbox
    with pytest.raises(TypeError, match=r"^outbox must be a telex\.Outbox, not 5$"):
        checked_limits({"outbox": 5})  # type: ignore[typeddict-item]


# The heartbeat


def test_two_numbers_are_a_heartbeat() -> None:
    beat = checked_limits({"heartbeat": (20, 10.5)})["heartbeat"]
    assert beat == Heartbeat(20, 10.5)
    assert (beat.ping, beat.pong) == (PING, PONG)


def test_a_heartbeat_is_taken_as_it_is() -> None:
    beat = Heartbeat(1, 2, ping="are you there?", pong=None)
    assert checked_limits({"heartbeat": beat})["heartbeat"] is beat


def test_infinity_is_no_heartbeat() -> None:
    assert checked_limits({"heartbeat": math.inf})["heartbeat"].interval == math.inf


@pytest.mark.parametrize("beat", [20, "ab c", (1, 2, 3), (1,), object(), True])
def test_what_is_no_heartbeat_is_refused(beat: Any) -> None:
    with pytest.raises(TypeError, match=r"^heartbeat must be "):
        checked_limits({"heartbeat": beat})


@pytest.mark.parametrize(
    ("beat", "error", "named"),
    [
        ((0, 1), ValueError, "interval"),
        ((1, -1), ValueError, "timeout"),
        ((math.nan, 1), ValueError, "interval"),
        (("1", 1), TypeError, "interval"),
        ((1, None), TypeError, "timeout"),
    ],
)
def test_the_times_of_a_heartbeat_are_checked(
    beat: Any, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=rf"^Heartbeat\({named}=…\) must be "):
        checked_limits({"heartbeat": beat})


@pytest.mark.parametrize("name", ["ping", "pong"])
def test_its_messages_are_text(name: str) -> None:
    message: dict[str, Any] = {name: b"bytes"}
    with pytest.raises(TypeError, match=rf"^Heartbeat\({name}=…\) must be a str or None, not "):
        Heartbeat(1, 1, **message)


# Times that are no limits


GRACE = r"^disconnect_grace must be a number of seconds, at least 0, or None, not "
DRAIN = r"^drain_timeout must be a finite number of seconds, at least 0, not "


@pytest.mark.parametrize("seconds", [0, 0.5, 7])
def test_times_may_be_nothing(seconds: float) -> None:
    check_grace(seconds)
    check_drain_timeout(seconds)


@pytest.mark.parametrize("seconds", [-1, -0.1, math.nan, -math.inf, *HUGE])
def test_times_that_never_are_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=GRACE):
        check_grace(seconds)
    with pytest.raises(ValueError, match=DRAIN):
        check_drain_timeout(seconds)


@pytest.mark.parametrize("seconds", ["5", True, (1,), b""])
def test_times_are_numbers(seconds: Any) -> None:
    with pytest.raises(TypeError, match=GRACE):
        check_grace(seconds)
    with pytest.raises(TypeError, match=DRAIN):
        check_drain_timeout(seconds)


def test_a_grace_may_have_no_end_but_a_stop_has_one() -> None:
    check_grace(None)
    check_grace(math.inf)
    with pytest.raises(ValueError, match=DRAIN):
        check_drain_timeout(math.inf)
    with pytest.raises(TypeError, match=DRAIN):
        check_drain_timeout(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", [app_with, route_with, registered_with, listener_with])
def test_a_grace_is_checked_wherever_it_is_given(way: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match=GRACE):
        way(disconnect_grace="5")
