"""How a connection stands: its end, its labels, when its credentials end, and the end of all."""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import gc
import math
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from channel import PATHS, connecting_over, opened_over
from clients import connected
from opened import connecting, opened, soon, turns, until
from peer import D
from telex import App, WebSocket, WebSocketRuntimeError, WebSocketState, standing
from telex.standing import epoch_seconds

HOUR = 3600.0


class Clock:
    """The wall clock, which can be set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(standing, "_now", made)
    return made


def timers() -> list[asyncio.TimerHandle]:
    """The timers of the loop that have not been cancelled."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [each for each in scheduled if not each.cancelled() and "_look" in repr(each)]


# How it stands


async def test_it_tells_how_it_stands_and_how_it_ended() -> None:
    ws, _ = connecting(D(4000, "enough"))
    assert (ws.client_state, ws.application_state) == (WebSocketState.CONNECTING,) * 2
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (None, None, None)
    await ws.accept()
    assert ws.connection_state is WebSocketState.CONNECTED
    assert (ws.latency, ws.buffered, ws.dropped) == (None, 0, 0)
    await soon(ws.wait_closed())
    assert (ws.close_code, ws.close_reason, ws.closed_by) == (4000, "enough", "client")


# Labels


async def test_a_connection_without_an_application_has_no_labels() -> None:
    ws, _ = await opened()
    ws.label(user="7")
    assert ws.labels == {}


def labelling(body: Callable[[WebSocket, App], Awaitable[None]]) -> App:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            await body(ws, app)
            await ws.send_text("done")

    return app


async def play(body: Callable[[WebSocket, App], Awaitable[None]]) -> None:
    async with connected(labelling(body)) as ws:
        assert await ws.receive_text() == "done"


async def test_labels_are_given_changed_and_taken_away() -> None:
    async def body(ws: WebSocket, app: App) -> None:
        ws.label(user="7", session="a")
        ws.label(session="b", room=3)
        assert ws.labels == {"user": "7", "session": "b", "room": 3}
        assert app.connections.find(session="a") == []
        assert app.connections.find(user="7", session="b") == [ws]
        ws.label(room=None, nothing=None)
        assert ws.labels == {"user": "7", "session": "b"}
        assert app.connections.find(room=3) == app.connections.find(nothing=None) == []

    await play(body)


async def test_what_labels_returns_is_a_copy() -> None:
    async def body(ws: WebSocket, app: App) -> None:
        ws.label(user="7")
        ws.labels["user"] = "8"
        assert ws.labels == {"user": "7"}

    await play(body)


async def test_a_label_that_is_not_possible_changes_none() -> None:
    async def body(ws: WebSocket, app: App) -> None:
        ws.label(user="7", session="a")
        with pytest.raises(TypeError):
            ws.label(session="b", user=["7"])
        assert ws.labels == {"user": "7", "session": "a"}
        assert app.connections.find(user="7", session="a") == [ws]

    await play(body)


async def test_after_the_end_there_are_no_labels() -> None:
    kept: list[WebSocket] = []

    async def body(ws: WebSocket, app: App) -> None:
        ws.label(user="7")
        kept.append(ws)

    app = labelling(body)
    async with connected(app) as client:
        assert await client.receive_text() == "done"
    [ws] = kept
    ws.label(user="8")
    assert ws.labels == {}
    assert app.connections.find(user="7") == app.connections.find(user="8") == []


# The end of credentials


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (None, math.inf),
        (math.inf, math.inf),
        (0, 0.0),
        (1.5, 1.5),
        (dt.datetime(1970, 1, 2, tzinfo=dt.UTC), 86_400.0),
        (dt.datetime(1970, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1))), 3600.0),
    ],
)
def test_a_moment_is_a_number_or_a_datetime(moment: Any, seconds: float) -> None:
    assert epoch_seconds(moment) == seconds


@pytest.mark.parametrize(
    ("moment", "error"),
    [
        (dt.datetime(1970, 1, 2), ValueError),  # noqa: DTZ001
        (math.nan, ValueError),
        ("1970-01-02", TypeError),
        (True, TypeError),
        (dt.date(1970, 1, 2), TypeError),
    ],
)
async def test_what_is_no_moment_changes_nothing(moment: Any, error: type[Exception]) -> None:
    ws, _ = await opened()
    ws.expires_at = later = time.time() + HOUR
    with pytest.raises(error):
        ws.expires_at = moment
    assert ws.expires_at == later
    await ws.close()


@pytest.mark.parametrize("path", PATHS)
async def test_the_connection_is_closed_when_the_credentials_end(path: str) -> None:
    ws, channel = await opened_over(path)
    assert ws.expires_at is None
    ws.expires_at = at = time.time() + 0.03
    assert ws.expires_at == at
    with pytest.raises(WebSocketRuntimeError):
        await soon(ws.receive_text())
    assert time.time() >= at
    await until(lambda: channel.closes)
    assert channel.closes == [(4401, "credentials expired")]
    assert (ws.close_code, ws.closed_by) == (4401, "server")


async def test_a_moment_that_is_over_ends_it_at_once() -> None:
    ws, peer = await opened()
    ws.expires_at = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    await until(lambda: peer.closes)
    assert peer.closes == [(4401, "credentials expired")]


