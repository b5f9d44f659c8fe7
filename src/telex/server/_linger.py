"""The last moment of a connection that was ended for what its client sent.

Closing a socket with unread input resets the connection, and the client may then never read the
close frame that says why. So our side is shut, and what still comes is thrown away until the
client has hung up too, for a short time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LINGER_TIMEOUT: Final = 2.0
"""Seconds for the client to hang up."""


class Linger(asyncio.Protocol):
    """Reads from a transport from now on, and throws it away.

    Args:
        transport: Whose client should read what was sent, and no more.
        loop: Its event loop.
        on_lost: Called when it is gone.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[], None],
    ) -> None:
        self._on_lost = on_lost
        self._timer = loop.call_later(LINGER_TIMEOUT, transport.abort)
        transport.set_protocol(self)
        transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def data_received(self, data: bytes) -> None:
        pass

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._on_lost()
