"""`telex routes`: one line a route."""

from __future__ import annotations

import functools

import pytest
from starlette.applications import Starlette

from telex._cli_routes import NoRoutes, print_routes
from telex.app import App
from telex.lifecycle import Endpoint
from telex.views import SocketView


async def chat() -> None: ...


class Feed(SocketView):
    pass


def counted(endpoint: Endpoint) -> Endpoint:
    return endpoint


def limited(endpoint: Endpoint, rate: int) -> Endpoint:
    return endpoint


def make_app() -> App:
    app = App()
    app.websocket("/chat/{room}", middlewares=[counted, functools.partial(limited, rate=3)])(chat)
    app.websocket("/feed", name="news")(Feed)
    inner = App()
    inner.websocket("/{room}")(chat)
    app.mount("/inner", inner)
    app.mount("/admin", Starlette(), name="admin")
    return app


def test_functions_views_and_mounts_are_listed_with_where_they_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_routes("main:app", make_app())
    here = __name__
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["Path", "Name", "Endpoint", "Kind", "Middlewares"],
        [
            "/chat/{room}",
            "chat",
            f"{here}.chat",
            "function",
            f"{here}.counted,",
            f"{here}.limited",
        ],
        ["/feed", "news", f"{here}.Feed", "view"],
        ["/inner/{room}", "chat", f"{here}.chat", "function"],
        ["/admin", "admin", "starlette.applications.Starlette", "mount"],
    ]


def test_long_paths_are_not_cut_off_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    app = App()
    path = "/" + "/".join(f"segment-{number}" for number in range(30))
    app.websocket(path)(chat)
    print_routes("main:app", app)
    assert path in capsys.readouterr().out


def test_a_router_can_be_listed_without_its_application(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_routes("main:router", make_app().router)
    assert "/feed" in capsys.readouterr().out


def test_an_application_without_routes_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_routes("main:app", App())
    assert capsys.readouterr().out == "main:app has no WebSocket routes.\n"


def test_an_application_of_another_framework_is_refused() -> None:
    with pytest.raises(NoRoutes, match="main:app is a Starlette; only Telex routes can be listed"):
        print_routes("main:app", Starlette())
