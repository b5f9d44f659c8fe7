"""Start-up and shutdown: of the application and of the HTTP application inside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from lifespans import LifespanServer
from opened import soon
from peer import DEADLINE
from telex import App
from telex import _lifespan as lifespan_module
from telex._lifespan import inner_lifespan, serve_lifespan
from telex._types import ASGIApp, Receive, Scope, Send


def noting(log: list[str], name: str, state: dict[str, Any] | None = None) -> Any:
    """Return a lifespan that writes down when it is entered and left."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        log.append(f"{name} up")
        yield state
        log.append(f"{name} down")

    return lifespan


def failing(phase: str) -> Any:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        if phase == "startup":
            raise ValueError("no database")
        yield
        raise ValueError("no database")

    return lifespan


# The application's own


async def test_an_application_without_a_lifespan_starts_and_stops() -> None:
    server = LifespanServer(App())
    assert await server.startup() == "startup.complete"
    assert await server.shutdown() == "shutdown.complete"
    assert server.task.exception() is None


async def test_the_lifespan_gets_the_application_and_is_left_at_shutdown() -> None:
    log: list[str] = []
    apps: list[Any] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        apps.append(app)
        task = asyncio.current_task()
        log.append("up")
        yield
        assert asyncio.current_task() is task
        log.append("down")

    app = App(lifespan=lifespan)
    server = LifespanServer(app)
    await server.startup()
    assert (apps, log) == ([app], ["up"])
    assert await server.shutdown() == "shutdown.complete"
    assert log == ["up", "down"]


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_a_failure_is_told_to_the_server_and_goes_on(phase: str) -> None:
    server = LifespanServer(App(lifespan=failing(phase)))
    started = await server.startup()
    if phase == "startup":
        assert started == "startup.failed"
    else:
        assert started == "startup.complete"
        assert await server.shutdown() == "shutdown.failed"
    assert "ValueError: no database" in server.sent[-1]["message"]
    await asyncio.wait((server.task,), timeout=DEADLINE)
    assert isinstance(server.task.exception(), ValueError)


async def test_something_that_is_no_context_manager_fails_the_start() -> None:
    async def lifespan(app: App) -> AsyncIterator[None]:
        yield

    not_a_context: Any = lifespan
    server = LifespanServer(App(lifespan=not_a_context))
    assert await server.startup() == "startup.failed"
    assert "asynchronous context manager" in server.sent[-1]["message"]
    await asyncio.wait((server.task,), timeout=DEADLINE)
    assert isinstance(server.task.exception(), TypeError)


async def test_a_server_that_cancels_leaves_the_context_as_well() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        try:
            yield
        finally:
            log.append("down")

    inner = Starlette(lifespan=noting(log, "inner"))
    server = LifespanServer(App(lifespan=lifespan, http=inner))
    await server.startup()
    server.task.cancel()
    await asyncio.wait((server.task,), timeout=DEADLINE)
    assert server.task.cancelled()
    assert log == ["inner up", "inner down", "down"]


async def test_serving_a_context_needs_no_application() -> None:
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_lifespan(noting(log, "bare")(None), receive, send)

    server = LifespanServer(app)
    await server.startup()
    await server.shutdown()
    assert log == ["bare up", "bare down"]


# The application inside


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_the_lifespan_of_the_http_application_runs_inside_ours(framework: Any) -> None:
    log: list[str] = []
    inner = framework(lifespan=noting(log, "inner"))
    server = LifespanServer(App(http=inner, lifespan=noting(log, "ours")))
    assert await server.startup() == "startup.complete"
    assert log == ["ours up", "inner up"]
    assert await server.shutdown() == "shutdown.complete"
    assert log == ["ours up", "inner up", "inner down", "ours down"]


async def test_both_leave_their_state_in_the_scope_of_the_server() -> None:
    inner = Starlette(lifespan=noting([], "inner", {"inner": 1, "both": "inner"}))
    app = App(http=inner, lifespan=noting([], "ours", {"ours": 2, "both": "ours"}))
    server = LifespanServer(app, state={"server": 3})
    await server.startup()
    assert server.scope["state"] == {"server": 3, "ours": 2, "inner": 1, "both": "inner"}
    await server.shutdown()


