from __future__ import annotations

import copy
import json
import pickle
from collections import UserDict
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex._url import URL, URLPath, make_absolute

FULL = "wss://ann:secret@Example.com:8443/a%20b/c?x=1&y=2#top"


def from_scope(**scope: Any) -> URL:
    return URL.from_scope({"type": "websocket", **scope})


def host_header(*values: str | bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", v.encode() if isinstance(v, str) else v) for v in values]


# --- components ---


@pytest.mark.row("L12", "GX5")
def test_a_url_has_its_components() -> None:
    url = URL(FULL)
    assert url.scheme == "wss"
    assert url.netloc == "ann:secret@Example.com:8443"
    assert url.path == "/a b/c"
    assert url.query == "x=1&y=2"
    assert url.fragment == "top"
    assert url.username == "ann"
    assert url.password == "secret"
    assert url.hostname == "example.com"
    assert url.port == 8443
    assert url.is_secure


@pytest.mark.row("L13")
def test_scheme_path_and_port_of_the_documented_url() -> None:
    url = URL("ws://example.com:123/123?a=abc")
    assert (url.scheme, url.path, url.port) == ("ws", "/123", 123)
    assert not url.is_secure
    assert URL("ws://example.com/123").port is None


@pytest.mark.row("GX5", "L12")
@pytest.mark.parametrize("text", ["", "ws://h", "ws://h?a=1", "?a=1"])
def test_the_path_of_a_url_without_one_is_a_slash(text: str) -> None:
    assert URL(text).path == "/"


@pytest.mark.row("L12", "T61")
@pytest.mark.parametrize(
    ("text", "hostname", "port"),
    [
        ("ws://h", "h", None),
        ("ws://h:", "h", None),
        ("ws://h:0/", "h", 0),
        ("ws://h:65535/", "h", 65535),
        ("ws://h:65536/", "h", None),
        ("ws://h:99999999999999999999/", "h", None),
        ("ws://h:" + "9" * 5000, "h", None),
        ("ws://h:x/", "h", None),
        ("ws://h:-1/", "h", None),
        ("ws://h:1_0/", "h", None),
        ("ws://h:8 0/", "h", None),
        ("ws://h:80:90/", "h", None),
        ("ws://[::1]:80/", "::1", 80),
        ("ws://[::1]/", "::1", None),
        ("ws://[FE80::1%25eth0]:1/", "fe80::1%25eth0", 1),
        ("ws://u@[::1]:80/", "::1", 80),
        ("ws://[::1/", None, None),
        ("ws://::1]/", None, None),
        ("ws://:80/", None, 80),
        ("/only/path", None, None),
        ("", None, None),
    ],
)
def test_host_and_port_never_raise(text: str, hostname: str | None, port: int | None) -> None:
    url = URL(text)
    assert url.port == port
    if "::1" not in text or hostname is not None:
        assert url.hostname == hostname


@pytest.mark.row("L12")
@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        ("ws://h/", None, None),
        ("ws://u@h/", "u", None),
        ("ws://u:@h/", "u", ""),
        ("ws://:p@h/", "", "p"),
        ("ws://u:p:q@h/", "u", "p:q"),
        ("ws://u:p@q@h/", "u", "p@q"),
        ("ws://a%40b:c%3Ad@h/", "a@b", "c:d"),
    ],
)
def test_user_name_and_password_are_decoded(
    text: str, username: str | None, password: str | None
) -> None:
    assert (URL(text).username, URL(text).password) == (username, password)


@pytest.mark.row("L12", "T61")
@given(st.text() | st.text("ws:/[]@?#%&=.:\n é\ud800"))
def test_no_text_makes_a_component_raise(text: str) -> None:
    url = URL(text)
    assert url.isascii()
    assert isinstance(url.path, str)
    for component in (url.username, url.password, url.hostname):
        assert component is None or isinstance(component, str)
    assert url.port is None or 0 <= url.port <= 65535
    assert repr(url)
    assert URL(url) == url
    assert url.replace(scheme=url.scheme, query=url.query) == url.replace(fragment=url.fragment)


