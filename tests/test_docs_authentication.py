"""The page about authentication: what it says is so."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import subprocess
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from typer.testing import CliRunner

import pages
from clients import connected, ending, rejection
from documented import example, shown
from opened import soon, until
from telex import App, Authenticate, WebSocket
from telex.cli import commands
from telex.close_codes import describe
from telex.testing import AsyncTestClient, LiveServer

TEXT = (pages.ROOT / "docs" / "authentication.md").read_text(encoding="utf-8")
NODE = shutil.which("node")


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


async def test_a_test_of_a_handler_that_refreshes_replaces_that_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = example("expiry")
    later = module.User("Grace", time.time() + 600)

    async def refresh(ws: WebSocket, token: str) -> Any:
        return later

    monkeypatch.setattr(module.authenticate, "refresh", refresh)
    monkeypatch.setitem(module.app.dependency_overrides, module.authenticate, lambda: later)
    async with connected(module.app, "/work") as ws:
        await ws.send_json({"type": "token", "token": "any"})
        assert await ws.receive_json() == {"type": "good until", "time": later.expires_at}


@pytest.mark.parametrize("line", re.findall(r"^telex connect (.*)$", TEXT, re.MULTILINE))
def test_the_commands_to_try_it_work(line: str) -> None:
    with LiveServer(example("authenticate").app) as server:
        line = line.replace("127.0.0.1:8000", str(server.url).rstrip("/"))
        result = CliRunner().invoke(commands, ["connect", *shlex.split(line)], input="")
    assert result.exit_code == 0
    assert "hello Ada" in result.stdout


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


async def test_a_page_sees_a_code_and_a_program_a_status() -> None:
    app = example("visible").app
    page: dict[str, Any] = {"headers": {"origin": "http://testserver"}}
    for offered in ([], ["bearer", "old"]):
        code, reason = await ending(app, "/me", subprotocols=offered, **page)
        assert (code, reason) == (4401, "unauthorized")
    refused = await rejection(app, "/me", subprotocols=["bearer", "old"])
    assert refused.status == 401
    assert "www-authenticate" in refused.headers
    async with connected(app, "/me", subprotocols=["bearer", "s3cret"], **page) as ws:
        assert await ws.receive_text() == "hello Ada"


def test_the_script_stops_where_coming_back_is_of_no_use() -> None:
    [script] = shown("deployment.md", "js")
    assert "deployment.md#restarts" in TEXT
    said = {int(code) for code in re.findall(r"code === (\d+)", script)}
    assert said == {4401, 4403}
    # Telex sends no other code of its own after which that is so for a page that does no wrong.
    assert all(describe(code).reconnect is False for code in said)


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize(
    ("codes", "renewed", "tries"),
    [
        # It comes back after anything else, and gives up after 4403.
        ("1006, 1012, 4403", "true", 3),
        ("4401, 4401, 4403", "true", 3),
        ("4401, 1006, 4403", "false", 1),
    ],
)
def test_the_script_comes_back_as_it_says(codes: str, renewed: str, tries: int) -> None:
    [script] = shown("deployment.md", "js")
    around = f"""
        let tries = 0;
        const codes = [{codes}], pauses = [];
        globalThis.location = {{ host: "example.com" }};
        globalThis.WebSocket = class {{
          constructor() {{
            const code = codes[tries++];
            queueMicrotask(() => {{ this.onopen?.(); this.onclose({{ code }}); }});
          }}
        }};
        globalThis.setTimeout = (call, pause, attempt) => {{
          pauses.push(attempt);
          call(attempt);
        }};
        const renew = async () => {renewed}, show = () => {{}};
        {script}
        connect();
        process.on("exit", () => console.log(JSON.stringify([tries, pauses])));
    """
    assert NODE is not None
    run = subprocess.run(
        [NODE, "--eval", around], capture_output=True, text=True, timeout=30, check=True
    )
    # An opened connection that is closed at once is no success: pauses grow.
    assert json.loads(run.stdout) == [tries, [*range(1, tries)]]


async def test_the_connection_ends_with_the_token() -> None:
    app = example("expiry").app
    code, reason = await ending(app, "/work", **bearer("ada.1"))
    assert code == 4401
    assert f"4401, `{reason}`" in TEXT
    assert (await rejection(app, "/work", **bearer("ada.-1"))).status == 401


@pytest.mark.parametrize("token", ["ada", "ada.x", "ada.nan", "ada.1.2"])
async def test_a_token_that_makes_no_sense_is_refused(token: str) -> None:
    assert (await rejection(example("expiry").app, "/work", **bearer(token))).status == 401


@pytest.mark.parametrize("message", [[1], 7, {"type": "token"}, None])
async def test_a_message_that_makes_no_sense_is_answered(message: Any) -> None:
    async with connected(example("expiry").app, "/work", **bearer("ada.60")) as ws:
        await ws.send_json(message)
        assert await ws.receive_json() == {"type": "done", "by": "ada"}


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


async def test_an_application_sees_nothing_of_the_connections_of_a_mounted_one() -> None:
    inner, outer = example("revoke").app, App()
    outer.mount("/inner", inner)
    async with connected(outer, "/inner/tab", cookies={"session": "s3"}) as ws:
        await until(lambda: inner.connections.find(user="grace"))
        assert outer.connections.find(user="grace") == []
        assert await soon(inner.connections.close(user="grace", code=4401)) == 1
        await ws.expect_close(4401)


async def test_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telex")
    await rejection(example("authenticate").app, "/me", **bearer("wrong"))
    assert [r.getMessage() for r in caplog.records if r.name == "telex"] == shown(
        "authentication.md", "text"
    )
