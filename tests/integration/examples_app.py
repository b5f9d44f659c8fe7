"""The examples of other frameworks' documentation, with the import line changed, as one server.

Each path is an application of its own; below it everything is as its documentation has it.
"""

from __future__ import annotations

from telex import App, WebSocket, WebSocketClose, websocket
from telex._types import ASGIApp, Receive, Scope, Send


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    websocket = WebSocket(scope=scope, receive=receive, send=send)
    await websocket.accept()
    await websocket.send_json({"message": "Hello, world!"}, mode="binary")
    await websocket.close()


async def message_text(scope: Scope, receive: Receive, send: Send) -> None:
    websocket = WebSocket(scope=scope, receive=receive, send=send)
    await websocket.accept()

    async for message in websocket.iter_json():
        data = {"message": f"Message text was: {message}"}
        await websocket.send_json(data, mode="binary")
    await websocket.close()


async def scope_view(scope: Scope, receive: Receive, send: Send) -> None:
    websocket = WebSocket(scope, receive, send)
    await websocket.accept()
    version = websocket.headers["sec-websocket-version"]
    await websocket.send_json([websocket["path"], version, websocket.query_params["search"]])
    await websocket.close()


async def echo_once(scope: Scope, receive: Receive, send: Send) -> None:
    ws = WebSocket(scope, receive, send)
    await ws.accept()
    message = await ws.receive_text()
    await ws.send_text(f"Echo: {message}")
    await ws.close()


app = App()


@app.websocket("/accept-then-close")
async def websocket_route(ws: WebSocket) -> None:
    await ws.accept()
    await ws.close()


@app.websocket("/context-manager")
async def with_context_manager(ws: WebSocket) -> None:
    async with ws:
        await ws.send_text(await ws.receive_text())


@app.websocket("/sending")
async def sending() -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.send_bytes(b"\x00\x01")
    await websocket.send_json({"key": "value"})


@app.websocket("/close-first")
async def close_first(ws: WebSocket) -> None:
    await ws.close(4000, "never seen")


BARE: dict[str, ASGIApp] = {
    "/hello": hello,
    "/message-text": message_text,
    "/scope-view": scope_view,
    "/echo-once": echo_once,
    "/websocket-close": WebSocketClose(code=1000, reason="done"),
}


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    """The bare examples by their paths, the others from one application."""
    if scope["type"] == "websocket":
        await BARE.get(scope["path"], app)(scope, receive, send)
    else:
        await app(scope, receive, send)
