"""URLs and options become the scope that a server would make of the handshake."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex._types import DENIAL_EXTENSION
from telex.datastructures import Headers
from telex.testing._handshake import CLIENT, Base, handshake_scope, parse_base

BASE = parse_base("ws://testserver")


def scope_of(url: str, base: str = "ws://testserver", **options: Any) -> dict[str, Any]:
    return handshake_scope(url, parse_base(base), **options)


def headers_of(**options: Any) -> Headers:
    return Headers(scope_of("/", **options)["headers"])


# The base URL


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("ws://testserver", Base("ws", "testserver", 80, "testserver", "")),
        ("ws://testserver/", Base("ws", "testserver", 80, "testserver", "")),
        ("wss://testserver", Base("wss", "testserver", 443, "testserver", "")),
        ("http://a.example", Base("ws", "a.example", 80, "a.example", "")),
        ("https://a.example", Base("wss", "a.example", 443, "a.example", "")),
        ("WSS://a.example", Base("wss", "a.example", 443, "a.example", "")),
        ("ws://a:8000", Base("ws", "a", 8000, "a:8000", "")),
        ("ws://a:", Base("ws", "a", 80, "a:", "")),
        ("wss://a:80/api/v1/", Base("wss", "a", 80, "a:80", "/api/v1")),
        ("ws://[::1]", Base("ws", "::1", 80, "[::1]", "")),
        ("ws://[::1]:9000/x", Base("ws", "::1", 9000, "[::1]:9000", "/x")),
        ("ws://127.0.0.1:1", Base("ws", "127.0.0.1", 1, "127.0.0.1:1", "")),
    ],
)
def test_a_base_url_is_taken_apart(url: str, base: Base) -> None:
    assert parse_base(url) == base


@pytest.mark.parametrize(
    "url",
    [
        "",
        "testserver",
        "/path",
        "//testserver",
        "ftp://testserver",
        "ws:testserver",
        "ws://",
        "ws:///path",
        "ws://:80",
        "ws://user@testserver",
        "ws://user:password@testserver",
        "ws://testserver?x=1",
        "ws://testserver/#part",
        "ws://testserver:port",
        "ws://testserver:65536",
        "ws://[::1",
        "ws://bücher.example",
    ],
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse_base(url)


def test_the_text_for_what_is_no_base_url() -> None:
    with pytest.raises(ValueError) as caught:
        parse_base("testserver")
    assert str(caught.value) == "a base URL such as 'ws://testserver' is expected, not 'testserver'"


@pytest.mark.parametrize(
    ("url", "http"),
    [
        ("ws://a", "http://a"),
        ("wss://a:444/x/", "https://a:444/x"),
        ("https://[::1]:1", "https://[::1]:1"),
    ],
)
def test_a_base_url_is_one_for_http_as_well(url: str, http: str) -> None:
    assert parse_base(url).http_url == http


# Paths and queries


@pytest.mark.parametrize(
    ("url", "path", "raw", "query"),
    [
        ("/", "/", b"/", b""),
        ("", "/", b"/", b""),
        ("chat", "/chat", b"/chat", b""),
        ("/chat?x=1&y=2", "/chat", b"/chat", b"x=1&y=2"),
        ("?x=1", "/", b"/", b"x=1"),
        ("/chat?", "/chat", b"/chat", b""),
        ("/a%20b", "/a b", b"/a%20b", b""),
        ("/a b", "/a b", b"/a%20b", b""),
        ("/caf\u00e9?n=\u00e9", "/caf\u00e9", b"/caf%C3%A9", b"n=%C3%A9"),
        ("/caf%C3%A9", "/caf\u00e9", b"/caf%C3%A9", b""),
        ("/%F0%9F%90%8D", "/\U0001f40d", b"/%F0%9F%90%8D", b""),
        ("/a%2Fb", "/a/b", b"/a%2Fb", b""),
        ("/a%23b%3Fc", "/a#b?c", b"/a%23b%3Fc", b""),
        ("/%FF", "/\ufffd", b"/%FF", b""),
        ("/100%", "/100%", b"/100%", b""),
        ("/~a-b_c.d", "/~a-b_c.d", b"/~a-b_c.d", b""),
        ("/a;v=1,2:@!$&'()*+=", "/a;v=1,2:@!$&'()*+=", b"/a;v=1,2:@!$&'()*+=", b""),
        ("/x?a=b?c/d", "/x", b"/x", b"a=b?c/d"),
        ('/x?a="b"<c>', "/x", b"/x", b"a=%22b%22%3Cc%3E"),
        ("/x?a+b%2Bc", "/x", b"/x", b"a+b%2Bc"),
        ("//double//slash/", "//double//slash/", b"//double//slash/", b""),
        ("/to/http://other/x", "/to/http://other/x", b"/to/http://other/x", b""),
        ("/to?url=ws://other/x", "/to", b"/to", b"url=ws://other/x"),
        ("1://x", "/1://x", b"/1://x", b""),
        ("/a\nb\x00", "/a\nb\x00", b"/a%0Ab%00", b""),
    ],
)
def test_a_path_with_its_query(url: str, path: str, raw: bytes, query: bytes) -> None:
    scope = scope_of(url)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw, query)
    assert scope["root_path"] == ""


@pytest.mark.parametrize(
    ("url", "path"),
    [("/chat", "/api/chat"), ("chat", "/api/chat"), ("/", "/api/"), ("", "/api/")],
)
def test_the_path_of_the_base_url_comes_first(url: str, path: str) -> None:
    assert scope_of(url, "ws://a/api/")["path"] == path


def test_the_path_of_the_base_url_is_encoded_too() -> None:
    scope = scope_of("/x", "ws://a/d\u00e9j\u00e0 vu")
    assert scope["raw_path"] == b"/d%C3%A9j%C3%A0%20vu/x"
    assert scope["path"] == "/d\u00e9j\u00e0 vu/x"


@pytest.mark.parametrize("url", ["/chat#part", "#", "/x?y=1#", "ws://a/#b"])
def test_a_fragment_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a WebSocket URL has no fragment"):
        scope_of(url)


def test_a_lone_surrogate_in_a_path_is_refused() -> None:
    with pytest.raises(ValueError):
        scope_of("/\ud800")


@given(st.text(st.characters(exclude_characters="#?", exclude_categories=["Cs"])))
def test_whatever_is_written_in_a_path_the_scope_is_ascii(text: str) -> None:
    scope = handshake_scope("/" + text, BASE)
    assert scope["raw_path"].isascii()
    assert scope["raw_path"].startswith(b"/")
    if "%" not in text:
        assert scope["path"] == "/" + text


@given(st.text(st.characters(exclude_characters="#", exclude_categories=["Cs"])))
def test_whatever_is_written_in_a_query_the_scope_is_ascii(text: str) -> None:
    query = handshake_scope("/?" + text, BASE)["query_string"].decode("ascii")
    assert " " not in query
    assert urlsplit("ws://a/?" + query).query == query


# Absolute URLs


def test_an_absolute_url_takes_the_place_of_the_base() -> None:
    scope = scope_of("wss://other.example:8443/chat/a%20b?x=1", "ws://testserver/api")
    assert (scope["scheme"], scope["server"]) == ("wss", ("other.example", 8443))
    assert (scope["path"], scope["query_string"]) == ("/chat/a b", b"x=1")
    assert Headers(scope["headers"])["host"] == "other.example:8443"


@pytest.mark.parametrize(
    ("url", "scheme", "server"),
    [
        ("http://a", "ws", ("a", 80)),
        ("https://a", "wss", ("a", 443)),
        ("ws://[2001:db8::1]:81", "ws", ("2001:db8::1", 81)),
        ("WS://a", "ws", ("a", 80)),
    ],
)
def test_the_scheme_and_address_of_an_absolute_url(
    url: str, scheme: str, server: tuple[str, int]
) -> None:
    scope = scope_of(url)
    assert (scope["scheme"], scope["server"]) == (scheme, server)
    assert scope["path"] == "/"


def test_an_absolute_url_may_have_a_query_and_no_path() -> None:
    scope = scope_of("ws://a?x=1")
    assert (scope["path"], scope["query_string"]) == ("/", b"x=1")


@pytest.mark.parametrize("url", ["ftp://a/b", "ws://", "ws://user@a/", "ws://a:x/", "chat://a"])
def test_an_absolute_url_that_is_none_of_a_websocket_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        scope_of(url)


# Headers


def test_a_handshake_has_the_headers_of_the_rfc() -> None:
    headers = headers_of()
    assert headers["host"] == "testserver"
    assert headers["connection"] == "Upgrade"
    assert headers["upgrade"] == "websocket"
    assert headers["sec-websocket-version"] == "13"
    assert headers["sec-websocket-key"]
    assert "sec-websocket-protocol" not in headers
    assert "cookie" not in headers


def test_further_headers_come_behind_with_names_in_lower_case() -> None:
    fields = scope_of("/", headers={"X-One": "1"})["headers"]
    assert fields[-1] == (b"x-one", b"1")


def test_a_given_header_replaces_the_one_that_is_set_anyway() -> None:
    headers = headers_of(headers={"HOST": "b.example", "User-Agent": "me"})
    assert headers.getlist("host") == ["b.example"]
    assert headers.getlist("user-agent") == ["me"]


def test_a_given_header_may_occur_several_times() -> None:
    pairs = [("x-tag", "a"), (b"X-Tag", b"b"), ("x-forwarded-for", "1.2.3.4")]
    assert headers_of(headers=iter(pairs)).getlist("x-tag") == ["a", "b"]


@pytest.mark.parametrize(
    "headers", [{"x y": "1"}, {"": "1"}, {"x": "a\r\nb: c"}, {"x": "\u20ac"}, [("x", "\0")]]
)
def test_a_header_that_cannot_be_sent_is_refused(headers: Any) -> None:
    with pytest.raises(ValueError):
        headers_of(headers=headers)


@pytest.mark.parametrize("headers", ["x: 1", [("x", 1)], {"x": None}])
def test_headers_of_another_type_are_refused(headers: Any) -> None:
    with pytest.raises(TypeError):
        headers_of(headers=headers)


# Cookies


def test_cookies_are_sent_in_one_header() -> None:
    assert headers_of(cookies={"a": "1", "b": "2"}).getlist("cookie") == ["a=1; b=2"]


def test_no_cookies_are_no_header() -> None:
    assert "cookie" not in headers_of(cookies={})


def test_cookies_come_behind_those_of_a_given_header() -> None:
    headers = headers_of(headers={"Cookie": "a=1"}, cookies={"b": "2"})
    assert headers.getlist("cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("value", ["a\nb", "\u20ac"])
def test_a_cookie_that_cannot_be_sent_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="cookie"):
        headers_of(cookies={"a": value})


# Subprotocols


def test_subprotocols_are_offered_in_order() -> None:
    scope = scope_of("/", subprotocols=iter(["chat.v2", "chat.v1"]))
    assert scope["subprotocols"] == ["chat.v2", "chat.v1"]
    assert Headers(scope["headers"])["sec-websocket-protocol"] == "chat.v2, chat.v1"


def test_without_subprotocols_there_is_no_header_and_an_empty_list() -> None:
    scope = scope_of("/")
    assert scope["subprotocols"] == []
    assert "sec-websocket-protocol" not in Headers(scope["headers"])


def test_one_str_is_no_list_of_subprotocols() -> None:
    with pytest.raises(TypeError) as caught:
        scope_of("/", subprotocols="chat")
    assert str(caught.value) == "subprotocols must be a list of names, not the str 'chat'"


@pytest.mark.parametrize(
    "names", [[""], ["a b"], ["a,b"], ["a", "b", "a"], ["caf\u00e9"], ["a\n"], ["(a)"]]
)
def test_a_subprotocol_that_cannot_be_offered_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="cannot be offered: names are tokens, each given once"):
        scope_of("/", subprotocols=names)


def test_subprotocols_may_be_given_as_a_header_and_then_replace_the_others() -> None:
    pairs = [("Sec-WebSocket-Protocol", "a , b,"), ("sec-websocket-protocol", "c")]
    scope = scope_of("/", subprotocols=["x"], headers=pairs)
    assert scope["subprotocols"] == ["a", "b", "c"]


# The rest of the scope


def test_the_scope_is_the_one_of_a_server() -> None:
    scope = scope_of("/")
    assert scope["type"] == "websocket"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert scope["http_version"] == "1.1"
    assert scope["scheme"] == "ws"
    assert scope["client"] == CLIENT
    assert scope["server"] == ("testserver", 80)
    assert scope["state"] == {}
    assert scope["extensions"] == {DENIAL_EXTENSION: {}}


def test_further_keys_replace_whatever_is_there() -> None:
    scope = scope_of("/", extra={"client": None, "extensions": {}, "user": "ada"})
    assert (scope["client"], scope["extensions"], scope["user"]) == (None, {}, "ada")


def test_two_scopes_share_nothing_that_can_be_changed() -> None:
    one, two = scope_of("/"), scope_of("/")
    for key in ("headers", "subprotocols", "state", "extensions", "asgi"):
        assert one[key] is not two[key]
