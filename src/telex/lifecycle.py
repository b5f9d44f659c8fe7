"""How a handler may end, and what the client then sees. One place for every kind of endpoint.

| the handler | the client sees |
|---|---|
| returns while open | close 1000 |
| returns without accepting | denial 403, and a warning is logged |
| raises | what `middleware/errors.py` says: 500 before accept, 1011 after |
| is cancelled because the server stops | close 1012 where it can still be sent |
| lets `WebSocketDisconnect` out | nothing: the client has left |
| goes on although the client has left | nothing; it is cancelled after `disconnect_grace` |

Then the end hook (`SocketView.on_disconnect`) is called and the cleanups that are left run, each
exactly once, and one line is logged.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from telex._cleanup import CLEANUP_TIMEOUT, shielded
from telex._end import conclude, peer_name
from telex._link import LINK_KEY, Link
from telex._settings import Settings, settings_of
from telex._state import Phase
from telex._types import ASGIApp, Receive, Scope, Send
from telex._watch import DisconnectWatch
from telex.close_codes import CloseCode
from telex.context import current
from telex.middleware.errors import answer
from telex.websockets import WebSocket, link_of

log: Final = logging.getLogger("telex")

Endpoint = Callable[[], Awaitable[object]]
"""What a route runs: it takes nothing, the connection is in the context."""

GOODBYE_TIMEOUT: Final = 1.0
"""Seconds the close frame may take when the handler is cancelled."""


def connection_app(endpoint: Endpoint) -> ASGIApp:
    """Return an ASGI application that runs an endpoint with every guarantee of this module."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        owner = LINK_KEY not in scope
        ws = WebSocket(scope, receive, send)
        link = link_of(ws)
        token = current.set(ws)
        link.supervised = True
        try:
            await _run(endpoint, ws, link)
        finally:
            current.reset(token)
            if owner:
                await conclude(scope, link)

    return app


def on_end(hook: Callable[[int], Awaitable[None]]) -> None:
    """Have a function called once with the close code after the current connection has ended."""
    link_of(current.get()).end_hook = hook


async def _run(endpoint: Endpoint, ws: WebSocket, link: Link) -> None:
    settings = settings_of(ws.scope)
    watch = DisconnectWatch(link, settings.disconnect_grace, f"the handler of {ws.path}")
    failure: Exception | None = None
    watch.arm()
    try:
        result = await endpoint()
        _check_result(result, ws)
    except asyncio.CancelledError:
        watch.disarm()
        if not watch.settle():
            await _cancelled(link)
            raise
    except Exception as exc:
        failure = exc
    finally:
        watch.disarm()
    watch.settle()
    await _ended(ws, link, failure, settings)


async def _ended(ws: WebSocket, link: Link, failure: Exception | None, settings: Settings) -> None:
    progress = link.progress
    try:
        if failure is not None:
            await answer(ws, failure, settings)
        elif link.inbox.source.closed is not None and not progress.over:
            await link.inbox.deliver()
        elif progress.application is Phase.CONNECTING and not progress.over:
            log.warning("the handler of %s returned without accepting or rejecting", ws.path)
            await ws.reject(403)
        elif progress.application is not Phase.DENYING:
            await ws.close()
    except Exception:
        log.exception("the end of %s for %s could not be sent", ws.path, peer_name(ws.scope))
    finally:
        await _call_end_hook(link)


async def _cancelled(link: Link) -> None:
    """The server stops: say so where it can still be said, then let go."""

    async def goodbye() -> None:
        if link.inbox.source.closed is None:
            async with asyncio.timeout(GOODBYE_TIMEOUT):
                await link.close(CloseCode.SERVICE_RESTART)

    await shielded(goodbye(), GOODBYE_TIMEOUT + CLEANUP_TIMEOUT, "closing with 1012")
    await shielded(_call_end_hook(link, int(CloseCode.ABNORMAL)), CLEANUP_TIMEOUT, "on_disconnect")


async def _call_end_hook(link: Link, code: int | None = None) -> None:
    hook, link.end_hook = link.end_hook, None
    if hook is None:
        return
    record = link.progress.record
    if code is None:
        code = int(CloseCode.ABNORMAL) if record is None else record.code
    try:
        await hook(code)
    except Exception:
        log.exception("error after the connection ended with %d", code)


def _check_result(result: object, ws: WebSocket) -> None:
    if inspect.iscoroutine(result):
        result.close()
        log.warning("the handler of %s returned a coroutine that nobody awaits", ws.path)
