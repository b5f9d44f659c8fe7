"""What applications say and hear (ASGI's WebSocket specification), seen from both ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.wire.apps import (
    ACCEPT,
    CLOSE,
    Notes,
    attempt,
    closing,
    disconnected,
    listening,
    received,
    saying,
    sending,
    to_the_end,
)
from server.wire.client import (
    BINARY,
    PING,
    TEXT,
    Client,
    dial,
    frame,
    is_binary,
    is_text,
    open_client,
    request,
    text,
)
from server.wire.client import closing as close_frame
from server.wire.serving import Served, Servers, until
from telex._types import Message, Receive, Scope, Send

CONNECT: Message = {"type": "websocket.connect"}


def telling(notes: Notes, *calls: Any, accept: bool = True) -> Any:
    """Return an application that accepts, and writes down what each of these calls does."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if accept:
            await send(ACCEPT)
        for call in calls:
            await attempt(notes, call(receive, send))

    return app


def say(message: Message) -> Any:
    return lambda receive, send: send(message)


def hear(notes: Notes) -> Any:
    async def heard(receive: Receive, send: Send) -> None:
        notes.add(await receive())

    return heard


# The order of events


def test_connect_comes_first_and_disconnect_last_and_again(anywhere: Served) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        notes.add(await receive())
        await send(ACCEPT)
        for _ in range(5):
            notes.add(await receive())

    client = open_client(anywhere, app)
    client.write(text("Grüße"), frame(BINARY, b"\0\xff"), close_frame(4000, b"bye"))
    assert notes.get() == CONNECT
    assert notes.get() == received("Grüße")
    assert notes.get() == received(b"\0\xff")
    for _ in range(3):
        assert notes.get() == disconnected(4000, "bye")


def test_an_application_may_accept_before_it_reads_the_connect(either: Served) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send(sending("hello"))
        for _ in range(2):
            notes.add(await receive())

    client = open_client(either, app)
    assert client.frame() == is_text("hello")
    client.write(text("there"))
    assert notes.get() == CONNECT
    assert notes.get() == received("there")


@pytest.mark.parametrize(
    "data", ["", "x", "Grüße €𝄞\0", "x" * 70_000, b"", b"\0\xff", b"x" * 70_000]
)
def test_messages_are_text_or_bytes_both_ways(either: Served, data: str | bytes) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        event = await receive()
        notes.add({key: value for key, value in event.items() if value is not None})
        await send({**event, "type": "websocket.send"})

    client = open_client(either, app)
    if isinstance(data, str):
        client.write(text(data))
    else:
        client.write(frame(BINARY, data))
    assert notes.get() == received(data)
    assert client.frame() == (is_text(data) if isinstance(data, str) else is_binary(data))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_may_be_of_any_kind_and_are_sent_as_they_are_now(server: Served, kind: Any) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        data = bytearray(b"now" * 50_000)
        await send({"type": "websocket.send", "bytes": kind(data)})
        data[:] = b"not" * 50_000
        await to_the_end(receive, send)

    client = open_client(server, app)
    assert client.frame() == is_binary(b"now" * 50_000)


def test_a_view_of_parts_is_sent_as_its_bytes(server: Served) -> None:
    view = memoryview(b"a-b-c-")[::2]
    client = open_client(server, saying(ACCEPT, {"type": "websocket.send", "bytes": view}))
    assert client.frame() == is_binary(b"abc")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"text": "a", "bytes": None}, is_text("a")),
        ({"text": None, "bytes": b"b"}, is_binary(b"b")),
        ({"text": "a", "bytes": b"b"}, is_binary(b"b")),
        ({"text": "a", "bytes": b""}, is_binary(b"")),
        ({"text": ""}, is_text("")),
    ],
    ids=str,
)
def test_of_both_keys_the_one_that_is_not_none_counts(
    server: Served, keys: Message, expected: object
) -> None:
    client = open_client(server, saying(ACCEPT, {"type": "websocket.send", **keys}))
    assert client.frame() == expected


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"text": None},
        {"text": None, "bytes": None},
        {"text": b"x"},
        {"text": 1},
        {"bytes": "x"},
        {"bytes": 3},
        {"bytes": [1, 2]},
        {"bytes": 1.5},
    ],
    ids=str,
)
def test_what_is_no_message_is_an_error_and_is_not_sent(server: Served, keys: Message) -> None:
    notes = Notes()
    message = {"type": "websocket.send", **keys}
    client = open_client(server, telling(notes, say(message), say(sending("fine"))))
    assert isinstance(notes.get(), TypeError)
    assert notes.get() is None
    assert client.frame() == is_text("fine")


