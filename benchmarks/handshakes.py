"""What a handshake with bound parameters costs. `python benchmarks/handshakes.py`.

Prints the processor time that a server spends on one handshake (connect, accept, close) with a
Telex application, with a FastAPI application that has the same handlers, and without a framework,
on the same uvicorn. Fails when Telex needs more than `ALLOWED` of FastAPI's time at 3 parameters.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from statistics import median
from typing import Final

from _handshake_load import Handshakes, request
from _pairs import Round, cost, rate, ratio, rounds, servers, surroundings, unsupported

ALLOWED: Final = 0.5
"""The median ratio at 3 parameters may be no larger."""

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


def measure(count: int, seconds: float) -> float:
    """Print all cases; return the ratio that decides."""
    deciding = 0.0
    commands = {name: ("benchmarks/_serve.py", app) for name, app in APPS.items()}
    print(surroundings("uvicorn", "websockets", "httptools", "telex", "fastapi", "starlette"))
    print("Processor time of the server for one handshake:\n")
    print(heading())
    with servers(commands) as running:
        for case, path in CASES.items():
            measured = rounds(running, Handshakes(asked(path)), count, seconds)
            print(line(case, measured), flush=True)
            if case == DECISIVE:
                deciding = ratio(measured, OURS, THEIRS).middle
    return deciding


def main() -> None:
    """Measure, and end with status 1 when Telex is too slow."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds, 2 at least (default: 9)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a slice (default: 1)")
    options = parser.parse_args()
    reason = unsupported()
    if reason is not None:
        print(reason)
        return
    found = measure(options.rounds, options.seconds)
    verdict = "as promised" if found <= ALLOWED else "MORE than promised"
    print(f"\n{DECISIVE}: {found:.2f} of FastAPI's, {verdict} (at most {ALLOWED})")
    sys.exit(found > ALLOWED)


if __name__ == "__main__":
    main()
