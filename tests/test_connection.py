from __future__ import annotations

import asyncio
import weakref
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute

from peer import make_scope
from telex._url import URL, URLPath
from telex.connection import ROUTER_KEY, Connection
from telex.datastructures import Address, Headers, QueryParams, State
from telex.exceptions import ImproperlyConfigured, NoMatchFound


class Untouchable(dict[str, Any]):
    """A scope that nobody may look at."""

    def _refuse(self, *_: object) -> Any:
        raise AssertionError("the scope was looked at")

    __getitem__ = __setitem__ = __contains__ = __iter__ = __len__ = __eq__ = _refuse
    get = keys = values = items = setdefault = _refuse


class Names:
    """A router: the name of each route, its path and what it speaks."""

    def __init__(self, **routes: tuple[str, Any]) -> None:
        self.routes = routes

    def url_path_for(self, name: str, /, **params: Any) -> URLPath:
        try:
            path, protocol = self.routes[name]
            return URLPath(path.format(**params), protocol=protocol)
        except KeyError:
            raise NoMatchFound(name, params) from None


def connection(**scope: Any) -> Connection:
    return Connection(make_scope(**scope))


# --- the mapping ---


@pytest.mark.row("L8", "L9", "C37")
def test_a_connection_is_a_mapping_of_its_scope() -> None:
    scope = make_scope("/ws")
    view = Connection(scope)
    assert isinstance(view, Mapping)
    assert view["path"] == scope["path"] == "/ws"
    assert "path" in view
    assert "other" not in view
    assert len(view) == len(scope)
    assert list(view) == list(scope)
    assert dict(view) == scope
    assert list(view.items()) == list(scope.items())
    assert list(view.keys()) == list(scope.keys())
    assert list(view.values()) == list(scope.values())
    assert view.get("path") == "/ws"
    assert view.get("other") is None
    assert view.get("other", 1) == 1
    with pytest.raises(KeyError):
        view["other"]
    assert view.scope is scope


@pytest.mark.row("C37")
def test_an_item_that_is_set_or_deleted_is_set_or_deleted_in_the_scope() -> None:
    scope = make_scope("/ws")
    view = Connection(scope)
    view["extra"] = 1
    assert scope["extra"] == 1
    del view["extra"]
    assert "extra" not in scope
    with pytest.raises(KeyError):
        del view["extra"]


@pytest.mark.row("C37")
def test_what_was_built_from_the_scope_follows_an_item_that_is_set() -> None:
    view = connection(path="/a", query_string=b"a=1", headers=[(b"cookie", b"a=1")])
    built = (view.url, view.headers, view.query_params, view.cookies, view.state)
    assert all(built[:4])
    view["path"] = "/b"
    view["query_string"] = b"a=2"
    view["headers"] = [(b"cookie", b"a=2")]
    view["state"] = {"x": 1}
    assert (view.url.path, view.query_params["a"], view.cookies) == ("/b", "2", {"a": "2"})
    assert view.headers["cookie"] == "a=2"
    assert view.state.x == 1
    del view["headers"]
    assert len(view.headers) == 0


@pytest.mark.row("C37", "T85")
def test_a_connection_equals_itself_alone_and_can_be_in_a_set() -> None:
    scope = make_scope()
    one, other = Connection(scope), Connection(scope)
    assert one == one
    assert one != other
    assert one != scope
    assert len({one, other, one}) == 2
    assert hash(one) == hash(one)
    assert weakref.ref(one)() is one


@pytest.mark.row("T85", "C37")
def test_a_connection_is_true_even_when_its_scope_is_empty() -> None:
    assert bool(Connection({})) is True
    assert len(Connection({})) == 0


@pytest.mark.row("G65")
def test_making_a_connection_looks_at_nothing() -> None:
    Connection(Untouchable())


