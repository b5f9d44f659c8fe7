"""The connection as a view of its scope: a mapping, a URL, headers, parameters, state."""

from __future__ import annotations

import copy
import pickle
from collections import UserDict
from collections.abc import Mapping
from typing import Any

import pytest

from opened import connecting
from peer import make_scope, serve
from telex import URL, Address, App, Headers, QueryParams, State, WebSocket
from telex.exceptions import ImproperlyConfigured


def view(**scope: Any) -> WebSocket:
    return connecting(**scope)[0]


@pytest.mark.row("L8", "L9", "C37")
def test_it_is_a_mapping_of_the_scope_that_can_be_written_to() -> None:
    ws = view(path="/ws")
    assert isinstance(ws, Mapping)
    assert ws["path"] == ws.scope["path"] == "/ws"
    assert "path" in ws
    assert "nothing" not in ws
    assert len(ws) == len(ws.scope)
    assert list(ws) == list(ws.scope)
    assert ws.get("nothing", 1) == 1
    assert dict(ws.items()) == dict(ws) == ws.scope
    ws["x"] = 1
    assert ws.scope["x"] == 1
    del ws["x"]
    for use in (ws.__getitem__, ws.__delitem__):
        with pytest.raises(KeyError):
            use("nothing")


@pytest.mark.row("L10", "L11", "L12", "L13", "G64", "G65", "G67")
def test_the_url_is_a_str_with_components_built_once() -> None:
    ws = view(path="/123", query_string=b"a=abc", headers=[(b"host", b"example.com:123")])
    assert ws.url is ws.url
    assert type(ws.url) is URL
    assert isinstance(ws.url, str)
    assert str(ws.url) == ws.url == f"{ws.url}" == "ws://example.com:123/123?a=abc"
    assert "ws://example.com:123/123?a=abc" in {str(ws.url), ws.url}
    assert hash(ws.url) == hash(str(ws.url))
    assert (ws.url.scheme, ws.url.path, ws.url.port) == ("ws", "/123", 123)
    assert (ws.url.netloc, ws.url.query, ws.url.fragment) == ("example.com:123", "a=abc", "")
    assert (ws.url.username, ws.url.password, ws.url.hostname) == (None, None, "example.com")
    assert view().url.port is None


@pytest.mark.row("G66", "G64")
def test_the_url_has_scheme_server_root_path_path_and_query() -> None:
    scope = {"scheme": "wss", "root_path": "/api", "path": "/ws", "query_string": b"a=1"}
    ws = view(**scope, headers=[], server=("example.com", 8443))
    assert ws.url == "wss://example.com:8443/api/ws?a=1"
    assert view(**scope, headers=[], server=("example.com", 443)).url.port is None
    assert view(headers=[], server=("example.com", 80)).url == "ws://example.com/"


@pytest.mark.row("L14", "L15", "G27", "GX5")
def test_headers_are_found_in_any_case_and_keep_duplicates() -> None:
    ws = view(
        headers=[(b"host", b"h"), (b"X-A", b"1"), (b"x-a", b"2"), (b"sec-websocket-version", b"13")]
    )
    assert isinstance(ws.headers, Headers)
    assert ws.headers["HOST"] == ws.headers.get("HoSt") == "h"
    assert "Host" in ws.headers
    assert ws.headers["sec-websocket-version"] == "13"
    assert ws.headers["x-a"] == "1"
    assert ws.headers.getlist("X-A") == ws.headers.getall("x-A") == ["1", "2"]
    assert len(ws.headers) == 4
    assert ("x-a", "2") in ws.headers.multi_items()
    bare = view()
    del bare.scope["headers"]
    assert len(bare.headers) == 0


@pytest.mark.row("L16", "L17", "G34", "GX5")
def test_query_parameters_keep_duplicates() -> None:
    ws = view(query_string=b"search=x&a=1&a=2&empty=")
    assert isinstance(ws.query_params, QueryParams)
    assert ws.query_params["search"] == "x"
    assert ws.query_params["a"] == "1"
    assert ws.query_params.getlist("a") == ["1", "2"]
    assert ws.query_params["empty"] == ""
    with pytest.raises(KeyError):
        ws.query_params["nothing"]
    bare = view()
    del bare.scope["query_string"]
    assert len(bare.query_params) == 0


@pytest.mark.row("L18", "L19", "L24", "L25")
async def test_path_parameters_and_the_way_back_to_a_url() -> None:
    app = App()
    seen: list[object] = []

    @app.websocket("/ws/{username}", name="ws")
    async def handler(ws: WebSocket) -> None:
        seen.extend((ws.path_params["username"], ws.path_params is ws.scope["path_params"]))
        reverses = (ws.path_for, ws.url_path_for, ws.url_for)
        seen.extend(reverse("ws", username="bob") for reverse in reverses)
        await ws.accept()

    await serve(app, scope=make_scope("/ws/ann"))
    assert seen == ["ann", True, *["ws://testserver/ws/bob"] * 3]
    assert view().path_params == {}


