"""Credentials that end, are refreshed, and are revoked."""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

import telex
from clients import connected, ending, rejection
from opened import connecting, soon, turns, until
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

NO_ZONE = dt.datetime(2030, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)


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


@pytest.mark.parametrize("said", ["verify", "before", "both"])
async def test_they_are_refused_whoever_said_when_they_ended(said: str) -> None:
    ws, _ = connecting(headers=[(b"authorization", b"Bearer x")])
    past = time.time() - 100
    if said == "before":
        ws.expires_at = past

    def check(token: str, ws: WebSocket) -> Any:
        if said != "before":
            ws.expires_at = past
        return User("Ada", past) if said == "both" else "Ada"

    with pytest.raises(Reject) as caught:
        await Authenticate(header=True, verify=check)(ws)
    assert caught.value.status == 401
    # Who lets them in as nobody has a connection that does not end.
    assert ws.expires_at == (past if said == "before" else None)


async def test_what_the_user_says_counts_before_what_was_said_of_the_connection() -> None:
    ws, _ = connecting(headers=[(b"authorization", b"Bearer x")])
    ws.expires_at = time.time() - 100
    at = time.time() + 100
    await Authenticate(header=True, verify=lambda token: User("Ada", at))(ws)
    assert ws.expires_at == at
    ws.expires_at = None


@pytest.mark.parametrize("moment", [float("nan"), 10**400, float("-inf")])
async def test_an_end_that_is_no_moment_is_that_of_a_bad_token(moment: Any) -> None:
    authenticate = Authenticate(header=True, verify=lambda token: User("Ada", moment))
    refused = await rejection(guarded(authenticate), headers=BEARER)
    assert refused.status == 401


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


class Staying:
    """An application whose connections stay when a refresh is refused, and say how they stand."""

    def __init__(self) -> None:
        self.authenticate = Authenticate(header=True, verify=self.verify, user_id=str)
        self.app = App()
        self.app.websocket("/")(self.handler())

    async def verify(self, token: str, ws: WebSocket) -> str | None:
        ws.expires_at = LATER + len(token)
        ws.label(session=token, **{token: True})
        await turns(1)
        if token == "down":
            raise OSError
        if token == "slow":
            await asyncio.Event().wait()
        return None if token == "nobody" else token[:3]

    def handler(self) -> Any:
        async def handler(ws: WebSocket, user: Annotated[str, Depends(self.authenticate)]) -> None:
            ws.label(room=7)
            async with ws:
                async for token in ws.iter_text():
                    try:
                        async with asyncio.timeout(0.05 if token == "slow" else 5):
                            await self.authenticate.refresh(ws, token)
                    except (WebSocketException, OSError) as refused:
                        said = type(refused).__name__
                    else:
                        said = "good"
                    assert ws.expires_at is not None
                    await ws.send_json([said, ws.expires_at - LATER, ws.labels])

        return handler


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("eve", "WebSocketException"),
        ("nobody", "WebSocketException"),
        ("down", "OSError"),
        ("slow", "TimeoutError"),
    ],
)
async def test_what_verify_said_of_the_connection_is_taken_back_when_it_is_refused(
    token: str, why: str
) -> None:
    site = Staying()
    labels = {"user": "ada", "session": "ada", "ada": True, "room": 7}
    find = site.app.connections.find
    async with connected(site.app, headers={"authorization": "Bearer ada"}) as ws:
        await ws.send_text(token)
        assert await ws.receive_json() == [why, 3, labels]
        assert len(find(**labels)) == 1
        assert find(session=token) == []
        await ws.send_text("ada2")
        labels |= {"session": "ada2", "ada2": True}
        assert await ws.receive_json() == ["good", 4, labels]


