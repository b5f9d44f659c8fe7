"""An exception becomes a denial before accept and a close after it, in one place for everything.

| what was raised | before accept | after accept |
|---|---|---|
| a class with a handler | what the handler does, else 500 | the same, else 1011 |
| `WebSocketDisconnect`, Starlette's too | 403 unless the client is gone | a normal end |
| `WebSocketException(code, reason)` | 403 | that code and reason |
| `Reject(status, body, headers)` | that response | 1008 |
| Starlette's `HTTPException` | its status and detail | 1008, its detail |
| `BindingError` | 422, what is wrong as JSON | 1008 |
| `WebSocketExpectError` | 403 | 1008 |
| anything else | 500 | 1011 |

A group that holds one exception, disconnects aside, counts as that exception. What a handler
raises is answered in place of what it was given. A handler for `Exception` is for errors: it does
not get the exceptions that are meant as an ending, which a handler for their own class does.

What an exception says never reaches the client, unless the application is in debug mode.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.exceptions import WebSocketException as StarletteWebSocketException
from starlette.responses import Response

from telex._end import conclude, path_name, peer_name
from telex._endings import essence
from telex._failures import report
from telex._json import encode_json
from telex._link import LINK_KEY, Link
from telex._settings import ExceptionHandler, Settings, settings_of
from telex._state import Phase
from telex._types import ASGIApp, CloseRecord, Receive, Scope, Send
from telex.close_codes import CloseCode, may_send
from telex.exceptions import (
    BindingError,
    HeadersInput,
    Reject,
    WebSocketDisconnect,
    WebSocketException,
    WebSocketExpectError,
)
from telex.websockets import WebSocket, face_of, link_of

log: Final = logging.getLogger("telex")

_ENDINGS: Final = (
    WebSocketDisconnect,
    WebSocketException,
    StarletteWebSocketException,
    BindingError,
    Reject,
    HTTPException,
)
"""Raised to end a connection, not because something went wrong."""


async def answer(ws: WebSocket, exc: BaseException, settings: Settings) -> None:
    """End a connection because of an exception; never raises what it was given.

    Waits for the close or the denial to be handed to the server, and for registered handlers.

    Raises:
        Exception: The server refused the ending itself.
    """
    exc = _essence(ws, exc)
    handler = find_handler(exc, settings)
    if handler is not None:
        try:
            await _handled(ws, exc, handler, settings.websocket_class)
            return
        except Exception as second:
            exc = _essence(ws, second)
    try:
        expected = await _expected(ws, exc)
    except (AttributeError, TypeError, ValueError) as second:
        # It cannot be answered with what it says: a status of 99, a reason that is no text.
        exc, expected = second, False
    if not expected:
        await _unexpected(ws, exc, settings)


def find_handler(exc: BaseException, settings: Settings) -> ExceptionHandler | None:
    """Return the handler registered for the nearest class of an exception."""
    handlers = settings.exception_handlers
    for cls in type(exc).__mro__:
        if cls is Exception and isinstance(exc, _ENDINGS):
            return None
        if cls in handlers:
            return handlers[cls]
    return None


async def deny_or_close(
    ws: WebSocket,
    code: int,
    reason: str = "",
    *,
    status: int | None = None,
    body: str | bytes = b"",
    headers: HeadersInput | None = None,
) -> None:
    """End a connection wherever it stands; does nothing when it is over.

    Args:
        ws: The connection.
        code: The close code after accept.
        reason: The close reason.
        status: The HTTP status before accept; `None` for a plain close, which is a 403.
        body: The body of that response.
        headers: Its further headers.
    """
    phase = link_of(ws).progress.application
    if phase is Phase.CONNECTING and status is not None:
        await ws.reject(status, body=body, headers=headers)
    elif phase is not Phase.DENYING:
        await ws.close(code, reason)


async def refuse(ws: WebSocket, status: HTTPStatus) -> None:
    """End a connection for which there is no room, wherever it stands."""
    code = CloseCode.TRY_AGAIN_LATER
    await deny_or_close(ws, code, status.phrase, status=status, body=status.phrase)


def _essence(ws: WebSocket, exc: BaseException) -> BaseException:
    """Return what is to be answered: what a group of one holds, Starlette's disconnect as ours."""
    # Loaded already where it matters: by the application that raises it.
    from starlette.websockets import WebSocketDisconnect as StarletteDisconnect

    exc = essence(exc)
    if not isinstance(exc, StarletteDisconnect):
        return exc
    progress = link_of(ws).progress
    if progress.application is Phase.CONNECTING:
        # It went through a mounted application, of which we saw nothing.
        return progress.deliver(CloseRecord(exc.code, exc.reason or "", "client"))
    return WebSocketDisconnect(exc.code, exc.reason)


