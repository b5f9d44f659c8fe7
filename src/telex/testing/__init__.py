"""Testing WebSocket handlers of any ASGI application, with deadlines everywhere.

async with AsyncTestClient(app) as client, client.websocket("/chat") as ws:
    await ws.send_text("hello")
    assert await ws.receive_text() == "you said hello"

`TestClient` is the same for tests without an event loop.
"""

from telex.testing._blocking import TestClient, TestSession
from telex.testing._client import AsyncTestClient
from telex.testing._errors import (
    ConnectionRejected,
    DeadlinePassed,
    ExpectationFailed,
    HandlersSurvived,
)
from telex.testing._faults import Faults, FaultyConnection, FaultyLink, LinkDropped
from telex.testing._proxy import FaultyProxy
from telex.testing._server import LiveServer
from telex.testing._session import AsyncTestSession

__all__ = [
    "AsyncTestClient",
    "AsyncTestSession",
    "ConnectionRejected",
    "DeadlinePassed",
    "ExpectationFailed",
    "Faults",
    "FaultyConnection",
    "FaultyLink",
    "FaultyProxy",
    "HandlersSurvived",
    "LinkDropped",
    "LiveServer",
    "TestClient",
    "TestSession",
]
