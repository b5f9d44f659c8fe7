"""What a server must make of a stream of bytes, written down as simply as can be (RFC 6455, 7692).

It sees the whole stream at once and knows nothing of reads. When a frame breaks two rules, either
code is right. A frame that is not complete may be refused early or not yet, but for one thing:
text is refused at the first bad byte (RFC 6455 §8.1).
"""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

MASK_BYTES: Final = 4
CONTROLS: Final = (8, 9, 10)
TAIL: Final = b"\x00\x00\xff\xff"

LARGE: Final = 2044
"""Bytes from which `websockets` takes what is broken off for too big."""

SHORT: Final = 300
"""Bytes above which good text is taken from Python's decoder, for speed."""

OK: Final = "ok"
PARTIAL: Final = "partial"
BAD: Final = "bad"


@dataclass
class Verdict:
    """What has to come out.

    Attributes:
        messages: What the application receives, in order.
        pongs: What the pings are answered with.
        refused: The close codes any of which is right; empty without a violation.
        certain: Whether the violation must have been seen; else it is in an unfinished frame.
        closed: The payload of the client's close frame, when that was the end.
    """

    messages: list[str | bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    certain: bool = True
    closed: bytes | None = None


@dataclass
class Deflate:
    """What was agreed on for one direction.

    Attributes:
        bits: The size of the window, as a power of two.
        forgets: Whether every message begins anew.
    """

    bits: int
    forgets: bool


@dataclass
class Head:
    """The head of a frame."""

    first: int
    second: int
    size: int | None
    """Of the payload, `None` when that is not known yet."""
    begin: int
    """Where the mask begins."""

    @property
    def opcode(self) -> int:
        return self.first & 0x0F

    @property
    def fin(self) -> bool:
        return bool(self.first & 0x80)


def read_head(stream: bytes, at: int) -> Head | None:
    """Read the head of a frame, as far as it is there."""
    if len(stream) - at < 2:
        return None
    first, second = stream[at], stream[at + 1]
    size: int | None = second & 0x7F
    extended = {126: 2, 127: 8}.get(second & 0x7F, 0)
    begin = at + 2 + extended
    if extended:
        size = int.from_bytes(stream[at + 2 : begin], "big") if len(stream) >= begin else None
    return Head(first, second, size, begin)


def utf8(data: bytes) -> str:
    """Tell whether bytes are UTF-8, by the table of RFC 3629 §4."""
    at = 0
    if len(data) > SHORT:
        with contextlib.suppress(UnicodeDecodeError):
            data.decode()
            return OK
    while at < len(data):
        lead = data[at]
        if lead < 0x80:
            at += 1
            continue
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
        elif 0xF0 <= lead <= 0xF4:
            more = 3
        else:
            return BAD
        low = {0xE0: 0xA0, 0xF0: 0x90}.get(lead, 0x80)
        high = {0xED: 0x9F, 0xF4: 0x8F}.get(lead, 0xBF)
        for byte in data[at + 1 : at + 1 + more]:
            if not low <= byte <= high:
                return BAD
            low, high = 0x80, 0xBF
        if at + more >= len(data):
            return PARTIAL
        at += 1 + more
    return OK


def unmask(data: bytes, mask: bytes) -> bytes:
    """Apply a mask, which is its own opposite."""
    if not data:
        return b""
    key = (mask * (len(data) // MASK_BYTES + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")


class Inflater:
    """Inflates the messages of one side."""

    def __init__(self, agreed: Deflate) -> None:
        self._agreed = agreed
        self._stream: Any = self._fresh()

    def _fresh(self) -> Any:
        return zlib.decompressobj(-self._agreed.bits)

    def inflate(self, data: bytes, *, fin: bool, room: int) -> tuple[bytes, set[int]]:
        """Return what a frame holds, and the codes with which it may be refused.

        After a final block nothing may follow in the message, and the next one begins anew.
        """
        if self._stream.eof and data:
            return b"", {1002}
        if fin and len(data) >= LARGE and self._is_broken_off(data, room + 1):
            return b"", {1002, 1009}
        if fin:
            data += TAIL
        try:
            found = self._stream.decompress(data, room + 1)
        except zlib.error:
            return b"", {1002}
        if len(found) > room:
            return b"", {1009}
        if fin and (self._agreed.forgets or self._stream.eof):
            self._stream = self._fresh()
        return found, set()

    def _is_broken_off(self, data: bytes, limit: int) -> bool:
        """Whether the end of a message is not the end of a block."""
        stream = self._stream.copy() if not self._stream.eof else self._fresh()
        try:
            stream.decompress(data, limit)
            return not stream.unconsumed_tail and bool(stream.decompress(TAIL, 1))
        except zlib.error:
            return False


class Judge:
    """Goes through a stream frame by frame."""

    def __init__(self, max_size: int, deflate: Deflate | None) -> None:
        self._max_size = max_size
        self._inflater = Inflater(deflate) if deflate else None
        self._kind: int | None = None
        self._compressed = False
        self._data = b""
        self._verdict = Verdict()

    def judge(self, stream: bytes) -> Verdict:
        """Return what has to come out of a stream."""
        at: int | None = 0
        while at is not None:
            at = self._frame(stream, at)
        return self._verdict

    def _frame(self, stream: bytes, at: int) -> int | None:
        """Take a frame; return where the next one begins, `None` after the last."""
        head = read_head(stream, at)
        if head is None:
            return None
        refused = self._refused_head(head)
        begin = head.begin + MASK_BYTES
        if head.size is None or len(stream) < begin:
            return self._stop(refused, certain=False)
        payload = unmask(stream[begin : begin + head.size], stream[head.begin : begin])
        complete = len(payload) == head.size
        if refused:
            if not complete and self._kind_of(head) == 1 and self._bad_text(head, payload):
                return self._stop(refused | {1007})
            more = self._broken(head, payload) if complete else set()
            return self._stop(refused | more, certain=complete)
        if head.opcode in CONTROLS:
            return self._control(head.opcode, payload, begin + head.size) if complete else None
        if not complete:
            return self._stop({1007} if self._bad_text(head, payload) else set())
        return begin + head.size if self._data_frame(head, payload) else None

    def _stop(self, codes: set[int], *, certain: bool = True) -> int | None:
        self._verdict.refused = codes
        self._verdict.certain = certain
        return None

    def _refused_head(self, head: Head) -> set[int]:
        opcode, size = head.opcode, head.size
        codes = set()
        control = opcode in CONTROLS
        compressible = self._inflater is not None and opcode in (1, 2)
        flag, length = head.second & 0x7F, size or 0
        if (
            opcode not in (0, 1, 2, *CONTROLS)
            or (control and (not head.fin or flag > 125))
            or head.first & (0x30 if compressible else 0x70)
            or not head.second & 0x80
            or (opcode == 0 and self._kind is None)
            or (opcode in (1, 2) and self._kind is not None)
            or (flag == 126 and size is not None and length < 126)
            or (flag == 127 and size is not None and not 65536 <= length < 2**63)
        ):
            codes.add(1002)
        if not control and length > self._max_size:
            codes.add(1009)
        if opcode == 0 and not self._compressed and len(self._data) + length > self._max_size:
            codes.add(1009)
        return codes

    def _kind_of(self, head: Head) -> int | None:
        return self._kind if head.opcode == 0 else head.opcode

    def _bad_text(self, head: Head, payload: bytes) -> bool:
        """Whether the text of a frame is bad as far as it has come."""
        if self._kind_of(head) != 1:
            return False
        if self._compressed if head.opcode == 0 else head.first & 0x40:
            return False
        before = self._data if head.opcode == 0 else b""
        return utf8(before + payload) == BAD

    def _broken(self, head: Head, payload: bytes) -> set[int]:
        """What else is wrong with a frame that is refused anyway."""
        if head.opcode == 8:
            return {1007} if utf8(payload[2:]) != OK else set()
        if self._kind_of(head) != 1:
            return set()
        before = self._data if head.opcode == 0 else b""
        state = utf8(before + payload)
        return {1007} if state == BAD or (head.fin and state == PARTIAL) else set()

    def _control(self, opcode: int, payload: bytes, end: int) -> int | None:
        if opcode == 9:
            self._verdict.pongs.append(payload)
        if opcode != 8:
            return end
        codes = set()
        if payload:
            code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else 0
            if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
                codes.add(1002)
            if utf8(payload[2:]) != OK:
                codes.add(1007)
        if codes:
            return self._stop(codes)
        self._verdict.closed = payload
        return None

    def _data_frame(self, head: Head, payload: bytes) -> bool:
        """Take a frame of a message; return whether the connection goes on."""
        if head.opcode:
            self._kind = head.opcode
            self._compressed = bool(head.first & 0x40)
            self._data = b""
        codes: set[int] = set()
        if self._compressed:
            assert self._inflater is not None
            room = self._max_size - len(self._data)
            payload, codes = self._inflater.inflate(payload, fin=head.fin, room=room)
        self._data += payload
        if self._kind == 1 and not codes:
            state = utf8(self._data)
            if state == BAD or (head.fin and state == PARTIAL):
                codes.add(1007)
        if codes:
            self._stop(codes)
            return False
        if head.fin:
            data = self._data
            self._verdict.messages.append(data.decode() if self._kind == 1 else data)
            self._kind = None
        return True


def judge(stream: bytes, max_size: int, deflate: Deflate | None) -> Verdict:
    """Return what a server must make of what it reads after the handshake."""
    return Judge(max_size, deflate).judge(stream)
