"""What went wrong in an application and is answered, not raised: logged here, once.

The server must not see such an exception, or it would log it a second time. Who runs an
application to watch it, as the test client does, leaves an observer in the context.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

Observer = Callable[[BaseException], object]
"""Called with each failure, in the task in which it happened."""

observer: Final[ContextVar[Observer | None]] = ContextVar("telex_failures", default=None)

log: Final = logging.getLogger("telex")


def report(failure: BaseException, message: str, *args: object) -> None:
    """Log a failure with its traceback, and tell the observer if there is one."""
    log.error(message, *args, exc_info=failure)
    tell = observer.get()
    if tell is not None:
        tell(failure)
