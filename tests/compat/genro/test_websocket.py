from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

import child
import telex
from clients import connected
from compat.genro import prompts
from opened import turns
from peer import B, D, Peer, T, make_scope, serve
from telex import URL, App, WebSocketRuntimeError
from telex._types import Message
from telex.compat import genro
from telex.compat.genro.exceptions import WebSocketDisconnect, WebSocketException
from telex.compat.genro.websocket import WebSocket, WebSocketState

Call = Callable[[WebSocket], Awaitable[object]]

READS: dict[str, Call] = {
    "receive_text": lambda ws: ws.receive_text(),
    "receive_bytes": lambda ws: ws.receive_bytes(),
    "receive_json": lambda ws: ws.receive_json(),
    "receive_typed": lambda ws: ws.receive_typed(),
}
SENDS: dict[str, Call] = {
    "send_text": lambda ws: ws.send_text("x"),
    "send_bytes": lambda ws: ws.send_bytes(b"x"),
    "send_json": lambda ws: ws.send_json({}),
    "send_typed": lambda ws: ws.send_typed({}),
}
CALLS = READS | SENDS


def connecting(*script: Message, connect: bool = True, **scope: Any) -> tuple[WebSocket, Peer]:
    peer = Peer(*script, connect=connect)
    return WebSocket(make_scope(**scope), peer.receive, peer.send), peer


async def opened(*script: Message, **scope: Any) -> tuple[WebSocket, Peer]:
    ws, peer = connecting(*script, **scope)
    await ws.accept()
    return ws, peer


def state(ws: WebSocket) -> WebSocketState:
    return ws.connection_state


# --- names ---


@pytest.mark.row("G1", "G3", "G8")
def test_the_module_of_the_document_has_its_names() -> None:
    assert WebSocket.__module__ == "telex.compat.genro.websocket"
    assert genro.WebSocket is WebSocket


@pytest.mark.row("G1", "GX4", "GX5")
def test_all_other_names_are_those_of_telex() -> None:
    for name in {*genro.__all__} - {"WebSocket"}:
        assert getattr(genro, name) is getattr(telex, name)
    assert WebSocketDisconnect is telex.WebSocketDisconnect
    assert WebSocketException is telex.WebSocketException
    assert WebSocketState is telex.WebSocketState


@pytest.mark.row("G2", "G68", "G73", "G74", "G75")
def test_the_states_are_integers() -> None:
    assert issubclass(WebSocketState, IntEnum)
    assert [(each.name, each.value) for each in WebSocketState] == [
        ("CONNECTING", 0),
        ("CONNECTED", 1),
        ("DISCONNECTED", 2),
    ]


@pytest.mark.row("G8", "G17", "G21", "G53", "G55", "G58", "G60")
@pytest.mark.parametrize(
    ("method", "documented"),
    [
        (WebSocket, ["scope", "receive", "send"]),
        (WebSocket.accept, ["subprotocol=None", "headers=None"]),
        (WebSocket.close, ["code=1000", "reason=''"]),
        (WebSocket.receive_text, []),
        (WebSocket.receive_bytes, []),
        (WebSocket.receive_typed, []),
        (WebSocket.send_text, ["data"]),
        (WebSocket.send_bytes, ["data"]),
        (WebSocket.send_typed, ["data"]),
        (WebSocket.iter_text, []),
        (WebSocket.iter_bytes, []),
        (WebSocket.refuse, ["code=1008", "reason=''"]),
    ],
)
def test_parameters_are_as_documented(method: Callable[..., Any], documented: list[str]) -> None:
    given = inspect.signature(method).parameters.values()
    plain = [str(each.replace(annotation=each.empty)) for each in given if each.name != "self"]
    assert plain == documented


@pytest.mark.row("G39", "G55")
def test_json_has_one_parameter_more_than_documented() -> None:
    assert str(inspect.signature(WebSocket.receive_json)) == (
        "(self, mode: 'Mode' = 'text') -> 'Any'"
    )
    assert [*inspect.signature(WebSocket.send_json).parameters] == ["self", "data", "mode"]


# --- the examples ---


@pytest.mark.row("G12", "G4", "G24")
async def test_the_example_of_an_echo() -> None:
    handler = prompts.typed("G12")(WebSocket=WebSocket)["handler"]
    async with connected(handler) as ws:
        await ws.send_text("hi")
        assert [text async for text in ws] == ["Echo: hi"]
        await ws.expect_close(1000)


@pytest.mark.row("G72", "G69", "G70", "G25")
async def test_the_example_of_the_states() -> None:
    peer = Peer()
    await prompts.replay(
        "G72",
        WebSocket=WebSocket,
        WebSocketState=WebSocketState,
        scope=make_scope(),
        receive=peer.receive,
        send=peer.send,
    )
    assert peer.types == ["accept"]


