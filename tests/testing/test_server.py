"""A real server in a thread: ready when the block begins, gone when it has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import starlette.websockets
import trustme
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as sync_connect

import telex
from telex._types import ASGIApp, Receive, Scope, Send
from telex.exceptions import MissingDependency
from telex.testing._errors import DeadlinePassed, HandlersSurvived
from telex.testing._server import LiveServer

pytestmark = pytest.mark.integration

DEADLINE = 20.0

LEFT_BEHIND = "telex left behind"
"""Name of the threads that hold for ever what does not let itself be ended."""


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    after = {each for each in threading.enumerate() if each.name != LEFT_BEHIND}
    assert after <= before


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        await send({"type": "websocket.accept"})
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self._left <= 0:
                    raise
                self._left -= 1


class Served:
    """A Telex application whose handlers are still there when the server stops."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.release = threading.Event()
        self.told = threading.Event()
        self.app = telex.App(disconnect_grace=None, lifespan=self._lifespan)
        habits = (self.echo, self.waits, self.polite, self.stubborn)
        for habit in habits:
            self.app.websocket(f"/{habit.__name__}")(habit)

    @asynccontextmanager
    async def _lifespan(self, app: telex.App) -> AsyncIterator[None]:
        yield
        self.notes.append("lifespan over")

    async def echo(self, ws: telex.WebSocket) -> None:
        await echo_handler(ws)

    async def waits(self, ws: telex.WebSocket) -> None:
        ws.add_cleanup(self._clean_up)
        await ws.accept()
        try:
            await asyncio.Event().wait()
        finally:
            self.notes.append(f"left, draining is {self.app.draining}")

    async def _clean_up(self) -> None:
        await asyncio.sleep(0.05)
        self.notes.append("cleaned up")

    async def polite(self, ws: telex.WebSocket) -> None:
        """Keep the server from stopping until the test lets it go."""
        await ws.accept()
        await ws.wait_closing()
        self.told.set()
        await asyncio.to_thread(self.release.wait, DEADLINE)
        await ws.send_text("goodbye")

    async def stubborn(self, ws: telex.WebSocket) -> None:
        await ws.accept()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.notes.append("cancelled")


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


