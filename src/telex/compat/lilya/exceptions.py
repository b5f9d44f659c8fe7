"""Lilya's `lilya.exceptions`, as far as those who serve WebSockets use it.

The errors of connections are Telex's own. The HTTP errors, raised before accept, are Starlette's
with Lilya's arguments: everything by keyword, a status and a detail for each class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException as StarletteHTTPException

from telex.exceptions import ImproperlyConfigured, WebSocketException, WebSocketRuntimeError

__all__ = [
    "HTTPException",
    "ImproperlyConfigured",
    "NotAuthorized",
    "PermissionDenied",
    "WebSocketException",
    "WebSocketRuntimeError",
]


class HTTPException(StarletteHTTPException):
    """Raise it before accept to answer the handshake with a status and a text.

    Args:
        *args: The text, where neither `detail` nor the class has one.
        status_code: The HTTP status; `None` for that of the class.
        detail: The text; `None` for that of the class, or the status in words.
        headers: Further response headers, or `None`.
    """

    status_code: int = 500
    detail: str = ""

    def __init__(
        self,
        *args: Any,
        status_code: int | None = None,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        text = detail or self.detail or (str(args[0]) if args else None)
        super().__init__(status_code or self.status_code, text, headers)


class NotAuthorized(HTTPException):
    """The client has not said who it is: 401."""

    status_code = 401
    detail = "You do not have authorization to perform this action."


class PermissionDenied(HTTPException):
    """The client may not do that: 403."""

    status_code = 403
    detail = "You do not have permission to perform this action."
