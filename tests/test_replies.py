"""Looking for replies: beside readers and without them, in order, bounded, and gone when unused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from channel import FakeChannel, opened_over
from opened import opened, soon, turns, until
from peer import B, D, T
from telex import WebSocket, WebSocketDisconnect, WebSocketRuntimeError
from telex._given_up import MAX_GIVEN_UP
from telex._inbox import Inbox
from telex._replies import Replies, read_plain, replies_of
from telex._source import MAX_BYTES, MAX_MESSAGES
from telex.codecs import JSON, MessagePack
from telex.exceptions import WebSocketExpectError
from telex.websockets import link_of

BOTH = pytest.mark.parametrize("path", ["asgi", "frames"])


def inbox_of(ws: WebSocket) -> Inbox:
    return link_of(ws).inbox


def requesting(ws: WebSocket, ref: object, **options: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(ws.request({"ref": ref}, **options))


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def is_idle(ws: WebSocket) -> bool:
    """Whether messages go straight to readers."""
    inbox = inbox_of(ws)
    return inbox._poll is inbox.pull and inbox._turns is None


async def taken_of(ws: WebSocket, amount: int) -> list[str | bytes]:
    return [await soon(anext(aiter(ws))) for _ in range(amount)]


# --- nothing when unused ---


@BOTH
async def test_a_connection_without_requests_has_no_deputy(path: str) -> None:
    ws, _ = await opened_over(path, T("1"))
    await ws.receive_text()
    assert inbox_of(ws).deputy is None
    assert is_idle(ws)


@BOTH
async def test_after_the_reply_messages_go_straight_to_readers_again(path: str) -> None:
    ws, channel = await opened_over(path)
    task = requesting(ws, 1)
    await turns()
    assert not is_idle(ws)
    channel.feed(T("kept"))
    await turns()
    channel.feed(T('{"ref":1}'), T("not looked at"))
    await soon(task)
    assert inbox_of(ws).unread
    assert await taken_of(ws, 1) == ["kept"]
    assert is_idle(ws)
    assert await taken_of(ws, 1) == ["not looked at"]


async def test_a_late_reply_is_the_last_thing_that_is_looked_for() -> None:
    ws, peer = await opened()
    with pytest.raises(TimeoutError):
        await ws.request({"ref": 1}, timeout=0)
    assert not is_idle(ws)
    peer.feed(T('{"ref":1}'), T("next"))
    assert await soon(ws.receive_text()) == "next"
    assert is_idle(ws)


@BOTH
async def test_nothing_is_kept_behind_the_last_thing_that_was_looked_for(path: str) -> None:
    ws, channel = await opened_over(path)
    tasks = [requesting(ws, ref) for ref in (1, 2)]
    await turns()
    await cancelled(tasks[0])
    channel.feed(T('{"ref":2}'), T('{"ref":1}'), T("next"))
    await soon(tasks[1])
    await turns()
    assert not replies_of(inbox_of(ws)).unread
    assert await taken_of(ws, 1) == ["next"]
    assert is_idle(ws)


async def test_several_readers_at_once_leave_nothing_behind() -> None:
    ws, peer = await opened()
    readers = [asyncio.create_task(ws.receive_text()) for _ in range(3)]
    await turns()
    peer.feed(T("1"), T("2"), T("3"))
    await soon(asyncio.gather(*readers))
    assert is_idle(ws)


async def test_messages_without_what_is_looked_for_are_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str | bytes] = []

    def read(data: str | bytes) -> Any:
        seen.append(data)
        return read_plain(data)

    monkeypatch.setattr("telex._replies.read_plain", read)
    ws, peer = await opened()
    task = asyncio.create_task(ws.request({}))
    await until(lambda: peer.data)
    ref = json.loads(peer.data[0])["ref"]
    reply = json.dumps({"ref": ref})
    peer.feed(T('{"ref":"theirs"}'), B(b'{"ref":1}'), T("cancel"), T(reply))
    await soon(task)
    assert seen == [reply]


async def test_the_deputy_is_let_go_with_the_connection() -> None:
    ws, _ = await opened()
    task = requesting(ws, 1)
    await turns()
    await cancelled(task)
    inbox_of(ws).unwatch()
    assert inbox_of(ws).deputy is None


# --- what is kept is bounded ---


@BOTH
async def test_at_most_so_many_messages_are_kept(path: str) -> None:
    ws, channel = await opened_over(path)
    task = requesting(ws, 1, timeout=None)
    await turns()
    amount = 3 * MAX_MESSAGES
    channel.feed(*(T(str(n)) for n in range(amount)), T('{"ref":1}'))
    await turns(200)
    replies = replies_of(inbox_of(ws))
    assert len(replies._kept) == MAX_MESSAGES
    assert not task.done()
    for n in range(amount):
        assert await soon(ws.receive_text()) == str(n)
        await turns(3)
    assert await soon(task) == {"ref": 1}


@BOTH
async def test_at_most_so_many_bytes_are_kept(path: str) -> None:
    ws, channel = await opened_over(path)
    task = requesting(ws, 1, timeout=None)
    await turns()
    half = "x" * (MAX_BYTES // 2)
    channel.feed(T(half), B(half.encode()), T("small"), T('{"ref":1}'))
    await turns(50)
    assert len(replies_of(inbox_of(ws))._kept) == 2
    assert not task.done()
    assert await soon(ws.receive_text()) == half
    assert await soon(task) == {"ref": 1}
    assert await taken_of(ws, 2) == [half.encode(), "small"]


async def test_a_timeout_counts_while_nothing_more_can_be_kept() -> None:
    ws, _ = await opened_over("frames", *(T(str(n)) for n in range(2 * MAX_MESSAGES)))
    with pytest.raises(TimeoutError):
        await soon(ws.request({"ref": 1}, timeout=0.01))
    assert await taken_of(ws, 2 * MAX_MESSAGES) == [str(n) for n in range(2 * MAX_MESSAGES)]


@BOTH
async def test_after_the_end_everything_is_looked_at(path: str) -> None:
    ws, channel = await opened_over(path)
    tasks = [requesting(ws, ref, timeout=None) for ref in (1, 2)]
    await turns()
    amount = MAX_MESSAGES + 10
    channel.feed(*(T(str(n)) for n in range(amount)), T('{"ref":2}'), D(4001))
    assert await soon(tasks[1]) == {"ref": 2}
    with pytest.raises(WebSocketDisconnect) as raised:
        await soon(tasks[0])
    assert raised.value.code == 4001
    assert [message async for message in ws] == [str(n) for n in range(amount)]


async def test_only_the_last_requests_that_were_given_up_are_remembered() -> None:
    ws, peer = await opened()
    for ref in range(MAX_GIVEN_UP + 1):
        with pytest.raises(TimeoutError):
            await ws.request({"ref": ref}, timeout=0)
    peer.feed(*(T(f'{{"ref":{ref}}}') for ref in range(MAX_GIVEN_UP + 1)), T("next"))
    assert await taken_of(ws, 2) == ['{"ref":0}', "next"]


@BOTH
async def test_a_request_that_was_given_up_long_ago_costs_nothing_any_more(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telex._given_up.GIVEN_UP_FOR", 0.01)
    ws, channel = await opened_over(path)
    with pytest.raises(TimeoutError):
        await ws.request({"ref": 1}, timeout=0)
    reader = asyncio.create_task(ws.receive_text())
    await until(lambda: inbox_of(ws)._poll == inbox_of(ws).pull)
    channel.feed(T('{"ref":1}'))
    assert await soon(reader) == '{"ref":1}'
    assert is_idle(ws)


@pytest.mark.parametrize("how", ["close", "leave", "abort"])
@BOTH
async def test_no_timer_keeps_a_connection_that_has_ended(path: str, how: str) -> None:
    ws, channel = await opened_over(path)
    with pytest.raises(TimeoutError):
        await ws.request({"ref": 1}, timeout=0)
    late = requesting(ws, 2)
    async with ws.tasks() as tasks:
        await tasks.start(asyncio.sleep(0), ref=1)
    replies = replies_of(inbox_of(ws))
    assert replies._given_up._timer is not None
    assert replies._finished._timer is not None
    if how == "leave":
        channel.feed(D(1001))
        with pytest.raises(WebSocketDisconnect):
            await soon(ws.receive_text())
    else:
        await soon(getattr(ws, how)())
    await asyncio.wait((late,))
    await turns()
    assert replies._given_up._timer is None
    assert replies._finished._timer is None


# --- errors ---


async def test_an_error_in_the_stream_is_raised_in_its_place_and_in_a_reader() -> None:
    ws, peer = await opened()
    task = requesting(ws, 1)
    await turns()
    peer.feed(T("1"), {"type": "websocket.receive"}, T("2"), T('{"ref":1}'))
    await soon(task)
    assert await soon(ws.receive_text()) == "1"
    with pytest.raises(WebSocketRuntimeError, match="got neither"):
        await soon(ws.receive_text())
    assert await soon(ws.receive_text()) == "2"


async def test_a_receive_that_fails_ends_the_requests() -> None:
    ws, peer = await opened()

    async def fail() -> Any:
        raise ValueError("broken")

    task = requesting(ws, 1)
    await turns()
    inbox_of(ws).source._receive = fail  # type: ignore[attr-defined]
    peer.feed(T("1"))
    with pytest.raises(WebSocketDisconnect):
        await soon(task)
    assert await soon(ws.receive_text()) == "1"
    with pytest.raises(ValueError, match="broken"):
        await soon(ws.receive_text())


async def test_a_send_that_fails_ends_all_requests_and_forgets_its_own() -> None:
    ws, peer = await opened()
    first = requesting(ws, 1)
    await turns()
    peer.fail_sends_with = OSError()
    for task in (requesting(ws, 2), first):
        with pytest.raises(WebSocketDisconnect):
            await soon(task)


async def test_a_request_that_is_cancelled_when_the_connection_ends_is_cancelled() -> None:
    ws, _ = await opened()
    task = requesting(ws, 1)
    await turns()
    task.cancel()
    await ws.close()
    await asyncio.wait((task,))
    assert task.cancelled()


# --- readers and the deputy ---


@BOTH
async def test_a_reader_that_comes_takes_over_at_once(path: str) -> None:
    ws, channel = await opened_over(path)
    task = requesting(ws, 1)
    await turns()
    deputy = replies_of(inbox_of(ws))
    assert deputy._parked is not None
    reader = asyncio.create_task(ws.receive_text())
    await turns()
    assert deputy._parked is None
    await cancelled(reader)
    await turns()
    assert deputy._parked is not None
    channel.feed(T('{"ref":1}'))
    await soon(task)
    assert deputy._parked is None


@BOTH
async def test_a_reader_that_is_fast_is_not_stood_in_for(path: str) -> None:
    ws, channel = await opened_over(path)
    task = requesting(ws, 1)
    await turns()
    channel.feed(*(T(str(n)) for n in range(5)))
    seen: list[str] = []
    async for message in ws.iter_text():
        seen.append(message)
        assert not inbox_of(ws).deputy.unread or path == "asgi"  # type: ignore[union-attr]
        if len(seen) == 5:
            break
    assert seen == ["0", "1", "2", "3", "4"]
    await cancelled(task)


async def test_readers_in_turn_keep_the_order_beside_a_request() -> None:
    ws, channel = await opened_over("frames")
    task = requesting(ws, 1)
    await turns()
    readers = [asyncio.create_task(ws.receive_text()) for _ in range(3)]
    await turns()
    channel.feed(T("0"), T("1"), T('{"ref":1}'), T("2"), T("3"))
    assert await soon(asyncio.gather(*readers)) == ["0", "1", "2"]
    await soon(task)
    assert await soon(ws.receive_text()) == "3"


async def test_a_reader_and_a_request_are_cancelled_in_one_turn() -> None:
    ws, channel = await opened_over("frames")
    task = requesting(ws, 1)
    readers = [asyncio.create_task(ws.receive_text()) for _ in range(2)]
    await turns()
    channel.feed(T("kept"))
    for each in (task, *readers):
        each.cancel()
    await asyncio.wait((task, *readers))
    assert await soon(ws.receive_text()) == "kept"


# --- small parts ---


def test_a_message_is_read_by_what_it_is() -> None:
    value = {"ref": 1}
    for codec in (JSON(), JSON(binary=True), MessagePack()):
        assert read_plain(codec.encode(value)) == value
    for data in ("", b"", b"\x81", "{", b"\xc1"):
        with pytest.raises(WebSocketExpectError):
            read_plain(data)


async def test_everybody_on_a_connection_shares_one_deputy() -> None:
    ws, _ = await opened()
    other = WebSocket(ws.scope, *ws._link.asgi)
    assert isinstance(replies_of(inbox_of(ws)), Replies)
    assert replies_of(inbox_of(ws)) is replies_of(inbox_of(other))


# --- in any order ---

STEPS = st.one_of(
    st.tuples(st.just("message"), st.integers(1, 40)),
    st.tuples(
        st.sampled_from(["read", "ask", "cancel reader", "cancel request", "answer"]),
        st.integers(0, 5),
    ),
    st.tuples(st.just("turn"), st.integers(1, 4)),
)


class Story:
    """One connection, on which things happen in a random order, and what came of it."""

    def __init__(self, ws: WebSocket, channel: FakeChannel) -> None:
        self.ws = ws
        self.channel = channel
        self.sent = 0
        self.received: list[str] = []
        self.readers: list[asyncio.Task[None]] = []
        self.requests: dict[str, asyncio.Task[Any]] = {}
        self.answered: set[str] = set()

    async def read(self) -> None:
        self.received.append(await self.ws.receive_text())

    async def do(self, what: str, number: int) -> None:
        match what:
            case "message":
                self.channel.feed(*(T(str(self.sent + n)) for n in range(number)))
                self.sent += number
            case "read":
                self.readers.append(asyncio.create_task(self.read()))
            case "ask":
                ref = f"r{len(self.requests)}"
                self.requests[ref] = requesting(self.ws, ref, timeout=None)
            case "cancel reader" if number < len(self.readers):
                self.readers[number].cancel()
            case "cancel request" if number < len(self.requests):
                self.requests[f"r{number}"].cancel()
            case "answer" if f'{{"ref":"r{number}"}}' in self.channel.data:
                self.answer(f"r{number}")
            case "turn":
                await turns(number)

    def answer(self, ref: str) -> None:
        if ref not in self.answered:
            self.answered.add(ref)
            self.channel.feed(T(f'{{"ref":"{ref}","answer":1}}'))

    async def end(self) -> None:
        """Answer and read what is left; check that nothing was lost, or came twice."""
        self.channel.feed(T("last"))
        async with asyncio.timeout(5):
            while "last" not in self.received:
                self.readers.append(asyncio.create_task(self.read()))
                await turns(3)
        for ref, task in self.requests.items():
            if ref in self.answered:
                results = await soon(asyncio.gather(task, return_exceptions=True))
                assert results[0] == {"ref": ref, "answer": 1} or task.cancelled()
        expected = [*map(str, range(self.sent)), "last"]
        assert self.received == expected
        self.channel.feed(D(4001))
        rest = [*self.readers, *self.requests.values()]
        for ended in await soon(asyncio.gather(*rest, return_exceptions=True)):
            if isinstance(ended, BaseException):
                assert isinstance(ended, WebSocketDisconnect | asyncio.CancelledError)


@BOTH
@settings(max_examples=100, deadline=None)
@example(
    steps=[
        *[("ask", 0), ("ask", 0), ("turn", 3), ("cancel request", 0)],
        *[("message", 1), ("answer", 1), ("answer", 0)],
    ]
)
@given(steps=st.lists(STEPS, max_size=40))
def test_in_any_order_every_message_arrives_once_and_in_order(
    path: str, steps: list[tuple[str, int]]
) -> None:
    async def run() -> None:
        story = Story(*await opened_over(path))
        for what, number in steps:
            await story.do(what, number)
        await story.end()

    asyncio.run(run())
