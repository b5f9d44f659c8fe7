"""`write_nowait` over ASGI: a message goes to the server in the call, or a task goes on with it."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from channel import PATHS, FakeChannel, connecting_over, opened_over, triple_over
from opened import opened, soon, turns
from peer import D, Peer, make_scope
from telex import WebSocket, WebSocketDisconnect
from telex._outbox import Outbox, Policy
from telex._settings import SETTINGS_KEY, Settings
from telex._types import Message, Send

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


async def opened_under(send: Send, channel: FakeChannel, outbox: Outbox | None = None) -> WebSocket:
    """Return a connection over what a middleware has made of `send`."""
    scope, receive, _ = triple_over("asgi", channel)
    scope[SETTINGS_KEY] = Settings(outbox=outbox or Outbox())
    ws = WebSocket(scope, receive, send)
    await soon(ws.accept())
    return ws


@pytest.mark.parametrize("path", PATHS)
async def test_what_the_server_takes_is_out_when_the_call_returns(path: str) -> None:
    ws, channel = await opened_over(path)
    for n in range(3000):
        assert ws.send_nowait(str(n))
    assert channel.data == [str(n) for n in range(3000)]
    assert (ws.buffered, ws.dropped) == (0, 0)
    await turns(2)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_what_it_does_not_take_goes_out_in_order_and_before_the_close(path: str) -> None:
    ws, channel = await opened_over(path)
    channel.block()
    assert ws.send_nowait("0")
    first = asyncio.create_task(ws.send_text("1"))
    await turns()
    assert ws.send_nowait("2")
    closing = asyncio.create_task(ws.close())
    await turns()
    assert not closing.done()
    channel.unblock()
    await soon(asyncio.gather(first, closing))
    assert channel.data == ["0", "1", "2"]
    assert channel.types[-1] == "close"
    await turns()
    assert len(asyncio.all_tasks()) == 1


async def test_a_close_waits_for_a_message_in_the_hands_of_a_middleware() -> None:
    channel, go = FakeChannel(), asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "websocket.send":
            await go.wait()
        await channel.asgi_send(message)

    ws = await opened_under(send, channel)
    assert ws.send_nowait("before")
    closing = asyncio.create_task(ws.close())
    await turns()
    go.set()
    await soon(closing)
    assert channel.types == ["accept", "send", "close"]


async def test_what_is_sent_from_within_a_send_comes_behind_it() -> None:
    channel = FakeChannel()

    async def send(message: Message) -> None:
        if message.get("text") == "0":
            assert ws.send_nowait("1")
            assert ws.send_nowait("2")
        await channel.asgi_send(message)

    ws = await opened_under(send, channel)
    assert ws.send_nowait("0")
    assert channel.data == ["0"]
    await turns()
    assert channel.data == ["0", "1", "2"]


async def test_a_middleware_that_awaits_a_send_in_a_send_does_not_wait_for_itself() -> None:
    channel = FakeChannel()

    async def send(message: Message) -> None:
        if message.get("text") == "0":
            await ws.send_text("in front")
        await channel.asgi_send(message)

    ws = await opened_under(send, channel)
    assert ws.send_nowait("0")
    await turns()
    assert channel.data == ["in front", "0"]


async def test_a_middleware_sees_the_variables_of_its_connection_whoever_sends() -> None:
    channel = FakeChannel()
    seen: list[str] = []

    async def send(message: Message) -> None:
        seen.append(variable.get())
        variable.set("inside")
        await asyncio.sleep(0)
        await channel.asgi_send(message)

    variable.set("of the connection")
    ws = await opened_under(send, channel)
    seen.clear()
    variable.set("of the sender")
    # The first is begun in the call, the second waits for it.
    assert ws.send_nowait("x")
    assert ws.send_nowait("y")
    await turns()
    assert seen == ["of the connection", "inside"]
    assert variable.get() == "of the sender"


async def test_the_time_limit_of_a_middleware_ends_its_send_and_not_the_sender() -> None:
    channel, given_up = FakeChannel(), asyncio.Event()

    async def send(message: Message) -> None:
        try:
            async with asyncio.timeout(0.01):
                await channel.asgi_send(message)
        except TimeoutError:
            given_up.set()

    ws = await opened_under(send, channel)
    channel.block()
    assert ws.send_nowait("too slow")
    await soon(given_up.wait())
    await turns()
    channel.unblock()
    assert ws.send_nowait("next")
    assert channel.data[-1] == "next"


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("in words of its own")])
async def test_a_send_that_fails_in_the_call_runs_nothing_of_ours_in_it(error: Exception) -> None:
    ws, peer = await opened()
    cleaned: list[str] = []
    ws.add_cleanup(lambda: cleaned.append("cleaned"))
    peer.fail_sends_with = error
    peer.feed(D(4001))
    assert ws.send_nowait("x")
    assert (cleaned, ws.close_code) == ([], None)
    await turns(10)
    assert cleaned == ["cleaned"]
    assert ws.dropped == 1
    assert not ws.send_nowait("y")
    with pytest.raises(WebSocketDisconnect):
        await ws.send_text("z")


async def test_a_complaint_of_the_server_is_logged_and_the_next_message_is_sent(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telex._outlet.LOOK_TIMEOUT", 0.01)
    ws, peer = await opened()
    peer.fail_sends_with = complaint = KeyError("server bug")
    assert ws.send_nowait("lost")
    peer.fail_sends_with = None
    assert ws.send_nowait("lost with it")
    for _ in range(100):
        if ws.dropped:
            break
        await asyncio.sleep(0.01)
    (record,) = caplog.records
    assert record.getMessage() == "a queued message could not be sent, 1 more are lost"
    assert record.exc_info is not None
    assert record.exc_info[1] is complaint
    assert ws.send_nowait("next")
    assert peer.data == ["next"]


async def test_a_send_that_is_no_coroutine_function_will_do() -> None:
    peer = Peer()
    loop = asyncio.get_running_loop()

    def send(message: Message) -> asyncio.Future[None]:
        peer.sent.append(dict(message))
        future: asyncio.Future[None] = loop.create_future()
        future.set_result(None)
        return future

    ws = WebSocket(make_scope(), peer.receive, send)
    await ws.accept()
    assert ws.send_nowait("1")
    assert ws.send_nowait("2")
    assert peer.data == ["1", "2"]


async def test_a_slow_client_is_closed_in_the_turn_in_which_it_is_sent_too_much() -> None:
    channel = FakeChannel()
    ended: list[BaseException] = []

    async def send(message: Message) -> None:
        try:
            await channel.asgi_send(message)
        except asyncio.CancelledError as error:
            ended.append(error)
            raise

    ws = await opened_under(send, channel, Outbox(max_messages=1, policy="close"))
    channel.block()
    assert [ws.send_nowait(data) for data in "123"] == [True, True, False]
    await turns(30)
    assert len(ended) == 1
    assert channel.closes == [(4008, "slow consumer")]
    assert len(asyncio.all_tasks()) == 1


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    settings = Settings(outbox=Outbox(timeout=0.05))
    ws, channel = connecting_over("asgi", **{SETTINGS_KEY: settings})
    await soon(ws.accept())
    channel.block()
    assert ws.send_nowait("x")
    await soon(ws.wait_closed())
    await turns(30)
    assert channel.closes == [(4008, "slow consumer")]


async def test_with_a_task_factory_messages_are_sent_by_a_task() -> None:
    loop = asyncio.get_running_loop()
    ws, peer = await opened()
    made: list[Any] = []

    def factory(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)

    loop.set_task_factory(factory)
    try:
        assert all(ws.send_nowait(data) for data in "12")
    finally:
        loop.set_task_factory(None)
    assert (len(made), peer.data) == (1, [])
    await turns()
    assert peer.data == ["1", "2"]


async def test_with_a_task_factory_that_begins_tasks_every_message_is_sent() -> None:
    loop = asyncio.get_running_loop()
    ws, peer = await opened()

    class Over(asyncio.Future[Any]):
        """What an eager task is when its coroutine has not waited."""

        def set_name(self, name: str) -> None: ...

    def factory(loop: Any, coro: Any, **options: Any) -> Any:
        over = Over(loop=loop)
        with pytest.raises(StopIteration):
            coro.send(None)
        over.set_result(None)
        return over

    loop.set_task_factory(factory)
    try:
        assert all(ws.send_nowait(data) for data in "12")
    finally:
        loop.set_task_factory(None)
    assert peer.data == ["1", "2"]


# --- policies ---


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("policy", "waits", "arrives", "dropped"),
    [
        ("block", True, ["0", "a", "b", "awaited"], 0),
        ("drop_newest", False, ["0", "a", "b"], 1),
        ("drop_oldest", True, ["0", "a", "b", "awaited"], 0),
        ("close", True, ["0", "a", "b", "awaited"], 0),
    ],
)
async def test_what_an_awaited_send_does_that_finds_the_outbox_full(
    path: str, policy: Policy, waits: bool, arrives: list[str], dropped: int
) -> None:
    settings = Settings(outbox=Outbox(max_messages=2, policy=policy))
    ws, channel = connecting_over(path, **{SETTINGS_KEY: settings})
    await soon(ws.accept())
    channel.block()
    assert ws.send_nowait("0")
    await turns()
    assert all(ws.send_nowait(data) for data in "ab")
    awaited = asyncio.create_task(ws.send_text("awaited"))
    await turns()
    assert awaited.done() is not waits
    assert ws.dropped == dropped
    channel.unblock()
    await soon(awaited)
    await turns(30)
    assert channel.data == arrives
    assert ws.connection_state.name == "CONNECTED"


@pytest.mark.parametrize("path", PATHS)
async def test_an_awaited_send_waits_behind_an_outbox_that_is_not_full(path: str) -> None:
    settings = Settings(outbox=Outbox(max_messages=2, max_bytes=4, policy="drop_newest"))
    ws, channel = connecting_over(path, **{SETTINGS_KEY: settings})
    await soon(ws.accept())
    channel.block()
    assert ws.send_nowait("0")
    await turns()
    assert ws.send_nowait("ab")
    fits = asyncio.create_task(ws.send_text("cd"))
    await turns()
    assert not fits.done()
    await soon(ws.send_text("too"))
    raw = asyncio.create_task(ws.send({"type": "websocket.send", "text": "raw"}))
    await turns()
    assert not raw.done()
    assert ws.dropped == 1
    channel.unblock()
    await soon(asyncio.gather(fits, raw))
    assert channel.data == ["0", "ab", "cd", "raw"]


async def test_a_middleware_may_send_in_a_send_although_the_outbox_is_full() -> None:
    channel, go = FakeChannel(), asyncio.Event()

    async def send(message: Message) -> None:
        if message.get("text") == "0":
            await go.wait()
            await ws.send_text("in front")
        await channel.asgi_send(message)

    ws = await opened_under(send, channel, Outbox(max_messages=1, policy="drop_newest"))
    assert ws.send_nowait("0")
    assert ws.send_nowait("1")
    assert not ws.send_nowait("2")
    go.set()
    await turns()
    assert channel.data == ["in front", "0", "1"]
    assert ws.dropped == 1
