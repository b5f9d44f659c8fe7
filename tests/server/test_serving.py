"""The server ends in good order: applications first, then everything else, then the lifespan."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import pytest
import trustme
import uvicorn
from uvicorn.supervisors import Multiprocess, multiprocess

import telex.server
from opened import soon
from telex._draining import drains_here
from telex._types import Receive, Scope, Send
from telex.server import _serving
from telex.server._serving import Server, Worker, Workers, serve

Handler = Callable[[Receive, Send], Awaitable[None]]

KERNEL = 128 * 1024
"""Bytes that a kernel is to hold of a connection, on each side."""

HEAD = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def answer(_receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


class Site:
    """An ASGI application that notes what happens, and has connections to drain.

    Args:
        handler: What it does with HTTP requests.
        left: The tasks that do not let themselves be ended.
    """

    def __init__(self, handler: Handler = answer, left: list[asyncio.Task[Any]] | None = None):
        self.notes: list[Any] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self._handler = handler
        self._left = left or []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            drains_here(self)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.notes.append("lifespan over")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            self.notes.append("asked")
            try:
                await self._handler(receive, send)
            except asyncio.CancelledError:
                self.notes.append("cancelled")
                raise

    async def drain(self, timeout: float, cleanup_timeout: float) -> list[asyncio.Task[Any]]:
        assert cleanup_timeout == Server.cleanup_timeout
        self.notes.append("drains")
        self.timeout = timeout
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.notes.append("cut short")
            raise
        self.notes.append("has drained")
        return self._left

    def drained(self) -> None:
        self.notes.append("drained")


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that takes its time, such as the server's next look at a mark."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came to that")


class Running:
    """A server on a free port, in this event loop."""

    def __init__(self, site: Site, **options: Any) -> None:
        self.server = Server(uvicorn.Config(site, log_config=None, **options))
        self._socket = socket.socket()
        # Of the connections too.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.task = asyncio.ensure_future(self.server.serve([self._socket]))
        self.writers: list[asyncio.StreamWriter] = []

    async def request(
        self, head: bytes = HEAD, tls: ssl.SSLContext | None = None
    ) -> asyncio.StreamReader:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)
        sock.setblocking(False)
        await soon(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port)))
        name = None if tls is None else "127.0.0.1"
        reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name)
        self.writers.append(writer)
        writer.write(head)
        return reader

    async def stop(self) -> float:
        """Stop it; return how many seconds that took."""
        begin = time.monotonic()
        self.server.should_exit = True
        await soon(asyncio.shield(self.task))
        return time.monotonic() - begin


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Puts them back: of two servers in one thread the second leaves those of the first behind."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@asynccontextmanager
async def running(site: Site, **options: Any) -> AsyncIterator[Running]:
    before = asyncio.all_tasks()
    run = Running(site, **options)
    try:
        await until(lambda: run.server.started)
        yield run
    finally:
        run.server.should_exit = run.server.force_exit = True
        await soon(asyncio.wait((run.task,)))
        for writer in run.writers:
            writer.close()
        # uvicorn leaves the lifespan behind when it is forced to end.
        for task in asyncio.all_tasks() - before:
            task.cancel()


async def refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


def test_it_is_public() -> None:
    assert telex.server.Server is Server
    with pytest.raises(AttributeError, match="no attribute 'Sever'"):
        _ = telex.server.Sever


# --- the order of the end ---


async def test_applications_are_drained_while_the_server_takes_no_more_connections() -> None:
    site = Site()
    site.go_on.clear()
    async with running(site) as run:
        stopping = asyncio.ensure_future(run.stop())
        await until(lambda: "drains" in site.notes)
        assert await refused(run.port)
        assert site.notes == ["drains"]
        site.go_on.set()
        await stopping
    assert site.notes == ["drains", "has drained", "lifespan over", "drained"]
    assert site.timeout == float("inf")


async def test_idle_connections_are_closed_at_once_and_requests_are_answered() -> None:
    release = asyncio.Event()

    async def waits_first(receive: Receive, send: Send) -> None:
        if len(site.notes) > 1:
            await release.wait()
        await answer(receive, send)

    site = Site(waits_first)
    site.go_on.clear()
    async with running(site) as run:
        idle = await run.request()
        assert (await soon(idle.readuntil(b"ok"))).startswith(b"HTTP/1.1 200")
        busy = await run.request()
        await until(lambda: site.notes.count("asked") == 2)
        stopping = asyncio.ensure_future(run.stop())
        assert await soon(idle.read()) == b""
        assert "has drained" not in site.notes
        release.set()
        response = await soon(busy.read())
        site.go_on.set()
        await stopping
    assert response.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in response
    assert site.notes[-2:] == ["lifespan over", "drained"]


async def test_a_request_that_takes_too_long_is_cancelled_before_the_lifespan_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def never(_receive: Receive, _send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            site.notes.append("cleaned up")

    site = Site(never)
    async with running(site, timeout_graceful_shutdown=1) as run:
        await run.request()
        await until(lambda: "asked" in site.notes)
        took = await run.stop()
    assert 1 <= took < 3
    assert 0 < site.timeout <= 1
    end = ["cleaned up", "cancelled", "lifespan over", "drained"]
    assert site.notes[-4:] == end
    assert "Time is up: cancelling 1 running task(s)" in caplog.text


# --- connections in which nothing runs any more ---


def answers_with(size: int) -> Handler:
    """A handler that ends when all of its answer is written, whether or not anybody reads it."""

    async def handler(_receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})

    return handler


MUCH = 6 << 20
"""Bytes of which some wait in the server as long as nobody reads them."""


LAST_HEAD = HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
"""Of a request after whose answer uvicorn closes the connection by itself."""


async def answered(run: Running, *how: Any) -> asyncio.StreamReader:
    """Ask for something, and read nothing of it but the head."""
    reader = await run.request(*how)
    await soon(reader.readuntil(b"\r\n\r\n"))
    await until(lambda: not run.server.server_state.tasks)
    return reader


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_a_client_that_does_not_read_its_answer_holds_nothing_up(http: str) -> None:
    async with running(Site(answers_with(MUCH)), http=http) as run:
        reader = await answered(run)
        assert 1 <= await run.stop() < 4
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await soon(reader.readexactly(MUCH))


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_a_client_that_reads_slowly_gets_all_of_its_answer(
    http: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_serving, "_MOMENT", 0.4)
    async with running(Site(answers_with(MUCH)), http=http) as run:
        reader = await answered(run)
        began = time.monotonic()
        stopping = asyncio.ensure_future(run.stop())
        left = MUCH
        while left:
            left -= len(await soon(reader.readexactly(min(left, 1 << 15))))
            await asyncio.sleep(0.01)
        assert time.monotonic() - began > 3 * _serving._MOMENT
        assert await stopping < 5


@pytest.fixture
def secured(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    """A server's certificate, and a client that trusts it."""
    authority = trustme.CA()
    certificate = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return str(certificate), trust


