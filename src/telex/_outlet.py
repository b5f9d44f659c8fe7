"""Writing: data through the server's frame channel or through ASGI, in the order of the calls.

Rules:

1. Over ASGI one message at a time is in the hands of `send`; other senders wait for their turn.
   Without that a middleware that awaits something could let a later message overtake.
2. Nobody waits for ever for a client that takes nothing: see `Outbox.timeout`.
3. A server that says no after the peer has left does so in words of its own; all of them become
   `WebSocketDisconnect` here, at this one door.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Final

from telex._failures import report
from telex._inbox import Inbox
from telex._outbox import FLUSH_TIMEOUT, Outbox
from telex._progress import Progress, kind_of, passing
from telex._source import ABNORMAL, AsgiSource
from telex._types import (
    GIVE_WAY,
    CloseRecord,
    FrameChannel,
    Message,
    Scope,
    Send,
)
from telex._waiting import Waiting
from telex.close_codes import CloseCode
from telex.exceptions import WebSocketHandshakeError

log = logging.getLogger("telex")

LOOK_TIMEOUT: Final = 0.5
"""Seconds to look for the peer's end after a send that failed for no known reason."""

_FREE_CODES: Final = 3000
"""Where the close codes begin that no server refuses."""


class Outlet(Waiting):
    """The writing half of one connection.

    Args:
        send: The ASGI callable.
        channel: The frame channel when `send` is the one it belongs to, else `None`.
        inbox: The reading half: it knows whether the peer is gone and delivers that.
        bounds: The limits of the queue behind `write_nowait`.
        overflow: Called once when the queue is full and its policy is to close, or when the client
            took nothing for too long.
        wrapped: Whether `send` may lead to another link of the same connection.
        scope: Of the connection. It tells of the server's buffer and names the client; not held.
    """

    __slots__ = ("_closing", "_inbox", "_send", "errand")

    def __init__(
        self,
        send: Send,
        channel: FrameChannel | None,
        inbox: Inbox,
        bounds: Outbox,
        overflow: Callable[[], None],
        *,
        wrapped: bool = False,
        scope: Scope | None = None,
    ) -> None:
        super().__init__(inbox.progress, channel, bounds, overflow, scope or {})
        self._send = _marked(send, inbox.progress) if wrapped else send
        self._inbox = inbox
        self._closing: asyncio.Task[None] | None = None
        self.errand: asyncio.Task[None] | None = None
        """What is done in place of the handler, a denial or the rest of an accept; else `None`."""

    def write(self, data: str | bytes) -> Awaitable[None] | None:
        """Send one message, after those that `write_nowait` put into the queue.

        What was called before a close goes out before it. With the policy `"drop_newest"` it is
        dropped when it finds the queue full.

        Returns:
            What is left to be awaited: for the server's buffer to have room, or for everything.
            `None` when there is nothing, which saves a coroutine for most messages.

        Raises:
            WebSocketRuntimeError: Not accepted yet, or closed by us; nothing was sent.
            WebSocketDisconnect: The peer is gone; also when it is awaited.
        """
        progress, channel = self._progress, self._channel
        if not progress.open:
            raise progress.refuse("send")
        if channel is None or not self._direct or progress.told or progress.filters_out:
            if progress.filters_out:
                data = progress.filtered(data)
            if self.queue is not None and self._drops(len(data)):
                return None
            if channel is not None:
                return self._write(channel, data)
            key = "text" if isinstance(data, str) else "bytes"
            return self._pass({"type": "websocket.send", key: data}, 1)
        try:
            if isinstance(data, str):
                channel.write_text(data)
            else:
                channel.write_bytes(data)
        except OSError as exc:
            return self._translate(exc)
        sent = progress.sent = progress.sent + 1
        if not channel.writable:
            return self.wait_for_room(channel)
        return None if sent % GIVE_WAY else asyncio.sleep(0)

    def _drops(self, size: int) -> bool:
        """Whether a message that would wait for its turn is dropped instead."""
        if self._progress.told or self._sender is asyncio.current_task():
            return False
        return self.queue is not None and self.queue.refuse(size)

    async def _write(self, channel: FrameChannel, data: str | bytes) -> None:
        if self._sender is not None or self.queued:
            await self._in_turn(data)
            return
        progress = self._progress
        if progress.told:
            raise await self._inbox.deliver()
        self.look()
        self._direct = not self._waiters
        try:
            _write_frame(channel, data)
        except OSError as exc:
            await self._translate(exc)
        progress.sent += 1
        if not channel.writable:
            await self.wait_for_room(channel)

    def write_nowait(self, data: str | bytes) -> bool:
        """Send one message without waiting; `False` when it was dropped."""
        progress = self._progress
        if not progress.open or progress.told:
            if progress.over or progress.told:
                return False
            raise progress.refuse("send")
        if progress.filters_out:
            data = progress.filtered(data)
        channel = self._channel
        if channel is None:
            if self._sender is None:
                out = (self.queue or self.open_queue()).begin(data)
                if out is not None:
                    if not out:
                        self.watch()
                    return True
        elif channel.writable and (self._direct or not self.queued):
            try:
                _write_frame(channel, data)
            except OSError:
                return False
            progress.sent += 1
            return True
        return self.line().offer(data)

    async def forward(self, message: Message) -> None:
        """Give a `websocket.send` to the server, in its turn, as it is unless there are filters."""
        if self._progress.filters_out:
            message = self._filtered(message)
        await self._pass(message, 0)

    async def _pass(self, message: Message, count: int) -> None:
        """Give an event to `send`, in its turn; count it as so many messages."""
        progress = self._progress
        if self._sender is not None or (self.queue is not None and self.queue.busy):
            await self._in_turn(message)
            progress.sent += count
            return
        if count and progress.told:
            raise await self._inbox.deliver()
        if self.patience is None:
            self.watch()
        self._sender = asyncio.current_task()
        try:
            try:
                await self._send(message)
            finally:
                self._release()
        except asyncio.CancelledError:
            self.check_given_up()
            raise
        except Exception as exc:
            await self._translate(exc)
            raise
        progress.sent += count

    def _filtered(self, message: Message) -> Message:
        text = message.get("text")
        data = self._progress.filtered(message["bytes"] if text is None else text)
        key = "text" if isinstance(data, str) else "bytes"
        return {"type": "websocket.send", key: data}

    async def transmit(self, message: Message) -> None:
        """Give one event to the server, at once.

        Raises:
            WebSocketDisconnect: The peer is gone.
        """
        try:
            await self._send(message)
        except Exception as exc:
            await self._translate(exc)
            raise

    async def close(self, message: Message, record: CloseRecord) -> None:
        """Send a `websocket.close` behind what waits, and end what there is to end."""
        if self.queue is not None and self.queued and not self.queue.sends_here:
            # In a task of its own: should this one be cancelled, the client is told all the same.
            self.close_later(message, record)
            assert self._closing is not None
            await asyncio.shield(self._closing)
            return
        try:
            await self._say(message, record)
        finally:
            await self._inbox.shut()

    def close_later(self, message: Message, record: CloseRecord) -> None:
        """Send a `websocket.close` behind what waits, in a task that ends by itself."""

        async def close() -> None:
            try:
                async with asyncio.timeout(2 * FLUSH_TIMEOUT):
                    await self._flush()
                    await self._say(message, record)
            except TimeoutError:
                log.debug("the server does not take the close of a slow client")
            except Exception as exc:
                report(exc, "a close could not be sent")
            finally:
                await self._inbox.shut()

        self._closing = asyncio.get_running_loop().create_task(
            close(), name="telex close", context=self._progress.own_context()
        )

    async def _say(self, message: Message, record: CloseRecord) -> None:
        source = self._inbox.source
        if isinstance(source, AsgiSource):
            # Granian 2.8 sends no close while somebody waits in its `receive`.
            source.cancel()
        try:
            await self.transmit(message)
        except WebSocketHandshakeError:
            # The peer was faster: what could not be said is not how it ended.
            if self._progress.record is record:
                self._progress.record = source.closed or ABNORMAL
        except Exception:
            # Daphne takes no code of the protocol but 1000: it sends nothing and would leave the
            # client connected to nobody. The same is said with a code of the private range.
            if not CloseCode.NORMAL < record.code < _FREE_CODES:
                raise
            private = replace(record, code=record.code + _FREE_CODES)
            await self.transmit({**message, "code": private.code})
            if self._progress.record is record:
                self._progress.record = private

    async def pass_on(self, kind: str, message: Message) -> None:
        """Give an event to the server for a link further in, in its turn."""
        if kind == "websocket.send":
            # The link further in has had it filtered.
            await self._pass(message, 0)
            return
        if kind == "websocket.close":
            await self._flush()
        await self.transmit(message)

    def dismiss(self) -> Iterator[asyncio.Task[None] | None]:
        """End the tasks; yield those that have to be waited for."""
        self.rest()
        yield self.errand
        yield self._closing
        yield self.discard()

    @property
    def ending(self) -> bool:
        """Whether a task ends the connection."""
        return any(task and not task.done() for task in (self._closing, self.errand))

    async def _flush(self) -> None:
        """Wait for what is in the queue, five seconds at most; then throw it away."""
        if self.queue is not None and not await self.queue.flush(FLUSH_TIMEOUT):
            self.discard()

    async def _in_turn(self, item: str | bytes | Message) -> None:
        if self._sender is asyncio.current_task():
            # A middleware sends while it sends; waiting for itself would last for ever.
            await self.hand_over(item)
            return
        if not await self.line().take_turn():
            raise self._progress.refuse("send")
        self._sender = asyncio.current_task()
        try:
            try:
                await self.hand_over(item)
            finally:
                self._release()
        except asyncio.CancelledError:
            self.check_given_up()
            raise
        except Exception as exc:
            await self._translate(exc)
            raise
        if self._channel is not None and not self._channel.writable:
            await self.wait_for_room(self._channel)

    async def outcome(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            await self._translate(error)
        if error is not None:
            raise error

    async def send_queued(self, data: str | bytes) -> None:
        try:
            await self.hand_over(data)
        except Exception as exc:
            await self._translate(exc)
            raise
        if self._channel is not None and not self._channel.writable:
            await self.wait_for_room(self._channel)

    def _release(self) -> None:
        self._sender = None
        if self.queue is not None:
            self.queue.pass_turn()

    async def hand_over(self, item: str | bytes | Message) -> None:
        """Give what has waited for its turn to the server, also while we close."""
        progress = self._progress
        if progress.peer_gone or progress.told:
            raise ConnectionResetError
        if not isinstance(item, str | bytes):
            await self._send(item)
            return
        if self._channel is None:
            key = "text" if isinstance(item, str) else "bytes"
            await self._send({"type": "websocket.send", key: item})
        else:
            self.look()
            _write_frame(self._channel, item)
        progress.sent += 1

    async def _translate(self, exc: Exception) -> None:
        """Raise what a failed write means when the peer is gone; else it is the server's word."""
        if isinstance(exc, OSError) or await self._is_gone():
            raise await self._inbox.deliver() from exc

    async def _is_gone(self) -> bool:
        """Whether the peer is gone, when the server has said no in words of its own.

        Daphne says so a moment before it gives the disconnect.
        """
        progress = self._progress
        source, watchers = self._inbox.source, progress.watchers
        may_ask = progress.open and not progress.handed_out
        if isinstance(source, AsgiSource) and source.closed is None and may_ask:
            changed = asyncio.Event()
            watchers.append(changed.set)
            source.start()
            try:
                async with asyncio.timeout(LOOK_TIMEOUT):
                    await changed.wait()
            except TimeoutError:
                pass
            finally:
                watchers.remove(changed.set)
        return source.closed is not None


def _write_frame(channel: FrameChannel, data: str | bytes) -> None:
    if isinstance(data, str):
        channel.write_text(data)
    else:
        channel.write_bytes(data)


def _marked(send: Send, progress: Progress) -> Send:
    """Return `send`, saying meanwhile that the state has been advanced for this event."""

    async def marked(message: Message) -> None:
        token = passing.set((progress, kind_of(message)))
        try:
            await send(message)
        finally:
            passing.reset(token)

    return marked
