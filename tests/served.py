"""A file with an application as its own process, over real sockets.

async with served("echo:app", EXAMPLES) as host:
    async with connect(f"ws://{host}/echo") as ws:
        ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from child import SERVING, start

EXAMPLES = Path(__file__).parents[1] / "examples"


@asynccontextmanager
async def served(target: str, folder: Path) -> AsyncIterator[str]:
    """Serve with `telex run` on a free port; yields `127.0.0.1:port`.

    Leaving the block interrupts the server, which has to end by itself and without a traceback.
    """
    command = ("-X", "dev", "-m", "telex", "run", target, "--app-dir", folder, "--port", "0")
    async with start(*command, cwd=folder) as server:
        port = (await server.line(SERVING))[1]
        yield f"127.0.0.1:{port}"
        assert await server.interrupt() == 0, server.output
        assert "Traceback" not in server.output, server.output
