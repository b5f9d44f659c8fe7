"""Who may connect from a browser: the check of the `Origin` header.

Browsers open WebSockets to any host, with that host's cookies, and no CORS rule stops them
(cross-site WebSocket hijacking). They do say where the page comes from, in `Origin` (RFC 6454,
RFC 6455 §10.2), and scripts cannot change that. Other clients send no `Origin`, and are let in.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from telex._end import peer_name
from telex._types import ASGIApp, Receive, Scope, Send
from telex.connection import Connection
from telex.websockets import WebSocket

log: Final = logging.getLogger("telex")

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_AS_HTTP: Final = {"ws": "http", "wss": "https"}
_MAX_SHOWN: Final = 200


class Origin(NamedTuple):
    """Scheme, host and port, in the one form in which they can be compared."""

    scheme: str
    host: str
    port: int


class OriginMiddleware:
    """Refuses handshakes from pages of other origins, with 403, before anything else runs.

    Args:
        app: What is behind it. HTTP and lifespan pass.
        allowed_origins: `None`: a handshake with cookies must come from the same origin, and one
            without cookies may come from anywhere. A list: every handshake with an `Origin` must
            come from the same origin or from one of these: `"https://example.com"`,
            `"https://*.example.com"` (any subdomain, not the domain itself), `"null"` for files
            and sandboxes, `"*"` for every origin.

    Raises:
        ValueError: Something that is no origin.
        TypeError: One `str` in place of a list.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Iterable[str] | None = None) -> None:
        self.app = app
        self._always = allowed_origins is not None
        self._is_allowed = allows(() if allowed_origins is None else allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one connection; see the class."""
        if scope["type"] == "websocket":
            refused = self._refused(Connection(scope))
            if refused is not None:
                return await self._refuse(WebSocket(scope, receive, send), refused)
        return await self.app(scope, receive, send)

    def _refused(self, connection: Connection) -> str | None:
        """Return the origin that is not let in, `None` when the handshake is."""
        headers = connection.headers
        # More than one is nothing a browser sends.
        origins = headers.getall("origin")
        if not origins or not (self._always or "cookie" in headers):
            return None
        origin = ", ".join(origins)
        if len(origins) == 1 and (self._is_allowed(origin) or _is_same(origin, connection)):
            return None
        return origin

    async def _refuse(self, ws: WebSocket, origin: str) -> None:
        log.warning(
            "refused %r for %s: it comes from a page of the origin %r and this server is %r; "
            "to let it in, add that origin to allowed_origins",
            ws.path,
            peer_name(ws.scope),
            origin[:_MAX_SHOWN],
            f"{_AS_HTTP.get(ws.scheme, ws.scheme)}://{ws.headers.get('host', '')}"[:_MAX_SHOWN],
        )
        await ws.reject(403, body="origin not allowed")


def allows(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that says whether an `Origin` header is one of a list.

    Raises:
        ValueError: Something that is no origin.
        TypeError: One `str` in place of a list.
    """
    if isinstance(patterns, str):
        raise TypeError(f"allowed_origins must be a list of origins, not the str {patterns!r}")
    words: set[str] = set()
    exact: set[Origin] = set()
    parents: list[Origin] = []
    for pattern in patterns:
        if pattern in ("*", "null"):
            words.add(pattern)
        else:
            origin = parse_origin(pattern.replace("://*.", "://", 1))
            if origin is None or "*" in origin.host:
                raise ValueError(
                    f"allowed_origins: {pattern!r} is no origin; expected one such as "
                    "'https://example.com', 'https://*.example.com', 'null' or '*'"
                )
            (parents.append if "://*." in pattern else exact.add)(origin)

    def allowed(header: str) -> bool:
        if "*" in words or header in words:
            return True
        origin = parse_origin(header)
        return origin is not None and (
            origin in exact or any(_is_below(origin, parent) for parent in parents)
        )

    return allowed


_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#@\\\s]+")


def parse_origin(text: str) -> Origin | None:
    """Return an origin as it can be compared: lower case, with its port. `None` if it is none."""
    if not _ORIGIN.fullmatch(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), parts.hostname
    if port is None:
        port = _PORTS.get(scheme)
    if not host or port is None:
        return None
    return Origin(scheme, host, port)


def _is_below(origin: Origin, parent: Origin) -> bool:
    """Whether an origin is a subdomain of another one, on the same port."""
    below = origin.host.endswith(f".{parent.host}")
    return below and (origin.scheme, origin.port) == (parent.scheme, parent.port)


def _is_same(header: str, connection: Connection) -> bool:
    """Whether a page comes from where the handshake went to: scheme, host and port."""
    scheme = _AS_HTTP.get(connection.scheme, connection.scheme)
    hosts = connection.headers.getall("host")
    if len(hosts) != 1:
        return False
    origin = parse_origin(header)
    return origin is not None and origin == parse_origin(f"{scheme}://{hosts[0]}")
