"""What a test client costs while it waits for a message. `python benchmarks/idle_client.py`.

Prints the processor seconds that a process spends in a second of waiting, by client. Telex's
clients may spend no more than `ALLOWED` for each client that waits.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any

ALLOWED = 0.005
"""Processor seconds for each second and waiting client."""

WARM_UP = 0.3
"""Seconds before the measurement, in which clients connect and what is late is imported."""

CROWD = 20
"""How many of the asynchronous clients wait at the same time."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Accept and wait for the client to leave."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            await send({"type": message["type"] + ".complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


def _measured(seconds: float) -> float:
    """Processor seconds of the process for each second that passes."""
    time.sleep(WARM_UP)
    begun, spent = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - spent) / (time.perf_counter() - begun)


def _in_a_thread(wait: Callable[[], object], seconds: float) -> float:
    """Measure while a thread waits, for ever if it likes: the process ends without it."""
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    spent = _measured(seconds)
    assert thread.is_alive(), "the client did not wait"
    return spent


def starlette(seconds: float) -> float:
    """Starlette's client, which is FastAPI's."""
    from starlette.testclient import TestClient

    def wait() -> None:
        with TestClient(app) as client, client.websocket_connect("/") as ws:
            ws.receive_text()

    return _in_a_thread(wait, seconds)


def litestar(seconds: float) -> float:
    """Litestar's client."""
    from litestar.testing import TestClient

    def wait() -> None:
        with TestClient(app) as client, client.websocket_connect("/") as ws:
            ws.receive_text()

    return _in_a_thread(wait, seconds)


def litestar_async(seconds: float) -> float:
    """Litestar's asynchronous client."""
    from litestar.testing import AsyncTestClient

    async def wait() -> None:
        async with AsyncTestClient(app) as client:
            with await client.websocket_connect("/") as ws:
                ws.receive_text()

    return _in_a_thread(lambda: asyncio.run(wait()), seconds)


def telex(seconds: float) -> float:
    """Telex's asynchronous client, many sessions on one loop."""
    from telex.testing import AsyncTestClient

    async def wait() -> None:
        async with AsyncTestClient(app, timeout=None) as client, AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(client.websocket("/")) for _ in range(CROWD)]
            await asyncio.gather(*(ws.receive_text() for ws in opened))

    return _in_a_thread(lambda: asyncio.run(wait()), seconds) / CROWD


def telex_sync(seconds: float) -> float:
    """Telex's synchronous client."""
    from telex.testing import TestClient

    def wait() -> None:
        with TestClient(app, timeout=None) as client, client.websocket("/") as ws:
            ws.receive_text()

    return _in_a_thread(wait, seconds)


CLIENTS = {"starlette": starlette, "litestar": litestar, "litestar-async": litestar_async}
OURS = {"telex": telex, "telex-sync": telex_sync}


def _in_a_process(name: str, seconds: float) -> float:
    """Measure one client in a process that it has for itself."""
    command = [sys.executable, __file__, name, "--seconds", str(seconds)]
    return float(subprocess.check_output(command, text=True, timeout=60))


def main() -> None:
    """Measure one client, or print what all that are installed cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("client", nargs="?", choices=[*CLIENTS, *OURS], help="default: all")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to wait")
    options = parser.parse_args()
    if options.client:
        # Flushed before the process ends under its waiting threads.
        print({**CLIENTS, **OURS}[options.client](options.seconds), flush=True)
        os._exit(0)
    print(f"Python {platform.python_version()}, {platform.machine()}")
    for name in [*CLIENTS, *OURS]:
        package = name.partition("-")[0]
        if importlib.util.find_spec(package) is None:
            continue
        spent = _in_a_process(name, options.seconds)
        print(f"{name:<15} {package} {version(package):<8} {spent:.5f} s/s for each client")
        assert name not in OURS or spent < ALLOWED, f"{name} is not idle while it waits"


if __name__ == "__main__":
    main()
