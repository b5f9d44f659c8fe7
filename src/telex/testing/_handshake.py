"""The handshake of a test client: a URL and options become an ASGI scope.

RFC 6455 §3 (URIs) and §4.1 (client requirements); ASGI specification, "WebSocket Connection Scope".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from telex._types import DENIAL_EXTENSION
from telex._url import DEFAULT_PORTS
from telex.datastructures import encode_headers
from telex.exceptions import HeadersInput

_AS_WEBSOCKET: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_AS_HTTP: Final = {"ws": "http", "wss": "https"}
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~"
_QUERY_SAFE: Final = _PATH_SAFE + "?"
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

CLIENT: Final = ("127.0.0.1", 50000)
"""Where the test client seems to come from."""

_KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="
"""The sample nonce of RFC 6455 §1.3; nothing depends on it here."""


@dataclass(frozen=True, slots=True)
class Base:
    """What relative URLs are relative to.

    Attributes:
        scheme: `"ws"` or `"wss"`.
        host: The host, IPv6 without brackets.
        port: The port, that of the scheme unless given.
        netloc: The `Host` header.
        prefix: A path in front of every path, without a slash at the end.
    """

    scheme: str
    host: str
    port: int
    netloc: str
    prefix: str

    @property
    def http_url(self) -> str:
        """The same as a base URL for plain HTTP requests."""
        return f"{_AS_HTTP[self.scheme]}://{self.netloc}{self.prefix}"


def parse_base(url: str) -> Base:
    """Take a base URL apart.

    Raises:
        ValueError: It has another scheme than ws, wss, http and https, no host, one that is not
            ASCII, a user, a query or a fragment.
    """
    parts = urlsplit(url)
    scheme = _AS_WEBSOCKET.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"a base URL such as 'ws://testserver' is expected, not {url!r}")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"a base URL has no query, fragment or user: {url!r}")
    if not parts.netloc.isascii():
        raise ValueError(
            f"the host has to be written in ASCII (xn--…), as clients send it: {url!r}"
        )
    port = parts.port or DEFAULT_PORTS[scheme]
    return Base(scheme, parts.hostname, port, parts.netloc, parts.path.rstrip("/"))


def handshake_scope(
    url: str,
    base: Base,
    *,
    subprotocols: Iterable[str] = (),
    headers: HeadersInput | None = None,
    cookies: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the scope a server would make of such a handshake.

    Args:
        url: A path with an optional query, or an absolute URL.
        base: What a path is relative to.
        subprotocols: The subprotocols to offer, the preferred one first.
        headers: Further request headers; one that is set anyway is replaced.
        cookies: Cookies, sent in a `Cookie` header behind the one in `headers`.
        extra: Keys to set in the scope, whatever is there.

    Raises:
        ValueError: A fragment, an absolute URL that is none of a WebSocket, a header or
            subprotocol that cannot be sent, a subprotocol offered twice.
        TypeError: The subprotocols are one `str`.
    """
    base, path, query = _locate(url, base)
    fields = _fields(base, headers, cookies, _names(subprotocols))
    offered = [v.decode("latin-1") for k, v in fields if k == b"sec-websocket-protocol"]
    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": base.scheme,
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": fields,
        "client": CLIENT,
        "server": (base.host, base.port),
        "subprotocols": [n for value in offered for n in map(str.strip, value.split(",")) if n],
        "state": {},
        "extensions": {DENIAL_EXTENSION: {}},
    }
    return {**scope, **(extra or {})}


def _locate(url: str, base: Base) -> tuple[Base, str, str]:
    """Return where a URL leads: its base, the quoted path, the quoted query."""
    if "#" in url:
        raise ValueError(f"a WebSocket URL has no fragment (RFC 6455 §3): {url!r}")
    where, _, query = url.partition("?")
    if _ABSOLUTE.match(where):
        base = parse_base(where)
        path = urlsplit(where).path or "/"
    else:
        path = base.prefix + (where if where.startswith("/") else f"/{where}")
    return base, quote(path, safe=_PATH_SAFE), quote(query, safe=_QUERY_SAFE)


def _names(subprotocols: Iterable[str]) -> list[str]:
    if isinstance(subprotocols, str):
        raise TypeError(f"subprotocols must be a list of names, not the str {subprotocols!r}")
    names = list(subprotocols)
    for name in names:
        if not _TOKEN.fullmatch(name) or names.count(name) > 1:
            raise ValueError(
                f"subprotocol {name!r} cannot be offered: names are tokens, each given once "
                "(RFC 6455 §4.1)"
            )
    return names


def _fields(
    base: Base, headers: HeadersInput | None, cookies: Mapping[str, str] | None, names: list[str]
) -> list[tuple[bytes, bytes]]:
    own: list[tuple[str | bytes, str | bytes]] = [
        ("host", base.netloc),
        ("user-agent", "telex-testing"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", _KEY),
    ]
    if names:
        own.append(("sec-websocket-protocol", ", ".join(names)))
    given = encode_headers(headers)
    replaced = {name for name, _ in given}
    fields = [pair for pair in encode_headers(own) if pair[0] not in replaced] + given
    if cookies:
        crumbs = "; ".join(f"{name}={value}" for name, value in cookies.items())
        fields += encode_headers([("cookie", crumbs)])
    return fields