async def _handled(
    ws: WebSocket, exc: BaseException, handler: ExceptionHandler, face: type[WebSocket] | None
) -> None:
    result = handler(ws if face is None else face_of(ws, face), exc)
    if inspect.isawaitable(result):
        result = await result
    if isinstance(result, Response) and link_of(ws).progress.application is Phase.CONNECTING:
        await ws.send_denial_response(result)
    await deny_or_close(ws, CloseCode.INTERNAL_ERROR, status=500)


async def _expected(ws: WebSocket, exc: BaseException) -> bool:
    """Answer the exceptions that are meant as an ending; say whether it was one."""
    if isinstance(exc, WebSocketDisconnect):
        if not link_of(ws).progress.over:
            log.warning(
                "the handler of %s ended by another connection's end: %s", path_name(ws.scope), exc
            )
        await deny_or_close(ws, CloseCode.NORMAL, status=403)
    elif isinstance(exc, WebSocketException | StarletteWebSocketException):
        if not may_send(exc.code):
            return False
        await deny_or_close(ws, exc.code, exc.reason)
    elif isinstance(exc, Reject):
        policy = CloseCode.POLICY_VIOLATION
        await deny_or_close(ws, policy, status=exc.status, body=exc.body, headers=exc.headers)
    elif isinstance(exc, BindingError):
        await _unbound(ws, exc)
    elif isinstance(exc, HTTPException):
        await _http_error(ws, exc)
    elif isinstance(exc, WebSocketExpectError):
        log.info("%s: %r", path_name(ws.scope), str(exc))
        await deny_or_close(ws, CloseCode.POLICY_VIOLATION, status=403)
    else:
        return False
    return True


async def _unbound(ws: WebSocket, exc: BindingError) -> None:
    """Tell the client which parameters are wrong; a close has room for their names."""
    names = ", ".join(dict.fromkeys(f"{each['in']} {each['name']}" for each in exc.errors))
    await deny_or_close(
        ws,
        CloseCode.POLICY_VIOLATION,
        f"invalid: {names}",
        status=422,
        body=encode_json({"errors": exc.errors}),
        headers={"content-type": "application/json"},
    )


async def _http_error(ws: WebSocket, exc: HTTPException) -> None:
    detail: object = exc.detail
    headers = dict(exc.headers or {})
    if isinstance(detail, str):
        reason, body = detail, detail
    else:
        # FastAPI allows anything, and answers it in this form.
        reason, body = "", encode_json({"detail": detail})
        headers.setdefault("content-type", "application/json")
    policy = CloseCode.POLICY_VIOLATION
    await deny_or_close(ws, policy, reason, status=exc.status_code, body=body, headers=headers)


async def _unexpected(ws: WebSocket, exc: BaseException, settings: Settings) -> None:
    report(exc, "error in the handler of %s for %s", path_name(ws.scope), peer_name(ws.scope))
    reason, body = "", "Internal Server Error"
    if settings.debug:
        # Not `repr`, which may fail; and what surrogates are in the text cannot be sent.
        lines = traceback.format_exception(exc)
        reason = lines[-1].strip()
        body = "".join(lines).encode("utf-8", "backslashreplace").decode()
    await deny_or_close(ws, CloseCode.INTERNAL_ERROR, reason, status=500, body=body)


class ErrorMiddleware:
    """Answers what comes out of other middleware; the outermost layer of an `App`.

    It wraps neither `receive` nor `send`, so it cannot know whether a mounted application of
    another framework has accepted: when the server refuses a denial, it closes with 1011.
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
            if owner and link.progress.open:
                # A middleware that accepted and returned: no silent ending here either.
                await link.close()
        except Exception as exc:
            try:
                await answer(WebSocket(scope, receive, send), exc, settings_of(scope))
            except Exception:
                code = int(CloseCode.INTERNAL_ERROR)
                await send({"type": "websocket.close", "code": code, "reason": ""})
                link.progress.record = CloseRecord(code, "", "server")
        finally:
            if owner:
                await conclude(scope, link)