@pytest.mark.row("G13", "T86", "G65")
@pytest.mark.parametrize("kind", [dict, UserDict])
def test_an_empty_scope_of_any_kind_has_defaults(
    kind: Callable[[], MutableMapping[str, Any]],
) -> None:
    view = Connection(kind())
    assert view.url == "/"
    assert view.base_url == "/"
    assert len(view.headers) == 0
    assert len(view.query_params) == 0
    assert view.path_params == {}
    assert view.cookies == {}
    assert view.client is None
    assert view.server is None
    assert view.path == "/"
    assert view.scheme == "ws"
    assert view.subprotocols == ()
    assert len(view.state) == 0
    assert repr(view) == "<Connection '/' from unknown>"


@pytest.mark.row("G13", "T86")
def test_a_full_scope_may_be_any_mapping() -> None:
    scope = UserDict(
        make_scope(
            "/ws", query_string=b"a=1", headers=[(b"host", b"h"), (b"cookie", b"c=1")], user="ann"
        )
    )
    view = Connection(scope)
    assert view.url == "ws://h/ws?a=1"
    assert view.headers["host"] == "h"
    assert view.query_params["a"] == "1"
    assert view.cookies == {"c": "1"}
    assert view.user == "ann"
    view.state.x = 1
    assert scope["state"] == {"x": 1}
    assert dict(view) == dict(scope)


# --- the attributes ---


@pytest.mark.row("K39", "L10", "G64", "G65", "G67")
def test_the_url_is_built_once() -> None:
    view = connection(path="/ws", query_string=b"a=1")
    assert view.url == "ws://testserver/ws?a=1"
    assert type(view.url) is URL
    assert view.url is view.url


@pytest.mark.row("G65")
def test_headers_query_parameters_cookies_and_state_are_built_once() -> None:
    view = connection()
    for name in ("headers", "query_params", "cookies", "state"):
        assert getattr(view, name) is getattr(view, name)