@pytest.mark.row("C40", "T54")
@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("ws://h/a b", "ws://h/a%20b"),
        ("ws://h/é", "ws://h/%C3%A9"),
        ("ws://h/%C3%A9%2f", "ws://h/%C3%A9%2f"),
        ("ws://h/100%", "ws://h/100%25"),
        ("ws://h/%zz", "ws://h/%25zz"),
        ("ws://h/a\r\nb", "ws://h/a%0D%0Ab"),
        ("ws://h/\ud800", "ws://h/%ED%A0%80"),
        ("ws://h/?a[]=<1>", "ws://h/?a[]=%3C1%3E"),
    ],
)
def test_what_no_url_may_contain_is_encoded(text: str, valid: str) -> None:
    assert str(URL(text)) == valid


# --- a str ---


@pytest.mark.row("L11", "C38", "T53", "GX5")
def test_a_url_is_the_str_it_shows() -> None:
    text = "ws://h/a?b=1"
    url = URL(text)
    assert isinstance(url, str)
    assert url == text
    assert text == url
    assert hash(url) == hash(text)
    keys: dict[str, int] = {url: 1}
    assert keys[text] == {text: 1}[url] == 1
    assert type(str(url)) is str
    assert f"{url}" == f"{text}"
    assert f"{url:>20}" == f"{text:>20}"
    assert "%s" % url == text  # noqa: UP031
    assert url.index("h") == text.index("h")
    assert url.count("/") == text.count("/")
    assert "{}".format(url) == text  # noqa: UP032
    assert type(url[2:]) is str
    assert type(url + "x") is str
    assert type("x" + url) is str
    assert json.dumps(url) == json.dumps(text)
    assert json.dumps({url: url}) == json.dumps({text: text})


@pytest.mark.row("T53", "C38")
def test_replace_with_two_strings_is_that_of_str() -> None:
    url = URL("ws://h/a/a")
    assert url.replace("a", "b") == "ws://h/b/b"
    assert url.replace("a", "b", 1) == "ws://h/b/a"
    assert type(url.replace("a", "b")) is str
    assert type(url.replace("z", "b")) is str


@pytest.mark.row("T53", "C38")
@pytest.mark.parametrize(
    ("components", "replaced"),
    [
        ({}, FULL),
        ({"scheme": "ws"}, "ws://ann:secret@Example.com:8443/a%20b/c?x=1&y=2#top"),
        ({"netloc": "h:1"}, "wss://h:1/a%20b/c?x=1&y=2#top"),
        (
            {"path": "/x y?#%20é"},
            "wss://ann:secret@Example.com:8443/x%20y%3F%23%2520%C3%A9?x=1&y=2#top",
        ),
        ({"path": "x"}, "wss://ann:secret@Example.com:8443/x?x=1&y=2#top"),
        ({"path": ""}, "wss://ann:secret@Example.com:8443/?x=1&y=2#top"),
        (
            {"query": "a=é&b=%20#", "fragment": ""},
            "wss://ann:secret@Example.com:8443/a%20b/c?a=%C3%A9&b=%20%23",
        ),
        ({"query": None, "fragment": None}, "wss://ann:secret@Example.com:8443/a%20b/c"),
        ({"fragment": "a b"}, "wss://ann:secret@Example.com:8443/a%20b/c?x=1&y=2#a%20b"),
        ({"port": None}, "wss://ann:secret@Example.com/a%20b/c?x=1&y=2#top"),
        ({"port": 1}, "wss://ann:secret@Example.com:1/a%20b/c?x=1&y=2#top"),
        ({"port": 0}, "wss://ann:secret@Example.com:0/a%20b/c?x=1&y=2#top"),
        ({"hostname": "::1"}, "wss://ann:secret@[::1]:8443/a%20b/c?x=1&y=2#top"),
        ({"hostname": "h"}, "wss://ann:secret@h:8443/a%20b/c?x=1&y=2#top"),
        (
            {"username": "b@c", "password": "d:/"},
            "wss://b%40c:d%3A%2F@Example.com:8443/a%20b/c?x=1&y=2#top",
        ),
        ({"username": None, "password": None}, "wss://Example.com:8443/a%20b/c?x=1&y=2#top"),
        ({"password": None}, "wss://ann@Example.com:8443/a%20b/c?x=1&y=2#top"),
        ({"netloc": "h:1", "port": 2}, "wss://h:2/a%20b/c?x=1&y=2#top"),
    ],
)
def test_replace_with_keywords_is_another_url(components: dict[str, Any], replaced: str) -> None:
    url = URL(FULL).replace(**components)
    assert str(url) == replaced
    assert type(url) is URL
    for name in components.keys() - {"path", "query", "fragment", "netloc"}:
        assert getattr(url, name) == (components[name])


