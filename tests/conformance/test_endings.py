"""Every way a handler may end: what is sent, which code is told, what runs once, what is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.exceptions import WebSocketException as StarletteWebSocketException
from starlette.websockets import WebSocketDisconnect as StarletteDisconnect

from peer import DEADLINE, D, Peer, T, make_scope
from telex import (
    App,
    Reject,
    SocketView,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    WebSocketExpectError,
)
from telex._types import Message

GRACE = 0.05
SECRET = "the password is 1234"

Sent = tuple[object, ...]
Ending = Callable[[WebSocket], Awaitable[object]]


@dataclass(frozen=True)
class Outcome:
    """What an ending must look like.

    Attributes:
        sent: What goes out last: `("close", code, reason)`, `("denied", status, body)` or nothing.
        code: What `ws.close_code` says.
        told: What `on_disconnect` gets, `None` for the same.
        errors: How many tracebacks are logged.
        raises: What goes on to the server.
        warning: A piece of the warning that is logged, `None` for no warning.
    """

    sent: Sent
    code: int
    told: int | None = None
    errors: int = 0
    raises: type[BaseException] | None = None
    warning: str | None = None


class Stop(BaseException):
    """Neither an error nor asyncio's."""


async def returns(ws: WebSocket) -> None:
    pass


async def returns_a_value(ws: WebSocket) -> object:
    return SECRET


async def fails(ws: WebSocket) -> None:
    raise ValueError(SECRET)


async def raises_a_close(ws: WebSocket) -> None:
    raise WebSocketException(4000, "x")


async def raises_a_close_of_starlette(ws: WebSocket) -> None:
    raise StarletteWebSocketException(4000, "x")


async def raises_a_close_that_cannot_be_sent(ws: WebSocket) -> None:
    raise WebSocketException(1006, SECRET)


async def rejects(ws: WebSocket) -> None:
    raise Reject(401, "who are you?")


async def raises_an_http_error(ws: WebSocket) -> None:
    raise HTTPException(429, "slow down")


async def expected_something_else(ws: WebSocket) -> None:
    raise WebSocketExpectError(SECRET)


async def lets_a_foreign_disconnect_out(ws: WebSocket) -> None:
    raise WebSocketDisconnect(1001)


async def fails_in_a_task(ws: WebSocket) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails(ws))


async def closes_in_a_task(ws: WebSocket) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(raises_a_close(ws))


async def fails_twice_in_tasks(ws: WebSocket) -> None:
    raise ExceptionGroup(SECRET, [ValueError(SECRET), WebSocketException(4000)])


async def closes(ws: WebSocket) -> None:
    await ws.close(4001, "done")


async def closes_and_fails(ws: WebSocket) -> None:
    await ws.close(4001, "done")
    raise ValueError(SECRET)


async def stops_everything(ws: WebSocket) -> None:
    raise Stop(SECRET)


async def awaits_what_was_cancelled(ws: WebSocket) -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def is_cancelled(ws: WebSocket) -> None:
    ws.scope["ready"].set()
    await asyncio.Event().wait()


BUSY = Outcome(("close", 1012, ""), 1012, told=1006, raises=asyncio.CancelledError)
FAILED = Outcome(("close", 1011, ""), 1011, errors=1)
DENIED = Outcome(("denied", 500, "Internal Server Error"), 1011, errors=1)
FOREIGN = "another connection"

CASES: list[tuple[Ending, Outcome, Outcome]] = [
    (
        returns,
        Outcome(("denied", 403, ""), 1008, warning="without accepting"),
        Outcome(("close", 1000, ""), 1000),
    ),
    (
        returns_a_value,
        Outcome(("denied", 403, ""), 1008, warning="without accepting"),
        Outcome(("close", 1000, ""), 1000),
    ),
    (fails, DENIED, FAILED),
    (raises_a_close, Outcome(("close", 4000, "x"), 4000), Outcome(("close", 4000, "x"), 4000)),
    (
        raises_a_close_of_starlette,
        Outcome(("close", 4000, "x"), 4000),
        Outcome(("close", 4000, "x"), 4000),
    ),
    (raises_a_close_that_cannot_be_sent, DENIED, FAILED),
    (
        rejects,
        Outcome(("denied", 401, "who are you?"), 1008),
        Outcome(("close", 1008, ""), 1008),
    ),
    (
        raises_an_http_error,
        Outcome(("denied", 429, "slow down"), 1008),
        Outcome(("close", 1008, "slow down"), 1008),
    ),
    (
        expected_something_else,
        Outcome(("denied", 403, ""), 1008),
        Outcome(("close", 1008, ""), 1008),
    ),
    (
        lets_a_foreign_disconnect_out,
        Outcome(("denied", 403, ""), 1008, warning=FOREIGN),
        Outcome(("close", 1000, ""), 1000, warning=FOREIGN),
    ),
    (fails_in_a_task, DENIED, FAILED),
    (closes_in_a_task, Outcome(("close", 4000, "x"), 4000), Outcome(("close", 4000, "x"), 4000)),
    (fails_twice_in_tasks, DENIED, FAILED),
    (closes, Outcome(("close", 4001, "done"), 4001), Outcome(("close", 4001, "done"), 4001)),
    (
        closes_and_fails,
        Outcome(("close", 4001, "done"), 4001, errors=1),
        Outcome(("close", 4001, "done"), 4001, errors=1),
    ),
    (
        stops_everything,
        Outcome(DENIED.sent, 1011, errors=1, raises=Stop),
        Outcome(FAILED.sent, 1011, errors=1, raises=Stop),
    ),
    (awaits_what_was_cancelled, DENIED, FAILED),
    (
        is_cancelled,
        Outcome(("denied", 503, ""), 1011, told=1006, raises=asyncio.CancelledError),
        BUSY,
    ),
]
"""Endings while the client is there: before accept, after accept."""


