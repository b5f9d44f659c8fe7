"""Many inputs for the server's protocol: `scripts/fuzz [how many]`. Ends at the first finding.

Input n is made from the number n, so a finding is repeated with `scripts/fuzz --only n`. Where
Atheris is installed, `--guided` lets it choose the numbers instead, by what code they reach.
"""

# ruff: noqa: T201 - a command's output
from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from server.fuzz.cases import Case, make
from server.fuzz.heads import check_head, make_head
from server.fuzz.outcomes import Finding
from server.fuzz.streams import Dice, cuts
from server.fuzz.trial import Bench

MILLION: Final = 1_000_000
PROCESSES: Final = 2
REPORT_EVERY: Final = 10_000
SETTLED: Final = 0.2
"""The part of the inputs after which memory must not grow."""
GROWTH: Final = 4 << 20
"""Bytes that it may: the allocator's own, not ours."""


def resident() -> int:
    """Return the memory of this process in bytes."""
    with open("/proc/self/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def try_one(bench: Bench, dice: Dice) -> None:
    """Make an input and try it.

    Raises:
        Finding: Something came out that must not; it ends with the input.
    """
    if dice(8) == 0:
        head = make_head(dice)
        with _reproduction(lambda: f"head={head!r}"):
            check_head(bench, dice, head)
        return
    case = make(dice)
    with _reproduction(lambda: repr(case)):
        bench.check(case)
        if dice(8) == 0:
            _check_again(
                bench, replace(case, app="reads", end="silence", pings=False, room=None), dice
            )


@contextlib.contextmanager
def _reproduction(text: Callable[[], str]) -> Any:
    try:
        yield
    except Finding as finding:
        raise Finding(f"{finding}\n{text()}") from finding


def _check_again(bench: Bench, case: Case, dice: Dice) -> None:
    """Make sure that it does not matter where the reads of a stream begin."""
    whole = replace(case, cuts=[], early=0)
    other = replace(case, cuts=cuts(dice, len(case.stream)))
    first, second = bench.check(whole), bench.check(other)
    same = first.received == second.received and first.dropped == second.dropped
    if not same or first.sent(8) != second.sent(8):
        raise Finding(f"in one read {first}, in others {second}: {other}")


def attempt(bench: Bench, number: int) -> None:
    """Try the input of a number."""
    try:
        try_one(bench, random.Random(number).randrange)
    except Finding as finding:
        raise Finding(f"input {number}: {finding}") from finding


def run(first: int, count: int) -> int:
    """Try so many inputs; return an exit code."""
    bench, began, settled = Bench(), time.monotonic(), 0
    for done in range(1, count + 1):
        try:
            attempt(bench, first + done - 1)
        except Finding as finding:
            print(finding, flush=True)
            return 1
        if done == int(count * SETTLED):
            settled = resident()
        if done % REPORT_EVERY == 0 or done == count:
            rate = done / (time.monotonic() - began)
            size = resident() / 2**20
            print(f"{done:>9,} inputs, {rate:,.0f} a second, {size:.1f} MiB", flush=True)
    if not settled:
        return 0
    grown = resident() - settled
    print(f"memory has grown by {grown / 2**10:,.0f} KiB since {SETTLED:.0%} of the inputs")
    return int(grown > GROWTH)


def run_guided(count: int) -> None:
    """Have Atheris choose the numbers. Does not return."""
    atheris = importlib.import_module("atheris")
    bench = Bench()
    for name in ("_assembly", "_channel", "_conversation", "_handshake", "_inbound", "_picows"):
        module = importlib.import_module(f"telex.server.{name}")
        for thing in [each for each in vars(module).values() if isinstance(each, type)]:
            if thing.__module__ == module.__name__:
                _instrument(atheris, thing)

    def one(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        try_one(bench, lambda below: int(provider.ConsumeIntInRange(0, below - 1)))

    where = os.path.join(tempfile.gettempdir(), "fuzz-")
    options = [f"-runs={count}", "-max_len=400", f"-artifact_prefix={where}"]
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def _instrument(atheris: Any, thing: type) -> None:
    for each in vars(thing).values():
        if callable(each) and hasattr(each, "__code__"):
            atheris.instrument_func(each)


def run_processes(first: int, count: int) -> int:
    """Share the inputs between processes; return an exit code."""
    # So that the processes end when this one is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    command = [sys.executable, "-m", "server.fuzz.campaign", "--one-process"]
    children = [
        subprocess.Popen([*command, str(count // PROCESSES), "--first", f"{first + at * count}"])
        for at in range(PROCESSES)
    ]
    try:
        while all(child.poll() is None for child in children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                children[0].wait(1)
        for child in children:
            if any(each.poll() for each in children):
                child.terminate()
        return max(abs(child.wait()) for child in children)
    finally:
        for child in children:
            child.kill()
            child.wait()


def main() -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=MILLION, help="how many inputs")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--only", type=int, help="try the input of this number and no other")
    parser.add_argument("--one-process", action="store_true", help="instead of two")
    parser.add_argument("--guided", action="store_true", help="let Atheris choose the inputs")
    chosen = parser.parse_args()
    if chosen.only is not None:
        return run(chosen.only, 1)
    if chosen.guided:
        run_guided(chosen.count)
    if chosen.one_process:
        return run(chosen.first, chosen.count)
    return run_processes(chosen.first, chosen.count)


if __name__ == "__main__":
    sys.exit(main())
