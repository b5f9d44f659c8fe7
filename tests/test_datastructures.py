from __future__ import annotations

import copy
import pickle
from collections import UserDict
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers as StarletteHeaders

from telex.datastructures import (
    Address,
    Headers,
    QueryParams,
    State,
    encode_headers,
    parse_cookies,
)

RAW = [
    (b"host", b"example.com"),
    (b"accept", b"text/html"),
    (b"X-Tag", b"one"),
    (b"x-tag", b"two"),
    (b"x-odd", b"\xe9t\xe9 \xff"),
]

# --- Address ---


@pytest.mark.row("T66", "K43", "GX1")
@pytest.mark.parametrize(
    ("value", "address"),
    [
        (("1.2.3.4", 80), ("1.2.3.4", 80)),
        (["1.2.3.4", 80], ("1.2.3.4", 80)),
        (("::1", 80, 0, 0), ("::1", 80)),
        (("1.2.3.4", None), ("1.2.3.4", None)),
        (("1.2.3.4",), ("1.2.3.4", None)),
        (("/run/telex.sock", None), ("/run/telex.sock", None)),
        (("1.2.3.4", "80"), ("1.2.3.4", 80)),
        (("1.2.3.4", "http"), ("1.2.3.4", None)),
        (("1.2.3.4", "²"), ("1.2.3.4", None)),
        (None, None),
        ((), None),
        ((None, None), None),
    ],
)
def test_an_address_is_read_in_every_form_that_servers_use(value: Any, address: Any) -> None:
    assert Address.from_asgi(value) == address


@pytest.mark.row("K43", "GX5", "T66")
def test_an_address_has_names_unpacks_and_equals_the_tuple() -> None:
    address = Address("1.2.3.4", 80)
    host, port = address
    assert (address.host, address.port) == (host, port) == ("1.2.3.4", 80)
    assert address == ("1.2.3.4", 80)
    assert hash(address) == hash(("1.2.3.4", 80))


# --- Headers ---


@pytest.mark.row("K40", "L15", "G27", "GX5", "L14")
def test_header_names_have_no_case() -> None:
    headers = Headers(RAW)
    assert headers["host"] == headers["HOST"] == headers["Host"] == "example.com"
    assert headers.get("HoSt") == "example.com"
    assert "Host" in headers
    assert "hosts" not in headers
    other: Any = 5
    assert other not in headers


@pytest.mark.row("C42", "GX5", "L14")
def test_a_repeated_header_answers_with_the_first_value_and_keeps_the_rest() -> None:
    headers = Headers(RAW)
    assert headers["x-tag"] == headers.get("X-TAG") == "one"
    assert headers.getlist("X-Tag") == headers.getall("x-tag") == ["one", "two"]


@pytest.mark.row("GX5", "L14")
def test_every_view_of_headers_agrees() -> None:
    headers = Headers(RAW)
    assert len(headers) == len(RAW)
    assert list(headers.keys()) == list(headers) == ["host", "accept", "x-tag", "x-odd"]
    assert len(headers.keys()) == 4
    assert list(headers.values()) == ["example.com", "text/html", "one", "two", "été ÿ"]
    assert list(headers.items()) == headers.multi_items()
    assert headers.multi_items()[2:4] == [("x-tag", "one"), ("x-tag", "two")]
    assert dict(headers)["x-tag"] == "one"
    assert isinstance(headers, Mapping)


@pytest.mark.row("GX5")
def test_a_missing_header_is_a_key_error_a_default_or_an_empty_list() -> None:
    headers = Headers(RAW)
    with pytest.raises(KeyError):
        headers["missing"]
    assert headers.get("missing") is None
    assert headers.get("missing", "x") == "x"
    assert headers.getlist("missing") == headers.getall("missing") == []


@pytest.mark.row("T64", "C42", "GX5")
def test_one_odd_byte_does_not_make_other_headers_unreadable() -> None:
    headers = Headers([(b"x-odd", b"\xff\xfe\x80"), (b"\xff", b"v"), (b"host", b"h")])
    assert headers["host"] == "h"
    assert headers["x-odd"] == "\xff\xfe\x80"
    assert headers["\xff"] == "v"


