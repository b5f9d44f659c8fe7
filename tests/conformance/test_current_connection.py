"""Whose connection `telex.websocket` is: in which tasks and threads, and after what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import telex
from opened import soon
from peer import Peer, make_scope, serve
from telex import App, Mount, Router, SocketView, WebSocket, WebSocketRuntimeError, websocket
from telex._types import Receive, Scope, Send
from telex.context import current
from telex.testing import AsyncTestClient


class Meeting:
    """Connections that are all in their handlers at the same time."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._complete = asyncio.Event()

    async def join(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        await soon(self._complete.wait())


@pytest.mark.row("K25")
async def test_connections_at_the_same_time_have_each_their_own() -> None:
    app = App()
    meeting = Meeting(3)
    seen: dict[str, list[object]] = {}

    @app.websocket("/{name}")
    async def handler() -> None:
        await websocket.accept()
        name = websocket.path_params["name"]
        websocket.state.name = name
        await meeting.join()
        seen[name] = [websocket["path"], websocket.client, websocket.state.name]
        await websocket.send_text(name)

    async with AsyncTestClient(app) as client, asyncio.TaskGroup() as clients:

        async def visit(name: str) -> None:
            async with client.websocket(f"/{name}", scope={"client": (name, 1)}) as ws:
                assert await ws.receive_text() == name
                await ws.expect_close(1000)

        for name in "abc":
            clients.create_task(visit(name))
    assert seen == {name: [f"/{name}", (name, 1), name] for name in "abc"}


async def test_every_kind_of_handler_has_it() -> None:
    app = App()
    seen: list[bool] = []

    @app.websocket("/function")
    async def function(ws: WebSocket) -> None:
        seen.append(websocket == ws and current.get() is ws)
        await ws.accept()

    @app.websocket("/view")
    class View(SocketView):
        async def on_connect(self) -> None:
            seen.append(websocket == self.websocket)
            await websocket.accept()

        async def on_disconnect(self, close_code: int) -> None:
            seen.append(websocket == self.websocket)

    async with AsyncTestClient(app) as client:
        for path in ("/function", "/view"):
            async with client.websocket(path):
                pass
    assert seen == [True, True, True]


# --- nesting and restoring ---


@pytest.mark.row("T78")
async def test_after_a_handler_that_raised_nothing_is_left_in_the_task() -> None:
    app = App()
    seen: list[str] = []

    @app.websocket("/{name}")
    async def handler() -> None:
        seen.append(websocket.path)
        await websocket.accept()
        if websocket.path == "/first":
            raise ValueError

    await serve(app, scope=make_scope("/first"))
    assert current.get(None) is None
    assert not websocket
    await serve(app, scope=make_scope("/second"))
    assert current.get(None) is None
    assert seen == ["/first", "/second"]


@pytest.mark.row("T78", "T79")
async def test_after_a_handler_that_was_cancelled_nothing_is_left_either() -> None:
    app = App()
    entered = asyncio.Event()

    @app.websocket("/")
    async def handler() -> None:
        await websocket.accept()
        entered.set()
        await asyncio.Event().wait()

    left: list[object] = []

    async def server() -> None:
        try:
            await Peer().run(app)
        finally:
            left.append(current.get(None))

    serving = asyncio.create_task(server())
    await soon(entered.wait())
    serving.cancel()
    await asyncio.wait((serving,))
    assert left == [None]


@pytest.mark.row("T82")
async def test_an_application_inside_another_gives_the_outer_one_back() -> None:
    inner, outer = App(), App()
    seen: list[str] = []

    @inner.websocket("/")
    async def inside() -> None:
        seen.append(websocket.path)
        await websocket.accept()

    @outer.websocket("/outer")
    async def outside() -> None:
        await websocket.accept()
        before = current.get()
        await Peer().run(inner, make_scope("/"))
        seen.append(websocket.path)
        assert current.get() is before
        await websocket.send_text("still mine")

    async with AsyncTestClient(outer) as client, client.websocket("/outer") as ws:
        assert await ws.receive_text() == "still mine"
    assert seen == ["/", "/outer"]


@pytest.mark.row("T82")
async def test_a_mounted_application_has_the_connection_and_gives_it_back() -> None:
    router = Router()

    @router.websocket("/ws")
    async def handler() -> None:
        await websocket.accept()
        await websocket.send_text(websocket.path)

    seen: list[object] = []

    async def outside(scope: Scope, receive: Receive, send: Send) -> None:
        await App([Mount("/mounted", router)])(scope, receive, send)
        seen.append(current.get(None))

    client = AsyncTestClient(outside, lifespan=False)
    async with client, client.websocket("/mounted/ws") as ws:
        assert await ws.receive_text() == "/mounted/ws"
    assert seen == [None]


# --- how far it reaches ---


async def in_a_handler(
    body: Callable[[], Coroutine[Any, Any, object]], go: asyncio.Event | None = None
) -> None:
    """Run something as the body of a handler on `/here`; the event is set behind its close."""
    app = App()

    @app.websocket("/here")
    async def handler() -> None:
        await websocket.accept()
        await body()

    async with AsyncTestClient(app) as client, client.websocket("/here") as ws:
        await ws.expect_close(1000)
        if go is not None:
            go.set()


def path_or_none() -> str | None:
    return websocket.path if websocket else None


@pytest.mark.row("T80")
async def test_child_tasks_and_to_thread_see_it_executors_and_raw_threads_do_not() -> None:
    seen: dict[str, str | None] = {}

    async def child() -> None:
        await asyncio.sleep(0)
        seen["task"] = path_or_none()

    async def body() -> None:
        await asyncio.create_task(child())
        async with asyncio.TaskGroup() as group:
            grouped = group.create_task(asyncio.to_thread(path_or_none))
        seen["to_thread"] = await asyncio.to_thread(path_or_none)
        seen["to_thread in a task"] = grouped.result()
        loop = asyncio.get_running_loop()
        seen["executor"] = await loop.run_in_executor(None, path_or_none)
        thread = threading.Thread(target=lambda: seen.update(thread=path_or_none()))
        thread.start()
        await asyncio.to_thread(thread.join)

    await in_a_handler(body)
    assert seen == {
        "task": "/here",
        "to_thread": "/here",
        "to_thread in a task": "/here",
        "executor": None,
        "thread": None,
    }


@pytest.mark.row("T80")
async def test_a_task_that_outlives_the_handler_sees_the_closed_connection() -> None:
    go = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def outlive() -> None:
        await go.wait()
        assert websocket.path == "/here"
        assert websocket.connection_state is telex.WebSocketState.DISCONNECTED
        with pytest.raises(WebSocketRuntimeError):
            await websocket.send_text("too late")
        with pytest.raises(WebSocketRuntimeError):
            await websocket.receive_text()
        assert websocket.send_nowait("too late") is False
        await websocket.close()

    async def body() -> None:
        tasks.append(asyncio.create_task(outlive()))

    await in_a_handler(body, go)
    await soon(tasks[0])
