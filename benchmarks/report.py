"""Tables in Markdown of what the benchmarks wrote. `python benchmarks/report.py FOLDER`.

The folder is the one that was given to them with `--json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from _pairs import Spread

BASE: Final = "starlette-stock"

BENCHMARKS: Final = {
    "echo": "Echo",
    "listeners": "Listeners",
    "fanout": "One message to many",
    "server_handshakes": "Handshakes",
    "memory": "Memory",
    "latency": "Latency",
}


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Go over the lines of a table."""
    yield "| " + " | ".join(heads) + " |"
    yield "|---" + "|--:" * (len(heads) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"
    yield ""


def times(servers: dict[str, Any], name: str) -> Spread | None:
    """Return how much of the base's work a server does in the same time."""
    if BASE not in servers:
        return None
    ours, theirs = (servers[each]["microseconds"] for each in (name, BASE))
    return Spread.of([other / one for one, other in zip(ours, theirs, strict=True)])


def row(servers: dict[str, Any], name: str) -> list[object]:
    """Return the row of a server, whatever was measured of it."""
    found = servers[name]
    if "kib" in found:
        return [found["title"], Spread.of(found["kib"])]
    if "points" in found:
        return [found["title"], *(f"{each:.0f}" for each in found["points"])]
    spent, fast = median(found["microseconds"]), median(found["per_second"])
    return [found["title"], f"{spent:.1f}", times(servers, name) or "–", f"{fast:.0f}"]


def heads(servers: dict[str, Any]) -> list[str]:
    """Return the heads of the columns that `row` fills."""
    found = next(iter(servers.values()))
    if "kib" in found:
        return ["", "KiB each (quartiles)"]
    if "points" in found:
        return ["µs", "50 %", "90 %", "99 %", "99.9 %", "most"]
    return ["", "µs", "× Starlette (quartiles)", "a second"]


def overview(cases: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Go over the lines of a table with one column for each case."""
    names = {name: row["title"] for case in cases for name, row in case["servers"].items()}
    rows = []
    for name, title in names.items():
        found = [
            times(case["servers"], name) if name in case["servers"] else None for case in cases
        ]
        rows.append([title, *(f"{each.middle:.2f}" if each else "–" for each in found)])
    yield from table(["× Starlette", *(case["case"] for case in cases)], rows)


def report(title: str, written: dict[str, Any]) -> Iterator[str]:
    """Go over the lines about one benchmark."""
    yield f"### {title}\n"
    yield f"{written['surroundings']}; {written['rounds']} rounds of {written['seconds']} s.\n"
    cases = written["figures"]
    # The first case of many in full, the others side by side.
    for case in cases if len(cases) < 4 else cases[:1]:
        yield f"{case['case']}:\n"
        servers = case["servers"]
        yield from table(heads(servers), [row(servers, name) for name in servers])
    for budget in written["budgets"]:
        yield f"    {budget.strip()}"
    if written["budgets"]:
        yield ""
    if len(cases) >= 4:
        yield from overview(cases)


def main() -> None:
    """Print the tables of all benchmarks that are there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, title in BENCHMARKS.items():
        file = folder / f"{name}.json"
        if file.exists():
            print(*report(title, json.loads(file.read_text())), sep="\n")


if __name__ == "__main__":
    main()
