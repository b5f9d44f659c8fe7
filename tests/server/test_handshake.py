"""The opening handshake: what is one, what is answered to what is none, and what a 101 says."""

from __future__ import annotations

import base64
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.transports import ACCEPT, KEY, head
from telex.server._handshake import (
    BadHandshake,
    accept_key,
    checked_headers,
    parse,
    plain_text,
    response_head,
    switching_protocols,
)

TOKENS = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1)
VALUES = st.binary().map(lambda raw: bytes(byte for byte in raw if byte > 31 and byte != 127))
TARGETS = st.text("/abcXYZ019-._~!$&'()*+,;=:@").map("/".__add__)


def refused(data: bytes) -> BadHandshake:
    with pytest.raises(BadHandshake) as caught:
        parse(data)
    return caught.value


# --- what is a handshake ---


def test_a_usual_request() -> None:
    upgrade = parse(head(b"Origin: http://h", target=b"/a/b?c=d&e"))
    assert upgrade.path == "/a/b"
    assert upgrade.raw_path == b"/a/b"
    assert upgrade.query_string == b"c=d&e"
    assert upgrade.key == KEY
    assert upgrade.subprotocols == []
    assert upgrade.extensions == ""
    assert upgrade.headers == [
        (b"host", b"h"),
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", KEY),
        (b"origin", b"http://h"),
    ]


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        (b"/", "/", b"/", b""),
        (b"/?", "/", b"/", b""),
        (b"/a%20b", "/a b", b"/a%20b", b""),
        (b"/%C3%A9?%41", "/é", b"/%C3%A9", b"%41"),
        (b"/%FF", "/�", b"/%FF", b""),
        (b"/a%", "/a%", b"/a%", b""),
        (b"/a?b?c", "/a", b"/a", b"b?c"),
        (b"//x", "//x", b"//x", b""),
        (b"http://h:1/a?b", "/a", b"/a", b"b"),
        (b"WS://h/a", "/a", b"/a", b""),
    ],
)
def test_targets(target: bytes, path: str, raw_path: bytes, query: bytes) -> None:
    upgrade = parse(head(target=target))
    assert (upgrade.path, upgrade.raw_path, upgrade.query_string) == (path, raw_path, query)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Connection: keep-alive, UPGRADE", b"Upgrade: WebSocket"],
        [b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: h2c, websocket"],
        [b"Connection:upgrade", b"Upgrade:\t websocket \t"],
    ],
)
def test_tokens_are_compared_without_case_and_in_lists(lines: list[bytes]) -> None:
    rest = head(without=b"Connection").replace(b"Upgrade: websocket\r\n", b"")
    assert parse(rest + b"".join(line + b"\r\n" for line in lines)).key == KEY


def test_lists_may_go_over_several_lines() -> None:
    upgrade = parse(
        head(
            b"Sec-WebSocket-Protocol: chat, superchat",
            b"sec-websocket-protocol:,json,,",
            b"Sec-WebSocket-Extensions: a; b=c",
            b"Sec-WebSocket-Extensions: d",
        )
    )
    assert upgrade.subprotocols == ["chat", "superchat", "json"]
    assert upgrade.extensions == "a; b=c,d"


def test_a_length_of_zero_is_no_body() -> None:
    assert parse(head(b"Content-Length: 0")).key == KEY


def test_an_empty_line_at_the_end_changes_nothing() -> None:
    assert parse(head() + b"\r\n") == parse(head())


@given(
    target=TARGETS,
    query=st.text("abc=&?/%"),
    names=st.lists(TOKENS.map("x-".__add__), max_size=4),
    values=st.lists(VALUES, min_size=4, max_size=4),
)
def test_what_is_put_in_comes_out(
    target: str, query: str, names: list[str], values: list[bytes]
) -> None:
    extra = [
        (name.lower().encode(), value.strip()) for name, value in zip(names, values, strict=False)
    ]
    lines = [b"%b: %b" % pair for pair in extra]
    upgrade = parse(head(*lines, target=f"{target}?{query}".encode()))
    assert upgrade.raw_path == target.encode()
    assert upgrade.path == unquote(target)
    assert upgrade.query_string == query.encode()
    assert upgrade.headers[5:] == extra


