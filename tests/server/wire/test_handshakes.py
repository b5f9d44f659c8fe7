"""The opening handshake over real sockets (RFC 6455 §4), byte for byte."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from server.wire.apps import (
    ACCEPT,
    CLOSE,
    Notes,
    denying,
    disconnected,
    echo,
    listening,
    received,
    saying,
    to_the_end,
)
from server.wire.client import ACCEPT as ACCEPTED
from server.wire.client import (
    BINARY,
    KEY,
    TEXT,
    Client,
    Head,
    accept_for,
    closing,
    dial,
    frame,
    is_text,
    request,
    text,
)
from server.wire.serving import OURS, Gate, Served, Servers, Venue, until
from telex._types import Receive, Scope, Send

H11 = Venue(http="h11")


@dataclass(frozen=True)
class Row:
    """What our class does, and what uvicorn's does where it is something else."""

    telex: object
    uvicorn: object

    def on(self, server: Served) -> Any:
        return self.telex if server.venue.protocol == "telex" else self.uvicorn


OTHER_VERSION = Row((426, [b"13"]), (400, []))
"""Status and `Sec-WebSocket-Version` for another one than 13 (RFC 6455 §4.4: 426 and ours)."""


def answer(server: Served, *data: bytes) -> tuple[Head, Client]:
    """Send something and return the head of the answer."""
    client = dial(server)
    client.write(*data)
    return client.head(), client


def handshake(server: Served, **options: Any) -> Head:
    """Do a handshake with an application that accepts; return the answer."""
    return answer(server, request(server.play(echo), **options))[0]


def scope_of(server: Served, **options: Any) -> Scope:
    """Return the scope of a handshake that was accepted."""
    notes = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        notes.add(scope)
        await echo(scope, receive, send)

    head, _ = answer(server, request(server.play(app), **options))
    assert head.status == 101
    scope: Scope = notes.get()
    return scope


# The answer


def test_the_answer_proves_that_the_key_was_read(anywhere: Served) -> None:
    head = handshake(anywhere)
    assert head.status == 101
    assert head.one(b"sec-websocket-accept") == ACCEPTED
    assert head.one(b"upgrade").lower() == b"websocket"
    assert head.one(b"connection").lower() == b"upgrade"
    assert head.all(b"sec-websocket-protocol") == head.all(b"sec-websocket-extensions") == []


