"""What each server really does, as measured: the one table that the tests and the docs share.

Every row is asserted by a test against the running servers, and `docs/servers.md` shows the rows
as they stand here. A value that is the same everywhere is written once.
"""

from __future__ import annotations

from dataclasses import dataclass

SERVERS = {
    "telex": "Telex on uvicorn",
    "uvicorn websockets": "uvicorn `websockets`",
    "uvicorn websockets-sansio": "uvicorn `websockets-sansio`",
    "uvicorn wsproto": "uvicorn `wsproto`",
    "hypercorn": "Hypercorn",
    "daphne": "Daphne",
    "granian": "Granian",
}
"""The names that tests use, and what the docs call them. The order of all values below."""

MEASURED_WITH = {
    "telex": "uvicorn 0.54.0, picows 2.3.1",
    "uvicorn websockets": "uvicorn 0.54.0, websockets 17.4",
    "uvicorn websockets-sansio": "uvicorn 0.54.0, websockets 17.4",
    "uvicorn wsproto": "uvicorn 0.54.0, wsproto 1.3.2",
    "hypercorn": "Hypercorn 0.18.0, wsproto 1.3.2",
    "daphne": "Daphne 4.2.3, Autobahn 26.10.2",
    "granian": "Granian 2.8.7",
}
"""The versions behind the values."""


@dataclass(frozen=True)
class Row:
    """One thing that servers do.

    Attributes:
        text: What it is, for the docs.
        values: What happens, by server in the order of `SERVERS`; one value when all agree.
        fact: The number of the fact, `""` when it has none.
    """

    text: str
    values: tuple[str, ...]
    fact: str = ""

    def on(self, server: object) -> str:
        """What happens on a server."""
        if len(self.values) == 1:
            return self.values[0]
        return self.values[list(SERVERS).index(str(server))]


YES, NO = "yes", "no"

# What a Telex application and its clients see.

DENIAL = Row(
    "What the client gets of `reject()`, `Reject`, and a 404",
    (
        "the status, headers and body",
        *["the status, headers and body"] * 4,
        "403 without body",
        "the status, headers and body",
    ),
)
STREAMED_DENIAL = Row(
    "A streamed denial response",
    (
        YES,
        YES,
        YES,
        YES,
        YES,
        "403 without body",
        "403 without body; the handler gets `RuntimeError`",
    ),
)
REPEATED_DENIAL_HEADER = Row(
    "A header twice in a denial, such as two cookies",
    (YES, YES, YES, YES, YES, "403 without body", "**the worker process crashes**"),
)
ACCEPT_HEADERS = Row("Headers given to `accept()` reach the client", (YES, *[YES] * 4, NO, NO))
OWN_CODES = Row(
    "Close codes that reach the client",
    ("all", *["all"] * 4, "1000 and 3000–4999; 4011 stands for 1011", "all"),
)
OWN_REASON = Row("Close reasons that we send reach the client", (YES, *[YES] * 4, NO, YES))
CLIENT_CODE = Row(
    "`close_code` when the client closed with 4321", ("4321", *["4321"] * 3, "1006", "4321", "4321")
)
CLIENT_REASON = Row(
    "`close_reason` when the client gave one", ("as given", *["as given"] * 3, *["empty"] * 3)
)
NO_CODE = Row(
    "`close_code` when the client's close frame had no code",
    ("1005", "1005", "1005", "1005", "1006", "1000", "1005"),
)
LOST = Row(
    "`close_code` when the connection broke",
    ("1006", "1006", "1005", "1005", "1006", "1006", "1005"),
)
WRITER = Row(
    "A handler that only sends, when the client has gone",
    (
        "`WebSocketDisconnect` at a send",
        *["`WebSocketDisconnect` at a send"] * 3,
        *["cancelled after `disconnect_grace`"] * 3,
    ),
)
EMPTY = Row("Empty messages that we send reach the client", (YES, *[YES] * 4, NO, YES))
COMPRESSION = Row("Compression (permessage-deflate)", (YES, *[YES] * 4, NO, NO))
REPEATED_HEADER = Row(
    "`headers.getlist()` of a header that the client sent twice",
    ("both values", *["both values"] * 4, "one, joined by a comma", "both values"),
)
BIG = Row(
    "A message of 5 MiB from the client",
    (
        "passes",
        *["passes"] * 4,
        "the connection is lost; see `--websocket-max-message-size`",
        "passes",
    ),
)
FORWARDED = Row(
    "`X-Forwarded-For` and `-Proto` change `client` and `scheme`",
    (
        "yes, from 127.0.0.1; see `--forwarded-allow-ips`",
        *["yes, from 127.0.0.1; see `--forwarded-allow-ips`"] * 3,
        NO,
        "no; see `--proxy-headers`",
        NO,
    ),
)
LATE_ACCEPT = Row(
    "A client that leaves before `accept()` is noticed",
    ("at once", *["at once"] * 5, "after `accept()`"),
)

