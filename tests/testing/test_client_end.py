"""The client's end of a connection: its deadlines, its readers, its last words, how it is left."""

from __future__ import annotations

import asyncio
import contextlib
import random
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from opened import soon, turns
from telex import WebSocketDisconnect
from telex.testing import (
    AsyncTestClient,
    AsyncTestSession,
    DeadlinePassed,
    ExpectationFailed,
    HandlersSurvived,
    _client_end,
)
from telex.testing._client_end import Options
from testing.asgi_end import PATIENCE, Server, ServerEnd, application, opened, quiet, sending

WAITS: dict[str, Callable[[AsyncTestSession], Awaitable[object]]] = {
    "a text message": lambda ws: ws.receive_text(),
    "a binary message": lambda ws: ws.receive_bytes(),
    "a message for <class 'int'>": lambda ws: ws.receive_as(int),
    "a message or a close": lambda ws: ws.receive(),
    "a close": lambda ws: ws.expect_close(),
    "a close with 4000": lambda ws: ws.expect_close(4000),
    "a send that has to wait": lambda ws: ws.expect_blocked(),
}
"""By what they wait for, in the words of the deadline."""


class OwnError(Exception):
    """What failing tests and applications raise."""


def said(caught: pytest.ExceptionInfo[BaseException]) -> str:
    return str(caught.value)


def notes(caught: pytest.ExceptionInfo[BaseException]) -> str:
    return "\n".join(getattr(caught.value, "__notes__", ()))


def test_options_are_those_that_the_docs_promise() -> None:
    options = Options()
    assert (options.timeout, options.raise_app_exceptions, options.check_tasks) == (5.0, True, True)


# Deadlines


@pytest.mark.parametrize(("awaited", "wait"), WAITS.items(), ids=WAITS)
async def test_a_deadline_says_what_was_awaited(awaited: str, wait: Any) -> None:
    async with opened(quiet) as ws:
        with pytest.raises(DeadlinePassed) as caught:
            await wait(ws)
    assert said(caught).startswith(f"waited {PATIENCE:g} s for {awaited}\n")


async def test_a_deadline_says_what_came_last_and_where_the_handler_waits() -> None:
    async with opened(sending("one", b"two")) as ws:
        assert await ws.receive_text() == "one"
        assert await ws.receive_bytes() == b"two"
        with pytest.raises(DeadlinePassed) as caught:
            await ws.receive_text()
    lines = said(caught).splitlines()
    assert lines[1] == "what came last, as number 3: bytes b'two'"
    assert lines[2] == "the application at '/', waiting at"
    assert lines[-2].endswith(", in left")
    assert lines[-1] == "    message = await self.receive()"


async def test_a_deadline_says_that_reading_is_paused() -> None:
    async with opened(quiet) as ws:
        waiting = asyncio.create_task(ws.receive_text())
        await turns()
        ws.pause_reading()
        with pytest.raises(DeadlinePassed, match="\nreading is paused\n"):
            await waiting


async def test_a_connection_may_have_a_deadline_of_its_own() -> None:
    async with opened(quiet, timeout=0.05) as ws:
        with pytest.raises(DeadlinePassed, match=r"waited 0\.05 s"):
            await ws.receive_text()


async def test_without_a_deadline_the_test_may_set_one() -> None:
    async with opened(quiet, timeout=None) as ws:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(PATIENCE):
                await ws.receive_text()
    assert not isinstance(caught.value, AssertionError)


# Several tasks, and cancelling


async def test_each_message_goes_to_one_of_two_readers() -> None:
    gate = asyncio.Event()

    async def counts(server: ServerEnd) -> None:
        await gate.wait()
        for number in range(10):
            await server.text(str(number))
        await server.close()

    async def collect(ws: AsyncTestSession) -> list[str | bytes]:
        return [message async for message in ws]

    async with opened(counts) as ws:
        readers = [asyncio.create_task(collect(ws)) for _ in range(2)]
        await turns()
        gate.set()
        first, second = await soon(asyncio.gather(*readers))
    assert sorted(first + second) == [str(number) for number in range(10)]


