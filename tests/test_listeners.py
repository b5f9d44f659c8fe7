"""Listeners: a message becomes a value, the function is called, what it gives is sent."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

from channel import FakeChannel, triple_over
from clients import connected, rejection
from opened import soon, turns, until
from peer import B, D, T
from telex import App, WebSocket, websocket
from telex.codecs import JSON
from telex.listeners import Listener
from telex.routing import SocketRoute
from telex.testing import AsyncTestSession


class Order(msgspec.Struct):
    price: float
    name: str = "x"


class Model(pydantic.BaseModel):
    price: float


@dataclasses.dataclass
class Point:
    x: int


class Row(TypedDict):
    x: int


class Buy(msgspec.Struct, tag="buy"):
    n: int


class Sell(msgspec.Struct, tag="sell"):
    n: int


def listening(fn: Callable[..., Any], **options: Any) -> App:
    """An application with this listener alone."""
    app = App()
    app.websocket_listener("/", **options)(fn)
    return app


def echo(hint: Any) -> Callable[..., Any]:
    """A function that answers with what it got, annotated with a type."""

    async def fn(data: Any) -> Any:
        return data

    fn.__annotations__["data"] = hint
    return fn


async def put(data: Any) -> None: ...


async def received(ws: AsyncTestSession) -> Any:
    """The payload of the next message, of either kind."""
    message = await ws.receive()
    return message.get("bytes") if message.get("text") is None else message["text"]


async def exchange(ws: AsyncTestSession, *messages: str | bytes) -> list[Any]:
    """Send some messages, one after the other, and return what each is answered with."""
    answers = []
    for message in messages:
        await (ws.send_text(message) if isinstance(message, str) else ws.send_bytes(message))
        answers.append(await received(ws))
    return answers


# --- what messages become ---


@pytest.mark.parametrize(
    ("hint", "message", "answer"),
    [
        (Order, '{"price": 2}', '{"price":2.0,"name":"x"}'),
        (Order, b'{"price": 2}', '{"price":2.0,"name":"x"}'),
        (Model, '{"price": "2"}', '{"price":2.0}'),
        (Point, '{"x": 1}', '{"x":1}'),
        (Row, '{"x": 1}', '{"x":1}'),
        (Buy | Sell, '{"type": "sell", "n": 1}', '{"type":"sell","n":1}'),
        (list[int], "[1, 2]", "[1,2]"),
        (Literal["a", "b"], '"b"', "b"),
        (str, "a\nb", "a\nb"),
        (str, b"\xc3\xa9", "é"),
        (str, "", ""),
        (bytes, b"\x00\xff", b"\x00\xff"),
        (bytes, "é", b"\xc3\xa9"),
        (bytes, b"", b""),
        (int, " 42 ", "42"),
        (bool, "false", "false"),
        (dict, '{"a": [1]}', '{"a":[1]}'),
        (Any, '{"a": 1}', '{"a":1}'),
        (Any, "7", "7"),
    ],
)
async def test_messages_become_what_data_is_annotated_with(
    hint: Any, message: str | bytes, answer: str | bytes
) -> None:
    async with connected(listening(echo(hint))) as ws:
        assert await exchange(ws, message) == [answer]


async def test_without_annotation_it_is_what_the_message_holds() -> None:
    async def fn(data):  # type: ignore[no-untyped-def]
        return [type(data).__name__, data]

    async with connected(listening(fn)) as ws:
        assert await exchange(ws, "[1]", '"a"') == ['["list",[1]]', '["str","a"]']


async def test_none_is_not_answered() -> None:
    async with connected(listening(echo(Any))) as ws:
        await ws.send_text("null")
        assert await exchange(ws, "0", '""', "false") == ["0", "", "false"]


async def test_every_item_of_a_generator_is_sent() -> None:
    closed = asyncio.Event()

    async def fn(data: int) -> AsyncIterator[Any]:
        try:
            for each in range(data):
                yield {"n": each}
        finally:
            await asyncio.sleep(0)
            closed.set()

    async with connected(listening(fn)) as ws:
        assert await exchange(ws, "2") == ['{"n":0}']
        assert await received(ws) == '{"n":1}'
        await soon(closed.wait())


@pytest.mark.parametrize("value", [object(), {1, object()}, "a\ud800"])
async def test_a_result_that_cannot_be_sent_is_an_error_of_the_application(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def fn(data: int) -> Any:
        return value

    async with connected(listening(fn), raise_app_exceptions=False) as ws:
        await ws.send_text("1")
        await ws.expect_close(1011)
    assert "error in the handler of '/'" in caplog.text


async def test_the_connection_is_accepted_at_once() -> None:
    async with connected(listening(put)) as ws:
        assert ws.accepted_subprotocol is None


async def test_where_a_middleware_has_accepted_it_is_not_done_again() -> None:
    def middleware(endpoint: Any) -> Any:
        async def wrapper() -> None:
            await websocket.accept(headers={"x-by": "middleware"})
            await endpoint()

        return wrapper

    async with connected(listening(echo(int), middlewares=[middleware])) as ws:
        assert await exchange(ws, "1") == ["1"]


async def test_a_middleware_that_has_rejected_and_goes_on_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def middleware(endpoint: Any) -> Any:
        async def wrapper() -> None:
            await websocket.close()
            await endpoint()

        return wrapper

    app = listening(put, middlewares=[middleware])
    channel = FakeChannel()
    await soon(app(*triple_over("asgi", channel)))
    assert channel.types == ["close"]
    assert "cannot accept" in caplog.text


# --- registration ---


def sync(data: int) -> None: ...


async def without_data(message: int) -> None: ...


class Unknown:
    """A class that nothing can be made into."""


def test_the_decorator_returns_the_function() -> None:
    app = App()
    assert app.websocket_listener("/a")(put) is put
    assert app.url_path_for("put") == "/a"


def test_without_a_path_it_says_so() -> None:
    with pytest.raises(TypeError, match=r"write @….websocket_listener\('/path'\) above"):
        App().websocket_listener(put)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (sync, "must be an async function or an async generator function"),
        (Order, "must be an async function or an async generator function"),
        (without_data, "needs a parameter 'data'"),
        (echo(Buy | Order | Point), "cannot read messages as"),
        (echo("Missing"), "its type cannot be told"),
        (echo(sync), "cannot read messages as"),
    ],
)
def test_what_cannot_be_called_for_messages_is_refused_at_once(fn: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Listener(fn)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"on_invalid": "ignore"}, "on_invalid must be one of"),
        ({"max_invalid": 0}, "max_invalid must be at least 1"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"concurrency": -1}, "concurrency must be at least 1"),
        ({"concurrency": "3"}, "concurrency must be at least 1, not '3'"),
        ({"key": "account", "concurrency": 2}, "key must be a function"),
        ({"key": len}, "key= is for concurrency above 1"),
        ({"key": len, "concurrency": 1}, "key= is for concurrency above 1"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Listener(put, **options)


async def test_a_class_of_your_own_needs_a_codec_that_knows_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = await rejection(listening(echo(Unknown)), raise_app_exceptions=False)
    assert refused.status == 500
    assert "cannot read messages as Unknown" in caplog.text

    codec = JSON(dec_hook=lambda tp, value: tp(), enc_hook=lambda value: "known")
    async with connected(listening(echo(Unknown), codec=codec)) as ws:
        assert await exchange(ws, "{}") == ['"known"']


def test_a_parameter_that_is_none_of_the_path_is_refused_when_the_route_is_added() -> None:
    async def fn(data: int, room: str) -> None: ...

    with pytest.raises(TypeError, match="'room' is none of the path '/'"):
        listening(fn)
    App().websocket_listener("/{room}")(fn)


async def test_a_listener_is_an_endpoint_like_others() -> None:
    app = App()
    route = "/rooms" // SocketRoute("/{room}", Listener(echo(int), max_invalid=1))
    app.router.add(route)
    async with connected(app, "/rooms/den") as ws:
        assert await exchange(ws, "1") == ["1"]
    assert (route.path, route.name) == ("/rooms/{room}", "fn")


async def test_one_listener_serves_many_connections_each_by_itself() -> None:
    app = listening(echo(int), max_invalid=2)
    async with connected(app) as one, connected(app) as other:
        await exchange(one, "x")
        await exchange(other, "x")
        assert await exchange(one, "1") == ["1"]
        assert await exchange(other, "2") == ["2"]


# --- messages that do not fit ---


async def test_the_client_is_told_and_the_next_message_is_handled() -> None:
    async with connected(listening(echo(Order))) as ws:
        wrong, right = await exchange(ws, '{"price": "b", "ref": 7}', '{"price": 1}')
    assert json.loads(wrong) == {
        "type": "error",
        "ref": 7,
        "errors": [{"path": "$.price", "message": "Expected `float`, got `str`"}],
    }
    assert right == '{"price":1.0,"name":"x"}'


async def test_pydantic_says_everything_that_is_wrong() -> None:
    class Both(pydantic.BaseModel):
        a: int
        b: list[int]

    async with connected(listening(echo(Both))) as ws:
        [wrong] = await exchange(ws, '{"b": [1, "x"]}')
    assert [each["path"] for each in json.loads(wrong)["errors"]] == ["$.a", "$.b[1]"]


@pytest.mark.parametrize(
    ("hint", "message", "code"),
    [
        (Order, "nope", 1007),
        (Order, b"\xff", 1007),
        (Order, "[1]", 1003),
        (Model, "nope", 1007),
        (Model, "{}", 1003),
        (str, b"\xff", 1007),
        (int, "x", 1003),
        (dict, "nope", 1007),
        (dict, "[]", 1003),
        (Any, "nope", 1007),
    ],
)
@pytest.mark.parametrize("on_invalid", ["reply", "close"])
async def test_the_code_says_whether_it_could_be_read(
    hint: Any, message: str | bytes, code: int, on_invalid: str
) -> None:
    app = listening(echo(hint), on_invalid=on_invalid, max_invalid=1)
    async with connected(app) as ws:
        await (ws.send_text(message) if isinstance(message, str) else ws.send_bytes(message))
        if on_invalid == "reply":
            assert json.loads(await ws.receive_text())["type"] == "error"
        await ws.expect_close(code)


async def test_only_so_many_in_a_row_are_answered() -> None:
    async with connected(listening(echo(int), max_invalid=3)) as ws:
        await exchange(ws, "x", b"y", "1", "x", "y", "2", "x", "y", "z")
        await ws.expect_close(1003)


async def test_raising_is_up_to_the_application() -> None:
    app = listening(echo(int), on_invalid="raise")
    async with connected(app) as ws:
        assert await exchange(ws, "1") == ["1"]
        await ws.send_text("x")
        await ws.expect_close(1008)


async def test_a_field_name_does_not_break_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Strict(pydantic.BaseModel, extra="forbid"):
        a: int = 0

    caplog.set_level(logging.INFO, "telex")
    async with connected(listening(echo(Strict))) as ws:
        await exchange(ws, json.dumps({"a\nforged": 1}))
    [line] = [r.getMessage() for r in caplog.records if "does not fit" in r.getMessage()]
    assert "a\\nforged" in line
    assert "\n" not in line


async def test_no_message_makes_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    hostile: list[str | bytes] = [
        '{"ref": "\\ud800"}',
        '{"ref": 1' + "0" * 5000 + "}",
        '{"\\ud800": 1}',
        '{"price": 1e999}',
        "[" * 50_000,
        '{"price":' * 50_000,
        "\x00",
        b"\xff\xfe",
        '{"price": NaN}',
        '{"price": 1, "price": "x"}',
    ]

    async def fn(data: Any) -> dict[str, Any]:
        return {}

    for hint in (Order, Model, int, dict, list[int], Buy | Sell, Any):
        fn.__annotations__["data"] = hint
        async with connected(listening(fn, max_invalid=1000)) as ws:
            for answer in await exchange(ws, *hostile):
                assert isinstance(json.loads(answer), dict)
    assert "Traceback" not in caplog.text


# --- the function's context ---


async def test_the_connection_is_in_the_context_of_every_call() -> None:
    async def fn(data: int) -> str:
        await asyncio.sleep(0)
        return websocket.path

    for options in ({}, {"concurrency": 2}):
        async with connected(listening(fn, **options)) as ws:
            assert await exchange(ws, "1") == ["/"]


@pytest.mark.parametrize("path", ["asgi", "frames"])
@pytest.mark.parametrize("how", ["takes the next message", "sends before it returns"])
async def test_a_call_may_use_the_connection(path: str, how: str) -> None:
    async def fn(data: str, ws: WebSocket) -> str:
        if how == "takes the next message":
            return data + await ws.receive_text()
        await ws.send_text("first")
        return data

    channel = FakeChannel()
    serving = asyncio.ensure_future(listening(fn)(*triple_over(path, channel)))
    await until(lambda: channel.log)
    channel.feed(T("a"))
    await turns()
    channel.feed(T("b"))
    await turns()
    channel.feed(D(1001))
    await soon(serving)
    one_by_one = how == "sends before it returns"
    assert channel.data == (["first", "a", "first", "b"] if one_by_one else ["ab"])


# --- both ways ---


@pytest.mark.parametrize("path", ["asgi", "frames", "wrapped send", "wrapped receive"])
async def test_all_messages_are_answered_in_order_whichever_way_they_come(path: str) -> None:
    async def fn(data: int) -> AsyncIterator[int]:
        yield data
        await asyncio.sleep(0)
        yield -data

    channel = FakeChannel()
    serving = asyncio.ensure_future(listening(fn)(*triple_over(path, channel)))
    await until(lambda: channel.log)
    channel.feed(*(T(str(n)) if n % 2 else B(str(n).encode()) for n in range(1, 20)))
    await until(lambda: len(channel.data) == 38)
    channel.feed(D(1001))
    await soon(serving)
    assert channel.data == [str(each) for n in range(1, 20) for each in (n, -n)]
    assert channel.closes == []


@pytest.mark.parametrize("path", ["asgi", "frames"])
async def test_a_client_that_reads_nothing_stops_the_calls(path: str) -> None:
    begun: list[int] = []

    async def fn(data: int) -> int:
        begun.append(data)
        return data

    channel = FakeChannel()
    serving = asyncio.ensure_future(listening(fn)(*triple_over(path, channel)))
    await until(lambda: channel.log)
    channel.block()
    channel.feed(*(T(str(n)) for n in range(10)))
    await turns(50)
    assert len(begun) <= 2
    channel.unblock()
    await until(lambda: len(channel.data) == 10)
    channel.feed(D(1001))
    await soon(serving)
