"""A failure that Telex answers is logged once, and told once to whoever watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from opened import soon
from peer import D, Peer, T, make_scope, serve
from telex import App, Reject, SocketView, WebSocket, WebSocketException
from telex._failures import observer, report
from telex._types import Message


@pytest.fixture
def told() -> Iterator[list[BaseException]]:
    """What an observer in the context of the test is told."""
    failures: list[BaseException] = []
    token = observer.set(failures.append)
    yield failures
    observer.reset(token)


def logged(caplog: pytest.LogCaptureFixture) -> list[BaseException | None]:
    """The exceptions that were logged with a traceback."""
    return [record.exc_info[1] for record in caplog.records if record.exc_info]


async def watched(app: App, *script: Message) -> list[BaseException]:
    """Serve a script and return what the observer was told; async tests copy the context."""
    failures: list[BaseException] = []
    observer.set(failures.append)
    await serve(app, *script)
    return failures


# The function


def test_a_failure_is_logged_with_its_traceback_and_the_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failure = LookupError("no")
    report(failure, "%r failed after %d", "it", 3)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("telex", logging.ERROR)
    assert record.getMessage() == "'it' failed after 3"
    assert record.exc_info is not None
    assert record.exc_info[1] is failure


def test_without_an_observer_a_failure_is_only_logged() -> None:
    assert observer.get() is None
    report(ValueError(), "nobody watches")


def test_an_observer_is_told_each_failure(told: list[BaseException]) -> None:
    first, second = ValueError(), KeyboardInterrupt()
    report(first, "one")
    report(second, "two")
    assert told == [first, second]


async def test_an_observer_is_told_of_tasks_that_were_made_after_it(
    told: list[BaseException],
) -> None:
    observer.set(told.append)

    async def fails() -> None:
        report(LookupError(), "in a task")

    await soon(asyncio.create_task(fails()))
    assert [type(failure) for failure in told] == [LookupError]


async def test_two_observers_in_two_tasks_do_not_hear_each_other() -> None:
    async def watching(name: str) -> list[BaseException]:
        failures: list[BaseException] = []
        observer.set(failures.append)
        await asyncio.sleep(0)
        report(LookupError(name), "in %s", name)
        return failures

    a, b = await soon(asyncio.gather(watching("a"), watching("b")))
    assert [str(failure) for failure in (*a, *b)] == ["a", "b"]


# Where it is called


async def test_what_a_handler_raises_is_told_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, failure = App(), LookupError("no such room")

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        raise failure

    assert await watched(app) == [failure]
    assert logged(caplog) == [failure]


@pytest.mark.parametrize("failure", [Reject(404), WebSocketException(4000, "bye")])
async def test_an_exception_that_is_meant_as_an_ending_is_not_told(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        raise failure

    assert await watched(app) == []
    assert logged(caplog) == []


async def test_a_client_that_leaves_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    assert await watched(app, D(1001)) == []
    assert logged(caplog) == []


@pytest.mark.parametrize("waits", [False, True])
async def test_what_a_cleanup_raises_is_told_and_logged_once(
    caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    app, failure = App(), LookupError("cleanup")

    async def later() -> None:
        await asyncio.sleep(0)
        raise failure

    def at_once() -> None:
        raise failure

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        ws.add_cleanup(later if waits else at_once)

    assert await watched(app) == [failure]
    assert logged(caplog) == [failure]


async def test_what_on_disconnect_raises_is_told_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, failure = App(), LookupError("on_disconnect")

    @app.websocket("/")
    class Room(SocketView):
        async def on_disconnect(self, code: int) -> None:
            raise failure

    assert await watched(app, T("hello"), D(1001)) == [failure]
    assert logged(caplog) == [failure]


async def test_each_failure_of_one_connection_is_told_in_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, first, second = App(), LookupError("handler"), KeyError("cleanup")

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        def cleanup() -> None:
            raise second

        ws.add_cleanup(cleanup)
        await ws.accept()
        raise first

    assert await watched(app) == [first, second]
    assert logged(caplog) == [first, second]


async def test_without_an_observer_the_server_sees_nothing_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        raise LookupError("no")

    peer = Peer()
    await peer.run(app, make_scope())
    assert peer.types == ["close"]
    assert len(logged(caplog)) == 1
