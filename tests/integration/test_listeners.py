"""Listeners over real sockets: on our server, and on uvicorn with the library it comes with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from integration.calls import DEADLINE
from telex import App, Depends, WebSocket
from telex.codecs import JSON, MessagePack
from telex.testing import LiveServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

SERVERS = ["telex.server:WebSocketProtocol", "websockets-sansio", "wsproto"]

log: list[str] = []
"""What happened on the server, which is a thread of this process."""


class Order(msgspec.Struct):
    price: float


class Receipt(msgspec.Struct):
    total: float


async def kept() -> AsyncIterator[str]:
    log.append("kept open")
    try:
        yield "kept"
    finally:
        await asyncio.sleep(0.01)
        log.append("kept closed")


async def for_message(data: str) -> AsyncIterator[str]:
    log.append(f"{data} open")
    try:
        yield data
    finally:
        await asyncio.sleep(0.01)
        log.append(f"{data} closed")


app = App(codecs={"json": JSON(), "msgpack": MessagePack()})


@app.websocket_listener("/orders")
async def orders(data: Order) -> Receipt:
    return Receipt(data.price * 2)


@app.websocket_listener("/count")
async def count(data: int) -> AsyncIterator[int]:
    for each in range(data):
        yield each


Kept = Annotated[str, Depends(kept)]
ForMessage = Annotated[str, Depends(for_message, scope="message")]


async def busy(data: str, a: Kept, b: ForMessage) -> None:
    log.append(f"{data} begun")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        log.append(f"{data} ended")


async def chatty(data: str, ws: WebSocket, a: Kept) -> None:
    try:
        while True:
            await ws.send_bytes(bytes(100_000))
            # Behind the client's close uvicorn's libraries drop what is sent without waiting.
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0.01)
        log.append("chatty ended")


async def endless(data: str, a: Kept) -> AsyncIterator[bytes]:
    try:
        while True:
            yield bytes(100_000)
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0.01)
        log.append("endless ended")


async def quick(data: str) -> None:
    log.append(f"{data} handled")


for concurrency in (1, 3):
    for each in (busy, chatty, endless, quick):
        path = f"/{each.__name__}/{concurrency}"
        app.websocket_listener(path, name=None, concurrency=concurrency)(each)


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    with LiveServer(app, ws=request.param) as server:
        yield server


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


@asynccontextmanager
async def connected(
    server: LiveServer, path: str, **options: Any
) -> AsyncIterator[ClientConnection]:
    async with asyncio.timeout(DEADLINE):
        async with connect(f"{server.url}{path}", proxy=None, close_timeout=2, **options) as ws:
            yield ws


async def logged(*lines: str) -> None:
    """Wait until everything is in the log that belongs there."""
    async with asyncio.timeout(DEADLINE):
        while not {*lines} <= {*log}:  # noqa: ASYNC110 -- the log is of another thread
            await asyncio.sleep(0.01)


async def close_code(ws: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await ws.recv()
    return None if caught.value.rcvd is None else caught.value.rcvd.code


async def test_every_message_is_answered_in_order(server: LiveServer) -> None:
    async with connected(server, "/orders") as ws:
        for n in range(200):
            await ws.send(f'{{"price": {n}}}')
        for n in range(200):
            assert await ws.recv() == f'{{"total":{n * 2}.0}}'


async def test_every_item_is_sent(server: LiveServer) -> None:
    async with connected(server, "/count") as ws:
        await ws.send("3")
        await ws.send("2")
        assert [await ws.recv() for _ in range(5)] == ["0", "1", "2", "0", "1"]


async def test_clients_choose_the_codec_by_subprotocol(server: LiveServer) -> None:
    async with connected(server, "/orders", subprotocols=["msgpack", "json"]) as ws:
        await ws.send(msgspec.msgpack.encode({"price": 2}))
        assert msgspec.msgpack.decode(await ws.recv(decode=False)) == {"total": 4.0}
    async with connected(server, "/orders", subprotocols=["json"]) as ws:
        await ws.send('{"price": 2}')
        assert await ws.recv() == '{"total":4.0}'


async def test_what_does_not_fit_is_told_and_in_the_end_closed(server: LiveServer) -> None:
    async with connected(server, "/orders") as ws:
        for _ in range(10):
            await ws.send("nope")
            assert '"type":"error"' in str(await ws.recv())
        assert await close_code(ws) == 1007


@pytest.mark.parametrize("leave", ["close", "abort"])
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("what", ["busy", "chatty", "endless"])
async def test_when_the_client_leaves_every_finally_block_runs_to_its_end(
    server: LiveServer, what: str, concurrency: int, leave: str
) -> None:
    async with connected(server, f"/{what}/{concurrency}") as ws:
        await ws.send("a")
        if what == "busy":
            await logged("a begun")
        else:
            await ws.recv()
        if leave == "abort":
            ws.transport.abort()
        else:
            await ws.close()
    ended = ["a ended", "a closed"] if what == "busy" else [f"{what} ended"]
    await logged(*ended, "kept closed")
    assert log[-1] == "kept closed"


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_what_a_client_sends_before_it_closes_is_handled(
    server: LiveServer, concurrency: int
) -> None:
    async with connected(server, f"/quick/{concurrency}") as ws:
        protocol = ws.protocol
        for name in "abc":
            protocol.send_text(name.encode())
        protocol.send_close(1000)
        ws.transport.write(b"".join(protocol.data_to_send()))
        await logged("a handled", "b handled", "c handled")
