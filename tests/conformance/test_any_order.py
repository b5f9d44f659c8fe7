"""Any order of calls and events ends in a legal state: one close, every cleanup, no loss."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from channel import PATHS, FakeChannel, triple_over
from peer import DEADLINE, D, T
from telex import WebSocket, WebSocketState
from telex._types import Message, Receive, Send
from telex.exceptions import WebSocketError
from telex.websockets import link_of

LEGAL = re.compile(
    r"(accept (send )*(close )?|close |http\.response\.start (http\.response\.body )*)?"
)
SETTLE = 12
"""Turns of the loop after which everything that can happen has happened."""


class World:
    """One connection, the tasks that use it, and what they saw."""

    def __init__(self, path: str, *, denial: bool) -> None:
        self.fed = 0
        self.client_left = False
        self.seen: list[str | bytes] = []
        self.cleaned: list[int] = []
        self.registered = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.sends_fail = False
        self.peer = FakeChannel()
        scope, receive, send = triple_over(path, self.peer, denial=denial)
        if path == "asgi":
            receive, send = self._take_then_wait(receive), self._fail_on_demand(send)
        self.ws = WebSocket(scope, receive, send)

    def _take_then_wait(self, receive: Receive) -> Receive:
        """Take the message first, then wait: what a careless cancellation would lose."""

        async def careless() -> Message:
            message = await receive()
            await asyncio.sleep(0)
            return message

        return careless

    def _fail_on_demand(self, send: Send) -> Send:
        async def failing(message: Message) -> None:
            if self.sends_fail:
                raise OSError("gone")
            await send(message)

        return failing

    def feed(self, amount: int) -> None:
        if not self.client_left:
            for _ in range(amount):
                self.peer.feed(T(str(self.fed)))
                self.fed += 1

    def leave(self, code: int) -> None:
        if not self.client_left:
            self.client_left = True
            self.peer.feed(D(code))

    def break_sends(self) -> None:
        self.sends_fail = True

    def spawn(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        async def quietly() -> None:
            with suppress(WebSocketError):
                await work(*args)

        self.tasks.append(asyncio.create_task(quietly()))

    async def read_one(self) -> None:
        self.seen.append(await self.ws.receive_text())

    async def read_raw(self) -> None:
        after_our_close = self.ws.closed_by == "server"
        message = await self.ws.receive()
        if message["type"] == "websocket.receive" and not after_our_close:
            self.seen.append(message["text"])

    async def read_all(self) -> None:
        async for message in self.ws:
            self.seen.append(message)

    def add_cleanup(self, *, slow: bool) -> None:
        number = self.registered
        self.registered += 1

        async def clean_slowly() -> None:
            await asyncio.sleep(0)
            self.cleaned.append(number)
            await self.ws.close()

        self.ws.add_cleanup(clean_slowly if slow else lambda: self.cleaned.append(number))

    def cancel(self, which: int) -> None:
        if self.tasks:
            self.tasks[which % len(self.tasks)].cancel()


class Step:
    """One thing that happens, with a name that a failing example can show."""

    def __init__(self, name: str, act: Callable[[World], object]) -> None:
        self.name = name
        self.act = act

    def __repr__(self) -> str:
        return self.name


def feeds(amount: int) -> Step:
    return Step(f"feed {amount}", lambda world: world.feed(amount))


def leaves(code: int) -> Step:
    return Step(f"leave {code}", lambda world: world.leave(code))


def cleans(slow: bool) -> Step:
    return Step(f"add_cleanup {slow=}", lambda world: world.add_cleanup(slow=slow))


def cancels(which: int) -> Step:
    return Step(f"cancel {which}", lambda world: world.cancel(which))


def calls(name: str, *args: object) -> Step:
    def act(world: World) -> None:
        method: Callable[..., Awaitable[object]] = getattr(world.ws, name)
        world.spawn(method, *args)

    return Step(f"{name}{args}", act)


def send_nowait(world: World) -> None:
    with suppress(WebSocketError):
        world.ws.send_nowait("queued")


STEPS: dict[str, st.SearchStrategy[Step]] = {
    "events": st.one_of(
        st.integers(1, 40).map(feeds),
        st.sampled_from([1000, 1001, 1005, 4000]).map(leaves),
        st.just(Step("sends fail", World.break_sends)),
    ),
    "reads": st.one_of(
        st.just(Step("read one", lambda world: world.spawn(world.read_one))),
        st.just(Step("read all", lambda world: world.spawn(world.read_all))),
        st.just(Step("read raw", lambda world: world.spawn(world.read_raw))),
    ),
    "calls": st.sampled_from(
        [
            calls("accept"),
            calls("accept"),
            calls("send_text", "hello"),
            calls("close"),
            calls("close", 4001, "bye"),
            calls("reject", 401),
            calls("is_disconnected"),
            calls("wait_closed"),
            calls("abort"),
            calls("send", {"type": "websocket.close", "code": 4002, "reason": ""}),
            calls("send", {"type": "websocket.send", "text": "raw"}),
            Step("send_nowait", send_nowait),
        ]
    ),
    "rest": st.one_of(
        st.booleans().map(cleans),
        st.integers(0, 30).map(cancels),
    ),
}

PROGRAM = st.lists(st.tuples(st.one_of(*STEPS.values()), st.integers(0, 3)), max_size=25)


async def turns(amount: int) -> None:
    for _ in range(amount):
        await asyncio.sleep(0)


async def play(program: list[tuple[Step, int]], path: str, *, denial: bool) -> None:
    async with asyncio.timeout(DEADLINE):
        await _play(World(path, denial=denial), program)


async def _play(world: World, program: list[tuple[Step, int]]) -> None:
    for step, pause in program:
        step.act(world)
        await turns(pause)
    ended_before = world.ws.connection_state is WebSocketState.DISCONNECTED
    world.leave(1001)
    if not ended_before and world.ws.connection_state is WebSocketState.CONNECTED:
        world.spawn(world.read_all)
    for _ in range(SETTLE):
        await turns(SETTLE)
        if all(task.done() for task in world.tasks):
            break
        if world.ws.connection_state is WebSocketState.CONNECTING:
            await world.ws.close()
    await world.ws.close()
    await link_of(world.ws).finish()
    await asyncio.gather(*world.tasks, return_exceptions=True)
    check(world)


def check(world: World) -> None:
    trace = " ".join([*world.peer.types, ""])
    assert LEGAL.fullmatch(trace), trace
    assert world.ws.connection_state is WebSocketState.DISCONNECTED
    assert world.ws.closed_by in ("client", "server")
    assert sorted(world.cleaned) == list(range(world.registered))
    order = [int(text) for text in world.seen]
    assert order == list(range(len(order))), "lost or reordered"
    was_open = "accept" in world.peer.types
    # A send or close that the server refuses delivers the end; what was not read is behind it.
    refused = world.sends_fail or world.peer.refused
    if was_open and world.ws.closed_by == "client" and not refused:
        assert len(order) == world.fed, "a message before the disconnect was lost"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@settings(max_examples=600, deadline=None)
@given(program=PROGRAM, path=st.sampled_from(PATHS), denial=st.booleans())
def test_any_order_of_calls_and_events_ends_well(
    program: list[tuple[Step, int]], path: str, denial: bool
) -> None:
    asyncio.run(play(program, path, denial=denial))