async def reads_on(ws: WebSocket) -> None:
    await ws.receive_text()


async def reads_and_fails(ws: WebSocket) -> None:
    try:
        await ws.receive_text()
    except WebSocketDisconnect:
        raise ValueError(SECRET) from None


async def reads_raw(ws: WebSocket) -> None:
    while (await ws.receive())["type"] != "websocket.disconnect":
        pass


async def reads_and_closes(ws: WebSocket) -> None:
    await reads_raw(ws)
    await ws.close(4001)


async def reads_in_two_tasks(ws: WebSocket) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(reads_on(ws))
        group.create_task(reads_on(ws))


async def groups_disconnects_of_both_kinds(ws: WebSocket) -> None:
    await reads_raw(ws)
    inner = BaseExceptionGroup("inner", [WebSocketDisconnect(), StarletteDisconnect(1001)])
    raise BaseExceptionGroup("outer", [inner, WebSocketDisconnect()])


async def raises_as_starlette_does(ws: WebSocket) -> None:
    await reads_raw(ws)
    raise StarletteDisconnect(1001)


async def asks_and_returns(ws: WebSocket) -> None:
    while not await ws.is_disconnected():
        pass


async def does_not_notice(ws: WebSocket) -> None:
    await asyncio.Event().wait()


async def notices_too_late_to_fail(ws: WebSocket) -> None:
    await ws.wait_closed()
    raise ValueError(SECRET)


LEFT: list[tuple[Ending, int]] = [
    (reads_on, 0),
    (reads_and_fails, 1),
    (reads_raw, 0),
    (reads_and_closes, 0),
    (reads_in_two_tasks, 0),
    (groups_disconnects_of_both_kinds, 0),
    (raises_as_starlette_does, 0),
    (asks_and_returns, 0),
    (does_not_notice, 0),
    (notices_too_late_to_fail, 1),
]
"""Endings after the client left with 1001, and how many tracebacks they are worth."""

ONLY_AFTER_ACCEPT = (reads_on, reads_and_fails, reads_in_two_tasks, asks_and_returns)


class Stage:
    """One connection, its handler, and what was seen of both.

    Args:
        how: The ending.
        accept: Whether the handler accepts before it ends.
        kind: `function`, `on_connect` or `on_receive`: where the ending happens.
    """

    def __init__(self, how: Ending, *, accept: bool, kind: str, debug: bool = False) -> None:
        self.ws: WebSocket
        self.cleaned = 0
        self.told: list[int] = []
        self._how = how
        self._accept = accept
        self.app = App(disconnect_grace=GRACE, debug=debug)
        self.app.websocket("/")(self._function() if kind == "function" else self._view(kind))

    def _function(self) -> Callable[[WebSocket], Awaitable[object]]:
        async def handler(ws: WebSocket) -> object:
            await self._begin(ws)
            return await self._how(ws)

        return handler

    def _view(self, kind: str) -> type[SocketView]:
        stage = self

        class View(SocketView):
            async def on_connect(self) -> None:
                await stage._begin(self.websocket)
                if kind == "on_connect":
                    await stage._how(self.websocket)

            async def on_receive(self, data: Any) -> None:
                await stage._how(self.websocket)
                # A view that returns reads the next message; a function is at its end.
                await self.websocket.close()

            async def on_disconnect(self, close_code: int) -> None:
                assert stage.ws is self.websocket
                stage.told.append(close_code)

        return View

    async def _begin(self, ws: WebSocket) -> None:
        self.ws = ws
        ws.add_cleanup(self._clean)
        if self._accept:
            await ws.accept()

    def _clean(self) -> None:
        self.cleaned += 1

    async def run(self, *script: Message, denial: bool) -> Peer:
        """Serve one connection; what the application raises goes through."""
        peer = Peer(*script)
        ready = asyncio.Event()
        scope = make_scope(denial=denial, ready=ready)
        async with asyncio.timeout(DEADLINE):
            task = asyncio.ensure_future(peer.run(self.app, scope))
            cancel = asyncio.ensure_future(ready.wait())
            await asyncio.wait((task, cancel), return_when=asyncio.FIRST_COMPLETED)
            if not cancel.cancel():
                task.cancel()
            await asyncio.wait((task, cancel))
        self.failure = None if task.cancelled() else task.exception()
        self.cancelled = task.cancelled()
        return peer


