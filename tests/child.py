"""Child processes for tests: started, read line by line, always ended.

async with start("main.py", cwd=tmp_path) as server:
    port = int((await server.line(r"running on http://127.0.0.1:(\\d+)"))[1])
    code = await server.interrupt()
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

DEADLINE = 20.0
"""Seconds a child may take for one step; starting Python in dev mode on a busy machine is slow."""

SERVING = r"running on http://127\.0\.0\.1:(\d+)"
"""What uvicorn says when it listens; the group is the port."""


class Child:
    """One running process. Standard output and standard error are read as one stream."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.output = ""

    async def line(self, pattern: str) -> re.Match[str]:
        """Wait for a line that contains a pattern."""
        async with asyncio.timeout(DEADLINE):
            while True:
                line = await self._read_line()
                if found := re.search(pattern, line):
                    return found
                assert line, f"the process ended without {pattern!r}:\n{self.output}"

    async def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode()
        self.output += line
        return line

    def write(self, text: str) -> None:
        """Type something into the standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())

    def end_input(self) -> None:
        """Close the standard input, as Ctrl-D does."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def interrupt(self) -> int:
        """Send SIGINT, as Ctrl-C does, and return the exit code."""
        self._process.send_signal(signal.SIGINT)
        return await self.finish()

    async def finish(self) -> int:
        """Read the output to its end and return the exit code."""
        async with asyncio.timeout(DEADLINE):
            while await self._read_line():
                pass
            return await self._process.wait()


@asynccontextmanager
async def start(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    keep: int | None = None,
) -> AsyncIterator[Child]:
    """Run this Python with arguments in a directory; whatever happens it is ended.

    `keep` is a file descriptor that the child gets, too.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **(env or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        pass_fds=() if keep is None else (keep,),
    )
    child = Child(process)
    try:
        yield child
    finally:
        if process.returncode is None:
            process.kill()
        child.end_input()
        await child.finish()
