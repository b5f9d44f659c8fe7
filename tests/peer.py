"""A scripted ASGI peer: a queue of events to receive and a list of what was sent.

Events are written with `T("text")`, `B(b"bytes")` and `D(code)`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from telex._types import ASGIApp, Message, Scope

DEADLINE = 5.0
"""Seconds any single wait of a test may take."""


def T(text: str) -> Message:
    """A text message from the client."""
    return {"type": "websocket.receive", "text": text}


def B(data: bytes) -> Message:
    """A binary message from the client."""
    return {"type": "websocket.receive", "bytes": data}


def D(code: int = 1005, reason: str | None = None) -> Message:
    """The client's disconnect."""
    message: Message = {"type": "websocket.disconnect", "code": code}
    return message if reason is None else {**message, "reason": reason}


def make_scope(path: str = "/", *, denial: bool = False, **extra: Any) -> dict[str, Any]:
    """Return a complete WebSocket scope; keywords replace its keys."""
    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}} if denial else {},
    }
    scope.update(extra)
    return scope


class Peer:
    """The server's side of one ASGI connection.

    `receive` hands out the script, beginning with `websocket.connect`, and then blocks for ever;
    `sent` records every message; `fail_sends_with` makes every later send raise.
    """

    def __init__(self, *script: Message, connect: bool = True) -> None:
        self.incoming: deque[Message] = deque()
        if connect:
            self.incoming.append({"type": "websocket.connect"})
        self.incoming.extend(script)
        self.sent: list[dict[str, Any]] = []
        self.reads = 0
        self.fail_sends_with: BaseException | None = None
        self._more = asyncio.Event()

    def feed(self, *messages: Message) -> None:
        """Let further events arrive."""
        self.incoming.extend(messages)
        self._more.set()

    async def receive(self) -> Message:
        while not self.incoming:
            self._more.clear()
            await self._more.wait()
        self.reads += 1
        return self.incoming.popleft()

    async def send(self, message: Message) -> None:
        if self.fail_sends_with is not None:
            raise self.fail_sends_with
        self.sent.append(dict(message))

    @property
    def types(self) -> list[str]:
        """The types of what was sent, without the `websocket.` in front."""
        return [message["type"].removeprefix("websocket.") for message in self.sent]

    @property
    def data(self) -> list[str | bytes]:
        """The payloads of the messages that were sent."""
        sends = [message for message in self.sent if message["type"] == "websocket.send"]
        return [m["text"] if m.get("text") is not None else m["bytes"] for m in sends]

    @property
    def closes(self) -> list[tuple[int, str]]:
        """Code and reason of every close that was sent."""
        return [(m["code"], m["reason"]) for m in self.sent if m["type"] == "websocket.close"]

    async def run(self, app: ASGIApp, scope: Scope | None = None) -> None:
        """Run an application on this peer, within the deadline."""
        async with asyncio.timeout(DEADLINE):
            await app(make_scope() if scope is None else scope, self.receive, self.send)


async def serve(app: ASGIApp, *script: Message, scope: Scope | None = None) -> Peer:
    """Run an application against a script and return the peer with what was sent."""
    peer = Peer(*script)
    await peer.run(app, scope)
    return peer


def texts(messages: Iterable[Message]) -> list[str]:
    """The text payloads among recorded messages."""
    return [m["text"] for m in messages if m.get("text") is not None]
