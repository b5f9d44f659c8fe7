from __future__ import annotations

from typing import Any

import pytest

from peer import Peer, make_scope
from telex.routing._answers import live, not_found, upgrade_required


@pytest.mark.row("C58")
async def test_a_handshake_nobody_takes_gets_404_where_the_server_can() -> None:
    peer = Peer()
    await peer.run(not_found, make_scope("/x", denial=True))
    start, *bodies = peer.sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    assert (b"content-type", b"text/plain; charset=utf-8") in list(start["headers"])
    assert b"".join(each.get("body", b"") for each in bodies) == b"Not Found"


@pytest.mark.row("C58")
async def test_a_handshake_nobody_takes_is_closed_where_the_server_cannot() -> None:
    peer = Peer()
    await peer.run(not_found, make_scope("/x"))
    assert peer.types == ["close"]


def http(path: str = "/") -> dict[str, Any]:
    return make_scope(path, type="http", method="GET", scheme="http")


async def test_a_request_nobody_takes_gets_404() -> None:
    peer = Peer(connect=False)
    await peer.run(not_found, http())
    assert (peer.sent[0]["status"], peer.sent[1]["body"]) == (404, b"Not Found")


async def test_a_plain_request_for_a_websocket_is_told_to_upgrade() -> None:
    peer = Peer(connect=False)
    await peer.run(upgrade_required, http())
    start, body = peer.sent
    assert start["status"] == 426
    assert {(b"upgrade", b"websocket"), (b"connection", b"Upgrade")} <= set(start["headers"])
    assert b"WebSocket client" in body["body"]


async def test_the_lifespan_is_gone_through() -> None:
    peer = Peer({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, connect=False)
    await live(peer.receive, peer.send)
    assert [each["type"] for each in peer.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
