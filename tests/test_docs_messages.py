"""The pages about messages, listeners, streams and requests: what they say is so."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

import pages
import telex
from clients import connected, rejection
from documented import example, shown
from sse import end_watchers
from telex.codecs import JSON, MessagePack, reader
from telex.testing import AsyncTestClient

DOCS = pages.ROOT / "docs"


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


async def answers(app: telex.App, url: str, *messages: str | bytes, **options: Any) -> list[Any]:
    """Play an example: one answer for each message, which is what they all have."""
    async with connected(app, url, **options) as ws:
        got: list[Any] = []
        for message in messages:
            await ws.send_value(message)
            data = await ws.receive()
            got.append(data.get("text") or data.get("bytes"))
        await ws.expect_nothing(0)
    return got


# messages.md


async def test_a_message_becomes_a_value_and_a_value_a_message() -> None:
    [answer] = await answers(example("values").app, "/game", '{"type": "move", "x": 3}')
    assert f"`{answer}`" in text_of("messages.md")


async def test_a_message_that_is_none_of_the_union_closes_with_1008() -> None:
    async with connected(example("values").app, "/game") as ws:
        await ws.send_text('{"type": "jump"}')
        await ws.expect_close(1008)


async def test_an_error_has_the_path_and_the_connection_goes_on() -> None:
    first, second, third, fourth = await answers(
        example("expect-error").app,
        "/orders",
        '{"item": "tea", "price": "much"}',
        '{"item": "tea"}',
        "{",
        b'{"item": "tea", "price": 4.5}',
    )
    assert json.loads(first) == json.loads(shown("messages.md", "json")[0])
    [missing] = json.loads(second)["errors"]
    assert f"``{missing['path']}: {missing['message']} ``" in text_of("messages.md")
    assert json.loads(third)["malformed"] is True
    assert fourth == "4.5"


CASTS: dict[str, tuple[type, list[str], list[str]]] = {
    "`int`": (int, ["12", "-3", "007", " 1 "], ["1.0", "1e3", '"12"', "9" * 5000]),
    "`bool`": (bool, ["true", "True", "false", "False", "0", "10"], ["yes", '"true"', " 1", "-1"]),
    "`dict`": (dict, ["{}"], ["[]", "1"]),
}


def test_the_table_of_casts_has_an_example_for_each_line() -> None:
    assert [row[0] for row in pages.table(text_of("messages.md"), "`tp`")] == list(CASTS)


@pytest.mark.parametrize("tp", CASTS)
def test_what_the_table_of_casts_accepts_is_read_and_the_rest_is_not(tp: str) -> None:
    cls, accepted, refused = CASTS[tp]
    read = reader(JSON(), cls)
    for text in accepted:
        assert type(read(text)) is cls
    for text in refused:
        with pytest.raises(telex.WebSocketExpectError):
            read(text)


class Text(msgspec.Struct):
    text: str


class Number(msgspec.Struct):
    x: int


def refuses(tp: Any, text: str, **options: Any) -> bool:
    """Whether a JSON text is none of a type."""
    try:
        reader(JSON(**options), tp)(text)
    except telex.WebSocketExpectError:
        return True
    return False


async def test_values_are_written_by_the_contract_of_msgspec() -> None:
    values: dict[str, Any] = {
        "[null,null]": [math.nan, math.inf],
        '["2024-02-29","1.50"]': [dt.date(2024, 2, 29), Decimal("1.50")],
        '["00000000-0000-0000-0000-000000000001"]': [UUID(int=1)],
        '{"x":1}': Number(1),
        '["\\ud800"]': ["\ud800"],
        "hello": "hello",
    }
    refused = [(TypeError, {None: 1}), (TypeError, {True: 1})]

    async def send_all(ws: telex.WebSocket) -> None:
        async with ws:
            for kind, value in refused:
                with pytest.raises(kind):
                    await ws.send_value(value)
            for value in values.values():
                await ws.send_value(value)

    app = telex.App()
    app.websocket("/")(send_all)
    async with connected(app) as ws:
        assert [text async for text in ws] == list(values)


async def test_send_json_keeps_its_own_contract() -> None:
    kept: dict[str, Any] = {'{"null":1,"true":2}': {None: 1, True: 2}, '"hello"': "hello"}
    kept['"\\ud800"'] = "\ud800"

    async def send_all(ws: telex.WebSocket) -> None:
        async with ws:
            for value in (dt.date(2024, 2, 29), {1}, Number(1)):
                with pytest.raises(TypeError):
                    await ws.send_json(value)
            with pytest.raises(ValueError, match="Out of range"):
                await ws.send_json(math.nan)
            for value in kept.values():
                await ws.send_json(value)

    app = telex.App()
    app.websocket("/")(send_all)
    async with connected(app) as ws:
        assert [text async for text in ws] == list(kept)


@pytest.mark.parametrize("text", ["NaN", "1e999", '"\ufeff"' * 2, "[" * 100_000])
def test_what_no_json_may_hold_is_refused_whatever_is_asked_for(text: str) -> None:
    for tp in (Any, float, list[Any], dict):
        assert refuses(tp, text)


def test_what_is_read_follows_the_contract_of_msgspec() -> None:
    assert refuses(Number, '{"x": "1"}')
    assert not refuses(Number, '{"x": "1"}', strict=False)
    assert not refuses(Number, '{"x": 1, "unknown": 2}')
    assert refuses(Text, '{"text": "\\ud800"}')
    assert not refuses(Any, '"\\ud800"')
    assert not refuses(dict, '{"text": "\\ud800"}')
    assert refuses(str | None, "hello")
    assert not refuses(str, "hello")


async def test_the_subprotocol_chooses_the_codec() -> None:
    app = example("codecs").app
    packed = msgspec.msgpack.encode([1, 2])
    both = ["msgpack", "json"]
    assert await answers(app, "/double", packed, subprotocols=both) == [
        msgspec.msgpack.encode([2, 4])
    ]
    assert await answers(app, "/double", "[1,2]", subprotocols=["json"]) == ["[2,4]"]
    assert await answers(app, "/double", b"[1,2]") == ["[2,4]"]


async def test_hooks_read_and_write_types_of_ones_own() -> None:
    good, bad = await answers(example("hooks").app, "/invert", '["ff8000"]', '["red"]')
    assert f"`{good}`" in text_of("messages.md")
    assert json.loads(bad)["errors"][0]["path"] == "$[0]"
    assert "hexadecimal" in json.loads(bad)["errors"][0]["message"]


async def test_a_codec_of_ones_own_sorts_and_closes_where_it_has_no_words() -> None:
    app = example("own-codec").app
    async with connected(app, "/sort") as ws:
        await ws.send_text("tea\ncoffee")
        assert await ws.receive_text() == "coffee\ntea"
        await ws.send_bytes(b"tea")
        assert (await ws.expect_close(1003)).reason == "$: expected text"


async def test_typed_text_keeps_its_types() -> None:
    question = '{"net": "1.25::N", "day": "2024-02-29::D"}::JS'
    [answer] = await answers(example("typed-text").app, "/due", question)
    text = text_of("messages.md")
    assert f"`{question}`" in text
    assert f"`{answer}`" in text


# listeners.md


async def test_a_listener_answers_and_tells_what_does_not_fit() -> None:
    receipt, error = await answers(
        example("listener").app,
        "/orders/tea",
        '{"item": "tea", "price": 4, "ref": 1}',
        '{"item": "tea", "price": "much", "ref": 7}',
    )
    assert f"`{receipt}`" in text_of("listeners.md")
    assert json.loads(error) == json.loads(shown("listeners.md", "json")[0])


async def test_a_listener_that_returns_nothing_sends_nothing() -> None:
    async with connected(example("listener").app, "/orders/closed") as ws:
        await ws.send_text('{"item": "tea", "price": 4}')
        await ws.expect_nothing(0)


@pytest.mark.parametrize(
    ("on_invalid", "message", "end"),
    [
        ("close", "{", (1007, "$: Input data was truncated")),
        ("close", b"\xff", (1007, "$: JSON is malformed: invalid character (byte 0)")),
        ("close", "[]", (1003, "$: Expected `object`, got `array`")),
        ("raise", "[]", (1008, "")),
    ],
)
async def test_the_policy_decides_how_it_ends(
    on_invalid: str, message: str | bytes, end: tuple[int, str]
) -> None:
    app = telex.App()

    @app.websocket_listener("/", on_invalid=on_invalid)
    async def numbers(data: Number) -> None:
        pytest.fail("it does not fit")

    async with connected(app) as ws:
        await ws.send_value(message)
        record = await ws.expect_close()
    assert (record.code, record.reason) == end


async def test_ten_in_a_row_are_answered_and_a_good_one_begins_anew() -> None:
    app = telex.App()

    @app.websocket_listener("/")
    async def numbers(data: int) -> int:
        return data

    async with connected(app) as ws:
        for message in [*"x" * 9, "1", *"x" * 10]:
            await ws.send_text(message)
        got = [text async for text in ws]
        assert (await ws.expect_close(1003)).reason.startswith("$: expected an integer")
    assert got.count("1") == 1
    assert len(got) == 20


async def test_a_listener_that_yields_sends_each_item() -> None:
    async with connected(example("countdown").app, "/countdown") as ws:
        await ws.send_text("3")
        await ws.send_text("1")
        assert [await ws.receive_text() for _ in range(4)] == ["3", "2", "1", "1"]
        await ws.expect_nothing(0)


async def test_what_is_made_for_a_message_is_closed_behind_it() -> None:
    module = example("message-scope")
    async with connected(module.app, "/numbers") as ws:
        for message in ("1", "2", "-3"):
            await ws.send_text(message)
        assert [text async for text in ws] == ["1 + 1 = 2", "2 + 2 = 4"]
        await ws.expect_close(4000)
    assert module.saved == [1, 2]


async def test_messages_of_one_key_keep_their_order() -> None:
    async with connected(example("lanes").app, "/jobs") as ws:
        for ref, (account, seconds) in enumerate([("a", 0.05), ("a", 0), ("b", 0)]):
            await ws.send_json({"account": account, "ref": ref, "seconds": seconds})
        assert [(await ws.receive_json())["done"] for _ in range(3)] == [2, 0, 1]


async def test_what_is_shielded_goes_on_when_the_client_leaves() -> None:
    module = example("shield")
    async with (
        AsyncTestClient(module.app, check_tasks=False) as client,
        client.websocket("/notes") as ws,
    ):
        await ws.send_text("buy tea")
        await ws.expect_nothing(0)
    assert module.saved == []
    async with asyncio.timeout(5):
        await asyncio.gather(*module.saving)
    assert module.saved == ["buy tea"]


async def test_methods_are_called_by_the_type_of_a_message() -> None:
    async with connected(example("on").app, "/chat") as ws:
        await ws.send_json({"type": "name", "to": "Ada"})
        await ws.send_json({"type": "say", "text": "hello"})
        assert await ws.receive_json() == {"type": "said", "name": "Ada", "text": "hello"}
        await ws.send_json({"type": "shout"})
        [error] = (await ws.receive_json())["errors"]
        assert f"``{error['path']}: {error['message']}``" in text_of("listeners.md")
        for _ in range(2):
            await ws.send_json([])
        assert len([text async for text in ws]) == 2
        await ws.expect_close(1003)


# streams.md


async def test_a_stream_sends_its_items_and_closes() -> None:
    async with connected(example("stream").app, "/ticks/tea?count=2&every=0") as ws:
        expected = [{"symbol": "tea", "number": n} for n in range(2)]
        assert [json.loads(text) async for text in ws] == expected
        await ws.expect_close(1000)


async def test_a_stream_is_closed_where_it_waits_when_the_client_leaves() -> None:
    module = example("stream")
    async with connected(module.app, "/ticks/tea?every=1000") as ws:
        await ws.receive_text()
        assert module.open_streams == {"tea"}
    assert module.open_streams == set()
    assert (await rejection(module.app, "/ticks/tea?count=many")).status == 422


@asynccontextmanager
async def http(app: telex.App, **options: Any) -> AsyncIterator[Any]:
    """A client for requests to an application."""
    async with AsyncTestClient(app, **options) as client:
        yield client.http
    end_watchers()


async def events(app: telex.App, url: str, **headers: str) -> str:
    async with http(app) as client:
        wanted = {"accept": "text/event-stream", **headers}
        response = await client.get(url, headers=wanted)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
    return str(response.text)


async def test_the_same_route_serves_events() -> None:
    text = await events(example("stream").app, "/ticks/tea?count=2&every=0")
    assert text == f"{shown('streams.md', 'text')[0]}\n\n"


async def test_other_requests_are_told_to_upgrade() -> None:
    async with http(example("stream").app) as client:
        for headers in ({}, {"accept": "application/json"}):
            assert (await client.get("/ticks/tea", headers=headers)).status_code == 426
        wanted = {"accept": "text/event-stream"}
        refused = await client.get("/ticks/tea?count=many", headers=wanted)
        assert refused.status_code == 422


def ids(text: str) -> Iterator[str]:
    return (line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: "))


async def test_counting_goes_on_where_it_broke_off() -> None:
    text = await events(
        example("stream").app, "/ticks/tea?count=2&every=0", **{"last-event-id": "41"}
    )
    assert list(ids(text)) == ["42", "43"]


async def test_a_stream_goes_on_where_the_client_was_cut_off() -> None:
    assert list(ids(await events(example("last-event-id").app, "/news"))) == ["a1", "b2", "c3"]
    text = await events(example("last-event-id").app, "/news", **{"last-event-id": "b2"})
    assert text.startswith('id: c3\nevent: news\ndata: {"weather":"snow"}\nretry: 2000\n\n')
    async with connected(example("last-event-id").app, "/news") as ws:
        assert await ws.receive_text() == '{"weather":"rain"}'
        await ws.expect_nothing(0)


async def test_pages_of_other_origins_may_read_events_where_cors_says_so() -> None:
    app = example("cors").app
    async with http(app) as client:
        for origin, allowed in (("https://friend.example", True), ("https://foe.example", False)):
            headers = {"accept": "text/event-stream", "origin": origin, "cookie": "session=1"}
            response = await client.get("/time", headers=headers)
            assert "data: noon" in response.text
            assert ("access-control-allow-origin" in response.headers) is allowed
    friend = {"origin": "https://friend.example", "cookie": "session=1"}
    assert (
        await rejection(app, "/time", headers=friend | {"origin": "https://foe.example"})
    ).status
    async with connected(app, "/time", headers=friend) as ws:
        assert [text async for text in ws] == ["noon"]


async def test_a_route_with_a_binary_codec_has_no_events() -> None:
    app = telex.App()

    @app.websocket_stream("/", codec=MessagePack())
    async def numbers() -> Any:
        yield 1.5

    async with http(app, raise_app_exceptions=False) as client:
        response = await client.get("/", headers={"accept": "text/event-stream"})
    assert response.text == 'event: close\ndata: {"code":1011,"reason":""}\n\n'


# concurrency.md


async def test_a_search_can_be_cancelled_and_a_late_cancel_is_harmless() -> None:
    async with connected(example("cancel").app, "/search") as ws:
        await ws.send_json({"type": "search", "ref": 1, "words": "green tea", "seconds": 1000})
        await ws.send_json({"type": "search", "ref": 1, "words": "black tea"})
        assert "error" in await ws.receive_json()
        await ws.send_json({"type": "cancel", "ref": 1})
        await ws.expect_nothing(0)
        await ws.send_json({"type": "search", "ref": 1, "words": "black tea"})
        assert await ws.receive_json() == {"ref": 1, "found": ["black", "tea"]}
        await ws.send_json({"type": "cancel", "ref": 1})
        await ws.expect_nothing(0)


@pytest.mark.parametrize(("yes", "answer"), [(True, "deleted"), (False, "kept")])
async def test_a_request_gets_its_reply(yes: bool, answer: str) -> None:
    async with connected(example("request").app, "/files") as ws:
        await ws.send_text("notes.txt")
        question = await ws.receive_json()
        assert question.keys() == {"question", "ref"}
        await ws.send_text("other.txt")
        await ws.send_json({"yes": yes, "ref": question["ref"]})
        assert await ws.receive_text() == answer
        assert (await ws.receive_json())["question"] == "delete other.txt?"


async def test_a_stream_ends_with_what_its_exception_says() -> None:
    app = telex.App()

    @app.websocket_stream("/")
    async def fails() -> Any:
        yield 1
        raise telex.WebSocketException(4001, "enough")

    async with connected(app) as ws:
        assert await ws.receive_text() == "1"
        assert (await ws.expect_close(4001)).reason == "enough"
