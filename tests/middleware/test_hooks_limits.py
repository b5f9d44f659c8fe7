"""Connection middleware is held to the limits of its application, and its connections are known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket

from channel import FakeChannel, triple_over
from opened import soon, until
from peer import D, T
from telex import App, WebSocket

GRACE = 0.05
FOR_EVER = 600.0
both_ways = pytest.mark.parametrize("path", ["asgi", "frames"])

Hook = Callable[[WebSocket], Awaitable[None]]


class Gate:
    """Connection middleware that lets nobody through before it is opened."""

    def __init__(self, before: Hook | None = None) -> None:
        self.open = asyncio.Event()
        self.inside: list[WebSocket] = []
        self.notes: list[str] = []
        self._before = before

    async def on_handshake(self, ws: WebSocket) -> None:
        if self._before is not None:
            await self._before(ws)
        self.inside.append(ws)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise


def serving(gate: Gate, **limits: Any) -> App:
    """Return an application behind a gate, whose handler says who is there."""
    app = App(connection_middleware=[gate], disconnect_grace=GRACE, **limits)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_json(ws.labels)
        async for _ in ws:
            pass

    return app


def connect(app: Any, path: str) -> tuple[FakeChannel, asyncio.Task[None]]:
    channel = FakeChannel()
    return channel, asyncio.ensure_future(app(*triple_over(path, channel)))


@both_ways
async def test_one_that_hangs_is_refused_in_time_and_cancelled(path: str) -> None:
    gate = Gate()
    channel, served = connect(serving(gate, handshake_timeout=GRACE), path)
    await soon(served)
    assert channel.types == ["close"]
    assert gate.notes == ["cancelled"]


@both_ways
async def test_one_that_swallows_its_cancellation_does_not_let_anybody_through(path: str) -> None:
    class Stubborn(Gate):
        async def on_handshake(self, ws: WebSocket) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await super().on_handshake(ws)

    channel, served = connect(serving(Stubborn(), handshake_timeout=GRACE), path)
    await soon(served)
    assert channel.types == ["close"]
    assert served.cancelling() == 0


async def test_one_whose_client_has_left_is_cancelled() -> None:
    gate = Gate()
    channel, served = connect(serving(gate), "frames")
    await until(lambda: gate.inside)
    channel.drop()
    await soon(served)
    assert gate.notes == ["cancelled"]


@both_ways
async def test_a_cancellation_from_outside_goes_on(path: str) -> None:
    gate = Gate()
    app = serving(gate)
    _, served = connect(app, path)
    await until(lambda: gate.inside)
    served.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(served)
    assert len(app.connections) == 0


@both_ways
async def test_who_waits_in_it_has_a_place(path: str) -> None:
    gate = Gate()
    app = serving(gate, max_connections=1)
    _, served = connect(app, path)
    await until(lambda: gate.inside)
    refused, second = connect(app, path)
    await soon(second)
    assert refused.types == ["close"]
    gate.open.set()
    await until(lambda: [ws for ws in app.connections if ws.connection_state == 1])
    assert len(app.connections) == 1
    await app.connections.close()
    await soon(served)
    again, third = connect(app, path)
    await until(lambda: again.data)
    again.feed(D(1000))
    await soon(third)


@both_ways
async def test_who_waits_in_it_can_be_found_and_shut_out(path: str) -> None:
    async def label(ws: WebSocket) -> None:
        ws.label(user="7")

    gate = Gate(label)
    app = serving(gate)
    channel, served = connect(app, path)
    await until(lambda: gate.inside)
    assert len(app.connections.find(user="7")) == 1
    assert await app.connections.close(user="7", code=4401) == 1
    gate.open.set()
    await soon(served)
    assert channel.types == ["close"]
    assert channel.data == []


@both_ways
async def test_labels_stay_with_those_who_are_let_through(path: str) -> None:
    async def label(ws: WebSocket) -> None:
        ws.label(user="7")

    gate = Gate(label)
    gate.open.set()
    app = serving(gate)
    channel, served = connect(app, path)
    await until(lambda: channel.data)
    assert channel.data == ['{"user":"7"}']
    assert len(app.connections.find(user="7")) == len(app.connections) == 1
    channel.feed(D(1000))
    await soon(served)
    assert app.connections.find(user="7") == []


async def test_the_time_in_it_counts_for_the_handshake_of_the_route() -> None:
    gate = Gate()
    app = App(connection_middleware=[gate], handshake_timeout=10 * GRACE, disconnect_grace=GRACE)

    @app.websocket("/")
    async def handler(_ws: WebSocket) -> None:
        await asyncio.sleep(FOR_EVER)

    channel, served = connect(app, "asgi")
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(7 * GRACE)
    gate.open.set()
    await soon(served)
    assert channel.types == ["close"]
    assert asyncio.get_running_loop().time() - began < 15 * GRACE


async def test_an_application_of_others_gets_all_messages_and_is_not_counted() -> None:
    heard: list[str] = []

    async def endpoint(ws: StarletteWebSocket) -> None:
        await ws.accept()
        heard.append(await ws.receive_text())
        assert len(app.connections) == 0

    gate = Gate()
    app = App(connection_middleware=[gate], disconnect_grace=GRACE, max_connections=1)
    app.mount("/", Starlette(routes=[WebSocketRoute("/", endpoint)]))
    channel, served = connect(app, "asgi")
    await until(lambda: gate.inside)
    await asyncio.sleep(2 * GRACE)
    gate.open.set()
    channel.feed(T("hello"))
    await soon(served)
    assert heard == ["hello"]
