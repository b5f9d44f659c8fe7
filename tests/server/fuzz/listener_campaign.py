"""Many messages for listeners on a real server: `scripts/fuzz-listeners [how many]`.

Each must be answered: by what the listener returns, by an error message, or by a documented close.
In the end the server must be alive, without a line in its log, and as big as it was when it was
warm. Input n is made from the number n, so a finding is repeated with `--only n`.
"""

# ruff: noqa: T201 - a command's output
from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import IO, Final

from server.fuzz.listener_clients import PATIENCE, TARGETS, Sender
from server.fuzz.outcomes import Finding

HUNDRED_THOUSAND: Final = 100_000
ROUNDS: Final = 10
"""After each the clients leave, and what the server holds is printed."""
WARM: Final = 2
"""Rounds after which memory must not grow."""
GROWTH: Final = 4 << 20
"""Bytes that it may: the allocator's own, not ours."""
STRAY_OBJECTS: Final = 500
"""Python objects that may be more in the end: caches."""
ENOUGH: Final = 50_000
"""Inputs from which the memory is judged; with fewer it is still finding its size."""


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port

    def held(self) -> dict[str, int]:
        """Ask what it holds."""
        url = f"http://127.0.0.1:{self.port}/"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            counts: dict[str, int] = json.load(answer)
            return counts

    def at_rest(self, tasks: int) -> dict[str, int]:
        """Ask until it has forgotten its clients, or should have."""
        give_up = time.monotonic() + PATIENCE
        while (counts := self.held())["tasks"] > tasks and time.monotonic() < give_up:
            time.sleep(0.05)
        return counts

    def stop(self) -> int:
        """Have it stop; return its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(PATIENCE)


@contextlib.contextmanager
def serving(log: IO[bytes]) -> Iterator[Server]:
    """Run the server."""
    command = [sys.executable, "-W", "always", "-m", "server.fuzz.listener_app"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
    ) as process:
        try:
            assert process.stdout is not None
            yield Server(process, int(process.stdout.readline()))
        finally:
            process.kill()


async def send(port: int, first: int, count: int) -> Counter[str]:
    """Send the inputs of some numbers, those for one target behind each other; count answers.

    Raises:
        Finding: One was not answered as it must be.
    """
    senders = []
    for at, target in enumerate(TARGETS):
        numbers = iter(range(first + (at - first) % len(TARGETS), first + count, len(TARGETS)))
        senders.append(Sender(port, target, numbers))
    try:
        async with asyncio.TaskGroup() as group:
            for sender in senders:
                group.create_task(sender.run())
    except* Finding as findings:
        raise Finding("\n".join(map(str, findings.exceptions))) from None
    return sum((sender.seen for sender in senders), Counter())


def campaign(server: Server, first: int, count: int) -> list[str]:
    """Send the inputs in rounds; return what is not as it must be."""
    began, seen, samples = time.monotonic(), Counter[str](), []
    tasks = server.held()["tasks"]
    print(f"before: {server.held()['memory'] / 2**20:.1f} MiB", flush=True)
    ends = [first + count * each // ROUNDS for each in range(ROUNDS + 1)]
    for begin, end in itertools.pairwise(ends):
        seen += asyncio.run(send(server.port, begin, end - begin))
        samples.append(server.at_rest(tasks))
        rate = (end - first) / (time.monotonic() - began)
        size = samples[-1]["memory"] / 2**20
        print(f"{end - first:>9,} inputs, {rate:,.0f} a second, {size:.1f} MiB", flush=True)
    print(", ".join(f"{kind}: {number:,}" for kind, number in seen.most_common()))
    return broken(samples, tasks, seen, count)


def broken(samples: list[dict[str, int]], tasks: int, seen: Counter[str], count: int) -> list[str]:
    """Return what is not as it must be, of what the server held after each round."""
    warm, last = samples[WARM - 1], samples[-1]
    grown = last["memory"] - warm["memory"]
    print(f"memory has grown by {grown / 2**10:,.0f} KiB since {WARM / ROUNDS:.0%} of the inputs,")
    print(
        f"Python objects by {last['objects'] - warm['objects']:,}; {last['records']:,} log records"
    )
    wrong = []
    if count >= ENOUGH and grown > GROWTH:
        wrong.append("memory grows")
    if count >= ENOUGH and last["objects"] - warm["objects"] > STRAY_OBJECTS:
        wrong.append("Python objects are left over")
    if last["tasks"] > tasks or last["opened"]:
        wrong.append(f"{last['tasks'] - tasks} tasks and {last['opened']} dependencies are left")
    if not all(seen[kind] for kind in ("reply", "error", "close 1003", "close 1007", "close 1009")):
        wrong.append(f"not every kind of answer was seen: {seen}")
    return wrong


def run(first: int, count: int) -> int:
    """Try so many inputs; return an exit code."""
    with tempfile.TemporaryFile() as log:
        with serving(log) as server:
            try:
                wrong = campaign(server, first, count)
            except Finding as finding:
                wrong = [str(finding)]
            code = server.stop()
        log.seek(0)
        said = log.read().decode()
    if code:
        wrong.append(f"the server has ended with {code}")
    if said:
        wrong.append(f"the server has printed:\n{said[:4000]}")
    print("\n".join(wrong) or "every input was answered, nothing is left")
    return int(bool(wrong))


def try_one(number: int) -> int:
    """Try the input of a number; return an exit code."""
    target = TARGETS[number % len(TARGETS)]
    opcode, data = target.message(number)
    print(f"{target}: {'text' if opcode == 1 else 'binary'} {data!r}")
    with serving(sys.stderr.buffer) as server:
        try:
            print(dict(asyncio.run(send(server.port, number, 1))))
        except Finding as finding:
            print(finding)
            return 1
        return server.stop()


def main() -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz-listeners", description=__doc__)
    parser.add_argument(
        "count", type=int, nargs="?", default=HUNDRED_THOUSAND, help="how many inputs"
    )
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--only", type=int, help="try the input of this number and no other")
    chosen = parser.parse_args()
    return run(chosen.first, chosen.count) if chosen.only is None else try_one(chosen.only)


if __name__ == "__main__":
    sys.exit(main())
