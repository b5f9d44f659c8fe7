"""What the servers themselves do with a bare ASGI application, fact by fact.

Telex is built on these; a new version of a server that changes one of them shows up here. The
expected values are the rows of `capabilities.py`, which the documentation shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
)

from integration import capabilities as table
from integration.calls import DEADLINE, Call, Close, script
from integration.journal import Entry
from integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

PATIENCE = 1.5
"""Seconds without anything from the server after which it counts as silent. Daphne looks after
its applications once a second."""

Step = tuple[Any, ...]

RECEIVE: Step = ("receive",)
DRAIN: Step = ("drain",)
SOON: Step = ("receive", 0.5)
ACCEPT: Step = ("send", {"type": "websocket.accept"})
CLOSE: Step = ("send", {"type": "websocket.close", "code": 1000})


def close(code: int, reason: str = "") -> Step:
    return ("send", {"type": "websocket.close", "code": code, "reason": reason})


def send(**data: str | bytes | None) -> Step:
    return ("send", {"type": "websocket.send", **data})


def accept(**options: object) -> Step:
    return ("send", {"type": "websocket.accept", **options})


@dataclass
class Outcome:
    """What came of a script.

    Attributes:
        how: What the client saw: a close code, `HTTP` and a status, or words.
        status: The HTTP status of a denial.
        body: Its body.
        close: The close frame that came, if one came.
        messages: What the client received.
        steps: What the application wrote down, without the scope and the end.
        scope: The scope of the connection.
        headers: The headers of the response.
    """

    how: str = ""
    status: int | None = None
    body: bytes = b""
    close: Close | None = None
    messages: list[str | bytes] = field(default_factory=list)
    steps: list[Entry] = field(default_factory=list)
    scope: dict[str, str] = field(default_factory=dict)
    headers: list[tuple[str, str]] = field(default_factory=list)

    def ended(self, exc: ConnectionClosed) -> None:
        """Take down how the connection was closed."""
        if exc.rcvd is not None:
            self.close = (int(exc.rcvd.code), exc.rcvd.reason)
            self.how = str(self.close[0])
        elif exc.sent is not None and exc.sent.code == 1002:
            self.how = "an invalid frame is sent"
        else:
            self.how = "1006"

    def errors(self) -> list[str]:
        """The exceptions that steps raised."""
        return [step["error"] for step in self.steps if step["error"]]

    def disconnect(self) -> str:
        """The code of the last disconnect that was received, with the reason if there was one."""
        step = self.steps[-1]
        if step["error"] == "TimeoutError":
            return "waits for ever"
        message = step["message"]
        assert message["type"] == "websocket.disconnect"
        # An IntEnum member shows its name.
        code = str(message["code"]).split(": ")[-1].rstrip(">")
        return "the code is `None`" if message["code"] is None else code


Client = Callable[[Call, Outcome], Awaitable[None]]


async def listen(call: Call, outcome: Outcome) -> None:
    """Read to the end, for as long as it takes to be sure that none comes."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                outcome.messages.append(await call.ws.recv())
    except TimeoutError:
        outcome.how = "stays open"
    except ConnectionClosed as exc:
        outcome.ended(exc)


async def ask(call: Call, outcome: Outcome) -> None:
    """See whether the connection goes on when the application has ended: a ping is answered."""
    await call.entries(until="done")
    try:
        await (await call.ws.ping())
        outcome.how = "stays open"
    except ConnectionClosed as exc:
        outcome.ended(exc)


async def hang_up(call: Call, outcome: Outcome) -> None:
    await call.ws.close(4321, "bye")


async def vanish(call: Call, outcome: Outcome) -> None:
    call.vanish()


async def close_without_code(call: Call, outcome: Outcome) -> None:
    call.ws.transport.write(b"\x88\x80\0\0\0\0")
    await call.ws.wait_closed()


async def look(call: Call, outcome: Outcome) -> None:
    """Only the handshake matters."""


async def talk(server: Server, *steps: Step, client: Client = listen, **options: Any) -> Outcome:
    """Have the application do these steps; return what came of it."""
    call = Call(server, script(*steps))
    outcome = Outcome()
    async with asyncio.timeout(DEADLINE):
        try:
            async with connect(call.url, proxy=None, open_timeout=PATIENCE, **options) as call.ws:
                assert call.ws.response is not None
                outcome.headers = [*call.ws.response.headers.raw_items()]
                await client(call, outcome)
        except TimeoutError:
            outcome.how = "no answer"
        except InvalidStatus as exc:
            outcome.status, outcome.body = exc.response.status_code, bytes(exc.response.body)
            outcome.headers = [*exc.response.headers.raw_items()]
            outcome.how = f"HTTP {outcome.status}"
        except InvalidMessage:
            outcome.how = "the handshake fails"
        except InvalidHandshake:
            outcome.how = "sent; the client refuses"
        entries = await call.entries(until="done")
    outcome.scope = entries[0]["scope"]
    outcome.steps = entries[1:-1]
    return outcome


