"""The listener of `listener_telex.py`, without calls in the turn in which a message comes."""

from __future__ import annotations

from collections.abc import Callable

from apps.listener_telex import app as app
from telex.server._inbound import Inbound


def ignore(self: Inbound, callback: Callable[[str | bytes], bool] | None) -> None:
    """Have nobody called for messages: so they wait for the task that reads."""


Inbound.on_message = ignore  # type: ignore[method-assign]
