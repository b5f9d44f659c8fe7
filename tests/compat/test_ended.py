from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from peer import B, D, Peer, T, make_scope
from telex import App, WebSocket, WebSocketDisconnect, WebSocketRuntimeError
from telex.compat._ended import EndedOnce
from telex.compat.genro.websocket import WebSocket as GenroWebSocket
from telex.compat.lilya.websockets import WebSocket as LilyaWebSocket
from telex.testing import AsyncTestClient

Face = type[EndedOnce]

CALLS: dict[str, Callable[[EndedOnce], Awaitable[object]]] = {
    "receive": lambda ws: ws.receive(),
    "receive_text": lambda ws: ws.receive_text(),
    "receive_bytes": lambda ws: ws.receive_bytes(),
    "receive_json": lambda ws: ws.receive_json(),
    "receive_as": lambda ws: ws.receive_as(int),
    "receive_typed": lambda ws: ws.receive_typed(),
    "send": lambda ws: ws.send({"type": "websocket.send", "text": "x"}),
    "send_text": lambda ws: ws.send_text("x"),
    "send_bytes": lambda ws: ws.send_bytes(b"x"),
    "send_json": lambda ws: ws.send_json({}),
    "send_value": lambda ws: ws.send_value(1),
    "send_typed": lambda ws: ws.send_typed({}),
    "pair": lambda ws: ws.pair("x"),
    "expect": lambda ws: ws.expect("x"),
    "request": lambda ws: ws.request({}),
    "iter_text": lambda ws: anext(ws.iter_text()),
    "iter_bytes": lambda ws: anext(ws.iter_bytes()),
    "iter_json": lambda ws: anext(ws.iter_json()),
    "iter_as": lambda ws: anext(ws.iter_as(int)),
    "async for": lambda ws: anext(aiter(ws)),
}


async def accepted(*script: Any) -> tuple[EndedOnce, Peer]:
    peer = Peer(*script)
    ws = EndedOnce(make_scope(), peer.receive, peer.send)
    await ws.accept()
    return ws, peer


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_after_the_end_was_said_is_a_mistake_of_the_caller(
    call: Callable[[EndedOnce], Awaitable[object]],
) -> None:
    ws, peer = await accepted(D(1001, "bye"))
    with pytest.raises(WebSocketDisconnect) as caught:
        await ws.receive_text()
    assert (caught.value.code, caught.value.reason) == (1001, "bye")
    sent, read = list(peer.sent), peer.reads
    with pytest.raises(WebSocketRuntimeError, match="which was said before") as refused:
        await call(ws)
    assert isinstance(refused.value, WebSocketDisconnect)
    assert (refused.value.code, refused.value.reason) == (1001, "bye")
    assert (peer.sent, peer.reads) == (sent, read)


def test_no_call_that_reads_or_sends_is_forgotten() -> None:
    def moves(name: str) -> bool:
        return name.split("_")[0] in {"receive", "send", "pair", "expect", "request"}

    coroutines = {
        name
        for name, each in inspect.getmembers(WebSocket, inspect.iscoroutinefunction)
        if moves(name) and name != "send_denial_response"
    }
    assert coroutines - CALLS.keys() == set()
    for name in coroutines:
        assert getattr(EndedOnce, name) is not getattr(WebSocket, name)
        assert inspect.signature(getattr(EndedOnce, name)) == inspect.signature(
            getattr(WebSocket, name)
        )


async def test_the_end_itself_is_told_to_everybody_who_waits_for_a_message() -> None:
    ws, peer = await accepted()
    readers = [asyncio.create_task(ws.receive_text()) for _ in range(2)]
    await asyncio.sleep(0)
    peer.feed(D(1001))
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(each) for each in results] == [WebSocketDisconnect, WebSocketDisconnect]


async def test_a_loop_ends_quietly_at_the_end_and_another_one_is_a_mistake() -> None:
    ws, _ = await accepted(T("a"), B(b"b"), D(1000))
    assert [each async for each in ws] == ["a", b"b"]
    with pytest.raises(WebSocketRuntimeError, match="cannot iterate"):
        await anext(aiter(ws))


async def test_a_loop_that_goes_on_behind_its_own_end_is_a_mistake() -> None:
    ws, _ = await accepted(D(1000))
    messages = ws.iter_text()
    assert [each async for each in messages] == []
    with pytest.raises(WebSocketRuntimeError):
        await anext(messages)


async def test_closing_after_the_client_has_left_does_nothing() -> None:
    ws, peer = await accepted(D(1001))
    assert [each async for each in ws] == []
    await ws.close()
    assert peer.closes == []


async def test_a_send_that_finds_out_that_the_client_is_gone_says_so() -> None:
    ws, peer = await accepted()
    peer.fail_sends_with = OSError("gone")
    with pytest.raises(WebSocketDisconnect) as caught:
        await ws.send_text("x")
    assert caught.value.code == 1006
    with pytest.raises(WebSocketRuntimeError):
        await ws.send_text("x")


# What a client that leaves does to handlers that have been told


FACES = pytest.mark.parametrize("face", [GenroWebSocket, LilyaWebSocket], ids=["genro", "lilya"])


def app_with(face: Face) -> App:
    class Faced(App):
        websocket_class = face

    return Faced()


@pytest.mark.row("C57", "T14")
@FACES
async def test_a_client_that_has_left_a_room_ends_nobody_elses_handler(face: Face) -> None:
    app = app_with(face)
    room: list[WebSocket] = []

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        room.append(ws)
        while True:
            message = await ws.receive_text()
            for each in list(room):
                try:
                    await each.send_text(message)
                except WebSocketDisconnect:
                    room.remove(each)

    async with AsyncTestClient(app) as client:
        async with client.websocket("/"):
            pass
        async with client.websocket("/") as ws:
            await ws.send_text("anybody here?")
            assert await ws.receive_text() == "anybody here?"
            assert len(room) == 1


@pytest.mark.row("C57", "T50", "T14")
@FACES
async def test_a_writer_beside_a_reader_that_was_told_ends_without_an_error(
    face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with(face)

    async def read(ws: WebSocket) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await ws.receive_text()

    @app.websocket("/alone")
    async def alone(ws: WebSocket) -> None:
        await ws.accept()
        reader = asyncio.create_task(read(ws))
        await reader
        await ws.send_text("tick")

    @app.websocket("/group")
    async def group(ws: WebSocket) -> None:
        await ws.accept()
        async with asyncio.TaskGroup() as tasks:
            await tasks.create_task(read(ws))
            tasks.create_task(ws.send_text("tick"))

    async with AsyncTestClient(app) as client:
        for path in ("/alone", "/group"):
            async with client.websocket(path):
                pass
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
