"""What clients could send: conversations, then damage. Made from numbers that are asked for.

Whoever asks decides where the numbers come from: Hypothesis, Atheris, or a seeded generator.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from server.fuzz.reference import TAIL, Deflate, unmask

Dice = Callable[[int], int]
"""Returns a number from 0 up to, and without, the one it is given."""

T = TypeVar("T")

ALPHABETS: Final = ("a", "é", "€", "😀", "aé€😀", "\x00\x7f\u0080\u07ff\u0800\uffff\U0010ffff")
SIZES: Final = (0, 1, 2, 3, 4, 5, 7, 8, 60, 124, 125, 126, 127, 128, 255, 256, 257, 900)
LONG: Final = (1500, 1740, 1793, 2030, 2040, 2048, 2049, 3500, 4096, 8192, 65535, 65536, 70_000)
CODES: Final = (1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4000, 4999)
BAD_CODES: Final = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
BAD_TEXT: Final = (
    b"\x80",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8",
    b"\xff",
    b"\xe2\x82",
    b"\xe2\x82x",
)


def choose(dice: Dice, things: Sequence[T]) -> T:
    """Return one of several things."""
    return things[dice(len(things))]


_NOISE: Final = bytes(at * at * 31 + (at >> 3) & 0xFF for at in range(4099))


def noise(dice: Dice, size: int) -> bytes:
    """Return bytes that do not repeat soon."""
    begin = dice(len(_NOISE))
    return (_NOISE[begin:] + _NOISE * (size // len(_NOISE) + 1))[:size]


def frame(
    first: int, payload: bytes, mask: bytes | None = b"\x01\x02\x03\x04", head: bytes | None = None
) -> bytes:
    """Build a frame.

    Args:
        first: Its first byte: FIN, the reserved bits, the opcode.
        payload: Not masked yet.
        mask: `None` for none.
        head: Length and extended length with the mask bit, instead of the right ones.
    """
    size = len(payload)
    bit = 0x80 if mask is not None else 0
    if head is None and size < 126:
        head = bytes([bit | size])
    elif head is None and size < 1 << 16:
        head = bytes([bit | 126]) + size.to_bytes(2, "big")
    elif head is None:
        head = bytes([bit | 127]) + size.to_bytes(8, "big")
    masked = payload if mask is None else mask + unmask(payload, mask)
    return bytes([first]) + (head or b"") + masked


class Client:
    """Makes the frames of one client.

    Args:
        dice: Where it gets its numbers.
        max_size: The limit of the server, for sizes beside it.
        deflate: How it may compress, `None` when it may not.
    """

    def __init__(self, dice: Dice, max_size: int, deflate: Deflate | None) -> None:
        self._dice = dice
        self._max_size = max_size
        self._deflate = deflate
        self._packer = None if deflate is None else self._fresh(deflate)

    @staticmethod
    def _fresh(deflate: Deflate) -> zlib._Compress:
        return zlib.compressobj(wbits=-max(deflate.bits, 9))

    def frames(self) -> list[bytes]:
        """Return the frames of a conversation that is in order, but for sizes and closing."""
        dice = self._dice
        frames: list[bytes] = []
        for _ in range(1 + dice(5)):
            kind = dice(8)
            if kind == 0:
                frames.append(self._control())
            elif kind == 1:
                frames.append(self._violation())
            else:
                frames += self._message()
        if dice(3) == 0:
            frames.append(self.close())
        return frames

    def _mask(self) -> bytes:
        return choose(
            self._dice, (b"\0\0\0\0", b"\x01\x02\x03\x04", b"\xff\x80\x7f\x00", b"\x37\xfa\x21\x3d")
        )

    def _size(self) -> int:
        dice = self._dice
        kind = dice(16)
        if kind < 11:
            return choose(dice, SIZES)
        if kind < 13:
            return dice(300)
        if kind == 13 and dice(4) == 0:
            return choose(dice, LONG)
        return max(self._max_size - 1 + dice(3), 0) if self._max_size < 5000 else dice(2500)

    def _payload(self, *, text: bool) -> bytes:
        size = self._size()
        if not text:
            return noise(self._dice, size)
        alphabet = choose(self._dice, ALPHABETS)
        data = (alphabet * (size // len(alphabet.encode()) + 1)).encode()[: size + 1]
        whole = data[:size].decode(errors="ignore").encode()
        if self._dice(12):
            return whole
        at = self._dice(len(whole) + 1)
        return whole[:at] + choose(self._dice, BAD_TEXT) + whole[at:]

    def _message(self) -> list[bytes]:
        dice = self._dice
        text = dice(2) == 0
        payload = self._payload(text=text)
        compress = self._deflate is not None and dice(3) > 0
        if compress:
            payload = self._packed(payload)
        pieces = self._pieces(payload)
        frames = []
        for at, piece in enumerate(pieces):
            first = (1 if text else 2) if at == 0 else 0
            first |= 0x40 if at == 0 and compress else 0
            first |= 0x80 if at == len(pieces) - 1 else 0
            frames.append(frame(first, piece, self._mask()))
            if at < len(pieces) - 1 and dice(4) == 0:
                frames.append(self._control())
        return frames

    def _packed(self, payload: bytes) -> bytes:
        assert self._deflate is not None
        assert self._packer is not None
        if self._dice(24) == 0:
            packed = self._packer.compress(payload) + self._packer.flush() + b"\0"
            self._packer = self._fresh(self._deflate)
            return packed
        packed = self._packer.compress(payload) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        if self._deflate.forgets:
            self._packer = self._fresh(self._deflate)
        return packed.removesuffix(TAIL)

    def _pieces(self, payload: bytes) -> list[bytes]:
        dice = self._dice
        if dice(2):
            return [payload]
        cuts = sorted(dice(len(payload) + 1) for _ in range(dice(4)))
        return [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]

    def _control(self) -> bytes:
        dice = self._dice
        payload = noise(dice, choose(dice, (0, 1, 4, 8, 124, 125)))
        return frame(0x80 | (9 if dice(3) else 10), payload, self._mask())

    def close(self) -> bytes:
        """Return a close frame, most often a right one."""
        dice = self._dice
        kind = dice(8)
        if kind == 0:
            return frame(0x88, b"", self._mask())
        if kind == 1:
            return frame(0x88, b"\x03", self._mask())
        code = choose(dice, BAD_CODES if kind == 2 else CODES).to_bytes(2, "big")
        reason = choose(dice, ("", "bye", "é" * 61, "x" * 123)).encode()
        if kind == 3:
            reason = reason[:100] + choose(dice, BAD_TEXT)
        return frame(0x88, code + reason, self._mask())

    def _violation(self) -> bytes:
        dice, mask = self._dice, self._mask()
        payload = self._payload(text=True)[:100]
        return [
            lambda: frame(0x80 | choose(dice, (3, 4, 7, 11, 15)), payload, mask),
            lambda: frame(0x81 | choose(dice, (0x10, 0x20, 0x40, 0x70)), payload, mask),
            lambda: frame(0x80 | choose(dice, (0x40, 0x20)), payload, mask),
            lambda: frame(choose(dice, (0x81, 0x89, 0x88)), payload, None),
            lambda: frame(choose(dice, (0x08, 0x09, 0x0A)), b"", mask),
            lambda: frame(choose(dice, (0xC8, 0xA9, 0x9A, 0xC9)), b"", mask),
            lambda: frame(choose(dice, (0x88, 0x89, 0x8A)), b"x" * 126, mask),
            lambda: frame(0x80, payload, mask),
            lambda: frame(0x00, payload, mask),
            lambda: frame(0x81, payload, mask, b"\xfe" + len(payload).to_bytes(2, "big")),
            lambda: frame(0x82, payload, mask, b"\xff" + len(payload).to_bytes(8, "big")),
            lambda: frame(0x82, payload, mask, b"\xff\x80" + bytes(7)),
            lambda: frame(0x82, payload, mask, b"\xff\x00\xff" + bytes(6)),
            lambda: frame(0x01, payload, mask) + frame(0x81, payload, mask),
            lambda: frame(0xC1, noise(dice, 40), mask),
        ][dice(15)]()


def damage(dice: Dice, frames: list[bytes]) -> bytes:
    """Return a stream of frames with up to three things wrong with it."""
    frames = [*frames]
    for _ in range(choose(dice, (0, 0, 0, 1, 1, 2, 3))):
        at = dice(len(frames))
        each = frames[at]
        spot = dice(min(len(each), 16) if dice(2) else len(each)) if each else 0
        match dice(8):
            case 0 | 1:
                flipped = each[spot] ^ (1 << dice(8)) if each else 0
                frames[at] = each[:spot] + bytes([flipped]) + each[spot + 1 :]
            case 2:
                frames[at] = each[:spot]
            case 3:
                frames[at] = each[:spot] + noise(dice, 1 + dice(8)) + each[spot:]
            case 4:
                other = dice(len(frames))
                frames[at], frames[other] = frames[other], frames[at]
            case 5:
                frames.insert(at, each)
            case 6:
                frames[at] = each[:1] + bytes([dice(256)]) + each[2:]
            case 7:
                del frames[at]
                frames.append(b"")
    stream = b"".join(frames)
    return stream[: dice(len(stream) + 1)] if dice(6) == 0 else stream


def cuts(dice: Dice, size: int) -> list[int]:
    """Return where the reads of a stream of some size begin."""
    match dice(4):
        case 0:
            return []
        case 1 if size <= 160:
            return [*range(1, size)]
        case 2:
            step = choose(dice, (2, 3, 7, 64, 1000, 1739, 2048))
            step = max(step, size // 50)
            return [*range(step, size, step)]
    return sorted({1 + dice(size) for _ in range(1 + dice(6))}) if size else []
