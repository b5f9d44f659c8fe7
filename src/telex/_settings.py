"""What an application decides for its connections; routers and engines read it from the scope."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from telex._limits import (
    HANDSHAKE_TIMEOUT,
    MAX_MESSAGE_SIZE,
    ClientKey,
    Heartbeat,
    LimitOptions,
    checked_limits,
)
from telex._outbox import Outbox
from telex._slots import Slots, client_host
from telex._types import Scope
from telex.codecs import JSON, Codec

SETTINGS_KEY: Final = "telex.settings"
"""Key of the scope under which an application leaves its `Settings`."""

ExceptionHandler = Callable[[Any, Any], Any]
"""Called with the connection and the exception; what it returns is awaited when it can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one application.

    Attributes:
        debug: Whether clients may see what an exception says.
        disconnect_grace: Seconds a handler may go on after its client left without noticing,
            `None` for ever.
        exception_handlers: By exception class; the nearest base class of an exception counts.
        dependency_overrides: What is called in place of a dependency, for tests.
        outbox: The bounds of `send_nowait`.
        codec: What makes values of messages.
        codecs: The same by subprotocol.
        max_message_size: Bytes of a message.
        max_messages_per_second: How many are read in a second, but for a burst.
        handshake_timeout: Seconds until the handler has accepted or rejected.
        idle_timeout: Seconds without a message either way.
        max_age: Seconds a connection may be open.
        heartbeat: Signs of life that are asked for, `None` for none.
        slots: How many connections there may be, in the application and in the route.
        client_key: Says of which client a connection is.
        connections: The open connections of the application, `None` without one.
        websocket_class: What handlers get, a subclass of `telex.WebSocket`; `None` for that.
        has_checks: Whether something is looked at from time to time while a connection is open.
    """

    debug: bool = False
    disconnect_grace: float | None = 5.0
    exception_handlers: Mapping[type[BaseException], ExceptionHandler] = field(default_factory=dict)
    dependency_overrides: Mapping[Callable[..., Any], Callable[..., Any]] = field(
        default_factory=dict
    )
    outbox: Outbox = field(default_factory=Outbox)
    codec: Codec = field(default_factory=JSON)
    codecs: Mapping[str, Codec] = field(default_factory=dict)
    max_message_size: float = MAX_MESSAGE_SIZE
    max_messages_per_second: float = math.inf
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    idle_timeout: float = math.inf
    max_age: float = math.inf
    heartbeat: Heartbeat | None = None
    slots: tuple[Slots, ...] = ()
    client_key: ClientKey = client_host
    connections: Any = None
    websocket_class: type[Any] | None = None
    has_checks: bool = field(init=False)

    def __post_init__(self) -> None:
        shortest = min(self.idle_timeout, self.max_age)
        object.__setattr__(self, "has_checks", shortest < math.inf or self.heartbeat is not None)


DEFAULTS: Final = Settings()


def limit_settings(limits: LimitOptions) -> dict[str, Any]:
    """Return checked limits as settings.

    Raises:
        TypeError: An option that is none, or a value of another type.
        ValueError: A number that makes no sense.
    """
    given = checked_limits(limits)
    slots = Slots.of(given)
    settings = {name: value for name, value in given.items() if name not in _COUNTED}
    return settings if slots is None else {**settings, "slots": (slots,)}


_COUNTED: Final = ("max_connections", "max_connections_per_client")


class Overrides:
    """What a route decides in place of its application; an empty one is false.

    Args:
        **changes: Settings by name, `None` for the application's. Slots are besides those that
            the application has.
    """

    __slots__ = ("_changes", "_last", "_slots")

    def __init__(self, **changes: Any) -> None:
        self._slots: tuple[Slots, ...] = changes.pop("slots", ())
        self._changes = {name: value for name, value in changes.items() if value is not None}
        self._last: tuple[Settings, Settings] | None = None

    def __bool__(self) -> bool:
        return bool(self._changes or self._slots)

    def enter(self, scope: Scope) -> None:
        """Leave the settings of the route in a scope."""
        base = settings_of(scope)
        # There is one application, most often. Read once: another thread may serve another one.
        last = self._last
        if last is None or last[0] is not base:
            slots = base.slots + self._slots
            last = self._last = (base, replace(base, slots=slots, **self._changes))
        scope[SETTINGS_KEY] = last[1]


def settings_of(scope: Scope) -> Settings:
    """Return the settings of the application a scope belongs to."""
    settings = scope.get(SETTINGS_KEY)
    return settings if isinstance(settings, Settings) else DEFAULTS
