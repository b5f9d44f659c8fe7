"""Messages for listeners: right ones, then damage. Made from numbers that are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from server.fuzz.streams import BAD_TEXT, Dice, choose, noise

MAX_SIZE: Final = 128 << 10
"""Bytes of the biggest message the server takes."""
BIGGEST: Final = 200 << 10

WORDS: Final = ("", "a", "say", "é€😀", "日本", "x" * 300, "\x00\x1f\x7f", '"\\/', "$.items[0]")
NUMBERS: Final = (0, 1, -1, 127, 128, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 0.1, -1e308)
JUNK: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    "",
    "1",
    5,
    -0.0,
    1.5,
    [],
    {},
    [[]],
    {"type": "say"},
    "x" * 70_000,
)
"""What may stand where something else should."""

TOKENS: Final = (
    "NaN",
    "-Infinity",
    "1e400",
    "-1e-400",
    "1" * 400,
    "1" * 5000,
    "-" + "9" * 25,
    "0." + "3" * 900,
    "01",
    "1.",
    "+1",
    ".5",
    "-",
    "0x10",
    '"\\ud800"',
    '"a\\udfffb"',
    '"\\ud83d\\ude00"',
    '"\\u00"',
    '"\\x41"',
    '"\t"',
    '"open',
    "'single'",
    "nul",
    "True",
    "undefined",
    "/* */ 1",
    "",
    "[" * 3000,
    "[" * 500 + "]" * 500,
    '{"a":' * 400 + "1" + "}" * 400,
    '{"type":"say","type":5}',
    '{"":1,"":2}',
    '{"a":1,}',
    "{1:2}",
)
"""JSON, or nearly, that can stand for any value."""

PIECES: Final = (
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xffabc",
    b"\xc6\x7f\xff\xff\xff",
    b"\x91" * 3000,
    b"\x81\xa1a" * 500 + b"\xc0",
    b"\x81\x91\x01\x02",
    b"\x82\xa1a\x01\xa1a\x02",
    b"\xc4\x03abc",
    b"\xa3\xff\xfe\xfd",
    b"\xa3\xed\xa0\x80",
    b"\xcb\x7f\xf8" + bytes(6),
    b"\xcb\x7f\xf0" + bytes(6),
    b"\xd6\xff\xff\xff\xff\xff",
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xd4\x05\x00",
    b"\xcf" + b"\xff" * 8,
)
"""MessagePack, or nearly: lengths that lie, depth, other keys than text, extensions, NaN."""


def order(dice: Dice, ref: int, depth: int = 2) -> dict[str, Any]:
    """Return an order as `listener_app.Order` has it."""
    return {
        "ref": ref if dice(3) else f"r{ref}",
        "customer": {
            "name": choose(dice, WORDS),
            "id": f"{dice(1 << 32):08x}-0000-4000-8000-000000000000",
            "born": choose(dice, (None, "1970-01-01", "2024-02-29")),
        },
        "items": [_item(dice) for _ in range(dice(4))],
        "notes": {choose(dice, WORDS): choose(dice, (*WORDS, 0.5, None)) for _ in range(dice(3))},
        "placed": choose(dice, ("2026-01-01T00:00:00Z", "2026-06-30T23:59:59.999999+14:00")),
        "parts": [order(dice, ref, depth - 1) for _ in range(dice(2) if depth else 0)],
        "more": choose(dice, (None, [], [1, [2, {"a": None}]], "text", 0.1)),
    }


def _item(dice: Dice) -> dict[str, Any]:
    return {
        "sku": choose(dice, WORDS),
        "price": choose(dice, ("0.10", "99999999999999999999.99", "-1", "1E+5")),
        "count": dice(1000),
        "size": choose(dice, ("S", "M", "L")),
    }


def spoken(dice: Dice, ref: int) -> dict[str, Any]:
    """Return a message for one of the methods of `listener_app.Room`."""
    kinds: list[Callable[[], dict[str, Any]]] = [
        lambda: {"type": "say", "ref": ref, "text": choose(dice, WORDS)},
        lambda: {"type": "move", "ref": ref, "to": [dice(9), dice(9)]},
        lambda: {"type": 7, "ref": ref, "to": [dice(9), dice(9)]},
        lambda: {"type": "order", **order(dice, ref)},
        lambda: {"type": "raw", "ref": ref, choose(dice, WORDS): choose(dice, NUMBERS)},
    ]
    return choose(dice, kinds)()


def spoiled(dice: Dice, value: Any) -> Any:
    """Return a value with something else somewhere in it."""
    if isinstance(value, dict) and value and dice(6):
        at = choose(dice, [*value])
        if dice(8) == 0:
            return {key: each for key, each in value.items() if key != at}
        if dice(8) == 0:
            return {**value, choose(dice, WORDS): choose(dice, JUNK)}
        return {**value, at: spoiled(dice, value[at])}
    if isinstance(value, list) and value and dice(6):
        at = dice(len(value))
        return [*value[:at], spoiled(dice, value[at]), *value[at + 1 :]]
    return choose(dice, NUMBERS if dice(3) == 0 else JUNK)


def as_json(dice: Dice, value: Any) -> bytes:
    """Return the JSON of a value, perhaps with something in it that is none, or strange."""
    text = json.dumps(value, ensure_ascii=dice(2) == 0, separators=choose(dice, _SEPARATORS))
    kind = dice(8)
    if kind < 3:
        return text.encode()
    if kind < 5:
        # In place of a value: behind a colon or a comma.
        places = [at + 1 for at, letter in enumerate(text[:5000]) if letter in ":,["]
        at = choose(dice, places or [0])
        end = next((end for end in range(at, len(text)) if text[end] in ",]}"), len(text))
        return f"{text[:at]}{choose(dice, TOKENS)}{text[end:]}".encode()
    if kind == 5 and text.startswith("{"):
        # A name twice.
        again = f"{choose(dice, _NAMES)}:{choose(dice, TOKENS)},"
        return f"{{{again}{text[1:]}".encode()
    if kind == 6:
        return choose(dice, _AROUND).encode() + text.encode() + choose(dice, _AROUND).encode()
    return damaged(dice, text.encode())


_SEPARATORS: Final = ((",", ":"), (", ", ": "), (" \n,\t", " : "))
_NAMES: Final = ('"ref"', '"type"', '"items"', '"ty\\u0070e"', '""')
_AROUND: Final = ("", " \r\n\t", "\ufeff", "\x00", "\x0b", "x", "{}", "\u2028", "//")


def as_messagepack(dice: Dice, value: Any) -> bytes:
    """Return the MessagePack of a value, perhaps with something in it that is none, or strange."""
    data = msgspec.msgpack.encode(value)
    kind = dice(8)
    if kind < 3:
        return data
    if kind < 6:
        at = dice(min(len(data), 400) + 1)
        return data[:at] + choose(dice, PIECES) + data[at + dice(3) :]
    return damaged(dice, data)


def damaged(dice: Dice, data: bytes) -> bytes:
    """Return bytes that are not quite the same."""
    for _ in range(1 + dice(3)):
        at = dice(len(data) + 1)
        match dice(7):
            case 0 | 1:
                data = (
                    data[:at] + bytes([data[at] ^ (1 << dice(8))]) + data[at + 1 :]
                    if data[at:]
                    else data
                )
            case 2:
                data = data[:at]
            case 3:
                data = data[:at] + noise(dice, 1 + dice(8)) + data[at:]
            case 4:
                data = data[:at] + data[at + 1 + dice(20) :]
            case 5:
                data = data[:at] + data[at // 2 :]
            case _:
                data = data[:at] + choose(dice, BAD_TEXT) + data[at:]
    return data[:BIGGEST]


def without_sense(dice: Dice) -> bytes:
    """Return bytes that were never a message."""
    kinds: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: noise(dice, 1 + dice(300)),
        lambda: noise(dice, dice(BIGGEST)),
        lambda: bytes(dice(300)),
        lambda: b"[" * (1 + dice(20_000)),
        lambda: b'{"type":' * (1 + dice(2000)),
        lambda: b'{"ref":1,"items":[' + b"{}," * dice(BIGGEST // 3),
        lambda: b'"' + b"a" * (MAX_SIZE - 10 + dice(20)) + b'"',
        lambda: choose(dice, TOKENS).encode(),
        lambda: choose(dice, PIECES),
    ]
    return choose(dice, kinds)()


def make_message(
    dice: Dice, ref: int, make: Callable[[Dice, int], Any], *, packed: bool
) -> tuple[int, bytes]:
    """Return the opcode and the payload of a message for a listener.

    Args:
        dice: Where the numbers come from.
        ref: By what an answer names it.
        make: Makes one that is right.
        packed: Whether it should be MessagePack, and not JSON.
    """
    if dice(10) == 0:
        return 1 + dice(2), without_sense(dice)
    value = make(dice, ref)
    for _ in range(choose(dice, (0, 0, 0, 1, 2))):
        value = spoiled(dice, value)
    # Now and then what the listener does not speak.
    packs = packed != (dice(25) == 0)
    data = as_messagepack(dice, value) if packs else as_json(dice, value)
    if dice(200) == 0:
        data += b" " * dice(BIGGEST)
    text = dice(20) == 0 if packs else dice(5) > 0
    return (1 if text else 2), data