async def test_two_readers_are_both_told_of_the_end() -> None:
    gate = asyncio.Event()

    async def closes(server: ServerEnd) -> None:
        await gate.wait()
        await server.close(4000)

    async with opened(closes) as ws:
        readers = [asyncio.create_task(ws.receive_text()) for _ in range(2)]
        await turns()
        gate.set()
        ends = await soon(asyncio.gather(*readers, return_exceptions=True))
    assert [getattr(end, "code", None) for end in ends] == [4000, 4000]


async def test_one_of_two_readers_is_told_what_the_application_raised() -> None:
    gate = asyncio.Event()

    async def fails(server: ServerEnd) -> None:
        await gate.wait()
        raise KeyError("mine")

    async with opened(fails) as ws:
        readers = [asyncio.create_task(ws.receive_text()) for _ in range(2)]
        await turns()
        gate.set()
        ends = await soon(asyncio.gather(*readers, return_exceptions=True))
    assert {type(end) for end in ends} == {KeyError, WebSocketDisconnect}


async def test_cancelling_a_read_loses_no_message() -> None:
    chance = random.Random(7)
    rounds = 200

    async def counts(server: ServerEnd) -> None:
        for number in range(rounds):
            await asyncio.sleep(chance.random() / 1000)
            await server.text(str(number))
        await server.close()

    received: list[str | bytes] = []
    async with opened(counts) as ws:
        while len(received) < rounds:
            try:
                async with asyncio.timeout(chance.random() / 1000):
                    received.append(await ws.receive_text())
            except TimeoutError:
                continue
    assert received == [str(number) for number in range(rounds)]


async def test_a_read_that_is_cancelled_with_its_message_at_hand_leaves_it() -> None:
    gate = asyncio.Event()

    async def sends_once(server: ServerEnd) -> None:
        await gate.wait()
        await server.text("kept")

    async with opened(sends_once) as ws:
        reader = asyncio.create_task(ws.receive_text())
        await turns()
        gate.set()
        ws._wire.bell.ring()
        reader.cancel()
        await asyncio.wait([reader])
        assert await ws.receive_text() == "kept"


async def test_a_handler_that_sends_without_end_lets_the_test_go_on() -> None:
    async def floods(server: ServerEnd) -> None:
        while True:
            await server.text("x")

    async with opened(floods) as ws:
        for _ in range(100):
            assert await ws.receive_text() == "x"
        await ws.close()


async def test_a_handler_may_send_more_than_the_test_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telex.testing._wire.MAX_UNREAD", 3)
    async with opened(sending(*map(str, range(10)), close=1000)) as ws:
        await ws.expect_blocked()
        assert [message async for message in ws] == [str(number) for number in range(10)]


# Last words


@pytest.mark.parametrize("turns_later", [0, 1, 2, 3, 10])
async def test_the_exception_behind_1011_may_come_to_light_a_moment_later(turns_later: int) -> None:
    async def answers_first(server: ServerEnd) -> None:
        await server.close(1011)
        await turns(turns_later)
        raise OwnError("behind 1011")

    async with opened(answers_first) as ws:
        with pytest.raises(OwnError):
            await ws.receive_text()


async def test_a_1011_with_nothing_behind_it_is_a_close() -> None:
    async def answers_and_returns(server: ServerEnd) -> None:
        await server.close(1011)

    async with opened(answers_and_returns) as ws:
        await ws.expect_close(1011)


async def test_a_1011_is_not_waited_behind_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client_end, "_LAST_WORDS", 0.01)

    async def answers_and_stays(server: ServerEnd) -> None:
        await server.close(1011)
        await asyncio.sleep(PATIENCE / 2)

    async with opened(answers_and_stays) as ws:
        await ws.expect_close(1011)
        with pytest.raises(WebSocketDisconnect):
            await ws.expect_nothing(0)


