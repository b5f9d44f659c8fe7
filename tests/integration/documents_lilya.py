"""The examples of Lilya's document, and conversations over what routes of its kind have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from foreign import example
from integration.journal import Journal
from telex._types import ASGIApp, Receive, Scope, Send
from telex.compat.lilya.apps import Lilya
from telex.compat.lilya.controllers import WebSocketController
from telex.compat.lilya.dependencies import Provide, Provides
from telex.compat.lilya.exceptions import PermissionDenied, WebSocketRuntimeError
from telex.compat.lilya.routing import WebSocketPath
from telex.compat.lilya.websockets import WebSocket, WebSocketDisconnect

journal = Journal()


async def tell(websocket: WebSocket) -> None:
    """Sends what was noted under the `key` in the query."""
    await websocket.accept()
    async for entry in journal.read(websocket.query_params["key"]):
        await websocket.send_json(entry)


async def handshake(scope: Scope, receive: Receive, send: Send) -> None:
    """Runs the examples that look at the handshake, and sends what they look at."""
    names: dict[str, Any] = {"scope": scope, "receive": receive, "send": send}
    url = example("lilya", "L13")(**names)["websocket"].url
    version = example("lilya", "L15")(**names)["websocket"].headers["sec-websocket-version"]
    search = example("lilya", "L17")(**names)["websocket"].query_params["search"]
    websocket = example("lilya", "L19")(**names)["websocket"]
    await websocket.accept()
    found = [url.scheme, url.path, url.port, version, search, websocket.path_params["username"]]
    await websocket.send_json(found)


async def session(websocket: WebSocket) -> AsyncIterator[str]:
    """What a route is provided with; notes that it was closed."""
    yield "a session"
    journal.write(websocket.scope, "closed")


async def provides(
    connection: Any,
    room: str,
    greeting: str,
    db: Any = Provides(),  # noqa: B008 - that is how it is written there
    more: str = "as it was",
) -> None:
    """Sends what it was given."""
    await connection.accept()
    await connection.send_json([room, greeting, db, more])
    async for text in connection.iter_text():
        await connection.send_text(text)


class Echo(WebSocketController):
    """Echoes values, and notes how it ended."""

    encoding = "json"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_json(data)

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        journal.write(websocket.scope, "left", code=close_code)


async def twice(websocket: WebSocket) -> None:
    """Closes twice when the client stays, once more when it has left."""
    await websocket.accept()
    try:
        await websocket.receive_text()
    except WebSocketDisconnect as gone:
        await websocket.close()
        await websocket.close()
        journal.write(websocket.scope, "left", code=gone.code, reason=gone.reason)
        return
    await websocket.close(4000, "bye")
    try:
        await websocket.close()
    except WebSocketRuntimeError:
        journal.write(websocket.scope, "refused")


async def denied(websocket: WebSocket) -> None:
    """Lets nobody in."""
    raise PermissionDenied


routes = Lilya(
    routes=[
        WebSocketPath("/journal", tell),
        WebSocketPath("/provides/{room}", provides, dependencies={"greeting": Provide(str, "hi")}),
        WebSocketPath("/controller", Echo),
        WebSocketPath("/twice", "integration.documents_lilya:twice"),
        WebSocketPath("/denied", denied),
    ],
    dependencies={"greeting": "never seen", "db": Provide(session, use_cache=True)},
)


APPS: dict[str, ASGIApp] = {
    "/L7": example("lilya", "L7")()["app"],
    "/L42": example("lilya", "L42")()["app"],
    "/L55": example("lilya", "L55")()["close_app"],
    "/LX1": example("lilya", "LX1")()["app"],
    "/handshake": Lilya(routes=[WebSocketPath("/{username}", handshake)]),
    "/routes": routes,
}
