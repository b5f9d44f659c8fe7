"""What an application or a route allows: the limits as they are written, checked.

| limit | when it is passed | the client sees |
|---|---|---|
| `max_message_size` | a longer message comes | close 1009 |
| `max_messages_per_second` | more come for longer than a few seconds | close 1008 |
| `max_connections` | one more asks | denial 503 |
| `max_connections_per_client` | the same client asks for one more | denial 429 |
| `handshake_timeout` | neither accepted nor rejected | denial 503 |
| `idle_timeout` | no message either way | close 3008 |
| `max_age` | open for so long | close 1012 |
| `heartbeat` | no sign of life | close 1011 |

A server that cannot send a denial response answers 403. Who was accepted by a middleware already is
closed with 1013 in place of a denial.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from telex._outbox import Outbox

MAX_MESSAGE_SIZE: Final = 16 * 1024 * 1024
"""Bytes of a message, where nothing else is said; what uvicorn and Hypercorn take too."""

HANDSHAKE_TIMEOUT: Final = 30.0
"""Seconds for an answer to the handshake, where nothing else is said."""

PING: Final = '{"type":"ping"}'
PONG: Final = '{"type":"pong"}'

ClientKey = Callable[[Any], Hashable]
"""Gets the connection and returns what tells clients apart, `None` for who is not counted."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Signs of life that clients are asked for.

    On Telex's server they are the pings of the protocol, which every client answers by itself; so
    `ping` and `pong` are not used there. Elsewhere ASGI has no pings: a message is sent in their
    place, which the client's code has to answer with a message, of whatever kind. One that equals
    `pong` is for us alone, handlers do not see it: one for each ping, for a client that sends more
    of them than it was asked for sends messages like all others.

    Attributes:
        interval: Seconds between pings, `math.inf` for none.
        timeout: Seconds for a sign of life after a ping; any message counts. They are kept to an
            eighth, and do not pass while the event loop is busy.
        ping: The message where there are no pings, `None` to send none there.
        pong: The answer that handlers do not see, `None` to let them see all.

    Raises:
        ValueError: Seconds that are not above 0.
        TypeError: A message that is no `str`.
    """

    interval: float
    timeout: float
    ping: str | None = PING
    pong: str | None = PONG

    def __post_init__(self) -> None:
        for name in ("interval", "timeout"):
            _check_positive(f"Heartbeat({name}=…)", getattr(self, name))
        for name in ("ping", "pong"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"Heartbeat({name}=…) must be a str or None, not {value!r}")


class LimitOptions(TypedDict, total=False):
    """The limits that applications and routes take; `None` leaves one as it is outside.

    For a route that is what the application says, and `math.inf` is no limit. Both counts of
    connections hold; `client_key` says for both who the client is.
    """

    max_message_size: float | None
    max_messages_per_second: float | None
    max_connections: float | None
    max_connections_per_client: float | None
    client_key: ClientKey | None
    handshake_timeout: float | None
    idle_timeout: float | None
    max_age: float | None
    heartbeat: Heartbeat | tuple[float, float] | float | None
    outbox: Outbox | None


_WHOLE: Final = ("max_message_size", "max_connections", "max_connections_per_client")
_NUMBERS: Final = ("max_messages_per_second", "handshake_timeout", "idle_timeout", "max_age")


def checked_limits(options: LimitOptions) -> dict[str, Any]:
    """Return the limits that were given, without those that are `None`.

    Raises:
        TypeError: An option that is none, or a value of another type.
        ValueError: A number that is not above 0, or one with a fraction where things are counted.
    """
    unknown = sorted(options.keys() - LimitOptions.__optional_keys__)
    if unknown:
        raise TypeError(f"unknown options: {', '.join(map(repr, unknown))}")
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name in _NUMBERS:
        if name in given:
            _check_positive(name, given[name])
    for name in _WHOLE:
        if name in given:
            _check_whole(name, given[name])
    if "client_key" in given:
        _check_key(given["client_key"])
    if "outbox" in given and not isinstance(given["outbox"], Outbox):
        raise TypeError(f"outbox must be a telex.Outbox, not {given['outbox']!r}")
    if "heartbeat" in given:
        given["heartbeat"] = _heartbeat_of(given["heartbeat"])
    return given


def _heartbeat_of(beat: Any) -> Heartbeat:
    if isinstance(beat, Heartbeat):
        return beat
    try:
        interval, timeout = (beat, beat) if beat == math.inf else beat
    except (TypeError, ValueError):
        raise TypeError(
            "heartbeat must be (interval, timeout), a telex.Heartbeat or math.inf for none, "
            f"not {beat!r}"
        ) from None
    return Heartbeat(interval, timeout)


def _check_number(name: str, value: Any, expected: str = "a number") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {expected}, not {value!r}")
    try:
        # Event loops count in floats, also where an int was given.
        float(value)
    except OverflowError:
        # Its digits may be too many to be shown.
        raise ValueError(f"{name} must be {expected}, not an int beyond floats") from None


def _check_positive(name: str, value: Any) -> None:
    _check_number(name, value)
    if not value > 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")


def _check_whole(name: str, value: Any) -> None:
    _check_positive(name, value)
    if value != math.inf and value % 1:
        raise ValueError(f"{name} must be a whole number or math.inf, not {value!r}")


def _check_key(key: Any) -> None:
    if not callable(key):
        raise TypeError(f"client_key must be callable, not {key!r}")
    # What is only found out by calling it is refused by `client_of`.
    if inspect.iscoroutinefunction(key) or inspect.iscoroutinefunction(type(key).__call__):
        raise TypeError(f"client_key must be a plain function, not async: {key!r}")


def check_grace(seconds: float | None) -> None:
    """Make sure that `disconnect_grace` can be used.

    Raises:
        TypeError: It is neither a number nor `None`.
        ValueError: It is negative.
    """
    if seconds is not None:
        _check_seconds("disconnect_grace", seconds, "a number of seconds, at least 0, or None")


def check_drain_timeout(seconds: float) -> None:
    """Make sure that `drain_timeout` can be used.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative or infinite: a server that stops does not wait for ever.
    """
    expected = "a finite number of seconds, at least 0"
    _check_seconds("drain_timeout", seconds, expected)
    if seconds == math.inf:
        raise ValueError(f"drain_timeout must be {expected}, not {seconds!r}")


def _check_seconds(name: str, seconds: Any, expected: str) -> None:
    _check_number(name, seconds, expected)
    if not seconds >= 0:
        raise ValueError(f"{name} must be {expected}, not {seconds!r}")
