"""One call of an application: how it failed, and what it leaves behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
import starlette.websockets

import telex
from opened import soon, turns
from peer import make_scope
from telex import App, SocketView, WebSocket
from telex._failures import observer
from telex._types import ASGIApp, CloseRecord, Receive, Scope, Send
from telex.testing import ExpectationFailed, HandlersSurvived
from telex.testing._owner import owner, watching_tasks
from telex.testing._run import Run
from telex.testing._wire import ClientGone, Wire

ACCEPT = {"type": "websocket.accept"}


@pytest.fixture
async def watched() -> Any:
    """The loop says whose tasks are made."""
    with watching_tasks():
        yield


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give tasks that do not want to end a moment."""
    monkeypatch.setattr("telex.testing._run._SPARE", 0.03)


class Raised(BaseException):
    """Something that is no `Exception`."""


def started(app: ASGIApp) -> tuple[Run, Wire]:
    """Start an application on a wire of its own."""
    scope = make_scope(denial=True)
    wire = Wire(scope)
    return Run(app, scope, wire), wire


def leave(wire: Wire, code: int = 1000) -> None:
    event = {"type": "websocket.disconnect", "code": code, "reason": ""}
    wire.leave(CloseRecord(code, "", "client"), event)


async def over(run: Run, wire: Wire) -> None:
    """Wait until the application has ended and the wire knows it."""
    await soon(run.finish(None, check_tasks=False))
    await turns()