@pytest.mark.row("T64")
@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_no_bytes_make_headers_raise(raw: list[tuple[bytes, bytes]]) -> None:
    headers = Headers(raw)
    assert len(headers) == len(raw)
    assert [value for _, value in headers.raw] == [value for _, value in raw]


def test_raw_headers_are_pairs_with_lower_case_names() -> None:
    headers = Headers([[b"Host", b"h"], (b"X-Odd", b"\xff")])
    assert headers.raw == [(b"host", b"h"), (b"x-odd", b"\xff")]
    headers.raw.clear()
    assert len(headers.raw) == 2


@pytest.mark.row("G27")
@pytest.mark.parametrize("raw", [None, [], ()])
def test_no_headers_are_empty_headers(raw: Any) -> None:
    headers = Headers(raw)
    assert len(headers) == 0
    assert list(headers.items()) == []
    assert headers.raw == []


def test_headers_cannot_be_changed() -> None:
    headers: Any = Headers(RAW)
    with pytest.raises(TypeError):
        headers["host"] = "other"
    with pytest.raises(TypeError):
        del headers["host"]
    with pytest.raises(AttributeError):
        headers.update({})
    with pytest.raises(AttributeError):
        headers.other = 1


def test_headers_are_equal_when_the_pairs_are() -> None:
    assert Headers(RAW) == Headers(reversed(RAW[:2] + RAW[4:] + [RAW[3], RAW[2]]))
    assert Headers(RAW) != Headers(RAW[:2])
    assert Headers(RAW[:2]) == {"host": "example.com", "accept": "text/html"}
    assert Headers(RAW) != dict(Headers(RAW))
    assert Headers(RAW) != 5


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))]
)
@pytest.mark.parametrize("original", [Headers(RAW), QueryParams("a=1&a=2&b=")])
def test_headers_and_query_parameters_can_be_copied_and_pickled(
    original: Any, duplicate: Any
) -> None:
    twin = duplicate(original)
    assert type(twin) is type(original)
    assert twin == original
    assert twin.multi_items() == original.multi_items()


def test_headers_and_query_parameters_show_their_pairs() -> None:
    assert repr(Headers([(b"A", b"1")])) == "Headers([('a', '1')])"
    assert repr(QueryParams("a=1&a=2")) == "QueryParams([('a', '1'), ('a', '2')])"


# --- QueryParams ---

