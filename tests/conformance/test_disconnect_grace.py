"""A handler whose client has left does not run for ever, whatever it is busy with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from opened import soon, turns
from peer import DEADLINE, D, Peer, T, serve
from telex import App, SocketView, WebSocket, WebSocketDisconnect

GRACE = 0.05
FOR_EVER = 600.0
LONG_ENOUGH = 6 * GRACE
"""Seconds in which a watch would have fired, had it been going to."""

Handler = Callable[[WebSocket], Awaitable[object]]


def app_with(handler: Handler, grace: float | None = GRACE) -> App:
    app = App(disconnect_grace=grace)
    app.websocket("/")(handler)
    return app


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def cancel_requests() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def serve_in_place(app: App, *script: Any) -> Peer:
    """Serve in the current task and check that no cancellation is left on it."""
    before = cancel_requests()
    peer = await serve(app, *script)
    assert cancel_requests() == before
    return peer


async def test_a_busy_handler_is_cancelled_in_its_own_task() -> None:
    tasks: list[object] = []

    async def handler(ws: WebSocket) -> None:
        tasks.append(asyncio.current_task())
        await ws.accept()
        try:
            await asyncio.sleep(FOR_EVER)
        finally:
            tasks.append(asyncio.current_task())

    peer = await serve_in_place(app_with(handler), D(1001))
    assert peer.types == ["accept"]
    assert tasks == [tasks[0], tasks[0]]


async def test_a_handler_that_has_not_accepted_is_cancelled_too() -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    peer = await serve_in_place(app_with(handler), D(1001))
    assert seen == ["cancelled"]
    assert peer.sent == []


async def test_accepting_after_a_long_while_still_works() -> None:
    """The watch may have taken the connect by then."""

    async def handler(ws: WebSocket) -> None:
        await asyncio.sleep(2 * GRACE)
        async with ws:
            await ws.send_text(await ws.receive_text())

    peer = await serve_in_place(app_with(handler), T("a"))
    assert peer.types == ["accept", "send", "close"]


async def test_what_was_sent_before_the_client_left_is_read_to_the_end() -> None:
    read: list[str] = []

    async def handler(ws: WebSocket) -> None:
        async with ws:
            async for text in ws.iter_text():
                await asyncio.sleep(0.4 * GRACE)
                read.append(text)

    await serve_in_place(app_with(handler), *map(T, "abcdef"), D(1001))
    assert read == [*"abcdef"]


async def test_a_handler_that_stops_reading_before_the_end_is_cancelled() -> None:
    read: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        read.append(await ws.receive_text())
        await asyncio.sleep(FOR_EVER)

    await serve_in_place(app_with(handler), *map(T, "abc"), D(1001))
    assert read == ["a"]


async def test_one_that_swallows_the_cancellation_is_cancelled_once_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(FOR_EVER)
        seen.append("swallowed")
        await asyncio.sleep(FOR_EVER)

    await serve_in_place(app_with(handler), D(1001))
    assert seen == ["swallowed"]
    assert errors(caplog) == []


async def test_one_that_swallows_both_is_named_in_the_log_and_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")
    swallowed = 0

    async def handler(ws: WebSocket) -> None:
        nonlocal swallowed
        await ws.accept()
        while not errors(caplog):
            try:
                await asyncio.sleep(GRACE)
            except asyncio.CancelledError:
                swallowed += 1

    await serve_in_place(app_with(handler), D(1001))
    assert swallowed == 2
    [error] = errors(caplog)
    assert error.startswith("the handler of '/' goes on although its client left")
    assert len([r for r in caplog.records if r.name == "telex.connection"]) == 1


async def test_a_handler_in_its_finally_block_may_finish_within_the_grace() -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        try:
            await asyncio.sleep(FOR_EVER)
        finally:
            seen.append("tidying")
            await turns()
            seen.append("tidy")

    await serve_in_place(app_with(handler), D(1001))
    assert seen == ["tidying", "tidy"]


async def test_a_finally_block_that_never_ends_is_cancelled_as_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        try:
            await asyncio.sleep(FOR_EVER)
        finally:
            await asyncio.sleep(FOR_EVER)

    await serve_in_place(app_with(handler), D(1001))
    assert errors(caplog) == []


async def test_what_the_handler_does_after_it_knows_is_not_cut_short() -> None:
    done: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        with suppress(WebSocketDisconnect):
            await ws.receive_text()
        await asyncio.sleep(3 * GRACE)
        done.append("saved")

    await serve_in_place(app_with(handler), D(1001))
    assert done == ["saved"]


async def test_what_it_does_after_its_own_close_is_not_cut_short() -> None:
    done: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.close()
        await asyncio.sleep(3 * GRACE)
        done.append("saved")

    await serve_in_place(app_with(handler), D(1001))
    assert done == ["saved"]


async def test_a_polling_handler_knows_and_is_left_alone() -> None:
    done: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        while not await ws.is_disconnected():
            await turns()
        await asyncio.sleep(3 * GRACE)
        done.append("saved")

    await serve_in_place(app_with(handler), D(1001))
    assert done == ["saved"]


async def test_a_task_group_in_the_handler_is_unwound() -> None:
    seen: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            seen.append(name)
            raise

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async with asyncio.TaskGroup() as group:
            group.create_task(work("a"))
            group.create_task(work("b"))

    peer = await serve_in_place(app_with(handler), D(1001))
    assert sorted(seen) == ["a", "b"]
    assert peer.types == ["accept"]


async def test_a_task_that_fails_while_it_is_unwound_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            raise ValueError("while tidying") from None

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async with asyncio.TaskGroup() as group:
            group.create_task(work())

    peer = await serve_in_place(app_with(handler), D(1001))
    assert peer.types == ["accept"]
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ValueError]


async def test_a_timeout_around_the_work_is_not_taken_for_the_end() -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        try:
            async with asyncio.timeout(FOR_EVER):
                await asyncio.sleep(FOR_EVER)
        except TimeoutError:
            seen.append("timeout")

    peer = await serve_in_place(app_with(handler), D(1001))
    assert seen == []
    assert peer.types == ["accept"]


async def test_a_timeout_of_the_handler_works_as_ever() -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        try:
            async with asyncio.timeout(0.2 * GRACE):
                await asyncio.sleep(FOR_EVER)
        except TimeoutError:
            seen.append("timeout")

    peer = await serve_in_place(app_with(handler))
    assert seen == ["timeout"]
    assert peer.closes == [(1000, "")]


@pytest.mark.row("T44")
async def test_a_stop_of_the_server_on_top_of_it_is_still_a_stop() -> None:
    told: list[int] = []
    cancelled, go_on = asyncio.Event(), asyncio.Event()
    app = App(disconnect_grace=GRACE)

    @app.websocket("/")
    class View(SocketView):
        async def on_connect(self) -> None:
            await self.websocket.accept()
            try:
                await asyncio.sleep(FOR_EVER)
            finally:
                cancelled.set()
                await go_on.wait()

        async def on_disconnect(self, close_code: int) -> None:
            told.append(close_code)

    peer = Peer(D(1001))
    task = asyncio.ensure_future(peer.run(app))
    await soon(cancelled.wait())
    task.cancel()
    go_on.set()
    await asyncio.wait((task,), timeout=DEADLINE)
    assert task.cancelled()
    assert told == [1001]
    assert peer.types == ["accept"]


@pytest.mark.row("T44")
async def test_a_stop_is_a_stop_although_the_watch_cancels_after_it() -> None:
    inside = asyncio.Event()
    requests: list[int] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        try:
            inside.set()
            await asyncio.sleep(FOR_EVER)
        finally:
            try:
                await asyncio.sleep(FOR_EVER)
            finally:
                requests.append(cancel_requests())

    task = asyncio.ensure_future(serve(app_with(handler), D(1001)))
    await soon(inside.wait())
    task.cancel()
    await asyncio.wait((task,), timeout=DEADLINE)
    assert task.cancelled()
    assert requests == [2]


@pytest.mark.parametrize("accepts", [True, False])
async def test_without_a_grace_nothing_is_watched(accepts: bool) -> None:
    seen: list[int] = []

    async def handler(ws: WebSocket) -> None:
        if accepts:
            await ws.accept()
            await ws.receive_text()
        try:
            await asyncio.sleep(LONG_ENOUGH)
        except asyncio.CancelledError:
            seen.append(cancel_requests())
            raise

    peer = await serve_in_place(app_with(handler, None), T("a"), D(1001))
    assert seen == []
    assert peer.reads == (3 if accepts else 0)


async def test_a_grace_of_zero_cancels_at_once() -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        try:
            await asyncio.sleep(0.5)
            seen.append("went on")
        finally:
            seen.append("cancelled")

    await serve_in_place(app_with(handler, 0), D(1001))
    assert seen == ["cancelled"]


async def test_a_client_that_stays_is_never_cancelled() -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await asyncio.sleep(LONG_ENOUGH)
        seen.append("done")

    peer = await serve_in_place(app_with(handler))
    assert seen == ["done"]
    assert peer.closes == [(1000, "")]


async def test_the_view_of_a_client_that_left_is_told_its_code() -> None:
    told: list[int] = []
    app = App(disconnect_grace=GRACE)

    @app.websocket("/")
    class View(SocketView):
        async def on_receive(self, data: Any) -> None:
            await asyncio.sleep(FOR_EVER)

        async def on_disconnect(self, close_code: int) -> None:
            told.append(close_code)

    await serve_in_place(app, T("a"), T("b"), D(4321))
    assert told == [4321]


async def test_raw_readers_of_the_server_are_not_robbed() -> None:
    """Whoever took the server's own `receive` gets every event, however long it takes."""
    got: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        receive = ws.asgi_receive
        await asyncio.sleep(3 * GRACE)
        while (message := await receive())["type"] != "websocket.disconnect":
            got.append(message["text"])

    await serve_in_place(app_with(handler), *map(T, "abc"), D(1001))
    assert got == [*"abc"]


async def test_the_triple_of_a_handler_is_watched() -> None:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await asyncio.sleep(FOR_EVER)

    app = App(disconnect_grace=GRACE)
    app.websocket("/")(handler)
    peer = await serve_in_place(app, D(1001))
    assert peer.types == ["accept"]


async def test_a_connection_closed_by_another_task_ends_no_handler() -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        closing = asyncio.create_task(ws.close(4000))
        await asyncio.sleep(LONG_ENOUGH)
        seen.append("done")
        await closing

    peer = await serve_in_place(app_with(handler), D(1001))
    assert seen == ["done"]
    assert peer.closes == [(4000, "")]


async def test_no_task_is_left_behind() -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await asyncio.sleep(FOR_EVER)

    before = asyncio.all_tasks()
    await serve_in_place(app_with(handler), D(1001))
    assert asyncio.all_tasks() == before
