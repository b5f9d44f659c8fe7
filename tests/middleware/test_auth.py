"""Who is there: tokens found, verified, refused, refreshed; and shown to nobody."""

import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

import telex
from channel import PATHS, FakeChannel, triple_over
from clients import connected, ending, rejection
from opened import connecting, soon, turns
from peer import B, T
from sse import response_of
from telex import App, Authenticate, Depends, Reject, SocketView, WebSocket, WebSocketException
from telex.codecs import JSON
from telex.lifecycle import Endpoint, connection_app

TOKEN = "Ada.s3cret-0123456789"
BEARER = {"authorization": f"Bearer {TOKEN}"}
UNAUTHORIZED = (4401, "unauthorized")
EVERYWHERE: dict[str, Any] = {
    "header": True,
    "subprotocol": "bearer",
    "query": "token",
    "cookie": "session",
}


def verify(token: str) -> str | None:
    """Let in whoever's token ends with the secret, but for Bob, who may not."""
    name, _, secret = token.partition(".")
    if name == "Bob":
        raise PermissionError(f"{token} is banned")
    return name if secret == "s3cret-0123456789" else None


def guarded(authenticate: Authenticate, **options: Any) -> App:
    """An application that says who is there."""
    app = App(**options)

    @app.websocket("/")
    async def hello(ws: WebSocket, user: Annotated[str, Depends(authenticate)]) -> None:
        async with ws:
            await ws.send_text(f"hello {user}")

    return app


async def greeting(app: App, url: str = "/", *messages: str, **options: Any) -> str:
    async with connected(app, url, **options) as ws:
        for message in messages:
            await ws.send_text(message)
        return await ws.receive_text()


async def status(app: App, url: str = "/", **options: Any) -> int:
    return (await rejection(app, url, **options)).status


# Where the token is


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("/", {"headers": BEARER}),
        ("/", {"headers": {"Authorization": f"BEARER   {TOKEN} "}}),
        (f"/?token={TOKEN}", {}),
        (f"/?other=1&token={TOKEN.replace('.', '%2E')}", {}),
        ("/", {"cookies": {"session": TOKEN}}),
        ("/", {"subprotocols": ["bearer", TOKEN]}),
        ("/", {"subprotocols": ["chat", "bearer", TOKEN, "news"]}),
        # Somebody else's, such as a proxy's.
        (f"/?token={TOKEN}", {"headers": {"authorization": "Basic QWRhOm5v"}}),
        # Left behind by logging out.
        (f"/?token={TOKEN}", {"cookies": {"session": ""}}),
        ("/?token=", {"cookies": {"session": TOKEN}}),
        ("/", {"subprotocols": ["bearer"], "cookies": {"session": TOKEN}}),
    ],
)
async def test_a_token_is_found(url: str, options: dict[str, Any]) -> None:
    assert await greeting(guarded(Authenticate(**EVERYWHERE, verify=verify)), url, **options) == (
        "hello Ada"
    )


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("/", {}),
        ("/?Token=x", {"cookies": {"Session": TOKEN}, "subprotocols": ["Bearer", TOKEN]}),
        ("/", {"headers": {"authorization": "Basic QWRhOm5v"}}),
        ("/", {"headers": {"authorization": TOKEN}}),
        ("/?token=", {"cookies": {"session": ""}, "subprotocols": ["bearer"]}),
    ],
)
async def test_no_token_is_told_that_one_is_needed(url: str, options: dict[str, Any]) -> None:
    refused = await rejection(guarded(Authenticate(**EVERYWHERE, verify=verify)), url, **options)
    assert (refused.status, refused.text) == (401, "unauthorized")
    assert refused.headers.getlist("www-authenticate") == ["Bearer"]


