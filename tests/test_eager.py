"""Calls for messages that are begun in the turn in which the message comes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from channel import FakeChannel, opened_over
from opened import soon, turns, until
from peer import B, D, T
from telex import WebSocket, WebSocketDisconnect, WebSocketRuntimeError
from telex._eager import handle_all
from telex._types import GIVE_WAY
from telex.websockets import link_of

Call = Callable[[str | bytes], Coroutine[Any, Any, None]]

BOTH = pytest.mark.parametrize("path", ["asgi", "frames"])

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


@asynccontextmanager
async def handling(
    ws: WebSocket, call: Call, *, in_tasks: bool = False
) -> AsyncIterator[asyncio.Task[None]]:
    """Run `handle_all` in a task of its own that has gone to sleep."""

    async def run() -> None:
        if not in_tasks:
            await handle_all(link_of(ws), call)
            return
        async with ws.tasks():
            await handle_all(link_of(ws), call)

    task = asyncio.ensure_future(run())
    await turns(5)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def echo(ws: WebSocket) -> Call:
    """Return a call that sends what came, and waits for nothing."""

    async def call(data: str | bytes) -> None:
        await ws.send_value(data)

    return call


async def test_a_call_that_waits_for_nothing_is_over_in_the_turn_of_its_message() -> None:
    ws, channel = await opened_over("frames")
    async with handling(ws, echo(ws)):
        channel.deliver(T("a"), B(b"b"), T(""))
        await asyncio.sleep(0)
        assert channel.data == ["a", b"b", ""]


async def test_messages_are_counted_as_received() -> None:
    ws, channel = await opened_over("frames")

    async def call(data: str | bytes) -> None:
        if data == "wait":
            await asyncio.sleep(0)

    async with handling(ws, call):
        channel.deliver(T("a"), T("wait"), T("b"))
        await turns(10)
        assert link_of(ws).progress.received == 3


@BOTH
async def test_calls_are_made_one_after_the_other_in_order(path: str) -> None:
    ws, channel = await opened_over(path)
    running = most = 0
    seen: list[str | bytes] = []

    async def call(data: str | bytes) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(int(data) % 3):
            await asyncio.sleep(0)
        seen.append(data)
        running -= 1

    async with handling(ws, call):
        for number in range(0, 60, 2):
            channel.deliver(T(str(number)), T(str(number + 1)))
            await turns(number % 5)
        await until(lambda: len(seen) == 60)
    assert seen == [str(number) for number in range(60)]
    assert most == 1


@BOTH
async def test_the_current_task_is_the_one_that_handles(path: str) -> None:
    ws, channel = await opened_over(path)
    seen: list[object] = []

    async def call(_: str | bytes) -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    async with handling(ws, call) as task:
        channel.deliver(T("a"))
        await until(lambda: len(seen) == 2)
    assert seen == [task, task]


@BOTH
async def test_context_variables_are_those_of_the_handler_and_stay_for_the_next_call(
    path: str,
) -> None:
    ws, channel = await opened_over(path)
    seen: list[str] = []

    async def call(data: str | bytes) -> None:
        seen.append(variable.get())
        token = variable.set(str(data))
        if data == "b":
            await asyncio.sleep(0)
            variable.reset(token)
            seen.append(variable.get())

    variable.set("outside")
    async with handling(ws, call):
        variable.set("later")
        channel.deliver(T("a"), T("b"), T("c"))
        await until(lambda: len(seen) == 4)
    assert seen == ["outside", "a", "a", "a"]


@BOTH
async def test_timeouts_and_task_groups_work_in_a_call(path: str) -> None:
    ws, channel = await opened_over(path)
    seen: list[str] = []
    over = asyncio.Event()

    async def call(data: str | bytes) -> None:
        if data == "timeout":
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            except TimeoutError:
                seen.append("too late")
            return
        async with asyncio.TaskGroup() as group:
            one = group.create_task(asyncio.sleep(0, "one"))
            two = group.create_task(asyncio.sleep(0, "two"))
        seen.append(one.result() + two.result())
        over.set()

    async with handling(ws, call):
        channel.deliver(T("timeout"), T("group"))
        await soon(over.wait())
    assert seen == ["too late", "onetwo"]


@BOTH
@pytest.mark.parametrize("waits", [0, 2])
async def test_what_a_call_raises_comes_out(path: str, waits: int) -> None:
    ws, channel = await opened_over(path)

    async def call(_: str | bytes) -> None:
        await turns(waits)
        raise KeyError("x")

    async with handling(ws, call) as task:
        channel.deliver(T("a"), T("b"))
        await until(task.done)
        assert isinstance(task.exception(), KeyError)


@BOTH
async def test_it_ends_quietly_when_the_peer_leaves_and_handles_what_came_before(
    path: str,
) -> None:
    ws, channel = await opened_over(path)
    seen: list[str | bytes] = []

    async def call(data: str | bytes) -> None:
        seen.append(data)

    async with handling(ws, call) as task:
        channel.deliver(T("a"), T("b"), D(1000))
        await until(task.done)
        assert task.exception() is None
    assert (seen, ws.close_code) == (["a", "b"], 1000)
    with pytest.raises(WebSocketDisconnect):
        await soon(handle_all(link_of(ws), echo(ws)))


@BOTH
async def test_it_ends_quietly_when_we_close(path: str) -> None:
    ws, channel = await opened_over(path)

    async def call(_: str | bytes) -> None:
        await ws.close(4000)

    async with handling(ws, call) as task:
        channel.deliver(T("a"), T("b"))
        await until(task.done)
        assert task.exception() is None
    assert channel.closes == [(4000, "")]


async def test_it_needs_a_connection_that_is_accepted() -> None:
    ws, _ = await opened_over("frames")
    link_of(ws).progress.open = False
    with pytest.raises(WebSocketRuntimeError):
        await soon(handle_all(link_of(ws), echo(ws)))


# --- cancelling ---


@BOTH
async def test_cancelling_while_nothing_happens_cancels(path: str) -> None:
    ws, channel = await opened_over(path)
    async with handling(ws, echo(ws)) as task:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    channel.feed(T("a"))
    assert await soon(ws.receive_text()) == "a"


def stubborn(seen: list[str]) -> Call:
    """Return a call that waits for ever and takes its time to end."""

    async def call(data: str | bytes) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(f"cancelled {data!s}")
            raise
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    return call


@BOTH
@pytest.mark.parametrize("between", [0, 1, 2, 5])
async def test_cancelling_reaches_a_call_however_far_it_is(path: str, between: int) -> None:
    ws, channel = await opened_over(path)
    seen: list[str] = []
    async with handling(ws, stubborn(seen)) as task:
        channel.feed(T("first")) if path == "asgi" else channel.deliver(T("first"))
        await turns(1 + between)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    assert seen in ([], ["cancelled first", "cleaned up"])
    assert seen or path == "asgi", "a call was begun and not told"


async def test_a_call_that_swallows_its_cancellation_goes_on() -> None:
    ws, channel = await opened_over("frames")
    seen: list[str | bytes] = []

    async def call(data: str | bytes) -> None:
        if data == "first":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
        seen.append(data)

    async with handling(ws, call) as task:
        channel.deliver(T("first"))
        await asyncio.sleep(0)
        task.cancel()
        channel.deliver(T("second"))
        await until(lambda: len(seen) == 2)
        assert task.cancelling() == 1
    assert seen == ["first", "second"]


async def test_a_call_that_swallows_it_and_is_over_at_once() -> None:
    ws, channel = await opened_over("frames")
    seen: list[str] = []

    async def call(data: str | bytes) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(str(data))

    async with handling(ws, call) as task:
        channel.deliver(T("first"))
        await asyncio.sleep(0)
        task.cancel()
        await turns(5)
        assert seen == ["first"]
        assert not task.done()


@BOTH
@pytest.mark.parametrize("between", [0, 1, 3])
async def test_the_peer_leaving_cancels_a_call_in_the_tasks_of_a_connection(
    path: str, between: int
) -> None:
    ws, channel = await opened_over(path)
    seen: list[str] = []
    async with handling(ws, stubborn(seen), in_tasks=True) as task:
        channel.deliver(T("a"))
        await turns(between)
        channel.deliver(D(1001))
        await until(task.done)
        assert isinstance(task.exception(), WebSocketDisconnect)
    assert seen == ["cancelled a", "cleaned up"]


async def test_our_close_while_a_call_is_on_its_way_lets_it_end() -> None:
    ws, channel = await opened_over("frames")
    seen: list[str | bytes] = []

    async def call(data: str | bytes) -> None:
        await turns(3)
        seen.append(data)

    async with handling(ws, call) as task:
        channel.deliver(T("a"))
        await asyncio.sleep(0)
        await ws.close()
        await until(task.done)
        assert task.exception() is None
    assert seen == ["a"]


# --- beside other readers ---


@BOTH
async def test_a_call_may_read_further_messages(path: str) -> None:
    ws, channel = await opened_over(path)
    seen: list[str] = []

    async def call(data: str | bytes) -> None:
        seen.append(f"{data!s}+{await ws.receive_text()}")

    async with handling(ws, call):
        channel.deliver(T("a"))
        await turns(5)
        channel.deliver(T("b"), T("c"), T("d"))
        await until(lambda: len(seen) == 2)
    assert seen == ["a+b", "c+d"]


async def test_another_reader_takes_its_turn() -> None:
    ws, channel = await opened_over("frames")
    seen: list[str | bytes] = []

    async def call(data: str | bytes) -> None:
        seen.append(data)

    async with handling(ws, call):
        other = asyncio.ensure_future(ws.receive_text())
        await turns(3)
        channel.deliver(T("a"), T("b"), T("c"))
        await until(lambda: len(seen) == 2)
        assert [*seen, await soon(other)] == ["a", "c", "b"]


async def test_what_is_fed_by_a_task_is_handled_in_the_usual_way() -> None:
    ws, channel = await opened_over("frames")
    async with handling(ws, echo(ws)):
        channel.feed(T("a"))
        assert channel.data == []
        await turns(3)
        assert channel.data == ["a"]


async def test_filters_see_every_message() -> None:
    ws, channel = await opened_over("frames")
    link = link_of(ws)
    link.progress.filters_in = (lambda data: f"<{data!s}>",)
    link.inbox.filter()
    async with handling(ws, echo(ws)):
        channel.deliver(T("a"))
        await turns(5)
        assert channel.data == ["<a>"]


async def test_two_may_wait_for_the_same_future() -> None:
    ws, channel = await opened_over("frames")
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[str] = []

    async def wait(_: object = None) -> None:
        seen.append(await gate)

    async with handling(ws, wait):
        channel.deliver(T("a"))
        other = asyncio.ensure_future(wait())
        await turns(3)
        gate.set_result("open")
        await until(lambda: len(seen) == 2)
        await soon(other)
    assert seen == ["open", "open"]


async def test_a_call_that_waits_for_what_is_done_by_then_goes_on() -> None:
    ws, channel = await opened_over("frames")
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[str] = []

    async def call(_: str | bytes) -> None:
        seen.append(await gate)

    async with handling(ws, call):
        channel.deliver(T("a"))
        asyncio.get_running_loop().call_soon(gate.set_result, "open")
        await until(lambda: seen)


async def test_nobody_is_called_when_it_is_over() -> None:
    ws, channel = await opened_over("frames")
    async with handling(ws, echo(ws)) as task:
        task.cancel()
    reader = asyncio.ensure_future(ws.receive_text())
    await turns(3)
    channel.deliver(T("a"))
    assert await soon(reader) == "a"
    assert channel.data == []


def test_fake_channels_are_channels() -> None:
    channel: object = FakeChannel
    assert hasattr(channel, "on_message")


# --- what would harm others ---


async def test_the_loop_gets_a_turn_however_much_has_come() -> None:
    ws, channel = await opened_over("frames")
    seen: list[str | bytes] = []

    async def call(data: str | bytes) -> None:
        seen.append(data)

    async with handling(ws, call):
        channel.deliver(*(T(str(number)) for number in range(5 * GIVE_WAY)))
        most = before = 0
        while len(seen) < 5 * GIVE_WAY:
            await asyncio.sleep(0)
            most, before = max(most, len(seen) - before), len(seen)
    assert seen == [str(number) for number in range(5 * GIVE_WAY)]
    assert most <= 2 * GIVE_WAY


class Odd:
    """Can be awaited, and yields what asyncio does not know."""

    def __init__(self, what: object) -> None:
        self._what = what

    def __await__(self) -> Generator[object, None, None]:
        yield self._what


@BOTH
@pytest.mark.parametrize("what", [5, object(), Odd(1)], ids=["a number", "an object", "awaitable"])
@pytest.mark.parametrize("before", [0, 2])
async def test_a_call_that_yields_nonsense_is_told_by_asyncio(
    path: str, what: object, before: int
) -> None:
    ws, channel = await opened_over(path)
    cleaned: list[bool] = []

    async def call(_: str | bytes) -> None:
        try:
            await turns(before)
            await Odd(what)
        finally:
            cleaned.append(True)

    async with handling(ws, call) as task:
        channel.deliver(T("a"))
        await until(task.done)
        assert isinstance(task.exception(), RuntimeError)
    assert cleaned == [True]


@BOTH
async def test_what_calls_set_is_there_behind_them(path: str) -> None:
    ws, channel = await opened_over(path)
    seen: list[str] = []

    async def call(data: str | bytes) -> None:
        variable.set(str(data))

    async def run() -> None:
        await handle_all(link_of(ws), call)
        seen.append(variable.get())

    task = asyncio.ensure_future(run())
    await turns(5)
    channel.deliver(T("a"), T("b"), D())
    await soon(task)
    assert seen == ["b"]


@BOTH
async def test_a_call_that_finds_the_end_and_goes_on_is_waited_for(path: str) -> None:
    ws, channel = await opened_over(path)
    seen: list[str] = []

    async def call(_: str | bytes) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            await ws.receive_text()
        await turns(3)
        seen.append("over")

    async with handling(ws, call) as task:
        channel.deliver(T("a"))
        await asyncio.sleep(0)
        channel.deliver(D())
        await until(task.done)
        assert task.exception() is None
    assert seen == ["over"]
