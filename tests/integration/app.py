"""The application under test."""

from __future__ import annotations

from integration.journal import Journal
from integration.raw import run_script
from telex import App, WebSocket
from telex._types import Receive, Scope, Send

journal = Journal()
app = App(disconnect_grace=0.3)


@app.websocket("/journal")
async def tell(ws: WebSocket) -> None:
    async with ws:
        async for entry in journal.read(ws.query_params["key"]):
            await ws.send_json(entry)


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    """The bare script under `/raw`, Telex everywhere else."""
    if scope["type"] == "websocket" and scope["path"] == "/raw":
        await run_script(journal, scope, receive, send)
    else:
        await app(scope, receive, send)
