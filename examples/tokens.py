"""An answer word by word, until the user says stop, asks something else, or leaves.

telex run tokens:app --app-dir examples
telex connect ws://127.0.0.1:8000/chat
{"type": "prompt", "text": "Tell me all about tea"}
{"type": "stop"}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

import telex

app = telex.App()


class Prompt(msgspec.Struct, tag="prompt"):
    text: str


class Stop(msgspec.Struct, tag="stop"):
    pass


async def model(prompt: str) -> AsyncGenerator[str, None]:
    """Stand for a real one: say it back again and again, and never stop."""
    while True:
        for word in prompt.split():
            await asyncio.sleep(0.1)
            yield word


async def answer(ws: telex.WebSocket, prompt: Prompt) -> None:
    async with aclosing(model(prompt.text)) as words:
        async for word in words:
            await ws.send_value({"type": "token", "text": word})


@app.websocket("/chat")
async def chat(ws: telex.WebSocket) -> None:
    async with ws, ws.tasks() as tasks:  # leaving the block cancels what still runs
        answering: asyncio.Task[None] | None = None
        async for message in ws.iter_as(Prompt | Stop):
            if answering is not None:
                answering.cancel()
                await asyncio.wait([answering])
                await ws.send_value({"type": "stopped"})
            answering = tasks.start(answer(ws, message)) if isinstance(message, Prompt) else None
