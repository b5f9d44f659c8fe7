from __future__ import annotations

import pytest

from opened import opened
from peer import Peer
from telex._types import Scope
from telex.routing._answers import live, not_found, upgrade_required
from telex.testing import AsyncTestClient, ConnectionRejected


async def refusal(scope: Scope) -> ConnectionRejected:
    """Return how a handshake that nobody takes is refused."""
    client = AsyncTestClient(not_found, lifespan=False)
    with pytest.raises(ConnectionRejected) as refused:
        async with client, client.websocket("/x", scope=scope):
            pass
    return refused.value


@pytest.mark.row("C58")
async def test_a_handshake_nobody_takes_gets_404_where_the_server_can() -> None:
    denied = await refusal({})
    assert (denied.status, denied.body) == (404, b"Not Found")
    assert denied.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.row("C58")
async def test_a_handshake_nobody_takes_is_closed_where_the_server_cannot() -> None:
    closed = await refusal({"extensions": {}})
    assert (closed.status, closed.body) == (403, b"")


async def test_a_connection_nobody_takes_is_closed_where_somebody_has_accepted() -> None:
    ws, peer = await opened()
    await not_found(ws.scope, peer.receive, peer.send)
    assert peer.sent[-1] == {"type": "websocket.close", "code": 1008, "reason": "Not Found"}
    # It is over, and nobody has to say so again.
    await not_found(ws.scope, peer.receive, peer.send)
    assert len(peer.sent) == 2


async def test_a_request_nobody_takes_gets_404() -> None:
    async with AsyncTestClient(not_found, lifespan=False) as client:
        response = await client.http.get("/")
    assert (response.status_code, response.text) == (404, "Not Found")


async def test_a_plain_request_for_a_websocket_is_told_to_upgrade() -> None:
    async with AsyncTestClient(upgrade_required, lifespan=False) as client:
        response = await client.http.get("/")
    assert response.status_code == 426
    assert response.headers["upgrade"] == "websocket"
    assert response.headers["connection"] == "Upgrade"
    assert "WebSocket client" in response.text


async def test_the_lifespan_is_gone_through() -> None:
    peer = Peer({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, connect=False)
    await live(peer.receive, peer.send)
    assert [each["type"] for each in peer.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