@pytest.mark.row("G9", "G19", "G48", "G60")
async def test_a_conversation_with_every_method() -> None:
    script = [T("a"), B(b"b"), T('{"c":1}'), T('{"d":"1.5::N"}::JS'), T("e"), B(b"f"), D(1001)]
    ws, peer = connecting(*script, subprotocols=["v1"])
    await ws.accept(subprotocol="v1", headers={"X-A": "1"})
    assert ws.accepted_subprotocol == "v1"
    assert (await ws.receive_text(), await ws.receive_bytes()) == ("a", b"b")
    assert await ws.receive_json() == {"c": 1}
    assert await ws.receive_typed() == {"d": Decimal("1.5")}
    assert await anext(ws.iter_text()) == "e"
    assert await anext(ws.iter_bytes()) == b"f"
    await ws.send_text("g")
    await ws.send_bytes(b"h")
    await ws.send_json([None])
    await ws.send_typed({"i": Decimal("1.50")})
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()
    await ws.close()
    assert peer.data == ["g", b"h", "[null]", '{"i":"1.50::N"}::JS']
    assert peer.closes == []
    assert peer.sent[0]["headers"] == [(b"x-a", b"1")]


# --- closing ---


@pytest.mark.row("G23", "C2", "T37")
async def test_closing_before_accept_is_a_mistake_and_sends_nothing() -> None:
    ws, peer = connecting()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot close: the connection is not accepted yet"):
            await ws.close()
    assert (peer.sent, peer.reads, state(ws)) == ([], 0, WebSocketState.CONNECTING)
    await ws.accept()
    await ws.close()
    assert peer.types == ["accept", "close"]


@pytest.mark.row("G23")
async def test_closing_while_a_denial_is_sent_says_what_is_going_on() -> None:
    ws, _ = connecting(denial=True)
    await ws.send({"type": "websocket.http.response.start", "status": 404, "headers": []})
    with pytest.raises(WebSocketRuntimeError, match="a denial response is being sent"):
        await ws.close()


@pytest.mark.row("G21", "G22", "G24", "C5")
async def test_code_and_reason_are_sent_once() -> None:
    ws, peer = await opened()
    await ws.close(4000, "bye")
    await ws.close(code=4001, reason="again")
    assert peer.closes == [(4000, "bye")]
    assert state(ws) is WebSocketState.DISCONNECTED


@pytest.mark.row("G21", "C5")
@pytest.mark.parametrize("reason", ["", None])
async def test_no_reason_is_sent_as_an_empty_one(reason: str | None) -> None:
    ws, peer = await opened()
    await ws.close(reason=reason)
    assert peer.closes == [(1000, "")]


@pytest.mark.row("G22", "G26", "C4")
async def test_closing_after_the_client_has_left_does_nothing() -> None:
    ws, peer = await opened(D(1001))
    with pytest.raises(WebSocketDisconnect):
        await ws.receive_text()
    await ws.close()
    assert peer.closes == []


# --- refusing ---


@pytest.mark.row("GX9")
@pytest.mark.parametrize("read", [False, True])
async def test_refusing_reads_the_connect_and_rejects(read: bool) -> None:
    ws, peer = connecting()
    if read:
        await ws.receive()
    await ws.refuse()
    assert peer.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert peer.reads == 1
    assert state(ws) is WebSocketState.DISCONNECTED
    for mistake in (ws.refuse(), ws.accept(), ws.send_text("x"), ws.receive_text()):
        with pytest.raises(RuntimeError):
            await mistake
    await ws.close()
    assert peer.types == ["close"]


@pytest.mark.row("GX9")
async def test_refusing_takes_a_code_and_a_reason() -> None:
    ws, peer = connecting()
    await ws.refuse(code=4001, reason="not you")
    assert peer.closes == [(4001, "not you")]


@pytest.mark.row("GX9", "C65")
async def test_a_code_that_may_not_be_sent_is_refused_before_anything_is_read() -> None:
    ws, peer = connecting()
    with pytest.raises(ValueError):
        await ws.refuse(1005)
    assert (peer.reads, peer.sent) == (0, [])


@pytest.mark.row("GX9")
async def test_what_is_accepted_cannot_be_refused() -> None:
    ws, peer = await opened()
    with pytest.raises(RuntimeError, match="cannot refuse: the connection is open"):
        await ws.refuse()
    await ws.close()
    with pytest.raises(RuntimeError, match="cannot refuse: the connection is closed"):
        await ws.refuse()
    assert peer.closes == [(1000, "")]


