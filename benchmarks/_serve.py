"""Serve an ASGI application for a benchmark: `python benchmarks/_serve.py module:app`.

uvicorn with one worker, its `websockets-sansio` back end, httptools and asyncio's own loop, and
no log lines for connections. Prints the port, which is a free one.
"""

from __future__ import annotations

import socket
import sys

import uvicorn

BACKLOG = 256


def main() -> None:
    """Serve until told to stop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # Whoever connects before uvicorn is ready waits for it.
        listener.listen(BACKLOG)
        config = uvicorn.Config(
            sys.argv[1],
            loop="asyncio",
            http="httptools",
            ws="websockets-sansio",
            log_level="warning",
            access_log=False,
        )
        config.load()
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
