"""`is_disconnected` and `wait_closed`: looking whether the peer is gone takes nothing away."""

from __future__ import annotations

import asyncio

import pytest

from opened import connecting, left, opened, soon, turns
from peer import B, D, Peer, T, make_scope
from telex import WebSocket, WebSocketDisconnect, WebSocketState


@pytest.mark.row("K28", "C48")
async def test_it_is_a_bool_false_while_open_and_true_after_the_end() -> None:
    ws, peer = await opened()
    assert await ws.is_disconnected() is False
    assert await ws.is_disconnected() is False
    peer.feed(D(1001))
    await turns()
    assert await ws.is_disconnected() is True
    assert await ws.is_disconnected() is True


@pytest.mark.row("K9", "T1", "C48")
async def test_polling_loses_no_message() -> None:
    ws, peer = await opened(T("a"), T(""), B(b"c"))
    for _ in range(5):
        assert await ws.is_disconnected() is False
    assert [await ws.receive_text(), await ws.receive_text()] == ["a", ""]
    assert await ws.is_disconnected() is False
    assert await ws.receive_bytes() == b"c"
    peer.feed(T("d"))
    for _ in range(5):
        assert await ws.is_disconnected() is False
    assert await ws.receive_text() == "d"


@pytest.mark.row("T1", "C48")
@pytest.mark.parametrize("amount", [1, 31, 32, 33, 200])
async def test_messages_and_the_disconnect_come_in_order_after_polling(amount: int) -> None:
    ws, _ = await opened(*[T(str(n)) for n in range(amount)], D(4001, "bye"))
    for _ in range(30):
        await ws.is_disconnected()
    for number in range(amount):
        assert await ws.receive_text() == str(number)
        await ws.is_disconnected()
    assert await ws.is_disconnected() is True
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(ws.receive_text())
    assert (raised.value.code, raised.value.reason) == (4001, "bye")


@pytest.mark.row("T1", "C48")
async def test_polling_until_the_end_and_then_reading_everything() -> None:
    ws, _ = await opened(*[T(str(n)) for n in range(20)], D(1001))
    async with asyncio.timeout(5):
        while not await ws.is_disconnected():
            pass
    assert ws.client_state is WebSocketState.CONNECTED, "it was not delivered yet"
    assert [text async for text in ws.iter_text()] == [str(n) for n in range(20)]
    assert ws.close_code == 1001


@pytest.mark.row("T1")
async def test_polling_beside_a_reader_takes_nothing_from_it() -> None:
    ws, peer = await opened()
    got: list[str] = []

    async def read() -> None:
        async for text in ws.iter_text():
            got.append(text)  # noqa: PERF401 - one at a time is the point

    reader = asyncio.create_task(read())
    for number in range(100):
        peer.feed(T(str(number)))
        assert await ws.is_disconnected() is False
    peer.feed(D(1001))
    await soon(reader)
    assert got == [str(n) for n in range(100)]
    assert await ws.is_disconnected() is True


@pytest.mark.row("T1")
async def test_a_cancelled_poll_loses_nothing() -> None:
    ws, peer = await opened()
    for number in range(20):
        poll = asyncio.create_task(ws.is_disconnected())
        await turns(number % 3)
        peer.feed(T(str(number)))
        poll.cancel()
        await asyncio.wait((poll,))
        assert await soon(ws.receive_text()) == str(number)


@pytest.mark.row("T8", "C48")
async def test_before_accept_it_is_false_and_reads_nothing() -> None:
    ws, peer = connecting(T("a"))
    for _ in range(3):
        assert await ws.is_disconnected() is False
    assert peer.reads == 0
    await soon(ws.accept())
    assert await soon(ws.receive_text()) == "a"


@pytest.mark.row("T8")
async def test_between_connect_and_accept_it_takes_nothing_either() -> None:
    ws, _ = connecting(T("a"))
    await ws.receive()
    assert await ws.is_disconnected() is False
    await ws.accept()
    assert await soon(ws.receive_text()) == "a"


@pytest.mark.row("K29", "C48")
async def test_after_any_end_it_is_true_and_does_not_wait() -> None:
    ws, _ = await opened()
    await ws.close(code=1000)
    assert await soon(ws.is_disconnected()) is True

    ws, _ = await left()
    assert await soon(ws.is_disconnected()) is True

    ws, _ = connecting(denial=True)
    await ws.reject()
    assert await soon(ws.is_disconnected()) is True

    ws, _ = connecting(D(1001), connect=False)
    with pytest.raises(WebSocketDisconnect):
        await ws.accept()
    assert await soon(ws.is_disconnected()) is True

    ws, peer = await opened()
    peer.fail_sends_with = OSError()
    with pytest.raises(WebSocketDisconnect):
        await ws.send_text("x")
    assert await soon(ws.is_disconnected()) is True


async def test_what_a_poll_says_is_true_for_sends_as_well() -> None:
    ws, peer = await opened(T("a"), D(4001))
    assert await ws.is_disconnected() is True
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.send_text("x")
    assert raised.value.code == 4001
    assert ws.send_nowait("x") is False
    assert peer.types == ["accept"]


# --- wait_closed ---


async def test_wait_closed_waits_for_the_peers_end_and_leaves_messages_readable() -> None:
    ws, peer = await opened(T("a"))
    waiters = [asyncio.create_task(ws.wait_closed()) for _ in range(2)]
    await turns()
    assert not any(waiter.done() for waiter in waiters)
    peer.feed(T("b"), D(1001))
    await soon(asyncio.gather(*waiters))
    assert [text async for text in ws.iter_text()] == ["a", "b"]
    await soon(ws.wait_closed())


async def test_wait_closed_waits_for_our_close_too() -> None:
    ws, _ = await opened()
    waiter = asyncio.create_task(ws.wait_closed())
    await turns()
    await ws.close()
    await soon(waiter)


async def test_wait_closed_may_be_called_before_accept() -> None:
    ws, peer = connecting(T("a"))
    waiter = asyncio.create_task(ws.wait_closed())
    await turns()
    await soon(ws.accept())
    assert await soon(ws.receive_text()) == "a"
    peer.feed(D(1001))
    await soon(waiter)

    ws, _ = connecting()
    waiter = asyncio.create_task(ws.wait_closed())
    await turns()
    await ws.reject()
    await soon(waiter)


async def test_wait_closed_ends_when_accept_finds_that_the_client_gave_up() -> None:
    ws, peer = connecting(connect=False)
    accepting = asyncio.create_task(ws.accept())
    await turns()
    waiter = asyncio.create_task(ws.wait_closed())
    await turns()
    peer.feed(D(1001))
    with pytest.raises(WebSocketDisconnect):
        await soon(accepting)
    await soon(waiter)


async def test_a_cancelled_wait_changes_nothing() -> None:
    ws, peer = await opened()
    waiter = asyncio.create_task(ws.wait_closed())
    await turns()
    waiter.cancel()
    await asyncio.wait((waiter,))
    peer.feed(T("a"))
    assert await soon(ws.receive_text()) == "a"
    await ws.send_text("b")
    assert peer.data == ["b"]


async def test_after_wait_closed_the_code_is_known() -> None:
    ws, _ = await opened(D(4001, "bye"))
    await soon(ws.wait_closed())
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4001, "bye", "client")


@pytest.mark.row("T14")
async def test_a_handler_that_only_writes_learns_of_the_end_by_polling() -> None:
    peer = Peer()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    ticks = 0
    async with asyncio.timeout(5):
        while not await ws.is_disconnected():
            await ws.send_text("tick")
            ticks += 1
            if ticks == 3:
                peer.feed(D(1006))
    assert ticks <= 5