def test_text_that_utf_8_cannot_express_is_an_error_and_is_not_sent(either: Served) -> None:
    notes = Notes()
    client = open_client(either, telling(notes, say(sending("\ud800")), say(sending("fine"))))
    assert isinstance(notes.get(), UnicodeEncodeError)
    assert notes.get() is None
    assert client.frame() == is_text("fine")


# Events in a wrong order


@pytest.mark.parametrize(
    "wrong",
    [
        [sending("x")],
        [ACCEPT, ACCEPT],
        [ACCEPT, {"type": "websocket.http.response.start", "status": 403}],
        [ACCEPT, CLOSE, CLOSE],
        [ACCEPT, CLOSE, sending("x")],
        [ACCEPT, CLOSE, ACCEPT],
        [ACCEPT, {"type": "websocket.connect"}],
        [ACCEPT, {"type": "websocket.disconnect", "code": 1000}],
        [ACCEPT, {"type": "http.response.start", "status": 200}],
        [ACCEPT, {"type": "websocket.sned", "text": "x"}],
    ],
    ids=lambda wrong: "-".join(each["type"].rpartition(".")[2] for each in wrong),
)
def test_an_event_in_a_wrong_place_is_an_error(server: Served, wrong: list[Message]) -> None:
    notes = Notes()
    client = dial(server)
    calls = [say(message) for message in wrong]
    client.write(request(server.play(telling(notes, *calls, accept=False))))
    assert [notes.get() for _ in wrong[:-1]] == [None] * (len(wrong) - 1)
    assert isinstance(notes.get(), RuntimeError)


def test_after_an_error_the_connection_goes_on(server: Served) -> None:
    notes = Notes()
    client = open_client(server, telling(notes, say(ACCEPT), say(sending("still there"))))
    assert isinstance(notes.get(), RuntimeError)
    assert client.frame() == is_text("still there")


@pytest.mark.parametrize("message", [{}, {"type": None}, {"type": 1}])
def test_an_event_without_a_type_is_an_error(server: Served, message: Message) -> None:
    notes = Notes()
    client = open_client(server, telling(notes, say(message)))
    assert isinstance(notes.get(), (KeyError, RuntimeError))
    assert client.close_frame() == (1000, "")


# How it ends, and what the application hears of it


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, b""), (1001, b"bye"), (1011, "Grüße".encode()), (3000, b"x" * 123), (4999, b"")],
)
def test_the_clients_close_is_heard_and_echoed(either: Served, code: int, reason: bytes) -> None:
    notes = Notes()
    client = open_client(either, listening(notes))
    client.write(close_frame(code, reason))
    assert notes.get() == disconnected(code, reason.decode())
    assert client.last_words()[0] == code


def test_a_close_without_a_code_is_1005_and_echoed_without_one(either: Served) -> None:
    notes = Notes()
    client = open_client(either, listening(notes))
    client.write(close_frame(None))
    event = notes.get()
    assert (event["code"], event["reason"]) == (1005, "")
    assert client.last_words() == (None, "")


