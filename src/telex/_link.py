"""The engine: one `Link` owns one client's connection. Every face stands on it.

Rules:

1. State is marked before the `await` that makes it true, so that of two tasks which close at
   once only one sends, and a failed or cancelled close stays a close.
2. The peer's end counts from the moment it is delivered: messages that came before it are read
   first, and sends are attempted until then. A send that fails is a delivery too.
3. Data takes the server's frame channel where `receive` or `send` is the one the channel belongs
   to, decided for each direction by itself; a middleware that wrapped one of them is never gone
   around. Accept, close and denials always go through `send`.
4. Links over other callables of the same connection share its `Progress` and its cleanups.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from telex._cleanup import Cleanups
from telex._inbox import ABNORMAL, Inbox
from telex._outbox import FLUSH_TIMEOUT
from telex._outlet import Outlet
from telex._progress import Progress
from telex._settings import settings_of
from telex._source import AsgiSource, close_record
from telex._state import Phase, refusal
from telex._types import (
    FRAMES_EXTENSION,
    CloseRecord,
    FrameChannel,
    Message,
    Receive,
    Scope,
    Send,
    Source,
)
from telex.close_codes import CloseCode, check_code, clip_reason
from telex.exceptions import WebSocketDisconnect

LINK_KEY: Final = "telex.link"
"""Key of the scope under which the first link of a connection is found by later faces."""

ABORT_TIMEOUT: Final = 1.0
"""Seconds `abort` tries to say goodbye where it cannot drop the connection."""

_PEEK_TURNS: Final = 3


class Link:
    """One connection, from the handshake to the last cleanup.

    Two tasks may use it at once: readers are served in turn, writes go out in the order of the
    calls. It belongs to one event loop.
    """

    __slots__ = (
        "_dropping",
        "_receive",
        "_rewired",
        "_send",
        "channel",
        "cleanups",
        "end_hook",
        "handed_out",
        "inbox",
        "outlet",
        "progress",
        "supervised",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, base: Link | None = None
    ) -> None:
        self._receive = receive
        self._send = send
        self._rewired: list[Link] = []
        self.handed_out = False
        """Whether somebody may be awaiting the server's `receive` directly."""
        self.end_hook: Callable[[int], Awaitable[None]] | None = None
        """Called by the life cycle with the close code after the end."""
        self.supervised = False
        """Whether a life cycle runs the handler and will end the connection."""
        self.progress: Progress = Progress() if base is None else base.progress
        self.cleanups: Cleanups = Cleanups() if base is None else base.cleanups
        self._dropping: asyncio.Task[None] | None = None
        channel: FrameChannel | None = (scope.get("extensions") or {}).get(FRAMES_EXTENSION)
        self.channel = channel
        self.inbox: Inbox
        if base is not None and base._receive == receive:
            self.inbox = base.inbox
        else:
            self.inbox = Inbox(self._source(receive), self.progress, self.cleanups.run)
        self.outlet = Outlet(
            send,
            channel if channel is not None and send == channel.asgi_send else None,
            self.inbox,
            settings_of(scope).outbox,
            self._overflow,
        )

    @classmethod
    def of(cls, scope: Scope, receive: Receive, send: Send) -> Link:
        """Return the link of a connection, the same one for the same callables."""
        base = scope.get(LINK_KEY)
        if not isinstance(base, Link):
            link = cls(scope, receive, send)
            scope[LINK_KEY] = link
            return link
        for link in (base, *base._rewired):
            if link._serves(receive, send):
                return link
        link = cls(scope, receive, send, base=base)
        base._rewired.append(link)
        return link

    def _serves(self, receive: Receive, send: Send) -> bool:
        return (receive == self._receive or receive == self.receive) and (
            send == self._send or send == self.send
        )

    def _source(self, receive: Receive) -> Source:
        channel = self.channel
        if channel is not None and receive == channel.asgi_receive:
            channel.on_close(self.progress.notify)
            return channel
        return AsgiSource(receive, self.progress.notify)

    @property
    def asgi(self) -> tuple[Receive, Send]:
        """The callables the link was given."""
        return self._receive, self._send

    # Beginning

    async def accept(self, message: Message) -> None:
        """Read the connect, unless it was read, and send a valid `websocket.accept`.

        Raises:
            WebSocketDisconnect: The client gave up.
            WebSocketRuntimeError: Not the moment to accept; nothing was sent.
        """
        progress = self.progress
        if progress.peer_gone:
            raise progress.disconnect()
        if progress.application is not Phase.CONNECTING:
            raise refusal(progress.application, "accept")
        if not progress.connect_taken:
            event = await self._take_connect()
            if progress.peer_gone:
                progress.end(close_record(event))
                await self.cleanups.run()
                raise progress.disconnect()
        await self._send_accept(message)

    async def _send_accept(self, message: Message) -> None:
        progress = self.progress
        progress.going(message)
        progress.client = Phase.CONNECTED
        progress.open = True
        try:
            await self.outlet.transmit(message)
        except WebSocketDisconnect:
            raise
        except Exception:
            progress.not_sent()
            raise
        progress.subprotocol = message.get("subprotocol")

    async def _take_connect(self) -> Message:
        # Marked first: should this be cancelled with the event in flight, a second accept must
        # not wait for another one. Servers accept without it.
        progress = self.progress
        progress.connect_taken = True
        source = self.inbox.source
        try:
            if isinstance(source, AsgiSource) and source.started:
                message = await self._connect_from(source)
            else:
                message = await self._receive()
        except OSError:
            message = {"type": "websocket.disconnect", "code": 1006}
        if progress.client is Phase.CONNECTING:
            progress.came(message)
        elif message.get("type") == "websocket.disconnect":
            progress.client = Phase.DISCONNECTED
        return message

    async def _connect_from(self, source: AsgiSource) -> Message:
        while source.connect is None and source.closed is None:
            await source.wait()
        if source.connect is not None:
            return source.connect
        record = source.closed or ABNORMAL
        return source.farewell or {"type": "websocket.disconnect", "code": record.code}

    # Reading

    async def receive(self) -> Message:
        """Return the next raw event: connect, receive or disconnect.

        Raises:
            WebSocketDisconnect: The disconnect was delivered before.
            WebSocketRuntimeError: Closed by us, and the server's disconnect was delivered too.
        """
        progress = self.progress
        if not progress.connect_taken:
            message = await self._take_connect()
            if progress.peer_gone:
                progress.deliver(close_record(message))
                await self.cleanups.run()
            return message
        if progress.application is Phase.DISCONNECTED and not progress.peer_gone:
            return await self._drain()
        return await self.inbox.read_message()

    async def _drain(self) -> Message:
        """Return what is left after our own close: read ahead first, then the server's."""
        source = self.inbox.source
        message: Message | None = None
        if isinstance(source, AsgiSource):
            await source.stop()
            message = source.poll_message() or source.farewell
        if message is None:
            message = await self._receive()
        if message.get("type") == "websocket.disconnect":
            self.progress.client = Phase.DISCONNECTED
        return message

    async def is_gone(self) -> bool:
        """Whether the connection is over, without taking a message from anybody.

        Answers `False` while the read-ahead buffer is full: the end is behind it.
        """
        progress = self.progress
        source = self.inbox.source
        if isinstance(source, AsgiSource) and progress.open:
            source.start()
        for _ in range(_PEEK_TURNS):
            if progress.over or source.closed is not None:
                progress.told = True
                return True
            await asyncio.sleep(0)
        return False

    async def wait_over(self) -> None:
        """Wait until the connection is over. Cancelling it changes nothing."""
        progress = self.progress
        source = self.inbox.source
        if isinstance(source, AsgiSource):
            source.start()
        over = asyncio.Event()
        progress.watchers.append(over.set)
        try:
            while not progress.over and source.closed is None:
                over.clear()
                await over.wait()
        finally:
            progress.watchers.remove(over.set)
        progress.told = True

    # Writing

    async def send(self, message: Message) -> None:
        """Send one raw event and keep the state right.

        Raises:
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: The event is not legal now; nothing was sent.
        """
        progress = self.progress
        if progress.peer_gone and progress.application is not Phase.DISCONNECTED:
            raise progress.disconnect()
        kind = str(message.get("type"))
        if kind == "websocket.send":
            await self.outlet.flush()
        if kind == "websocket.accept":
            await self._send_accept(message)
            return
        progress.going(message)
        self._record_end(kind, message)
        try:
            await self.outlet.transmit(message)
            progress.sent += kind == "websocket.send"
        finally:
            if progress.application is Phase.DISCONNECTED:
                await self._closed()

    def _record_end(self, kind: str, message: Message) -> None:
        if kind == "websocket.close":
            code, reason = message.get("code", 1000), message.get("reason")
            self.progress.end(CloseRecord(int(code), reason or "", "server"))
        elif kind == "websocket.http.response.start":
            status = int(message["status"])
            code = CloseCode.INTERNAL_ERROR if status >= 500 else CloseCode.POLICY_VIOLATION
            self.progress.end(CloseRecord(int(code), "", "server", status))

    # Ending

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close, or reject the handshake. Does nothing when the connection is over.

        Raises:
            ValueError: A code that may not be sent; nothing was sent.
            WebSocketRuntimeError: A denial response was begun; finish that.
        """
        progress = self.progress
        if progress.told and not progress.over:
            await self.inbox.deliver()
        if progress.over:
            await self._closed()
            return
        record = CloseRecord(check_code(code), clip_reason(reason), "server")
        message = {"type": "websocket.close", "code": record.code, "reason": record.reason}
        progress.going(message)
        self.inbox.wake()
        try:
            await self.outlet.flush(FLUSH_TIMEOUT)
            await self._transmit_close(message, record)
        finally:
            progress.end(record)
            await self._closed()

    async def _transmit_close(self, message: Message, record: CloseRecord) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            await self.outlet.transmit(message)
            self.progress.end(record)

    async def abort(self) -> None:
        """Drop the peer. Without a frame channel: close with 1001, waiting at most a second."""
        progress = self.progress
        if progress.over:
            return
        await self.outlet.stop()
        if self.channel is not None:
            progress.application = Phase.DISCONNECTED
            progress.open = False
            progress.end(CloseRecord(int(CloseCode.ABNORMAL), "", "server"))
            self.channel.abort()
            self.inbox.wake()
            await self._closed()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ABORT_TIMEOUT):
                await self.close(CloseCode.GOING_AWAY)

    async def _closed(self) -> None:
        self.progress.notify()
        source = self.inbox.source
        if isinstance(source, AsgiSource):
            await source.stop()
        await self.cleanups.run()

    def _overflow(self) -> None:
        self._dropping = asyncio.get_running_loop().create_task(
            self._drop_slow_consumer(), name="telex drops a slow consumer"
        )

    async def _drop_slow_consumer(self) -> None:
        # The queue is full because the peer does not read: nothing in it will arrive.
        await self.outlet.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self.close(CloseCode.SLOW_CONSUMER, "slow consumer")

    async def finish(self) -> None:
        """Stop every task of the connection and run what cleanups are left."""
        for link in (self, *self._rewired):
            if link._dropping is not None:
                await asyncio.wait((link._dropping,))
            await link.outlet.stop()
            source = link.inbox.source
            if isinstance(source, AsgiSource):
                await source.stop()
        await self.cleanups.run()
