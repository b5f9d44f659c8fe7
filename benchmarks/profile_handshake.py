"""Where a handshake's time goes, without a server. `python benchmarks/profile_handshake.py three`.

Drives the applications of `handshakes.py` with a scripted `receive` and `send`. Prints the time of
one handshake, how many objects it leaves that only the garbage collector can free (of these many a
handshake has, the collector runs more often), and the functions that Telex spends most time in.
Behind a server the same work takes longer: it shares the caches of the processor with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import time
from typing import Any, Final

from _handshake_load import request
from apps import bare, handshakes_fastapi, handshakes_telex
from handshakes import CASES, HEADERS, QUERY

APPS: Final[dict[str, Any]] = {
    "telex": handshakes_telex.app,
    "fastapi": handshakes_fastapi.app,
    "no framework": bare.app,
}

PATHS: Final = {path.split("/")[1]: path for path in CASES.values()}

WARM_UP: Final = 200
"""Handshakes before anything is measured."""

COUNTED: Final = 100
"""Handshakes after which the collector is asked what they left."""

SHOWN: Final = 30
"""Functions in the profile."""


def scope_of(path: str) -> dict[str, Any]:
    """Return the scope that a server makes of the handshake in the benchmark."""
    lines = request(path, *HEADERS).decode("ascii").split("\r\n")[1:-2]
    pairs = (line.split(": ", 1) for line in lines)
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 50_000),
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": QUERY.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }


async def handshake(app: Any, path: str) -> None:
    """Connect; the application accepts and closes."""
    sent: list[str] = []
    waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    waiting.put_nowait({"type": "websocket.connect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    await app(scope_of(path), waiting.get, send)
    assert sent == ["websocket.accept", "websocket.close"], sent


async def repeat(app: Any, path: str, count: int) -> None:
    """Make handshakes one after the other, each in a task as servers do it."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_task(handshake(app, path))


async def microseconds(app: Any, path: str, count: int) -> float:
    """Return the processor time of one handshake."""
    await repeat(app, path, WARM_UP)
    begun = time.process_time()
    await repeat(app, path, count)
    return (time.process_time() - begun) / count * 1e6


async def garbage(app: Any, path: str) -> float:
    """Return how many objects one handshake leaves in reference cycles."""
    await repeat(app, path, WARM_UP)
    gc.collect()
    gc.disable()
    try:
        await repeat(app, path, COUNTED)
        return gc.collect() / COUNTED
    finally:
        gc.enable()


async def profile(path: str, count: int, order: str) -> None:
    """Print the functions that Telex spends most time in."""
    app = APPS["telex"]
    await repeat(app, path, WARM_UP)
    with cProfile.Profile() as profiler:
        await repeat(app, path, count)
    pstats.Stats(profiler).strip_dirs().sort_stats(order).print_stats(SHOWN)


def main() -> None:
    """Print everything for one case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", nargs="?", choices=PATHS, default="three", help="default: three")
    parser.add_argument("--count", type=int, default=3000, help="handshakes (default: 3000)")
    parser.add_argument("--order", choices=["tottime", "cumtime"], default="tottime")
    options = parser.parse_args()
    path = PATHS[options.case]
    for name, app in APPS.items():
        spent = asyncio.run(microseconds(app, path, options.count))
        left = asyncio.run(garbage(app, path))
        print(f"{name:<14}{spent:6.0f} µs, {left:.0f} objects for the garbage collector")
    asyncio.run(profile(path, options.count, options.order))


if __name__ == "__main__":
    main()
