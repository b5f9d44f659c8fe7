"""What view.py's own users write in tests."""

from __future__ import annotations

import pytest

from telex.compat.view import WebSocket, WebSocketDisconnectError, new_app, websocket
from telex.testing import ConnectionRejected


@pytest.mark.row("VX9", "V25")
async def test_an_echo() -> None:
    app = new_app()

    @app.websocket("/")
    async def echo(ws: WebSocket) -> None:
        await ws.accept()
        while True:
            await ws.send(await ws.receive(bytes))

    async with app.test() as t, t.websocket("/") as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"
        await ws.send(b"\xff")
        assert await ws.receive(tp=bytes) == b"\xff"


@pytest.mark.row("VX9", "V36", "VX4")
async def test_pairs_of_numbers() -> None:
    app = new_app()

    @websocket("/")
    async def count(ws: WebSocket) -> None:
        await ws.accept()
        number = 0
        while True:
            assert await ws.pair(number, tp=int) == number
            number += 1

    app.load([count])
    async with app.test() as t, t.websocket("/") as ws:
        for number in range(5):
            assert await ws.receive() == str(number)
            await ws.send(str(number))


@pytest.mark.row("VX9")
async def test_the_test_may_close_and_sees_the_close_of_the_application() -> None:
    app = new_app()
    codes: list[int] = []

    @app.websocket("/{first}")
    async def handler(ws: WebSocket, first: bool) -> None:
        async with ws:
            if not first:
                with pytest.raises(WebSocketDisconnectError) as raised:
                    await ws.receive()
                codes.append(raised.value.code)

    async with app.test() as t:
        async with t.websocket("/true") as ws:
            with pytest.raises(WebSocketDisconnectError):
                await ws.receive()
        async with t.websocket("/false") as ws:
            await ws.close()
        with pytest.raises(ConnectionRejected):
            async with t.websocket("/elsewhere/", headers={"a": "b"}):
                pytest.fail("let in")
    assert codes == [1000]


@pytest.mark.row("VX9")
async def test_what_the_handler_raises_fails_the_test() -> None:
    app = new_app()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        assert await ws.receive(tp=int) == 42

    with pytest.raises(AssertionError):
        async with app.test() as t, t.websocket("/") as ws:
            await ws.send("41")