def test_every_key_has_an_answer_of_its_own(either: Served) -> None:
    key = b"AQIDBAUGBwgJCgsMDQ4PEA=="
    head = handshake(either, change={b"Sec-WebSocket-Key": key})
    assert head.one(b"sec-websocket-accept") == accept_for(key) == b"C/0nmHhBztSRGR1CwL6Tf4ZjwpY="


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({b"Sec-WebSocket-Version": None}, 426),
        ({b"Sec-WebSocket-Version": b"12"}, 426),
        ({b"Sec-WebSocket-Version": b"8, 13"}, 426),
        ({b"Sec-WebSocket-Version": b"013"}, 426),
        ({b"Sec-WebSocket-Version": b""}, 426),
        ({b"Sec-WebSocket-Key": None}, 400),
        ({b"Sec-WebSocket-Key": b""}, 400),
        ({b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ"}, 400),
        ({b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25j"}, 400),
        ({b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZTE="}, 400),
        ({b"Sec-WebSocket-Key": b"dGhl!HNhbXBsZSBub25jZQ=="}, 400),
        ({b"Sec-WebSocket-Key": KEY + b", " + KEY}, 400),
        ({b"Host": None}, 400),
        ({b"Transfer-Encoding": b"chunked"}, 400),
        ({b"Content-Length": b"five"}, 400),
        ({b"Content-Length": b"-0"}, 400),
    ],
    ids=str,
)
def test_a_request_that_is_wrong_is_refused(
    servers: Servers, http: Any, change: dict[bytes, bytes | None], status: int
) -> None:
    server = servers.get(Venue(http=http))
    head, client = answer(server, request("none", change=change))
    assert head.status == status
    # The connection ends with the text that says why.
    assert client.rest()


def test_the_answer_to_another_version_names_ours(either: Served) -> None:
    head = handshake(either, change={b"Sec-WebSocket-Version": b"12"})
    assert (head.status, head.all(b"sec-websocket-version")) == OTHER_VERSION.on(either)


def test_a_key_that_is_there_twice_is_refused(either: Served) -> None:
    head = handshake(either, more=[(b"Sec-WebSocket-Key", KEY)])
    assert head.status == 400


def test_a_version_that_is_there_twice_is_refused(server: Served) -> None:
    head = handshake(server, more=[(b"Sec-WebSocket-Version", b"13")])
    assert head.status in (400, 426)


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE"])
def test_only_a_get_request_is_a_handshake(server: Served, method: bytes) -> None:
    head, _ = answer(server, request("none", method=method))
    assert head.status == 405
    assert head.one(b"allow") == b"GET"


@pytest.mark.parametrize(
    "connection",
    [b"upgrade", b"UPGRADE", b"keep-alive, Upgrade", b"Upgrade,keep-alive", b"a ,\tUpgrade , b"],
)
@pytest.mark.parametrize("upgrade", [b"websocket", b"WebSocket"])
def test_tokens_are_read_in_any_case_and_from_lists(
    either: Served, connection: bytes, upgrade: bytes
) -> None:
    head = handshake(either, change={b"Connection": connection, b"Upgrade": upgrade})
    assert head.status == 101


def test_header_names_are_read_in_any_case(either: Served) -> None:
    data = request(either.play(echo)).lower().replace(b"get / http", b"GET / HTTP")
    head, _ = answer(either, data.replace(KEY.lower(), KEY))
    assert head.status == 101


def test_a_content_length_of_zero_is_no_body(server: Served) -> None:
    assert handshake(server, change={b"Content-Length": b"0"}).status == 101


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_request_with_a_body_is_refused(servers: Servers, http: Any) -> None:
    server = servers.get(Venue(http=http))
    data = request(server.play(echo), change={b"Content-Length": b"5"})
    assert answer(server, data, b"hello")[0].status == 400


# The request comes in pieces, is big, or is not alone


def test_the_request_may_come_byte_by_byte(either: Served) -> None:
    client = dial(either)
    for byte in request(either.play(echo)):
        client.write(bytes((byte,)))
    assert client.head().status == 101


def test_the_request_may_be_cut_anywhere(server: Served) -> None:
    data = request(server.play(echo))
    for cut in range(1, len(data), 7):
        client = dial(server)
        client.write(data[:cut])
        client.write(data[cut:])
        assert client.head().status == 101


def test_many_headers_pass_in_order(either: Served) -> None:
    more = [(b"X-%d" % number, b"v%d" % number) for number in range(90)]
    headers = scope_of(either, more=more)["headers"]
    assert headers[-90:] == [(name.lower(), value) for name, value in more]


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_long_head_passes(servers: Servers, http: Any) -> None:
    server = servers.get(Venue(http=http))
    scope = scope_of(server, more=[(b"X-Long", b"x" * 30_000)])
    assert scope["headers"][-1] == (b"x-long", b"x" * 30_000)


def test_a_head_that_is_too_long_is_refused(server: Served) -> None:
    head = handshake(server, more=[(b"X-Long", b"x" * 70_000)])
    assert head.status == 431


@pytest.mark.parametrize("garbage", [b"\0\1\2\3", b"\x16\x03\x01\x02\0\1\0", b"HELLO\r\n\r\n"])
def test_what_is_no_http_is_refused(anywhere: Served, garbage: bytes) -> None:
    client = dial(anywhere)
    client.write(garbage + b"\r\n\r\n")
    assert client.head().status == 400


# What the application sees


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/a/b?c=d&e", "/a/b", b"c=d&e"),
        (b"/?", "/", b""),
        (b"/a?b?c", "/a", b"b?c"),
        (b"//a//b/", "//a//b/", b""),
        (b"/a/../b/.", "/a/../b/.", b""),
        (b"/Gr%C3%BC%C3%9Fe%20an%2Fdich", "/Grüße an/dich", b""),
        (b"/100%", "/100%", b""),
        (b"/%ff", "/\ufffd", b""),
        (b"/a;b,c:@!$&'()*+=~", "/a;b,c:@!$&'()*+=~", b""),
        (b"/a?%E2%82%AC=+", "/a", b"%E2%82%AC=+"),
    ],
    ids=str,
)
def test_the_path_is_decoded_and_the_raw_one_is_as_it_came(
    either: Served, target: bytes, path: str, query: bytes
) -> None:
    scope = scope_of(either, target=target)
    assert (scope["path"], scope["query_string"]) == (path, query)
    assert scope["raw_path"] == target.partition(b"?")[0]


def test_an_absolute_target_is_read_as_its_path(server: Served) -> None:
    scope = scope_of(server, target=b"http://127.0.0.1/a%20b?c=d")
    assert (scope["path"], scope["raw_path"]) == ("/a b", b"/a%20b")
    assert scope["query_string"] == b"c=d"


@pytest.mark.parametrize("target", [b"*", b"a/b", b"127.0.0.1:80", b"/a\xc3\xa9"])
@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_target_that_is_no_path_is_refused(servers: Servers, target: bytes, http: Any) -> None:
    assert handshake(servers.get(Venue(http=http)), target=target).status == 400


def test_the_scope_says_what_asgi_says(either: Served) -> None:
    scope = scope_of(either, target=b"/a")
    assert scope["type"] == "websocket"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert (scope["http_version"], scope["scheme"], scope["root_path"]) == ("1.1", "ws", "")
    assert scope["server"] == ("127.0.0.1", either.port)
    host, port = scope["client"]
    assert (host, type(port)) == ("127.0.0.1", int)
    assert (scope["subprotocols"], scope["state"]) == ([], {})
    assert "websocket.http.response" in scope["extensions"]
    assert (b"host", b"127.0.0.1") in scope["headers"]


def test_the_scope_says_what_carries_it(anywhere: Served) -> None:
    scope = scope_of(anywhere)
    transport = anywhere.venue.transport
    assert scope["scheme"] == ("wss" if transport == "tls" else "ws")
    if transport == "unix":
        assert scope["client"] is None
        path, port = scope["server"]
        assert (path.endswith("/socket"), port) == (True, None)
    else:
        assert scope["server"] == ("127.0.0.1", anywhere.port)
        assert scope["client"][0] == "127.0.0.1"


def test_each_connection_has_a_state_of_its_own(server: Served) -> None:
    assert scope_of(server)["state"] is not scope_of(server)["state"]


def test_header_values_are_stripped_and_otherwise_left_alone(either: Served) -> None:
    more = [(b"X-A", b" \t b  c \t"), (b"X-Empty", b""), (b"X-A", b"d"), (b"X-High", b"\xe9")]
    headers = scope_of(either, more=more)["headers"]
    assert headers[-4:] == [
        (b"x-a", b"b  c"),
        (b"x-empty", b""),
        (b"x-a", b"d"),
        (b"x-high", b"\xe9"),
    ]


def test_the_root_path_stands_before_the_path(servers: Servers) -> None:
    server = servers.get(OURS, root_path="/api")
    scope = scope_of(server, target=b"/a%20b")
    assert scope["root_path"] == "/api"
    assert (scope["path"], scope["raw_path"]) == ("/api/a b", b"/api/a%20b")


def test_forwarded_headers_of_a_proxy_change_the_scope(either: Served) -> None:
    more = [(b"X-Forwarded-For", b"192.0.2.7"), (b"X-Forwarded-Proto", b"https")]
    scope = scope_of(either, more=more)
    assert scope["client"][0] == "192.0.2.7"
    assert scope["scheme"] == "wss"


# Subprotocols and headers of the answer


def test_offers_of_several_lines_are_one_list(either: Served) -> None:
    more = [(b"Sec-WebSocket-Protocol", b"a, b"), (b"Sec-WebSocket-Protocol", b"c")]
    assert scope_of(either, more=more)["subprotocols"] == ["a", "b", "c"]


def test_the_chosen_subprotocol_is_sent_once(either: Served) -> None:
    app = saying({**ACCEPT, "subprotocol": "b"}, then=to_the_end)
    more = [(b"Sec-WebSocket-Protocol", b"a,b")]
    head, _ = answer(either, request(either.play(app), more=more))
    assert head.one(b"sec-websocket-protocol") == b"b"


def test_headers_of_the_application_are_sent_as_often_as_given(either: Served) -> None:
    headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-own", b"caf\xe9")]
    app = saying({**ACCEPT, "headers": headers}, then=to_the_end)
    head, _ = answer(either, request(either.play(app)))
    assert head.all(b"set-cookie") == [b"a=1", b"b=2"]
    assert head.all(b"x-own") == [b"caf\xe9"]


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"b\r\nx-evil: 1"),
        (b"x-a", b"b\nx-evil: 1"),
        (b"x-a", b"b\rx-evil: 1"),
        (b"x-a", b"b\0"),
        (b"x-a\r\nx-evil", b"1"),
        (b"x-a: 1\r\nx-evil", b"1"),
        (b"x a", b"1"),
        (b"", b"1"),
    ],
    ids=str,
)
def test_a_header_of_the_application_cannot_inject_another(
    server: Served, header: tuple[bytes, bytes]
) -> None:
    app = saying({**ACCEPT, "headers": [header]})
    head, _ = answer(server, request(server.play(app)))
    assert head.status == 500
    assert head.all(b"x-evil") == []


