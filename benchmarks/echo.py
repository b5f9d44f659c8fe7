"""What one message costs a server that echoes it. `python benchmarks/echo.py`.

Prints, for each case, the processor time of every server for one message, how many messages it does
for one of Starlette on stock uvicorn, and messages a second; for 64 B of text on 32 connections
also the budgets of the project. Needs the environment of `scripts/bench-install`; what is not
installed is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from _budgets import ECHO, speed, verdicts
from _load import EchoLoad, engine
from _messages import KINDS, Kind
from _options import begin, finish, parser_of, recorded
from _pairs import (
    Round,
    Server,
    cost,
    rate,
    rounds,
    servers,
)
from _peers import BASE, DEFLATE, LIMIT, NAMES, Peer, chosen

SIZES: Final = (64, 1024, 65536)
CONNECTIONS: Final = (1, 32, 256)


@dataclass(frozen=True)
class Case:
    """One table.

    Attributes:
        kind: What a message is.
        size: Bytes of its payload.
        connections: How many send at the same time.
        deflate: Whether servers have their default settings and the client offers compression.
    """

    kind: Kind
    size: int
    connections: int
    deflate: bool = False

    def __str__(self) -> str:
        how = ", compressed (default settings)" if self.deflate else ""
        many = "connection" if self.connections == 1 else "connections"
        return f"{self.kind}, {self.size} B, {self.connections} {many}{how}"


MAIN: Final = Case("text", 64, 32)

USUAL: Final = (
    *(Case(kind, size, 32) for kind in KINDS for size in SIZES),
    Case("text", 64, 1),
    Case("text", 64, 256),
    *(Case("text", size, 32, deflate=True) for size in SIZES),
)

ALL: Final = (
    *(Case(kind, size, count) for kind in KINDS for size in SIZES for count in CONNECTIONS),
    *(Case("text", size, 32, deflate=True) for size in SIZES),
)

QUICK: Final = (MAIN, Case("json", 1024, 32))


def working(running: Sequence[Server], load: EchoLoad) -> Iterator[Server]:
    """Go over the servers that echo; say which do not."""
    for server in running:
        try:
            load.fds(server.port)
        except (RuntimeError, OSError) as exc:
            print(f"left out: {server.name}, {exc}")
        else:
            yield server


def measure(case: Case, peers: dict[str, Peer], count: int, seconds: float) -> list[Round]:
    """Return the rounds of one case."""
    load = EchoLoad(case.kind, case.size, case.connections, deflate=case.deflate)
    commands = {name: peer.command for name, peer in peers.items()}
    try:
        with servers(commands, tolerant=True) as running:
            return rounds(list(working(running, load)), load, count, seconds)
    finally:
        load.close()


def table(measured: Sequence[Round], peers: dict[str, Peer]) -> Iterator[str]:
    """Go over the lines of a table."""
    yield f"{'':<30}{'µs/message':>11}   {'× Starlette (quartiles)':<25}messages/s"
    for name in peers:
        if name not in measured[0]:
            continue
        spread = str(speed(measured, name, BASE)) if BASE in measured[0] else "–"
        title, spent, fast = peers[name].title, cost(measured, name), rate(measured, name)
        yield f"{title:<30}{spent:>11.2f}   {spread:<25}{fast:>10.0f}"


def run(cases: Sequence[Case], options: argparse.Namespace) -> None:
    """Print all cases, and write them after each one: a run takes long."""
    records: list[dict[str, Any]] = []
    budgets: list[str] = []
    for case in cases:
        # In C nothing is decoded.
        wanted = [name for name in options.only if name != LIMIT or case.kind != "json"]
        peers, left_out = chosen(wanted, deflate=case.deflate)
        if not peers:
            continue
        print(f"\n{case}:")
        print(*left_out, sep="\n", end="\n" if left_out else "")
        measured = measure(case, peers, options.rounds, options.seconds)
        print(*table(measured, peers), sep="\n", flush=True)
        if case == MAIN:
            budgets = verdicts(measured, ECHO)
            print(*budgets, sep="\n", flush=True)
        records.append({"case": str(case), "servers": recorded(measured, peers)})
        finish(options, records, budgets)


def cases_of(options: argparse.Namespace) -> Sequence[Case]:
    """Return the cases that the command line asks for."""
    if options.kind or options.size or options.connections:
        return [
            Case(kind, size, count, deflate=options.deflate)
            for kind in options.kind or [MAIN.kind]
            for size in options.size or [MAIN.size]
            for count in options.connections or [MAIN.connections]
        ]
    if options.deflate:
        return [case for case in ALL if case.deflate]
    return QUICK if options.quick else ALL if options.all else USUAL


def names(given: str) -> list[str]:
    """Read a list of servers."""
    listed = given.split(",")
    unknown = set(listed) - {*NAMES, *DEFLATE}
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown.pop()} is none of {', '.join(NAMES)}")
    return listed


def main() -> None:
    """Measure what the command line asks for."""
    parser = parser_of(__doc__)
    parser.add_argument("--only", type=names, default=list(NAMES), help="such as telex-ours,picows")
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--size", action="append", type=int, help="bytes; default: 64")
    parser.add_argument("--connections", action="append", type=int, help="default: 32")
    parser.add_argument("--deflate", action="store_true", help="default settings, compressed")
    parser.add_argument("--all", action="store_true", help="every size with every number (hours)")
    options = begin(parser)
    print(f"{options.rounds} rounds of {options.seconds} s slices, load in {engine().name}")
    run(cases_of(options), options)


if __name__ == "__main__":
    main()
