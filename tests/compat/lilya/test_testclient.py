from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import JSONResponse

import telex
from telex import testing
from telex._types import Receive, Scope, Send
from telex.compat.lilya import testclient
from telex.compat.lilya.apps import Lilya
from telex.compat.lilya.testclient import (
    TestClient,
    WebSocketDenialResponse,
    WebSocketDisconnect,
    WebSocketTestSession,
)
from telex.compat.lilya.websockets import WebSocket
from telex.testing import HandlersSurvived

pytestmark = pytest.mark.row("LX3")

started: list[str] = []

app = Lilya(on_startup=[lambda: started.append("up")], on_shutdown=[lambda: started.append("down")])


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept(
        "v2" if "v2" in websocket.subprotocols else None, headers=[(b"x-a", b"1"), (b"x-a", b"2")]
    )
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            break
        await websocket.send({**message, "type": "websocket.send"})


@app.websocket("/close")
async def close(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(4000, "bye")


@app.websocket("/left")
async def left(websocket: WebSocket) -> None:
    await websocket.accept()
    message = await websocket.receive()
    started.append(f"{message['code']} {message['reason']}")


@app.websocket("/refuse")
async def refuse(websocket: WebSocket) -> None:
    await websocket.close(4003, "not you")


@app.websocket("/deny")
async def deny(websocket: WebSocket) -> None:
    await websocket.send_denial_response(
        JSONResponse({"why": "not you"}, 401, headers={"x-a": "1"})
    )


@app.websocket("/raise")
async def fail(websocket: WebSocket) -> None:
    await websocket.accept()
    raise LookupError("from the handler")


@pytest.fixture(params=["entered", "not entered"])
def client(request: pytest.FixtureRequest) -> Any:
    """The client in both states, and a check that the lifespan has run or has not."""
    started.clear()
    made = TestClient(app)
    if request.param == "not entered":
        yield made
        assert "up" not in started
        return
    with made:
        yield made
        assert started[0] == "up"
    assert started[-1] == "down"


def test_a_client_is_that_of_telex_with_one_more_method() -> None:
    assert issubclass(TestClient, testing.TestClient)
    assert issubclass(WebSocketTestSession, testing.TestSession)
    assert testclient.WebSocketDisconnect is telex.WebSocketDisconnect


def test_messages_of_every_kind_go_both_ways(client: TestClient) -> None:
    with client.websocket_connect("/echo") as ws:
        ws.send_text("text")
        assert ws.receive_text() == "text"
        ws.send_bytes(b"bytes")
        assert ws.receive_bytes() == b"bytes"
        ws.send_json({"a": 1})
        assert ws.receive_json() == {"a": 1}
        ws.send_json([1], mode="binary")
        assert ws.receive_json(mode="binary") == [1]
        ws.send({"type": "websocket.receive", "text": "raw"})
        assert ws.receive() == {"type": "websocket.send", "text": "raw"}


def test_the_handshake_is_told(client: TestClient) -> None:
    with client.websocket_connect("/echo", subprotocols=["v1", "v2"]) as ws:
        assert ws.accepted_subprotocol == "v2"
        assert ws.extra_headers == [(b"x-a", b"1"), (b"x-a", b"2")]
    with client.websocket_connect("/close", ["v1"]) as ws:
        assert ws.accepted_subprotocol is None
        assert ws.extra_headers == []


def test_the_close_of_the_application_is_a_disconnect(client: TestClient) -> None:
    with client.websocket_connect("/close") as ws:
        for receive in (ws.receive_text, ws.receive_bytes, ws.receive_json):
            with pytest.raises(WebSocketDisconnect) as raised:
                receive()
            assert (raised.value.code, raised.value.reason) == (4000, "bye")


def test_the_close_of_the_test_reaches_the_application(client: TestClient) -> None:
    with client.websocket_connect("/left") as ws:
        ws.close(4001, "enough")
    with client.websocket_connect("/left"):
        pass
    assert started[-2:] == ["4001 enough", "1000 "]


def test_an_exception_of_the_application_is_raised(client: TestClient) -> None:
    with (
        pytest.raises(LookupError, match="from the handler"),
        client.websocket_connect("/raise") as ws,
    ):
        ws.receive_text()


def test_an_exception_of_the_application_is_not_raised_where_that_is_said() -> None:
    client = TestClient(app, raise_server_exceptions=False)
    with client.websocket_connect("/raise") as ws, pytest.raises(WebSocketDisconnect) as raised:
        ws.receive_text()
    assert raised.value.code == 1011


def test_an_exception_of_the_test_comes_out_as_it_is(client: TestClient) -> None:
    with pytest.raises(ZeroDivisionError), client.websocket_connect("/echo"):
        raise ZeroDivisionError


def test_a_close_before_accept_is_a_disconnect(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as raised, client.websocket_connect("/refuse"):
        pytest.fail("let in")
    assert not isinstance(raised.value, WebSocketDenialResponse)
    assert (raised.value.code, raised.value.reason) == (4003, "not you")


def test_a_denial_is_an_error_with_the_response(client: TestClient) -> None:
    with pytest.raises(WebSocketDenialResponse) as raised, client.websocket_connect("/deny"):
        pytest.fail("let in")
    denial = raised.value
    assert isinstance(denial, WebSocketDisconnect)
    assert (denial.status_code, denial.headers["x-a"]) == (401, "1")
    assert denial.content == b'{"why":"not you"}'
    assert (denial.text, denial.json()) == ('{"why":"not you"}', {"why": "not you"})
    assert str(denial) == 'the handshake was rejected with HTTP 401: {"why":"not you"}'


def test_an_unknown_path_is_a_denial(client: TestClient) -> None:
    with pytest.raises(WebSocketDenialResponse) as raised, client.websocket_connect("/nothing"):
        pytest.fail("let in")
    assert raised.value.status_code == 404


def test_several_connections_at_once(client: TestClient) -> None:
    with client.websocket_connect("/echo") as a, client.websocket_connect("/echo") as b:
        a.send_text("a")
        b.send_text("b")
        assert (b.receive_text(), a.receive_text()) == ("b", "a")


def test_the_options_of_telex_work_too() -> None:
    client = TestClient(app, "http://example.com", headers={"x-b": "2"}, timeout=3.0)
    with client.websocket_connect("/echo?x=1", headers={"x-c": "3"}) as ws:
        headers = dict(ws.scope["headers"])
        assert (headers[b"host"], headers[b"x-b"], headers[b"x-c"]) == (b"example.com", b"2", b"3")
        assert ws.scope["query_string"] == b"x=1"


def test_any_application_will_do() -> None:
    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        ws = WebSocket(scope, receive, send)
        await ws.accept()
        await ws.send_json(await ws.receive_json())
        await ws.close()

    with TestClient(plain).websocket_connect("/") as ws:
        ws.send_json([1])
        assert ws.receive_json() == [1]


def test_a_client_may_be_subclassed_with_another_constructor() -> None:
    class Client(TestClient):
        def __init__(self) -> None:
            super().__init__(app, headers={"x-b": "2"})

    started.clear()
    client = Client()
    with client.websocket_connect("/echo") as ws:
        assert (b"x-b", b"2") in ws.scope["headers"]
    with client, client.websocket_connect("/echo"):
        pass
    assert started == ["up", "down"]


def test_what_a_handler_leaves_behind_fails_the_test() -> None:
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        await WebSocket(scope, receive, send).accept()
        await asyncio.Event().wait()

    client = TestClient(stubborn, timeout=0.2)
    with pytest.raises(HandlersSurvived), client.websocket_connect("/"):
        pass
