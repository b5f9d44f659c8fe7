"""The command line and the head line that the benchmarks of the server have in common."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from _pairs import Round, raise_descriptors, surroundings, unsupported
from _peers import Peer, missing

PACKAGES: Final = (
    "telex",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "websockets",
    "picows",
    "fastapi",
    "litestar",
    "msgspec",
    "pydantic",
    "lilya",
    "kui",
    "aiohttp",
    "socketify",
    "granian",
)

QUICK_ROUNDS: Final = 3
QUICK_SECONDS: Final = 0.3


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="default: 9, at least 2")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a slice (default: 1)")
    parser.add_argument("--quick", action="store_true", help="few rounds, short slices")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write figures into it")
    return parser


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line and print what is measured with.

    Raises:
        SystemExit: Nothing can be measured here.
    """
    options = parser.parse_args()
    # So that servers and temporary files go when this process is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reason = unsupported()
    if reason is not None:
        print(reason)
        raise SystemExit(0)
    if options.quick:
        options.rounds, options.seconds = QUICK_ROUNDS, QUICK_SECONDS
    too_low = raise_descriptors()
    if too_low is not None:
        print(too_low)
    print(surroundings(*PACKAGES))
    return options


def available(peers: dict[str, Peer]) -> dict[str, Peer]:
    """Return the servers that can run here; say why the others cannot."""
    found = {}
    for name, peer in peers.items():
        why = missing(peer)
        if why is None:
            found[name] = peer
        else:
            print(f"left out: {peer.title}, {why}")
    return found


def recorded(measured: Sequence[Round], peers: Mapping[str, Peer]) -> dict[str, Any]:
    """Return what was measured as JSON, by server."""
    return {
        name: {
            "title": peer.title,
            "microseconds": [round(each[name].cost, 3) for each in measured],
            "per_second": [round(each[name].rate) for each in measured],
        }
        for name, peer in peers.items()
        if name in measured[0]
    }


def finish(options: argparse.Namespace, figures: Sequence[Any], lines: Sequence[str] = ()) -> None:
    """Write figures and the lines about budgets to where the command line wants them, if it does.

    `report.py` makes tables of them.
    """
    if options.json is None:
        return
    options.json.mkdir(parents=True, exist_ok=True)
    about = {
        "surroundings": surroundings(*PACKAGES),
        "rounds": options.rounds,
        "seconds": options.seconds,
    }
    written = json.dumps({**about, "budgets": list(lines), "figures": figures}, indent=1)
    (options.json / f"{Path(sys.argv[0]).stem}.json").write_text(written + "\n")