@pytest.mark.parametrize("again", [None, HOUR])
async def test_the_moment_can_be_put_off(clock: Clock, again: float | None) -> None:
    ws, peer = await opened()
    ws.expires_at = time.time() + 0.02
    ws.expires_at = None if again is None else time.time() + again
    await asyncio.wait([asyncio.ensure_future(ws.wait_closed())], timeout=0.05)
    assert peer.closes == []
    assert len(timers()) == (again is not None)
    await ws.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        await soon(asyncio.wait([task]))


async def test_a_far_moment_comes_when_the_clock_is_set(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_LOOK_AGAIN", 0.01)
    ws, peer = await opened()
    ws.expires_at = time.time() + 1e9
    [timer] = timers()
    await until(lambda: timers() != [timer])
    assert peer.closes == []
    clock.ahead = 1e9 + 1
    await soon(ws.wait_closed())
    assert ws.close_code == 4401


async def test_a_clock_that_is_set_back_gives_the_time_again(clock: Clock) -> None:
    ws, peer = await opened()
    ws.expires_at = time.time() + 0.02
    clock.ahead = -HOUR
    [timer] = timers()
    await until(lambda: timers() != [timer])
    assert peer.closes == []
    await ws.close()


async def test_no_timer_waits_longer_than_half_a_minute() -> None:
    ws, _ = await opened()
    for moment in (time.time() + 1e12, 1e300, 10**300):
        ws.expires_at = moment
        [timer] = timers()
        assert timer.when() - asyncio.get_running_loop().time() <= 30
    await ws.close()


@pytest.mark.parametrize("path", PATHS)
async def test_what_ends_before_accept_is_told_behind_it(path: str) -> None:
    ws, channel = connecting_over(path)
    ws.expires_at = time.time()
    await until(lambda: not timers())
    await turns()
    assert channel.log == []
    await ws.accept()
    with pytest.raises(WebSocketRuntimeError):
        await ws.send_text("for somebody who may not have it")
    await until(lambda: channel.closes)
    assert channel.types == ["accept", "close"]
    assert channel.closes == [(4401, "credentials expired")]


async def test_what_was_put_off_before_accept_is_not_told_behind_it() -> None:
    ws, peer = connecting()
    ws.expires_at = time.time()
    await until(lambda: not timers())
    ws.expires_at = time.time() + HOUR
    await ws.accept()
    await turns()
    assert peer.types == ["accept"]
    await ws.close()


@pytest.mark.parametrize("end", ["close", "reject", "left", "gave up", "abort"])
async def test_the_end_of_the_connection_cancels_the_timer(end: str) -> None:
    before = end in ("reject", "gave up")
    ws, _ = connecting(D(1001), denial=True) if before else await opened(D(1001), denial=True)
    ws.expires_at = time.time() + HOUR
    assert len(timers()) == 1
    if end == "left":
        _ = await ws.receive()
    elif end == "gave up":
        _ = await ws.receive()
        _ = await ws.receive()
    else:
        await getattr(ws, end)()
    assert timers() == []
    ws.expires_at = time.time()
    assert ws.expires_at is None
    assert timers() == []


async def test_the_timer_leaves_nothing_for_the_garbage_collector() -> None:
    async def handler(ws: WebSocket) -> None:
        ws.expires_at = time.time() + HOUR
        links.append(weakref.ref(ws))
        # A loop may keep it for a while after it was cancelled.
        [timer] = timers()
        held = [each for each in gc.get_referents(timer) if isinstance(each, contextvars.Context)]
        assert list(map(len, held)) == [0]
        async with ws:
            pass

    links: list[weakref.ref[WebSocket]] = []
    # The timers of both keep the context of the handler for a while, see `call_later`.
    app = App(disconnect_grace=None, handshake_timeout=math.inf)
    app.websocket("/")(handler)
    gc.collect()
    gc.disable()
    try:
        async with connected(app) as client:
            await client.expect_close(1000)
        await turns()
        assert links[0]() is None
    finally:
        gc.enable()


async def test_a_handler_that_does_not_look_is_cancelled_after_the_grace() -> None:
    ended: list[str] = []
    app = App(disconnect_grace=0.02)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            ws.expires_at = time.time() + 0.02
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("finally")

    async with connected(app) as client:
        assert (await client.expect_close(4401)).reason == "credentials expired"
        await until(lambda: ended)


# The end of all


async def test_waiting_for_the_end_ends_with_the_connection() -> None:
    ws, peer = await opened()
    waiting = asyncio.ensure_future(ws.wait_closing())
    await turns()
    assert not waiting.done()
    peer.feed(D(1001))
    await soon(waiting)
    await soon(ws.wait_closing())


async def test_several_may_wait_for_the_end_and_be_cancelled() -> None:
    ws, _ = await opened()
    first, second = (asyncio.ensure_future(ws.wait_closing()) for _ in range(2))
    await turns()
    first.cancel()
    await soon(asyncio.wait([first]))
    assert first.cancelled()
    assert not second.done()
    await ws.close()
    await soon(second)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_waiting_for_the_end_ends_when_the_server_begins_to_stop() -> None:
    app = App(drain_timeout=2)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            await ws.send_text("here")
            await ws.wait_closing()
            assert ws.connection_state is WebSocketState.CONNECTED
            await ws.send_text("goodbye")

    async with connected(app) as client:
        assert await client.receive_text() == "here"
        await turns()
        draining = asyncio.ensure_future(app.connections.drain())
        assert await client.receive_text() == "goodbye"
        _ = await client.expect_close()
        assert await soon(draining) == []
