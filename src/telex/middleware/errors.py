"""An exception becomes a denial before accept and a close after it, in one place for everything.

| what was raised | before accept | after accept |
|---|---|---|
| a class with a handler | what the handler does, else 500 | the same, else 1011 |
| `WebSocketDisconnect` | 403 unless the client is gone | a normal end |
| `WebSocketException(code, reason)` | 403 | that code and reason |
| `Reject(status, body, headers)` | that response | 1008 |
| Starlette's `HTTPException` | its status and detail | 1008, its detail |
| `WebSocketExpectError` | 403 | 1008 |
| anything else | 500 | 1011 |

What an exception says never reaches the client, unless the application is in debug mode.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from typing import Final

from starlette.exceptions import HTTPException
from starlette.exceptions import WebSocketException as StarletteWebSocketException
from starlette.responses import Response

from telex._end import conclude, peer_name
from telex._link import LINK_KEY, Link
from telex._settings import ExceptionHandler, Settings, settings_of
from telex._state import Phase
from telex._types import ASGIApp, Receive, Scope, Send
from telex.close_codes import CloseCode, may_send
from telex.exceptions import (
    Reject,
    WebSocketDisconnect,
    WebSocketException,
    WebSocketExpectError,
)
from telex.websockets import WebSocket, link_of

log: Final = logging.getLogger("telex")


async def answer(ws: WebSocket, exc: BaseException, settings: Settings) -> None:
    """End a connection because of an exception; never raises what it was given.

    Waits for the close or the denial to be handed to the server, and for registered handlers.

    Raises:
        Exception: The server refused the ending itself.
    """
    handler = find_handler(exc, settings)
    if handler is not None:
        await _handled(ws, exc, handler, settings)
    elif not await _expected(ws, exc):
        await _unexpected(ws, exc, settings)


def find_handler(exc: BaseException, settings: Settings) -> ExceptionHandler | None:
    """Return the handler registered for the nearest class of an exception."""
    handlers = settings.exception_handlers
    for cls in type(exc).__mro__:
        if cls in handlers:
            return handlers[cls]
    return None


async def _handled(
    ws: WebSocket, exc: BaseException, handler: ExceptionHandler, settings: Settings
) -> None:
    try:
        result = handler(ws, exc)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, Response) and link_of(ws).progress.application is Phase.CONNECTING:
            await ws.send_denial_response(result)
    except Exception as second:
        second.__context__ = exc
        await _unexpected(ws, second, settings)
        return
    await _end(ws, CloseCode.INTERNAL_ERROR, "", status=500)


async def _expected(ws: WebSocket, exc: BaseException) -> bool:
    """Answer the exceptions that are meant as an ending; say whether it was one."""
    if isinstance(exc, BaseExceptionGroup):
        # A reader and a writer task in one group both learn that the peer left.
        _, rest = exc.split(WebSocketDisconnect)
        if rest is not None:
            return False
        exc = WebSocketDisconnect()
    if isinstance(exc, WebSocketDisconnect):
        log.debug("handler of %s ended by %s", ws.path, exc)
        await _end(ws, CloseCode.NORMAL, "", status=403)
    elif isinstance(exc, WebSocketException | StarletteWebSocketException):
        if not may_send(exc.code):
            return False
        await ws.close(exc.code, exc.reason)
    elif isinstance(exc, Reject):
        await _rejected(ws, exc)
    elif isinstance(exc, HTTPException):
        await _rejected(ws, Reject(exc.status_code, exc.detail, exc.headers), reason=exc.detail)
    elif isinstance(exc, WebSocketExpectError):
        log.info("%s: %s", ws.path, exc)
        await _end(ws, CloseCode.POLICY_VIOLATION, "", status=403)
    else:
        return False
    return True


async def _rejected(ws: WebSocket, reject: Reject, reason: str = "") -> None:
    if link_of(ws).progress.application is Phase.CONNECTING:
        await ws.reject(reject.status, body=reject.body, headers=reject.headers)
    else:
        await ws.close(CloseCode.POLICY_VIOLATION, reason)


async def _unexpected(ws: WebSocket, exc: BaseException, settings: Settings) -> None:
    log.error("error in the handler of %s for %s", ws.path, peer_name(ws.scope), exc_info=exc)
    if settings.debug:
        text = "".join(traceback.format_exception(exc))
        await _end(ws, CloseCode.INTERNAL_ERROR, repr(exc), status=500, body=text)
    else:
        await _end(ws, CloseCode.INTERNAL_ERROR, "", status=500, body="Internal Server Error")


async def _end(
    ws: WebSocket, code: int, reason: str, *, status: int, body: str | bytes = b""
) -> None:
    """Deny before accept, close after it, do nothing when the connection is over."""
    link = link_of(ws)
    if link.progress.application is Phase.CONNECTING:
        await ws.reject(status, body=body)
    elif link.progress.application is Phase.CONNECTED:
        await ws.close(code, reason)


class ErrorMiddleware:
    """Answers exceptions that come out of other middleware; the outermost layer of an `App`.

    It wraps neither `receive` nor `send`. When the inside is a foreign application whose state
    cannot be known and the server refuses the answer, the exception goes on to the server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application inside; see the class."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        owner = LINK_KEY not in scope
        link = Link.of(scope, receive, send)
        try:
            await self.app(scope, receive, send)
        except Exception as exc:
            try:
                await answer(WebSocket(scope, receive, send), exc, settings_of(scope))
            except Exception:
                raise exc from None
        finally:
            if owner:
                await conclude(scope, link)
