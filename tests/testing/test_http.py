"""Plain HTTP requests beside the connections."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from telex import App, WebSocket
from telex._types import ASGIApp
from telex.exceptions import MissingDependency
from telex.testing import AsyncTestClient, DeadlinePassed

Respond = Callable[[Request], Awaitable[Response]]


class OwnError(Exception):
    """What failing requests raise."""


@pytest.fixture(params=[httpx2, httpx], ids=["httpx2", "httpx"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The HTTP library that is installed; with httpx2 the other one does not matter."""
    used: ModuleType = request.param
    if used is httpx:
        monkeypatch.setitem(sys.modules, "httpx2", None)
    return used


async def shows(request: Request) -> Response:
    """Answer with what the request has brought."""
    state: dict[str, Any] = request.scope["state"]
    state["seen"] = True
    return JSONResponse(
        {
            "path": request.url.path,
            "scheme": request.url.scheme,
            "headers": dict(request.headers),
            "cookies": request.cookies,
            "state": sorted(state),
            "client": request.client.host if request.client else None,
        }
    )


async def logs_in(request: Request) -> Response:
    response = PlainTextResponse("welcome")
    path = request.query_params.get("path", "/")
    response.set_cookie("session", "secret", path=path)
    return response


async def never_answers(request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def is_late(request: Request) -> Response:
    raise TimeoutError("the application's own")


async def fails(request: Request) -> Response:
    raise OwnError("mine")


def application(respond: Respond = shows) -> ASGIApp:
    """An application that answers every GET, logs in, and shows a connection's cookies."""

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[dict[str, Any]]:
        yield {"shared": 1}

    routes = [Route("/login", logs_in), Route("/{path:path}", respond)]
    app = App(lifespan=lifespan, http=Starlette(routes=routes))

    @app.websocket("/{path:path}")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_json(dict(ws.cookies))

    return app


def client_of(respond: Respond = shows, **options: Any) -> AsyncTestClient:
    return AsyncTestClient(application(respond), **options)


async def seen(client: AsyncTestClient, url: str = "/", **options: Any) -> Any:
    """The cookies that a handshake has brought to the application."""
    async with client.websocket(url, **options) as ws:
        return await ws.receive_json()


async def test_requests_go_to_the_same_application(library: ModuleType) -> None:
    async with client_of() as client:
        assert type(client.http) is library.AsyncClient
        response = await client.http.get("/hello?x=1")
    shown = response.json()
    assert (response.status_code, shown["path"], shown["scheme"]) == (200, "/hello", "http")
    assert shown["client"] == "127.0.0.1"


async def test_there_is_one_http_client_for_each_time_it_is_entered() -> None:
    client = client_of()
    async with client:
        first = client.http
        assert client.http is first
    assert first.is_closed
    async with client:
        assert client.http is not first
        assert (await client.http.get("/")).status_code == 200


async def test_requests_have_a_copy_of_the_state() -> None:
    async with client_of() as client:
        for _ in range(2):
            shown = (await client.http.get("/")).json()
            assert shown["state"] == ["seen", "shared"]
        assert client.state == {"shared": 1}


async def test_headers_and_cookies_of_the_client_count(library: ModuleType) -> None:
    client = client_of(headers={"x-own": "1"}, cookies={"a": "1"})
    async with client:
        shown = (await client.http.get("/")).json()
    assert shown["headers"]["x-own"] == "1"
    assert shown["cookies"] == {"a": "1"}


async def test_the_base_url_counts_with_its_scheme_and_prefix() -> None:
    async with client_of(base_url="wss://example.test/v1") as client:
        shown = (await client.http.get("/x")).json()
    assert (shown["path"], shown["scheme"]) == ("/v1/x", "https")
    assert shown["headers"]["host"] == "example.test"


# Cookies


async def test_a_login_over_http_counts_for_the_handshake(library: ModuleType) -> None:
    async with client_of(cookies={"a": "1"}) as client:
        assert await seen(client) == {"a": "1"}
        await client.http.get("/login")
        assert await seen(client) == {"a": "1", "session": "secret"}
        assert await seen(client, cookies={"session": "mine"}) == {"a": "1", "session": "mine"}


@pytest.mark.parametrize("value", ["a b", 'with "quotes"', "semi;colon", "a=b==", "a,b"])
async def test_a_cookie_with_odd_characters_is_what_it_is_over_http(value: str) -> None:
    async def sets_it(request: Request) -> Response:
        response = JSONResponse(request.cookies)
        response.set_cookie("odd", value)
        return response

    async with client_of(sets_it) as client:
        await client.http.get("/")
        assert await seen(client) == (await client.http.get("/")).json() == {"odd": value}


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("/", True),
        ("chat", True),
        ("/chat?x=1", True),
        ("/chat?next=http://elsewhere/", True),
        ("ws://testserver/chat", True),
        ("WS://testserver/chat", True),
        ("http://testserver/chat", True),
        ("ws://elsewhere/chat", False),
    ],
)
async def test_a_cookie_goes_where_it_came_from(url: str, sent: bool) -> None:
    async with client_of() as client:
        await client.http.get("/login")
        assert await seen(client, url) == ({"session": "secret"} if sent else {})


