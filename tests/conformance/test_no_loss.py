"""No message is lost, doubled or reordered, however readers are cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import tracemalloc

import pytest

from channel import PATHS, opened_over
from opened import opened, soon, turns
from peer import D, Peer, T, make_scope
from telex import WebSocket, WebSocketDisconnect
from telex._source import MAX_MESSAGES, AsgiSource
from telex._types import Message
from telex.websockets import link_of


class Careless(Peer):
    """A peer whose server takes a message and then awaits: cancelled there, it has lost it."""

    async def receive(self) -> Message:
        message = await super().receive()
        await asyncio.sleep(0)
        return message


@pytest.mark.row("T4")
async def test_a_thousand_cancelled_reads_lose_nothing() -> None:
    peer = Careless()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    chance = random.Random(1)
    seen: list[str] = []
    cancelled = fed = 0
    async with asyncio.timeout(30):
        while cancelled < 1000:
            reader = asyncio.create_task(ws.receive_text())
            await turns(chance.randrange(4))
            if chance.random() < 0.5:
                peer.feed(T(str(fed)))
                fed += 1
            await turns(chance.randrange(4))
            reader.cancel()
            await asyncio.wait((reader,))
            if reader.cancelled():
                cancelled += 1
            else:
                seen.append(reader.result())
        peer.feed(D(1000))
        seen += [text async for text in ws.iter_text()]
    assert seen == [str(n) for n in range(fed)]


@pytest.mark.row("T4")
async def test_of_two_readers_the_one_that_was_woken_is_cancelled_and_the_other_served() -> None:
    for pause in range(8):
        peer = Careless()
        ws = WebSocket(make_scope(), peer.receive, peer.send)
        await ws.accept()
        first = asyncio.create_task(ws.receive_text())
        second = asyncio.create_task(ws.receive_text())
        await turns()
        peer.feed(T("kept"))
        await turns(pause)
        first.cancel()
        peer.feed(T("next"))
        await asyncio.wait((first,))
        expected = "kept" if first.cancelled() else "next"
        assert await soon(second) == expected
        await ws.close()


@pytest.mark.row("T4")
@pytest.mark.parametrize("path", PATHS)
async def test_two_hundred_timeouts_while_messages_flow(path: str) -> None:
    ws, channel = await opened_over(path)
    chance = random.Random(2)
    amount = 400

    async def feed() -> None:
        for n in range(amount):
            channel.feed(T(str(n)))
            await asyncio.sleep(chance.choice([0, 0, 0.0005, 0.001]))

    feeding = asyncio.create_task(feed())
    seen: list[str] = []
    timeouts = 0
    async with asyncio.timeout(30):
        while timeouts < 200 or len(seen) < amount:
            try:
                seen.append(await asyncio.wait_for(ws.receive_text(), chance.choice([0, 0.0003])))
            except TimeoutError:
                timeouts += 1
    await feeding
    assert seen == [str(n) for n in range(amount)]
    channel.drop()
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.receive_text())


@pytest.mark.row("C63", "T4", "T5")
@pytest.mark.parametrize("path", PATHS)
async def test_many_readers_that_come_and_go_share_every_message_once(path: str) -> None:
    ws, channel = await opened_over(path)
    chance = random.Random(3)
    seen: list[int] = []
    fed = 0

    async def read() -> None:
        with contextlib.suppress(WebSocketDisconnect):
            seen.append(int(await ws.receive_text()))

    readers: list[asyncio.Task[None]] = []
    async with asyncio.timeout(30):
        for _ in range(1500):
            readers.append(asyncio.create_task(read()))
            if chance.random() < 0.4:
                chance.choice(readers).cancel()
            if chance.random() < 0.6:
                channel.feed(T(str(fed)))
                fed += 1
            await turns(chance.randrange(3))
        channel.drop()
        await asyncio.wait(readers)
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                seen.append(int(await ws.receive_text()))
    assert seen == list(range(fed))


@pytest.mark.row("T3")
async def test_a_flood_is_bounded_while_the_handler_only_polls_and_nothing_is_lost() -> None:
    amount = 10_000
    ws, peer = await opened(*(T(f"{n:01000d}") for n in range(amount)), D(4001))
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert not await ws.is_disconnected(), "the end is behind a full buffer"
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    source = link_of(ws).inbox.source
    assert isinstance(source, AsgiSource)
    assert source.pending == MAX_MESSAGES
    assert peer.reads == MAX_MESSAGES + 1
    assert grown < 256 * 1024
    seen = [int(text) async for text in ws.iter_text()]
    assert seen == list(range(amount))
    assert ws.close_code == 4001
    assert await ws.is_disconnected()


@pytest.mark.row("T1")
@pytest.mark.parametrize("amount", [0, 1, 5, MAX_MESSAGES - 1, MAX_MESSAGES, 200])
async def test_polling_between_reads_keeps_every_message_and_the_disconnect(amount: int) -> None:
    ws, _ = await opened(*(T(str(n)) for n in range(amount)), D(4001, "bye"))
    seen: list[str] = []

    async def poll_and_read() -> None:
        while True:
            for _ in range(3):
                await ws.is_disconnected()
            seen.append(await ws.receive_text())

    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(poll_and_read())
    assert (raised.value.code, raised.value.reason) == (4001, "bye")
    assert seen == [str(n) for n in range(amount)]


@pytest.mark.row("T13")
async def test_a_server_that_blocks_after_its_disconnect_blocks_nobody() -> None:
    ws, peer = await opened(T("1"), D(1000))
    reads_until_the_end = 3
    assert [message async for message in ws] == ["1"]
    for _ in range(3):
        with pytest.raises(WebSocketDisconnect):
            await soon(ws.receive())
        assert await soon(ws.is_disconnected())
        await soon(ws.wait_closed())
    assert peer.reads == reads_until_the_end


@pytest.mark.row("T88")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("seed", range(3))
async def test_many_senders_that_come_and_go_keep_the_order_of_their_calls(
    path: str, seed: int
) -> None:
    ws, channel = await opened_over(path)
    chance = random.Random(seed)
    senders: dict[int, asyncio.Task[None]] = {}
    queued: set[int] = set()
    async with asyncio.timeout(30):
        for n in range(1500):
            if chance.random() < 0.3:
                # The task of a sender has to begin first for its call to be the earlier one.
                await turns(1)
                if ws.send_nowait(str(n)):
                    queued.add(n)
            else:
                senders[n] = asyncio.create_task(ws.send_text(str(n)))
            waiting = [task for task in senders.values() if not task.done()]
            if waiting and chance.random() < 0.2:
                chance.choice(waiting).cancel()
            if chance.random() < 0.05:
                channel.block()
            elif chance.random() < 0.3:
                channel.unblock()
            await turns(chance.randrange(3))
        channel.unblock()
        await turns(1)
        await ws.close()
        await asyncio.wait(senders.values())
    sent = [int(data) for data in channel.data]
    assert sent == sorted(set(sent)), "doubled or reordered"
    finished = {n for n, task in senders.items() if not task.cancelled()}
    assert not [task for task in senders.values() if not task.cancelled() and task.exception()]
    assert finished | queued <= set(sent)
    assert channel.types[-1] == "close"
