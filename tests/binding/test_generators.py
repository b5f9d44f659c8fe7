"""Generator dependencies: closed on every way, with what ended the handler, in its own task."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Annotated, Any

import anyio
import pytest

from clients import connected, ending, rejection
from depending import cancelling_into, name_of, serving
from opened import opened
from telex import App, Depends, Reject, WebSocket, WebSocketDisconnect
from telex.binding import bind
from telex.binding._generators import Open, close_all
from telex.context import current

log: list[Any] = []
cancelling = functools.partial(cancelling_into, log)
SHORT = 0.05


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the clean-up of dependencies a moment, not ten seconds."""
    monkeypatch.setattr("telex.binding._dependencies.CLEANUP_TIMEOUT", SHORT)
    monkeypatch.setattr("telex.binding._generators.CLEANUP_TIMEOUT", SHORT)
    monkeypatch.setattr("telex._uncancelled.AGAIN", SHORT)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


def resource(name: str) -> Callable[[], AsyncIterator[str]]:
    """A generator that writes down what ended the handler."""

    async def opened() -> AsyncIterator[str]:
        try:
            yield name
        except BaseException as exc:
            log.append(f"{name} closed by {name_of(exc)}")
            await asyncio.sleep(0)
            raise
        else:
            log.append(f"{name} closed")

    return opened


first, second = resource("first"), resource("second")


def plain() -> Iterator[str]:
    try:
        yield "plain"
    except BaseException as exc:
        log.append(f"plain closed by {name_of(exc)}")
        raise
    else:
        log.append("plain closed")


First = Annotated[str, Depends(first)]
Second = Annotated[str, Depends(second)]
Plain = Annotated[str, Depends(plain)]
InThread = Annotated[str, Depends(plain, thread=True)]

both_kinds = pytest.mark.parametrize("thread", [False, True], ids=["loop", "thread"])


# Ends


async def returns(ws: WebSocket) -> None:
    await ws.accept()


async def raises(ws: WebSocket) -> None:
    await ws.accept()
    raise KeyError("x")


async def raises_early(ws: WebSocket) -> None:
    raise KeyError("x")


async def rejects(ws: WebSocket) -> None:
    await ws.reject(401)


async def raises_reject(ws: WebSocket) -> None:
    raise Reject(401)


async def closes(ws: WebSocket) -> None:
    await ws.accept()
    await ws.close(4001)


async def reads(ws: WebSocket) -> None:
    await ws.accept()
    await ws.receive_text()


async def iterates(ws: WebSocket) -> None:
    await ws.accept()
    async for _ in ws:
        pass


async def is_busy(ws: WebSocket) -> None:
    await ws.accept()
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("end", "exc"),
    [
        (returns, None),
        (raises, "KeyError"),
        (raises_early, "KeyError"),
        (rejects, None),
        (raises_reject, "Reject"),
        (closes, None),
        (reads, "WebSocketDisconnect"),
        (iterates, None),
        (is_busy, "CancelledError"),
    ],
)
@pytest.mark.parametrize("leave", ["close", "abort"])
async def test_they_are_closed_with_what_ended_the_handler(
    end: Callable[[WebSocket], Any], exc: str | None, leave: str
) -> None:
    async def handler(ws: WebSocket, a: First, b: Plain, c: Second) -> None:
        await end(ws)

    app = App(disconnect_grace=0.01)
    app.websocket("/")(handler)
    with contextlib.suppress(WebSocketDisconnect, Exception):
        async with connected(app, raise_app_exceptions=False) as ws:
            await getattr(ws, leave)()
    by = f" by {exc}" if exc else ""
    assert log == [f"second closed{by}", f"plain closed{by}", f"first closed{by}"]


async def test_when_the_server_cancels_they_are_closed_by_that() -> None:
    begun = asyncio.Event()

    async def handler(ws: WebSocket, a: First, b: InThread) -> None:
        await ws.accept()
        begun.set()
        await ws.receive_text()

    await ending(serving(handler, middlewares=[cancelling(begun)]))
    assert log == ["plain closed by CancelledError", "first closed by CancelledError", "cancelled"]


async def test_they_are_closed_before_the_client_is_told_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def session() -> AsyncIterator[None]:
        yield
        raise ValueError("the commit failed")

    async def handler(ws: WebSocket, it: Annotated[None, Depends(session)]) -> None:
        await ws.accept()

    assert await ending(serving(handler), raise_app_exceptions=False) == (1011, "")
    assert "the commit failed" in caplog.text


