"""The synchronous client: every verb of the asynchronous one, called from outside the loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import telex
from telex import Reject, WebSocket, WebSocketDisconnect, WebSocketRuntimeError
from telex.testing._blocking import EitherClient, HttpRequests, TestClient, TestSession
from telex.testing._client import AsyncTestClient
from telex.testing._errors import (
    ConnectionRejected,
    DeadlinePassed,
    ExpectationFailed,
    HandlersSurvived,
)
from telex.testing._session import AsyncTestSession

DEADLINE = 20.0


async def methods(request: Request) -> JSONResponse:
    seen = {"method": request.method, "body": (await request.body()).decode()}
    return JSONResponse(seen | {"loop": id(asyncio.get_running_loop())})


async def fails_on_http(request: Request) -> JSONResponse:
    raise LookupError("no such page")


@asynccontextmanager
async def lifespan(app: telex.App) -> AsyncIterator[dict[str, Any]]:
    app.state.journal = ["startup"]
    yield {"database": "open", "loop": id(asyncio.get_running_loop())}
    app.state.journal.append("shutdown")


app = telex.App(
    http=Starlette(
        routes=[
            Route("/methods", methods, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
            Route("/fails", fails_on_http),
        ]
    ),
    lifespan=lifespan,
)


@app.websocket("/echo")
async def echo(ws: WebSocket) -> None:
    offered = ws.subprotocols
    await ws.accept(offered[0] if offered else None, headers={"X-Room": "lobby"})
    async for message in ws:
        await (ws.send_text(message) if isinstance(message, str) else ws.send_bytes(message))


@app.websocket("/told")
async def told(ws: WebSocket) -> None:
    """Send what the client's headers, cookies and scope are."""
    await ws.accept()
    found = {"agent": ws.headers.get("user-agent"), "cookies": dict(ws.cookies)}
    await ws.send_json(found | {"extra": ws.scope.get("extra"), "loop": ws.scope["state"]["loop"]})
    await ws.receive()


@app.websocket("/three")
async def three(ws: WebSocket) -> None:
    await ws.accept()
    for number in ("one", b"two", "three"):
        await (ws.send_text(number) if isinstance(number, str) else ws.send_bytes(number))
    await ws.close(4000, "enough")


@app.websocket("/refused")
async def refused(ws: WebSocket) -> None:
    raise Reject(401, "who are you?")


@app.websocket("/fails")
async def fails(ws: WebSocket) -> None:
    await ws.accept()
    raise LookupError(await ws.receive_text())


@app.websocket("/leaves-a-task")
async def leaves_a_task(ws: WebSocket) -> None:
    await ws.accept()
    app.state.left = asyncio.create_task(asyncio.Event().wait(), name="left behind")
    await ws.receive()


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


# Both clients are the same


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(found.name, found.kind, found.default) for found in found]


def public(cls: type) -> dict[str, Any]:
    names = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
    return {name: inspect.unwrap(v) if callable(v) else v for name, v in names.items()}


@pytest.mark.parametrize(
    ("blocking", "of_the_loop"), [(TestClient, AsyncTestClient), (TestSession, AsyncTestSession)]
)
def test_both_have_the_same_verbs_with_the_same_arguments(
    blocking: type, of_the_loop: type
) -> None:
    assert public(blocking).keys() == public(of_the_loop).keys()
    for name, method in public(blocking).items():
        if callable(method):
            assert parameters(method) == parameters(public(of_the_loop)[name]), name


def test_both_clients_are_made_with_the_same_arguments() -> None:
    assert parameters(TestClient) == parameters(AsyncTestClient)


def test_pytest_does_not_take_them_for_tests() -> None:
    assert not TestClient.__test__
    assert not TestSession.__test__


# The client


def test_the_lifespan_runs_around_the_block_in_the_loop_of_the_handlers() -> None:
    with TestClient(app) as client:
        assert app.state.journal == ["startup"]
        assert client.app is app
        assert client.state["database"] == "open"
        with client.websocket("/told") as ws:
            assert ws.receive_json()["loop"] == client.state["loop"]
    assert app.state.journal == ["startup", "shutdown"]


def test_its_thread_ends_with_the_block() -> None:
    before = set(threading.enumerate())
    with TestClient(app):
        (thread,) = set(threading.enumerate()) - before
        assert thread.name == "telex TestClient"
    assert set(threading.enumerate()) <= before


