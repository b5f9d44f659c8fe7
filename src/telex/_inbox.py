"""Reading: many tasks may wait for the next message, one at a time, first come first served.

The reader at the head waits on the source; the others wait for their turn. Whoever leaves the
head, with a message, an error or a cancellation, passes the turn on. No `await` lies between
taking a message and returning it, so a cancelled reader never carries one away.

A deputy, when there is one, sees every message before the readers do, and looks for messages
itself while nobody reads. It never holds the head: a reader that comes goes before it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from telex._progress import Progress
from telex._source import ABNORMAL, AsgiSource
from telex._types import GIVE_WAY, Message, Source
from telex.exceptions import (
    WebSocketDisconnect,
    WebSocketHandshakeError,
    WebSocketRuntimeError,
)

Result = TypeVar("Result")


class Deputy(Protocol):
    """Looks at messages in place of the readers. It never waits."""

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for a message by it, and so will learn of the end."""

    @property
    def unread(self) -> bool:
        """Whether it keeps messages for readers."""

    def poll(self) -> str | bytes | None:
        """Take the next message for a reader, as `Source.poll` does; a reader is here."""

    def no_reader(self) -> None:
        """Be told that the last reader has left."""

    def changed(self) -> None:
        """Be told that one of the sides has ended the connection."""


def _as_it_is(error: WebSocketHandshakeError) -> Exception:
    return error


