"""What is sent of what a function returns that was called for a message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from channel import PATHS, FakeChannel, connecting_over
from clients import connected
from depending import serving
from opened import connecting, left, opened, soon
from telex import App, SocketView, WebSocketDisconnect, WebSocketRuntimeError, on
from telex._reply import replier
from telex.codecs import JSON, MessagePack


class Said(msgspec.Struct):
    text: str


VALUES: list[tuple[Any, str | bytes]] = [
    ("text", "text"),
    ("", ""),
    (b"bytes", b"bytes"),
    (bytearray(b"bytes"), b"bytes"),
    (0, "0"),
    (False, "false"),
    ([], "[]"),
    ({"a": None}, '{"a":null}'),
    (Said("日本"), '{"text":"日本"}'),
    (None, "null"),
]


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def replied(path: str, *values: Any, **scope: Any) -> FakeChannel:
    """Send values as replies on an accepted connection."""
    ws, channel = connecting_over(path, **scope)
    reply = replier(ws)
    await soon(ws.accept())
    for value in values:
        rest = reply(value)
        if rest is not None:
            await soon(rest)
    return channel


@pytest.mark.parametrize(("value", "message"), VALUES)
async def test_a_value_is_sent_as_send_value_does(
    path: str, value: Any, message: str | bytes
) -> None:
    channel = await replied(path, value)
    assert channel.data == [message]


async def test_values_are_sent_in_order(path: str) -> None:
    assert (await replied(path, 1, "2", b"3", [4])).data == ["1", "2", b"3", "[4]"]


async def test_a_value_needs_no_waiting_where_there_is_room() -> None:
    ws, channel = connecting_over("frames")
    await soon(ws.accept())
    assert replier(ws)("a") is None
    assert channel.data == ["a"]


@pytest.mark.parametrize(
    "value", [object(), {1j: 1}, "\ud800", b"\xff".decode("utf-8", "surrogateescape")]
)
async def test_a_value_that_cannot_be_sent_is_an_error(path: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        await replied(path, value)


async def test_nothing_is_sent_before_the_accept() -> None:
    ws, peer = connecting()
    with pytest.raises(WebSocketRuntimeError):
        replier(ws)("a")
    assert peer.sent == []


async def test_a_value_is_dropped_when_we_have_closed_but_not_one_after_the_other() -> None:
    ws, peer = await opened()
    reply = replier(ws)
    await ws.close()
    assert reply("a") is None
    with pytest.raises(WebSocketRuntimeError):
        reply("b")
    assert peer.types == ["accept", "close"]


async def test_a_value_for_a_client_that_has_left_is_an_error() -> None:
    ws, _ = await left(4001)
    with pytest.raises(WebSocketDisconnect, match="4001"):
        replier(ws)("a")


# By methods and listeners


async def test_the_codec_is_the_one_that_was_agreed_on_by_the_accept() -> None:
    class View(SocketView):
        @on("x")
        async def x(self, data: Any) -> Any:
            return data

    app = App(codecs={"json": JSON(), "msgpack": MessagePack()})
    app.websocket("/")(View)
    async with connected(app, subprotocols=["msgpack"]) as ws:
        await ws.send_bytes(msgspec.msgpack.encode({"type": "x"}))
        assert msgspec.msgpack.decode(await ws.receive_bytes()) == {"type": "x"}
    async with connected(app) as ws:
        await ws.send_text('{"type":"x"}')
        assert await ws.receive_text() == '{"type":"x"}'


closed: list[str] = []


@pytest.fixture(autouse=True)
def nothing_closed() -> Iterator[None]:
    closed.clear()
    yield
    closed.clear()


class Counting(SocketView):
    @on("nothing")
    async def nothing(self, data: Any) -> None: ...

    @on("count")
    async def count(self, data: dict[str, Any]) -> AsyncIterator[int | None]:
        try:
            for number in range(data["to"]):
                yield number
            yield None
        finally:
            closed.append("count")

    @on("break")
    async def breaks(self, data: Any) -> AsyncIterator[str]:
        yield "before"
        raise ValueError("broken")


async def test_none_sends_nothing() -> None:
    async with connected(serving(Counting)) as ws:
        await ws.send_text('{"type":"nothing"}')
        await ws.send_text('{"type":"count","to":0}')
        assert await ws.receive_text() == "null"


async def test_every_item_of_a_generator_is_sent_before_the_next_message_is_read() -> None:
    async with connected(serving(Counting)) as ws:
        await ws.send_text('{"type":"count","to":3}')
        await ws.send_text('{"type":"count","to":1}')
        received = [await ws.receive_json() for _ in range(6)]
    assert received == [0, 1, 2, None, 0, None]
    assert closed == ["count", "count"]


async def test_a_generator_is_closed_when_the_client_leaves() -> None:
    async with connected(serving(Counting)) as ws:
        await ws.send_text('{"type":"count","to":1000000}')
        assert await ws.receive_json() == 0
        await ws.close(1001)
    assert closed == ["count"]


async def test_a_generator_that_raises_ends_the_connection_behind_its_items() -> None:
    with pytest.raises(ValueError, match="broken"):
        async with connected(serving(Counting)) as ws:
            await ws.send_text('{"type":"break"}')
            assert await ws.receive_text() == "before"
            await ws.expect_close(1011)
