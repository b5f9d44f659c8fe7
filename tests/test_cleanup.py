"""Cleanups run once, however the connection ended, and neither errors nor hangs stop them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from opened import connecting, opened, soon, turns
from peer import DEADLINE, D, Peer, T, make_scope
from telex import Reject, SocketView, WebSocket, WebSocketDisconnect, WebSocketException
from telex._cleanup import Cleanups, shielded
from telex.handlers import function_endpoint
from telex.lifecycle import connection_app
from telex.views import view_endpoint

Handler = Callable[[WebSocket], Awaitable[object]]


class Log(list[Any]):
    """A list that can be written to by a callback."""

    def note(self, item: object) -> Callable[[], None]:
        return lambda: self.append(item)

    def note_later(self, item: object) -> Callable[[], Awaitable[None]]:
        async def callback() -> None:
            await asyncio.sleep(0)
            self.append(item)

        return callback


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the cleanups of a connection a moment, not ten seconds."""
    monkeypatch.setattr("telex._cleanup.CLEANUP_TIMEOUT", 0.03)
    monkeypatch.setattr("telex._cleanup._SPARE", 0.03)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# --- one test for each way to end ---


async def ended_by_close(ws: WebSocket, peer: Peer) -> None:
    await ws.close()


async def ended_by_raw_close(ws: WebSocket, peer: Peer) -> None:
    await ws.send({"type": "websocket.close", "code": 1000})


async def ended_by_the_client_while_receiving(ws: WebSocket, peer: Peer) -> None:
    peer.feed(D(1001))
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()


async def ended_by_the_client_while_iterating(ws: WebSocket, peer: Peer) -> None:
    peer.feed(T("1"), D(1001))
    assert [message async for message in ws] == ["1"]


async def ended_by_the_client_in_a_raw_receive(ws: WebSocket, peer: Peer) -> None:
    peer.feed(D(1001))
    await ws.receive()


async def ended_by_the_client_while_sending(ws: WebSocket, peer: Peer) -> None:
    peer.fail_sends_with = OSError()
    with pytest.raises(WebSocketDisconnect):
        await ws.send_text("x")


async def ended_by_abort(ws: WebSocket, peer: Peer) -> None:
    await ws.abort()


async def ended_by_a_failing_close(ws: WebSocket, peer: Peer) -> None:
    peer.fail_sends_with = KeyError("server bug")
    with pytest.raises(KeyError):
        await ws.close()


async def ended_by_leaving_the_block(ws: WebSocket, peer: Peer) -> None:
    peer.feed(D(1001))
    await ws.wait_closed()
    await ws.__aexit__(None, None, None)


@pytest.mark.row("C52", "T48")
@pytest.mark.parametrize(
    "end",
    [
        ended_by_close,
        ended_by_raw_close,
        ended_by_the_client_while_receiving,
        ended_by_the_client_while_iterating,
        ended_by_the_client_in_a_raw_receive,
        ended_by_the_client_while_sending,
        ended_by_abort,
        ended_by_a_failing_close,
        ended_by_leaving_the_block,
    ],
)
async def test_cleanups_run_in_order_and_once(
    end: Callable[[WebSocket, Peer], Awaitable[None]],
) -> None:
    ws, peer = await opened()
    log = Log()
    ws.add_cleanup(log.note(1))
    ws.add_cleanup(log.note_later(2))
    ws.add_cleanup(log.note(3))
    await soon(end(ws, peer))
    assert log == [1, 2, 3]
    await ws.close()
    await ws.abort()
    assert log == [1, 2, 3]


@pytest.mark.row("C52", "T48")
@pytest.mark.parametrize("denial", [True, False])
@pytest.mark.parametrize("how", ["close", "reject"])
async def test_cleanups_run_when_the_handshake_is_rejected(how: str, denial: bool) -> None:
    ws, _ = connecting(denial=denial)
    log = Log()
    ws.add_cleanup(log.note_later(1))
    await soon(getattr(ws, how)())
    assert log == [1]


@pytest.mark.row("C52")
async def test_cleanups_run_when_the_client_gave_up_before_accept() -> None:
    ws, _ = connecting(D(1001), connect=False)
    log = Log()
    ws.add_cleanup(log.note_later(1))
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.accept())
    assert log == [1]


async def returns_open(ws: WebSocket) -> None:
    await ws.accept()


async def returns_without_accepting(ws: WebSocket) -> None:
    pass


async def raises_before_accept(ws: WebSocket) -> None:
    raise KeyError("before")


async def raises_after_accept(ws: WebSocket) -> None:
    await ws.accept()
    raise KeyError("after")


async def raises_to_close(ws: WebSocket) -> None:
    await ws.accept()
    raise WebSocketException(4000)


async def raises_to_reject(ws: WebSocket) -> None:
    raise Reject(401)


async def lets_the_disconnect_out(ws: WebSocket) -> None:
    await ws.accept()
    await ws.receive_text()


