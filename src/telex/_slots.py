"""How many connections there may be: all together, and of one client."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from http import HTTPStatus
from typing import Any, Self


class Slots:
    """Counts connections, for an application or a route. Belongs to one event loop.

    Args:
        total: How many there may be.
        per_client: How many one client may have.
    """

    def __init__(self, total: float = math.inf, per_client: float = math.inf) -> None:
        self._total = total
        self._per_client = per_client
        self._taken = 0
        self._of_client: dict[Hashable, int] = {}

    @classmethod
    def of(cls, limits: Mapping[str, Any]) -> Self | None:
        """Return what checked limits ask for, `None` when they ask for nothing."""
        total = limits.get("max_connections", math.inf)
        per_client = limits.get("max_connections_per_client", math.inf)
        return None if min(total, per_client) == math.inf else cls(total, per_client)

    def __len__(self) -> int:
        """Return how many connections are counted now."""
        return self._taken

    def __bool__(self) -> bool:
        return True

    @property
    def tells_clients_apart(self) -> bool:
        """Whether it matters of which client a connection is."""
        return self._per_client < math.inf

    @property
    def clients(self) -> int:
        """How many clients are counted now."""
        return len(self._of_client)

    def take(self, client: Hashable) -> HTTPStatus | None:
        """Count a connection, which has to be given back; or return why there may not be one.

        Args:
            client: What tells clients apart; `None` is not counted for a client.
        """
        if self._taken >= self._total:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if client is not None and self.tells_clients_apart:
            own = self._of_client.get(client, 0)
            if own >= self._per_client:
                return HTTPStatus.TOO_MANY_REQUESTS
            self._of_client[client] = own + 1
        self._taken += 1
        return None

    def give_back(self, client: Hashable) -> None:
        """Count a connection no more that was counted for this client."""
        self._taken -= 1
        if client is not None and self.tells_clients_apart:
            left = self._of_client.pop(client) - 1
            if left:
                self._of_client[client] = left


def client_host(connection: Any) -> Any:
    """Return the host that a connection comes from, `None` when it is unknown.

    Behind a proxy that is the proxy, unless the server is told to trust it.
    """
    client = connection.client
    return None if client is None else client.host