@pytest.mark.parametrize("subprotocol", ["b\r\nx-evil: 1", "b", "A", "a,b", "a "], ids=ascii)
def test_only_what_was_offered_can_be_accepted(server: Served, subprotocol: str) -> None:
    app = saying({**ACCEPT, "subprotocol": subprotocol})
    more = [(b"Sec-WebSocket-Protocol", b"a")]
    head, _ = answer(server, request(server.play(app), more=more))
    assert head.status == 500


@pytest.mark.parametrize(
    "name",
    [
        b"Upgrade",
        b"connection",
        b"sec-websocket-accept",
        b"Sec-WebSocket-Protocol",
        b"sec-websocket-extensions",
    ],
)
def test_what_the_handshake_says_itself_is_not_for_applications(
    server: Served, name: bytes
) -> None:
    app = saying({**ACCEPT, "headers": [(name, b"x")]})
    head, _ = answer(server, request(server.play(app)))
    assert head.status == 500


def test_the_default_headers_are_in_the_answer(either: Served) -> None:
    head = handshake(either)
    assert head.one(b"server") == b"uvicorn"
    assert parsedate_to_datetime(head.one(b"date").decode()) is not None


@pytest.mark.parametrize("protocol", ["telex", "uvicorn"])
def test_default_headers_follow_the_settings(servers: Servers, protocol: str) -> None:
    server = servers.get(
        Venue(protocol),
        server_header=False,
        date_header=False,
        headers=(("X-Served-By", "a test"), ("X-Served-By", "twice")),
    )
    head = handshake(server)
    assert head.all(b"server") == head.all(b"date") == []
    assert head.all(b"x-served-by") == [b"a test", b"twice"]


