"""Attacks from THREAT_MODEL.md, end to end, and a check that every test it names exists."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import datetime as dt
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import pytest

import pages
import telex
from clients import connected, ending, rejection
from opened import soon, turns
from peer import D, Peer, T, make_scope, serve
from telex.testing import ConnectionRejected

MODEL = pages.ROOT / "THREAT_MODEL.md"
TEXT = MODEL.read_text(encoding="utf-8")
FORGED = "\nERROR a forged line"

Handler = Callable[[telex.WebSocket], Awaitable[None]]


# The document


def rows() -> list[list[str]]:
    """Every row of every table of attacks."""
    attacks = TEXT.partition("## What is left")[0]
    return [row for section in attacks.split("\n### ")[1:] for row in pages.table(section, "Entry")]


def test_every_attack_has_a_defence_and_a_test() -> None:
    assert rows()
    for _, attack, defence, tests in rows():
        assert attack
        assert defence
        assert re.findall(r"`[\w/]+\.py::test_\w+`", tests), attack


def test_the_attacks_that_everybody_asks_about_are_there() -> None:
    listed = pages.table(TEXT, "Attack")
    assert [row[0] for row in listed] == [
        "Cross-site hijacking",
        "Flooding",
        "Slow reading",
        "Zip bomb",
        "Header injection",
        "Token leakage",
        "Connection exhaustion",
        "Stuck handshake",
        "Log injection",
    ]
    for _, attacker, entry, defence, tests in listed:
        assert attacker
        assert entry
        assert defence
        assert re.findall(r"`[\w/]+\.py::test_\w+`", tests)


def test_every_test_it_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", TEXT)
    missing = []
    for file, name in named:
        path = pages.ROOT / "tests" / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
        functions = ast.FunctionDef | ast.AsyncFunctionDef
        if not any(isinstance(node, functions) and node.name == name for node in ast.walk(tree)):
            missing.append(f"{file}::{name}")
    assert missing == []


def test_its_links_lead_somewhere() -> None:
    assert pages.broken_links(MODEL) == []


# Other pages


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("http://testserver", True),
        ("http://testserver:80", True),
        ("https://testserver", False),
        ("http://testserver:8000", False),
        ("http://evil.example", False),
        ("http://testserver.evil.example", False),
        ("http://testserver@evil.example", False),
        ("null", False),
        ("", False),
    ],
)
async def test_a_foreign_page_cannot_connect_with_the_cookies_of_a_user(
    origin: str | None, accepted: bool
) -> None:
    called: list[str] = []

    async def handler(ws: telex.WebSocket) -> None:
        called.append(ws.cookies["session"])
        await ws.accept()

    app = telex.App()
    app.websocket("/")(handler)
    headers = {} if origin is None else {"origin": origin}
    if accepted:
        assert await ending(app, headers=headers, cookies={"session": "1"}) == (1000, "")
    else:
        refused = await rejection(app, headers=headers, cookies={"session": "1"})
        assert refused.status == 403
    assert called == ["1"] * accepted


# Odd requests


async def test_a_subprotocol_that_was_not_offered_is_never_echoed() -> None:
    async def echo_token(ws: telex.WebSocket) -> None:
        with pytest.raises(ValueError, match="not offered"):
            await ws.accept(subprotocol=ws.query_params["protocol"])

    app = telex.App()
    app.websocket("/")(echo_token)
    peer = await serve(app, scope=make_scope(query_string=b"protocol=admin", subprotocols=["chat"]))
    assert peer.types == ["close"]


@pytest.mark.parametrize("name", ["a\r\nset-cookie: id=1", "a\nb", "a\x00b"])
async def test_a_client_cannot_split_the_response_it_is_given(name: str) -> None:
    async def copy_header(ws: telex.WebSocket) -> None:
        await ws.accept(headers={"x-room": ws.path_params["room"]})

    app = telex.App()
    app.websocket("/{room}")(copy_header)
    peer = await serve(app, scope=make_scope(f"/{name}", denial=True))
    assert "set-cookie" not in str(peer.sent)
    assert peer.sent[0]["status"] == 500


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/{value:int}", "9" * 5000),
        ("/{value:float}", "9" * 5000),
        ("/{value:date}", "2023-02-29"),
        ("/{value:datetime}", "2023-02-28T25:00"),
        ("/{value:uuid}", "0" * 31),
        ("/{value:int}", "٣"),
        ("/{value:int}", "1\n"),
    ],
)
async def test_a_path_that_breaks_its_conversion_is_not_found(path: str, text: str) -> None:
    async def handler(ws: telex.WebSocket) -> None:
        await ws.accept()

    app = telex.App()
    app.websocket(path)(handler)
    assert (await rejection(app, f"/{text}")).status == 404


# Odd messages


@pytest.mark.parametrize(
    "bomb",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 1_000_000, "NaN", "1e999", '"\ufeff"' * 2, "", "\0"],
)
async def test_a_json_bomb_is_malformed_json_and_the_connection_goes_on(bomb: str) -> None:
    async def handler(ws: telex.WebSocket) -> None:
        await ws.accept()
        with pytest.raises(json.JSONDecodeError):
            await ws.receive_json()
        await ws.send_json(await ws.receive_json())

    app = telex.App()
    app.websocket("/")(handler)
    async with connected(app) as ws:
        await ws.send_text(bomb)
        await ws.send_text("[1]")
        assert [text async for text in ws] == ["[1]"]


@pytest.mark.parametrize(
    ("method", "message"),
    [("receive_text", b""), ("receive_bytes", ""), ("receive_json", b"1")],
)
async def test_the_other_kind_of_message_is_a_frame_error(
    method: str, message: str | bytes
) -> None:
    async def handler(ws: telex.WebSocket) -> None:
        await ws.accept()
        with pytest.raises(telex.WebSocketFrameError):
            await getattr(ws, method)()
        await ws.send_text("still here")

    app = telex.App()
    app.websocket("/")(handler)
    async with connected(app) as ws:
        await ws.send_value(message)
        assert [text async for text in ws] == ["still here"]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("text", b"x"), ("bytes", "x"), ("json", "{"), ("json", "[" * 100_000)],
)
async def test_a_view_closes_when_a_message_is_not_of_its_encoding(
    encoding: str, message: str | bytes
) -> None:
    received = []

    async def on_receive(self: Any, data: Any) -> None:
        received.append(data)

    app = telex.App()
    app.websocket("/")(
        type("View", (telex.SocketView,), {"encoding": encoding, "on_receive": on_receive})
    )
    async with connected(app) as ws:
        await ws.send_value(message)
        await ws.expect_close(1003)
    assert received == []


@pytest.mark.parametrize("code", [None, 0, 999, 1005, 65535, "1001", "x", b"\xff"])
@pytest.mark.parametrize("reason", [None, "", "x" * 500, "\ud800"])
async def test_an_odd_close_frame_is_data(code: Any, reason: str | None) -> None:
    seen: list[telex.WebSocketDisconnect] = []

    async def handler(ws: telex.WebSocket) -> None:
        await ws.accept()
        try:
            await ws.receive_text()
        except telex.WebSocketDisconnect as gone:
            seen.append(gone)

    app = telex.App()
    app.websocket("/")(handler)
    await serve(app, {"type": "websocket.disconnect", "code": code, "reason": reason})
    assert type(seen[0].code) is int
    assert seen[0].reason == (reason or "")


# Memory and time


@pytest.mark.parametrize(("size", "most"), [(1, 32), (100_000, 4), (10_000_000, 2)])
async def test_a_flood_is_not_read_further_than_the_buffer(size: int, most: int) -> None:
    async def busy(ws: telex.WebSocket) -> None:
        await ws.accept()
        await ws.is_disconnected()
        await turns(200)

    app = telex.App()
    app.websocket("/")(busy)
    peer = Peer(*[T("x" * size)] * 100)
    await peer.run(app)
    # The connect is one of the events that were read.
    assert peer.reads == most + 1


async def test_the_outbox_of_a_client_that_does_not_read_is_bounded() -> None:
    outbox = telex.Outbox(max_messages=10, max_bytes=1000)
    taken: list[bool] = []
    buffered: list[int] = []

    async def flood(ws: telex.WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()
        for _ in range(1000):
            taken.append(ws.send_nowait("x" * 300))
            buffered.append(ws.buffered)
        await ws.abort()

    app = telex.App(outbox=outbox)
    app.websocket("/")(flood)
    async with connected(app) as ws:
        ws.pause_reading(buffer=0)
        await ws.send_text("go")
    assert taken.count(True) == 3
    assert max(buffered) <= 1000


async def test_a_client_that_does_not_read_can_be_dropped_and_delays_nobody() -> None:
    outbox = telex.Outbox(max_messages=2, policy="close")
    others: list[telex.WebSocket] = []

    async def subscribe(ws: telex.WebSocket) -> None:
        await ws.accept()
        others.append(ws)
        await ws.send_text("subscribed")
        await ws.wait_closed()

    app = telex.App(outbox=outbox)
    app.websocket("/")(subscribe)
    async with connected(app) as good, connected(app) as stuck:
        for each in (good, stuck):
            assert await each.receive_text() == "subscribed"
        stuck.pause_reading(buffer=0)
        for number in "01234":
            for ws in others:
                ws.send_nowait(number)
            assert await good.receive_text() == number
        await good.expect_nothing(0)
        stuck.resume_reading()
        assert [text async for text in stuck] == ["0"]
        await stuck.expect_close(4008)


async def test_who_sends_faster_than_allowed_is_closed() -> None:
    read: list[str | bytes] = []

    async def collect(ws: telex.WebSocket) -> None:
        await ws.accept()
        read.extend([message async for message in ws])

    app = telex.App(max_messages_per_second=10)
    app.websocket("/")(collect)
    async with connected(app) as ws:
        with pytest.raises(telex.WebSocketDisconnect) as end:
            for _ in range(1000):
                await ws.send_text("spam")
        assert end.value.code == 1008
    assert 10 <= len(read) < 200


async def test_who_takes_nothing_of_what_is_sent_is_ended() -> None:
    ended: asyncio.Queue[int | None] = asyncio.Queue()

    async def pour(ws: telex.WebSocket) -> None:
        ws.add_cleanup(lambda: ended.put_nowait(ws.close_code))
        await ws.accept()
        await ws.receive_text()
        while True:
            await ws.send_text("x" * 1000)

    app = telex.App(outbox=telex.Outbox(timeout=0.1))
    app.websocket("/")(pour)
    async with connected(app) as ws:
        ws.pause_reading(buffer=0)
        await ws.send_text("go")
        assert await soon(ended.get()) == 4008


async def test_connections_beyond_the_limits_are_refused_and_places_come_back() -> None:
    left = 0

    async def stay(ws: telex.WebSocket) -> None:
        nonlocal left
        try:
            await ws.accept()
            await ws.wait_closed()
        finally:
            left += 1

    app = telex.App(max_connections=5, max_connections_per_client=2)
    app.websocket("/")(stay)

    def address(number: int) -> dict[str, Any]:
        return {"scope": {"client": (f"10.0.0.{number}", 1)}}

    for _ in range(3):
        async with contextlib.AsyncExitStack() as stack:
            for number in (1, 1, 2, 2, 3):
                await stack.enter_async_context(connected(app, **address(number)))
            for number, status in ((1, 503), (9, 503)):
                assert (await rejection(app, **address(number))).status == status
        async with connected(app, **address(1)), connected(app, **address(1)):
            assert (await rejection(app, **address(1))).status == 429
    assert left == 3 * 7
    assert len(app.connections) == 0


async def test_a_handshake_that_is_stuck_is_denied_in_time() -> None:
    ended: list[str] = []

    async def hesitate(ws: telex.WebSocket) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    app = telex.App(handshake_timeout=0.05, disconnect_grace=0.01)
    app.websocket("/")(hesitate)
    refused = await rejection(app)
    assert refused.status == 503
    assert ended == ["cancelled"]


@pytest.mark.parametrize(
    "ending", ["returns", "raises", "leaves", "swallows", "stopped", "refuses"]
)
async def test_cleanups_run_once_however_a_connection_ends(ending: str) -> None:
    cleaned: list[str] = []

    async def handler(ws: telex.WebSocket) -> None:
        ws.add_cleanup(lambda: cleaned.append(ending))
        if ending == "refuses":
            raise telex.Reject(401)
        await ws.accept()
        if ending == "raises":
            raise LookupError
        if ending == "leaves":
            await ws.receive_text()
        if ending == "stopped":
            await asyncio.Event().wait()
        if ending == "swallows":
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()

    app = telex.App(disconnect_grace=0.01)
    app.websocket("/")(handler)
    peer = Peer(*[D(1001)] * (ending in ("leaves", "swallows")))
    task = asyncio.create_task(peer.run(app))
    if ending == "stopped":
        await turns()
        task.cancel()
    await soon(asyncio.gather(task, return_exceptions=True))
    assert cleaned == [ending]


# What is said


@pytest.mark.parametrize("accepted", [False, True])
async def test_the_text_of_an_exception_stays_on_the_server(accepted: bool) -> None:
    async def handler() -> None:
        if accepted:
            await telex.websocket.accept()
        raise LookupError("postgres://admin:secret@db")

    sent = {}
    for debug in (False, True):
        app = telex.App(debug=debug)
        app.websocket("/")(handler)
        try:
            async with connected(app, raise_app_exceptions=False) as ws:
                sent[debug] = str(await ws.receive())
        except ConnectionRejected as refused:
            sent[debug] = str(vars(refused))
    assert "secret" not in sent[False]
    assert "Traceback" not in sent[False]
    assert "secret" in sent[True]


@pytest.mark.parametrize("debug", [False, True])
async def test_what_is_wrong_with_a_secret_does_not_repeat_it(
    debug: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def handler(
        token: Annotated[int, telex.Header(alias="x-token")],
        session: Annotated[dt.date, telex.Cookie()],
    ) -> None:
        await telex.websocket.accept()

    app = telex.App(debug=debug)
    app.websocket("/")(handler)
    headers, cookies = {"x-token": "secret-1"}, {"session": "secret-2"}
    scopes: list[dict[str, Any]] = [{}, {"extensions": {}}]
    for scope in scopes:
        refused = await rejection(app, headers=headers, cookies=cookies, scope=scope)
        assert refused.status == (403 if scope else 422)
        assert "secret" not in str(vars(refused))
    assert "secret" not in caplog.text


async def _swallow_cancellation(ws: telex.WebSocket) -> None:
    await ws.accept()
    for _ in range(2):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await asyncio.Event().wait()


async def _raise(ws: telex.WebSocket) -> None:
    raise LookupError


async def _raise_expect(ws: telex.WebSocket) -> None:
    raise telex.WebSocketExpectError("no")


async def _read(ws: telex.WebSocket) -> None:
    await ws.accept()
    await ws.receive_text()


async def _fall_through(ws: telex.WebSocket) -> None:
    return


class _TextOnly(telex.SocketView):
    encoding = "text"


@pytest.mark.parametrize(
    ("handler", "last"),
    [
        (_raise, None),
        (_raise_expect, None),
        (_read, (4000, f"bye{FORGED}")),
        (_fall_through, None),
        (_swallow_cancellation, (1001, "")),
        (_TextOnly, b"x"),
        (None, None),
    ],
)
async def test_no_path_and_no_close_reason_forges_a_log_line(
    handler: Any, last: tuple[int, str] | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app = telex.App(disconnect_grace=0.01)
    if handler is not None:
        app.websocket("/{room}")(handler)
    path = f"/room{FORGED}" if handler else f"/nowhere/x{FORGED}"
    with contextlib.suppress(ConnectionRejected):
        async with connected(app, path, raise_app_exceptions=False) as ws:
            if isinstance(last, bytes):
                await ws.send_bytes(last)
                await ws.expect_close()
            elif last:
                await ws.close(*last)
    records = [record for record in caplog.records if record.name.startswith("telex")]
    assert records
    assert [record.getMessage() for record in records if "\n" in record.getMessage()] == []


async def test_no_path_forges_a_line_about_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def hesitate(ws: telex.WebSocket) -> None:
        await asyncio.Event().wait()

    app = telex.App(max_connections=1, handshake_timeout=0.05, disconnect_grace=0.01)
    app.websocket("/{room}")(hesitate)
    path = f"/room{FORGED}"
    stuck = asyncio.create_task(rejection(app, path))
    await turns()
    assert (await rejection(app, path)).status == 503
    await soon(stuck)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("telex")]
    assert any("is refused" in line for line in lines)
    assert any("handshake in time" in line for line in lines)
    assert [line for line in lines if "\n" in line] == []
