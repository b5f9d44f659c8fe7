"""Giving memory back to the system.

What big messages needed is free again when they are read, but glibc keeps it, in pieces between
what is still used: a server whose clients have each sent a megabyte once stays that big.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from typing import Any, Final
from weakref import WeakSet

_QUIET: Final = 1.0
"""Seconds to wait for others with the same wish: it looks at the whole heap."""

_waiting: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


def _find() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None


_malloc_trim: Final = _find() if sys.platform == "linux" else None


def trim_soon(loop: asyncio.AbstractEventLoop) -> None:
    """Have free memory given back in a moment; does nothing where the C library has no way."""
    if _malloc_trim is not None and loop not in _waiting:
        _waiting.add(loop)
        loop.call_later(_QUIET, _trim, loop)


def _trim(loop: asyncio.AbstractEventLoop) -> None:
    _waiting.discard(loop)
    if _malloc_trim is not None:
        _malloc_trim(0)
