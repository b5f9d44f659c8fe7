"""The page about authentication: what it says is so."""

from __future__ import annotations

import logging
import re
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

import pages
from clients import connected, ending, rejection
from documented import example, shown
from opened import soon
from telex import Authenticate
from telex.testing import AsyncTestClient

TEXT = (pages.ROOT / "docs" / "authentication.md").read_text(encoding="utf-8")


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"authorization": f"Bearer {token}"}}


@pytest.mark.parametrize(
    "options",
    [bearer("s3cret"), {"cookies": {"session": "s3cret"}}, {"subprotocols": ["bearer", "s3cret"]}],
)
async def test_who_has_a_token_gets_to_the_handler(options: dict[str, Any]) -> None:
    async with connected(example("authenticate").app, "/me", **options) as ws:
        assert await ws.receive_text() == "hello Ada"
        if "subprotocols" in options:
            assert ws.accepted_subprotocol == "bearer"


@pytest.mark.parametrize(
    ("options", "row", "status"),
    [
        ({}, 0, 401),
        (bearer("\u00e9"), 1, 401),
        ({"headers": [("authorization", "Bearer a"), ("authorization", "Bearer b")]}, 1, 401),
        (bearer("wrong"), 2, 401),
        (bearer("h1story"), 4, 403),
    ],
)
async def test_the_answers_are_those_of_the_table(
    options: dict[str, Any], row: int, status: int
) -> None:
    rows = pages.table(TEXT, "`verify`")
    said = [rows[1][1] if cells[1] == "the same" else cells[1] for cells in rows]
    refused = await rejection(example("authenticate").app, "/me", **options)
    assert refused.status == status
    challenge = refused.headers.get("www-authenticate")
    assert said[row] == (f"{status}, `WWW-Authenticate: {challenge}`" if challenge else "403")


async def test_a_test_says_who_is_there() -> None:
    module = example("authenticate")
    module.app.dependency_overrides[module.authenticate] = lambda: "Grace"
    try:
        async with connected(module.app, "/me") as ws:
            assert await ws.receive_text() == "hello Grace"
    finally:
        module.app.dependency_overrides.clear()


def test_the_table_of_ways_has_every_way() -> None:
    ways = [re.findall(r"`(\w+)=", row[0])[0] for row in pages.table(TEXT, "")]
    assert sorted(ways) == ["cookie", "first_message", "header", "query", "subprotocol"]
    for way in ways:
        place: dict[str, Any] = {way: "x"}
        Authenticate(verify=str, **place)


@pytest.mark.parametrize("first", ["s3cret", '{"token": "s3cret"}'])
async def test_the_first_message_is_the_token(first: str) -> None:
    assert f"`{first}`" in TEXT
    async with connected(example("first-message").app, "/shout") as ws:
        await ws.send_text(first)
        await ws.send_text("hi")
        assert await ws.receive_text() == "Ada: HI"


async def test_a_bad_first_message_ends_it() -> None:
    async with connected(example("first-message").app, "/shout") as ws:
        await ws.send_text("wrong")
        await ws.expect_close(4401)


async def test_the_connection_ends_with_the_token() -> None:
    app = example("expiry").app
    code, reason = await ending(app, "/work", **bearer("ada.1"))
    assert code == 4401
    assert f"4401, `{reason}`" in TEXT
    assert (await rejection(app, "/work", **bearer("ada.-1"))).status == 401


async def test_a_new_token_of_the_same_user_keeps_it() -> None:
    async with connected(example("expiry").app, "/work", **bearer("ada.1")) as ws:
        await ws.send_json({"type": "token", "token": "ada.600"})
        good = await ws.receive_json()
        assert good["time"] > time.time() + 500
        await ws.expect_nothing(1.2)
        await ws.send_json({"type": "work"})
        assert await ws.receive_json() == {"type": "done", "by": "ada"}
        await ws.send_json({"type": "token", "token": "grace.600"})
        await ws.expect_close(4403)


async def test_logging_out_and_banning_close_what_they_should() -> None:
    module = example("revoke")
    async with AsyncTestClient(module.app) as client, AsyncExitStack() as stack:

        async def tab(session: str) -> Any:
            cookies = {"session": session}
            return await stack.enter_async_context(client.websocket("/tab", cookies=cookies))

        one, other, two, grace = [await tab(each) for each in ("s1", "s1", "s2", "s3")]
        assert await soon(module.log_out("s1")) == 2
        for each in (one, other):
            await each.expect_close(4401)
        assert await soon(module.ban("ada")) == 1
        await two.expect_close(4401)
        await grace.send_text("stays")
        assert await grace.receive_text() == "grace stays"
        refused = await rejection(module.app, "/tab", cookies={"session": "s2"})
        assert refused.status == 401


async def test_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telex")
    await rejection(example("authenticate").app, "/me", **bearer("wrong"))
    assert [r.getMessage() for r in caplog.records if r.name == "telex"] == shown(
        "authentication.md", "text"
    )
