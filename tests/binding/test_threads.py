"""Generator dependencies whose steps run in threads."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest

from clients import ending, rejection
from depending import cancelling_into, name_of, serving
from telex import Depends, WebSocket, websocket

log: list[Any] = []
cancelling = functools.partial(cancelling_into, log)
SHORT = 0.05


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the clean-up of dependencies a moment, not ten seconds."""
    monkeypatch.setattr("telex.binding._generators.CLEANUP_TIMEOUT", SHORT)


async def first() -> AsyncIterator[None]:
    try:
        yield
    except BaseException as exc:
        log.append(f"first closed by {name_of(exc)}")
        raise


First = Annotated[None, Depends(first)]


async def test_a_generator_in_a_thread_sees_the_connection_and_its_end() -> None:
    threads: list[int] = []

    def blocking() -> Iterator[str]:
        threads.append(threading.get_ident())
        try:
            yield websocket.path
        except KeyError as exc:
            threads.append(threading.get_ident())
            log.append(str(exc))
            raise

    async def handler(ws: WebSocket, path: Annotated[str, Depends(blocking, thread=True)]) -> None:
        await ws.accept()
        raise KeyError(path)

    await ending(serving(handler), raise_app_exceptions=False)
    assert log == ["'/'"]
    assert len(threads) == 2
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fails", [False, True])
async def test_one_that_opens_in_a_thread_while_the_handler_is_cancelled_is_closed(
    fails: bool, times: int
) -> None:
    opening, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow() -> Iterator[None]:
        loop.call_soon_threadsafe(opening.set)
        go_on.wait(5)
        if fails:
            raise KeyError("no database")
        try:
            yield
        except asyncio.CancelledError:
            log.append("slow closed")
            raise

    async def handler(a: First, b: Annotated[None, Depends(slow, thread=True)]) -> None:
        log.append("handled")

    loop.call_later(SHORT, go_on.set)
    await rejection(serving(handler, middlewares=[cancelling(opening, times)]))
    if fails:
        assert log == ["first closed by KeyError", "KeyError"]
    else:
        assert log == ["slow closed", "first closed by CancelledError", "cancelled"]


@pytest.mark.usefixtures("short")
async def test_opening_in_a_thread_may_take_its_time() -> None:
    def slow() -> Iterator[str]:
        threading.Event().wait(3 * SHORT)
        yield "open"

    async def handler(ws: WebSocket, it: Annotated[str, Depends(slow, thread=True)]) -> None:
        log.append(it)
        await ws.accept()

    await ending(serving(handler))
    assert log == ["open"]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("fails", [False, True])
async def test_nobody_waits_for_ever_for_a_thread(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    opening, go_on, over = asyncio.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stuck() -> Iterator[None]:
        loop.call_soon_threadsafe(opening.set)
        go_on.wait(5)
        try:
            if fails:
                raise KeyError("no database")
            with contextlib.suppress(asyncio.CancelledError):
                yield
        finally:
            loop.call_soon_threadsafe(over.set)

    async def handler(a: First, b: Annotated[None, Depends(stuck, thread=True)]) -> None: ...

    await rejection(serving(handler, middlewares=[cancelling(opening)]))
    assert log == ["first closed by CancelledError", "cancelled"]
    go_on.set()
    await over.wait()
    await asyncio.sleep(SHORT)
    assert ("no database" in caplog.text) is fails