@pytest.mark.parametrize("head", [HEAD, LAST_HEAD])
@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_both_hold_with_tls(
    secured: tuple[str, ssl.SSLContext], http: str, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_serving, "_MOMENT", 0.4)
    certificate, trust = secured
    options: dict[str, Any] = {"http": http, "ssl_certfile": certificate}
    async with running(Site(answers_with(MUCH)), **options) as run:
        deaf, slow = [await answered(run, head, trust) for _ in range(2)]
        began = time.monotonic()
        stopping = asyncio.ensure_future(run.stop())
        left = MUCH
        while left:
            left -= len(await soon(slow.readexactly(min(left, 1 << 15))))
            await asyncio.sleep(0.01)
        assert time.monotonic() - began > 3 * _serving._MOMENT
        assert await stopping < 5
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await soon(deaf.readexactly(MUCH))


async def test_while_something_runs_nobody_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_serving, "_MOMENT", 0.1)
    release = asyncio.Event()
    much = answers_with(MUCH)

    async def first_much(receive: Receive, send: Send) -> None:
        if site.notes == ["asked"]:
            await much(receive, send)
        else:
            await release.wait()
            await answer(receive, send)

    site = Site(first_much)
    async with running(site) as run:
        reader = await answered(run)
        other = await run.request()
        await until(lambda: len(site.notes) == 2)
        stopping = asyncio.ensure_future(run.stop())
        await until(lambda: "has drained" in site.notes)
        await asyncio.sleep(0.5)
        assert len(run.server.server_state.connections) == 2
        release.set()
        assert (await soon(other.read())).endswith(b"ok")
        assert await stopping < 3
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await soon(reader.readexactly(MUCH))


