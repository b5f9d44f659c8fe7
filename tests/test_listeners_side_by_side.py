"""Listeners that handle several messages at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Annotated, Any

import pytest

from channel import FakeChannel, triple_over
from clients import connected
from opened import left, soon, turns, until
from peer import D, T
from telex import App, Depends, WebSocket, WebSocketException, WebSocketExpectError
from telex._lanes import _WAITING
from telex.lifecycle import Endpoint

variable: ContextVar[str] = ContextVar("variable", default="untouched")

PATHS = ["asgi", "frames"]


log: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


async def resource() -> AsyncIterator[None]:
    try:
        yield
    except BaseException as exc:
        log.append(f"dependency {exc!r}")
        raise


class Work:
    """Calls that wait until they are let go, and what is known of them."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    @property
    def running(self) -> list[str]:
        return [each for each in self.begun if each not in self.ended]

    async def __call__(self, name: str) -> str:
        self.begun.append(name)
        try:
            await self.gates.setdefault(name, asyncio.Event()).wait()
            return name
        finally:
            await asyncio.sleep(0)
            self.ended.append(name)

    async def let_go(self, *names: str) -> None:
        for name in names:
            self.gates.setdefault(name, asyncio.Event()).set()
        await turns(30)


@pytest.fixture
def work() -> Work:
    return Work()


class Visit:
    """A listener that is being served to a client."""

    def __init__(
        self, path: str, fn: Callable[..., Any], grace: float | None = None, **options: Any
    ) -> None:
        app = App(disconnect_grace=grace)
        app.websocket_listener("/", **options)(fn)
        self.channel = FakeChannel()
        self.task = asyncio.ensure_future(app(*triple_over(path, self.channel)))

    async def send(self, *texts: str) -> None:
        await until(lambda: self.channel.log)
        await turns()
        self.channel.feed(*map(T, texts))
        await turns(50)

    async def leave(self) -> None:
        self.channel.feed(D(1001))
        await soon(self.task)


def working(work: Work) -> Callable[..., Any]:
    async def fn(data: str) -> str:
        return await work(data)

    return fn


# --- how many, and in which order ---


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("concurrency", [1, 2, 3])
async def test_so_many_messages_are_handled_at_once(
    path: str, concurrency: int, work: Work
) -> None:
    visit = Visit(path, working(work), concurrency=concurrency)
    names = [str(n) for n in range(8)]
    await visit.send(*names)
    assert work.begun == names[:concurrency]
    for n in range(8):
        await work.let_go(str(n))
        assert len(work.running) <= concurrency
    assert visit.channel.data == names
    await visit.leave()


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_ready_first_is_sent_first(path: str, work: Work) -> None:
    visit = Visit(path, working(work), concurrency=3)
    await visit.send("a", "b", "c")
    await work.let_go("c")
    await work.let_go("a")
    await work.let_go("b")
    assert visit.channel.data == ["c", "a", "b"]
    await visit.leave()


@pytest.mark.parametrize("path", PATHS)
async def test_messages_of_one_key_are_handled_in_order(path: str, work: Work) -> None:
    visit = Visit(path, working(work), concurrency=3, key=lambda data: data[0])
    await visit.send("a1", "a2", "b1", "a3", "b2")
    assert work.begun == ["a1", "b1"]
    await work.let_go("a3", "a2", "b1")
    assert work.begun == ["a1", "b1", "b2"]
    await work.let_go("a1", "b2")
    assert [each for each in visit.channel.data if str(each)[0] == "a"] == ["a1", "a2", "a3"]
    await visit.leave()


async def test_without_a_key_messages_run_beside_all_others(work: Work) -> None:
    visit = Visit("asgi", working(work), concurrency=3, key=lambda data: None)
    await visit.send("a", "a", "a")
    assert len(work.begun) == 3
    await work.let_go("a")
    await visit.leave()


@pytest.mark.parametrize("path", PATHS)
async def test_reading_stops_when_too_many_wait_behind_one_key(path: str, work: Work) -> None:
    visit = Visit(path, working(work), concurrency=2, key=lambda data: "same")
    names = [f"{n}" for n in range(_WAITING + 20)]
    await visit.send(*names)
    received = visit.channel.frames_in or None
    assert received is None or received <= _WAITING + 2
    await work.let_go(*names)
    await until(lambda: len(visit.channel.data) == len(names))
    assert visit.channel.data == names
    await visit.leave()


@pytest.mark.parametrize("path", PATHS)
async def test_reading_stops_while_so_many_run(path: str, work: Work) -> None:
    taken: list[str] = []

    async def fn(data: str) -> None:
        taken.append(data)
        await work(data)

    visit = Visit(path, fn, grace=0.01, concurrency=2)
    await visit.send(*(str(n) for n in range(10)))
    assert taken == ["0", "1"]
    await visit.leave()
    assert work.running == []


