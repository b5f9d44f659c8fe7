"""Beside FastAPI, in both directions. Needs `pip install fastapi`.

telex run in_fastapi:api --app-dir examples     # FastAPI outside: ws://…/live/rooms/lobby
telex run in_fastapi:app --app-dir examples     # Telex outside:   ws://…/rooms/lobby
"""

from __future__ import annotations

from fastapi import FastAPI

import telex

people: dict[str, int] = {}
sockets = telex.Routes()


@sockets.websocket("/rooms/{room}")
async def room(ws: telex.WebSocket) -> None:
    name: str = ws.path_params["room"]
    async with ws:
        people[name] = people.get(name, 0) + 1
        try:
            async for text in ws.iter_text():
                await ws.send_text(f"{name}: {text}")
        finally:
            people[name] -= 1


api = FastAPI()


@api.get("/people/{name}")
async def count(name: str) -> int:
    return people.get(name, 0)


api.mount("/live", telex.App(sockets))
app = telex.App(sockets, http=api)
