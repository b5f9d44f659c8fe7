"""Mixed load on one server for minutes, and what is left of it: `scripts/soak [minutes]`.

A uvicorn process with Telex's protocol serves a Telex application and a Starlette one. Clients of
every kind come and go: such that echo, that do not read, that vanish, that break the protocol. The
server's memory, descriptors, tasks and connections are printed on the way. When all clients have
left, all but the memory must be what it was before, and the memory must not have grown with the
connections. Server and clients are in `tests/server/fuzz/`, for the tests do the same for seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Final

from server.fuzz.soak_clients import ACTS, Act, Client

CLIENTS: Final = 48
"""How many clients there are at a time."""

SAMPLED_EVERY: Final = 5.0
PATIENCE: Final = 60.0
"""Seconds a client waits for what must come, and the server may take to forget all of them: far
more than its time limits, for machines that are busy."""

WARM_UP: Final = 5.0
"""Seconds of load before the counts are taken that must be there again at the end."""
ROUNDS: Final = 12
FEW_ROUNDS: Final = 2
"""After each round all clients leave; the memory is compared then, for big messages that are on
their way hide everything."""

ALLOWED: Final = 128
"""Bytes by which the memory may grow for each connection made, in the second half. The allocator
alone moves it by half of that, either way; one future that is left over takes more."""
ENOUGH: Final = 120.0
"""Seconds from which the memory is judged; in less it is still finding its size."""
STRAY_OBJECTS: Final = 500
"""Python objects that may be there at the end and were not at the beginning: caches."""

COUNTS: Final = ("connections", "server tasks", "tasks", "descriptors", "resources")
"""What must be the same at the end."""


@dataclass
class Load:
    """All clients.

    Attributes:
        port: Of the server.
        made: How many connections were made, by what they did.
        failures: What went wrong.
    """

    port: int
    made: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        """Have clients come and go for some time, until all have left."""
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                dice = random.Random(f"{self.made.total()} {number}")
                group.create_task(self._come_and_go(dice, until))

    async def _come_and_go(self, dice: random.Random, until: float) -> None:
        while time.monotonic() < until:
            (act,) = dice.choices([*ACTS], [*ACTS.values()])
            self.made[act.__name__] += 1
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._meet(act, dice)
            except Exception as exc:
                self.failures.append(f"{act.__name__}: {type(exc).__name__} {exc}")

    async def _meet(self, act: Act, dice: random.Random) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            await act(Client(reader, writer), dice)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@dataclass
class Sample:
    """What a server held at a moment."""

    seconds: float
    memory: int
    made: int
    counts: dict[str, int]

    def __str__(self) -> str:
        counts = "  ".join(f"{name} {self.counts[name]:>4}" for name in COUNTS)
        return (
            f"{self.seconds:6.0f} s  {self.memory / 2**20:7.2f} MiB  {counts}  made {self.made:>7,}"
        )


@dataclass
class Soak:
    """One run.

    Attributes:
        port: Of the server.
        pid: Of its process.
        load: Its clients.
        at_rest: What was seen of it after each round, the first one to get warm.
    """

    port: int
    pid: int
    load: Load
    at_rest: list[Sample] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def counts(self) -> dict[str, int]:
        """Ask the server what it holds."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=PATIENCE) as answer:
            counts: dict[str, int] = json.load(answer)
            return counts

    async def sample(self) -> Sample:
        """Take a sample and print it."""
        counts = await asyncio.to_thread(self.counts)
        now = time.monotonic() - self.begun
        sample = Sample(now, resident(self.pid), self.load.made.total(), counts)
        print(sample, flush=True)
        return sample

    async def run(self, seconds: float) -> None:
        """Load the server in rounds, with a sample at rest after each."""
        rounds = ROUNDS if seconds >= ENOUGH else FEW_ROUNDS
        for part in [min(WARM_UP, seconds / rounds), *[seconds / rounds] * rounds]:
            async with asyncio.TaskGroup() as group:
                sampling = group.create_task(self._sample_for_ever())
                await self.load.run(part)
                sampling.cancel()
            await self._settled()
            self.at_rest.append(await self.sample())

    async def _sample_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SAMPLED_EVERY)
            await self.sample()

    async def _settled(self) -> None:
        """Wait until the server has forgotten its clients, or should have."""
        give_up = time.monotonic() + PATIENCE
        # The one that asks is a connection too.
        while not self.quiet(await asyncio.to_thread(self.counts)):
            if time.monotonic() > give_up:
                break
            await asyncio.sleep(0.5)

    def quiet(self, counts: dict[str, int]) -> bool:
        """Whether a server has no clients but the one that asks."""
        if not self.at_rest:
            return counts["connections"] == 1 and counts["resources"] == 0
        first = self.at_rest[0].counts
        return all(counts[name] == first[name] for name in COUNTS)


def resident(pid: int) -> int:
    """Return the memory of a process in bytes."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grown(samples: list[Sample]) -> tuple[float, float]:
    """Return by how much the memory grows, in bytes a second and in bytes a connection made."""
    half = samples[len(samples) // 2 :]
    memory = [sample.memory for sample in half]
    seconds = statistics.linear_regression([sample.seconds for sample in half], memory).slope
    made = statistics.linear_regression([sample.made for sample in half], memory).slope
    return seconds, made


def broken(soak: Soak, seconds: float) -> list[str]:
    """Return what is not as it must be."""
    before, after = soak.at_rest[0], soak.at_rest[-1]
    wrong = [
        f"{name}: {before.counts[name]} before, {after.counts[name]} after"
        for name in COUNTS
        if before.counts[name] != after.counts[name]
    ]
    stray = after.counts["objects"] - before.counts["objects"]
    if stray > STRAY_OBJECTS:
        wrong.append(f"{stray:,} Python objects more than before")
    a_second, a_connection = grown(soak.at_rest)
    print(f"memory at rest, in the second half: {a_second:+,.0f} bytes a second,", end=" ")
    print(f"{a_connection:+,.1f} a connection made (at most {ALLOWED}); objects {stray:+,}")
    if seconds >= ENOUGH and a_connection > ALLOWED:
        wrong.append("memory grows with the connections made")
    failures = soak.load.failures
    return [*wrong, *(f"client: {each}" for each in failures[:10])]


@contextlib.contextmanager
def server(loop: str, log: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Run a server; give its port and its process's number."""
    command = [sys.executable, "-m", "server.fuzz.soak_app", loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
            process.terminate()
            process.wait(PATIENCE)
        finally:
            process.kill()


def main() -> int:
    """Read the command line, load a server, and say whether it held."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10.0)
    parser.add_argument("--loop", default="auto", help="uvicorn's option of that name")
    chosen = parser.parse_args()
    seconds = chosen.minutes * 60
    # So that the server ends when this process is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Clients here write to servers that have hung up.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    with tempfile.TemporaryFile() as log:
        with server(chosen.loop, log) as (port, pid):
            soak = Soak(port, pid, Load(port))
            asyncio.run(soak.run(seconds))
        log.seek(0)
        said = log.read().decode(errors="replace")
    print("connections made:", ", ".join(f"{n} {c:,}" for n, c in soak.load.made.most_common()))
    wrong = broken(soak, seconds)
    if said:
        wrong.append(f"the server has printed:\n{said[:4000]}")
    print("\n".join(wrong) or "all is as it was")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
