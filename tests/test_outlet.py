"""Writing: in the order of the calls, held back by the server, and one word for "gone"."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from channel import PATHS, FakeChannel, connecting_over, opened_over
from opened import left, opened, soon, turns
from peer import D, Peer, T, make_scope
from telex import (
    App,
    WebSocket,
    WebSocketDisconnect,
    WebSocketHandshakeError,
    WebSocketRuntimeError,
    WebSocketState,
)
from telex._outbox import Outbox, Policy
from telex._settings import SETTINGS_KEY, Settings
from telex._types import Message


class Gate(Peer):
    """A peer whose server lets no data through until `gate` is set."""

    def __init__(self, *script: Message) -> None:
        super().__init__(*script)
        self.gate = asyncio.Event()
        self.inside = self.most = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.send":
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                await self.gate.wait()
            finally:
                self.inside -= 1
        await super().send(message)


async def opened_gate(**settings: Any) -> tuple[WebSocket, Gate]:
    peer = Gate()
    scope = {**make_scope(), SETTINGS_KEY: Settings(**settings)}
    ws = WebSocket(scope, peer.receive, peer.send)
    await ws.accept()
    return ws, peer


def sending(ws: WebSocket, data: str) -> asyncio.Task[None]:
    return asyncio.create_task(ws.send_text(data))


# --- order ---


@pytest.mark.row("T88")
async def test_concurrent_sends_go_out_in_the_order_of_the_calls() -> None:
    out: list[str] = []
    delays = {str(n): 10 - n for n in range(10)}

    async def send(message: Message) -> None:
        if message["type"] == "websocket.send":
            await turns(delays[message["text"]])
            out.append(message["text"])

    ws = WebSocket(make_scope(), Peer().receive, send)
    await ws.accept()
    await soon(asyncio.gather(*(ws.send_text(str(n)) for n in range(10))))
    assert out == [str(n) for n in range(10)]


@pytest.mark.row("T88")
async def test_a_slow_client_holds_every_sender_back_and_one_message_is_on_its_way() -> None:
    ws, peer = await opened_gate()
    tasks = [sending(ws, str(n)) for n in range(20)]
    await turns()
    assert not any(task.done() for task in tasks)
    assert peer.inside == 1
    peer.gate.set()
    await soon(asyncio.gather(*tasks))
    assert peer.most == 1
    assert peer.data == [str(n) for n in range(20)]


@pytest.mark.row("T88")
async def test_texts_bytes_json_raw_and_queued_messages_share_one_order() -> None:
    ws, peer = await opened_gate()
    tasks: list[asyncio.Task[None]] = []
    steps: list[Callable[[], Any]] = [
        lambda: ws.send_text("0"),
        lambda: ws.send_bytes(b"1"),
        lambda: ws.send_nowait("2"),
        lambda: ws.send_json(3),
        lambda: ws.send({"type": "websocket.send", "text": "4"}),
        lambda: ws.send_nowait(b"5"),
        lambda: ws.send_text("6"),
    ]
    for step in steps:
        result = step()
        if asyncio.iscoroutine(result):
            tasks.append(asyncio.create_task(result))
        await turns()
    peer.gate.set()
    await soon(asyncio.gather(*tasks))
    await turns()
    assert peer.data == ["0", b"1", "2", "3", "4", b"5", "6"]


@pytest.mark.row("T88")
@pytest.mark.parametrize("which", range(4))
async def test_a_cancelled_send_leaves_the_order_and_the_connection_intact(which: int) -> None:
    ws, peer = await opened_gate()
    tasks = [sending(ws, str(n)) for n in range(4)]
    await turns()
    tasks[which].cancel()
    await turns()
    peer.gate.set()
    await soon(asyncio.wait(tasks))
    assert tasks[which].cancelled()
    assert peer.data == [str(n) for n in range(4) if n != which]
    await soon(ws.send_text("after"))
    assert ws.connection_state is WebSocketState.CONNECTED
    assert peer.data[-1] == "after"


async def test_a_send_that_fails_lets_the_next_one_out() -> None:
    class Fussy(Peer):
        async def send(self, message: Message) -> None:
            await asyncio.sleep(0)
            if message.get("text") == "bad":
                raise KeyError("a middleware's mistake")
            await super().send(message)

    peer = Fussy()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    tasks = [sending(ws, data) for data in ("1", "bad", "2", "bad", "3")]
    results = await soon(asyncio.gather(*tasks, return_exceptions=True))
    assert [type(result) for result in results] == [type(None), KeyError] * 2 + [type(None)]
    assert peer.data == ["1", "2", "3"]
    assert ws.connection_state is WebSocketState.CONNECTED


@pytest.mark.parametrize("queued", [True, False])
async def test_a_middleware_may_send_while_it_sends(queued: bool) -> None:
    peer = Peer()

    async def send(message: Message) -> None:
        if message.get("text") == "first":
            await ws.send_text("greeting")
        await peer.send(message)

    ws = WebSocket(make_scope(), peer.receive, send)
    await ws.accept()
    if queued:
        assert ws.send_nowait("first")
        await turns()
    else:
        await soon(ws.send_text("first"))
    await soon(ws.send_text("second"))
    assert peer.data == ["greeting", "first", "second"]


async def test_a_middleware_may_close_while_it_sends() -> None:
    peer = Peer()

    async def send(message: Message) -> None:
        if message.get("text") == "too big":
            await ws.close(1009)
            return
        await peer.send(message)

    ws = WebSocket(make_scope(), peer.receive, send)
    await ws.accept()
    assert ws.send_nowait("too big")
    async with asyncio.timeout(1):
        await ws.wait_closed()
        await turns()
    assert peer.closes == [(1009, "")]


# --- what may be sent, and when ---


@pytest.mark.row("C68")
@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("send_text", b"x"),
        ("send_text", 1),
        ("send_text", None),
        ("send_bytes", "x"),
        ("send_bytes", 1),
        ("send_bytes", [1]),
        ("send_nowait", 1),
        ("send_nowait", None),
    ],
)
@pytest.mark.parametrize("path", ["asgi", "frames"])
async def test_data_of_the_wrong_type_is_refused_at_the_call(
    path: str, method: str, data: Any
) -> None:
    ws, channel = await opened_over(path)
    with pytest.raises(TypeError):
        result = getattr(ws, method)(data)
        await result
    assert channel.types == ["accept"]
    await ws.send_text("fine")
    assert channel.data == ["fine"]


@pytest.mark.row("C68")
@pytest.mark.parametrize("path", ["asgi", "frames"])
async def test_what_is_like_bytes_is_copied_to_bytes(path: str) -> None:
    ws, channel = await opened_over(path)
    changing = bytearray(b"abc")
    await ws.send_bytes(changing)
    assert ws.send_nowait(memoryview(changing))
    changing[:] = b"xyz"
    await turns()
    assert channel.data == [b"abc", b"abc"]
    assert [type(data) for data in channel.data] == [bytes, bytes]


@pytest.mark.row("C11", "C12")
async def test_sending_at_the_wrong_moment_is_our_mistake_and_sends_nothing() -> None:
    peer = Peer()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    calls: list[Callable[[], Any]] = [
        lambda: ws.send_text("x"),
        lambda: ws.send_bytes(b"x"),
        lambda: ws.send_json(1),
        lambda: ws.send({"type": "websocket.send", "text": "x"}),
    ]
    for call in calls:
        with pytest.raises(WebSocketRuntimeError, match="not accepted"):
            await call()
    with pytest.raises(WebSocketRuntimeError, match="not accepted"):
        ws.send_nowait("x")
    await ws.accept()
    await ws.close()
    for call in calls:
        with pytest.raises(WebSocketRuntimeError, match="closed"):
            await call()
    assert ws.send_nowait("x") is False
    assert peer.types == ["accept", "close"]


# --- the peer is gone ---


@pytest.mark.row("C13")
async def test_sending_after_the_disconnect_was_read_reports_its_code() -> None:
    ws, peer = await left(4001, "bye")
    for call in (ws.send_text("x"), ws.send_bytes(b"x"), ws.send_json(1)):
        with pytest.raises(WebSocketDisconnect) as raised:
            await call
        assert (raised.value.code, raised.value.reason) == (4001, "bye")
    assert ws.send_nowait("x") is False
    assert peer.types == ["accept"]


@pytest.mark.row("C13", "T14")
@pytest.mark.parametrize("error", [OSError(), BrokenPipeError(), ConnectionResetError("gone")])
async def test_a_send_that_fails_before_the_disconnect_was_read_is_1006(error: OSError) -> None:
    ws, peer = await opened()
    peer.fail_sends_with = error
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.send_text("x")
    assert raised.value.code == 1006
    assert raised.value.__cause__ is error
    assert (ws.close_code, ws.closed_by) == (1006, "client")


async def test_a_send_that_fails_when_the_disconnect_was_read_ahead_has_its_code() -> None:
    ws, peer = await opened(T("1"), D(4001))
    await ws.receive_text()
    await turns()
    peer.fail_sends_with = RuntimeError("Unexpected ASGI message 'websocket.send'")
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.send_text("x")
    assert raised.value.code == 4001


async def test_the_servers_own_complaint_comes_out_as_it_is() -> None:
    ws, peer = await opened()
    peer.fail_sends_with = complaint = RuntimeError("server bug")
    with pytest.raises(RuntimeError) as raised:
        await ws.send_text("x")
    assert raised.value is complaint
    assert raised.value.__cause__ is None
    assert ws.connection_state is WebSocketState.CONNECTED
    peer.fail_sends_with = None
    await ws.send_text("y")
    assert peer.data == ["y"]


@pytest.mark.row("T14")
async def test_a_handler_that_only_writes_learns_of_the_end_with_the_next_send() -> None:
    ws, peer = await opened()
    ticks = 0
    with pytest.raises(WebSocketDisconnect):
        async with asyncio.timeout(5):
            while True:
                await ws.send_text("tick")
                ticks += 1
                if ticks == 3:
                    peer.fail_sends_with = ConnectionResetError()
                await asyncio.sleep(0)
    assert ticks == 3
    assert peer.data == ["tick"] * 3


async def test_everybody_who_waits_to_send_learns_that_the_peer_is_gone() -> None:
    ws, peer = await opened_gate()
    tasks = [sending(ws, str(n)) for n in range(5)]
    assert ws.send_nowait("queued")
    await turns()
    peer.fail_sends_with = ConnectionResetError()
    peer.gate.set()
    results = await soon(asyncio.gather(*tasks, return_exceptions=True))
    assert [type(result) for result in results] == [WebSocketDisconnect] * 5
    assert peer.data == []
    await turns()


async def test_the_peer_leaves_while_a_send_is_held_back() -> None:
    ws, peer = await opened_gate()
    blocked = [sending(ws, "1"), sending(ws, "2")]
    reader = asyncio.create_task(ws.receive_text())
    await turns()
    peer.feed(D(4001))
    with pytest.raises(WebSocketDisconnect):
        await soon(reader)
    assert not blocked[0].done(), "only the server can say what became of it"
    peer.fail_sends_with = RuntimeError("after the disconnect")
    peer.gate.set()
    for task in blocked:
        with pytest.raises(WebSocketDisconnect) as raised:
            await soon(task)
        assert raised.value.code == 4001
    assert peer.data == []


async def test_we_close_while_a_send_is_held_back_and_then_it_fails() -> None:
    ws, peer = await opened_gate()
    blocked = sending(ws, "1")
    await turns()
    await soon(ws.close(4000, "ours"))
    peer.fail_sends_with = ConnectionResetError()
    peer.gate.set()
    with pytest.raises(WebSocketHandshakeError):
        await soon(blocked)
    assert (ws.close_code, ws.closed_by) == (4000, "server")
    assert peer.closes == [(4000, "ours")]


# --- the outbox ---


async def test_what_is_queued_goes_out_before_the_close() -> None:
    ws, peer = await opened()
    for n in range(10):
        assert ws.send_nowait(str(n))
    await soon(ws.close(4000))
    assert peer.types == ["accept", *["send"] * 10, "close"]
    assert peer.data == [str(n) for n in range(10)]
    assert ws.buffered == 0


async def test_a_sender_that_waits_goes_out_before_the_close() -> None:
    ws, peer = await opened_gate()
    assert ws.send_nowait("0")
    waiting = sending(ws, "1")
    await turns()
    closing = asyncio.create_task(ws.close())
    await turns()
    with pytest.raises(WebSocketRuntimeError):
        await ws.send_text("late")
    peer.gate.set()
    await soon(asyncio.gather(waiting, closing))
    assert peer.types == ["accept", "send", "send", "close"]


async def test_a_raw_close_waits_for_what_is_queued_too() -> None:
    ws, peer = await opened()
    assert ws.send_nowait("queued")
    await soon(ws.send({"type": "websocket.close"}))
    assert peer.types == ["accept", "send", "close"]
    assert peer.closes == [(1000, "")]


async def test_a_close_does_not_wait_for_ever_for_what_is_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telex._outlet.FLUSH_TIMEOUT", 0.02)
    ws, peer = await opened_gate()
    assert ws.send_nowait("stuck")
    waiting = sending(ws, "stuck too")
    await turns()
    await soon(ws.close(4000))
    with pytest.raises(WebSocketRuntimeError):
        await soon(waiting)
    assert peer.closes == [(4000, "")]
    assert peer.data == []


async def test_a_close_that_is_cancelled_behind_the_queue_comes_all_the_same() -> None:
    ws, peer = await opened_gate()
    assert ws.send_nowait("queued")
    closing = asyncio.create_task(ws.close(4000))
    await turns()
    closing.cancel()
    await soon(asyncio.wait((closing,)))
    assert closing.cancelled()
    assert ws.connection_state is WebSocketState.DISCONNECTED
    peer.gate.set()
    await turns(30)
    assert peer.types == ["accept", "send", "close"]


async def test_a_slow_consumer_is_closed_with_4008() -> None:
    ws, peer = await opened_gate(outbox=Outbox(max_messages=2, policy="close"))
    done: list[str] = []
    ws.add_cleanup(lambda: done.append("cleaned"))
    reader = asyncio.create_task(ws.receive_text())
    writer = sending(ws, "0")
    await turns()
    assert [ws.send_nowait(str(n)) for n in range(1, 5)] == [True, True, False, False]
    assert ws.connection_state is WebSocketState.DISCONNECTED
    for task in (reader, asyncio.create_task(ws.send_text("late"))):
        with pytest.raises(WebSocketRuntimeError):
            await soon(task)
    await turns()
    assert peer.closes == [(4008, "slow consumer")]
    assert (ws.close_code, ws.closed_by, done) == (4008, "server", ["cleaned"])
    peer.gate.set()
    await soon(writer)


async def test_a_server_that_refuses_the_close_of_a_slow_consumer_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ws, peer = await opened_gate(outbox=Outbox(max_messages=1, policy="close"))
    assert all(ws.send_nowait(data) for data in ("in the hands of the server", "1"))
    peer.fail_sends_with = KeyError("server bug")
    assert not ws.send_nowait("2")
    await turns(30)
    assert "a close could not be sent" in [record.getMessage() for record in caplog.records]
    assert ws.close_code == 4008


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("policy", "taken", "arrives"),
    [
        ("block", [True, True, False, False], ["a", "b", "c"]),
        ("drop_newest", [True, True, False, False], ["a", "b", "c"]),
        ("drop_oldest", [True, True, True, True], ["a", "d", "e"]),
        ("close", [True, True, False, False], ["a"]),
    ],
)
async def test_every_policy_on_every_path(
    path: str, policy: Policy, taken: list[bool], arrives: list[str]
) -> None:
    settings = Settings(outbox=Outbox(max_messages=2, policy=policy, close_code=4010))
    ws, channel = connecting_over(path, **{SETTINGS_KEY: settings})
    await soon(ws.accept())
    channel.block()
    blocked = sending(ws, "a")
    await turns()
    assert [ws.send_nowait(data) for data in "bcde"] == taken
    # Nothing is counted behind the end.
    assert ws.dropped == (3 if policy == "close" else 2)
    assert ws.buffered - channel.buffered == (0 if policy == "close" else 2)
    channel.unblock()
    await soon(blocked)
    await turns(30)
    assert channel.data == arrives
    assert channel.closes == ([(4010, "slow consumer")] if policy == "close" else [])
    assert ws.buffered == 0


@pytest.mark.row("T88")
@pytest.mark.parametrize("path", PATHS)
async def test_many_tasks_that_wait_and_that_do_not_keep_their_order(path: str) -> None:
    ws, channel = connecting_over(path)
    await soon(ws.accept())
    tasks: list[asyncio.Task[None]] = []
    for n in range(40):
        if n % 8 == 0:
            channel.block()
        if n % 2:
            assert ws.send_nowait(str(n))
        else:
            tasks.append(sending(ws, str(n)))
        await turns()
        if n % 8 == 5:
            channel.unblock()
    await soon(asyncio.gather(*tasks))
    await turns(30)
    assert channel.data == [str(n) for n in range(40)]


async def test_each_route_has_an_outbox_of_its_own() -> None:
    app = App(outbox=Outbox(max_messages=1))
    taken: dict[str, int] = {}
    peers = {"/one": Gate(), "/three": Gate()}

    async def fill(ws: WebSocket) -> None:
        async with ws:
            assert ws.send_nowait("in the hands of the server")
            taken[ws.path] = sum(ws.send_nowait("x") for _ in range(10))
            peers[ws.path].gate.set()

    app.websocket("/one", name="one")(fill)
    app.websocket("/three", name="three", outbox=Outbox(max_messages=3))(fill)
    for each, peer in peers.items():
        await peer.run(app, make_scope(each))
        assert peer.closes == [(1000, "")]
    assert taken == {"/one": 1, "/three": 3}


# --- the channel ---


async def test_the_channel_is_written_to_without_a_task_or_a_queue() -> None:
    ws, channel = await opened_over("frames")
    await ws.send_text("1")
    assert ws.send_nowait(b"2")
    assert (channel.data, channel.frames_out, channel.events_out) == (["1", b"2"], 2, 1)
    assert len(asyncio.all_tasks()) == 1


async def test_a_full_channel_holds_writers_back_and_queues_what_does_not_wait() -> None:
    ws, channel = await opened_over("frames")
    channel.block()
    writer = sending(ws, "abc")
    await turns()
    assert not writer.done()
    assert ws.send_nowait("de")
    assert ws.send_nowait("f")
    await turns()
    assert ws.buffered == len("abcdef")
    second = sending(ws, "g")
    await turns()
    assert ws.send_nowait("h")
    channel.unblock()
    await soon(asyncio.gather(writer, second))
    await turns()
    assert channel.data == ["abc", "de", "f", "g", "h"]
    assert ws.buffered == 0


async def test_a_channel_whose_peer_is_gone_says_so_to_everybody() -> None:
    ws, channel = await opened_over("frames")
    channel.drop()
    assert ws.send_nowait("x") is False
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.send_text("x")
    assert raised.value.code == 1006
    assert channel.data == []


async def test_a_writer_that_is_held_back_ends_when_the_peer_goes() -> None:
    ws, channel = await opened_over("frames")
    channel.block()
    writer = sending(ws, "x")
    await turns()
    channel.drop()
    await soon(writer)
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.send_text("y"))


def test_the_fake_channel_is_a_frame_channel() -> None:
    from telex._types import FrameChannel

    channel: FrameChannel = FakeChannel()
    assert channel.writable


# --- servers that say no in words of their own ---


@pytest.mark.row("T14")
async def test_a_server_that_says_no_before_it_gives_the_disconnect_has_lost_the_peer() -> None:
    ws, peer = await opened()
    peer.fail_sends_with = RuntimeError("some server's own word for it")
    sender = sending(ws, "late")
    await turns()
    peer.feed(D(4321))
    with pytest.raises(WebSocketDisconnect) as caught:
        await soon(sender)
    assert caught.value.code == ws.close_code == 4321


async def test_a_server_that_says_no_while_the_peer_stays_is_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telex._outlet.LOOK_TIMEOUT", 0.01)
    ws, peer = await opened(T("still here"))
    peer.fail_sends_with = RuntimeError("no such frame")
    with pytest.raises(RuntimeError, match="no such frame"):
        await soon(sending(ws, "odd"))
    assert await soon(ws.receive_text()) == "still here"


async def test_nobody_looks_for_the_end_where_the_servers_receive_was_handed_out() -> None:
    ws, peer = await opened(T("for the one who asks himself"))
    receive = ws.asgi_receive
    peer.fail_sends_with = RuntimeError("no such frame")
    with pytest.raises(RuntimeError, match="no such frame"):
        await soon(sending(ws, "odd"))
    await turns()
    assert (await soon(receive()))["text"] == "for the one who asks himself"


class Daphne(Peer):
    """A server that takes no close code of the protocol but 1000."""

    async def send(self, message: Message) -> None:
        if 1000 < message.get("code", 1000) < 3000:
            raise ValueError(f"invalid close code {message['code']}")
        await super().send(message)


@pytest.mark.row("T42")
@pytest.mark.parametrize(("code", "sent"), [(1000, 1000), (1011, 4011), (1001, 4001), (4999, 4999)])
async def test_a_close_goes_out_even_where_its_code_is_refused(code: int, sent: int) -> None:
    peer = Daphne()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    await soon(ws.close(code, "why"))
    assert peer.closes == [(sent, "why")]
    assert (ws.close_code, ws.closed_by) == (sent, "server")
