"""JSON Web Tokens: log in over HTTP, connect with the token, get a new one, log out everywhere.

pip install pyjwt
telex run login:app --app-dir examples

curl http://127.0.0.1:8000/login -d '{"name": "ada", "password": "lovelace"}'
telex connect ws://127.0.0.1:8000/chat -H "Authorization: Bearer TOKEN"
new WebSocket("ws://127.0.0.1:8000/chat", ["bearer", TOKEN])   // in a page
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass
from typing import Annotated

import jwt
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import telex

SECRET = os.environ.get("SECRET") or secrets.token_hex(32)
LIFETIME = float(os.environ.get("LIFETIME", "600"))
"""Seconds; a page asks for the next token before."""

PASSWORDS = {"ada": "lovelace", "grace": "hopper"}  # stands for hashes in a database
logged_out: set[str] = set()
logged_out_at: dict[str, float] = {}


@dataclass
class User:
    name: str
    session: str
    expires_at: float


def token_for(name: str, session: str) -> str:
    now = time.time()
    claims = {"sub": name, "session": session, "iat": now, "exp": now + LIFETIME}
    return jwt.encode(claims, SECRET, algorithm="HS256")


def verify(token: str) -> User | None:
    # Name the algorithms, or the token chooses.
    claims = jwt.decode(
        token, SECRET, algorithms=["HS256"], options={"require": ["sub", "session", "iat", "exp"]}
    )
    if claims["session"] in logged_out or claims["iat"] <= logged_out_at.get(claims["sub"], 0):
        return None
    return User(claims["sub"], claims["session"], claims["exp"])


authenticate = telex.Authenticate(
    header=True,
    subprotocol="bearer",
    verify=verify,
    user_id=lambda user: user.name,
    invalid=jwt.InvalidTokenError,
)
CurrentUser = Annotated[User, telex.Depends(authenticate)]


async def login(request: Request) -> JSONResponse:
    try:
        said = json.loads(await request.body())
        name, password = str(said["name"]), str(said["password"]).encode()
    except (ValueError, LookupError, TypeError, RecursionError):
        return JSONResponse({"error": "name and password are needed"}, 422)
    right = hmac.compare_digest(PASSWORDS.get(name, "").encode(), password)
    if name not in PASSWORDS or not right:
        return JSONResponse({"error": "wrong name or password"}, 401)
    return JSONResponse({"token": token_for(name, secrets.token_hex(8))})


async def logout(request: Request) -> JSONResponse:
    """End the session of a token, or all sessions of its user with `?all=1`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        user = verify(token) if scheme.lower() == "bearer" else None
    except jwt.InvalidTokenError:
        user = None
    if user is None:
        return JSONResponse({"error": "a token is needed"}, 401)
    # First nobody can connect with such a token any more, then who is connected goes.
    which = {"user": user.name}
    if "all" in request.query_params:
        logged_out_at[user.name] = time.time()
    else:
        which["session"] = user.session
        logged_out.add(user.session)
    closed = await app.connections.close(code=4401, reason="logged out", **which)
    return JSONResponse({"closed": closed})


http = Starlette(
    routes=[
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
    ]
)
app = telex.App(http=http)


class Say(msgspec.Struct, tag="say"):
    text: str


class Renew(msgspec.Struct, tag="renew"):
    """A client asks for a token with which it can stay."""


class Token(msgspec.Struct, tag="token"):
    """A client shows its new token, and the server gives one out."""

    token: str


@app.websocket("/chat")
async def chat(ws: telex.WebSocket, user: CurrentUser) -> None:
    ws.label(session=user.session)
    async with ws:
        async for message in ws.iter_as(Say | Renew | Token):
            match message:
                case Say(text):
                    await ws.send_value({"from": user.name, "text": text})
                case Renew():
                    await ws.send_value(Token(token_for(user.name, user.session)))
                case Token(token):
                    user = await authenticate.refresh(ws, token)
                    # It may be of another session of the user, who can log out of that one now.
                    ws.label(session=user.session)