@pytest.mark.parametrize(
    ("base_url", "url", "sent"),
    [
        ("ws://testserver", "/chat/room", True),
        ("ws://testserver", "/other", False),
        ("ws://testserver/chat", "/room", True),
        ("ws://testserver/chat", "/room?next=ws://x", True),
        ("wss://testserver/chat", "room", True),
        ("wss://testserver", "wss://testserver/chat", True),
        ("wss://testserver", "/other", False),
    ],
)
async def test_a_cookie_with_a_path_goes_there_alone(base_url: str, url: str, sent: bool) -> None:
    async with client_of(base_url=base_url) as client:
        root = client._base.http_url.removesuffix("/chat")
        await client.http.get(f"{root}/login?path=/chat")
        assert await seen(client, url) == ({"session": "secret"} if sent else {})


# What goes wrong


@pytest.mark.parametrize("raise_app_exceptions", [True, False])
async def test_a_request_that_is_not_answered_runs_into_the_deadline(
    library: ModuleType, raise_app_exceptions: bool
) -> None:
    client = client_of(never_answers, timeout=0.05, raise_app_exceptions=raise_app_exceptions)
    async with asyncio.timeout(1), client:
        with pytest.raises(DeadlinePassed) as caught:
            await client.http.get("/slow?x=1")
    lines = str(caught.value).splitlines()
    assert lines[0] == "GET /slow was not answered within 0.05 s"
    assert lines[1] == "the application at '/slow', waiting at"
    assert lines[-2].endswith(", in never_answers")


async def test_a_request_that_swallows_its_cancellation_does_not_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telex.testing._http._SPARE", 0.02)
    enough = asyncio.Event()

    async def goes_on(request: Request) -> Response:
        while not enough.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await enough.wait()
        return PlainTextResponse("at last")

    async with asyncio.timeout(1), client_of(goes_on, timeout=0.02) as client:
        with pytest.raises(DeadlinePassed):
            await client.http.get("/")
        enough.set()


async def test_a_deadline_of_the_application_is_not_ours() -> None:
    async with client_of(is_late) as client:
        with pytest.raises(TimeoutError, match="the application's own"):
            await client.http.get("/")


async def test_without_a_timeout_a_request_may_be_cancelled() -> None:
    async with client_of(never_answers, timeout=None) as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.02):
                await client.http.get("/")
    assert not isinstance(caught.value, AssertionError)


async def test_what_the_application_raises_reaches_the_test(library: ModuleType) -> None:
    async with client_of(fails) as client:
        with pytest.raises(OwnError, match="mine"):
            await client.http.get("/")


async def test_without_raise_app_exceptions_it_is_500(library: ModuleType) -> None:
    async with client_of(fails, raise_app_exceptions=False) as client:
        assert (await client.http.get("/")).status_code == 500


async def test_without_a_library_for_http_everything_else_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    monkeypatch.setitem(sys.modules, "httpx", None)
    async with client_of(cookies={"a": "1"}) as client:
        with pytest.raises(MissingDependency) as caught:
            _ = client.http
        assert await seen(client) == {"a": "1"}
    assert str(caught.value) == (
        "client.http needs httpx2, which is not installed: pip install 'telex[testing]'"
    )


def test_nothing_is_imported_that_is_not_used() -> None:
    code = "import sys, telex.testing; print('httpx' in sys.modules or 'httpx2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "False\n"
