"""Telex inside other applications, and other applications inside Telex."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from telex import App, WebSocket


@contextmanager
def printed(name: str) -> Iterator[dict[str, str]]:
    """The lifespan of an application: says so, and leaves something in the state."""
    sys.stderr.write(f"{name} started\n")
    yield {name: "was started"}
    sys.stderr.write(f"{name} stopped\n")


@asynccontextmanager
async def host_lifespan(app: object) -> AsyncIterator[dict[str, str]]:
    with printed("host") as state:
        yield state


@asynccontextmanager
async def telex_lifespan(app: object) -> AsyncIterator[dict[str, str]]:
    with printed("telex") as state:
        yield state


def rooms() -> App:
    """The same Telex application for every place."""
    app = App(lifespan=telex_lifespan)

    @app.websocket("/rooms/{room}", name="room")
    async def room(ws: WebSocket) -> None:
        async with ws:
            await ws.send_json(
                {
                    "room": ws.path_params["room"],
                    "url": str(ws.url),
                    "other": str(ws.url_for("room", room="other")),
                    "state": dict(ws.state),
                }
            )
            async for text in ws.iter_text():
                await ws.send_text(text)

    @app.websocket("/crash")
    async def crash(ws: WebSocket) -> None:
        await ws.accept()
        raise RuntimeError("a secret")

    return app


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"hello": "http", "state": dict(request.state._state)})


in_starlette = Starlette(
    routes=[Route("/hello", hello), Mount("/live", rooms())], lifespan=host_lifespan
)

in_fastapi = FastAPI(lifespan=host_lifespan)
in_fastapi.get("/hello")(hello)
in_fastapi.mount("/live", rooms())


@in_fastapi.websocket("/own")
async def own(websocket: FastAPIWebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("FastAPI's own")
    await websocket.close()


inside = FastAPI(lifespan=host_lifespan)
inside.get("/hello")(hello)

around_fastapi = App(http=inside, lifespan=telex_lifespan)
around_fastapi.mount("/live", rooms())

alone = rooms()
