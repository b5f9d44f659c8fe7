"""Connection middleware: how the handshake goes, and the end, which is told once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from clients import connected, ending, rejection
from hooked import Handler, Log, Marking, Raising, Watching, both_ways, echo, hooked, run
from opened import soon, turns
from peer import D, Peer, T
from telex import (
    Outbox,
    Reject,
    WebSocket,
    WebSocketException,
)
from telex._types import CloseRecord, Message

# The handshake


@pytest.mark.parametrize(
    ("exc", "status", "body"),
    [
        (Reject(401, "who?"), 401, b"who?"),
        (LookupError("secret"), 500, b"Internal Server Error"),
        (WebSocketException(4001), 403, b""),
    ],
    ids=repr,
)
async def test_what_on_handshake_raises_is_a_denial(
    exc: Exception, status: int, body: bytes
) -> None:
    called: list[str] = []

    async def handler(ws: WebSocket) -> None:
        called.append("handler")

    outer, inner = Watching(), Watching()
    app = hooked(handler, outer, Raising("on_handshake", exc), inner)
    refused = await rejection(app, raise_app_exceptions=False)
    assert (refused.status, refused.body) == (status, body)
    assert called == []
    [record] = outer.records
    assert record is not None
    assert record.closed_by == "server"
    assert record.status == (None if status == 403 else status)
    assert inner.records == []


@both_ways
async def test_on_handshake_may_reject(path: str) -> None:
    class Closed:
        async def on_handshake(self, ws: WebSocket) -> None:
            await ws.reject(403)

    outer, inner = Watching(), Watching()
    channel = await run(hooked(echo, outer, Closed(), inner), path)
    assert channel.types == ["close"]
    assert [record and record.code for record in outer.records] == [1008]
    assert inner.records == []


@both_ways
async def test_on_handshake_may_accept_and_talk(path: str) -> None:
    class Greeting:
        async def on_handshake(self, ws: WebSocket) -> None:
            await ws.accept()
            assert await ws.receive_text() == "password<m"
            await ws.send_text("welcome")

    async def handler(ws: WebSocket) -> None:
        await ws.send_text(await ws.receive_text())

    app = hooked(handler, Marking("m", []), Greeting())
    channel = await run(app, path, T("password"), T("x"))
    assert channel.data == ["welcome>m", "x<m>m"]
    assert channel.types == ["accept", "send", "send", "close"]


@both_ways
async def test_on_handshake_may_accept_and_close(path: str) -> None:
    class Visible:
        async def on_handshake(self, ws: WebSocket) -> None:
            await ws.reject(visible=4401, body="log in")

    async def handler(ws: WebSocket) -> None:
        pytest.fail("it is over")

    seen = Watching()
    channel = await run(hooked(handler, seen, Visible()), path)
    assert channel.closes == [(4401, "log in")]
    assert seen.records == [CloseRecord(4401, "log in", "server")]


async def test_a_client_that_gives_up_during_on_handshake() -> None:
    class Accepting:
        async def on_handshake(self, ws: WebSocket) -> None:
            await ws.accept()

    async def handler(ws: WebSocket) -> None:
        pytest.fail("nobody is there")

    seen = Watching()
    peer = Peer(D(1006), connect=False)
    await peer.run(hooked(handler, seen, Accepting()))
    assert seen.records == [CloseRecord(1006, "", "client")]
    assert peer.sent == []


async def test_a_handshake_that_is_cancelled_has_an_end_without_a_record() -> None:
    class Waiting:
        async def on_handshake(self, ws: WebSocket) -> None:
            await asyncio.Event().wait()

    seen = Watching()
    task = asyncio.create_task(Peer().run(hooked(echo, seen, Waiting())))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert seen.records == [None]


# The end


async def _returns(ws: WebSocket) -> None:
    await ws.accept()


async def _falls_through(ws: WebSocket) -> None:
    pass


async def _raises(ws: WebSocket) -> None:
    await ws.accept()
    raise LookupError


async def _rejects(ws: WebSocket) -> None:
    raise Reject(401, "who?")


async def _closes_twice(ws: WebSocket) -> None:
    await ws.accept()
    await ws.close(4000, "enough")
    await ws.close(4001)
    raise LookupError


async def _reads(ws: WebSocket) -> None:
    await ws.accept()
    await ws.receive_text()


async def _reads_in_two_tasks(ws: WebSocket) -> None:
    await ws.accept()
    await asyncio.gather(ws.receive_text(), ws.receive_text(), return_exceptions=True)


async def _does_not_notice(ws: WebSocket) -> None:
    await ws.accept()
    await asyncio.Event().wait()


async def _aborts(ws: WebSocket) -> None:
    await ws.accept()
    await ws.abort()


async def _overflows(ws: WebSocket) -> None:
    await ws.accept()
    for _ in range(5):
        ws.send_nowait("x" * 100)


ENDINGS: dict[str, tuple[Handler, tuple[Message, ...], CloseRecord]] = {
    "returns": (_returns, (), CloseRecord(1000, "", "server")),
    "falls through": (_falls_through, (), CloseRecord(1008, "", "server")),
    "raises": (_raises, (), CloseRecord(1011, "", "server")),
    "rejects": (_rejects, (), CloseRecord(1008, "", "server")),
    "closes twice": (_closes_twice, (), CloseRecord(4000, "enough", "server")),
    "client closes": (_reads, (D(4002, "bye"),), CloseRecord(4002, "bye", "client")),
    "client closes on two": (_reads_in_two_tasks, (D(1001),), CloseRecord(1001, "", "client")),
    "client drops": (_reads, (D(1006),), CloseRecord(1006, "", "client")),
    "unnoticed": (_does_not_notice, (D(1001),), CloseRecord(1001, "", "client")),
}


@both_ways
@pytest.mark.parametrize("name", ENDINGS)
async def test_on_close_is_called_once_with_the_record(path: str, name: str) -> None:
    handler, script, expected = ENDINGS[name]
    first, second = Watching(), Watching()
    await run(hooked(handler, first, second, disconnect_grace=0.01), path, *script)
    for seen in (first, second):
        [record] = seen.records
        assert record is not None
        assert (record.code, record.reason, record.closed_by) == (
            expected.code,
            expected.reason,
            expected.closed_by,
        )


@both_ways
async def test_on_close_is_called_once_after_an_abort(path: str) -> None:
    seen = Watching()
    await run(hooked(_aborts, seen), path)
    code = 1001 if path == "asgi" else 1006
    assert seen.records == [CloseRecord(code, "", "server")]


@pytest.mark.parametrize("accepted", [False, True])
async def test_on_close_is_called_once_when_the_server_stops(accepted: bool) -> None:
    async def handler(ws: WebSocket) -> None:
        if accepted:
            await ws.accept()
        await asyncio.Event().wait()

    seen = Watching()
    task = asyncio.create_task(Peer().run(hooked(handler, seen)))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    [record] = seen.records
    assert record is not None
    assert (record.code, record.closed_by) == (1012 if accepted else 1011, "server")


async def test_on_close_is_called_once_for_a_slow_client() -> None:
    seen = Watching()
    app = hooked(_overflows, seen, outbox=Outbox(max_messages=2, policy="close"))
    async with connected(app) as ws:
        await ws.expect_close(4008)
    assert [record and record.code for record in seen.records] == [4008]


async def test_on_close_is_called_for_a_path_that_is_not_there() -> None:
    seen = Watching()
    assert (await rejection(hooked(echo, seen), "/none")).status == 404
    assert [record and record.status for record in seen.records] == [404]


async def test_on_close_comes_before_the_reader_is_told_and_before_the_handlers_cleanups() -> None:
    log: Log = []

    async def handler(ws: WebSocket) -> None:
        ws.add_cleanup(lambda: log.append("cleanup"))
        await ws.accept()
        async for _ in ws:
            pass
        log.append("told")

    async with connected(hooked(handler, Marking("m", log))) as ws:
        await ws.close(1001)
    assert log == ["m handshake /", "m close 1001 by the client", "cleanup", "told"]


async def test_the_log_line_of_a_connection_is_written_after_its_hooks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex.connection")
    at_close: list[int] = []

    class Counting:
        async def on_close(self, ws: WebSocket, record: CloseRecord) -> None:
            at_close.append(len(caplog.records))

    assert await ending(hooked(_returns, Counting())) == (1000, "")
    assert at_close == [0]
    assert len(caplog.records) == 1