def raising(failure: BaseException, *, when: str) -> ASGIApp:
    """Return an application that raises before accept, after it, or when the client has left."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if when != "before":
            await send(ACCEPT)
        if when == "left":
            await receive()
        raise failure

    return app


# How it ends


async def test_an_application_is_called_with_scope_receive_and_send() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope["path"], await receive()))
        await send(ACCEPT)

    run, wire = started(app)
    assert not run.over
    await over(run, wire)
    assert seen == ["/", {"type": "websocket.connect"}]
    assert wire.accepted is not None
    assert (run.over, run.failure) == (True, None)
    assert wire.closed == CloseRecord(1006, "", "server")


async def test_a_plain_function_that_returns_an_awaitable_is_an_application_too() -> None:
    async def inner() -> None: ...

    def app(scope: Scope, receive: Receive, send: Send) -> Any:
        return inner()

    run, wire = started(app)
    await over(run, wire)
    assert wire.rejected is not None
    assert wire.rejected.status == 500


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("failure", [LookupError("no"), Raised(), ExceptionGroup("g", [OSError()])])
async def test_what_comes_out_of_it_is_its_failure(failure: BaseException, when: str) -> None:
    run, wire = started(raising(failure, when=when))
    await soon(wire.bell.until(lambda: run.failure))
    assert run.failure is failure
    await over(run, wire)
    assert wire.closed is not None
    assert (wire.closed.code, wire.rejected is not None) == (1006, when == "before")


async def test_the_traceback_of_a_failure_leads_to_the_line_that_raised_it() -> None:
    run, wire = started(raising(LookupError(), when="before"))
    await over(run, wire)
    assert run.failure is not None
    traceback = run.failure.__traceback__
    names = []
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "app"


async def test_a_call_that_fails_at_once_is_a_failure_as_well() -> None:
    def no_application(scope: Scope) -> None: ...

    run, wire = started(no_application)  # type: ignore[arg-type]
    await over(run, wire)
    assert isinstance(run.failure, TypeError)


async def test_an_application_that_is_cancelled_has_not_failed() -> None:
    run, wire = started(raising(asyncio.CancelledError(), when="after"))
    await over(run, wire)
    assert run.failure is None
    assert wire.closed == CloseRecord(1006, "", "server")


# What only says that the client has left


class Disconnect(Exception):
    """Litestar's, or some other framework's; what counts is its name."""


Disconnect.__name__ = "WebSocketDisconnect"


class Special(telex.WebSocketDisconnect):
    """A subclass with another name."""


DISCONNECTS = [
    telex.WebSocketDisconnect(1001),
    starlette.websockets.WebSocketDisconnect(1001),
    Disconnect(),
    Special(),
    ClientGone(),
    type("ClientDisconnected", (OSError,), {})(),
    ExceptionGroup("g", [telex.WebSocketDisconnect(), ClientGone()]),
    ExceptionGroup("g", [ExceptionGroup("h", [Disconnect()]), ClientGone()]),
]


def test_litestar_calls_its_own_by_that_name() -> None:
    exceptions = pytest.importorskip("litestar.exceptions")
    assert exceptions.WebSocketDisconnect.__name__ == Disconnect.__name__


@pytest.mark.parametrize("failure", DISCONNECTS)
async def test_that_the_client_has_left_is_no_failure(failure: Exception) -> None:
    run, wire = started(raising(failure, when="left"))
    await turns()
    leave(wire)
    await over(run, wire)
    assert run.failure is None


@pytest.mark.parametrize("failure", DISCONNECTS)
async def test_the_same_exception_on_an_open_connection_is_a_failure(failure: Exception) -> None:
    run, wire = started(raising(failure, when="after"))
    await over(run, wire)
    assert run.failure is failure


@pytest.mark.parametrize(
    "failure",
    [
        OSError("disk full"),
        ConnectionResetError(),
        LookupError(),
        ExceptionGroup("g", [telex.WebSocketDisconnect(), LookupError()]),
        ExceptionGroup("g", [ExceptionGroup("h", [LookupError()]), ClientGone()]),
        type("NoWebSocketDisconnect", (Exception,), {})(),
    ],
)
async def test_anything_else_is_a_failure_although_the_client_has_left(failure: Exception) -> None:
    run, wire = started(raising(failure, when="left"))
    await turns()
    leave(wire)
    await over(run, wire)
    assert run.failure is failure


async def test_a_refused_send_that_nobody_catches_is_no_failure() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await receive()
        while True:
            await send({"type": "websocket.send", "text": "x"})

    run, wire = started(app)
    await turns()
    leave(wire)
    await over(run, wire)
    assert run.failure is None


async def test_an_application_that_raises_the_disconnect_after_its_own_close_has_not_failed() -> (
    None
):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 4000})
        await receive()
        raise starlette.websockets.WebSocketDisconnect((await receive())["code"])

    run, wire = started(app)
    await over(run, wire)
    assert run.failure is None


# What Telex answers


def logged(caplog: pytest.LogCaptureFixture) -> list[BaseException | None]:
    """The exceptions that were logged with a traceback."""
    return [record.exc_info[1] for record in caplog.records if record.exc_info]


async def test_what_telex_answers_for_a_handler_is_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, failure = App(), LookupError("handler")

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        raise failure

    run, wire = started(app)
    await over(run, wire)
    assert run.failure is failure
    assert wire.closed == CloseRecord(1011, "", "server")
    assert logged(caplog) == [failure]


async def test_what_a_cleanup_raises_is_known(caplog: pytest.LogCaptureFixture) -> None:
    app, failure = App(), LookupError("cleanup")

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async def cleanup() -> None:
            raise failure

        ws.add_cleanup(cleanup)
        await ws.accept()

    run, wire = started(app)
    await over(run, wire)
    assert run.failure is failure
    assert wire.closed == CloseRecord(1000, "", "server")
    assert logged(caplog) == [failure]


async def test_a_cleanup_that_raises_cancelled_error_fails_the_test_and_cancels_nothing() -> None:
    cancelled = asyncio.CancelledError()

    async def cleanup() -> None:
        raise cancelled

    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        ws.add_cleanup(cleanup)

    run, wire = started(app)
    await over(run, wire)
    assert isinstance(run.failure, ExpectationFailed)
    assert run.failure.__cause__ is cancelled


async def test_what_on_disconnect_raises_is_known(caplog: pytest.LogCaptureFixture) -> None:
    app, failure = App(), LookupError("on_disconnect")

    @app.websocket("/")
    class Room(SocketView):
        async def on_disconnect(self, close_code: int) -> None:
            raise failure

    run, wire = started(app)
    await turns()
    leave(wire, 4001)
    await over(run, wire)
    assert run.failure is failure
    assert logged(caplog) == [failure]


async def test_the_first_failure_counts_and_each_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, first, second = App(), LookupError("handler"), KeyError("cleanup")

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        def cleanup() -> None:
            raise second

        ws.add_cleanup(cleanup)
        await ws.accept()
        raise first

    run, wire = started(app)
    await over(run, wire)
    assert run.failure is first
    assert logged(caplog) == [first, second]


async def test_the_variables_of_a_call_do_not_reach_the_test() -> None:
    run, wire = started(raising(LookupError(), when="before"))
    await over(run, wire)
    assert (owner.get(), observer.get()) == (None, None)


async def test_two_calls_at_once_keep_their_failures_apart() -> None:
    runs = [started(raising(LookupError(name), when="after")) for name in "ab"]
    for run, wire in runs:
        await over(run, wire)
    assert [str(run.failure) for run, _ in runs] == ["a", "b"]


# Where it waits


async def test_it_says_where_the_application_waits() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()  # for the second time

    run, wire = started(app)
    await turns()
    assert run.parked().startswith("the application at '/', waiting at\n")
    assert run.parked().endswith("    await receive()  # for the second time")
    leave(wire)
    await over(run, wire)


# What it leaves behind


async def parent(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that leaves a task behind."""
    kept.append(asyncio.create_task(asyncio.Event().wait(), name="left behind"))


kept: list[asyncio.Task[Any]] = []


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    yield
    kept.clear()