def test_its_thread_ends_also_when_the_start_up_fails() -> None:
    @asynccontextmanager
    async def broken(app: object) -> AsyncIterator[None]:
        raise LookupError("no database")
        yield

    before = set(threading.enumerate())
    client = TestClient(telex.App(lifespan=broken))
    with pytest.raises(LookupError, match="no database") as caught:
        client.__enter__()
    assert caught.traceback[-1].name == "broken"
    assert set(threading.enumerate()) <= before
    with pytest.raises(WebSocketRuntimeError, match="enter the client first"):
        client.websocket("/echo").__enter__()


def test_without_its_lifespan_an_application_only_serves() -> None:
    with TestClient(app, lifespan=False) as client, client.websocket("/echo"):
        assert client.state == {}


def test_a_client_that_was_not_entered_connects_to_nothing() -> None:
    client = TestClient(app)
    for use in (client.websocket("/echo").__enter__, lambda: client.http):
        with pytest.raises(WebSocketRuntimeError, match=r"enter the client first: with TestC"):
            use()


def test_a_client_can_be_entered_again_but_not_twice_at_once() -> None:
    client = TestClient(app)
    for _ in range(2):
        with client:
            with pytest.raises(WebSocketRuntimeError, match="the client is entered already"):
                client.__enter__()
            with client.websocket("/echo"):
                pass


def test_a_base_url_that_is_none_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError):
        TestClient(app, base_url="nowhere")


def test_what_the_client_and_the_connection_are_given_reaches_the_handler() -> None:
    told = {"agent": "a test", "cookies": {"user": "ada", "room": "lobby"}, "extra": 1}
    given: dict[str, Any] = {"headers": {"User-Agent": "a test"}, "cookies": {"user": "ada"}}
    with (
        TestClient(app, **given) as client,
        client.websocket("/told", cookies={"room": "lobby"}, scope={"extra": 1}) as ws,
    ):
        assert ws.receive_json() == told | {"loop": client.state["loop"]}


def test_connections_are_open_at_the_same_time(client: TestClient) -> None:
    with client.websocket("/echo") as one, client.websocket("/echo") as other:
        one.send_text("one")
        other.send_text("other")
        assert (other.receive_text(), one.receive_text()) == ("other", "one")


def test_an_application_is_tested_from_within_a_running_loop_too() -> None:
    async def asynchronous() -> str:
        with TestClient(app) as client, client.websocket("/echo") as ws:
            ws.send_text("hello")
            return ws.receive_text()

    assert asyncio.run(asynchronous()) == "hello"


# HTTP


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_http_requests_are_answered_in_the_same_loop(client: TestClient, method: str) -> None:
    answer = getattr(client.http, method)("/methods").json()
    assert answer == {"method": method.upper(), "body": "", "loop": client.state["loop"]}


def test_a_request_is_sent_with_whatever_httpx_takes(client: TestClient) -> None:
    answer = client.http.request("POST", "/methods", content="a body")
    assert answer.json()["body"] == "a body"
    assert isinstance(client.http, HttpRequests)


def test_what_an_http_handler_raises_is_raised_in_the_test(client: TestClient) -> None:
    with pytest.raises(LookupError, match="no such page") as caught:
        client.http.get("/fails")
    assert caught.traceback[-1].name == "fails_on_http"


# The session


def test_the_handshake_is_seen(client: TestClient) -> None:
    with client.websocket("/echo?x=1", subprotocols=["chat"]) as ws:
        assert ws.accepted_subprotocol == "chat"
        assert ws.response_headers["x-room"] == "lobby"
        assert ws.scope["query_string"] == b"x=1"
        assert ws.closed is None
    assert ws.closed is not None
    assert ws.closed.closed_by == "client"


def test_messages_of_every_kind_go_and_come_back(client: TestClient) -> None:
    with client.websocket("/echo") as ws:
        ws.send_text("text")
        assert ws.receive_text() == "text"
        ws.send_bytes(b"bytes")
        assert ws.receive_bytes() == b"bytes"
        ws.send_json({"a": 1}, mode="binary")
        assert ws.receive_json(mode="binary") == {"a": 1}
        ws.send_value([1, 2])
        assert ws.receive_as(list) == [1, 2]
        ws.send({"type": "websocket.receive", "text": "raw"})
        assert ws.receive() == {"type": "websocket.send", "text": "raw"}


