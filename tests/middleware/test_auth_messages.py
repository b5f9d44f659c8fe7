"""Who says in the first message who is there; the handler need not know of it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from starlette.responses import Response

import telex
from channel import PATHS, FakeChannel, triple_over
from clients import connected, ending
from guarded import (
    BEARER,
    TOKEN,
    UNAUTHORIZED,
    greeting,
    guarded,
    hello_with,
    status,
    verify,
)
from opened import connecting, soon
from peer import B, T
from telex import App, Authenticate, Depends, Reject, SocketView, WebSocket
from telex.lifecycle import connection_app


@pytest.mark.parametrize(
    "message",
    [
        TOKEN,
        f"  {TOKEN}\n",
        f'{{"token": "{TOKEN}"}}',
        f' {{"type": "login", "token": "{TOKEN}"}}',
        f'"{TOKEN}"',
    ],
)
async def test_the_first_message_may_be_the_token(message: str) -> None:
    app = guarded(Authenticate(first_message=True, verify=verify))
    assert await greeting(app, "/", message) == "hello Ada"


@pytest.mark.parametrize(
    "message",
    [
        "",
        " ",
        "wrong",
        f"Bearer {TOKEN}",
        "{",
        "{}",
        "[]",
        f'["{TOKEN}"]',
        '{"token": null}',
        '{"token": 7}',
        f'{{"token": ["{TOKEN}"]}}',
        f'{{"Token": "{TOKEN}"}}',
        '"',
        '{"a":' * 100_000,
        '{"token": "\\ud800"}',
        f'{{"token": "{TOKEN}", "more": "{"x" * 65_536}"}}',
        TOKEN.encode(),
    ],
)
async def test_a_first_message_without_a_good_token_closes_with_4401(message: str | bytes) -> None:
    app = guarded(Authenticate(first_message=True, verify=verify))
    async with connected(app) as ws:
        await ws.send_value(message)
        record = await ws.expect_close()
    assert (record.code, record.reason) == UNAUTHORIZED


async def test_the_field_of_the_first_message_may_have_another_name() -> None:
    app = guarded(Authenticate(first_message="access", verify=verify))
    assert await greeting(app, "/", f'{{"access": "{TOKEN}"}}') == "hello Ada"
    async with connected(app) as ws:
        await ws.send_text(f'{{"token": "{TOKEN}"}}')
        await ws.expect_close(4401)


async def test_without_a_first_message_in_time_it_is_over() -> None:
    app = guarded(Authenticate(first_message=True, timeout=0.02, verify=verify))
    assert await ending(app) == UNAUTHORIZED


async def test_verify_has_as_long_for_a_first_message_as_that_had(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hangs(token: str) -> None:
        await asyncio.Event().wait()

    app = guarded(Authenticate(first_message=True, timeout=0.02, verify=hangs))
    async with connected(app) as ws:
        await ws.send_text(TOKEN)
        assert (await ws.expect_close(1013)).reason == "verifying takes too long"
    [line] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert line.endswith("is not let in at '/': verify takes too long")


async def test_a_timeout_of_verify_itself_is_an_error_like_others() -> None:
    def times_out(token: str) -> None:
        raise TimeoutError("the database")

    ws, _ = connecting(T(TOKEN))
    with pytest.raises(TimeoutError, match="the database"):
        await soon(Authenticate(first_message=True, verify=times_out)(ws))
    await ws.close()


async def test_who_shows_a_token_in_the_handshake_sends_no_first_message() -> None:
    app = guarded(Authenticate(header=True, first_message=True, verify=verify))
    assert await greeting(app, headers=BEARER) == "hello Ada"
    assert await status(app, headers={"authorization": "Bearer wrong"}) == 401


async def test_who_leaves_before_the_first_message_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with connected(guarded(Authenticate(first_message=True, verify=verify))) as ws:
        await ws.close(1001)
    assert [r.getMessage() for r in caplog.records if r.name == "telex"] == []


async def test_the_handler_need_not_know_that_it_was_accepted() -> None:
    authenticate = Authenticate(first_message=True, verify=verify)
    app = App()
    User = Annotated[str, Depends(authenticate)]

    @app.websocket("/accept")
    async def accepts(ws: WebSocket, user: User) -> None:
        assert ws.application_state is telex.WebSocketState.CONNECTED
        await ws.accept()
        with pytest.raises(telex.WebSocketRuntimeError):
            await ws.accept()
        await ws.send_text(user)

    @app.websocket("/headers")
    async def answers_more(ws: WebSocket, user: User) -> None:
        with pytest.raises(telex.WebSocketRuntimeError):
            await ws.accept(headers={"x-user": user})
        await ws.send_text(user)

    @app.websocket("/view")
    class View(SocketView):
        def __init__(self, user: User) -> None:
            self.user = user

        async def on_receive(self, data: Any) -> None:
            await self.websocket.send_text(f"{self.user} {data}")

    @app.websocket_listener("/listener")
    async def listener(data: str, user: User) -> str:
        return f"{user} {data}"

    @app.websocket_stream("/stream")
    async def stream(user: User) -> AsyncIterator[str]:
        yield user

    for path in ("/accept", "/headers", "/stream"):
        assert await greeting(app, path, TOKEN) == "Ada"
    for path in ("/view", "/listener"):
        assert await greeting(app, path, TOKEN, "says") == "Ada says"


@pytest.mark.parametrize(
    ("way", "end"),
    [
        ("reject", (1008, "")),
        ("response", (1008, "")),
        ("raise", (1008, "")),
        ("visible", (4404, "no such room")),
    ],
)
async def test_a_handler_that_rejects_need_not_know_either(way: str, end: tuple[int, str]) -> None:
    app = App()

    @app.websocket("/")
    async def rejects(
        ws: WebSocket,
        user: Annotated[str, Depends(Authenticate(first_message=True, verify=verify))],
    ) -> None:
        if way == "raise":
            raise Reject(404)
        if way == "response":
            await ws.send_denial_response(Response("no such room", 404))
        else:
            visible = 4404 if way == "visible" else None
            await ws.reject(404, body="no such room", visible=visible)
        with pytest.raises(telex.WebSocketRuntimeError, match="closed"):
            await ws.reject()

    async with connected(app) as ws:
        await ws.send_text(TOKEN)
        record = await ws.expect_close()
    assert (record.code, record.reason) == end


async def test_what_was_accepted_by_the_handler_cannot_be_rejected() -> None:
    app = App()

    @app.websocket("/")
    async def handler(
        ws: WebSocket,
        user: Annotated[str, Depends(Authenticate(first_message=True, verify=verify))],
    ) -> None:
        await ws.accept()
        with pytest.raises(telex.WebSocketRuntimeError, match="is open"):
            await ws.reject()
        await ws.send_text("still here")

    assert await greeting(app, "/", TOKEN) == "still here"


async def test_what_comes_behind_the_token_is_for_the_handler() -> None:
    app = App()

    @app.websocket("/")
    async def echo(
        ws: WebSocket,
        user: Annotated[str, Depends(Authenticate(first_message=True, verify=verify))],
    ) -> None:
        async with ws:
            async for text in ws.iter_text():
                await ws.send_text(text)

    async with connected(app) as ws:
        for text in (TOKEN, "one", "two"):
            await ws.send_text(text)
        assert [await ws.receive_text(), await ws.receive_text()] == ["one", "two"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("message", "end"), [(T(TOKEN), 1000), (T("no"), 4401), (B(b"x"), 4401)])
async def test_the_first_message_on_every_path(path: str, message: Any, end: int) -> None:
    channel = FakeChannel(message)
    authenticate = Authenticate(first_message=True, verify=verify)

    async def endpoint() -> None:
        ws = telex.websocket
        user = await authenticate(ws)
        async with ws:
            await ws.send_text(user)

    await soon(connection_app(endpoint)(*triple_over(path, channel)))
    assert channel.closes[0][0] == end
    assert channel.data == (["Ada"] if end == 1000 else [])
    if path == "frames" and end == 1000:
        assert (channel.frames_in, channel.frames_out) == (1, 1)


async def test_there_may_be_no_limit_for_the_first_message() -> None:
    app = guarded(Authenticate(first_message=True, timeout=float("inf"), verify=verify))
    assert await greeting(app, "/", TOKEN) == "hello Ada"


async def test_where_no_route_is_a_first_message_in_connection_middleware_ends_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    authenticate = Authenticate(first_message=True, verify=verify)

    class Guard:
        async def on_handshake(self, ws: WebSocket) -> None:
            await authenticate(ws)

    app = App(connection_middleware=[Guard()])
    app.websocket("/")(hello_with(authenticate))
    async with connected(app, "/nowhere") as ws:
        await ws.send_text(TOKEN)
        record = await ws.expect_close()
    assert (record.code, record.reason) == (1008, "Not Found")
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