@pytest.mark.row("T53")
@pytest.mark.parametrize("name", ["params", "host", "old"])
def test_replace_knows_no_other_component(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        URL(FULL).replace(**{name: "x"})  # type: ignore[call-overload]


@pytest.mark.row("T53")
def test_a_path_replaced_by_itself_is_the_same() -> None:
    url = URL("ws://h/a%20b/%C3%A9%25")
    assert url.replace(path=url.path) == url


@pytest.mark.row("T53")
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda url: pickle.loads(pickle.dumps(url))]
)
@pytest.mark.parametrize("used", [False, True])
def test_a_url_can_be_copied_and_pickled(duplicate: Any, used: bool) -> None:
    url = URL(FULL)
    if used:
        assert url.port == 8443
    twin = duplicate(url)
    assert type(twin) is URL
    assert twin == url
    assert twin.port == 8443


@pytest.mark.row("T56")
def test_repr_masks_a_password() -> None:
    assert repr(URL(FULL)) == "URL('wss://ann:********@Example.com:8443/a%20b/c?x=1&y=2#top')"
    assert repr(URL("ws://ann@h/")) == "URL('ws://ann@h/')"
    assert repr(URL("ws://h/")) == "URL('ws://h/')"
    assert "secret" in str(URL(FULL))


def test_a_subclass_stays_what_it_is() -> None:
    class Link(URL):
        __slots__ = ()

    link = Link("ws://h/a")
    assert type(link.replace(path="/b")) is Link
    assert type(Link.from_scope({})) is Link
    assert repr(link) == "Link('ws://h/a')"


# --- from a scope ---


@pytest.mark.row("K39", "L10", "C39")
def test_the_url_of_a_connection() -> None:
    url = from_scope(path="/path", query_string=b"qs", headers=host_header("host"))
    assert url == "ws://host/path?qs"
    assert type(url) is URL


@pytest.mark.row("G66", "G67")
def test_the_url_is_made_of_scheme_server_root_path_path_and_query() -> None:
    url = from_scope(
        scheme="wss",
        server=("example.com", 8443),
        root_path="/api",
        path="/ws",
        query_string=b"a=1",
    )
    assert url == "wss://example.com:8443/api/ws?a=1"
    assert type(url) is URL
    assert (url.scheme, url.netloc, url.path, url.query) == (
        "wss",
        "example.com:8443",
        "/api/ws",
        "a=1",
    )


@pytest.mark.row("C39", "T60")
@pytest.mark.parametrize(
    ("scope", "url"),
    [
        ({}, "/"),
        ({"path": "/ws", "query_string": b"a=1"}, "/ws?a=1"),
        ({"path": "/ws", "server": None, "headers": []}, "/ws"),
        ({"path": "/ws", "server": ("h", 80)}, "ws://h/ws"),
        ({"path": "/ws", "server": ["h", 80]}, "ws://h/ws"),
        ({"path": "/ws", "server": ("h", "80")}, "ws://h/ws"),
        ({"path": "/ws", "server": ("h", "8000")}, "ws://h:8000/ws"),
        ({"path": "/ws", "server": ("h", 443)}, "ws://h:443/ws"),
        ({"path": "/ws", "server": ("h", 443), "scheme": "wss"}, "wss://h/ws"),
        ({"path": "/ws", "server": ("h", 80), "scheme": "wss"}, "wss://h:80/ws"),
        ({"path": "/ws", "server": ("h", 80), "scheme": ""}, "ws://h/ws"),
        ({"path": "/ws", "server": ("/run/x", None)}, "/ws"),
        ({"path": "/ws", "server": ("app.sock", None)}, "/ws"),
        ({"path": "/ws", "server": ("/run/x", None), "headers": host_header("h")}, "ws://h/ws"),
        ({"path": "/ws", "server": ("s", 1), "headers": host_header("h:2")}, "ws://h:2/ws"),
        ({"path": "/ws", "headers": host_header("h:80")}, "ws://h/ws"),
        ({"path": "/ws", "headers": host_header("h:443"), "scheme": "wss"}, "wss://h/ws"),
        ({"path": "/ws", "headers": host_header("h:443")}, "ws://h:443/ws"),
        ({"path": "/ws", "headers": [(b"HOST", b"h")]}, "ws://h/ws"),
        ({"path": "/ws", "headers": [[b"host", b"h"]]}, "ws://h/ws"),
        ({"server": ("h", 80)}, "ws://h/"),
        ({"path": "", "server": ("h", 80)}, "ws://h/"),
        ({"path": "ws", "server": ("h", 80)}, "ws://h/ws"),
        ({"path": None, "query_string": None, "root_path": None, "server": ("h", 80)}, "ws://h/"),
        ({"path": "/ws", "query_string": "a=1", "server": ("h", 80)}, "ws://h/ws?a=1"),
    ],
)
def test_where_the_parts_of_the_url_come_from(scope: dict[str, Any], url: str) -> None:
    assert from_scope(**scope) == url