# Before accept


@pytest.mark.row("S1")
async def test_close_before_accept_is_http_403_without_code_and_reason(server: Server) -> None:
    outcome = await talk(server, RECEIVE, close(4000, "no"))
    assert f"{outcome.how}, empty body" == table.CLOSE_FIRST.on(server)
    assert outcome.body == b""


@pytest.mark.row("S2")
async def test_an_application_that_returns_before_accept(server: Server) -> None:
    outcome = await talk(server, RECEIVE)
    assert outcome.how == table.RETURN_FIRST.on(server)


@pytest.mark.row("S2")
async def test_an_application_that_raises_before_accept(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ("raise",))
    assert outcome.how == table.RAISE_FIRST.on(server)


@pytest.mark.row("S13")
async def test_a_header_value_with_a_newline_injects_nothing(server: Server) -> None:
    headers = [(b"x-a", b"b\r\nx-evil: 1")]
    outcome = await talk(server, RECEIVE, accept(headers=headers), CLOSE, client=look)
    names = {name.lower() for name, _ in outcome.headers}
    assert "x-evil" not in names
    if outcome.how:
        assert table.NEWLINE.on(server) == "the handshake fails"
    else:
        assert table.NEWLINE.on(server) == "the header is dropped"
        assert "x-a" not in names


@pytest.mark.row("S14")
async def test_accept_headers_of_str(server: Server) -> None:
    outcome = await talk(server, RECEIVE, accept(headers=[("x-a", "b")]), CLOSE, client=look)
    arrived = ("x-a", "b") in outcome.headers
    errors = outcome.errors()
    expected = table.TEXT_HEADER.on(server)
    if expected == "accepted":
        assert (arrived, errors) == (True, [])
    elif expected == "the header is dropped":
        assert (arrived, errors, outcome.how) == (False, [], "")
    else:
        assert (arrived, f"`{errors[0]}`") == (False, expected)


@pytest.mark.row("S15")
@pytest.mark.parametrize(
    ("subprotocol", "row"),
    [("other", table.FOREIGN_SUBPROTOCOL), ("", table.EMPTY_SUBPROTOCOL)],
    ids=["other", "empty"],
)
async def test_a_subprotocol_that_was_not_offered(
    server: Server, subprotocol: str, row: table.Row
) -> None:
    outcome = await talk(
        server,
        RECEIVE,
        accept(subprotocol=subprotocol),
        CLOSE,
        client=look,
        subprotocols=["a", "b"],
    )
    how = outcome.how or "none is sent"
    if outcome.errors() and how.startswith("HTTP"):
        how = f"`{outcome.errors()[0]}`, {how}"
    assert how == row.on(server)


@pytest.mark.row("S16")
async def test_a_denial_in_two_parts(server: Server) -> None:
    headers = [(b"x-a", b"b")]
    outcome = await talk(
        server,
        RECEIVE,
        ("send", {"type": "websocket.http.response.start", "status": 401, "headers": headers}),
        ("send", {"type": "websocket.http.response.body", "body": b"go ", "more_body": True}),
        ("send", {"type": "websocket.http.response.body", "body": b"away"}),
    )
    offered = "websocket.http.response" in outcome.scope.get("extensions", "")
    assert (table.YES if offered else table.NO) == table.DENIAL_EXTENSION.on(server)
    expected = table.DENIAL_IN_PARTS.on(server)
    if not offered:
        assert (expected, outcome.how, outcome.errors()) == ("ignored; no answer", "no answer", [])
        return
    assert outcome.status == 401
    assert ("x-a", "b") in outcome.headers
    if expected == "arrives whole":
        assert (outcome.body, outcome.errors()) == (b"go away", [])
    else:
        assert expected == "`RuntimeError`; only the last arrives"
        assert (outcome.body, outcome.errors()) == (b"away", ["RuntimeError"])


async def test_an_error_that_is_none_in_the_log_after_a_denial(server: Server) -> None:
    """uvicorn's sansio back end takes a denial for complete when the transport is closed.

    That is one turn of the loop after the last part was sent. Who returns before it is blamed,
    who waits for anything at all is not.
    """
    denial: tuple[Step, Step] = (
        ("send", {"type": "websocket.http.response.start", "status": 404, "headers": []}),
        ("send", {"type": "websocket.http.response.body", "body": b"Not Found"}),
    )
    blame = "ASGI callable returned without completing handshake."
    await talk(server, RECEIVE, *denial, SOON, SOON)
    assert blame not in server.new_output
    await talk(server, RECEIVE, *denial)
    logged = f"`{blame}`" if blame in server.new_output else "nothing"
    assert logged == table.LOGGED.on(server)