APPLICATION = (
    DENIAL,
    STREAMED_DENIAL,
    REPEATED_DENIAL_HEADER,
    ACCEPT_HEADERS,
    OWN_CODES,
    OWN_REASON,
    CLIENT_CODE,
    CLIENT_REASON,
    NO_CODE,
    LOST,
    WRITER,
    EMPTY,
    COMPRESSION,
    REPEATED_HEADER,
    BIG,
    FORWARDED,
    LATE_ACCEPT,
)
"""What a Telex application and its clients see."""

# The servers themselves, measured with a bare ASGI application. In the values, a number is a
# close code or HTTP status that the client sees; a name is an exception that `send` raises.

CLOSE_FIRST = Row("`websocket.close` before accept", ("HTTP 403, empty body",), "S1")
RETURN_FIRST = Row(
    "The application returns before accept",
    ("HTTP 500", *["HTTP 500"] * 4, "no answer", "HTTP 403"),
    "S2",
)
RAISE_FIRST = Row("It raises before accept", ("HTTP 500", *["HTTP 500"] * 5, "HTTP 403"), "S2")
RETURN_OPEN = Row(
    "It returns while open", ("1000", *["1006"] * 3, "1011", "stays open", "1005"), "S3"
)
RAISE_OPEN = Row("It raises while open", ("1011", *["1006"] * 3, "1011", "1011", "1005"), "S3")
BAD_CODES = Row(
    "`websocket.close` with 500, 999, 1004, 1016, 2999 or 5000",
    (
        "`ValueError`, 1000",
        "`ProtocolError`, 1006",
        "`ProtocolError`, 1006",
        "an invalid frame is sent",
        "an invalid frame is sent",
        "`Exception`, stays open",
        "an invalid frame is sent",
    ),
    "S4",
)
RESERVED_CODES = Row(
    "`websocket.close` with 1005, 1006 or 1015",
    (
        "`ValueError`, 1000",
        "`ProtocolError`, 1006",
        "`ProtocolError`, 1006",
        "1000",
        "1000",
        "`Exception`, stays open",
        "an invalid frame is sent",
    ),
    "S5",
)
VALID_CODES = Row(
    "`websocket.close` with 1001, 1008, 1011 or 1012",
    ("that code", *["that code"] * 4, "`Exception`, stays open", "that code"),
    "S5",
)
LONG_REASON = Row(
    "`websocket.close` with a reason of more than 123 bytes",
    (
        "cut to 123 bytes",
        "`ProtocolError`, 1006",
        "`ProtocolError`, 1006",
        "cut to 123 bytes",
        "cut to 123 bytes",
        "no reason is sent",
        "an invalid frame is sent",
    ),
    "S6",
)
SECOND_CLOSE = Row(
    "A second `websocket.close`",
    ("`WebSocketRuntimeError`", *["`RuntimeError`"] * 3, *["ignored"] * 3),
    "S7",
)
SEND_AFTER_CLOSE = Row(
    "`websocket.send` after `websocket.close`",
    (
        "`WebSocketRuntimeError`",
        *["`RuntimeError`"] * 3,
        "`UnexpectedMessageError`",
        "`Disconnected`",
        "ignored",
    ),
    "S7",
)
SEND_AFTER_END = Row(
    "`websocket.send` after the client's disconnect",
    ("`ClientDisconnected`", "`RuntimeError`", *["`ClientDisconnected`"] * 2, *["ignored"] * 3),
    "S8",
)
CLOSE_AFTER_END = Row(
    "`websocket.close` after the client's disconnect",
    ("ignored", "`RuntimeError`", "ignored", "`ClientDisconnected`", *["ignored"] * 3),
    "S8",
)
RECEIVE_AFTER_CLOSE_FRAME = Row(
    "`receive()` again after a disconnect with a close frame",
    ("4321", "1005", "1005", "1000", "waits for ever", "waits for ever", "1005"),
    "S9",
)
RECEIVE_AFTER_LOSS = Row(
    "`receive()` again after the connection broke",
    ("1006", "1005", *["waits for ever"] * 4, "1005"),
    "S9",
)
BOTH_KEYS = Row(
    "Keys of `websocket.receive`",
    (
        "the one that applies",
        *["the one that applies"] * 3,
        "both, the other one `None`",
        *["the one that applies"] * 2,
    ),
    "S10",
)
RAW_CODE = Row(
    "Disconnect after the client closed with 4321 and `bye`",
    ("4321, `bye`", *["4321, `bye`"] * 3, *["1006, no reason"], *["4321, no reason"] * 2),
    "S11",
)
RAW_NO_CODE = Row(
    "Disconnect after a close frame without code",
    ("1005", "1005", "1005", "1005", "1006", "the code is `None`", "1005"),
    "S11",
)
RAW_LOST = Row(
    "Disconnect after the connection broke",
    ("1006", "1006", "1005", "1005", "1006", "1006", "1005"),
    "S11",
)
AFTER_OWN_CLOSE = Row(
    "Disconnect after our own close with 4000",
    ("4000", "1005", "4000", "4000", "1000", "4000", "1005"),
    "S12",
)
NEWLINE = Row(
    "CR LF in the value of an accept header",
    ("the handshake fails", *["the handshake fails"] * 4, *["the header is dropped"] * 2),
    "S13",
)
TEXT_HEADER = Row(
    "`str` in place of `bytes` in accept headers",
    (
        "`TypeError`",
        "`AttributeError`",
        "`AttributeError`",
        "accepted",
        "`TypeError`",
        *["the header is dropped"] * 2,
    ),
    "S14",
)
FOREIGN_SUBPROTOCOL = Row(
    "Accepting a subprotocol that was not offered",
    (
        "`ValueError`, HTTP 403",
        *["sent; the client refuses"] * 2,
        *["the handshake fails"] * 2,
        "no answer",
        "sent; the client refuses",
    ),
    "S15",
)
EMPTY_SUBPROTOCOL = Row(
    'Accepting the subprotocol `""`',
    (
        "none is sent",
        "sent; the client refuses",
        "none is sent",
        *["the handshake fails"] * 2,
        "no answer",
        "sent; the client refuses",
    ),
    "S15",
)
DENIAL_EXTENSION = Row("`websocket.http.response` is offered", (YES, *[YES] * 4, NO, YES), "S16")
DENIAL_IN_PARTS = Row(
    "A denial body in two parts",
    (
        "arrives whole",
        *["arrives whole"] * 4,
        "ignored; no answer",
        "`RuntimeError`; only the last arrives",
    ),
    "S16",
)
ACCEPT_FIRST = Row(
    "Accepting before `websocket.connect` was read",
    ("works; connect is what `receive()` returns next",),
    "S17",
)
SURROGATE = Row(
    "Sending text with a lone surrogate",
    ("`UnicodeEncodeError`", *["`UnicodeEncodeError`"] * 5, "sent as empty text"),
    "S18",
)
BYTES_LIKE = Row(
    "Sending a `bytearray` or `memoryview`",
    ("works", *["works"] * 4, "`AssertionError`", "works"),
    "S19",
)
BOTH_SENT = Row(
    "`websocket.send` with text and bytes",
    ("the bytes are sent", *["the bytes are sent"] * 4, "`ValueError`", "`RuntimeError`"),
    "S19",
)
EMPTY_SENT = Row("Sending an empty message", ("works", *["works"] * 4, "not sent", "works"), "S19")
SPEC_VERSION = Row("`spec_version`", ("2.4", *["2.4"] * 3, "2.3", "missing", "2.3"), "S20")
PATH = Row("`path` is percent-decoded, `raw_path` is not", (YES,), "S20")
PORT_TYPE = Row("The ports in `client` and `server`", ("`int`", *["`int`"] * 5, "`str`"), "S20")
PROXY = Row("`X-Forwarded-*` from 127.0.0.1 change the scope", (YES, *[YES] * 3, *[NO] * 3), "S21")
LOGGED = Row(
    "What the server logs when the application returns right after a denial",
    (
        "nothing",
        "nothing",
        "`ASGI callable returned without completing handshake.`",
        *["nothing"] * 4,
    ),
)
CLOSE_WHILE_RECEIVING = Row(
    "`websocket.close` while another task awaits `receive()`",
    ("sent at once", *["sent at once"] * 5, "waits until `receive()` ends"),
    "",
)

