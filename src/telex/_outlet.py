"""Writing: data through the server's frame channel or through ASGI, in the order of the calls.

A server that says no after the peer has left does so in words of its own; all of them become
`WebSocketDisconnect` here, at this one door.
"""

from __future__ import annotations

from collections.abc import Callable

from telex._inbox import Inbox
from telex._outbox import Outbox, OutgoingQueue
from telex._types import FrameChannel, Message, Send


class Outlet:
    """The writing half of one connection.

    Args:
        send: The ASGI callable.
        channel: The frame channel when `send` is the one it belongs to, else `None`.
        inbox: The reading half: it knows whether the peer is gone and delivers that.
        bounds: The limits of the queue behind `write_nowait`.
        overflow: Called once when the queue is full and its policy is to close.
    """

    __slots__ = ("_bounds", "_channel", "_inbox", "_overflow", "_progress", "_send", "queue")

    def __init__(
        self,
        send: Send,
        channel: FrameChannel | None,
        inbox: Inbox,
        bounds: Outbox,
        overflow: Callable[[], None],
    ) -> None:
        self._send = send
        self._channel = channel
        self._inbox = inbox
        self._progress = inbox.progress
        self._bounds = bounds
        self._overflow = overflow
        self.queue: OutgoingQueue | None = None

    @property
    def buffered(self) -> int:
        """Bytes that wait: in the queue, and in the server where it tells."""
        queued = 0 if self.queue is None else self.queue.buffered
        return queued if self._channel is None else queued + self._channel.buffered

    async def write(self, data: str | bytes) -> None:
        """Send one message, after those that `write_nowait` put into the queue.

        Waits while the server says that its buffer is full.

        Raises:
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us; nothing was sent.
        """
        if self.queue is not None and self.queue.busy:
            await self.queue.flush()
        progress = self._progress
        if not progress.open:
            raise progress.refuse("send")
        if progress.told:
            raise await self._inbox.deliver()
        channel = self._channel
        try:
            if channel is None:
                key = "text" if isinstance(data, str) else "bytes"
                await self._send({"type": "websocket.send", key: data})
            else:
                _write_frame(channel, data)
        except Exception as exc:
            raise await self._translate(exc) from exc
        progress.sent += 1
        if channel is not None and not channel.writable:
            await channel.drain()

    def write_nowait(self, data: str | bytes) -> bool:
        """Send one message without waiting; `False` when it was dropped."""
        progress = self._progress
        if progress.over or progress.told:
            return False
        if not progress.open:
            raise progress.refuse("send")
        queue = self.queue
        channel = self._channel
        if channel is not None and channel.writable and (queue is None or not queue.busy):
            try:
                _write_frame(channel, data)
            except OSError:
                return False
            progress.sent += 1
            return True
        if queue is None:
            queue = self.queue = OutgoingQueue(self._bounds, self.write, self._overflow)
        return queue.offer(data)

    async def transmit(self, message: Message) -> None:
        """Give one event to the server.

        Raises:
            WebSocketDisconnect: The peer is gone.
        """
        try:
            await self._send(message)
        except Exception as exc:
            raise await self._translate(exc) from exc

    async def _translate(self, exc: Exception) -> Exception:
        """Return what a failed write means: the peer is gone, or the server's own complaint."""
        if isinstance(exc, OSError) or self._inbox.source.closed is not None:
            return await self._inbox.deliver()
        return exc

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until the queue is empty, at most `timeout` seconds (`None`: no limit)."""
        if self.queue is not None:
            await self.queue.flush(timeout)

    async def stop(self) -> None:
        """Throw away what waits in the queue."""
        if self.queue is not None:
            await self.queue.stop()


def _write_frame(channel: FrameChannel, data: str | bytes) -> None:
    if isinstance(data, str):
        channel.write_text(data)
    else:
        channel.write_bytes(data)
