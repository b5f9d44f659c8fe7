"""Receiving JSON: every value, every kind of rubbish, both kinds of message."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from opened import opened, turns
from peer import B, T
from telex import WebSocket, WebSocketFrameError, WebSocketRuntimeError


@pytest.mark.row("K36", "L34", "L36", "G39", "T24")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":1}', {"a": 1}),
        ("[1,null]", [1, None]),
        ('"x"', "x"),
        ('""', ""),
        ("0", 0),
        ("-1.5e3", -1500.0),
        ("true", True),
        ("false", False),
        ("null", None),
        (' {"é": "\\u00e9"} ', {"é": "é"}),
        ('"\\ud800"', "\ud800"),
        (str(2**70), 2**70),
        ('{"a":1,"a":2}', {"a": 2}),
    ],
)
async def test_receive_json_returns_the_value(text: str, value: object) -> None:
    ws, _ = await opened(T(text), T(text), B(text.encode()))
    for received in (
        await ws.receive_json(),
        await ws.receive_json(mode="text"),
        await ws.receive_json(mode="binary"),
    ):
        assert received == value
        assert type(received) is type(value)


@pytest.mark.row("L37", "C24")
async def test_json_in_a_binary_message_is_read_with_mode_binary() -> None:
    ws, _ = await opened(B(b'{"a":1}'))
    assert await ws.receive_json(mode="binary") == {"a": 1}


@pytest.mark.row("G41", "C18", "T18")
async def test_receive_json_refuses_the_other_kind_of_message() -> None:
    ws, _ = await opened(B(b"{}"), T("1"), T("{}"), B(b"2"))
    with pytest.raises(WebSocketFrameError):
        await ws.receive_json()
    assert await ws.receive_json() == 1
    with pytest.raises(WebSocketFrameError):
        await ws.receive_json(mode="binary")
    assert await ws.receive_json(mode="binary") == 2


DEEP = "[" * 100_000 + "]" * 100_000

MALFORMED = [
    "{bad",
    "",
    " ",
    "{} {}",
    "[1,]",
    "{'a':1}",
    "nan",
    pytest.param("NaN", marks=pytest.mark.row("C23", "T21")),
    pytest.param("[Infinity]", marks=pytest.mark.row("C23", "T21")),
    pytest.param('{"a":[-Infinity]}', marks=pytest.mark.row("C23", "T21")),
    pytest.param("1e999", marks=pytest.mark.row("C23")),
    pytest.param(DEEP, id="deep", marks=pytest.mark.row("T20")),
    pytest.param("9" * 5000, id="long", marks=pytest.mark.row("T20")),
    pytest.param("\ufeff{}", id="mark", marks=pytest.mark.row("T25")),
]


@pytest.mark.row("G42", "C21")
@pytest.mark.parametrize("text", MALFORMED)
async def test_malformed_json_is_an_error_and_the_connection_stays_open(text: str) -> None:
    ws, _ = await opened(T(text), B(text.encode()), T("{}"))
    with pytest.raises(json.JSONDecodeError):
        await ws.receive_json()
    with pytest.raises(json.JSONDecodeError):
        await ws.receive_json(mode="binary")
    assert await ws.receive_json() == {}
    await ws.send_text("still here")


@pytest.mark.row("T25", "C21")
@pytest.mark.parametrize(
    "data", [b"\xff", b'"\xed\xa0\x80"', b'{"a":"\x80"}', "{}".encode("utf-16")]
)
async def test_binary_json_that_is_not_utf_8_is_malformed(data: bytes) -> None:
    ws, _ = await opened(B(data), B(b"{}"))
    with pytest.raises(json.JSONDecodeError):
        await ws.receive_json(mode="binary")
    assert await ws.receive_json(mode="binary") == {}


@pytest.mark.row("LX7", "C24")
@pytest.mark.parametrize("mode", ["x", "bytes", "TEXT", "", None, True, b"text", ["text"]])
async def test_another_mode_is_refused_before_anything_is_read(mode: Any) -> None:
    ws, peer = await opened(T("1"))
    for refused in (ws.receive_json, lambda mode: ws.send_json({}, mode=mode)):
        with pytest.raises(WebSocketRuntimeError) as raised:
            await refused(mode=mode)
        assert isinstance(raised.value, ValueError)
    with pytest.raises(WebSocketRuntimeError):
        ws.iter_json(mode=mode)
    await turns()
    assert peer.reads == 1
    assert peer.types == ["accept"]
    assert await ws.receive_json() == 1


def test_receive_json_takes_a_mode_and_nothing_else() -> None:
    parameters = inspect.signature(WebSocket.receive_json).parameters
    assert list(parameters) == ["self", "mode"]
    assert parameters["mode"].default == "text"
