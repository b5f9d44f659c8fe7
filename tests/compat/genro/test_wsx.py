from __future__ import annotations

import datetime as dt
import inspect
import json
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from clients import connected
from telex._types import Receive, Scope, Send
from telex.compat.genro.websocket import WebSocket
from telex.compat.genro.wsx import (
    WSX_PREFIX,
    build_wsx_message,
    build_wsx_response,
    is_wsx_message,
    parse_wsx_message,
)

pytestmark = pytest.mark.row("GX8")

REQUEST = {
    "id": "uuid-123",
    "method": "POST",
    "path": "/users/42",
    "headers": {"content-type": "application/json"},
    "cookies": {"session_id": "xyz"},
    "query": {"limit": "10"},
    "data": {"name": "Mario"},
}
RESPONSE = {
    "id": "uuid-123",
    "status": 201,
    "headers": {"x-request-id": "trace-456"},
    "cookies": {"session_id": {"value": "new", "max_age": 3600}},
    "data": {"created": True},
}

# --- recognising and reading ---


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ('WSX://{"id":"123"}', True),
        (b'WSX://{"id":"123"}', True),
        ("WSX://", True),
        ('{"id":"123"}', False),
        (b'{"id":"123"}', False),
        ("wsx://{}", False),
        (" WSX://{}", False),
        ("", False),
        (b"", False),
    ],
)
def test_a_message_is_known_by_how_it_begins(data: str | bytes, answer: bool) -> None:
    assert is_wsx_message(data) is answer


@pytest.mark.parametrize(
    "data",
    [
        'WSX://{"id":"abc","method":"POST"}',
        '{"id":"abc","method":"POST"}',
        b'WSX://{"id":"abc","method":"POST"}',
        'WSX:// {"id": "abc", "method": "POST"} ',
    ],
)
def test_the_fields_of_a_message_with_or_without_its_beginning(data: str | bytes) -> None:
    assert parse_wsx_message(data) == {"id": "abc", "method": "POST"}