async def test_of_several_refreshes_at_once_each_sees_what_the_one_before_has_left() -> None:
    """One that fails late must not take back what a good one has said meanwhile."""
    going = asyncio.Event()

    async def check(token: str, ws: WebSocket) -> Any:
        if token == "eve":
            await going.wait()
        return User(token[:3], LATER + len(token))

    ws, _ = connecting(headers=[(b"authorization", b"Bearer ada")])
    authenticate = Authenticate(header=True, verify=check, user_id=lambda user: user.name)
    await authenticate(ws)
    await ws.accept()
    bad = asyncio.ensure_future(authenticate.refresh(ws, "eve"))
    good = asyncio.ensure_future(authenticate.refresh(ws, "ada+60"))
    await turns()
    going.set()
    with pytest.raises(WebSocketException):
        await soon(bad)
    await soon(good)
    assert ws.expires_at == LATER + 6
    await ws.close()


async def test_a_token_that_is_refused_leaves_nothing_behind_for_who_comes_as_nobody() -> None:
    def check(token: str, ws: WebSocket) -> None:
        ws.label(session=token)
        ws.expires_at = LATER

    authenticate = Authenticate(header=True, verify=check)
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        with pytest.raises(Reject):
            await authenticate(ws)
        async with ws:
            await ws.send_json([ws.labels, ws.expires_at])

    async with connected(app, headers=BEARER) as ws:
        assert await ws.receive_json() == [{}, None]


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


async def test_where_something_else_was_asked_a_refresh_says_so() -> None:
    authenticate = Authenticate(header=True, verify=verify)
    app = App()
    app.dependency_overrides[authenticate] = lambda: "Grace"

    @app.websocket("/")
    async def handler(ws: WebSocket, user: Annotated[str, Depends(authenticate)]) -> None:
        async with ws:
            with pytest.raises(telex.WebSocketRuntimeError, match="replace `refresh` as well"):
                await authenticate.refresh(ws, TOKEN)

    assert await ending(app) == (1000, "")


@pytest.mark.parametrize(
    ("end", "text"), [("tomorrow", "tomorrow"), (NO_ZONE, "needs a time zone")]
)
async def test_an_end_that_makes_no_sense_is_an_error_of_the_application(
    end: Any, text: str
) -> None:
    authenticate = Authenticate(query="token", verify=verify, expires_at=lambda user: end)
    ws, _ = connecting(query_string=f"token={TOKEN}".encode())
    with pytest.raises(TypeError, match=text):
        await authenticate(ws)


# Claims that are not there


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"expires_at": lambda claims: claims["exp"]}, "expires_at raised KeyError"),
        ({"user_id": lambda claims: claims["sub"]}, "user_id raised KeyError"),
        ({"user_id": lambda claims: claims.get("sub")}, "user_id gives NoneType, which is no id"),
        ({"user_id": lambda claims: [claims]}, "user_id gives list, which is no id"),
    ],
)
async def test_a_token_without_what_it_should_say_is_refused(
    caplog: pytest.LogCaptureFixture, options: dict[str, Any], why: str
) -> None:
    def claims(token: str) -> dict[str, str]:
        return {"name": "Ada"}

    app = guarded(Authenticate(header=True, first_message=True, verify=claims, **options))
    refused = await rejection(app, headers=BEARER)
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    async with connected(app) as ws:
        await ws.send_text(TOKEN)
        await ws.expect_close(4401)
    # Somebody has signed it, so the mistake may be here.
    lines = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [line.partition("'/': ")[2] for line in lines] == [why, why]


async def test_a_refresh_with_a_token_of_nobody_is_none_of_the_same_user() -> None:
    ws, _ = connecting(headers=[(b"authorization", b"Bearer Ada")])
    authenticate = Authenticate(
        header=True, verify=lambda token: {"id": {"Ada": 1}.get(token)}, user_id=lambda u: u["id"]
    )
    await authenticate(ws)
    await ws.accept()
    with pytest.raises(WebSocketException) as caught:
        await authenticate.refresh(ws, "Eve")
    assert caught.value.code == 4401
    await ws.close()


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
