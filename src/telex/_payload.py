"""What can be sent as it is: text that UTF-8 can express, and bytes."""

from __future__ import annotations


def checked_text(data: object) -> str:
    """Return text that can be sent.

    Raises:
        TypeError: It is no `str`.
        ValueError: It holds a lone surrogate.
    """
    if not isinstance(data, str):
        raise TypeError(f"expected str, got {type(data).__name__}")
    if not data.isascii():
        try:
            data.encode()
        except UnicodeEncodeError as exc:
            raise ValueError(
                f"text with a lone surrogate cannot be sent: {exc.object[exc.start]!r} "
                f"at position {exc.start}"
            ) from None
    return data


def checked_bytes(data: object) -> bytes:
    """Return bytes that can be sent, a copy of what may still change.

    Raises:
        TypeError: It is nothing like bytes.
    """
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"expected bytes, got {type(data).__name__}")
