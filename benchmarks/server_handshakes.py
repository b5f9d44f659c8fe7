"""What a handshake costs a server. `python benchmarks/server_handshakes.py`.

Connect, accept, close with 1000, again and again, 16 at a time. Prints the processor time of the
server for one. `handshakes.py` measures what binding parameters adds.
"""

from __future__ import annotations

from typing import Any, Final

from _budgets import HANDSHAKES, verdicts
from _clients import DEFLATE
from _handshake_load import Handshakes, request
from _options import available, begin, finish, parser_of, recorded
from _pairs import cost, rate, ratio, rounds, servers
from _peers import BASE, on_uvicorn

PEERS: Final = {
    "telex-ours": on_uvicorn("Telex on our server", "close_telex", ours=True, deflate=True),
    "starlette-ours": on_uvicorn(
        "Starlette on our server", "close_starlette", ours=True, deflate=True
    ),
    "bare-ours": on_uvicorn("no framework, our server", "bare", ours=True, deflate=True),
    "telex-stock": on_uvicorn("Telex on stock uvicorn", "close_telex", deflate=True),
    BASE: on_uvicorn("Starlette on stock uvicorn", "close_starlette", deflate=True),
}

CASES: Final = {"no compression offered": (), "compression offered": (DEFLATE,)}


def main() -> None:
    """Print a table for each case, and the budget."""
    options = begin(parser_of(__doc__))
    peers = available(PEERS)
    figures: list[dict[str, Any]] = []
    budgets: list[str] = []
    for case, headers in CASES.items():
        print(f"\n{case}:")
        print(f"{'':<30}{'µs/handshake':>13}   {'of Starlette’s (quartiles)':<28}handshakes/s")
        with servers({name: peer.command for name, peer in peers.items()}) as running:
            load = Handshakes(request("/", *headers))
            measured = rounds(running, load, options.rounds, options.seconds)
        for name, peer in peers.items():
            spread, fast = ratio(measured, name, BASE), rate(measured, name)
            spent = cost(measured, name)
            print(f"{peer.title:<30}{spent:>13.1f}   {spread!s:<28}{fast:>12.0f}")
        found = verdicts(measured, HANDSHAKES)
        print(*found, sep="\n", flush=True)
        budgets += [f"{line}, {case}" for line in found]
        figures.append({"case": case, "servers": recorded(measured, peers)})
    finish(options, figures, budgets)


if __name__ == "__main__":
    main()
