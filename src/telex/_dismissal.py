"""Ending a connection from outside of its handler: a limit was passed, access was revoked, we stop.

The close is sent by a task of its own, and bounded in time. The handler learns of it as of any
close of ours when it reads or sends; one that does neither is cancelled after `disconnect_grace`,
as if its client had left.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from telex._end import path_name, peer_name
from telex._failures import report
from telex._state import Phase
from telex.close_codes import check_code
from telex.websockets import WebSocket, link_of

log: Final = logging.getLogger("telex")

DISMISSAL_TIMEOUT: Final = 10.0
"""Seconds the server may take to send a denial."""


def dismiss(
    ws: WebSocket, code: int, reason: str = "", *, status: int = 503, body: str = ""
) -> bool:
    """Close a connection, or reject its handshake, without waiting. Call it on its event loop.

    An accept that is on its way goes first.

    Args:
        ws: The connection.
        code: The close code.
        reason: The close reason.
        status: The HTTP status before accept.
        body: The body of that response.

    Returns:
        Whether there was something to end: it is neither over, nor ended already by somebody else,
        nor known that the client has left.

    Raises:
        ValueError: A code that may not be sent.
    """
    check_code(code)
    link = link_of(ws)
    progress = link.progress
    ending = progress.over or progress.dismissed or progress.application is Phase.DENYING
    if ending or link.inbox.source.closed is not None:
        return False
    if progress.open:
        link.end(code, reason)
        return True
    progress.dismissed = True

    async def close() -> None:
        if not progress.over:
            link.end(code, reason)

    def close_when_accepted() -> None:
        progress.on_accept = [*(progress.on_accept or ()), close]
        # The handler has to come to its end although the server may never take the accept.
        progress.notify()

    async def deny() -> None:
        if progress.application is Phase.CONNECTING:
            await _deny(ws, status, body)
        elif progress.open:
            await close()
        elif not progress.over:
            close_when_accepted()

    if progress.application is Phase.CONNECTED:
        close_when_accepted()
    else:
        link.outlet.errand = asyncio.get_running_loop().create_task(
            deny(), name="telex dismissal", context=progress.own_context()
        )
    return True


async def _deny(ws: WebSocket, status: int, body: str) -> None:
    try:
        async with asyncio.timeout(DISMISSAL_TIMEOUT):
            await ws.reject(status, body=body)
    except TimeoutError:
        log.debug("the server does not take the denial of %s", path_name(ws.scope))
    except Exception as exc:
        report(exc, "%s could not be rejected for %s", path_name(ws.scope), peer_name(ws.scope))
    finally:
        # Also when nothing could be said: the handler has to come to its end.
        link_of(ws).progress.notify()