@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    for request in (data, head() + data, head(target=data), head(b"X: " + data)):
        try:
            assert parse(request).key == KEY
        except BadHandshake as bad:
            assert bad.status in (400, 405, 426)  # noqa: PT017 - most of it passes


# --- what is none ---


@pytest.mark.parametrize(
    "first", [b"POST / HTTP/1.1", b"get / HTTP/1.1", b"GETS", b"", b"HEAD / HTTP/1.1"]
)
def test_other_methods_are_refused(first: bytes) -> None:
    bad = refused(head(first=first))
    assert (bad.status, bad.headers) == (405, [(b"allow", b"GET")])


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.0", b"GET / HTTP/2", b"GET /", b"GET / http/1.1", b"GET / HTTP/1.1 "]
)
def test_other_versions_of_http_are_refused(first: bytes) -> None:
    bad = refused(head(first=first))
    assert (bad.status, str(bad)) == (400, "A WebSocket handshake needs HTTP/1.1.")


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"*",
        b"a",
        b"http://h",
        b"http://h?/",
        b"?/",
        b"/a b",
        b"/\xc3\xa9",
        b"/a?b c",
        b"1x://h/",
    ],
)
def test_other_targets_are_refused(target: bytes) -> None:
    bad = refused(head(target=target))
    assert (bad.status, str(bad)) == (400, "The request target is no path.")


@pytest.mark.parametrize(
    "line", [b"no colon", b": no name", b"a name: x", b"n\xc3\xa4me: x", b" folded: x", b"name : x"]
)
def test_malformed_headers_are_refused(line: bytes) -> None:
    bad = refused(head(line))
    assert (bad.status, str(bad)) == (400, "A header of the request is malformed.")


@pytest.mark.parametrize(
    "stray", [b"\0", b"\r", b"\n", b"\x0b", b"\x1f", b"\x7f", b"\r\r\n", b"\n\r"]
)
@pytest.mark.parametrize("where", ["target", "line"])
def test_control_characters_are_refused(stray: bytes, where: str) -> None:
    within = b"/a" + stray + b"b"
    bad = refused(head(target=within) if where == "target" else head(b"x: " + within))
    assert (bad.status, str(bad)) == (400, "The request holds a control character.")


@pytest.mark.parametrize(
    ("without", "lines"),
    [
        (b"Upgrade", ()),
        (b"Connection", ()),
        (b"Upgrade", (b"Upgrade: websockets",)),
        (b"Connection", (b"Connection: keep-alive",)),
        (b"Connection", (b'Connection: "upgrade"',)),
    ],
)
def test_what_does_not_ask_for_websockets_is_told_so(
    without: bytes, lines: tuple[bytes, ...]
) -> None:
    bad = refused(head(*lines, without=without))
    assert (bad.status, bad.headers) == (426, [(b"upgrade", b"websocket")])


@pytest.mark.parametrize(
    ("without", "lines"),
    [
        (b"Sec-WebSocket-Version", ()),
        (b"Sec-WebSocket-Version", (b"Sec-WebSocket-Version: 8",)),
        (b"Sec-WebSocket-Version", (b"Sec-WebSocket-Version: 13, 8",)),
        (b"", (b"Sec-WebSocket-Version: 13",)),
    ],
)
def test_other_versions_of_the_protocol_are_told_ours(
    without: bytes, lines: tuple[bytes, ...]
) -> None:
    bad = refused(head(*lines, without=without))
    assert bad.status == 426
    assert (b"sec-websocket-version", b"13") in bad.headers


def test_a_host_is_demanded() -> None:
    bad = refused(head(without=b"Host"))
    assert (bad.status, str(bad)) == (400, "The `Host` header is missing.")


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 1",
        b"Content-Length: 10",
        b"Content-Length: x",
        b"Transfer-Encoding: chunked",
    ],
)
def test_a_body_is_refused(line: bytes) -> None:
    bad = refused(head(line))
    assert (bad.status, str(bad)) == (400, "A WebSocket handshake has no body.")


