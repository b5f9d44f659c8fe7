"""Streams over WebSocket: what a generator yields is sent, and it never outlives its client.

The same as Server-Sent Events is in `routing/test_events.py`, over real sockets in
`integration/test_streams.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest

from channel import PATHS, FakeChannel, triple_over
from clients import connected, ending, rejection
from opened import soon, turns, until
from peer import D, T
from streaming import Generator, Lives, of, open_generators, pouring, stream_app, waiting
from telex import App, Depends, Query, Stream, StreamEvent, WebSocket, WebSocketException
from telex._types import GIVE_WAY
from telex.testing import AsyncTestClient, AsyncTestSession

on_every_path = pytest.mark.parametrize("path", PATHS)


@asynccontextmanager
async def served(app: App, path: str, **scope: Any) -> AsyncIterator[FakeChannel]:
    """Serve one connection over a path; the block is left when the application has ended."""
    channel = FakeChannel()
    task = asyncio.ensure_future(app(*triple_over(path, channel, **scope)))
    try:
        yield channel
        await soon(task)
    finally:
        task.cancel()
        await asyncio.wait((task,))


# What is sent


class Tick(msgspec.Struct):
    price: float


@dataclass
class Place:
    row: int


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("text", "text"),
        ("", ""),
        (b"bytes", b"bytes"),
        ({"a": 1}, '{"a":1}'),
        (None, "null"),
        (Tick(1.5), '{"price":1.5}'),
        (Place(3), '{"row":3}'),
        (StreamEvent("text", id="7", event="tick", retry=10), "text"),
        (StreamEvent(b"bytes"), b"bytes"),
        (StreamEvent({"a": 1}), '{"a":1}'),
    ],
)
async def test_an_item_is_a_message_by_the_codec(item: Any, message: str | bytes) -> None:
    async with connected(of(item)) as ws:
        assert [each async for each in ws] == [message]


@on_every_path
async def test_a_generator_that_ends_closes_with_1000(path: str) -> None:
    async with served(of("a", b"b", StreamEvent({"c": 1})), path) as channel:
        pass
    assert channel.types == ["accept", "send", "send", "send", "close"]
    assert channel.data == ["a", b"b", '{"c":1}']
    assert channel.closes == [(1000, "")]


async def test_an_empty_stream_is_accepted_and_closed() -> None:
    assert await ending(of()) == (1000, "")


def twice(n: int) -> int:
    return 2 * n


async def test_parameters_are_filled_as_those_of_a_handler_are() -> None:
    async def stream(
        n: int,
        ws: WebSocket,
        doubled: Annotated[int, Depends(twice)],
        word: Annotated[str, Query()] = "none",
    ) -> Generator:
        yield [n, ws.path, doubled, word]

    async with connected(stream_app(stream, "/{n:int}"), "/4?word=hello") as ws:
        assert await ws.receive_json() == [4, "/4", 8, "hello"]


async def accepting(ws: WebSocket) -> None:
    await ws.accept(headers={"x-by": "dependency"})


async def test_a_dependency_may_have_accepted() -> None:
    async def stream(_: Annotated[None, Depends(accepting)]) -> Generator:
        yield "item"

    async with connected(stream_app(stream)) as ws:
        assert ws.response_headers["x-by"] == "dependency"
        assert await ws.receive_text() == "item"


async def test_what_cannot_be_filled_is_denied_before_the_generator_runs() -> None:
    async def stream(n: Annotated[int, Query()]) -> Generator:
        yield n

    assert (await rejection(stream_app(stream), "/?n=x")).status == 422


async def resource() -> AsyncIterator[list[str]]:
    told: list[str] = []
    try:
        yield told
    finally:
        told.append("resource closed")


async def test_a_dependencys_cleanup_comes_after_the_generators() -> None:
    told: list[str] = []

    async def stream(journal: Annotated[list[str], Depends(resource)]) -> Generator:
        nonlocal told
        told = journal
        try:
            yield "item"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            told.append("generator closed")

    async with connected(stream_app(stream)) as ws:
        assert await ws.receive_text() == "item"
    assert told == ["generator closed", "resource closed"]


async def coroutine() -> None: ...


@pytest.mark.parametrize("fn", [coroutine, len, "text", Lives])
def test_only_an_async_generator_function_is_a_stream(fn: Any) -> None:
    with pytest.raises(TypeError, match="must be an async generator function"):
        Stream(fn)


@pytest.mark.parametrize("wrong", [{"id": 7}, {"event": b"tick"}, {"retry": "10"}])
def test_what_events_cannot_say_is_refused_over_a_websocket_too(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(wrong))} of a StreamEvent must be"):
        StreamEvent("data", **wrong)


def test_a_stream_keeps_the_name_of_its_function() -> None:
    async def ticks() -> Generator:
        """Prices."""
        yield 1

    stream = Stream(ticks)
    assert (stream.__name__, stream.__doc__) == ("ticks", "Prices.")  # type: ignore[attr-defined]


async def test_the_decorator_returns_the_function() -> None:
    app = App()

    @app.websocket_stream("/", name="numbers")
    async def stream() -> Generator:
        yield 1

    assert [item async for item in stream()] == [1]
    assert app.url_path_for("numbers") == "/"


# The client leaves


async def leave(ws: AsyncTestSession, how: str) -> None:
    await (ws.abort() if how == "abort" else ws.close(4000))


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_generator_that_waits_is_closed_at_once(how: str) -> None:
    lives = Lives()
    app = waiting(lives)
    async with AsyncTestClient(app) as client, client.websocket("/") as ws:
        assert await ws.receive_text() == "first"
        await leave(ws, how)
        # Turns of the loop, and not the seconds of the watch.
        await until(lambda: lives.ended == 1)
    assert open_generators() == 0


@on_every_path
@pytest.mark.parametrize("code", [1000, 1001, 1006])
async def test_whichever_way_it_learns_of_it(path: str, code: int) -> None:
    lives = Lives()
    async with served(waiting(lives), path) as channel:
        await until(lambda: channel.data)
        channel.feed(D(code))
        await until(lambda: lives.ended == 1)
    assert channel.closes == []


@on_every_path
async def test_a_generator_that_pours_is_closed_at_once(path: str) -> None:
    lives = Lives()
    async with served(pouring(lives), path) as channel:
        await until(lambda: len(channel.data) > 3 * GIVE_WAY)
        channel.feed(D(1001))
    assert (lives.begun, lives.ended) == (1, 1)


@on_every_path
async def test_a_generator_whose_item_waits_for_room_is_closed_at_once(path: str) -> None:
    lives = Lives()
    async with served(pouring(lives), path) as channel:
        channel.block()
        await until(lambda: channel.data)
        channel.feed(D(1001))
        channel.unblock()
    assert (lives.begun, lives.ended) == (1, 1)


async def test_the_client_may_leave_before_the_first_item() -> None:
    lives = Lives()

    async def stream() -> Generator:
        async with lives.one():
            await asyncio.Event().wait()
            yield "never"

    async with connected(stream_app(stream)):
        await until(lambda: lives.begun)
    assert lives.ended == 1


async def test_a_client_that_gives_up_before_accept_starts_no_generator() -> None:
    lives = Lives()
    async with served(waiting(lives), "asgi") as channel:
        channel._incoming.clear()
        channel.feed(D(1006))
    assert lives.begun == 0
    assert channel.types == []


def stubborn(swallowed: type[BaseException], then: str) -> App:
    """Return an application whose generator keeps what should end it to itself."""

    async def stream() -> Generator:
        try:
            yield "first"
            await asyncio.Event().wait()
        except swallowed:
            if then == "goes on":
                yield "more"

    return stream_app(stream)


@pytest.mark.parametrize("then", ["ends", "goes on"])
async def test_a_generator_that_swallows_its_cancellation_ends_all_the_same(
    then: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(stubborn(asyncio.CancelledError, then)) as ws:
        assert await ws.receive_text() == "first"
    assert open_generators() == 0
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []


async def test_a_generator_that_ignores_its_end_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stream() -> Generator:
        while True:
            try:
                yield "item"
                await asyncio.sleep(0)
            except GeneratorExit:
                yield "more"
                return

    async with connected(stream_app(stream), raise_app_exceptions=False) as ws:
        ws.pause_reading(buffer=0)
        await ws.expect_blocked()
    assert "async generator ignored GeneratorExit" in caplog.text


async def test_a_generator_that_waits_again_ends_with_the_server_at_the_latest() -> None:
    lives = Lives()

    async def stream() -> Generator:
        async with lives.one():
            yield "first"
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            lives.yielded += 1
            await asyncio.Event().wait()

    channel = FakeChannel()
    task = asyncio.ensure_future(stream_app(stream)(*triple_over("asgi", channel)))
    await until(lambda: channel.data)
    channel.drop()
    await until(lambda: lives.yielded)
    task.cancel()
    await soon(asyncio.wait((task,)))
    assert lives.ended == 1


# The generator fails


async def test_a_generator_that_raises_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stream() -> Generator:
        yield "item"
        raise RuntimeError("a secret")

    async with connected(stream_app(stream), raise_app_exceptions=False) as ws:
        assert await ws.receive_text() == "item"
        assert (await ws.expect_close(1011)).reason == ""
    assert "RuntimeError: a secret" in caplog.text


async def test_an_exception_can_choose_code_and_reason() -> None:
    async def stream() -> Generator:
        yield "item"
        raise WebSocketException(4003, "enough")

    async with connected(stream_app(stream)) as ws:
        assert await ws.receive_text() == "item"
        assert (await ws.expect_close(4003)).reason == "enough"


async def test_an_exception_handler_gets_what_was_raised() -> None:
    async def stream() -> Generator:
        yield "item"
        raise LookupError("gone")

    app = stream_app(stream)

    @app.exception_handler(LookupError)
    async def lost(ws: WebSocket, exc: LookupError) -> None:
        await ws.close(4404, str(exc))

    async with connected(app) as ws:
        assert await ws.receive_text() == "item"
        assert (await ws.expect_close(4404)).reason == "gone"


async def test_an_item_that_no_codec_can_write_closes_with_1011() -> None:
    lives = Lives()

    async def stream() -> Generator:
        async with lives.one():
            yield object()

    assert await ending(stream_app(stream), raise_app_exceptions=False) == (1011, "")
    assert lives.ended == 1


async def test_the_generator_may_close_itself() -> None:
    lives = Lives()

    async def stream(ws: WebSocket) -> Generator:
        async with lives.one():
            yield "item"
            await ws.close(4001, "own")
            yield "too late"

    async with connected(stream_app(stream)) as ws:
        assert await ws.receive_text() == "item"
        assert (await ws.expect_close(4001)).reason == "own"
    assert lives.ended == 1


# The client talks


@on_every_path
async def test_what_the_client_says_is_dropped_and_not_remembered(path: str) -> None:
    async def stream(ws: WebSocket) -> Generator:
        yield "ready"
        await asyncio.Event().wait()

    async with served(stream_app(stream), path) as channel:
        await until(lambda: channel.data)
        for _ in range(50):
            channel.feed(*[T("x" * 1000)] * 20)
            await until(lambda: not channel._incoming)
        channel.feed(D(1001))
    assert channel.frames_in + channel.events_in >= 1000


# Back-pressure


@on_every_path
async def test_a_client_that_does_not_read_stops_the_generator(path: str) -> None:
    lives = Lives()
    async with served(pouring(lives), path) as channel:
        await until(lambda: len(channel.data) > 5)
        channel.block()
        for _ in range(3 * GIVE_WAY):
            await asyncio.sleep(0)
        stopped = lives.yielded
        for _ in range(3 * GIVE_WAY):
            await asyncio.sleep(0)
        assert lives.yielded == stopped
        channel.unblock()
        await until(lambda: lives.yielded > stopped + 2 * GIVE_WAY)
        channel.feed(D(1001))


async def test_a_generator_goes_on_when_the_client_reads_again() -> None:
    lives = Lives()
    async with connected(pouring(lives, "x" * 1000)) as ws:
        ws.pause_reading(buffer=10_000)
        await ws.expect_blocked()
        assert lives.yielded < 50
        ws.resume_reading()
        for _ in range(200):
            assert await ws.receive_text() == "x" * 1000
    assert lives.ended == 1


@on_every_path
async def test_a_generator_that_never_waits_leaves_the_loop_to_others(path: str) -> None:
    async with served(pouring(Lives()), path) as channel:
        turned = 0
        while len(channel.data) < 20 * GIVE_WAY:
            before = len(channel.data)
            await asyncio.sleep(0)
            turned += 1
            assert len(channel.data) - before <= 2 * GIVE_WAY
        channel.feed(D(1001))
    assert turned > 5


# The server stops


@on_every_path
@pytest.mark.parametrize("app", [waiting, pouring])
async def test_a_server_that_stops_finalises_the_generator(
    path: str, app: Callable[[Lives], App]
) -> None:
    lives = Lives()
    channel = FakeChannel()
    task = asyncio.ensure_future(app(lives)(*triple_over(path, channel)))
    await until(lambda: channel.data)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert (lives.begun, lives.ended) == (1, 1)
    assert channel.closes == [(1012, "")]


@pytest.mark.parametrize("turns_before", range(12))
async def test_a_cancellation_may_come_at_any_time(turns_before: int) -> None:
    lives = Lives()
    channel = FakeChannel()
    task = asyncio.ensure_future(waiting(lives)(*triple_over("asgi", channel)))
    for _ in range(turns_before):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert lives.open == 0


# Many


def mixed(lives: Lives) -> App:
    """Return an application whose generators wait for ever, pour or tick."""

    async def stream(n: int) -> Generator:
        async with lives.one():
            yield n
            while n % 3:
                yield "more"
                if n % 3 == 1:
                    await asyncio.sleep(0.001)
            await asyncio.Event().wait()

    return stream_app(stream, "/{n:int}")


async def visit(client: AsyncTestClient, n: int, chance: random.Random) -> None:
    """Connect, read a while, and leave in some way."""
    async with client.websocket(f"/{n}") as ws:
        assert await ws.receive_text() == str(n)
        for _ in range(chance.randrange(5) if n % 3 else 0):
            assert await ws.receive_text() == "more"
        match chance.randrange(3):
            case 0:
                await ws.abort()
            case 1:
                await ws.close(4000, "bye")


async def be_stopped(app: App, path: str, n: int, chance: random.Random) -> None:
    """Connect, and have the server end it at any time."""
    channel = FakeChannel()
    scope, receive, send = triple_over(path, channel)
    task = asyncio.ensure_future(app({**scope, "path": f"/{n}"}, receive, send))
    await until(lambda: channel.data)
    for _ in range(chance.randrange(20)):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))


@pytest.mark.timeout(60)
async def test_a_thousand_clients_that_leave_at_random_leave_nothing_behind() -> None:
    lives, chance = Lives(), random.Random(6)
    app, tasks = mixed(lives), asyncio.all_tasks()
    async with AsyncTestClient(app, timeout=30) as client:
        for wave in range(0, 1000, 100):
            async with asyncio.TaskGroup() as group:
                for n in range(wave, wave + 100):
                    if n % 4:
                        group.create_task(visit(client, n, chance))
                    else:
                        group.create_task(be_stopped(app, PATHS[n % len(PATHS)], n, chance))
    assert (lives.begun, lives.ended) == (1000, 1000)
    assert open_generators() == 0
    assert asyncio.all_tasks() == tasks


async def test_a_client_that_leaves_while_the_server_stops_does_not_cut_the_cleanup() -> None:
    told: list[str] = []
    release = asyncio.Event()

    async def stream() -> Generator:
        try:
            yield "item"
            await asyncio.Event().wait()
        finally:
            told.append("cleans up")
            await release.wait()
            told.append("has cleaned up")

    channel = FakeChannel()
    task = asyncio.ensure_future(stream_app(stream)(*triple_over("asgi", channel)))
    await until(lambda: channel.data)
    task.cancel()
    await until(lambda: told)
    channel.drop()
    await turns()
    release.set()
    await asyncio.wait((task,))
    assert told == ["cleans up", "has cleaned up"]
