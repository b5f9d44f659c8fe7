"""How a router finds the path of a name, and the table of all paths."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from telex import App, WebSocket
from telex._types import Receive, Scope, Send
from telex.exceptions import NoMatchFound
from telex.routing import Mount, Router, Routes, SocketRoute
from telex.testing import AsyncTestClient


async def ws_handler() -> None:
    raise AssertionError("not to be called")


async def other_handler() -> None:
    raise AssertionError("not to be called")


async def no_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("not to be called")


@pytest.mark.row("T75", "C47", "K53")
@pytest.mark.parametrize(
    ("name", "params", "path"),
    [
        ("ws", {}, "/ws"),
        ("odd", {"name": "a b", "self": 7}, "/a b/7"),
        ("ns:x", {"d": "2024-02-29"}, "/g/2024-02-29"),
        ("m:child", {"a": 1, "b": 2}, "/m/1/c/2"),
        ("m:deep:leaf", {"a": 1, "c": 3}, "/m/1/d/3/leaf"),
        ("unnamed", {}, "/u/unnamed"),
    ],
)
def test_a_name_is_reversed(name: str, params: dict[str, Any], path: str) -> None:
    deep = App([SocketRoute("/leaf", ws_handler, name="leaf")])
    inner = Router(
        [SocketRoute("/c/{b}", ws_handler, name="child"), Mount("/d/{c}", deep, name="deep")]
    )
    router = Router(
        [
            SocketRoute("/ws", ws_handler, name="ws"),
            SocketRoute("/{name}/{self:int}", ws_handler, name="odd"),
            "/g" // Routes(SocketRoute("/{d:date}", ws_handler, name="x"), namespace="ns"),
            Mount("/m/{a:int}", inner, name="m"),
            Mount("/nothing", no_app),
            Mount("/u", Router([SocketRoute("/unnamed", ws_handler, name="unnamed")])),
        ]
    )
    found = router.url_path_for(name, **params)
    assert found == path
    assert found.protocol == "websocket"


@pytest.mark.row("T75", "C47")
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("nothing", {}),
        ("room", {}),
        ("room", {"id": "seven"}),
        ("room", {"id": 7, "more": 1}),
        ("room", {"id": None}),
        ("m:nothing", {}),
        ("m", {}),
    ],
)
def test_what_cannot_be_reversed_is_no_match(name: str, params: dict[str, Any]) -> None:
    router = Router([SocketRoute("/{id:int}", ws_handler, name="room")])
    router.mount("/m", Router(), name="m")
    with pytest.raises(NoMatchFound) as caught:
        router.url_path_for(name, **params)
    assert (caught.value.name, caught.value.params) == (name, params)


@pytest.mark.row("T75")
def test_an_http_route_of_a_mounted_application_is_reversed_as_http() -> None:
    router = Router([Mount("/web", Starlette(routes=[Route("/p/{x}", no_app, name="page")]))])
    found = router.url_path_for("page", x=1)
    assert (found, found.protocol) == ("/web/p/1", "http")


@pytest.mark.row("L24", "L25", "C47", "T54", "T58", "T75")
@pytest.mark.parametrize("method", ["url_for", "url_path_for", "path_for"])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("root_path", ["", "/api"])
@pytest.mark.parametrize("name", ["bob", "a b", "%2F", "%252F", "é", "a?b", "a#b"])
async def test_a_connection_reverses_its_own_url(
    method: str, scheme: str, root_path: str, name: str
) -> None:
    seen = []

    async def look(ws: WebSocket) -> None:
        seen.append((ws.path_params["name"], getattr(ws, method)("ws", name=name), ws.url))
        await ws.accept()

    router = Router([Mount("/m", Router([SocketRoute("/ws/{name}", look, name="ws")]), name=None)])
    # The text of the path is decoded once on the way in and encoded on the way out.
    url = f"{scheme}://testserver{root_path}/m/ws/{quote(name, safe='')}"
    below = {"root_path": root_path}
    async with AsyncTestClient(router) as client, client.websocket(url, scope=below):
        pass
    assert seen == [(name, url, url)]


def test_walking_goes_through_groups_and_mounted_telex_applications_in_order() -> None:
    inner = Router([SocketRoute("/a/{x}", ws_handler), Mount("/s", no_app)])
    app = App([SocketRoute("/", other_handler), Mount("/deep", inner)])
    router = Router(
        [
            SocketRoute("/first", ws_handler),
            Mount("/web", no_app),
            "/g" // Routes(SocketRoute("/x", other_handler)),
            Mount("/app/{id}", app),
            Mount("/", no_app),
        ]
    )
    table = [(path, type(route).__name__) for path, route in router.walk()]
    assert table == [
        ("/first", "SocketRoute"),
        ("/web", "Mount"),
        ("/g/x", "SocketRoute"),
        ("/app/{id}/", "SocketRoute"),
        ("/app/{id}/deep/a/{x}", "SocketRoute"),
        ("/app/{id}/deep/s", "Mount"),
        ("/", "Mount"),
    ]