# On the way in


@both_kinds
async def test_those_that_are_open_are_closed_when_the_next_one_fails(thread: bool) -> None:
    def failing() -> Iterator[None]:
        raise Reject(402)
        yield

    async def handler(
        a: First, b: Plain, c: Annotated[None, Depends(failing, thread=thread)], d: Second
    ) -> None:
        log.append("handled")

    assert (await rejection(serving(handler))).status == 402
    assert log == ["plain closed by Reject", "first closed by Reject"]


@both_kinds
async def test_one_that_never_yields_is_an_error(
    thread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def empty() -> Iterator[None]:
        return
        yield

    async def handler(a: First, b: Annotated[None, Depends(empty, thread=thread)]) -> None: ...

    assert (await rejection(serving(handler), raise_app_exceptions=False)).status == 500
    assert "empty did not yield" in caplog.text
    assert log == ["first closed by RuntimeError"]


async def test_a_cancellation_while_the_next_one_opens_closes_those_that_are_open() -> None:
    opening = asyncio.Event()

    async def slow() -> AsyncIterator[None]:
        opening.set()
        try:
            await asyncio.Event().wait()
        finally:
            log.append("slow gives up")
        yield

    async def handler(a: First, b: Annotated[None, Depends(slow)]) -> None: ...

    await rejection(serving(handler, middlewares=[cancelling(opening)]))
    assert log == ["slow gives up", "first closed by CancelledError", "cancelled"]


# On the way out


@both_kinds
async def test_one_that_yields_twice_is_an_error_and_the_others_are_closed(
    thread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def twice() -> Iterator[int]:
        yield 1
        yield 2

    async def handler(
        ws: WebSocket, a: First, b: Annotated[int, Depends(twice, thread=thread)]
    ) -> None:
        await ws.accept()

    assert await ending(serving(handler), raise_app_exceptions=False) == (1011, "")
    assert "generator didn't stop" in caplog.text
    assert log == ["first closed by RuntimeError"]


@both_kinds
async def test_one_that_swallows_the_exception_does_not_make_it_go_away(thread: bool) -> None:
    def swallowing() -> Iterator[None]:
        with contextlib.suppress(KeyError):
            yield
        log.append("swallowed")

    async def handler(
        ws: WebSocket, a: First, b: Annotated[None, Depends(swallowing, thread=thread)]
    ) -> None:
        await raises(ws)

    assert await ending(serving(handler), raise_app_exceptions=False) == (1011, "")
    assert log == ["swallowed", "first closed by KeyError"]


async def test_what_one_raises_in_place_of_the_exception_is_answered() -> None:
    def translating() -> Iterator[None]:
        try:
            yield
        except KeyError as exc:
            raise Reject(404, "not found") from exc

    async def handler(a: First, b: Annotated[None, Depends(translating)], ws: WebSocket) -> None:
        raise KeyError("room")

    refused = await rejection(serving(handler))
    assert (refused.status, refused.text) == (404, "not found")
    assert log == ["first closed by Reject"]


async def test_an_error_while_the_handler_is_cancelled_closes_the_others_and_is_raised() -> None:
    begun = asyncio.Event()

    async def failing() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)
            raise ValueError("rollback failed")

    async def handler(ws: WebSocket, a: First, b: Annotated[None, Depends(failing)]) -> None:
        await ws.accept()
        begun.set()
        await asyncio.Event().wait()

    await ending(serving(handler, middlewares=[cancelling(begun, times=2)]))
    assert log == ["first closed by ValueError", "ValueError"]


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_cancelling_does_not_cut_the_clean_up_short(times: int) -> None:
    closing = asyncio.Event()

    async def slow() -> AsyncIterator[None]:
        yield
        closing.set()
        await asyncio.sleep(SHORT)
        await asyncio.to_thread(log.append, "slow closed")

    async def handler(ws: WebSocket, a: First, b: Annotated[None, Depends(slow)]) -> None:
        await ws.accept()

    await ending(serving(handler, middlewares=[cancelling(closing, times)]))
    assert log == ["slow closed", "first closed", "cancelled"]


async def test_the_watch_for_clients_that_left_does_not_cut_the_clean_up_short() -> None:
    async def slow() -> AsyncIterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            log.append("cancelled once")
        await asyncio.sleep(3 * SHORT)
        log.append("slow closed")

    app = App(disconnect_grace=SHORT)

    @app.websocket("/")
    async def handler(ws: WebSocket, a: First, b: Annotated[None, Depends(slow)]) -> None:
        await is_busy(ws)

    async with connected(app) as ws:
        await ws.close(4000)
    assert log == ["cancelled once", "slow closed", "first closed by CancelledError"]


@pytest.mark.usefixtures("short")
async def test_a_clean_up_that_hangs_is_cancelled_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def hanging(name: str) -> Callable[[], AsyncIterator[None]]:
        async def hang() -> AsyncIterator[None]:
            try:
                yield
            finally:
                log.append(name)
                await asyncio.Event().wait()

        return hang

    async def handler(
        ws: WebSocket,
        a: First,
        b: Annotated[None, Depends(hanging("b"))],
        c: Annotated[None, Depends(hanging("c"))],
    ) -> None:
        await ws.accept()

    assert await ending(serving(handler), raise_app_exceptions=False) == (1011, "")
    assert log == ["c", "b", "first closed by CancelledError"]
    late, failed = errors(caplog)
    assert late == "closing the dependencies took longer than 0.05 s and is cancelled"
    assert failed.startswith("error in the handler")
    assert "TimeoutError: closing the dependencies took longer" in caplog.text


@pytest.mark.usefixtures("short")
async def test_a_clean_up_that_hangs_while_the_server_stops_ends_as_cancelled() -> None:
    begun = asyncio.Event()

    async def hanging() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.Event().wait()

    async def handler(ws: WebSocket, a: First, b: Annotated[None, Depends(hanging)]) -> None:
        await ws.accept()
        begun.set()
        await asyncio.Event().wait()

    await ending(serving(handler, middlewares=[cancelling(begun)]))
    assert log == ["first closed by CancelledError", "cancelled"]


async def test_the_end_of_the_world_closes_nothing_and_says_nothing() -> None:
    async def opened() -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    manager = contextlib.asynccontextmanager(opened)()
    await manager.__aenter__()
    plain_manager = contextlib.asynccontextmanager(first)()
    await plain_manager.__aenter__()
    closing = close_all([Open(plain_manager, 1), Open(manager, 2)], None)
    closing.send(None)
    closing.close()
    assert log == []
    await plain_manager.__aexit__(None, None, None)


async def test_a_handler_that_python_throws_away_awaits_nothing_any_more() -> None:
    begun, go_on = [], asyncio.get_running_loop().create_future()

    async def handler(ws: WebSocket, it: Plain) -> None:
        begun.append(it)
        await go_on

    ws, _ = await opened()
    token = current.set(ws)
    running = bind(handler)()
    assert isinstance(running, Coroutine)
    running.send(None)
    running.close()
    current.reset(token)
    assert begun == ["plain"]
    go_on.cancel()
    await ws.close()


# In the task of the handler


variable: ContextVar[str] = ContextVar("variable", default="unset")


@both_kinds
async def test_a_context_variable_can_be_reset(thread: bool) -> None:
    def setting() -> Iterator[None]:
        token = variable.set("set")
        try:
            yield
        finally:
            variable.reset(token)
            log.append(variable.get())

    async def handler(ws: WebSocket, it: Annotated[None, Depends(setting, thread=thread)]) -> None:
        log.append(variable.get())
        await ws.accept()

    await ending(serving(handler))
    assert log == ["unset" if thread else "set", "unset"]


async def test_an_asynchronous_generator_can_reset_one_although_it_is_cancelled() -> None:
    begun = asyncio.Event()

    async def setting() -> AsyncIterator[asyncio.Task[Any] | None]:
        token = variable.set("set")
        task = asyncio.current_task()
        try:
            yield task
        finally:
            await asyncio.sleep(0)
            variable.reset(token)
            log.append(asyncio.current_task() is task)

    async def handler(ws: WebSocket, it: Annotated[Any, Depends(setting)]) -> None:
        assert it is asyncio.current_task()
        await ws.accept()
        begun.set()
        await asyncio.Event().wait()

    await ending(serving(handler, middlewares=[cancelling(begun, times=3)]))
    assert log == [True, "cancelled"]


async def tasks() -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as group:
        yield group
    log.append("group left")


Tasks = Annotated[asyncio.TaskGroup, Depends(tasks)]


async def test_a_task_group_waits_for_its_tasks() -> None:
    async def later() -> None:
        await asyncio.sleep(SHORT)
        log.append("task done")

    async def handler(ws: WebSocket, group: Tasks) -> None:
        await ws.accept()
        group.create_task(later())

    await ending(serving(handler))
    assert log == ["task done", "group left"]


@pytest.mark.parametrize("when", ["in the handler", "behind it"])
async def test_a_task_that_fails_in_a_group_ends_the_connection_with_its_error(when: str) -> None:
    async def failing() -> None:
        await asyncio.sleep(0)
        raise KeyError("from a task")

    async def handler(ws: WebSocket, a: First, group: Tasks) -> None:
        await ws.accept()
        group.create_task(failing())
        if when == "in the handler":
            await asyncio.Event().wait()

    assert await ending(serving(handler), raise_app_exceptions=False) == (1011, "")
    assert log == ["first closed by ExceptionGroup"]


async def test_a_task_that_learns_of_the_end_behind_the_handler_is_a_normal_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def pinging(ws: WebSocket) -> None:
        while True:
            await asyncio.sleep(0.001)
            await ws.send_text("tick")

    async def handler(ws: WebSocket, a: First, group: Tasks) -> None:
        await ws.accept()
        group.create_task(pinging(ws))
        await ws.receive_text()
        async for _ in ws:
            pass

    async with connected(serving(handler)) as ws:
        await ws.send_text("x")
        await ws.receive_text()
        await ws.close()
    assert log == ["first closed by ExceptionGroup"]
    assert errors(caplog) == []


async def test_the_tasks_of_a_group_end_when_the_handler_is_cancelled() -> None:
    begun = asyncio.Event()

    async def child() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("child ended")

    async def handler(ws: WebSocket, group: Tasks) -> None:
        group.create_task(child())
        await ws.accept()
        await asyncio.sleep(0)
        begun.set()
        await asyncio.Event().wait()

    await ending(serving(handler, middlewares=[cancelling(begun, times=2)]))
    assert log == ["child ended", "cancelled"]


@pytest.mark.parametrize("cancel", [False, True])
async def test_a_group_of_anyio_can_be_left_and_cancelled(cancel: bool) -> None:
    async def group() -> AsyncIterator[Any]:
        async with anyio.create_task_group() as group:
            yield group
            if cancel:
                group.cancel_scope.cancel()
        log.append("group left")

    async def handler(ws: WebSocket, it: Annotated[Any, Depends(group)], a: First) -> None:
        await ws.accept()
        it.start_soon(anyio.sleep, 5 if cancel else 0.001)

    assert await ending(serving(handler)) == (1000, "")
    assert log == ["first closed", "group left"]


async def test_a_timeout_around_the_yield_ends_the_handler() -> None:
    async def limited() -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(SHORT):
                yield
        except TimeoutError:
            log.append("too long")
            raise

    async def handler(ws: WebSocket, a: First, b: Annotated[None, Depends(limited)]) -> None:
        await is_busy(ws)

    assert await ending(serving(handler), raise_app_exceptions=False) == (1011, "")
    assert log == ["too long", "first closed by TimeoutError"]


async def test_a_timeout_around_the_yield_does_not_cut_clean_up_short() -> None:
    async def limited() -> AsyncIterator[None]:
        async with asyncio.timeout(SHORT):
            yield

    async def slow() -> AsyncIterator[None]:
        yield
        await asyncio.sleep(2 * SHORT)
        log.append("slow closed")

    async def handler(
        ws: WebSocket,
        a: Annotated[None, Depends(limited)],
        b: Annotated[None, Depends(slow)],
    ) -> None:
        await ws.accept()

    assert await ending(serving(handler)) == (1000, "")
    assert log == ["slow closed"]


async def test_a_timeout_in_the_clean_up_works() -> None:
    async def hasty() -> AsyncIterator[None]:
        yield
        try:
            async with asyncio.timeout(SHORT):
                await asyncio.Event().wait()
        except TimeoutError:
            log.append("given up")

    async def handler(ws: WebSocket, a: First, b: Annotated[None, Depends(hasty)]) -> None:
        await ws.accept()

    async with asyncio.timeout(2):
        assert await ending(serving(handler)) == (1000, "")
    assert log == ["given up", "first closed"]