def pair(first: str, second: str, name: str = "authorization") -> dict[str, Any]:
    """Options of a handshake with a header twice."""
    return {"headers": [(name, first), (name, second)]}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("/", {"headers": {"authorization": "Bearer Ada.wrong"}}),
        ("/", {"headers": {"authorization": "Bearer"}}),
        ("/", {"headers": {"authorization": "Bearer "}}),
        ("/", {"headers": {"authorization": f"Bearer {TOKEN} x"}}),
        ("/", {"headers": {"authorization": "Bearer " + "a" * 16_385}}),
        ("/", {"headers": {"authorization": b"Bearer \xe9\xff"}}),
        ("/", pair(f"Bearer {TOKEN}", f"Bearer {TOKEN}")),
        ("/", pair(f"Bearer {TOKEN}", "Basic QWRhOm5v")),
        ("/", {"headers": {"authorization": f"Bearer {TOKEN}, Bearer {TOKEN}"}}),
        (f"/?token={TOKEN}&token={TOKEN}", {}),
        ("/?token=%0A%1b[31m", {}),
        ("/?token=%F0%9F%92%A9", {}),
        ("/", pair(f"bearer, {TOKEN}", "bearer, x", "sec-websocket-protocol")),
        ("/", {"cookies": {"session": "Ada"}}),
    ],
)
async def test_what_is_no_good_token_is_refused_as_that(url: str, options: dict[str, Any]) -> None:
    refused = await rejection(guarded(Authenticate(**EVERYWHERE, verify=verify)), url, **options)
    assert (refused.status, refused.text) == (401, "unauthorized")
    assert refused.headers.getlist("www-authenticate") == ['Bearer error="invalid_token"']


async def test_headers_that_a_proxy_has_joined_are_no_token() -> None:
    app = guarded(Authenticate(header=True, verify=str.upper))
    assert await greeting(app, headers={"authorization": "Bearer a"}) == "hello A"
    assert await status(app, headers={"authorization": "Bearer a,b"}) == 401


async def test_a_header_of_another_name_is_the_token() -> None:
    app = guarded(Authenticate(header="X-API-Key", verify=verify))
    assert await greeting(app, headers={"x-api-key": TOKEN}) == "hello Ada"
    assert await status(app, headers=BEARER) == 401
    assert await status(app, **pair(TOKEN, TOKEN, "x-api-key")) == 401


async def test_a_place_that_was_not_named_is_not_looked_at() -> None:
    for place, value in EVERYWHERE.items():
        app = guarded(Authenticate(verify=verify, **{place: value}))
        given: dict[str, dict[str, Any]] = {
            "header": {"headers": BEARER},
            "subprotocol": {"subprotocols": ["bearer", TOKEN]},
            "query": {"url": f"/?token={TOKEN}"},
            "cookie": {"cookies": {"session": TOKEN}},
        }
        for name, options in given.items():
            if name == place:
                assert await greeting(app, **options) == "hello Ada"
            else:
                assert await status(app, **options) == 401


async def test_what_the_client_says_itself_counts_before_the_cookie() -> None:
    app = guarded(Authenticate(**EVERYWHERE, verify=verify))
    eve = "Eve.s3cret-0123456789"
    options: dict[str, Any] = {"cookies": {"session": TOKEN}}
    assert await greeting(app, f"/?token={eve}", **options) == "hello Eve"
    assert await status(app, "/?token=wrong", **options) == 401
    assert await greeting(app, headers={"authorization": f"Bearer {eve}"}, **options) == "hello Eve"
    assert await greeting(app, subprotocols=["bearer", eve], **options) == "hello Eve"


# Subprotocols


async def accepted(app: App, offered: list[str], **options: Any) -> str | None:
    async with connected(app, subprotocols=offered, **options) as ws:
        assert await ws.receive_text() == "hello Ada"
        return ws.accepted_subprotocol


