from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.responses import PlainTextResponse

from clients import connected
from peer import serve
from telex import App, Mount, Router, context
from telex import WebSocket as Core
from telex.compat.kui.asgi import Kui, SocketView, WebSocket, websocket
from telex.testing import AsyncTestClient


@pytest.mark.row("K2", "K25")
def test_the_proxy_is_that_of_telex() -> None:
    assert id(websocket) == id(context.websocket)


@pytest.mark.row("K25", "C66")
async def test_handlers_get_the_connection_as_kui_has_it() -> None:
    app = Kui()
    seen: list[object] = []

    @app.router.websocket("/function")
    async def function(ws: WebSocket) -> None:
        assert websocket == ws
        seen.append(ws)
        await ws.accept()

    @app.router.websocket("/core")
    async def core(ws: Core) -> None:
        seen.append(ws)
        await ws.accept()

    @app.websocket("/view")
    class View(SocketView):
        async def on_connect(self) -> None:
            seen.append(self.websocket)
            await websocket.accept()
            await websocket.close()

    for path in ("/function", "/core", "/view"):
        async with connected(app, path) as ws:
            await ws.expect_close(1000)
    assert [type(each) for each in seen] == [WebSocket] * 3


async def test_an_application_mounted_in_it_hands_out_its_own() -> None:
    inner, app = App(), Kui()
    seen: list[type] = []

    @inner.websocket("/")
    async def handler(ws: Core) -> None:
        seen.append(type(ws))

    app.router <<= Mount("", inner)
    await serve(app)
    assert seen == [Core]


@pytest.mark.row("K55", "T72")
def test_the_router_can_be_added_to_and_not_replaced() -> None:
    app = Kui()
    before = app.router
    app.router <<= []
    assert app.router is before
    with pytest.raises(AttributeError, match="cannot be replaced"):
        app.router = Router()


@pytest.mark.row("KX2")
async def test_http_is_for_another_application_and_has_no_socket_middlewares() -> None:
    async def http(scope: object, receive: object, send: object) -> None:
        response = PlainTextResponse("hello")
        await response(scope, receive, send)  # type: ignore[arg-type]

    def middleware(endpoint: object) -> object:
        pytest.fail("it was called")

    app = Kui(http=http, socket_middlewares=[middleware])
    async with AsyncTestClient(app) as client:
        assert (await client.http.get("/")).text == "hello"


async def test_the_lifespan_may_be_an_async_generator_function() -> None:
    noted: list[str] = []

    async def lifespan(app: Kui) -> AsyncIterator[None]:
        noted.append(type(app).__name__)
        yield
        noted.append("end")

    async with AsyncTestClient(Kui(lifespan=lifespan)):
        assert noted == ["Kui"]
    assert noted == ["Kui", "end"]
