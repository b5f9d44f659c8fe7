"""A real server in a thread: ready when the block begins, gone when it has ended."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as sync_connect

import telex
from telex._types import ASGIApp, Receive, Scope, Send
from telex.exceptions import MissingDependency
from telex.testing._errors import DeadlinePassed
from telex.testing._server import LiveServer

pytestmark = pytest.mark.integration

DEADLINE = 20.0


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def clients(no_thread_survives: None) -> Iterator[ExitStack]:
    """For clients that are still connected when their server stops."""
    with ExitStack() as stack:
        yield stack


def connect(url: str, **options: Any) -> ClientConnection:
    client: ClientConnection = sync_connect(url, proxy=None, open_timeout=DEADLINE, **options)
    return client


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that knows no lifespan."""
    assert scope["type"] == "websocket", "only WebSockets are served here"
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


class Lifespan:
    """An application whose lifespan writes down what happens, and fails where it is told to."""

    def __init__(self, fails: str = "", *, raises: bool = True) -> None:
        self.journal: list[str] = []
        self._fails = fails
        self._raises = raises

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await echo(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{phase}"
            self.journal.append(phase)
            if phase == self._fails:
                await send({"type": f"lifespan.{phase}.failed", "message": "no database"})
                if self._raises:
                    raise LookupError(f"no database at {phase}")
                return
            await send({"type": f"lifespan.{phase}.complete"})


class Stubborn:
    """An application that goes on after its client has left, and ignores that it is cancelled."""

    def __init__(self, cancellations: float) -> None:
        self._left = cancellations
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        self._loop = asyncio.get_running_loop()
        await send({"type": "websocket.accept"})
        while not self._over.is_set():
            try:
                await self._over.wait()
            except asyncio.CancelledError:
                if self._left <= 0:
                    raise
                self._left -= 1

    def let_go(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)
        for thread in threading.enumerate():
            if thread.name.startswith("telex ws"):
                thread.join(DEADLINE)


# While it runs


def test_the_server_listens_on_a_free_port_of_the_loopback_interface_only() -> None:
    with LiveServer(echo) as server, connect(f"{server.url}/any") as ws:
        assert isinstance(server.url, telex.URL)
        assert (server.url.scheme, server.url.hostname) == ("ws", "127.0.0.1")
        assert ws.socket.getpeername() == ("127.0.0.1", server.url.port)
        ws.send("hello")
        assert ws.recv(DEADLINE) == "hello"


def test_http_is_served_at_the_same_place() -> None:
    app = telex.App()
    app.websocket("/chat")(echo_handler)
    with LiveServer(app) as server:
        answer = httpx2.get(f"{server.url.replace(scheme='http')}/chat", timeout=DEADLINE)
    assert answer.status_code == 426


async def echo_handler(ws: telex.WebSocket) -> None:
    await ws.accept()
    async for message in ws:
        await ws.send_text(str(message))


def test_servers_run_side_by_side() -> None:
    with LiveServer(echo) as one, LiveServer(echo) as other:
        assert one.url != other.url
        with connect(one.url) as first, connect(other.url) as second:
            for ws, text in ((first, "one"), (second, "other")):
                ws.send(text)
                assert ws.recv(DEADLINE) == text


async def test_an_asynchronous_test_can_use_it() -> None:
    with LiveServer(echo) as server:
        async with asyncio.timeout(DEADLINE), async_connect(server.url, proxy=None) as ws:
            await ws.send("hello")
            assert await ws.recv() == "hello"


@pytest.mark.parametrize("ws_library", ["websockets-sansio", "wsproto"])
def test_options_are_those_of_uvicorn(ws_library: str) -> None:
    options: dict[str, Any] = {"ws": ws_library, "headers": [("X-Served-By", "a test")]}
    with LiveServer(echo, **options) as server, connect(server.url) as ws:
        assert ws.response is not None
        assert ws.response.headers["X-Served-By"] == "a test"


async def test_with_a_certificate_the_url_is_a_secure_one(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with LiveServer(echo, ssl_certfile=os.fspath(certificate)) as server:
        assert server.url.scheme == "wss"
        # The client with threads reads and writes at the same time, which OpenSSL does not allow.
        connecting = async_connect(server.url, ssl=context, proxy=None)
        async with asyncio.timeout(DEADLINE), connecting as ws:
            await ws.send("secret")
            assert await ws.recv() == "secret"


def test_nothing_is_printed_and_what_a_handler_raises_is_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        await send({"type": "websocket.accept"})
        raise LookupError("nobody of that name")

    with (
        LiveServer(fails) as server,
        connect(server.url) as ws,
        pytest.raises(ConnectionClosed),
    ):
        ws.recv(DEADLINE)
    assert "nobody of that name" in caplog.text
    assert {record.levelname for record in caplog.records} == {"ERROR"}
    assert capfd.readouterr() == ("", "")


def test_outside_of_its_block_a_server_has_no_url() -> None:
    server = LiveServer(echo)
    with pytest.raises(RuntimeError, match="the server does not run: use `with LiveServer"):
        _ = server.url
    with server:
        pass
    with pytest.raises(RuntimeError, match="the server does not run"):
        _ = server.url


def test_a_server_can_be_entered_again_but_not_twice_at_once() -> None:
    app = Lifespan()
    server = LiveServer(app)
    for _ in range(2):
        with server, pytest.raises(RuntimeError, match="the server runs already"):
            server.__enter__()
    assert app.journal == ["startup", "shutdown"] * 2


# Starting


def test_the_lifespan_has_started_when_the_block_begins_and_ended_behind_it() -> None:
    app = Lifespan()
    with LiveServer(app):
        assert app.journal == ["startup"]
    assert app.journal == ["startup", "shutdown"]


def test_what_the_start_up_raises_is_raised_where_the_block_is_entered() -> None:
    with pytest.raises(LookupError, match="no database at startup") as caught:
        LiveServer(Lifespan("startup")).__enter__()
    assert caught.traceback[-1].name == "__call__"


def test_a_context_manager_that_fails_at_start_up_is_raised_too() -> None:
    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        raise LookupError("no database")
        yield

    with pytest.raises(LookupError, match="no database"):
        LiveServer(telex.App(lifespan=lifespan)).__enter__()


def test_a_failure_that_is_only_reported_becomes_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"the startup of the application failed: no database"):
        LiveServer(Lifespan("startup", raises=False)).__enter__()


def test_with_lifespan_on_an_application_without_one_is_refused() -> None:
    with pytest.raises(AssertionError, match="only WebSockets are served here"):
        LiveServer(echo, lifespan="on").__enter__()


def test_a_start_up_that_does_not_end_fails_and_says_where_it_waits() -> None:
    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlinePassed) as caught:
        LiveServer(waits, start_timeout=2.0).__enter__()
    assert str(caught.value).startswith("the server did not start within 2 s\n")
    assert "await asyncio.get_running_loop().create_future()" in str(caught.value)


