"""The examples of genro-asgi's document, and conversations over all that it has."""

from __future__ import annotations

from decimal import Decimal

from compat.genro import prompts
from integration.journal import Journal
from telex._types import ASGIApp, Receive, Scope, Send
from telex.compat.genro.exceptions import WebSocketDisconnect
from telex.compat.genro.websocket import WebSocket, WebSocketState
from telex.compat.genro.wsx import build_wsx_response, parse_wsx_message

journal = Journal()


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends what was noted under the `key` in the query."""
    ws = WebSocket(scope, receive, send)
    await ws.accept()
    async for entry in journal.read(ws.query_params["key"]):
        await ws.send_json(entry)


async def states(scope: Scope, receive: Receive, send: Send) -> None:
    """The second example, which is played on a real connection."""
    given = {"scope": scope, "receive": receive, "send": send}
    names = await prompts.replay("G72", WebSocket=WebSocket, WebSocketState=WebSocketState, **given)
    await names["ws"].send_text("as written")


async def every_method(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads and sends in every way, and notes how it ended."""
    ws = WebSocket(scope, receive, send)
    await ws.accept(subprotocol="v1", headers={"X-Genro": "1"})
    await ws.send_text(await ws.receive_text())
    await ws.send_bytes(await ws.receive_bytes())
    await ws.send_json(await ws.receive_json())
    typed = await ws.receive_typed()
    await ws.send_typed({"price": typed["price"] * Decimal(2)})
    await ws.send_json(await anext(ws.iter_text()))
    await ws.send_bytes(await anext(ws.iter_bytes()))
    for read in (ws.receive_bytes, ws.receive_text):
        try:
            await read()
        except TypeError as error:
            await ws.send_text(type(error).__name__)
    ws.state.texts = [text async for text in ws]
    try:
        await ws.receive_text()
    except RuntimeError:
        journal.write(scope, "over", texts=ws.state.texts, code=ws.close_code)
    await ws.close()


async def disconnected(scope: Scope, receive: Receive, send: Send) -> None:
    """Notes what a read says when the client leaves."""
    ws = WebSocket(scope, receive, send)
    await ws.accept()
    try:
        await ws.receive_json()
    except WebSocketDisconnect as gone:
        journal.write(scope, "left", code=gone.code, state=ws.connection_state.name)


async def close_first(scope: Scope, receive: Receive, send: Send) -> None:
    """Closes too early, and goes on."""
    ws = WebSocket(scope, receive, send)
    try:
        await ws.close()
    except RuntimeError:
        await ws.accept()
    await ws.close(4000, "bye")


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Lets nobody in."""
    await WebSocket(scope, receive, send).refuse(reason="not you")


async def address(scope: Scope, receive: Receive, send: Send) -> None:
    """Says where it is."""
    ws = WebSocket(scope, receive, send)
    await ws.accept()
    await ws.send_text(ws.url)


async def wsx(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers each WSX request with a stream of its numbers."""
    ws = WebSocket(scope, receive, send)
    await ws.accept()
    async for text in ws:
        asked = parse_wsx_message(text)
        for number in asked["data"]:
            await ws.send_text(build_wsx_response(id=asked["id"], data=number, stream=True))
        await ws.send_text(build_wsx_response(id=asked["id"]))


APPS: dict[str, ASGIApp] = {
    "/journal": tell,
    "/G12": prompts.typed("G12")(WebSocket=WebSocket)["handler"],
    "/G72": states,
    "/every-method": every_method,
    "/disconnected": disconnected,
    "/close-first": close_first,
    "/refuse": refuse,
    "/address": address,
    "/wsx": wsx,
}
