"""The open connections of an application: found and closed by label, all ended by the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.middleware import Middleware

from channel import FakeChannel, triple_over
from lifespans import LifespanServer
from opened import until
from peer import D, T
from server.transports import QuickLoop, in_no_time
from telex import App, SocketView, WebSocket, websocket
from telex._draining import Draining
from telex._types import ASGIApp, Message, Receive, Scope, Send
from telex.testing import AsyncTestClient

PATHS = ("asgi", "frames")

Handler = Callable[[WebSocket], Awaitable[None]]


class Site:
    """An application with connections over one of the paths.

    Paths of URLs are habits: `/listens`, `/waits`, `/tidies`, `/hesitates`, `/stubborn`, `/hears`.
    """

    def __init__(self, path: str = "frames", **options: Any) -> None:
        self.path = path
        self.app = App(**{"drain_timeout": 10.0, "disconnect_grace": 2.0, **options})
        self.notes: list[str] = []
        self.release = asyncio.Event()
        habits = (self.listens, self.waits, self.tidies, self.hesitates, self.stubborn, self.hears)
        for habit in habits:
            self.app.websocket(f"/{habit.__name__}")(habit)

    @property
    def connections(self) -> Any:
        return self.app.connections

    async def connect(self, habit: str, **labels: Any) -> tuple[FakeChannel, asyncio.Task[None]]:
        """Return the peer of a new connection, and the task of its handler."""
        channel = FakeChannel()
        scope, receive, send = triple_over(self.path, channel, state={"labels": labels})
        scope["path"] = f"/{habit}"
        scope["extensions"] = {**scope["extensions"], "websocket.http.response": {}}
        task = asyncio.ensure_future(self._serve(scope, receive, send))
        for _ in range(20):
            await asyncio.sleep(0)
        return channel, task

    async def _serve(self, *triple: Any) -> None:
        await self.app(*triple)

    async def listens(self, ws: WebSocket) -> None:
        await ws.accept()
        ws.label(**ws.scope["state"]["labels"])
        async for message in ws:
            await ws.send_text(str(message))

    async def waits(self, ws: WebSocket) -> None:
        ws.add_cleanup(self.clean_up)
        await ws.accept()
        ws.label(**ws.scope["state"]["labels"])
        try:
            await asyncio.Event().wait()
        finally:
            self.notes.append("left")

    async def tidies(self, ws: WebSocket) -> None:
        await ws.accept()
        try:
            await asyncio.Event().wait()
        finally:
            self.notes.append("left")
            await self.clean_up()

    async def clean_up(self) -> None:
        await asyncio.sleep(1)
        self.notes.append("cleaned up")

    async def hesitates(self, ws: WebSocket) -> None:
        ws.label(**ws.scope["state"]["labels"])
        await asyncio.Event().wait()

    async def stubborn(self, ws: WebSocket) -> None:
        await ws.accept()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.notes.append("cancelled")

    async def hears(self, ws: WebSocket) -> None:
        await ws.accept()
        await ws.wait_closing()
        self.notes.append(f"heard, draining is {self.app.draining}")
        await ws.send_text("goodbye")
        await ws.close(1001)


async def gone(*tasks: asyncio.Task[Any]) -> None:
    _, left = await asyncio.wait(tasks, timeout=60)
    assert not left
    for task in tasks:
        if not task.cancelled():
            task.result()


def now() -> float:
    return asyncio.get_running_loop().time()


# --- finding ---


@pytest.mark.parametrize("path", PATHS)
def test_a_connection_is_there_from_the_handshake_until_its_handler_has_ended(path: str) -> None:
    @in_no_time
    async def check() -> None:
        site = Site(path)
        assert (len(site.connections), bool(site.connections)) == (0, True)
        first, served = await site.connect("listens")
        _, hesitating = await site.connect("hesitates")
        assert [ws.path for ws in site.connections] == ["/listens", "/hesitates"]
        assert all(isinstance(ws, WebSocket) for ws in site.connections)
        first.feed(D(1001))
        await gone(served)
        assert [ws.path for ws in site.connections.find()] == ["/hesitates"]
        hesitating.cancel()
        await gone(hesitating)
        assert len(site.connections) == 0

    check()


@in_no_time
async def test_connections_are_found_by_all_of_the_labels() -> None:
    site = Site()
    ada = [await site.connect("listens", user="ada", session=n) for n in range(3)]
    bob = await site.connect("listens", user="bob", session=1)

    def found(**labels: Any) -> list[Any]:
        return sorted(ws.labels["session"] for ws in site.connections.find(**labels))

    assert found(user="ada") == [0, 1, 2]
    assert found(session=1) == [1, 1]
    assert found(user="bob", session=1) == [1]
    assert found(user="bob", session=2) == found(user="eve") == found(team="x") == []
    assert len(site.connections.find()) == 4
    (ws,) = site.connections.find(user="ada", session=2)
    ws.label(user="bob", session=None)
    assert ws.labels == {"user": "bob"}
    bobs = [each.labels for each in site.connections.find(user="bob")]
    assert sorted(bobs, key=len) == [{"user": "bob"}, {"user": "bob", "session": 1}]
    assert len(site.connections.find(user="ada")) == 2
    assert await site.connections.close() == 4
    await gone(*(task for _, task in ada), bob[1])
    # Nothing is left of those that are gone.
    assert ws.labels == {}
    ws.label(user="late")
    assert site.connections.find(user="late") == []
    assert site.connections._labelled == {}


# --- closing ---


@pytest.mark.parametrize("path", PATHS)
def test_those_with_a_label_are_closed_and_the_others_go_on(path: str) -> None:
    @in_no_time
    async def check() -> None:
        site = Site(path)
        seven, served = await site.connect("listens", user="7")
        asking, asked = await site.connect("hesitates", user="7")
        other, serving = await site.connect("listens", user="8")
        begin = now()
        assert await site.connections.close(user="7", code=4401, reason="revoked") == 2
        # It does wait for the handlers: one that does not listen is cancelled.
        assert now() - begin == pytest.approx(2.0, abs=0.1)
        assert seven.closes == [(4401, "revoked")]
        (start,) = [m for m in asking.log if m["type"] == "websocket.http.response.start"]
        assert start["status"] == 403
        await gone(served, asked)
        assert await site.connections.close(user="7") == 0
        other.feed(T("hello"))
        await asyncio.sleep(0.1)
        other.feed(D(1000))
        await gone(serving)
        assert (other.data, other.closes) == (["hello"], [])

    check()


@in_no_time
async def test_a_code_that_may_not_be_sent_closes_nothing() -> None:
    site = Site()
    channel, served = await site.connect("listens")
    for code in (1005, 999, 5000):
        with pytest.raises(ValueError, match=str(code)):
            await site.connections.close(code=code)
    channel.feed(D(1000))
    await gone(served)
    assert channel.closes == []


@in_no_time
async def test_a_handler_that_closes_all_does_not_wait_for_itself() -> None:
    site = Site()
    counts: list[int] = []

    @site.app.websocket("/revokes")
    async def revokes(ws: WebSocket) -> None:
        await ws.accept()
        counts.append(await site.connections.close(code=4401))

    other, served = await site.connect("listens")
    begin = now()
    channel, revoking = await site.connect("revokes")
    await gone(served, revoking)
    assert now() - begin < 1
    assert counts == [2]
    assert other.closes == channel.closes == [(4401, "")]


@in_no_time
async def test_who_closes_waits_no_longer_than_the_time_to_stop() -> None:
    site = Site(drain_timeout=3.0)
    _, stubborn = await site.connect("stubborn")
    begin = now()
    assert await site.connections.close() == 1
    assert now() - begin == pytest.approx(3.0)
    # It is being closed: once is enough.
    assert await site.connections.close() == 0
    site.release.set()
    await gone(stubborn)


# --- the end of all ---


@pytest.mark.parametrize("path", PATHS)
def test_all_are_told_to_come_back_and_new_ones_to_come_later(path: str) -> None:
    @in_no_time
    async def check() -> None:
        site = Site(path)
        ended: list[int] = []

        @site.app.websocket("/view")
        class View(SocketView):
            async def on_disconnect(self, close_code: int) -> None:
                ended.append(close_code)
                assert websocket.path == "/view"

        open_ones = [await site.connect(habit) for habit in ("listens", "waits", "view")]
        asking, asked = await site.connect("hesitates")
        assert not site.app.draining
        draining = asyncio.ensure_future(site.connections.drain())
        await asyncio.sleep(0.1)
        assert site.app.draining
        late, refused = await site.connect("listens")
        await gone(refused)
        assert await draining == []
        assert len(site.connections) == 0
        for channel in (late, asking):
            assert channel.log[0]["status"] == 503
        for channel, _ in open_ones:
            assert channel.closes == [(1012, "")]
        assert ended == [1012]
        # What follows the handlers is waited for by the server, as part of their tasks.
        await gone(asked, *(task for _, task in open_ones))
        assert sorted(site.notes) == ["cleaned up", "left"]

    check()


@in_no_time
async def test_many_are_closed_a_few_at_a_time_within_half_of_the_time() -> None:
    site = Site(drain_timeout=20.0)
    crowd = [await site.connect("listens") for _ in range(420)]
    begin = now()
    moments: list[float] = []
    for _, task in crowd:
        task.add_done_callback(lambda _: moments.append(now() - begin))
    assert await site.connections.drain() == []
    await gone(*(task for _, task in crowd))
    assert all(channel.closes == [(1012, "")] for channel, _ in crowd)
    groups = sorted({*moments})
    assert len(groups) == 9
    assert max(moments.count(moment) for moment in groups) == 50
    assert groups[0] == 0
    assert groups[-1] <= 10
    pause = 10 * 50 / 420
    for number, moment in enumerate(groups[1:], 1):
        assert (number - 1) * pause <= moment <= number * pause
    # Not in time with other workers.
    assert len({round(moment % pause, 6) for moment in groups[1:]}) > 4


@pytest.mark.parametrize(("own", "given", "time"), [(10.0, 60.0, 10.0), (10.0, 4.0, 4.0)])
def test_handlers_that_go_on_are_cancelled_and_their_cleanups_awaited(
    own: float, given: float, time: float
) -> None:
    @in_no_time
    async def check() -> None:
        site = Site(drain_timeout=own, disconnect_grace=None)
        channel, task = await site.connect("tidies")
        begin = now()
        assert await site.connections.drain(given) == []
        assert now() - begin == pytest.approx(time + 1)
        assert channel.closes == [(1012, "")]
        assert task.cancelled()
        assert site.notes == ["left", "cleaned up"]

    check()


@in_no_time
async def test_a_handler_that_will_not_go_is_named_and_returned() -> None:
    site = Site()
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("telex").addHandler(handler)
    try:
        _, task = await site.connect("stubborn")
        begin = now()
        assert await site.connections.drain(cleanup_timeout=3.0) == [task]
        assert now() - begin == pytest.approx(10 + 3 + 1)
    finally:
        logging.getLogger("telex").removeHandler(handler)
    assert logged[-1] == "the handler of '/stubborn' goes on although it was cancelled"
    site.release.set()
    await gone(task)


@in_no_time
async def test_a_handler_that_ignores_it_once_is_cancelled_again() -> None:
    site = Site(disconnect_grace=None)

    @site.app.websocket("/deaf")
    async def deaf(ws: WebSocket) -> None:
        await ws.accept()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    _, task = await site.connect("deaf")
    begin = now()
    assert await site.connections.drain() == []
    assert now() - begin == pytest.approx(10 + 10)
    assert task.cancelled()


@in_no_time
async def test_those_who_wait_for_it_hear_of_it_before_they_are_closed() -> None:
    site = Site()
    hearing, heard = await site.connect("hears")
    listening, listened = await site.connect("listens")
    begin = now()
    assert await site.connections.drain() == []
    assert now() - begin == pytest.approx(1.0, abs=0.1)
    assert site.notes == ["heard, draining is True"]
    assert (hearing.data, hearing.closes) == (["goodbye"], [(1001, "")])
    assert listening.closes == [(1012, "")]
    await gone(heard, listened)


@in_no_time
async def test_several_may_wait_and_one_that_is_cancelled_harms_nobody() -> None:
    site = Site()
    waiting = [asyncio.ensure_future(site.connections.wait_closing()) for _ in range(3)]
    await asyncio.sleep(1)
    waiting[1].cancel()
    await asyncio.sleep(1)
    assert [each.done() for each in waiting] == [False, True, False]
    await site.connections.drain()
    await gone(*waiting)
    assert waiting[1].cancelled()
    # And who comes late does not wait at all.
    await site.connections.wait_closing()


@in_no_time
async def test_another_server_may_serve_the_application_afterwards() -> None:
    site = Site()
    await site.connections.drain()
    assert site.app.draining
    site.connections.drained()
    assert not site.app.draining
    channel, task = await site.connect("listens")
    channel.feed(T("hello"))
    await asyncio.sleep(0.1)
    channel.feed(D(1000))
    await gone(task)
    assert channel.data == ["hello"]


def test_another_event_loop_may_too() -> None:
    """As when a server of tests is entered again."""
    site = Site(drain_timeout=1.0, disconnect_grace=None)

    async def serve() -> None:
        channel, task = await site.connect("waits")
        assert await site.connections.drain() == []
        site.connections.drained()
        await gone(task)
        assert channel.closes == [(1012, "")]

    for _ in range(2):
        in_no_time(serve)()


class OneServer:
    """One of several servers of a site, on the event loop of the others."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._draining = Draining()
        self._may_stop = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        self._draining.begin()
        self.hearing, _ = await self._site.connect("hears")
        self.waiting, self.waited = await self._site.connect("waits")
        await self._may_stop.wait()
        assert await self._draining.drain_all(math.inf, 3.0) == set()
        late, refused = await self._site.connect("waits")
        await gone(refused)
        assert late.log[0]["status"] == 503
        self._draining.end()

    async def stop(self) -> None:
        self._may_stop.set()
        await gone(self._task)


