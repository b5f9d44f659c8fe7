"""Several things at once in one connection."""

# mypy: disable-error-code="unused-awaitable"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from channel import PATHS, FakeChannel, opened_over
from opened import left, state, turns, until
from peer import DEADLINE, B, D, Peer, T, make_scope, serve
from telex import App, WebSocket, WebSocketDisconnect, WebSocketState
from telex._types import Message
from telex.codecs import TYTX, MessagePack
from telex.tasks import ConnectionTasks
from telex.websockets import link_of


@asynccontextmanager
async def accepted(*script: Message) -> AsyncIterator[tuple[WebSocket, Peer]]:
    peer = Peer(*script)
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    async with asyncio.timeout(DEADLINE):
        await ws.accept()
        yield ws, peer
        await ws.close()


class Forever:
    """A task that waits for ever and notes how it ended."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.ended: list[str] = []

    async def __call__(self) -> None:
        self.running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.ended.append("cancelled")
            raise


async def test_leaving_the_body_cancels_the_tasks_and_waits_for_their_finally_blocks() -> None:
    forever = Forever()
    async with accepted() as (ws, _):
        async with ws.tasks() as tasks:
            tasks.start(forever())
            await forever.running.wait()
        assert forever.ended == ["cancelled"]


async def test_the_end_of_the_loop_over_messages_ends_the_tasks() -> None:
    forever = Forever()
    async with accepted(T("a"), T("b"), D(1001)) as (ws, _):
        async with ws.tasks() as tasks:
            tasks.start(forever())
            await forever.running.wait()
            seen = [message async for message in ws]
            after_the_loop = await asyncio.sleep(0, "the body goes on")
        assert seen == ["a", "b"]
        assert after_the_loop == "the body goes on"
        assert forever.ended == ["cancelled"]
        assert ws.close_code == 1001


async def test_a_body_that_does_not_read_is_interrupted_when_the_peer_leaves() -> None:
    forever = Forever()
    async with accepted() as (ws, peer):
        with pytest.raises(WebSocketDisconnect) as caught:
            async with ws.tasks() as tasks:
                tasks.start(forever())
                await forever.running.wait()
                peer.feed(D(4321))
                await asyncio.Event().wait()
        assert caught.value.code == 4321
        assert forever.ended == ["cancelled"]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_a_reader_task_takes_every_message_before_the_body_is_told() -> None:
    seen: list[str | bytes] = []

    async def read(ws: WebSocket) -> None:
        async for message in ws:
            await asyncio.sleep(0)
            seen.append(message)

    async with accepted() as (ws, peer):
        with pytest.raises(WebSocketDisconnect):
            async with ws.tasks() as tasks:
                tasks.start(read(ws))
                peer.feed(T("1"), T("2"), T("3"), D())
                await asyncio.Event().wait()
    assert seen == ["1", "2", "3"]


async def test_a_send_that_finds_the_peer_gone_comes_out_bare() -> None:
    async def tick(ws: WebSocket, peer: Peer) -> None:
        await ws.send_text("tick")
        peer.fail_sends_with = OSError("gone")
        await ws.send_text("tock")

    async with accepted() as (ws, peer):
        with pytest.raises(WebSocketDisconnect) as caught:
            async with ws.tasks() as tasks:
                tasks.start(tick(ws, peer))
                await asyncio.Event().wait()
        assert caught.value.code == 1006


async def test_an_error_in_a_task_comes_out_in_a_group_and_ends_the_others() -> None:
    forever = Forever()

    async def fail() -> None:
        await forever.running.wait()
        raise ValueError("broken")

    async with accepted() as (ws, _):
        with pytest.raises(ExceptionGroup) as caught:
            async with ws.tasks() as tasks:
                tasks.start(forever())
                tasks.start(fail())
                await ws.receive_text()
        assert [type(error) for error in caught.value.exceptions] == [ValueError]
        assert forever.ended == ["cancelled"]


async def test_closing_in_a_task_ends_the_body_quietly() -> None:
    async def say_goodbye(ws: WebSocket) -> None:
        await ws.close(4000, "enough")

    async with accepted() as (ws, peer):
        async with ws.tasks() as tasks:
            tasks.start(say_goodbye(ws))
            await asyncio.Event().wait()
        assert peer.closes == [(4000, "enough")]


async def test_closing_in_the_body_lets_the_body_go_on() -> None:
    forever = Forever()
    async with accepted() as (ws, _):
        async with ws.tasks() as tasks:
            tasks.start(forever())
            await forever.running.wait()
            await ws.close()
            went_on = await asyncio.sleep(0, True)
        assert went_on
        assert forever.ended == ["cancelled"]


async def test_a_task_started_after_the_end_is_cancelled_at_once() -> None:
    async with accepted() as (ws, _):
        async with ws.tasks() as tasks:
            await ws.close()
            late = tasks.start(asyncio.sleep(DEADLINE * 2), name="late")
            assert late.get_name() == "late"
        assert late.cancelled()


async def test_the_result_of_a_task_can_be_awaited() -> None:
    async with accepted() as (ws, _), ws.tasks() as tasks:
        assert await tasks.start(asyncio.sleep(0, 42)) == 42


async def test_a_cancellation_from_outside_passes_through() -> None:
    forever = Forever()

    async def body() -> None:
        async with accepted() as (ws, _), ws.tasks() as tasks:
            tasks.start(forever())
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await forever.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert forever.ended == ["cancelled"]


async def test_in_a_handler_the_peer_leaving_a_ticker_is_a_normal_end() -> None:
    app = App()
    ended: list[str] = []

    @app.websocket("/")
    async def ticker(ws: WebSocket) -> None:
        async def tick(send: Callable[[str], Awaitable[None]]) -> None:
            try:
                while True:
                    await send("tick")
                    await asyncio.sleep(0)
            finally:
                ended.append("ticker")

        async with ws, ws.tasks() as tasks:
            tasks.start(tick(ws.send_text))
            ended.extend([text async for text in ws.iter_text()])

    peer = await serve(app, T("hello"), D(1001))
    assert ended == ["hello", "ticker"]
    assert peer.closes == []


# --- cancelled by the client ---


def cancel(ref: object) -> Message:
    return T(f'{{"type":"cancel","ref":{ref}}}')


@pytest.fixture(params=PATHS)
async def both(request: pytest.FixtureRequest) -> tuple[WebSocket, FakeChannel]:
    return await opened_over(request.param)


async def test_the_client_cancels_a_task_by_its_ref_while_the_body_reads(
    both: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = both
    forever, other = Forever(), Forever()
    async with asyncio.timeout(DEADLINE), ws.tasks() as tasks:
        task = tasks.start(forever(), ref=7)
        tasks.start(other(), ref="7")
        await forever.running.wait()
        reader = tasks.start(ws.receive_text())
        await turns()
        channel.feed(cancel(7), T("next"))
        await asyncio.wait((task,))
        assert await reader == "next"
        assert (forever.ended, other.ended) == (["cancelled"], [])


async def test_the_client_cancels_a_task_while_nobody_reads(
    both: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = both
    forever = Forever()
    async with asyncio.timeout(DEADLINE), ws.tasks() as tasks:
        task = tasks.start(forever(), ref=7)
        await forever.running.wait()
        channel.feed(T("before"), cancel(7), T("after"))
        await asyncio.wait((task,))
        assert task.cancelled()
        assert [await ws.receive_text() for _ in range(2)] == ["before", "after"]


@pytest.mark.parametrize(
    "message",
    [
        cancel(8),
        cancel('"7"'),
        cancel("7.0"),
        cancel("[7]"),
        T('{"type":"cancel"}'),
        T('{"type":"stop","ref":7,"why":"cancel"}'),
        T('["cancel",7]'),
        T("cancel"),
    ],
)
async def test_what_cancels_no_running_task_is_an_ordinary_message(message: Message) -> None:
    forever = Forever()
    async with accepted(message) as (ws, _), ws.tasks() as tasks:
        task = tasks.start(forever(), ref=7)
        await turns()
        assert not task.done()
        assert await ws.receive() == message


async def test_a_task_is_cancelled_once_however_often_the_client_asks() -> None:
    asked: list[str] = []
    cleaning, go_on = asyncio.Event(), asyncio.Event()

    async def clean_up() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as exc:
            asked.extend(exc.args)
            cleaning.set()
            await go_on.wait()
            asked.append("clean")
            raise

    async with accepted() as (ws, peer), ws.tasks() as tasks:
        task = tasks.start(clean_up(), ref=7)
        await turns()
        peer.feed(cancel(7))
        await cleaning.wait()
        peer.feed(cancel(7), T("next"))
        assert await ws.receive_text() == "next"
        go_on.set()
        await asyncio.wait((task,))
        assert asked == ["the client cancelled it", "clean"]


async def test_a_ref_belongs_to_one_running_task() -> None:
    async with accepted() as (ws, _), ws.tasks() as tasks:
        task = tasks.start(asyncio.sleep(0, 1), ref=7)
        second: Any = asyncio.sleep(0, 2)
        with pytest.raises(ValueError, match="a task with ref 7 is running already"):
            tasks.start(second, ref=7)
        assert second.cr_frame is None
        assert await task == 1
        await turns()
        assert await tasks.start(asyncio.sleep(0, 3), ref=7) == 3


@pytest.mark.parametrize("ref", [1.5, True, b"7", [7]])
async def test_a_ref_is_a_string_or_an_integer(ref: Any) -> None:
    async with accepted() as (ws, _), ws.tasks() as tasks:
        coro: Any = asyncio.sleep(0)
        with pytest.raises(TypeError, match="ref must be str or int, not"):
            tasks.start(coro, ref=ref)
        assert coro.cr_frame is None


async def test_a_task_with_a_ref_after_the_end_is_cancelled_at_once() -> None:
    async with accepted() as (ws, _), ws.tasks() as tasks:
        await ws.close()
        late = tasks.start(asyncio.sleep(DEADLINE * 2), ref=7)
        await asyncio.wait((late,))
        assert late.cancelled()
        assert link_of(ws).inbox.deputy is None


async def test_messages_that_cancel_can_be_message_pack() -> None:
    forever = Forever()
    async with accepted() as (ws, peer), ws.tasks() as tasks:
        task = tasks.start(forever(), ref="a")
        await forever.running.wait()
        peer.feed(B(MessagePack().encode({"type": "cancel", "ref": "a"})))
        await asyncio.wait((task,))
        assert forever.ended == ["cancelled"]


async def test_messages_that_cancel_are_read_by_the_codec_that_is_given() -> None:
    forever = Forever()
    async with accepted() as (ws, peer):
        async with ConnectionTasks(link_of(ws), TYTX) as tasks:
            task = tasks.start(forever(), ref="a")
            await forever.running.wait()
            peer.feed(T('{"type":"cancel","ref":"a","price":"1.5::N"}::JS'))
            await asyncio.wait((task,))
        assert forever.ended == ["cancelled"]


async def test_a_busy_body_is_told_of_an_end_behind_a_message_that_cancels(
    both: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = both
    forever = Forever()
    with pytest.raises(WebSocketDisconnect):
        async with asyncio.timeout(DEADLINE), ws.tasks() as tasks:
            tasks.start(forever(), ref=7)
            await forever.running.wait()
            channel.feed(cancel(7), D(4001))
            await asyncio.Event().wait()
    assert forever.ended == ["cancelled"]
    assert ws.close_code == 4001


async def test_a_body_is_not_interrupted_while_messages_are_kept_for_it(
    both: tuple[WebSocket, FakeChannel],
) -> None:
    ws, channel = both
    forever = Forever()
    async with asyncio.timeout(DEADLINE), ws.tasks() as tasks:
        tasks.start(forever(), ref=7)
        await forever.running.wait()
        channel.feed(T("1"), T("2"))
        await turns()
        channel.feed(D(4001))
        await turns()
        assert [message async for message in ws] == ["1", "2"]


async def test_when_no_such_task_runs_nothing_is_looked_at() -> None:
    forever = Forever()
    async with accepted() as (ws, peer):
        async with ws.tasks() as tasks:
            tasks.start(forever(), ref=7)
            await forever.running.wait()
        peer.feed(cancel(8))
        await until(lambda: link_of(ws).inbox.source.closed is None)
        assert await ws.receive() == cancel(8)


async def test_what_cancels_a_task_that_has_just_ended_is_dropped_until_that_is_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telex._given_up.GIVEN_UP_FOR", 0.01)
    async with accepted() as (ws, peer), ws.tasks() as tasks:
        await tasks.start(asyncio.sleep(0), ref=7)
        peer.feed(cancel(7), cancel(7), cancel("7.0"))
        assert await ws.receive() == cancel("7.0")
        await until(lambda: link_of(ws).inbox.direct)
        peer.feed(cancel(7))
        assert await ws.receive() == cancel(7)


async def test_the_ref_of_a_task_that_has_ended_can_be_used_and_cancelled_again() -> None:
    forever = Forever()
    async with accepted() as (ws, peer), ws.tasks() as tasks:
        await tasks.start(asyncio.sleep(0), ref=7)
        await turns()
        task = tasks.start(forever(), ref=7)
        await forever.running.wait()
        peer.feed(cancel(7))
        await asyncio.wait((task,))
        assert task.cancelled()


# --- another connection ---


async def test_the_end_of_another_connection_is_an_error_and_not_our_end() -> None:
    other, _ = await left(4001)
    async with accepted() as (ws, peer):
        with pytest.raises(ExceptionGroup) as caught:
            async with ws.tasks() as tasks:
                tasks.start(other.send_text("x"))
                await asyncio.Event().wait()
        assert [repr(each) for each in caught.value.exceptions] == [repr(WebSocketDisconnect(4001))]
        assert (state(ws), ws.close_code) == (WebSocketState.CONNECTED, None)
        await ws.send_text("still here")
        assert peer.data == ["still here"]


async def test_the_end_of_another_connection_is_told_beside_other_errors() -> None:
    other, _ = await left()

    async def fail() -> None:
        raise ValueError("broken")

    async with accepted() as (ws, _):
        with pytest.raises(ExceptionGroup) as caught:
            async with ws.tasks() as tasks:
                tasks.start(other.send_text("x"))
                tasks.start(fail())
                await asyncio.Event().wait()
    assert {type(each) for each in caught.value.exceptions} == {WebSocketDisconnect, ValueError}


async def test_a_function_that_was_not_called_is_no_coroutine() -> None:
    forever = Forever()
    async with accepted() as (ws, _), ws.tasks() as tasks:
        with pytest.raises(TypeError, match=r"takes a coroutine, not .*; call the function"):
            tasks.start(forever)  # type: ignore[arg-type]
