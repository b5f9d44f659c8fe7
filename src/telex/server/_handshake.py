"""The opening handshake (RFC 6455 §4.2) as pure functions: bytes to a request, answers to bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case with their values, as in an ASGI scope."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 §5.6.2."""
_FIELD_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
"""RFC 9110 §5.5: no control characters, so no line of one's own."""
_FINE: Final = bytes((9, *range(0x20, 0x7F), *range(0x80, 0x100)))
"""What the lines of a request's head consist of (RFC 9112 §2.2, RFC 9110 §5.5)."""
_TARGET: Final = re.compile(
    rb"(?:[a-z][a-z0-9+.\-]*://[^/?]*)?(?P<path>[^? ]*)(?:\?(?P<query>[^ ]*))?", re.I
)

_USUAL: Final = {
    name: name
    for name in (
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"authorization",
        b"cache-control",
        b"connection",
        b"cookie",
        b"host",
        b"origin",
        b"pragma",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"upgrade",
        b"user-agent",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    )
}
"""Names of headers of which one copy serves all connections."""

_OURS: Final = frozenset(
    (
        b"connection",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"upgrade",
    )
)
"""What the handshake itself says in a 101."""


class BadHandshake(Exception):
    """A request that is no proper WebSocket handshake.

    Attributes:
        status: The HTTP status of the answer.
        headers: What goes with it.
    """

    def __init__(self, status: HTTPStatus, text: str, headers: Headers = ()) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A proper handshake request.

    Attributes:
        raw_path: The path as it came.
        path: The path, percent-decoded.
        query_string: What follows the question mark.
        headers: All headers.
        key: The `Sec-WebSocket-Key`.
        subprotocols: What the client offers, in its order.
        extensions: The `Sec-WebSocket-Extensions` of all lines, `""` without any.
    """

    raw_path: bytes
    path: str
    query_string: bytes
    headers: list[tuple[bytes, bytes]]
    key: bytes
    subprotocols: list[str]
    extensions: str


def parse(data: bytes) -> Upgrade:
    """Read the head of a request, up to and with the empty line.

    Raises:
        BadHandshake: It is not a WebSocket handshake of version 13; holds the answer.
    """
    if data.replace(b"\r\n", b"").translate(None, _FINE):
        raise BadHandshake(HTTPStatus.BAD_REQUEST, "The request holds a control character.")
    first, _, rest = data.partition(b"\r\n")
    target = _request_target(first)
    headers = _headers(rest)
    known: dict[bytes, bytes] = {}
    for name, value in headers:
        known[name] = known[name] + b"," + value if name in known else value
    key = _checked_key(known)
    match = _TARGET.fullmatch(target)
    if match is None or not target.isascii() or not (match["path"] or target).startswith(b"/"):
        raise BadHandshake(HTTPStatus.BAD_REQUEST, "The request target is no path.")
    raw_path = match["path"]
    return Upgrade(
        raw_path=raw_path,
        path=unquote(raw_path.decode("ascii")) if b"%" in raw_path else raw_path.decode("ascii"),
        query_string=match["query"] or b"",
        headers=headers,
        key=key,
        subprotocols=_tokens(known.get(b"sec-websocket-protocol", b"")),
        extensions=known.get(b"sec-websocket-extensions", b"").decode("latin-1"),
    )


def _request_target(line: bytes) -> bytes:
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if method != b"GET":
        raise BadHandshake(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "A WebSocket handshake is a GET request.",
            [(b"allow", b"GET")],
        )
    if version != b"HTTP/1.1":
        raise BadHandshake(HTTPStatus.BAD_REQUEST, "A WebSocket handshake needs HTTP/1.1.")
    return target


def _headers(data: bytes) -> list[tuple[bytes, bytes]]:
    headers = []
    for line in data.split(b"\r\n"):
        if line:
            raw_name, colon, value = line.partition(b":")
            name = _USUAL.get(raw_name)
            if name is None:
                if not _TOKEN.fullmatch(raw_name):
                    colon = b""
                name = raw_name.lower()
            if not colon:
                raise BadHandshake(HTTPStatus.BAD_REQUEST, "A header of the request is malformed.")
            headers.append((name, value.strip(b" \t")))
    return headers


def _tokens(value: bytes) -> list[str]:
    return [token for each in value.decode("latin-1").split(",") if (token := each.strip(" \t"))]


def _has(value: bytes, token: bytes) -> bool:
    value = value.lower()
    return value == token or token in [each.strip(b" \t") for each in value.split(b",")]


def _checked_key(headers: dict[bytes, bytes]) -> bytes:
    upgrade, connection = headers.get(b"upgrade", b""), headers.get(b"connection", b"")
    if not _has(upgrade, b"websocket") or not _has(connection, b"upgrade"):
        raise BadHandshake(
            HTTPStatus.UPGRADE_REQUIRED,
            "Expected `Connection: Upgrade` and `Upgrade: websocket`.",
            [(b"upgrade", b"websocket")],
        )
    if b"host" not in headers:
        raise BadHandshake(HTTPStatus.BAD_REQUEST, "The `Host` header is missing.")
    length = headers.get(b"content-length", b"0")
    if b"transfer-encoding" in headers or not length or length.strip(b"0"):
        raise BadHandshake(HTTPStatus.BAD_REQUEST, "A WebSocket handshake has no body.")
    if headers.get(b"sec-websocket-version") != b"13":
        raise BadHandshake(
            HTTPStatus.UPGRADE_REQUIRED,
            "Expected `Sec-WebSocket-Version: 13`.",
            [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")],
        )
    key = headers.get(b"sec-websocket-key", b"")
    try:
        valid = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        valid = False
    if not valid:
        raise BadHandshake(
            HTTPStatus.BAD_REQUEST, "Expected 16 bytes in Base64 as `Sec-WebSocket-Key`."
        )
    return key


def accept_key(key: bytes) -> bytes:
    """Return the `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2)."""
    return binascii.b2a_base64(hashlib.sha1(key + _GUID).digest(), newline=False)


def checked_headers(headers: Iterable[tuple[object, object]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an application, if they can be sent.

    Raises:
        TypeError: A name or a value that is not `bytes`.
        ValueError: A name or a value that would not stay what it is.
    """
    checked = []
    for name, value in headers:
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise TypeError(f"a header must be a pair of bytes, not {(name, value)!r}")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"a header cannot be named {name!r}")
        if not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"the header {name!r} holds a control character: {value!r}")
        checked.append((name, value))
    return checked


def switching_protocols(
    key: bytes, subprotocol: str | None, extensions: str, headers: Headers
) -> bytes:
    """Return a 101.

    Args:
        key: The `Sec-WebSocket-Key` of the request.
        subprotocol: The one that was chosen.
        extensions: What was agreed on, `""` for nothing.
        headers: What goes with it.

    Raises:
        ValueError: A header that belongs to the handshake.
    """
    head = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n" % accept_key(key)
    ]
    if subprotocol:
        head.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("ascii"))
    if extensions:
        head.append(b"Sec-WebSocket-Extensions: %b\r\n" % extensions.encode("ascii"))
    for name, value in headers:
        if name.lower() in _OURS:
            raise ValueError(f"the header {name!r} of a handshake is the server's")
        head.append(b"%b: %b\r\n" % (name, value))
    head.append(b"\r\n")
    return b"".join(head)


def response_head(status: int, headers: Headers) -> bytes:
    """Return the head of a response other than 101, after which the connection is closed."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    head = [b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode("ascii"))]
    head += [b"%b: %b\r\n" % pair for pair in headers if pair[0].lower() != b"connection"]
    head.append(b"Connection: close\r\n\r\n")
    return b"".join(head)


def plain_text(body: bytes) -> Headers:
    """Return the headers of a short text."""
    return [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]
