"""Where the raw values of a request are found: query, path, headers, cookies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from telex.binding._coerce import Field
from telex.connection import Connection
from telex.params import Where

ABSENT: Final = object()
"""There is no such value."""

Take: TypeAlias = Callable[[Connection], Any]
"""Gets a raw value from a connection: text, a list of texts, a dictionary, or `ABSENT`."""

_Find: TypeAlias = Callable[[Connection, str], Any]


def taker(where: Where, key: str, *, many: bool, fields: Sequence[Field] | None) -> Take:
    """Return what gets a value.

    Args:
        where: The part of the request.
        key: The name there.
        many: Whether all values of that name are wanted, as a list.
        fields: The names of which a dictionary is wanted, in place of one value; empty for all
            there are. `None`: one value.
    """
    one, all_of, names = _ONE[where], _ALL[where], _NAMES[where]
    if fields is None:
        find = all_of if many else one
        return lambda connection: find(connection, key)
    if not fields:
        return lambda connection: {name: one(connection, name) for name in names(connection)}

    def take(connection: Connection) -> dict[str, Any]:
        found = {}
        for name, several in fields:
            outside = name.replace("_", "-") if where == "header" else name
            value = (all_of if several else one)(connection, outside)
            if value is not ABSENT:
                found[name] = value
        return found

    return take


def _query(connection: Connection, key: str) -> Any:
    return connection.query_params.get(key, ABSENT)


def _queries(connection: Connection, key: str) -> Any:
    return connection.query_params.getall(key) or ABSENT


def _header(connection: Connection, key: str) -> Any:
    return connection.headers.get(key, ABSENT)


def _headers(connection: Connection, key: str) -> Any:
    return connection.headers.getall(key) or ABSENT


def _cookie(connection: Connection, key: str) -> Any:
    return connection.cookies.get(key, ABSENT)


def _cookies(connection: Connection, key: str) -> Any:
    value = connection.cookies.get(key, ABSENT)
    return value if value is ABSENT else [value]


def _path(connection: Connection, key: str) -> Any:
    return connection.path_params.get(key, ABSENT)


_ONE: Final[dict[Where, _Find]] = {
    "query": _query,
    "header": _header,
    "cookie": _cookie,
    "path": _path,
}
_ALL: Final[dict[Where, _Find]] = {
    "query": _queries,
    "header": _headers,
    "cookie": _cookies,
    # A convertor has made one value of it, perhaps a list.
    "path": _path,
}
_NAMES: Final[dict[Where, Callable[[Connection], Iterable[str]]]] = {
    "query": lambda connection: connection.query_params.keys(),
    "header": lambda connection: connection.headers.keys(),
    "cookie": lambda connection: connection.cookies.keys(),
    "path": lambda connection: connection.path_params.keys(),
}
