from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import hypothesis.strategies as st
import pytest
from hypothesis import given
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect as StarletteDisconnect
from websockets.asyncio.client import connect

import telex
from channel import FakeChannel
from opened import soon, turns
from peer import B, D, Peer, T, make_scope, serve
from telex._types import FRAMES_EXTENSION, ASGIApp, Message, Receive, Scope, Send
from telex.testing import AsyncTestClient
from telex.testing._faults import (
    MAX_AHEAD,
    Faults,
    FaultyConnection,
    FaultyLink,
    LinkDropped,
)
from telex.testing._server import LiveServer
from telex.testing._wire import ABORT_EXTENSION

Handler = Callable[[Receive, Send], Awaitable[None]]

LATE = 3600.0
"""A delay that does not pass within a test."""
SOON = 0.02
MANY = "abcdefghijklmnopqrstuvwxyz"
BROKEN = {"type": "websocket.disconnect", "code": 1006, "reason": ""}


def text(data: str) -> Message:
    return {"type": "websocket.send", "text": data}


def close(code: int = 1000) -> Message:
    return {"type": "websocket.close", "code": code, "reason": ""}


def accepting(handler: Handler) -> ASGIApp:
    """An application that accepts and then does what a test is about."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        await handler(receive, send)

    return app


async def echo(receive: Receive, send: Send) -> None:
    while (event := await receive())["type"] != "websocket.disconnect":
        await send({**event, "type": "websocket.send"})


class Live:
    """The application's end of a connection, and what a test has to do with it."""

    def __init__(self, receive: Receive, send: Send, link: FaultyLink, peer: Peer) -> None:
        self.receive, self._send, self.link, self.peer = receive, send, link, peer

    @property
    def connection(self) -> FaultyConnection:
        return self.link.connections[0]

    async def send(self, message: Message) -> None:
        await self._send(message)

    async def event(self) -> Message:
        return await soon(self.receive())

    async def events(self, amount: int) -> list[Any]:
        """The payloads of events, or their close codes."""
        found = [await self.event() for _ in range(amount)]
        return [e.get("text") or e.get("bytes") or e.get("code", "") for e in found]


@asynccontextmanager
async def live(
    *script: Message,
    incoming: Faults | None = None,
    outgoing: Faults | None = None,
    peer: Peer | None = None,
    **scope: Any,
) -> AsyncIterator[Live]:
    """An accepted connection behind a link; the test takes the place of the application."""
    begun: asyncio.Future[tuple[Receive, Send]] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def handler(*ends: Any) -> None:
        begun.set_result(ends)
        await ended.wait()

    link = FaultyLink(accepting(handler), incoming=incoming, outgoing=outgoing)
    peer = peer or Peer()
    peer.feed(*script)
    task = asyncio.create_task(peer.run(link, make_scope(**scope)))
    try:
        yield Live(*await soon(begun), link, peer)
    finally:
        ended.set()
        await soon(task)
    assert link.connections == []


