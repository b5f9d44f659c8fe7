"""Echo with the asyncio server of `websockets`, on uvloop. Prints its port."""

from __future__ import annotations

import asyncio
import json

import uvloop
from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    request = connection.request
    if request is not None and request.path.startswith("/json"):
        async for message in connection:
            await connection.send(json.dumps(json.loads(message)))
    else:
        async for message in connection:
            await connection.send(message)


async def main() -> None:
    """Serve until told to stop."""
    server = await serve(echo, "127.0.0.1", 0, compression=None, backlog=1024)
    print(next(iter(server.sockets)).getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
