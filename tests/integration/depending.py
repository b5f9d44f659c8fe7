"""Handlers with dependencies, which print how these end; and Starlette's middleware around them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse

from telex import App, Depends, Query, Reject, WebSocket
from telex._types import Receive, Scope, Send

Key = Annotated[str, Query()]


def tell(key: str, what: str) -> None:
    """Print under the key of a test what happened to its connection."""
    sys.stderr.write(f"<{key} {what}>\n")


def _kept(name: str) -> Callable[[str], AsyncIterator[str]]:
    async def resource(key: Key) -> AsyncIterator[str]:
        tell(key, f"{name} open")
        end = "nothing"
        try:
            yield name
        except BaseException as exc:
            end = type(exc).__name__
            raise
        finally:
            await asyncio.sleep(0.05)
            tell(key, f"{name} closed by {end}")

    return resource


outer, inner = _kept("outer"), _kept("inner")


def blocking(key: Key, it: Annotated[str, Depends(outer)]) -> Iterator[None]:
    end = "nothing"
    try:
        yield
    except BaseException as exc:
        end = type(exc).__name__
        raise
    finally:
        tell(key, f"blocking closed by {end}")


Outer = Annotated[str, Depends(outer)]
Inner = Annotated[str, Depends(inner)]
Blocking = Annotated[None, Depends(blocking, thread=True)]

app = App(disconnect_grace=0.3)
patient = App(disconnect_grace=None)


@app.websocket("/reads")
async def reads(ws: WebSocket, a: Outer, b: Blocking, c: Inner) -> None:
    await ws.accept()
    await ws.receive_text()


@app.websocket("/iterates")
async def iterates(ws: WebSocket, a: Outer, b: Blocking, c: Inner) -> None:
    async with ws:
        async for _ in ws:
            pass


@app.websocket("/busy")
@patient.websocket("/patient")
async def busy(ws: WebSocket, key: Key, a: Outer, b: Blocking, c: Inner) -> None:
    await ws.accept()
    tell(key, "busy")
    await asyncio.Event().wait()


@app.websocket("/closes")
async def closes(ws: WebSocket, a: Outer, b: Blocking, c: Inner) -> None:
    await ws.accept()
    await ws.close(4001)


@app.websocket("/raises")
async def raises(ws: WebSocket, a: Outer, b: Blocking, c: Inner) -> None:
    await ws.accept()
    raise KeyError("x")


@app.websocket("/rejects")
async def rejects(a: Outer, b: Blocking, c: Inner) -> None:
    raise Reject(403)


def refusing(b: Blocking) -> None:
    raise Reject(403)


@app.websocket("/guarded")
async def guarded(a: Outer, c: Inner, d: Annotated[None, Depends(refusing)]) -> None: ...


async def failing(a: Outer) -> AsyncIterator[None]:
    yield
    raise ValueError("the commit failed")


@app.websocket("/commits")
async def commits(ws: WebSocket, it: Annotated[None, Depends(failing)]) -> None:
    await ws.accept()


@app.websocket("/handshake")
async def handshake(
    ws: WebSocket, key: Key, a: Outer, b: Annotated[str, Depends(inner, scope="handshake")]
) -> None:
    await ws.accept()
    tell(key, "accepted")
    async for _ in ws:
        tell(key, "message")
        await ws.send_text("answer")


# Starlette's middleware


class ByQuery(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.query_params.get("name")
        return None if name is None else (AuthCredentials(["chat"]), SimpleUser(name))


async def login(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    request.session["visits"] = 1
    await JSONResponse({})(scope, receive, send)


behind = App(
    http=login,
    middleware=[
        Middleware(SessionMiddleware, secret_key="not a secret"),
        Middleware(AuthenticationMiddleware, backend=ByQuery()),
    ],
)
app.mount("/behind", behind)


def who(ws: WebSocket) -> dict[str, Any]:
    return {
        "user": ws.user.display_name,
        "known": ws.user.is_authenticated,
        "scopes": list(ws.auth.scopes),
        "session": ws.session,
    }


@behind.websocket("/who")
async def tells_who(ws: WebSocket, it: Annotated[dict[str, Any], Depends(who)]) -> None:
    async with ws:
        await ws.send_json(it)


@behind.websocket("/counts")
async def counts(ws: WebSocket) -> None:
    ws.session["visits"] = ws.session.get("visits", 0) + 1
    async with ws:
        await ws.send_json(ws.scope["session"])


@app.websocket("/nobody/{what}")
async def nobody(ws: WebSocket, what: str) -> None:
    async with ws:
        try:
            getattr(ws, what)
        except Exception as exc:
            await ws.send_json([type(exc).__name__, str(exc)])


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    """Without the watch for clients that left on one path."""
    await (patient if scope.get("path") == "/patient" else app)(scope, receive, send)