class Slow(Peer):
    """A peer whose server keeps `send` waiting after the accept, as behind a full buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    async def send(self, message: Message) -> None:
        if message["type"] != "websocket.accept":
            self.waits.set()
            await asyncio.Event().wait()
        await super().send(message)


# Nothing wrong


async def test_without_faults_everything_passes_as_it_is() -> None:
    peer = await serve(FaultyLink(accepting(echo)), T("a"), B(b"b"), T(""), D(1001))
    assert peer.data == ["a", b"b", ""]
    assert peer.types == ["accept", "send", "send", "send"]


@pytest.mark.parametrize("kind", ["http", "lifespan"])
async def test_other_scopes_are_handed_on_untouched(kind: str) -> None:
    seen: list[object] = []

    async def app(*triple: object) -> None:
        seen.extend(triple)

    peer = Peer()
    scope: Scope = {"type": kind}
    broken = Faults(delay=LATE, drop_after=0)
    await FaultyLink(app, incoming=broken, outgoing=broken)(scope, peer.receive, peer.send)
    assert seen == [scope, peer.receive, peer.send]
    assert seen[0] is scope


async def test_the_handshake_is_not_delayed() -> None:
    late = Faults(delay=LATE)
    async with live(incoming=late, outgoing=late) as at:
        assert at.peer.types == ["accept"]


@pytest.mark.parametrize(
    "answer",
    [[close()], [{"type": "websocket.http.response.start", "status": 404, "headers": []}]],
    ids=["close", "denial"],
)
async def test_a_refusal_is_not_delayed(answer: list[Message]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for message in answer:
            await send(message)

    peer = await serve(FaultyLink(app, outgoing=Faults(delay=LATE)))
    assert peer.sent == answer


async def test_what_the_application_raises_passes_through() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await serve(FaultyLink(app))


async def test_what_the_server_raises_passes_through_after_what_came_before() -> None:
    async def receive() -> Message:
        if peer.incoming:
            return await peer.receive()
        raise ZeroDivisionError

    async def handler(receive: Receive, send: Send) -> None:
        assert (await receive())["text"] == "a"
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await receive()
        peer.fail_sends_with = BlockingIOError()
        with pytest.raises(BlockingIOError):
            await send(text("b"))

    peer = Peer(T("a"))
    await soon(FaultyLink(accepting(handler))(make_scope(), receive, peer.send))


async def test_a_server_that_cancels_its_receive_has_lost_the_client() -> None:
    async def receive() -> Message:
        if peer.incoming:
            return await peer.receive()
        raise asyncio.CancelledError

    async def handler(receive: Receive, send: Send) -> None:
        assert await receive() == BROKEN

    peer = Peer()
    await soon(FaultyLink(accepting(handler))(make_scope(), receive, peer.send))


async def test_the_servers_disconnect_comes_again_and_again() -> None:
    async with live(D(1001)) as at:
        assert await at.events(2) == [1001, 1001]


async def test_messages_are_read_ahead_up_to_a_bound() -> None:
    numbers = [str(number) for number in range(3 * MAX_AHEAD)]
    async with live(*map(T, numbers)) as at:
        assert await at.events(1) == ["0"]
        await turns()
        assert at.peer.reads <= MAX_AHEAD + 2
        assert await at.events(len(numbers) - 1) == numbers[1:]


async def test_a_task_that_reads_on_after_the_application_gets_the_disconnect() -> None:
    async with live() as at:
        reading = asyncio.create_task(at.event())
        await turns()
    assert await soon(reading) == BROKEN


# Late


async def test_incoming_messages_arrive_late_and_their_delays_pass_side_by_side() -> None:
    loop = asyncio.get_running_loop()
    async with live(*map(T, MANY), D(1001), incoming=Faults(delay=0.2)) as at:
        start = loop.time()
        assert await at.events(1) == ["a"]
        assert loop.time() - start > 0.19
        assert await at.events(len(MANY)) == [*MANY[1:], 1001]
        assert loop.time() - start < 4


async def test_an_outgoing_message_arrives_late_and_send_waits_for_that() -> None:
    loop = asyncio.get_running_loop()
    async with live(outgoing=Faults(delay=0.1)) as at:
        start = loop.time()
        await soon(at.send(text("a")))
        assert loop.time() - start > 0.09
        assert at.peer.data == ["a"]


async def test_several_tasks_send_in_the_order_of_their_calls() -> None:
    async with live(outgoing=Faults(delay=[0.1, 0.0, 0.05, 0.0].__getitem__)) as at:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for letter in "abcd":
                group.create_task(at.send(text(letter)))
        assert at.peer.data == ["a", "b", "c", "d"]


async def test_the_delays_of_several_tasks_pass_side_by_side() -> None:
    loop = asyncio.get_running_loop()
    async with live(outgoing=Faults(delay=0.2)) as at:
        start = loop.time()
        await soon(asyncio.gather(*(at.send(text(letter)) for letter in MANY)))
        assert loop.time() - start < 4
        assert at.peer.data == [*MANY]


async def test_a_close_does_not_overtake_what_was_sent_before() -> None:
    async with live(outgoing=Faults(delay=[0.05, 0.0].__getitem__)) as at:
        await soon(asyncio.gather(at.send(text("a")), at.send(close(1001))))
        assert at.peer.types == ["accept", "send", "close"]
        assert at.peer.closes == [(1001, "")]


async def test_a_delay_is_asked_for_each_number_once_the_disconnect_included() -> None:
    numbers: list[int] = []

    def delay(number: int) -> float:
        numbers.append(number)
        return 0

    async with live(T("a"), B(b"b"), D(1001), incoming=Faults(delay=delay)) as at:
        assert await at.events(3) == ["a", b"b", 1001]
    assert numbers == [0, 1, 2]


async def test_cancelling_a_delayed_receive_loses_nothing() -> None:
    async with live(*map(T, "abc"), D(1001), incoming=Faults(delay=SOON)) as at:
        found: list[Any] = []
        async with asyncio.timeout(5):
            while 1001 not in found:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SOON / 5):
                        event = await at.receive()
                        found.append(event.get("text") or event.get("code"))
    assert found == ["a", "b", "c", 1001]


async def test_cancelling_a_delayed_send_takes_the_message_back() -> None:
    async with live(outgoing=Faults(delay=[LATE, 0.0].__getitem__)) as at:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await at.send(text("a"))
        await at.send(text("b"))
        assert at.peer.data == ["b"]


async def test_a_delay_that_is_no_number_of_seconds_is_raised_where_it_is_asked_for() -> None:
    faults = Faults(delay=lambda number: cast(float, "soon"))
    async with live(T("a"), incoming=faults, outgoing=faults) as at:
        expected = r"delay=…\) returns for 0 must be a number of seconds, 0 or more, not 'soon'$"
        with pytest.raises(TypeError, match=expected):
            await at.send(text("a"))
        with pytest.raises(TypeError, match=expected):
            await at.event()


# In pieces


async def test_long_messages_arrive_in_pieces_and_empty_ones_stay() -> None:
    script = T("abcdefg"), T(""), B(b"abc"), B(b""), T("äöü€😀x")
    in_threes = Faults(split=3)
    async with live(*script, incoming=in_threes, outgoing=in_threes) as at:
        pieces = ["abc", "def", "g", "", b"abc", b"", "äöü", "€😀x"]
        found = [await at.event() for _ in pieces]
        assert [e["text"] if "text" in e else e["bytes"] for e in found] == pieces
        for message in script:
            await at.send({**message, "type": "websocket.send"})
        assert at.peer.data == pieces


async def test_a_key_that_a_server_sets_to_none_stays_none() -> None:
    event = {"type": "websocket.receive", "text": None, "bytes": b"abc"}
    async with live(event, incoming=Faults(split=2)) as at:
        assert await at.event() == {**event, "bytes": b"ab"}
        assert await at.event() == {**event, "bytes": b"c"}


payloads = st.lists(st.text(max_size=30) | st.binary(max_size=30), max_size=8)
faults = st.builds(
    Faults,
    split=st.none() | st.integers(1, 10),
    delay=st.lists(st.sampled_from([0.0, 0.0, 0.0005, 0.002]), min_size=1).map(
        lambda seconds: lambda number: seconds[number % len(seconds)]
    ),
)


def joined(data: list[str | bytes], split: int | None) -> Iterator[str | bytes]:
    """What is left of messages when neighbours of one kind are put together."""
    run: list[Any] = []
    for piece in data:
        assert split is None or len(piece) <= split
        if run and type(run[0]) is not type(piece):
            yield run[0][:0].join(run)
            run.clear()
        run.append(piece)
    if run:
        yield run[0][:0].join(run)


@given(payloads, faults, faults)
def test_whatever_is_wrong_the_content_and_its_order_are_kept(
    data: list[str | bytes], incoming: Faults, outgoing: Faults
) -> None:
    script = [T(item) if isinstance(item, str) else B(item) for item in data]
    app = FaultyLink(accepting(echo), incoming=incoming, outgoing=outgoing)
    peer = asyncio.run(serve(app, *script, D(1000)))
    assert [*joined(peer.data, outgoing.split)] == [*joined(data, None)]
    assert peer.data.count("") + peer.data.count(b"") == data.count("") + data.count(b"")


# Broken


async def test_incoming_messages_arrive_until_the_drop_and_then_1006_for_ever() -> None:
    async with live(*map(T, "abcd"), D(1001), incoming=Faults(drop_after=2)) as at:
        assert await at.events(2) == ["a", "b"]
        assert at.link.connections == []
        with pytest.raises(OSError, match=r"^the connection was dropped by a FaultyLink$"):
            await at.send(text("x"))
        assert await at.event() == BROKEN
        assert await at.event() == BROKEN


async def test_dropping_after_no_message_breaks_the_connection_behind_the_accept() -> None:
    async with live(T("a"), incoming=Faults(drop_after=0)) as at:
        assert at.peer.types == ["accept"]
        assert await at.event() == BROKEN


async def test_the_send_behind_the_last_one_raises_in_the_middle() -> None:
    async with live(outgoing=Faults(drop_after=2)) as at:
        await at.send(text("a"))
        await at.send(text("b"))
        assert not at.connection.dropped
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await at.send(text("c"))
        assert at.peer.data == ["a", "b"]
        assert await at.event() == BROKEN


async def test_messages_under_way_before_the_drop_still_go_out() -> None:
    async with live(outgoing=Faults(delay=SOON, drop_after=2)) as at:
        sends = [at.send(text(letter)) for letter in "abcd"]
        results = await soon(asyncio.gather(*sends, return_exceptions=True))
        assert [type(result) for result in results] == [type(None)] * 2 + [LinkDropped] * 2
        assert at.peer.data == ["a", "b"]


async def test_pieces_count_as_messages() -> None:
    faults = Faults(split=1, drop_after=2)
    async with live(T("xyz"), incoming=faults, outgoing=faults) as at:
        with pytest.raises(LinkDropped):
            await at.send(text("abc"))
        assert at.peer.data == ["a", "b"]
    async with live(T("xyz"), incoming=faults) as at:
        assert await at.events(3) == ["x", "y", 1006]


async def test_what_had_arrived_before_a_drop_is_received_what_was_under_way_is_lost() -> None:
    delays = Faults(delay=[0.0, 0.0, LATE, 0.0].__getitem__)
    async with live(*map(T, "abcd"), incoming=delays) as at:
        assert await at.events(1) == ["a"]
        await turns()
        at.connection.drop()
        assert await at.events(3) == ["b", 1006, 1006]


async def test_a_drop_wakes_who_receives() -> None:
    async with live() as at:
        readers = [asyncio.create_task(at.event()) for _ in range(2)]
        await turns()
        at.connection.drop()
        assert await soon(asyncio.gather(*readers)) == [BROKEN, BROKEN]


@pytest.mark.parametrize("seconds", [LATE, 0.0], ids=["a delay", "the server's send"])
async def test_a_drop_wakes_who_waits_for(seconds: float) -> None:
    late, peer = Faults(delay=seconds), Slow()
    async with live(*[T("a")] * bool(seconds), incoming=late, outgoing=late, peer=peer) as at:
        reading = asyncio.create_task(at.event())
        sends = [asyncio.create_task(at.send(text(letter))) for letter in "ab"]
        await turns()
        assert peer.waits.is_set() == (seconds == 0)
        at.connection.drop()
        assert await soon(reading) == BROKEN
        results = await soon(asyncio.gather(*sends, return_exceptions=True))
        assert [type(result) for result in results] == [LinkDropped, LinkDropped]
        assert peer.data == []


async def test_dropping_twice_or_after_the_end_does_nothing() -> None:
    aborts: list[None] = []
    async with live(extensions={ABORT_EXTENSION: lambda: aborts.append(None)}) as at:
        connection = at.connection
        for _ in range(2):
            connection.drop()
            assert len(aborts) == 1
    async with live() as at:
        connection = at.connection
    connection.drop()
    assert not connection.dropped


async def test_another_thread_may_drop() -> None:
    async with live() as at:
        reading = asyncio.create_task(at.event())
        await turns()
        await soon(asyncio.to_thread(at.connection.drop))
        assert await soon(reading) == BROKEN


async def test_the_close_of_the_application_is_swallowed_after_a_drop() -> None:
    async with live(outgoing=Faults(delay=LATE)) as at:
        closing = asyncio.create_task(at.send(close()))
        await turns()
        at.connection.drop()
        await soon(closing)
        await soon(at.send(close()))
        assert at.peer.types == ["accept"]


async def test_a_drop_before_the_accept_lets_the_accept_fail() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        link.connections[0].drop()
        assert await receive() == BROKEN
        await send(close())
        await send({"type": "websocket.accept"})

    link = FaultyLink(app)
    assert (await serve(link)).sent == []


async def test_the_error_of_a_drop_may_leave_the_application() -> None:
    async def forever(receive: Receive, send: Send) -> None:
        while True:
            await send(text("a"))

    peer = await serve(FaultyLink(accepting(forever), outgoing=Faults(drop_after=3)))
    assert peer.data == ["a"] * 3


async def test_the_error_of_another_connection_passes_through() -> None:
    async with live() as at:
        connection = at.connection
        connection.drop()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            raise LinkDropped(connection)

        with pytest.raises(LinkDropped):
            await serve(FaultyLink(app))


async def test_links_can_be_put_around_each_other() -> None:
    inner = FaultyLink(accepting(echo), outgoing=Faults(split=1))
    peer = await serve(FaultyLink(inner, outgoing=Faults(drop_after=3)), T("ab"), T("cd"))
    assert peer.data == ["a", "b", "c"]
    assert inner.connections == []


# The client's side


async def test_the_client_of_a_test_is_told_of_the_drop() -> None:
    channel = FakeChannel()
    aborted = asyncio.Event()
    extensions = {ABORT_EXTENSION: aborted.set, FRAMES_EXTENSION: channel}
    async with live(extensions=extensions) as at:
        at.connection.drop()
        assert aborted.is_set()
        assert not channel.aborted


async def test_a_frame_channel_is_aborted() -> None:
    channel = FakeChannel()
    async with live(extensions={FRAMES_EXTENSION: channel}) as at:
        at.connection.drop()
        assert channel.aborted


async def test_a_close_goes_out_while_nobody_asks_the_server() -> None:
    """Granian sends no close while somebody does."""

    class Single(Peer):
        asking = False

        async def receive(self) -> Message:
            self.asking = True
            try:
                return await super().receive()
            finally:
                self.asking = False

        async def send(self, message: Message) -> None:
            assert message["type"] != "websocket.close" or not self.asking
            await super().send(message)
            if message["type"] == "websocket.close":
                self.feed(D(1000))

    peer = Single()
    async with live(peer=peer) as at:
        reading = asyncio.create_task(at.events(1))
        await turns()
        assert peer.asking
        await soon(at.send(close()))
        assert await soon(reading) == [1000]


async def test_the_client_of_a_test_sees_1006() -> None:
    link = FaultyLink(accepting(echo), outgoing=Faults(drop_after=1))
    async with AsyncTestClient(link) as client, client.websocket("/") as ws:
        await ws.send_text("a")
        assert await ws.receive_text() == "a"
        await ws.send_text("b")
        await ws.expect_close(1006)


@pytest.mark.integration
async def test_behind_a_server_the_client_sees_1006_when_the_application_returns() -> None:
    link = FaultyLink(accepting(echo))
    with LiveServer(link) as server:
        async with connect(str(server.url), proxy=None) as ws:
            link.connections[0].drop()
            await soon(ws.wait_closed())
            assert ws.close_code == 1006


# Other applications


async def test_a_starlette_application_sees_the_drop_in_the_middle_of_a_send() -> None:
    async def endless(ws: StarletteWebSocket) -> None:
        await ws.accept()
        with pytest.raises(StarletteDisconnect) as caught:
            while True:
                await ws.send_text("tick")
        assert caught.value.code == 1006

    app = Starlette(routes=[WebSocketRoute("/", endless)])
    peer = await serve(FaultyLink(app, outgoing=Faults(drop_after=4)))
    assert peer.data == ["tick"] * 4


async def test_a_starlette_application_sees_the_drop_while_it_reads() -> None:
    read: list[str] = []

    async def collect(ws: StarletteWebSocket) -> None:
        await ws.accept()
        read.extend([message async for message in ws.iter_text()])

    app = Starlette(routes=[WebSocketRoute("/", collect)])
    script = map(T, "abcd")
    peer = await serve(FaultyLink(app, incoming=Faults(drop_after=2, delay=SOON)), *script)
    assert read == ["a", "b"]
    assert peer.types == ["accept"]


def telex_app(handler: Callable[[telex.WebSocket], Awaitable[None]]) -> telex.App:
    app = telex.App()
    app.websocket("/")(handler)
    return app


async def test_a_telex_application_reads_late_pieces_in_order() -> None:
    read: list[object] = []

    async def collect(ws: telex.WebSocket) -> None:
        await ws.accept()
        async for message in ws:
            read.append(message)
            await ws.send_text(f"got {len(message)}")

    incoming = Faults(split=2, delay=lambda number: SOON * (number % 2))
    link = FaultyLink(telex_app(collect), incoming=incoming, outgoing=Faults(delay=SOON))
    peer = await serve(link, T("abcde"), B(b"xyz"), D(1001))
    assert read == ["ab", "cd", "e", b"xy", b"z"]
    assert peer.data[0] == "got 2"


async def test_a_telex_application_sees_the_drop_in_the_middle_of_a_send() -> None:
    ended: list[object] = []

    async def endless(ws: telex.WebSocket) -> None:
        await ws.accept()
        with suppress(telex.WebSocketDisconnect):
            while True:
                await ws.send_text("tick")
        ended.extend((ws.close_code, ws.closed_by))

    peer = await serve(FaultyLink(telex_app(endless), outgoing=Faults(drop_after=4)))
    assert peer.types == ["accept"] + ["send"] * 4
    assert ended == [1006, "client"]


# Arguments


DELAY = "delay=…) must be a number of seconds, 0 or more, or a function of the message's number"
SPLIT = "split=…) must be an int of at least 1 or None"
DROP = "drop_after=…) must be an int of at least 0 or None"


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"delay": -1}, ValueError, f"{DELAY}, not -1"),
        ({"delay": float("nan")}, ValueError, f"{DELAY}, not nan"),
        ({"delay": float("inf")}, ValueError, f"{DELAY}, not inf"),
        ({"delay": "1"}, TypeError, f"{DELAY}, not '1'"),
        ({"split": 0}, ValueError, f"{SPLIT}, not 0"),
        ({"drop_after": -1}, ValueError, f"{DROP}, not -1"),
        ({"drop_after": True}, TypeError, f"{DROP}, not True"),
    ],
)
def test_faults_say_what_they_expect(
    arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        Faults(**arguments)
    assert str(caught.value) == f"Faults({sentence}"


def test_a_link_says_what_it_expects() -> None:
    with pytest.raises(TypeError, match=r"^FaultyLink\(app\) must be an ASGI application, not 7$"):
        FaultyLink(cast(ASGIApp, 7))
    for name in ("incoming", "outgoing"):
        expected = rf"^FaultyLink\({name}=…\) must be Faults or None, not 0\.5$"
        with pytest.raises(TypeError, match=expected):
            FaultyLink(accepting(echo), **{name: cast(Faults, 0.5)})
