"""What waits for a client that takes nothing does not wait for ever, whoever sends it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from weakref import ref

import pytest

from channel import PATHS, FakeChannel, connecting_over
from opened import soon, turns
from telex import WebSocket, WebSocketRuntimeError, WebSocketState
from telex._outbox import Outbox
from telex._settings import SETTINGS_KEY, Settings
from telex._types import Message
from telex._waiting import Waiting

TIMEOUT = 0.08
LONG = 3
"""How many times the timeout a client goes on that must not be ended."""


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def slow(path: str, timeout: float | None = TIMEOUT) -> tuple[WebSocket, FakeChannel]:
    """A connection whose client takes nothing."""
    settings = Settings(outbox=Outbox(timeout=timeout))
    ws, channel = connecting_over(path, **{SETTINGS_KEY: settings})
    await soon(ws.accept())
    channel.block()
    return ws, channel


def line_of(ws: WebSocket) -> Waiting:
    return ws._link.outlet


async def while_it_reads(ws: WebSocket, take: Callable[[], object]) -> None:
    """Let a client take something again and again, for longer than it may take nothing."""
    loop = asyncio.get_running_loop()
    end = loop.time() + LONG * TIMEOUT
    while loop.time() < end and ws.connection_state is WebSocketState.CONNECTED:
        take()
        await asyncio.sleep(TIMEOUT / 16)
    assert ws.connection_state is WebSocketState.CONNECTED


async def send_until_the_end(ws: WebSocket) -> None:
    with pytest.raises(WebSocketRuntimeError, match="closed"):
        while True:
            await ws.send_text("tick")
            await asyncio.sleep(0)


# --- given up ---


async def test_a_sender_does_not_wait_for_ever(path: str) -> None:
    ws, channel = await slow(path)
    await soon(send_until_the_end(ws))
    await soon(ws.wait_closed())
    await turns()
    assert channel.closes == [(4008, "slow consumer")]
    assert (ws.close_code, ws.closed_by) == (4008, "server")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_neither_does_the_queue(path: str) -> None:
    ws, channel = await slow(path)
    for _ in range(10):
        assert ws.send_nowait("x" * 100)
    await turns()
    assert ws.buffered >= 900
    await soon(ws.wait_closed())
    await turns()
    assert channel.closes == [(4008, "slow consumer")]
    assert ws.dropped == 9, "one was in the hands of the server"
    assert ws.buffered - channel.buffered == 0
    assert ws.send_nowait("late") is False


async def test_everybody_goes_on_who_waits(path: str) -> None:
    ws, channel = await slow(path)
    tasks = [asyncio.create_task(ws.send_text(str(n))) for n in range(3)]
    assert ws.send_nowait("queued")
    tasks += [asyncio.create_task(ws.send({"type": "websocket.send", "text": "raw"}))]
    await turns()
    done, pending = await asyncio.wait(tasks, timeout=5)
    assert not pending
    # What the channel has taken was sent as far as anybody knows.
    errors = [task.exception() for task in done]
    assert {type(error) for error in errors} <= {WebSocketRuntimeError, type(None)}
    assert any(errors)
    assert channel.closes == [(4008, "slow consumer")]
    await soon(ws._link.finish())


async def test_the_code_is_that_of_the_outbox(path: str) -> None:
    settings = Settings(outbox=Outbox(timeout=TIMEOUT, close_code=4999))
    ws, channel = connecting_over(path, **{SETTINGS_KEY: settings})
    await soon(ws.accept())
    channel.block()
    ws.send_nowait("x")
    ws.send_nowait("y")
    await soon(ws.wait_closed())
    await turns()
    assert channel.closes == [(4999, "slow consumer")]


async def test_where_it_can_be_the_client_is_dropped_soon_and_its_memory_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telex._waiting.LAST_WORDS", 0.01)
    ws, channel = await slow("frames")
    dropped = asyncio.Event()
    channel.on_close(lambda _: dropped.set())
    await soon(ws.send_text("x"))
    await soon(dropped.wait())
    assert channel.aborted
    assert channel.closes == [(4008, "slow consumer")]


async def test_a_send_that_hangs_after_our_own_close_is_ended_too() -> None:
    ws, channel = await slow("asgi")
    sender = asyncio.create_task(ws.send_text("x"))
    await turns()
    await soon(ws.close(4000, "ours"))
    with pytest.raises(WebSocketRuntimeError):
        await soon(sender)
    assert channel.closes == [(4000, "ours")]
    assert (ws.close_code, ws.closed_by) == (4000, "server")


async def test_a_cancellation_by_somebody_else_stays_one(path: str) -> None:
    ws, _ = await slow(path)
    sender = asyncio.create_task(ws.send_text("x"))
    await turns()
    line_of(ws).give_up()
    sender.cancel()
    await soon(asyncio.wait((sender,)))
    assert sender.cancelled()
    await soon(ws._link.finish())


async def test_a_cancelled_sender_is_no_reason_to_wait(path: str) -> None:
    ws, channel = await slow(path)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(TIMEOUT / 8):
            await ws.send_text("x")
    channel.unblock()
    await while_it_reads(ws, lambda: None)
    assert line_of(ws).patience is None


# --- not given up ---


async def test_a_client_that_reads_slowly_is_not_ended(path: str) -> None:
    ws, channel = await slow(path)
    sender = asyncio.create_task(send_for_ever(ws))
    assert ws.send_nowait("x" * 1000)

    def take_a_little() -> None:
        channel._buffered = max(channel._buffered - 1, 1)
        if path != "frames" and path != "wrapped receive":
            channel.unblock()
            asyncio.get_running_loop().call_soon(channel.block)

    await while_it_reads(ws, take_a_little)
    sender.cancel()
    await soon(asyncio.wait((sender,)))
    await soon(ws._link.finish())


async def send_for_ever(ws: WebSocket) -> None:
    while True:
        await ws.send_text("x" * 100)
        await asyncio.sleep(0)


async def test_a_client_for_whom_more_comes_than_it_reads_is_not_ended_either() -> None:
    """Its buffer grows all the time, for many tasks write into it."""
    ws, channel = await slow("frames")
    tasks: list[asyncio.Task[None]] = []

    def write_more_than_is_taken() -> None:
        channel._buffered = max(channel._buffered - 10, 0)
        tasks.append(asyncio.create_task(ws.send_text("x" * 100)))

    await while_it_reads(ws, write_more_than_is_taken)
    assert channel.buffered > 1000
    await soon(ws.wait_closed())
    assert ws.close_code == 4008, "nothing is taken any more"
    await soon(asyncio.wait(tasks))


async def test_a_middleware_that_takes_its_time_is_not_the_client() -> None:
    ws, channel = connecting_over(
        "wrapped send", **{SETTINGS_KEY: Settings(outbox=Outbox(timeout=TIMEOUT))}
    )
    await soon(ws.accept())
    outlet = line_of(ws)
    outlet._server = channel
    gate = asyncio.Event()
    send = ws._link.outlet._send

    async def hesitate(message: Message) -> None:
        await gate.wait()
        await send(message)

    ws._link.outlet._send = hesitate
    sender = asyncio.create_task(ws.send_text("x"))
    await while_it_reads(ws, lambda: None)
    gate.set()
    await soon(sender)
    assert channel.data == ["x"]


async def test_without_a_timeout_nobody_looks(path: str) -> None:
    ws, channel = await slow(path, None)
    sender = asyncio.create_task(ws.send_text("x"))
    await turns()
    ws.send_nowait("y")
    await turns()
    assert line_of(ws).patience is None
    channel.unblock()
    await soon(sender)
    await soon(ws.close())
    assert channel.data == ["x", "y"]


# --- what it costs ---


async def test_messages_that_need_not_wait_are_not_looked_after() -> None:
    ws, channel = await slow("frames")
    channel.unblock()
    for n in range(300):
        await ws.send_text(str(n))
        ws.send_nowait(str(n))
    assert line_of(ws).patience is None
    assert len(channel.data) == 600


async def test_it_ends_when_nothing_waits_any_more(path: str) -> None:
    ws, channel = await slow(path)
    sender = asyncio.create_task(ws.send_text("x"))
    await turns()
    ws.send_nowait("y")
    await turns()
    assert line_of(ws).patience is not None
    channel.unblock()
    await soon(sender)
    await while_it_reads(ws, lambda: None)
    assert line_of(ws).patience is None
    assert not line_of(ws).waits
    await soon(ws.send_text("z"))
    assert channel.data == ["x", "y", "z"]


async def test_a_channel_that_is_empty_again_is_written_to_directly() -> None:
    ws, channel = await slow("frames")
    sender = asyncio.create_task(ws.send_text("x"))
    await turns()
    ws.send_nowait("y")
    await turns()
    channel.unblock()
    await soon(sender)
    await turns()
    await soon(ws.send_text("z"))
    assert ws._link.outlet.write("direct") is None
    assert channel.data == ["x", "y", "z", "direct"]


async def test_the_end_of_a_connection_ends_it(path: str) -> None:
    ws, _ = await slow(path)
    ws.send_nowait("x")
    await turns()
    patience = line_of(ws).patience
    assert patience is not None
    await soon(ws._link.finish())
    assert line_of(ws).patience is None


async def test_it_does_not_hold_a_connection_that_was_forgotten() -> None:
    ws, channel = await slow("frames")
    sender = asyncio.create_task(ws.send_text("x"))
    await turns()
    sender.cancel()
    await soon(asyncio.wait((sender,)))
    patience = line_of(ws).patience
    assert patience is not None
    outlet = ref(line_of(ws))
    del ws, channel, sender
    gc.collect()
    assert outlet() is None
    patience.visit(0, 0)
    assert patience not in patience._rounds._slot_of
