"""Sending without waiting: a bounded queue per connection and the task that empties it.

Rules:

1. What was put in first goes out first. Senders that wait (`send_text`, `close`) wait for the
   queue to be empty before they send, so that the order of calls is the order on the wire.
2. The queue is bounded in messages and in bytes. What happens to a message that does not fit is
   the policy's decision, and the caller learns of it.
3. The task exists only while there is something to send: an idle connection has none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from telex.exceptions import WebSocketError

log = logging.getLogger("telex")

Policy = Literal["block", "drop_oldest", "drop_newest", "close"]

FLUSH_TIMEOUT: Final = 5.0
"""Seconds a close waits for the queue before it sends the close frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """The bounds of the outgoing queue of each connection, for `send_nowait`.

    Attributes:
        max_messages: Messages that may wait.
        max_bytes: Payload that may wait, in bytes (text counts its characters). A single message
            longer than this still fits into an empty queue.
        policy: What happens to a message that does not fit. `"block"` and `"drop_newest"` refuse
            it, `"drop_oldest"` makes room by dropping what waits longest, `"close"` ends the
            connection with code 4008.

    Raises:
        ValueError: A bound below 1, or an unknown policy.
    """

    max_messages: int = 1024
    max_bytes: int = 1024 * 1024
    policy: Policy = "block"

    def __post_init__(self) -> None:
        for name in ("max_messages", "max_bytes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"Outbox({name}=…) must be an int of at least 1, not {value!r}")
        if self.policy not in get_args(Policy):
            known = ", ".join(map(repr, get_args(Policy)))
            raise ValueError(f"Outbox(policy=…) must be one of {known}, not {self.policy!r}")


class OutgoingQueue:
    """The queue of one connection.

    Args:
        bounds: Its limits.
        transmit: Sends one message and waits as long as the server makes it wait.
        overflow: Called once when a message does not fit and the policy is `"close"`.
    """

    __slots__ = (
        "_bounds",
        "_bytes",
        "_dead",
        "_overflow",
        "_queue",
        "_task",
        "_transmit",
        "dropped",
    )

    def __init__(
        self,
        bounds: Outbox,
        transmit: Callable[[str | bytes], Awaitable[None]],
        overflow: Callable[[], None],
    ) -> None:
        self._bounds = bounds
        self._transmit = transmit
        self._overflow = overflow
        self._queue: deque[str | bytes] = deque()
        self._bytes = 0
        self._dead = False
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Messages that were refused or thrown away."""

    @property
    def buffered(self) -> int:
        """Payload that waits, in bytes."""
        return self._bytes

    @property
    def busy(self) -> bool:
        """Whether something waits or is being sent."""
        return self._task is not None

    def offer(self, data: str | bytes) -> bool:
        """Put a message in, or say that it was dropped. Never waits."""
        if self._dead or not self._make_room(len(data)):
            self.dropped += 1
            return False
        self._queue.append(data)
        self._bytes += len(data)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send(), name="telex sender")
        return True

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until everything was sent, at most `timeout` seconds (`None`: no limit)."""
        task = self._task
        if task is not None and task is not asyncio.current_task():
            await asyncio.wait((task,), timeout=timeout)

    async def stop(self) -> None:
        """Throw away what waits and end the task. Later messages are refused."""
        self._dead = True
        self.dropped += len(self._queue)
        self._queue.clear()
        self._bytes = 0
        task = self._task
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait((task,), timeout=1.0)

    def _make_room(self, size: int) -> bool:
        bounds = self._bounds
        while self._queue and (
            len(self._queue) >= bounds.max_messages or self._bytes + size > bounds.max_bytes
        ):
            if bounds.policy != "drop_oldest":
                if bounds.policy == "close":
                    self._dead = True
                    self._overflow()
                return False
            self._bytes -= len(self._queue.popleft())
            self.dropped += 1
        return True

    async def _send(self) -> None:
        try:
            while self._queue:
                data = self._queue.popleft()
                self._bytes -= len(data)
                await self._transmit(data)
        except WebSocketError as exc:
            log.debug("%d queued messages could not be sent: %s", len(self._queue) + 1, exc)
            self._dead = True
        except Exception:
            log.exception("a queued message could not be sent")
            self._dead = True
        finally:
            if self._dead:
                self.dropped += len(self._queue)
                self._queue.clear()
                self._bytes = 0
            self._task = None
