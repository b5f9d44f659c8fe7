"""The same behaviour over plain ASGI, over a server's frame channel, and with one of each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channel import PATHS, connecting_over, opened_over
from opened import soon, turns, until
from peer import B, D, T
from telex import (
    Outbox,
    WebSocketDisconnect,
    WebSocketFrameError,
    WebSocketRuntimeError,
    WebSocketState,
)
from telex._settings import SETTINGS_KEY, Settings
from telex._source import MAX_MESSAGES
from telex._types import Message

CONNECT: Message = {"type": "websocket.connect"}
TEXTS = ["1", "", "é数\U0001f600"]


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    """How the messages of the connection travel."""
    name: str = request.param
    return name


# --- the handshake ---


async def test_the_handshake_goes_through_send(path: str) -> None:
    ws, server = connecting_over(path, subprotocols=["a", "chat"])
    await soon(ws.accept("chat", headers={"x-a": "1"}))
    assert server.log == [
        {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"1")]}
    ]
    assert (server.events_in, server.events_out, server.frames_out) == (1, 1, 0)
    assert ws.accepted_subprotocol == "chat"
    assert ws.connection_state is WebSocketState.CONNECTED


async def test_a_handshake_is_refused_through_send(path: str) -> None:
    ws, server = connecting_over(path)
    await soon(ws.close())
    assert server.types == ["close"]
    assert (ws.connection_state, ws.closed_by) == (WebSocketState.DISCONNECTED, "server")

    ws, server = connecting_over(path, denial=True)
    await soon(ws.reject(404, body="none here"))
    assert server.types == ["http.response.start", "http.response.body"]
    assert (server.log[0]["status"], server.log[1]["body"]) == (404, b"none here")
    assert (server.events_out, server.frames_out) == (2, 0)


async def test_a_client_that_gives_up_during_the_handshake_is_no_connection(path: str) -> None:
    ws, server = connecting_over(path, D(1001))
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.accept())
    assert server.types == []
    assert ws.connection_state is WebSocketState.DISCONNECTED


async def test_nothing_is_read_or_sent_before_the_handshake(path: str) -> None:
    ws, server = connecting_over(path)
    for call in (ws.receive_text, lambda: ws.send_text("x")):
        with pytest.raises(WebSocketRuntimeError):
            await soon(call())
    with pytest.raises(WebSocketRuntimeError):
        ws.send_nowait("x")
    await soon(ws.accept())
    assert server.types == ["accept"]


# --- receiving and sending ---


async def test_text_bytes_and_json_are_received(path: str) -> None:
    ws, _ = await opened_over(path, T("é"), T(""), B(b"\x00"), B(b""), T('{"a": 1}'), B(b"[2]"))
    assert [await soon(ws.receive_text()) for _ in range(2)] == ["é", ""]
    assert [await soon(ws.receive_bytes()) for _ in range(2)] == [b"\x00", b""]
    assert await soon(ws.receive_json()) == {"a": 1}
    assert await soon(ws.receive_json("binary")) == [2]


async def test_a_message_of_the_wrong_kind_is_consumed_and_the_next_is_read(path: str) -> None:
    ws, _ = await opened_over(path, B(b"x"), T("x"), T("{"), T("good"))
    with pytest.raises(WebSocketFrameError):
        await soon(ws.receive_text())
    with pytest.raises(WebSocketFrameError):
        await soon(ws.receive_bytes())
    with pytest.raises(ValueError):
        await soon(ws.receive_json())
    assert await soon(ws.receive_text()) == "good"


async def test_iterating_ends_quietly_with_the_peers_code(path: str) -> None:
    ws, _ = await opened_over(path, *map(T, TEXTS), D(4001, "bye"))
    assert [text async for text in ws.iter_text()] == TEXTS
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4001, "bye", "client")

    ws, _ = await opened_over(path, B(b"1"), B(b""), D())
    assert [data async for data in ws.iter_bytes()] == [b"1", b""]

    ws, _ = await opened_over(path, T("1"), T("null"), D())
    assert [value async for value in ws.iter_json()] == [1, None]

    ws, _ = await opened_over(path, T("1"), B(b"2"), D())
    assert [message async for message in ws] == ["1", b"2"]


async def test_text_bytes_and_json_are_sent_in_order(path: str) -> None:
    ws, server = await opened_over(path)
    for text in TEXTS:
        await soon(ws.send_text(text))
    await soon(ws.send_bytes(memoryview(b"xyz")))
    await soon(ws.send_json({"é": None}))
    await soon(ws.send_json([1], mode="binary"))
    assert server.data == [*TEXTS, b"xyz", '{"é":null}', b"[1]"]
    await asyncio.gather(*(ws.send_text(str(number)) for number in range(20)))
    assert server.data[-20:] == [str(number) for number in range(20)]


@pytest.mark.row("L45", "L47")
async def test_raw_events_are_returned_and_keep_the_state_right(path: str) -> None:
    ws, server = connecting_over(path)
    assert await soon(ws.receive()) == CONNECT
    await ws.send({"type": "websocket.accept"})
    assert ws.application_state is WebSocketState.CONNECTED
    server.feed(T("a"), B(b"b"), D(4001, "bye"))
    assert await soon(ws.receive()) == T("a")
    assert await soon(ws.receive()) == B(b"b")
    assert await soon(ws.receive()) == D(4001, "bye")
    assert ws.client_state is WebSocketState.DISCONNECTED
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.receive())


@pytest.mark.row("L46", "L45")
async def test_a_raw_message_is_sent_as_it_is(path: str) -> None:
    ws, server = await opened_over(path)
    for message in ({"type": "websocket.send", "text": "x"}, {"type": "websocket.close"}):
        await soon(ws.send(message))
    assert server.log[1] == {"type": "websocket.send", "text": "x"}
    assert server.closes == [(1000, "")]
    assert ws.application_state is WebSocketState.DISCONNECTED


# --- looking and waiting ---


@pytest.mark.row("K9", "T1")
async def test_polling_takes_no_message(path: str) -> None:
    ws, server = await opened_over(path, T("a"), T(""), B(b"c"))
    for _ in range(5):
        assert await soon(ws.is_disconnected()) is False
    assert [await ws.receive_text(), await ws.receive_text()] == ["a", ""]
    assert await ws.receive_bytes() == b"c"
    server.feed(D(1001))
    assert await soon(ws.is_disconnected()) is True


@pytest.mark.row("T6", "T1")
async def test_an_end_that_was_peeked_is_still_delivered_behind_the_messages(path: str) -> None:
    ws, _ = await opened_over(path, T("a"), D(4001, "bye"))
    async with asyncio.timeout(5):
        while not await ws.is_disconnected():
            pass
    assert ws.client_state is WebSocketState.CONNECTED
    assert await ws.receive_text() == "a"
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(ws.receive_text())
    assert (raised.value.code, raised.value.reason) == (4001, "bye")
    assert ws.client_state is not WebSocketState.CONNECTED


@pytest.mark.row("C63", "T5")
async def test_several_readers_are_served_in_order_and_all_learn_of_the_end(path: str) -> None:
    ws, server = await opened_over(path)
    readers = [asyncio.create_task(ws.receive_text()) for _ in range(5)]
    await turns()
    server.feed(T("a"), T("b"), D(4001))
    got = await soon(asyncio.gather(*readers, return_exceptions=True))
    assert got[:2] == ["a", "b"]
    assert [type(end) for end in got[2:]] == [WebSocketDisconnect] * 3
    assert {getattr(end, "code", None) for end in got[2:]} == {4001}


@pytest.mark.row("T4")
async def test_cancelled_readers_take_nothing_with_them(path: str) -> None:
    ws, server = await opened_over(path)
    for number in range(50):
        reader = asyncio.create_task(ws.receive_text())
        await turns(number % 4)
        server.feed(T(str(number)))
        reader.cancel()
        await asyncio.wait((reader,))
        text = await soon(ws.receive_text()) if reader.cancelled() else reader.result()
        assert text == str(number)


@pytest.mark.row("T4", "C63")
async def test_what_woke_a_reader_that_is_then_cancelled_goes_to_the_next(path: str) -> None:
    cancelled = []
    for delay in range(20):
        ws, server = await opened_over(path)
        first, second = (asyncio.create_task(ws.receive_text()) for _ in range(2))
        await turns()
        server.feed(T("a"))
        await turns(delay)
        first.cancel()
        await asyncio.wait((first,))
        server.feed(T("b"))
        assert await soon(second) == ("a" if first.cancelled() else "b")
        cancelled.append(first.cancelled())
        await ws.close()
    # Every step was hit: from the arrival to the last before it had the message, and after.
    assert cancelled == sorted(cancelled, reverse=True)
    assert set(cancelled) == {True, False}


@pytest.mark.row("T4", "C63")
@pytest.mark.parametrize("delay", range(8))
async def test_a_reader_that_gives_up_while_it_waits_for_its_turn_disturbs_nobody(
    path: str, delay: int
) -> None:
    ws, server = await opened_over(path)
    readers = [asyncio.create_task(ws.receive_text()) for _ in range(4)]
    await turns()
    server.feed(T("a"))
    await turns(delay)
    # For one delay: in the very turn in which the reader before it leaves.
    readers[1].cancel()
    await asyncio.wait((readers[1],))
    assert await soon(readers[0]) == "a"
    for reader, text in zip(readers[2:], "bc", strict=True):
        await turns()
        server.feed(T(text))
        assert await soon(reader) == text


@pytest.mark.row("T3", "T1")
async def test_a_flood_with_only_polling_is_left_with_the_server(path: str) -> None:
    texts = [str(number) for number in range(10_000)]
    ws, server = await opened_over(path, *map(T, texts))
    for _ in range(100):
        assert await ws.is_disconnected() is False
    taken = server.events_in - 1 + server.frames_in
    assert taken == (0 if path in ("frames", "wrapped send") else MAX_MESSAGES)
    server.feed(D(4001))
    assert [text async for text in ws.iter_text()] == texts
    assert ws.close_code == 4001


@pytest.mark.row("T17")
async def test_our_own_close_wakes_readers_and_ends_loops_quietly(path: str) -> None:
    ws, server = await opened_over(path)
    reader = asyncio.create_task(ws.receive_text())
    loop = asyncio.create_task(anext(ws.iter_text(), "quiet"))
    waiter = asyncio.create_task(ws.wait_closed())
    await turns()
    await soon(ws.close(4000, "enough"))
    with pytest.raises(WebSocketRuntimeError):
        await soon(reader)
    assert await soon(loop) == "quiet"
    await soon(waiter)
    assert server.closes == [(4000, "enough")]


async def test_wait_closed_leaves_messages_to_be_read(path: str) -> None:
    ws, server = await opened_over(path, T("a"))
    waiters = [asyncio.create_task(ws.wait_closed()) for _ in range(3)]
    await turns()
    waiters[0].cancel()
    assert not waiters[1].done()
    server.feed(D(1001))
    await soon(asyncio.gather(*waiters[1:]))
    assert ws.close_code == 1001
    assert [text async for text in ws.iter_text()] == ["a"]


# --- leaving and closing ---


async def test_a_send_after_the_peer_broke_raises_disconnect(path: str) -> None:
    ws, server = await opened_over(path)
    server.drop()
    for call in (ws.send_text("x"), ws.send_bytes(b"x"), ws.send_json(1), ws.receive_text()):
        with pytest.raises(WebSocketDisconnect) as raised:
            await soon(call)
        assert raised.value.code == 1006
    assert ws.send_nowait("x") is False
    assert server.types == ["accept"]
    assert ws.closed_by == "client"


@pytest.mark.row("C4", "T40")
@pytest.mark.parametrize("told", [True, False])
async def test_a_close_after_the_peer_left_sends_nothing(path: str, told: bool) -> None:
    ws, server = await opened_over(path, D(4001))
    if told:
        with pytest.raises(WebSocketDisconnect):
            await soon(ws.receive_text())
    await soon(ws.close())
    await soon(ws.close(4000))
    assert server.types == ["accept"]
    assert ws.closed_by == "client"
    assert ws.connection_state is WebSocketState.DISCONNECTED


@pytest.mark.row("T39")
async def test_of_two_tasks_that_close_one_does(path: str) -> None:
    ws, server = await opened_over(path)
    await soon(asyncio.gather(ws.close(4001), ws.close(4002), ws.abort()))
    await soon(ws.close(4003))
    assert server.closes == [(4001, "")]
    assert (ws.close_code, ws.closed_by, server.aborted) == (4001, "server", False)


async def test_abort_drops_the_peer_where_it_can(path: str) -> None:
    ws, server = await opened_over(path)
    server.block()
    ws.send_nowait("never read")
    reader = asyncio.create_task(ws.receive_text())
    await turns()
    await soon(ws.abort())
    with pytest.raises(WebSocketRuntimeError):
        await soon(reader)
    assert server.aborted is (path != "asgi")
    assert server.closes == ([(1001, "")] if path == "asgi" else [])
    assert ws.connection_state is WebSocketState.DISCONNECTED
    assert await ws.is_disconnected() is True


@pytest.mark.parametrize("end", ["the peer leaves", "we close", "we abort", "a send fails"])
async def test_cleanups_run_once_at_any_end(path: str, end: str) -> None:
    ws, server = await opened_over(path)
    ran: list[str] = []
    ws.add_cleanup(lambda: ran.append("first"))
    ws.add_cleanup(lambda: ran.append("second"))
    readers = [asyncio.create_task(ws.receive_text()) for _ in range(2 if "send" not in end else 0)]
    await turns()
    if end == "the peer leaves":
        server.feed(D(1001))
    elif end == "a send fails":
        server.drop()
        with pytest.raises(WebSocketDisconnect):
            await ws.send_text("x")
    else:
        await soon(ws.close() if end == "we close" else ws.abort())
    await soon(asyncio.gather(*readers, return_exceptions=True))
    await soon(asyncio.gather(ws.close(), ws.abort(), ws.is_disconnected()))
    assert ran == ["first", "second"]


# --- a peer that does not read ---


async def test_a_full_buffer_holds_a_sender_back_and_loses_nothing(path: str) -> None:
    ws, server = await opened_over(path)
    server.block()
    senders = [asyncio.create_task(ws.send_text(str(number))) for number in range(3)]
    await turns()
    assert not any(sender.done() for sender in senders)
    assert await soon(ws.is_disconnected()) is False
    server.unblock()
    await soon(asyncio.gather(*senders))
    assert server.data == ["0", "1", "2"]


async def test_a_sender_held_back_is_released_when_the_peer_leaves(path: str) -> None:
    ws, server = await opened_over(path)
    server.block()
    senders = [asyncio.create_task(ws.send_text(str(number))) for number in range(3)]
    await turns()
    server.drop()
    # What was handed to the server before may have arrived; nobody knows.
    results = await soon(asyncio.gather(*senders, return_exceptions=True))
    assert {type(result) for result in results} <= {type(None), WebSocketDisconnect}
    with pytest.raises(WebSocketDisconnect):
        await soon(ws.send_text("late"))
    assert "late" not in server.data


@pytest.mark.parametrize(
    ("policy", "answers", "arrives", "closes"),
    [
        ("block", [True, True, True, False, False], ["0", "1", "2"], []),
        ("drop_newest", [True, True, True, False, False], ["0", "1", "2"], []),
        ("drop_oldest", [True, True, True, True, True], ["0", "3", "4"], []),
        ("close", [True, True, True, False, False], ["0"], [(4008, "slow consumer")]),
    ],
)
async def test_the_outbox_holds_what_its_policy_says(
    path: str, policy: Any, answers: list[bool], arrives: list[str], closes: list[tuple[int, str]]
) -> None:
    settings = Settings(outbox=Outbox(max_messages=2, policy=policy))
    ws, server = connecting_over(path, **{SETTINGS_KEY: settings})
    await ws.accept()
    server.block()
    given = [ws.send_nowait("0")]
    await turns()
    given += [ws.send_nowait(str(number)) for number in range(1, 5)]
    assert given == answers
    await turns()
    server.unblock()
    await until(lambda: len(server.data) == len(arrives) and server.closes == closes)
    assert server.data == arrives
    assert ws.buffered == 0


async def test_send_nowait_and_send_keep_their_order(path: str) -> None:
    ws, server = await opened_over(path)
    for number in range(0, 20, 2):
        assert ws.send_nowait(str(number))
        await soon(ws.send_text(str(number + 1)))
    ws.send_nowait("last")
    await soon(ws.close())
    assert server.data == [*map(str, range(20)), "last"]
    assert server.types[-1] == "close"


async def test_what_waits_is_counted(path: str) -> None:
    ws, server = await opened_over(path)
    assert ws.buffered == 0
    server.block()
    ws.send_nowait("12345")
    await turns()
    ws.send_nowait("678")
    ws.send_nowait(b"9")
    in_the_server = 5 if path in ("frames", "wrapped receive") else 0
    assert ws.buffered == 4 + in_the_server
    server.unblock()
    await until(lambda: ws.buffered == 0)
    assert server.data == ["12345", "678", b"9"]
