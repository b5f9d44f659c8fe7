"""Everything that waits to be sent on one connection, and the task that sends it.

Rules:

1. What came first goes out first. A sender that waits (`send_text`, `close`) takes a place in the
   same queue as the messages of `send_nowait`: the order of calls is the order on the wire, and a
   queue that is never empty does not hold it up for ever.
2. Messages are bounded in number and in bytes. What happens to one that does not fit is the
   policy's decision, and the caller learns of it. Senders that wait are not counted; with
   `"drop_newest"` they do not wait behind a full queue.
3. The task exists only while there is something to send: an idle connection has none.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args
from weakref import WeakKeyDictionary

from telex._eager_tasks import EagerTasks, eager_tasks
from telex._failures import report
from telex.close_codes import CloseCode, check_code
from telex.exceptions import WebSocketError

log = logging.getLogger("telex")

Policy = Literal["block", "drop_oldest", "drop_newest", "close"]

FLUSH_TIMEOUT: Final = 5.0
"""Seconds a close waits for the queue before it sends the close frame."""

_TASK_NAME: Final = "telex sender"

LOG_EVERY: Final = 10.0
"""Seconds between two log lines about messages that were dropped, of all connections together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """What may wait for each client, and for how long.

    Attributes:
        max_messages: Messages of `send_nowait` that may wait.
        max_bytes: Their payload, in bytes (text counts its characters). A single message longer
            than this still fits into an empty queue.
        policy: What happens when the outbox is full:

            | policy | `send_nowait` | `await send_text(…)` and the like |
            |---|---|---|
            | `"block"` | returns `False`, so that the sender can wait with `send_text` | waits |
            | `"drop_newest"` | drops the message, returns `False` | drops it, returns at once |
            | `"drop_oldest"` | drops what waits longest in its place, returns `True` | waits |
            | `"close"` | ends the connection with `close_code`, returns `False` | waits |

            `dropped` of the connection counts what is not sent. Sends that wait do not fill the
            outbox, they only wait for what is in it; raw events (`ws.send`) always do.
        close_code: With what the connection of a slow client is ended; 4008 unless said
            otherwise.
        timeout: Seconds a client may take nothing of what waits, whoever sends it, before its
            connection is ended with `close_code`; `None` for ever. A client that reads slowly
            takes something. Where the server does not tell how much is taken (plain ASGI), it has
            to make room for a message in that time.

    Raises:
        TypeError: A timeout that is no number.
        ValueError: A bound below 1, an unknown policy, a code that may not be sent.
    """

    max_messages: int = 1024
    max_bytes: int = 1024 * 1024
    policy: Policy = "block"
    close_code: int = CloseCode.SLOW_CONSUMER
    timeout: float | None = 60.0

    def __post_init__(self) -> None:
        for name in ("max_messages", "max_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Outbox({name}=…) must be an int of at least 1, not {value!r}")
        if self.policy not in get_args(Policy):
            known = ", ".join(map(repr, get_args(Policy)))
            raise ValueError(f"Outbox(policy=…) must be one of {known}, not {self.policy!r}")
        timeout = math.inf if self.timeout is None else self.timeout
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise TypeError(f"Outbox(timeout=…) must be a number or None, not {timeout!r}")
        if not timeout > 0:
            raise ValueError(f"Outbox(timeout=…) must be above 0 or None, not {timeout!r}")
        # Infinity, or an int that no float holds, with which event loops cannot count.
        if timeout > sys.float_info.max:
            object.__setattr__(self, "timeout", None)
        object.__setattr__(self, "close_code", check_code(self.close_code))


