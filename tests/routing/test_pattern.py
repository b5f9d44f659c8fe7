from __future__ import annotations

import time
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telex.exceptions import RoutingError
from telex.routing import Pattern


@pytest.mark.row("V6", "T54")
@pytest.mark.parametrize(
    ("path", "asked", "params"),
    [
        ("/", "/", {}),
        ("/ws", "/ws", {}),
        ("/a/b", "/a/b", {}),
        ("/a/", "/a/", {}),
        ("/a/{name}", "/a/bob", {"name": "bob"}),
        ("/a/{name}/", "/a/bob/", {"name": "bob"}),
        ("/{a}/<b:int>/c", "/x/7/c", {"a": "x", "b": 7}),
        ("/file-{n:int}.json", "/file-12.json", {"n": 12}),
        ("/{name}.{ext}", "/a.b.c", {"name": "a", "ext": "b.c"}),
        ("/{lat:float},{lon:float}", "/52.5,-13.25", {"lat": 52.5, "lon": -13.25}),
        ("/{a}-{b}-{c:int}", "/x-y-3", {"a": "x", "b": "y", "c": 3}),
        ("/{n:int}-{m:int}", "/1--2", {"n": 1, "m": -2}),
        ("/v{rest:path}", "/v1/x", {"rest": "1/x"}),
        ("/{a}-{rest:path}", "/x-y-z/w", {"a": "x", "rest": "y-z/w"}),
        ("/files/{p:path}", "/files/", {"p": ""}),
        ("/files/{p:path}", "/files/a/b", {"p": "a/b"}),
        ("/café/{x}", "/café/é", {"x": "é"}),
        ("/{x}", "/%2F", {"x": "%2F"}),
        ("/{x}", "/a?b#c", {"x": "a?b#c"}),
        ("/{self}/{name}/{path}", "/1/2/3", {"self": "1", "name": "2", "path": "3"}),
        ("/{_1}", "/x", {"_1": "x"}),
        ("/a+b*(c)", "/a+b*(c)", {}),
    ],
)
def test_a_path_is_matched(path: str, asked: str, params: dict[str, Any]) -> None:
    assert Pattern(path).match(asked) == params


@pytest.mark.row("T68", "T70")
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/", ""),
        ("/", "//"),
        ("/ws", "/ws/"),
        ("/ws/", "/ws"),
        ("/ws", "/WS"),
        ("/ws", "/ws\n"),
        ("/ws", "ws"),
        ("/ws", "x/ws"),
        ("/a/{name}", "/a/"),
        ("/a/{name}", "/a"),
        ("/a/{name}", "/a/b/"),
        ("/a/{name}", "/a//b"),
        ("/file-{n:int}.json", "/file-12xjson"),
        ("/file-{n:int}.json", "/file-.json"),
        ("/file-{n:int}.json", "/file-12.json\n"),
        ("/a+b", "/aab"),
        ("/files/{p:path}", "/files"),
        ("/files/{p:any}", "/files/"),
        ("/v{rest:path}", "/w1/x"),
    ],
)
def test_another_path_is_not_matched(path: str, asked: str) -> None:
    assert Pattern(path).match(asked) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ws", "begin with '/'"),
        ("", "begin with '/'"),
        (7, "begin with '/'"),
        ("/{x", "expected '}' after '{'"),
        ("/<x", "expected '>' after '<'"),
        ("/{x>", "expected '}' after '{'"),
        ("/{x/y}", "expected '}' after '{'"),
        ("/x}", "'}' without an opening bracket"),
        ("/x>", "'>' without an opening bracket"),
        ("/{x}}", "'}' without an opening bracket"),
        ("/{}", "name of a parameter, not ''"),
        ("/{:int}", "name of a parameter, not ''"),
        ("/{ x }", "name of a parameter, not ' x '"),
        ("/{1x}", "name of a parameter, not '1x'"),
        ("/{a-b}", "name of a parameter, not 'a-b'"),
        ("/<int:x>", "unknown type 'x'; there are: any, "),
        ("/{x:}", "unknown type ''"),
        ("/{x:INT}", "unknown type 'INT'"),
        ("/{x}/{x}", "'x' appears twice"),
        ("/{x}{y}", "expected text between the parameters 'x' and 'y'"),
        ("/{x:path}/y", "'path' takes '/' and must be at the end"),
        ("/{x:any}.json", "'any' takes '/' and must be at the end"),
    ],
)
def test_a_bad_path_is_refused_with_what_was_expected(path: str, expected: str) -> None:
    with pytest.raises(RoutingError) as caught:
        Pattern(path)
    assert str(caught.value).startswith(f"path {path!r}: ")
    assert expected in str(caught.value)