CANCELLED_RECEIVE = Row(
    "Cancelling `receive()` while messages come in",
    ("loses nothing", *["loses nothing"] * 5, "loses most of them"),
)

FACTS = (
    CLOSE_FIRST,
    RETURN_FIRST,
    RAISE_FIRST,
    RETURN_OPEN,
    RAISE_OPEN,
    BAD_CODES,
    RESERVED_CODES,
    VALID_CODES,
    LONG_REASON,
    SECOND_CLOSE,
    SEND_AFTER_CLOSE,
    SEND_AFTER_END,
    CLOSE_AFTER_END,
    RECEIVE_AFTER_CLOSE_FRAME,
    RECEIVE_AFTER_LOSS,
    BOTH_KEYS,
    RAW_CODE,
    RAW_NO_CODE,
    RAW_LOST,
    AFTER_OWN_CLOSE,
    NEWLINE,
    TEXT_HEADER,
    FOREIGN_SUBPROTOCOL,
    EMPTY_SUBPROTOCOL,
    DENIAL_EXTENSION,
    DENIAL_IN_PARTS,
    ACCEPT_FIRST,
    SURROGATE,
    BYTES_LIKE,
    BOTH_SENT,
    EMPTY_SENT,
    SPEC_VERSION,
    PATH,
    PORT_TYPE,
    PROXY,
    LOGGED,
    CLOSE_WHILE_RECEIVING,
    CANCELLED_RECEIVE,
)
"""What the servers themselves do."""


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def versions() -> str:
    """The versions behind the values, as a Markdown table."""
    lines = [[name, MEASURED_WITH[server]] for server, name in SERVERS.items()]
    return _table(["Server", "Measured with"], lines)


def application() -> str:
    """What applications see, as a Markdown table."""
    lines = [[row.text, *map(row.on, SERVERS)] for row in APPLICATION]
    return _table(["What", *SERVERS.values()], lines)


def facts() -> str:
    """What the servers do, as a Markdown table."""
    lines = [[row.fact, row.text, *map(row.on, SERVERS)] for row in FACTS]
    return _table(["", "What", *SERVERS.values()], lines)