@pytest.mark.row("GX9", "C8")
async def test_a_client_that_has_given_up_needs_no_refusal() -> None:
    ws, peer = connecting(D(1006), connect=False)
    await ws.refuse()
    assert peer.sent == []
    assert (state(ws), ws.close_code) == (WebSocketState.DISCONNECTED, 1006)


@pytest.mark.row("GX9")
async def test_a_refusal_that_is_cancelled_while_it_waits_has_sent_nothing() -> None:
    ws, peer = connecting(connect=False)
    task = asyncio.create_task(ws.refuse())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert peer.sent == []
    peer.feed({"type": "websocket.connect"})
    await ws.accept()
    assert peer.types == ["accept"]


# --- accepting ---


@pytest.mark.row("GX2", "C6")
async def test_headers_are_a_mapping_of_text_in_latin_1() -> None:
    ws, peer = connecting()
    await ws.accept(headers={"X-A": "é"})
    assert peer.sent[0]["headers"] == [(b"x-a", b"\xe9")]


@pytest.mark.row("GX2", "C7")
async def test_accepting_twice_is_a_mistake() -> None:
    ws, peer = await opened()
    with pytest.raises(RuntimeError):
        await ws.accept()
    assert peer.types == ["accept"]


@pytest.mark.row("GX2")
async def test_a_connection_begins_with_the_connect() -> None:
    ws, peer = connecting(T("early"), connect=False)
    with pytest.raises(RuntimeError, match=r"websocket\.connect"):
        await ws.accept()
    assert peer.sent == []


# --- reading and writing where there is nothing to read or write ---


@pytest.mark.row("G18", "G36", "G40", "G45", "G51", "G54", "G56", "G59", "G62")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_nothing_is_read_or_sent_before_accept(call: Call) -> None:
    ws, peer = connecting(T("{}"))
    with pytest.raises(RuntimeError):
        await call(ws)
    assert (peer.reads, peer.sent) == (0, [])


@pytest.mark.row("G36", "G40", "G45", "G51", "G54", "G56", "G59", "G62", "C12", "C14")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_nothing_is_read_or_sent_after_close(call: Call) -> None:
    ws, peer = await opened(T("{}"))
    await ws.close()
    with pytest.raises(RuntimeError):
        await call(ws)
    assert peer.types == ["accept", "close"]


@pytest.mark.row("G36", "G40", "G45", "G51", "G54", "G56", "G59", "G62", "C13", "C15")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_nothing_is_read_or_sent_after_the_client_has_left(call: Call) -> None:
    ws, peer = await opened(D(1001))
    assert [text async for text in ws.iter_text()] == []
    reads = peer.reads
    with pytest.raises(RuntimeError):
        await call(ws)
    assert (peer.reads, peer.types) == (reads, ["accept"])


@pytest.mark.row("G38", "G43", "G47")
@pytest.mark.parametrize("call", READS.values(), ids=READS)
async def test_a_read_says_that_the_client_has_left(call: Call) -> None:
    ws, _ = await opened(D(1001, "bye"))
    with pytest.raises(WebSocketDisconnect) as caught:
        await call(ws)
    assert (caught.value.code, caught.value.reason) == (1001, "bye")
    assert state(ws) is WebSocketState.DISCONNECTED


@pytest.mark.row("G50", "G61", "G7")
async def test_typed_messages_need_the_library_before_anything_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "genro_tytx", None)
    ws, peer = await opened(T("{}"))
    for call in (ws.receive_typed(), ws.send_typed({})):
        with pytest.raises(ImportError, match="genro-tytx"):
            await call
    assert peer.types == ["accept"]
    assert await ws.receive_text() == "{}"


# --- strictness ---


@pytest.mark.row("G5", "G6", "G37", "G41", "G46", "GX10")
async def test_no_kind_of_message_is_made_into_the_other() -> None:
    ws, _ = await opened(B(b"{}"), B(b"{}"), T("a"), {**B(b"x"), "text": None}, T("last"))
    for call in (ws.receive_text(), ws.receive_json(), ws.receive_bytes(), ws.receive_text()):
        with pytest.raises(TypeError):
            await call
    assert await ws.receive_text() == "last"


@pytest.mark.row("GX3", "C33", "G31", "G32")
async def test_iterating_yields_texts_until_the_client_leaves() -> None:
    ws, _ = await opened(T("a"), T(""), D(1001))
    assert [text async for text in ws] == ["a", ""]
    assert state(ws) is WebSocketState.DISCONNECTED


