"""Compare servers by the processor time that one of them needs for one piece of work.

The servers of a comparison run at the same time, pinned to one core, and are loaded in turn, in
slices of about a second. Separate runs scatter by a fifth on a shared machine, the ratios within
one round do not: what counts is the median of the ratio in each round.

A server is a process that prints the port it listens on and then serves, see `_serve.py`. Its
processor time is read from the kernel, which counts it in nanoseconds. Linux only.
"""

from __future__ import annotations

import os
import platform
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import IO, Final

ROOT: Final = Path(__file__).parent.parent

SETTLING: Final = 0.05
"""Seconds in which a server finishes what it does after its client has gone."""

PATIENCE: Final = 10.0
"""Seconds a server may take to end, or to listen after it has printed its port."""

DESCRIPTORS: Final = 20_000
"""Open files that the benchmarks with many connections want."""

Load = Callable[[int, float], int]
"""`load(port, seconds)` loads a server and returns how many pieces of work were done."""


@dataclass(frozen=True)
class Slice:
    """What one server did in one slice.

    Attributes:
        done: Pieces of work.
        spent: Processor time of the server, nanoseconds.
        took: Time that passed, nanoseconds.
    """

    done: int
    spent: int
    took: int

    @property
    def cost(self) -> float:
        """Processor time for one piece of work, microseconds."""
        return self.spent / self.done / 1000

    @property
    def rate(self) -> float:
        """Pieces of work in a second."""
        return self.done / self.took * 1e9


Round = dict[str, Slice]
"""The slices of one round by the name of the server."""


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of some figures."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Return the spread of at least two figures."""
        low, middle, high = quantiles(figures, n=4, method="inclusive")
        return cls(low, middle, high)

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f}–{self.high:.2f})"


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    name: str
    pid: int
    port: int

    def spent(self) -> int:
        """Return its processor time so far in nanoseconds, of all its threads that live."""
        total = 0
        for pid in self.processes():
            for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    total += int(file.read_text().split()[0])
                except (FileNotFoundError, ProcessLookupError):
                    continue
        return total

    def memory(self) -> int:
        """Return how many bytes of memory it has in use (RSS)."""
        total = 0
        for pid in self.processes():
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
        return total * resource.getpagesize()

    def processes(self) -> list[int]:
        """Return its process and the processes that it has started."""
        found = [self.pid]
        for pid in found:
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    found += map(int, file.read_text().split())
                except (FileNotFoundError, ProcessLookupError):
                    continue
        return found

    def slice(self, load: Load, seconds: float) -> Slice:
        """Load it for some seconds, wait until it has settled, and return what it spent."""
        spent, begun = self.spent(), time.perf_counter_ns()
        done = load(self.port, seconds)
        took = time.perf_counter_ns() - begun
        time.sleep(SETTLING)
        if not done:
            raise RuntimeError(f"{self.name} did nothing in {seconds} s")
        return Slice(done, self.spent() - spent, took)


def unsupported() -> str | None:
    """Return why nothing can be measured here, `None` where it can."""
    if sys.platform != "linux":
        return "This benchmark reads /proc and pins processes to cores: it runs on Linux only."
    if not Path("/proc/self/task").exists() or not Path("/proc/self/schedstat").exists():
        return "This kernel does not tell the processor time of threads (/proc/PID/schedstat)."
    return None


@contextmanager
def servers(
    commands: Mapping[str, Sequence[str]], *, tolerant: bool = False
) -> Iterator[list[Server]]:
    """Start servers on one core, by name, and move this process to another where there is one.

    Args:
        commands: What follows `python` in the command of each, or the absolute path of another
            program and its arguments. It prints its port first.
        tolerant: Whether to say so and go on when one does not start.
    """
    before = os.sched_getaffinity(0)
    cores = sorted(before)
    with ExitStack() as stack:
        running = []
        for name, command in commands.items():
            try:
                running.append(stack.enter_context(_server(name, command, cores[0])))
            except RuntimeError as exc:
                if not tolerant:
                    raise
                print(f"left out: {exc}", file=sys.stderr)
        os.sched_setaffinity(0, {cores[-1]})
        stack.callback(os.sched_setaffinity, 0, before)
        yield running


@contextmanager
def _server(name: str, command: Sequence[str], core: int) -> Iterator[Server]:
    program = [] if os.path.isabs(command[0]) else [sys.executable]
    # Some servers write a traceback for each client that leaves: only their last line is shown.
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [*program, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            # Before it has threads: they inherit it.
            os.sched_setaffinity(process.pid, {core})
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port.isdigit() or not _listens(int(port)):
                raise RuntimeError(f"{name} did not start: {_last_line(errors)}")
            yield Server(name, process.pid, int(port))
        except RuntimeError as exc:
            exc.add_note(f"{name} said at last: {_last_line(errors)}")
            raise
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").split("\n")
    return next(filter(None, reversed(lines)), "nothing")


def _listens(port: int) -> bool:
    """Wait until a server listens; say whether it does."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return True
    return False


def raise_descriptors(wanted: int = DESCRIPTORS) -> str | None:
    """Raise the limit of open files, which servers inherit; say so where it stays too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < DESCRIPTORS:
        return f"Only {wanted} open files are allowed here (ulimit -Hn): fewer connections."
    return None


def rounds(running: Sequence[Server], load: Load, count: int, seconds: float) -> list[Round]:
    """Load the servers in turn, `count` times; who is first changes with every round."""
    for server in running:
        server.slice(load, seconds / 2)
    measured: list[Round] = []
    for number in range(count):
        order = running if number % 2 else list(reversed(running))
        measured.append({server.name: server.slice(load, seconds) for server in order})
    return measured


def ratio(measured: Sequence[Round], ours: str, theirs: str) -> Spread:
    """Return the cost of one server for that of another, round by round."""
    return Spread.of([each[ours].cost / each[theirs].cost for each in measured])


def cost(measured: Sequence[Round], name: str) -> float:
    """Return the median cost of a server, microseconds."""
    return median(each[name].cost for each in measured)


def rate(measured: Sequence[Round], name: str) -> float:
    """Return the median of what a server did in a second."""
    return median(each[name].rate for each in measured)


def surroundings(*packages: str) -> str:
    """Return what was measured with, in one line."""
    cores = len(os.sched_getaffinity(0))
    known = ", ".join(f"{name} {number}" for name, number in versions(packages).items())
    where = "load on another core" if cores > 1 else "load on the same core: there is only one"
    return f"Python {platform.python_version()}, {platform.machine()}, {known}; {where}"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
