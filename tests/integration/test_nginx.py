"""nginx in front of `telex run`, with the configuration that docs/deployment.md shows."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response

import pages
from integration import nginx as config
from integration.nginx import Nginx, proxying
from integration.servers import KINDS, Kind, Server, Start, running
from telex._limits import PING

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(90),
    pytest.mark.skipif(config.program() is None, reason="no nginx; scripts/install-nginx gets it"),
]

DEADLINE = 20.0
"""Seconds one exchange may take."""

IMPATIENT = {"proxy_read_timeout 60s;": "proxy_read_timeout 2s;"}
CUT_AFTER = 2.0
"""Seconds after which that one cuts a silent connection."""

TELEX_RUN = Kind(
    "telex run",
    ("uvicorn", "picows"),
    "telex run {app} --host 127.0.0.1 --port {port} --log-level warning",
)
STOCK = KINDS["uvicorn websockets-sansio"]
"""A server on which a heartbeat is made of messages."""

SILENT, BEATING = "integration.proxied:silent", "integration.proxied:beating"

ELSEWHERE = "127.0.0.2"
"""Where clients connect from whose address matters: the proxy itself is 127.0.0.1."""


@pytest.fixture
def backend(start_once: Start) -> Server:
    """`telex run` as it is by default, without a heartbeat of the application."""
    return start_once(TELEX_RUN, "behind nginx", SILENT)


@pytest.fixture
def proxy(backend: Server, tmp_path: Path) -> Iterator[Nginx]:
    """nginx in front of it, as the page shows it."""
    with proxying(backend.port, tmp_path) as nginx:
        yield nginx


@asynccontextmanager
async def connected(nginx: Nginx, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """Connect through nginx. The client sends no pings, which nginx would take for activity."""
    options = {"proxy": None, "ssl": nginx.trust, "ping_interval": None, **options}
    async with asyncio.timeout(DEADLINE), connect(nginx.url(path), **options) as ws:
        yield ws


async def request_of(nginx: Nginx, **options: Any) -> dict[str, str]:
    """What arrives of a client's request."""
    async with connected(nginx, "/request", **options) as ws:
        arrived: dict[str, str] = json.loads(await ws.recv())
        return arrived


async def denied(nginx: Nginx, path: str, **options: Any) -> Response:
    """Connect, and return the refusal."""
    with pytest.raises(InvalidStatus) as refused:
        async with connected(nginx, path, **options):
            pytest.fail("the connection was accepted")
    return refused.value.response


async def closed(ws: ClientConnection) -> int | None:
    """Read to the end; return the code of the server's close frame, `None` without one."""
    try:
        while True:
            await ws.recv()
    except ConnectionClosed as end:
        return None if end.rcvd is None else int(end.rcvd.code)


async def echoes(ws: ClientConnection, text: str) -> bool:
    """Whether a message comes back; a ping may have been on its way before."""
    await ws.send(text)
    answer = await ws.recv()
    while answer == PING:
        answer = await ws.recv()
    return answer == text


# The handshake


async def test_a_handshake_gets_through_with_all_that_belongs_to_it(proxy: Nginx) -> None:
    async with connected(proxy, "/chat", subprotocols=["chat.v1", "chat.v2"]) as ws:
        assert ws.response is not None
        assert ws.response.status_code == 101
        assert ws.subprotocol == "chat.v2"
        assert ws.response.headers["X-Room"] == "tea"
        assert await closed(ws) == 4000
        assert ws.close_reason == "go to the other room"


async def test_a_refusal_gets_through_with_status_headers_and_body(proxy: Nginx) -> None:
    response = await denied(proxy, "/refuse")
    assert (response.status_code, response.body) == (401, b"log in first")
    assert response.headers["X-Why"] == "no token"


async def test_messages_of_any_size_get_through(proxy: Nginx) -> None:
    async with connected(proxy, "/echo", max_size=None) as ws:
        # Beyond client_max_body_size, which is for bodies of requests.
        for size in (0, 1, 126, 5_000_000):
            assert await echoes(ws, "x" * size)