@pytest.mark.row("C39")
@pytest.mark.parametrize(
    ("scope", "url"),
    [
        ({"server": ("s", 1), "headers": host_header("h")}, "ws://s:1/ws"),
        ({"server": None, "headers": host_header("h")}, "ws://h/ws"),
        ({"server": ("/run/x", None), "headers": host_header("h")}, "ws://h/ws"),
        ({}, "ws://localhost/ws"),
        ({"headers": host_header("bad host"), "scheme": "wss"}, "wss://localhost/ws"),
    ],
)
def test_a_dialect_may_prefer_the_server_to_the_header(scope: dict[str, Any], url: str) -> None:
    assert URL.from_scope({"path": "/ws", **scope}, server_first=True) == url


@pytest.mark.row("T56", "C39")
@pytest.mark.parametrize(
    "values",
    [
        ["evil.com/x?y"],
        ["evil.com?y"],
        ["evil.com#y"],
        ["user:password@evil.com"],
        ["user@evil.com"],
        ["evil.com\\x"],
        ["evil com"],
        ["evil.com\r\nx: y"],
        ["evil.com\n"],
        ["evil.com:80:90"],
        ["evil.com:x"],
        ["evil.com:-1"],
        ["evil.com:65536"],
        ["evil.com:²"],
        ["[::1"],
        ["::1"],
        ["[::1]x"],
        ["[::1]x:80"],
        ["[evil.com]"],
        ["[::::]"],
        ["[]"],
        [":80"],
        [""],
        ["é.com"],
        [b"\xff"],
        ["%65vil.com"],
        ["a,b"],
        ["evil.com", "other.com"],
    ],
)
def test_a_host_header_that_is_no_host_gives_way_to_the_server(values: list[str]) -> None:
    url = from_scope(path="/ws", headers=host_header(*values), server=("real.example", 80))
    assert url == "ws://real.example/ws"