def test_iterating_ends_quietly_when_the_application_closes(client: TestClient) -> None:
    with client.websocket("/three") as ws:
        assert list(ws) == ["one", b"two", "three"]
        assert ws.expect_close(4000).reason == "enough"


def test_a_close_of_the_application_is_raised_by_a_receive(client: TestClient) -> None:
    with client.websocket("/three") as ws:
        for _ in range(3):
            ws.receive()
        with pytest.raises(WebSocketDisconnect) as caught:
            ws.receive_text()
    assert (caught.value.code, caught.value.reason) == (4000, "enough")


def test_the_close_of_the_test_is_no_disconnect(client: TestClient) -> None:
    with client.websocket("/echo") as ws:
        ws.close(4001, "bored")
        with pytest.raises(WebSocketRuntimeError, match="the test has ended it with 4001"):
            ws.receive_text()


def test_a_dropped_connection_has_no_close_frame(client: TestClient) -> None:
    with client.websocket("/echo") as ws:
        ws.abort()
        assert ws.closed is not None
        assert ws.closed.code == 1006


def test_a_client_that_does_not_read_holds_the_sends_of_the_application(
    client: TestClient,
) -> None:
    with client.websocket("/echo") as ws:
        ws.pause_reading(buffer=0)
        ws.send_text("hello")
        ws.expect_blocked()
        ws.resume_reading()
        assert ws.receive_text() == "hello"


def test_nothing_can_be_expected(client: TestClient) -> None:
    with client.websocket("/echo") as ws:
        ws.expect_nothing(0.01)
        ws.send_text("something")
        with pytest.raises(ExpectationFailed, match="expected nothing, received"):
            ws.expect_nothing(DEADLINE)


# How it ends


def test_a_refused_handshake_has_its_status_and_body(client: TestClient) -> None:
    with pytest.raises(ConnectionRejected) as caught, client.websocket("/refused"):
        pass
    assert (caught.value.status, caught.value.text) == (401, "who are you?")


def test_what_a_handler_raises_is_raised_in_the_test_with_its_traceback(
    client: TestClient,
) -> None:
    with pytest.raises(LookupError, match="boo") as caught, client.websocket("/fails") as ws:
        ws.send_text("boo")
        ws.receive_text()
    assert "fails" in [entry.name for entry in caught.traceback]


def test_what_a_handler_raises_last_is_raised_where_the_block_ends(client: TestClient) -> None:
    with pytest.raises(LookupError, match="boo"), client.websocket("/fails") as ws:
        ws.send_text("boo")


def test_exceptions_can_be_left_to_the_application(client: TestClient) -> None:
    with client.websocket("/fails", raise_app_exceptions=False) as ws:
        ws.send_text("boo")
        ws.expect_close(1011)


def test_a_wait_that_takes_too_long_fails(client: TestClient) -> None:
    with client.websocket("/echo", timeout=0.5) as ws, pytest.raises(DeadlinePassed):
        ws.receive_text()


def test_the_timeout_of_the_client_counts_unless_a_connection_has_its_own() -> None:
    with (
        TestClient(app, timeout=0.5) as client,
        client.websocket("/echo") as ws,
        pytest.raises(DeadlinePassed, match=r"0\.5"),
    ):
        next(ws)


def test_a_task_that_a_handler_leaves_behind_fails_the_test() -> None:
    with TestClient(app, timeout=0.2) as client:
        with (
            pytest.raises(HandlersSurvived, match="left behind"),
            client.websocket("/leaves-a-task"),
        ):
            pass
        with client.websocket("/leaves-a-task", check_tasks=False):
            pass


def test_an_exception_of_the_test_goes_through_both_blocks_as_it_is() -> None:
    failure = KeyError("the test")
    with (
        pytest.raises(KeyError) as caught,
        TestClient(app) as client,
        client.websocket("/echo"),
    ):
        raise failure
    assert caught.value is failure
    assert app.state.journal == ["startup", "shutdown"]


# Either way


def test_either_client_is_synchronous_in_a_synchronous_test() -> None:
    with EitherClient(app, timeout=DEADLINE) as client, client.websocket("/echo") as ws:
        assert isinstance(client, TestClient)
        ws.send_text("hello")
        assert ws.receive_text() == "hello"


async def test_either_client_is_asynchronous_in_an_asynchronous_test() -> None:
    async with EitherClient(app, timeout=DEADLINE) as client:
        assert isinstance(client, AsyncTestClient)
        async with client.websocket("/echo") as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
