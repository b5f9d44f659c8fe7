"""Real servers, each in a process of its own: started, answering, always ended.

with running(KINDS["hypercorn"], "integration.app:served") as server:
    async with connect(server.url("/echo")): ...
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

TESTS = Path(__file__).parents[1]

DEADLINE = 20.0
"""Seconds a server may take to answer, and to stop."""

PATIENCE = 10.0
"""Seconds servers get to stop when the tests are through."""


@dataclass(frozen=True)
class Kind:
    """A server as it is started from the command line.

    Attributes:
        name: What tests and tables call it.
        packages: The distributions whose versions matter.
        command: What follows `python -m`; `{app}` and `{port}` are filled in.
    """

    name: str
    packages: tuple[str, ...]
    command: str

    @property
    def versions(self) -> dict[str, str]:
        """The installed version of each package."""
        return {package: version(package) for package in self.packages}


def _uvicorn(ws: str, library: str, name: str | None = None) -> Kind:
    command = f"uvicorn {{app}} --host 127.0.0.1 --port {{port}} --ws {ws} --log-level warning"
    return Kind(name or f"uvicorn {ws}", ("uvicorn", library), command)


KINDS = {
    kind.name: kind
    for kind in (
        _uvicorn("telex.server:WebSocketProtocol", "picows", "telex"),
        _uvicorn("websockets", "websockets"),
        _uvicorn("websockets-sansio", "websockets"),
        _uvicorn("wsproto", "wsproto"),
        Kind(
            "hypercorn",
            ("hypercorn", "wsproto"),
            "hypercorn {app} --bind 127.0.0.1:{port} --graceful-timeout 1",
        ),
        Kind("daphne", ("daphne", "autobahn"), "daphne -v 0 -b 127.0.0.1 -p {port} {app}"),
        Kind(
            "granian",
            ("granian",),
            "granian {app} --interface asgi --host 127.0.0.1 --port {port}"
            " --workers-kill-timeout 2",
        ),
    )
}
"""The servers: ours, and six of others."""


@dataclass
class Server:
    """One running server.

    Attributes:
        kind: What it is.
        port: Where it listens, on 127.0.0.1.
    """

    kind: Kind
    port: int
    _process: subprocess.Popen[bytes] = field(repr=False)
    _log: Path = field(repr=False)
    _seen: int = field(default=0, repr=False)

    def __str__(self) -> str:
        return self.kind.name

    def url(self, path: str, scheme: str = "ws") -> str:
        """The URL of a path on it."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self._log.read_text(errors="replace")

    def begin(self) -> None:
        """Have `new_output` begin here."""
        self._seen = len(self.output)

    @property
    def new_output(self) -> str:
        """What it has printed since `begin`."""
        return self.output[self._seen :]

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def terminate(self) -> None:
        """Send SIGTERM, as a supervisor does, and do not wait."""
        self._process.terminate()

    def finish(self, timeout: float = DEADLINE) -> int:
        """Wait until the process has ended and return its exit code."""
        return self._process.wait(timeout)

    def wait_until_it_answers(self) -> None:
        """Wait until the port takes connections."""
        give_up = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), DEADLINE).close()
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(0.05)
                raise RuntimeError(f"{self} ended with {code}:\n{self.output}")
            if time.monotonic() > give_up:
                raise RuntimeError(f"{self} does not answer:\n{self.output}")

    def wait_for(self, text: str) -> None:
        """Wait until it has printed a text."""
        give_up = time.monotonic() + DEADLINE
        while text not in self.output:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(0.05)
                raise RuntimeError(f"{self} ended with {code}:\n{self.output}")
            if time.monotonic() > give_up:
                raise RuntimeError(f"{self} does not print {text!r}:\n{self.output}")

    def kill(self) -> None:
        """End it and the workers it started, at once; it is the leader of their group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)


class Start(Protocol):
    """Starts a server for a purpose at its first use, and gives the same one out after that."""

    def __call__(self, kind: Kind, purpose: str, app: str = ..., /) -> Server: ...


def free_port() -> int:
    """A port nobody listens on, below those the kernel hands out by itself.

    So no client connection of a test that runs meanwhile is given it. Nor is a server which another
    worker process starts in the moment before this one listens: each has ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for candidate in random.sample(range(20_000 + worker, 32_000, workers), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise RuntimeError("no free port")


def start(kind: Kind, app: str, *options: str, env: Mapping[str, str] | None = None) -> Server:
    """Start a server for the application `"module:attribute"` and do not wait for it."""
    port = free_port()
    command = [part.format(app=app, port=port) for part in kind.command.split()]
    descriptor, log = tempfile.mkstemp(prefix="telex-", suffix=".log")
    with open(descriptor, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *options],
            cwd=TESTS,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
                "PYTHONUNBUFFERED": "1",
                "NO_COLOR": "1",
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(kind, port, process, Path(log))


def stop(*servers: Server) -> None:
    """End servers the way a supervisor does: all are asked, who does not listen is killed."""
    for server in servers:
        if server.running:
            server.terminate()
    give_up = time.monotonic() + PATIENCE
    for server in servers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.finish(max(give_up - time.monotonic(), 0))
        server.kill()
        server._log.unlink()


@contextmanager
def running(
    kind: Kind, app: str, *options: str, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server that answers, for the length of the block."""
    server = start(kind, app, *options, env=env)
    try:
        server.wait_until_it_answers()
        yield server
    finally:
        stop(server)
