"""The last moment of a connection on which all was said.

Closing a socket resets the connection when input is unread or still comes, and the client may then
never read our last words. So our side is shut, and what still comes is thrown away until the client
has hung up too, for a short time (RFC 6455 §7.1.1).
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

LINGER_TIMEOUT: Final = 2.0
"""Seconds for the client to hang up."""

_WASTE: Final = bytearray(64 * 1024)
"""Where all connections put what nobody reads."""


class Lingering(Protocol):
    """Whose end it is."""

    def pause_writing(self) -> None:
        """The transport's buffer is full."""

    def resume_writing(self) -> None:
        """It has room again."""

    def on_lost(self) -> None:
        """The transport is gone."""


def shut(transport: asyncio.Transport) -> None:
    """Shut our side of a connection; both, where one cannot be shut alone."""
    if not transport.can_write_eof():
        transport.close()
        return
    try:
        transport.write_eof()
    except OSError:
        # The client has reset the connection, and the event loop has not noticed yet.
        transport.abort()


class Linger(asyncio.BufferedProtocol):
    """Reads from a transport from now on, and throws it away: any amount, for time is the bound.

    It brings a buffer of its own also because uvloop holds on to the one before it otherwise.

    Args:
        transport: Whose client should read what was sent, and no more.
        owner: Is told of everything else.
    """

    __slots__ = ("_owner", "_timer", "_transport")

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
        shut(transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return _WASTE

    def buffer_updated(self, nbytes: int) -> None:
        pass

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._owner.on_lost()
