"""What memory an idle connection takes. `python benchmarks/memory.py`.

Opens 3,000 connections to a fresh server, whose clients send six headers and nothing more, and
divides what it grew by (RSS) by their number: without compression, and with compression agreed on.
Then 200 connections that each sent one message of 1 MiB and have had the answer.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

from _budgets import AFTER_BIG_KIB, DEFLATE_KIB, IDLE, IDLE_KIB
from _clients import DEFLATE, close_all, connect_all, read_message
from _messages import frame, payload
from _options import available, begin, finish, parser_of
from _pairs import Server, Spread, servers
from _peers import BASE, OURS, on_uvicorn

IDLERS: Final = 3000
SENDERS: Final = 200
QUICK: Final = 4
"""How many times fewer of both there are with `--quick`."""

BIG: Final = 1 << 20

WARM: Final = 20
"""Connections that come and go before: what a server makes once is not theirs."""

QUIET: Final = 0.5
"""Seconds after which a server has done what it does after a handshake or a message."""

UNTIL_IDLE: Final = 4.0
"""Seconds after which a connection is idle: servers may give memory back meanwhile."""

PEERS: Final = {
    OURS: on_uvicorn("Telex on our server", "idle_telex", ours=True, deflate=True),
    "starlette-ours": on_uvicorn(
        "Starlette on our server", "idle_starlette", ours=True, deflate=True
    ),
    "telex-stock": on_uvicorn("Telex on stock uvicorn", "idle_telex", deflate=True),
    BASE: on_uvicorn("Starlette on stock uvicorn", "idle_starlette", deflate=True),
}

SIX_HEADERS: Final = (
    "Host: 127.0.0.1",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Origin: http://127.0.0.1",
)

Opening = Callable[[int, int], list[socket.socket]]
"""`opening(port, count)` opens connections and does with them what is to be measured."""


def _open(port: int, count: int, *further: str) -> list[socket.socket]:
    lines = ("GET / HTTP/1.1", *SIX_HEADERS, *further)
    return connect_all(port, count, ("\r\n".join(lines) + "\r\n\r\n").encode())


def idle(port: int, count: int) -> list[socket.socket]:
    """Open connections."""
    return _open(port, count)


def compressed(port: int, count: int) -> list[socket.socket]:
    """Open connections and agree on compression."""
    return _open(port, count, DEFLATE)


def after_big(port: int, count: int) -> list[socket.socket]:
    """Open connections, and send a large message on each, one after the other."""
    opened = _open(port, count)
    message = frame("text", payload("text", BIG))
    for client in opened:
        client.sendall(message)
        answer = read_message(client, "text")
        if answer != str(BIG).encode():
            raise RuntimeError(f"expected {BIG}, got {answer[:100]!r}")
    return opened


def grown(server: Server, opening: Opening, count: int) -> float:
    """Return KiB for each of the connections."""
    close_all(opening(server.port, WARM))
    time.sleep(QUIET)
    before = server.memory()
    opened = opening(server.port, count)
    time.sleep(UNTIL_IDLE)
    after = server.memory()
    close_all(opened)
    return (after - before) / count / 1024


def measure(
    commands: Mapping[str, tuple[str, ...]], opening: Opening, count: int, times: int
) -> dict[str, list[float]]:
    """Return KiB for each connection, by server, with fresh servers for every round."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(times):
        with servers(commands) as running:
            for server in running:
                found[server.name].append(grown(server, opening, count))
    return found


def verdict(what: str, figure: float, bound: float) -> str:
    """Return the line about a bound in KiB."""
    met = "met" if figure <= bound else "NOT MET"
    return f"  {what:<36}{f'{figure:.1f} KiB':<20}budget ≤ {bound:<5} {met}"


def verdicts(found: Mapping[str, Mapping[str, list[float]]]) -> list[str]:
    """Return a line for each budget."""
    names = {name: peers.get(OURS) for name, peers in found.items()}
    plain, deflated, big = (names[case] for case in CASES)
    if plain is None or deflated is None or big is None:
        return []
    theirs = next(iter(found.values()))[BASE]
    against = Spread.of([one / other for one, other in zip(plain, theirs, strict=True)])
    more = median(deflated) - median(plain)
    return [
        verdict("idle", median(plain), IDLE_KIB),
        IDLE.line(against),
        verdict("compression agreed on adds", more, DEFLATE_KIB),
        verdict("after a message of 1 MiB", median(big), AFTER_BIG_KIB),
    ]


CASES: Final[dict[str, tuple[Opening, int]]] = {
    "idle, no compression": (idle, IDLERS),
    "idle, compression agreed on": (compressed, IDLERS),
    "idle after one message of 1 MiB": (after_big, SENDERS),
}


def main() -> None:
    """Print the table and the budgets."""
    options = begin(parser_of(__doc__))
    peers = available(PEERS)
    commands = {name: peer.command for name, peer in peers.items()}
    found, figures = {}, []
    for case, (opening, most) in CASES.items():
        count = most // QUICK if options.quick else most
        found[case] = measure(commands, opening, count, options.rounds)
        print(f"\n{case}, {count} connections, KiB for each:")
        rows = {}
        for name, kib in found[case].items():
            print(f"{peers[name].title:<30}{Spread.of(kib)}", flush=True)
            rows[name] = {"title": peers[name].title, "kib": kib}
        figures.append({"case": f"{case}, {count} connections", "servers": rows})
        finish(options, figures)
    budgets = verdicts(found)
    print(*budgets, sep="\n")
    finish(options, figures, budgets)


if __name__ == "__main__":
    main()