def test_an_import_string_that_leads_nowhere_is_raised_with_its_cause() -> None:
    nowhere: Any = "no_such_module:app"
    with pytest.raises(RuntimeError, match="uvicorn could not start; it logged why") as caught:
        LiveServer(nowhere).__enter__()
    assert "no_such_module" in str(caught.value.__cause__)


def test_an_option_that_uvicorn_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="ssl_certfil"):
        LiveServer(echo, ssl_certfil="server.pem").__enter__()


def test_an_option_that_uvicorn_cannot_use_is_raised_from_its_thread() -> None:
    with pytest.raises(FileNotFoundError):
        LiveServer(echo, ssl_certfile="no-such-file.pem").__enter__()


@pytest.mark.parametrize("option", ["host", "port", "uds", "fd", "reload", "workers"])
def test_the_address_and_the_number_of_processes_cannot_be_chosen(option: str) -> None:
    with pytest.raises(TypeError, match=f"LiveServer takes no {option}: "):
        LiveServer(echo, **{option: 1})


def test_a_missing_uvicorn_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingDependency, match=r"pip install 'telex\[standard\]'") as caught:
        LiveServer(echo).__enter__()
    assert caught.value.package == "uvicorn"


def test_a_missing_websocket_library_is_an_error_and_no_server_without_websockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telex.server.run.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="ws='auto' needs websockets or wsproto"):
        LiveServer(echo).__enter__()
    with LiveServer(echo, ws="none"):
        pass


# Stopping


def test_connections_that_are_open_are_closed_with_1012(clients: ExitStack) -> None:
    with LiveServer(echo) as server:
        ws = clients.enter_context(connect(server.url))
    with pytest.raises(ConnectionClosed):
        ws.recv(DEADLINE)
    assert ws.close_code == 1012


@pytest.mark.parametrize("ignored", [0, 1])
def test_a_handler_that_ignores_its_end_is_cancelled(ignored: int, clients: ExitStack) -> None:
    with LiveServer(Stubborn(ignored), timeout_graceful_shutdown=0.5) as server:
        clients.enter_context(connect(server.url))


def test_a_handler_that_cannot_be_cancelled_fails_the_test_and_is_named(
    clients: ExitStack,
) -> None:
    app = Stubborn(cancellations=float("inf"))
    with pytest.raises(DeadlinePassed) as caught, LiveServer(app, stop_timeout=0.5) as server:
        clients.enter_context(connect(server.url))
    assert str(caught.value).startswith("the server did not stop within 0.5 s\n")
    assert "await self._over.wait()" in str(caught.value)
    app.let_go()


@pytest.mark.parametrize(
    ("raises", "error", "text"),
    [
        (True, LookupError, "no database at shutdown"),
        (False, RuntimeError, "the shutdown of the application failed: no database"),
    ],
)
def test_a_shutdown_that_fails_is_raised_where_the_block_ends(
    raises: bool, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text), LiveServer(Lifespan("shutdown", raises=raises)):
        pass


def test_a_block_that_fails_keeps_its_exception_and_gets_a_note() -> None:
    with pytest.raises(KeyError, match="block") as caught, LiveServer(Lifespan("shutdown")):
        raise KeyError("the block")
    assert caught.value.__notes__ == [
        "The live server did not stop well either: LookupError('no database at shutdown')"
    ]


def test_a_lifespan_that_breaks_off_while_serving_is_raised_at_the_end() -> None:
    broken = threading.Event()

    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        await send({"type": "lifespan.startup.complete"})
        broken.set()
        raise LookupError("lost the database")

    with pytest.raises(LookupError, match="lost the database"), LiveServer(breaks):
        assert broken.wait(DEADLINE)


def test_the_application_may_be_any_asgi_callable() -> None:
    apps: list[ASGIApp] = [echo, Lifespan(), telex.App(http=Lifespan())]
    for app in apps:
        with LiveServer(app):
            pass
