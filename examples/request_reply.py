"""Requests in both directions: the server asks for a name, the client for work that it may cancel.

telex run request_reply:app --app-dir examples
telex connect ws://127.0.0.1:8000/work
{"name": "Ada", "ref": "…"}      (with the ref of the question)
{"type": "count", "to": 100, "ref": 1}
{"type": "cancel", "ref": 1}
"""

from __future__ import annotations

import asyncio

import msgspec

import telex

app = telex.App()


class Name(msgspec.Struct):
    name: str


class Count(msgspec.Struct, tag="count"):
    to: int
    ref: int


class Cancel(msgspec.Struct, tag="cancel"):
    ref: int


async def count(ws: telex.WebSocket, user: Name, job: Count) -> None:
    try:
        await asyncio.sleep(job.to / 10)  # stands for work
    except asyncio.CancelledError:
        await ws.send_value({"ref": job.ref, "cancelled": True})
        raise
    await ws.send_value({"ref": job.ref, "counted": job.to, "for": user.name})


@app.websocket("/work")
async def work(ws: telex.WebSocket) -> None:
    async with ws, ws.tasks() as tasks:
        user = await ws.request({"question": "your name?"}, Name, timeout=60)
        async for job in ws.iter_as(Count | Cancel):
            if isinstance(job, Cancel):
                continue  # it came too late: the others are no messages to readers
            try:
                _ = tasks.start(count(ws, user, job), ref=job.ref)
            except ValueError as error:
                await ws.send_value({"ref": job.ref, "error": str(error)})
