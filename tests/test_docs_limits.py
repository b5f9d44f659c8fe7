"""docs/limits.md and docs/deployment.md: their examples run, their tables are the code's."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from contextlib import AsyncExitStack
from typing import Any

import pytest
import typer.main
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import pages
import telex
from clients import connected, rejection
from documented import example, shown
from sse import events_of
from telex import _limits
from telex._cleanup import CLEANUP_TIMEOUT
from telex._limits import LimitOptions
from telex._settings import DEFAULTS
from telex.cli import commands
from telex.server.run import STOP_TIMEOUT
from telex.testing import LiveServer

LIMITS = (pages.ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
DEPLOYMENT = (pages.ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def names(cell: str) -> str:
    """The option that the first cell of a row is about."""
    found = re.search(r"`(\w+)`", cell)
    assert found, cell
    return found[1]


def client(number: int) -> dict[str, Any]:
    """Options of a connection from an address of its own."""
    return {"scope": {"client": (f"10.0.0.{number}", 50000)}}


# limits.md


def test_every_limit_is_in_the_table() -> None:
    listed = {names(row[0]) for row in pages.table(LIMITS, "Limit")}
    # Who is one client is no limit, and has a section.
    assert listed == LimitOptions.__optional_keys__ - {"client_key"}
    assert "`client_key`" in LIMITS


def test_the_defaults_in_the_table_are_those_of_the_code() -> None:
    defaults = {names(row[0]): row[1] for row in pages.table(LIMITS, "Limit")}
    outbox = DEFAULTS.outbox
    said = {
        "max_message_size": f"{DEFAULTS.max_message_size // 2**20} MiB",
        "handshake_timeout": f"{DEFAULTS.handshake_timeout:g}",
        "outbox": f"{outbox.max_messages} messages or {outbox.max_bytes // 2**20} MiB, "
        f"{outbox.timeout:g} seconds",
    }
    assert defaults == {name: said.get(name, "none") for name in defaults}
    for name in defaults.keys() - said.keys() - {"heartbeat"}:
        assert getattr(DEFAULTS, name, float("inf")) == float("inf")
    assert (DEFAULTS.heartbeat, DEFAULTS.slots) == (None, ())


def test_the_codes_in_the_table_are_those_of_the_module() -> None:
    assert _limits.__doc__ is not None
    ours = {names(row[0]): row[2] for row in pages.table(_limits.__doc__, "limit")}
    told = {names(row[0]): row[3] for row in pages.table(LIMITS, "Limit")}
    del told["outbox"]
    assert told == {name: what.replace("denial", "HTTP") for name, what in ours.items()}


async def test_a_message_may_be_as_long_as_the_route_says() -> None:
    app = example("limits").app
    async with connected(app, "/chat") as ws:
        await ws.send_text("x" * 64 * 1024)
        assert await ws.receive_text() == "x" * 64 * 1024
        await ws.send_text("é" * 32 * 1024 + "é")
        await ws.expect_close(1009)
    async with connected(app, "/upload") as ws:
        await ws.send_bytes(bytes(64 * 1024 + 1))
        assert await ws.receive_text() == "65537 bytes"
        await ws.expect_nothing(0)
        await ws.close()


async def test_messages_may_come_in_bursts_and_no_faster() -> None:
    async with connected(example("limits").app, "/chat") as ws:
        for number in range(5 * 20 + 32):
            await ws.send_text(str(number))
            assert await ws.receive_text() == str(number)
        with pytest.raises(telex.WebSocketDisconnect) as end:
            for _ in range(40):
                await ws.send_text("spam")
        assert end.value.code == 1008


@pytest.mark.parametrize(
    ("limit", "value", "kind"),
    [
        ("max_age", 0.1, telex.WebSocketRuntimeError),
        ("idle_timeout", 0.1, telex.WebSocketRuntimeError),
        ("max_messages_per_second", 0.1, telex.WebSocketRuntimeError),
        ("max_message_size", 10, telex.WebSocketDisconnect),
    ],
)
def test_a_handler_learns_of_a_limit_as_it_is_said(
    caplog: pytest.LogCaptureFixture, limit: str, value: Any, kind: type[Exception]
) -> None:
    assert all(f"`{each}`" in LIMITS for each in (kind.__name__, "except WebSocketHandshakeError"))
    app = telex.App(**{limit: value})
    learned: list[Any] = []

    @app.websocket("/")
    async def handler(ws: telex.WebSocket) -> None:
        await ws.accept()
        async for _ in ws:
            pass
        for call in (ws.receive_text(), ws.send_text("x")):
            with pytest.raises(telex.WebSocketHandshakeError) as caught:
                await call
            learned.append(type(caught.value))
        learned.append(ws.closed_by)
        await ws.send_text("nobody catches this")

    with (
        LiveServer(app) as server,
        connect(str(server.url), proxy=None) as client,
        pytest.raises(ConnectionClosed),
    ):
        for _ in range(40):
            client.send("x" * 11 if limit == "max_message_size" else "x")
        client.recv(timeout=5)
    assert learned == [kind, kind, "server"]
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


async def test_a_client_has_so_many_connections_and_a_route_so_many_clients() -> None:
    app = example("limits").app
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connected(app, "/chat", **client(1)))
        assert (await rejection(app, "/chat", **client(1))).status == 429
        # It is one client on every route, and others are others.
        assert (await rejection(app, "/upload", **client(1))).status == 429
        for number in range(2, 12):
            await stack.enter_async_context(connected(app, "/upload", **client(number)))
        assert (await rejection(app, "/upload", **client(12))).status == 503
        await stack.enter_async_context(connected(app, "/chat", **client(12)))
        assert len(app.connections) == 14
    assert len(app.connections) == 0
    async with connected(app, "/upload", **client(1)) as ws:
        await ws.close()


async def test_users_are_told_apart_before_hosts() -> None:
    app = example("client-key").app
    ada, bob = ({**client(1), "cookies": {"user": name}} for name in ("Ada", "Bob"))
    async with AsyncExitStack() as stack:
        for options in (ada, bob, client(1), {**client(2), "cookies": {"user": "Ada"}}):
            await stack.enter_async_context(connected(app, "/feed", **options))
        assert (await rejection(app, "/feed", **ada)).status == 429
        await stack.enter_async_context(connected(app, "/feed", **bob))
        # Nobody knows whose that is: it is not counted.
        for _ in range(3):
            await stack.enter_async_context(connected(app, "/feed", scope={"client": None}))


async def test_a_request_for_events_takes_a_place() -> None:
    app = telex.App(max_connections=1)

    @app.websocket_stream("/news")
    async def news() -> Any:
        yield "something happened"
        await asyncio.Event().wait()

    async with events_of(app, "/news") as stream:
        assert (await stream.next()).data == "something happened"
        assert (await rejection(app, "/news")).status == 503
    async with connected(app, "/news") as ws:
        assert await ws.receive_text() == "something happened"
        async with events_of(app, "/news") as stream:
            await stream.rest()
            assert stream.status == 503


async def test_connections_of_mounted_applications_are_not_limited() -> None:
    async def echo(ws: StarletteWebSocket) -> None:
        await ws.accept()
        await ws.send_text(str(len(await ws.receive_text())))

    app = telex.App(max_connections=1, max_message_size=10)
    app.mount("/theirs", Starlette(routes=[WebSocketRoute("/", echo)]))
    async with connected(app, "/theirs/") as one, connected(app, "/theirs/") as two:
        for ws in (one, two):
            await ws.send_text("x" * 11)
            assert await ws.receive_text() == "11"
        assert len(app.connections) == 0


async def test_a_path_that_no_route_takes_takes_no_place() -> None:
    app = telex.App(max_connections=1)

    @app.websocket("/")
    async def wait(ws: telex.WebSocket) -> None:
        await ws.accept()
        await ws.wait_closed()

    async with connected(app):
        assert (await rejection(app, "/nowhere")).status == 404
        assert (await rejection(app, "/")).status == 503


async def test_a_place_is_taken_until_the_cleanups_are_through() -> None:
    app = telex.App(max_connections=1)
    may_end = asyncio.Event()

    @app.websocket("/")
    async def tidy(ws: telex.WebSocket) -> None:
        ws.add_cleanup(may_end.wait)
        await ws.accept()
        await ws.close()

    async with connected(app) as ws:
        await ws.expect_close(1000)
        assert (await rejection(app)).status == 503
        may_end.set()
    async with connected(app) as ws:
        await ws.expect_close(1000)


async def test_pings_of_ones_own_are_answered_as_agreed() -> None:
    module = example("heartbeat")
    beat = module.app._settings.heartbeat
    assert (beat.interval, beat.timeout) == (25, 10)
    app = telex.App(heartbeat=telex.Heartbeat(0.05, 5, ping=beat.ping, pong=beat.pong))
    app.websocket("/echo")(module.echo)
    async with connected(app, "/echo") as ws:
        for _ in range(2):
            assert await ws.receive_text() == "2"
            await ws.send_text("3")
        await ws.send_text("hello")
        while (text := await ws.receive_text()) == "2":
            await ws.send_text("3")
        # The answers were not for the handler.
        assert text == "hello"
        await ws.close()


def test_the_code_for_browsers_answers_the_ping_that_is_sent() -> None:
    [code] = shown("limits.md", "js")
    texts = re.findall(r"'(\{.*?\})'", code)
    assert texts == [_limits.PING, _limits.PONG]
    assert [json.loads(text) for text in texts] == [{"type": "ping"}, {"type": "pong"}]
    for text in texts:
        assert f"`{text}`" in LIMITS


# deployment.md


def test_every_command_has_options_that_exist() -> None:
    run = typer.main.get_command(commands).commands["run"]  # type: ignore[attr-defined]
    known = {name for each in run.params for name in (*each.opts, *each.secondary_opts)}
    lines = re.findall(r"telex run [^\n`]+", DEPLOYMENT)
    assert len(lines) > 2
    rows = pages.table(DEPLOYMENT, "Option of `telex run`")
    used = [word for line in lines for word in shlex.split(line) if word.startswith("--")]
    used += re.findall(r"--[\w-]+", " ".join(row[0] for row in rows))
    assert {"--workers", "--forwarded-allow-ips", "--no-proxy-headers"} <= {*used} <= known


def test_systemd_waits_for_the_end() -> None:
    [unit] = shown("deployment.md", "ini")
    found = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert found
    # All of the time, then what is cancelled, then close handshakes and the lifespan.
    assert int(found[1]) > STOP_TIMEOUT + CLEANUP_TIMEOUT + 5
    assert telex.App().connections._drain_timeout < STOP_TIMEOUT
    assert f"`--timeout-graceful-shutdown`, {STOP_TIMEOUT:g} s with `telex run`" in DEPLOYMENT
    assert "KillMode=mixed" in unit