def test_fields_are_not_checked() -> None:
    assert parse_wsx_message('WSX://{"id":7,"more":null}') == {"id": 7, "more": None}
    assert parse_wsx_message("WSX://{}") == {}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("WSX://[1,2]", "must be a JSON object, not list"),
        ('WSX://"text"', "must be a JSON object, not str"),
        ("WSX://null", "must be a JSON object, not NoneType"),
        ("WSX://[1]::JS", "must be a JSON object, not list"),
    ],
)
def test_what_is_no_object_is_refused(data: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_wsx_message(data)


@pytest.mark.parametrize(
    "data",
    ["WSX://", "WSX://{bad", 'WSX://{"a":NaN}', b"WSX://\xff", "", "WSX://{bad::JS", "[" * 100_000],
)
def test_what_is_no_json_is_refused(data: str | bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        parse_wsx_message(data)


def test_a_message_that_is_marked_as_typed_has_typed_values() -> None:
    data = 'WSX://{"id":"1","data":{"price":"99.50::N","date":"2025-01-15::D"}}::JS'
    assert parse_wsx_message(data)["data"] == {
        "price": Decimal("99.50"),
        "date": dt.date(2025, 1, 15),
    }
    plain = parse_wsx_message('WSX://{"data":{"price":"99.50::N"}}')
    assert plain["data"] == {"price": "99.50::N"}


def test_a_typed_message_needs_the_library_and_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "genro_tytx", None)
    assert parse_wsx_message('WSX://{"id":"1"}') == {"id": "1"}
    with pytest.raises(ImportError, match="genro-tytx"):
        parse_wsx_message('WSX://{"id":"1"}::JS')
    with pytest.raises(ImportError, match="genro-tytx"):
        build_wsx_message(id="1", method="GET", tytx=True)


# --- writing ---


def test_a_request_with_what_it_needs_and_with_all_it_may_have() -> None:
    assert build_wsx_message(id="1", method="GET") == 'WSX://{"id":"1","method":"GET","path":"/"}'
    full: dict[str, Any] = REQUEST
    assert parse_wsx_message(build_wsx_message(**full)) == REQUEST


def test_a_response_with_what_it_needs_and_with_all_it_may_have() -> None:
    assert build_wsx_response(id="1") == 'WSX://{"id":"1","status":200}'
    full: dict[str, Any] = RESPONSE
    assert parse_wsx_message(build_wsx_response(**full)) == RESPONSE


@pytest.mark.parametrize("data", [0, "", False, [], {}])
def test_all_data_but_none_is_sent(data: object) -> None:
    assert parse_wsx_message(build_wsx_message(id="1", method="GET", data=data))["data"] == data
    assert parse_wsx_message(build_wsx_response(id="1", data=data))["data"] == data


def test_what_is_empty_is_left_out() -> None:
    message = build_wsx_message(id="1", method="GET", headers={}, cookies={}, query={}, data=None)
    assert parse_wsx_message(message).keys() == {"id", "method", "path"}
    response = build_wsx_response(id="1", headers={}, cookies={}, data=None, stream=False)
    assert parse_wsx_message(response).keys() == {"id", "status"}


def test_a_typed_request_says_so_and_keeps_its_types() -> None:
    message = build_wsx_message(id="1", method="GET", data={"a": Decimal("1.50")}, tytx=True)
    assert message.endswith("::JS")
    assert parse_wsx_message(message) == {
        "id": "1",
        "method": "GET",
        "path": "/",
        "data": {"a": Decimal("1.50")},
        "tytx": True,
    }
    plain = build_wsx_message(id="1", method="GET", tytx=True)
    assert json.loads(plain.removeprefix(WSX_PREFIX))["tytx"] is True


@pytest.mark.parametrize(
    "build",
    [
        lambda data: build_wsx_message(id="1", method="GET", data=data),
        lambda data: build_wsx_message(id="1", method="GET", data=data, tytx=True),
        lambda data: build_wsx_response(id="1", data=data),
    ],
)
def test_what_json_cannot_express_is_refused(build: Callable[[Any], str]) -> None:
    with pytest.raises(TypeError):
        build(object())
    with pytest.raises(ValueError):
        build(float("nan"))


def test_fields_are_given_by_name_and_ids_always() -> None:
    assert str(inspect.signature(build_wsx_message)) == (
        "(*, id: 'str', method: 'str', path: 'str' = '/', "
        "headers: 'Mapping[str, str] | None' = None, cookies: 'Mapping[str, str] | None' = None, "
        "query: 'Mapping[str, Any] | None' = None, data: 'Any' = None, tytx: 'bool' = False)"
        " -> 'str'"
    )
    assert [*inspect.signature(build_wsx_response).parameters] == (
        ["id", "status", "headers", "cookies", "data", "stream"]
    )


# --- over a connection ---


async def counting(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers every request with a stream, and what is no request with a 400."""
    ws = WebSocket(scope, receive, send)
    await ws.accept()
    async for text in ws:
        try:
            asked = parse_wsx_message(text)
        except ValueError as error:
            await ws.send_text(build_wsx_response(id="", status=400, data={"error": str(error)}))
            continue
        for number in range(asked["data"]):
            await ws.send_text(build_wsx_response(id=asked["id"], data=number, stream=True))
        await ws.send_text(build_wsx_response(id=asked["id"], data="end"))


async def test_several_responses_to_one_request_are_a_stream() -> None:
    async with connected(counting) as ws:
        await ws.send_text(build_wsx_message(id="7", method="GET", path="/count", data=2))
        got = [parse_wsx_message(await ws.receive_text()) for _ in range(3)]
        assert got == [
            {"id": "7", "status": 200, "data": 0, "stream": True},
            {"id": "7", "status": 200, "data": 1, "stream": True},
            {"id": "7", "status": 200, "data": "end"},
        ]
        await ws.send_text("WSX://[]")
        assert parse_wsx_message(await ws.receive_text())["status"] == 400
