"""What waits for one client, whoever sends it, and for how long.

Rules:

1. A client that takes nothing of what waits is given up after a while (`Outbox.timeout`): its
   connection is ended, what waits is thrown away, and everybody goes on who waited.
2. That is looked at from one timer for all connections, and only while something waits. A message
   that need not wait costs nothing, a connection that sends nothing is not looked at.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final
from weakref import ref

from telex._outbox import Outbox, OutgoingQueue
from telex._progress import Progress
from telex._rounds import Rounds, rounds
from telex._types import FRAMES_EXTENSION, FrameChannel, Message, Scope

LAST_WORDS: Final = 1.0
"""Seconds a client that took nothing may take for the close frame, where it can be dropped."""

_LOOKS: Final = 4
"""Looks at what waits in the time that a client has."""


class Waiting:
    """Everything that waits for one client.

    Args:
        progress: How far the connection has come.
        channel: The frame channel if messages go through it, else `None`.
        bounds: What may wait, and how long.
        overflow: Ends the connection of a client that is too slow.
        scope: Of the connection; it is not held.
    """

    __slots__ = (
        "__weakref__",
        "_channel",
        "_client",
        "_direct",
        "_given_up",
        "_path",
        "_progress",
        "_sender",
        "_server",
        "_waiters",
        "bounds",
        "overflow",
        "patience",
        "queue",
    )

    def __init__(
        self,
        progress: Progress,
        channel: FrameChannel | None,
        bounds: Outbox,
        overflow: Callable[[], None],
        scope: Scope,
    ) -> None:
        self._progress = progress
        self._channel = channel
        # It tells of its buffer also where something is between it and us.
        self._server: FrameChannel | None = channel or _channel_of(scope)
        self._path, self._client = scope.get("path"), scope.get("client")
        self.bounds = bounds
        self.overflow = overflow
        self.queue: OutgoingQueue | None = None
        self.patience: Patience | None = None
        """Looks after what waits; `None` while nobody has to."""
        # The task in `send`: over ASGI one message at a time is on its way.
        self._sender: asyncio.Task[object] | None = None
        # Those who wait for room in the channel.
        self._waiters = 0
        # Whether the channel may be written to without further ado, for nothing waits.
        self._direct = channel is not None
        self._given_up: tuple[asyncio.Task[object], int] | None = None

    @property
    def buffered(self) -> int:
        """Bytes that wait: in the queue, and in the server where it tells."""
        queued = 0 if self.queue is None else self.queue.buffered
        return queued if self._server is None else queued + self._server.buffered

    @property
    def dropped(self) -> int:
        """Messages that were refused or thrown away."""
        return 0 if self.queue is None else self.queue.dropped

    @property
    def waits(self) -> bool:
        """Whether anything does."""
        return self._sender is not None or self._waiters > 0 or self.queued

    @property
    def queued(self) -> bool:
        """Whether something is in the queue, or comes out of it."""
        return self.queue is not None and self.queue.busy

    def flow(self) -> tuple[int, float]:
        """Return what grows when the client takes something, and what gets less then.

        The second is below 0 when there is room.
        """
        server = self._server
        if server is None:
            return self._progress.sent, math.inf
        # Into a channel many may write at once, whether or not there is room.
        sent = 0 if self._channel is not None else self._progress.sent
        return sent, -1 if server.writable else server.buffered

    def line(self) -> OutgoingQueue:
        """Return the queue, behind the message that is being sent."""
        queue = self.queue or self.open_queue()
        self._direct = False
        self.watch()
        if self._sender is not None:
            queue.hold()
        return queue

    def open_queue(self) -> OutgoingQueue:
        """Make the queue."""
        self.queue = OutgoingQueue(
            self.bounds,
            self.send_queued,
            self.overflow,
            f"{self._path!a} of {self._client!a}",
            # A channel takes what it has room for without a task.
            context=self._progress.own_context,
            hand_over=None if self._channel is not None else self.hand_over,
            outcome=self.outcome,
        )
        return self.queue

    async def send_queued(self, data: str | bytes) -> None:
        """Send a message out of the queue, and wait as long as the server makes it wait."""
        raise NotImplementedError

    async def hand_over(self, item: str | bytes | Message) -> None:
        """Give a message whose turn it is to the server."""
        raise NotImplementedError

    async def outcome(self, error: BaseException | None) -> None:
        """Raise what it means that `hand_over` has ended so."""
        raise NotImplementedError

    async def wait_for_room(self, channel: FrameChannel) -> None:
        """Wait until there is room in the channel, or the connection is over."""
        self._direct = False
        self._waiters += 1
        self.watch()
        self.look()
        try:
            await channel.drain()
        finally:
            self._waiters -= 1
            self._direct = not self._waiters and not self.queued
        if self.patience is not None:
            self.patience.moved = True

    # Patience

    def watch(self) -> None:
        """Have it looked after until nothing waits."""
        if self.patience is None and self.bounds.timeout is not None:
            self.patience = Patience(self, self.bounds.timeout)

    def look(self) -> None:
        """Take note of what the client has taken; before and after something is written."""
        if self.patience is not None:
            self.patience.look()

    def rest(self) -> None:
        """Have it looked after no more."""
        if self.patience is not None:
            self.patience.end()

    def discard(self) -> asyncio.Task[None] | None:
        """Throw away what waits in the queue, for good; return its task if there is one."""
        return None if self.queue is None else self.queue.discard()

    def give_up(self) -> None:
        """End the connection of a client that takes nothing, and let everybody go who waits."""
        self.discard()
        if not self._progress.over:
            self.overflow()
        if self._server is not None:
            asyncio.get_running_loop().call_later(LAST_WORDS, self._server.abort)
        sender = self._sender
        if sender is not None:
            # It hangs in the server's `send`, maybe for ever.
            self._given_up = (sender, sender.cancelling())
            sender.cancel("the client takes nothing")

    def check_given_up(self) -> None:
        """Raise what a cancellation by `give_up` means, and take it back; others are not ours."""
        given_up, self._given_up = self._given_up, None
        if given_up is not None and given_up[0].uncancel() <= given_up[1]:
            raise self._progress.refuse("send")


class Patience:
    """Gives up on a client that takes nothing, after a while. Exists while something waits.

    Args:
        line: What waits; it is not held.
        timeout: Seconds.
    """

    __slots__ = ("_gone", "_level", "_line", "_rounds", "_still", "moved")

    def __init__(self, line: Waiting, timeout: float) -> None:
        self._line = ref(line)
        self._gone, self._level = line.flow()
        self._still = 0
        self.moved = False
        """Whether the client has taken something since the last visit."""
        self._rounds: Rounds = rounds(timeout / _LOOKS)
        self._rounds.add(self)

    def end(self) -> None:
        """Look after it no more."""
        self._rounds.discard(self)
        line = self._line()
        if line is not None:
            line.patience = None

    def look(self) -> None:
        """Take note of what the client has taken since the last look."""
        line = self._line()
        if line is not None:
            gone, level = line.flow()
            self.moved = self.moved or gone != self._gone or level < self._level or level < 0
            self._gone, self._level = gone, level

    def visit(self, now: float, clock: float) -> None:
        line = self._line()
        if line is None or not line.waits:
            self.end()
            return
        self.look()
        self._still = 0 if self.moved else self._still + 1
        self.moved = False
        # Counted, not timed: while the loop was busy nobody could take anything. One more, because
        # the first visit may come at once.
        if self._still > _LOOKS:
            self.end()
            line.give_up()


def _channel_of(scope: Scope) -> FrameChannel | None:
    channel: FrameChannel | None = (scope.get("extensions") or {}).get(FRAMES_EXTENSION)
    return channel
