"""What a listener costs that is given an object and gives one. `python benchmarks/listeners.py`.

The object has ten fields. A server makes a checked object of each message and sends it back; the
first answer of each connection is compared, as JSON. Prints the processor time of the server for
one message, how many messages it does for one of Starlette with msgspec by hand, and the budgets of
the project. The last lines say what stock uvicorn alone leaves to any framework on it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from _budgets import LISTENERS, speed, verdicts
from _load import EchoLoad, engine
from _options import available, begin, finish, parser_of, recorded
from _pairs import Round, cost, rate, rounds, servers
from _peers import BASE, Peer, on_uvicorn

CONNECTIONS: Final = 32

BARE: Final = "bare"

ORDER: Final[dict[str, Any]] = {
    "id": 90210477,
    "customer": "Trattoria da Ginevra, Ancona",
    "side": "buy",
    "price": 1249.55,
    "quantity": 12,
    "urgent": False,
    "placed": "2026-11-21T09:26:53Z",
    "limit": None,
    "levels": [[1249.5, 40.0], [1249.75, 25.5], [1250.25, 110.0]],
    "note": "Deliver to the back door before noon, and ring twice: the bell is as old as the oven.",
}
"""Numbers and dates as all of them are written by msgspec and by pydantic."""

MESSAGE: Final = json.dumps(ORDER, separators=(",", ":")).encode()


def _pydantic(title: str, app: str, *needs: str, ours: bool = False) -> Peer:
    return on_uvicorn(title, app, "pydantic", *needs, ours=ours)


PEERS: Final = {
    "telex-ours": on_uvicorn("Telex on our server", "listener_telex", ours=True),
    "telex-later": on_uvicorn(
        "Telex on our server, a turn later", "listener_telex_later", ours=True
    ),
    "telex-loop-ours": on_uvicorn("Telex on our server, a loop", "listener_telex_loop", ours=True),
    "telex-pydantic-ours": _pydantic(
        "Telex and pydantic on our server", "listener_telex_pydantic", ours=True
    ),
    "telex-stock": on_uvicorn("Telex on stock uvicorn", "listener_telex"),
    "telex-loop": on_uvicorn("Telex on stock uvicorn, a loop", "listener_telex_loop"),
    "telex-pydantic": _pydantic("Telex and pydantic on stock", "listener_telex_pydantic"),
    BARE: on_uvicorn("no framework, msgspec, on stock", "listener_bare"),
    BASE: on_uvicorn("Starlette, msgspec, on stock", "listener_starlette", "starlette"),
    "fastapi": _pydantic("FastAPI on stock", "listener_fastapi", "fastapi"),
    "litestar": on_uvicorn("Litestar on stock", "listener_litestar", "litestar"),
    "litestar-dict": on_uvicorn("Litestar on stock, a dict", "listener_litestar_dict", "litestar"),
    "litestar-pydantic": _pydantic(
        "Litestar and pydantic on stock", "listener_litestar_pydantic", "litestar"
    ),
}


def measure(peers: dict[str, Peer], options: argparse.Namespace) -> list[Round]:
    """Return the rounds of all servers."""
    load = EchoLoad("json", len(MESSAGE), options.connections, data=MESSAGE)
    with servers({name: peer.command for name, peer in peers.items()}) as running:
        try:
            return rounds(running, load, options.rounds, options.seconds)
        finally:
            load.close()


def table(measured: Sequence[Round], peers: dict[str, Peer]) -> Iterator[str]:
    """Go over the lines of a table."""
    yield f"{'':<36}{'µs/message':>11}   {'× Starlette (quartiles)':<25}messages/s"
    for name, peer in peers.items():
        spread = str(speed(measured, name, BASE)) if BASE in measured[0] else "–"
        spent, fast = cost(measured, name), rate(measured, name)
        yield f"{peer.title:<36}{spent:>11.2f}   {spread:<25}{fast:>10.0f}"


def limits(measured: Sequence[Round]) -> Iterator[str]:
    """Go over what could be reached on stock uvicorn, if a framework took no time at all."""
    for name in ("fastapi", "litestar"):
        if {BARE, name} <= measured[0].keys():
            who = f"{BARE} : {name}"
            yield f"  {who:<36}{speed(measured, BARE, name)!s:<20}the most on stock uvicorn"


def names(given: str) -> list[str]:
    """Read a list of servers."""
    listed = given.split(",")
    unknown = set(listed) - set(PEERS)
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown.pop()} is none of {', '.join(PEERS)}")
    return listed


def main() -> None:
    """Print the table and the budgets."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--only", type=names, default=list(PEERS), help="such as telex-stock,fastapi"
    )
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="default: 32")
    options = begin(parser)
    print(f"{options.rounds} rounds of {options.seconds} s slices, load in {engine().name}")
    peers = available({name: PEERS[name] for name in PEERS if name in options.only})
    case = f"an object of {len(MESSAGE)} B for another on {options.connections} connections"
    print(f"\n{case}:", flush=True)
    measured = measure(peers, options)
    print(*table(measured, peers), sep="\n")
    budgets = verdicts(measured, LISTENERS)
    print(*budgets, *limits(measured), sep="\n")
    finish(options, [{"case": case, "servers": recorded(measured, peers)}], budgets)


if __name__ == "__main__":
    main()
