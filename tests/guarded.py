"""Applications that ask who is there, and clients that say so."""

from typing import Annotated, Any

from clients import connected, rejection
from telex import App, Authenticate, Depends, WebSocket

TOKEN = "Ada.s3cret-0123456789"
BEARER = {"authorization": f"Bearer {TOKEN}"}
UNAUTHORIZED = (4401, "unauthorized")
EVERYWHERE: dict[str, Any] = {
    "header": True,
    "subprotocol": "bearer",
    "query": "token",
    "cookie": "session",
}


def verify(token: str) -> str | None:
    """Let in whoever's token ends with the secret, but for Bob, who may not."""
    name, _, secret = token.partition(".")
    if name == "Bob":
        raise PermissionError(f"{token} is banned")
    return name if secret == "s3cret-0123456789" else None


def hello_with(authenticate: Authenticate) -> Any:
    async def hello(ws: WebSocket, user: Annotated[str, Depends(authenticate)]) -> None:
        async with ws:
            await ws.send_text(f"hello {user}")

    return hello


def guarded(authenticate: Authenticate, **options: Any) -> App:
    """An application that says who is there."""
    app = App(**options)
    app.websocket("/")(hello_with(authenticate))
    return app


async def greeting(app: App, url: str = "/", *messages: str, **options: Any) -> str:
    async with connected(app, url, **options) as ws:
        for message in messages:
            await ws.send_text(message)
        return await ws.receive_text()


async def status(app: App, url: str = "/", **options: Any) -> int:
    return (await rejection(app, url, **options)).status
