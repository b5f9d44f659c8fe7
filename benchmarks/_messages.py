"""The messages that the benchmarks send, as the frames in which a client sends them."""

from __future__ import annotations

import json
import random
import struct
import zlib
from itertools import cycle
from typing import Any, Final, Literal

Kind = Literal["text", "binary", "json"]

KINDS: Final[tuple[Kind, ...]] = ("text", "binary", "json")

MASK: Final = b"\x37\xfa\x21\x3d"
"""Not zeros: servers must have something to unmask."""

FLUSHED: Final = b"\x00\x00\xff\xff"
"""What a compressed message leaves out at its end (RFC 7692 §7.2.1)."""

_TEXT: Final = (
    "the of and a to in is you that it he was for on are as with his they at be this have from or "
    "one had by word but not what all were we when your can said there use an each which she do"
)

_WORDS: Final = _TEXT.split()


def payload(kind: Kind, size: int) -> bytes:
    """Return the payload of a message, the same one every time.

    Text is ASCII words, binary is random, JSON is an object in compact form.
    """
    if kind == "binary":
        return random.Random(size).randbytes(size)
    if kind == "text":
        return _words(size).encode()
    return _object(size)


def _words(size: int) -> str:
    chosen = random.Random(size)
    text = ""
    while len(text) < size:
        text += " ".join(chosen.choices(_WORDS, k=50)) + " "
    return text[:size]


def _object(size: int) -> bytes:
    """Return small records in an object, and a text that fills it up."""
    value: dict[str, Any] = {"type": "message", "id": 4711, "text": ""}
    if size >= 256:
        words = cycle(_WORDS)
        value["records"] = [
            {"id": number, "name": next(words), "share": number / 8, "open": number % 3 == 0}
            for number in range(size // 64)
        ]
        while len(_compact(value)) > size:
            value["records"].pop()
    value["text"] = _words(size - len(_compact(value)))
    return _compact(value)


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def frame(kind: Kind, data: bytes, *, deflate: bool = False) -> bytes:
    """Return a message in one masked frame, compressed by itself if wanted (RFC 7692 §7.2.1)."""
    first = 0x82 if kind == "binary" else 0x81
    if deflate:
        compressor = zlib.compressobj(wbits=-12)
        data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        data, first = data.removesuffix(FLUSHED), first | 0x40
    if len(data) < 126:
        head = struct.pack("!BB", first, 0x80 | len(data))
    elif len(data) < 1 << 16:
        head = struct.pack("!BBH", first, 0x80 | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, len(data))
    return head + MASK + masked(data)


def masked(data: bytes) -> bytes:
    """Mask a payload (RFC 6455 §5.3)."""
    key = (MASK * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(len(data))