async def test_events_are_not_held_back(proxy: Nginx) -> None:
    headers = {"Accept": "text/event-stream"}
    async with (
        asyncio.timeout(DEADLINE),
        httpx.AsyncClient(verify=proxy.trust, trust_env=False) as client,
        client.stream("GET", f"{proxy.origin}/news", headers=headers) as response,
    ):
        assert response.status_code == 200
        # The stream goes on without an end: nginx would wait for more of it.
        lines = response.aiter_lines()
        async for line in lines:
            if line.startswith("data:"):
                assert line == "data: something happened"
                break


# Who asks


@pytest.mark.parametrize(
    ("options", "client", "scheme"),
    [
        ((), ELSEWHERE, "wss"),
        (("--proxy-headers", "--forwarded-allow-ips", "127.0.0.0/24"), ELSEWHERE, "wss"),
        (("--no-proxy-headers",), "127.0.0.1", "ws"),
        (("--forwarded-allow-ips", "10.0.0.7"), "127.0.0.1", "ws"),
    ],
    ids=["default", "a trusted network", "not believed", "another proxy is trusted"],
)
async def test_the_address_of_a_client_is_believed_where_the_proxy_is_trusted(
    options: tuple[str, ...], client: str, scheme: str, tmp_path: Path
) -> None:
    forged = [("X-Forwarded-For", "10.6.6.6"), ("X-Forwarded-Proto", "ws")]
    with (
        running(TELEX_RUN, SILENT, *options) as server,
        proxying(server.port, tmp_path) as nginx,
    ):
        arrived = await request_of(nginx, additional_headers=forged, local_addr=(ELSEWHERE, 0))
    assert arrived["client"] == client
    assert arrived["url"].partition(":")[0] == scheme
    # nginx replaces what a client says of itself; it does not add to it.
    assert arrived["x-forwarded-for"] == ELSEWHERE
    assert arrived["x-forwarded-proto"] == "https"


async def test_only_pages_of_the_own_origin_may_bring_cookies(proxy: Nginx) -> None:
    def from_page(origin: str) -> dict[str, Any]:
        return {"additional_headers": [("Cookie", "session=ada")], "origin": origin}

    arrived = await request_of(proxy, **from_page(proxy.origin))
    assert arrived["cookie"] == "session=ada"
    assert arrived["url"] == proxy.url("/request")
    for foreign in ("https://evil.example", proxy.origin.replace("https", "http"), "null"):
        refused = await denied(proxy, "/request", **from_page(foreign))
        assert (refused.status_code, refused.body) == (403, b"origin not allowed")


LINES = pages.table(config.PAGE.read_text(encoding="utf-8"), "Line")
"""The lines of the configuration, and what the page says of a configuration without one."""


async def seen_from_a_page(nginx: Nginx) -> str:
    """What comes of a connection of a logged-in user's browser, in the words of the page."""
    headers = [("Cookie", "session=ada")]
    try:
        arrived = await request_of(
            nginx, additional_headers=headers, origin=nginx.origin, local_addr=(ELSEWHERE, 0)
        )
    except InvalidStatus as refused:
        return str(refused.response.status_code)
    return "101" if arrived["client"] == ELSEWHERE else "101, and `ws.client` is the proxy"


@pytest.mark.parametrize(("line", "without"), [(row[0], row[2]) for row in LINES])
async def test_the_page_says_what_happens_without_a_line(
    line: str, without: str, backend: Server, tmp_path: Path
) -> None:
    with proxying(backend.port, tmp_path, {line.strip("`"): ""}) as nginx:
        assert await seen_from_a_page(nginx) == without.partition(";")[0]


async def test_with_all_lines_the_page_of_a_user_connects(proxy: Nginx) -> None:
    assert await seen_from_a_page(proxy) == "101"


# Time


