"""One open connection: its messages both ways, its close handshake. It is the frame channel too.

Rules:

1. It is there before the handshake is through, for the client may leave meanwhile; then it opens.
2. The first end counts: a close frame of either side, a violation, a lost connection, a deadline.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Final

from telex._types import CloseRecord, Receive, Send
from telex.close_codes import MAX_REASON_BYTES, CloseCode, may_send
from telex.server._assembly import CLOSE, not_utf8
from telex.server._deflate import Compression
from telex.server._inbound import Bounds
from telex.server._linger import LINGER_TIMEOUT, Linger, shut
from telex.server._outbound import Outbound, frame, refuse
from telex.server._picows import FrameParser, attach
from telex.server._trim import trim_soon
from telex.server._violation import Violation

log: Final = logging.getLogger("telex.server")

CLOSE_TIMEOUT: Final = 10.0
"""Seconds a client may take to answer a close frame, and to read what was sent before."""

_PARTING_TIMEOUT: Final = 1.0
"""Seconds for the application to answer what came before a violation."""

_TIDY_AFTER: Final = 1.0
"""Seconds without a big message after which a big read buffer is given back, and up to as many
more."""

_SMALL_VIEW: Final = 4096
"""Bytes of a read buffer that may be kept until the client hangs up."""


class Channel(Outbound):
    """Implements `telex._types.FrameChannel`.

    Args:
        transport: Of the connection.
        loop: Its event loop.
        bounds: What it may take.
        on_lost: Called once, when the transport is gone.
    """

    __slots__ = (
        "_big_again",
        "_callbacks",
        "_deadline",
        "_hurried",
        "_leaving",
        "_on_lost",
        "_parser",
        "_parting",
        "_tidying",
        "asgi_receive",
        "asgi_send",
    )

    asgi_receive: Receive
    asgi_send: Send

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        bounds: Bounds,
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(transport, loop, bounds)
        self._on_lost: Callable[[], None] | None = on_lost
        self._callbacks: list[Callable[[CloseRecord], None]] | None = None
        self._parser: FrameParser | None = None
        self._parting: tuple[CloseRecord, Linger] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._tidying: asyncio.TimerHandle | None = None
        self._big_again = False
        # Whether only the client's end is missing.
        self._leaving = False
        # Whether nobody waits for that.
        self._hurried = False

    # Beginning

    def open(self, compression: Compression | None, early: bytes) -> None:
        """Begin to read and write frames; the handshake is through.

        Args:
            compression: What was agreed on, `None` for nothing.
            early: What the client has sent before it had the answer.
        """
        self.compression = compression
        self.expect_messages()
        self._parser = attach(self._transport, self, self._bounds.max_size)
        if early:
            self._parser.feed(early)
            if not self._paused:
                self._transport.resume_reading()

    def on_close_frame(self, payload: bytes) -> None:
        if self._parting is not None:
            return
        unread = self.buffered
        if self.closed is None:
            code, reason = _close_of(payload)
            self._end(CloseRecord(code, reason, "client"), payload[:2])
        self._leave(unread)

    # Ending

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and wait for the client's a while, without blocking."""
        if self._parting is not None:
            self.part()
        elif self.closed is None and self._parser is not None:
            record = CloseRecord(code, reason, "server")
            self._end(record, _close_payload(record))
            self.unpause()
            self._wait(CLOSE_TIMEOUT)

    def hurry(self, timeout: float) -> None:
        """Wait no longer than that for the rest of the end, and for no client to hang up."""
        self._hurried = True
        self._wait(timeout)
        if self._leaving:
            self._hang_up()

    def _wait(self, timeout: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(timeout, self._transport.abort)

    def on_big_buffer(self) -> None:
        self._big_again = self._tidying is not None
        if self._tidying is None:
            self._tidying = self._loop.call_later(_TIDY_AFTER, self._tidy)

    def _tidy(self) -> None:
        """Give a big read buffer back, unless it is in use."""
        self._tidying = None
        parser = self._reader()
        if parser is None:
            return
        if parser.at_boundary and not self._big_again:
            self._renew(parser)
            trim_soon(self._loop)
        else:
            self.on_big_buffer()

    def _reader(self) -> FrameParser | None:
        """Return the parser while messages may come."""
        return self._parser if self.closed is None and self._parting is None else None

    def _renew(self, parser: FrameParser) -> None:
        """Read with another parser; every frame is complete."""
        parser.mute()
        self._parser = attach(self._transport, self, self._bounds.max_size)
        self.be_strict(False)

    def limit_size(self, size: int, too_big: Callable[[], None]) -> None:
        """Take no longer message from now on; those that wait to be polled may still be."""
        before = self._bounds
        super().limit_size(size, too_big)
        parser = self._reader()
        if parser is None or self._bounds is before:
            return
        # Something in front of the application has accepted: the parser has the size from before.
        if parser.at_boundary:
            self._renew(parser)
            return
        # It may not be changed now. Until then every message goes the way of those in pieces.
        self.be_strict(True)
        self.on_big_buffer()
        if self._unfinished is not None:
            try:
                self._unfinished.check_size()
            except Violation as violation:
                self.fail(violation)

    def on_refused(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.fail(Violation(code, reason))
        else:
            self._leave(self.buffered)

    def fail(self, violation: Violation) -> None:
        """Read no more frames: they make no sense. Say so when the messages before were answered.

        That is when the application asks for another one, or after a second.
        """
        if self.closed is None and self._parting is None:
            record = CloseRecord(violation.code, violation.reason, "server")
            self._parting = (record, Linger(self._transport, self))
            self.expect_nothing()
            if self._messages:
                self._deadline = self._loop.call_later(_PARTING_TIMEOUT, self.part)
            else:
                self.part()

    def part(self) -> None:
        if self._parting is not None:
            record, linger = self._parting
            self._parting = None
            self._end(record, _close_payload(record))
            linger.begin()
            self._drop_parser()

    def expire(self) -> None:
        """Drop a client that has not answered a ping."""
        self.close(int(CloseCode.INTERNAL_ERROR), "keepalive ping timeout")
        self._transport.abort()

    def abort(self) -> None:
        self._end(CloseRecord(int(CloseCode.ABNORMAL), "", "server"))
        self._transport.abort()

    def on_close(self, callback: Callable[[CloseRecord], None]) -> None:
        if self.closed is not None:
            self._loop.call_soon(callback, self.closed)
        else:
            self._callbacks = [*(self._callbacks or ()), callback]

    def deny(self) -> None:
        """The handshake was answered with another response: nothing will come."""
        self._end(CloseRecord(int(CloseCode.ABNORMAL), "", "server"))
        self._hang_up()

    def _leave(self, unread: int) -> None:
        """Both sides have said their last word: shut ours, and wait for the client to hang up.

        Args:
            unread: Bytes from before our last word that the kernel has not taken.
        """
        transport = self._transport
        if self._leaving or transport.is_closing():
            self.on_surplus()
        elif self._hurried or not transport.can_write_eof():
            self._hang_up()
        else:
            self._leaving = True
            self._wait(CLOSE_TIMEOUT if unread else LINGER_TIMEOUT)
            self.unpause()
            shut(transport)
            # Most clients hang up now: until then the parser may stay, and changing it costs more
            # than all this. Unless it is big, or may grow right now: then the view is a copy.
            if not isinstance(self.view, memoryview) or len(self.view) > _SMALL_VIEW:
                self.on_surplus()

    def on_surplus(self) -> None:
        # While we wait for the client's close frame, it has to be parsed.
        if self._leaving and self._parser is not None and not self._transport.is_closing():
            Linger(self._transport, self)
            self._drop_parser()

    def _drop_parser(self) -> None:
        """Free its memory, for the connection may stay a while."""
        self._parser = None
        # Not at once: it may be in the middle of its buffer.
        self._loop.call_soon(self._forget_view)

    def _forget_view(self) -> None:
        self.view = b""

    def _hang_up(self) -> None:
        # TLS transports of asyncio cannot be aborted any more when they were closed twice.
        if not self._transport.is_closing():
            waiting = self.buffered
            self._transport.close()
            if waiting and self._deadline is None:
                self._wait(CLOSE_TIMEOUT)

    def _end(self, record: CloseRecord, close_frame: bytes | None = None) -> None:
        """Take note of the end, and write nothing after it but a close frame."""
        if self.closed is not None:
            return
        self.finish(record)
        self.mute()
        if close_frame is not None:
            self._transport.write(frame(CLOSE, close_frame))
        self.resume_writing()
        callbacks, self._callbacks = self._callbacks or (), None
        for callback in callbacks:
            try:
                callback(record)
            except Exception:
                # The others have to be told too, and the server.
                log.exception("a callback at the end of a connection failed")

    def mute(self) -> None:
        # Until the end the application may go on, if slower.
        self.write_text = self.write_bytes = self._write_plainly if self.closed is None else refuse
        self._wire = None
        if self._parser is not None:
            self._parser.mute()

    def on_broken(self) -> None:
        lost = CloseRecord(int(CloseCode.ABNORMAL), "", "client")
        self._end(lost if self._parting is None else self._parting[0])
        self._parting = None

    def on_lost(self) -> None:
        self.on_broken()
        for timer in (self._deadline, self._tidying):
            if timer is not None:
                timer.cancel()
        self._parser = None
        # It looks into the parser's memory.
        self.view = b""
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost()


def _close_payload(record: CloseRecord) -> bytes:
    return struct.pack("!H", record.code) + record.reason.encode()[:MAX_REASON_BYTES]


def _close_of(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a client's close frame.

    Raises:
        Violation: It may not send that.
    """
    if not payload:
        return int(CloseCode.NO_STATUS), ""
    if len(payload) == 1:
        raise Violation(CloseCode.PROTOCOL_ERROR, "a close code has two bytes")
    code = int.from_bytes(payload[:2], "big")
    if not may_send(code):
        raise Violation(CloseCode.PROTOCOL_ERROR, "invalid close code")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise not_utf8() from None
