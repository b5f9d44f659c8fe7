"""The programs of view.py's document, run with the server left out that they start."""

from __future__ import annotations

import sys
from types import ModuleType
from unittest.mock import patch

import foreign
from peer import Peer, make_scope
from telex._types import Message
from telex.app import App
from telex.compat.view import WebSocket


class Keyboard(ModuleType):
    """Stands in for `aiofiles`; what is typed is known before, and then the input has ended."""

    def __init__(self, *lines: str) -> None:
        super().__init__("aiofiles")
        self.stdin = self
        self._lines = iter(lines)

    async def readline(self) -> str:
        return next(self._lines, "")


def program(number: str, keyboard: Keyboard | None = None) -> App:
    """Run a program up to its end, where it starts the server; return its application."""
    modules = {} if keyboard is None else {"aiofiles": keyboard}
    with patch.object(App, "run") as run, patch.dict(sys.modules, modules):
        names = foreign.example("view", number)()
    run.assert_called_once_with()
    app: App = names["app"]
    return app


def connecting(*script: Message, connect: bool = True) -> tuple[WebSocket, Peer]:
    """Return a connection before its handshake."""
    peer = Peer(*script, connect=connect)
    return WebSocket(make_scope(), peer.receive, peer.send), peer


async def opened(*script: Message) -> tuple[WebSocket, Peer]:
    """Return an accepted connection whose peer will send a script."""
    ws, peer = connecting(*script)
    await ws.accept()
    return ws, peer
