"""Age, idleness and signs of life over plain ASGI: what is looked at from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel import FakeChannel, connecting_over
from opened import opened, turns
from peer import Peer, T
from server.transports import in_no_time
from telex import WebSocket, WebSocketHandshakeError
from telex._checks import PRECISION, Checks, asked_by_messages
from telex._limits import PING, PONG, Heartbeat
from telex._outbox import Outbox
from telex._settings import DEFAULTS, Settings
from telex._source import MAX_MESSAGES, AsgiSource
from telex.websockets import link_of

LIMIT = 8.0
LATE = LIMIT * (1 + 2 / PRECISION) + 0.1
"""When a limit of that length has certainly been noticed."""

BEAT = Heartbeat(20.0, 10.0)


def busy(seconds: float) -> None:
    """Let the event loop be late by so much."""
    asyncio.get_running_loop()._selector.now += seconds  # type: ignore[attr-defined]


def now() -> float:
    return asyncio.get_running_loop().time()


def timers() -> int:
    loop = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]


def source_of(ws: WebSocket) -> AsgiSource:
    source = link_of(ws).inbox.source
    assert isinstance(source, AsgiSource)
    return source


@contextlib.asynccontextmanager
async def checked(settings: Settings) -> AsyncIterator[tuple[WebSocket, Peer]]:
    """An open connection that is looked at, and after which nothing is left."""
    before = timers()
    ws, peer = await opened()
    checks = Checks(ws, settings)
    yield ws, peer
    checks.end()
    await link_of(ws).finish()
    await asyncio.sleep(2 * LIMIT)
    assert timers() == before


async def pinged(peer: Peer, amount: int = 1) -> None:
    """Wait until so many messages were sent."""
    for _ in range(10_000):
        if len(peer.data) >= amount:
            return
        await asyncio.sleep(0.1)
    pytest.fail("no ping came")


def settings_with(**changes: object) -> Settings:
    return replace(DEFAULTS, **changes)  # type: ignore[arg-type]


# Age and idleness


@in_no_time
async def test_an_old_connection_is_closed_with_1012() -> None:
    async with checked(settings_with(max_age=LIMIT)) as (ws, peer):
        began = now()
        await ws.wait_closed()
        assert 0.9 * LIMIT <= now() - began <= LIMIT + 0.1
        await turns()
        assert peer.closes == [(1012, "connected for too long")]


@in_no_time
async def test_ages_differ_so_that_not_all_clients_come_back_at_once() -> None:
    ages = []
    for _ in range(12):
        async with checked(settings_with(max_age=LIMIT)) as (ws, _):
            began = now()
            await ws.wait_closed()
            ages.append(now() - began)
    assert len({round(age, 3) for age in ages}) > 6
    assert max(ages) - min(ages) > LIMIT / 50


@in_no_time
async def test_talking_keeps_nobody_young() -> None:
    async with checked(settings_with(max_age=LIMIT, idle_timeout=LIMIT)) as (ws, peer):
        for _ in range(20):
            peer.feed(T("hello"))
            if ws.connection_state == 1:
                await ws.receive_text()
            await asyncio.sleep(LIMIT / 10)
        assert peer.closes == [(1012, "connected for too long")]


@in_no_time
async def test_a_silent_connection_is_closed_with_3008() -> None:
    async with checked(settings_with(idle_timeout=LIMIT)) as (ws, peer):
        began = now()
        await ws.wait_closed()
        assert LIMIT <= now() - began <= LATE
        await turns()
        assert peer.closes == [(3008, "idle for too long")]


@pytest.mark.parametrize("way", ["in", "out"])
def test_messages_either_way_keep_it_open(way: str) -> None:
    @in_no_time
    async def check() -> None:
        async with checked(settings_with(idle_timeout=LIMIT)) as (ws, peer):
            for _ in range(10):
                await asyncio.sleep(0.7 * LIMIT)
                if way == "out":
                    await ws.send_text("hello")
                else:
                    peer.feed(T("hello"))
                    await ws.receive_text()
            assert peer.closes == []
            await asyncio.sleep(LATE)
            assert [code for code, _ in peer.closes] == [3008]

    check()


@in_no_time
async def test_pings_of_ours_and_their_answers_are_no_messages() -> None:
    beat = Heartbeat(LIMIT / 4, LIMIT / 4)
    async with checked(settings_with(idle_timeout=LIMIT, heartbeat=beat)) as (_, peer):
        began, answered = now(), 0
        while not peer.closes:
            assert now() - began < 2 * LATE
            if peer.data.count(PING) > answered:
                answered += 1
                peer.feed(T(PONG))
            await asyncio.sleep(LIMIT / 50)
        assert answered >= 2
        assert peer.closes == [(3008, "idle for too long")]


# The heartbeat


@in_no_time
async def test_a_silent_client_is_pinged_and_then_closed_with_1011() -> None:
    async with checked(settings_with(heartbeat=BEAT)) as (ws, peer):
        began = now()
        await pinged(peer)
        assert 20 - 0.5 <= now() - began <= 20 + 2.5
        asked = now()
        await ws.wait_closed()
        assert 10 - 0.5 <= now() - asked <= 10 + 2.5
        await turns()
        assert peer.data == [PING]
        assert peer.closes == [(1011, "heartbeat timeout")]


@given(answers=st.lists(st.floats(0.0, 9.0), min_size=1, max_size=5), kind=st.sampled_from("pm"))
def test_any_message_in_time_is_a_sign_of_life(answers: list[float], kind: str) -> None:
    @in_no_time
    async def check() -> None:
        async with checked(settings_with(heartbeat=BEAT)) as (ws, peer):
            for count, delay in enumerate(answers):
                await pinged(peer, count + 1)
                await asyncio.sleep(delay)
                peer.feed(T(PONG if kind == "p" else "something else"))
                await turns()
                assert source_of(ws).latency == pytest.approx(delay, abs=0.2)
            assert peer.closes == []
            assert peer.data == [PING] * len(answers)
            assert source_of(ws).pending == (0 if kind == "p" else len(answers))

    check()


async def slow() -> tuple[WebSocket, FakeChannel]:
    """A connection whose client takes nothing."""
    ws, channel = connecting_over("asgi")
    await ws.accept()
    channel.block()
    return ws, channel


async def tick(ws: WebSocket) -> None:
    """Send for ever."""
    with contextlib.suppress(WebSocketHandshakeError):
        while True:
            await ws.send_text("tick")
            await asyncio.sleep(0)


async def take(channel: FakeChannel) -> None:
    """Let the client take a little."""
    channel.unblock()
    await turns(3)
    channel.block()


@in_no_time
async def test_a_client_that_takes_what_waits_is_asked_again_as_long_as_it_does() -> None:
    ws, channel = await slow()
    checks = Checks(ws, settings_with(heartbeat=BEAT, outbox=Outbox(timeout=None)))
    sending = asyncio.create_task(tick(ws))
    for _ in range(60):
        await asyncio.sleep(5.0)
        await take(channel)
    assert ws.close_code is None
    assert channel.data.count(PING) >= 9
    stopped = now()
    while ws.close_code is None:
        await asyncio.sleep(1.0)
        assert now() - stopped <= 20 + 2 * 10 + 5
    assert (ws.close_code, ws.close_reason) == (1011, "heartbeat timeout")
    channel.unblock()
    await sending
    checks.end()
    await link_of(ws).finish()


@in_no_time
async def test_a_client_that_never_takes_anything_is_closed_in_time() -> None:
    ws, channel = await slow()
    checks = Checks(ws, settings_with(heartbeat=BEAT, outbox=Outbox(timeout=None)))
    sending = asyncio.create_task(tick(ws))
    began = now()
    await ws.wait_closed()
    assert now() - began <= 20 + 10 + 5
    channel.unblock()
    await sending
    checks.end()
    await link_of(ws).finish()


@in_no_time
async def test_what_need_not_wait_is_no_sign_of_life() -> None:
    async with checked(settings_with(heartbeat=BEAT)) as (ws, peer):
        began = now()
        while not peer.closes:
            assert now() - began <= 20 + 10 + 5
            if ws.connection_state == 1:
                await ws.send_text("tick")
            await asyncio.sleep(0.5)
        assert peer.data.count(PING) == 1
        assert peer.closes == [(1011, "heartbeat timeout")]


@in_no_time
async def test_the_first_ping_that_is_answered_tells_the_latency() -> None:
    ws, channel = await slow()
    checks = Checks(ws, settings_with(heartbeat=BEAT, outbox=Outbox(timeout=None)))
    sending = asyncio.create_task(tick(ws))
    began = now()
    while channel.data.count(PING) < 2:
        await asyncio.sleep(1.0)
        await take(channel)
        assert now() - began < 100
    channel.feed(T(PONG))
    await turns()
    latency = source_of(ws).latency
    assert latency is not None
    assert latency >= 30 - 3
    channel.drop()
    channel.unblock()
    await sending
    checks.end()
    await link_of(ws).finish()


@in_no_time
async def test_who_talks_is_not_asked() -> None:
    async with checked(settings_with(heartbeat=BEAT)) as (ws, peer):
        source_of(ws).start()
        for _ in range(20):
            peer.feed(T("hello"))
            await ws.receive_text()
            await asyncio.sleep(15.0)
        assert peer.data == []
        assert source_of(ws).latency is None


@in_no_time
async def test_answers_are_for_nobody_else_but_no_more_of_them_than_were_asked_for() -> None:
    async with checked(settings_with(heartbeat=BEAT)) as (ws, peer):
        peer.feed(T(PONG))
        assert await ws.receive_text() == PONG, "it was not asked for"
        await pinged(peer)
        peer.feed(T(PONG), T(PONG), T("hello"))
        assert [await ws.receive_text() for _ in range(2)] == [PONG, "hello"]


@in_no_time
async def test_an_answer_that_comes_late_is_swallowed_all_the_same() -> None:
    async with checked(settings_with(heartbeat=BEAT)) as (ws, peer):
        await pinged(peer)
        peer.feed(T("first"))
        await asyncio.sleep(15.0)
        peer.feed(T(PONG), T("second"))
        assert [await ws.receive_text() for _ in range(2)] == ["first", "second"]


@in_no_time
async def test_without_a_pong_handlers_see_every_answer() -> None:
    beat = Heartbeat(20, 10, ping="are you there?", pong=None)
    async with checked(settings_with(heartbeat=beat)) as (ws, peer):
        await pinged(peer)
        assert peer.data == ["are you there?"]
        peer.feed(T(PONG))
        assert await ws.receive_text() == PONG


@in_no_time
async def test_a_connection_that_is_not_read_yet_is_not_read_before_the_first_ping() -> None:
    async with checked(settings_with(heartbeat=BEAT)) as (_, peer):
        await asyncio.sleep(15.0)
        assert peer.reads == 1
        peer.feed(T("hello"))
        await asyncio.sleep(10.0)
        assert peer.reads == 2


@in_no_time
async def test_a_client_behind_what_nobody_reads_is_not_judged() -> None:
    async with checked(settings_with(heartbeat=BEAT)) as (ws, peer):
        source_of(ws).start()
        peer.feed(*(T(str(n)) for n in range(MAX_MESSAGES + 5)))
        await asyncio.sleep(300.0)
        assert source_of(ws).full
        assert (peer.data, peer.closes) == ([], [])
        for _ in range(MAX_MESSAGES + 5):
            await ws.receive_text()
        await asyncio.sleep(50.0)
        assert [code for code, _ in peer.closes] == [1011]


@in_no_time
async def test_whoever_reads_past_us_is_not_judged_either() -> None:
    async with checked(settings_with(heartbeat=BEAT)) as (ws, peer):
        receive = ws.asgi_receive
        peer.feed(T("for the handler"))
        await asyncio.sleep(100.0)
        assert peer.reads == 1
        assert (await receive())["text"] == "for the handler"
        assert (peer.data, peer.closes) == ([], [])


@given(seconds=st.floats(0, 500), moment=st.floats(0, 9))
def test_a_loop_that_is_late_kills_nobody(seconds: float, moment: float) -> None:
    @in_no_time
    async def check() -> None:
        async with checked(settings_with(heartbeat=BEAT)) as (_, peer):
            await pinged(peer)
            await asyncio.sleep(moment)
            busy(seconds)
            # What was late comes first, and the answer is read after it.
            await turns(4)
            assert peer.closes == []
            peer.feed(T(PONG))
            await asyncio.sleep(11.0)
            assert peer.closes == []

    check()


@in_no_time
async def test_a_ping_that_there_is_no_room_for_is_sent_later() -> None:
    async with checked(settings_with(heartbeat=BEAT)) as (ws, peer):
        refused = True
        send_nowait = ws.send_nowait
        ws.send_nowait = lambda data: not refused and send_nowait(data)  # type: ignore[method-assign]
        await asyncio.sleep(100.0)
        assert (peer.data, peer.closes) == ([], [])
        refused = False
        await asyncio.sleep(5.0)
        assert peer.data == [PING]


@in_no_time
async def test_one_that_is_over_is_looked_at_no_more() -> None:
    before = timers()
    ws, peer = await opened()
    checks = Checks(ws, settings_with(heartbeat=BEAT, max_age=50.0))
    await ws.close(4000)
    await asyncio.sleep(200.0)
    assert peer.closes == [(4000, "")]
    assert timers() == before
    checks.end()


# Who is asked


def test_nothing_is_looked_at_where_nothing_is_asked_for() -> None:
    assert not DEFAULTS.has_checks
    assert settings_with(max_age=1.0).has_checks
    assert settings_with(idle_timeout=1.0).has_checks
    assert settings_with(heartbeat=BEAT).has_checks


@pytest.mark.parametrize("beat", [Heartbeat(math.inf, 1), Heartbeat(1, 1, ping=None), None])
def test_nobody_is_asked_without_a_message(beat: Heartbeat | None) -> None:
    @in_no_time
    async def check() -> None:
        async with checked(settings_with(heartbeat=beat)) as (_, peer):
            await asyncio.sleep(100.0)
            assert peer.types == ["accept"]

    check()


async def test_a_stream_of_events_cannot_answer() -> None:
    ws, _ = await opened(method="GET")
    assert asked_by_messages(ws, BEAT) is None


@pytest.mark.parametrize("path", ["frames", "wrapped send", "wrapped receive", "wrapped both"])
async def test_the_frame_channel_has_pings_of_its_own(path: str) -> None:
    ws, _ = connecting_over(path)
    assert asked_by_messages(ws, BEAT) is None


async def test_plain_asgi_has_none() -> None:
    ws, _ = connecting_over("asgi")
    assert asked_by_messages(ws, BEAT) is BEAT
    assert asked_by_messages(ws, None) is None