class OutgoingQueue:
    """The queue of one connection.

    Args:
        bounds: Its limits.
        transmit: Sends one message and waits as long as the server makes it wait.
        overflow: Called once when a message does not fit and the policy is `"close"`.
        who: Names the connection in the log.
        context: Returns a context in which messages are sent.
        hand_over: Sends one message, and raises what the server raises. `None` where there is
            nothing to be won by `begin`.
        outcome: Awaited with how `hand_over` has ended, the error or `None`, when that was not at
            once; raises what it means.
    """

    __slots__ = (
        "_bounds",
        "_bytes",
        "_context",
        "_dead",
        "_eager",
        "_hand_over",
        "_messages",
        "_outcome",
        "_overflow",
        "_queue",
        "_task",
        "_transmit",
        "_turn",
        "_who",
        "dropped",
    )

    def __init__(
        self,
        bounds: Outbox,
        transmit: Callable[[str | bytes], Awaitable[None]],
        overflow: Callable[[], None],
        who: str = "a connection",
        *,
        context: Callable[[], Context] = copy_context,
        hand_over: Callable[[str | bytes], Coroutine[Any, Any, None]] | None = None,
        outcome: Callable[[BaseException | None], Awaitable[None]] | None = None,
    ) -> None:
        self._bounds = bounds
        self._context = context
        self._hand_over = hand_over
        self._outcome = outcome
        self._eager: EagerTasks = eager_tasks()
        self._who = who
        self._transmit = transmit
        self._overflow = overflow
        self._queue: deque[str | bytes | asyncio.Future[None]] = deque()
        self._messages = 0
        self._bytes = 0
        self._dead = False
        self._turn: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Messages that were refused or thrown away."""

    @property
    def buffered(self) -> int:
        """Payload that waits, in bytes."""
        return self._bytes

    @property
    def busy(self) -> bool:
        """Whether something waits or is being sent, and was not thrown away."""
        return self._task is not None and not self._dead

    @property
    def sends_here(self) -> bool:
        """Whether it is the current task that sends: a middleware called us from `transmit`."""
        return self._task is not None and self._task is asyncio.current_task()

    def offer(self, data: str | bytes) -> bool:
        """Put a message in, or say that it was dropped. Never waits."""
        if self._dead:
            self.dropped += 1
            return False
        dropped = self.dropped
        fits = self._make_room(len(data))
        self.dropped += not fits
        if self.dropped > dropped:
            _losses().note(self._who, self.dropped - dropped)
        if not fits:
            return False
        self._queue.append(data)
        self._messages += 1
        self._bytes += len(data)
        self._start()
        return True

    def begin(self, data: str | bytes) -> bool | None:
        """Send a message as far as it comes without waiting, when nothing is before it.

        Returns:
            Whether it is out; if not, the task goes on with it. `None`: it was not begun.
        """
        if self._hand_over is None or self._task is not None or self._dead:
            return None
        # Before it begins: what is called from within finds that something is being sent.
        self._task = self._eager.task(_TASK_NAME)
        if self._task is None:
            return None
        if not self._eager.begin(self._hand_over(data), self._go_on, self._context()):
            return False
        self._task = None
        if self._queue:
            self._start()
        return True

    def _go_on(self, error: BaseException | None) -> Coroutine[Any, Any, None]:
        assert self._outcome is not None
        return self._send(self._outcome(error))

    def refuse(self, size: int) -> bool:
        """Whether a sender that would wait has its message dropped instead."""
        drops = self._bounds.policy == "drop_newest" and not self._dead
        if not drops or self._fits(size) or self.sends_here:
            return False
        self.dropped += 1
        _losses().note(self._who, 1)
        return True

    async def take_turn(self) -> bool:
        """Wait until everything that came before was sent; `pass_turn` is owed then.

        Cancelling it gives the place up. `False`: the queue was discarded, nothing is owed.
        """
        if self._dead or self.sends_here:
            return not self._dead
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        self._start()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self.pass_turn()
            raise
        return not self._dead

    def hold(self) -> None:
        """Let nothing out until `pass_turn`: somebody sends who did not have to wait."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()

    def pass_turn(self) -> None:
        """Go on with the next."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that is in now was sent, at most `timeout` seconds.

        Returns:
            Whether that is so; it is not after `timeout` or when the queue was discarded.
        """
        if not self.busy:
            return not self._dead
        try:
            async with asyncio.timeout(timeout):
                if not await self.take_turn():
                    return False
        except TimeoutError:
            return False
        self.pass_turn()
        return True

    def discard(self) -> asyncio.Task[None] | None:
        """Throw away what waits, for good, and wake who waits; return the task if there is one."""
        self._dead = True
        self._drop_messages()
        for place in self._queue:
            if isinstance(place, asyncio.Future) and not place.done():
                place.set_result(None)
        task = self._task
        if task is None or task is asyncio.current_task():
            return None
        task.cancel()
        return task

    def _drop_messages(self) -> None:
        self.dropped += self._messages
        self._messages = self._bytes = 0
        self._queue = deque(item for item in self._queue if isinstance(item, asyncio.Future))

    def _fits(self, size: int) -> bool:
        bounds = self._bounds
        return not self._messages or (
            self._messages < bounds.max_messages and self._bytes + size <= bounds.max_bytes
        )

    def _make_room(self, size: int) -> bool:
        bounds = self._bounds
        while not self._fits(size):
            if bounds.policy != "drop_oldest":
                if bounds.policy == "close":
                    # It is full because the peer does not read: nothing in it will arrive.
                    self.discard()
                    self._overflow()
                return False
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        for index, item in enumerate(self._queue):
            if not isinstance(item, asyncio.Future):
                del self._queue[index]
                self._messages -= 1
                self._bytes -= len(item)
                self.dropped += 1
                return

    def _start(self) -> None:
        if self._task is None:
            task = asyncio.get_running_loop().create_task(
                self._send(), name=_TASK_NAME, context=self._context()
            )
            # A task factory may have run it to its end.
            self._task = None if task.done() else task

    async def _send(self, begun: Awaitable[None] | None = None) -> None:
        # Here too, for a task factory may begin it before `_start` knows of it.
        self._task = asyncio.current_task()
        try:
            if begun is not None:
                await self._settle(begun)
            while True:
                if self._turn is not None:
                    await self._turn
                    self._turn = None
                if not self._queue:
                    return
                item = self._queue.popleft()
                if not isinstance(item, asyncio.Future):
                    self._messages -= 1
                    self._bytes -= len(item)
                    await self._settle(self._transmit(item))
                elif not item.done():
                    self.hold()
                    item.set_result(None)
        finally:
            self._task = self._turn = None

    async def _settle(self, sent: Awaitable[None]) -> None:
        try:
            await sent
            return
        except WebSocketError as exc:
            log.debug("%d queued messages could not be sent: %s", self._messages + 1, exc)
        except (Exception, asyncio.CancelledError) as exc:
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            report(exc, "a queued message could not be sent, %d more are lost", self._messages)
        self.dropped += 1
        self._drop_messages()


class _Losses:
    """The messages that were dropped on one event loop since the last line about them."""

    def __init__(self) -> None:
        self._messages = 0
        self._whose: set[str] = set()
        self._quiet = False

    def note(self, who: str, messages: int) -> None:
        self._messages += messages
        self._whose.add(who)
        if not self._quiet:
            self._tell(who)

    def _tell(self, who: str) -> None:
        log.warning(
            "outbox full: %d messages to %d slow clients were not sent, as for %s",
            self._messages,
            len(self._whose),
            who,
        )
        self._messages = 0
        self._whose.clear()
        self._quiet = True
        asyncio.get_running_loop().call_later(LOG_EVERY, self._speak)

    def _speak(self) -> None:
        self._quiet = False
        if self._messages:
            self._tell(next(iter(self._whose)))


_all_losses: Final[WeakKeyDictionary[Any, _Losses]] = WeakKeyDictionary()


def _losses() -> _Losses:
    return _all_losses.setdefault(asyncio.get_running_loop(), _Losses())
