"""A transport without a socket and an event loop without waiting, to try many inputs quickly."""

from __future__ import annotations

from typing import Any

from server.transports import FakeTransport, QuickLoop


class VirtualLoop(QuickLoop):
    """An event loop whose clock jumps to the next timer, and which logs what goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        # After millions of seconds a float is no longer exact to the nanosecond that asyncio allows
        # timers to be early by, and the last of them would never come.
        self._clock_resolution = 1e-3
        self.set_exception_handler(None)


class VirtualTransport(FakeTransport):
    """A transport whose client may read no more than so much.

    Args:
        tls: Whether its side cannot be shut alone.
        room: Bytes that the client reads; `None` for all.
    """

    def __init__(self, *, tls: bool = False, room: int | None = None) -> None:
        super().__init__(tls=tls)
        self._room = room
        self._size = 0

    @property
    def clogged(self) -> bool:
        """Whether more was written than the client reads."""
        return self._room is not None and self._size > self._room

    def close(self) -> None:
        if self.clogged:
            # It is over when everything is sent, which is never.
            self.closing = True
        else:
            super().close()

    def get_write_buffer_size(self) -> int:
        return int(self.clogged)

    def write(self, data: Any) -> None:
        before = self.clogged
        super().write(data)
        if not self.closing:
            self._size += len(data)
            if self.clogged and not before:
                self.protocol.pause_writing()

    def reset(self) -> None:
        """Have the connection break."""
        self.lose(ConnectionResetError("reset"))
