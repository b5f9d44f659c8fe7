"""From the text or bytes of a message to `str`, `bytes`, `int`, `bool` or `dict`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from reprlib import Repr
from typing import Any, Final, TypeVar

from telex._json import decode_json
from telex.exceptions import WebSocketExpectError

T = TypeVar("T")

# JSON's blanks around, JSON's digits, and any number of zeros before them.
_INTEGER: Final = re.compile(r"[ \t\r\n]*(-?[0-9]+)[ \t\r\n]*")
_DIGITS: Final = re.compile(r"[0-9]+")
_WORDS: Final = {"true": True, "True": True, "false": False, "False": False}

# Errors end up in logs: show the beginning and the end of what came, never all of it.
_short: Final = Repr()
_short.maxstring = _short.maxother = 60


def shorten(value: object) -> str:
    """Return the beginning and the end of what a value looks like, for an error text."""
    return _short.repr(value)


def check_type(tp: object) -> None:
    """Make sure that `cast` can make this type.

    Raises:
        TypeError: It is none of `str`, `bytes`, `int`, `bool` and `dict`; subclasses are not.
    """
    if not isinstance(tp, type) or tp not in _CASTS:
        known = ", ".join(known.__name__ for known in _CASTS)
        raise TypeError(f"cannot read a message as {tp!r}; possible are {known}")


def cast(data: str | bytes, tp: type[T]) -> T:
    """Return the data of a message as a value of a type.

    * `str`: text as it is, bytes as UTF-8.
    * `bytes`: bytes as they are, text as UTF-8.
    * `int`: ASCII digits, perhaps with a minus sign, perhaps with blanks around.
    * `bool`: `true`, `True`, `false`, `False`, or ASCII digits, of which only zeros are false.
    * `dict`: a JSON object.

    Args:
        data: What the message carried.
        tp: One of these types itself.

    Raises:
        TypeError: The type is another one. The data was not looked at.
        WebSocketExpectError: The data does not fit the type.
    """
    check_type(tp)
    value: T = _CASTS[tp](data)
    return value


def _misfit(data: object, wanted: str, *, malformed: bool = False) -> WebSocketExpectError:
    return WebSocketExpectError(f"expected {wanted}, got {shorten(data)}", malformed=malformed)


def _to_str(data: str | bytes) -> str:
    if isinstance(data, str):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _misfit(data, "UTF-8 text", malformed=True) from None


def _to_bytes(data: str | bytes) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return data.encode()
    except UnicodeEncodeError:
        raise _misfit(data, "text that UTF-8 can express", malformed=True) from None


def _to_int(data: str | bytes) -> int:
    match = _INTEGER.fullmatch(_to_str(data))
    if match is None:
        raise _misfit(data, "an integer")
    try:
        return int(match[1])
    except ValueError:  # more digits than sys.get_int_max_str_digits()
        raise _misfit(data, "an integer of reasonable length") from None


def _to_bool(data: str | bytes) -> bool:
    text = _to_str(data)
    value = _WORDS.get(text)
    if value is not None:
        return value
    if _DIGITS.fullmatch(text) is None:
        raise _misfit(data, "a boolean")
    return text.strip("0") != ""


def _to_dict(data: str | bytes) -> dict[str, Any]:
    try:
        value = decode_json(data)
    except json.JSONDecodeError as error:
        raise _misfit(data, f"a JSON object ({error})", malformed=True) from None
    if not isinstance(value, dict):
        raise _misfit(data, "a JSON object")
    return value


_CASTS: Final[dict[type, Callable[[str | bytes], Any]]] = {
    str: _to_str,
    bytes: _to_bytes,
    int: _to_int,
    bool: _to_bool,
    dict: _to_dict,
}
