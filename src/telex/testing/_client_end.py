"""The client's end of one connection: what it waits for, how it fails, how it is left."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import EllipsisType
from typing import Final

from telex._types import CloseRecord, Message
from telex.close_codes import CloseCode
from telex.exceptions import WebSocketDisconnect, WebSocketHandshakeError, WebSocketRuntimeError
from telex.testing._errors import DeadlinePassed, HandlersSurvived
from telex.testing._run import Run
from telex.testing._values import show_message
from telex.testing._wire import Wire

_LAST_WORDS: Final = 0.5
"""Seconds after a 1011 in which the exception behind it may come to light."""

_AFTER_FAILURE: Final = 1.0
"""Seconds a handler has to end when the test has failed already, if the deadline is no shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a client decides for its connections.

    Attributes:
        timeout: Seconds any wait may take, `None` for ever.
        raise_app_exceptions: Whether an exception of the application fails the test.
        check_tasks: Whether tasks that a handler leaves behind fail the test.
    """

    timeout: float | None = 5.0
    raise_app_exceptions: bool = True
    check_tasks: bool = True


class ClientEnd:
    """One connection as the test sees it: the wire, the application behind it, the deadline."""

    def __init__(self, wire: Wire, run: Run, options: Options) -> None:
        self.wire = wire
        self._run = run
        self._options = options
        self._raised = False
        self._loop = asyncio.get_running_loop()

    # While it is open

    async def until(self, condition: Callable[[], object], awaited: str) -> None:
        """Wait until something is so.

        Raises:
            DeadlinePassed: It was not so in time.
        """
        await self._until(condition, awaited, self._options.timeout)

    async def next(
        self, awaited: str, *, patience: float | EllipsisType | None = ...
    ) -> Message | None:
        """Wait for the next message, the close included, and take it.

        Args:
            awaited: What the test waits for, for the error text.
            patience: Seconds, `None` for ever; the deadline of the client unless given.

        Returns:
            The message, `None` when the connection is over and everything was taken.

        Raises:
            BaseException: What the application has raised.
            DeadlinePassed: Nothing came in time.
            WebSocketRuntimeError: Reading is paused.
        """
        wire = self.wire
        if wire.paused and not wire.arrived:
            raise WebSocketRuntimeError(
                "cannot receive: reading is paused, and all that came before was received"
            )
        seconds = self._options.timeout if isinstance(patience, EllipsisType) else patience
        await self._until(lambda: wire.arrived or wire.closed or self._failure, awaited, seconds)
        if not wire.arrived or wire.arrived[0]["type"] == "websocket.close":
            await self._hear_last_words()
            self._raise_failure()
        return wire.take() if wire.arrived else None

    def check_open(self, action: str) -> None:
        """Make sure that the connection is open.

        Raises:
            BaseException: What the application has raised.
            WebSocketHandshakeError: It is not; see `over`.
        """
        check_loop(self._loop)
        self._raise_failure()
        if self.wire.closed is not None:
            raise self.over(action)

    def over(self, action: str) -> WebSocketHandshakeError:
        """Return the error for a call that comes after the end."""
        record = self.wire.closed
        if record is None or record.closed_by == "server":
            return WebSocketDisconnect(*((record.code, record.reason) if record else ()))
        return WebSocketRuntimeError(f"cannot {action}: the test has ended it with {record.code}")

    def leave(self, code: int, reason: str | None, message: Message | None = None) -> None:
        """End the connection from this side; does nothing when it is over."""
        record = CloseRecord(int(code), reason or "", "client")
        event = {"type": "websocket.disconnect", "code": record.code, "reason": record.reason}
        self.wire.leave(record, message or event)

    # Before and after

    async def shake_hands(self) -> None:
        """Wait until the application has accepted.

        Raises:
            ConnectionRejected: It has not.
            WebSocketDisconnect: It has broken the connection.
            BaseException: What it raised instead.
            DeadlinePassed: It did neither.
        """
        wire = self.wire
        try:
            await self.until(
                # Not at a failure: it is answered first, and then the handshake is over.
                lambda: wire.accepted or wire.closed,
                "the application to accept or reject the handshake",
            )
        except BaseException as exc:
            await self._drop()
            if self._failure is not None and isinstance(exc, DeadlinePassed):
                raise self._failure from exc
            raise
        if wire.accepted is None:
            await self.finish()
            # It may also have broken the connection.
            raise wire.rejected or self.over("connect")

    async def finish(self) -> None:
        """Leave, and wait until the application has ended.

        Raises:
            HandlersSurvived: It does not, or leaves something behind.
            BaseException: What it raised.
        """
        self.leave(CloseCode.NORMAL, None)
        try:
            await self._end_run(self._options.timeout)
        except HandlersSurvived as survived:
            if self._failure is None:
                raise
            self._failure.add_note(str(survived))
        self._raise_failure()

    async def abandon(self, exc: BaseException) -> None:
        """Leave because the test has failed; what else is wrong is added to its exception."""
        if isinstance(exc, Exception):
            self.leave(CloseCode.NORMAL, None)
            patience = min(_AFTER_FAILURE, self._options.timeout or _AFTER_FAILURE)
            try:
                await self._end_run(patience)
            except HandlersSurvived as survived:
                exc.add_note(str(survived))
        else:
            # Somebody wants the test to stop now.
            await self._drop()
        failure = self._failure
        if failure is not None and failure is not exc:
            exc.add_note("The application failed too:\n" + "".join(_formatted(failure)).rstrip())

    # Inside

    async def _drop(self) -> None:
        """Break the connection and cancel what is behind it."""
        self.leave(CloseCode.ABNORMAL, None)
        with suppress(HandlersSurvived):
            await self._end_run(0)

    async def _end_run(self, patience: float | None) -> None:
        check_tasks = self._options.check_tasks
        try:
            await self._run.finish(patience, check_tasks=check_tasks)
        except asyncio.CancelledError:
            # Nobody else would end what the test has waited for.
            with suppress(HandlersSurvived):
                await self._run.finish(0, check_tasks=check_tasks)
            raise
        finally:
            # A task that has just ended says in the next turn of the loop how.
            await asyncio.sleep(0)

    async def _until(
        self, condition: Callable[[], object], awaited: str, patience: float | None
    ) -> None:
        check_loop(self._loop)
        try:
            async with asyncio.timeout(patience):
                await self.wire.bell.until(condition)
        except TimeoutError:
            raise DeadlinePassed(self._explain(awaited, patience)) from None

    def _explain(self, awaited: str, patience: float | None) -> str:
        wire = self.wire
        lines = [f"waited {patience:g} s for {awaited}"]
        if wire.count:
            lines.append(f"what came last, as number {wire.count}: {show_message(wire.last)}")
        else:
            lines.append("nothing has come from the application so far")
        if wire.paused:
            lines.append("reading is paused")
        lines.append("it has ended" if self._run.over else self._run.parked())
        return "\n".join(lines)

    @property
    def _failure(self) -> BaseException | None:
        """What the test has to raise for the application, once."""
        if self._raised or not self._options.raise_app_exceptions:
            return None
        return self._run.failure

    def _raise_failure(self) -> None:
        failure = self._failure
        if failure is not None:
            self._raised = True
            raise failure

    async def _hear_last_words(self) -> None:
        """1011 says that something failed; what it was may come to light a moment later."""
        record = self.wire.closed
        if record is None or record.closed_by == "client" or not self._options.raise_app_exceptions:
            return
        if record.code != CloseCode.INTERNAL_ERROR:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self.wire.bell.until(lambda: self._run.failure or self._run.over)
            await asyncio.sleep(0)


def check_loop(entered: asyncio.AbstractEventLoop) -> None:
    """Make sure that the running event loop is the one in which something was entered.

    Raises:
        WebSocketRuntimeError: It is another one; nothing would ever wake who waits there.
    """
    if entered is not asyncio.get_running_loop():
        raise WebSocketRuntimeError(
            "the client was entered in another event loop; give fixture and test one loop"
        )


def _formatted(failure: BaseException) -> list[str]:
    return traceback.format_exception(failure)