@in_no_time
async def test_of_two_servers_each_ends_its_own_connections_and_refuses_new_ones() -> None:
    site = Site(disconnect_grace=None)
    first, second = OneServer(site), OneServer(site)
    await asyncio.sleep(1)
    for ended, left in ((first, 2), (second, 0)):
        assert (second.hearing.data, second.waiting.closes) == ([], [])
        assert not second.waited.done()
        await ended.stop()
        await gone(ended.waited)
        assert (ended.hearing.data, ended.waiting.closes) == (["goodbye"], [(1012, "")])
        assert len(site.connections) == left
        assert not site.app.draining


@in_no_time
async def test_the_lifespan_knows_nothing_of_it() -> None:
    """Other servers begin with that; connections are over then."""
    site = Site()
    lifespan = LifespanServer(site.app)
    assert await lifespan.startup() == "startup.complete"
    assert await lifespan.shutdown() == "shutdown.complete"
    assert not site.app.draining
    assert isinstance(asyncio.get_running_loop(), QuickLoop)


async def test_a_handler_that_ends_by_itself_when_the_server_stops_says_that_it_does() -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.wait_closing()
        await ws.send_text("bye")

    async with AsyncTestClient(app) as client, client.websocket("/") as ws:
        await until(lambda: bool(app.connections._closing))
        stopping = asyncio.create_task(app.connections.drain())
        assert await ws.receive_text() == "bye"
        assert (await ws.expect_close()).code == 1012
        assert await stopping == []
    assert app.draining