async def test_the_answer_is_the_name_and_never_the_token() -> None:
    app = guarded(Authenticate(**EVERYWHERE, verify=verify))
    assert await accepted(app, ["bearer", TOKEN]) == "bearer"
    assert await accepted(app, ["chat", "bearer", TOKEN]) == "bearer"
    # Browsers hang up on an answer without any of what they have offered.
    assert await accepted(app, ["bearer"], headers=BEARER) == "bearer"
    assert await accepted(app, ["bearer", "wrong"], headers=BEARER) == "bearer"
    assert await accepted(app, ["chat"], headers=BEARER) is None


async def test_a_subprotocol_with_a_codec_goes_before_the_name() -> None:
    app = guarded(Authenticate(subprotocol="bearer", verify=verify), codecs={"json": JSON()})
    assert await accepted(app, ["bearer", TOKEN, "json"]) == "json"
    assert await accepted(app, ["json", "bearer", TOKEN]) == "json"
    assert await accepted(app, ["bearer", TOKEN]) == "bearer"


@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (["bearer", TOKEN], ("bearer",)),
        ([f"bearer, {TOKEN},chat"], ("bearer", "chat")),
        (["chat", f"bearer,{TOKEN}"], ("chat", "bearer")),
        (["bearer", TOKEN, TOKEN], ("bearer",)),
        (["bearer", "x", "bearer", TOKEN, "chat"], ("bearer", "chat")),
        (["bearer"], ("bearer",)),
        (["bearer", "bearer"], ("bearer",)),
        (["chat", TOKEN], ("chat", TOKEN)),
    ],
)
async def test_tokens_are_taken_out_of_what_is_offered(
    offered: list[str], left: tuple[str, ...]
) -> None:
    ws, peer = connecting(subprotocols=offered, headers=[(b"authorization", b"Bearer " + b"x")])
    before = list(offered)
    authenticate = Authenticate(header=True, subprotocol="bearer", verify=lambda token: "Ada")
    assert await authenticate(ws) == "Ada"
    assert ws.subprotocols == left
    # Whoever is outside has a scope with the same list.
    assert offered == before
    if TOKEN not in left:
        with pytest.raises(ValueError, match="was not offered") as caught:
            await ws.accept(TOKEN)
        assert TOKEN not in str(caught.value).partition("(offered")[2]
    await ws.accept()
    assert peer.sent[-1]["subprotocol"] == ("bearer" if "bearer" in left else None)


async def test_what_a_server_has_lost_of_repeated_headers_is_found() -> None:
    headers = [(b"sec-websocket-protocol", name) for name in (b"bearer", TOKEN.encode())]
    ws, peer = connecting(subprotocols=[TOKEN], headers=headers)
    assert await Authenticate(subprotocol="bearer", verify=verify)(ws) == "Ada"
    assert ws.subprotocols == ()
    await ws.accept()
    # Such a server takes for an answer what it knows.
    assert peer.sent[-1]["subprotocol"] is None


async def test_who_is_refused_leaves_no_token_among_the_subprotocols_either() -> None:
    ws, _ = connecting(subprotocols=["bearer", "wrong"])
    with pytest.raises(Reject):
        await Authenticate(subprotocol="bearer", verify=verify)(ws)
    assert ws.subprotocols == ("bearer",)


# The first message


@pytest.mark.parametrize(
    "message",
    [
        TOKEN,
        f"  {TOKEN}\n",
        f'{{"token": "{TOKEN}"}}',
        f' {{"type": "login", "token": "{TOKEN}"}}',
        f'"{TOKEN}"',
    ],
)
async def test_the_first_message_may_be_the_token(message: str) -> None:
    app = guarded(Authenticate(first_message=True, verify=verify))
    assert await greeting(app, "/", message) == "hello Ada"