async def test_a_silent_connection_is_cut(backend: Server, tmp_path: Path) -> None:
    with proxying(backend.port, tmp_path, IMPATIENT) as nginx:
        async with connected(nginx, "/echo") as ws:
            assert await echoes(ws, "hello")
            begun = asyncio.get_running_loop().time()
            # Both sides just find the connection gone.
            assert await closed(ws) is None
            assert asyncio.get_running_loop().time() - begun > CUT_AFTER / 2
        assert "upstream timed out" in nginx.output


@pytest.mark.parametrize("kind", [TELEX_RUN, STOCK], ids=str)
async def test_a_heartbeat_keeps_a_silent_connection(kind: Kind, tmp_path: Path) -> None:
    with running(kind, BEATING) as server, proxying(server.port, tmp_path, IMPATIENT) as nginx:
        async with connected(nginx, "/echo") as ws:
            asked = 0
            # Nobody says anything but the heartbeat, for longer than nginx allows.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.5 * CUT_AFTER):
                    while True:
                        assert json.loads(await ws.recv()) == {"type": "ping"}
                        asked += 1
                        await ws.send('{"type":"pong"}')
            # On our server they are pings of the protocol, which clients answer by themselves.
            assert (asked > 0) == (kind is STOCK)
            assert await echoes(ws, "still here")


async def test_what_a_client_says_keeps_a_connection_too(backend: Server, tmp_path: Path) -> None:
    with proxying(backend.port, tmp_path, IMPATIENT) as nginx:
        async with connected(nginx, "/listen") as ws:
            give_up = asyncio.get_running_loop().time() + 2.5 * CUT_AFTER
            while asyncio.get_running_loop().time() < give_up:
                await ws.send("I am here")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(CUT_AFTER / 3):
                        await ws.recv()


# Restarts


async def test_connections_outlive_a_reload(backend: Server, tmp_path: Path) -> None:
    worker = {"proxy_set_header Host $http_host;": _marked("old")}
    with proxying(backend.port, tmp_path, worker) as nginx:
        before = await request_of(nginx)
        async with connected(nginx, "/echo") as ws:
            assert await echoes(ws, "before")
            ended = os.pidfd_open(int(before["x-worker"]))
            try:
                nginx.configure({"proxy_set_header Host $http_host;": _marked("new")})
                nginx.reload()
                after = before
                async with asyncio.timeout(DEADLINE):
                    while after["x-configuration"] == "old":
                        after = await request_of(nginx)
                assert after["x-worker"] != before["x-worker"]
                for number in range(3):
                    assert await echoes(ws, f"after {number}")
                # It was not handed over: the old worker waits for its connections.
                with pytest.raises(TimeoutError):
                    wait_for(ended, 0)
                await ws.close()
                await asyncio.to_thread(wait_for, ended, DEADLINE)
            finally:
                os.close(ended)


def wait_for(process: int, timeout: float) -> None:
    """Wait for the end of a process, given by its descriptor."""
    if not select.select([process], [], [], timeout)[0]:
        raise TimeoutError


def _marked(name: str) -> str:
    """The line that passes the host on, and two that say which configuration and worker did."""
    return (
        "proxy_set_header Host $http_host;"
        f"proxy_set_header X-Configuration {name};"
        "proxy_set_header X-Worker $pid;"
    )


async def test_clients_are_told_when_the_server_behind_it_stops(tmp_path: Path) -> None:
    with (
        running(TELEX_RUN, BEATING) as server,
        proxying(server.port, tmp_path) as nginx,
    ):
        async with (
            connected(nginx, "/echo") as first,
            connected(nginx, "/echo") as second,
        ):
            assert await echoes(first, "hello")
            server.terminate()
            assert [await closed(ws) for ws in (first, second)] == [1012, 1012]
        assert await asyncio.to_thread(server.finish) in (0, -signal.SIGTERM)
        assert "Traceback" not in server.output
        assert (await denied(nginx, "/echo")).status_code == 502
