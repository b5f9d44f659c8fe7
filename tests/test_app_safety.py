"""What belongs to one application stays there: overrides, handlers, middleware, origins, state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount as StarletteMount
from starlette.testclient import TestClient as StarletteTestClient
from starlette.testclient import WebSocketDenialResponse

from clients import connected, ending, rejection
from telex import App, Depends, Query, Router, SocketRoute, State, WebSocket
from telex._types import ASGIApp, CloseRecord, Receive, Scope, Send
from telex.testing import AsyncTestClient

FOREIGN = {"origin": "https://evil.example", "cookie": "id=1"}


async def real() -> str:
    return "real"


async def says(ws: WebSocket, word: Annotated[str, Depends(real)]) -> None:
    await ws.accept()
    await ws.send_text(word)


def saying(**options: Any) -> App:
    return App([SocketRoute("/", says)], **options)


async def said(app: ASGIApp, url: str = "/", **options: Any) -> str:
    async with connected(app, url, **options) as ws:
        return await ws.receive_text()


def always(word: str) -> Callable[[], str]:
    """A dependency that gives one word."""

    def give() -> str:
        return word

    return give


# Overrides


async def test_overrides_of_two_applications_stay_apart() -> None:
    one, two, none = saying(), saying(), saying()
    one.dependency_overrides[real] = always("one")
    two.dependency_overrides[real] = always("two")
    assert [await said(app) for app in (one, two, none)] == ["one", "two", "real"]


async def test_overrides_of_one_application_are_not_those_of_one_with_the_same_router() -> None:
    router = Router([SocketRoute("/", says)])
    one, two = App(router), App(router)
    one.dependency_overrides[real] = always("one")
    assert [await said(app) for app in (one, two)] == ["one", "real"]
    assert await said(router) == "real"


async def test_overrides_are_looked_at_for_each_connection() -> None:
    app = saying()
    async with AsyncTestClient(app) as client:
        for word in ("first", "second"):
            app.dependency_overrides[real] = always(word)
            async with client.websocket("/") as ws:
                assert await ws.receive_text() == word
        app.dependency_overrides.clear()
        async with client.websocket("/") as ws:
            assert await ws.receive_text() == "real"


async def test_a_mounted_application_has_overrides_of_its_own() -> None:
    outer, inner = saying(), saying()
    outer.mount("/in", inner)
    outer.dependency_overrides[real] = always("outer")
    assert [await said(outer, path) for path in ("/", "/in/")] == ["outer", "real"]
    inner.dependency_overrides[real] = always("inner")
    assert [await said(outer, path) for path in ("/", "/in/")] == ["outer", "inner"]
    outer.dependency_overrides.clear()
    assert [await said(outer, path) for path in ("/", "/in/")] == ["real", "inner"]
    # Nothing is left behind in the scope by the one that was inside.
    assert await said(outer) == "real"


async def test_a_mounted_router_has_the_overrides_of_the_application() -> None:
    app = App()
    app.mount("/in", Router([SocketRoute("/", says)]))
    app.dependency_overrides[real] = always("application")
    assert await said(app, "/in/") == "application"


async def test_an_application_in_starlette_has_overrides_of_its_own() -> None:
    one, two = saying(), saying()
    outer = Starlette(routes=[StarletteMount("/one", one), StarletteMount("/two", two)])
    one.dependency_overrides[real] = always("one")
    assert [await said(outer, path) for path in ("/one/", "/two/")] == ["one", "real"]


# Exception handlers and middleware


async def fails(ws: WebSocket) -> None:
    await ws.accept()
    raise LookupError


def closing(code: int) -> Callable[[WebSocket, Exception], Any]:
    return lambda ws, exc: ws.close(code)


async def test_exception_handlers_of_three_applications_stay_apart() -> None:
    inner, outer, other = (App([SocketRoute("/", fails)]) for _ in range(3))
    outer.mount("/in", inner)
    outer.add_exception_handler(LookupError, closing(4001))
    other.add_exception_handler(LookupError, closing(4002))
    for app, path, code in [
        (outer, "/", 4001),
        (outer, "/in/", 1011),
        (inner, "/", 1011),
        (other, "/", 4002),
    ]:
        end = await ending(app, path, raise_app_exceptions=False)
        assert end == (code, ""), path


async def test_what_middleware_around_a_mounted_application_raises_is_the_outer_ones() -> None:
    class Raising:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise LookupError

    def answering(status: int) -> Callable[[WebSocket, Exception], Any]:
        return lambda ws, exc: ws.reject(status)

    inner = saying(exception_handlers={LookupError: answering(410)})
    outer = App(exception_handlers={LookupError: answering(404)})
    outer.mount("/around", inner, middleware=[Middleware(Raising)])
    within = saying(
        exception_handlers={LookupError: answering(410)}, middleware=[Middleware(Raising)]
    )
    outer.mount("/within", within)
    assert (await rejection(outer, "/around/")).status == 404
    assert (await rejection(outer, "/within/")).status == 410


async def test_debug_mode_of_a_mounted_application_is_its_own() -> None:
    for outer_debug in (False, True):
        outer, inner = App(debug=outer_debug), App([SocketRoute("/", fails)], debug=not outer_debug)
        outer.mount("/in", inner)
        _, reason = await ending(outer, "/in/", raise_app_exceptions=False)
        assert bool(reason) is not outer_debug


class Kinds:
    """An application with middleware of every kind, each of which writes down its name."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    def app(self) -> App:
        return saying(
            middleware=[Middleware(self.asgi)],
            connection_middleware=[self],
            socket_middlewares=[self.socket],
        )

    def asgi(self, app: ASGIApp) -> ASGIApp:
        async def noting(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                self.log.append(f"asgi {self.name}")
            await app(scope, receive, send)

        return noting

    async def on_handshake(self, ws: WebSocket) -> None:
        self.log.append(f"hooks {self.name}")

    def socket(self, endpoint: Any) -> Any:
        async def wrapper() -> object:
            self.log.append(f"socket {self.name}")
            return await endpoint()

        return wrapper


@pytest.mark.row("C60")
async def test_every_kind_of_middleware_stays_with_its_application() -> None:
    log: list[str] = []
    outer, inner, other = (Kinds(name, log).app() for name in ("outer", "inner", "other"))
    outer.mount("/in", inner)
    for app, path, expected in [
        (other, "/", ["asgi other", "hooks other", "socket other"]),
        (inner, "/", ["asgi inner", "hooks inner", "socket inner"]),
        (outer, "/", ["asgi outer", "hooks outer", "socket outer"]),
        # Socket middlewares go around routes, not around what is mounted.
        (outer, "/in/", ["asgi outer", "hooks outer", "asgi inner", "hooks inner", "socket inner"]),
    ]:
        log.clear()
        await said(app, path)
        assert log == expected


# Options of an application


@pytest.mark.row("T76")
async def test_foreign_pages_are_kept_out_unless_told_otherwise() -> None:
    assert (await rejection(saying(), headers=FOREIGN)).status == 403
    for allowed in (["https://evil.example"], ["https://*.example", "null"], ["*"]):
        app = saying(allowed_origins=allowed)
        assert await said(app, headers=FOREIGN) == "real"
    anonymous = {"origin": "https://evil.example"}
    assert await said(saying(), headers=anonymous) == "real"
    assert (await rejection(saying(allowed_origins=[]), headers=anonymous)).status == 403


@pytest.mark.row("T76")
async def test_the_check_comes_before_middleware_and_leaves_http_alone() -> None:
    scopes: list[str] = []

    class Noting:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            scopes.append(scope["type"])
            await self.app(scope, receive, send)

    app = saying(middleware=[Middleware(Noting)])
    async with AsyncTestClient(app) as client:
        await client.http.get("/", headers=FOREIGN)
        assert (await rejection(app, headers=FOREIGN, lifespan=False)).status == 403
    assert scopes == ["lifespan", "http"]


async def test_a_refusal_ends_like_every_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "telex.connection")
    await rejection(saying(), headers=FOREIGN)
    assert [r.name for r in caplog.records] == ["telex", "telex.connection"]


