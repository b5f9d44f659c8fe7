"""Messages that come in pieces or compressed (RFC 6455 §5.4, RFC 7692 §6.2), without I/O.

Text is checked piece by piece, so that the first byte which is no UTF-8 ends the connection
(RFC 6455 §8.1), and an unfinished frame is checked as far as it has come.
"""

from __future__ import annotations

import codecs
from typing import Final

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

_Decoder: Final = codecs.getincrementaldecoder("utf-8")
_MASK_BYTES: Final = 4
_EXTENDED: Final = {126: 2, 127: 8}
"""Bytes of the longer payload lengths, by what stands in the place of the short one."""


def not_utf8() -> Violation:
    """Return what text that is no UTF-8 means."""
    return Violation(CloseCode.INVALID_PAYLOAD, "text is not UTF-8")


class Utf8Check:
    """Finds the first byte of a text that is no UTF-8 as soon as it is there."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = _Decoder()

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Look at the next bytes.

        Raises:
            Violation: They are no UTF-8.
        """
        try:
            self._decoder.decode(data, final)
        except UnicodeDecodeError:
            raise not_utf8() from None
        pending = self._decoder.getstate()[0]
        # Python waits for the third byte of a surrogate, which has no place in UTF-8 (RFC 3629).
        if pending[:1] == b"\xed" and pending[1:] >= b"\xa0":
            raise not_utf8()

    def copy(self) -> Utf8Check:
        """Return one that goes on where this one is."""
        same = Utf8Check()
        same._decoder.setstate(self._decoder.getstate())
        return same


class Assembly:
    """Puts the messages of one connection together.

    Args:
        max_size: Bytes of a message, after it was inflated.
        compression: How messages are compressed, `None` when that was not agreed on.
    """

    __slots__ = ("_begun", "_check", "_compressed", "_compression", "_data", "max_size")

    def __init__(self, max_size: int, compression: Compression | None) -> None:
        self.max_size = max_size
        """Bytes of a message, after it was inflated; it may get less at any time."""
        self._compression = compression
        self._begun: int | None = None
        self._compressed = False
        self._check: Utf8Check | None = None
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
        self.check_head(first_byte, len(payload))
        first = first_byte & _OPCODE != CONTINUATION
        fin = bool(first_byte & FIN)
        if first:
            self._begin(first_byte)
        room = self.max_size - len(self._data)
        if self._compressed:
            assert self._compression is not None
            payload = self._compression.inflate(payload, first=first, fin=fin, max_size=room)
        if self._check is not None:
            self._check.feed(payload, final=fin)
        self._data += payload
        return self._complete() if fin else None

    def check_head(self, first_byte: int, size: int) -> None:
        """Make sure that a data frame may come now.

        Args:
            first_byte: Of the frame.
            size: Of its payload, as it is transmitted.

        Raises:
            Violation: It may not, or is too big.
        """
        first = first_byte & _OPCODE != CONTINUATION
        if first and self.begun:
            raise Violation(CloseCode.PROTOCOL_ERROR, "expected a continuation frame")
        if not first and not self.begun:
            raise Violation(CloseCode.PROTOCOL_ERROR, "unexpected continuation frame")
        allowed = _RSV1 if first and self._compression is not None else 0
        if first_byte & (_RSV | _RSV1) & ~allowed:
            raise Violation(CloseCode.PROTOCOL_ERROR, "reserved bits must be 0")
        compressed = bool(first_byte & _RSV1) if first else self._compressed
        room = self.max_size - len(self._data)
        if room < 0 or (not compressed and size > room):
            raise Violation(CloseCode.MESSAGE_TOO_BIG, "message too big")

    def _begin(self, first_byte: int) -> None:
        self._begun = first_byte & _OPCODE
        self._compressed = bool(first_byte & _RSV1)
        self._check = Utf8Check() if self._begun == TEXT else None

    def _complete(self) -> str | bytes:
        data, self._data = self._data, bytearray()
        kind, self._begun = self._begun, None
        self._check = None
        return data.decode() if kind == TEXT else bytes(data)

    def check_of(self, first_byte: int) -> Utf8Check | None:
        """Return what checks the text of a frame that is coming; `None` where there is none."""
        opcode = first_byte & _OPCODE
        if opcode == TEXT and not first_byte & _RSV1:
            return Utf8Check()
        if opcode == CONTINUATION and self._check is not None and not self._compressed:
            return self._check.copy()
        return None


class Unfinished:
    """Checks a frame while it is coming.

    Args:
        assembly: What the frame will be given to.
    """

    __slots__ = ("_assembly", "_check", "_head", "_mask", "_size")

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._head = b""
        self._mask: bytes | None = None
        # Of the payload, as soon as it is known; of control frames never.
        self._size: int | None = None
        self._check: Utf8Check | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the frame, as they came.

        Raises:
            Violation: The frame may not come now, is too big, or is no UTF-8.
        """
        if self._mask is None:
            data = self._after_head(data)
        if self._check is None or self._mask is None:
            return
        self._check.feed(apply_mask(data, self._mask))
        turn = len(data) % _MASK_BYTES
        self._mask = self._mask[turn:] + self._mask[:turn]

    def _after_head(self, data: bytes) -> bytes:
        self._head += data
        if len(self._head) < 2:
            return b""
        first_byte, size = self._head[0], self._head[1] & 0x7F
        extended = _EXTENDED.get(size, 0)
        end = 2 + extended + _MASK_BYTES
        if len(self._head) < end:
            return b""
        if extended:
            size = int.from_bytes(self._head[2 : 2 + extended], "big")
        data, self._head = self._head[end:], self._head[:end]
        self._mask = self._head[-_MASK_BYTES:]
        if not first_byte & CLOSE:
            self._size = size
            self.check_size()
            self._check = self._assembly.check_of(first_byte)
        return data

    def check_size(self) -> None:
        """Check again what may have been allowed when the frame began; do nothing before.

        Raises:
            Violation: It is too big now.
        """
        if self._size is not None:
            self._assembly.check_head(self._head[0], self._size)
