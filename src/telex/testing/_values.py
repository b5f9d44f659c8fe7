"""Values of a test as messages, and messages as values.

A value is what an application would send or expect on the wire: `str` is text, `bytes` is binary,
everything else is JSON in a text message.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from telex._types import Message
from telex.casts import cast
from telex.exceptions import WebSocketExpectError

T = TypeVar("T")

_CAST: Final = frozenset({str, bytes, int, bool, dict})
_SHOWN: Final = 200
"""Characters or bytes of a message that an error text shows."""


def encode_value(value: object) -> str | bytes:
    """Return what is sent for a value.

    Args:
        value: `str`, `bytes` and the like, a pydantic model, or whatever msgspec encodes: Struct,
            dataclass, `dict`, `list`, numbers, `datetime`, `UUID`, enums.

    Raises:
        TypeError: Something else.
    """
    if isinstance(value, (str, bytes)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    dump = getattr(value, "model_dump_json", None)
    return str(dump()) if callable(dump) else msgspec.json.encode(value).decode()


def decode_value(data: str | bytes, tp: type[T]) -> T:
    """Return a message as a value of a type.

    Args:
        data: What the message carried.
        tp: `str`, `bytes`, `int`, `bool`, `dict`, a pydantic model, or a type msgspec decodes.

    Raises:
        WebSocketExpectError: It does not fit.
        TypeError: Not a type that can be read.
    """
    kind: Any = tp
    if kind in _CAST:
        return cast(data, tp)
    validate = getattr(kind, "model_validate_json", None)
    try:
        value: T = validate(data) if callable(validate) else msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise WebSocketExpectError(f"{error}; received {show_data(data)}") from error
    return value


def show_data(data: object) -> str:
    """Return the data of a message for an error text, cut when it is long."""
    if isinstance(data, str):
        return f"text {data[:_SHOWN]!r}{_rest(data)}"
    if isinstance(data, (bytes, bytearray, memoryview)):
        raw = bytes(data)
        return f"bytes {raw[:_SHOWN]!r}{_rest(raw)}"
    return repr(data)


def show_message(message: Message | None) -> str:
    """Return an ASGI message of the application for an error text."""
    if message is None:
        return "nothing"
    match message["type"]:
        case "websocket.send":
            return show_data(data_of(message))
        case "websocket.close":
            return f"close {message['code']} {message['reason']!r}"
        case "websocket.accept":
            return "the acceptance"
    return repr(message)


def data_of(message: Message) -> str | bytes:
    """Return text or bytes of a `websocket.send`."""
    text: str | None = message.get("text")
    return bytes(message["bytes"]) if text is None else text


def _rest(data: str | bytes) -> str:
    return f"… ({len(data)} in all)" if len(data) > _SHOWN else ""
