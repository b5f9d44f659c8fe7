"""Listeners and codecs: of the application, of the route, by subprotocol, your own."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from clients import connected
from telex import App, WebSocketExpectError, websocket
from telex.codecs import JSON, Codec, MessagePack
from telex.routing import Routes, SocketRoute
from telex.testing import AsyncTestSession

ID = UUID(int=7)
DAY = dt.date(2026, 8, 1)


class Order(msgspec.Struct):
    price: Decimal
    day: dt.date
    id: UUID


class Celsius:
    """A type of an application."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


class Lines:
    """A codec of an application: fields by line."""

    def decoder(self, tp: Any, /) -> Any:
        def decode(data: str | bytes) -> dict[str, str]:
            text = data if isinstance(data, str) else data.decode()
            if "=" not in text:
                raise WebSocketExpectError("no line has a value", malformed=True)
            return dict(line.split("=", 1) for line in text.splitlines())

        return decode

    def encode(self, value: Any, /) -> str | bytes:
        return "\n".join(f"{key}={each}" for key, each in value.items())


async def doubled(data: Order) -> Order:
    return msgspec.structs.replace(data, price=data.price * 2)


async def echo(data: Any) -> Any:
    return data


async def pack(ws: AsyncTestSession, value: Any) -> Any:
    """Send a value as MessagePack, and return the answer."""
    await ws.send_bytes(msgspec.msgpack.encode(value))
    return msgspec.msgpack.decode(await ws.receive_bytes())


async def write(ws: AsyncTestSession, value: Any) -> Any:
    """Send a value as JSON, and return the answer."""
    await ws.send_text(msgspec.json.encode(value).decode())
    return json.loads(await ws.receive_text())


ORDER = {"price": "1.50", "day": DAY.isoformat(), "id": str(ID)}
ANSWER = {**ORDER, "price": "3.00"}


# --- which one ---


async def test_json_is_the_default() -> None:
    app = App()
    app.websocket_listener("/")(doubled)
    async with connected(app) as ws:
        assert await write(ws, ORDER) == ANSWER


async def test_the_application_says_which_one() -> None:
    app = App(codec=MessagePack())
    app.websocket_listener("/")(doubled)
    async with connected(app) as ws:
        assert await pack(ws, ORDER) == ANSWER


async def test_the_route_has_the_last_word() -> None:
    app = App(codec=MessagePack())
    app.websocket_listener("/json", name=None, codec=JSON())(doubled)
    app.websocket_listener("/pack")(doubled)
    async with connected(app, "/json") as ws:
        assert await write(ws, ORDER) == ANSWER
    async with connected(app, "/pack") as ws:
        assert await pack(ws, ORDER) == ANSWER


@pytest.mark.parametrize("on_the_route", [True, False])
async def test_clients_of_one_route_choose_by_subprotocol(on_the_route: bool) -> None:
    codecs: dict[str, Codec] = {"json": JSON(), "msgpack": MessagePack()}
    app = App() if on_the_route else App(codecs=codecs)
    options: Any = {"codecs": codecs} if on_the_route else {}
    app.websocket_listener("/", **options)(doubled)
    async with (
        connected(app, subprotocols=["msgpack"]) as packing,
        connected(app, subprotocols=["other", "json", "msgpack"]) as writing,
        connected(app) as neither,
    ):
        assert packing.accepted_subprotocol == "msgpack"
        assert writing.accepted_subprotocol == "json"
        assert neither.accepted_subprotocol is None
        assert await pack(packing, ORDER) == ANSWER
        assert await write(writing, ORDER) == ANSWER
        assert await write(neither, ORDER) == ANSWER


async def test_what_does_not_fit_is_told_in_the_codec_that_was_agreed_on() -> None:
    app = App(codecs={"msgpack": MessagePack()})
    app.websocket_listener("/")(doubled)
    async with connected(app, subprotocols=["msgpack"]) as ws:
        told = await pack(ws, {"price": 1, "ref": "a"})
        assert (told["type"], told["ref"]) == ("error", "a")
        await ws.send_text("text")
        told = msgspec.msgpack.decode(await ws.receive_bytes())
        assert told["errors"][0]["message"] == "expected MessagePack in a binary message, got text"


async def test_what_was_agreed_on_counts_more_than_the_codec_of_the_route() -> None:
    app = App(codecs={"msgpack": MessagePack()})
    app.websocket_listener("/", codec=Lines())(echo)
    async with connected(app, subprotocols=["msgpack"]) as ws:
        assert await pack(ws, {"a": 1}) == {"a": 1}
    async with connected(app) as ws:
        await ws.send_text("a=1")
        assert await ws.receive_text() == "a=1"


