from __future__ import annotations

import pytest

from telex.compat.genro.datastructures import URL, Address, Headers, QueryParams, State


@pytest.mark.row("GX5")
def test_headers_and_query_parameters_have_the_accessors_of_the_document() -> None:
    headers = Headers([(b"X-A", b"1"), (b"x-a", b"2")])
    query = QueryParams(b"a=1&a=2&b=")
    assert (headers["x-A"], headers.get("X-a"), headers.getlist("x-a")) == ("1", "1", ["1", "2"])
    assert (headers.get("missing"), headers.get("missing", "-"), len(headers)) == (None, "-", 2)
    assert ([*headers.keys()], [*headers.values()]) == (["x-a"], ["1", "2"])
    assert [*headers.items()] == [("x-a", "1"), ("x-a", "2")]
    assert (query["a"], query.get("c"), query.getlist("a")) == ("1", None, ["1", "2"])
    assert query.multi_items() == [("a", "1"), ("a", "2"), ("b", "")]
    assert not QueryParams(b"")


@pytest.mark.row("GX5")
def test_addresses_and_urls_are_equal_to_tuples_and_strings() -> None:
    assert Address("192.168.1.1", 54321) == ("192.168.1.1", 54321)
    url = URL("wss://example.com:8443/a%20b?q=1#s")
    assert url == "wss://example.com:8443/a%20b?q=1#s"
    assert (url.scheme, url.hostname, url.port) == ("wss", "example.com", 8443)
    assert (url.path, url.query, url.fragment) == ("/a b", "q=1", "s")
    assert URL("ws://example.com").path == "/"


@pytest.mark.row("G63")
def test_a_state_is_a_container_of_attributes() -> None:
    state = State()
    state.user_id = 123
    assert state.user_id == 123
    assert "user_id" in state
    del state.user_id
    assert "user_id" not in state
    with pytest.raises(AttributeError):
        state.user_id  # noqa: B018 - asking for it is what fails
