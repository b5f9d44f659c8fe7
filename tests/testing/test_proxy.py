from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidMessage

from opened import soon, turns
from telex._types import Receive, Scope, Send
from telex._url import URL
from telex.testing._proxy import CHUNK, FaultyProxy

pytestmark = pytest.mark.integration

LOST = 1005
"""What uvicorn's sans-I/O class tells the application when the connection is lost."""

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def listening(family: socket.AddressFamily = socket.AF_INET) -> Iterator[socket.socket]:
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with socket.create_server((host, 0), family=family) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


class Echo:
    """An application that sends back what it gets, and notes how its connections ended."""

    def __init__(self) -> None:
        self.codes: asyncio.Queue[int] = asyncio.Queue()
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
        self.codes.put_nowait(event["code"])


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[str]:
    """The URL of an application on uvicorn, on the loop of the test."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="websockets-sansio")
    server = uvicorn.Server(config)
    with listening() as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"ws://127.0.0.1:{port_of(listener)}"
        finally:
            server.should_exit = True
            await soon(task)


@asynccontextmanager
async def echoing(path: str = "", **faults: Any) -> AsyncIterator[tuple[FaultyProxy, Echo]]:
    """A proxy in front of an `Echo`."""
    app = Echo()
    async with running(app) as url, FaultyProxy(url + path, **faults) as proxy:
        yield proxy, app


def client(proxy: FaultyProxy) -> connect:
    return connect(proxy.url, proxy=None, ping_interval=None, compression=None)


async def closed(ws: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosedError):
        await soon(ws.recv())
    return ws.close_code


@asynccontextmanager
async def piped(**faults: Any) -> AsyncIterator[tuple[FaultyProxy, Pipe, Pipe]]:
    """A proxy with one connection through it, as streams: the client's end and the server's."""
    ends: asyncio.Queue[Pipe] = asyncio.Queue()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.put_nowait((reader, writer))

    with listening() as listener:
        server = await asyncio.start_server(connected, sock=listener)
        async with server, FaultyProxy(port_of(listener), **faults) as proxy:
            near = await soon(asyncio.open_connection("127.0.0.1", URL(proxy.url).port))
            far = await soon(ends.get())
            try:
                yield proxy, near, far
            finally:
                for _, writer in (near, far):
                    writer.transport.abort()


# Nothing wrong


async def test_without_faults_a_connection_works_and_ends_as_it_would_without_the_proxy() -> None:
    async with echoing() as (proxy, app), client(proxy) as ws:
        await ws.send("text")
        assert await soon(ws.recv()) == "text"
        await ws.send(b"x" * 3 * CHUNK)
        assert await soon(ws.recv()) == b"x" * 3 * CHUNK
        await soon(ws.close(4001))
        assert await soon(app.codes.get()) == 4001


async def test_the_url_keeps_everything_but_the_address() -> None:
    async with echoing("/chat?room=1") as (proxy, app):
        assert proxy.url.startswith("ws://127.0.0.1:")
        assert proxy.url.endswith("/chat?room=1")
        async with client(proxy):
            assert app.paths == ["/chat"]


@pytest.mark.parametrize(
    ("target", "start", "end"),
    [
        (8000, "ws://127.0.0.1:", ""),
        ("https://user:secret@example.com/a?b#c", "https://user:secret@127.0.0.1:", "/a?b#c"),
        (URL("wss://localhost:8443/"), "wss://127.0.0.1:", "/"),
    ],
)
async def test_the_url_of_a_target(target: str | int, start: str, end: str) -> None:
    async with FaultyProxy(target) as proxy:
        assert proxy.url.startswith(start)
        port = proxy.url.removeprefix(start).removesuffix(end)
        assert 0 < int(port) < 65536
        assert int(port) not in (8000, 443, 8443)


async def test_a_server_on_ipv6_can_be_the_target() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with listening(socket.AF_INET6) as listener:
        listener.setblocking(False)
        async with FaultyProxy(f"ws://[::1]:{port_of(listener)}") as proxy:
            _, writer = await soon(asyncio.open_connection("127.0.0.1", URL(proxy.url).port))
            end, _ = await soon(asyncio.get_running_loop().sock_accept(listener))
            end.close()
            writer.close()


async def test_a_side_that_has_said_all_still_hears() -> None:
    async with piped() as (_, (reader, writer), (far_reader, far_writer)):
        writer.write(b"question")
        writer.write_eof()
        assert await soon(far_reader.read()) == b"question"
        far_writer.write(b"answer")
        far_writer.close()
        assert await soon(reader.read()) == b"answer"


async def test_a_reset_by_one_side_is_a_reset_for_the_other() -> None:
    async with piped() as (_, (_, writer), (far_reader, _)):
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
        with pytest.raises(ConnectionResetError):
            await soon(far_reader.read())


async def test_a_server_that_refuses_is_a_reset_for_the_client() -> None:
    with listening() as listener:
        port = port_of(listener)
    async with FaultyProxy(port) as proxy:
        reader, writer = await soon(asyncio.open_connection("127.0.0.1", URL(proxy.url).port))
        with pytest.raises(ConnectionResetError):
            await soon(reader.read())
        writer.close()


# Late and in pieces


async def test_each_piece_is_late() -> None:
    loop = asyncio.get_running_loop()
    async with piped(delay=0.1) as (_, (_, writer), (far_reader, _)):
        start = loop.time()
        writer.write(b"x")
        assert await soon(far_reader.read(1)) == b"x"
        assert loop.time() - start > 0.09


async def test_bytes_arrive_in_pieces_and_in_order() -> None:
    data = bytes(range(20))
    async with piped(split=7, delay=0.02) as (_, (_, writer), (far_reader, _)):
        writer.write(data)
        pieces: list[bytes] = []
        while len(b"".join(pieces)) < len(data):
            pieces.append(await soon(far_reader.read(100)))
        assert b"".join(pieces) == data
        assert len(pieces) > 1


async def test_a_websocket_survives_a_line_of_small_pieces() -> None:
    async with echoing(split=3) as (proxy, _), client(proxy) as ws:
        for message in ("hello", "ä" * 500, b"\0" * 500):
            await ws.send(message)
            assert await soon(ws.recv()) == message


# Broken


@pytest.mark.parametrize("up", [True, False], ids=["to the server", "to the client"])
async def test_a_connection_is_cut_after_so_many_bytes(up: bool) -> None:
    async with piped(drop_after_bytes=10) as (_, near, far):
        writer, reader = (near[1], far[0]) if up else (far[1], near[0])
        writer.write(b"0123456789abc")
        assert await soon(reader.readexactly(10)) == b"0123456789"
        for end, _ in (near, far):
            with pytest.raises(ConnectionResetError):
                await soon(end.read())


async def test_a_connection_that_may_carry_nothing_is_cut_at_once() -> None:
    async with echoing(drop_after_bytes=0) as (proxy, _):
        with pytest.raises(InvalidMessage):
            await soon(client(proxy).__aenter__())


async def test_bytes_are_counted_for_each_connection_by_itself() -> None:
    async with echoing(drop_after_bytes=2000) as (proxy, app):
        for _ in range(3):
            async with client(proxy) as ws:
                await ws.send("x")
                assert await soon(ws.recv()) == "x"
        async with client(proxy) as ws:
            await ws.send("x" * 2000)
            assert await closed(ws) == 1006
        assert [await soon(app.codes.get()) for _ in range(4)] == [1000, 1000, 1000, LOST]


async def test_drop_cuts_every_connection_on_both_sides() -> None:
    async with echoing() as (proxy, app), client(proxy) as one, client(proxy) as two:
        proxy.drop()
        assert [await closed(one), await closed(two)] == [1006, 1006]
        assert [await soon(app.codes.get()) for _ in range(2)] == [LOST, LOST]
        async with client(proxy) as again:
            await again.send("x")
            assert await soon(again.recv()) == "x"


async def test_a_connection_can_be_dropped_before_it_has_begun() -> None:
    with listening() as listener:
        async with FaultyProxy(port_of(listener)) as proxy:
            reader, writer = await soon(asyncio.open_connection("127.0.0.1", URL(proxy.url).port))
            async with asyncio.timeout(5):
                while not proxy._carrying:
                    await turns(1)
            proxy.drop()
            with pytest.raises(ConnectionResetError):
                await soon(reader.read())
            writer.close()


# Held up


async def test_nothing_passes_while_the_line_is_stalled_and_nothing_is_lost() -> None:
    async with echoing() as (proxy, _), client(proxy) as ws:
        proxy.stall()
        await ws.send("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ws.recv()
        await ws.send("b")
        proxy.resume()
        assert [await soon(ws.recv()), await soon(ws.recv())] == ["a", "b"]


async def test_a_stalled_line_makes_the_sender_wait() -> None:
    size = 64 * 1024 * 1024
    async with piped() as (proxy, (_, writer), (far_reader, _)):
        proxy.stall()
        writer.write(b"x" * size)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await writer.drain()
        # What is not in a kernel's buffer is still here: the proxy itself holds next to nothing.
        assert writer.transport.get_write_buffer_size() > size / 2
        proxy.resume()
        async with asyncio.timeout(20):
            assert len(await far_reader.readexactly(size)) == size


async def test_a_stalled_line_can_be_dropped() -> None:
    async with echoing() as (proxy, app), client(proxy) as ws:
        proxy.stall()
        await ws.send("a")
        await turns()
        proxy.drop()
        assert await closed(ws) == 1006
        assert await soon(app.codes.get()) == LOST


# The block


async def test_leaving_the_block_cuts_what_is_connected() -> None:
    async with running(Echo()) as url:
        async with FaultyProxy(url) as proxy:
            ws = await soon(client(proxy).__aenter__())
            port = URL(proxy.url).port
        assert await closed(ws) == 1006
        with pytest.raises(ConnectionRefusedError):
            await soon(asyncio.open_connection("127.0.0.1", port))
        assert not [task for task in asyncio.all_tasks() if "proxy" in task.get_name()]


async def test_a_proxy_has_a_url_and_a_listener_inside_its_block_only() -> None:
    proxy = FaultyProxy(8000)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"is known inside 'async with FaultyProxy\(…\)'"):
            _ = proxy.url
        async with proxy:
            with pytest.raises(RuntimeError, match="this FaultyProxy is in use"):
                await proxy.__aenter__()
            assert proxy.url


SPLIT = "split=…) must be an int of at least 1 or None"
DELAY = "delay=…) must be a number of seconds, 0 or more"
DROP = "drop_after_bytes=…) must be an int of at least 0 or None"
PORT = "target=…) must be a URL or a port"
URLS = "target=…) must be a URL with a host and one of ws, wss, http, https"


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: FaultyProxy(1, split=0), ValueError, f"{SPLIT}, not 0"),
        (lambda: FaultyProxy(1, split=cast(int, "1")), TypeError, f"{SPLIT}, not '1'"),
        (lambda: FaultyProxy(1, delay=-0.5), ValueError, f"{DELAY}, not -0.5"),
        (lambda: FaultyProxy(1, delay=float("inf")), ValueError, f"{DELAY}, not inf"),
        (lambda: FaultyProxy(1, delay=True), TypeError, f"{DELAY}, not True"),
        (lambda: FaultyProxy(1, drop_after_bytes=-1), ValueError, f"{DROP}, not -1"),
        (lambda: FaultyProxy(70000), ValueError, f"{PORT} from 1 to 65535, not 70000"),
        (lambda: FaultyProxy(0), ValueError, f"{PORT} from 1 to 65535, not 0"),
        (lambda: FaultyProxy(cast(str, None)), TypeError, f"{PORT}, not None"),
        (lambda: FaultyProxy("ftp://host"), ValueError, f"{URLS}, not 'ftp://host'"),
        (lambda: FaultyProxy("ws:///x"), ValueError, f"{URLS}, not 'ws:///x'"),
        (
            lambda: FaultyProxy("ws://host:x"),
            ValueError,
            "target=…) has no valid port: 'ws://host:x'",
        ),
    ],
)
def test_a_proxy_says_what_it_expects(
    make: Callable[[], object], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == f"FaultyProxy({sentence}"
