"""The smallest server: every message comes back. A function is the handler.

telex run echo:app --app-dir examples
telex connect ws://127.0.0.1:8000/echo
"""

from __future__ import annotations

import telex

app = telex.App()


@app.websocket("/echo")
async def echo(ws: telex.WebSocket) -> None:
    await ws.accept()
    async for message in ws:  # ends when the client leaves
        if isinstance(message, str):
            await ws.send_text(message)
        else:
            await ws.send_bytes(message)
