"""What stands behind the type in `{name:type}`: text of a path to a value, and back.

A convertor that cannot read a text says so with an error, which means "no match" and never
reaches the client. What each built-in type takes:

| type | text | value |
|---|---|---|
| `str` | one or more characters, no `/` (a newline is a character) | `str` |
| `int` | ASCII digits, `-` in front allowed, as many as `int()` takes | `int` |
| `float` | ASCII digits, one `.` between them allowed; no exponent, nothing infinite | `float` |
| `decimal` | as `float`, any length | `Decimal` |
| `date` | `2024-02-29`, a day that exists | `date` |
| `datetime` | `2024-02-29T12:30`, then seconds, fraction, `Z` or an offset if wanted | `datetime` |
| `uuid` | 32 hexadecimal digits in either case, with all four hyphens or none | `UUID` |
| `path` | anything with `/`, also nothing; at the end of a path only | `str` |
| `any` | like `path`, at least one character | `str` |
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Protocol
from uuid import UUID

from telex.exceptions import RoutingError

REFUSALS: Final = (ValueError, ArithmeticError, LookupError)
"""What a convertor raises to say "this text, or this value, is not mine"."""


class Convertor(Protocol):
    """What `register_convertor` takes. Any object with these three members will do.

    A convertor whose attribute `spans_segments` is true reads everything to the end of the path,
    `/` included, and may only stand at the end of a pattern.
    """

    @property
    def regex(self) -> str:
        """What the text looks like, without anchors or inline flags; matched in full.

        Keep it free of nested repetition: it runs on what strangers send.
        """

    def convert(self, text: str, /) -> Any:
        """Return the value of a text that fits `regex`.

        Raises:
            ValueError: The text is no such value; the route does not match. `ArithmeticError`
                and `LookupError` mean the same.
        """

    def to_string(self, value: Any, /) -> str:
        """Return the text for a value, not percent-encoded; not called for `str` values.

        Raises:
            ValueError: There is no text for this value; no URL can be built.
        """


class _Text:
    regex = r"[^/]+"

    def convert(self, text: str, /) -> str:
        return text

    def to_string(self, value: object, /) -> str:
        if value is None or isinstance(value, (bytes, bytearray)):
            raise ValueError(f"{value!r} is not text")
        return str(value)


class _Path(_Text):
    regex = r"(?s:.*)"
    spans_segments = True


class _Any(_Path):
    regex = r"(?s:.+)"


class _Int:
    regex = r"-?[0-9]+"

    def convert(self, text: str, /) -> int:
        return int(text)

    def to_string(self, value: Any, /) -> str:
        if isinstance(value, bool) or value != int(value):
            raise ValueError(f"{value!r} is not an integer")
        return str(int(value))


class _Decimal:
    regex = r"-?[0-9]+(?:\.[0-9]+)?"

    def convert(self, text: str, /) -> Decimal:
        return Decimal(text)

    def to_string(self, value: Any, /) -> str:
        return _digits(Decimal(value))


class _Float:
    regex = _Decimal.regex

    def convert(self, text: str, /) -> float:
        value = float(text)
        if math.isinf(value):
            raise ValueError("too large for a float")
        return value

    def to_string(self, value: Any, /) -> str:
        # repr() has the fewest digits that come back as this float; Decimal spells its exponent.
        return _digits(Decimal(repr(float(value))))


def _digits(number: Decimal) -> str:
    """Write a number without an exponent."""
    if not number.is_finite():
        raise ValueError(f"{number} has no digits")
    return format(number, "f")


class _Date:
    regex = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"

    def convert(self, text: str, /) -> date:
        return date.fromisoformat(text)

    def to_string(self, value: Any, /) -> str:
        if not isinstance(value, date) or isinstance(value, datetime):
            raise ValueError(f"{value!r} is not a date")
        return value.isoformat()


class _Datetime:
    regex = (
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
        r"(?:Z|[+-][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?"
    )

    def convert(self, text: str, /) -> datetime:
        return datetime.fromisoformat(text)

    def to_string(self, value: Any, /) -> str:
        if not isinstance(value, datetime):
            raise ValueError(f"{value!r} is not a datetime")
        return value.isoformat()


class _UUID:
    regex = (
        r"(?:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
        r"|[0-9a-fA-F]{32})"
    )

    def convert(self, text: str, /) -> UUID:
        return UUID(text)

    def to_string(self, value: object, /) -> str:
        if not isinstance(value, UUID):
            raise ValueError(f"{value!r} is not a UUID")
        return str(value)


TEXT: Final = _Text()
"""The convertor of `{name}`."""

_CONVERTORS: Final[dict[str, Convertor]] = {
    "str": TEXT,
    "int": _Int(),
    "float": _Float(),
    "decimal": _Decimal(),
    "date": _Date(),
    "datetime": _Datetime(),
    "uuid": _UUID(),
    "path": _Path(),
    "any": _Any(),
}


def spans_segments(convertor: Convertor) -> bool:
    """Return whether a convertor reads `/` too."""
    return bool(getattr(convertor, "spans_segments", False))


def find_convertor(name: str) -> Convertor:
    """Return the convertor of that type name.

    Raises:
        LookupError: There is none; the text names those that exist.
    """
    try:
        return _CONVERTORS[name]
    except KeyError:
        known = ", ".join(sorted(_CONVERTORS))
        raise LookupError(f"unknown type {name!r}; there are: {known}") from None


def register_convertor(name: str, convertor: Convertor) -> None:
    """Add a type that paths can name: `{parameter:name}`.

    It holds for the whole process and for patterns written afterwards. Registering the same
    object twice is harmless.

    Args:
        name: The type's name, a Python identifier.
        convertor: An object with `regex`, `convert` and `to_string`.

    Raises:
        RoutingError: The name is no identifier or taken, or `regex` does not compile.
    """
    if not name.isidentifier():
        raise RoutingError(f"a convertor is named like a Python identifier, not {name!r}")
    if _CONVERTORS.get(name, convertor) is not convertor:
        raise RoutingError(f"there is a convertor named {name!r} already")
    try:
        re.compile(f"(?P<value>{convertor.regex})")
    except re.error as error:
        raise RoutingError(f"the regex of convertor {name!r} does not compile: {error}") from error
    _CONVERTORS[name] = convertor
