"""The examples of Kui's documentation as applications, `/en/K7` and so on; see `documents_app`.

What an example leaves behind inside of the server is told to whoever connects to `/told` beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import foreign
from telex._types import ASGIApp
from telex.compat.kui.asgi import Kui, SocketRoute, SocketView, websocket

NUMBERS: Final = {
    "en": ("K7", "K17", "K29", "K33", "K38", "K49", "K56", "K59", "KX3"),
    "zh": ("Z3", "Z8", "Z17", "Z18", "Z19", "Z22", "Z25", "Z27", "KX3"),
}
"""The examples of each document, in the same order."""


class Told:
    """What an example leaves behind; the next one who asks is told the next of it."""

    def __init__(self) -> None:
        self._left = asyncio.Queue[Any]()

    def __call__(self, value: Any) -> None:
        self._left.put_nowait(value)

    async def handler(self) -> None:
        await websocket.accept()
        await websocket.send_json(await self._left.get())


def app_of(run: Callable[[Kui, Told], object]) -> Kui:
    """Return an application that an example was run in."""
    app, told = Kui(), Told()
    app.router <<= SocketRoute("/told", told.handler, None)
    run(app, told)
    return app


def echo(example: foreign.Example) -> ASGIApp:
    return app_of(lambda app, _: example(app=app))


def view(example: foreign.Example) -> ASGIApp:
    def run(app: Kui, told: Told) -> None:
        async def on_disconnect(self: SocketView, close_code: int) -> None:
            told(close_code)

        example(app=app)["ChatView"].on_disconnect = on_disconnect

    return app_of(run)


def managing(example: foreign.Example) -> ASGIApp:
    def run(app: Kui, told: Told) -> None:
        @app.router.websocket("/ws")
        async def handler() -> None:
            told((await example.block(websocket=websocket))["is_closed"])

    return app_of(run)


def sending(example: foreign.Example) -> ASGIApp:
    def run(app: Kui, _: Told) -> None:
        @app.router.websocket("/ws")
        async def handler() -> None:
            await websocket.accept()
            await example.block(websocket=websocket)

    return app_of(run)


def receiving(example: foreign.Example) -> ASGIApp:
    def run(app: Kui, told: Told) -> None:
        @app.router.websocket("/ws")
        async def handler() -> None:
            await websocket.accept()
            printed: list[Any] = []
            names = await example.block(websocket=websocket, print=printed.append)
            told([names["text"], names["data"].hex(), names["obj"], *printed])

    return app_of(run)


def parameters(example: foreign.Example) -> ASGIApp:
    return app_of(lambda app, _: example(app=app, SocketView=SocketView, websocket=websocket))


def routing(example: foreign.Example) -> ASGIApp:
    """The decorator, or the route object that takes its place, beside each other."""
    decorator, *rest = example.code.split("\n\n")

    def run(app: Kui, told: Told) -> None:
        async def ws_handler() -> None:
            told("the route object")

        other = Kui()
        foreign.Example(example.name, decorator)(app=other)
        foreign.Example(example.name, "\n\n".join(rest))(app=app, ws_handler=ws_handler)
        app.mount("/decorator", other)

    return app_of(run)


def saying(word: str) -> Callable[[], Awaitable[None]]:
    async def handler() -> None:
        await websocket.accept()
        await websocket.send_text(word)

    handler.__name__ = word
    return handler


def grouping(example: foreign.Example) -> ASGIApp:
    def run(app: Kui, _: Told) -> None:
        example(app=app, chat_handler=saying("chat"), notify_handler=saying("notify"))

    return app_of(run)


def middleware(example: foreign.Example) -> ASGIApp:
    """The first application, with the second one that the example makes under `/second`."""

    def run(app: Kui, told: Told) -> None:
        def noting(word: str) -> Any:
            def middleware(endpoint: Callable[[], Awaitable[object]]) -> Any:
                async def wrapper() -> object:
                    told(word)
                    return await endpoint()

                return wrapper

            return middleware

        names: dict[str, Any] = {"Kui": Kui, "SocketRoute": SocketRoute}
        names |= {"ws_auth_middleware": noting("auth"), "ws_logging_middleware": noting("logging")}
        second = example(app=app, handler=saying("first"), **names)["app"]
        second.router <<= SocketRoute("/ws", saying("second"), None)
        app.mount("/second", second)

    return app_of(run)


MAKERS: Final = (
    *(echo, view, managing, sending, receiving),
    *(parameters, routing, grouping, middleware),
)

APPS: Final[dict[str, ASGIApp]] = {
    f"/{language}/{number}": make(foreign.example(f"kui-{language}", number))
    for language, numbers in NUMBERS.items()
    for number, make in zip(numbers, MAKERS, strict=True)
}
