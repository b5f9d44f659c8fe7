"""ASGI middleware as Starlette's entries, in each place: order, arguments, warnings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection

from clients import connected, rejection
from peer import serve
from telex import App, Mount, Router, Routes, SocketRoute, WebSocket
from telex._types import ASGIApp, Receive, Scope, Send
from telex.middleware.stack import wrap_app

Place = Callable[[Middleware], ASGIApp]


async def handler(ws: WebSocket) -> None:
    await ws.accept()


class Noting:
    """Writes down that it was made, with which arguments, and who was called."""

    def __init__(self, app: ASGIApp, log: list[str], name: str, *, suffix: str = "") -> None:
        self.app = app
        self.log = log
        self.name = name + suffix
        log.append(f"{self.name} made")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.log.append(f"into {self.name}")
        await self.app(scope, receive, send)
        self.log.append(f"out of {self.name}")


# The function


@pytest.mark.row("C60")
async def test_the_first_entry_is_the_outermost() -> None:
    log: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        log.append("application")

    entries = [Middleware(Noting, log, "a"), Middleware(Noting, log, "b", suffix="!")]
    app = wrap_app(inner, iter(entries), "a test")
    assert log == ["b! made", "a made"]
    log.clear()
    await serve(app)
    assert log == ["into a", "into b!", "application", "out of b!", "out of a"]


def test_without_entries_the_application_is_itself() -> None:
    router = Router()
    assert wrap_app(router, (), "a test") is router


async def test_a_function_may_take_the_place_of_a_class() -> None:
    called: list[str] = []

    def middleware(app: ASGIApp, *, name: str) -> ASGIApp:
        async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
            called.append(name)
            await app(scope, receive, send)

        return wrapper

    app = App([SocketRoute("/", handler)], middleware=[Middleware(middleware, name="it")])
    async with connected(app, lifespan=False):
        assert called == ["it"]


@pytest.mark.parametrize(
    "junk",
    [SessionMiddleware, (Noting, {}), None, "session", Noting(Router(), [], "x")],
    ids=["class", "tuple", "None", "str", "made"],
)
@pytest.mark.parametrize("place", ["app", "route", "mount"])
def test_something_that_is_no_entry_is_refused_with_its_place(junk: Any, place: str) -> None:
    where = {"app": "the application", "route": "route '/x'", "mount": "mount '/x'"}[place]
    with pytest.raises(TypeError, match=f"middleware of {where}: .* is no starlette Middleware"):
        if place == "app":
            App(middleware=[junk])
        elif place == "route":
            SocketRoute("/x", handler, middleware=[junk])
        else:
            Mount("/x", Router(), middleware=[junk])


def test_an_entry_whose_arguments_do_not_fit_is_an_error_at_once() -> None:
    entry: Any = Middleware(SessionMiddleware)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="secret_key"):
        App(middleware=[entry])


# Every place


def on_app(entry: Middleware) -> ASGIApp:
    return App([SocketRoute("/p/x", handler)], middleware=[entry])


def on_route(entry: Middleware) -> ASGIApp:
    return App(["/p" // SocketRoute("/x", handler, middleware=[entry])])


def on_router(entry: Middleware) -> ASGIApp:
    router = Router()
    router.websocket("/p/x", middleware=[entry])(handler)
    return router


def on_decorated(entry: Middleware) -> ASGIApp:
    app = App()
    app.websocket("/p/x", middleware=[entry])(handler)
    return app


def on_group(entry: Middleware) -> ASGIApp:
    routes = Routes()
    routes.websocket("/x", middleware=[entry])(handler)
    return App(["/p" // routes])


def on_wrapped_route(entry: Middleware) -> ASGIApp:
    """In groups with socket middlewares, for each of which the route is made anew."""

    def same(endpoint: Any) -> Any:
        async def wrapper() -> object:
            return await endpoint()

        return wrapper

    route = SocketRoute("/x", handler, middlewares=[same], middleware=[entry]) @ same
    inner = Routes(route, socket_middlewares=[same])
    return App(["/p" // Routes(inner, socket_middlewares=[same])], socket_middlewares=[same])


def on_mount(entry: Middleware) -> ASGIApp:
    return App([Mount("/p", Router([SocketRoute("/x", handler)]), middleware=[entry])])


def on_mount_method(entry: Middleware) -> ASGIApp:
    app = App()
    app.mount("/p", Router([SocketRoute("/x", handler)]), middleware=[entry])
    return app


PLACES: dict[Place, str] = {
    on_app: "the application",
    on_route: "route '/x'",
    on_router: "route '/p/x'",
    on_decorated: "route '/p/x'",
    on_group: "route '/x'",
    on_wrapped_route: "route '/x'",
    on_mount: "mount '/p'",
    on_mount_method: "mount '/p'",
}

everywhere = pytest.mark.parametrize("place", PLACES)


@pytest.mark.row("C60")
@everywhere
async def test_middleware_is_entered_once_in_each_place(place: Place) -> None:
    log: list[str] = []
    app = place(Middleware(Noting, log, "m"))
    log.clear()
    async with connected(app, "/p/x", lifespan=False) as ws:
        await ws.expect_close(1000)
    assert log == ["into m", "out of m"]


@pytest.mark.row("C60")
async def test_the_order_of_the_places() -> None:
    log: list[str] = []

    def entry(name: str) -> Middleware:
        return Middleware(Noting, log, name)

    route = SocketRoute("/x", handler, middleware=[entry("route 1"), entry("route 2")])
    inner = Router([route])
    app = App([Mount("/p", inner, middleware=[entry("mount")])], middleware=[entry("app")])
    log.clear()
    async with connected(app, "/p/x", lifespan=False) as ws:
        await ws.expect_close(1000)
    assert log[:4] == ["into app", "into mount", "into route 1", "into route 2"]


@pytest.mark.row("C60")
async def test_middleware_of_a_route_is_outside_of_its_socket_middlewares() -> None:
    log: list[str] = []

    def named(name: str) -> Any:
        def middleware(endpoint: Any) -> Any:
            async def wrapper() -> object:
                log.append(f"into {name}")
                return await endpoint()

            return wrapper

        return middleware

    entry = Middleware(Noting, log, "asgi")
    route = SocketRoute("/x", handler, middlewares=[named("list")], middleware=[entry])
    app = App([Routes(route @ named("@"), socket_middlewares=[named("group")])])
    log.clear()
    async with connected(app, "/x") as ws:
        await ws.expect_close(1000)
    assert log == ["into asgi", "into group", "into @", "into list", "out of asgi"]


# Warnings


class OwnBase(BaseHTTPMiddleware):
    """Somebody's own, derived from Starlette's."""


class OwnCors(CORSMiddleware):
    """Somebody's own."""