@pytest.mark.parametrize(
    "name", ["url", "base_url", "headers", "query_params", "cookies", "state", "client", "scope"]
)
def test_attributes_cannot_be_set(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(connection(), name, None)


@pytest.mark.row("K40", "G27", "L15", "K41", "G34", "L17", "L16")
def test_headers_and_query_parameters_are_those_of_the_handshake() -> None:
    view = connection(
        headers=[(b"host", b"h"), (b"sec-websocket-version", b"13")],
        query_string=b"search=x&a=&a=2",
    )
    assert isinstance(view.headers, Headers)
    assert view.headers["sec-websocket-version"] == view.headers["Sec-WebSocket-Version"] == "13"
    assert isinstance(view.query_params, QueryParams)
    assert view.query_params["search"] == "x"
    assert view.query_params.getlist("a") == ["", "2"]


@pytest.mark.row("K42", "L18", "L19")
def test_path_parameters_come_straight_from_the_scope() -> None:
    params = {"username": "ann", "n": 7}
    view = connection(path_params=params)
    assert view.path_params is params
    assert view.path_params["username"] == "ann"
    assert connection().path_params == {}
    assert connection(path_params=None).path_params == {}


@pytest.mark.row("K44", "C43", "T65")
def test_cookies_of_several_headers_are_merged() -> None:
    view = connection(headers=[(b"cookie", b"a=1; b=2"), (b"host", b"h"), (b"cookie", b"c=\xff")])
    assert view.cookies == {"a": "1", "b": "2", "c": "\xff"}


@pytest.mark.row("K43", "C44", "T66", "GX1")
@pytest.mark.parametrize(
    ("value", "address"),
    [
        (("1.2.3.4", 5), ("1.2.3.4", 5)),
        (["1.2.3.4", 5], ("1.2.3.4", 5)),
        (("1.2.3.4", "5"), ("1.2.3.4", 5)),
        (("1.2.3.4", None), ("1.2.3.4", None)),
        (None, None),
    ],
)
def test_client_and_server_are_addresses_or_none(value: Any, address: Any) -> None:
    view = connection(client=value, server=value)
    assert view.client == view.server == address
    assert view.client is None or isinstance(view.client, Address)


@pytest.mark.row("T57")
def test_forwarded_headers_change_neither_client_nor_url() -> None:
    view = connection(
        headers=[
            (b"host", b"testserver"),
            (b"x-forwarded-for", b"9.9.9.9"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"evil.com"),
            (b"x-forwarded-prefix", b"/evil"),
        ]
    )
    assert view.client == ("127.0.0.1", 50000)
    assert view.url == "ws://testserver/"
    assert view.scheme == "ws"


@pytest.mark.row("GX1")
def test_path_scheme_and_subprotocols_of_a_full_scope() -> None:
    view = connection(path="/é", scheme="wss", subprotocols=["b", "a"])
    assert (view.path, view.scheme, view.subprotocols) == ("/é", "wss", ("b", "a"))
    assert repr(view) == "<Connection '/é' from 127.0.0.1:50000>"


@pytest.mark.row("T77")
def test_an_http_2_connection_needs_no_upgrade_headers() -> None:
    view = connection(
        path="/ws",
        http_version="2",
        scheme="wss",
        headers=[
            (b"host", b"h"),
            (b"sec-websocket-version", b"13"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
        ],
    )
    assert view.url == "wss://h/ws"
    assert view.cookies == {"a": "1", "b": "2"}
    assert "sec-websocket-key" not in view.headers
    assert "connection" not in view.headers


@pytest.mark.row("C35", "K45", "G63", "T83")
@pytest.mark.parametrize("scope", [{}, {"state": {}}, {"state": None}])
def test_state_is_a_live_view_of_the_scope(scope: dict[str, Any]) -> None:
    one, other = Connection(scope), Connection(scope)
    one.state.user = "ann"
    assert isinstance(one.state, State)
    assert scope["state"] == {"user": "ann"}
    assert other.state["user"] == "ann"
    scope["state"]["room"] = 7
    assert one.state.room == 7


@pytest.mark.row("T83", "K45")
def test_connections_see_the_lifespan_state_and_not_each_other_s() -> None:
    lifespan: dict[str, Any] = {"pool": object()}
    # A shallow copy for each connection is the server's part (ASGI "Lifespan State").
    one, other = connection(state=lifespan.copy()), connection(state=lifespan.copy())
    one.state.user = "ann"
    assert one.state.pool is other.state.pool is lifespan["pool"]
    assert "user" not in other.state
    assert "user" not in lifespan


@pytest.mark.row("L20", "L21", "L22")
@pytest.mark.parametrize("name", ["auth", "user", "session", "app"])
def test_what_middleware_put_into_the_scope_is_handed_on(name: str) -> None:
    value: dict[str, Any] = {}
    view = connection(**{name: value})
    assert getattr(view, name) is value
    view.scope[name]["changed"] = True
    assert getattr(view, name) == {"changed": True}
    assert getattr(connection(**{name: None}), name) is None


@pytest.mark.row("L23", "C46")
@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("auth", "AuthenticationMiddleware"),
        ("user", "AuthenticationMiddleware"),
        ("session", "SessionMiddleware"),
        ("app", "application"),
    ],
)
def test_what_middleware_did_not_put_into_the_scope_is_named(name: str, needed: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=needed) as caught:
        getattr(connection(), name)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, ValueError)
    assert not isinstance(caught.value, KeyError)


# --- from a name to a URL ---

ROUTER = Names(
    ws=("/ws/{name}", "websocket"), page=("/page", "http"), odd=("/{self}/{name}", "websocket")
)


