"""Typed values on a connection: what messages mean, in place of what they hold."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, TypeVar, overload

from telex._iterator import Iterating, MessageIterator
from telex._payload import checked_bytes, checked_text
from telex._replies import replies_of
from telex._settings import settings_of
from telex._state import Phase
from telex._types import Scope
from telex._tytx import read_typed, require_tytx, write_typed
from telex.casts import shorten
from telex.codecs import Codec, agreed, reader
from telex.exceptions import WebSocketExpectError

T = TypeVar("T")

_AS_IT_IS: Final = (str, bytes, bytearray, memoryview)


class Values(Iterating):
    """The part of `WebSocket` that moves typed values, by the codec of the connection."""

    scope: Scope

    @property
    def codec(self) -> Codec:
        """What makes values of messages here: JSON, unless application or route say otherwise.

        Where `codecs` were given, it is the one of the subprotocol that was agreed on; before
        accept of the one that `accept` will choose by itself.
        """
        settings = settings_of(self.scope)
        if not settings.codecs:
            return settings.codec
        progress = self._link.progress
        subprotocol = progress.subprotocol
        if progress.application is Phase.CONNECTING:
            subprotocol = agreed(settings.codecs, self.scope.get("subprotocols") or ())
        return (
            settings.codec
            if subprotocol is None
            else settings.codecs.get(subprotocol, settings.codec)
        )

    @overload
    async def receive_as(self, tp: type[T]) -> T: ...
    @overload
    async def receive_as(self, tp: Any = str) -> Any: ...
    async def receive_as(self, tp: Any = str) -> Any:
        """Return the next message as a value of a type.

        Waits, is cancelled and shared between tasks like `receive_text`. Text and binary messages
        are both taken where the codec can read them.

        Args:
            tp: `str` and `bytes`: the message as it is, or in the other form (UTF-8). `int`,
                `bool` and `dict`: by the rules of `telex.casts`. Any other type that the codec
                knows: a dataclass, a `TypedDict`, a msgspec `Struct`, an attrs class, an enum, a
                `Literal`, a union of tagged structs, a pydantic model. `Any`: what it holds.

        Raises:
            TypeError: A type that cannot be read; nothing was consumed.
            WebSocketExpectError: The message does not fit; `errors` says where. It is consumed,
                the connection stays open.
            WebSocketDisconnect: The peer ended the connection; all messages before were read.
            WebSocketRuntimeError: Not accepted yet, or closed by us, also while waiting.
        """
        read = reader(self.codec, tp)
        return read(await self._link.inbox.read())

    @overload
    def iter_as(self, tp: type[T]) -> MessageIterator[T]: ...
    @overload
    def iter_as(self, tp: Any = str) -> MessageIterator[Any]: ...
    def iter_as(self, tp: Any = str) -> MessageIterator[Any]:
        """Iterate over messages as values of a type until the connection ends, like `iter_text`.

        Which codec reads them is settled here: with `codecs`, call it after accept.

        Args:
            tp: As for `receive_as`.

        Raises:
            TypeError: A type that cannot be read; at the call, before the loop.
            WebSocketExpectError: Out of the loop: a message does not fit. It is consumed; another
                loop goes on behind it.
            WebSocketDisconnect: Out of the loop: the peer had left before the loop was begun.
            WebSocketRuntimeError: Out of the loop: not accepted yet.
        """
        return self._iterate(reader(self.codec, tp))

    async def send_value(self, value: Any) -> None:
        """Send a value as one message: `str` as text, `bytes` as binary, the rest by the codec.

        Waits, is cancelled and orders like `send_text`. Encodes before it sends anything.

        Args:
            value: What the codec can write: also `None`, numbers, lists, dataclasses, structs,
                models, dates, `Decimal`, `UUID`.

        Raises:
            TypeError: A value of another type; nothing was sent.
            ValueError: A value that cannot be expressed; nothing was sent.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us; nothing was sent.
        """
        rest = self._link.outlet.write(payload(self.codec, value))
        if rest is not None:
            await rest

    @overload
    async def pair(self, value: Any, tp: type[T], recv_first: bool = False) -> T: ...
    @overload
    async def pair(self, value: Any, tp: Any = str, recv_first: bool = False) -> Any: ...
    async def pair(self, value: Any, tp: Any = str, recv_first: bool = False) -> Any:
        """Send a value and return the next message, or the other way round.

        Nothing ties the two together: with another task reading, use `request`. Cancelling it may
        leave it half done.

        Args:
            value: As for `send_value`.
            tp: As for `receive_as`.
            recv_first: Whether to receive before sending.

        Raises:
            TypeError: A value or type that is not possible; nothing was sent or consumed.
            ValueError: A value that cannot be expressed; nothing was sent or consumed.
            WebSocketExpectError: The message does not fit. With `recv_first` nothing was sent.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us.
        """
        codec = self.codec
        read, data = reader(codec, tp), payload(codec, value)
        if recv_first:
            received = read(await self._link.inbox.read())
        rest = self._link.outlet.write(data)
        if rest is not None:
            await rest
        return received if recv_first else read(await self._link.inbox.read())

    @overload
    async def request(
        self, value: Any, tp: type[T], *, timeout: float | None = 5.0, field: str = "ref"
    ) -> T: ...
    @overload
    async def request(
        self, value: Any, tp: Any = Any, *, timeout: float | None = 5.0, field: str = "ref"
    ) -> Any: ...
    async def request(
        self, value: Any, tp: Any = Any, *, timeout: float | None = 5.0, field: str = "ref"
    ) -> Any:
        """Send an object and return the reply: the next message with the same `ref`.

        Any message of the client's with a `ref` that a request waits for is its reply, also one
        that the client numbered by itself; and none of those is seen by readers. Other messages
        stay for readers, in order: while nobody reads, 32 of them or 256 KiB are kept, and then
        the reply is not found before somebody reads. Neither is the end of the connection seen
        then, so with `timeout=None` the function of a listener that handles one message at a time,
        and nobody else reads meanwhile, would wait for ever.

        Several tasks may wait at once, and others read meanwhile. Cancelling it loses no message
        but the reply, which is dropped when it comes; so it is after `timeout`.

        Args:
            value: A mapping, or what the codec writes as one: a dataclass, a struct, a model. A
                `ref` that no other request uses is put in where there is none, or `None`.
            tp: What the reply is read as, as for `receive_as`; `Any`: what it holds.
            timeout: Seconds until the reply must have come, sending included; `None`: no limit.
            field: The name of the `ref`. Both messages have it at the top.

        Raises:
            TypeError: A value that is no object, a `ref` that is neither `str` nor `int`, a value
                or type that is not possible; nothing was sent.
            ValueError: A `ref` that another request is waiting for, or a value that cannot be
                expressed; nothing was sent.
            TimeoutError: No reply in time.
            WebSocketExpectError: The reply does not fit; the connection stays open.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us, also while waiting.
        """
        codec = self.codec
        read = reader(codec, tp)
        link = self._link
        ask = replies_of(link.inbox).ask
        return read(await ask(value, codec, link.outlet.write, timeout=timeout, field=field))

    async def expect(self, value: T) -> T:
        """Receive the next message, which must be a certain value.

        Waits and may be cancelled like `receive_text`.

        Args:
            value: What it must be. It is read as the type of this, and compared exactly: `1` is
                neither `True` nor `1.0`.

        Returns:
            The value.

        Raises:
            TypeError: A value of a type that cannot be read; nothing was consumed.
            WebSocketExpectError: It is something else. It is consumed.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us.
        """
        read = reader(self.codec, type(value))
        received: T = read(await self._link.inbox.read())
        if not same(received, value):
            raise WebSocketExpectError(f"expected {value!r}, got {shorten(received)}")
        return received

    async def receive_typed(self) -> Any:
        """Return the next message, decoded from typed text (TYTX); plain JSON is read as JSON.

        Waits, is cancelled and shared between tasks like `receive_text`. Only a text with the
        marker `::JS` has typed values in it; a single value needs none (`1.5::N`).

        Raises:
            MissingDependency: genro-tytx is not installed; nothing was consumed.
            json.JSONDecodeError: Neither of them. It is consumed, the connection stays open.
            WebSocketDisconnect: The peer ended the connection; all messages before were read.
            WebSocketRuntimeError: Not accepted yet, or closed by us, also while waiting.
        """
        require_tytx()
        return read_typed(await self._link.inbox.read())

    async def send_typed(self, value: Any) -> None:
        """Send a value as typed text (TYTX), with the marker where it holds typed values.

        Waits, is cancelled and orders like `send_text`. TYTX makes lists of tuples and UTC with
        milliseconds of times, and a string that looks like a typed value is read as one.

        Raises:
            MissingDependency: genro-tytx is not installed; nothing was sent.
            TypeError: A value that it cannot express; nothing was sent.
            ValueError: NaN, Infinity, a lone surrogate or a circular value; nothing was sent.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not accepted yet, or closed by us; nothing was sent.
        """
        rest = self._link.outlet.write(checked_text(write_typed(value)))
        if rest is not None:
            await rest


def payload(codec: Codec, value: Any) -> str | bytes:
    """Return the message for a value.

    Raises:
        TypeError: It cannot be sent.
        ValueError: The same, because of what is in it.
    """
    # An enum of strings is a value like any other enum, which `receive_as` reads by the codec.
    if not isinstance(value, _AS_IT_IS) or isinstance(value, Enum):
        value = codec.encode(value)
    return checked_text(value) if isinstance(value, str) else checked_bytes(value)


def same(one: Any, other: Any) -> bool:
    """Compare values of JSON and their like exactly: `True` is not `1`, also deep inside."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        same_keys = set(map(_exact, one)) == set(map(_exact, other))
        return same_keys and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (set, frozenset)):
        return set(map(_exact, one)) == set(map(_exact, other))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _exact(key: Any) -> tuple[type, Any]:
    return type(key), key
