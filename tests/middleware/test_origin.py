"""Whose pages may connect: origins compared, refused, allowed, and what the log says."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount as StarletteMount
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket

from clients import connected, rejection
from peer import Peer, make_scope, serve
from telex import App, WebSocket
from telex._types import Receive, Scope, Send
from telex.middleware.origin import Origin, OriginMiddleware, allows, parse_origin
from telex.testing import AsyncTestClient

HERE = "ws://example.com"


async def greets(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text("hello")


def guarded(**options: Any) -> App:
    app = App(**options)
    app.websocket("/")(greets)
    return app


def handshake(
    *origins: str,
    url: str = HERE,
    cookie: str | None = "id=1",
    hosts: tuple[str, ...] | None = None,
    **extra: Any,
) -> Scope:
    """The scope of a handshake, as a browser that was given this URL makes it."""
    scheme, _, host = url.partition("://")
    names = (host,) if hosts is None else hosts
    headers = [(b"host", name.encode("latin-1")) for name in names]
    headers += [(b"origin", origin.encode("latin-1")) for origin in origins]
    if cookie is not None:
        headers.append((b"cookie", cookie.encode()))
    return make_scope(denial=True, scheme=scheme, headers=headers, **extra)


async def lets_in(scope: Scope, allowed_origins: list[str] | None = None) -> bool:
    """Whether the middleware calls what is behind it; if not, the client gets a 403."""
    called: list[Scope] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(scope)

    peer = await serve(OriginMiddleware(inner, allowed_origins), scope=scope)
    if called:
        assert called == [scope]
        assert peer.sent == []
        return True
    start, body = peer.sent
    assert (start["status"], body["body"]) == (403, b"origin not allowed")
    return False


# The same origin


@pytest.mark.row("T76")
@pytest.mark.parametrize(
    ("url", "origin", "same"),
    [
        # scheme, host, port
        ("ws://example.com", "http://example.com", True),
        ("wss://example.com", "https://example.com", True),
        ("ws://example.com", "https://example.com", False),
        ("wss://example.com", "http://example.com", False),
        ("ws://example.com", "http://example.org", False),
        ("ws://example.com", "http://www.example.com", False),
        ("ws://www.example.com", "http://example.com", False),
        ("ws://example.com", "http://notexample.com", False),
        ("ws://example.com", "http://example.com.evil", False),
        ("ws://127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("ws://127.0.0.1:8000", "http://127.0.0.1:8001", False),
        ("ws://127.0.0.1:8000", "http://localhost:8000", False),
        # ports that go without saying
        ("ws://example.com:80", "http://example.com", True),
        ("ws://example.com", "http://example.com:80", True),
        ("ws://example.com:", "http://example.com", True),
        ("wss://example.com:443", "https://example.com", True),
        ("wss://example.com", "https://example.com:443", True),
        ("wss://example.com", "https://example.com:80", False),
        ("ws://example.com:443", "https://example.com", False),
        ("ws://example.com:080", "http://example.com", True),
        ("ws://example.com:99999", "http://example.com:99999", False),
        ("ws://example.com:x", "http://example.com:x", False),
        ("ws://example.com", "http://example.com:-80", False),
        ("ws://example.com:80:80", "http://example.com:80:80", False),
        # case
        ("ws://Example.COM", "http://example.com", True),
        ("ws://example.com", "HTTP://EXAMPLE.COM", True),
        # IPv6
        ("ws://[::1]:8000", "http://[::1]:8000", True),
        ("ws://[::1]", "http://[::1]:80", True),
        ("ws://[::1]", "http://[0:0:0:0:0:0:0:1]", True),
        ("ws://[FE80::A]", "http://[fe80::a]", True),
        ("ws://[::1]", "http://[::2]", False),
        ("ws://[::1]", "http://::1", False),
        ("ws://[::1]", "http://evil.example[::1]", False),
        ("ws://[::1]", "http://[::1]evil.example", False),
        ("ws://[1::2::3]", "http://[1::2::3]", False),
        # a dot at the end makes another host of it
        ("ws://example.com.", "http://example.com.", True),
        ("ws://example.com", "http://example.com.", False),
        ("ws://example.com.", "http://example.com", False),
        # what no browser sends
        ("ws://example.com", "http://user@example.com", False),
        ("ws://example.com", "http://example.com@evil.example", False),
        ("ws://example.com", "http://evil.example@example.com", False),
        ("ws://example.com", "http://example.com/", False),
        ("ws://example.com", "http://example.com/page", False),
        ("ws://example.com", "http://evil.example/http://example.com", False),
        ("ws://example.com", "http://evil.example?http://example.com", False),
        ("ws://example.com", "http://evil.example#example.com", False),
        ("ws://example.com", "http://evil.example\\example.com", False),
        ("ws://example.com", "http:\\\\example.com", False),
        ("ws://example.com", "http:example.com", False),
        ("ws://example.com", "//example.com", False),
        ("ws://example.com", "example.com", False),
        ("ws://example.com", "http://", False),
        ("ws://example.com", "http://:80", False),
        ("ws://example.com", "", False),
        ("ws://example.com", " http://example.com", False),
        ("ws://example.com", "http://example.com ", False),
        ("ws://example.com", "http://example.com\t", False),
        ("ws://example.com", "http://example.com\n", False),
        ("ws://example.com", "http://example.com\r\nx: y", False),
        ("ws://example.com", "http://example.com\0", False),
        ("ws://example.com", "http://example.com http://example.com", False),
        ("ws://example.com", "http://example.com, http://example.com", False),
        ("ws://example.com", "http://example%2ecom", False),
        ("ws://m\xfcnchen.example", "http://m\xfcnchen.example", False),
        ("ws://example.com", "null", False),
        ("ws://null", "null", False),
        ("ws://example.com", "*", False),
        # the schemes of WebSockets are those of no page
        ("ws://example.com", "ws://example.com", False),
        ("wss://example.com", "wss://example.com", False),
        ("ws://example.com", "file://", False),
        ("ws://example.com", "file://example.com", False),
    ],
)
async def test_a_handshake_with_a_cookie_must_come_from_the_same_origin(
    url: str, origin: str, same: bool
) -> None:
    assert await lets_in(handshake(origin, url=url)) is same
    # A list allows others besides, and takes nothing away.
    assert await lets_in(handshake(origin, url=url), ["https://other.example"]) is same
    assert await lets_in(handshake(origin, url=url, cookie=None), []) is same


@pytest.mark.parametrize(
    ("hosts", "same"),
    [
        (("example.com",), True),
        ((), False),
        (("",), False),
        (("example.com", "example.com"), False),
        (("example.com", "evil.example"), False),
        (("example.com@evil.example",), False),
        (("example.com/",), False),
        (("example.com, evil.example",), False),
    ],
)
async def test_one_host_header_that_is_a_host_is_needed(hosts: tuple[str, ...], same: bool) -> None:
    assert await lets_in(handshake("http://example.com", hosts=hosts)) is same
    # Those who send no origin need none.
    assert await lets_in(handshake(hosts=hosts))


@pytest.mark.parametrize("allowed_origins", [None, [], ["http://example.com"], ["*"]])
@pytest.mark.parametrize(
    "origins",
    [
        ("http://example.com", "http://example.com"),
        ("http://example.com", "http://evil.example"),
        ("http://evil.example", "http://example.com"),
        ("", "http://example.com"),
    ],
)
async def test_several_origins_are_refused_even_where_all_are_allowed(
    origins: tuple[str, str], allowed_origins: list[str] | None
) -> None:
    assert not await lets_in(handshake(*origins), allowed_origins)


@pytest.mark.row("T77")
@pytest.mark.parametrize("scheme", ["wss", "https"])
async def test_handshakes_over_http2_are_checked_in_the_same_way(scheme: str) -> None:
    for origin, same in [("https://example.com", True), ("https://evil.example", False)]:
        scope = handshake(origin, url=f"{scheme}://example.com", http_version="2")
        assert await lets_in(scope) is same


async def test_cookies_of_http2_may_come_in_pieces() -> None:
    scope = handshake("https://evil.example", url="wss://example.com", http_version="2")
    scope["headers"].append((b"cookie", b"more=2"))
    assert not await lets_in(scope)


async def test_a_scope_that_says_little_is_refused_with_a_cookie_and_a_foreign_origin() -> None:
    headers = [(b"origin", b"http://evil.example"), (b"cookie", b"a=1"), (b"host", b"here")]
    assert not await lets_in(
        {
            "type": "websocket",
            "path": "/",
            "headers": headers,
            "extensions": {"websocket.http.response": {}},
        }
    )
    assert await lets_in({"type": "websocket"})


async def test_where_the_page_comes_from_is_not_what_a_proxy_header_says() -> None:
    scope = handshake("http://evil.example")
    scope["headers"] += [
        (b"x-forwarded-host", b"evil.example"),
        (b"forwarded", b"host=evil.example"),
        (b"x-forwarded-proto", b"https"),
    ]
    assert not await lets_in(scope)


# Cookies


@pytest.mark.row("T76")
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "junk"])
async def test_without_a_list_handshakes_without_cookies_may_come_from_anywhere(
    origin: str,
) -> None:
    assert await lets_in(handshake(origin, cookie=None))
    assert not await lets_in(handshake(origin))
    assert not await lets_in(handshake(origin, cookie=""))


@pytest.mark.row("T76")
@pytest.mark.parametrize("allowed_origins", [None, [], ["https://other.example"], ["null"], ["*"]])
@pytest.mark.parametrize("cookie", [None, "id=1"])
async def test_who_sends_no_origin_is_let_in(
    allowed_origins: list[str] | None, cookie: str | None
) -> None:
    assert await lets_in(handshake(cookie=cookie), allowed_origins)


@pytest.mark.row("T76")
@pytest.mark.parametrize("cookie", [None, "id=1"])
async def test_with_a_list_cookies_make_no_difference(cookie: str | None) -> None:
    allowed = ["https://friend.example"]
    assert await lets_in(handshake("https://friend.example", cookie=cookie), allowed)
    assert await lets_in(handshake("http://example.com", cookie=cookie), allowed)
    assert not await lets_in(handshake("https://evil.example", cookie=cookie), allowed)
    assert not await lets_in(handshake("https://evil.example", cookie=cookie), [])


# Lists


@pytest.mark.row("T76")
@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        # one origin
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "https://a.example:443", True),
        ("https://a.example:443", "https://a.example", True),
        ("HTTPS://A.Example", "https://a.example", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:8443", False),
        ("https://a.example:8443", "https://a.example:8443", True),
        ("https://a.example:8443", "https://a.example", False),
        ("https://a.example", "https://b.a.example", False),
        ("https://a.example", "https://nota.example", False),
        ("https://a.example", "https://a.example.evil", False),
        ("https://a.example", "https://a.example.", False),
        ("https://a.example", "https://a.example@evil", False),
        ("https://a.example", "https://a-example", False),
        ("http://[::1]:3000", "http://[::1]:3000", True),
        ("http://[0::1]:3000", "http://[::1]:3000", True),
        ("http://localhost:3000", "http://localhost:3001", False),
        # its subdomains
        ("https://*.example.com", "https://www.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://WWW.EXAMPLE.com:443", True),
        ("https://*.Example.com", "https://www.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://.example.com", False),
        ("https://*.example.com", "https://notexample.com", False),
        ("https://*.example.com", "https://www.notexample.com", False),
        ("https://*.example.com", "https://example.com.evil", False),
        ("https://*.example.com", "https://www.example.com.evil", False),
        ("https://*.example.com", "https://www.example.com.", False),
        ("https://*.example.com", "https://evil/www.example.com", False),
        ("https://*.example.com", "https://evil#.example.com", False),
        ("https://*.example.com", "https://evil\\.example.com", False),
        ("https://*.example.com", "https://evil:80.example.com", False),
        ("https://*.example.com", "https://evil@www.example.com", False),
        ("https://*.example.com", "http://www.example.com", False),
        ("https://*.example.com", "https://www.example.com:8443", False),
        ("https://*.example.com:8443", "https://www.example.com:8443", True),
        ("https://*.example.com", "https://*.example.com", False),
        ("https://*.example.com", "null", False),
        # words
        ("null", "null", True),
        ("null", "NULL", False),
        ("null", "https://null", False),
        ("*", "https://anybody.example", True),
        ("*", "null", True),
        ("*", "", True),
        # applications that are pages
        ("capacitor://localhost", "capacitor://localhost", True),
        ("capacitor://localhost", "tauri://localhost", False),
        ("capacitor://localhost", "capacitor://localhost:80", False),
        ("tauri://localhost:1420", "tauri://localhost:1420", True),
        ("chrome-extension://abcdefghij", "chrome-extension://abcdefghij", True),
        ("chrome-extension://abcdefghij", "chrome-extension://jihgfedcba", False),
    ],
)
async def test_a_list_names_who_else_may_connect(pattern: str, origin: str, allowed: bool) -> None:
    assert allows([pattern])(origin) is allowed
    assert await lets_in(handshake(origin), [pattern]) is allowed


def test_one_of_the_list_is_enough() -> None:
    is_allowed = allows(iter(["https://a.example", "https://*.b.example", "null"]))
    for origin in ("https://a.example", "https://x.b.example", "null"):
        assert is_allowed(origin)
    assert not is_allowed("https://b.example")
    assert not allows([])("https://a.example")


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "example.com",
        "*.example.com",
        "https://",
        "https://*",
        "https://*.",
        "https://*.*.example.com",
        "https://www.*.example.com",
        "https://*example.com",
        "https://example.*",
        "*://example.com",
        "**",
        "https://example.com/",
        "https://example.com/chat",
        "https://example.com?x",
        "https://user@example.com",
        "https://example.com:port",
        "https://example.com:99999",
        "https://example.com:*",
        "https://m\xfcnchen.example",
        "https://[::1",
        "https://[::x]",
        "https://::1",
        " https://example.com",
        "https://example.com ",
        "https://a.example, https://b.example",
        "wss://example.com",
        "ws://*.example.com",
        "NULL",
    ],
)
def test_what_is_no_origin_is_refused_when_the_application_is_made(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no origin of a page; expected one such as") as caught:
        App(allowed_origins=["https://example.com", pattern])
    assert repr(pattern) in str(caught.value)


@pytest.mark.parametrize(
    ("junk", "expected"),
    [
        ("https://example.com", "a list of origins, not the str 'https://example.com'"),
        ("*", "a list of origins, not the str"),
        ([b"https://example.com"], "a list of str, b'https://example.com' is none"),
        (b"*", "a list of str, 42 is none"),
        ([None], "a list of str, None is none"),
        ([Origin("https", "a.example", 443)], "a list of str"),
    ],
)
def test_what_is_no_list_of_str_is_refused(junk: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=expected.replace("*", r"\*")):
        App(allowed_origins=junk)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://example.com", Origin("https", "example.com", 443)),
        ("HTTP://EXAMPLE.com:", Origin("http", "example.com", 80)),
        ("http://1.2.3.4:65535", Origin("http", "1.2.3.4", 65535)),
        ("http://1.2.3.4:65536", None),
        ("http://[0:0::1]", Origin("http", "::1", 80)),
        ("app://local", Origin("app", "local", None)),
        ("null", None),
        ("http://\u017f.example", None),
        ("http://example.com:\uff18\uff10", None),
    ],
)
def test_origins_have_one_form_in_which_they_are_compared(text: str, origin: Origin | None) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize("length", [100, 1_000_000])
def test_a_huge_origin_is_parsed_in_no_time(length: int) -> None:
    for text in ("a" * length, "http://" + "a" * length + "/", "http://" + "a." * length):
        assert not allows(["https://*.example.com"])(text)


# Refusing


@pytest.mark.row("T76")
async def test_the_client_is_told_that_its_origin_is_not_allowed() -> None:
    headers = {"origin": "https://evil.example", "cookie": "id=1"}
    refused = await rejection(guarded(), headers=headers)
    assert (refused.status, refused.body) == (403, b"origin not allowed")
    assert refused.headers["content-type"] == "text/plain; charset=utf-8"
    plain = await rejection(guarded(), headers=headers, scope={"extensions": {}})
    assert (plain.status, plain.code) == (403, 1008)


@pytest.mark.row("T76")
async def test_nothing_of_the_application_runs_before_the_check() -> None:
    ran: list[str] = []

    class Hooks:
        async def on_handshake(self, ws: WebSocket) -> None:
            ran.append("hook")

    def middleware(endpoint: Any) -> Any:
        async def wrapper() -> object:
            ran.append("socket middleware")
            return await endpoint()

        return wrapper

    app = guarded(connection_middleware=[Hooks()], socket_middlewares=[middleware])
    await rejection(app, headers={"origin": "https://evil.example", "cookie": "id=1"})
    await rejection(app, "/none", headers={"origin": "https://evil.example", "cookie": "id=1"})
    assert ran == []
    async with connected(app, headers={"origin": "http://testserver", "cookie": "id=1"}):
        assert ran == ["hook", "socket middleware"]


async def test_a_client_that_has_given_up_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer({"type": "websocket.disconnect", "code": 1006}, connect=False)
    await peer.run(guarded(), handshake("http://evil.example"))
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.row("T76")
async def test_the_log_says_who_was_refused_and_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "telex")
    headers = {"origin": "https://evil.example", "cookie": "secret=1"}
    await rejection(guarded(), "/?token=secret", headers=headers)
    warning, line = caplog.messages
    assert warning.startswith("refused '/' for ")
    assert warning.endswith(
        ": it comes from a page of the origin 'https://evil.example' and this server is "
        "'http://testserver'; to let it in, add that origin to allowed_origins"
    )
    assert "denied with HTTP 403" in line
    assert "secret" not in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example\r\nERROR forged", "example.com"),
        ("http://evil.example\x1b[2J", "example.com"),
        ("http://" + "e" * 100_000, "example.com"),
        ("null", "example.com\nERROR forged"),
        ("null", "h" * 100_000),
    ],
)
async def test_no_header_breaks_or_floods_the_log(
    origin: str, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await lets_in(handshake(origin, hosts=(host,)))
    [message] = caplog.messages
    assert message.isprintable()
    assert len(message) < 1000


async def test_several_origins_are_all_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert not await lets_in(handshake("http://a.example", "http://b.example"))
    assert "'http://a.example, http://b.example'" in caplog.text


# Elsewhere


async def test_requests_and_the_lifespan_are_not_asked() -> None:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse("page")

    app = guarded(http=Starlette(routes=[Route("/page", page)]), allowed_origins=[])
    async with AsyncTestClient(app) as client:
        headers = {"origin": "https://evil.example", "cookie": "id=1"}
        assert (await client.http.get("/page", headers=headers)).text == "page"


@pytest.mark.row("T76")
async def test_what_is_mounted_is_behind_the_check() -> None:
    async def endpoint(websocket: StarletteWebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = App()
    app.mount("/others", Starlette(routes=[WebSocketRoute("/", endpoint)]))
    app.mount("/ours", guarded())
    foreign = {"origin": "https://evil.example", "cookie": "id=1"}
    own = {"origin": "http://testserver", "cookie": "id=1"}
    for path in ("/others/", "/ours/"):
        assert (await rejection(app, path, headers=foreign)).status == 403
        async with connected(app, path, headers=own):
            pass


@pytest.mark.row("T76")
async def test_a_telex_application_mounted_elsewhere_checks_for_itself() -> None:
    app = Starlette(routes=[StarletteMount("/in", guarded(allowed_origins=["https://a.example"]))])
    for origin, cookies in [("https://evil.example", {"id": "1"}), ("https://evil.example", {})]:
        refused = await rejection(app, "/in/", headers={"origin": origin}, cookies=cookies)
        assert refused.status == 403
    for origin in ("https://a.example", "http://testserver"):
        async with connected(app, "/in/", headers={"origin": origin}, cookies={"id": "1"}) as ws:
            assert await ws.receive_text() == "hello"


@pytest.mark.parametrize(
    ("outer", "inner", "lets_in"),
    [
        (None, None, False),
        (["https://a.example"], None, True),
        (None, ["https://a.example"], False),
        (["https://a.example"], ["https://a.example"], True),
        (["*"], ["https://b.example"], False),
        (["*"], ["*"], True),
    ],
)
async def test_of_two_applications_each_that_has_a_list_has_to_allow_it(
    outer: list[str] | None, inner: list[str] | None, lets_in: bool
) -> None:
    app = App(allowed_origins=outer)
    app.mount("/in", guarded(allowed_origins=inner))
    headers = {"origin": "https://a.example", "cookie": "id=1"}
    if lets_in:
        async with connected(app, "/in/", headers=headers) as ws:
            assert await ws.receive_text() == "hello"
    else:
        assert (await rejection(app, "/in/", headers=headers)).status == 403


async def test_lists_of_two_applications_stay_apart() -> None:
    a, b = (guarded(allowed_origins=[f"https://{name}.example"]) for name in "ab")
    headers = {"origin": "https://a.example"}
    async with connected(a, headers=headers) as ws:
        assert await ws.receive_text() == "hello"
    assert (await rejection(b, headers=headers)).status == 403


async def test_a_list_that_changes_later_changes_nothing() -> None:
    allowed = ["https://a.example"]
    app = guarded(allowed_origins=allowed)
    allowed.append("*")
    assert (await rejection(app, headers={"origin": "https://b.example"})).status == 403