@pytest.mark.row("GX3", "C33", "GX10", "G30", "G33")
@pytest.mark.parametrize(
    ("iterate", "wrong"),
    [
        (lambda ws: aiter(ws), B(b"text")),
        (lambda ws: ws.iter_text(), B(b"text")),
        (lambda ws: ws.iter_bytes(), T("text")),
    ],
)
async def test_iterating_stops_at_a_message_of_the_other_kind(
    iterate: Callable[[WebSocket], Any], wrong: Message
) -> None:
    ws, _ = await opened(wrong, T("a"))
    with pytest.raises(TypeError):
        await anext(iterate(ws))
    assert await ws.receive_text() == "a"


# --- the URL ---

HOST = [(b"host", b"from.header:1234")]


@pytest.mark.row("G64", "G66", "G67", "C39")
@pytest.mark.parametrize(
    ("scope", "url"),
    [
        ({"server": ("example.com", 8443)}, "wss://example.com:8443/api/ws?a=1"),
        ({"server": ("example.com", 443)}, "wss://example.com/api/ws?a=1"),
        ({"server": ("example.com", 80), "scheme": "ws"}, "ws://example.com/api/ws?a=1"),
        ({"server": ("example.com", 443), "scheme": "ws"}, "ws://example.com:443/api/ws?a=1"),
        ({"server": ("::1", 8000)}, "wss://[::1]:8000/api/ws?a=1"),
        ({"server": None}, "wss://from.header:1234/api/ws?a=1"),
        ({"server": ("/run/x.sock", None)}, "wss://from.header:1234/api/ws?a=1"),
        ({"server": None, "headers": []}, "wss://localhost/api/ws?a=1"),
    ],
)
def test_the_url_is_of_the_server_then_of_the_header_then_of_localhost(
    scope: dict[str, Any], url: str
) -> None:
    full = {"scheme": "wss", "root_path": "/api", "query_string": b"a=1", "headers": HOST}
    ws, _ = connecting(path="/ws", **{**full, **scope})
    assert ws.url == url
    assert type(ws.url) is URL


@pytest.mark.row("G65")
def test_the_url_is_built_once_and_when_it_is_asked_for() -> None:
    ws = WebSocket({"type": "websocket"}, Peer().receive, Peer().send)
    assert ws.url == "ws://localhost/"
    assert ws.url is ws.url
    ws["path"] = "/other"
    assert ws.url == "ws://localhost/other"


# --- in an application ---


@pytest.mark.row("GX4", "C66")
@pytest.mark.parametrize("accept", [True, False])
async def test_a_handler_gets_this_class_and_raises_to_close(accept: bool) -> None:
    app = App()

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        assert type(ws) is WebSocket
        if accept:
            await ws.accept()
        raise WebSocketException(4000, "x")

    peer = await serve(app)
    assert peer.closes == [(4000, "x")]


# --- with orjson and without ---

WITH_OR_WITHOUT = """
import asyncio, json, sys, types

class Orjson(types.ModuleType):
    def __getattr__(self, name):
        raise SystemExit(f"orjson.{name} was asked for")

sys.modules["orjson"] = Orjson("orjson") if sys.argv[1] == "with" else None
sys.path[:0] = sys.argv[2:]

from peer import Peer, T, make_scope
from telex.compat.genro.websocket import WebSocket

async def main():
    peer = Peer(T("{bad"), T("NaN"), T('{"a":18446744073709551616}'))
    ws = WebSocket(make_scope(), peer.receive, peer.send)
    await ws.accept()
    results = []
    for _ in range(3):
        try:
            results.append(await ws.receive_json())
        except json.JSONDecodeError as error:
            results.append(type(error).__name__)
    for data in (object(), {1, 2}, b"x", {(1, 2): 3}, float("nan"), {"é": [None, 1.5]}):
        try:
            results.append(await ws.send_json(data))
        except (TypeError, ValueError) as error:
            results.append(f"{type(error).__name__}: {error}".partition(" at 0x")[0])
    print(json.dumps([results, peer.data]))

asyncio.run(main())
"""


@pytest.mark.row("GX6", "G42", "G57")
@pytest.mark.integration
async def test_json_is_the_same_with_orjson_and_without(tmp_path: Path) -> None:
    told = []
    for variant in ("with", "without"):
        arguments = ["-c", WITH_OR_WITHOUT, variant, *map(str, Path(__file__).parents[2:3])]
        async with child.start(*arguments, cwd=tmp_path) as process:
            assert await process.finish() == 0, process.output
        told.append(json.loads(process.output))
    assert told[0] == told[1]
    results, sent = told[0]
    assert results[:3] == ["JSONDecodeError", "JSONDecodeError", {"a": 2**64}]
    assert [text.partition(":")[0] for text in results[3:8]] == ["TypeError"] * 4 + ["ValueError"]
    assert sent == ['{"é":[null,1.5]}']