@pytest.fixture(params=["url_for", "url_path_for", "path_for"])
def method(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.row("L24", "L25", "C47")
def test_a_route_is_reversed_to_an_absolute_url(method: str) -> None:
    view = connection(**{ROUTER_KEY: (ROUTER, "")})
    url = getattr(view, method)("ws", name="bob")
    assert url == "ws://testserver/ws/bob"
    assert type(url) is URL


@pytest.mark.row("T75", "C47")
@pytest.mark.parametrize(
    ("scheme", "name", "url"),
    [
        ("ws", "ws", "ws://h:9/api/ws/x"),
        ("wss", "ws", "wss://h:9/api/ws/x"),
        ("ws", "page", "http://h:9/api/page"),
        ("wss", "page", "https://h:9/api/page"),
    ],
)
def test_a_reversed_url_keeps_scheme_host_and_root_path(
    method: str, scheme: str, name: str, url: str
) -> None:
    view = connection(
        path="/api/mount/x",
        scheme=scheme,
        root_path="/api/mount",
        headers=[(b"host", b"h:9")],
        query_string=b"a=1",
        **{ROUTER_KEY: (ROUTER, "/api")},
    )
    assert getattr(view, method)(name, name="x") == url
    assert view.base_url == f"{scheme}://h:9/api/"


@pytest.mark.row("T75", "C47")
def test_a_parameter_may_be_called_name_or_self(method: str) -> None:
    view = connection(**{ROUTER_KEY: (ROUTER, "")})
    params = {"self": "a", "name": "b c"}
    assert getattr(view, method)("odd", **params) == "ws://testserver/a/b%20c"


@pytest.mark.row("T75", "C47")
@pytest.mark.parametrize(("name", "params"), [("other", {}), ("ws", {})])
def test_an_unknown_name_or_a_missing_parameter_is_no_match(
    method: str, name: str, params: dict[str, Any]
) -> None:
    view = connection(**{ROUTER_KEY: (ROUTER, "")})
    with pytest.raises(NoMatchFound, match=name):
        getattr(view, method)(name, **params)


@pytest.mark.row("C47")
def test_without_a_router_there_is_nothing_to_reverse(method: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="router"):
        getattr(connection(), method)("ws", name="bob")


async def starlette_connection(app: Any, path: str, **scope: Any) -> Connection:
    """Send a handshake through a Starlette application; return what its `probe` got."""
    inner: dict[str, Any] = make_scope(path, app_seen=[], **scope)

    async def receive() -> Any:
        raise AssertionError

    async def send(_: Any) -> None:
        raise AssertionError

    async with asyncio.timeout(5):
        await app(inner, receive, send)
    return Connection(inner["app_seen"][0])


async def probe(scope: Any, receive: Any, send: Any) -> None:
    scope["app_seen"].append(scope)


async def page(request: Any) -> None:
    raise AssertionError


def starlette_app(kind: type[Starlette] = Starlette) -> Starlette:
    routes = [
        Route("/page/{name}", page, name="page"),
        WebSocketRoute("/chat/{room:int}", page, name="chat"),
        Host("api.example.org", Router([Route("/v1", page, name="v1")]), name="api"),
        Mount("/live", probe, name="live"),
    ]
    return kind(routes=routes)


@pytest.mark.row("C47", "T75")
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
@pytest.mark.parametrize(
    ("name", "params", "url"),
    [
        ("page", {"name": "a b"}, "https://testserver/root/page/a%20b"),
        ("chat", {"room": 7}, "wss://testserver/root/chat/7"),
        ("live", {"path": "/x"}, "wss://testserver/root/live/x"),
        ("api:v1", {}, "https://api.example.org/root/v1"),
    ],
)
async def test_routes_of_a_starlette_application_around_us_are_found(
    kind: Any, name: str, params: dict[str, Any], url: str
) -> None:
    view = await starlette_connection(
        starlette_app(kind), "/root/live/ws", scheme="wss", root_path="/root"
    )
    assert view.scope["root_path"] == "/root/live"
    assert view.url_for(name, **params) == url
    assert view.url == "wss://testserver/root/live/ws"
    assert view.base_url == "wss://testserver/root/"
    with pytest.raises(NoMatchFound, match="'other'"):
        view.url_for("other", name=1)
    with pytest.raises(NoMatchFound):
        view.url_for("chat")


@pytest.mark.row("C47")
async def test_our_router_is_asked_before_the_starlette_application_around_us() -> None:
    view = await starlette_connection(starlette_app(), "/live/ws")
    view[ROUTER_KEY] = (Names(page=("/ours", "websocket")), "/live")
    assert view.url_for("page", name="x") == "ws://testserver/live/ours"
    assert view.url_for("chat", room=7) == "ws://testserver/chat/7"
    with pytest.raises(NoMatchFound, match="'other'"):
        view.url_for("other")
    assert view.base_url == "ws://testserver/live/"