class Inbox:
    """The reading half of one connection.

    Args:
        source: Where messages come from.
        progress: The state, which is consulted before and after every wait.
        on_end: Awaited when the peer's end is delivered, before the reader is told.

    Attributes:
        deputy: Who looks at messages in place of the readers, also while it is not engaged.
        pull: Takes the next message, through the filters, before the deputy sees it.
    """

    __slots__ = (
        "_arriving",
        "_busy",
        "_on_end",
        "_parked",
        "_poll",
        "_turns",
        "deputy",
        "progress",
        "pull",
        "source",
    )

    def __init__(
        self, source: Source, progress: Progress, on_end: Callable[[], Awaitable[None]]
    ) -> None:
        self.source = source
        self.progress = progress
        self._arriving: Callable[[], str | bytes | None] = source.poll
        self.pull = self._arriving
        self.deputy: Deputy | None = None
        self._poll = self.pull
        self._on_end = on_end
        self._busy = False
        self._turns: deque[asyncio.Future[None]] | None = None
        self._parked: asyncio.Future[None] | None = None
        progress.watchers.append(self._wake)

    def filter(self) -> None:
        """Have every message go through the filters of the connection from now on.

        Where there are none, reading does not even look for them.
        """
        poll, filters = self._arriving, self.progress.filters_in

        def filtered() -> str | bytes | None:
            data = poll()
            if data is not None:
                for each in filters:
                    data = each(data)
            return data

        if self._poll is self.pull:
            self._poll = filtered
        self.pull = filtered

    def admit(self, passed: Callable[[bool], None], allowed: Callable[[], bool]) -> None:
        """Have functions say of every message whether it is still taken.

        Args:
            passed: Called whenever somebody looks for a message: whether the time since the last
                look was spent waiting, so that nothing was here.
            allowed: Called for each message; it may close the connection in place of allowing it.
        """
        poll = self._arriving

        def admitted() -> str | bytes | None:
            data = poll()
            # The deputy waits whenever nobody reads.
            passed(self._parked is not None or not self._busy)
            return data if data is None or allowed() else None

        self._arriving = admitted
        self.filter()

    def engage(self, deputy: Deputy) -> None:
        """Have every message go by a deputy from now on, also those of readers that wait.

        Reading costs more meanwhile, and nothing before and after.
        """
        self.deputy = deputy
        self._poll = deputy.poll
        if self._turns is None:
            # Readers that leave see to the turns, and so to `no_reader`.
            self._turns = deque()

    def release(self) -> None:
        """Let messages go straight to the readers again."""
        self._poll = self.pull
        if not self._turns:
            self._turns = None

    def read(self) -> Coroutine[Any, Any, str | bytes]:
        """Return the payload of the next message, when it is awaited.

        No coroutine of its own: one frame less for each message.

        Raises:
            WebSocketDisconnect: The peer ended the connection and every message was read.
            WebSocketRuntimeError: Not accepted yet, or closed by us, also while waiting.
        """
        return self._take()

    def iterate(
        self,
        convert: Callable[[str | bytes], Result],
        over: Callable[[WebSocketHandshakeError], Exception],
    ) -> Coroutine[Any, Any, Result]:
        """Return the next message for an iterator, when it is awaited.

        One coroutine for the whole of it: each further one costs time with every message.

        Args:
            convert: What makes of the payload what the iterator yields; may raise.
            over: Says what to raise in place of an error of `read`.
        """
        return self._take(convert, over)

    async def read_message(self) -> Message:
        """Return the next event as the server gave it; a disconnect is returned, not raised.

        Before accept it waits for the one event that may come then, the disconnect.

        Raises:
            WebSocketDisconnect: The disconnect was delivered before.
            WebSocketRuntimeError: A message before accept, or closed by us.
        """
        if self.progress.peer_gone:
            raise self.progress.refuse("receive")
        try:
            event: Message = await self._take(raw=True)
        except WebSocketDisconnect:
            return self._farewell()
        return event

    @property
    def has_reader(self) -> bool:
        """Whether somebody is waiting for a message, and so will learn of the end."""
        return self._busy or (self.deputy is not None and self.deputy.waiting)

    def rouse(self, error: Exception) -> None:
        """Wake the reader that waits for a message, with an error in place of one."""
        if self._parked is not None and not self._parked.done():
            self._parked.set_exception(error)

    @property
    def direct(self) -> bool:
        """Whether what comes goes to the one reader there is, as it is, and to nobody before."""
        return not self._turns and self._poll == self.source.poll

    @property
    def is_read(self) -> bool:
        """Whether a reader is here. The deputy is none."""
        return self._busy

    @property
    def unread(self) -> bool:
        """Whether messages wait that have arrived."""
        if self.deputy is not None and self.deputy.unread:
            return True
        return self.source.pending > 0

    async def deliver(self) -> WebSocketHandshakeError:
        """Tell the application that the peer is gone; return the error to raise."""
        gone = self.progress.deliver(self.source.closed or ABNORMAL)
        await self.shut()
        return gone

    async def shut(self) -> None:
        """It is over: wake who waits, read no more, run the cleanups."""
        self.progress.notify()
        try:
            if isinstance(self.source, AsgiSource):
                await self.source.stop()
        finally:
            await self._on_end()

    def unwatch(self) -> None:
        """Be told of the end no more; it has come."""
        if self._wake in self.progress.watchers:
            self.progress.watchers.remove(self._wake)
        self.deputy = None
        # What limits the connection holds it.
        self._poll = self.pull = self._arriving = self.source.poll
        if isinstance(self.source, AsgiSource):
            self.source.forget()

    def _wake(self) -> None:
        if self.progress.over and isinstance(self.source, AsgiSource):
            # Also where another link of the connection has found the end.
            self.source.cancel()
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(None)
        if self.deputy is not None:
            self.deputy.changed()

    async def _take(
        self,
        convert: Callable[[Any], Any] | None = None,
        over: Callable[[WebSocketHandshakeError], Exception] = _as_it_is,
        *,
        raw: bool = False,
    ) -> Any:
        progress = self.progress
        if self._busy:
            if progress.over:
                raise over(progress.refuse("receive"))
            await self._take_turn()
        self._busy = True
        try:
            if progress.received % GIVE_WAY == GIVE_WAY - 1:
                # Messages that are here already make nobody wait, and may be a great many.
                await asyncio.sleep(0)
            while progress.open or (raw and not progress.over):
                # Asked anew each time: a deputy may be engaged while this reader waits.
                item: Any = self._poll_message() if raw else self._poll()
                if item is not None:
                    progress.received += 1
                    return item if convert is None else convert(item)
                if self.source.closed is not None:
                    break
                if progress.over:
                    # Closed by what looked at the message.
                    continue
                self._parked = self.source.wait()
                await self._parked
            else:
                raise over(progress.refuse("receive"))
        finally:
            self._parked = None
            if self._turns is None:
                self._busy = False
            else:
                self._pass_turn()
        # Only now: a cleanup that reads must not wait for this reader's turn to end.
        raise over(await self.deliver())

    async def _take_turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._turns is None:
            self._turns = deque()
        self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_turn()
            elif self._turns is not None:
                with contextlib.suppress(ValueError):
                    self._turns.remove(turn)
            raise

    def _pass_turn(self) -> None:
        # The turn stays taken while it changes hands: a newcomer must not overtake.
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False
        if self.deputy is not None and self._poll is not self.pull:
            self.deputy.no_reader()
        else:
            self._turns = None

    def _poll_message(self) -> Message | None:
        source = self.source
        if not self.progress.open and isinstance(source, AsgiSource) and source.pending:
            raise WebSocketRuntimeError("a message came before the connection was accepted")
        untouched = self._poll == source.poll
        if untouched and isinstance(source, AsgiSource):
            return source.poll_message()
        data = self._poll()
        if data is None:
            return None
        return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}

    def _farewell(self) -> Message:
        source = self.source
        if isinstance(source, AsgiSource):
            return source.last_event()
        record = source.closed or ABNORMAL
        return {"type": "websocket.disconnect", "code": record.code, "reason": record.reason}
