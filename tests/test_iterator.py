"""Iterating over messages. What each kind of iterator promises is in
`conformance/test_iterating.py`, and for typed values in `test_values.py`; here is what is left.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from channel import opened_over
from opened import connecting, opened, soon, turns
from peer import B, D, T
from telex import WebSocketDisconnect, WebSocketRuntimeError
from telex._iterator import MessageIterator


@pytest.mark.row("T15")
async def test_an_iterator_is_a_small_object_that_holds_no_message() -> None:
    ws, peer = await opened(T("a"), T("b"))
    for iterator in (ws.iter_text(), ws.iter_bytes(), ws.iter_json(), aiter(ws)):
        assert isinstance(iterator, MessageIterator)
        assert isinstance(iterator, AsyncIterator)
        assert not hasattr(iterator, "__dict__")
    abandoned = ws.iter_text()
    assert await anext(abandoned) == "a"
    del abandoned
    gc.collect()
    assert await ws.receive_text() == "b"
    assert peer.reads == 3


@pytest.mark.row("T15")
async def test_iterators_of_different_kinds_take_turns_on_one_stream() -> None:
    ws, _ = await opened(T("a"), B(b"b"), T("3"), T("d"), D(1001))
    texts, data, values, anything = ws.iter_text(), ws.iter_bytes(), ws.iter_json(), aiter(ws)
    assert [await anext(texts), await anext(data), await anext(values)] == ["a", b"b", 3]
    assert await anext(anything) == "d"
    for iterator in (texts, data, values, anything):
        with pytest.raises(StopAsyncIteration):
            await soon(anext(iterator))
    for iterator in (texts, data, values, anything):
        with pytest.raises(WebSocketDisconnect):
            await soon(anext(iterator))


@pytest.mark.row("T15")
async def test_two_tasks_may_share_one_iterator() -> None:
    ws, peer = await opened()
    shared = ws.iter_text()
    waiting = [asyncio.ensure_future(anext(shared)) for _ in range(3)]
    await turns()
    peer.feed(T("a"), T("b"), T("c"))
    assert await soon(asyncio.gather(*waiting)) == ["a", "b", "c"]


async def test_an_iterator_begun_before_accept_works_after_it() -> None:
    ws, _ = connecting(T("a"))
    texts = ws.iter_text()
    with pytest.raises(WebSocketRuntimeError):
        await anext(texts)
    await ws.accept()
    assert await anext(texts) == "a"


async def test_a_default_for_anext_covers_the_end() -> None:
    ws, _ = await opened(D(1001))
    assert await anext(ws.iter_text(), "end") == "end"


async def test_our_close_ends_an_iterator_that_has_seen_the_peers_end_as_well() -> None:
    ws, peer = await opened()
    await ws.close(4000)
    peer.feed(D(1005))
    await ws.receive()
    assert [message async for message in ws] == []


@pytest.mark.parametrize("path", ["asgi", "frames"])
async def test_a_conversion_that_fails_costs_its_message_and_no_other(path: str) -> None:
    ws, _ = await opened_over(path, T("a"), T("1"), T("2"), D(1001))
    numbers = ws.iter_as(int)
    with pytest.raises(ValueError, match="expected an integer"):
        await soon(anext(numbers))
    assert [number async for number in numbers] == [1, 2]


async def test_it_is_its_own_iterator() -> None:
    ws, _ = await opened()
    numbers = ws.iter_as(int)
    assert aiter(numbers) is numbers
