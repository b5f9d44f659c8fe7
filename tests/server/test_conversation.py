"""What an application says becomes a handshake, frames or a response; the rest is an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from server.channels import BAD, Connection
from server.transports import (
    BINARY,
    CLOSE,
    FIN,
    TEXT,
    closing,
    frame,
    in_no_time,
    turns,
)
from telex._types import Message
from telex.close_codes import CloseCode
from telex.exceptions import WebSocketRuntimeError
from telex.server._conversation import Conversation
from telex.server._handshake import Headers
from telex.server._outbound import ClientDisconnected

ACCEPT: Message = {"type": "websocket.accept"}
REFUSE: Message = {"type": "websocket.close"}
START: Message = {"type": "websocket.http.response.start", "status": 401}
BODY: Message = {"type": "websocket.http.response.body", "body": b"body"}
CONNECT = {"type": "websocket.connect"}


class Talk(Connection):
    """A conversation, with a channel over a transport in memory; answers its handshake itself."""

    subprotocols: Sequence[str] = ("a", "b")

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Any] = []
        self.conversation = Conversation(self.channel, self)
        self.send = self.conversation.send
        self.receive = self.conversation.receive

    def switch(self, subprotocol: str | None, headers: Headers) -> None:
        self.answers.append(("switch", subprotocol, list(headers)))
        self.channel.open(None, b"")

    def respond(self, status: int, headers: Headers) -> None:
        self.answers.append((status, dict(headers)))

    def write(self, data: bytes) -> None:
        self.answers.append(data)

    def hang_up(self) -> None:
        self.answers.append("hang up")
        self.channel.deny()

    def break_off(self) -> None:
        self.answers.append("break off")
        self.channel.abort()

    async def receive_within(self, turns_of_the_loop: int = 10) -> Message | None:
        """Return the next event, `None` when there is none now."""
        task = asyncio.create_task(self.receive())
        await turns(turns_of_the_loop)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait([task])
        return None


async def accepted() -> Talk:
    talk = Talk()
    assert await talk.receive() == CONNECT
    await talk.send({"type": "websocket.accept"})
    return talk


# --- the handshake ---


@in_no_time
async def test_the_first_event_is_the_connect_and_comes_once() -> None:
    talk = Talk()
    assert await talk.receive() == CONNECT
    assert await talk.receive_within() is None


@pytest.mark.parametrize(
    ("extra", "subprotocol", "headers"),
    [
        ({}, None, []),
        ({"subprotocol": None, "headers": None}, None, []),
        ({"subprotocol": "", "headers": []}, None, []),
        (
            {"subprotocol": "b", "headers": [(b"X-A", b"1"), [b"x", b""]]},
            "b",
            [(b"X-A", b"1"), (b"x", b"")],
        ),
    ],
)
@in_no_time
async def test_an_accept(extra: dict[str, Any], subprotocol: str | None, headers: object) -> None:
    talk = Talk()
    await talk.send({**ACCEPT, **extra})
    assert talk.answers == [("switch", subprotocol, headers)]


@pytest.mark.parametrize("offered", [(), ("a", "b")])
@in_no_time
async def test_a_subprotocol_that_was_not_offered_cannot_be_accepted(offered: Any) -> None:
    talk = Talk()
    talk.subprotocols = offered
    with pytest.raises(ValueError, match="cannot accept the subprotocol 'c'"):
        await talk.send({**ACCEPT, "subprotocol": "c"})
    assert talk.answers == []
    await talk.send(dict(ACCEPT))
    assert talk.answers == [("switch", None, [])]


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ([("a", b"b")], TypeError),
        ([(b"a", "b")], TypeError),
        ([(b"a:", b"b")], ValueError),
        ([(b"a", b"b\r\nc: d")], ValueError),
    ],
)
@pytest.mark.parametrize("message", [ACCEPT, START])
@in_no_time
async def test_headers_that_cannot_be_sent_are_an_error(
    message: Message, headers: Any, error: type[Exception]
) -> None:
    talk = Talk()
    with pytest.raises(error):
        await talk.send({**message, "headers": headers})
    assert talk.answers == []
    await talk.send(dict(ACCEPT))


@in_no_time
async def test_a_close_before_the_accept_is_a_403() -> None:
    talk = Talk()
    await talk.send({**REFUSE, "code": 4000, "reason": "ignored"})
    (status, headers), body, end = talk.answers
    assert (status, headers[b"content-length"]) == (403, b"0")
    assert (body, end) == (b"", "hang up")
    assert await talk.receive() == CONNECT
    disconnect = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert [await talk.receive() for _ in range(2)] == [disconnect] * 2


# --- denial responses ---


@in_no_time
async def test_a_denial_response_goes_out_as_it_is() -> None:
    talk = Talk()
    await talk.send({**START, "headers": [(b"x-a", b"1")]})
    await talk.send({**BODY, "more_body": True})
    await talk.send({"type": "websocket.http.response.body", "more_body": True})
    await talk.send(dict(BODY))
    assert talk.answers == [(401, {b"x-a": b"1"}), b"body", b"body", "hang up"]
    assert talk.channel.closed is not None


@in_no_time
async def test_a_body_may_be_empty() -> None:
    talk = Talk()
    await talk.send(dict(START))
    await talk.send({"type": "websocket.http.response.body"})
    assert talk.answers == [(401, {}), "hang up"]


@pytest.mark.parametrize("status", [0, 100, 101, 199, 600, -1, "200", None])
@in_no_time
async def test_a_status_that_ends_no_handshake_is_an_error(status: Any) -> None:
    talk = Talk()
    with pytest.raises(ValueError, match="cannot have the status"):
        await talk.send({**START, "status": status})
    assert talk.answers == []


@in_no_time
async def test_a_slow_client_holds_a_denial_back() -> None:
    talk = Talk()
    await talk.send(dict(START))
    talk.channel.pause_writing()
    task = asyncio.create_task(talk.send({**BODY, "more_body": True}))
    await turns()
    assert not task.done()
    talk.channel.resume_writing()
    await task


# --- messages ---


@in_no_time
async def test_messages_come_in_and_go_out() -> None:
    talk = await accepted()
    talk.transport.feed(frame(TEXT, "é".encode()) + frame(BINARY, b"b") + frame(TEXT))
    assert [await talk.receive() for _ in range(3)] == [
        {"type": "websocket.receive", "text": "é"},
        {"type": "websocket.receive", "bytes": b"b"},
        {"type": "websocket.receive", "text": ""},
    ]
    for data in ("é", ""):
        await talk.send({"type": "websocket.send", "text": data})
        await talk.send({"type": "websocket.send", "text": data, "bytes": None})
    for raw in (b"b", bytearray(b"b"), memoryview(b"b"), b""):
        await talk.send({"type": "websocket.send", "bytes": raw})
        await talk.send({"type": "websocket.send", "bytes": raw, "text": "loses"})
    assert talk.transport.frames() == [
        *[(FIN | TEXT, "é".encode())] * 2,
        *[(FIN | TEXT, b"")] * 2,
        *[(FIN | BINARY, b"b")] * 6,
        *[(FIN | BINARY, b"")] * 2,
    ]


@in_no_time
async def test_what_is_sent_is_as_it_was_when_it_was_sent() -> None:
    talk = await accepted()
    data = bytearray(b"x" * 10_000)
    await talk.send({"type": "websocket.send", "bytes": data})
    data[:] = b"y" * 10_000
    assert talk.transport.frames() == [(FIN | BINARY, b"x" * 10_000)]


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"text": None},
        {"text": b"x"},
        {"text": 1},
        {"bytes": "x"},
        {"bytes": 3},
        {"bytes": [1, 2]},
        {"text": None, "bytes": None},
    ],
)
@in_no_time
async def test_what_is_no_message_is_an_error_and_nothing_is_sent(extra: dict[str, Any]) -> None:
    talk = await accepted()
    with pytest.raises(TypeError, match="expected text or bytes"):
        await talk.send({"type": "websocket.send", **extra})
    assert talk.transport.written == b""
    assert talk.channel.closed is None


@in_no_time
async def test_a_reader_is_woken_by_a_message_and_by_the_end() -> None:
    talk = await accepted()
    task = asyncio.create_task(talk.receive())
    await turns()
    talk.transport.feed(frame(TEXT, b"a"))
    assert await task == {"type": "websocket.receive", "text": "a"}
    task = asyncio.create_task(talk.receive())
    await turns()
    talk.transport.feed(frame(CLOSE, closing(1001, "by–e")))
    assert await task == {"type": "websocket.disconnect", "code": 1001, "reason": "by–e"}


@in_no_time
async def test_two_tasks_may_wait_for_messages_and_each_is_taken_once() -> None:
    talk = await accepted()
    tasks = [asyncio.create_task(talk.receive()) for _ in range(3)]
    await turns()
    talk.transport.feed(frame(TEXT, b"a") + frame(TEXT, b"b"))
    talk.transport.feed(frame(CLOSE, closing(1000)))
    events = await asyncio.gather(*tasks)
    assert sorted(event.get("text", "") for event in events) == ["", "a", "b"]


@in_no_time
async def test_a_slow_client_holds_messages_back() -> None:
    talk = await accepted()
    talk.channel.pause_writing()
    task = asyncio.create_task(talk.send({"type": "websocket.send", "text": "a"}))
    await turns()
    assert not task.done()
    talk.channel.resume_writing()
    await task
    assert talk.transport.frames() == [(FIN | TEXT, b"a")]


@in_no_time
async def test_an_application_that_sends_and_sends_gives_way() -> None:
    talk = await accepted()
    task = asyncio.create_task(send_for_ever(talk))
    await turns(3)
    talk.transport.lose(None)
    with pytest.raises(ClientDisconnected):
        await task


async def send_for_ever(talk: Talk) -> None:
    for _ in range(10_000):
        await talk.send({"type": "websocket.send", "text": "x"})


@in_no_time
async def test_a_violation_is_answered_when_the_application_asks_for_more() -> None:
    talk = await accepted()
    talk.transport.feed(frame(TEXT, b"a") + BAD)
    assert await talk.receive() == {"type": "websocket.receive", "text": "a"}
    await talk.send({"type": "websocket.send", "text": "answer"})
    assert await talk.receive() == {
        "type": "websocket.disconnect",
        "code": 1007,
        "reason": "text is not UTF-8",
    }
    assert [first for first, _ in talk.transport.frames()] == [FIN | TEXT, FIN | CLOSE]


# --- the close ---


@pytest.mark.parametrize(
    ("extra", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": None, "reason": None}, 1000, ""),
        ({"code": 1001, "reason": "by–e"}, 1001, "by–e"),
        ({"code": 4999}, 4999, ""),
        ({"code": CloseCode.POLICY_VIOLATION}, 1008, ""),
        ({"reason": "é" * 100}, 1000, "é" * 61),
    ],
)
@in_no_time
async def test_a_close(extra: dict[str, Any], code: int, reason: str) -> None:
    talk = await accepted()
    await talk.send({**REFUSE, **extra})
    assert talk.transport.frames() == [(FIN | CLOSE, closing(code, reason))]
    disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
    assert [await talk.receive() for _ in range(2)] == [disconnect] * 2


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, "1000", 1000.5, True])
@in_no_time
async def test_a_code_that_may_not_be_sent_is_an_error(code: Any) -> None:
    talk = await accepted()
    with pytest.raises((ValueError, TypeError)):
        await talk.send({**REFUSE, "code": code})
    assert talk.transport.written == b""
    await talk.send(dict(REFUSE))
    assert talk.transport.frames() == [(FIN | CLOSE, closing(1000))]


# --- what may not be said now ---


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ([], {"type": "websocket.send", "text": "x"}),
        ([], BODY),
        ([], {"type": "websocket.nonsense"}),
        ([], {"type": "websocket.connect"}),
        ([ACCEPT], ACCEPT),
        ([ACCEPT], START),
        ([ACCEPT], BODY),
        ([ACCEPT], {"type": "websocket.receive", "text": "x"}),
        ([START], ACCEPT),
        ([START], START),
        ([START], REFUSE),
        ([START], {"type": "websocket.send", "text": "x"}),
    ],
)
@in_no_time
async def test_what_comes_at_the_wrong_time_is_an_error(
    before: list[Message], message: Message
) -> None:
    talk = Talk()
    for each in before:
        await talk.send(dict(each))
    answers, written = list(talk.answers), talk.transport.written
    with pytest.raises(WebSocketRuntimeError):
        await talk.send(dict(message))
    assert (talk.answers, talk.transport.written) == (answers, written)


@pytest.mark.parametrize("before", [[REFUSE], [START, BODY], [ACCEPT, REFUSE]])
@pytest.mark.parametrize("message", [{"type": "websocket.send", "text": "x"}, REFUSE, ACCEPT, BODY])
@in_no_time
async def test_after_the_end_nothing_more_can_be_said(
    before: list[Message], message: Message
) -> None:
    talk = Talk()
    for each in before:
        await talk.send(dict(each))
    with pytest.raises((WebSocketRuntimeError, OSError)):
        await talk.send(dict(message))


# --- the client is gone ---


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ([], ACCEPT),
        ([], START),
        ([START], {**BODY, "more_body": True}),
        ([ACCEPT], {"type": "websocket.send", "text": "x"}),
        ([ACCEPT], {"type": "websocket.send", "bytes": b"x"}),
    ],
)
@in_no_time
async def test_to_a_client_that_is_gone_sending_is_an_oserror(
    before: list[Message], message: Message
) -> None:
    talk = Talk()
    for each in before:
        await talk.send(dict(each))
    talk.channel.on_lost()
    for _ in range(2):
        with pytest.raises(ClientDisconnected):
            await talk.send(dict(message))


@pytest.mark.parametrize("before", [[], [ACCEPT], [START]])
@in_no_time
async def test_whoever_ends_what_is_over_is_not_told_off(before: list[Message]) -> None:
    talk = Talk()
    for each in before:
        await talk.send(dict(each))
    answers = list(talk.answers)
    talk.channel.on_lost()
    await talk.send(dict(BODY if before == [START] else REFUSE))
    assert [each for each in talk.answers[len(answers) :] if isinstance(each, tuple)] == []


@in_no_time
async def test_a_client_that_leaves_before_the_accept_is_an_event() -> None:
    talk = Talk()
    assert await talk.receive() == CONNECT
    task = asyncio.create_task(talk.receive())
    await turns()
    talk.channel.on_lost()
    assert await task == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


# --- the application has ended ---


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@in_no_time
async def test_one_that_ends_without_an_answer_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk()
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        talk.conversation.finish(CloseCode.NORMAL)
    assert errors(caplog) == ["ASGI callable returned without completing handshake."]
    assert talk.answers[0][0] == 500
    assert talk.answers[1:] == [b"Internal Server Error", "hang up"]


@in_no_time
async def test_one_that_has_failed_is_a_500_and_logged_elsewhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    talk = Talk()
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        talk.conversation.finish(CloseCode.INTERNAL_ERROR)
    assert errors(caplog) == []
    assert talk.answers[0][0] == 500


@in_no_time
async def test_where_the_client_has_left_first_nothing_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    talk = Talk()
    talk.channel.on_lost()
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        talk.conversation.finish(CloseCode.NORMAL)
    assert errors(caplog) == []
    assert talk.answers == []


@in_no_time
async def test_a_denial_that_is_not_whole_is_broken_off() -> None:
    talk = Talk()
    await talk.send(dict(START))
    talk.conversation.finish(CloseCode.NORMAL)
    assert talk.answers == [(401, {}), "break off"]


@pytest.mark.parametrize(
    "code", [CloseCode.NORMAL, CloseCode.INTERNAL_ERROR, CloseCode.SERVICE_RESTART]
)
@in_no_time
async def test_a_connected_client_is_told_with_a_code(code: CloseCode) -> None:
    talk = await accepted()
    talk.conversation.finish(code)
    assert talk.transport.frames() == [(FIN | CLOSE, closing(code))]


@in_no_time
async def test_after_its_own_end_nothing_is_added() -> None:
    talk = await accepted()
    await talk.send({**REFUSE, "code": 4000})
    talk.conversation.finish(CloseCode.INTERNAL_ERROR)
    talk.conversation.finish(CloseCode.INTERNAL_ERROR)
    assert talk.transport.frames() == [(FIN | CLOSE, closing(4000))]


@pytest.mark.parametrize("before", [[], [ACCEPT]])
@in_no_time
async def test_an_application_whose_task_goes_on_may_say_nothing(before: list[Message]) -> None:
    talk = Talk()
    for each in before:
        await talk.send(dict(each))
    talk.conversation.finish(CloseCode.NORMAL)
    with pytest.raises(WebSocketRuntimeError):
        await talk.send(dict(ACCEPT))


# --- the server stops ---


@in_no_time
async def test_at_shutdown_a_connected_client_is_told_to_come_back() -> None:
    talk = await accepted()
    talk.conversation.shut_down()
    talk.conversation.shut_down()
    assert talk.transport.frames() == [(FIN | CLOSE, closing(1012))]
    assert await talk.receive() == {"type": "websocket.disconnect", "code": 1012, "reason": ""}
    with pytest.raises(ClientDisconnected):
        await talk.send({"type": "websocket.send", "text": "x"})


@in_no_time
async def test_at_shutdown_a_handshake_is_a_503() -> None:
    talk = Talk()
    talk.conversation.shut_down()
    talk.conversation.shut_down()
    assert talk.answers[0][0] == 503
    assert talk.answers[1:] == [b"Service Unavailable", "hang up"]
    with pytest.raises(ClientDisconnected):
        await talk.send(dict(ACCEPT))


@in_no_time
async def test_at_shutdown_a_denial_goes_on() -> None:
    talk = Talk()
    await talk.send(dict(START))
    talk.conversation.shut_down()
    await talk.send(dict(BODY))
    assert talk.answers == [(401, {}), b"body", "hang up"]
