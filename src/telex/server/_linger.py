"""The last moment of a connection that was ended for what its client sent.

Closing a socket with unread input resets the connection, and the client may then never read the
close frame that says why. So our side is shut, and what still comes is thrown away until the
client has hung up too, for a short time.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

LINGER_TIMEOUT: Final = 2.0
"""Seconds for the client to hang up."""


class Lingering(Protocol):
    """Whose end it is."""

    def pause_writing(self) -> None:
        """The transport's buffer is full."""

    def resume_writing(self) -> None:
        """It has room again."""

    def on_lost(self) -> None:
        """The transport is gone."""


class Linger(asyncio.Protocol):
    """Reads from a transport from now on, and throws it away.

    Args:
        transport: Whose client should read what was sent, and no more.
        owner: Is told of everything else.
    """

    def __init__(self, transport: asyncio.Transport, owner: Lingering) -> None:
        self._transport = transport
        self._owner = owner
        self._timer: asyncio.TimerHandle | None = None
        transport.set_protocol(self)
        transport.resume_reading()

    def begin(self) -> None:
        """The last byte was written: shut our side, and wait a moment for the client."""
        transport = self._transport
        self._timer = asyncio.get_running_loop().call_later(LINGER_TIMEOUT, transport.abort)
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def data_received(self, data: bytes) -> None:
        pass

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._owner.on_lost()
