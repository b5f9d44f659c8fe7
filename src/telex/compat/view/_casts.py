"""From text to value: what view.py makes of messages, and of the inputs of routes.

| type | a message | an input |
|---|---|---|
| `str` | text, or UTF-8 | the text |
| `bytes` | binary, or UTF-8 of a text | not possible |
| `int` | what `int()` takes | the same |
| `bool` | `true`, `True`, `false`, `False`, digits | `true`, `false` |
| `dict` | any JSON value | a JSON object |
| `None` | not possible | `null` |
| `Any`, or none at all | not possible | the text |
| lists, dataclasses, models and so on | not possible | their JSON, numbers also as strings |

Of several types of an input the first that fits counts, `str` last.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin

from telex._json import decode_json, encode_json
from telex._payload import checked_text
from telex.casts import cast, check_type, shorten
from telex.codecs import JSON
from telex.exceptions import WebSocketExpectError

Read: TypeAlias = Callable[[str | bytes], Any]
"""Makes a value of the data of a message; raises `WebSocketExpectError`."""

Cast: TypeAlias = Callable[[str], Any]
"""Makes a value of the text of an input; raises `ValueError`."""

# Numbers in quotes are numbers, as everything in a query string is text first.
_OBJECTS: Final = JSON(strict=False)


def reader(tp: Any) -> Read:
    """Return what makes values of a type out of messages.

    Raises:
        TypeError: It is none of `str`, `bytes`, `int`, `bool` and `dict`.
    """
    check_type(tp)
    lenient: Read | None = _LENIENT.get(tp)
    return functools.partial(cast, tp=tp) if lenient is None else lenient


def written(value: Any) -> str | bytes:
    """Return the message for a value.

    Raises:
        TypeError: It is no `str`, `bytes`, `dict`, `int` or `bool`, or has something in it that
            JSON cannot express.
        ValueError: A text with a lone surrogate, or what JSON cannot express.
    """
    if isinstance(value, str):
        return checked_text(value)
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bool, dict)):
        return encode_json(value)
    if isinstance(value, int):
        return str(int(value))
    known = "str, bytes, dict, int, bool"
    raise TypeError(f"cannot send {shorten(value)}; possible are {known}")


def input_cast(types: Iterable[Any]) -> Cast:
    """Return what makes a value of one of several types out of the text of an input.

    Raises:
        TypeError: A type that cannot be read.
    """
    found = list(dict.fromkeys(_flat(types))) or [Any]
    found.sort(key=lambda tp: tp is str)
    casts = [_cast_of(tp) for tp in found]
    if len(casts) == 1:
        return casts[0]
    names = " or ".join(
        "null" if tp is NoneType else getattr(tp, "__name__", str(tp)) for tp in found
    )
    return functools.partial(_first, casts, names)


def _flat(types: Iterable[Any]) -> Iterator[Any]:
    """Go through types with those inside of unions; `Annotated` only describes."""
    for tp in types:
        origin = get_origin(tp)
        if origin is Union or origin is UnionType:
            yield from _flat(get_args(tp))
        elif origin is Annotated:
            yield from _flat(get_args(tp)[:1])
        else:
            yield NoneType if tp is None else tp


def _cast_of(tp: Any) -> Cast:
    known = _INPUTS.get(tp)
    if tp is bytes:
        raise TypeError("an input is text, not bytes")
    return _OBJECTS.decoder(tp) if known is None else known


def _first(casts: Iterable[Cast], names: str, text: str) -> Any:
    for each in casts:
        try:
            return each(text)
        except ValueError:
            continue
    raise ValueError(f"expected {names}, got {shorten(text)}")


def _int(data: str | bytes) -> int:
    text = cast(data, str)
    try:
        return int(text)
    except ValueError:
        raise WebSocketExpectError(f"expected an integer, got {shorten(text)}") from None


def _any_json(data: str | bytes) -> Any:
    try:
        return decode_json(data)
    except json.JSONDecodeError as error:
        message = f"expected JSON ({error}), got {shorten(data)}"
        raise WebSocketExpectError(message, malformed=True) from None


def _text(text: str) -> str:
    return text


def _word(words: dict[str, Any], text: str) -> Any:
    try:
        return words[text]
    except KeyError:
        raise ValueError(f"expected {' or '.join(words)}, got {shorten(text)}") from None


_LENIENT: Final[dict[type, Read]] = {int: _int, dict: _any_json}
"""Where view.py takes more than Telex does."""

_INPUTS: Final[dict[Any, Cast]] = {
    Any: _text,
    str: _text,
    int: _int,
    bool: functools.partial(_word, {"true": True, "false": False}),
    NoneType: functools.partial(_word, {"null": None}),
}