@pytest.mark.parametrize(
    "message",
    [
        "",
        " ",
        "wrong",
        f"Bearer {TOKEN}",
        "{",
        "{}",
        "[]",
        f'["{TOKEN}"]',
        '{"token": null}',
        '{"token": 7}',
        f'{{"token": ["{TOKEN}"]}}',
        f'{{"Token": "{TOKEN}"}}',
        '"',
        '{"a":' * 100_000,
        '{"token": "\\ud800"}',
        f'{{"token": "{TOKEN}", "more": "{"x" * 65_536}"}}',
        TOKEN.encode(),
    ],
)
async def test_a_first_message_without_a_good_token_closes_with_4401(message: str | bytes) -> None:
    app = guarded(Authenticate(first_message=True, verify=verify))
    async with connected(app) as ws:
        await ws.send_value(message)
        record = await ws.expect_close()
    assert (record.code, record.reason) == UNAUTHORIZED


async def test_the_field_of_the_first_message_may_have_another_name() -> None:
    app = guarded(Authenticate(first_message="access", verify=verify))
    assert await greeting(app, "/", f'{{"access": "{TOKEN}"}}') == "hello Ada"
    async with connected(app) as ws:
        await ws.send_text(f'{{"token": "{TOKEN}"}}')
        await ws.expect_close(4401)


async def test_without_a_first_message_in_time_it_is_over() -> None:
    app = guarded(Authenticate(first_message=True, timeout=0.02, verify=verify))
    assert await ending(app) == UNAUTHORIZED


async def test_who_shows_a_token_in_the_handshake_sends_no_first_message() -> None:
    app = guarded(Authenticate(header=True, first_message=True, verify=verify))
    assert await greeting(app, headers=BEARER) == "hello Ada"
    assert await status(app, headers={"authorization": "Bearer wrong"}) == 401


async def test_who_leaves_before_the_first_message_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with connected(guarded(Authenticate(first_message=True, verify=verify))) as ws:
        await ws.close(1001)
    assert [r.getMessage() for r in caplog.records if r.name == "telex"] == []


async def test_the_handler_need_not_know_that_it_was_accepted() -> None:
    authenticate = Authenticate(first_message=True, verify=verify)
    app = App()
    User = Annotated[str, Depends(authenticate)]

    @app.websocket("/accept")
    async def accepts(ws: WebSocket, user: User) -> None:
        assert ws.application_state is telex.WebSocketState.CONNECTED
        await ws.accept()
        with pytest.raises(telex.WebSocketRuntimeError):
            await ws.accept()
        await ws.send_text(user)

    @app.websocket("/headers")
    async def answers_more(ws: WebSocket, user: User) -> None:
        with pytest.raises(telex.WebSocketRuntimeError):
            await ws.accept(headers={"x-user": user})
        await ws.send_text(user)

    @app.websocket("/view")
    class View(SocketView):
        def __init__(self, user: User) -> None:
            self.user = user

        async def on_receive(self, data: Any) -> None:
            await self.websocket.send_text(f"{self.user} {data}")

    @app.websocket_listener("/listener")
    async def listener(data: str, user: User) -> str:
        return f"{user} {data}"

    @app.websocket_stream("/stream")
    async def stream(user: User) -> AsyncIterator[str]:
        yield user

    for path in ("/accept", "/headers", "/stream"):
        assert await greeting(app, path, TOKEN) == "Ada"
    for path in ("/view", "/listener"):
        assert await greeting(app, path, TOKEN, "says") == "Ada says"


async def test_what_comes_behind_the_token_is_for_the_handler() -> None:
    app = App()

    @app.websocket("/")
    async def echo(
        ws: WebSocket,
        user: Annotated[str, Depends(Authenticate(first_message=True, verify=verify))],
    ) -> None:
        async with ws:
            async for text in ws.iter_text():
                await ws.send_text(text)

    async with connected(app) as ws:
        for text in (TOKEN, "one", "two"):
            await ws.send_text(text)
        assert [await ws.receive_text(), await ws.receive_text()] == ["one", "two"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("message", "end"), [(T(TOKEN), 1000), (T("no"), 4401), (B(b"x"), 4401)])
