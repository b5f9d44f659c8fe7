"""The engine: one `Link` owns one client's connection. Every face stands on it.

Rules:

1. State is marked before the `await` that makes it true, so that of two tasks which close at
   once only one sends, and a failed or cancelled close stays a close.
2. The peer's end counts from the moment it is delivered: messages that came before it are read
   first, and sends are attempted until then. A send that fails is a delivery too.
3. Data takes the server's frame channel where `receive` or `send` is the one the channel belongs
   to, decided for each direction by itself; a middleware that wrapped one of them is never gone
   around. Accept, close and denials always go through `send`.
4. Links over other callables of the same connection share its `Progress` and its cleanups. When
   those callables lead back to this link (somebody wrapped its `receive` and `send`), it passes
   on what they bring, for the link further in has advanced the state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from telex._acceptance import complete, complete_later
from telex._cleanup import Cleanups
from telex._inbox import Inbox
from telex._outlet import Outlet
from telex._progress import READING, Progress, kind_of, passing
from telex._settings import settings_of
from telex._source import STOP_TIMEOUT, AsgiSource, close_record
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

log: Final = logging.getLogger("telex")

LINK_KEY: Final = "telex.link"
"""Key of the scope under which the first link of a connection is found by later faces."""

EndHook = Callable[[int], Coroutine[Any, Any, None]]
"""Called with the close code after the end."""

ABORT_TIMEOUT: Final = 1.0
"""Seconds `abort` tries to say goodbye where it cannot drop the connection."""

_PEEK_TURNS: Final = 3


class Link:
    """One connection, from the handshake to the last cleanup.

    Two tasks may use it at once: readers are served in turn, writes go out in the order of the
    calls. It belongs to one event loop.
    """

    __slots__ = (
        "_drains",
        "_receive",
        "_rewired",
        "_send",
        "channel",
        "cleanups",
        "end_hook",
        "inbox",
        "outlet",
        "progress",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, base: Link | None = None
    ) -> None:
        self._receive = receive
        self._send = send
        self._rewired: list[Link] = []
        self._drains: asyncio.Lock | None = None
        self.end_hook: EndHook | None = None
        self.progress: Progress = Progress() if base is None else base.progress
        progress = self.progress
        own = progress.cleanup_context
        self.cleanups: Cleanups = Cleanups(own) if base is None else base.cleanups
        channel: FrameChannel | None = (scope.get("extensions") or {}).get(FRAMES_EXTENSION)
        self.channel = channel
        links = () if base is None else base.links
        shared = next((link.inbox for link in links if link._reads_from(receive)), None)
        self.inbox: Inbox = shared or Inbox(
            self._source(receive, wrapped=base is not None), progress, self.cleanups.run
        )
        if progress.filters_in:
            self.inbox.filter()
        self.outlet: Outlet = Outlet(
            send,
            channel if channel is not None and send == channel.asgi_send else None,
            self.inbox,
            settings_of(scope).outbox,
            lambda: self.end(self.outlet.bounds.close_code, "slow consumer"),
            wrapped=base is not None,
            scope=scope,
        )

    @classmethod
    def of(cls, scope: Scope, receive: Receive, send: Send) -> Link:
        """Return the link of a connection, the same one for the same callables."""
        base = scope.get(LINK_KEY)
        if not isinstance(base, Link):
            link = cls(scope, receive, send)
            scope[LINK_KEY] = link
            return link
        for link in base.links:
            if link._reads_from(receive) and send in (link._send, link.send):
                return link
        link = cls(scope, receive, send, base=base)
        base._rewired.append(link)
        return link

    @property
    def links(self) -> tuple[Link, ...]:
        """The first link of a connection and those over callables that somebody wrapped."""
        return (self, *self._rewired)

    def _reads_from(self, receive: Receive) -> bool:
        return receive in (self._receive, self.receive)

    def _source(self, receive: Receive, *, wrapped: bool) -> Source:
        channel = self.channel
        if channel is not None and receive == channel.asgi_receive:
            channel.on_close(self.progress.notify)
            return channel
        return AsgiSource(receive, self.progress, wrapped=wrapped)

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
        if self.inbox.source.closed is not None:
            raise await self.inbox.deliver()
        await self._send_accept(message)

    async def _send_accept(self, message: Message) -> None:
        progress = self.progress
        progress.going(message)
        progress.client = Phase.CONNECTED
        try:
            try:
                await self.outlet.transmit(message)
            except Exception as exc:
                if not isinstance(exc, WebSocketDisconnect):
                    progress.not_accepted()
                raise
            progress.subprotocol = message.get("subprotocol")
            progress.accepted()
            await complete(progress)
        except asyncio.CancelledError:
            # Nobody knows how far it came. Servers complete what they have begun.
            progress.accepted()
            self.outlet.errand = complete_later(progress)
            raise

    async def _take_connect(self) -> Message:
        # Marked first: should this be cancelled with the event in flight, a second accept must
        # not wait for another one. Servers accept without it.
        progress = self.progress
        progress.connect_taken = True
        message = await self._event()
        if progress.client is Phase.CONNECTING:
            progress.came(message)
        elif kind_of(message) == "websocket.disconnect":
            progress.client = Phase.DISCONNECTED
        return message

    async def _event(self) -> Message:
        """Return the next event as it came, and leave the state alone."""
        source = self.inbox.source
        if isinstance(source, AsgiSource):
            return await source.event()
        try:
            return await self._receive()
        except OSError:
            return {"type": "websocket.disconnect", "code": CloseCode.ABNORMAL}

    # Reading

    async def receive(self) -> Message:
        """Return the next raw event: connect, receive or disconnect.

        Raises:
            WebSocketDisconnect: The disconnect was delivered before.
            WebSocketRuntimeError: Closed by us, and the server's disconnect was delivered too.
        """
        progress = self.progress
        if passing.get() == (progress, READING):
            return await self._event()
        if not progress.connect_taken:
            try:
                message = await self._take_connect()
            except asyncio.CancelledError:
                progress.connect_taken = False
                raise
            if progress.peer_gone:
                progress.deliver(close_record(message))
                await self.cleanups.run()
            return message
        if progress.application is Phase.DISCONNECTED and not progress.peer_gone:
            return await self._drain()
        return await self.inbox.read_message()

    async def _drain(self) -> Message:
        # One at a time: there is one disconnect, and servers do not answer after it.
        self._drains = self._drains or asyncio.Lock()
        async with self._drains:
            if self.progress.peer_gone:
                raise self.progress.refuse("receive")
            message = await self._event()
            if kind_of(message) == "websocket.disconnect":
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
                progress.tell(source.closed)
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
        progress.tell(source.closed)

    # Writing

    async def send(self, message: Message) -> None:
        """Send one raw event and keep the state right.

        Raises:
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: The event is not legal now; nothing was sent.
        """
        progress = self.progress
        kind = kind_of(message)
        if type(message.get("type")) is not str:
            message = {**message, "type": kind}
        if passing.get() == (progress, kind):
            await self.outlet.pass_on(kind, message)
            return
        if progress.peer_gone and progress.application is not Phase.DISCONNECTED:
            raise progress.disconnect()
        if kind == "websocket.send":
            progress.going(message)
            await self.outlet.forward(message)
            progress.sent += 1
        elif kind == "websocket.accept":
            await self._send_accept(message)
        elif kind == "websocket.close":
            code, reason = message.get("code"), message.get("reason")
            await self._close(1000 if code is None else code, reason, message)
        else:
            await self._deny(kind, message)

    async def _deny(self, kind: str, message: Message) -> None:
        progress = self.progress
        status = message.get("status") if kind == "websocket.http.response.start" else None
        progress.going(message)
        if isinstance(status, int):
            code = CloseCode.INTERNAL_ERROR if status >= 500 else CloseCode.POLICY_VIOLATION
            progress.end(CloseRecord(int(code), "", "server", int(status)))
        try:
            await self.outlet.transmit(message)
        finally:
            if progress.application is Phase.DISCONNECTED:
                await self.inbox.shut()

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
            await self.inbox.shut()
            return
        await self._close(code, reason, {"type": "websocket.close"})

    async def _close(self, code: int, reason: str | None, message: Message) -> None:
        record = CloseRecord(check_code(code), clip_reason(reason), "server")
        await self.outlet.close(self._begin_close(record, message), record)

    def _begin_close(self, record: CloseRecord, message: Message) -> Message:
        self.progress.going(message)
        self.progress.end(record)
        self.progress.notify()
        return {**message, "code": record.code, "reason": record.reason}

    async def abort(self) -> None:
        """Drop the peer. Without a frame channel: close with 1001, waiting at most a second."""
        progress = self.progress
        if progress.told and not progress.over:
            await self.inbox.deliver()
        if progress.over:
            return
        self.outlet.discard()
        if self.channel is not None or progress.application is Phase.DENYING:
            # Half a denial cannot be taken back, only left at that.
            progress.cut()
            if self.channel is not None:
                self.channel.abort()
            await self.inbox.shut()
            return
        try:
            async with asyncio.timeout(ABORT_TIMEOUT):
                await self.close(CloseCode.GOING_AWAY)
        except TimeoutError:
            pass
        except Exception:
            log.warning("the server refused the close of an abort", exc_info=True)

    def end(self, code: int, reason: str = "") -> None:
        """Close from outside of the handler, without waiting; the connection must be open."""
        record = CloseRecord(check_code(code), clip_reason(reason), "server")
        self.progress.dismissed = True
        self.outlet.close_later(self._begin_close(record, {"type": "websocket.close"}), record)

    async def finish(self) -> None:
        """Stop every task of the connection and run what cleanups are left."""
        for known in filter(None, (link.inbox.source.closed for link in self.links)):
            self.progress.end(known)
        if self.progress.open:
            # Whoever still waits for a message waits for nothing: the application has returned.
            self.progress.cut()
            self.progress.notify()
        tasks = [task for link in self.links for task in link._dismiss() if task]
        try:
            if tasks:
                _, late = await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
                for task in late:
                    task.cancel()
        finally:
            await self.cleanups.run()

    def _dismiss(self) -> Iterator[asyncio.Task[None] | None]:
        yield from self.outlet.dismiss()
        source = self.inbox.source
        if isinstance(source, AsgiSource):
            yield source.cancel()