@pytest.mark.row("C52", "T48")
@pytest.mark.parametrize(
    "handler",
    [
        returns_open,
        returns_without_accepting,
        raises_before_accept,
        raises_after_accept,
        raises_to_close,
        raises_to_reject,
        lets_the_disconnect_out,
    ],
)
async def test_cleanups_run_however_a_handler_ends(handler: Handler) -> None:
    log = Log()

    async def endpoint(ws: WebSocket) -> None:
        ws.add_cleanup(log.note(1))
        ws.add_cleanup(log.note_later(2))
        await handler(ws)

    await Peer(D(1001)).run(connection_app(function_endpoint(endpoint)))
    assert log == [1, 2]


@pytest.mark.row("T44", "C52")
async def test_a_cancelled_handler_is_cleaned_up_and_the_cancellation_goes_on() -> None:
    log = Log()

    class View(SocketView):
        async def on_connect(self) -> None:
            await self.websocket.accept()
            self.websocket.add_cleanup(log.note_later("cleanup"))

        async def on_disconnect(self, code: int) -> None:
            await asyncio.sleep(0)
            log.append(code)

    peer = Peer()
    app = connection_app(view_endpoint(View))
    serving = asyncio.create_task(peer.run(app))
    await turns()
    serving.cancel()
    await soon(asyncio.wait((serving,)))
    assert serving.cancelled()
    assert sorted(log, key=str) == [1006, "cleanup"]
    assert peer.closes == [(1012, "")]


@pytest.mark.row("T44")
async def test_cleanups_of_a_cancelled_handler_are_shielded_and_limited(short: None) -> None:
    log = Log()

    async def hang() -> None:
        log.append("hangs")
        await asyncio.Event().wait()

    async def endpoint(ws: WebSocket) -> None:
        ws.add_cleanup(hang)
        ws.add_cleanup(log.note("next"))
        await ws.accept()
        await asyncio.Event().wait()

    serving = asyncio.create_task(Peer().run(connection_app(function_endpoint(endpoint))))
    await turns()
    for _ in range(3):
        serving.cancel()
        await turns()
    await soon(asyncio.wait((serving,)))
    assert serving.cancelled()
    assert log == ["hangs", "next"]


@pytest.mark.row("T45")
async def test_errors_of_cleanup_and_on_disconnect_do_not_hide_that_of_the_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class View(SocketView):
        async def on_connect(self) -> None:
            await self.websocket.accept()
            self.websocket.add_cleanup(fail)
            raise KeyError("of the handler")

        async def on_disconnect(self, code: int) -> None:
            raise LookupError("of on_disconnect")

    def fail() -> None:
        raise ValueError("of the cleanup")

    peer = Peer()
    await peer.run(connection_app(view_endpoint(View)))
    assert peer.closes == [(1011, "")]
    raised = {type(record.exc_info[1]) for record in caplog.records if record.exc_info}
    assert raised == {KeyError, LookupError, ValueError}


# --- what a callback may do ---


