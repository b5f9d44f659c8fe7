"""Messages that come in pieces or compressed (RFC 6455 §5.4, RFC 7692 §6.2), without I/O.

Text is checked piece by piece, so that the first byte which is no UTF-8 ends the connection
(RFC 6455 §8.1), and an unfinished frame is checked as far as it has come.
"""

from __future__ import annotations

import codecs
from typing import Final, Protocol

from telex.close_codes import CloseCode
from telex.server._deflate import Compression
from telex.server._violation import Violation

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - wheels have it
    from websockets.utils import apply_mask

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

FIN: Final = 0x80
_RSV1: Final = 0x40
_RSV: Final = 0x30
_OPCODE: Final = 0x0F

_Utf8: Final = codecs.getincrementaldecoder("utf-8")
_MASK_BYTES: Final = 4
_EXTENDED: Final = {126: 2, 127: 8}
"""Bytes of the longer payload lengths, by what stands in the place of the short one."""


class _Checker(Protocol):
    def decode(self, data: bytes, final: bool = False) -> str: ...
    def getstate(self) -> tuple[bytes, int]: ...
    def setstate(self, state: tuple[bytes, int]) -> None: ...


def not_utf8() -> Violation:
    """Return what text that is no UTF-8 means."""
    return Violation(CloseCode.INVALID_PAYLOAD, "text is not UTF-8")


class Assembly:
    """Puts the messages of one connection together.

    Args:
        max_size: Bytes of a message, after it was inflated.
        compression: How messages are compressed, `None` when that was not agreed on.
    """

    __slots__ = ("_begun", "_checker", "_compressed", "_compression", "_data", "_max_size")

    def __init__(self, max_size: int, compression: Compression | None) -> None:
        self._max_size = max_size
        self._compression = compression
        self._begun: int | None = None
        self._compressed = False
        self._checker: _Checker | None = None
        self._data = bytearray()

    @property
    def begun(self) -> bool:
        """Whether a message has come in part."""
        return self._begun is not None

    def add(self, first_byte: int, payload: bytes) -> str | bytes | None:
        """Take a data frame and return the message that it completes.

        Args:
            first_byte: Of the frame: FIN, the reserved bits, and the opcode.
            payload: What it carries, unmasked.

        Raises:
            Violation: It may not come now, or the message is too big or no UTF-8.
        """
        first = self._check_order(first_byte)
        fin = bool(first_byte & FIN)
        if first:
            self._begin(first_byte)
        room = self._max_size - len(self._data)
        if self._compressed:
            assert self._compression is not None
            payload = self._compression.inflate(payload, first=first, fin=fin, max_size=room)
        if len(payload) > room:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, "message too big")
        if self._checker is not None:
            try:
                self._checker.decode(payload, fin)
            except UnicodeDecodeError:
                raise not_utf8() from None
        self._data += payload
        return self._complete() if fin else None

    def _check_order(self, first_byte: int) -> bool:
        first = first_byte & _OPCODE != CONTINUATION
        if first and self.begun:
            raise Violation(CloseCode.PROTOCOL_ERROR, "expected a continuation frame")
        if not first and not self.begun:
            raise Violation(CloseCode.PROTOCOL_ERROR, "unexpected continuation frame")
        allowed = _RSV1 if first and self._compression is not None else 0
        if first_byte & (_RSV | _RSV1) & ~allowed:
            raise Violation(CloseCode.PROTOCOL_ERROR, "reserved bits must be 0")
        return first

    def _begin(self, first_byte: int) -> None:
        self._begun = first_byte & _OPCODE
        self._compressed = bool(first_byte & _RSV1)
        self._checker = _Utf8() if self._begun == TEXT else None

    def _complete(self) -> str | bytes:
        data, self._data = self._data, bytearray()
        kind, self._begun = self._begun, None
        self._checker = None
        return data.decode() if kind == TEXT else bytes(data)

    def checker(self, first_byte: int) -> _Checker | None:
        """Return what checks the text of a frame that is coming; `None` where there is none."""
        opcode = first_byte & _OPCODE
        if opcode == TEXT and not first_byte & _RSV1:
            return _Utf8()
        if opcode == CONTINUATION and self._checker is not None and not self._compressed:
            checker = _Utf8()
            checker.setstate(self._checker.getstate())
            return checker
        return None


class Unfinished:
    """Checks a frame while it is coming.

    Args:
        assembly: What the frame will be given to.
    """

    __slots__ = ("_assembly", "_checker", "_head", "_mask")

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._head = b""
        self._mask: bytes | None = None
        self._checker: _Checker | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the frame, as they came.

        Raises:
            Violation: They are no UTF-8.
        """
        if self._mask is None:
            data = self._after_head(data)
        if self._checker is None or self._mask is None:
            return
        try:
            self._checker.decode(apply_mask(data, self._mask))
        except UnicodeDecodeError:
            raise not_utf8() from None
        turn = len(data) % _MASK_BYTES
        self._mask = self._mask[turn:] + self._mask[:turn]

    def _after_head(self, data: bytes) -> bytes:
        self._head += data
        if len(self._head) < 2:
            return b""
        size = 2 + _EXTENDED.get(self._head[1] & 0x7F, 0) + _MASK_BYTES
        if len(self._head) < size:
            return b""
        data, self._head = self._head[size:], self._head[:size]
        self._mask = self._head[-_MASK_BYTES:]
        self._checker = self._assembly.checker(self._head[0])
        return data