@in_no_time
async def test_a_connection_counts_until_its_cleanups_have_ended_whoever_closes_it() -> None:
    site = Site(max_connections=1)

    async def listens_and_cleans_up(ws: WebSocket) -> None:
        ws.add_cleanup(site.clean_up)
        await site.listens(ws)

    site.app.websocket("/cleans")(listens_and_cleans_up)
    channel, task = await site.connect("cleans")
    closing = asyncio.ensure_future(site.connections.close())
    await until(lambda: channel.closes)
    late, refused = await site.connect("cleans")
    await gone(refused)
    assert late.log[0]["status"] == 503
    assert (len(site.connections), site.notes) == (1, [])
    assert await closing == 1
    assert (len(site.connections), site.notes) == (0, ["cleaned up"])
    await gone(task)


@in_no_time
async def test_who_is_cancelled_meanwhile_waits_for_the_cleanups_too() -> None:
    site = Site()
    channel, task = await site.connect("waits")
    site.app.connections.find()[0].add_cleanup(site.clean_up)
    closing = asyncio.ensure_future(site.connections.close())
    await until(lambda: channel.closes)
    task.cancel()
    await gone(task)
    assert site.notes.count("cleaned up") == 2
    await closing


@pytest.mark.parametrize("path", PATHS)
@in_no_time
async def test_labels_are_of_the_connection_whichever_face_sets_them(path: str) -> None:
    """Around a route there may be a middleware that wraps `send`; then it has a face of its own."""
    outer: list[WebSocket] = []

    class Labels:
        async def on_handshake(self, ws: WebSocket) -> None:
            outer.append(ws)
            ws.label(user="0")

    class Wraps:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def wrapped(message: Message) -> None:
                await send(message)

            await self.app(scope, receive, wrapped)

    site = Site(path, connection_middleware=[Labels()])
    site.app.websocket("/wrapped", name="wrapped", middleware=[Middleware(Wraps)])(site.listens)
    channel, task = await site.connect("wrapped")
    outer[0].label(user="7")
    assert len(site.connections.find(user="7")) == 1
    assert site.connections.find(user="0") == []
    assert await site.connections.close(user="7", code=4401) == 1
    assert channel.closes == [(4401, "")]
    await gone(task)
    assert await site.connections.close(user="0") == 0
    assert not site.connections._labelled