async def test_a_1011_counts_as_something_that_came() -> None:
    async def answers_and_stays(server: ServerEnd) -> None:
        await server.close(1011)
        await server.left()
        await asyncio.sleep(PATIENCE / 2)

    async with opened(answers_and_stays) as ws:
        await turns()
        with pytest.raises(ExpectationFailed, match="received close 1011"):
            await ws.expect_nothing(0.01)


async def test_nobody_waits_for_last_words_behind_the_own_close() -> None:
    clock = asyncio.get_running_loop().time

    async def stays(server: ServerEnd) -> None:
        await server.left()
        await asyncio.sleep(PATIENCE / 2)

    async with opened(stays) as ws:
        await ws.close(1011)
        before = clock()
        assert [message async for message in ws] == []
        assert clock() - before < PATIENCE / 2


# Leaving


async def test_a_failure_that_comes_with_the_last_turn_is_not_missed() -> None:
    for amount in range(6):

        async def fails(server: ServerEnd, amount: int = amount) -> None:
            await turns(amount)
            raise OwnError

        with pytest.raises(OwnError):
            async with opened(fails):
                await turns(3)


async def test_what_the_application_raised_is_added_to_what_the_test_raised() -> None:
    async def fails(server: ServerEnd) -> None:
        raise OwnError("of the application")

    with pytest.raises(KeyError) as caught:
        async with opened(fails):
            raise KeyError("of the test")
    assert notes(caught).startswith("The application failed too:\nTraceback ")
    assert notes(caught).endswith("OwnError: of the application")


async def test_who_survives_is_added_to_what_the_test_raised() -> None:
    async def stays(server: ServerEnd) -> None:
        await asyncio.Event().wait()  # stays here

    with pytest.raises(KeyError) as caught:
        async with opened(stays):
            raise KeyError("of the test")
    assert "still running:\nthe application at '/', waiting at\n" in notes(caught)
    assert "# stays here" in notes(caught)


async def test_a_test_that_raises_what_the_application_raised_has_no_note_of_it() -> None:
    async def fails(server: ServerEnd) -> None:
        raise OwnError("of the application")

    with pytest.raises(OwnError) as caught:
        async with opened(fails) as ws:
            await ws.receive_text()
    assert notes(caught) == ""
    assert "in fails" in "".join(traceback.format_exception(caught.value))


async def test_a_failed_test_ends_its_connection_with_1000_and_a_stopped_one_with_1006() -> None:
    seen: list[int] = []

    async def listens(server: ServerEnd) -> None:
        seen.append((await server.left())["code"])

    with pytest.raises(KeyError):
        async with opened(listens):
            raise KeyError
    with pytest.raises(KeyboardInterrupt):
        async with opened(listens):
            raise KeyboardInterrupt
    assert seen == [1000, 1006]


