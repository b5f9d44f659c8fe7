from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import pages
import telex
from clients import connected, ending, rejection
from telex._types import ASGIApp, Receive, Scope, Send
from telex.compat.lilya.apps import Lilya
from telex.compat.lilya.exceptions import ImproperlyConfigured
from telex.compat.lilya.routing import Router, WebSocketPath
from telex.compat.lilya.websockets import WebSocket
from telex.exceptions import RoutingError
from telex.testing import AsyncTestClient

pytestmark = pytest.mark.row("LX1")


@pytest.mark.row("L56")
@pytest.mark.parametrize("page", ["routing", "dependencies", "testing"])
def test_what_the_page_refers_to_at_its_end_is_documented(page: str) -> None:
    text = (pages.ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert any(block.language == "python" for block in pages.blocks(text))


def test_an_application_is_that_of_telex_with_other_parts() -> None:
    app = Lilya()
    assert isinstance(app, telex.App)
    assert isinstance(app.router, Router)
    assert app.websocket_class is WebSocket


async def test_handlers_are_registered_by_decorator_and_by_call() -> None:
    app = Lilya(dependencies={"a": lambda: "given"})

    @app.websocket("/decorated/{room}", name="decorated")
    async def decorated(connection: Any, room: str, a: str) -> None:
        assert type(connection) is WebSocket
        await connection.accept()
        await connection.close(4000, f"{room} {a}")

    given = {"a": lambda: "route"}
    app.add_websocket_route("/added/{room}", decorated, name="added", dependencies=given)
    assert await ending(app, "/decorated/x") == (4000, "x given")
    assert await ending(app, "/added/x") == (4000, "x route")
    with pytest.raises(RoutingError, match="taken"):
        app.add_websocket_route("/again", decorated, name="decorated")
    assert app.url_path_for("decorated", room="x") == "/decorated/x"


async def test_the_current_connection_is_the_same() -> None:
    app = Lilya()

    @app.websocket("/")
    async def handler() -> None:
        ws = telex.websocket
        await ws.accept()
        await ws.close(4000)
        with pytest.raises(telex.WebSocketRuntimeError):
            await ws.close()

    assert await ending(app) == (4000, "")


async def test_middleware_may_be_classes() -> None:
    class Marking:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            scope["session"] = {"marked": True}
            await self.app(scope, receive, send)

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(websocket.session)

    app = Lilya(routes=[WebSocketPath("/", handler)], middleware=[Marking])
    async with connected(app) as ws:
        assert await ws.receive_json() == {"marked": True}


async def test_functions_run_at_start_up_and_shutdown() -> None:
    calls: list[str] = []

    async def later() -> None:
        calls.append("later")

    app = Lilya(on_startup=[lambda: calls.append("up"), later], on_shutdown=[later])
    async with AsyncTestClient(app):
        assert calls == ["up", "later"]
    assert calls == ["up", "later", "later"]


@pytest.mark.parametrize("given", [{"on_startup": [print]}, {"on_shutdown": [print]}])
def test_there_is_either_a_lifespan_or_functions(given: dict[str, Any]) -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield

    with pytest.raises(ImproperlyConfigured, match="lifespan"):
        Lilya(lifespan=lifespan, **given)


async def test_the_lifespan_is_that_of_telex() -> None:
    @asynccontextmanager
    async def lifespan(app: Lilya) -> AsyncIterator[dict[str, str]]:
        assert isinstance(app, Lilya)
        yield {"db": "open"}

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4000, websocket.state.db)

    app = Lilya(routes=[WebSocketPath("/", handler)], lifespan=lifespan)
    assert await ending(app) == (4000, "open")


async def test_the_options_of_telex_work_too() -> None:
    async def handler(websocket: WebSocket) -> None:
        raise LookupError("said")

    app = Lilya(routes=[WebSocketPath("/", handler)], debug=True)
    assert "LookupError: said" in (await rejection(app, raise_app_exceptions=False)).text


@pytest.mark.row("C3")
async def test_an_exception_handler_may_close(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError

    async def handle(websocket: WebSocket, exc: Exception) -> None:
        await websocket.close(4000, "handled")

    app = Lilya(routes=[WebSocketPath("/", handler)], exception_handlers={LookupError: handle})
    assert await ending(app) == (4000, "handled")
    assert caplog.records == []
