"""How many connections there may be: all together, and of one client."""

from __future__ import annotations

import inspect
import math
from collections.abc import Hashable, Mapping
from http import HTTPStatus
from typing import Any, Self


class Client:
    """The client of one connection, by what tells it apart from others.

    That is an object of the application, and its hash may change. It is asked for here and never
    again: what was counted can be found when the connection leaves.

    Args:
        key: What tells clients apart.
    """

    __slots__ = ("_hash", "_key", "counts")

    def __init__(self, key: Hashable) -> None:
        self._key = key
        self._hash = hash(key)
        self.counts: dict[Slots, _Count] = {}
        """Where the connection is counted for its client."""

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Client) and (self._key is other._key or self._key == other._key)


class _Count:
    """The connections of one client, which is known by the first of them."""

    __slots__ = ("connections", "first")

    def __init__(self, first: Client) -> None:
        self.first = first
        self.connections = 0


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
        self._of_client: dict[Client, _Count] = {}

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

    def take(self, client: Client | None) -> HTTPStatus | None:
        """Count a connection, which has to be given back; or return why there may not be one.

        Args:
            client: Its client, no other connection's object; `None` is not counted for one.
        """
        if self._taken >= self._total:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if client is not None and self.tells_clients_apart:
            count = self._of_client.get(client)
            if count is None:
                count = self._of_client[client] = _Count(client)
            elif count.connections >= self._per_client:
                return HTTPStatus.TOO_MANY_REQUESTS
            count.connections += 1
            client.counts[self] = count
        self._taken += 1
        return None

    def give_back(self, client: Client | None) -> None:
        """Count a connection no more that was counted for this client."""
        self._taken -= 1
        count = None if client is None else client.counts.pop(self, None)
        if count is not None:
            count.connections -= 1
            if not count.connections:
                del self._of_client[count.first]


def client_of(key: Any) -> Client | None:
    """Return the client of one connection by what `client_key` returned, `None` for none.

    Raises:
        TypeError: It cannot be counted by that.
    """
    if inspect.isawaitable(key):
        if inspect.iscoroutine(key):
            # Without a warning that nobody has awaited it.
            key.close()
        raise TypeError(f"client_key must be a plain function, not async: it returned {key!r}")
    try:
        return None if key is None else Client(key)
    except TypeError as exc:
        raise TypeError(f"client_key must return something hashable, not {key!r}") from exc


def client_host(connection: Any) -> Any:
    """Return the host that a connection comes from, `None` when it is unknown.

    Behind a proxy that is the proxy, unless the server is told to trust it.
    """
    client = connection.client
    return None if client is None else client.host
