"""URLs: a `str` with components, and the URL of a connection put together from its scope."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any, Final, Literal, NamedTuple, Self, SupportsIndex, overload
from urllib.parse import quote, unquote

from telex.datastructures import Address

RouteProtocol = Literal["websocket", "http"]
"""What a route speaks, and so which scheme its URL has."""

DEFAULT_PORTS: Final = {"ws": 80, "wss": 443, "http": 80, "https": 443}
_SECURE_SCHEMES: Final = frozenset({"wss", "https"})

# RFC 3986 appendix B, with the scheme as §3.1 has it. It matches every string.
_SPLIT: Final = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL
)
_VALID: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE_IN_URL: Final = "%:/?#[]@!$&'()*+,;="
_SAFE_IN_QUERY: Final = "%:/?[]@!$&'()*+,;="
_SAFE_IN_PATH: Final = ":/@!$&'()*+,;="
_SAFE_IN_USERINFO: Final = "!$&'()*+,;="

_HOST_AND_PORT: Final = re.compile(r"(\[[^\[\]]*\]|[^:]*)(?::(.*))?", re.DOTALL)
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._\-]+")
_PASSWORD_MASK: Final = "********"
_COMPONENTS: Final = frozenset(
    {"scheme", "netloc", "path", "query", "fragment", "username", "password", "hostname", "port"}
)


class URLPath(str):
    """The path of a route with its parameters filled in, not percent-encoded, as `scope["path"]`.

    Attributes:
        protocol: What the route speaks.
    """

    __slots__ = ("protocol",)

    protocol: RouteProtocol

    def __new__(cls, path: str, *, protocol: RouteProtocol = "websocket") -> Self:
        """Return `path` as text that knows what its route speaks."""
        self = super().__new__(cls, path)
        self.protocol = protocol
        return self


class _Parts(NamedTuple):
    """A URL taken apart, everything as it is written in the URL; `""` for what is absent."""

    scheme: str
    netloc: str
    path: str
    query: str
    fragment: str

    def join(self) -> str:
        scheme, netloc, path, query, fragment = self
        if not netloc and path.startswith("//"):
            # Without a host before it, "//x" would be read as one.
            path = "/%2F" + path[2:]
        return (
            f"{scheme and scheme + ':'}{netloc and '//' + netloc}{path}"
            f"{query and '?' + query}{fragment and '#' + fragment}"
        )


class _NetLoc(NamedTuple):
    """A netloc taken apart, everything as it is written in the URL."""

    username: str | None
    password: str | None
    hostname: str
    port: str | None

    def join(self) -> str:
        username, password, hostname, port = self
        userinfo = (username or "") + (f":{password}" if password else "")
        return f"{userinfo and userinfo + '@'}{hostname}{':' + port if port else ''}"

    def replace(self, components: Mapping[str, Any]) -> _NetLoc:
        """Return a copy with other user name, password, host or port, none of them encoded."""
        changed: dict[str, Any] = {}
        for name in ("username", "password"):
            if name in components:
                changed[name] = quote(
                    components[name] or "", safe=_SAFE_IN_USERINFO, errors="surrogatepass"
                )
        if "hostname" in components:
            changed["hostname"] = _bracketed(components["hostname"] or "")
        if "port" in components:
            port = components["port"]
            changed["port"] = None if port is None else str(port)
        return self._replace(**changed)


class URL(str):
    """A URL: a percent-encoded `str` that also has the components as attributes.

    It compares, hashes, formats, pickles and becomes JSON as the `str` it is. Slices and sums
    are plain `str`. No component raises, whatever the text.

    Args:
        url: The URL. Characters that no URL may contain are percent-encoded.
    """

    __slots__ = ("_cached_parts",)

    _cached_parts: _Parts

    def __new__(cls, url: str = "") -> Self:
        """Return `url` as a valid URL."""
        if not _VALID.fullmatch(url):
            url = quote(_STRAY_PERCENT.sub("%25", url), safe=_SAFE_IN_URL, errors="surrogatepass")
        return super().__new__(cls, url)

    @classmethod
    def from_scope(cls, scope: Mapping[str, Any], *, server_first: bool = False) -> Self:
        """Return the URL of a connection.

        The host is that of a valid `Host` header, else the server's; without either only path and
        query remain. `X-Forwarded-*` is not looked at: that is the server's business. `root_path`
        is shown once, whether the server includes it in the path or not.

        Args:
            scope: An ASGI scope; every key may be missing.
            server_first: Prefer the server's address to the header, and `localhost` to nothing.
        """
        path, root = scope.get("path") or "", clean_root(scope.get("root_path"))
        if path != root and not path.startswith(root + "/"):
            path = root + _rooted(path)
        query = scope.get("query_string") or b""
        scheme = scope_scheme(scope)
        netloc = _scope_netloc(scope, scheme, server_first=server_first)
        return cls._build(scheme, netloc, path, _encode_query(query))

    @classmethod
    def _build(cls, scheme: str, netloc: str, path: str, query: str = "") -> Self:
        """Join parts that are encoded, except the path; no host leaves path and query only."""
        parts = _Parts(scheme if netloc else "", netloc, _encode_path(path), query, "")
        return super().__new__(cls, parts.join())

    @property
    def _parts(self) -> _Parts:
        try:
            return self._cached_parts
        except AttributeError:
            match = _SPLIT.fullmatch(self)
            assert match is not None
            self._cached_parts = _Parts(*match.groups(""))
            return self._cached_parts

    @property
    def scheme(self) -> str:
        """The scheme in lower case, `""` when there is none."""
        return self._parts.scheme.lower()

    @property
    def netloc(self) -> str:
        """User, host and port as written, `""` when there is none."""
        return self._parts.netloc

    @property
    def path(self) -> str:
        """The path, percent-decoded, `"/"` when it is empty."""
        return unquote(self._parts.path) or "/"

    @property
    def query(self) -> str:
        """The query string as written, without `?`."""
        return self._parts.query

    @property
    def fragment(self) -> str:
        """The fragment as written, without `#`."""
        return self._parts.fragment

    @property
    def username(self) -> str | None:
        """The user name, percent-decoded, `None` when there is none."""
        username = _split_netloc(self.netloc).username
        return username and unquote(username)

    @property
    def password(self) -> str | None:
        """The password, percent-decoded, `None` when there is none."""
        password = _split_netloc(self.netloc).password
        return password and unquote(password)

    @property
    def hostname(self) -> str | None:
        """The host in lower case, IPv6 without brackets, `None` when there is none."""
        return _split_netloc(self.netloc).hostname.strip("[]").lower() or None

    @property
    def port(self) -> int | None:
        """The port written in the URL, `None` when there is none or it is no port number."""
        return _port_number(_split_netloc(self.netloc).port)

    @property
    def is_secure(self) -> bool:
        """Whether the scheme is `wss` or `https`."""
        return self.scheme in _SECURE_SCHEMES

    @overload
    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str: ...
    @overload
    def replace(
        self,
        *,
        scheme: str = ...,
        netloc: str = ...,
        path: str = ...,
        query: str = ...,
        fragment: str = ...,
        username: str | None = ...,
        password: str | None = ...,
        hostname: str | None = ...,
        port: int | None = ...,
    ) -> URL: ...
    def replace(self, *args: Any, **components: Any) -> str:
        """Return a copy with other components, or, given two strings, do as `str.replace`.

        Args:
            *args: Old text, new text and the count of `str.replace`; the result is a `str`.
            **components: New values; `None` and `""` remove one. `path`, `username` and
                `password` are percent-encoded, so give them decoded; in the others only what
                may not be in a URL is.

        Raises:
            TypeError: A keyword is no component.
        """
        if args or "count" in components:
            return str.replace(self, *args, **components)
        unknown = components.keys() - _COMPONENTS
        if unknown:
            raise TypeError(f"a URL has no component {', '.join(sorted(unknown))}")
        changed: dict[str, Any] = {
            name: components[name] or ""
            for name in ("scheme", "netloc", "fragment")
            if name in components
        }
        if "path" in components:
            changed["path"] = _encode_path(components["path"] or "")
        if "query" in components:
            changed["query"] = _encode_query(components["query"] or "")
        parts = self._parts._replace(**changed)
        if not components.keys().isdisjoint(_NetLoc._fields):
            parts = parts._replace(netloc=_split_netloc(parts.netloc).replace(components).join())
        return type(self)(parts.join())

    def __repr__(self) -> str:
        shown = str(self)
        netloc = _split_netloc(self.netloc)
        if netloc.password:
            masked = netloc._replace(password=_PASSWORD_MASK).join()
            shown = self._parts._replace(netloc=masked).join()
        return f"{type(self).__name__}({shown!r})"

    def __reduce__(self) -> tuple[type[URL], tuple[str]]:
        return type(self), (str(self),)


def make_absolute(
    scope: Mapping[str, Any],
    path: str,
    *,
    protocol: RouteProtocol | None = None,
    root_path: str | None = None,
    host: str = "",
) -> URL:
    """Return the URL of another path on the server that a connection came to.

    Host and port are those of the connection's own URL, and so is whether it is encrypted.

    Args:
        scope: The connection's ASGI scope.
        path: The path, not percent-encoded, below the root path.
        protocol: Whether the URL gets a `ws` or an `http` scheme; `None` keeps the connection's.
        root_path: What to put before the path; `None` takes the scope's.
        host: Another host, with its port if it needs one.
    """
    scheme = scope_scheme(scope)
    if protocol is not None:
        secure = scheme in _SECURE_SCHEMES
        plain = "ws" if protocol == "websocket" else "http"
        scheme = plain + "s" if secure else plain
    root = clean_root(scope.get("root_path") if root_path is None else root_path)
    return URL._build(scheme, host or _scope_netloc(scope, scheme), root + _rooted(path))


def scope_scheme(scope: Mapping[str, Any]) -> str:
    """Return the scheme of a connection; servers that do not say (Daphne) mean `ws`."""
    return scope.get("scheme") or "ws"


def clean_root(root_path: str | None) -> str:
    """Return a root path with a slash at its beginning and none at its end; `""` for none."""
    root = (root_path or "").strip("/")
    return "/" + root if root else ""


def _rooted(path: str) -> str:
    return path if not path or path.startswith("/") else "/" + path


def _encode_path(path: str) -> str:
    return _rooted(quote(path, safe=_SAFE_IN_PATH, errors="surrogatepass")) or "/"


def _encode_query(query: str | bytes) -> str:
    data = query.encode("utf-8", "surrogatepass") if isinstance(query, str) else query
    # latin-1 is only a way to have the bytes as text.
    text = _STRAY_PERCENT.sub("%25", data.decode("latin-1"))
    return quote(text, safe=_SAFE_IN_QUERY, encoding="latin-1")


def _scope_netloc(scope: Mapping[str, Any], scheme: str, *, server_first: bool = False) -> str:
    """Return host and port as a URL shows them: a default port is left out."""
    sources = [_host_header, _server_address]
    if server_first:
        sources.reverse()
    for source in sources:
        found = source(scope)
        if found is not None:
            host, port = found
            default = DEFAULT_PORTS.get(scheme)
            return host if port is None or port == default else f"{host}:{port}"
    return "localhost" if server_first else ""


def _host_header(scope: Mapping[str, Any]) -> tuple[str, int | None] | None:
    """Return what the `Host` header says, `None` if it is missing, ambiguous or malformed.

    It is the client's to choose, so nothing but `host` and `host:port` (RFC 9110 §7.2) goes
    into a URL.
    """
    values = {value for name, value in scope.get("headers") or () if name.lower() == b"host"}
    if len(values) != 1:
        return None
    host, port = _split_port(values.pop().decode("latin-1"))
    number = _port_number(port)
    if (port and number is None) or not _is_host(host):
        return None
    return host, number


def _server_address(scope: Mapping[str, Any]) -> tuple[str, int | None] | None:
    """Return the server's address, `None` if it is unknown or, as no port tells, a Unix socket."""
    server = Address.from_asgi(scope.get("server"))
    if server is None or server.port is None:
        return None
    host = _bracketed(server.host)
    return (host, server.port) if _is_host(host) else None


def _split_netloc(netloc: str) -> _NetLoc:
    userinfo, at, rest = netloc.rpartition("@")
    username, colon, password = userinfo.partition(":")
    return _NetLoc(username if at else None, password if colon else None, *_split_port(rest))


def _split_port(text: str) -> tuple[str, str | None]:
    """Split `host:port`; what does not fit the form ends up in the port."""
    match = _HOST_AND_PORT.fullmatch(text)
    assert match is not None
    return match[1], match[2]


def _port_number(text: str | None) -> int | None:
    if not text or len(text) > 5 or not (text.isascii() and text.isdigit()):
        return None
    port = int(text)
    return port if port <= 65535 else None


def _bracketed(host: str) -> str:
    """Return a host as it is in a URL: IPv6 in brackets, its zone encoded (RFC 6874)."""
    if ":" not in host or host.startswith("["):
        return host
    return f"[{quote(host, safe=':')}]"


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return _HOST_NAME.fullmatch(host) is not None
    try:
        IPv6Address(unquote(host[1:-1]))
    except ValueError:
        return False
    return True