@pytest.mark.row("T54", "T75")
@pytest.mark.parametrize(
    ("path", "params", "encoded"),
    [
        ("/ws", {}, "/ws"),
        ("/ws/", {}, "/ws/"),
        ("/{x}", {"x": "a b"}, "/a%20b"),
        ("/{x}", {"x": "a?b#c"}, "/a%3Fb%23c"),
        ("/{x}", {"x": "%2F"}, "/%252F"),
        ("/{x}", {"x": "é"}, "/%C3%A9"),
        ("/{x}", {"x": "a:b@c&d=e+f;g,h"}, "/a:b@c&d=e+f;g,h"),
        ("/{x}", {"x": "\\"}, "/%5C"),
        ("/café/{x}", {"x": "1"}, "/caf%C3%A9/1"),
        ("/100%/{x}", {"x": "1"}, "/100%25/1"),
        ("/{p:path}", {"p": "/evil.example/x"}, "/%2Fevil.example/x"),
        ("/f/{p:path}", {"p": "/etc/x"}, "/f//etc/x"),
        ("/f/{p:path}", {"p": ""}, "/f/"),
        ("/{self}/{name}", {"self": 1, "name": 2}, "/1/2"),
        ("/{a}.{b}", {"a": "x", "b": "y.z"}, "/x.y.z"),
    ],
)
def test_a_path_is_formatted(path: str, params: dict[str, Any], encoded: str) -> None:
    pattern = Pattern(path)
    assert pattern.format(**params) == encoded
    assert unquote(encoded) == pattern.fill(**params)


@pytest.mark.row("T75")
@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/{x}", {}),
        ("/{x}", {"y": "1"}),
        ("/{x}", {"x": "1", "y": "1"}),
        ("/ws", {"x": "1"}),
    ],
)
def test_missing_and_extra_parameters_are_a_lookup_error(path: str, params: dict[str, str]) -> None:
    with pytest.raises(LookupError, match=r"takes (x|nothing)"):
        Pattern(path).format(**params)


def test_a_value_that_would_be_read_back_differently_is_refused() -> None:
    with pytest.raises(ValueError, match="would not be read back"):
        Pattern("/{a}.{b}").format(a="x.y", b="z")


PIECES = st.sampled_from(["a", "-", ".", "é", "%", "{a}", "{b:int}", "{c:float}", "<d:date>"])
VALUES = {
    "a": st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    "b": st.integers(),
    "c": st.floats(allow_nan=False, allow_infinity=False),
    "d": st.dates(),
}


@pytest.mark.row("T54")
@settings(deadline=None)
@given(pieces=st.lists(PIECES | st.just("/"), max_size=8), data=st.data())
def test_any_path_that_can_be_formatted_is_matched_again(
    pieces: list[str], data: st.DataObject
) -> None:
    try:
        pattern = Pattern("/" + "".join(pieces))
    except RoutingError:
        return
    params = {name: data.draw(VALUES[name]) for name in pattern.names}
    try:
        encoded = pattern.format(**params)
    except ValueError:
        return
    assert pattern.match(unquote(encoded)) == params


@pytest.mark.row("T69")
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/{a}", "/<b>", True),
        ("/{a}", "/{b:str}", True),
        ("/x-{a:int}/y", "/x-{b:int}/y", True),
        ("/{a}", "/{a:int}", False),
        ("/{a:path}", "/{a:any}", False),
        ("/{a}", "/{a}/", False),
        ("/x-{a}", "/y-{a}", False),
    ],
)
def test_patterns_that_match_the_same_paths_have_one_shape(
    one: str, other: str, same: bool
) -> None:
    assert (Pattern(one).shape == Pattern(other).shape) is same


def test_a_pattern_says_what_it_is() -> None:
    pattern = Pattern("/a/{b}/{c:int}")
    assert pattern.names == ("b", "c")
    assert [each.type for each in pattern.parameters] == ["str", "int"]
    assert not pattern.is_static
    assert Pattern("/a").is_static
    assert repr(pattern) == "Pattern('/a/{b}/{c:int}')"


@pytest.mark.parametrize(
    ("path", "hostile"),
    [
        ("/{a}-{b}-{c}-{d}.json", "/" + "-x" * 32_000),
        ("/{a}-{b}-{c}-{d}.json", "/" + "-" * 64_000),
        ("/{a:int}0{b:int}0{c:int}x", "/" + "0" * 64_000),
        ("/{a}.{b:float}.{c:decimal}", "/" + "1." * 32_000),
        ("/{a}x{rest:path}", "/" + "/x" * 32_000),
    ],
)
def test_a_hostile_path_takes_time_in_proportion_to_its_length(path: str, hostile: str) -> None:
    pattern = Pattern(path)
    started = time.process_time()
    pattern.match(hostile)
    # Milliseconds; with backtracking over all parameters it would be hours.
    assert time.process_time() - started < 2
