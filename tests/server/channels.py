"""A channel over a transport in memory."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from server.transports import CLOSE, FIN, TEXT, FakeTransport, frame
from telex._types import CloseRecord
from telex.server._channel import Channel
from telex.server._deflate import Agreement, Compression
from telex.server._inbound import Bounds

PLAIN: Final = Agreement("", (False, False), (12, 12))
MOMENT: Final = 1.0
"""Seconds in which an application may answer what came before a violation."""

BAD: Final = frame(TEXT, b"\xff")
"""A violation: 1007."""

LOST = CloseRecord(1006, "", "client")


class Connection:
    """A channel, its transport, and how often it has said that the transport is gone."""

    def __init__(self, *, tls: bool = False, **bounds: int) -> None:
        self.transport = FakeTransport(tls=tls)
        self.lost = 0
        limits = {"max_size": 1 << 20, "max_messages": 8, **bounds}
        loop = asyncio.get_running_loop()
        self.channel = Channel(self.transport, loop, Bounds(**limits), self._on_lost)

    def _on_lost(self) -> None:
        self.lost += 1

    @property
    def closes(self) -> list[bytes]:
        """The payloads of the close frames that were written since the last look."""
        return [data for first, data in self.transport.frames() if first == FIN | CLOSE]

    def polled(self) -> list[str | bytes]:
        messages = []
        while (data := self.channel.poll()) is not None:
            messages.append(data)
        return messages


def opened(early: bytes = b"", *, compressed: bool = False, **options: Any) -> Connection:
    connection = Connection(**options)
    connection.channel.open(Compression(PLAIN) if compressed else None, early)
    return connection