@pytest.mark.row("L20", "L21", "L22", "L23")
@pytest.mark.parametrize("name", ["auth", "user", "session"])
def test_what_middleware_brings_is_there_or_its_name_is_told(name: str) -> None:
    thing: dict[str, int] = {}
    ws = view(**{name: thing})
    assert getattr(ws, name) is thing
    getattr(ws, name)["x"] = 1
    assert ws.scope[name] == {"x": 1}
    with pytest.raises(ImproperlyConfigured, match="Middleware"):
        getattr(view(), name)


@pytest.mark.row("GX1")
def test_a_full_and_a_minimal_scope_have_every_attribute() -> None:
    full = view(path="/a", scheme="wss", client=["1.2.3.4", 5], subprotocols=["a", "b"])
    assert (full.path, full.scheme, full.client) == ("/a", "wss", ("1.2.3.4", 5))
    assert isinstance(full.client, Address)
    assert full.subprotocols == ("a", "b")
    minimal = WebSocket({"type": "websocket"}, full.asgi_receive, full.asgi_send)
    assert (minimal.path, minimal.scheme, minimal.client) == ("/", "ws", None)
    assert (minimal.subprotocols, minimal.accepted_subprotocol) == ((), None)
    assert minimal.asgi_send is full.asgi_send


@pytest.mark.row("GX4", "GX5")
def test_addresses_and_urls_equal_what_they_stand_for() -> None:
    assert Address("h", 1) == ("h", 1)
    assert URL("ws://h") == "ws://h"
    assert URL("ws://h").path == "/"
    assert URL("ws://h/a%20b").path == "/a b"


# --- state ---


@pytest.mark.row("C35", "G63", "T84")
def test_state_is_a_live_view_of_the_scopes() -> None:
    scope = make_scope(state={"shared": 1})
    ws = view(state=scope["state"])
    assert isinstance(ws.state, State)
    ws.state.user = "ann"
    assert scope["state"] == {"shared": 1, "user": "ann"}
    scope["state"]["later"] = 2
    assert (ws.state.later, ws.state["shared"], "user" in ws.state) == (2, 1, True)
    del ws.state.user
    assert "user" not in scope["state"]
    for missing in (lambda: ws.state.user, lambda: delattr(ws.state, "user")):
        with pytest.raises(AttributeError):
            missing()
    with pytest.raises(KeyError):
        ws.state["user"]


@pytest.mark.row("C35", "T84")
def test_state_is_made_where_there_is_none_and_shared_by_faces() -> None:
    ws = view()
    del ws.scope["state"]
    ws.state.x = 1
    assert ws.scope["state"] == {"x": 1}
    assert WebSocket(ws.scope, ws.asgi_receive, ws.asgi_send).state.x == 1
    assert "x" not in view().state


@pytest.mark.row("T84")
def test_entries_with_the_names_of_methods_are_items() -> None:
    ws = view()
    for name in ("copy", "get", "items", "keys", "update", "__class__"):
        ws.state[name] = name
        assert ws.state[name] == name
    assert callable(ws.state.items)
    assert dict(ws.state)["get"] == "get"
    for state in (copy.copy(ws.state), pickle.loads(pickle.dumps(ws.state))):
        assert dict(state) == dict(ws.state)


# --- identity ---


@pytest.mark.row("T85", "C37", "LX9")
def test_it_is_true_equals_itself_and_can_be_in_sets() -> None:
    ws = view()
    twin = WebSocket(dict(ws.scope), ws.asgi_receive, ws.asgi_send)
    assert bool(ws) is True
    assert ws == ws
    assert ws != twin
    assert ws != dict(ws)
    assert ws != UserDict(ws)
    assert {ws, twin, ws} == {twin, ws}
    assert hash(ws) != hash(twin)
    assert hasattr(ws, "__iter__")
    assert hasattr(ws, "__aiter__")


@pytest.mark.row("T86", "G13")
def test_any_mutable_mapping_is_a_scope() -> None:
    scope = UserDict(make_scope("/ws", headers=[(b"cookie", b"a=1")]))
    ws = WebSocket(scope, connecting()[0].asgi_receive, connecting()[0].asgi_send)
    assert (ws.url, ws.cookies, dict(ws)) == ("ws://testserver/ws", {"a": "1"}, dict(scope))
    ws.state.x = 1
    assert scope["state"] == {"x": 1}
    ws["x"] = 1
    assert scope["x"] == 1