@pytest.mark.parametrize(
    ("app", "status"),
    [(saying(CLOSE), 403), (saying(*denying(401)), 401), (saying(), 500)],
    ids=["403", "denial", "500"],
)
def test_the_default_headers_are_in_a_refusal_by_the_application(
    server: Served, app: Any, status: int
) -> None:
    head, _ = answer(server, request(server.play(app)))
    assert head.status == status
    assert head.one(b"server") == b"uvicorn"
    assert len(head.all(b"date")) == 1


# Limits, and what comes too early


def test_over_the_limit_of_connections_the_answer_is_503(servers: Servers) -> None:
    server = servers.get(OURS, limit_concurrency=3)
    app = server.play(echo)
    for _ in range(2):
        assert answer(server, request(app))[0].status == 101
    head, client = answer(server, request(app))
    assert head.status == 503
    assert head.one(b"content-length") == b"%d" % len(client.rest())
    server.end_clients()
    until("room again", lambda: server.idle)
    assert answer(server, request(app))[0].status == 101


def hesitating(server: Served, app: Any) -> tuple[Client, Gate]:
    """Return a client whose request an application has, and what lets that go on."""
    gate, notes = server.gate(), Notes()

    async def hesitates(scope: Scope, receive: Receive, send: Send) -> None:
        notes.add("called")
        await gate.wait()
        await app(scope, receive, send)

    client = dial(server)
    client.write(request(server.play(hesitates)))
    notes.get()
    return client, gate