class OfBoth(OwnBase, CORSMiddleware):
    """It is told once."""


WRITE = "write it as ASGI middleware, or use socket_middlewares or connection_middleware"
CORS = "CORS does not apply to WebSockets; allowed_origins does"


@everywhere
@pytest.mark.parametrize(
    ("cls", "advice"),
    [
        (BaseHTTPMiddleware, WRITE),
        (OwnBase, WRITE),
        (CORSMiddleware, CORS),
        (OwnCors, CORS),
        (OfBoth, WRITE),
    ],
)
async def test_middleware_that_passes_websockets_by_is_there_with_one_warning(
    place: Place, cls: Any, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "telex")
    app = place(Middleware(cls))
    where = PLACES[place]
    assert caplog.messages == [f"{cls.__name__} of {where} passes WebSockets by: {advice}"]
    assert [(r.name, r.levelname) for r in caplog.records] == [("telex", "WARNING")]
    caplog.clear()
    async with connected(app, "/p/x", lifespan=False) as ws:
        await ws.expect_close(1000)
    assert caplog.messages == []


def test_each_entry_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    App(middleware=[Middleware(OwnBase), Middleware(OwnCors)])
    App(middleware=[Middleware(OwnBase)])
    named = [message.partition(" ")[0] for message in caplog.messages]
    assert sorted(named) == ["OwnBase", "OwnBase", "OwnCors"]


@everywhere
def test_about_all_other_middleware_nothing_is_said(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place(Middleware(SessionMiddleware, secret_key="k"))
    place(Middleware(GZipMiddleware))
    place(Middleware(Noting, [], "m"))
    assert caplog.messages == []


def test_the_names_it_knows_are_those_of_starlette() -> None:
    from telex.middleware.stack import _SKIPS_WEBSOCKETS

    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in (BaseHTTPMiddleware, CORSMiddleware)}
    assert _SKIPS_WEBSOCKETS.keys() == names


# Starlette's own middleware


class ByHeader(AuthenticationBackend):
    """Believes everybody who says a name."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return (AuthCredentials(["chat"]), SimpleUser(name)) if name else None


@pytest.mark.row("L20", "L21", "L22", "C46")
@everywhere
async def test_session_user_and_scopes_are_there_behind_starlettes_middleware(
    place: Place,
) -> None:
    seen: list[Any] = []

    def both(app: ASGIApp) -> ASGIApp:
        inner = AuthenticationMiddleware(app, ByHeader())
        return SessionMiddleware(inner, secret_key="k")

    def noting(app: ASGIApp) -> ASGIApp:
        async def reading(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                ws = WebSocket(scope, receive, send)
                seen.append((ws.user.display_name, ws.auth.scopes, dict(ws.session)))
            await app(scope, receive, send)

        return both(reading)

    app = place(Middleware(noting))
    async with connected(app, "/p/x", lifespan=False, headers={"x-user": "ada"}) as ws:
        await ws.expect_close(1000)
    assert seen == [("ada", ["chat"], {})]


@everywhere
async def test_trusted_hosts_are_enforced(place: Place) -> None:
    app = place(Middleware(TrustedHostMiddleware, allowed_hosts=["*.example.com"]))
    refused = await rejection(app, "/p/x", lifespan=False)
    assert (refused.status, refused.body) == (400, b"Invalid host header")
    async with connected(app, "ws://www.example.com/p/x", lifespan=False):
        pass


async def test_an_application_of_starlette_may_be_wrapped_too() -> None:
    log: list[str] = []
    app = App(http=Starlette(), middleware=[Middleware(Noting, log, "m")])
    app.websocket("/")(handler)
    async with connected(app):
        pass
    assert log.count("into m") == 2  # the lifespan and the connection
