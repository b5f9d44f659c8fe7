"""How a handler may end, and what the client then sees. One place for every kind of endpoint.

| the handler | the client sees |
|---|---|
| returns while open | close 1000 |
| returns without accepting | denial 403, and a warning is logged |
| raises | what `middleware/errors.py` says: 500 before accept, 1011 after |
| is cancelled because the server stops | denial 503 before accept, close 1012 after |
| lets `WebSocketDisconnect` out | nothing: the client has left |
| goes on although the client has left | nothing; it is cancelled after `disconnect_grace` |
| goes on although somebody else has closed | what that says; it is cancelled likewise |

Then the end hook (`SocketView.on_disconnect`) is called and the cleanups that are left run, each
exactly once, and one line is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from telex._cleanup import CLEANUP_TIMEOUT, shielded
from telex._end import conclude, ended_elsewhere, path_name, peer_name
from telex._endings import is_closed
from telex._failures import report
from telex._guard import Guard
from telex._link import LINK_KEY, EndHook
from telex._progress import handling
from telex._settings import Overrides, Settings, settings_of
from telex._state import Phase
from telex._types import ASGIApp, Receive, Scope, Send
from telex._uncancelled import Uncancelled
from telex._watch import DisconnectWatch
from telex.close_codes import CloseCode
from telex.context import current
from telex.middleware.errors import answer, deny_or_close, refuse
from telex.websockets import WebSocket, face_of, link_of

log: Final = logging.getLogger("telex")

Endpoint = Callable[[], Awaitable[object]]
"""What a route runs: it takes nothing, the connection is in the context."""

GOODBYE_TIMEOUT: Final = 1.0
"""Seconds the close frame may take when the handler is cancelled."""


def connection_app(endpoint: Endpoint, overrides: Overrides | None = None) -> ASGIApp:
    """Return an ASGI application that runs an endpoint with every guarantee of this module.

    Args:
        endpoint: What is run.
        overrides: What it decides in place of the application.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if overrides:
            overrides.enter(scope)
        owner = LINK_KEY not in scope
        ws = WebSocket(scope, receive, send)
        link = link_of(ws)
        settings = settings_of(scope)
        cls = settings.websocket_class
        token = current.set(ws if cls is None else face_of(ws, cls))
        progress = link.progress
        progress.supervised = True
        # What the middlewares have set is in it.
        progress.context = contextvars.copy_context()
        called = handling.set(progress)
        guard = Guard(ws, settings)
        try:
            refused = guard.enter()
            if refused is None:
                await _run(endpoint, ws, settings)
            else:
                await refuse(ws, refused)
        except Exception as exc:
            # `_run` raises none: a function of the application that is asked by a limit.
            await _ended(ws, exc, settings)
        finally:
            await ended_elsewhere(link)
            guard.leave()
            handling.reset(called)
            current.reset(token)
            if owner:
                await conclude(scope, link)

    return app


def on_end(hook: EndHook) -> None:
    """Have a function called once with the close code after the current connection has ended."""
    link_of(current.get()).end_hook = hook


async def _run(endpoint: Endpoint, ws: WebSocket, settings: Settings) -> None:
    watch = DisconnectWatch(ws.scope, link_of(ws), settings.disconnect_grace)
    requests = _cancel_requests()
    # The innermost application decides, but the link is as old as the outermost.
    link_of(ws).outlet.bounds = settings.outbox
    # Those in front of it may know more.
    link_of(ws).progress.informed = False
    watch.arm()
    try:
        try:
            _check_result(await endpoint(), ws)
        finally:
            watch.disarm()
            client_left = watch.fired > 0
            watch.settle()
    except asyncio.CancelledError as exc:
        if _cancel_requests() > requests:
            await _cancelled(ws)
            raise
        # Nobody else asked this task to stop: without the watch, what it awaited was cancelled.
        await _ended(ws, None if client_left else exc, settings)
    except Exception as exc:
        await _ended(ws, exc, settings)
    except BaseException as exc:
        # SystemExit and its like: the client is told, the rest is not ours.
        if not isinstance(exc, GeneratorExit):
            await _ended(ws, exc, settings)
        raise
    else:
        await _ended(ws, None, settings)


def _cancel_requests() -> int:
    """Return how often the current task was asked to stop without taking it back."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def _ended(ws: WebSocket, failure: BaseException | None, settings: Settings) -> None:
    """The handler has come to its end: see to it that the connection does too."""
    progress = link_of(ws).progress
    if progress.dismissed and failure is not None and is_closed(failure):
        # The handler was told that somebody else has closed.
        failure = None
    errand = link_of(ws).outlet.errand
    try:
        if errand is not None and not errand.done():
            # How the connection ends has been decided elsewhere.
            await asyncio.wait((errand,))
        if failure is None and progress.over:
            return
        await _deliver_known_end(ws)
        if failure is not None:
            await answer(ws, failure, settings)
            return
        if progress.application is Phase.CONNECTING and not progress.over:
            log.warning(
                "the handler of %s returned without accepting or rejecting", path_name(ws.scope)
            )
        stopping = settings.connections is not None and settings.connections.draining
        code = CloseCode.SERVICE_RESTART if stopping else CloseCode.NORMAL
        await deny_or_close(ws, code, status=403)
    except Exception as exc:
        report(
            exc, "the end of %s for %s could not be sent", path_name(ws.scope), peer_name(ws.scope)
        )
    finally:
        await _call_end_hook(ws)


async def _cancelled(ws: WebSocket) -> None:
    """The server stops: say so where it can still be said, then let go."""
    code = _end_code(ws)

    async def goodbye() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_TIMEOUT):
                await _deliver_known_end(ws)
                await deny_or_close(ws, CloseCode.SERVICE_RESTART, status=503)

    try:
        await shielded(goodbye(), GOODBYE_TIMEOUT + CLEANUP_TIMEOUT, "closing with 1012")
    finally:
        await _call_end_hook(ws, code)


async def _deliver_known_end(ws: WebSocket) -> None:
    """When the client is known to have left, though the handler has not read so far: say so."""
    link = link_of(ws)
    if link.inbox.source.closed is not None and not link.progress.over:
        await link.inbox.deliver()


def _end_code(ws: WebSocket) -> int:
    link = link_of(ws)
    record = link.progress.record or link.inbox.source.closed
    return int(CloseCode.ABNORMAL) if record is None else record.code


async def _call_end_hook(ws: WebSocket, code: int | None = None) -> None:
    link = link_of(ws)
    hook, link.end_hook = link.end_hook, None
    if hook is None:
        return
    work = hook(_end_code(ws) if code is None else code)
    try:
        # In this task, to which what it leaves may belong.
        await Uncancelled(work, CLEANUP_TIMEOUT, "on_disconnect")
    except Exception as exc:
        report(exc, "error after the end of %s for %s", path_name(ws.scope), peer_name(ws.scope))


def _check_result(result: object, ws: WebSocket) -> None:
    if inspect.iscoroutine(result):
        result.close()
        log.warning(
            "the handler of %s returned a coroutine that nobody awaits", path_name(ws.scope)
        )
