"""The last step: everything stopped, the link forgotten, one line written."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from opened import soon, turns
from peer import D, Peer, T, make_scope
from telex import WebSocket, WebSocketDisconnect, WebSocketRuntimeError, WebSocketState
from telex._end import conclude, peer_name
from telex._link import LINK_KEY, Link
from telex._types import Message
from telex.websockets import link_of


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="telex.connection")
    return caplog


async def accepted(peer: Peer, **scope: Any) -> WebSocket:
    ws = WebSocket(make_scope(**scope), peer.receive, peer.send)
    await ws.accept()
    return ws


async def concluded(ws: WebSocket) -> None:
    await soon(conclude(ws.scope, link_of(ws)))


def only(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = (r for r in caplog.records if r.name == "telex.connection")
    assert record.levelno == logging.INFO
    return record.getMessage()


async def test_the_line_says_who_ended_it_with_what_and_what_was_moved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ws = await accepted(Peer(T("1"), T("2"), D(4001)), path="/chat/é room")
    async for message in ws:
        await ws.send_text(str(message))
    assert ws.send_nowait("dropped") is False
    await concluded(ws)
    line = only(caplog)
    assert line.startswith(
        '127.0.0.1:50000 - "WebSocket /chat/%C3%A9%20room" closed by the client with 4001 after '
    )
    assert line.endswith(" s, 2 in, 2 out")


async def test_the_line_of_our_own_close(caplog: pytest.LogCaptureFixture) -> None:
    ws = await accepted(Peer())
    await ws.close(4000, "a reason that may hold private things")
    await concluded(ws)
    assert "closed by the server with 4000" in only(caplog)
    assert "private" not in only(caplog)


async def test_the_line_of_a_denial(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer()
    ws = WebSocket(make_scope(denial=True), peer.receive, peer.send)
    await ws.reject(401)
    await concluded(ws)
    assert "denied with HTTP 401" in only(caplog)


async def test_an_end_that_nobody_has_read_is_in_the_line_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ws = await accepted(Peer(T("unread"), D(4001)))
    assert await ws.is_disconnected()
    await concluded(ws)
    assert "closed by the client with 4001" in only(caplog)


async def test_a_connection_left_open_was_cut_by_us(caplog: pytest.LogCaptureFixture) -> None:
    ws = await accepted(Peer())
    reader = asyncio.create_task(ws.receive_text())
    watcher = asyncio.create_task(ws.wait_closed())
    await turns()
    await concluded(ws)
    with pytest.raises(WebSocketRuntimeError):
        await soon(reader)
    await soon(watcher)
    assert "closed by the server with 1006" in only(caplog)
    assert ws.connection_state is WebSocketState.DISCONNECTED


async def test_without_an_end_there_is_no_line(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer()
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await concluded(ws)
    assert not caplog.records


async def test_no_line_is_made_when_nobody_wants_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="telex.connection")
    ws = await accepted(Peer())
    await ws.close()
    await concluded(ws)
    assert not caplog.records


@pytest.mark.parametrize("path", ["/\ud800", "/a\r\nb", '/"quoted" and \\', "", 7, None])
async def test_no_path_breaks_the_line(path: Any, caplog: pytest.LogCaptureFixture) -> None:
    ws = await accepted(Peer())
    ws.scope["path"] = path
    await ws.close()
    await concluded(ws)
    line = only(caplog)
    assert "\n" not in line
    assert line.count('"') == 2


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (None, "unknown"),
        ((), "unknown"),
        (("::1", 7), "::1:7"),
        (["10.0.0.1", 80], "10.0.0.1:80"),
        (("/run/x", None), "/run/x"),
        (("alone",), "alone"),
    ],
)
def test_the_peer_has_a_name_whatever_the_server_says(client: Any, name: str) -> None:
    assert peer_name(make_scope(client=client)) == name


@pytest.mark.parametrize(
    "host", ["1.2.3.4\nforged", "a\x85b", "a\x1b[31mb", "a\u2028b", "a\ud800b"]
)
def test_no_client_address_breaks_the_line(host: str) -> None:
    name = peer_name(make_scope(client=(host, 1)))
    assert name.isascii()
    assert name.isprintable()
    assert name.endswith(":1")


async def test_the_link_is_forgotten() -> None:
    ws = await accepted(Peer())
    assert LINK_KEY in ws.scope
    await ws.close()
    await concluded(ws)
    assert LINK_KEY not in ws.scope
    await concluded(ws)


@pytest.mark.row("T7")
async def test_every_task_of_every_link_has_ended() -> None:
    class Stuck(Peer):
        async def send(self, message: Message) -> None:
            if message["type"] == "websocket.send":
                await asyncio.Event().wait()
            await super().send(message)

    peer = Stuck()
    scope = make_scope()
    ws = WebSocket(scope, peer.receive, peer.send)
    inner = WebSocket(scope, lambda: peer.receive(), peer.send)
    await ws.accept()
    assert not await ws.is_disconnected()
    assert not await inner.is_disconnected()
    assert ws.send_nowait("stuck")
    assert inner.send_nowait("stuck")
    await turns()
    assert len(asyncio.all_tasks()) == 5
    await concluded(ws)
    assert len(asyncio.all_tasks()) == 1


async def test_cancelling_it_does_not_stop_the_cleanups(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()
    done: list[str] = []
    ws = await accepted(Peer(D(1001)))
    assert await ws.is_disconnected()
    ws.add_cleanup(gate.wait)
    ws.add_cleanup(lambda: done.append("cleaned"))
    concluding = asyncio.create_task(conclude(ws.scope, link_of(ws)))
    await turns()
    concluding.cancel()
    await turns()
    gate.set()
    await soon(asyncio.wait((concluding,)))
    assert concluding.cancelled()
    assert done == ["cleaned"]
    assert LINK_KEY not in ws.scope
    assert "1001" in only(caplog)


async def test_cancelling_it_while_tasks_are_stopped_does_not_stop_the_cleanups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = asyncio.Event()

    class Stubborn(Peer):
        async def receive(self) -> Message:
            try:
                return await super().receive()
            except asyncio.CancelledError:
                await release.wait()
                raise

    done: list[str] = []
    ws = await accepted(Stubborn())
    assert not await ws.is_disconnected()
    ws.add_cleanup(lambda: done.append("cleaned"))
    concluding = asyncio.create_task(conclude(ws.scope, link_of(ws)))
    await turns()
    assert not done
    concluding.cancel()
    await soon(asyncio.wait((concluding,)))
    assert done == ["cleaned"]
    release.set()


async def test_what_comes_after_the_end_is_refused() -> None:
    ws = await accepted(Peer(D(4001)))
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()
    await concluded(ws)
    with pytest.raises(WebSocketDisconnect) as raised:
        await ws.receive_text()
    assert raised.value.code == 4001
    assert Link.of(make_scope(), Peer().receive, Peer().send) is not link_of(ws)
