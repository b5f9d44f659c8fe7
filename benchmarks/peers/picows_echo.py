"""Echo with picows' own callbacks, on uvloop: the limit for Python. Prints its port.

Arguments: with `future` a coroutine awaits one future for each message instead, which is what
leaving the callbacks costs; with `uvloop` the transport is uvloop's, which uvicorn has too, instead
of that of `aiofastnet`, which picows takes when it is installed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque

import uvloop
from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)


class Echo(WSListener):
    """Text goes through `str`, as it does for a handler."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_utf8_text().encode())
        elif frame.msg_type is WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()


class JSONEcho(Echo):
    """Decode and encode again."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            value = json.loads(frame.get_payload_as_utf8_text())
            transport.send(WSMsgType.TEXT, json.dumps(value).encode())
        else:
            super().on_ws_frame(transport, frame)


class FutureEcho(WSListener):
    """A queue, and a future for the coroutine that reads it."""

    def __init__(self, *, decode: bool) -> None:
        self.decode = decode

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.loop = asyncio.get_running_loop()
        self.waiter: asyncio.Future[None] | None = None
        self.queue: deque[str | bytes | None] = deque()
        self.task = self.loop.create_task(self.run(transport))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            self.queue.append(frame.get_payload_as_utf8_text())
        elif frame.msg_type is WSMsgType.BINARY:
            self.queue.append(frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        self.wake()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.queue.append(None)
        self.wake()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def run(self, transport: WSTransport) -> None:
        while True:
            while not self.queue:
                self.waiter = self.loop.create_future()
                await self.waiter
            data = self.queue.popleft()
            if data is None:
                return
            if isinstance(data, bytes):
                transport.send(WSMsgType.BINARY, data)
            elif self.decode:
                transport.send(WSMsgType.TEXT, json.dumps(json.loads(data)).encode())
            else:
                transport.send(WSMsgType.TEXT, data.encode())


def plain(request: WSUpgradeRequest) -> WSListener:
    return JSONEcho() if request.path.startswith(b"/json") else Echo()


def future(request: WSUpgradeRequest) -> WSListener:
    return FutureEcho(decode=request.path.startswith(b"/json"))


async def main() -> None:
    """Serve until told to stop."""
    chosen = future if "future" in sys.argv else plain
    fastnet = False if "uvloop" in sys.argv else None
    server = await ws_create_server(chosen, "127.0.0.1", 0, use_aiofastnet=fastnet, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