async def test_the_first_message_on_every_path(path: str, message: Any, end: int) -> None:
    channel = FakeChannel(message)
    authenticate = Authenticate(first_message=True, verify=verify)

    async def endpoint() -> None:
        ws = telex.websocket
        user = await authenticate(ws)
        async with ws:
            await ws.send_text(user)

    await soon(connection_app(endpoint)(*triple_over(path, channel)))
    assert channel.closes[0][0] == end
    assert channel.data == (["Ada"] if end == 1000 else [])
    if path == "frames" and end == 1000:
        assert (channel.frames_in, channel.frames_out) == (1, 1)


# What verify says


async def test_verify_may_be_asynchronous_and_get_the_connection() -> None:
    async def with_connection(token: str, ws: WebSocket) -> str:
        await turns(1)
        return f"{token} {ws.path}"

    async def with_option(token: str, leeway: int = 5) -> str:
        return f"{token} {leeway}"

    def plain(token: str, ws: WebSocket) -> str:
        return f"{token} {ws.path}"

    class Verifier:
        def __call__(self, token: str) -> str:
            return token

    for function, user in (
        (with_connection, "x /"),
        (with_option, "x 5"),
        (plain, "x /"),
        (Verifier(), "x"),
        (str.upper, "X"),
        ({"x": "Ada"}.get, "Ada"),
    ):
        ws, _ = connecting(query_string=b"token=x")
        assert await Authenticate(query="token", verify=function)(ws) == user


class Expired(Exception):
    """What a library for tokens raises."""


@pytest.mark.parametrize(
    ("raised", "before", "after"),
    [
        (None, 401, 4401),
        (False, 401, 4401),
        (ValueError, 401, 4401),
        (UnicodeError, 401, 4401),
        (KeyError, 401, 4401),
        (Expired, 401, 4401),
        (PermissionError, 403, 4403),
        (OSError, 500, 1011),
        (TypeError, 500, 1011),
        (Reject(429, "slower"), 429, 1008),
        (WebSocketException(4000, "why"), 403, 4000),
    ],
)
@pytest.mark.parametrize("wait", [True, False])
async def test_what_verify_says_decides(raised: Any, before: int, after: int, wait: bool) -> None:
    def no(token: str) -> Any:
        if raised is None or raised is False:
            return raised
        raise raised if isinstance(raised, Exception) else raised(f"about {token}")

    async def no_later(token: str) -> Any:
        await turns(1)
        return no(token)

    authenticate = Authenticate(
        header=True, first_message=True, verify=no_later if wait else no, invalid=Expired
    )
    app = guarded(authenticate)
    refused = await rejection(app, headers=BEARER, raise_app_exceptions=False)
    assert refused.status == before
    assert TOKEN not in refused.text
    assert ("www-authenticate" in refused.headers) is (before == 401)
    async with connected(app, raise_app_exceptions=False) as ws:
        await ws.send_text(TOKEN)
        record = await ws.expect_close(after)
    assert TOKEN not in record.reason


@pytest.mark.parametrize("user", [0, "", {}, [], "Ada"])
async def test_a_user_may_be_anything_else(user: Any) -> None:
    ws, _ = connecting(query_string=b"token=x")
    authenticate = Authenticate(query="token", verify=lambda token: user)
    assert await authenticate(ws) == user
    assert await authenticate(ws) == user


async def test_for_one_connection_it_verifies_once() -> None:
    calls: list[str] = []

    def noted(token: str) -> str:
        calls.append(token)
        return "A"

    authenticate = Authenticate(first_message=True, verify=noted)
    app = App()

    def guard(endpoint: Endpoint) -> Endpoint:
        async def run() -> None:
            assert await authenticate(telex.websocket) == "A"
            await endpoint()

        return run

    @app.websocket("/", middlewares=[guard])
    async def handler(
        ws: WebSocket,
        user: Annotated[str, Depends(authenticate)],
        again: Annotated[str, Depends(authenticate, use_cache=False)],
    ) -> None:
        async with ws:
            await ws.send_text(user + again)

    for _ in range(2):
        assert await greeting(app, "/", TOKEN) == "AA"
    assert calls == [TOKEN, TOKEN]


