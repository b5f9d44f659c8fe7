"""What an exception means for the client of the connection it ends."""

from __future__ import annotations

from starlette.exceptions import WebSocketException as StarletteWebSocketException

from telex.close_codes import CloseCode, may_send
from telex.exceptions import (
    Reject,
    WebSocketDisconnect,
    WebSocketException,
    WebSocketExpectError,
    WebSocketHandshakeError,
)


def essence(exc: BaseException) -> BaseException:
    """Return what is to be answered: what a group of one holds.

    That the peer left is one event, however many tasks have found it: it makes no group of two.
    """
    # Loaded already where it matters: by the application that raises it.
    from starlette.websockets import WebSocketDisconnect as StarletteDisconnect

    while isinstance(exc, BaseExceptionGroup):
        gone, rest = exc.split((WebSocketDisconnect, StarletteDisconnect))
        if rest is not None and len(rest.exceptions) > 1:
            return exc
        exc = (rest or gone or exc).exceptions[0]
    return exc


def is_closed(exc: BaseException) -> bool:
    """Say whether it says no more than that the connection is over, however many found out."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(WebSocketHandshakeError)[1] is None
    return isinstance(exc, WebSocketHandshakeError)


def ending(exc: BaseException) -> tuple[int, str]:
    """Return the code and reason that tell the client of an exception and give nothing away."""
    match essence(exc):
        case WebSocketDisconnect():
            # Of another connection: after the end of this one a close does nothing.
            return CloseCode.NORMAL, ""
        case Reject() | WebSocketExpectError():
            return CloseCode.POLICY_VIOLATION, ""
        case WebSocketException() | StarletteWebSocketException() as said if may_send(said.code):
            return said.code, said.reason
    return CloseCode.INTERNAL_ERROR, ""
