"""Typed text (TYTX) by genro-tytx, which is optional: looked for at every call, before any I/O.

A text is typed when it ends in `::JS`, or when it is no JSON and has the suffix of a scalar, as in
`1.5::N`. A string in plain JSON stays a string, whatever it looks like.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final

from telex._json import decode_json, decode_utf8
from telex.exceptions import MissingDependency

_MARKER: Final = "::JS"
_SCALAR: Final = re.compile(r".*::[A-Z]+", re.DOTALL)
_SHOWN: Final = 200
"""Characters that are repeated of an error, which may repeat what a client wrote."""
_MAX_DIGITS: Final = 4300
"""Digits of a decimal before or behind its point, as of Python's integers in text.

Ten characters are enough for a number that takes minutes as soon as somebody calls `int` with it,
and pydantic does.
"""


def require_tytx() -> Any:
    """Return the library.

    Raises:
        MissingDependency: It is not installed.
    """
    try:
        import genro_tytx
    except ImportError as error:
        raise MissingDependency("genro-tytx", "tytx", "typed text (TYTX)") from error
    return genro_tytx


def read_typed(data: str | bytes) -> Any:
    """Return the value of a text.

    Raises:
        MissingDependency: genro-tytx is not installed.
        json.JSONDecodeError: It is neither JSON nor typed text, or holds a decimal that is too
            long.
    """
    library = require_tytx()
    text = data if isinstance(data, str) else decode_utf8(data)
    if text.endswith(_MARKER):
        # The library gives bad JSON back as a string.
        decode_json(text.removesuffix(_MARKER))
    else:
        try:
            return decode_json(text)
        except json.JSONDecodeError:
            if _SCALAR.fullmatch(text) is None:
                raise
    try:
        value = library.from_tytx(text)
    except Exception as error:
        # Whatever the libraries below it raise for what a client wrote.
        reason = str(error)[:_SHOWN]
        raise json.JSONDecodeError(f"Not typed text: {reason}", text, 0) from error
    if value == text:
        raise json.JSONDecodeError("Neither JSON nor typed text", text, 0)
    if not _is_reasonable(value):
        raise json.JSONDecodeError("Number out of range", text, 0)
    return value


def _is_reasonable(value: Any) -> bool:
    rest = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, dict):
            rest += each.values()
        elif isinstance(each, list):
            rest += each
        elif isinstance(each, Decimal) and each.is_finite():
            exponent = each.as_tuple().exponent
            if max(abs(each.adjusted()), abs(int(exponent))) >= _MAX_DIGITS:
                return False
    return True


def write_typed(value: Any) -> str:
    """Return the text of a value.

    Raises:
        MissingDependency: genro-tytx is not installed.
        TypeError: A value that it cannot express.
        ValueError: The same, because of what is in it.
    """
    library = require_tytx()
    try:
        text: str = library.to_tytx(value)
    except RecursionError:
        raise ValueError("nested too deeply, or contains itself") from None
    if "NaN" in text or "Infinity" in text:
        _check_numbers(text)
    return text


def _check_numbers(text: str) -> None:
    """Raise ValueError for the words that the library writes and JSON does not have."""
    if _SCALAR.fullmatch(text) is not None and not text.endswith(_MARKER):
        return
    try:
        decode_json(text.removesuffix(_MARKER))
    except json.JSONDecodeError as error:
        raise ValueError(f"cannot be sent as typed text: {error.msg}") from None
