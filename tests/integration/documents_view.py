"""The programs of view.py's document, each as the application below its number."""

from __future__ import annotations

import foreign
from compat.view.programs import Keyboard, program
from telex._types import ASGIApp
from telex.compat.view import WebSocket, new_app


def _typing() -> Keyboard:
    """Return an input in which more lines are typed than all tests need."""
    return Keyboard(*(f"line {number}\n" for number in range(1000)))


talk = new_app()


@talk.websocket("/")
async def pushes_without_being_asked(ws: WebSocket) -> None:
    async with ws:
        await ws.send("first")
        assert await ws.receive() == "one"
        assert await ws.receive() == "two"
        await ws.send("last")


answering = new_app()


@answering.websocket("/{times:int}")
async def answers_with_what_was_typed(ws: WebSocket, times: int) -> None:
    async with ws:
        for _ in range(times):
            line = foreign.example("view", "V41")
            await line.block(ws=ws, aiofiles=Keyboard("typed\n"))


inputs = new_app()


@inputs.websocket("/{room}")
@inputs.query("limit", int)
async def tells_its_inputs(ws: WebSocket, limit: int, room: str) -> None:
    async with ws:
        await ws.send({"room": room, "limit": limit})


APPS: dict[str, ASGIApp] = {
    "/talk": talk,
    "/V41": answering,
    "/inputs": inputs,
    "/V26": program("V26", _typing()),
    "/V38": program("V38", _typing()),
    **{f"/{number}": program(number) for number in ("V12", "V20", "V23", "V35", "V44")},
}
