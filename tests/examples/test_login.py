"""The example with JSON Web Tokens, over real uvicorn."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from served import EXAMPLES, served

pytestmark = pytest.mark.integration
DEADLINE = 40.0
ADA = {"name": "ada", "password": "lovelace"}
GRACE = {"name": "grace", "password": "hopper"}


class Site:
    """The running example, as its clients use it."""

    def __init__(self, host: str, http: httpx.AsyncClient) -> None:
        self.url = f"ws://{host}/chat"
        self._http = http

    async def post(self, path: str, token: str = "", **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self._http.post(path, headers=headers, **options)

    async def token(self, who: dict[str, str]) -> str:
        answer = await self.post("/login", json=who)
        assert answer.status_code == 200
        return str(answer.json()["token"])

    def enter(self, token: str) -> connect:
        """Connect as a browser does."""
        names = [Subprotocol("bearer"), Subprotocol(token)]
        return connect(self.url, subprotocols=names, proxy=None)

    async def refusal(self, **headers: str) -> int:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(self.url, additional_headers=headers, proxy=None):
                pass
        return refused.value.response.status_code


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    async with (
        asyncio.timeout(DEADLINE),
        served("login:app", EXAMPLES) as host,
        httpx.AsyncClient(base_url=f"http://{host}", trust_env=False) as http,
    ):
        yield Site(host, http)


async def says(tab: ClientConnection, **message: str) -> Any:
    await tab.send(json.dumps(message))
    return json.loads(await tab.recv())


async def end_of(tab: ClientConnection) -> tuple[int | None, str | None]:
    with pytest.raises(ConnectionClosed):
        await tab.recv()
    return tab.close_code, tab.close_reason


async def test_logging_in_connecting_and_renewing() -> None:
    async with site() as there:
        token = await there.token(ADA)
        async with there.enter(token) as tab:
            assert tab.subprotocol == "bearer"
            assert await says(tab, type="say", text="hi") == {"from": "ada", "text": "hi"}
            renewed = (await says(tab, type="renew"))["token"]
            await tab.send(json.dumps({"type": "token", "token": renewed}))
            assert await says(tab, type="say", text="hi") == {"from": "ada", "text": "hi"}
            # The token of somebody else is for a connection of her own.
            await tab.send(json.dumps({"type": "token", "token": await there.token(GRACE)}))
            assert await end_of(tab) == (4403, "forbidden")


def forged(token: str, **header: str) -> str:
    """A token that says another algorithm, and has no signature."""
    written = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return f"{written}.{token.split('.')[1]}."


async def test_who_has_no_good_token_or_password_stays_outside() -> None:
    async with site() as there:
        token = await there.token(ADA)
        for bad in (token[:-4], forged(token, alg="none", typ="JWT"), "x", "a.b.c"):
            assert await there.refusal(Authorization=f"Bearer {bad}") == 401
            assert (await there.post("/logout", bad)).status_code == 401
        assert await there.refusal() == 401
        for who in (
            {**ADA, "password": "hopper"},
            {"name": "eve", "password": ""},
            {"name": "", "password": ""},
        ):
            assert (await there.post("/login", json=who)).status_code == 401
        lonely = b'{"name": "ada", "password": "\\ud800"}'
        for body in (b"", b"[]", b"7", b"{}", b"\xff", b"[" * 100_000, lonely):
            assert (await there.post("/login", content=body)).status_code == 422


async def test_logging_out_closes_the_tabs_of_the_session_and_of_all_sessions() -> None:
    async with site() as there, AsyncExitStack() as stack:
        desk, phone, grace = [await there.token(who) for who in (ADA, ADA, GRACE)]
        tabs = [
            await stack.enter_async_context(there.enter(token))
            for token in (desk, desk, phone, phone, grace)
        ]
        for tab in tabs:
            await says(tab, type="say", text="hi")
        assert (await there.post("/logout", desk)).json() == {"closed": 2}
        for tab in tabs[:2]:
            assert await end_of(tab) == (4401, "logged out")
        assert await there.refusal(Authorization=f"Bearer {desk}") == 401
        assert (await there.post("/logout?all=1", phone)).json() == {"closed": 2}
        for tab in tabs[2:4]:
            assert await end_of(tab) == (4401, "logged out")
        assert await there.refusal(Authorization=f"Bearer {phone}") == 401
        assert await says(tabs[4], type="say", text="hi") == {"from": "grace", "text": "hi"}
        # And one can come back.
        async with there.enter(await there.token(ADA)) as tab:
            assert await says(tab, type="say", text="hi") == {"from": "ada", "text": "hi"}


async def test_after_a_new_token_a_tab_belongs_to_the_session_of_that_one() -> None:
    async with site() as there:
        before, after = [await there.token(ADA) for _ in range(2)]
        async with there.enter(before) as tab:
            await tab.send(json.dumps({"type": "token", "token": after}))
            assert await says(tab, type="say", text="hi") == {"from": "ada", "text": "hi"}
            assert (await there.post("/logout", before)).json() == {"closed": 0}
            assert await says(tab, type="say", text="hi") == {"from": "ada", "text": "hi"}
            assert (await there.post("/logout", after)).json() == {"closed": 1}
            assert await end_of(tab) == (4401, "logged out")


async def test_a_token_that_ends_takes_the_connection_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIFETIME", "3")
    async with site() as there, there.enter(await there.token(ADA)) as tab:
        assert await end_of(tab) == (4401, "credentials expired")
