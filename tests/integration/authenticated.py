"""An application whose clients say who they are, in every way there is."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Annotated

from telex import App, Authenticate, Depends, WebSocket
from telex._types import Receive, Scope, Send
from telex.codecs import JSON

SECRET = "s3cret0123456789"


@dataclass
class User:
    name: str
    expires_at: float


def verify(token: str) -> User | None:
    """A token is a name, the seconds it is good for, and the secret: `Ada.60.s3cret...`."""
    name, seconds, secret = token.split(".")
    if name == "Bob":
        raise PermissionError
    return User(name, time.time() + float(seconds)) if secret == SECRET else None


authenticate = Authenticate(
    header=True,
    subprotocol="bearer",
    query="token",
    cookie="session",
    verify=verify,
    user_id=lambda user: user.name,
)
by_message = Authenticate(
    first_message=True, timeout=1.0, verify=verify, user_id=lambda user: user.name
)
app = App(codecs={"json": JSON()})


async def serve(ws: WebSocket, user: User, by: Authenticate) -> None:
    async with ws:
        await ws.send_text(f"hello {user.name}")
        async for text in ws.iter_text():
            if text.startswith("close "):
                closed = await app.connections.close(user=text[6:], code=4401, reason="revoked")
                await ws.send_text(f"closed {closed}")
            else:
                await by.refresh(ws, text)
                await ws.send_text("refreshed")


@app.websocket("/handshake")
async def handshake(ws: WebSocket, user: Annotated[User, Depends(authenticate)]) -> None:
    await serve(ws, user, authenticate)


@app.websocket("/message")
async def message(ws: WebSocket, user: Annotated[User, Depends(by_message)]) -> None:
    await serve(ws, user, by_message)


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    """The application, with everything that Telex logs printed."""
    for name in ("telex", "telex.connection"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler())
            logger.setLevel(logging.DEBUG)
            logger.propagate = False
    await app(scope, receive, send)
