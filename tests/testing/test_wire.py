"""The server's side without a server: what it refuses, and what each end learns of the other."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import pytest

from opened import soon, turns
from peer import make_scope
from telex import WebSocketRuntimeError
from telex._types import CloseRecord, Message
from telex.testing import AsyncTestClient, ConnectionRejected, _wire
from telex.testing._wire import ClientGone, Wire

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
START = {"type": "websocket.http.response.start", "status": 404, "headers": []}
LEFT = CloseRecord(4001, "bye", "client")
GOODBYE = {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}


def text(data: Any) -> Message:
    return {"type": "websocket.send", "text": data}


def body(data: Any = b"", *, more: bool = False) -> Message:
    return {"type": "websocket.http.response.body", "body": data, "more_body": more}


def received(wire: Wire) -> list[Any]:
    """What has arrived: text, bytes, the codes of closes."""
    return [m.get("text") or m.get("bytes") or m.get("code") for m in wire.arrived]


def closed(wire: Wire) -> CloseRecord | None:
    """The record now; mypy believes that an attribute it has seen keeps its value."""
    return wire.closed


def new(**scope: Any) -> Wire:
    return Wire(make_scope(denial=True, **scope))


async def opened(*offered: str) -> Wire:
    """Return the wire of a connection that was accepted."""
    wire = new(subprotocols=list(offered))
    await wire.receive()
    await wire.send(ACCEPT)
    return wire


async def sending(wire: Wire, message: Message) -> asyncio.Task[None]:
    """Send in a task, as far as it goes."""
    task = asyncio.create_task(wire.send(message))
    await turns()
    return task


# What the application receives


async def test_the_connect_comes_first_and_then_what_the_client_sends() -> None:
    wire = new()
    wire.feed({"type": "websocket.receive", "text": "a"})
    assert await wire.receive() == CONNECT
    assert await wire.receive() == {"type": "websocket.receive", "text": "a"}


async def test_the_disconnect_is_delivered_again_and_again() -> None:
    wire = await opened()
    wire.feed({"type": "websocket.receive", "text": "a"})
    wire.leave(LEFT, GOODBYE)
    assert (await wire.receive())["text"] == "a"
    for _ in range(3):
        assert await wire.receive() == GOODBYE


async def test_an_event_that_the_application_changes_is_not_changed_for_the_next_call() -> None:
    wire = await opened()
    wire.leave(LEFT, GOODBYE)
    (await wire.receive()).clear()
    assert await wire.receive() == GOODBYE


async def test_a_cancelled_receive_loses_nothing() -> None:
    wire = await opened()
    for number in range(5):
        waiting = asyncio.create_task(wire.receive())
        await turns(number)
        wire.feed({"type": "websocket.receive", "text": str(number)})
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        assert (await soon(wire.receive()))["text"] == str(number)


async def test_several_receivers_get_one_message_each_and_all_the_disconnect() -> None:
    wire = await opened()
    waiting = [asyncio.create_task(wire.receive()) for _ in range(4)]
    await turns()
    wire.feed({"type": "websocket.receive", "text": "a"})
    wire.feed({"type": "websocket.receive", "text": "b"})
    wire.leave(LEFT, GOODBYE)
    got = await soon(asyncio.gather(*waiting))
    assert [event.get("text") or event.get("code") for event in got] == ["a", "b", 4001, 4001]


# The order of messages


@pytest.mark.parametrize("kind", ["websocket.send", "websocket.http.response.body", "x", None])
async def test_before_the_acceptance_nothing_else_may_be_sent(kind: str | None) -> None:
    wire = new()
    with pytest.raises(WebSocketRuntimeError, match="not accepted yet"):
        await wire.send({"type": kind, "text": "a"})
    assert (wire.count, closed(wire)) == (0, None)
    await wire.send(ACCEPT)
    assert wire.accepted is not None


@pytest.mark.parametrize("message", [ACCEPT, START, body(), {"type": "websocket.receive"}, {}])
async def test_on_an_open_connection_only_data_and_a_close_may_be_sent(message: Message) -> None:
    wire = await opened()
    with pytest.raises(WebSocketRuntimeError, match="the connection is open"):
        await wire.send(message)
    await wire.send(text("still open"))
    assert received(wire) == ["still open"]


@pytest.mark.parametrize("message", [ACCEPT, text("a"), CLOSE, START, body()])
async def test_after_its_own_close_the_application_may_send_nothing(message: Message) -> None:
    for wire in (await opened(), new()):
        await wire.send(CLOSE)
        with pytest.raises(WebSocketRuntimeError, match="the connection is closed"):
            await wire.send(message)


@pytest.mark.parametrize("message", [ACCEPT, text("a"), CLOSE, START])
async def test_while_a_denial_is_sent_only_its_body_may_be_sent(message: Message) -> None:
    wire = new()
    await wire.send(START)
    with pytest.raises(WebSocketRuntimeError, match="a denial response is being sent"):
        await wire.send(message)


# Acceptances


async def test_an_acceptance_is_seen_with_its_headers_and_subprotocol() -> None:
    wire = new(subprotocols=["a", "b"])
    pairs = ((name, b"1") for name in (b"X-One", b"x-two"))
    await wire.send({**ACCEPT, "subprotocol": "b", "headers": pairs})
    assert wire.accepted is not None
    assert wire.accepted["subprotocol"] == "b"
    assert list(wire.accepted["headers"]) == [(b"x-one", b"1"), (b"x-two", b"1")]
    assert (wire.count, wire.last, list(wire.arrived)) == (1, wire.accepted, [])


@pytest.mark.parametrize(
    ("offered", "shown"), [([], "none"), (["a"], "'a'"), (["a", "b"], "'a', 'b'")]
)
async def test_a_subprotocol_that_was_not_offered_is_refused(
    offered: list[str], shown: str
) -> None:
    wire = new(subprotocols=offered)
    with pytest.raises(ValueError) as caught:
        await wire.send({**ACCEPT, "subprotocol": "c"})
    assert str(caught.value) == (
        f"subprotocol 'c' was not offered (offered: {shown}); "
        "clients fail the handshake then (RFC 6455 §4.1)"
    )
    assert wire.accepted is None


@pytest.mark.parametrize("subprotocol", [None, ""])
async def test_no_subprotocol_may_be_chosen(subprotocol: str | None) -> None:
    wire = new(subprotocols=["a"])
    await wire.send({**ACCEPT, "subprotocol": subprotocol, "headers": None})
    assert wire.accepted is not None


@pytest.mark.parametrize("start", [ACCEPT, START])
@pytest.mark.parametrize(
    "fields", [[("x", "1")], [(b"x", "1")], [("x", b"1")], [(b"x", None)], {b"x": b"1"}.items()]
)
async def test_headers_are_pairs_of_bytes(start: Message, fields: Any) -> None:
    wire = new()
    if dict(fields) == {b"x": b"1"}:
        await wire.send({**start, "headers": fields})
    else:
        with pytest.raises(TypeError, match="ASGI headers are pairs of bytes"):
            await wire.send({**start, "headers": fields})


@pytest.mark.parametrize("pair", [(b"x y", b"1"), (b"", b"1"), (b"x", b"a\r\nb: c"), (b":x", b"")])
async def test_headers_that_http_does_not_have_are_refused(pair: tuple[bytes, bytes]) -> None:
    wire = new()
    with pytest.raises(ValueError, match="header"):
        await wire.send({**ACCEPT, "headers": [pair]})
    assert wire.accepted is None


# Data


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ({"text": "a"}, "a"),
        ({"text": "a", "bytes": None}, "a"),
        ({"text": None, "bytes": b"a"}, b"a"),
        ({"bytes": bytearray(b"ab")}, b"ab"),
        ({"bytes": memoryview(b"abc")[1:]}, b"bc"),
    ],
)
async def test_data_is_text_or_bytes(message: Message, data: str | bytes) -> None:
    wire = await opened()
    await wire.send({"type": "websocket.send", **message})
    assert received(wire) == [data]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({}, TypeError),
        ({"text": None, "bytes": None}, TypeError),
        ({"text": "a", "bytes": b"a"}, TypeError),
        ({"text": b"a"}, TypeError),
        ({"text": 5}, TypeError),
        ({"bytes": "a"}, TypeError),
        ({"bytes": 5}, TypeError),
        ({"text": "\ud800"}, UnicodeEncodeError),
    ],
)
async def test_what_is_no_data_is_refused_and_does_not_arrive(
    message: Message, error: type[Exception]
) -> None:
    wire = await opened()
    with pytest.raises(error):
        await wire.send({"type": "websocket.send", **message})
    assert (received(wire), wire.count) == ([], 1)


async def test_bytes_that_the_application_changes_later_arrive_as_they_were() -> None:
    wire, buffer = await opened(), bytearray(b"first")
    message = {"type": "websocket.send", "bytes": buffer}
    await wire.send(message)
    buffer[:] = b"other"
    message["bytes"] = b"third"
    assert received(wire) == [b"first"]


async def test_the_last_message_and_their_number_are_known() -> None:
    wire = await opened()
    await wire.send(text("a"))
    await wire.send(text("b"))
    assert (wire.last, wire.count) == (text("b"), 3)
    await wire.send({**CLOSE, "code": 4000})
    assert (wire.last, wire.count) == ({**CLOSE, "code": 4000, "reason": ""}, 4)


async def test_an_application_that_sends_in_a_loop_lets_the_test_go_on() -> None:
    wire = await opened()

    async def flood() -> None:
        while True:
            await wire.send(text("x"))

    task = asyncio.create_task(flood())
    await turns()
    assert 1 < wire.count < 100
    task.cancel()
    await asyncio.wait({task})


# Closes


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": None, "reason": None}, 1000, ""),
        ({"code": 3000, "reason": "bye"}, 3000, "bye"),
        ({"code": 4999, "reason": "\u00e9" * 61}, 4999, "\u00e9" * 61),
        ({"code": HTTPStatus.OK + 800}, 1000, ""),
    ],
)
async def test_a_close_arrives_and_the_application_is_told_of_it(
    message: Message, code: int, reason: str
) -> None:
    wire = await opened()
    await wire.send({**CLOSE, **message})
    assert list(wire.arrived) == [{**CLOSE, "code": code, "reason": reason}]
    assert wire.closed == CloseRecord(code, reason, "server")
    event = await wire.receive()
    assert event == {"type": "websocket.disconnect", "code": code, "reason": reason}


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"code": 0}, ValueError),
        ({"code": 999}, ValueError),
        ({"code": 1005}, ValueError),
        ({"code": 1006}, ValueError),
        ({"code": 1015}, ValueError),
        ({"code": 5000}, ValueError),
        ({"code": True}, ValueError),
        ({"code": "1000"}, ValueError),
        ({"reason": "x" * 124}, ValueError),
        ({"reason": "\u00e9" * 62}, ValueError),
        ({"reason": b"bye"}, TypeError),
        ({"reason": 0}, TypeError),
        ({"reason": "\ud800"}, UnicodeEncodeError),
    ],
)
async def test_a_close_that_cannot_be_sent_is_refused_and_nothing_ends(
    message: Message, error: type[Exception]
) -> None:
    wire = await opened()
    with pytest.raises(error):
        await wire.send({**CLOSE, **message})
    assert (closed(wire), wire.rejected, received(wire)) == (None, None, [])
    await wire.send(text("still open"))
    await wire.send(CLOSE)
    assert received(wire) == ["still open", 1000]


async def test_a_close_before_the_acceptance_is_a_403() -> None:
    wire = new()
    await wire.send({**CLOSE, "code": 4000, "reason": "no"})
    assert wire.rejected is not None
    assert (wire.rejected.status, wire.rejected.code, wire.rejected.reason) == (403, 4000, "no")
    assert wire.closed == CloseRecord(4000, "no", "server", 403)
    assert list(wire.arrived) == []
    assert await wire.receive() == CONNECT
    assert (await wire.receive())["code"] == 4000


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": None, "reason": None}, 1000, ""),
        ({"code": 1006, "reason": "x" * 200}, 1006, "x" * 200),
        ({"code": 1008, "reason": [{"loc": "query"}]}, 1008, "[{'loc': 'query'}]"),
    ],
)
async def test_what_a_client_never_sees_of_a_close_before_the_acceptance_is_not_checked(
    message: Message, code: int, reason: str
) -> None:
    wire = new()
    await wire.send({**CLOSE, **message})
    assert wire.rejected is not None
    assert (wire.rejected.status, wire.rejected.code, wire.rejected.reason) == (403, code, reason)


# Denials


async def test_a_denial_may_come_in_several_parts() -> None:
    wire = new()
    await wire.send({**START, "headers": iter([(b"X-Why", b"gone")])})
    await wire.send(body(b"not ", more=True))
    await wire.send(body(bytearray(b"here"), more=True))
    assert (wire.rejected, closed(wire)) == (None, None)
    await wire.send({"type": "websocket.http.response.body"})
    assert wire.rejected is not None
    assert (wire.rejected.status, wire.rejected.body) == (404, b"not here")
    assert wire.rejected.headers.multi_items() == [("x-why", "gone")]
    assert wire.rejected.code is None
    assert wire.closed == CloseRecord(1006, "", "server", 404)


async def test_without_the_extension_a_denial_is_refused_and_a_close_still_possible() -> None:
    without: list[dict[str, Any] | None] = [None, {}, {"other": {}}]
    for extensions in without:
        wire = new(extensions=extensions)
        with pytest.raises(RuntimeError, match="the scope has no denial extension") as caught:
            await wire.send(START)
        assert not isinstance(caught.value, WebSocketRuntimeError)
        await wire.send(CLOSE)


@pytest.mark.parametrize("status", [None, "404", 404.0])
async def test_a_denial_has_a_status(status: Any) -> None:
    wire = new()
    with pytest.raises(TypeError, match="the status of a response must be an int"):
        await wire.send({**START, "status": status})
    await wire.send({**START, "status": HTTPStatus.GONE})
    await wire.send(body())
    assert wire.rejected is not None
    assert type(wire.rejected.status) is int


@pytest.mark.parametrize("data", ["text", 5, None])
async def test_the_body_of_a_denial_is_bytes(data: Any) -> None:
    wire = new()
    await wire.send(START)
    with pytest.raises(TypeError, match="the body of a response must be bytes"):
        await wire.send(body(data))
    await wire.send(body(b"no"))
    assert wire.rejected is not None
    assert wire.rejected.body == b"no"


# The client leaves


@pytest.mark.parametrize("message", [text("a"), CLOSE, ACCEPT, {"type": "x"}])
async def test_once_the_client_has_left_every_send_fails_at_once(message: Message) -> None:
    wire = await opened()
    wire.leave(LEFT, GOODBYE)
    with pytest.raises(ClientGone, match="the test client is gone"):
        await wire.send(message)
    assert isinstance(ClientGone(), OSError)
    assert (wire.closed, received(wire)) == (LEFT, [])


@pytest.mark.parametrize("own", [True, False])
async def test_an_application_that_ignores_the_end_lets_the_test_go_on(own: bool) -> None:
    wire = await opened()
    await wire.send(CLOSE) if own else wire.drop()

    async def receiving() -> None:
        while True:
            await wire.receive()

    async def sending_on() -> None:
        while True:
            with suppress(OSError, WebSocketRuntimeError):
                await wire.send(text("x"))

    tasks = [asyncio.create_task(work()) for work in (receiving, sending_on)]
    await turns()
    for task in tasks:
        assert not task.done()
        task.cancel()
    await soon(asyncio.wait(tasks))


@pytest.mark.parametrize("message", [ACCEPT, CLOSE, START])
async def test_a_client_may_leave_before_the_answer(message: Message) -> None:
    wire = new()
    wire.leave(LEFT, GOODBYE)
    with pytest.raises(ClientGone):
        await wire.send(message)
    wire.app_ended()
    assert (wire.closed, wire.rejected, wire.accepted) == (LEFT, None, None)


async def test_the_first_end_counts() -> None:
    wire = await opened()
    await wire.send({**CLOSE, "code": 4000})
    wire.leave(LEFT, GOODBYE)
    wire.drop()
    wire.app_ended()
    assert wire.closed == CloseRecord(4000, "", "server")
    assert received(wire) == [4000]
    assert await wire.receive() == await wire.receive()


async def test_a_connection_that_is_dropped_ends_with_1006_on_both_ends() -> None:
    wire = await opened()
    await wire.send(text("a"))
    wire.drop()
    with pytest.raises(ClientGone):
        await wire.send(text("b"))
    assert received(wire) == ["a", 1006]
    assert wire.closed == CloseRecord(1006, "", "server")
    assert (await wire.receive())["code"] == 1006
    wire.drop()
    wire.leave(LEFT, GOODBYE)
    wire.app_ended()
    assert received(wire) == ["a", 1006]


@pytest.mark.parametrize("leaving", [True, False])
async def test_a_denial_that_nobody_waits_for_any_more_is_none(leaving: bool) -> None:
    wire = new()
    await wire.send(START)
    wire.leave(LEFT, GOODBYE) if leaving else wire.drop()
    record = wire.closed
    with pytest.raises(ClientGone):
        await wire.send(body(b"too late"))
    wire.app_ended()
    assert (wire.closed, wire.rejected) == (record, None)
    await wire.receive()
    await wire.receive()
    assert wire._events.qsize() == 1


async def test_an_abrupt_end_is_offered_to_the_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        scope["extensions"]["telex.abort"]()

    client = AsyncTestClient(app, lifespan=False)
    async with client, client.websocket("/") as ws:
        assert (await ws.expect_close()).code == 1006


# The application ends


async def test_an_application_that_ends_without_an_answer_is_a_500() -> None:
    wire = new()
    wire.app_ended()
    assert isinstance(wire.rejected, ConnectionRejected)
    assert (wire.rejected.status, wire.rejected.body) == (500, b"Internal Server Error")
    assert wire.closed == CloseRecord(1006, "", "server", 500)


async def test_an_application_that_ends_in_the_middle_of_a_denial_has_sent_what_it_has() -> None:
    wire = new()
    await wire.send(START)
    await wire.send(body(b"not ", more=True))
    wire.app_ended()
    assert wire.rejected is not None
    assert (wire.rejected.status, wire.rejected.body) == (404, b"not ")


async def test_an_application_that_ends_without_a_close_is_a_1006() -> None:
    wire = await opened()
    await wire.send(text("a"))
    wire.app_ended()
    assert received(wire) == ["a", 1006]
    assert wire.closed == CloseRecord(1006, "", "server")
    with pytest.raises(ClientGone):
        await wire.send(text("of a task that goes on"))


async def test_a_task_that_goes_on_cannot_accept_in_place_of_its_application() -> None:
    wire = new()
    wire.app_ended()
    with pytest.raises(ClientGone):
        await wire.send(ACCEPT)


async def test_after_its_close_the_end_of_the_application_changes_nothing() -> None:
    for wire in (await opened(), new()):
        await wire.send({**CLOSE, "code": 4000})
        record, rejected = wire.closed, wire.rejected
        wire.app_ended()
        assert (wire.closed, wire.rejected) == (record, rejected)


# Not reading


async def test_what_is_sent_to_a_client_that_does_not_read_stays_in_its_buffer() -> None:
    wire = await opened()
    await wire.send(text("before"))
    wire.pause(10)
    await soon(wire.send(text("12345")))
    await soon(wire.send({"type": "websocket.send", "bytes": b"67890"}))
    assert (received(wire), wire.paused, wire.blocked, wire.count) == (["before"], True, 0, 2)
    wire.resume()
    assert (received(wire), wire.paused, wire.count) == (["before", "12345", b"67890"], False, 4)


async def test_the_send_that_goes_beyond_the_buffer_waits_and_so_does_every_later_one() -> None:
    wire = await opened()
    wire.pause(3)
    await soon(wire.send(text("\u00e9")))
    second = await sending(wire, text("\u00e9"))
    third = await sending(wire, text(""))
    assert (second.done(), third.done(), wire.blocked) == (False, False, 2)
    wire.resume()
    await soon(asyncio.gather(second, third))
    assert [m["text"] for m in wire.arrived] == ["\u00e9", "\u00e9", ""]
    assert wire.blocked == 0


@pytest.mark.parametrize("message", [text("a"), text(""), {**text(None), "bytes": b""}])
async def test_with_a_buffer_of_nothing_each_send_waits(message: Message) -> None:
    wire = await opened()
    wire.pause(0)
    task = await sending(wire, message)
    assert (task.done(), wire.blocked) == (False, 1)
    wire.resume()
    await soon(task)


async def test_after_resuming_the_buffer_is_empty_again() -> None:
    wire = await opened()
    wire.pause(2)
    await soon(wire.send(text("ab")))
    wire.resume()
    wire.pause(2)
    await soon(wire.send(text("cd")))
    task = await sending(wire, text("e"))
    assert not task.done()
    wire.resume()
    await soon(task)
    assert received(wire) == ["ab", "cd", "e"]


async def test_who_has_room_by_now_does_not_count_as_waiting() -> None:
    wire = await opened()
    wire.pause(0)
    task = await sending(wire, text("a"))
    wire.resume()
    wire.pause(0)
    assert (wire.blocked, task.done()) == (0, False)
    await soon(task)


async def test_a_larger_buffer_makes_room() -> None:
    wire = await opened()
    wire.pause(0)
    task = await sending(wire, text("abc"))
    wire.pause(3)
    await soon(task)
    assert received(wire) == []
    wire.resume()
    assert received(wire) == ["abc"]


async def test_a_close_does_not_wait_and_comes_behind_what_is_held() -> None:
    wire = await opened()
    wire.pause(0)
    data = await sending(wire, text("a"))
    await soon(wire.send({**CLOSE, "code": 4000}))
    await soon(data)
    assert (received(wire), wire.blocked) == ([], 0)
    assert wire.closed == CloseRecord(4000, "", "server")
    wire.resume()
    assert received(wire) == ["a", 4000]
    assert wire.last == {**CLOSE, "code": 4000, "reason": ""}


async def test_the_end_of_the_application_comes_behind_what_is_held() -> None:
    wire = await opened()
    wire.pause(10)
    await wire.send(text("a"))
    wire.app_ended()
    assert received(wire) == []
    wire.resume()
    assert received(wire) == ["a", 1006]


@pytest.mark.parametrize("leaving", [True, False])
async def test_a_send_that_waits_fails_at_once_when_the_client_is_gone(leaving: bool) -> None:
    wire = await opened()
    watching = asyncio.create_task(wire.bell.until(lambda: wire.blocked))
    wire.pause(0)
    tasks = [await sending(wire, text("a")) for _ in range(3)]
    await soon(watching)
    assert wire.blocked == 3
    wire.leave(LEFT, GOODBYE) if leaving else wire.drop()
    results = await soon(asyncio.gather(*tasks, return_exceptions=True))
    assert [type(result) for result in results] == [ClientGone] * 3
    assert wire.blocked == 0


async def test_a_send_that_is_cancelled_while_it_waits_waits_no_more() -> None:
    wire = await opened()
    wire.pause(0)
    task = await sending(wire, text("a"))
    task.cancel()
    await asyncio.wait({task})
    assert (task.cancelled(), wire.blocked) == (True, 0)


# Not reading enough


async def test_whoever_leaves_too_much_unread_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_wire, "MAX_UNREAD", 2)
    wire = await opened()
    await soon(wire.send(text("a")))
    await soon(wire.send(text("b")))
    task = await sending(wire, text("c"))
    assert (task.done(), wire.blocked) == (False, 1)
    assert wire.take() == text("a")
    await soon(task)
    assert received(wire) == ["b", "c"]


async def test_a_test_that_reads_late_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wire, "MAX_UNREAD", 2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        for number in range(9):
            await send(text(str(number)))

    client = AsyncTestClient(app, lifespan=False, timeout=0.2)
    async with client, client.websocket("/") as ws:
        await ws.expect_blocked()
        assert [await ws.receive_text() for _ in range(9)] == list("012345678")