@pytest.mark.parametrize(
    "key",
    [
        None,
        b"",
        b"x",
        b"AAAAAAAAAAAAAAAAAAAAAA",
        b"AAAAAAAAAAAAAAAAAAAAAA=",
        b"AAAAAAAAAAAAAAAAAAAA",
        b"AAAAAAAAAAAAAAAAAAAAAAAA",
        b"AAAAAAAAAA AAAAAAAAAAAA==",
        b"\xc3AAAAAAAAAAAAAAAAAAAAA==",
        KEY + b", " + KEY,
    ],
)
def test_a_key_of_sixteen_bytes_is_demanded(key: bytes | None) -> None:
    lines = () if key is None else (b"Sec-WebSocket-Key: " + key,)
    bad = refused(head(*lines, without=b"Sec-WebSocket-Key"))
    assert bad.status == 400
    assert "Sec-WebSocket-Key" in str(bad)


def test_a_key_that_comes_twice_is_refused() -> None:
    assert refused(head(b"Sec-WebSocket-Key: " + KEY)).status == 400


@given(st.binary(max_size=40))
def test_a_key_is_taken_when_it_stands_for_sixteen_bytes(raw: bytes) -> None:
    request = head(b"Sec-WebSocket-Key: " + base64.b64encode(raw), without=b"Sec-WebSocket-Key")
    if len(raw) == 16:
        assert parse(request).key == base64.b64encode(raw)
    else:
        assert refused(request).status == 400


# --- what is answered ---


def test_the_accept_key_is_that_of_the_rfc() -> None:
    assert accept_key(KEY) == ACCEPT


def test_a_101_says_what_was_agreed_on() -> None:
    assert switching_protocols(KEY, "chat", "permessage-deflate", [(b"x-a", b"1")]) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
        b"x-a: 1\r\n\r\n"
    )


def test_a_101_says_nothing_of_what_was_not() -> None:
    assert switching_protocols(KEY, None, "", []).count(b"\r\n") == 5


@pytest.mark.parametrize(
    "name",
    [
        b"upgrade",
        b"Connection",
        b"Sec-WebSocket-Accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
    ],
)
def test_the_headers_of_the_handshake_are_the_servers(name: bytes) -> None:
    with pytest.raises(ValueError, match="is the server's"):
        switching_protocols(KEY, None, "", [(name, b"x")])


def test_another_response_closes_the_connection() -> None:
    headers = [(b"x-a", b"1"), (b"Connection", b"keep-alive"), (b"x-a", b"2")]
    assert response_head(404, headers) == (
        b"HTTP/1.1 404 Not Found\r\nx-a: 1\r\nx-a: 2\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize("status", [299, 499, 599])
def test_a_status_nobody_knows_has_no_phrase(status: int) -> None:
    assert response_head(status, []) == b"HTTP/1.1 %d \r\nConnection: close\r\n\r\n" % status


def test_a_short_text_has_type_and_length() -> None:
    assert plain_text("é".encode()) == [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"2"),
    ]


def test_a_bad_handshake_holds_its_answer() -> None:
    bad = BadHandshake(HTTPStatus.BAD_REQUEST, "so it is")
    assert (bad.status, str(bad), bad.headers) == (400, "so it is", ())


# --- the headers of an application ---


def test_headers_that_can_be_sent_stay_what_they_are() -> None:
    headers = [(b"X-A", b"1"), (b"x-a", b""), (b"!#$%&'*+-.^_`|~", b"\t \xff~")]
    assert checked_headers(iter(headers)) == headers


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"\xff", b"(a)", b"a\0"])
def test_a_name_that_is_no_token_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        checked_headers([(name, b"x")])


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"\n", b"\r", b"\0", b"\x7f", b"\x1b"])
def test_a_value_with_a_control_character_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="holds a control character"):
        checked_headers([(b"x", value)])


@pytest.mark.parametrize("pair", [("a", b"b"), (b"a", "b"), (b"a", None), (b"a", bytearray(b"b"))])
def test_a_header_that_is_not_bytes_is_refused(pair: tuple[Any, Any]) -> None:
    with pytest.raises(TypeError, match="must be a pair of bytes"):
        checked_headers([pair])
