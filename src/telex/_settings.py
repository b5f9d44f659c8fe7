"""What an application decides for its connections; routers and engines read it from the scope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from telex._outbox import Outbox
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
        websocket_class: What handlers get, a subclass of `telex.WebSocket`; `None` for that.
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
    websocket_class: type[Any] | None = None


DEFAULTS: Final = Settings()


class Overrides:
    """What a route decides in place of its application; an empty one is false.

    Args:
        **changes: Settings by name, `None` for the application's.
    """

    __slots__ = ("_changes", "_last")

    def __init__(self, **changes: Any) -> None:
        self._changes = {name: value for name, value in changes.items() if value is not None}
        self._last: tuple[Settings, Settings] | None = None

    def __bool__(self) -> bool:
        return bool(self._changes)

    def enter(self, scope: Scope) -> None:
        """Leave the settings of the route in a scope."""
        base = settings_of(scope)
        # There is one application, most often. Read once: another thread may serve another one.
        last = self._last
        if last is None or last[0] is not base:
            last = self._last = (base, replace(base, **self._changes))
        scope[SETTINGS_KEY] = last[1]


def settings_of(scope: Scope) -> Settings:
    """Return the settings of the application a scope belongs to."""
    settings = scope.get(SETTINGS_KEY)
    return settings if isinstance(settings, Settings) else DEFAULTS
