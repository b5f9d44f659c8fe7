"""How connections end over real sockets, from both sides, on every server."""

from __future__ import annotations

from typing import Literal

import pytest

from integration import capabilities as table
from integration.calls import calling
from integration.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def code_arrives(server: Server, code: int) -> bool:
    """Whether a close with this code reaches the client."""
    return table.OWN_CODES.on(server) == "all" or code == 1000 or code >= 3000


def expected_reason(server: Server, reason: str) -> str:
    return reason if table.OWN_REASON.on(server) == table.YES else ""


# The server is first


@pytest.mark.row("K27", "C5")
@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1000, "done"), (3000, "Grüße"), (4000, "x" * 123), (4999, "")]
)
async def test_the_client_sees_code_and_reason_of_our_close(
    quiet_server: Server, code: int, reason: str
) -> None:
    async with calling(quiet_server, f"/close/{code}?reason={reason}") as call:
        assert await call.closed() == (code, expected_reason(quiet_server, reason))
    left = await call.noted("left")
    assert (left["code"], left["reason"], left["closed_by"]) == (code, reason, "server")
    assert await call.count("cleanup") == 1