@pytest.mark.row("S17")
async def test_accepting_before_connect_was_read(server: Server) -> None:
    outcome = await talk(server, ACCEPT, RECEIVE, CLOSE)
    assert outcome.how == "1000"
    assert [step["error"] for step in outcome.steps] == [None, None, None]
    assert outcome.steps[1]["message"]["type"] == "websocket.connect"
    assert table.ACCEPT_FIRST.on(server) == "works; connect is what `receive()` returns next"


@pytest.mark.row("S20")
async def test_the_scope(server: Server) -> None:
    call = Call(server, script(RECEIVE, ACCEPT, CLOSE).replace("/raw", "/r%61w"))
    async with asyncio.timeout(DEADLINE):
        async with connect(call.url, proxy=None) as call.ws:
            assert await call.closed() == (1000, "")
        scope = (await call.noted("scope"))["scope"]
    assert (scope["path"], scope["raw_path"]) == ("/raw", "b'/r%61w'")
    assert table.PATH.on(server) == table.YES
    version = table.SPEC_VERSION.on(server)
    assert ("spec_version" in scope["asgi"]) == (version != "missing")
    assert version == "missing" or f"'spec_version': '{version}'" in scope["asgi"]
    assert (f", {server.port}" in scope["server"]) == (table.PORT_TYPE.on(server) == "`int`")


@pytest.mark.row("S21")
async def test_forwarded_headers(server: Server) -> None:
    outcome = await talk(
        server,
        RECEIVE,
        ACCEPT,
        CLOSE,
        additional_headers={"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"},
    )
    if table.PROXY.on(server) == table.YES:
        assert outcome.scope["client"] == "('192.0.2.7', 0)"
        assert outcome.scope["scheme"] == "wss"
    else:
        assert "127.0.0.1" in outcome.scope["client"]
        assert outcome.scope.get("scheme", "ws") == "ws"


# Our own close


@pytest.mark.row("S3")
async def test_an_application_that_returns_while_open(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, client=ask)
    assert outcome.how == table.RETURN_OPEN.on(server)


@pytest.mark.row("S3")
async def test_an_application_that_raises_while_open(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, ("raise",))
    assert outcome.how == table.RAISE_OPEN.on(server)


@pytest.mark.row("S4", "S5")
@pytest.mark.parametrize(
    ("code", "row"),
    [
        *[(code, table.BAD_CODES) for code in (500, 999, 1004, 1016, 2999, 5000)],
        *[(code, table.RESERVED_CODES) for code in (1005, 1006, 1015)],
        *[(code, table.VALID_CODES) for code in (1001, 1008, 1011, 1012)],
    ],
)
async def test_close_codes_that_are_not_private(server: Server, code: int, row: table.Row) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, close(code), client=ask)
    how = "that code" if outcome.close == (code, "") else outcome.how
    if outcome.errors():
        how = f"`{outcome.errors()[0]}`, {how}"
    assert how == row.on(server)


@pytest.mark.row("S6")
async def test_a_reason_that_does_not_fit(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, close(4000, "é" * 100))
    reasons = {"é" * 61: "cut to 123 bytes", "": "no reason is sent"}
    how = outcome.how if outcome.close is None else reasons[outcome.close[1]]
    if outcome.errors():
        how = f"`{outcome.errors()[0]}`, {how}"
    assert how == table.LONG_REASON.on(server)


@pytest.mark.row("S7")
async def test_a_second_close_and_a_send_after_the_close(server: Server) -> None:
    steps = (RECEIVE, ACCEPT, close(4000), close(4001), send(text="late"))
    outcome = await talk(server, *steps)
    assert outcome.how == "4000"
    assert outcome.messages == []
    for step, row in ((3, table.SECOND_CLOSE), (4, table.SEND_AFTER_CLOSE)):
        error = outcome.steps[step]["error"]
        assert (f"`{error}`" if error else "ignored") == row.on(server)


@pytest.mark.row("S12")
async def test_the_disconnect_after_our_own_close(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, close(4000, "srv"), ("receive", 5.0))
    assert outcome.disconnect() == table.AFTER_OWN_CLOSE.on(server)


async def test_a_close_while_another_task_is_receiving(server: Server) -> None:
    steps = (RECEIVE, ACCEPT, ("listen",), send(text="data goes out"), (*close(4000), 0.5))
    outcome = await talk(server, *steps)
    assert outcome.messages == ["data goes out"]
    if outcome.errors():
        assert outcome.errors() == ["TimeoutError"]
        assert table.CLOSE_WHILE_RECEIVING.on(server) == "waits until `receive()` ends"
    else:
        assert outcome.how == "4000"
        assert table.CLOSE_WHILE_RECEIVING.on(server) == "sent at once"