@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_a_loss_is_1006(anywhere: Served, how: str) -> None:
    notes = Notes()
    client = open_client(anywhere, listening(notes))
    getattr(client, how)()
    assert notes.get() == disconnected(1006)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (CLOSE, (1000, "")),
        ({**CLOSE, "code": None, "reason": None}, (1000, "")),
        (closing(4321, "Grüße"), (4321, "Grüße")),
        (closing(1001), (1001, "")),
        (closing(4000, "x" * 200), (4000, "x" * 123)),
        (closing(4000, "ü" * 100), (4000, "ü" * 61)),
    ],
    ids=str,
)
def test_our_own_close_is_sent_and_heard(
    anywhere: Served, message: Message, expected: tuple[int, str]
) -> None:
    notes = Notes()
    client = open_client(anywhere, telling(notes, say(message), hear(notes), hear(notes)))
    assert client.close_frame() == expected
    client.write(close_frame(expected[0]))
    assert client.rest() == b""
    assert notes.get() is None
    for _ in range(2):
        assert notes.get() == disconnected(*expected)
        assert notes.get() is None


@pytest.mark.parametrize(
    "code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, "1000", True]
)
def test_a_code_that_may_not_be_sent_is_an_error(server: Served, code: Any) -> None:
    notes = Notes()
    client = open_client(server, telling(notes, say(closing(code)), say(sending("still there"))))
    assert isinstance(notes.get(), (ValueError, TypeError))
    assert client.frame() == is_text("still there")
    assert client.close_frame() == (1000, "")


def test_what_was_sent_before_the_end_arrives_before_it(anywhere: Served) -> None:
    messages = [sending(b"x" * 50_000)] * 100
    client = open_client(anywhere, saying(ACCEPT, *messages, closing(4000)), receive_buffer=65_536)
    for _ in messages:
        assert client.frame() == is_binary(b"x" * 50_000)
    assert client.close_frame() == (4000, "")


def test_what_came_before_our_close_can_still_be_received(server: Served) -> None:
    notes, gate = Notes(), server.gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await gate.wait()
        await send(closing(4000))
        for _ in range(3):
            notes.add(await receive())

    client = open_client(server, app)
    client.write(text("one"), text("two"))
    server.turn()
    gate.open()
    assert [notes.get() for _ in range(3)] == [
        received("one"),
        received("two"),
        disconnected(4000),
    ]


@pytest.mark.parametrize("how", ["close frame", "loss"])
def test_after_the_end_sending_is_an_os_error_and_closing_is_not_worse(
    anywhere: Served, how: str
) -> None:
    notes = Notes()
    calls = (say(sending("x")), say(sending(b"x")), say(closing(4000)), say(sending("x")))
    client = open_client(anywhere, telling(notes, to_the_end, *calls))
    if how == "loss":
        client.reset()
    else:
        client.write(close_frame(1000))
    assert notes.get() is None
    assert isinstance(notes.get(), OSError)
    assert isinstance(notes.get(), OSError)
    assert isinstance(notes.get(), (OSError, type(None)))
    assert isinstance(notes.get(), (OSError, RuntimeError))