async def test_a_route_may_do_without_the_subprotocols_of_the_application() -> None:
    app = App(codecs={"msgpack": MessagePack()})
    app.websocket_listener("/", codecs={})(echo)
    async with connected(app, subprotocols=["msgpack"]) as ws:
        assert ws.accepted_subprotocol is None
        assert await write(ws, {"a": 1}) == {"a": 1}


async def test_a_middleware_may_have_agreed_on_it() -> None:
    def middleware(endpoint: Any) -> Any:
        async def wrapper() -> None:
            await websocket.accept("json")
            await endpoint()

        return wrapper

    app = App(codecs={"msgpack": MessagePack(), "json": JSON()})
    app.websocket_listener("/", middlewares=[middleware])(echo)
    async with connected(app, subprotocols=["msgpack", "json"]) as ws:
        assert await write(ws, [1]) == [1]


async def test_text_and_bytes_go_as_they_are_whatever_the_codec() -> None:
    async def fn(data: str) -> Any:
        return {"text": "plain", "bytes": b"plain"}.get(data, {"a": 1})

    app = App(codec=MessagePack())
    app.websocket_listener("/")(fn)
    async with connected(app) as ws:
        await ws.send_text("text")
        assert await ws.receive_text() == "plain"
        await ws.send_text("bytes")
        assert await ws.receive_bytes() == b"plain"
        await ws.send_text("value")
        assert await ws.receive_bytes() == msgspec.msgpack.encode({"a": 1})


# --- your own ---


async def test_an_object_of_your_own_is_a_codec() -> None:
    app = App(codec=Lines())
    app.websocket_listener("/", max_invalid=2)(echo)
    async with connected(app) as ws:
        await ws.send_text("a=1\nb=2")
        assert await ws.receive_text() == "a=1\nb=2"
        await ws.send_text("nonsense")
        assert (await ws.receive_text()).startswith("type=error\nref=None\nerrors=[")
        await ws.send_bytes(b"nonsense")
        await ws.receive_text()
        await ws.expect_close(1007)


async def test_types_of_your_own_go_through_hooks() -> None:
    def encode(value: Any) -> Any:
        if isinstance(value, Celsius):
            return value.degrees
        raise TypeError

    def decode(tp: type, value: Any) -> Any:
        if value < -273.15:
            raise ValueError("colder than possible")
        return tp(value)

    async def warmer(data: Celsius) -> Celsius:
        return Celsius(data.degrees + 1)

    app = App()
    codec = JSON(enc_hook=encode, dec_hook=decode)
    app.websocket_listener("/", codec=codec)(warmer)
    async with connected(app) as ws:
        assert await write(ws, 20.5) == 21.5
        told = await write(ws, -300)
        assert told["errors"][0]["message"] == "colder than possible"


async def test_it_is_enough_that_the_codec_that_is_agreed_on_knows_a_type() -> None:
    async def degrees(data: Celsius) -> float:
        return data.degrees

    app = App(codecs={"own": JSON(dec_hook=lambda tp, value: tp(value))})
    app.websocket_listener("/")(degrees)
    async with connected(app, subprotocols=["own"]) as ws:
        assert await write(ws, 20.5) == 20.5


# --- routes of several applications ---


async def test_one_route_serves_two_applications_each_with_its_own_codec() -> None:
    route = SocketRoute("/", echo_handler, codecs={"none": JSON()})
    one, other = App(codec=MessagePack()), App()
    for app in (one, other):
        app.router.add(route)
    async with connected(one) as packing, connected(other) as writing:
        for _ in range(2):
            await packing.send_bytes(msgspec.msgpack.encode([1]))
            assert await packing.receive_bytes() == msgspec.msgpack.encode([1])
            assert await write(writing, [1]) == [1]


async def echo_handler() -> None:
    async with websocket:
        async for value in websocket.iter_as(Any):
            await websocket.send_value(value)


async def test_a_route_keeps_its_codec_wherever_it_is_put() -> None:
    app = App()
    group = Routes()
    group.websocket_listener("/echo", codec=MessagePack())(echo)
    app.router.add("/group" // group)
    inner = App(codec=JSON())
    inner.websocket_listener("/echo", codec=MessagePack())(echo)
    app.mount("/mounted", inner)
    for path in ("/group/echo", "/mounted/echo"):
        async with connected(app, path) as ws:
            assert await pack(ws, {"a": 1}) == {"a": 1}


async def test_a_mounted_application_has_its_own_codec() -> None:
    inner = App(codec=MessagePack())
    inner.websocket_listener("/echo")(echo)
    app = App(codec=Lines())
    app.mount("/mounted", inner)
    async with connected(app, "/mounted/echo") as ws:
        assert await pack(ws, [1]) == [1]
