"""The application under test. Every route of it leaves `left` and `cleanup` in the journal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

from integration import impatient
from integration.bare import APPS, run_bare
from integration.journal import Journal
from integration.raw import run_script
from telex import App, Reject, SocketView, WebSocket, WebSocketException, websocket
from telex._types import Receive, Scope, Send
from telex.context import current
from telex.lifecycle import Endpoint

GRACE = 0.3
"""Seconds a handler may go on after its client left."""

journal = Journal()


def noted(endpoint: Endpoint) -> Endpoint:
    """Write down how the handler ended, and that the cleanup ran."""

    async def run() -> None:
        ws = current.get()
        ws.add_cleanup(lambda: journal.write(ws.scope, "cleanup"))
        error: str | None = None
        try:
            await endpoint()
        except BaseException as exc:
            error = type(exc).__name__
            raise
        finally:
            journal.write(
                ws.scope,
                "left",
                error=error,
                code=ws.close_code,
                reason=ws.close_reason,
                closed_by=ws.closed_by,
                state=ws.connection_state.name,
            )

    return run


app = App(disconnect_grace=GRACE, socket_middlewares=[noted])
app.mount("/impatient", impatient.app)

journal_app = App()


# Messages


@app.websocket("/echo")
async def echo(ws: WebSocket) -> None:
    async with ws:
        async for message in ws:
            if isinstance(message, str):
                await ws.send_text(message)
            else:
                await ws.send_bytes(message)


@app.websocket("/json")
async def ws_handler() -> None:
    await websocket.accept()
    async for data in websocket.iter_json():
        await websocket.send_json({"echo": data})


@app.websocket("/view")
class ChatView(SocketView):
    encoding = "json"

    async def on_connect(self) -> None:
        await websocket.accept()

    async def on_receive(self, data: Any) -> None:
        await websocket.send_json({"echo": data})

    async def on_disconnect(self, close_code: int) -> None:
        journal.write(websocket.scope, "on_disconnect", code=close_code)


@app.websocket("/pour")
async def pour(ws: WebSocket) -> None:
    """Send as many numbers as asked for, without waiting for the client."""
    async with ws:
        for number in range(int(ws.query_params["count"])):
            await ws.send_text(str(number))


# The end


@app.websocket("/park")
async def park(ws: WebSocket) -> None:
    """Wait in receive."""
    await ws.accept()
    journal.write(ws.scope, "accepted")
    await ws.receive_text()


@app.websocket("/deaf")
async def deaf(ws: WebSocket) -> None:
    """Never read, never write."""
    await ws.accept()
    journal.write(ws.scope, "accepted")
    await asyncio.Event().wait()


@app.websocket("/ticker")
async def ticker(ws: WebSocket) -> None:
    """Only send."""
    await ws.accept()
    journal.write(ws.scope, "accepted")
    while True:
        await ws.send_text("tick")
        await asyncio.sleep(0.01)


@app.websocket("/flood")
async def flood(ws: WebSocket) -> None:
    """Only send, in every turn of the loop."""
    await ws.accept()
    while True:
        await ws.send_text("tick")
        await asyncio.sleep(0)


@app.websocket("/close/{code:int}")
async def close(ws: WebSocket) -> None:
    await ws.accept()
    await ws.close(ws.path_params["code"], ws.query_params.get("reason"))
    await ws.close(4999, "a second close does nothing")


@app.websocket("/raise-close")
async def raise_close(ws: WebSocket) -> None:
    await ws.accept()
    raise WebSocketException(4003, "not for you")


@app.websocket("/return")
async def return_while_open(ws: WebSocket) -> None:
    await ws.accept()


@app.websocket("/crash")
async def crash(ws: WebSocket) -> None:
    await ws.accept()
    await ws.receive_text()
    raise RuntimeError("a secret")


# The handshake


@app.websocket("/reject/{how}")
async def reject(ws: WebSocket) -> None:
    match ws.path_params["how"]:
        case "body":
            await ws.reject(401, body="log in first", headers={"x-token": "expired"})
        case "cookies":
            await ws.reject(401, headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])
        case "raise":
            raise Reject(409, b'{"taken": true}', {"content-type": "application/json"})
        case "stream":
            await ws.send_denial_response(StreamingResponse(_parts(), 429))
        case "close":
            await ws.close(4003, "nobody sees this")
        case "return":
            return
        case "crash":
            raise RuntimeError("a secret")
        case "visible":
            await ws.reject(401, body="log in first", visible=4401)
        case "subprotocol":
            await ws.accept(subprotocol="not offered")


async def _parts() -> AsyncIterator[bytes]:
    yield b"slow "
    yield b"down"


@app.websocket("/subprotocol")
async def subprotocol(ws: WebSocket) -> None:
    """Take the last one that is offered."""
    await ws.accept(subprotocol=ws.subprotocols[-1] if ws.subprotocols else None)
    await ws.send_json([list(ws.subprotocols), ws.accepted_subprotocol])


@app.websocket("/scope/{name}/{number:int}/{rest:path}")
async def tell_scope(ws: WebSocket) -> None:
    await ws.accept(headers=[("x-one", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2")])
    client = ws.client
    assert client is not None
    await ws.send_json(
        {
            "path": ws.path,
            "path_params": ws.path_params,
            "url": str(ws.url),
            "scheme": ws.scheme,
            "query": ws.query_params.multi_items(),
            "cookies": ws.cookies,
            "header": ws.headers.getlist("x-twice"),
            "client": list(client),
        }
    )


@app.websocket("/late")
async def late(ws: WebSocket) -> None:
    """Accept only when the client has hung up."""
    await ws.receive()
    journal.write(ws.scope, "connected")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await ws.wait_closed()
    await ws.accept()
    journal.write(ws.scope, "accepted")
    await ws.receive_text()


@journal_app.websocket("/journal")
async def tell_journal(ws: WebSocket) -> None:
    """Send the entries of a key, those to come too; who asks with `asked` marks its place."""
    # How a send fails after the test has read enough is no matter of this handler.
    with contextlib.suppress(Exception):
        async with ws, ws.tasks():
            if "asked" in ws.query_params:
                journal.write(ws.scope, "asked")
            async for entry in journal.read(ws.query_params["key"]):
                await ws.send_json(entry)


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    """The bare applications on their paths, the `App` everywhere else."""
    path = scope["path"] if scope["type"] == "websocket" else None
    if path == "/journal":
        await journal_app(scope, receive, send)
    elif path == "/raw":
        await run_script(journal, scope, receive, send)
    elif path in APPS:
        await run_bare(journal, scope, receive, send)
    else:
        await app(scope, receive, send)
