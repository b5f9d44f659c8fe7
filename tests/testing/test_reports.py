"""What a test is told, and what it is not told twice."""

from __future__ import annotations

import asyncio

import pytest

from telex import App, WebSocket
from telex.exceptions import WebSocketRuntimeError
from telex.testing import AsyncTestClient, AsyncTestSession, HandlersSurvived


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_handler_that_fails_is_logged_once(
    accepted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        if accepted:
            await ws.accept()
        raise LookupError("own")

    async with AsyncTestClient(app) as client:
        with pytest.raises(LookupError, match="own"):
            async with client.websocket("/") as ws:
                await ws.receive_text()
    assert [record.message for record in caplog.records] == [
        "error in the handler of '/' for 127.0.0.1:50000"
    ]


async def test_what_survives_is_told_without_what_telex_runs_for_it() -> None:
    app = App(disconnect_grace=None)

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            await ws.receive_text()
            await asyncio.Event().wait()

    async with AsyncTestClient(app, timeout=0.2) as client:
        with pytest.raises(HandlersSurvived) as caught:
            async with client.websocket("/") as ws:
                await ws.send_text("go")
    assert "telex reader" not in str(caught.value)
    assert "the application at '/'" in str(caught.value)


def test_a_session_of_another_event_loop_says_so() -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            await ws.receive_text()

    async def use(ws: AsyncTestSession) -> None:
        for call in (ws.send_text("x"), ws.receive_text(), ws.expect_close()):
            with pytest.raises(WebSocketRuntimeError, match="in another event loop"):
                await call

    with asyncio.Runner() as own, asyncio.Runner() as other:
        client = AsyncTestClient(app, timeout=1)
        own.run(client.__aenter__())
        block = client.websocket("/")
        session = own.run(_enter(block))
        other.run(use(session))
        own.run(_leave(block))
        own.run(client.__aexit__(None, None, None))


async def _enter(block: object) -> AsyncTestSession:
    session: AsyncTestSession = await block.__aenter__()  # type: ignore[attr-defined]
    return session


async def _leave(block: object) -> None:
    await block.__aexit__(None, None, None)  # type: ignore[attr-defined]