@pytest.mark.row("T56")
@pytest.mark.parametrize(
    ("value", "netloc"),
    [
        ("example.com", "example.com"),
        ("Example.COM:8000", "Example.COM:8000"),
        ("my_service.internal", "my_service.internal"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("example.com.", "example.com."),
        ("example.com:", "example.com"),
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("localhost:0", "localhost:0"),
    ],
)
def test_a_host_header_that_is_a_host_is_used(value: str, netloc: str) -> None:
    assert from_scope(headers=host_header(value), server=("s", 1)).netloc == netloc


@pytest.mark.row("T56")
def test_the_same_host_header_twice_is_one() -> None:
    assert from_scope(headers=host_header("h", "h")).hostname == "h"


@pytest.mark.row("T59")
@pytest.mark.parametrize(
    ("scope", "url", "hostname", "port"),
    [
        ({"server": ("::1", 8000)}, "ws://[::1]:8000/ws", "::1", 8000),
        ({"server": ("::1", 80)}, "ws://[::1]/ws", "::1", None),
        ({"server": ("[::1]", 8000)}, "ws://[::1]:8000/ws", "::1", 8000),
        ({"server": ("fe80::1%eth0", 1)}, "ws://[fe80::1%25eth0]:1/ws", "fe80::1%25eth0", 1),
        ({"headers": host_header("[::1]:8000")}, "ws://[::1]:8000/ws", "::1", 8000),
        ({"headers": host_header("[2001:db8::A]")}, "ws://[2001:db8::A]/ws", "2001:db8::a", None),
        (
            {"headers": host_header("[::ffff:1.2.3.4]:1")},
            "ws://[::ffff:1.2.3.4]:1/ws",
            "::ffff:1.2.3.4",
            1,
        ),
    ],
)
def test_ipv6_is_put_in_brackets(
    scope: dict[str, Any], url: str, hostname: str, port: int | None
) -> None:
    made = from_scope(path="/ws", **scope)
    assert made == url
    assert (made.hostname, made.port) == (hostname, port)
    assert urlsplit(made).port == port


@pytest.mark.row("C40", "T54")
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/a b", "/a%20b"),
        ("/é", "/%C3%A9"),
        ("/a?b", "/a%3Fb"),
        ("/a#b", "/a%23b"),
        ("/a%2Fb", "/a%252Fb"),
        ("/a%252Fb", "/a%25252Fb"),
        ("/a%b", "/a%25b"),
        ("/a\r\nb\0", "/a%0D%0Ab%00"),
        ("/a[1]", "/a%5B1%5D"),
        ("/a:b@c;d=e,f+g!$&'()*~", "/a:b@c;d=e,f+g!$&'()*~"),
        ("//evil.com/x", "//evil.com/x"),
        ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/\N{REPLACEMENT CHARACTER}", "/%EF%BF%BD"),
    ],
)
def test_a_path_is_encoded_in_the_text_and_decoded_in_path(path: str, text: str) -> None:
    url = from_scope(path=path, server=("h", 80), query_string=b"q=1")
    assert str(url) == f"ws://h{text}?q=1"
    assert (url.hostname, url.path, url.query, url.fragment) == ("h", path, "q=1", "")
    assert unquote(urlsplit(url).path) == path


@pytest.mark.row("T54")
def test_a_path_that_no_server_may_send_does_not_raise() -> None:
    assert from_scope(path="/\ud800", server=("h", 80)) == "ws://h/%ED%A0%80"


@pytest.mark.row("T54", "T56")
def test_a_path_alone_never_reads_as_a_host() -> None:
    url = from_scope(path="//evil.com/x")
    assert url == "/%2Fevil.com/x"
    assert (url.hostname, url.path) == (None, "//evil.com/x")
    assert URL("ws://h//evil.com").replace(scheme="", netloc="").hostname is None


@pytest.mark.row("C40", "T54")
@pytest.mark.parametrize(
    ("query", "text"),
    [
        (b"a=1&b=%20+", "a=1&b=%20+"),
        (b"a=\xc3\xa9", "a=%C3%A9"),
        (b"a=\xff", "a=%FF"),
        (b"a=%zz%", "a=%25zz%25"),
        (b"a=#b", "a=%23b"),
        (b"a=?/:@[]", "a=?/:@[]"),
        (b"a= \r\n", "a=%20%0D%0A"),
        ("a=é\ud800", "a=%C3%A9%ED%A0%80"),
    ],
)
def test_a_query_is_kept_and_what_is_not_valid_encoded(query: bytes | str, text: str) -> None:
    url = from_scope(path="/", query_string=query, server=("h", 80))
    assert str(url) == f"ws://h/?{text}"
    assert url.query == text


@pytest.mark.row("T58", "C39")
@pytest.mark.parametrize(
    ("root_path", "path", "full"),
    [
        ("", "/ws", "/ws"),
        ("/", "/ws", "/ws"),
        ("/api", "/ws", "/api/ws"),
        ("/api", "/api/ws", "/api/ws"),
        ("/api", "/apixyz", "/api/apixyz"),
        ("/api", "/api", "/api"),
        ("/api", "/api/", "/api/"),
        ("/api", "/", "/api/"),
        ("/api", "", "/api"),
        ("/api", "ws", "/api/ws"),
        ("/api/", "/ws", "/api/ws"),
        ("/api/", "/api/ws", "/api/ws"),
        ("api", "/api/ws", "/api/ws"),
        ("api", "/ws", "/api/ws"),
        ("/a/b", "/a/c", "/a/b/a/c"),
        ("/a/b", "/a/b/c", "/a/b/c"),
        ("/é x", "/ws", "/é x/ws"),
    ],
)
def test_the_root_path_is_shown_once(root_path: str, path: str, full: str) -> None:
    url = from_scope(root_path=root_path, path=path, server=("h", 80))
    assert url.path == full
    assert URL(str(url)).path == full


