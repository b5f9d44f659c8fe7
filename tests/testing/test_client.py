"""The client around its connections: lifespan, loop, handshake."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from opened import soon, turns
from telex import App, WebSocket
from telex._types import ASGIApp
from telex.exceptions import WebSocketRuntimeError
from telex.testing import AsyncTestClient, ConnectionRejected, DeadlinePassed, HandlersSurvived
from testing.asgi_end import PATIENCE, ServerEnd, application, quiet, recording, sending


class OwnError(Exception):
    """What failing applications raise."""


def with_lifespan(*, start: Any = None, stop: Any = None, state: Any = None) -> ASGIApp:
    """An application whose lifespan awaits two functions, and whose connections end at once."""

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[dict[str, Any] | None]:
        if start is not None:
            await start()
        yield state
        if stop is not None:
            await stop()

    app = App(lifespan=lifespan)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        ws.scope["state"]["seen"] = True
        await ws.send_json({key: repr(value) for key, value in ws.scope["state"].items()})

    return app


async def fails() -> None:
    raise OwnError("mine") from KeyError("cause")


async def blocks() -> None:
    await asyncio.Event().wait()


def starlette(lifespan: Any) -> ASGIApp:
    from starlette.applications import Starlette

    return Starlette(lifespan=lifespan)


def client_of(server: Any = quiet, **options: Any) -> AsyncTestClient:
    options = {"timeout": PATIENCE, "lifespan": False, **options}
    return AsyncTestClient(application(server), **options)


# Lifespan


async def test_the_lifespan_is_run_around_the_connections() -> None:
    order: list[str] = []

    async def start() -> None:
        order.append("start")

    async def stop() -> None:
        order.append("stop")

    async with AsyncTestClient(with_lifespan(start=start, stop=stop)) as client:
        order.append("entered")
        async with client.websocket("/") as ws:
            await ws.receive_json()
        order.append("leaving")
    assert order == ["start", "entered", "leaving", "stop"]


async def test_each_connection_has_a_copy_of_the_state() -> None:
    shared = object()
    async with AsyncTestClient(with_lifespan(state={"shared": shared})) as client:
        assert client.state == {"shared": shared}
        for _ in range(2):
            async with client.websocket("/") as ws:
                assert await ws.receive_json() == {"shared": repr(shared), "seen": "True"}
                assert ws.scope["state"]["shared"] is shared
        assert client.state == {"shared": shared}


async def test_what_the_start_up_raises_reaches_the_test() -> None:
    with pytest.raises(OwnError, match="mine") as caught:
        async with AsyncTestClient(with_lifespan(start=fails)):
            pytest.fail("it has started")
    assert isinstance(caught.value.__cause__, KeyError)
    assert "in fails" in "".join(traceback.format_exception(caught.value))


async def test_what_the_shutdown_raises_reaches_the_test() -> None:
    with pytest.raises(OwnError, match="mine") as caught:
        async with AsyncTestClient(with_lifespan(stop=fails)):
            pass
    assert isinstance(caught.value.__cause__, KeyError)


async def test_what_starlette_reports_is_what_was_raised() -> None:
    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        yield
        raise OwnError("in the shutdown")

    with pytest.raises(OwnError, match="in the shutdown"):
        async with AsyncTestClient(starlette(lifespan)):
            pass


async def test_a_failure_that_is_only_reported_is_a_runtime_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError) as caught:
        async with AsyncTestClient(app):
            pytest.fail("it has started")
    assert str(caught.value) == "the startup of the application failed: no database"


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, asyncio.CancelledError])
async def test_a_failing_shutdown_does_not_hide_what_ended_the_test(error: Any) -> None:
    with pytest.raises(error, match="of the test") as caught:
        async with AsyncTestClient(with_lifespan(stop=fails)):
            raise error("of the test")
    note = caught.value.__notes__[0]
    assert note.startswith("The shutdown of the application failed too:\n")
    assert note.endswith("OwnError: mine")


@pytest.mark.parametrize(("step", "name"), [("start", "start-up"), ("stop", "shutdown")])
async def test_a_slow_lifespan_runs_into_the_deadline(
    step: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telex._lifespan.STOP_TIMEOUT", 0.05)
    with pytest.raises(DeadlinePassed) as caught:
        async with asyncio.timeout(1):
            async with AsyncTestClient(with_lifespan(**{step: blocks}), timeout=0.05):
                assert step == "stop"
    assert str(caught.value) == f"the {name} of the application took over 0.05 s"


@pytest.mark.parametrize("step", ["start", "stop"])
async def test_a_deadline_of_the_lifespan_itself_is_not_ours(step: str) -> None:
    async def is_late() -> None:
        raise TimeoutError("the application's own")

    with pytest.raises(TimeoutError, match="the application's own") as caught:
        async with AsyncTestClient(with_lifespan(**{step: is_late})):
            assert step == "stop"
    assert not isinstance(caught.value, AssertionError)


async def test_a_deadline_of_something_else_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_late(self: object) -> None:
        raise TimeoutError("of the HTTP client")

    monkeypatch.setattr(httpx2.AsyncClient, "aclose", is_late)
    with pytest.raises(TimeoutError, match="of the HTTP client") as caught:
        async with AsyncTestClient(with_lifespan()) as client:
            _ = client.http
    assert not isinstance(caught.value, AssertionError)


async def test_a_test_may_set_a_deadline_around_a_slow_lifespan() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.02), AsyncTestClient(with_lifespan(start=blocks)):
            pytest.fail("it has started")
    assert not isinstance(caught.value, AssertionError)


@pytest.mark.parametrize("way", ["raises", "returns"])
async def test_an_application_without_a_lifespan_has_none(way: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            if way == "raises":
                raise TypeError("lifespan is not supported")
            return
        await application(sending("hello"))(scope, receive, send)

    async with AsyncTestClient(app) as client, client.websocket("/") as ws:
        assert await ws.receive_text() == "hello"


async def test_lifespan_false_runs_none() -> None:
    async with AsyncTestClient(with_lifespan(start=fails, stop=fails), lifespan=False) as client:
        assert client.state == {}


async def test_a_plain_application_that_raises_in_its_shutdown_fails_the_test() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise OwnError("in the shutdown")

    with pytest.raises(OwnError):
        async with AsyncTestClient(app):
            pass


async def test_a_lifespan_that_breaks_between_start_and_end_fails_the_test() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise OwnError("in between")

    with pytest.raises(OwnError):
        async with AsyncTestClient(app):
            await turns()


# One event loop


async def test_test_and_handler_share_events_and_locks() -> None:
    event, lock = asyncio.Event(), asyncio.Lock()

    async def waits(server: ServerEnd) -> None:
        await event.wait()
        async with lock:
            await server.text("locked")

    async with client_of(waits) as client, client.websocket("/") as ws:
        async with lock:
            event.set()
            await ws.expect_nothing(0.01)
        assert await ws.receive_text() == "locked"


async def test_two_connections_hear_the_same_broadcast() -> None:
    members: set[ServerEnd] = set()

    async def joins(server: ServerEnd) -> None:
        members.add(server)
        while (message := await server.receive())["type"] == "websocket.receive":
            for member in members:
                await member.text(message["text"])
        members.discard(server)

    async with (
        client_of(joins) as client,
        client.websocket("/") as first,
        client.websocket("/") as second,
    ):
        await first.send_text("to all")
        assert await first.receive_text() == await second.receive_text() == "to all"
    assert not members


async def test_connections_may_be_opened_at_the_same_time() -> None:
    everybody = asyncio.Barrier(3)

    async def meets(server: ServerEnd) -> None:
        await everybody.wait()
        await server.text("all here")

    async def visit(client: AsyncTestClient) -> str:
        async with client.websocket("/") as ws:
            return await ws.receive_text()

    async with client_of(meets) as client:
        met = await soon(asyncio.gather(*(visit(client) for _ in range(3))))
    assert met == ["all here"] * 3


async def test_two_clients_work_at_the_same_time() -> None:
    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    first, second = client_of(sending("one")), client_of(sending("two"))
    async with first, second, first.websocket("/") as a, second.websocket("/") as b:
        assert (await a.receive_text(), await b.receive_text()) == ("one", "two")
    assert loop.get_task_factory() is factory


async def test_tasks_of_the_test_are_not_those_of_the_handler() -> None:
    async with client_of() as client:
        async with client.websocket("/"):
            mine = asyncio.create_task(blocks())
            await turns()
        assert not mine.done()
        mine.cancel()


async def test_a_connection_may_decide_about_its_tasks() -> None:
    started: list[asyncio.Task[None]] = []

    async def starts(server: ServerEnd) -> None:
        started.append(asyncio.create_task(blocks()))

    async with client_of(starts) as client:
        async with client.websocket("/", check_tasks=False):
            await turns()
        assert not started[0].done()
        with pytest.raises(HandlersSurvived):
            async with client.websocket("/"):
                await turns()
        started[0].cancel()


async def test_a_connection_may_decide_about_exceptions() -> None:
    async def raises(server: ServerEnd) -> None:
        raise OwnError

    async with client_of(raises) as client:
        async with client.websocket("/", raise_app_exceptions=False) as ws:
            await ws.expect_close(1006)
        async with client.websocket("/") as ws:
            with pytest.raises(OwnError):
                await ws.expect_close(1006)


async def test_without_a_timeout_everything_works_that_ends() -> None:
    async with AsyncTestClient(with_lifespan(), timeout=None) as client:
        async with client.websocket("/") as ws:
            await ws.receive_json()
            await ws.expect_close(1000)
        with pytest.raises(KeyError):
            async with client.websocket("/"):
                raise KeyError


async def test_a_client_that_was_not_entered_connects_nowhere() -> None:
    client = client_of()
    wanted = "enter the client first: async with AsyncTestClient(app) as client"
    with pytest.raises(WebSocketRuntimeError) as caught:
        async with client.websocket("/"):
            pytest.fail("it is connected")
    assert str(caught.value) == wanted
    with pytest.raises(WebSocketRuntimeError) as caught:
        _ = client.http
    assert str(caught.value) == wanted
    async with client:
        pass
    with pytest.raises(WebSocketRuntimeError):
        _ = client.http


async def test_a_client_is_entered_once_at_a_time() -> None:
    client = client_of(sending("hello"))
    async with client:
        with pytest.raises(WebSocketRuntimeError, match=r"^the client is entered already$"):
            await client.__aenter__()
    async with client, client.websocket("/") as ws:
        assert await ws.receive_text() == "hello"


async def test_a_client_belongs_to_the_loop_in_which_it_was_entered() -> None:
    async def elsewhere() -> str:
        with pytest.raises(WebSocketRuntimeError) as caught:
            async with client.websocket("/"):
                pytest.fail("it is connected")
        return str(caught.value)

    async with client_of() as client:
        said = await asyncio.to_thread(asyncio.run, elsewhere())
    assert said == "the client was entered in another event loop; give fixture and test one loop"


# The handshake


async def test_headers_and_cookies_of_client_and_connection_are_put_together() -> None:
    client = client_of(headers={"x-a": "1", "x-b": "1"}, cookies={"a": "1", "b": "1"})
    own: Any = {"headers": {"X-B": "2"}, "cookies": {"b": "2", "c": "2"}}
    async with client, client.websocket("/", **own) as ws:
        fields = ws.scope["headers"]
    assert [v for k, v in fields if k == b"x-a"] == [b"1"]
    assert [v for k, v in fields if k == b"x-b"] == [b"2"]
    assert [v for k, v in fields if k == b"cookie"] == [b"a=1; b=2; c=2"]


async def test_keys_of_the_scope_can_be_set() -> None:
    own = {"client": ("192.0.2.1", 7), "user": "me", "state": {"own": 1}}
    async with client_of() as client, client.websocket("/", scope=own) as ws:
        assert {key: ws.scope[key] for key in own} == own


@pytest.mark.parametrize("extensions", [{}, None])
async def test_a_server_without_denial_responses_can_be_played(extensions: Any) -> None:
    app = App()
    async with AsyncTestClient(app) as client:
        with pytest.raises(ConnectionRejected) as caught:
            async with client.websocket("/", scope={"extensions": extensions}):
                pytest.fail("it is connected")
    assert caught.value.status == 403


async def test_an_absolute_url_leads_to_another_host() -> None:
    async with client_of() as client, client.websocket("wss://other:8443/x?y=1") as ws:
        assert ws.scope["server"] == ("other", 8443)
        assert ws.scope["scheme"] == "wss"
        assert ws.scope["path"] == "/x"
        assert (b"host", b"other:8443") in ws.scope["headers"]


async def test_a_base_url_has_a_prefix_for_every_path() -> None:
    client = client_of(base_url="https://api.example/v1/")
    async with client, client.websocket("/chat") as ws:
        assert (ws.scope["scheme"], ws.scope["path"]) == ("wss", "/v1/chat")


@pytest.mark.parametrize(
    "options",
    [{"base_url": "ftp://x"}, {"base_url": "testserver"}, {"headers": {"x": "a\r\nb"}}],
    ids=str,
)
def test_a_client_that_cannot_work_is_refused_at_once(options: Any) -> None:
    with pytest.raises(ValueError):
        AsyncTestClient(App(), **options)


@pytest.mark.parametrize(
    ("url", "options", "error"),
    [
        ("/#x", {}, ValueError),
        ("ftp://x/", {}, ValueError),
        ("/", {"headers": {"x": "a\nb"}}, ValueError),
        ("/", {"subprotocols": "chat"}, TypeError),
    ],
)
async def test_a_handshake_that_cannot_be_sent_never_reaches_the_application(
    url: str, options: Any, error: type[Exception]
) -> None:
    server, events = recording()
    async with client_of(server) as client:
        with pytest.raises(error):
            async with client.websocket(url, **options):
                pytest.fail("it is connected")
    assert events == []