@pytest.mark.row("C52")
async def test_every_callback_runs_though_others_fail(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()

    def fail() -> None:
        raise KeyError("sync")

    async def fail_later() -> None:
        await asyncio.sleep(0)
        raise KeyError("async")

    async def time_out() -> None:
        raise TimeoutError("its own")

    async def be_cancelled() -> None:
        task = asyncio.create_task(asyncio.sleep(DEADLINE))
        task.cancel()
        await task

    def cancel() -> None:
        raise asyncio.CancelledError

    ws, _ = await opened()
    callbacks = (fail, fail_later, time_out, be_cancelled, cancel)
    for number, callback in enumerate(callbacks):
        ws.add_cleanup(callback)
        ws.add_cleanup(log.note(number))
    await soon(ws.close())
    assert log == list(range(5))
    assert len(errors(caplog)) == 5
    assert all(record.exc_info for record in caplog.records)


async def test_what_a_callback_returns_is_awaited_when_it_can_be() -> None:
    log = Log()
    ws, _ = await opened()
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(future.set_result, None)
    ws.add_cleanup(lambda: future)
    ws.add_cleanup(lambda: asyncio.create_task(log.note_later("task")()))  # type: ignore[arg-type]
    ws.add_cleanup(lambda: 7)
    await soon(ws.close())
    assert log == ["task"]


@pytest.mark.parametrize("nothing", [None, 7, "print", object()])
async def test_what_cannot_be_called_is_refused_at_registration(nothing: Any) -> None:
    ws, _ = await opened()
    with pytest.raises(TypeError, match="callable"):
        ws.add_cleanup(nothing)
    await ws.close()
    with pytest.raises(TypeError, match="callable"):
        ws.add_cleanup(nothing)


@pytest.mark.row("C52", "T48")
async def test_a_callback_registered_after_the_end_runs_at_once() -> None:
    log = Log()
    ws, _ = await opened()
    await ws.close()
    ws.add_cleanup(log.note("sync"))
    assert log == ["sync"]
    ws.add_cleanup(log.note_later("async"))
    await turns()
    assert log == ["sync", "async"]


@pytest.mark.row("T48")
async def test_a_callback_may_register_another() -> None:
    log = Log()
    ws, _ = await opened()

    async def register() -> None:
        ws.add_cleanup(log.note("sync"))
        ws.add_cleanup(log.note_later("async"))
        log.append("registered")

    ws.add_cleanup(register)
    ws.add_cleanup(log.note("last"))
    await soon(ws.close())
    assert log == ["sync", "registered", "last", "async"]


@pytest.mark.parametrize("how", ["close", "abort", "wait_closed", "is_disconnected"])
async def test_a_callback_may_end_the_connection_again(how: str) -> None:
    log = Log()
    ws, peer = await opened()

    async def end_again() -> None:
        await getattr(ws, how)()
        await asyncio.wait_for(getattr(ws, how)(), 1)
        await asyncio.create_task(getattr(ws, how)())
        log.append("ended")

    ws.add_cleanup(end_again)
    async with asyncio.timeout(1):
        await ws.close(4000)
    assert log == ["ended"]
    assert peer.closes == [(4000, "")]


async def test_callbacks_of_two_connections_may_end_each_other() -> None:
    one, _ = await opened()
    two, _ = await opened()
    log = Log()
    for ws, other in ((one, two), (two, one)):
        ws.add_cleanup(other.close)
        ws.add_cleanup(log.note(id(ws)))
    async with asyncio.timeout(1):
        await one.close()
        await two.close()
    assert sorted(log) == sorted([id(one), id(two)])


async def test_a_callback_sees_the_context_of_whoever_found_the_end() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    log = Log()
    ws, _ = await opened()
    variable.set("caller")
    ws.add_cleanup(lambda: log.append(variable.get()))
    await ws.close()
    assert log == ["caller"]


# --- time ---


async def test_a_callback_that_hangs_is_cut_off_and_the_rest_runs(
    short: None, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled")

    ws, _ = await opened()
    for callback in (hang, log.note("sync"), hang, log.note_later("async")):
        ws.add_cleanup(callback)
    await soon(ws.close())
    assert log == ["cancelled", "sync", "cancelled"]
    assert len(errors(caplog)) == 3


async def test_a_callback_that_cannot_be_cancelled_is_left_behind(
    short: None, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()

    async def refuse() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass

    ws, _ = await opened()
    ws.add_cleanup(refuse)
    await soon(ws.close())
    assert any("took longer" in message for message in errors(caplog))
    release.set()
    await turns()


async def test_a_late_callback_that_hangs_is_cut_off(
    short: None, caplog: pytest.LogCaptureFixture
) -> None:
    ws, _ = await opened()
    await ws.close()
    ws.add_cleanup(asyncio.Event().wait)
    await soon(ws.close())
    assert len(errors(caplog)) == 1


# --- several at once ---


async def test_two_tasks_that_find_the_end_both_wait_for_the_cleanups() -> None:
    gate = asyncio.Event()
    log = Log()
    ws, peer = await opened()
    ws.add_cleanup(gate.wait)
    ws.add_cleanup(log.note("done"))
    enders = [
        asyncio.create_task(ws.close()),
        asyncio.create_task(ws.close()),
        asyncio.create_task(ws.abort()),
    ]
    await turns()
    assert not any(task.done() for task in enders[:2])
    gate.set()
    await soon(asyncio.gather(*enders))
    assert log == ["done"]
    assert len(peer.closes) == 1


async def test_one_of_two_who_wait_may_be_cancelled() -> None:
    gate = asyncio.Event()
    cleanups = Cleanups()
    log = Log()
    cleanups.add(gate.wait)
    cleanups.add(log.note("done"))
    first, second = (asyncio.create_task(cleanups.run()) for _ in range(2))
    await turns()
    second.cancel()
    await asyncio.wait((second,))
    assert not first.done()
    gate.set()
    await soon(first)
    assert log == ["done"]


async def test_a_cancelled_end_finishes_the_cleanups_first() -> None:
    gate = asyncio.Event()
    log = Log()
    ws, peer = await opened()
    ws.add_cleanup(gate.wait)
    ws.add_cleanup(log.note("done"))
    closing = asyncio.create_task(ws.close())
    await turns()
    for _ in range(3):
        closing.cancel()
        await turns()
    assert not closing.done()
    gate.set()
    await soon(asyncio.wait((closing,)))
    assert closing.cancelled()
    assert log == ["done"]
    assert len(peer.closes) == 1


async def test_shielded_work_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise KeyError("x")

    await shielded(fail(), 1.0, "the work")
    assert errors(caplog) == ["the work failed"]


async def test_a_timeout_around_a_close_ends_after_the_cleanups() -> None:
    gate = asyncio.Event()
    log = Log()
    ws = WebSocket(make_scope(), *(lambda peer: (peer.receive, peer.send))(Peer()))
    await ws.accept()
    ws.add_cleanup(gate.wait)
    ws.add_cleanup(log.note("done"))
    asyncio.get_running_loop().call_later(0.03, gate.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ws.close()
    assert log == ["done"]
