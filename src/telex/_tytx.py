"""Typed text (TYTX) by genro-tytx, which is optional: looked for at every call, before any I/O.

A text is typed when it ends in `::JS`, or when it is no JSON and has the suffix of a scalar, as in
`1.5::N`. A string in plain JSON stays a string, whatever it looks like.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from telex._json import decode_json, decode_utf8
from telex.exceptions import MissingDependency

_MARKER: Final = "::JS"
_SCALAR: Final = re.compile(r".*::[A-Z]+", re.DOTALL)


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
        json.JSONDecodeError: It is neither JSON nor typed text.
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
        raise json.JSONDecodeError(f"Not typed text: {error}", text, 0) from error
    if value == text:
        raise json.JSONDecodeError("Neither JSON nor typed text", text, 0)
    return value


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
