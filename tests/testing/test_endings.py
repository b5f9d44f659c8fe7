"""Every way in which a connection can end, against applications of every framework.

Nothing here may take longer than `LIMIT`, whatever the application does.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from opened import turns
from telex import App, SocketView, WebSocket, WebSocketDisconnect
from telex.exceptions import Reject
from telex.testing import (
    AsyncTestClient,
    ConnectionRejected,
    DeadlinePassed,
    ExpectationFailed,
    HandlersSurvived,
    _run,
)
from testing import ending_apps as endings
from testing.ending_apps import LIMIT, PATIENCE, Handler, OwnError, build, connect, connected
from testing.rival_apps import FRAMEWORKS

every_framework = pytest.mark.parametrize("framework", FRAMEWORKS)

raising_frameworks = pytest.mark.parametrize(
    "framework", [f for f in FRAMEWORKS if f != "Litestar"]
)
"""Litestar answers exceptions of WebSocket handlers with close 4500, and tells nobody else."""

silent_frameworks = pytest.mark.parametrize("framework", [f for f in FRAMEWORKS if f != "Telex"])
"""Telex closes with 1000, or denies with 403, for a handler that just returns."""


@pytest.fixture(autouse=True)
def litestar_may_be_missing(request: pytest.FixtureRequest) -> None:
    if "framework" in request.fixturenames and request.getfixturevalue("framework") == "Litestar":
        pytest.importorskip("litestar")


@pytest.fixture(autouse=True)
def what_swallows_cancellations_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run, "_SPARE", 0.1)


def line_of(function: Callable[..., object], text: str) -> str:
    """How a traceback and the report of a survivor name a line of a function."""
    lines, first = inspect.getsourcelines(function)
    number = first + next(i for i, line in enumerate(lines) if text in line)
    return f'File "{inspect.getfile(function)}", line {number}, in {function.__name__}'


def formatted(failure: BaseException) -> str:
    return "".join(traceback.format_exception(failure))


# The handler returns


@silent_frameworks
async def test_a_handler_that_returns_without_closing_breaks_the_connection(framework: str) -> None:
    async with connected(build(framework, endings.returns_without_closing)) as ws:
        assert await ws.receive_text() == "last"
        with pytest.raises(WebSocketDisconnect) as caught:
            await ws.receive_text()
    assert caught.value.code == 1006


async def test_a_handler_of_telex_that_returns_closes_with_1000() -> None:
    async with connected(build("Telex", endings.returns_without_closing)) as ws:
        assert await ws.receive_text() == "last"
        assert (await ws.expect_close(1000)).closed_by == "server"


@silent_frameworks
async def test_a_handler_that_returns_without_accepting_rejects_with_500(framework: str) -> None:
    with pytest.raises(ConnectionRejected) as caught:
        await connect(build(framework, endings.returns_at_once))
    assert (caught.value.status, caught.value.code) == (500, None)


async def test_a_handler_of_telex_that_returns_without_accepting_rejects_with_403() -> None:
    with pytest.raises(ConnectionRejected) as caught:
        await connect(build("Telex", endings.returns_at_once))
    assert caught.value.status == 403


# The handler raises


@raising_frameworks
async def test_what_is_raised_before_accept_reaches_the_test(framework: str) -> None:
    with pytest.raises(OwnError, match="before accept") as caught:
        await connect(build(framework, endings.raises_at_once))
    assert line_of(endings.raises_at_once, "raise Own") in formatted(caught.value)


@raising_frameworks
async def test_the_very_exception_that_was_raised_reaches_the_test(framework: str) -> None:
    mine, cause = OwnError("mine"), KeyError("cause")

    async def raises_mine(ws: Any) -> None:
        raise mine from cause

    with pytest.raises(OwnError) as caught:
        await connect(build(framework, raises_mine))
    assert caught.value is mine
    assert caught.value.__cause__ is cause


@raising_frameworks
async def test_what_is_raised_after_accept_comes_behind_the_messages(framework: str) -> None:
    async with connected(build(framework, endings.raises_after_a_message)) as ws:
        await turns()
        assert await ws.receive_text() == "first"
        with pytest.raises(OwnError, match="after accept") as caught:
            await ws.receive_text()
        # It is told once; after that the test sees what a client sees.
        with pytest.raises(WebSocketDisconnect):
            await ws.receive_text()
    assert line_of(endings.raises_after_a_message, "raise Own") in formatted(caught.value)


@raising_frameworks
async def test_what_is_raised_behind_the_last_read_fails_the_test(framework: str) -> None:
    with pytest.raises(OwnError, match="after a message"):
        async with connected(build(framework, endings.raises_after_the_answer)) as ws:
            await ws.send_text("go")


@raising_frameworks
@pytest.mark.parametrize(
    "call",
    [
        lambda ws: ws.receive_text(),
        lambda ws: ws.receive_bytes(),
        lambda ws: ws.receive_json(),
        lambda ws: ws.receive_as(int),
        lambda ws: ws.receive(),
        lambda ws: ws.expect_close(),
        lambda ws: ws.expect_nothing(0.1),
        lambda ws: ws.expect_blocked(),
        lambda ws: anext(ws),
    ],
    ids=lambda call: inspect.getsource(call).strip().rstrip(",").partition(": ")[2],
)
async def test_whoever_waits_is_told_what_the_application_raised(framework: str, call: Any) -> None:
    async with connected(build(framework, endings.raises_after_the_answer)) as ws:
        await ws.send_text("go")
        with pytest.raises(OwnError):
            await call(ws)


@raising_frameworks
async def test_whoever_sends_is_told_what_the_application_raised(framework: str) -> None:
    async with connected(build(framework, endings.raises_after_the_answer)) as ws:
        with pytest.raises(OwnError):
            while True:
                await ws.send_text("go")


@raising_frameworks
async def test_without_raise_app_exceptions_it_is_500_before_accept(framework: str) -> None:
    with pytest.raises(ConnectionRejected) as caught:
        await connect(build(framework, endings.raises_at_once), raise_app_exceptions=False)
    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("framework", "code"), [("ASGI", 1006), ("Starlette", 1006), ("FastAPI", 1006), ("Telex", 1011)]
)
async def test_without_raise_app_exceptions_it_is_a_close(framework: str, code: int) -> None:
    app = build(framework, endings.raises_after_a_message)
    async with connected(app, raise_app_exceptions=False) as ws:
        assert await ws.receive_text() == "first"
        await ws.expect_close(code)


async def test_litestar_answers_what_is_raised_with_4500() -> None:
    pytest.importorskip("litestar")
    async with connected(build("Litestar", endings.raises_after_a_message)) as ws:
        assert await ws.receive_text() == "first"
        await ws.expect_close(4500)
    with pytest.raises(ConnectionRejected) as caught:
        await connect(build("Litestar", endings.raises_at_once))
    assert (caught.value.status, caught.value.code) == (403, 4500)


@pytest.mark.parametrize("framework", ["ASGI", "Starlette", "FastAPI"])
async def test_the_group_of_a_task_group_reaches_the_test(framework: str) -> None:
    async with connected(build(framework, endings.raises_a_group)) as ws:
        assert await ws.receive_text() == "in a group"
        with pytest.raises(ExceptionGroup) as caught:
            await ws.receive_text()
    assert caught.group_contains(OwnError, match="in a group")


async def test_telex_tells_of_the_only_exception_in_a_group() -> None:
    async with connected(build("Telex", endings.raises_a_group)) as ws:
        assert await ws.receive_text() == "in a group"
        with pytest.raises(OwnError, match="in a group"):
            await ws.receive_text()


@silent_frameworks
async def test_a_handler_that_cancels_itself_breaks_the_connection(framework: str) -> None:
    async with connected(build(framework, endings.cancels_itself)) as ws:
        assert await ws.receive_text() == "going"
        await ws.expect_close(1006)


async def test_a_handler_of_telex_that_cancels_itself_fails_the_test() -> None:
    async with connected(build("Telex", endings.cancels_itself)) as ws:
        assert await ws.receive_text() == "going"
        with pytest.raises(ExpectationFailed) as caught:
            await ws.receive_text()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)


@silent_frameworks
async def test_a_handler_that_cancels_itself_before_accept_rejects_with_500(framework: str) -> None:
    with pytest.raises(ConnectionRejected) as caught:
        await connect(build(framework, endings.cancels_itself_at_once))
    assert caught.value.status == 500


# The handler refuses, or closes


@pytest.mark.parametrize("framework", ["ASGI", "Starlette", "FastAPI", "Telex"])
async def test_a_rejection_has_status_headers_and_body(framework: str) -> None:
    with pytest.raises(ConnectionRejected) as caught:
        await connect(build(framework, endings.rejects))
    rejection = caught.value
    assert rejection.status == 418
    assert rejection.headers["x-why"] == "full"
    assert rejection.headers["content-type"] == "application/json"
    assert rejection.json() == endings.WHY
    assert b"".join(rejection.body.split()) == b'{"why":"full"}'


@pytest.mark.parametrize("framework", ["Starlette", "FastAPI"])
async def test_an_http_exception_of_starlette_is_a_rejection(framework: str) -> None:
    from starlette.exceptions import HTTPException

    async def raises_http(ws: Any) -> None:
        raise HTTPException(429, "later", {"retry-after": "7"})

    with pytest.raises(ConnectionRejected) as caught:
        await connect(build(framework, raises_http))
    assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "7")
    assert "later" in caught.value.text


async def test_what_litestar_rejects_is_a_close_before_accept() -> None:
    pytest.importorskip("litestar")
    with pytest.raises(ConnectionRejected) as caught:
        await connect(build("Litestar", endings.rejects))
    assert (caught.value.status, caught.value.code, caught.value.reason) == (403, 4500, "full")


@every_framework
async def test_a_close_before_accept_rejects_with_403(framework: str) -> None:
    with pytest.raises(ConnectionRejected) as caught:
        await connect(build(framework, endings.closes_before_accept))
    rejection = caught.value
    assert rejection.status == 403
    if framework != "Telex":
        assert (rejection.code, rejection.reason) == (4002, "not you")


@every_framework
async def test_the_server_closes_first(framework: str) -> None:
    async with connected(build(framework, endings.closes_first)) as ws:
        assert await ws.receive_text() == "last"
        with pytest.raises(WebSocketDisconnect) as caught:
            await ws.receive_text()
        record = await ws.expect_close(4001)
    assert (caught.value.code, caught.value.reason) == (4001, "bye")
    assert (record.code, record.reason, record.closed_by) == (4001, "bye", "server")


# The client leaves


@every_framework
async def test_the_client_closes_while_the_handler_sends(framework: str) -> None:
    async with connected(build(framework, endings.sends_without_end)) as ws:
        assert await ws.receive_text() == "more"
        await ws.close()


@every_framework
async def test_the_client_leaves_while_the_handler_sends(framework: str) -> None:
    await connect(build(framework, endings.sends_without_end))


@every_framework
async def test_the_connection_breaks_while_the_handler_sends(framework: str) -> None:
    async with connected(build(framework, endings.sends_without_end)) as ws:
        assert await ws.receive_text() == "more"
        await ws.abort()


@every_framework
async def test_the_connection_breaks_while_a_send_waits(framework: str) -> None:
    async with connected(build(framework, endings.sends_without_end)) as ws:
        ws.pause_reading(buffer=0)
        if framework != "Telex":  # whose handlers write into a queue of their own
            await ws.expect_blocked()
        await ws.abort()


@every_framework
async def test_a_handler_that_listens_ends_with_the_client(framework: str) -> None:
    async with connected(build(framework, endings.listens)) as ws:
        await ws.send_text("hello")


@raising_frameworks
async def test_what_is_raised_after_the_client_has_left_fails_the_test(framework: str) -> None:
    with pytest.raises(OwnError, match="in finally"):
        await connect(build(framework, endings.raises_when_the_client_has_left))


@every_framework
async def test_a_parked_handler_survives_and_is_named(framework: str) -> None:
    with pytest.raises(HandlersSurvived) as caught:
        await connect(build(framework, endings.is_parked), "parked")
    report = str(caught.value)
    assert report.startswith(
        f"after the end of the connection and {PATIENCE:g} s more, still running:\n"
    )
    assert line_of(endings.is_parked, "# parked here") in report
    assert "the application at '/', waiting at\n" in report


@every_framework
async def test_check_tasks_is_not_about_the_handler_itself(framework: str) -> None:
    with pytest.raises(HandlersSurvived):
        await connect(build(framework, endings.is_parked), "parked", check_tasks=False)


@every_framework
async def test_a_task_that_the_handler_leaves_behind_is_named(framework: str) -> None:
    with pytest.raises(HandlersSurvived) as caught:
        await connect(build(framework, endings.leaves_a_task), "on its way")
    report = str(caught.value)
    assert "left behind, waiting at" in report
    assert line_of(endings.waits_for_ever, "# the child") in report
    assert "the application at" not in report


@every_framework
@pytest.mark.leaves_tasks
async def test_check_tasks_lets_tasks_stay_behind(framework: str) -> None:
    await connect(build(framework, endings.leaves_a_task), "on its way", check_tasks=False)
    left = [task for task in asyncio.all_tasks() if task.get_name() == "left behind"]
    assert len(left) == 1
    left[0].cancel()
    await asyncio.wait(left, timeout=LIMIT)


@raising_frameworks
async def test_what_the_handler_raised_counts_more_than_what_it_left(framework: str) -> None:
    with pytest.raises(OwnError, match="and a task is left") as caught:
        await connect(build(framework, endings.leaves_a_task_and_raises), "on its way")
    assert "left behind, waiting at" in formatted(caught.value)


@every_framework
async def test_a_handler_that_swallows_its_cancellation_survives(framework: str) -> None:
    with pytest.raises(HandlersSurvived):
        await connect(build(framework, endings.swallows_the_cancellation), "parked")


@every_framework
@pytest.mark.leaves_tasks
async def test_a_handler_that_swallows_every_cancellation_survives(framework: str) -> None:
    before = asyncio.all_tasks()
    with pytest.raises(HandlersSurvived):
        await connect(build(framework, endings.swallows_every_cancellation), "parked")
    while left := asyncio.all_tasks() - before:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1)


# Nothing comes


@every_framework
async def test_a_handler_that_never_accepts_runs_into_the_deadline(framework: str) -> None:
    with pytest.raises(DeadlinePassed) as caught:
        await connect(build(framework, endings.never_accepts))
    report = str(caught.value)
    assert report.startswith(
        f"waited {PATIENCE:g} s for the application to accept or reject the handshake\n"
        "nothing has come from the application so far\n"
    )
    assert line_of(endings.never_accepts, "# never accepts") in report


@every_framework
async def test_a_message_that_never_comes_runs_into_the_deadline(framework: str) -> None:
    with pytest.raises(DeadlinePassed) as caught:
        async with connected(build(framework, endings.listens)) as ws:
            await ws.receive_text()
    report = str(caught.value)
    assert report.startswith(f"waited {PATIENCE:g} s for a text message\n")
    assert line_of(endings.listens, "receive_text") in report


@every_framework
async def test_a_parked_handler_does_not_hold_up_a_test_that_has_failed(framework: str) -> None:
    with pytest.raises(DeadlinePassed) as caught:
        async with connected(build(framework, endings.is_parked)) as ws:
            assert await ws.receive_text() == "parked"
            await ws.receive_text()
    assert "what came last, as number 2: text 'parked'" in str(caught.value)
    assert line_of(endings.is_parked, "# parked here") in str(caught.value)
    assert "still running" in formatted(caught.value)


@every_framework
@pytest.mark.parametrize(
    "handler", [endings.is_parked, endings.leaves_a_task, endings.sends_without_end]
)
async def test_a_test_that_is_cancelled_ends_at_once(framework: str, handler: Handler) -> None:
    app = build(framework, handler)
    async with asyncio.timeout(LIMIT), AsyncTestClient(app, timeout=60) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), client.websocket("/"):
                await asyncio.Event().wait()


@every_framework
async def test_a_handshake_that_is_cancelled_ends_at_once(framework: str) -> None:
    app = build(framework, endings.never_accepts)
    async with asyncio.timeout(LIMIT), AsyncTestClient(app, timeout=60) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), client.websocket("/"):
                pytest.fail("it was accepted")


# What Telex answers by itself


async def test_what_a_cleanup_of_telex_raises_fails_the_test() -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async def cleanup() -> None:
            raise OwnError("in a cleanup")

        ws.add_cleanup(cleanup)
        await ws.accept()

    with pytest.raises(OwnError, match="in a cleanup"):
        await connect(app)


async def test_what_on_disconnect_raises_fails_the_test() -> None:
    app = App()

    @app.websocket("/")
    class View(SocketView):
        async def on_disconnect(self, close_code: int) -> None:
            raise OwnError("in on_disconnect")

    with pytest.raises(OwnError, match="in on_disconnect"):
        await connect(app)


async def test_what_an_exception_handler_of_telex_answers_fails_no_test() -> None:
    app = App()

    @app.exception_handler(OwnError)
    async def answer(ws: WebSocket, exc: OwnError) -> None:
        await ws.close(4010, str(exc))

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        raise OwnError("handled")

    async with connected(app) as ws:
        record = await ws.expect_close(4010)
    assert record.reason == "handled"


async def test_what_an_exception_handler_of_telex_raises_fails_the_test() -> None:
    app = App()

    @app.exception_handler(OwnError)
    async def answer(ws: WebSocket, exc: OwnError) -> None:
        raise KeyError("the handler of the error")

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        raise OwnError("handled")

    async with connected(app) as ws:
        with pytest.raises(KeyError, match="the handler of the error"):
            await ws.receive_text()


async def test_a_reject_of_telex_is_no_failure() -> None:
    app = App()

    @app.websocket("/")
    async def handler() -> None:
        raise Reject(429, "later", {"retry-after": "7"})

    with pytest.raises(ConnectionRejected) as caught:
        await connect(app)
    assert (caught.value.status, caught.value.text) == (429, "later")
    assert str(caught.value) == "the handshake was rejected with HTTP 429: later"


async def test_a_path_that_telex_does_not_know_is_rejected() -> None:
    with pytest.raises(ConnectionRejected) as caught:
        await connect(App())
    assert caught.value.status == 404


async def test_telex_cancels_a_parked_handler_after_its_grace() -> None:
    app = App(disconnect_grace=0)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await endings.is_parked(ws)

    await connect(app, "parked")


async def test_an_application_that_breaks_the_connection_ends_it_with_1006() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"]["telex.abort"]()

    async with connected(app, lifespan=False) as ws:
        await ws.expect_close(1006)


async def test_an_application_that_breaks_the_connection_before_accept_is_no_riddle() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        scope["extensions"]["telex.abort"]()

    with pytest.raises(WebSocketDisconnect) as caught:
        await connect(app, lifespan=False)
    assert caught.value.code == 1006