# The client's end


@pytest.mark.row("S8", "S9")
async def test_what_may_be_done_after_the_clients_close(server: Server) -> None:
    steps = (RECEIVE, ACCEPT, DRAIN, send(text="late"), CLOSE, SOON)
    outcome = await talk(server, *steps, client=hang_up)
    for step, row in ((3, table.SEND_AFTER_END), (4, table.CLOSE_AFTER_END)):
        error = outcome.steps[step]["error"]
        assert (f"`{error}`" if error else "ignored") == row.on(server)
        assert outcome.steps[step].get("is_os_error", False) == (error == "ClientDisconnected")
    assert outcome.disconnect() == table.RECEIVE_AFTER_CLOSE_FRAME.on(server)


@pytest.mark.row("S9", "S11")
async def test_what_comes_when_the_connection_breaks(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, DRAIN, client=vanish)
    assert outcome.disconnect() == table.RAW_LOST.on(server)
    outcome = await talk(server, RECEIVE, ACCEPT, DRAIN, SOON, client=vanish)
    assert outcome.disconnect() == table.RECEIVE_AFTER_LOSS.on(server)


@pytest.mark.row("S11")
async def test_what_comes_when_the_client_closes_with_code_and_reason(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, DRAIN, client=hang_up)
    reason = outcome.steps[-1]["message"].get("reason")
    text = f"{outcome.disconnect()}, {f'`{reason}`' if reason else 'no reason'}"
    assert text == table.RAW_CODE.on(server)


@pytest.mark.row("S11")
async def test_what_comes_when_the_client_closes_without_a_code(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, DRAIN, client=close_without_code)
    assert outcome.disconnect() == table.RAW_NO_CODE.on(server)


# Messages


@pytest.mark.row("S10")
async def test_the_keys_of_messages(server: Server) -> None:
    async def say(call: Call, outcome: Outcome) -> None:
        for message in ("t", b"b", "", b""):
            await call.ws.send(message)
        await call.ws.close()

    outcome = await talk(server, RECEIVE, ACCEPT, *[RECEIVE] * 4, DRAIN, client=say)
    messages = [step["message"] for step in outcome.steps[2:6]]
    if table.BOTH_KEYS.on(server) == "the one that applies":
        expected: list[dict[str, str | None]] = [
            {"text": "t"},
            {"bytes": "b'b'"},
            {"text": ""},
            {"bytes": "b''"},
        ]
    else:
        expected = [
            {"text": "t", "bytes": None},
            {"text": None, "bytes": "b'b'"},
            {"text": "", "bytes": None},
            {"text": None, "bytes": "b''"},
        ]
    assert messages == [{"type": "websocket.receive", **keys} for keys in expected]


@pytest.mark.row("S18")
async def test_a_lone_surrogate(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, send(text="\ud800"), send(text="x"), CLOSE)
    if table.SURROGATE.on(server) == "sent as empty text":
        assert (outcome.errors(), outcome.messages) == ([], ["", "x"])
    else:
        assert f"`{outcome.errors()[0]}`" == table.SURROGATE.on(server)
        assert outcome.messages == ["x"]


@pytest.mark.row("S19")
async def test_what_counts_as_bytes(server: Server) -> None:
    message = {"type": "websocket.send", "bytes": b"abc"}
    kinds = (("send bytearray", message), ("send memoryview", message))
    outcome = await talk(server, RECEIVE, ACCEPT, *kinds, CLOSE)
    if table.BYTES_LIKE.on(server) == "works":
        assert (outcome.messages, outcome.errors()) == ([b"abc", b"abc"], [])
    else:
        assert outcome.messages == []
        assert {f"`{error}`" for error in outcome.errors()} == {table.BYTES_LIKE.on(server)}


@pytest.mark.row("S19")
async def test_text_and_bytes_in_one_message(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, send(bytes=b"b", text="t"), CLOSE)
    if table.BOTH_SENT.on(server) == "the bytes are sent":
        assert (outcome.messages, outcome.errors()) == ([b"b"], [])
    else:
        assert outcome.messages == []
        assert [f"`{error}`" for error in outcome.errors()] == [table.BOTH_SENT.on(server)]


@pytest.mark.row("S19")
async def test_empty_messages(server: Server) -> None:
    outcome = await talk(server, RECEIVE, ACCEPT, send(text=""), send(bytes=b""), CLOSE)
    assert outcome.errors() == []
    assert outcome.messages == (["", b""] if table.EMPTY_SENT.on(server) == "works" else [])