def test_an_os_error_of_send_that_is_not_caught_is_no_error_of_the_application(
    anywhere: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await to_the_end(receive, send)
        await send(sending("nobody is there"))

    client = open_client(anywhere, app)
    client.reset()
    until("the end", lambda: anywhere.idle)
    assert caplog.records == []


def test_returning_closes_with_1000_and_raising_with_1011(
    anywhere: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        raise LookupError("a secret")

    for app, expected in ((saying(ACCEPT), 1000), (fails, 1011)):
        client = open_client(anywhere, app)
        assert client.close_frame() == (expected, "")
    assert caplog.text.count("LookupError: a secret") == 1


def test_a_client_that_leaves_before_the_accept_is_heard_of(anywhere: Served) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            notes.add(await receive())
        await attempt(notes, send(ACCEPT))
        await attempt(notes, send(sending("x")))

    client = dial(anywhere)
    client.write(request(anywhere.play(app)))
    assert notes.get() == CONNECT
    client.reset()
    assert notes.get() == notes.get() == disconnected(1006)
    assert isinstance(notes.get(), OSError)
    assert isinstance(notes.get(), (OSError, RuntimeError))


# Several tasks, and cancelling


def test_two_tasks_may_receive_and_every_message_goes_to_one(anywhere: Served) -> None:
    notes = Notes()
    count = 200

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)

        async def take() -> None:
            while (event := await receive())["type"] == "websocket.receive":
                notes.add(int(event["text"]))

        await asyncio.gather(*(take() for _ in range(3)))
        notes.add("all have ended")

    client = open_client(anywhere, app)
    for number in range(count):
        client.write(text(str(number)))
    client.write(close_frame())
    assert sorted(notes.get() for _ in range(count)) == [*range(count)]
    assert notes.get() == "all have ended"


def test_a_receive_that_is_cancelled_loses_nothing(anywhere: Served) -> None:
    notes = Notes()
    count = 300

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        while True:
            task = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                continue
            event = task.result()
            if event["type"] == "websocket.disconnect":
                return
            notes.add(event["text"])

    client = open_client(anywhere, app)
    client.write(*(text(str(number)) for number in range(count // 2)))
    for number in range(count // 2, count):
        client.write(text(str(number)))
    assert [notes.get() for _ in range(count)] == [*map(str, range(count))]


def test_a_send_that_is_cancelled_while_it_waits_leaves_whole_frames(anywhere: Served) -> None:
    notes, cancelled = Notes(), anywhere.gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        sent = 0
        while True:
            try:
                async with asyncio.timeout(0.05):
                    sent += 1
                    await send(sending(b"x" * 200_000))
            except TimeoutError:
                break
        notes.add(sent)
        await cancelled.wait()
        await send(sending("and on"))

    client = open_client(anywhere, app, receive_buffer=65_536)
    sent = notes.get()
    cancelled.open()
    for _ in range(sent):
        assert client.frame() == is_binary(b"x" * 200_000)
    assert client.frame() == is_text("and on")


def test_a_close_goes_out_while_another_task_receives(anywhere: Served) -> None:
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        listener = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send(closing(4000, "enough"))
        notes.add(await listener)

    client = open_client(anywhere, app)
    assert client.close_frame() == (4000, "enough")
    assert notes.get() == disconnected(4000, "enough")


def test_two_tasks_may_send_and_frames_stay_whole(anywhere: Served) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)

        async def say(letter: bytes) -> None:
            for _ in range(50):
                await send(sending(letter * 20_000))

        await asyncio.gather(*(say(letter) for letter in (b"a", b"b", b"c")))

    client = open_client(anywhere, app)
    for _ in range(150):
        payload = client.frame().payload
        assert payload == payload[:1] * 20_000
    assert client.close_frame() == (1000, "")


def test_nothing_is_sent_after_the_application_has_ended(server: Served) -> None:
    """A task that is left behind cannot write into somebody else's connection."""
    notes, gate = Notes(), server.gate()
    left: list[asyncio.Future[None]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)

        async def late() -> None:
            await gate.wait()
            await attempt(notes, send(sending("too late")))

        left.append(asyncio.ensure_future(late()))

    client = open_client(server, app)
    assert client.close_frame() == (1000, "")
    client.hang_up()
    until("the end", lambda: server.idle)
    gate.open()
    assert isinstance(notes.get(), (OSError, RuntimeError))


def test_an_application_without_a_reader_still_answers_pings(server: Served) -> None:
    gate = server.gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await gate.wait()

    client: Client = open_client(server, app)
    client.write(frame(PING, b"there?"))
    assert client.frame().payload == b"there?"
    gate.open()
    assert client.close_frame() == (1000, "")


def test_messages_are_of_the_kind_that_was_sent(servers: Servers) -> None:
    server = servers.get()
    client = open_client(server, saying(ACCEPT, sending("a"), sending(b"b"), sending("c")))
    assert [client.frame().opcode for _ in range(3)] == [TEXT, BINARY, TEXT]