@pytest.mark.usefixtures("watched")
async def test_finishing_waits_for_the_application_and_its_tasks() -> None:
    done: list[str] = []

    async def child(gate: asyncio.Event) -> None:
        await gate.wait()
        kept.append(asyncio.create_task(grandchild()))

    async def grandchild() -> None:
        await turns()
        done.append("grandchild")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        gate = asyncio.Event()
        kept.append(asyncio.create_task(child(gate)))
        await turns()
        gate.set()

    run, _ = started(app)
    await soon(run.finish(5, check_tasks=True))
    assert (done, run.over) == (["grandchild"], True)


@pytest.mark.usefixtures("watched")
async def test_a_task_that_goes_on_is_named_with_its_place_and_cancelled() -> None:
    run, _ = started(parent)
    with pytest.raises(HandlersSurvived) as caught:
        await soon(run.finish(0.01, check_tasks=True))
    first, name, *_ = str(caught.value).splitlines()
    assert first == "after the end of the connection and 0.01 s more, still running:"
    assert name == "left behind, waiting at"
    assert kept[0].cancelled()


@pytest.mark.usefixtures("watched")
async def test_tasks_do_not_count_when_they_are_not_checked() -> None:
    run, _ = started(parent)
    await soon(run.finish(0.01, check_tasks=False))
    assert not kept[0].done()
    kept[0].cancel()


@pytest.mark.parametrize("check_tasks", [True, False])
async def test_a_handler_that_goes_on_is_named_and_cancelled(check_tasks: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()  # for ever

    run, wire = started(app)
    with pytest.raises(HandlersSurvived, match="# for ever") as caught:
        await soon(run.finish(0, check_tasks=check_tasks))
    assert "the application at '/': has not begun" not in str(caught.value)
    assert run.over
    await turns()
    assert wire.rejected is not None


@pytest.mark.usefixtures("watched")
async def test_everything_that_goes_on_is_named_in_order() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(asyncio.Event().wait, name="b")
            group.start_soon(asyncio.Event().wait, name="a")

    run, wire = started(app)
    with pytest.raises(HandlersSurvived) as caught:
        await soon(run.finish(0.01, check_tasks=True))
    names = [line for line in str(caught.value).splitlines() if line.endswith(", waiting at")]
    assert [name.removesuffix(", waiting at") for name in names] == [
        "a",
        "b",
        "the application at '/'",
    ]
    await over(run, wire)


@pytest.mark.usefixtures("watched")
async def test_a_task_that_does_not_let_itself_be_cancelled_is_left_after_a_moment() -> None:
    gate = asyncio.Event()

    async def stubborn() -> None:
        while not gate.is_set():
            with suppress(asyncio.CancelledError):
                await gate.wait()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kept.append(asyncio.create_task(stubborn()))

    run, _ = started(app)
    with pytest.raises(HandlersSurvived, match="await gate"):
        await soon(run.finish(0.01, check_tasks=True))
    assert not kept[0].done()
    gate.set()
    await soon(kept[0])


@pytest.mark.usefixtures("watched")
async def test_the_tasks_of_another_call_do_not_count() -> None:
    gate = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        kept.append(asyncio.create_task(gate.wait()))
        await gate.wait()

    async def brief(scope: Scope, receive: Receive, send: Send) -> None: ...

    slow, _ = started(waiting)
    await turns()
    quick, _ = started(brief)
    await soon(quick.finish(0.01, check_tasks=True))
    assert not slow.over
    gate.set()
    await soon(slow.finish(5, check_tasks=True))


@pytest.mark.usefixtures("watched")
async def test_a_call_within_a_call_owns_its_own_tasks() -> None:
    inner_tasks: list[HandlersSurvived] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        run, _ = started(parent)
        try:
            await run.finish(0.01, check_tasks=True)
        except HandlersSurvived as survived:
            inner_tasks.append(survived)

    run, _ = started(app)
    await soon(run.finish(5, check_tasks=True))
    assert "left behind" in str(inner_tasks[0])


async def test_without_a_deadline_finishing_waits_as_long_as_it_takes() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()

    run, _ = started(app)
    finishing = asyncio.create_task(run.finish(None, check_tasks=True))
    await turns()
    assert not finishing.done()
    gate.set()
    await soon(finishing)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks_are_watched_too() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))
    with watching_tasks():
        failing, wire = started(raising(LookupError("no"), when="after"))
        await over(failing, wire)
        assert str(failing.failure) == "no"
        run, _ = started(parent)
        with pytest.raises(HandlersSurvived, match="left behind"):
            await soon(run.finish(0.01, check_tasks=True))
    loop.set_task_factory(None)


def test_it_works_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        with watching_tasks():
            run, _ = started(parent)
            with pytest.raises(HandlersSurvived, match="left behind"):
                await soon(run.finish(0.01, check_tasks=True))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
