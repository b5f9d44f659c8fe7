"""Who is there: tokens found, verified, refused, refreshed; and shown to nobody."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

import telex
from clients import connected, rejection
from guarded import (
    BEARER,
    EVERYWHERE,
    TOKEN,
    greeting,
    guarded,
    status,
    verify,
)
from opened import connecting, soon, turns
from peer import T
from sse import response_of
from telex import App, Authenticate, Depends, Reject, SocketView, WebSocket, WebSocketException
from telex.codecs import JSON
from telex.lifecycle import Endpoint

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
        assert TOKEN not in str(caught.value)
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


async def test_an_answer_with_a_token_that_a_server_has_lost_is_refused_without_it() -> None:
    headers = [(b"sec-websocket-protocol", name) for name in (b"bearer", TOKEN.encode())]
    ws, _ = connecting(subprotocols=[TOKEN], headers=headers)
    await Authenticate(subprotocol="bearer", verify=verify)(ws)
    with pytest.raises(ValueError, match=r"this subprotocol was not offered .*offered: none") as no:
        await ws.accept(TOKEN)
    assert TOKEN not in str(no.value)


async def test_who_is_refused_leaves_no_token_among_the_subprotocols_either() -> None:
    ws, _ = connecting(subprotocols=["bearer", "wrong"])
    with pytest.raises(Reject):
        await Authenticate(subprotocol="bearer", verify=verify)(ws)
    assert ws.subprotocols == ("bearer",)


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


@pytest.mark.parametrize("place", [{"header": True}, {"first_message": True}])
async def test_it_verifies_once_also_when_several_ask_at_the_same_time(place: Any) -> None:
    calls: list[str] = []

    async def noted(token: str) -> str:
        calls.append(token)
        await turns(2)
        return "Ada"

    headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
    ws, _ = connecting(T(TOKEN), headers=headers if "header" in place else [])
    authenticate = Authenticate(verify=noted, **place)
    users = await soon(asyncio.gather(*[authenticate(ws) for _ in range(3)]))
    assert (users, calls) == (["Ada"] * 3, [TOKEN])
    await ws.close()


async def test_who_waits_for_another_to_ask_asks_when_that_one_is_cancelled() -> None:
    calls: list[str] = []

    async def slow_at_first(token: str) -> str:
        calls.append(token)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "Ada"

    ws, _ = connecting(query_string=b"token=x")
    authenticate = Authenticate(query="token", verify=slow_at_first)
    first, second = [asyncio.ensure_future(authenticate(ws)) for _ in range(2)]
    await turns()
    first.cancel()
    assert await soon(second) == "Ada"
    assert len(calls) == 2


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
