"""The verbs of a session, and what they say when something is amiss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from opened import turns
from telex import WebSocketDisconnect
from telex.exceptions import (
    WebSocketExpectError,
    WebSocketFrameError,
    WebSocketModeError,
    WebSocketRuntimeError,
)
from telex.testing import (
    AsyncTestClient,
    AsyncTestSession,
    DeadlinePassed,
    ExpectationFailed,
)
from testing.asgi_end import (
    PATIENCE,
    Server,
    ServerEnd,
    application,
    echo,
    opened,
    quiet,
    recording,
    sending,
)

Call = Callable[[AsyncTestSession], Awaitable[object]]

READS: dict[str, Call] = {
    "receive_text": lambda ws: ws.receive_text(),
    "receive_bytes": lambda ws: ws.receive_bytes(),
    "receive_json": lambda ws: ws.receive_json(),
    "receive_as": lambda ws: ws.receive_as(int),
    "receive": lambda ws: ws.receive(),
}

SENDS: dict[str, Call] = {
    "send_text": lambda ws: ws.send_text("x"),
    "send_bytes": lambda ws: ws.send_bytes(b"x"),
    "send_json": lambda ws: ws.send_json({}),
    "send_value": lambda ws: ws.send_value(1),
    "send": lambda ws: ws.send({"type": "websocket.receive", "text": "x"}),
}

every_read = pytest.mark.parametrize("read", READS.values(), ids=READS)
every_send = pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)


class Point(msgspec.Struct):
    x: int


@dataclass
class Data:
    x: int


class Model(pydantic.BaseModel):
    x: int


def said(caught: pytest.ExceptionInfo[BaseException]) -> str:
    return str(caught.value)


# The handshake


async def test_a_session_knows_what_the_handshake_has_brought() -> None:
    fields = [(b"x-one", b"1"), (b"x-one", b"2")]
    app = application(quiet, subprotocol="b", headers=fields)
    async with (
        AsyncTestClient(app, lifespan=False) as client,
        client.websocket("/?x=1", subprotocols=["a", "b"]) as ws,
    ):
        assert ws.accepted_subprotocol == "b"
        assert ws.response_headers.getlist("x-one") == ["1", "2"]
        assert ws.scope["subprotocols"] == ["a", "b"]
        assert ws.scope["query_string"] == b"x=1"
        assert ws.closed is None


async def test_a_session_without_subprotocol_and_headers_says_so() -> None:
    async with opened(quiet) as ws:
        assert ws.accepted_subprotocol is None
        assert len(ws.response_headers) == 0


def test_pytest_does_not_collect_the_classes() -> None:
    assert AsyncTestSession.__test__ is AsyncTestClient.__test__ is False


# Sending


async def test_what_is_sent_reaches_the_application() -> None:
    server, events = recording()
    async with opened(server) as ws:
        await ws.send_text("text")
        await ws.send_bytes(b"bytes")
        await ws.send_bytes(memoryview(b"view"))
        await ws.send_json({"a": [1]})
        await ws.send_json({"a": [1]}, mode="binary")
    data = [e.get("text") or e.get("bytes") for e in events[:-1]]
    assert data[:3] == ["text", b"bytes", b"view"]
    assert json.loads(data[3] or "") == json.loads(data[4] or "") == {"a": [1]}
    assert isinstance(data[3], str)
    assert isinstance(data[4], bytes)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("text", {"text": "text"}),
        (b"bytes", {"bytes": b"bytes"}),
        (1, {"text": "1"}),
        (True, {"text": "true"}),
        (None, {"text": "null"}),
        ({"x": 1}, {"text": '{"x":1}'}),
        (Point(1), {"text": '{"x":1}'}),
        (Data(1), {"text": '{"x":1}'}),
        (Model(x=1), {"text": '{"x":1}'}),
    ],
    ids=repr,
)
async def test_a_value_is_sent_as_the_message_it_stands_for(value: object, sent: Any) -> None:
    server, events = recording()
    async with opened(server) as ws:
        await ws.send_value(value)
    assert events[0] == {"type": "websocket.receive", **sent}


async def test_wrong_types_are_refused_before_anything_is_sent() -> None:
    server, events = recording()
    wrong: Any = object()
    async with opened(server) as ws:
        with pytest.raises(TypeError) as caught:
            await ws.send_text(wrong)
        assert said(caught) == "send_text takes a str, not object"
        with pytest.raises(TypeError) as caught:
            await ws.send_bytes(wrong)
        assert said(caught) == "send_bytes takes bytes, not object"
        with pytest.raises(TypeError):
            await ws.send_value(wrong)
        with pytest.raises(TypeError):
            await ws.send_json(wrong)
    assert [e["type"] for e in events] == ["websocket.disconnect"]


async def test_json_has_two_modes_and_no_third() -> None:
    third: Any = "msgpack"
    async with opened(quiet) as ws:
        for call in (ws.send_json({}, mode=third), ws.receive_json(mode=third)):
            with pytest.raises(WebSocketModeError) as caught:
                await call
            assert said(caught) == "mode must be 'text' or 'binary', not 'msgpack'"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.receive", "text": "x", "bytes": None},
        {"type": "websocket.receive", "text": None, "bytes": b"x"},
        {"type": "websocket.receive", "text": "x", "bytes": b"x"},
        {"type": "websocket.receive"},
        {"type": "websocket.receive", "text": "x", "own": 1},
        {"type": "websocket.disconnect"},
        {"type": "websocket.disconnect", "code": 1001},
        {"type": "websocket.disconnect", "code": None, "reason": None},
    ],
    ids=str,
)
async def test_raw_events_reach_the_application_as_they_are(event: dict[str, Any]) -> None:
    server, events = recording()
    async with opened(server) as ws:
        await ws.send(event)
    assert events[0] == event


async def test_a_raw_disconnect_ends_the_connection() -> None:
    async with opened(quiet) as ws:
        await ws.send({"type": "websocket.disconnect"})
        assert ws.closed is not None
        assert (ws.closed.code, ws.closed.closed_by) == (1005, "client")


@pytest.mark.parametrize("kind", ["websocket.connect", "websocket.send", None])
async def test_other_raw_events_are_refused(kind: str | None) -> None:
    async with opened(quiet) as ws:
        with pytest.raises(ValueError) as caught:
            await ws.send({"type": kind} if kind else {})
    assert said(caught) == f"a server sends websocket.receive or .disconnect, not {kind!r}"


@every_send
async def test_sending_after_the_server_has_closed_tells_of_its_close(send: Call) -> None:
    async with opened(sending(close=4000)) as ws:
        await ws.expect_close(4000)
        with pytest.raises(WebSocketDisconnect) as caught:
            await send(ws)
    assert said(caught) == "the peer closed the connection with code 4000: bye"


@every_send
async def test_sending_after_the_own_close_is_a_mistake_of_the_test(send: Call) -> None:
    async with opened(quiet) as ws:
        await ws.close(4000)
        with pytest.raises(WebSocketRuntimeError) as caught:
            await send(ws)
    assert said(caught) == "cannot send: the test has ended it with 4000"


async def test_a_loop_that_sends_lets_deadlines_pass() -> None:
    async with opened(echo) as ws:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                while True:
                    await ws.send_text("x")


async def test_a_loop_that_sends_lets_the_application_answer() -> None:
    async def closes_at_the_third(server: ServerEnd) -> None:
        for _ in range(3):
            await server.receive()
        await server.close()

    async with opened(closes_at_the_third) as ws:
        with pytest.raises(WebSocketDisconnect):
            while True:
                await ws.send_text("x")


# Receiving


async def test_messages_come_in_order_and_as_they_were_sent() -> None:
    async with opened(sending("a", b"b", '{"c": 1}', b"[2]", close=4000)) as ws:
        assert await ws.receive_text() == "a"
        assert await ws.receive_bytes() == b"b"
        assert await ws.receive_json() == {"c": 1}
        assert await ws.receive_json(mode="binary") == [2]
        with pytest.raises(WebSocketDisconnect) as caught:
            await ws.receive_text()
        assert (caught.value.code, caught.value.reason) == (4000, "bye")


async def test_raw_messages_are_those_of_the_application() -> None:
    async with opened(sending("a", b"b", close=4000)) as ws:
        assert await ws.receive() == {"type": "websocket.send", "text": "a"}
        assert await ws.receive() == {"type": "websocket.send", "bytes": b"b"}
        assert await ws.receive() == {"type": "websocket.close", "code": 4000, "reason": "bye"}
        with pytest.raises(WebSocketDisconnect) as caught:
            await ws.receive()
    assert caught.value.code == 4000


@pytest.mark.parametrize("data", [bytearray(b"x"), memoryview(b"x")])
async def test_bytes_are_bytes_whatever_the_application_sends(data: Any) -> None:
    async with opened(sending(data)) as ws:
        received = await ws.receive_bytes()
    assert type(received) is bytes
    assert received == b"x"


async def test_a_message_of_the_other_kind_is_shown_and_consumed() -> None:
    async with opened(sending(b"b", "a", b"{}", "{}", "end")) as ws:
        with pytest.raises(WebSocketFrameError) as caught:
            await ws.receive_text()
        assert said(caught) == "expected text, received bytes b'b'"
        with pytest.raises(WebSocketFrameError) as caught:
            await ws.receive_bytes()
        assert said(caught) == "expected bytes, received text 'a'"
        with pytest.raises(WebSocketFrameError) as caught:
            await ws.receive_json()
        assert said(caught) == "expected text, received bytes b'{}'"
        with pytest.raises(WebSocketFrameError) as caught:
            await ws.receive_json(mode="binary")
        assert said(caught) == "expected bytes, received text '{}'"
        assert await ws.receive_text() == "end"


async def test_what_is_no_json_is_consumed() -> None:
    async with opened(sending("{", "end")) as ws:
        with pytest.raises(json.JSONDecodeError):
            await ws.receive_json()
        assert await ws.receive_text() == "end"


@pytest.mark.parametrize(
    ("sent", "tp", "value"),
    [
        ("7", int, 7),
        (b"7", int, 7),
        ("true", bool, True),
        ('{"x": 1}', dict, {"x": 1}),
        (b"text", str, "text"),
        ("bytes", bytes, b"bytes"),
        ('{"x": 1}', Point, Point(1)),
        (b'{"x": 1}', Data, Data(1)),
        ('{"x": 1}', Model, Model(x=1)),
        ("[1, 2]", list[int], [1, 2]),
    ],
)
async def test_a_message_is_read_as_a_value_of_a_type(sent: Any, tp: Any, value: object) -> None:
    async with opened(sending(sent)) as ws:
        received = await ws.receive_as(tp)
    assert received == value
    assert type(received) is type(value)


@pytest.mark.parametrize("tp", [int, bool, dict, Point, Data, Model])
async def test_a_message_that_does_not_fit_is_shown_and_consumed(tp: Any) -> None:
    async with opened(sending('"no"', "end")) as ws:
        with pytest.raises(WebSocketExpectError, match="no"):
            await ws.receive_as(tp)
        assert await ws.receive_text() == "end"


async def test_iterating_gives_messages_and_ends_quietly_at_a_close() -> None:
    async with opened(sending("a", b"b", close=4000)) as ws:
        assert [message async for message in ws] == ["a", b"b"]
        assert [message async for message in ws] == []
        assert (await ws.expect_close()).code == 4000


async def test_iterating_ends_quietly_when_the_test_has_closed() -> None:
    async with opened(sending("a")) as ws:
        await turns()
        await ws.close()
        assert [message async for message in ws] == ["a"]


async def test_iterating_over_what_never_comes_runs_into_the_deadline() -> None:
    async with opened(sending("a")) as ws:
        with pytest.raises(DeadlinePassed):
            async for message in ws:
                assert message == "a"


async def test_the_end_of_an_iterator_in_the_application_is_no_end_of_ours() -> None:
    async def steps_too_far(server: ServerEnd) -> None:
        raise StopAsyncIteration

    async with opened(steps_too_far) as ws:
        with pytest.raises(RuntimeError) as caught:
            async for _ in ws:
                pass
    assert said(caught) == "the application raised StopAsyncIteration"
    assert isinstance(caught.value.__cause__, StopAsyncIteration)


@every_read
async def test_reading_after_the_own_close_is_a_mistake_of_the_test(read: Call) -> None:
    async with opened(quiet) as ws:
        await ws.close()
        with pytest.raises(WebSocketRuntimeError) as caught:
            await read(ws)
    assert said(caught) == "cannot receive: the test has ended it with 1000"


async def test_what_came_before_the_own_close_can_be_read() -> None:
    async with opened(sending("a")) as ws:
        await turns()
        await ws.close()
        assert await ws.receive_text() == "a"


# Ending


@pytest.mark.parametrize(
    ("args", "code", "reason"),
    [((), 1000, ""), ((4001,), 4001, ""), ((4001, "bye"), 4001, "bye"), ((None,), 1005, "")],
)
async def test_a_close_reaches_the_application(args: Any, code: int, reason: str) -> None:
    server, events = recording()
    async with opened(server) as ws:
        await ws.close(*args)
        assert ws.closed is not None
        assert (ws.closed.code, ws.closed.reason, ws.closed.closed_by) == (code, reason, "client")
        await ws.close(3000)
        await ws.abort()
    assert events == [{"type": "websocket.disconnect", "code": code, "reason": reason}]


async def test_a_close_that_no_client_may_send_is_refused() -> None:
    async with opened(quiet) as ws:
        for code in (999, 1005, 1006, 1015, 5000):
            with pytest.raises(ValueError):
                await ws.close(code)
        with pytest.raises(ValueError) as caught:
            await ws.close(1000, "é" * 62)
        assert said(caught) == f"a close reason has at most 123 bytes: {'é' * 62!r}"
        assert ws.closed is None
        await ws.close(1000, "x" * 123)


async def test_an_abort_is_1006_and_an_error_of_sends() -> None:
    seen: list[Any] = []

    async def notices(server: ServerEnd) -> None:
        seen.append(await server.receive())
        with pytest.raises(OSError) as caught:
            await server.text("too late")
        seen.append(str(caught.value))

    async with opened(notices) as ws:
        await ws.abort()
        assert ws.closed is not None
        assert (ws.closed.code, ws.closed.closed_by) == (1006, "client")
    assert seen[0] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert seen[1] == "the test client is gone"


async def test_leaving_the_block_closes_with_1000() -> None:
    server, events = recording()
    async with opened(server) as ws:
        assert ws.closed is None
    assert events == [{"type": "websocket.disconnect", "code": 1000, "reason": ""}]


# Not reading


async def test_with_no_buffer_every_send_waits() -> None:
    async with opened(sending("", "b")) as ws:
        ws.pause_reading(buffer=0)
        await ws.expect_blocked()
        ws.resume_reading()
        assert [await ws.receive_text(), await ws.receive_text()] == ["", "b"]


async def test_the_default_buffer_takes_what_a_transport_takes() -> None:
    sent: list[int] = []

    async def fills(server: ServerEnd) -> None:
        await server.receive()
        for number in range(70):
            await server.bytes(b"x" * 1024)
            sent.append(number)

    async with opened(fills) as ws:
        ws.pause_reading()
        await ws.send_text("go")
        await ws.expect_blocked()
        assert len(sent) == 64
        ws.resume_reading()
        for _ in range(70):
            await ws.receive_bytes()
    assert len(sent) == 70


async def test_what_arrived_before_the_pause_can_be_read_and_no_more() -> None:
    async with opened(sending("a", "b")) as ws:
        assert await ws.receive_text() == "a"
        await turns()
        ws.pause_reading()
        assert await ws.receive_text() == "b"
        for call in (*READS.values(), AsyncTestSession.expect_close):
            with pytest.raises(WebSocketRuntimeError) as caught:
                await call(ws)
            assert said(caught) == (
                "cannot receive: reading is paused, and all that came before was received"
            )


async def test_a_close_waits_behind_the_pause_as_well() -> None:
    async with opened(echo) as ws:
        ws.pause_reading()
        await ws.send_text("a")
        await turns()
        ws.resume_reading()
        ws.pause_reading(buffer=0)
        assert await ws.receive_text() == "a"
    async with opened(sending("a", close=4000)) as ws:
        ws.pause_reading()
        await turns()
        ws.resume_reading()
        assert await ws.receive_text() == "a"
        await ws.expect_close(4000)


async def test_a_buffer_is_not_negative() -> None:
    async with opened(quiet) as ws:
        with pytest.raises(ValueError) as caught:
            ws.pause_reading(buffer=-1)
        assert said(caught) == "buffer must be bytes, 0 or more, not -1"


async def test_an_application_that_does_not_send_is_not_blocked() -> None:
    async with opened(quiet) as ws:
        ws.pause_reading(buffer=0)
        with pytest.raises(DeadlinePassed, match=r"^waited 0\.2 s for a send that has to wait\n"):
            await ws.expect_blocked()


@pytest.mark.parametrize(
    ("server", "error", "text"),
    [
        (sending(close=4000), WebSocketDisconnect, "code 4000: bye"),
        (quiet, WebSocketRuntimeError, "cannot expect a send: the test has ended it with 1006"),
    ],
)
async def test_nothing_is_blocked_after_the_end(server: Server, error: Any, text: str) -> None:
    async with opened(server) as ws:
        await turns()
        await ws.abort()
        with pytest.raises(error, match=text):
            await ws.expect_blocked()


# Expectations


async def test_a_close_may_be_expected_before_and_after_it_was_read() -> None:
    async with opened(sending(close=4000)) as ws:
        record = await ws.expect_close(4000)
        assert record == ws.closed == await ws.expect_close()
        assert (record.code, record.reason, record.closed_by) == (4000, "bye", "server")


async def test_another_code_and_a_message_are_no_close_that_was_expected() -> None:
    async with opened(sending("a", close=4000)) as ws:
        with pytest.raises(ExpectationFailed) as caught:
            await ws.expect_close()
        assert said(caught) == "expected a close, received text 'a'"
        with pytest.raises(ExpectationFailed) as caught:
            await ws.expect_close(4001)
        assert said(caught) == "expected a close with 4001, received a close with 4000 'bye'"


async def test_a_close_that_never_comes_runs_into_the_deadline() -> None:
    async with opened(quiet) as ws:
        with pytest.raises(DeadlinePassed, match=r"^waited 0\.2 s for a close with 4000\n"):
            await ws.expect_close(4000)
        await ws.close()
        with pytest.raises(WebSocketRuntimeError) as caught:
            await ws.expect_close()
    assert said(caught) == "cannot expect a close: the test has ended it with 1000"


async def test_nothing_is_what_was_expected() -> None:
    async with opened(echo) as ws:
        await ws.expect_nothing(0)
        await ws.expect_nothing(0.01)
        await ws.send_text("a")
        with pytest.raises(ExpectationFailed) as caught:
            await ws.expect_nothing(PATIENCE)
        assert said(caught) == "expected nothing, received text 'a'"
        await ws.expect_nothing(0)


async def test_a_close_is_not_nothing() -> None:
    async with opened(sending(close=4000)) as ws:
        with pytest.raises(ExpectationFailed) as caught:
            await ws.expect_nothing(PATIENCE)
        assert said(caught) == "expected nothing, received close 4000 'bye'"
        with pytest.raises(WebSocketDisconnect):
            await ws.expect_nothing(0)


async def test_a_deadline_of_the_application_is_not_nothing() -> None:
    async def is_late(server: ServerEnd) -> None:
        raise TimeoutError("the application's own")

    async with opened(is_late) as ws:
        with pytest.raises(TimeoutError, match="the application's own"):
            await ws.expect_nothing(PATIENCE)


async def test_text_that_no_client_can_send_is_refused_and_the_connection_stays_open() -> None:
    async with opened(echo) as ws:
        with pytest.raises(UnicodeEncodeError):
            await ws.send_text("\ud800")
        await ws.send_text("still there")
        assert await ws.receive_text() == "still there"


async def test_a_close_frame_without_a_code_has_no_reason() -> None:
    async with opened(quiet) as ws:
        with pytest.raises(ValueError, match=r"^a close frame without a code has no reason"):
            await ws.close(None, "bye")
        assert ws.closed is None
