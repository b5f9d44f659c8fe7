"""What it costs to send one message to 1,000 connections. `python benchmarks/fanout.py`.

One client says something, the server sends it to all, and as soon as all have it the client says
the next. Prints the processor time of the server for one delivery.
"""

from __future__ import annotations

import socket
from typing import Final

from _budgets import FANOUT, speed, verdicts
from _clients import close_all, connect_all, read_message
from _handshake_load import request
from _load import engine
from _messages import frame, payload
from _options import available, begin, finish, parser_of, recorded
from _pairs import cost, rate, rounds, servers
from _peers import BASE, on_uvicorn

CONNECTIONS: Final = 1000

SIZE: Final = 64

PEERS: Final = {
    "telex-ours": on_uvicorn("Telex on our server", "fanout_telex", ours=True),
    "starlette-ours": on_uvicorn("Starlette on our server", "fanout_starlette", ours=True),
    "telex-stock": on_uvicorn("Telex on stock uvicorn", "fanout_telex"),
    BASE: on_uvicorn("Starlette on stock uvicorn", "fanout_starlette"),
    "litestar": on_uvicorn("Litestar channels on stock uvicorn", "fanout_litestar", "litestar"),
}


class FanoutLoad:
    """A crowd in front of each server, which stays open between slices."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._data = payload("text", SIZE)
        self._message = frame("text", self._data)
        self._open: dict[int, list[socket.socket]] = {}

    def __call__(self, port: int, seconds: float) -> int:
        """Load a server for some seconds; return how many messages were delivered."""
        if port not in self._open:
            self._open[port] = self._crowd(port)
        fds = [client.fileno() for client in self._open[port]]
        engine().tend(fds)
        return engine().fanout(fds, self._message, seconds)

    def _crowd(self, port: int) -> list[socket.socket]:
        """Open the connections, and see that what one says reaches every one as it was."""
        opened = connect_all(port, self._connections, request("/"))
        opened[0].sendall(self._message)
        for client in opened:
            got = read_message(client, "text")
            if got != self._data:
                raise RuntimeError(f"expected what was sent, got {got[:100]!r}")
            client.setblocking(False)
        return opened

    def close(self) -> None:
        """Cut all connections."""
        for clients in self._open.values():
            close_all(clients)


def main() -> None:
    """Print the table and the budgets."""
    parser = parser_of(__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="default: 1000")
    options = begin(parser)
    peers = available(PEERS)
    load = FanoutLoad(options.connections)
    print(f"\n{SIZE} B of text to {options.connections} connections:")
    print(f"{'':<36}{'µs/delivery':>12}   {'× Starlette (quartiles)':<25}deliveries/s", flush=True)
    with servers({name: peer.command for name, peer in peers.items()}) as running:
        try:
            measured = rounds(running, load, options.rounds, options.seconds)
        finally:
            load.close()
    for name, peer in peers.items():
        spent, fast = cost(measured, name), rate(measured, name)
        print(f"{peer.title:<36}{spent:>12.2f}   {speed(measured, name, BASE)!s:<25}{fast:>12.0f}")
    budgets = verdicts(measured, FANOUT)
    print(*budgets, sep="\n")
    case = f"{SIZE} B of text to {options.connections} connections"
    finish(options, [{"case": case, "servers": recorded(measured, peers)}], budgets)


if __name__ == "__main__":
    main()
