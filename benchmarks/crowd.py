"""Thousands of clients that come and go, and what is left of them: `scripts/crowd [minutes]`.

`telex run` serves an application with every limit on, a heartbeat and labels. Most clients talk in
rooms for some seconds; the others pass limits, and have to be told so. The memory of the server is
taken while the crowd is there. When it has left all must be as it was before: connections, slots,
labels, tasks, descriptors. The server has one core where there are two, the clients the other.

It fails when a client sees what it should not, when something is left, when the memory grows with
the connections made, or when the server has logged an error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop
from _crowd_clients import ACTS, MESSAGES, Crowd
from _pairs import raise_descriptors, unsupported

HERE: Final = Path(__file__).parent

SAMPLED_EVERY: Final = 5.0
ARRIVAL: Final = 200
"""Clients a second that come at the beginning."""
PATIENCE: Final = 60.0
"""Seconds a client waits for what must come, and the server may take to forget all of them."""

ALLOWED: Final = 128
"""Bytes by which the memory may grow for each connection made, in the second half of the load. One
future that is left over takes more."""
ENOUGH: Final = 120.0
"""Seconds from which the memory is judged; in less it is still finding its size."""
STRAY_OBJECTS: Final = 500
"""Python objects that may be there at the end and were not at the beginning: caches."""

COUNTS: Final = ("connections", "slots", "clients", "labels", "tasks", "descriptors")
"""What must be the same at the end."""


@dataclass
class Sample:
    """What the server held at a moment."""

    seconds: float
    made: int
    said: int
    counts: dict[str, int]

    def __str__(self) -> str:
        counts = "  ".join(f"{name} {self.counts[name]:>5}" for name in COUNTS)
        memory = self.counts["memory"] / 2**20
        return f"{self.seconds:5.0f} s  {memory:7.2f} MiB  {counts}  made {self.made:>7,}"


@dataclass
class Run:
    """One run.

    Attributes:
        crowd: The clients.
        before: What the server held without any, once it was warm.
        loaded: What it held while all were there.
    """

    crowd: Crowd
    before: Sample | None = None
    loaded: list[Sample] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)

    async def sample(self, *, settle: bool = False) -> Sample:
        """Take a sample and print it."""
        counts = await asyncio.to_thread(self._counts, settle)
        now = time.monotonic() - self._begun
        sample = Sample(now, self.crowd.made.total(), self.crowd.said, counts)
        print(sample, flush=True)
        return sample

    def _counts(self, settle: bool) -> dict[str, int]:
        url = f"http://127.0.0.1:{self.crowd.port}/{'?settle' * settle}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            counts: dict[str, int] = json.load(answer)
            return counts

    async def run(self, seconds: float) -> Sample:
        """Have clients come and go for some time; return what is left of them."""
        # So that what is made once in a process is there.
        await self._come_and_go_all(min(len(ACTS) * 10, self.crowd.size), 3.0)
        self.before = await self._rest()
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(self._sample())
            await self._come_and_go_all(self.crowd.size, seconds)
            sampling.cancel()
        return await self._rest()

    async def _sample(self) -> None:
        await asyncio.sleep(self.crowd.size / ARRIVAL)
        while not self.crowd.over:
            self.loaded.append(await self.sample())
            await asyncio.sleep(SAMPLED_EVERY)

    async def _come_and_go_all(self, size: int, seconds: float) -> None:
        self.crowd.over = False
        async with asyncio.TaskGroup() as group:
            for number in range(size):
                dice = random.Random(f"{self.crowd.made.total()} {number}")
                group.create_task(self._come_and_go(dice, number / ARRIVAL))
            await asyncio.sleep(seconds)
            self.crowd.over = True

    async def _come_and_go(self, dice: random.Random, wait: float) -> None:
        await asyncio.sleep(wait)
        while not self.crowd.over:
            (act,) = dice.choices([*ACTS], [*ACTS.values()])
            self.crowd.made[act.__name__] += 1
            try:
                async with asyncio.timeout(PATIENCE + MESSAGES * self.crowd.pause):
                    await act(self.crowd, dice)
            except Exception as exc:
                self.crowd.failures.append(f"{act.__name__}: {type(exc).__name__} {exc}")

    async def _rest(self) -> Sample:
        """Wait until the server has forgotten its clients, or should have; then take a sample."""
        give_up = time.monotonic() + PATIENCE
        while not self._quiet(await asyncio.to_thread(self._counts, True)):
            if time.monotonic() > give_up:
                break
            await asyncio.sleep(0.5)
        return await self.sample(settle=True)

    def _quiet(self, counts: dict[str, int]) -> bool:
        if self.before is None:
            return not any(counts[name] for name in ("connections", "slots", "clients", "labels"))
        return all(counts[name] == self.before.counts[name] for name in COUNTS)


def grown(samples: list[Sample]) -> tuple[float, float]:
    """Return by how much the memory grows, in bytes a second and in bytes a connection made."""
    half = samples[len(samples) // 2 :]
    seconds, made = [each.seconds for each in half], [each.made for each in half]
    memory = [each.counts["memory"] for each in half]
    by_time = statistics.linear_regression(seconds, memory).slope
    return by_time, statistics.linear_regression(made, memory).slope


def broken(run: Run, after: Sample, seconds: float) -> list[str]:
    """Return what is not as it must be; print how the memory went."""
    before = run.before
    assert before is not None
    wrong = [
        f"{name}: {before.counts[name]} before, {after.counts[name]} after"
        for name in COUNTS
        if before.counts[name] != after.counts[name]
    ]
    stray = after.counts["objects"] - before.counts["objects"]
    if stray > STRAY_OBJECTS:
        wrong.append(f"{stray:,} Python objects more than before")
    if len(run.loaded) >= 4:
        first, last = run.loaded[0], run.loaded[-1]
        took = last.seconds - first.seconds
        print(
            f"a second: {(last.made - first.made) / took:,.0f} connections,"
            f" {(last.said - first.said) / took:,.0f} messages to rooms"
        )
        a_second, a_connection = grown(run.loaded)
        print(
            f"memory under load, in the second half: {a_second:+,.0f} bytes a second,"
            f" {a_connection:+,.1f} a connection made (at most {ALLOWED})"
        )
        if seconds >= ENOUGH and a_connection > ALLOWED:
            wrong.append("memory grows with the connections made")
    elif seconds >= ENOUGH:
        wrong.append("too few samples were taken")
    print(f"at rest: objects {stray:+,}, memory {after.counts['memory'] / 2**20:.2f} MiB")
    failures = run.crowd.failures
    return [*wrong, *(f"client: {each}" for each in failures[:10])]


@contextlib.contextmanager
def server(core: int) -> Iterator[tuple[int, Path]]:
    """Run a server on a core; give its port, and the file with what it prints."""
    command = [sys.executable, "-m", "telex", "run", "apps.crowd:app"]
    command += ["--app-dir", str(HERE), "--port", "0", "--no-access-log"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with (
            open(log, "wb") as output,
            subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
        ):
            try:
                os.sched_setaffinity(process.pid, {core})
                yield _port_of(process, log), log
                process.terminate()
                process.wait(PATIENCE)
            finally:
                process.kill()


def _port_of(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until a server says where it listens."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        found = re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace"))
        if found is not None:
            return int(found[1])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            break
    raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')}")


def main() -> int:
    """Read the command line, load a server, and say whether it held."""
    parser = argparse.ArgumentParser(prog="scripts/crowd", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=5.0)
    parser.add_argument("--clients", type=int, default=5000, help="at a time; default: 5000")
    chosen = parser.parse_args()
    reason = unsupported()
    if reason is not None:
        print(reason)
        return 0
    too_low = raise_descriptors()
    if too_low is not None:
        print(too_low)
    # So that the server ends when this process is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Clients here write to servers that have hung up.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    cores = sorted(os.sched_getaffinity(0))
    with server(cores[0]) as (port, log):
        os.sched_setaffinity(0, {cores[-1]})
        run = Run(Crowd(port, chosen.clients))
        # Its clients take as much of a core as the server does of another.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            after = runner.run(run.run(chosen.minutes * 60))
        said = log.read_text(errors="replace")
    made = run.crowd.made.most_common()
    print("connections made:", ", ".join(f"{name} {count:,}" for name, count in made))
    wrong = broken(run, after, chosen.minutes * 60)
    if errors := [*re.finditer(r"^(?:ERROR|CRITICAL|Traceback)", said, re.MULTILINE)]:
        first = said[errors[0].start() :][:4000]
        wrong.append(f"the server has logged {len(errors)} errors, first of all:\n{first}")
    print("\n".join(wrong) or "all is as it was")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
