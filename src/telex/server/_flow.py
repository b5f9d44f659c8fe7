"""Whether a client takes anything: what has gone to it, and what waits behind that.

A transport asks the kernel for more room when much of its buffer is free, which a slow client may
take many seconds for. Linux tells of every byte that the client's side has taken.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Final, NamedTuple

_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)

_INFO: Final = struct.Struct("=120xQ16xI")
"""Of Linux's `struct tcp_info`: `tcpi_bytes_acked` and `tcpi_notsent_bytes`."""

_TELLS: Final = sys.platform == "linux"


class Flow(NamedTuple):
    """How far what is sent to a client has come.

    Attributes:
        taken: Grows when its side takes something; no number of anything.
        waiting: Bytes that did not even set out, because it does not take those before.
    """

    taken: int
    waiting: int

    def moved_since(self, before: Flow) -> bool:
        """Whether the client has taken something of what waited.

        What need not wait says nothing: the kernels take it, whether or not anybody reads it.
        """
        waited = self.waiting or before.waiting
        return bool(waited) and (self.taken > before.taken or self.waiting < before.waiting)


def flow_of(transport: asyncio.Transport) -> Flow:
    """Return what is known of a connection; it may be closing."""
    try:
        taken, unsent = _told(transport.get_extra_info("socket")) if _TELLS else (0, 0)
        return Flow(taken, transport.get_write_buffer_size() + unsent)
    except AttributeError:
        # TLS transports of asyncio know nothing any more when they were closed twice.
        return Flow(0, 0)


def _told(sock: socket.socket | None) -> tuple[int, int]:
    """Return what the kernel says: bytes that have arrived, and bytes it has not sent yet."""
    if sock is None or sock.family not in _INTERNET:
        return 0, 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except OSError:
        # It is gone.
        return 0, 0
    # Older kernels tell less.
    acknowledged, unsent = _INFO.unpack(info) if len(info) == _INFO.size else (0, 0)
    return acknowledged, unsent
