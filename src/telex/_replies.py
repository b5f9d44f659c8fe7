"""Requests of ours and what answers them; and the messages by which a client cancels our tasks.

Rules:

1. A message that answers a request, or cancels a task, is taken out of the stream before any
   reader sees it, also when it is late. All others go to the readers, each once and in order.
2. While nobody reads, messages are looked at as they arrive; those for readers are kept. That is
   done in callbacks: it has no task to cancel, and a reader that comes goes first, at once.
3. What is kept is bounded. When it is full, messages stay where they are until somebody reads;
   not after the peer has left, when no more can come.
4. Without requests and such tasks, now or a minute ago, nothing of this runs (`Inbox.release`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from telex._given_up import GivenUp
from telex._inbox import Inbox
from telex._source import ABNORMAL, MAX_BYTES, MAX_MESSAGES
from telex.codecs import JSON, TYTX, Codec, Decode, MessagePack
from telex.exceptions import WebSocketDisconnect, WebSocketExpectError, WebSocketHandshakeError

log: Final = logging.getLogger("telex")

Ref = str | int
"""By what an answer names the message that it answers."""

REF: Final = "ref"
"""The field that holds it."""

Write = Callable[[str | bytes], Awaitable[None] | None]

CANCEL: Final = "cancel"
"""What the field `type` of a message says that cancels a task."""

_ESCAPE: Final = "\\u00"
"""How JSON begins an ASCII character that it need not have escaped."""

_json: Final = JSON().decoder(Any)
_msgpack: Final = MessagePack().decoder(Any)


def replies_of(inbox: Inbox) -> Replies:
    """Return what looks for replies in an inbox; one for each."""
    if not isinstance(inbox.deputy, Replies):
        inbox.deputy = Replies(inbox)
    return inbox.deputy


class Replies:
    """The deputy of an inbox, see `Inbox.engage`. Everybody on the connection shares it."""

    __slots__ = (
        "_asked",
        "_count",
        "_decode",
        "_ended",
        "_fields",
        "_finished",
        "_given_up",
        "_inbox",
        "_kept",
        "_needles",
        "_parked",
        "_prefix",
        "_running",
        "_scheduled",
        "_waiting",
    )

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._prefix = f"{secrets.token_hex(4)}-"
        self._count = self._waiting = 0
        self._asked: dict[tuple[str, Ref], asyncio.Future[str | bytes | None]] = {}
        self._given_up, self._finished = GivenUp(), GivenUp()
        self._running: dict[Ref, Callable[[], None]] = {}
        self._kept: deque[str | bytes | Exception] = deque()
        self._parked: asyncio.Future[None] | None = None
        self._scheduled: asyncio.Handle | None = None
        self._ended = False
        self._decode: Decode = read_plain
        # Both grow until there is nothing to look for. A message without any of the needles is not
        # worth decoding; `None`: that cannot be told.
        self._fields: set[str] = set()
        self._needles: set[str] | None = set()

    # Asking

    async def ask(
        self, value: Any, codec: Codec, write: Write, *, timeout: float | None, field: str
    ) -> str | bytes:
        """Send a value and return the message that answers it; see `WebSocket.request`."""
        ref, data = self._question(value, codec, field)
        key = (field, ref)
        if key in self._asked:
            raise ValueError(f"a request with {field} {ref!r} is waiting for its reply already")
        self._read_by(codec)
        reply = self._asked[key] = asyncio.get_running_loop().create_future()
        self._given_up.discard(key)
        self._fields.add(field)
        ours = str(ref).startswith(self._prefix)
        self._engage(self._prefix if ours else _plain_part(field))
        self._waiting += 1
        sent = False
        try:
            rest = write(data)
            sent = True
            async with asyncio.timeout(timeout):
                if rest is not None:
                    await rest
                await reply
        except TimeoutError:
            # The reply may have come in the same moment.
            if not reply.done() or reply.cancelled():
                raise TimeoutError(f"no reply to {field} {ref!r} within {timeout} s") from None
        finally:
            # Once it was answered, another request may use its ref.
            if self._asked.get(key) is reply:
                del self._asked[key]
                if sent and not self._inbox.progress.over:
                    self._given_up.add(key, self._rest)
            self._waiting -= 1
            self._rest()
            self._speak_of_the_end()
        answer: str | bytes | None = reply.result()
        if answer is None:
            raise await self._gone()
        return answer

    def _question(self, value: Any, codec: Codec, field: str) -> tuple[Ref, str | bytes]:
        """Return the message for a value, and the ref that is in it."""
        data = None
        if not isinstance(value, Mapping):
            # The codec knows best how it names fields, and types of the application's own.
            data = codec.encode(value)
            value = codec.decoder(Any)(data)
            if not isinstance(value, dict):
                raise TypeError(f"a request must be an object, not {type(value).__name__}")
        ref = value.get(field)
        if ref is None:
            self._count += 1
            ref = f"{self._prefix}{self._count}"
            return ref, codec.encode({**value, field: ref})
        data = data or codec.encode(value if isinstance(value, dict) else dict(value))
        if type(ref) is not str and type(ref) is not int:
            ref = codec.decoder(Any)(data)[field]
        return checked_ref(ref, field), data

    async def _gone(self) -> WebSocketHandshakeError:
        """Return what to raise where the connection has ended; tell the application of it."""
        progress = self._inbox.progress
        if progress.over:
            return progress.refuse("receive")
        if not self._kept:
            return await self._inbox.deliver()
        record = self._inbox.source.closed or ABNORMAL
        progress.tell(record)
        return WebSocketDisconnect(record.code, record.reason)

    # Tasks

    def watch(self, ref: Ref, cancel: Callable[[], None], codec: Codec | None) -> None:
        """Call a function for each message that cancels a ref, until `unwatch`.

        Args:
            ref: By which the client knows the task.
            cancel: Called without waiting.
            codec: What reads messages; `None`: they are JSON or MessagePack.

        Raises:
            TypeError: A ref of another type.
            ValueError: There is one with this ref.
        """
        checked_ref(ref, REF)
        if ref in self._running:
            raise ValueError(f"a task with {REF} {ref!r} is running already")
        if codec is not None:
            self._read_by(codec)
        self._running[ref] = cancel
        self._finished.discard(ref)
        self._engage(CANCEL)

    def unwatch(self, ref: Ref) -> None:
        """Take note that a task has ended; what cancels it may be on its way."""
        del self._running[ref]
        if not self._inbox.progress.over:
            self._finished.add(ref, self._rest)
        self._rest()

    # For the inbox

    @property
    def waiting(self) -> bool:
        """Whether a request waits for its reply, or is about to return it."""
        return self._waiting > 0

    @property
    def unread(self) -> bool:
        """Whether messages are kept."""
        return bool(self._kept)

    def poll(self) -> str | bytes | None:
        """Take the next message that is for readers."""
        self._stand_down()
        if self._kept:
            kept = self._kept.popleft()
            self._rest()
            if isinstance(kept, Exception):
                raise kept
            return kept
        pull = self._inbox.pull
        while (data := pull()) is not None and self._takes(data):
            pass
        return data

    def no_reader(self) -> None:
        """Look at messages from the next turn of the loop on, unless a reader is back by then."""
        if self._needed and self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._stand_in)

    def changed(self) -> None:
        """See to the end of the connection."""
        if self._inbox.progress.over:
            self._stand_down()
            self._answer_all()
            self._given_up.clear()
            self._finished.clear()
        else:
            self.no_reader()

    # Looking

    @property
    def _needed(self) -> bool:
        return bool(self._asked or self._running)

    def _engage(self, needle: str) -> None:
        if self._needles is not None:
            self._needles.add(needle)
        self._inbox.engage(self)
        self.no_reader()

    def _rest(self) -> None:
        """Do no more than is needed now."""
        if self._needed:
            return
        self._stand_down()
        if not (self._kept or self._given_up or self._finished):
            self._inbox.release()
            self._fields.clear()
            if self._needles is not None:
                self._needles.clear()

    def _read_by(self, codec: Codec) -> None:
        # The two can be told apart, and a client may use both.
        known = type(codec) in (JSON, MessagePack)
        self._decode = read_plain if known else codec.decoder(Any)
        if not known and type(codec) is not TYTX:
            self._needles = None

    def _stand_in(self) -> None:
        """Look at what is here, for as long as there is no reader; then wait for more."""
        self._scheduled = None
        inbox = self._inbox
        progress, source = inbox.progress, inbox.source
        while progress.open and self._needed and not inbox.is_read and self._parked is None:
            if source.closed is None and self._is_full():
                return
            try:
                # One at a time: what comes behind the last reply stays where it is.
                data = inbox.pull()
                taken = data is not None and self._takes(data)
            except Exception as exc:
                self._kept.append(exc)
                continue
            if taken:
                continue
            if data is not None:
                self._kept.append(data)
            elif source.closed is not None:
                self._answer_all()
                self._speak_of_the_end()
                return
            else:
                self._parked = source.wait()
                self._parked.add_done_callback(self._woken)

    def _is_full(self) -> bool:
        sizes = [len(each) for each in self._kept if not isinstance(each, Exception)]
        return len(self._kept) >= MAX_MESSAGES or sum(sizes) >= MAX_BYTES

    def _woken(self, parked: asyncio.Future[None]) -> None:
        if parked is self._parked:
            self._parked = None
            self._stand_in()

    def _stand_down(self) -> None:
        parked, self._parked = self._parked, None
        if parked is not None:
            parked.cancel()

    def _speak_of_the_end(self) -> None:
        """Have everybody look again once nobody is left who will learn of the end by itself."""
        inbox = self._inbox
        gone = inbox.source.closed is not None and not inbox.progress.over
        if gone and not self._ended and not self._waiting and not inbox.unread:
            self._ended = True
            asyncio.get_running_loop().call_soon(inbox.progress.notify)

    def _answer_all(self) -> None:
        for reply in self._asked.values():
            if not reply.done():
                reply.set_result(None)
        self._asked.clear()

    def _takes(self, data: str | bytes) -> bool:
        """Whether a message is a reply, or cancels a task; then that is done."""
        if self._needles is not None and not _contains(data, self._needles):
            return False
        try:
            value = self._decode(data)
        except WebSocketExpectError:
            return False
        taken = isinstance(value, dict) and (self._cancels(value) or self._answers(value, data))
        self._inbox.progress.received += taken
        return taken

    def _cancels(self, value: dict[Any, Any]) -> bool:
        if value.get("type") != CANCEL:
            return False
        ref = _ref_in(value, REF)
        cancel = self._running.get(ref)
        if cancel is None:
            return ref in self._finished
        cancel()
        return True

    def _answers(self, value: dict[Any, Any], data: str | bytes) -> bool:
        for field in self._fields:
            key = (field, _ref_in(value, field))
            reply = self._asked.pop(key, None)
            if reply is not None and not reply.done():
                reply.set_result(data)
                return True
            if reply is not None or key in self._given_up:
                self._given_up.discard(key)
                self._rest()
                log.debug("the reply to %s %r came too late", *key)
                return True
        return False


def read_plain(data: str | bytes) -> Any:
    """Return what a message holds: MessagePack where it can be nothing else, else JSON.

    Raises:
        WebSocketExpectError: Neither of them.
    """
    # No JSON text begins with the first byte of a MessagePack map.
    packed = isinstance(data, bytes) and data[:1] >= b"\x80"
    return (_msgpack if packed else _json)(data)


def checked_ref(ref: Any, field: str) -> Ref:
    """Return a ref.

    Raises:
        TypeError: It is neither `str` nor `int`.
    """
    if type(ref) is str or type(ref) is int:
        return ref
    raise TypeError(f"{field} must be str or int, not {type(ref).__name__}")


def _ref_in(value: dict[Any, Any], field: str) -> Ref:
    ref = value.get(field)
    # No ref is `None`, so that what holds another value is found nowhere.
    return cast(Ref, ref if type(ref) is str or type(ref) is int else None)


def _plain_part(field: str) -> str:
    """Return what is in every message with a field: its name, up to what JSON might escape."""
    for index, character in enumerate(field):
        if not character.isascii() or not (character.isalnum() or character in "_-. :"):
            return field[:index]
    return field


def _contains(data: str | bytes, needles: set[str]) -> bool:
    if isinstance(data, str):
        return any(needle in data for needle in needles) or _ESCAPE in data
    return any(needle.encode() in data for needle in needles) or _ESCAPE.encode() in data
