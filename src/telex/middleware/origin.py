"""Who may connect from a browser: the check of the `Origin` header.

Browsers open WebSockets to any host, with that host's cookies, and no CORS rule stops them
(cross-site WebSocket hijacking). They do say where the page comes from, in `Origin` (RFC 6454,
RFC 6455 §10.2), and scripts cannot change that. Other clients send no `Origin`, and are let in.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from telex._end import path_name, peer_name
from telex._types import ASGIApp, Receive, Scope, Send
from telex._url import DEFAULT_PORTS, scope_scheme
from telex.websockets import WebSocket

log: Final = logging.getLogger("telex")

CHECKED_KEY: Final = "telex.origin_checked"
"""Key of the scope by which a mounted application knows that one outside of it has checked."""

_AS_HTTP: Final = {"ws": "http", "wss": "https"}
_MAX_PORT: Final = 65_535
_MAX_SHOWN: Final = 200


class Origin(NamedTuple):
    """Scheme, host and port, in the one form in which they can be compared.

    Schemes without a usual port (`capacitor://localhost`) have `None` where none is written.
    """

    scheme: str
    host: str
    port: int | None


class OriginMiddleware:
    """Refuses handshakes from pages of other origins, with 403, before anything else runs.

    Args:
        app: What is behind it. HTTP and lifespan pass.
        allowed_origins: `None`: a handshake with cookies must come from the same origin, and one
            without cookies may come from anywhere. A list: every handshake with an `Origin` must
            come from the same origin or from one of these: `"https://example.com"`,
            `"https://*.example.com"` (any subdomain, not the domain itself), `"null"` for files
            and sandboxes, `"*"` for every origin. Under a mount `None` leaves it to the
            application outside, if that has checked, and a list is checked as well.

    Raises:
        ValueError: Something that is no origin of a page.
        TypeError: One `str` in place of a list, or a list of something else.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Iterable[str] | None = None) -> None:
        self.app = app
        self._always = allowed_origins is not None
        self._is_allowed = allows(() if allowed_origins is None else allowed_origins)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve or refuse one connection; see the class."""
        # No coroutine of its own, which would be kept as long as the connection.
        if scope["type"] == "websocket" and (self._always or CHECKED_KEY not in scope):
            scope[CHECKED_KEY] = True
            refused = self._refused(scope)
            if refused is not None:
                return self._refuse(WebSocket(scope, receive, send), refused)
        return self.app(scope, receive, send)

    def _refused(self, scope: Scope) -> str | None:
        """Return the origin that is not let in, `None` when the handshake is."""
        origins, hosts, has_cookie = [], [], False
        # Not through `Headers`: most handshakes need none of them decoded.
        for name, value in scope.get("headers") or ():
            lowered = bytes(name).lower()
            if lowered == b"origin":
                origins.append(bytes(value).decode("latin-1"))
            elif lowered == b"host":
                hosts.append(bytes(value).decode("latin-1"))
            elif lowered == b"cookie":
                has_cookie = True
        if not origins or not (self._always or has_cookie):
            return None
        # More than one is nothing a browser sends.
        origin = ", ".join(origins)
        if len(origins) == 1 and (self._is_allowed(origin) or _is_same(origin, scope, hosts)):
            return None
        return origin

    async def _refuse(self, ws: WebSocket, origin: str) -> None:
        # Two origins are no mistake of a list.
        advice = "" if "," in origin else "; to let it in, add that origin to allowed_origins"
        log.warning(
            "refused %s for %s: it comes from a page of the origin %r and this server is %r%s",
            path_name(ws.scope),
            peer_name(ws.scope),
            origin[:_MAX_SHOWN],
            f"{_AS_HTTP.get(ws.scheme, ws.scheme)}://{ws.headers.get('host', '')}"[:_MAX_SHOWN],
            advice,
        )
        await ws.reject(403, body="origin not allowed")


def allows(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that says whether an `Origin` header is one of a list.

    Raises:
        ValueError: Something that is no origin of a page.
        TypeError: One `str` in place of a list, or a list of something else.
    """
    if isinstance(patterns, str):
        raise TypeError(f"allowed_origins must be a list of origins, not the str {patterns!r}")
    words: set[str] = set()
    exact: set[Origin] = set()
    parents: list[Origin] = []
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"allowed_origins must be a list of str, {pattern!r} is none")
        if pattern in ("*", "null"):
            words.add(pattern)
        else:
            origin = parse_origin(pattern.replace("://*.", "://", 1))
            if origin is None or origin.scheme in _AS_HTTP:
                raise ValueError(
                    f"allowed_origins: {pattern!r} is no origin of a page; expected one such as "
                    "'https://example.com', 'https://*.example.com', 'null' or '*'"
                )
            (parents.append if "://*." in pattern else exact.add)(origin)

    listed = bool(words or exact or parents)

    def allowed(header: str) -> bool:
        if not listed:
            return False
        if "*" in words or header in words:
            return True
        origin = parse_origin(header)
        return origin is not None and (
            origin in exact or any(_is_below(origin, parent) for parent in parents)
        )

    return allowed


_ORIGIN: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.\-]*)://(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._\-]+))(?::([0-9]{0,5}))?"
)


def parse_origin(text: str) -> Origin | None:
    """Return an origin as it can be compared: lower case, with its port. `None` if it is none.

    Hosts are written as browsers write them: `xn--` in place of letters beyond ASCII.
    """
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return None
    scheme, address, name, digits = found.groups()
    scheme = scheme.lower()
    port = int(digits) if digits else DEFAULT_PORTS.get(scheme)
    try:
        host = name.lower() if address is None else str(IPv6Address(address))
    except ValueError:
        return None
    return None if port is not None and port > _MAX_PORT else Origin(scheme, host, port)


def _is_below(origin: Origin, parent: Origin) -> bool:
    """Whether an origin is a subdomain of another one, on the same port."""
    below = origin.host.endswith(f".{parent.host}") and not origin.host.startswith(".")
    return below and (origin.scheme, origin.port) == (parent.scheme, parent.port)


def _is_same(header: str, scope: Scope, hosts: list[str]) -> bool:
    """Whether a page comes from where the handshake went to: scheme, host and port."""
    if len(hosts) != 1:
        return False
    scheme = scope_scheme(scope)
    origin = parse_origin(header)
    there = parse_origin(f"{_AS_HTTP.get(scheme, scheme)}://{hosts[0]}")
    return origin is not None and origin == there
