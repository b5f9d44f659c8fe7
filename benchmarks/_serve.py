"""Serve an ASGI application for a benchmark: `python benchmarks/_serve.py module:app`.

uvicorn with one worker and no log lines for connections; without options its `websockets-sansio`
back end, httptools and asyncio's own loop. Prints the port, which is a free one.
"""

from __future__ import annotations

import argparse
import socket

import uvicorn

BACKLOG = 1024


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("app", help="module:app")
    parser.add_argument("--ws", default="websockets-sansio", help="uvicorn's option of that name")
    parser.add_argument("--loop", default="asyncio", help="uvicorn's option of that name")
    parser.add_argument(
        "--no-deflate", action="store_true", help="do not negotiate permessage-deflate"
    )
    return parser.parse_args()


def main() -> None:
    """Serve until told to stop."""
    chosen = options()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # Whoever connects before uvicorn is ready waits for it.
        listener.listen(BACKLOG)
        config = uvicorn.Config(
            chosen.app,
            loop=chosen.loop,
            http="httptools",
            ws=chosen.ws,
            ws_per_message_deflate=not chosen.no_deflate,
            log_level="warning",
            access_log=False,
        )
        config.load()
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