async def test_a_test_that_is_stopped_cancels_the_handler_and_its_tasks() -> None:
    cancelled: list[str] = []

    async def stays(name: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(name)
            raise

    async def starts_a_task(server: ServerEnd) -> None:
        child = asyncio.create_task(stays("child"))
        await stays("handler")
        await child

    with pytest.raises(KeyboardInterrupt):
        async with opened(starts_a_task):
            await turns()
            raise KeyboardInterrupt
    assert sorted(cancelled) == ["child", "handler"]


async def test_what_the_application_raised_is_added_to_the_cancellation_of_the_test() -> None:
    async def fails(server: ServerEnd) -> None:
        raise OwnError("of the application")

    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(None) as limit, opened(fails):
            await turns()
            limit.reschedule(0)
            await asyncio.Event().wait()
    assert "OwnError: of the application" in "".join(traceback.format_exception(caught.value))


async def test_a_test_that_is_cancelled_while_it_leaves_leaves_nothing_behind() -> None:
    ended: list[str] = []

    async def stays(server: ServerEnd) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("handler")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit, opened(stays, timeout=60):
            await turns()
            limit.reschedule(asyncio.get_running_loop().time() + 0.02)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit, opened(stays, timeout=60):
            await turns()
            limit.reschedule(asyncio.get_running_loop().time() + 0.02)
            raise KeyError
    assert ended == ["handler", "handler"]


async def test_what_the_handler_raised_counts_more_than_what_it_left() -> None:
    async def starts_and_fails(server: ServerEnd) -> None:
        child = asyncio.create_task(asyncio.Event().wait(), name="left behind")
        await turns()
        raise OwnError(child.get_name())

    with pytest.raises(OwnError, match="left behind") as caught:
        async with opened(starts_and_fails):
            await turns()
    assert "still running:\nleft behind, waiting at\n" in notes(caught)


async def test_a_handshake_past_its_deadline_leaves_no_task_behind() -> None:
    children: list[asyncio.Task[Any]] = []

    async def never_accepts(scope: Any, receive: Any, send: Any) -> None:
        children.append(asyncio.create_task(asyncio.Event().wait()))
        await children[0]

    async with AsyncTestClient(never_accepts, timeout=0.02, lifespan=False) as client:
        with pytest.raises(DeadlinePassed, match="accept or reject the handshake"):
            async with client.websocket("/"):
                pytest.fail("it was accepted")
    assert children[0].cancelled()


async def test_a_handler_that_goes_on_behind_its_rejection_survives() -> None:
    async def stays(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})
        await asyncio.Event().wait()

    async with AsyncTestClient(stays, timeout=0.02, lifespan=False) as client:
        with pytest.raises(HandlersSurvived):
            async with client.websocket("/"):
                pytest.fail("it was accepted")


async def test_what_says_that_the_client_left_is_no_failure_only_when_it_has() -> None:
    async def lies(server: ServerEnd) -> None:
        raise WebSocketDisconnect(1001)

    async def tells(server: ServerEnd) -> None:
        await server.left()
        raise WebSocketDisconnect(1001)

    async with opened(tells):
        pass
    async with opened(lies) as ws:
        with pytest.raises(WebSocketDisconnect, match="1001"):
            await ws.receive_text()
        with pytest.raises(WebSocketDisconnect, match="1006"):
            await ws.receive_text()


async def test_a_handler_that_sends_on_after_its_close_is_told_so() -> None:
    async def sends_on(server: ServerEnd) -> None:
        await server.close()
        await server.text("too late")

    with pytest.raises(RuntimeError, match=r"^cannot send 'websocket\.send'"):
        async with opened(sends_on) as ws:
            await ws.expect_close(1000)


async def test_two_connections_of_which_both_fail_lose_neither_failure() -> None:
    async def fails(server: ServerEnd) -> None:
        message = await server.receive()
        raise OwnError(message["text"])

    client = AsyncTestClient(application(fails), timeout=PATIENCE, lifespan=False)
    with pytest.raises(OwnError, match="second") as caught:
        async with client, client.websocket("/") as first, client.websocket("/") as second:
            await first.send_text("first")
            await second.send_text("second")
    assert "OwnError: first" in notes(caught)


async def reads_on(server: ServerEnd) -> None:
    await server.left()
    for _ in range(100):
        await server.receive()


async def sends_on(server: ServerEnd) -> None:
    await server.left()
    for _ in range(100):
        with contextlib.suppress(OSError):
            await server.text("on")


@pytest.mark.parametrize("server", [reads_on, sends_on])
async def test_a_handler_that_ignores_the_end_does_not_stop_the_loop(server: Server) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticker = asyncio.create_task(tick())
    async with opened(server) as ws:
        await ws.close()
    ticker.cancel()
    assert ticks > 100
