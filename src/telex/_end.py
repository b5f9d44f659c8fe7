"""The last step of every connection: tasks stopped, cleanups run, one log line written."""

from __future__ import annotations

import logging
import time
from contextvars import Context
from typing import Final
from urllib.parse import quote

from telex._cleanup import CLEANUP_TIMEOUT, shielded
from telex._link import LINK_KEY, Link
from telex._progress import Progress
from telex._source import STOP_TIMEOUT
from telex._types import Scope

log: Final = logging.getLogger("telex.connection")
"""One line per connection, at level INFO."""

_ENDING_TIMEOUT: Final = STOP_TIMEOUT + CLEANUP_TIMEOUT + 2.0
"""Seconds for an end that somebody else has begun; its parts have limits of their own."""

_LONGEST: Final = 300
"""Characters of what a client has chosen that a log line shows."""

_NO_CONTEXT: Final = Context()


async def conclude(scope: Scope, link: Link) -> None:
    """Finish a link, forget it, and say how the connection ended.

    Called once, by whoever put the link into the scope. Cancelling it does not stop the cleanups.
    """
    try:
        await link.finish()
    finally:
        scope.pop(LINK_KEY, None)
        _let_go(link)
        if log.isEnabledFor(logging.INFO):
            _write_line(scope, link.progress)


async def ended_elsewhere(link: Link) -> None:
    """Wait until what somebody else has begun to end has come to its end, with its cleanups.

    A cancellation is raised afterwards.
    """
    if link.outlet.ending or link.cleanups.busy:
        await shielded(link.finish(), _ENDING_TIMEOUT, "the end of a connection")


def _let_go(link: Link) -> None:
    """Undo the references in a circle: nobody is woken or overflows after the end.

    Otherwise every connection leaves some thirty objects to the garbage collector, which then runs
    more often (`benchmarks/profile_handshake.py` counts them).
    """
    link.progress.context = _NO_CONTEXT
    for each in link.links:
        each.inbox.unwatch()
        each.outlet.overflow = _nothing


def _nothing() -> None:
    """What happens when a queue overflows after the end."""


def _write_line(scope: Scope, progress: Progress) -> None:
    record = progress.record
    if record is None:
        # Nothing went through the link: a mounted application has its own access log.
        return
    if record.status is not None:
        how = f"denied with HTTP {record.status}"
    else:
        how = f"closed by the {record.closed_by} with {record.code}"
    log.info(
        '%s - "WebSocket %s" %s after %.3f s, %d in, %d out',
        peer_name(scope),
        _clipped(quote(str(scope.get("path", "/")), safe="/:@!$&'()*+,;=~", errors="replace")),
        how,
        time.monotonic() - progress.began,
        progress.received,
        progress.sent,
    )


def peer_name(scope: Scope) -> str:
    """Return the client's address for a log line, which it can neither break nor fill.

    Behind a proxy middleware that trusts everybody the host is what the client wrote.
    """
    client = scope.get("client")
    if not client:
        return "unknown"
    host, port = (*client, None)[:2]
    shown = _clipped(ascii(str(host))[1:-1])
    return shown if port is None else f"{shown}:{port}"


def path_name(scope: Scope) -> str:
    """Return the path, quoted, for a log line, which it can neither break nor fill."""
    return _clipped(ascii(str(scope.get("path", "/"))))


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
