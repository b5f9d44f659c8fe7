"""One engine per connection: the handshake, the end, and faces that share both."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import weakref
from collections import UserDict
from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Any

import pytest

from channel import connecting_over
from opened import connecting, left, opened, soon, turns
from peer import D, Peer, T, make_scope
from telex import (
    App,
    CloseCode,
    WebSocket,
    WebSocketDisconnect,
    WebSocketRuntimeError,
    WebSocketState,
)
from telex._link import Link
from telex._types import Message
from telex.websockets import link_of

CONNECTING, CONNECTED, DISCONNECTED = WebSocketState


class Slow(Peer):
    """A peer whose server takes its time with the types of event it is given."""

    def __init__(self, *kinds: str, script: tuple[Message, ...] = ()) -> None:
        super().__init__(*script)
        self.kinds = kinds
        self.gate = asyncio.Event()

    async def send(self, message: Message) -> None:
        await super().send(message)
        if message["type"].removeprefix("websocket.") in self.kinds:
            await self.gate.wait()


def over(peer: Peer, **scope: Any) -> WebSocket:
    return WebSocket(make_scope(**scope), peer.receive, peer.send)


# --- accepting ---


@pytest.mark.row("C69")
async def test_an_accept_has_a_plain_type_a_subprotocol_and_a_list_of_headers() -> None:
    ws, peer = await opened()
    assert peer.sent == [{"type": "websocket.accept", "subprotocol": None, "headers": []}]
    assert type(peer.sent[0]["type"]) is str
    assert (ws.client_state, ws.application_state) == (CONNECTED, CONNECTED)


@pytest.mark.row("C8", "T10")
@pytest.mark.parametrize("raw", [True, False])
async def test_a_client_that_gave_up_first_is_a_disconnect(raw: bool) -> None:
    ws, peer = connecting(D(1001, "gone"), connect=False)
    if raw:
        assert await soon(ws.receive()) == D(1001, "gone")
    for _ in range(2):
        with pytest.raises(WebSocketDisconnect) as raised:
            await soon(ws.accept())
        assert (raised.value.code, raised.value.reason) == (1001, "gone")
    assert ws.connection_state is DISCONNECTED
    assert (ws.close_code, ws.closed_by) == (1001, "client")
    await ws.close()
    assert peer.sent == []


@pytest.mark.row("T10", "C8")
async def test_a_client_that_gave_up_during_a_slow_authentication_is_a_disconnect() -> None:
    ws, peer = connecting()
    await ws.receive()
    authentication = asyncio.create_task(ws.wait_closed())
    await turns()
    peer.feed(D(1001))
    await soon(authentication)
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.accept())
    assert peer.sent == []


@pytest.mark.row("T11")
async def test_a_connect_that_was_read_raw_is_not_waited_for_again() -> None:
    ws, peer = connecting(T("1"))
    await ws.receive()
    await soon(ws.accept())
    assert await soon(ws.receive_text()) == "1"
    assert peer.reads == 2


async def test_a_raw_accept_needs_no_connect_which_then_comes_first() -> None:
    ws, _ = connecting(T("1"))
    await ws.send({"type": "websocket.accept"})
    assert (await soon(ws.receive()))["type"] == "websocket.connect"
    assert await soon(ws.receive_text()) == "1"


async def test_a_connect_that_nobody_asks_for_does_not_disturb_reading() -> None:
    ws, _ = connecting(T("1"))
    await ws.send({"type": "websocket.accept"})
    assert await soon(ws.receive_text()) == "1"


@pytest.mark.parametrize("first", [{"type": "websocket.receive", "text": "x"}, {"type": "other"}])
async def test_a_server_that_does_not_connect_first_is_told_so(first: Message) -> None:
    ws, peer = connecting(first, connect=False)
    with pytest.raises(WebSocketRuntimeError, match=r"expected 'websocket\.connect'"):
        await soon(ws.accept())
    assert peer.sent == []


async def test_of_two_tasks_that_accept_one_succeeds() -> None:
    peer = Slow("accept")
    ws = over(peer)
    tasks = [asyncio.create_task(ws.accept()) for _ in range(2)]
    await turns()
    peer.gate.set()
    results = await soon(asyncio.gather(*tasks, return_exceptions=True))
    assert sorted(type(result).__name__ for result in results) == [
        "NoneType",
        "WebSocketRuntimeError",
    ]
    assert peer.types == ["accept"]
    assert ws.connection_state is CONNECTED


async def test_two_tasks_that_accept_before_the_connect_came_lose_no_message() -> None:
    ws, peer = connecting(connect=False)
    tasks = [asyncio.create_task(ws.accept()) for _ in range(2)]
    await turns()
    reader = asyncio.create_task(ws.receive_text())
    await turns()
    peer.feed({"type": "websocket.connect"}, T("1"))
    await soon(asyncio.wait(tasks))
    assert await soon(reader) == "1"
    assert peer.types == ["accept"]
    assert sum(task.exception() is None for task in tasks) == 1


async def test_an_accept_that_is_cancelled_before_the_connect_can_be_tried_again() -> None:
    ws, peer = connecting(connect=False)
    accepting = asyncio.create_task(ws.accept())
    await turns()
    accepting.cancel()
    await asyncio.wait((accepting,))
    assert ws.application_state is CONNECTING
    peer.feed({"type": "websocket.connect"}, T("1"))
    await soon(ws.accept())
    assert await soon(ws.receive_text()) == "1"


async def test_an_accept_that_is_cancelled_with_the_connect_in_flight_can_be_tried_again() -> None:
    async def receive() -> Message:
        message = await peer.receive()
        await asyncio.sleep(0)
        return message

    peer = Peer()
    ws = WebSocket(make_scope(), receive, peer.send)
    accepting = asyncio.create_task(ws.accept())
    await asyncio.sleep(0)
    accepting.cancel()
    await asyncio.wait((accepting,))
    assert peer.reads == 1, "the connect is lost"
    await soon(ws.accept())
    assert ws.connection_state is CONNECTED


async def test_an_accept_that_is_cancelled_in_the_server_counts() -> None:
    peer = Slow("accept")
    ws = over(peer)
    accepting = asyncio.create_task(ws.accept())
    await turns()
    accepting.cancel()
    await asyncio.wait((accepting,))
    assert ws.connection_state is CONNECTED
    await ws.close(1012)
    assert peer.types == ["accept", "close"]


async def test_an_accept_that_the_server_refuses_can_be_tried_again() -> None:
    ws, peer = connecting()
    peer.fail_sends_with = ValueError("bad header")
    with pytest.raises(ValueError, match="bad header"):
        await ws.accept()
    assert (ws.application_state, ws.accepted_subprotocol) == (CONNECTING, None)
    peer.fail_sends_with = None
    await ws.accept()
    assert ws.connection_state is CONNECTED


async def test_an_accept_that_finds_the_peer_gone_is_a_disconnect() -> None:
    ws, peer = connecting()
    peer.fail_sends_with = OSError()
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.accept()
    assert raised.value.code == 1006
    assert ws.connection_state is DISCONNECTED


async def test_a_close_may_overtake_an_accept_that_is_on_its_way() -> None:
    peer = Slow("accept")
    ws = over(peer)
    accepting = asyncio.create_task(ws.accept())
    await turns()
    await ws.close(4000)
    peer.gate.set()
    await soon(accepting)
    assert ws.connection_state is DISCONNECTED
    assert peer.types == ["accept", "close"]
    with pytest.raises(WebSocketRuntimeError):
        await ws.send_text("x")


# --- closing ---


@pytest.mark.row("C2")
async def test_a_close_before_accept_rejects_the_handshake() -> None:
    ws, peer = connecting()
    await ws.close(4000, "no")
    assert peer.sent == [{"type": "websocket.close", "code": 4000, "reason": "no"}]
    assert ws.connection_state is DISCONNECTED
    with pytest.raises(WebSocketRuntimeError):
        await ws.accept()
    assert len(peer.sent) == 1


@pytest.mark.row("C3")
async def test_a_second_close_does_nothing_and_the_first_counts() -> None:
    ws, peer = await opened()
    await ws.close(4000, "first")
    await ws.close(4001, "second")
    assert peer.closes == [(4000, "first")]
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4000, "first", "server")


@pytest.mark.row("C4", "T40")
async def test_after_the_clients_disconnect_a_close_is_never_sent() -> None:
    ws, peer = await left(4001)
    await ws.close()
    await ws.close(4000)
    assert peer.types == ["accept"]
    assert (ws.close_code, ws.closed_by) == (4001, "client")


@pytest.mark.row("C4", "T40")
@pytest.mark.parametrize("how", ["wait_closed", "is_disconnected"])
async def test_a_close_is_not_sent_to_a_client_that_is_known_to_have_left(how: str) -> None:
    ws, peer = await opened(T("unread"), D(4001))
    await soon(getattr(ws, how)())
    await ws.close()
    assert peer.types == ["accept"]
    assert (ws.connection_state, ws.close_code) == (DISCONNECTED, 4001)


@pytest.mark.row("C5", "C69", "T36")
@pytest.mark.parametrize("code", [1000, CloseCode.NORMAL])
@pytest.mark.parametrize("reason", [None, ""])
@pytest.mark.parametrize("raw", [True, False])
async def test_a_close_always_has_an_int_and_a_str(
    code: int, reason: str | None, raw: bool
) -> None:
    ws, peer = await opened()
    if raw:
        await ws.send({"type": "websocket.close", "code": code, "reason": reason})
    else:
        await ws.close(code, reason)
    assert peer.sent[1] == {"type": "websocket.close", "code": 1000, "reason": ""}
    assert [type(value) for value in peer.sent[1].values()] == [str, int, str]


@pytest.mark.row("C5")
@pytest.mark.parametrize("keys", [{}, {"code": None}, {"code": None, "reason": None}])
async def test_a_raw_close_without_a_code_is_1000(keys: dict[str, Any]) -> None:
    ws, peer = await opened()
    await ws.send({"type": "websocket.close", **keys})
    assert peer.closes == [(1000, "")]
    assert (ws.close_code, ws.closed_by) == (1000, "server")


ALLOWED = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
BOUNDARIES = [-1, 0, 500, 999, *range(1000, 1017), 2999, 3000, 3999, 4000, 4999, 5000, 65535]


@pytest.mark.row("C65", "T34")
@pytest.mark.parametrize("code", BOUNDARIES)
@pytest.mark.parametrize("raw", [True, False])
async def test_a_code_that_may_not_be_sent_is_refused_before_anything_is(
    code: int, raw: bool
) -> None:
    ws, peer = await opened()
    close: Callable[[], Any] = (
        (lambda: ws.send({"type": "websocket.close", "code": code}))
        if raw
        else (lambda: ws.close(code))
    )
    if code in ALLOWED:
        await close()
        assert peer.closes == [(code, "")]
        return
    with pytest.raises(ValueError, match=str(code)):
        await close()
    assert (peer.types, ws.connection_state) == (["accept"], CONNECTED)
    await ws.close(1011)
    assert peer.closes == [(1011, "")]


@pytest.mark.row("T34", "C65")
@pytest.mark.parametrize("code", [True, False, 1000.0, "1000", b"1000", [1000]])
async def test_a_code_that_is_no_int_is_refused(code: Any) -> None:
    ws, peer = await opened()
    with pytest.raises(ValueError):
        await ws.close(code)
    with pytest.raises(ValueError):
        await ws.send({"type": "websocket.close", "code": code})
    assert peer.types == ["accept"]


@pytest.mark.row("T34")
@pytest.mark.parametrize("code", [1005, 1006, 1015])
async def test_a_code_that_was_received_can_be_passed_to_close(code: int) -> None:
    ws, peer = await opened(D(code))
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.receive_text()
    await ws.close(raised.value.code, raised.value.reason)
    assert peer.types == ["accept"]


@pytest.mark.row("T39")
async def test_of_two_tasks_that_close_one_sends() -> None:
    peer = Slow("close")
    ws = over(peer)
    await ws.accept()
    tasks = [asyncio.create_task(ws.close(code)) for code in (4000, 4001, 4002)]
    await turns()
    assert (ws.connection_state, ws.close_code) == (DISCONNECTED, 4000)
    peer.gate.set()
    await soon(asyncio.gather(*tasks))
    assert peer.closes == [(4000, "")]


@pytest.mark.row("T39")
async def test_a_close_is_sent_while_the_servers_send_is_held_back() -> None:
    peer = Slow("send")
    ws = over(peer)
    await ws.accept()
    blocked = asyncio.create_task(ws.send_text("x"))
    await turns()
    await soon(ws.close(4000))
    assert peer.types == ["accept", "send", "close"]
    assert not blocked.done()
    peer.gate.set()
    await soon(blocked)


@pytest.mark.row("T39")
async def test_a_close_that_fails_stays_a_close() -> None:
    ws, peer = await opened()
    peer.fail_sends_with = KeyError("server bug")
    with pytest.raises(KeyError):
        await ws.close(4000)
    peer.fail_sends_with = None
    await ws.close(4001)
    assert peer.types == ["accept"]
    assert (ws.connection_state, ws.close_code) == (DISCONNECTED, 4000)


@pytest.mark.row("T39")
async def test_a_close_that_is_cancelled_stays_a_close() -> None:
    peer = Slow("close")
    ws = over(peer)
    await ws.accept()
    reader = asyncio.create_task(ws.receive_text())
    closing = asyncio.create_task(ws.close(4000))
    await turns()
    closing.cancel()
    await asyncio.wait((closing,))
    assert closing.cancelled()
    with pytest.raises(WebSocketRuntimeError):
        await soon(reader)
    await soon(ws.close())
    assert peer.closes == [(4000, "")]
    assert ws.close_code == 4000


@pytest.mark.row("T41")
@pytest.mark.parametrize("reported", [1000, 1005, 1006, 4000])
async def test_our_own_close_is_what_is_reported_whatever_the_server_says(reported: int) -> None:
    ws, peer = await opened()
    await ws.close(4000, "ours")
    peer.feed(D(reported))
    assert await soon(ws.receive()) == D(reported)
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4000, "ours", "server")


@pytest.mark.row("T41", "T40")
async def test_a_close_that_finds_the_peer_gone_reports_the_peers_end() -> None:
    ws, peer = await opened(T("1"), D(4001, "bye"))
    await ws.receive_text()
    await turns()
    peer.fail_sends_with = RuntimeError("Unexpected ASGI message 'websocket.close'")
    await ws.close(4000, "ours")
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4001, "bye", "client")
    ws, peer = await opened()
    peer.fail_sends_with = OSError()
    await ws.close(4000)
    assert (ws.close_code, ws.closed_by) == (1006, "client")


async def test_a_close_during_a_denial_is_refused_and_the_denial_goes_on() -> None:
    ws, peer = connecting(denial=True)
    await ws.send({"type": "websocket.http.response.start", "status": 403, "headers": []})
    with pytest.raises(WebSocketRuntimeError, match="denial"):
        await ws.close()
    await ws.send({"type": "websocket.http.response.body", "body": b"no"})
    assert peer.types == ["http.response.start", "http.response.body"]
    assert (ws.close_code, ws.connection_state) == (1008, DISCONNECTED)


# --- raw events ---


async def test_raw_events_may_be_mappings_with_any_kind_of_str_as_their_type() -> None:
    class Plain(StrEnum):
        ACCEPT = "websocket.accept"

    class Mixed(str, Enum):  # noqa: UP042 - the older kind, whose str() is its name
        SEND = "websocket.send"
        CLOSE = "websocket.close"

    ws, peer = connecting()
    await ws.receive()
    await ws.send({"type": Plain.ACCEPT})
    await ws.send(UserDict({"type": Mixed.SEND, "text": "x"}))
    await ws.send({"type": Mixed.CLOSE})
    assert peer.types == ["accept", "send", "close"]
    assert {type(message["type"]) for message in peer.sent} == {str}


@pytest.mark.parametrize("event", [{}, {"type": None}, {"type": 7}, {"type": "other"}])
async def test_a_raw_event_that_is_none_is_refused(event: dict[str, Any]) -> None:
    ws, peer = await opened()
    with pytest.raises(WebSocketRuntimeError):
        await ws.send(event)
    assert (peer.types, ws.connection_state) == (["accept"], CONNECTED)


async def test_a_denial_without_a_status_is_the_servers_to_judge() -> None:
    ws, peer = connecting(denial=True)
    await ws.send({"type": "websocket.http.response.start"})
    await ws.send({"type": "websocket.http.response.body"})
    assert peer.types == ["http.response.start", "http.response.body"]


@pytest.mark.row("T2")
async def test_the_servers_own_callables_are_handed_out_as_they_are() -> None:
    peer = Peer(T("1"), T("2"))
    receive, send = peer.receive, peer.send
    ws = WebSocket(make_scope(), receive, send)
    assert ws.asgi_receive is receive
    assert ws.asgi_send is send
    await ws.accept()
    assert (await ws.asgi_receive())["text"] == "1"
    assert not await ws.is_disconnected()
    assert await soon(ws.receive()) == T("2")


# --- looking ahead ---


@pytest.mark.row("C48", "T8")
async def test_looking_for_the_end_before_accept_reads_nothing() -> None:
    ws, peer = connecting(T("1"))
    assert not await soon(ws.is_disconnected())
    await turns()
    assert peer.reads == 0
    await soon(ws.accept())
    assert await soon(ws.receive_text()) == "1"


@pytest.mark.row("T8")
async def test_waiting_for_the_end_before_accept_leaves_the_connect_to_accept() -> None:
    ws, peer = connecting(T("1"))
    waiting = asyncio.create_task(ws.wait_closed())
    await turns()
    await soon(ws.accept())
    assert await soon(ws.receive_text()) == "1"
    peer.feed(D(1001))
    await soon(waiting)


@pytest.mark.row("C48", "T6")
async def test_a_disconnect_that_was_seen_early_is_still_delivered() -> None:
    ws, _ = await opened(T("1"), D(4001, "bye"))
    assert await soon(ws.is_disconnected())
    assert ws.client_state is CONNECTED
    assert await soon(ws.receive_text()) == "1"
    assert await soon(ws.receive()) == D(4001, "bye")
    assert ws.client_state is DISCONNECTED
    assert await soon(ws.is_disconnected())


@pytest.mark.row("C48")
async def test_after_any_end_the_connection_is_disconnected() -> None:
    ends: list[Callable[[WebSocket], Any]] = [
        lambda ws: ws.close(),
        lambda ws: ws.abort(),
        lambda ws: ws.send({"type": "websocket.close"}),
    ]
    for end in ends:
        ws, _ = await opened()
        assert not await ws.is_disconnected()
        await end(ws)
        assert await ws.is_disconnected()
        await soon(ws.wait_closed())


async def test_several_tasks_may_wait_for_the_end_and_be_cancelled() -> None:
    ws, peer = await opened()
    waiting = [asyncio.create_task(ws.wait_closed()) for _ in range(3)]
    await turns()
    waiting[1].cancel()
    await turns()
    peer.feed(T("1"), D(1001))
    await soon(asyncio.gather(waiting[0], waiting[2]))
    assert waiting[1].cancelled()
    assert await soon(ws.receive_text()) == "1"


# --- aborting ---


async def test_an_abort_waits_for_nothing() -> None:
    peer = Slow("send", "close")
    ws = over(peer)
    await ws.accept()
    assert ws.send_nowait("stuck")
    await turns()
    aborting = asyncio.create_task(ws.abort())
    await turns()
    assert ws.connection_state is DISCONNECTED
    peer.gate.set()
    await soon(aborting)
    assert peer.closes == [(1001, "")]


async def test_an_abort_gives_up_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telex._link.ABORT_TIMEOUT", 0.01)
    peer = Slow("close")
    ws = over(peer)
    await ws.accept()
    await soon(ws.abort())
    assert (ws.connection_state, ws.closed_by) == (DISCONNECTED, "server")


async def test_an_abort_of_a_client_that_is_known_to_have_left_is_its_end() -> None:
    ws, peer = await opened(T("unread"), D(4001))
    await ws.wait_closed()
    await ws.abort()
    assert (ws.close_code, ws.closed_by, peer.types) == (4001, "client", ["accept"])


# --- nothing stays behind ---


@pytest.mark.row("T7")
@pytest.mark.parametrize("look", ["is_disconnected", "wait_closed", "receive_text"])
async def test_a_handler_that_returns_while_a_read_is_in_flight_leaves_no_task(look: str) -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await getattr(ws, look)()

    asyncio.get_running_loop().set_debug(True)
    peer = Peer()
    await peer.run(app)
    assert len(asyncio.all_tasks()) == 1
    assert peer.closes == [(1000, "")]


@pytest.mark.parametrize("path", ["asgi", "frames", "wrapped both"])
async def test_a_connection_that_is_over_can_be_collected(path: str) -> None:
    ws, channel = connecting_over(path)
    await ws.accept()
    channel.feed(T("1"))
    assert await ws.receive_text() == "1"
    ws.add_cleanup(lambda: None)
    assert ws.send_nowait("x")
    waiting = asyncio.create_task(ws.wait_closed())
    await turns()
    await ws.close()
    await waiting
    await link_of(ws).finish()
    gone = weakref.ref(ws)
    del ws, channel, waiting
    await turns()
    gc.collect()
    assert gone() is None


@pytest.mark.row("T9")
def test_importing_and_building_needs_no_event_loop() -> None:
    code = (
        "import telex\n"
        "telex.App()\n"
        "async def nothing(*args): raise AssertionError\n"
        "ws = telex.WebSocket({'type': 'websocket', 'path': '/'}, nothing, nothing)\n"
        "print(ws.connection_state.name)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30
    )
    assert (done.stdout.strip(), done.stderr) == ("CONNECTING", "")


async def test_a_stranger_under_our_key_in_the_scope_is_replaced() -> None:
    scope = {**make_scope(), "telex.link": "stranger"}
    peer = Peer()
    ws = WebSocket(scope, peer.receive, peer.send)
    assert isinstance(scope["telex.link"], Link)
    await ws.accept()
    assert ws.connection_state is CONNECTED


@pytest.mark.parametrize("extensions", [None, {}])
async def test_a_scope_may_be_any_mapping_and_need_not_name_extensions(extensions: Any) -> None:
    peer = Peer(D(1001))
    scope = UserDict(make_scope())
    scope["extensions"] = extensions
    ws = WebSocket(scope, peer.receive, peer.send)
    await ws.accept()
    assert [message async for message in ws] == []