async def test_connection_middleware_may_be_any_iterable_and_is_asked_for_once() -> None:
    class Counting:
        def __init__(self) -> None:
            self.ends: list[int] = []

        async def on_close(self, ws: WebSocket, record: CloseRecord) -> None:
            self.ends.append(record.code)

    counting = Counting()
    app = saying(connection_middleware=iter([counting]))
    for _ in range(3):
        await said(app)
    assert len(counting.ends) == 3


async def test_clients_of_others_see_the_refusal_too() -> None:
    client = StarletteTestClient(saying())
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/", headers=FOREIGN),
    ):
        pass
    assert (refused.value.status_code, refused.value.text) == (403, "origin not allowed")


# What is injected


class Shop(App):
    """Somebody's own application."""

    greeting = "welcome"


@asynccontextmanager
async def with_pool(app: App) -> AsyncIterator[Mapping[str, Any]]:
    yield {"pool": "from the lifespan"}


async def test_state_is_that_of_the_connection_and_app_the_application() -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket, state: State, application: App) -> None:
        state.visitor = "ada"
        seen.extend([ws.state.visitor, state.pool, application is ws.app, application])
        await ws.accept()

    app = App([SocketRoute("/", handler)], lifespan=with_pool)
    await ending(app)
    assert seen == ["ada", "from the lifespan", True, app]
    assert "visitor" not in app.state


async def test_a_mounted_application_is_the_one_that_is_injected() -> None:
    seen: list[App] = []

    async def handler(ws: WebSocket, application: App) -> None:
        seen.append(application)
        await ws.accept()

    inner = App([SocketRoute("/", handler)])
    outer = App([SocketRoute("/", handler)])
    outer.mount("/in", inner)
    for path in ("/in/", "/", "/in/"):
        await ending(outer, path)
    assert seen == [inner, outer, inner]


async def test_a_subclass_of_app_works_and_is_injected_as_an_app() -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket, application: App, page: Annotated[int, Query()] = 1) -> None:
        assert isinstance(application, Shop)
        seen.append((application.greeting, page))
        await ws.accept()

    shop = Shop([SocketRoute("/", handler)])
    await ending(shop, "/?page=2")
    assert seen == [("welcome", 2)]
    assert (await rejection(shop, headers=FOREIGN)).status == 403


async def test_a_subclass_can_be_asked_for_by_its_own_class() -> None:
    seen: list[Shop] = []

    async def handler(ws: WebSocket, shop: Shop) -> None:
        seen.append(shop)
        await ws.accept()

    shop = Shop()
    shop.websocket("/")(handler)
    await ending(shop)
    assert seen == [shop]


async def test_without_an_app_asking_for_one_is_an_error_that_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given: list[App] = []

    async def handler(application: App) -> None:
        given.append(application)

    router = Router([SocketRoute("/x", handler)])
    assert (await rejection(router, "/x", raise_app_exceptions=False)).status == 500
    assert given == []
    assert "a parameter of '/x' wants the App, got None" in caplog.text


async def test_another_application_than_the_one_asked_for_is_not_given() -> None:
    given: list[object] = []

    async def handler(shop: Shop) -> None:
        given.append(shop)

    app = App()
    app.websocket("/x")(handler)
    await rejection(app, "/x", raise_app_exceptions=False)
    assert given == []
