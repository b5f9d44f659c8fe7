"""Several things at once in one connection."""

# mypy: disable-error-code="unused-awaitable"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from peer import DEADLINE, D, Peer, T, make_scope, serve
from telex import App, WebSocket, WebSocketDisconnect
from telex._types import Message


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
