"""How long an echo takes at a fixed rate. `python benchmarks/latency.py`.

The load sends at fixed moments, whether or not what it sent before has come back, and counts from
the moment at which a message was due: a server that stops for a while is late for all of them.
Servers are loaded in turn, slice by slice. No budget: on a shared machine the high percentiles are
those of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from _load import EchoLoad, engine
from _options import begin, finish, parser_of
from _pairs import Server, servers
from _peers import NAMES, chosen

CONNECTIONS: Final = 32
SIZE: Final = 64
RATES: Final = (1000, 4000)

SERVERS: Final = tuple(name for name in NAMES if not name.startswith("picows-"))

POINTS: Final = (50, 90, 99, 99.9)


def percentile(times: Sequence[int], point: float) -> float:
    """Return a percentile of sorted nanoseconds, in microseconds."""
    return times[min(len(times) - 1, int(len(times) * point / 100))] / 1000


def measure(
    running: Sequence[Server], rate: int, count: int, seconds: float
) -> dict[str, list[int]]:
    """Return the sorted times of every server, all slices together."""
    load = EchoLoad("text", SIZE, CONNECTIONS)
    times: dict[str, list[int]] = {server.name: [] for server in running}
    try:
        for server in running:
            load.paced(server.port, rate, int(rate * seconds / 2))
        for number in range(count):
            for server in running if number % 2 else reversed(running):
                times[server.name] += load.paced(server.port, rate, int(rate * seconds))
    finally:
        load.close()
    return {name: sorted(found) for name, found in times.items()}


def main() -> None:
    """Print a table for each rate."""
    parser = parser_of(__doc__)
    parser.add_argument("--rate", action="append", type=int, help="default: 1000 and 4000")
    options = begin(parser)
    peers, left_out = chosen(list(SERVERS))
    print(*left_out, sep="\n", end="\n" if left_out else "")
    print(f"{options.rounds} slices of {options.seconds} s, load in {engine().name}")
    figures = []
    for rate in options.rate or RATES:
        print(f"\n{rate} messages/s of {SIZE} B of text on {CONNECTIONS} connections, µs:")
        print(f"{'':<30}" + "".join(f"{f'{point} %':>10}" for point in POINTS) + f"{'most':>10}")
        commands = {name: peer.command for name, peer in peers.items()}
        with servers(commands, tolerant=True) as running:
            found = measure(running, rate, options.rounds, options.seconds)
        rows = {}
        for name, times in found.items():
            points = [percentile(times, point) for point in (*POINTS, 100)]
            print(f"{peers[name].title:<30}" + "".join(f"{each:>10.0f}" for each in points))
            rows[name] = {"title": peers[name].title, "points": points}
        figures.append({"case": f"{rate} messages/s", "servers": rows})
    finish(options, figures)


if __name__ == "__main__":
    main()