def wire(peer: Peer) -> list[Sent]:
    """What was sent, a denial as one thing."""
    seen: list[Sent] = []
    for message in peer.sent:
        match message["type"]:
            case "websocket.close":
                seen.append(("close", message["code"], message["reason"]))
            case "websocket.http.response.start":
                seen.append(("denied", message["status"], ""))
            case "websocket.http.response.body":
                what, status, body = seen.pop()
                seen.append((what, status, f"{body}{message['body'].decode()}"))
            case kind:
                seen.append((kind.removeprefix("websocket."),))
    return seen


def check_logs(
    logs: list[logging.LogRecord], stage: Stage, errors: int, warning: str | None
) -> None:
    lines = [record.getMessage() for record in logs if record.name == "telex.connection"]
    assert len(lines) == 1, lines
    assert '127.0.0.1:50000 - "WebSocket /"' in lines[0]
    if "denied" not in lines[0]:
        assert f"closed by the {stage.ws.closed_by} with {stage.ws.close_code} " in lines[0]
    assert len([record for record in logs if record.exc_info]) == errors
    warnings = [record.getMessage() for record in logs if record.levelname == "WARNING"]
    assert len(warnings) == (warning is not None)
    if warning is not None:
        assert warning in warnings[0]


def check_sent(peer: Peer, outcome: Outcome, *, accept: bool, denial: bool) -> None:
    last = outcome.sent
    if last[0] == "denied" and not denial:
        last = ("close", outcome.code, "")  # the server says 403, which hides everything
    assert wire(peer) == ([("accept",)] if accept else []) + [last]


@pytest.mark.row("C49", "C52", "C53", "C54", "C55", "C56", "T33", "T38", "T42", "T43", "T44")
@pytest.mark.row("LX8", "GX4", "K20", "Z11", "C30")
@pytest.mark.parametrize("denial", [True, False], ids=["denial", "plain"])
@pytest.mark.parametrize(
    ("kind", "accept"),
    [
        ("function", False),
        ("function", True),
        ("on_connect", False),
        ("on_connect", True),
        ("on_receive", True),
    ],
)
@pytest.mark.parametrize(
    ("how", "before", "after"), CASES, ids=[case[0].__name__ for case in CASES]
)
async def test_every_end_while_the_client_is_there(
    how: Ending,
    before: Outcome,
    after: Outcome,
    accept: bool,
    kind: str,
    denial: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")
    outcome = after if accept else before
    stage = Stage(how, accept=accept, kind=kind)
    peer = await stage.run(*([T("go")] if kind == "on_receive" else [D(1001)]), denial=denial)

    view_goes_on = kind == "on_connect" and accept and how in (returns, returns_a_value)
    if view_goes_on:
        assert wire(peer) == [("accept",)]
        assert (stage.ws.close_code, stage.told, stage.cleaned) == (1001, [1001], 1)
        return
    check_sent(peer, outcome, accept=accept, denial=denial)
    assert stage.ws.close_code == outcome.code
    assert stage.ws.closed_by == "server"
    told = outcome.code if outcome.told is None else outcome.told
    assert stage.told == ([] if kind == "function" else [told])
    assert stage.cleaned == 1
    assert SECRET not in repr(peer.sent)
    check_logs(caplog.records, stage, outcome.errors, outcome.warning)
    assert stage.cancelled == (outcome.raises is asyncio.CancelledError)
    if not stage.cancelled:
        assert type(stage.failure) is (outcome.raises or type(None))


@pytest.mark.row("C49", "C51", "C52", "C57", "T50", "K20", "Z11", "V24")
@pytest.mark.parametrize("denial", [True, False], ids=["denial", "plain"])
@pytest.mark.parametrize("kind", ["function", "on_connect"])
@pytest.mark.parametrize(
    ("how", "errors", "accept"),
    [
        (how, errors, accept)
        for how, errors in LEFT
        for accept in (False, True)
        if accept or how not in ONLY_AFTER_ACCEPT
    ],
)
async def test_every_end_after_the_client_left(
    how: Ending,
    errors: int,
    accept: bool,
    kind: str,
    denial: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")
    stage = Stage(how, accept=accept, kind=kind)
    peer = await stage.run(D(1001), denial=denial)

    assert wire(peer) == ([("accept",)] if accept else [])
    assert (stage.ws.close_code, stage.ws.closed_by) == (1001, "client")
    assert stage.told == ([] if kind == "function" else [1001])
    assert stage.cleaned == 1
    check_logs(caplog.records, stage, errors, None)
    assert not stage.cancelled
    assert stage.failure is None


@pytest.mark.row("C53", "T43")
@pytest.mark.parametrize("accept", [False, True], ids=["before", "after"])
async def test_in_debug_mode_the_client_is_told_what_was_raised(accept: bool) -> None:
    stage = Stage(fails, accept=accept, kind="function", debug=True)
    peer = await stage.run(denial=True)
    what, _, text = wire(peer)[-1]
    assert what == ("close" if accept else "denied")
    assert str(text).endswith(f"ValueError: {SECRET}" + ("" if accept else "\n"))
    assert ("Traceback" in str(text)) is not accept
