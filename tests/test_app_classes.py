"""What a subclass of `App` chooses."""

from __future__ import annotations

import pytest

from peer import make_scope, serve
from telex import App, Router, SocketView, WebSocket, websocket


class Labelled(WebSocket):
    mark = "mine"


class LabelledApp(App):
    websocket_class = Labelled


@pytest.mark.row("C66")
async def test_a_subclass_of_an_application_chooses_what_handlers_get() -> None:
    app = LabelledApp()
    seen: list[object] = []

    @app.websocket("/function")
    async def function(ws: WebSocket) -> None:
        seen.append(ws)
        assert websocket == ws
        raise LookupError

    @app.websocket("/view")
    class View(SocketView):
        async def on_connect(self) -> None:
            seen.append(self.websocket)

    @app.exception_handler(LookupError)
    async def handler(ws: WebSocket, exc: LookupError) -> None:
        seen.append(ws)

    for path in ("/function", "/view"):
        await serve(app, scope=make_scope(path))
    assert [type(each) for each in seen] == [Labelled] * 3


class Counting(Router):
    """Counts what is registered."""

    added = 0

    def add(self, item: object) -> None:
        self.added += 1
        super().add(item)  # type: ignore[arg-type]


async def test_a_subclass_of_an_application_chooses_its_router() -> None:
    class CountingApp(App):
        router_class = Counting

    app = CountingApp()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()

    assert isinstance(app.router, Counting)
    assert app.router.added == 2  # the routes it is made with, and this one
    assert (await serve(app)).types == ["accept", "close"]