async def test_state_works_although_the_server_knows_none() -> None:
    inner = Starlette(lifespan=noting([], "inner", {"inner": 1}))
    server = LifespanServer(App(http=inner, lifespan=noting([], "ours", {"ours": 2})))
    assert await server.startup() == "startup.complete"
    assert await server.shutdown() == "shutdown.complete"


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_a_failure_inside_is_told_to_the_server(
    phase: str, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    app = App(http=Starlette(lifespan=failing(phase)), lifespan=noting(log, "ours"))
    server = LifespanServer(app)
    started = await server.startup()
    if phase == "shutdown":
        assert started == "startup.complete"
        assert await server.shutdown() == "shutdown.failed"
    else:
        assert started == "startup.failed"
    text = server.sent[-1]["message"]
    assert f"RuntimeError: the {phase} of the HTTP application failed" in text
    assert "ValueError: no database" in text
    await asyncio.wait((server.task,), timeout=DEADLINE)
    assert isinstance(server.task.exception(), RuntimeError)
    assert log == ["ours up"]
    assert caplog.messages == []


async def raises_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None: ...


async def raises_later(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise ValueError("no lifespan here")


@pytest.mark.parametrize("inner", [raises_at_once, returns_at_once, raises_later])
async def test_an_application_without_a_lifespan_is_left_alone(
    inner: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    server = LifespanServer(App(http=inner))
    assert await server.startup() == "startup.complete"
    assert await server.shutdown() == "shutdown.complete"
    assert caplog.messages == []


async def starts(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def dies_between(scope: Scope, receive: Receive, send: Send) -> None:
    await starts(receive, send)
    raise ValueError("in the middle")


async def dies_at_shutdown(scope: Scope, receive: Receive, send: Send) -> None:
    await starts(receive, send)
    await receive()
    raise ValueError("at shutdown")


@pytest.mark.parametrize("inner", [dies_between, dies_at_shutdown])
async def test_one_that_dies_after_its_start_is_logged_and_does_not_hang(
    inner: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    server = LifespanServer(App(http=inner))
    assert await server.startup() == "startup.complete"
    assert await server.shutdown() == "shutdown.complete"
    assert caplog.messages == ["the lifespan of the HTTP application failed"]


async def fails_and_goes_on(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
    await asyncio.Event().wait()


async def stops_and_goes_on(scope: Scope, receive: Receive, send: Send) -> None:
    await starts(receive, send)
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
    await asyncio.Event().wait()


@pytest.mark.parametrize("inner", [fails_and_goes_on, stops_and_goes_on])
async def test_no_task_is_left_of_one_that_does_not_end(
    inner: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifespan_module, "STOP_TIMEOUT", 0.01)
    before = asyncio.all_tasks()
    server = LifespanServer(App(http=inner))
    if await server.startup() == "startup.complete":
        assert await server.shutdown() == "shutdown.complete"
    await asyncio.wait((server.task,), timeout=DEADLINE)
    server.task.exception()
    assert asyncio.all_tasks() == before


async def test_a_start_that_is_cancelled_leaves_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifespan_module, "STOP_TIMEOUT", 0.01)
    begun = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def use() -> None:
        async with inner_lifespan(slow, {"type": "lifespan"}):
            raise AssertionError("it never starts")

    before = asyncio.all_tasks()
    task = asyncio.ensure_future(use())
    await soon(begun.wait())
    task.cancel()
    await asyncio.wait((task,), timeout=DEADLINE)
    assert task.cancelled()
    assert asyncio.all_tasks() == before


async def test_what_an_inner_application_without_a_lifespan_raised_can_be_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "telex")
    server = LifespanServer(App(http=raises_later))
    await server.startup()
    await server.shutdown()
    assert "no lifespan here" in caplog.messages[0]
