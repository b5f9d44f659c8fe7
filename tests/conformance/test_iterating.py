"""Iterating over messages: what is yielded, and how a loop ends."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from opened import connecting, left, opened, soon, turns
from peer import B, D, T
from telex import (
    WebSocket,
    WebSocketDisconnect,
    WebSocketFrameError,
    WebSocketRuntimeError,
    WebSocketState,
)

Iterate = Callable[[WebSocket], AsyncIterator[Any]]

ITERATORS: list[Any] = [
    pytest.param(lambda ws: ws.iter_text(), id="iter_text"),
    pytest.param(lambda ws: ws.iter_bytes(), id="iter_bytes"),
    pytest.param(lambda ws: ws.iter_json(), id="iter_json"),
    pytest.param(aiter, id="ws"),
]


@pytest.mark.row("L38", "G31", "T24")
async def test_iter_text_yields_texts() -> None:
    ws, _ = await opened(T("a"), T(""), T("b"), D())
    assert [text async for text in ws.iter_text()] == ["a", "", "b"]


@pytest.mark.row("L39", "G28", "T24")
async def test_iter_bytes_yields_bytes() -> None:
    ws, _ = await opened(B(b"a"), B(b""), B(b"b"), D())
    assert [data async for data in ws.iter_bytes()] == [b"a", b"", b"b"]


@pytest.mark.row("K5", "L40", "T24")
async def test_iter_json_yields_values_also_those_that_are_not_true() -> None:
    values = [{"a": 1}, 2, 0, False, None, "", [], {}]
    ws, _ = await opened(*[T(json.dumps(value)) for value in values], D())
    assert [value async for value in ws.iter_json()] == values


async def test_iter_json_reads_binary_messages_when_asked() -> None:
    ws, _ = await opened(B(b"1"), B(b"null"), T("2"))
    values = ws.iter_json(mode="binary")
    assert [await anext(values), await anext(values)] == [1, None]
    with pytest.raises(WebSocketFrameError):
        await anext(values)


@pytest.mark.row("C33", "GX3", "T24")
async def test_the_connection_itself_yields_messages_as_they_come() -> None:
    ws, _ = await opened(T("a"), B(b"b"), T(""), B(b""), D())
    messages = [message async for message in ws]
    assert messages == ["a", b"b", "", b""]
    ws, _ = await opened(T("a"), T("b"), D())
    assert [text async for text in ws] == ["a", "b"]


@pytest.mark.row("L41", "T15")
@pytest.mark.parametrize("iterate", ITERATORS)
def test_iterators_are_iterators_and_need_no_await(iterate: Iterate) -> None:
    ws, _ = connecting()
    iterator = iterate(ws)
    assert isinstance(iterator, AsyncIterator)
    assert hasattr(iterator, "__anext__")
    assert aiter(iterator) is iterator
    assert not inspect.isasyncgen(iterator), "nothing of it may stay suspended"


async def test_closing_an_iterator_loses_nothing_and_ends_nothing() -> None:
    ws, _ = await opened(T("a"), T("b"), D())
    async with aclosing(ws.iter_text()) as texts:
        assert await anext(texts) == "a"
    assert await anext(texts) == "b"


# --- how it ends ---


@pytest.mark.row("K37", "L43", "G29", "G32", "C33")
@pytest.mark.parametrize("iterate", ITERATORS)
@pytest.mark.parametrize("code", [1000, 1001, 1006, 4000])
async def test_the_peers_end_ends_the_loop(iterate: Iterate, code: int) -> None:
    ws, peer = await opened(D(code, "bye"))
    assert [message async for message in iterate(ws)] == []
    assert ws.connection_state is WebSocketState.DISCONNECTED
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (code, "bye", "client")
    assert peer.types == ["accept"]


@pytest.mark.row("T16")
@pytest.mark.parametrize("iterate", ITERATORS)
async def test_iterating_again_after_the_peers_end_is_a_disconnect(iterate: Iterate) -> None:
    ws, peer = await opened(D(1001, "bye"))
    first = iterate(ws)
    assert [message async for message in first] == []
    asked = peer.reads
    for again in (iterate(ws), first):
        with pytest.raises(WebSocketDisconnect) as raised:
            await soon(anext(again))
        assert (raised.value.code, raised.value.reason) == (1001, "bye")
    assert peer.reads == asked


@pytest.mark.row("T16")
@pytest.mark.parametrize("iterate", ITERATORS)
async def test_a_loop_begun_after_a_read_found_the_end_is_a_disconnect(iterate: Iterate) -> None:
    ws, _ = await left(1001)
    with pytest.raises(WebSocketDisconnect):
        await anext(iterate(ws))


@pytest.mark.row("T16")
@pytest.mark.parametrize("iterate", ITERATORS)
async def test_a_running_loop_ends_quietly_whoever_found_the_end(iterate: Iterate) -> None:
    for found_by in ("another loop", "a read", "a send"):
        ws, peer = await opened()
        running = iterate(ws)
        if found_by == "a send":
            peer.fail_sends_with = OSError()
            with pytest.raises(WebSocketDisconnect):
                await ws.send_text("x")
        else:
            peer.feed(D(1001))
            if found_by == "a read":
                with pytest.raises(WebSocketDisconnect):
                    await ws.receive_text()
            else:
                assert [message async for message in iterate(ws)] == []
        assert [message async for message in running] == [], found_by


@pytest.mark.row("T15", "T16")
async def test_of_two_loops_both_end_quietly() -> None:
    ws, peer = await opened(T("a"), T("b"))
    busy = asyncio.Event()
    got: list[object] = []

    async def loop(*, slow: bool) -> None:
        async for message in ws:
            got.append(message)
            if slow:
                await busy.wait()

    loops = [asyncio.create_task(loop(slow=True)), asyncio.create_task(loop(slow=False))]
    await turns()
    peer.feed(D(1001))
    await turns()
    assert loops[1].done()
    busy.set()
    await soon(asyncio.gather(*loops))
    assert sorted(map(str, got)) == ["a", "b"]


@pytest.mark.row("T17")
@pytest.mark.parametrize("iterate", ITERATORS)
async def test_our_own_close_ends_the_loop(iterate: Iterate) -> None:
    for message in (T("1"), B(b"1")):
        ws, peer = await opened(message, message)
        loop = iterate(ws)
        try:
            await anext(loop)
        except WebSocketFrameError:
            continue
        await ws.close(4000)
        assert peer.closes == [(4000, "")]
        assert [item async for item in loop] == []
        assert [item async for item in loop] == []
        assert [item async for item in iterate(ws)] == []


@pytest.mark.row("T17")
async def test_a_close_inside_the_loop_ends_it() -> None:
    ws, peer = await opened(T("a"), T("b"))
    seen: list[str] = []
    async for text in ws.iter_text():
        seen.append(text)
        await ws.close()
    assert seen == ["a"]
    assert peer.types == ["accept", "close"]


@pytest.mark.row("T17")
@pytest.mark.parametrize("iterate", ITERATORS)
async def test_a_close_by_another_task_ends_a_loop_that_waits(iterate: Iterate) -> None:
    ws, _ = await opened()

    async def loop() -> list[Any]:
        return [message async for message in iterate(ws)]

    waiting = asyncio.create_task(loop())
    await turns()
    await ws.close()
    assert await soon(waiting) == []


@pytest.mark.row("C9", "T17")
@pytest.mark.parametrize("iterate", ITERATORS)
async def test_before_accept_a_loop_is_refused_and_after_a_rejection_it_is_empty(
    iterate: Iterate,
) -> None:
    ws, peer = connecting(T("1"))
    with pytest.raises(WebSocketRuntimeError):
        await anext(iterate(ws))
    assert peer.reads == 0
    await ws.close()
    assert [message async for message in iterate(ws)] == []


# --- the wrong kind ---


@pytest.mark.row("C19", "G33", "T18")
async def test_a_binary_message_raises_out_of_iter_text() -> None:
    ws, _ = await opened(T("a"), B(b"b"), T("c"), D())
    texts = ws.iter_text()
    assert await anext(texts) == "a"
    with pytest.raises(TypeError) as raised:
        await anext(texts)
    assert isinstance(raised.value, WebSocketFrameError)
    assert [text async for text in ws.iter_text()] == ["c"]


@pytest.mark.row("C19", "G30", "T18")
async def test_a_text_message_raises_out_of_iter_bytes() -> None:
    ws, _ = await opened(B(b"a"), T("b"), B(b"c"), D())
    messages = ws.iter_bytes()
    assert await anext(messages) == b"a"
    with pytest.raises(WebSocketFrameError):
        await anext(messages)
    assert [data async for data in ws.iter_bytes()] == [b"c"]


@pytest.mark.row("C18", "C19", "C21")
async def test_bad_json_and_binary_messages_raise_out_of_iter_json() -> None:
    ws, _ = await opened(T("1"), T("{bad"), B(b"2"), T("3"), D())
    values = ws.iter_json()
    assert await anext(values) == 1
    with pytest.raises(json.JSONDecodeError):
        await anext(values)
    with pytest.raises(WebSocketFrameError):
        await anext(values)
    assert [value async for value in values] == [3]


@pytest.mark.row("T23", "C20")
@pytest.mark.parametrize("iterate", ITERATORS)
async def test_frames_with_both_keys_are_read_by_the_one_that_is_set(iterate: Iterate) -> None:
    ws, _ = await opened(
        {"type": "websocket.receive", "text": "1", "bytes": None},
        {"type": "websocket.receive", "text": None, "bytes": b"1"},
    )
    iterator = iterate(ws)
    results: list[object] = []
    for _ in range(2):
        try:
            results.append(await anext(iterator))
        except WebSocketFrameError:
            results.append(TypeError)
    assert results in (["1", TypeError], [TypeError, b"1"], [1, TypeError], ["1", b"1"])
    assert None not in results


@pytest.mark.row("T23")
@pytest.mark.parametrize("iterate", ITERATORS)
async def test_frames_with_both_or_neither_set_raise_out_of_the_loop(iterate: Iterate) -> None:
    ws, _ = await opened(
        {"type": "websocket.receive", "text": "1", "bytes": b"1"}, {"type": "websocket.receive"}
    )
    for _ in range(2):
        with pytest.raises(WebSocketRuntimeError):
            await anext(iterate(ws))


# --- leaving and coming back ---


@pytest.mark.row("T15")
async def test_after_break_another_loop_goes_on_with_the_next_message() -> None:
    ws, _ = await opened(T("a"), T("b"), T("c"), B(b"d"), D())
    async for text in ws.iter_text():
        assert text == "a"
        break
    async for text in ws.iter_text():
        assert text == "b"
        break
    assert await ws.receive_text() == "c"
    assert [message async for message in ws] == [b"d"]


@pytest.mark.row("T15")
async def test_loops_may_be_nested_and_run_at_once() -> None:
    ws, _ = await opened(*[T(str(n)) for n in range(6)], D())
    got: list[str] = []
    async for outer in ws.iter_text():
        got.append(outer)
        async for inner in ws.iter_text():
            got.append(inner)
            break
    assert got == [str(n) for n in range(6)]

    ws, peer = await opened()
    shared: list[str] = []

    async def loop() -> None:
        async for text in ws.iter_text():
            shared.append(text)  # noqa: PERF401 - the point is who appends when

    loops = [asyncio.create_task(loop()) for _ in range(3)]
    await turns()
    peer.feed(*[T(str(n)) for n in range(20)], D())
    await soon(asyncio.gather(*loops))
    assert shared == [str(n) for n in range(20)]


async def test_cancelling_a_loop_loses_nothing() -> None:
    ws, peer = await opened()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(ws.iter_text()), 0.001)
    peer.feed(T("a"))
    assert await soon(anext(ws.iter_text())) == "a"