@pytest.mark.parametrize("key", [lambda data: [], lambda data: data["missing"]])
async def test_a_key_that_cannot_be_made_is_an_error_of_the_application(
    key: Any, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    visit = Visit("asgi", working(work), concurrency=2, key=key)
    await visit.send("a")
    await soon(visit.task)
    assert visit.channel.closes == [(1011, "")]
    assert work.begun == []
    assert "TypeError" in caplog.text


async def test_invalid_messages_are_told_while_others_are_handled(work: Work) -> None:
    async def fn(data: int) -> str:
        return await work(str(data))

    visit = Visit("asgi", fn, concurrency=2, max_invalid=2)
    await visit.send("1", "x", "2", "y")
    assert [str(each)[:15] for each in visit.channel.data] == ['{"type":"error"'] * 2
    assert work.running == ["1", "2"]
    await visit.send("z")
    await soon(visit.task)
    assert [closed[0] for closed in visit.channel.closes] == [1003]
    assert work.running == []


# --- exceptions ---


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_an_exception_ends_the_connection_and_cancels_the_others(
    path: str, concurrency: int, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    async def fn(data: str) -> str:
        if data == "bad":
            raise LookupError("secret")
        return await work(data)

    visit = Visit(path, fn, concurrency=concurrency)
    await visit.send(*["a", "b", "bad"][-concurrency:])
    await soon(visit.task)
    assert visit.channel.closes == [(1011, "")]
    assert work.running == []
    assert caplog.text.count("error in the handler") == 1
    assert "LookupError: secret" in caplog.text


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("on_invalid", ["raise", "reply"])
async def test_an_exception_handler_gets_the_exception_itself(
    concurrency: int, on_invalid: Any
) -> None:
    app = App()
    seen: list[BaseException] = []

    @app.exception_handler(LookupError)
    @app.exception_handler(WebSocketExpectError)
    async def handler(ws: WebSocket, exc: BaseException) -> None:
        seen.append(exc)
        await ws.close(4000, "handled")

    @app.websocket_listener("/", concurrency=concurrency, on_invalid=on_invalid)
    async def fn(data: int) -> None:
        raise LookupError

    async with connected(app) as ws:
        await ws.send_text("x" if on_invalid == "raise" else "1")
        await ws.expect_close(4000)
    expected = WebSocketExpectError if on_invalid == "raise" else LookupError
    assert [type(exc) for exc in seen] == [expected]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_call_may_end_the_connection_with_a_code(concurrency: int, work: Work) -> None:
    async def fn(data: str) -> None:
        if data == "end":
            raise WebSocketException(4001, "enough")
        await work(data)

    visit = Visit("asgi", fn, concurrency=concurrency)
    await visit.send(*["a", "end"][-concurrency:])
    await soon(visit.task)
    assert visit.channel.closes == [(4001, "enough")]
    assert work.running == []


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_dependencies_and_middlewares_get_the_exception_itself(concurrency: int) -> None:
    seen = log

    def middleware(endpoint: Endpoint) -> Endpoint:
        async def wrapper() -> None:
            try:
                await endpoint()
            except BaseException as exc:
                seen.append(f"middleware {exc!r}")
                raise

        return wrapper

    async def fn(data: int, it: Annotated[None, Depends(resource)]) -> None:
        raise LookupError(data)

    app = App()
    app.websocket_listener("/", concurrency=concurrency, middlewares=[middleware])(fn)
    async with connected(app, raise_app_exceptions=False) as ws:
        await ws.send_text("1")
        await ws.expect_close(1011)
    assert seen == ["dependency LookupError(1)", "middleware LookupError(1)"]


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("path", PATHS)
async def test_a_call_whose_work_was_cancelled_is_an_error(
    path: str, concurrency: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def fn(data: str) -> None:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    visit = Visit(path, fn, concurrency=concurrency)
    await visit.send("a")
    await soon(visit.task)
    assert visit.channel.closes == [(1011, "")]
    assert "CancelledError" in caplog.text


# --- the end ---


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("path", PATHS)
async def test_when_the_client_leaves_calls_are_cancelled_and_waited_for(
    path: str, concurrency: int, work: Work
) -> None:
    visit = Visit(path, working(work), concurrency=concurrency)
    await visit.send("a", "b", "c")
    assert len(work.running) == concurrency
    if concurrency == 1:
        # What it sent before it left would be handled first.
        await work.let_go("a")
        await work.let_go("b")
    await visit.leave()
    assert sorted(work.ended) == ["a", "b", "c"]
    assert visit.channel.closes == []


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("path", PATHS)
async def test_generators_are_closed_when_the_client_leaves(path: str, concurrency: int) -> None:
    seen: list[str] = []

    async def fn(data: str) -> AsyncIterator[str]:
        try:
            yield data
            await asyncio.Event().wait()
        except BaseException as exc:
            seen.append(type(exc).__name__)
            raise
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    visit = Visit(path, fn, concurrency=concurrency)
    await visit.send("a")
    assert visit.channel.data == ["a"]
    await visit.leave()
    assert seen == ["CancelledError", "closed"]


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("path", PATHS)
async def test_a_generator_whose_reader_stands_still_is_closed_when_it_leaves(
    path: str, concurrency: int
) -> None:
    seen: list[str] = []

    async def fn(data: str) -> AsyncIterator[str]:
        try:
            while True:
                yield data
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    visit = Visit(path, fn, concurrency=concurrency)
    await until(lambda: visit.channel.log)
    await turns()
    visit.channel.block()
    await visit.send("a")
    await visit.leave()
    assert seen == ["closed"]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_the_last_message_of_a_client_that_leaves_at_once_is_handled(
    concurrency: int,
) -> None:
    seen: list[str] = []

    async def fn(data: str) -> None:
        seen.append(data)

    visit = Visit("asgi", fn, concurrency=concurrency)
    await until(lambda: visit.channel.log)
    await turns()
    visit.channel.feed(T("a"), T("b"), D(1001))
    await soon(visit.task)
    assert seen == ["a", "b"]


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("path", PATHS)
async def test_a_cancelled_handler_closes_with_1012_and_leaves_nothing(
    path: str, concurrency: int, work: Work
) -> None:
    visit = Visit(path, working(work), concurrency=concurrency)
    await visit.send(*["a", "b"][:concurrency])
    visit.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(visit.task)
    assert (work.running, len(work.ended)) == ([], min(concurrency, 2))
    assert [closed[0] for closed in visit.channel.closes] == [1012]


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("path", PATHS)
async def test_closing_in_a_call_cancels_the_others(
    path: str, concurrency: int, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def fn(data: str, ws: WebSocket) -> None:
        if data != "close":
            await work(data)
            return
        await ws.close(4002, "bye")
        work.ended.append("close")

    visit = Visit(path, fn, concurrency=concurrency)
    await visit.send(*["a", "b", "close"][-concurrency:], "later")
    await soon(visit.task)
    assert visit.channel.closes == [(4002, "bye")]
    assert (work.running, "close" in work.ended, "later" in work.begun) == ([], True, False)
    assert caplog.text == ""


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("path", PATHS)
async def test_somebody_else_may_close_the_connection(
    path: str, concurrency: int, work: Work
) -> None:
    connections: list[WebSocket] = []

    async def fn(data: str, ws: WebSocket) -> None:
        connections.append(ws)
        await work(data)

    visit = Visit(path, fn, concurrency=concurrency)
    await visit.send("a")
    await soon(connections[0].close(4003))
    await soon(visit.task)
    assert (work.ended, visit.channel.closes) == (["a"], [(4003, "")])


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_aborting_in_a_call_ends_it(concurrency: int, work: Work) -> None:
    async def fn(data: str, ws: WebSocket) -> None:
        if data == "abort":
            await ws.abort()
        else:
            await work(data)

    visit = Visit("frames", fn, concurrency=concurrency)
    await visit.send(*["a", "abort"][-concurrency:])
    await soon(visit.task)
    assert (visit.channel.aborted, work.running) == (True, [])


# --- context variables ---


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("concurrency", "seen"), [(1, ["untouched", "a"]), (2, ["untouched", "untouched"])]
)
async def test_calls_share_context_variables_only_where_they_run_in_one_task(
    path: str, concurrency: int, seen: list[str]
) -> None:
    async def fn(data: str) -> str:
        before = variable.get()
        variable.set(data)
        await asyncio.sleep(0)
        return before

    visit = Visit(path, fn, concurrency=concurrency)
    await visit.send("a")
    await visit.send("b")
    assert visit.channel.data == seen
    await visit.leave()
    assert variable.get() == "untouched"


# --- ends ---


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_call_may_close_the_connection_and_then_return_a_value(
    path: str, concurrency: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def fn(data: str, ws: WebSocket) -> str:
        await ws.close(4002)
        return data

    visit = Visit(path, fn, concurrency=concurrency)
    await visit.send("a")
    await visit.leave()
    assert (visit.channel.closes, visit.channel.data) == ([(4002, "")], [])
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_the_end_of_another_connection_is_not_taken_for_the_end_of_this_client(
    path: str, concurrency: int, caplog: pytest.LogCaptureFixture
) -> None:
    other, _ = await left(1001)

    async def fn(data: str) -> None:
        await other.send_text(data)

    visit = Visit(path, fn, concurrency=concurrency)
    await visit.send("a")
    await soon(visit.task)
    assert len(visit.channel.closes) == 1
    assert "ended by another connection's end" in caplog.text