QUERIES: list[tuple[bytes, list[tuple[str, str]]]] = [
    (b"", []),
    (b"a=1&b=", [("a", "1"), ("b", "")]),
    (b"a=1&a=2&b=3&a=4", [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")]),
    (b"flag", [("flag", "")]),
    (b"flag&a=1", [("flag", ""), ("a", "1")]),
    (b"=v", [("", "v")]),
    (b"a=b=c", [("a", "b=c")]),
    (b"a=x+y&b=x%20y&c=x%2By", [("a", "x y"), ("b", "x y"), ("c", "x+y")]),
    (b"a+b=1", [("a b", "1")]),
    (b"a=1;b=2", [("a", "1;b=2")]),
    (b"a=1&&b=2&", [("a", "1"), ("b", "2")]),
    (b"a=%ff", [("a", "\N{REPLACEMENT CHARACTER}")]),
    (b"a=\xff", [("a", "\N{REPLACEMENT CHARACTER}")]),
    (b"a=%C3%A9&b=\xc3\xa9", [("a", "é"), ("b", "é")]),
    (b"a=%zz&b=%&c=100%", [("a", "%zz"), ("b", "%"), ("c", "100%")]),
    (b"a=%00", [("a", "\0")]),
    (b"a=1#x", [("a", "1#x")]),
    (b"%61=1", [("a", "1")]),
    (b"a=%2525", [("a", "%25")]),
]


@pytest.mark.row("T62", "K41", "GX5", "G34", "L17")
@pytest.mark.parametrize(("query", "pairs"), QUERIES)
def test_a_query_string_is_read_as_forms_are(query: bytes, pairs: list[tuple[str, str]]) -> None:
    assert QueryParams(query).multi_items() == pairs


@pytest.mark.row("T62")
@pytest.mark.parametrize(("query", "pairs"), QUERIES)
def test_a_query_string_may_be_text(query: bytes, pairs: list[tuple[str, str]]) -> None:
    assert QueryParams(query.decode("utf-8", "replace")).multi_items() == pairs


@pytest.mark.row("T62")
@given(st.binary() | st.text() | st.text("a%&=+;#\udcff"))
def test_no_query_string_makes_query_parameters_raise(query: bytes | str) -> None:
    params = QueryParams(query)
    assert len(params) == len(params.multi_items())


@pytest.mark.row("T62")
def test_very_many_fields_are_all_read() -> None:
    params = QueryParams("&".join(f"k{n % 1000}={n}" for n in range(50_000)))
    assert len(params) == 50_000
    assert len(params.getlist("k7")) == 50


@pytest.mark.row("C41", "GX5", "L16", "G34")
def test_a_repeated_parameter_answers_with_the_first_value_and_keeps_the_rest() -> None:
    params = QueryParams(b"a=1&b=2&a=3")
    assert params["a"] == params.get("a") == "1"
    assert params.getlist("a") == params.getall("a") == ["1", "3"]
    assert params.multi_items() == list(params.items()) == [("a", "1"), ("b", "2"), ("a", "3")]
    assert list(params.keys()) == list(params) == ["a", "b"]
    assert list(params.values()) == ["1", "2", "3"]
    assert len(params) == 3
    assert dict(params) == {"a": "1", "b": "2"}


@pytest.mark.row("L16", "K41", "GX5")
def test_parameter_names_have_case_and_unknown_ones_are_a_key_error() -> None:
    params = QueryParams(b"a=1&b=")
    assert "a" in params
    assert "A" not in params
    with pytest.raises(KeyError):
        params["A"]
    assert params.get("A") is None
    assert params.get("A", "x") == "x"
    assert params.getlist("A") == []


# --- State ---


@pytest.mark.row("C35", "G63", "K45")
def test_state_is_reached_by_attribute_and_by_item() -> None:
    state = State()
    state.user = "ann"
    state["room"] = 7
    assert state["user"] == state.user == "ann"
    assert state.room == 7
    assert "user" in state
    assert "other" not in state
    assert list(state) == ["user", "room"]
    assert len(state) == 2
    del state.user
    del state["room"]
    assert len(state) == 0
    assert repr(State({"a": 1})) == "State({'a': 1})"


@pytest.mark.row("C35", "G63")
def test_an_unknown_entry_is_an_attribute_error_or_a_key_error() -> None:
    state = State()
    with pytest.raises(AttributeError, match="user"):
        _ = state.user
    with pytest.raises(AttributeError, match="user"):
        del state.user
    with pytest.raises(KeyError):
        state["user"]
    with pytest.raises(KeyError):
        del state["user"]
    assert getattr(state, "user", None) is None
    assert not hasattr(state, "user")


@pytest.mark.row("C35", "T83", "T86")
@pytest.mark.parametrize("mapping", [{}, UserDict[str, Any]()])
def test_state_is_a_live_view(mapping: Any) -> None:
    state, other = State(mapping), State(mapping)
    state.a = 1
    assert mapping["a"] == other.a == 1
    mapping["b"] = 2
    assert state.b == 2


@pytest.mark.row("T84")
@pytest.mark.parametrize("name", ["get", "items", "keys", "pop", "update", "clear"])
def test_an_entry_named_like_a_method_is_reached_as_an_item(name: str) -> None:
    state = State({"x": 1})
    setattr(state, name, "data")
    assert state[name] == "data"
    assert callable(getattr(state, name))
    delattr(state, name)
    assert name not in state


@pytest.mark.row("T84")
def test_a_name_that_is_no_method_is_free() -> None:
    state = State()
    state.copy = "data"
    state._mapping = "private"
    assert (state.copy, state._mapping) == ("data", "private")


@pytest.mark.row("T84")
def test_special_names_are_items_only() -> None:
    state = State({"__deepcopy__": "data", "__reduce_ex__": "data"})
    with pytest.raises(AttributeError):
        _ = state.__deepcopy__
    with pytest.raises(AttributeError, match=r"state\['__secret__'\]"):
        state.__secret__ = 1
    state["__secret__"] = 1
    assert copy.deepcopy(state)["__secret__"] == 1


@pytest.mark.row("T84")
def test_a_copy_of_state_is_independent() -> None:
    state = State({"a": [1]})
    shallow, deep = copy.copy(state), copy.deepcopy(state)
    shallow.b = deep.b = 2
    assert "b" not in state
    assert shallow.a is state.a
    assert deep.a == state.a
    assert deep.a is not state.a


@pytest.mark.row("T84")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_state_can_be_pickled(protocol: int) -> None:
    state = State({"a": 1, "get": 2, "__reduce__": 3})
    twin = pickle.loads(pickle.dumps(state, protocol))
    assert type(twin) is State
    assert twin == state == {"a": 1, "get": 2, "__reduce__": 3}


# --- cookies ---


@pytest.mark.row("C43", "T65", "K44")
@pytest.mark.parametrize(
    ("values", "cookies"),
    [
        ([], {}),
        ([""], {}),
        (["", " ; ;"], {}),
        (["a=1; b=2"], {"a": "1", "b": "2"}),
        (["a=1;b=2"], {"a": "1", "b": "2"}),
        (["a=1", "b=2"], {"a": "1", "b": "2"}),
        (["a=1; b=2; a=3"], {"b": "2", "a": "3"}),
        (["a=1", "a=2"], {"a": "2"}),
        (["a="], {"a": ""}),
        (["=v"], {"": "v"}),
        (["lonely"], {"": "lonely"}),
        (["="], {}),
        (['a=1; {"x":1}; b=2'], {"a": "1", "": '{"x":1}', "b": "2"}),
        (['x={"y":1}; b=2'], {"x": '{"y":1}', "b": "2"}),
        (["a=b=c"], {"a": "b=c"}),
        (["a=%20x%2C"], {"a": "%20x%2C"}),
        (['a="quoted value"'], {"a": "quoted value"}),
        (['a="x\\"y\\\\z"'], {"a": 'x"y\\z'}),
        (['a="\\303\\251\\054"'], {"a": "\xc3\xa9,"}),
        (['a="\\477"'], {"a": "477"}),
        (['a="'], {"a": '"'}),
        (['a="open'], {"a": '"open'}),
        ([" a = 1 ;\tb\t=\t2"], {"a": "1", "b": "2"}),
        (["a b=1; [x]=2; @=3"], {"a b": "1", "[x]": "2", "@": "3"}),
        (["$Version=1; a=1"], {"$Version": "1", "a": "1"}),
        (["a=\xc3\xa0; b=1"], {"a": "\xc3\xa0", "b": "1"}),
        (["a=\x00\x1f"], {"a": "\x00\x1f"}),
    ],
)
def test_cookies_are_read_as_browsers_send_them(values: list[str], cookies: dict[str, str]) -> None:
    assert parse_cookies(values) == cookies


@pytest.mark.row("T65")
@given(st.lists(st.text() | st.text('ab=;" \\012')))
def test_no_cookie_header_makes_the_parser_raise(values: list[str]) -> None:
    assert all(name or value for name, value in parse_cookies(values).items())


@pytest.mark.row("T65")
def test_a_cookie_full_of_escapes_is_read_in_linear_time() -> None:
    assert parse_cookies(['a="' + '\\"' * 200_000 + '"']) == {"a": '"' * 200_000}


# --- encode_headers ---


@pytest.mark.row("C6")
@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "1", "x-b": "é"},
        {b"X-A": b"1", b"x-b": b"\xe9"},
        UserDict({"X-A": "1", "x-b": "é"}),
        [("X-A", "1"), ("x-b", "é")],
        [(b"X-A", b"1"), (b"x-b", b"\xe9")],
        (["X-A", b"1"], [b"x-b", "é"]),
        Headers([(b"X-A", b"1"), (b"x-b", b"\xe9")]),
        StarletteHeaders({"X-A": "1", "x-b": "é"}),
    ],
)
def test_headers_are_given_as_a_mapping_or_as_pairs_of_text_or_bytes(headers: Any) -> None:
    assert encode_headers(headers) == [(b"x-a", b"1"), (b"x-b", b"\xe9")]