@pytest.mark.xfail(reason="uvicorn throws away what it reads together with the request")
@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_frames_that_come_with_the_request_are_not_lost(servers: Servers, http: Any) -> None:
    server = servers.get(Venue(http=http))
    client = dial(server, timeout=0.5)
    client.write(request(server.play(echo)), text("early"))
    assert client.head().status == 101
    assert client.frame() == is_text("early")


def test_frames_that_come_before_the_answer_are_not_lost(anywhere: Served) -> None:
    notes = Notes()
    client, gate = hesitating(anywhere, listening(notes))
    client.write(text("one"), frame(TEXT, b"two")[:3])
    be_passed(anywhere)
    client.write(frame(TEXT, b"two")[3:], frame(BINARY, b"x" * 10_000), closing())
    be_passed(anywhere)
    gate.open()
    assert client.head().status == 101
    assert client.last_words() == (1000, "")
    assert [notes.get() for _ in range(4)] == [
        received("one"),
        received("two"),
        received(b"x" * 10_000),
        disconnected(1000),
    ]


def be_passed(server: Served) -> None:
    """Wait for an exchange that began later, so that what was sent before has been read."""
    for _ in range(2):
        head, client = answer(server, request(server.play(echo)))
        assert head.status == 101
        client.write(text("passed"))
        assert client.frame() == is_text("passed")


def test_early_garbage_ends_the_connection_with_1002(server: Served) -> None:
    client, gate = hesitating(server, echo)
    client.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    gate.open()
    assert client.head().status == 101
    assert client.last_words()[0] == 1002


def test_a_flood_before_the_answer_is_held_back_and_loses_nothing(server: Served) -> None:
    notes = Notes()
    client, gate = hesitating(server, listening(notes))
    piece = frame(BINARY, b"x" * 10_000)
    written = client.flood(piece)
    # What the kernel takes for the sockets, and a little more.
    assert written < 8 * 2**20
    gate.open()
    assert client.head().status == 101
    for _ in range(client.finish(piece, written)):
        assert notes.get() == received(b"x" * 10_000)


def test_a_flood_before_the_answer_does_not_lift_the_bound_behind_it(server: Served) -> None:
    accepted, reading = Notes(), server.gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        accepted.add("accepted")
        await reading.wait()
        await to_the_end(receive, send)

    client, gate = hesitating(server, app)
    piece = frame(BINARY, b"x" * 1000)
    written = client.flood(piece)
    gate.open()
    accepted.get()
    more = client.flood(piece, already=written) - written
    reading.open()
    assert more < 2**20


# Log lines


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (echo, "[accepted]"),
        (saying(CLOSE), "403"),
        (saying(*denying(404)), "404"),
    ],
    ids=["accepted", "403", "404"],
)
@pytest.mark.parametrize("protocol", ["telex", "uvicorn"])
def test_each_handshake_has_a_log_line(
    servers: Servers, caplog: pytest.LogCaptureFixture, protocol: str, app: Any, status: str
) -> None:
    server = servers.get(Venue(protocol), log_level="info")
    caplog.set_level("INFO", "uvicorn.error")
    _, client = answer(server, request(server.play(app), target=b"/a%20b?c=d"))
    client.hang_up()
    line = re.compile(r'127\.0\.0\.1:\d+ - "WebSocket /a%20b\?c=d" ' + re.escape(status))
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]
    assert [each for each in lines if line.fullmatch(each)], lines
