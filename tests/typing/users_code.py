"""What users write, as a type checker sees it. Checked by `test_types.py`, never run.

A line with `type: ignore` has to be an error: strict mode complains about one that is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, assert_type

import telex
from telex import App, Routes, SocketRoute, SocketView, WebSocket, WebSocketClose, websocket
from telex._iterator import MessageIterator

app = App()

assert_type(telex.websocket, WebSocket)
assert_type(websocket, WebSocket)


@app.websocket("/typed/{room}", name="typed")
async def typed(ws: WebSocket) -> int:
    return ws.close_code or 0


still_a_function: Callable[[WebSocket], Awaitable[int]] = typed
not_that_one: Callable[[str], Awaitable[int]] = typed  # type: ignore[assignment]


@app.router.websocket("/none")
async def without_parameters() -> None:
    await websocket.accept()


async def call_them(ws: WebSocket) -> None:
    assert_type(await typed(ws), int)
    await typed("no connection")  # type: ignore[arg-type]
    await without_parameters(ws)  # type: ignore[call-arg]


@app.websocket("/view")
class View(SocketView):
    encoding = "json"

    async def on_receive(self, data: Any) -> None:
        assert_type(self.websocket, WebSocket)
        await self.websocket.send_json(data)

    def helper(self) -> str:
        return "kept"


assert_type(View().helper(), str)


class Refused(Exception):
    code = 4003


@app.exception_handler(Refused)
async def refused(ws: WebSocket, exc: Refused) -> None:
    await ws.close(exc.code)


async def iterate(ws: WebSocket) -> None:
    async for message in ws:
        assert_type(message, str | bytes)
    async for text in ws.iter_text():
        assert_type(text, str)
    async for data in ws.iter_bytes():
        assert_type(data, bytes)
    async for value in ws.iter_json():
        assert_type(value, Any)
    async for message in websocket:
        assert_type(message, str | bytes)
    assert_type(ws.iter_text(), MessageIterator[str])
    texts: AsyncIterator[str] = ws.iter_text()
    numbers: AsyncIterator[int] = ws.iter_text()  # type: ignore[assignment]
    await ws.iter_text()  # type: ignore[misc]
    del texts, numbers


async def receive_and_send(ws: WebSocket) -> None:
    assert_type(await ws.receive_text(), str)
    assert_type(await ws.receive_bytes(), bytes)
    assert_type(await ws.receive_json(), Any)
    assert_type(await ws.receive_json("binary"), Any)
    assert_type(ws.send_nowait("x"), bool)
    await ws.send_text("x")
    await ws.send_bytes(bytearray(b"x"))
    await ws.send_json({"a": [1, None]}, mode="binary")
    await ws.send_text(b"x")  # type: ignore[arg-type]
    await ws.send_bytes("x")  # type: ignore[arg-type]
    await ws.receive_json(mode="other")  # type: ignore[arg-type]


async def begin_and_end(ws: WebSocket) -> None:
    await ws.accept("chat", {"x-a": "1"})
    await ws.accept(headers=[(b"x-a", b"1"), ("x-b", "2")])
    await ws.accept(headers={"x-a": 1})  # type: ignore[arg-type]
    async with ws as entered:
        assert_type(entered, WebSocket)
    async with websocket as entered:
        assert_type(entered, WebSocket)
    await ws.close(4000, reason=None)
    await ws.close("4000")  # type: ignore[arg-type]
    await ws.reject(401, body="no", headers={"x-a": "1"}, visible=4401)
    await ws.reject(401, "no")  # type: ignore[call-arg]
    ws.add_cleanup(lambda: None)
    ws.add_cleanup(without_parameters)
    assert_type(await ws.is_disconnected(), bool)
    assert_type(ws.close_code, int | None)
    assert_type(ws.close_reason, str | None)
    assert_type(ws.accepted_subprotocol, str | None)
    assert_type(ws.connection_state, telex.WebSocketState)
    assert_type(ws.latency, float | None)
    ws.close_code = 1000  # type: ignore[misc]


def look(ws: WebSocket) -> None:
    assert_type(ws.url, telex.URL)
    assert_type(ws.headers, telex.Headers)
    assert_type(ws.headers.get("a"), str | None)
    assert_type(ws.query_params, telex.QueryParams)
    assert_type(ws.cookies, dict[str, str])
    assert_type(ws.client, telex.Address | None)
    assert_type(ws.state, telex.State)
    assert_type(ws.subprotocols, tuple[str, ...])
    assert_type(ws["path"], Any)


class Face(WebSocket):
    """A subclass keeps its type."""


async def subclasses(face: Face) -> None:
    async with face as entered:
        assert_type(entered, Face)


def catch() -> None:
    try:
        raise telex.WebSocketDisconnect(1001, "bye")
    except telex.WebSocketDisconnect as gone:
        assert_type(gone.code, int)
        assert_type(gone.reason, str)


app.router <<= SocketRoute("/route", without_parameters)
app.router <<= "/prefix" // Routes(SocketRoute("/route", typed, name="r"))
closing: telex.WebSocketClose = WebSocketClose(1000, "done")
App(http=closing)
