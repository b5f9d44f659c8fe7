"""The outgoing queue: bounded, in order, and its task lives no longer than its work."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

import pytest

from opened import TURNS, soon, turns
from telex._outbox import Outbox, OutgoingQueue, Policy
from telex.exceptions import WebSocketDisconnect


class Wire:
    """Where messages go; `gate` stops them, `errors` breaks single ones."""

    def __init__(self) -> None:
        self.out: list[str | bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.errors: dict[str | bytes, Exception] = {}
        self.overflows = 0

    async def transmit(self, data: str | bytes) -> None:
        await self.gate.wait()
        if data in self.errors:
            raise self.errors[data]
        self.out.append(data)

    def overflow(self) -> None:
        self.overflows += 1


def queue_of(wire: Wire, policy: Policy = "block", **bounds: int) -> OutgoingQueue:
    return OutgoingQueue(Outbox(policy=policy, **bounds), wire.transmit, wire.overflow)


async def in_turn(queue: OutgoingQueue, wire: Wire, data: str) -> bool:
    """Send like a sender that waits."""
    if not await queue.take_turn():
        return False
    try:
        await wire.transmit(data)
    finally:
        queue.pass_turn()
    return True


# --- bounds ---


@pytest.mark.parametrize("name", ["max_messages", "max_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None, True])
def test_a_bound_is_an_int_of_at_least_one(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Outbox(**{name: value})


def test_a_policy_has_to_be_known() -> None:
    with pytest.raises(ValueError, match="'block', 'drop_oldest', 'drop_newest', 'close'"):
        Outbox(policy="wait")  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [0, -1, math.nan])
def test_a_timeout_is_above_zero(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        Outbox(timeout=timeout)


@pytest.mark.parametrize("timeout", ["5", True, (1,)])
def test_a_timeout_is_a_number(timeout: Any) -> None:
    with pytest.raises(TypeError, match=r"^Outbox\(timeout=…\) must be a number or None, not "):
        Outbox(timeout=timeout)


@pytest.mark.parametrize("timeout", [None, math.inf, pytest.param(10**400, id="huge")])
def test_an_endless_timeout_is_none(timeout: float | None) -> None:
    assert Outbox(timeout=timeout).timeout is None


@pytest.mark.parametrize("code", [1005, 999, 5000])
def test_a_code_has_to_be_one_that_may_be_sent(code: int) -> None:
    with pytest.raises(ValueError):
        Outbox(close_code=code)


async def test_messages_go_out_in_order_and_the_task_ends() -> None:
    wire = Wire()
    queue = queue_of(wire)
    assert all(queue.offer(str(n)) for n in range(5))
    assert (queue.busy, queue.buffered) == (True, 5)
    assert await soon(queue.flush())
    await turns()
    assert wire.out == ["0", "1", "2", "3", "4"]
    assert (queue.busy, queue.buffered, queue.dropped) == (False, 0, 0)
    assert len(asyncio.all_tasks()) == 1
    assert queue.offer(b"again")
    assert await soon(queue.flush())
    assert wire.out[-1] == b"again"


@pytest.mark.parametrize("policy", ["block", "drop_newest"])
async def test_what_does_not_fit_is_refused(policy: Policy) -> None:
    wire = Wire()
    wire.gate.clear()
    queue = queue_of(wire, policy, max_messages=3)
    offered = [queue.offer(str(n)) for n in range(5)]
    assert offered == [True, True, True, False, False]
    assert queue.dropped == 2
    wire.gate.set()
    assert await soon(queue.flush())
    assert wire.out == ["0", "1", "2"]


async def test_the_oldest_makes_room() -> None:
    wire = Wire()
    wire.gate.clear()
    queue = queue_of(wire, "drop_oldest", max_messages=3)
    assert all(queue.offer(str(n)) for n in range(5))
    assert (queue.dropped, queue.buffered) == (2, 3)
    wire.gate.set()
    assert await soon(queue.flush())
    assert wire.out == ["2", "3", "4"]


async def test_a_full_queue_of_a_slow_consumer_closes_once() -> None:
    wire = Wire()
    wire.gate.clear()
    queue = queue_of(wire, "close", max_messages=2)
    assert [queue.offer(str(n)) for n in range(5)] == [True, True, False, False, False]
    assert wire.overflows == 1
    assert (queue.dropped, queue.buffered, queue.busy) == (5, 0, False)
    wire.gate.set()
    await turns()
    assert wire.out == []


async def test_bytes_are_bounded_and_a_single_giant_still_fits() -> None:
    wire = Wire()
    wire.gate.clear()
    queue = queue_of(wire, max_bytes=10)
    assert queue.offer("x" * 100)
    assert not queue.offer("y")
    await turns()
    assert queue.buffered == 0, "the giant is in the hands of the server"
    assert queue.offer(b"1234")
    assert queue.offer("123456")
    assert not queue.offer("7")
    assert (queue.buffered, queue.dropped) == (10, 2)
    wire.gate.set()
    assert await soon(queue.flush())


# --- turns ---


@pytest.mark.row("T88")
async def test_senders_that_wait_and_those_that_do_not_keep_the_order_of_their_calls() -> None:
    wire = Wire()
    wire.gate.clear()
    queue = queue_of(wire)
    tasks = []
    for n in range(0, 20, 2):
        assert queue.offer(str(n))
        tasks.append(asyncio.create_task(in_turn(queue, wire, str(n + 1))))
        await turns()
    wire.gate.set()
    assert all(await soon(asyncio.gather(*tasks)))
    await turns()
    assert wire.out == [str(n) for n in range(20)]
    assert not queue.busy


async def test_a_queue_that_is_never_empty_does_not_hold_a_sender_up_for_ever() -> None:
    wire = Wire()
    queue = queue_of(wire)

    async def refill(data: str | bytes) -> None:
        wire.out.append(data)
        queue.offer("more")
        await asyncio.sleep(0)

    queue._transmit = refill
    queue.offer("more")
    assert await soon(in_turn(queue, wire, "at last"))
    assert wire.out.count("more") <= 3
    assert await soon(queue.flush())
    await end(queue)


async def end(queue: OutgoingQueue) -> None:
    task = queue.discard()
    if task is not None:
        await asyncio.wait((task,))


async def test_senders_that_wait_are_neither_counted_nor_dropped() -> None:
    wire = Wire()
    wire.gate.clear()
    queue = queue_of(wire, "drop_oldest", max_messages=2)
    queue.offer("0")
    await turns()
    waiting = asyncio.create_task(in_turn(queue, wire, "1"))
    await turns()
    assert [queue.offer(data) for data in ("2", "3", "4")] == [True, True, True]
    assert queue.dropped == 1
    wire.gate.set()
    assert await soon(waiting)
    assert await soon(queue.flush())
    assert wire.out == ["0", "1", "3", "4"]


@pytest.mark.row("T88")
async def test_a_sender_that_is_cancelled_gives_its_place_up() -> None:
    wire = Wire()
    wire.gate.clear()
    queue = queue_of(wire)
    queue.offer("0")
    await turns()
    tasks = [asyncio.create_task(in_turn(queue, wire, str(n))) for n in range(1, 4)]
    await turns()
    tasks[1].cancel()
    await turns()
    wire.gate.set()
    await soon(asyncio.wait(tasks))
    assert wire.out == ["0", "1", "3"]
    await turns()
    assert not queue.busy


async def test_a_sender_that_is_cancelled_when_its_turn_has_come_passes_it_on() -> None:
    wire = Wire()
    queue = queue_of(wire)
    turn = asyncio.create_task(queue.take_turn())
    for _ in range(TURNS):
        await asyncio.sleep(0)
        if queue._turn is not None:
            break
    turn.cancel()
    assert await soon(in_turn(queue, wire, "next"))
    assert turn.cancelled()
    assert wire.out == ["next"]


async def test_a_message_behind_one_that_is_being_sent_waits_for_it() -> None:
    wire = Wire()
    queue = queue_of(wire)
    queue.hold()
    queue.offer("1")
    await turns()
    assert wire.out == []
    queue.pass_turn()
    assert await soon(queue.flush())
    assert wire.out == ["1"]


# --- flushing and throwing away ---


async def test_flushing_an_empty_queue_does_not_wait() -> None:
    assert await queue_of(Wire()).flush()


async def test_flushing_waits_for_what_is_in_now_and_no_longer_than_allowed() -> None:
    wire = Wire()
    wire.gate.clear()
    queue = queue_of(wire)
    queue.offer("stuck")
    assert not await soon(queue.flush(0.01))
    wire.gate.set()
    assert await soon(queue.flush())
    assert wire.out == ["stuck"]


async def test_a_flush_from_within_does_not_wait_for_itself() -> None:
    wire = Wire()
    queue = queue_of(wire)
    flushed: list[bool] = []

    async def transmit(data: str | bytes) -> None:
        flushed.append(await queue.flush())

    queue._transmit = transmit
    queue.offer("x")
    assert await soon(queue.flush())
    assert flushed == [True]


async def test_discarding_ends_the_task_and_wakes_who_waits() -> None:
    wire = Wire()
    wire.gate.clear()
    queue = queue_of(wire)
    for n in range(3):
        queue.offer(str(n))
    await turns()
    waiting = asyncio.create_task(in_turn(queue, wire, "3"))
    flushing = asyncio.create_task(queue.flush())
    await turns()
    task = queue.discard()
    assert task is not None
    await soon(asyncio.wait((task,)))
    assert await soon(waiting) is False
    assert await soon(flushing) is False
    assert (queue.buffered, queue.busy, queue.dropped) == (0, False, 2)
    assert not queue.offer("late")
    assert not await queue.take_turn()
    assert not await queue.flush()
    assert queue.discard() is None


# --- errors ---


async def test_a_message_that_cannot_be_sent_is_logged_and_the_queue_lives_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wire = Wire()
    wire.errors["bad"] = ValueError("no")
    queue = queue_of(wire)
    for data in ("good", "bad", "lost"):
        queue.offer(data)
    waiting = asyncio.create_task(in_turn(queue, wire, "waited"))
    with caplog.at_level(logging.ERROR, logger="telex"):
        assert await soon(waiting)
    assert wire.out == ["good", "waited"]
    assert queue.dropped == 2
    (record,) = caplog.records
    assert "1 more" in record.getMessage()
    assert record.exc_info is not None
    queue.offer("after")
    assert await soon(queue.flush())
    assert wire.out[-1] == "after"


async def test_a_peer_that_is_gone_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire()
    wire.errors["x"] = WebSocketDisconnect(1001)
    queue = queue_of(wire)
    with caplog.at_level(logging.INFO, logger="telex"):
        queue.offer("x")
        queue.offer("y")
        await soon(queue.flush())
    assert caplog.records == []
    assert (wire.out, queue.dropped, queue.buffered) == ([], 2, 0)


# --- the log ---


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def full(who: str, policy: Policy = "block") -> OutgoingQueue:
    wire = Wire()
    queue = OutgoingQueue(Outbox(policy=policy, max_messages=1), wire.transmit, wire.overflow, who)
    queue.hold()
    assert queue.offer("fits")
    return queue


@pytest.mark.parametrize(
    ("policy", "dropped"), [("block", 1), ("drop_oldest", 1), ("drop_newest", 1), ("close", 2)]
)
async def test_messages_that_were_not_sent_are_one_line(
    policy: Policy, dropped: int, caplog: pytest.LogCaptureFixture
) -> None:
    queue = full("'/feed' of ('127.0.0.1', 1)", policy)
    for _ in range(100):
        queue.offer("too much")
    (line,) = lines(caplog)
    assert line == (
        f"outbox full: {dropped} messages to 1 slow clients were not sent, "
        "as for '/feed' of ('127.0.0.1', 1)"
    )
    await end(queue)


async def test_all_connections_together_have_one_line_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telex._outbox.LOG_EVERY", 0.05)
    queues = [full(f"'/{n}'") for n in range(20)]
    for queue in queues:
        for _ in range(10):
            assert not queue.offer("too much")
    assert len(lines(caplog)) == 1
    told = asyncio.Event()

    def notice(record: logging.LogRecord) -> bool:
        told.set()
        return True

    monkeypatch.setattr("telex._outbox.log.filters", [notice])
    await soon(told.wait())
    assert "199 messages to 20 slow clients" in lines(caplog)[1]
    assert not queues[0].offer("too much")
    assert len(lines(caplog)) == 2
    for queue in queues:
        await end(queue)


async def test_nothing_is_said_about_clients_that_have_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = full("'/feed'")
    await end(queue)
    assert not queue.offer("late")
    assert queue.dropped == 2
    assert lines(caplog) == []