@pytest.mark.row("T57")
def test_forwarded_headers_are_not_read() -> None:
    headers = [
        (b"host", b"h"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-for", b"9.9.9.9"),
        (b"x-forwarded-host", b"evil.com"),
        (b"x-forwarded-prefix", b"/evil"),
        (b"x-forwarded-port", b"99"),
        (b"forwarded", b"for=9.9.9.9;host=evil.com;proto=https"),
    ]
    assert from_scope(path="/ws", headers=headers) == "ws://h/ws"


@pytest.mark.row("G13")
def test_a_scope_may_be_any_mapping() -> None:
    scope = UserDict({"path": "/ws", "headers": host_header("h")})
    assert URL.from_scope(scope) == "ws://h/ws"


@pytest.mark.row("C40", "T56", "T61")
@given(
    path=st.text(),
    root_path=st.text(max_size=4),
    query=st.binary(),
    host=st.binary(),
    server=st.none() | st.tuples(st.text(), st.integers(0, 65535)),
)
def test_the_url_of_any_scope_is_valid(
    path: str, root_path: str, query: bytes, host: bytes, server: tuple[str, int] | None
) -> None:
    url = from_scope(
        path=path,
        root_path=root_path,
        query_string=query,
        headers=[(b"host", host)],
        server=server,
    )
    assert URL(str(url)) == url
    assert url.path.endswith(path.encode("utf-8", "replace").decode())
    assert url.fragment == ""
    assert url.username is None


# --- other paths on the same server ---


@pytest.mark.row("C47", "T75")
@pytest.mark.parametrize(
    ("scheme", "protocol", "made"),
    [
        ("ws", "websocket", "ws"),
        ("wss", "websocket", "wss"),
        ("ws", "http", "http"),
        ("wss", "http", "https"),
        ("https", "websocket", "wss"),
        (None, "websocket", "ws"),
        (None, "http", "http"),
        ("wss", None, "wss"),
        (None, None, "ws"),
    ],
)
def test_the_scheme_follows_the_route_and_the_connection(
    scheme: str | None, protocol: Any, made: str
) -> None:
    scope = {"scheme": scheme, "headers": host_header("h:9")}
    assert make_absolute(scope, "/x", protocol=protocol) == f"{made}://h:9/x"


@pytest.mark.row("T75")
@pytest.mark.parametrize(
    ("scope_root", "root_path", "path", "made"),
    [
        ("/api", None, "/ws", "/api/ws"),
        ("/api", None, "/api/ws", "/api/api/ws"),
        ("/api/mount", "/api", "/mount/ws", "/api/mount/ws"),
        ("/api", "", "/ws", "/ws"),
        ("", None, "/a b?é", "/a%20b%3F%C3%A9"),
        ("", None, "", "/"),
        ("", None, "x", "/x"),
    ],
)
def test_another_path_is_put_below_the_root_path(
    scope_root: str, root_path: str | None, path: str, made: str
) -> None:
    scope = {"root_path": scope_root, "path": "/other", "query_string": b"a=1", "server": ("h", 80)}
    assert make_absolute(scope, path, root_path=root_path) == f"ws://h{made}"


@pytest.mark.row("T75", "T60")
def test_a_default_port_is_that_of_the_new_scheme() -> None:
    scope = {"scheme": "wss", "server": ("h", 443)}
    assert make_absolute(scope, "/x", protocol="http") == "https://h/x"
    assert make_absolute(scope, "/x", protocol="http", host="other:1") == "https://other:1/x"
    assert make_absolute({}, "/x", protocol="http") == "/x"


@pytest.mark.row("C47")
def test_a_url_path_is_text_that_knows_its_protocol() -> None:
    path = URLPath("/a b")
    assert path == "/a b"
    assert path.protocol == "websocket"
    assert URLPath("/x", protocol="http").protocol == "http"
    for twin in (copy.copy(path), copy.deepcopy(path), pickle.loads(pickle.dumps(path))):
        assert (twin, twin.protocol) == (path, "websocket")
