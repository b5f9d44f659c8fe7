"""How a handler may end; the table of all endings is in `conformance/test_endings.py`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from opened import soon, turns
from peer import DEADLINE, B, D, Peer, T, make_scope, serve
from telex import (
    App,
    SocketRoute,
    WebSocket,
    WebSocketDisconnect,
    WebSocketHandshakeError,
    WebSocketRuntimeError,
    websocket,
)
from telex import lifecycle as lifecycle_module
from telex._cleanup import CLEANUP_TIMEOUT
from telex.context import current
from telex.lifecycle import connection_app, on_end

GRACE = 0.05
FOR_EVER = 600.0

Handler = Callable[[WebSocket], Awaitable[object]]


def app_with(handler: Handler, **options: Any) -> App:
    """Return an application with one handler at every path the tests use."""
    app = App(**options)
    app.websocket("/")(handler)
    return app


class Running:
    """An application that serves a peer in a task which the test can cancel, as servers do."""

    def __init__(self, app: Any, *script: Any, **scope: Any) -> None:
        self.peer = Peer(*script)
        self.task = asyncio.ensure_future(self.peer.run(app, make_scope(**scope)))

    async def until(self, event: asyncio.Event) -> None:
        await soon(event.wait())

    async def end(self) -> BaseException | None:
        """Wait for the end; return what went on to the server."""
        await asyncio.wait((self.task,), timeout=2 * DEADLINE)
        assert self.task.done()
        return asyncio.CancelledError() if self.task.cancelled() else self.task.exception()


def messages(caplog: pytest.LogCaptureFixture, level: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == level]


# What the framework does not do


@pytest.mark.row("K8", "Z4", "V12", "V17")
async def test_nothing_is_sent_before_the_handler_has_returned() -> None:
    inside, leave = asyncio.Event(), asyncio.Event()

    async def handler(ws: WebSocket) -> None:
        inside.set()
        await leave.wait()

    running = Running(app_with(handler), D(1001), denial=True)
    await running.until(inside)
    await turns()
    assert running.peer.sent == []
    assert running.peer.reads == 0
    leave.set()
    assert await running.end() is None
    assert running.peer.types == ["http.response.start", "http.response.body"]


@pytest.mark.row("V12", "V16", "K8")
@pytest.mark.parametrize(
    ("denial", "sent"), [(True, ["http.response.start", "http.response.body"]), (False, ["close"])]
)
async def test_a_handler_that_does_nothing_never_accepts(denial: bool, sent: list[str]) -> None:
    async def handler(ws: WebSocket) -> None: ...

    peer = await serve(app_with(handler), D(1001), scope=make_scope(denial=denial))
    assert peer.types == sent


@pytest.mark.row("V46", "V17", "K8")
async def test_only_what_the_handler_does_is_on_the_wire_while_it_runs() -> None:
    steps: list[list[str]] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await turns()
        steps.append(peer.types)
        await ws.send_text("one")
        await turns()
        steps.append(peer.types)
        await ws.close()
        await turns()
        steps.append(peer.types)

    peer = Peer(T("unread"), B(b"unread"))
    await peer.run(app_with(handler))
    assert steps == [["accept"], ["accept", "send"], ["accept", "send", "close"]]
    assert peer.types == steps[-1]


@pytest.mark.row("T33", "V8", "C56")
@pytest.mark.parametrize("result", ["hello", b"hello", 42, {"a": 1}, object(), [1], False])
async def test_what_a_handler_returns_changes_nothing(
    result: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket) -> object:
        await ws.accept()
        return result

    peer = await serve(app_with(handler))
    assert peer.types == ["accept", "close"]
    assert peer.closes == [(1000, "")]
    assert messages(caplog, "WARNING") == messages(caplog, "ERROR") == []


@pytest.mark.row("T33", "C56")
async def test_a_returned_coroutine_is_named_in_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def forgotten() -> None:
        raise AssertionError("nobody awaits this")

    async def handler(ws: WebSocket) -> object:
        await ws.accept()
        return forgotten()

    peer = await serve(app_with(handler))
    assert peer.closes == [(1000, "")]
    assert "a coroutine that nobody awaits" in messages(caplog, "WARNING")[0]


# One handler, one end


async def test_a_bare_route_has_every_guarantee(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telex")
    order: list[object] = []

    async def endpoint() -> None:
        ws = current.get()
        ws.add_cleanup(lambda: order.append("cleanup"))
        on_end(told)
        await ws.accept()
        raise ValueError("broken")

    async def told(code: int) -> None:
        order.append(code)

    peer = await serve(connection_app(endpoint))
    assert peer.closes == [(1011, "")]
    assert order == ["cleanup", 1011]
    [line] = messages(caplog, "INFO")
    assert line.startswith('127.0.0.1:50000 - "WebSocket /" closed by the server with 1011 after ')
    assert line.endswith(" s, 0 in, 0 out")


async def test_the_log_line_counts_messages() -> None:
    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    async def handler(ws: WebSocket) -> None:
        async with ws:
            await ws.receive_text()
            await ws.receive()
            await ws.send_text("one")

    log = logging.getLogger("telex.connection")
    keep = Keep()
    log.addHandler(keep)
    before = log.level
    log.setLevel(logging.INFO)
    try:
        await serve(app_with(handler), T("a"), B(b"b"), D())
    finally:
        log.removeHandler(keep)
        log.setLevel(before)
    assert len(records) == 1
    assert records[0].endswith("2 in, 1 out")


async def test_a_path_cannot_forge_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "telex")
    app = App()

    @app.websocket("/{name}")
    async def handler(ws: WebSocket) -> None:
        if ws.path_params["name"].startswith("raise"):
            raise ValueError("broken")

    for name in ("quiet", "raise"):
        path = f"/{name}\nERROR forged\x1b[2J"
        await serve(app, scope=make_scope(path))
    assert len(caplog.records) == 4
    for record in caplog.records:
        text = record.getMessage()
        assert "\n" not in text
        assert "\x1b" not in text


@pytest.mark.row("T42", "C54")
async def test_a_denial_that_was_begun_is_left_to_the_handler() -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.send({"type": "websocket.http.response.start", "status": 401, "headers": []})

    peer = await serve(app_with(handler), scope=make_scope(denial=True))
    assert peer.types == ["http.response.start"]


async def test_a_failure_in_the_middle_of_a_denial_sends_nothing_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        raise ValueError("broken")

    peer = await serve(app_with(handler), scope=make_scope(denial=True))
    assert peer.types == ["http.response.start"]
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_server_that_refuses_the_close_is_logged_and_the_rest_still_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran: list[object] = []

    async def endpoint() -> None:
        ws = current.get()
        ws.add_cleanup(lambda: ran.append("cleanup"))

        async def told(code: int) -> None:
            ran.append(code)

        on_end(told)
        await ws.accept()
        peer.fail_sends_with = RuntimeError("not like this")

    peer = Peer()
    await peer.run(connection_app(endpoint))
    assert ran == ["cleanup", 1000]
    assert messages(caplog, "ERROR") == [
        "the end of '/' for 127.0.0.1:50000 could not be sent",
    ]


async def test_the_second_of_two_nested_lives_ends_what_the_first_one_goes_on_with() -> None:
    """A route is an ASGI application: another handler may hand its connection on."""
    ended: list[int] = []

    async def inner(ws: WebSocket) -> None:
        ws.add_cleanup(lambda: ended.append(1))
        await ws.accept()

    route = SocketRoute("/", inner)

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await route(scope, receive, send)
        assert websocket.close_code == 1000

    app = App()
    app.websocket("/")(outer)
    peer = await serve(app)
    assert peer.types == ["accept", "close"]
    assert ended == [1]


# Errors on the way out


@pytest.mark.row("T45", "C52")
async def test_errors_in_the_hook_and_in_cleanups_hide_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        raise KeyError("in the first cleanup")

    async def second() -> None:
        ran.append("second")
        raise OSError("in the second cleanup")

    async def told(code: int) -> None:
        ran.append(f"told {code}")
        raise LookupError("in the hook")

    async def endpoint() -> None:
        ws = current.get()
        ws.add_cleanup(first)
        ws.add_cleanup(second)
        on_end(told)
        await ws.accept()
        raise ValueError("in the handler")

    peer = await serve(connection_app(endpoint))
    assert peer.closes == [(1011, "")]
    assert ran == ["first", "second", "told 1011"]
    logged = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert sorted(logged) == [
        "'in the first cleanup'",
        "in the handler",
        "in the hook",
        "in the second cleanup",
    ]
    [in_hook] = [r.exc_info[1] for r in caplog.records if r.exc_info and "hook" in str(r.exc_info)]
    assert in_hook is not None
    assert str(in_hook.__context__) == "in the handler"


@pytest.mark.row("C52")
async def test_cleanups_run_before_the_hook_and_before_the_application_returns() -> None:
    order: list[str] = []

    async def slow() -> None:
        await turns(3)
        order.append("cleanup")

    async def told(code: int) -> None:
        order.append("hook")

    async def endpoint() -> None:
        current.get().add_cleanup(slow)
        on_end(told)
        await current.get().accept()

    await serve(connection_app(endpoint))
    assert order == ["cleanup", "hook"]


# The context


@pytest.mark.row("T80", "K25", "Z16")
async def test_tasks_and_threads_of_a_handler_see_its_connection() -> None:
    seen: list[bool] = []

    async def handler(ws: WebSocket) -> None:
        async def look() -> None:
            seen.append(websocket == ws)

        def look_in_a_thread() -> bool:
            return bool(websocket == ws)

        await asyncio.create_task(look())
        seen.append(await asyncio.to_thread(look_in_a_thread))
        loop = asyncio.get_running_loop()
        seen.append(await loop.run_in_executor(None, look_in_a_thread))

    await serve(app_with(handler))
    assert seen == [True, True, False]


@pytest.mark.row("T80")
@pytest.mark.parametrize(
    ("script", "error"),
    [((), WebSocketRuntimeError), ((D(1001),), WebSocketDisconnect)],
    ids=["we closed", "client left"],
)
async def test_a_task_that_outlives_its_handler_sees_a_closed_connection(
    script: tuple[Any, ...], error: type[WebSocketHandshakeError]
) -> None:
    over = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def later() -> None:
        await over.wait()
        assert websocket.close_code in (1000, 1001)
        for call in (websocket.send_text("late"), websocket.receive_text()):
            with pytest.raises(error):
                await call
        assert websocket.send_nowait("late") is False
        await websocket.close()

    async def handler(ws: WebSocket) -> None:
        tasks.append(asyncio.create_task(later()))
        await ws.accept()
        if script:
            await ws.receive()

    peer = await serve(app_with(handler), *script)
    sent = peer.types
    over.set()
    await soon(tasks[0])
    assert peer.types == sent
    assert "send" not in sent


@pytest.mark.row("K25", "Z16")
async def test_two_connections_at_once_have_their_own_context() -> None:
    meet = asyncio.Barrier(2)
    seen: dict[str, tuple[str, Any]] = {}
    app = App()

    @app.websocket("/{name}")
    async def handler() -> None:
        await websocket.accept()
        await meet.wait()
        seen[websocket.path_params["name"]] = (websocket["path"], websocket.client)

    scopes = [make_scope(f"/{name}", client=(name, 1)) for name in "ab"]
    await asyncio.gather(*(serve(app, scope=scope) for scope in scopes))
    assert seen == {"a": ("/a", ("a", 1)), "b": ("/b", ("b", 1))}


async def test_the_context_is_left_clean_after_every_end() -> None:
    async def fine(ws: WebSocket) -> None: ...

    async def broken(ws: WebSocket) -> None:
        raise ValueError

    for handler in (broken, fine):
        await serve(SocketRoute("/", handler))
        assert current.get(None) is None


# The server stops


async def ends_by_cancellation(handler: Handler, inside: asyncio.Event, **scope: Any) -> Running:
    running = Running(app_with(handler, disconnect_grace=GRACE), **scope)
    await running.until(inside)
    running.task.cancel()
    assert isinstance(await running.end(), asyncio.CancelledError)
    return running


@pytest.mark.row("T44", "C52", "C49")
async def test_a_stop_of_the_server_waits_for_cleanups_and_the_hook() -> None:
    inside = asyncio.Event()
    order: list[object] = []

    async def cleanup() -> None:
        await turns(5)
        order.append("cleanup")

    async def told(code: int) -> None:
        await turns(5)
        order.append(code)

    async def handler(ws: WebSocket) -> None:
        ws.add_cleanup(cleanup)
        on_end(told)
        await ws.accept()
        inside.set()
        await asyncio.sleep(FOR_EVER)

    running = await ends_by_cancellation(handler, inside)
    assert running.peer.closes == [(1012, "")]
    assert order == ["cleanup", 1006]


@pytest.mark.row("T44", "C52", "C49")
async def test_a_second_cancellation_meanwhile_stops_neither_cleanups_nor_hook() -> None:
    inside, cleaning, in_hook = asyncio.Event(), asyncio.Event(), asyncio.Event()
    order: list[object] = []

    async def cleanup() -> None:
        cleaning.set()
        await turns()
        order.append("cleanup")

    async def told(code: int) -> None:
        in_hook.set()
        await turns()
        order.append(code)

    async def handler(ws: WebSocket) -> None:
        ws.add_cleanup(cleanup)
        on_end(told)
        await ws.accept()
        inside.set()
        await asyncio.sleep(FOR_EVER)

    running = Running(app_with(handler))
    for moment in (inside, cleaning, in_hook):
        await running.until(moment)
        running.task.cancel()
    assert isinstance(await running.end(), asyncio.CancelledError)
    assert running.peer.closes == [(1012, "")]
    assert order == ["cleanup", 1006]


@pytest.mark.row("T44")
async def test_a_goodbye_that_the_server_does_not_take_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifecycle_module, "GOODBYE_TIMEOUT", 0.01)
    inside = asyncio.Event()
    ran: list[object] = []

    async def handler(ws: WebSocket) -> None:
        ws.add_cleanup(lambda: ran.append("cleanup"))
        await ws.accept()
        inside.set()
        await asyncio.sleep(FOR_EVER)

    class Stuck(Peer):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message["type"] == "websocket.close":
                await asyncio.sleep(FOR_EVER)

    peer = Stuck()
    task = asyncio.ensure_future(peer.run(app_with(handler)))
    await soon(inside.wait())
    task.cancel()
    await asyncio.wait((task,), timeout=DEADLINE)
    assert task.cancelled()
    assert peer.closes == [(1012, "")]
    assert ran == ["cleanup"]
    assert messages(caplog, "ERROR") == []


@pytest.mark.row("T44", "C52")
async def test_cleanups_that_outlast_the_goodbye_are_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifecycle_module, "GOODBYE_TIMEOUT", 0.01)
    assert CLEANUP_TIMEOUT > 5
    inside, ran = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        await asyncio.sleep(0.05)
        ran.set()

    async def handler(ws: WebSocket) -> None:
        ws.add_cleanup(slow)
        await ws.accept()
        inside.set()
        await asyncio.sleep(FOR_EVER)

    await ends_by_cancellation(handler, inside)
    assert ran.is_set()
    assert messages(caplog, "ERROR") == []


@pytest.mark.row("T44")
async def test_a_stop_while_the_clients_leaving_is_not_read_yet_tells_the_clients_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")
    inside = asyncio.Event()
    codes: list[int] = []

    async def told(code: int) -> None:
        codes.append(code)

    async def handler(ws: WebSocket) -> None:
        on_end(told)
        await ws.accept()
        await ws.receive_text()
        await turns()  # the disconnect behind the message has been read ahead
        inside.set()
        await asyncio.sleep(FOR_EVER)

    running = Running(app_with(handler), T("a"), D(1001))
    await running.until(inside)
    running.task.cancel()
    assert isinstance(await running.end(), asyncio.CancelledError)
    assert running.peer.types == ["accept"]
    assert codes == [1001]
    [line] = messages(caplog, "INFO")
    assert "closed by the client with 1001" in line


@pytest.mark.row("T44")
async def test_a_handler_that_swallows_the_stop_just_ends() -> None:
    inside = asyncio.Event()

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        inside.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(FOR_EVER)
        await ws.send_text("bye")

    running = Running(app_with(handler))
    await running.until(inside)
    running.task.cancel()
    assert await running.end() is None
    assert running.peer.data == ["bye"]
    assert running.peer.closes == [(1000, "")]


@pytest.mark.row("T44")
async def test_a_handler_stopped_inside_the_block_is_closed_with_1012() -> None:
    inside = asyncio.Event()

    async def handler(ws: WebSocket) -> None:
        async with ws, asyncio.timeout(FOR_EVER), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(FOR_EVER))
            inside.set()

    running = await ends_by_cancellation(handler, inside)
    assert running.peer.closes == [(1012, "")]


async def test_a_stop_does_not_count_when_the_task_was_cancelled_before() -> None:
    """A server, or a middleware, may have swallowed a cancellation without taking it back."""
    running = asyncio.Event()

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        running.set()
        await asyncio.sleep(FOR_EVER)

    async def swallowing(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        assert task.cancelling() == 1
        await app(scope, receive, send)
        assert task.cancelling() == 1

    app = app_with(handler, disconnect_grace=GRACE)
    peer = await serve(swallowing, D(1001))
    assert running.is_set()
    assert peer.types == ["accept"]


async def test_a_coroutine_that_is_thrown_away_ends_without_a_word() -> None:
    """The loop is closed, or the server forgot the task: nothing can be awaited any more."""
    peer = Peer()

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await asyncio.sleep(FOR_EVER)

    running: Any = app_with(handler)(make_scope(), peer.receive, peer.send)
    running.send(None)
    running.close()
    assert peer.types == ["accept"]
    assert current.get(None) is None
