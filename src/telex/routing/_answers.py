"""What is answered where no route runs."""

from __future__ import annotations

from starlette.responses import PlainTextResponse

from telex._types import Receive, Scope, Send
from telex.close_codes import CloseCode
from telex.middleware.errors import deny_or_close
from telex.websockets import WebSocket


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 404, a WebSocket handshake as well where the server can, else 403.

    Where connection middleware has accepted before, for a first message, it closes with 1008.
    """
    if scope["type"] == "websocket":
        ws = WebSocket(scope, receive, send)
        code = CloseCode.POLICY_VIOLATION
        await deny_or_close(ws, code, "Not Found", status=404, body="Not Found")
    else:
        await PlainTextResponse("Not Found", 404)(scope, receive, send)


async def upgrade_required(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a plain HTTP request for a WebSocket route (RFC 9110 §15.5.22)."""
    response = PlainTextResponse(
        "This is a WebSocket endpoint: connect with a WebSocket client.",
        426,
        {"upgrade": "websocket", "connection": "Upgrade"},
    )
    await response(scope, receive, send)


async def live(receive: Receive, send: Send) -> None:
    """Go through the lifespan with nothing to start and nothing to stop."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
