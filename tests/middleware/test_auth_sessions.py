"""Credentials that end, are refreshed, and are revoked."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

import telex
from clients import connected, ending, rejection
from opened import connecting, soon, until
from telex import App, Authenticate, Depends, Reject, WebSocket, WebSocketException
from telex.testing import AsyncTestClient

TOKEN = "Ada.s3cret"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def verify(token: str) -> str | None:
    name, _, secret = token.partition(".")
    return name if secret == "s3cret" else None


def guarded(authenticate: Authenticate) -> App:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket, user: Annotated[Any, Depends(authenticate)]) -> None:
        async with ws:
            await ws.wait_closed()

    return app


# The end of credentials


@dataclass
class User:
    name: str
    expires_at: float | None = None


async def until_the_end(authenticate: Authenticate) -> tuple[int, str]:
    return await ending(guarded(authenticate), headers=BEARER)


@pytest.mark.parametrize("how", ["attribute", "function", "verify"])
async def test_the_connection_ends_with_the_credentials(how: str) -> None:
    at = time.time() + 0.05

    def check(token: str, ws: WebSocket) -> Any:
        if how == "verify":
            ws.expires_at = at
        return User("Ada", at) if how == "attribute" else {"sub": "Ada", "exp": at}

    option: dict[str, Any] = {}
    if how == "function":
        option["expires_at"] = lambda claims: claims["exp"]
    end = await until_the_end(Authenticate(header=True, verify=check, **option))
    assert end == (4401, "credentials expired")
    assert time.time() >= at


async def test_credentials_that_have_ended_are_refused() -> None:
    def check(token: str) -> User:
        return User("Ada", time.time())

    app = guarded(Authenticate(header=True, first_message=True, verify=check))
    refused = await rejection(app, headers=BEARER)
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    async with connected(app) as ws:
        await ws.send_text(TOKEN)
        assert (await ws.expect_close(4401)).reason == "unauthorized"


async def test_credentials_without_an_end_do_not_end() -> None:
    options: list[dict[str, Any]] = [{}, {"expires_at": lambda user: None}]
    for option in options:
        ws, _ = connecting(headers=[(b"authorization", b"Bearer x")])
        authenticate = Authenticate(header=True, verify=lambda token: User("Ada"), **option)
        await authenticate(ws)
        assert ws.expires_at is None


# Refreshing

LATER = time.time() + 3600


def named(token: str) -> User | None:
    """A token is a name and a number of seconds from LATER on."""
    name, _, seconds = token.partition(".")
    if name == "Bob":
        raise PermissionError
    return User(name, LATER + float(seconds))


async def refreshing(**options: Any) -> tuple[Authenticate, WebSocket]:
    ws, _ = connecting(headers=[(b"authorization", b"Bearer Ada.0")])
    authenticate = Authenticate(
        header=True, verify=named, user_id=lambda user: user.name, **options
    )
    await authenticate(ws)
    assert ws.expires_at == LATER
    await ws.accept()
    return authenticate, ws


async def test_a_refresh_extends_the_connection() -> None:
    authenticate, ws = await refreshing()
    assert await authenticate.refresh(ws, "Ada.60") == User("Ada", LATER + 60)
    assert ws.expires_at == LATER + 60
    assert await authenticate(ws) == User("Ada", LATER + 60)
    await ws.close()


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("Ada", 4401),
        ("Ada.-9999", 4401),
        ("Ada 60", 4401),
        ("", 4401),
        (None, 4401),
        ({"token": "Ada.60"}, 4401),
        ("Bob.60", 4403),
        ("Eve.60", 4403),
    ],
)
async def test_a_refresh_that_is_refused_changes_nothing(token: Any, code: int) -> None:
    authenticate, ws = await refreshing()
    with pytest.raises(WebSocketException) as caught:
        await authenticate.refresh(ws, token)
    assert caught.value.code == code
    assert not token or str(token) not in str(caught.value)
    assert ws.expires_at == LATER
    assert (await authenticate(ws)).name == "Ada"
    await ws.close()


async def test_another_user_may_take_over_where_that_is_said() -> None:
    authenticate, ws = await refreshing()
    assert (await authenticate.refresh(ws, "Eve.60", other_user=True)).name == "Eve"
    assert (await authenticate(ws)).name == "Eve"
    await ws.close()


async def test_without_an_id_users_are_compared_themselves() -> None:
    ws, _ = connecting(query_string=f"token={TOKEN}".encode())
    authenticate = Authenticate(query="token", verify=verify)
    await authenticate(ws)
    assert await authenticate.refresh(ws, TOKEN) == "Ada"
    with pytest.raises(Reject) as caught:
        await authenticate.refresh(ws, TOKEN.replace("Ada", "Eve"))
    assert caught.value.status == 403


async def test_only_who_was_authenticated_can_refresh() -> None:
    ws, _ = connecting()
    with pytest.raises(telex.WebSocketRuntimeError, match="not authenticated"):
        await Authenticate(header=True, verify=verify).refresh(ws, TOKEN)


async def test_an_end_that_makes_no_sense_is_an_error_of_the_application() -> None:
    authenticate = Authenticate(query="token", verify=verify, expires_at=lambda user: "tomorrow")  # type: ignore[arg-type, return-value]
    ws, _ = connecting(query_string=f"token={TOKEN}".encode())
    with pytest.raises(TypeError, match="tomorrow"):
        await authenticate(ws)


# Revoking


class Site:
    """An application with users, who say where they are and may show new tokens."""

    def __init__(self) -> None:
        self.authenticate = Authenticate(
            header=True, first_message=True, verify=self.verify, user_id=lambda user: user["id"]
        )
        self.app = App()
        self.revoked: set[str] = set()
        self.app.websocket("/")(self.handler())
        self.app.websocket_listener("/listener")(self.listener())
        self.app.websocket_stream("/stream")(self.stream())

    def verify(self, token: str) -> dict[str, str] | None:
        user, _, session = token.partition(".")
        return None if session in self.revoked else {"id": user, "session": session}

    def handler(self) -> Any:
        async def handler(ws: WebSocket, user: Annotated[Any, Depends(self.authenticate)]) -> None:
            ws.label(session=user["session"])
            async with ws:
                async for token in ws.iter_text():
                    user = await self.authenticate.refresh(ws, token)
                    ws.label(session=user["session"])
                    await ws.send_text(repr(ws.labels))

        return handler

    def listener(self) -> Any:
        async def listener(data: str, user: Annotated[Any, Depends(self.authenticate)]) -> str:
            return data

        return listener

    def stream(self) -> Any:
        async def stream(user: Annotated[Any, Depends(self.authenticate)]) -> AsyncIterator[str]:
            yield user["id"]
            await asyncio.Event().wait()

        return stream


def token(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


async def test_revoking_closes_all_tabs_of_a_user_and_nobody_else() -> None:
    site = Site()
    paths = [("7.a", "/"), ("7.b", "/"), ("7.c", "/listener"), ("7.d", "/stream"), ("8.a", "/")]
    async with AsyncTestClient(site.app) as client, AsyncExitStack() as stack:
        tabs = [
            await stack.enter_async_context(client.websocket(path, headers=token(text)))
            for text, path in paths
        ]
        connections = site.app.connections
        await until(lambda: len(connections.find(user="7")) == 4)
        assert len(connections.find(user="8")) == 1
        assert await soon(connections.close(user="7", code=4401, reason="logged out")) == 4
        for tab in tabs[:4]:
            records = [data async for data in tab]
            assert records in ([], ["7"])
            record = await tab.expect_close(4401)
            assert record.reason == "logged out"
        await tabs[4].send_text("8.z")
        assert await tabs[4].receive_text() == "{'user': '8', 'session': 'z'}"
        assert connections.find(user="7") == []
        assert await soon(connections.close(user="7")) == 0


async def test_revoking_a_session_leaves_the_others_of_the_user() -> None:
    site = Site()
    async with AsyncTestClient(site.app) as client, AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(client.websocket("/", headers=token(text)))
            for text in ("7.a", "7.b")
        ]
        site.revoked.add("a")
        assert await soon(site.app.connections.close(user="7", session="a", code=4401)) == 1
        await one.expect_close(4401)
        await other.send_text("7.c")
        assert await other.receive_text() == "{'user': '7', 'session': 'c'}"


async def test_a_refresh_does_not_throw_the_user_out() -> None:
    site = Site()
    async with connected(site.app, headers=token("7.old")) as tab:
        await tab.send_text("7.new")
        assert await tab.receive_text() == "{'user': '7', 'session': 'new'}"
        # The old session is over, and its connection has another one by now.
        site.revoked.add("old")
        assert await soon(site.app.connections.close(session="old", code=4401)) == 0
        await tab.expect_nothing(0)
        assert await soon(site.app.connections.close(session="new", code=4401)) == 1
        await tab.expect_close(4401)


async def test_a_refresh_with_a_revoked_token_ends_the_connection() -> None:
    site = Site()
    site.revoked.add("old")
    async with connected(site.app, headers=token("7.new")) as tab:
        await tab.send_text("7.old")
        await tab.expect_close(4401)


async def test_who_waits_for_a_first_message_is_nobody_yet() -> None:
    site = Site()
    async with connected(site.app) as tab:
        await until(lambda: len(site.app.connections) == 1)
        assert site.app.connections.find(user="7") == []
        await tab.send_text("7.a")
        await until(lambda: site.app.connections.find(user="7"))
        assert await soon(site.app.connections.close(user="7", code=4401)) == 1
        await tab.expect_close(4401)


async def test_who_was_authenticated_by_connection_middleware_can_be_found() -> None:
    authenticate = Authenticate(header=True, verify=verify, user_id=str)

    class Guard:
        async def on_handshake(self, ws: WebSocket) -> None:
            await authenticate(ws)

    app = App(connection_middleware=[Guard()])

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            await ws.wait_closed()

    async with connected(app, headers=BEARER) as tab:
        assert await soon(app.connections.close(user="Ada", code=4401)) == 1
        await tab.expect_close(4401)