def test_uvicorn_is_imported_when_a_server_is_entered_and_not_before() -> None:
    code = (
        "import sys, telex.testing as t; t.LiveServer(print); assert 'uvicorn' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], timeout=DEADLINE, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()


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


@pytest.mark.parametrize("ws_library", ["auto", "websockets-sansio"])
def test_a_handler_that_is_parked_cleans_up_before_the_lifespan_ends(
    ws_library: str, clients: ExitStack
) -> None:
    site = Served()
    with LiveServer(site.app, ws=ws_library, timeout_graceful_shutdown=0.2) as server:
        ws = clients.enter_context(connect(f"{server.url}/waits"))
    assert sorted(site.notes[:2]) == ["cleaned up", "left, draining is True"]
    assert site.notes[2:] == ["lifespan over"]
    assert last_words(ws) == ([], 1012)


def test_a_handler_hears_that_the_server_stops_as_with_telex_run(clients: ExitStack) -> None:
    site = Served()
    site.release.set()
    with LiveServer(site.app) as server:
        ws = clients.enter_context(connect(f"{server.url}/polite"))
    assert last_words(ws) == (["goodbye"], 1012)


def last_words(ws: ClientConnection) -> tuple[list[str | bytes], int | None]:
    """Return the messages before the end and its close code."""
    messages = []
    with pytest.raises(ConnectionClosed):
        while True:
            messages.append(ws.recv(DEADLINE))
    return messages, ws.close_code


@pytest.mark.parametrize("ws_library", ["auto", "websockets-sansio"])
def test_a_handler_of_another_framework_that_is_parked_cleans_up_too(
    ws_library: str, clients: ExitStack
) -> None:
    notes: list[str] = []

    async def waits(ws: starlette.websockets.WebSocket) -> None:
        await ws.accept()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            notes.append("cleaned up")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        notes.append("lifespan over")

    app = Starlette(routes=[WebSocketRoute("/", waits)], lifespan=lifespan)
    with LiveServer(app, ws=ws_library, timeout_graceful_shutdown=0.2) as server:
        ws = clients.enter_context(connect(f"{server.url}/"))
    assert notes == ["cleaned up", "lifespan over"]
    assert last_words(ws) == ([], 1012)


@pytest.mark.parametrize("framework", ["telex", "none"])
def test_a_handler_that_cannot_be_cancelled_fails_the_test_and_is_named(
    framework: str, clients: ExitStack
) -> None:
    site = Served()
    app: ASGIApp = site.app if framework == "telex" else Stubborn(cancellations=float("inf"))
    with (
        pytest.raises(HandlersSurvived) as caught,
        LiveServer(app, timeout_graceful_shutdown=0.2) as server,
    ):
        ws = clients.enter_context(connect(f"{server.url}/stubborn"))
    assert str(caught.value).startswith("1 task(s) go on although they were cancelled\n")
    assert "await asyncio.Event().wait()" in str(caught.value)
    assert last_words(ws) == ([], 1012)
    if framework == "telex":
        # The server has stopped without it.
        assert site.notes == ["cancelled", "cancelled", "lifespan over"]


def test_a_handler_that_cannot_be_cancelled_is_a_note_where_the_block_fails(
    clients: ExitStack,
) -> None:
    app = Stubborn(cancellations=float("inf"))
    with (
        pytest.raises(KeyError, match="the block") as caught,
        LiveServer(app, stop_timeout=2.0, timeout_graceful_shutdown=0) as server,
    ):
        clients.enter_context(connect(server.url))
        raise KeyError("the block")
    (note,) = caught.value.__notes__
    assert note.startswith("The live server did not stop well either: HandlersSurvived(")


def test_without_time_for_a_good_end_the_deadline_counts_and_the_handler_is_named(
    clients: ExitStack,
) -> None:
    app = Stubborn(cancellations=float("inf"))
    options: dict[str, Any] = {"stop_timeout": 0.5, "timeout_graceful_shutdown": None}
    with pytest.raises(DeadlinePassed) as caught, LiveServer(app, **options) as server:
        clients.enter_context(connect(server.url))
    assert str(caught.value).startswith("the server did not stop within 0.5 s\n")
    assert "await asyncio.Event().wait()" in str(caught.value)


def test_a_lifespan_that_does_not_end_is_named() -> None:
    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().create_future()

    app = telex.App(lifespan=lifespan)
    with pytest.raises(DeadlinePassed) as caught, LiveServer(app, stop_timeout=0.5):
        pass
    assert "await asyncio.get_running_loop().create_future()" in str(caught.value)


def test_a_handler_that_blocks_the_event_loop_is_named(clients: ExitStack) -> None:
    blocked, release = threading.Event(), threading.Event()
    app = telex.App()

    @app.websocket("/")
    async def blocks(ws: telex.WebSocket) -> None:
        await ws.accept()
        blocked.set()
        release.wait(DEADLINE)

    clients.callback(release.set)
    with pytest.raises(DeadlinePassed) as caught, LiveServer(app, stop_timeout=0.3) as server:
        clients.enter_context(connect(f"{server.url}/"))
        assert blocked.wait(DEADLINE)
    assert "the event loop is blocked at\n" in str(caught.value)
    assert "release.wait(DEADLINE)" in str(caught.value)
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("telex ws:"):
            thread.join(DEADLINE)


def test_of_several_servers_the_others_go_on_when_one_stops(clients: ExitStack) -> None:
    sites = [Served() for _ in range(3)]
    with ExitStack() as stack:
        urls = [stack.enter_context(LiveServer(site.app)).url for site in sites[:2]]
        kept = [clients.enter_context(connect(f"{url}/echo")) for url in urls]
        with LiveServer(sites[2].app) as server:
            ended = clients.enter_context(connect(f"{server.url}/echo"))
        assert last_words(ended) == ([], 1012)
        assert [site.app.draining for site in sites] == [False] * 3
        late = [clients.enter_context(connect(f"{url}/echo")) for url in urls]
        for ws in (*kept, *late):
            ws.send("still here")
            assert ws.recv(DEADLINE) == "still here"
    assert [last_words(ws) for ws in (*kept, *late)] == [([], 1012)] * 4
    assert [site.notes for site in sites] == [["lifespan over"]] * 3


def test_entered_again_it_takes_connections_again(
    clients: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    site = Served()
    server = LiveServer(site.app, timeout_graceful_shutdown=0.2)
    for _ in range(2):
        with server:
            ws = clients.enter_context(connect(f"{server.url}/echo"))
            clients.enter_context(connect(f"{server.url}/waits"))
            ws.send("hello")
            assert ws.recv(DEADLINE) == "hello"
        assert last_words(ws) == ([], 1012)
        assert not site.app.draining
    assert site.notes.count("left, draining is True") == 2
    assert caplog.text == ""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_handshake_that_comes_while_the_server_drains_is_denied_with_503(
    loop: str, clients: ExitStack, tmp_path: Path
) -> None:
    """Its connection was there before: its first bytes are in time, but those of TLS."""
    authority, site = trustme.CA(), Served()
    certificate = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    server = LiveServer(site.app, loop=loop, ssl_certfile=os.fspath(certificate))
    clients.callback(site.release.set)
    stopping = threading.Thread(target=server.__exit__, args=(None, None, None))
    server.__enter__()
    late = clients.enter_context(socket.create_connection(("127.0.0.1", server.url.port), DEADLINE))
    # It is taken after the other.
    clients.enter_context(connect(f"{server.url}/polite", ssl=context))
    stopping.start()
    assert site.told.wait(DEADLINE)
    assert site.app.draining
    with context.wrap_socket(late, server_hostname="127.0.0.1") as client:
        client.sendall(HANDSHAKE)
        assert client.recv(12) == b"HTTP/1.1 503"
    site.release.set()
    stopping.join(DEADLINE)
    assert site.notes == ["lifespan over"]


HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_a_handshake_that_somebody_has_held_up_is_denied_with_503_too(clients: ExitStack) -> None:
    site, came = Served(), threading.Event()

    async def holds_up(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == "/echo":
            came.set()
            await asyncio.to_thread(site.told.wait, DEADLINE)
        await site.app(scope, receive, send)

    def ask() -> None:
        with pytest.raises(InvalidStatus) as caught, connect(f"{url}/echo"):
            pass
        denied.set_result(caught.value.response.status_code)

    denied: Future[int] = Future()
    asking = threading.Thread(target=ask)
    clients.callback(site.release.set)
    with LiveServer(holds_up) as server:
        url = server.url
        clients.enter_context(connect(f"{url}/polite"))
        asking.start()
        assert came.wait(DEADLINE)
        denied.add_done_callback(lambda _: site.release.set())
    asking.join(DEADLINE)
    assert denied.result(0) == 503


def test_signals_are_left_to_the_process() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with LiveServer(echo):
        inside = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert inside == before


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