@pytest.mark.row("C6")
def test_headers_may_come_from_a_generator() -> None:
    assert encode_headers((name, "1") for name in ("A", "b")) == [(b"a", b"1"), (b"b", b"1")]


@pytest.mark.row("C6")
@pytest.mark.parametrize("headers", [None, {}, [], ()])
def test_no_headers_are_an_empty_list(headers: Any) -> None:
    assert encode_headers(headers) == []


@pytest.mark.row("T51")
def test_pairs_may_repeat_a_name() -> None:
    pairs = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    wanted = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    assert encode_headers(pairs) == wanted
    assert encode_headers(Headers([(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])) == wanted


@pytest.mark.row("T51")
@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\r\nevil: 1", "x\r\n\r\nbody"])
@pytest.mark.parametrize("kind", [str, bytes])
def test_a_header_value_cannot_begin_another_header(bad: str, kind: type) -> None:
    value: Any = f"a{bad}b" if kind is str else f"a{bad}b".encode()
    with pytest.raises(ValueError, match="'X-Name'"):
        encode_headers([("X-Name", value)])


@pytest.mark.row("T51")
@pytest.mark.parametrize(
    "name",
    ["", "a b", "a:", "a\r\nb", "é", "a\0", "(a)", "a/b", "a\n", '"a"', ":authority", "\u0661"],
)
@pytest.mark.parametrize("kind", [str, bytes])
def test_a_header_name_must_be_a_token(name: str, kind: type) -> None:
    given_name: Any = name if kind is str else name.encode()
    with pytest.raises(ValueError, match="header name"):
        encode_headers([(given_name, "1")])


@pytest.mark.row("T51")
def test_every_token_character_is_allowed_in_a_header_name() -> None:
    name = "!#$%&'*+-.^_`|~09AZaz"
    assert encode_headers({name: "1"}) == [(name.lower().encode(), b"1")]


@pytest.mark.row("T51")
@pytest.mark.parametrize("value", ["€", "\u0100", "\ud800"])
def test_a_header_value_outside_latin_1_is_refused_by_name(value: str) -> None:
    with pytest.raises(ValueError, match="'X-Name'"):
        encode_headers({"X-Name": value})


@pytest.mark.row("T51")
@pytest.mark.parametrize(
    "headers", ["a: b", b"a: b", {"a": 1}, {"a": None}, {1: "a"}, [("a", ["b"])]]
)
def test_headers_that_are_no_text_are_a_type_error(headers: Any) -> None:
    with pytest.raises(TypeError):
        encode_headers(headers)


def test_blanks_around_a_header_value_are_no_part_of_it() -> None:
    assert encode_headers({"a": " \t1 2\t "}) == [(b"a", b"1 2")]


@pytest.mark.row("T52")
@pytest.mark.parametrize(
    "name",
    [
        "Sec-WebSocket-Protocol",
        "sec-websocket-accept",
        "SEC-WEBSOCKET-EXTENSIONS",
        "sec-websocket-anything",
        "Connection",
        "Upgrade",
        "Content-Length",
        "Transfer-Encoding",
    ],
)
def test_headers_of_the_handshake_are_refused_where_they_are_reserved(name: str) -> None:
    for given_name in (name, name.encode()):
        with pytest.raises(ValueError, match=name):
            encode_headers([(given_name, "x")], reserved=True)
    assert encode_headers({name: "x"}) == [(name.lower().encode(), b"x")]


@pytest.mark.row("T52")
def test_other_headers_are_not_reserved() -> None:
    assert encode_headers({"sec-fetch-mode": "x", "x-connection": "y"}, reserved=True)


@pytest.mark.row("T51", "T52")
@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)))
def test_encoded_headers_never_break_a_line(headers: dict[str, str]) -> None:
    try:
        pairs = encode_headers(headers, reserved=True)
    except ValueError:
        return
    for name, value in pairs:
        assert name == name.lower()
        assert not set(name + value) & set(b"\r\n\0")