class Stubborn:
    """Does not let itself be cancelled."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, *_: Any) -> None:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1

    async def end(self, task: asyncio.Task[Any]) -> None:
        self.release.set()
        await soon(asyncio.wait((task,)))


async def test_what_applications_could_not_end_is_not_waited_for() -> None:
    stubborn = Stubborn()
    task = asyncio.create_task(stubborn())
    site = Site(left=[task])
    async with running(site) as run:
        run.server.server_state.tasks.add(task)
        assert await run.stop() < 1
        assert not task.done()
        # `asyncio.run` waits for these at its end.
        assert task not in asyncio.all_tasks()
        assert run.server.left_behind == {task}
    assert stubborn.cancelled == 0
    assert site.notes[-2:] == ["lifespan over", "drained"]
    await stubborn.end(task)


async def test_what_the_server_could_not_end_is_logged_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Server, "cleanup_timeout", 0.05)
    stubborn = Stubborn()
    site = Site(stubborn)
    async with running(site, timeout_graceful_shutdown=1) as run:
        reader = await run.request()
        await until(lambda: run.server.server_state.tasks)
        (task,) = run.server.server_state.tasks
        assert await run.stop() < 2
        assert task not in asyncio.all_tasks()
        assert run.server.left_behind == {task}
        assert await soon(reader.read()) == b""
    assert stubborn.cancelled == 2
    assert "1 task(s) go on although they were cancelled" in caplog.text
    assert site.notes[-2:] == ["lifespan over", "drained"]
    await stubborn.end(task)


async def test_with_little_time_there_is_little_for_close_handshakes_too() -> None:
    async def never(_receive: Receive, _send: Send) -> None:
        await asyncio.Event().wait()

    site = Site(never)
    async with running(site, timeout_graceful_shutdown=0) as run:
        await run.request()
        await until(lambda: "asked" in site.notes)
        assert await run.stop() < 1
        assert run.server.left_behind == set()
    assert "cancelled" in site.notes


async def test_a_connection_without_a_task_is_dropped_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(Site(), timeout_graceful_shutdown=0) as run:
        connection = Mock()
        run.server.server_state.connections.add(connection)
        await run.stop()
    connection.shutdown.assert_called_once_with()
    connection.transport.abort.assert_called_once_with()
    assert "Time is up" not in caplog.text


async def test_a_second_interrupt_cuts_everything_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_serving, "_HURRY", 0.05)
    stubborn = Stubborn()
    site = Site(stubborn)
    site.go_on.clear()
    async with running(site) as run:
        await run.request()
        await until(lambda: run.server.server_state.tasks)
        (task,) = run.server.server_state.tasks
        stopping = asyncio.ensure_future(run.stop())
        await until(lambda: "drains" in site.notes)
        run.server.force_exit = True
        assert await stopping < 2
        assert task not in asyncio.all_tasks()
    assert site.notes == ["asked", "drains", "cut short", "drained"]
    await stubborn.end(task)


async def test_a_shutdown_that_is_cancelled_leaves_no_draining_behind() -> None:
    site = Site()
    site.go_on.clear()
    async with running(site) as run:
        run.server.should_exit = True
        await until(lambda: "drains" in site.notes)
        run.task.cancel()
        await soon(asyncio.wait((run.task,)))
        await until(lambda: "cut short" in site.notes)
    assert site.notes == ["drains", "drained", "cut short"]


async def test_an_application_may_be_served_again() -> None:
    site = Site()
    for _ in range(2):
        async with running(site) as run:
            await run.stop()
    assert site.notes == ["drains", "has drained", "lifespan over", "drained"] * 2


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_of_two_servers_on_one_event_loop_each_drains_its_own(http: str) -> None:
    """Whose an application is, is known from the connection on which it says that it has one."""

    class Asked(Site):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            drains_here(self)
            await super().__call__(scope, receive, send)

    first, second = Asked(), Asked()
    options: dict[str, Any] = {"http": http, "lifespan": "off"}
    async with running(first, **options) as one, running(second, **options) as other:
        for run in (one, other):
            assert await soon((await run.request()).readuntil(b"ok"))
        await one.stop()
        assert first.notes == ["asked", "drains", "has drained", "drained"]
        assert second.notes == ["asked"]
        assert await soon((await other.request()).readuntil(b"ok"))
        await other.stop()
    assert first.notes.count("drains") == second.notes.count("drains") == 1


# --- in place of uvicorn.run ---


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """`Server.run`, which only says that it has started."""

    def run(server: Server, sockets: list[socket.socket] | None = None) -> None:
        server.started = True

    stub: Mock = create_autospec(Server.run, side_effect=run)
    monkeypatch.setattr(Server, "run", stub)
    return stub


def test_it_takes_the_options_of_uvicorn_run(ran: Mock, tmp_path: Path) -> None:
    serve(answer, {"port": 1234, "log_config": None, "app_dir": str(tmp_path)})
    (server,) = ran.call_args.args
    assert type(server) is Server
    assert (server.config.port, server.config.host) == (1234, "127.0.0.1")
    assert sys.path.pop(0) == str(tmp_path)


def test_an_interrupt_is_no_error_and_the_socket_file_is_removed(ran: Mock, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.touch()

    def interrupt(server: Server, sockets: object = None) -> None:
        server.started = True
        raise KeyboardInterrupt

    ran.side_effect = interrupt
    serve(answer, {"uds": str(path), "log_config": None})
    assert not path.exists()


def test_a_server_that_could_not_start_exits_as_uvicorn_does(ran: Mock) -> None:
    ran.side_effect = None
    with pytest.raises(SystemExit) as ended:
        serve(answer, {"log_config": None})
    assert ended.value.code == 3


def test_an_application_that_is_not_there_exits_too(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        serve("nowhere:app", {"log_config": None})
    assert ended.value.code == 3 if hasattr(uvicorn.Config, "load_app") else 1
    assert "Error loading ASGI app" in caplog.text


def test_reload_starts_our_server_again(ran: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    reloader = Mock()
    monkeypatch.setattr(_serving, "ChangeReload", reloader)
    serve("main:app", {"port": 0, "reload": True, "log_config": None})
    reloader.return_value.run.assert_called_once_with()
    reloader.call_args.kwargs["target"]()
    assert type(ran.call_args.args[0]) is Server
    # It is closed, however the reloader has ended.
    assert reloader.call_args.kwargs["sockets"][0].fileno() == -1


def test_every_worker_runs_our_server(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[Any] = []

    def run(self: Multiprocess) -> None:
        processes.append(multiprocess.Process(self.config, self.sockets))

    theirs = multiprocess.Process
    monkeypatch.setattr(Multiprocess, "run", run)
    monkeypatch.setattr(Multiprocess, "__init__", _init)
    serve("main:app", {"port": 0, "workers": 2, "log_config": None})
    (process,) = processes
    assert isinstance(process, Worker)
    assert type(process.server) is Server
    assert process.server is process.server
    assert multiprocess.Process is theirs


def _init(self: Multiprocess, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
    """What it does but for the signal handlers."""
    self.config, self.sockets = config, sockets


def test_older_ones_of_uvicorn_are_told_what_workers_run(
    ran: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Older:
        def __init__(self, config: Any, target: Any, sockets: Any) -> None:
            calls.append((target, sockets))

        def run(self) -> None:
            calls[0][0]()

    monkeypatch.setattr(_serving, "Multiprocess", Older)
    serve("main:app", {"port": 0, "workers": 2, "log_config": None})
    assert type(ran.call_args.args[0]) is Server


def test_the_class_of_workers_is_put_back_when_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Multiprocess) -> None:
        raise ZeroDivisionError

    theirs = multiprocess.Process
    monkeypatch.setattr(Multiprocess, "run", run)
    monkeypatch.setattr(Multiprocess, "__init__", _init)
    with pytest.raises(ZeroDivisionError):
        Workers(Mock(), []).run()
    assert multiprocess.Process is theirs
