"""What a handshake with bound parameters costs. `python benchmarks/handshakes.py`.

Prints the processor time that a server spends on one handshake (connect, accept, close) with a
Telex application, with a FastAPI application that has the same handlers, and without a framework,
on the same uvicorn. The goal is `GOAL` of FastAPI's time at 3 parameters; what is printed below the
table says how far it is, and what part of FastAPI's time the server takes alone, which is the least
that any framework on it can reach.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from _handshake_load import Handshakes, request
from _pairs import Round, cost, rate, ratio, rounds, servers, surroundings, unsupported

GOAL: Final = 0.5
"""What the median ratio at 3 parameters is meant to be."""

DECISIVE: Final = "3 parameters"

OURS, THEIRS, BARE = "telex", "fastapi", "no framework"

APPS: Final = {
    OURS: "apps.handshakes_telex:app",
    THEIRS: "apps.handshakes_fastapi:app",
    BARE: "apps.bare:app",
}

QUERY: Final = "page=3&size=50&q=telex&order=name&tag=a&tag=b&level=1&level=2"

HEADERS: Final = ("X-Request-ID: 3f0c8a52", "Cookie: session=9b1deb4d3b7d; theme=dark")

CASES: Final = {
    "0 parameters": "/none",
    DECISIVE: "/three/7",
    "10 parameters": "/ten/7",
    "3, of them 2 dependencies": "/depends/7",
}


def asked(path: str) -> bytes:
    """Return the handshake for a case; all of them send the same query and headers."""
    return request(f"{path}?{QUERY}", *HEADERS)


def own_ratio(measured: Sequence[Round]) -> float:
    """Return the ratio of what the frameworks add to the server's own time."""
    added = [
        (each[OURS].cost - each[BARE].cost) / (each[THEIRS].cost - each[BARE].cost)
        for each in measured
    ]
    return median(added)


def line(case: str, measured: Sequence[Round]) -> str:
    """Return what is printed of a case."""
    costs = "  ".join(f"{cost(measured, name):9.0f} µs" for name in APPS)
    spread = ratio(measured, OURS, THEIRS)
    rates = " / ".join(f"{rate(measured, name):.0f}" for name in APPS)
    return f"{case:<26}{costs}   {spread!s:<18} {own_ratio(measured):<9.2f} {rates}"


def heading() -> str:
    """Return what is printed above."""
    names = "  ".join(f"{name:>12}" for name in APPS)
    return f"{'':<26}{names}   {'ratio (quartiles)':<18} {'own part':<9} handshakes/s"


def verdict(cases: Mapping[str, Sequence[Round]]) -> str:
    """Return what is printed below: the goal, the floor, and what the parameters alone cost."""
    measured = cases[DECISIVE]
    found, floor = ratio(measured, OURS, THEIRS).middle, ratio(measured, BARE, THEIRS).middle
    base = cases["0 parameters"]
    ours, theirs = (cost(measured, name) - cost(base, name) for name in (OURS, THEIRS))
    return (
        f"{DECISIVE}: {found:.2f} of FastAPI's (goal {GOAL}; the server alone {floor:.2f}). "
        f"The parameters add {ours:.0f} µs, with FastAPI {theirs:.0f} µs."
    )


def measure(count: int, seconds: float) -> None:
    """Print all cases, and how far the goal is."""
    cases = {}
    commands = {name: ("benchmarks/_serve.py", app) for name, app in APPS.items()}
    print(surroundings("uvicorn", "websockets", "httptools", "telex", "fastapi", "starlette"))
    print("Processor time of the server for one handshake:\n")
    print(heading())
    with servers(commands) as running:
        for case, path in CASES.items():
            measured = rounds(running, Handshakes(asked(path)), count, seconds)
            print(line(case, measured), flush=True)
            cases[case] = measured
    print(f"\n{verdict(cases)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds, 2 at least (default: 9)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a slice (default: 1)")
    options = parser.parse_args()
    reason = unsupported()
    if reason is not None:
        print(reason)
        return
    measure(options.rounds, options.seconds)


if __name__ == "__main__":
    main()
