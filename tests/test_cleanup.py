"""Cleanups: once, whatever ended the connection, shielded from cancellation, limited in time."""

# mypy: disable-error-code="unused-awaitable"

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from opened import connecting, opened, soon, turns
from peer import D, Peer, make_scope
from telex import WebSocket, WebSocketDisconnect
from telex._cleanup import Cleanups, shielded
from telex._types import CleanupCallback
from telex.context import current
from telex.lifecycle import connection_app

SHORT = 0.01
"""A time limit in seconds that a test can wait for."""


async def for_ever() -> None:
    await asyncio.Event().wait()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The texts of what was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def causes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The exceptions that were logged."""
    return [repr(r.exc_info[1]) for r in caplog.records if r.exc_info is not None]


# Every way a connection can end


async def our_close(ws: WebSocket, peer: Peer) -> None:
    await ws.accept()
    await ws.close(3001)


async def a_raw_close(ws: WebSocket, peer: Peer) -> None:
    await ws.accept()
    await ws.send({"type": "websocket.close", "code": 1000})


async def the_end_read_as_an_exception(ws: WebSocket, peer: Peer) -> None:
    peer.feed(D(1001))
    await ws.accept()
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()


async def the_end_read_as_an_event(ws: WebSocket, peer: Peer) -> None:
    peer.feed(D(1001))
    await ws.accept()
    assert (await ws.receive())["type"] == "websocket.disconnect"


async def a_send_to_a_peer_that_has_left(ws: WebSocket, peer: Peer) -> None:
    await ws.accept()
    peer.fail_sends_with = ConnectionResetError()
    with pytest.raises(WebSocketDisconnect):
        await ws.send_text("anybody?")


async def a_peer_that_gives_up_before_accept(ws: WebSocket, peer: Peer) -> None:
    peer.incoming.clear()
    peer.feed(D(1006))
    with pytest.raises(WebSocketDisconnect):
        await ws.accept()


async def a_close_before_accept(ws: WebSocket, peer: Peer) -> None:
    await ws.close()


async def a_rejection(ws: WebSocket, peer: Peer) -> None:
    await ws.reject(404, body=b"no")


async def a_raw_denial(ws: WebSocket, peer: Peer) -> None:
    await ws.send({"type": "websocket.http.response.start", "status": 410, "headers": []})
    await ws.send({"type": "websocket.http.response.body", "body": b"gone"})


async def an_abort(ws: WebSocket, peer: Peer) -> None:
    await ws.accept()
    await ws.abort()


async def leaving_the_block(ws: WebSocket, peer: Peer) -> None:
    async with ws:
        pass


async def an_error_in_the_block(ws: WebSocket, peer: Peer) -> None:
    with pytest.raises(LookupError):
        async with ws:
            raise LookupError


async def a_close_that_the_server_refuses(ws: WebSocket, peer: Peer) -> None:
    await ws.accept()
    peer.fail_sends_with = ValueError("no closes today")
    with pytest.raises(ValueError):
        await ws.close()


ENDS = (
    our_close,
    a_raw_close,
    the_end_read_as_an_exception,
    the_end_read_as_an_event,
    a_send_to_a_peer_that_has_left,
    a_peer_that_gives_up_before_accept,
    a_close_before_accept,
    a_rejection,
    a_raw_denial,
    an_abort,
    leaving_the_block,
    an_error_in_the_block,
    a_close_that_the_server_refuses,
)


@pytest.mark.row("C52", "T48", "L53")
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_cleanups_run_once_and_in_order_after(
    end: Callable[[WebSocket, Peer], Awaitable[None]],
) -> None:
    ws, peer = connecting(denial=True)
    ran: list[str] = []

    async def asynchronous() -> None:
        await turns(1)
        ran.append("second")

    ws.add_cleanup(lambda: ran.append("first"))
    ws.add_cleanup(asynchronous)
    ws.add_cleanup(lambda: ran.append("third"))
    await soon(end(ws, peer))
    assert ran == ["first", "second", "third"]
    peer.fail_sends_with = None
    await soon(ws.close())
    await soon(ws.abort())
    assert ran == ["first", "second", "third"]


async def a_return_while_open(ws: WebSocket) -> None:
    await ws.accept()


async def a_return_without_an_answer(ws: WebSocket) -> None:
    pass


async def a_failure_before_accept(ws: WebSocket) -> None:
    raise LookupError


async def a_failure_while_open(ws: WebSocket) -> None:
    await ws.accept()
    raise LookupError


async def a_disconnect_that_escapes(ws: WebSocket) -> None:
    await ws.accept()
    link_peer(ws).feed(D(1001))
    await ws.receive_text()


def link_peer(ws: WebSocket) -> Peer:
    peer: Peer = ws.scope["state"]["peer"]
    return peer


HANDLERS = (
    a_return_while_open,
    a_return_without_an_answer,
    a_failure_before_accept,
    a_failure_while_open,
    a_disconnect_that_escapes,
)


@pytest.mark.row("C52", "T48")
@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
async def test_cleanups_run_once_behind_a_handler_that_ends_with(
    handler: Callable[[WebSocket], Awaitable[None]],
) -> None:
    ran: list[str] = []

    async def asynchronous() -> None:
        await turns(1)
        ran.append("second")

    async def endpoint() -> None:
        ws = current.get()
        ws.add_cleanup(lambda: ran.append("first"))
        ws.add_cleanup(asynchronous)
        await handler(ws)

    peer = Peer()
    await peer.run(connection_app(endpoint), make_scope(state={"peer": peer}))
    assert ran == ["first", "second"]


@pytest.mark.row("C52", "T44", "T48")
async def test_cleanups_run_once_and_to_their_end_behind_a_handler_that_is_cancelled() -> None:
    ran: list[str] = []
    running = asyncio.Event()

    async def asynchronous() -> None:
        await turns()
        ran.append("second")

    async def endpoint() -> None:
        ws = current.get()
        ws.add_cleanup(lambda: ran.append("first"))
        ws.add_cleanup(asynchronous)
        await ws.accept()
        running.set()
        await for_ever()

    task = asyncio.create_task(Peer().run(connection_app(endpoint)))
    await soon(running.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert ran == ["first", "second"]


# What a callback may be and do


async def test_what_a_callback_returns_is_awaited_when_it_can_be() -> None:
    cleanups = Cleanups()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cleanups.add(lambda: future)
    cleanups.add(lambda: "not awaitable")
    running = asyncio.create_task(cleanups.run())
    await turns()
    assert not running.done()
    future.set_result(None)
    await soon(running)


@pytest.mark.parametrize("nonsense", [None, 7, "close"])
async def test_what_cannot_be_called_is_refused(nonsense: Any) -> None:
    with pytest.raises(TypeError, match=f"must be callable without arguments, got {nonsense!r}"):
        Cleanups().add(nonsense)


async def test_a_coroutine_instead_of_its_function_is_refused() -> None:
    coroutine = for_ever()
    unfit: Any = coroutine
    with pytest.raises(TypeError, match="callable without arguments"):
        Cleanups().add(unfit)
    coroutine.close()


async def test_nothing_registered_ends_at_once() -> None:
    cleanups = Cleanups()
    await soon(cleanups.run())
    await soon(cleanups.run())


def raises(exc: BaseException) -> CleanupCallback:
    def callback() -> None:
        raise exc

    return callback


def raises_later(exc: BaseException) -> CleanupCallback:
    async def callback() -> None:
        await turns(1)
        raise exc

    return callback


@pytest.mark.row("C52", "T45", "T48")
@pytest.mark.parametrize("way", [raises, raises_later])
@pytest.mark.parametrize(
    "exc",
    [ValueError("broken"), TimeoutError("its own"), asyncio.CancelledError("what it awaited")],
    ids=["error", "timeout", "cancellation"],
)
async def test_a_callback_that_raises_is_logged_and_the_next_one_runs(
    way: Callable[[BaseException], CleanupCallback],
    exc: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cleanups = Cleanups()
    ran: list[str] = []
    broken = way(exc)
    cleanups.add(broken)
    cleanups.add(lambda: ran.append("next"))
    await soon(cleanups.run())
    assert ran == ["next"]
    assert errors(caplog) == [f"cleanup {broken!r} failed"]
    assert causes(caplog) == [repr(exc)]


@pytest.mark.row("T45")
async def test_a_callback_that_raises_does_not_hide_the_error_it_follows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ws, _ = connecting()
    ws.add_cleanup(raises(KeyError("cleanup")))
    with pytest.raises(ValueError, match="body") as caught:
        async with ws:
            raise ValueError("body")
    assert caught.value.__cause__ is None
    assert causes(caplog) == [repr(KeyError("cleanup"))]


@pytest.mark.row("C52", "T48")
async def test_a_callback_registered_by_another_runs_before_the_end() -> None:
    cleanups = Cleanups()
    ran: list[str] = []

    async def slow() -> None:
        await turns()
        ran.append("registered, asynchronous")

    def first() -> None:
        cleanups.add(lambda: ran.append("registered, synchronous"))
        cleanups.add(slow)
        ran.append("first")

    cleanups.add(first)
    cleanups.add(lambda: ran.append("second"))
    await soon(cleanups.run())
    assert ran == ["registered, synchronous", "first", "second", "registered, asynchronous"]


@pytest.mark.row("C52", "T48")
async def test_a_callback_registered_late_runs_at_once() -> None:
    ws, _ = await opened()
    await ws.close()
    ran: list[str] = []
    ws.add_cleanup(lambda: ran.append("late"))
    assert ran == ["late"]


@pytest.mark.row("C52", "T48")
async def test_an_asynchronous_callback_registered_late_runs_once_and_is_waited_for() -> None:
    ws, _ = await opened()
    await ws.close()
    ran: list[str] = []

    async def late() -> None:
        await turns()
        ran.append("late")

    ws.add_cleanup(late)
    assert ran == []
    await soon(ws.close())
    assert ran == ["late"]
    await soon(ws.close())
    assert ran == ["late"]


@pytest.mark.row("T48")
@pytest.mark.parametrize("way", [raises, raises_later])
async def test_a_late_callback_that_raises_is_logged(
    way: Callable[[BaseException], CleanupCallback], caplog: pytest.LogCaptureFixture
) -> None:
    cleanups = Cleanups()
    await cleanups.run()
    broken = way(ValueError("broken"))
    cleanups.add(broken)
    await soon(cleanups.run())
    assert errors(caplog) == [f"cleanup {broken!r} failed"]


# Two who find the end, and one who finds it again


@pytest.mark.row("C52", "T48")
async def test_two_tasks_that_find_the_end_both_wait_and_the_callbacks_run_once() -> None:
    cleanups = Cleanups()
    gate = asyncio.Event()
    ran: list[str] = []

    async def slow() -> None:
        await gate.wait()
        ran.append("slow")

    cleanups.add(slow)
    cleanups.add(lambda: ran.append("quick"))
    finders = [asyncio.create_task(cleanups.run()) for _ in range(2)]
    await turns()
    assert not any(finder.done() for finder in finders)
    gate.set()
    await soon(asyncio.gather(*finders))
    assert ran == ["slow", "quick"]


@pytest.mark.row("C52", "T48")
async def test_two_tasks_that_close_run_the_callbacks_once() -> None:
    ws, peer = await opened()
    ran: list[str] = []

    async def slow() -> None:
        await turns()
        ran.append("slow")

    ws.add_cleanup(slow)
    await soon(asyncio.gather(ws.close(1000), ws.close(3000)))
    assert ran == ["slow"]
    assert peer.closes == [(1000, "")]


async def test_a_second_task_that_is_cancelled_stops_nothing() -> None:
    cleanups = Cleanups()
    gate = asyncio.Event()
    ran: list[str] = []

    async def slow() -> None:
        await gate.wait()
        ran.append("slow")

    cleanups.add(slow)
    first = asyncio.create_task(cleanups.run())
    second = asyncio.create_task(cleanups.run())
    third = asyncio.create_task(cleanups.run())
    await turns()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(second)
    assert not first.done()
    assert not third.done()
    gate.set()
    await soon(asyncio.gather(first, third))
    assert ran == ["slow"]


@pytest.mark.row("C52", "T48")
async def test_a_callback_that_closes_the_connection_again_does_not_wait_for_itself() -> None:
    ws, peer = await opened()
    ran: list[str] = []

    async def again() -> None:
        await ws.close(3000)
        ran.append("itself")

    async def in_a_task() -> None:
        await asyncio.create_task(ws.close(3000))
        ran.append("in a task of its own")

    ws.add_cleanup(again)
    ws.add_cleanup(in_a_task)
    await soon(ws.close(1000))
    assert ran == ["itself", "in a task of its own"]
    assert peer.closes == [(1000, "")]


async def test_a_late_callback_that_closes_the_connection_again_does_not_wait_for_itself() -> None:
    ws, _ = await opened()
    await ws.close()
    ran: list[str] = []

    async def late() -> None:
        await ws.close()
        ran.append("late")

    ws.add_cleanup(late)
    await soon(ws.close())
    assert ran == ["late"]


async def test_a_callback_may_end_another_connection_and_waits_for_its_callbacks() -> None:
    one, _ = await opened()
    other, _ = await opened()
    ran: list[str] = []

    async def slow() -> None:
        await turns()
        ran.append("other")

    async def end_other() -> None:
        await other.close()
        ran.append("one")

    other.add_cleanup(slow)
    one.add_cleanup(end_other)
    await soon(one.close())
    assert ran == ["other", "one"]


# Cancellation and the time limit


@pytest.mark.row("T44", "C52")
async def test_cancelling_whoever_waits_lets_the_callbacks_end_first() -> None:
    cleanups = Cleanups()
    gate = asyncio.Event()
    ran: list[str] = []

    async def slow() -> None:
        await gate.wait()
        ran.append("slow")

    cleanups.add(slow)
    cleanups.add(lambda: ran.append("next"))
    waiting = asyncio.create_task(cleanups.run())
    await turns()
    waiting.cancel()
    await turns()
    waiting.cancel()
    await turns()
    assert not waiting.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await soon(waiting)
    assert ran == ["slow", "next"]


@pytest.mark.row("T44", "C52")
async def test_a_callback_that_does_not_end_is_cancelled_and_the_next_one_is_begun(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("telex._cleanup.CLEANUP_TIMEOUT", SHORT)
    cleanups = Cleanups()
    ran: list[str] = []

    async def too_late() -> None:
        ran.append("begun")
        await for_ever()

    cleanups.add(for_ever)
    cleanups.add(lambda: ran.append("next"))
    cleanups.add(too_late)
    await soon(cleanups.run())
    assert ran == ["next", "begun"]
    assert errors(caplog) == [
        f"cleanup {callback!r} was cancelled: all took longer than 0.01 s"
        for callback in (for_ever, too_late)
    ]


@pytest.mark.row("T44")
async def test_a_late_callback_that_does_not_end_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("telex._cleanup.CLEANUP_TIMEOUT", SHORT)
    cleanups = Cleanups()
    await cleanups.run()
    cleanups.add(for_ever)
    await soon(cleanups.run())
    assert errors(caplog) == [
        f"cleanup {for_ever!r} was cancelled: all took longer than 0.01 s",
    ]


@pytest.mark.row("T44")
async def test_a_callback_that_swallows_its_cancellation_is_cancelled_once_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("telex._cleanup.CLEANUP_TIMEOUT", SHORT)
    monkeypatch.setattr("telex._cleanup._SPARE", SHORT)
    cleanups = Cleanups()
    swallowed: list[str] = []

    async def stubborn() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            swallowed.append("once")
        await for_ever()

    cleanups.add(stubborn)
    cleanups.add(lambda: swallowed.append("never reached"))
    await soon(cleanups.run())
    assert swallowed == ["once"]
    assert errors(caplog) == ["cleanups took longer than 0.02 s and is cancelled"]


# Anything that must run to its end


async def test_shielded_work_runs_in_a_task_of_its_own_with_a_copy_of_the_context() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen: list[object] = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.extend((task.get_name(), variable.get()))
        variable.set("changed inside")

    variable.set("set outside")
    await soon(shielded(work(), 1, "some work"))
    assert seen == ["telex some work", "set outside"]
    assert variable.get() == "set outside"


async def test_shielded_work_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("broken")

    await soon(shielded(work(), 1, "some work"))
    assert errors(caplog) == ["some work failed"]
    assert causes(caplog) == [repr(ValueError("broken"))]


@pytest.mark.row("T44")
async def test_a_cancellation_is_raised_when_shielded_work_has_ended() -> None:
    gate = asyncio.Event()
    ended: list[str] = []

    async def work() -> None:
        await gate.wait()
        ended.append("work")

    waiting = asyncio.create_task(shielded(work(), 1, "some work"))
    await turns()
    for _ in range(3):
        waiting.cancel("the loop shuts down")
        await turns()
    assert not waiting.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError, match="the loop shuts down"):
        await soon(waiting)
    assert ended == ["work"]


async def test_a_cancellation_in_the_turn_in_which_shielded_work_ends_is_not_lost() -> None:
    gate = asyncio.Event()
    waiting = asyncio.create_task(shielded(_wait(gate), 1, "some work"))
    await turns()
    gate.set()
    await turns(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(waiting)


async def _wait(gate: asyncio.Event) -> None:
    await gate.wait()


@pytest.mark.row("T44")
async def test_shielded_work_that_takes_too_long_is_cancelled_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await soon(shielded(for_ever(), SHORT, "some work"))
    assert errors(caplog) == ["some work took longer than 0.01 s and is cancelled"]


async def test_shielded_work_that_takes_too_long_does_not_swallow_a_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waiting = asyncio.create_task(shielded(for_ever(), SHORT, "some work"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(waiting)
    assert errors(caplog) == ["some work took longer than 0.01 s and is cancelled"]


async def test_shielded_work_that_swallows_its_cancellation_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telex._cleanup._SPARE", SHORT)
    gate = asyncio.Event()

    async def stubborn() -> None:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            await gate.wait()

    await soon(shielded(stubborn(), SHORT, "some work"))
    gate.set()
    await turns()
