"""The check of the origin over real sockets: what each server hands on is enough to decide."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from integration import capabilities as table
from integration.calls import DEADLINE, Call, calling, denied
from integration.origins import FRIEND
from integration.servers import KINDS, Server, Start, start, stop
from integration.test_http2 import http2, target

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

COOKIE = ("Cookie", "session=ada")
EVIL = "https://evil.example"

Headers = list[tuple[str, str]]


def own(server: Server) -> str:
    """The origin of a page of this server."""
    return server.url("", "http")


@pytest.mark.row("T76")
@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "http://localhost:{port}",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1.evil.example:{port}",
        "http://127.0.0.1:{port}@evil.example",
    ],
)
async def test_a_foreign_page_with_a_cookie_is_refused(server: Server, origin: str) -> None:
    origin = origin.format(port=server.port)
    _, response = await denied(server, "/echo", additional_headers=[COOKIE, ("Origin", origin)])
    assert response is not None
    assert response.status_code == 403
    if table.DENIAL.on(server) == "403 without body":
        assert response.body == b""
    else:
        assert response.body == b"origin not allowed"
    assert f"the origin {origin!r} and this server is {own(server)!r}" in server.new_output
    assert "session" not in server.new_output
    assert "Traceback" not in server.new_output


@pytest.mark.row("T76")
@pytest.mark.parametrize("case", ["same", "none", "capitals", "without cookie"])
async def test_the_own_page_and_other_programs_are_let_in(quiet_server: Server, case: str) -> None:
    headers: Headers = {
        "same": [COOKIE, ("Origin", own(quiet_server))],
        "none": [COOKIE],
        "capitals": [COOKIE, ("ORIGIN", own(quiet_server).upper())],
        "without cookie": [("Origin", EVIL)],
    }[case]
    async with calling(quiet_server, "/echo", additional_headers=headers) as call:
        await call.ws.send("hello")
        assert await call.ws.recv() == "hello"


@pytest.mark.row("T76")
async def test_two_origins_are_never_those_of_the_own_page(server: Server) -> None:
    headers = [COOKIE, ("Origin", own(server)), ("Origin", EVIL)]
    _, response = await denied(server, "/echo", additional_headers=headers)
    # A server may refuse such a request by itself.
    assert response is None or response.status_code in (400, 403)


@pytest.mark.row("T76", "T77")
@pytest.mark.parametrize(("origin", "status"), [(None, "200"), (EVIL, "403"), ("null", "403")])
async def test_over_http2_too(start_once: Start, origin: str | None, status: str) -> None:
    server = start_once(KINDS["hypercorn"], "quiet tests")
    call = Call(server, "/echo")
    async with http2(server) as client:
        send_headers = client._http.send_headers
        own_or_other = own(server) if origin is None else origin
        # HTTP/2 may send cookies in pieces.
        more = [("origin", own_or_other), ("cookie", "a=1"), ("cookie", "session=ada")]
        client._http.send_headers = lambda stream, headers: send_headers(  # type: ignore[method-assign, assignment, misc]
            stream, [*headers, *more]
        )
        assert (await client.connect(*target(call)))[":status"] == status


async def test_a_refused_client_leaves_nothing_behind(server: Server) -> None:
    headers = [COOKIE, ("Origin", EVIL)]
    call, _ = await denied(server, "/echo", additional_headers=headers)
    assert await call.count("connected") == 0
    async with calling(server, "/echo", additional_headers=[COOKIE]) as good:
        await good.ws.send("hello")
        assert await good.ws.recv() == "hello"


@pytest.fixture(scope="module")
def listed() -> Iterator[Callable[[str], Server]]:
    """Starts a server with a list of allowed origins at its first use."""
    servers: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in servers:
            servers[name] = start(KINDS[name], "integration.origins:with_list")
            servers[name].wait_until_it_answers()
        return servers[name]

    yield get
    stop(*servers.values())


@pytest.mark.row("T76")
@pytest.mark.parametrize("name", ["uvicorn websockets-sansio", "hypercorn"])
@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (FRIEND, True),
        ("https://chat.friend.example", True),
        ("https://notfriend.example", False),
        ("https://friend.example.evil", False),
        ("http://friend.example", False),
        (EVIL, False),
        (None, True),
    ],
)
@pytest.mark.parametrize("cookie", [True, False])
async def test_a_list_decides_with_and_without_cookies(
    listed: Callable[[str], Server], name: str, origin: str | None, accepted: bool, cookie: bool
) -> None:
    headers: Headers = [] if origin is None else [("Origin", origin)]
    if cookie:
        headers.append(COOKIE)
    url = listed(name).url("/who")
    async with asyncio.timeout(DEADLINE):
        if accepted:
            async with connect(url, proxy=None, additional_headers=headers) as ws:
                assert await ws.recv() == ("ada" if cookie else "nobody")
            return
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, proxy=None, additional_headers=headers):
                pass
    assert refused.value.response.status_code == 403