# Where it works


async def test_it_guards_every_kind_of_endpoint() -> None:
    authenticate = Authenticate(header=True, verify=verify)
    app = App()
    User = Annotated[str, Depends(authenticate)]

    @app.websocket_listener("/listener")
    async def listener(data: str, user: User) -> str:
        return f"{user} {data}"

    @app.websocket_stream("/stream")
    async def stream(user: User) -> AsyncIterator[str]:
        yield user

    @app.websocket("/view")
    class View(SocketView):
        def __init__(self, user: User) -> None:
            self.user = user

        async def on_receive(self, data: Any) -> None:
            await self.websocket.send_text(f"{self.user} {data}")

    for path, answer in (("/listener", "Ada hi"), ("/stream", "Ada"), ("/view", "Ada hi")):
        assert await status(app, path) == 401
        assert await greeting(app, path, "hi", headers=BEARER) == answer


async def test_connection_middleware_may_ask_who_is_there() -> None:
    authenticate = Authenticate(header=True, first_message=True, verify=verify)

    class Guard:
        async def on_handshake(self, ws: WebSocket) -> None:
            ws.state.user = await authenticate(ws)

    app = App(connection_middleware=[Guard()])

    @app.websocket("/")
    async def handler(ws: WebSocket) -> None:
        async with ws:
            await ws.send_text(ws.state.user)

    assert await greeting(app, headers=BEARER) == "Ada"
    assert await greeting(app, "/", TOKEN) == "Ada"
    assert await status(app, headers={"authorization": "Bearer no"}) == 401


async def test_events_need_a_token_in_the_request() -> None:
    app = App()

    @app.websocket_stream("/")
    async def stream(
        user: Annotated[
            str, Depends(Authenticate(**EVERYWHERE, first_message=True, verify=verify))
        ],
    ) -> AsyncIterator[str]:
        yield user

    refused = await response_of(app)
    assert refused.status == 401
    assert (b"www-authenticate", b"Bearer") in refused.headers
    for header in (*BEARER.items(), ("cookie", f"session={TOKEN}")):
        good = await response_of(app, "/", header)
        assert good.status == 200
        assert b"data: Ada" in good.body


async def test_a_test_may_say_who_is_there() -> None:
    authenticate = Authenticate(header=True, verify=verify)
    app = guarded(authenticate)
    app.dependency_overrides[authenticate] = lambda: "Grace"
    assert await greeting(app) == "hello Grace"


# What makes no sense


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (TypeError, {}),
        (TypeError, {"header": False, "cookie": None, "first_message": False}),
        (TypeError, {"header": True, "verify": None}),
        (TypeError, {"header": True, "verify": "secret"}),
        (TypeError, {"header": True, "expires_at": "exp"}),
        (TypeError, {"header": True, "user_id": "id"}),
        (TypeError, {"header": 7}),
        (TypeError, {"cookie": True}),
        (TypeError, {"first_message": 1.5}),
        (TypeError, {"header": True, "invalid": "jwt"}),
        (ValueError, {"header": "x key"}),
        (ValueError, {"subprotocol": "bearer,"}),
        (ValueError, {"cookie": "a=b"}),
        (ValueError, {"first_message": True, "timeout": 0}),
        (ValueError, {"first_message": True, "timeout": float("nan")}),
    ],
)
def test_what_makes_no_sense_is_told_when_it_is_made(
    error: type[Exception], options: dict[str, Any]
) -> None:
    with pytest.raises(error):
        Authenticate(**{"verify": verify, **options})


async def test_there_may_be_no_limit_for_the_first_message() -> None:
    app = guarded(Authenticate(first_message=True, timeout=float("inf"), verify=verify))
    assert await greeting(app, "/", TOKEN) == "hello Ada"
