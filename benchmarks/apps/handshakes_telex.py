"""Handshakes with Telex. The handlers are those of `handshakes_fastapi.py`, letter by letter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from telex import App, Cookie, Depends, Header, Query, WebSocket

app = App()


@app.websocket("/none")
async def none(ws: WebSocket) -> None:
    await ws.accept()
    await ws.close()


@app.websocket("/three/{item}")
async def three(
    ws: WebSocket,
    item: int,
    page: Annotated[int, Query()],
    x_request_id: Annotated[str, Header()],
) -> None:
    await ws.accept()
    await ws.close()


@app.websocket("/ten/{item}")
async def ten(
    ws: WebSocket,
    item: int,
    page: Annotated[int, Query()],
    size: Annotated[int, Query()],
    q: Annotated[str, Query()],
    order: Annotated[str, Query()],
    tag: Annotated[list[str], Query()],
    level: Annotated[list[int], Query()],
    x_request_id: Annotated[str, Header()],
    user_agent: Annotated[str, Header()],
    session: Annotated[str, Cookie()],
) -> None:
    await ws.accept()
    await ws.close()


def user(session: Annotated[str, Cookie()]) -> str:
    return session


async def database() -> AsyncIterator[object]:
    yield app


@app.websocket("/depends/{item}")
async def depends(
    ws: WebSocket,
    item: int,
    who: Annotated[str, Depends(user)],
    opened: Annotated[object, Depends(database)],
) -> None:
    await ws.accept()
    await ws.close()
