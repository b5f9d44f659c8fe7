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


def taker(
    where: Where, key: str, *, many: bool, fields: Sequence[Field] | None, required: bool = True
) -> Take:
    """Return what gets a value.

    Args:
        where: The part of the request.
        key: The name there.
        many: Whether all values of a name are wanted, as a list.
        fields: The names of which a dictionary is wanted, in place of one value; empty for all
            there are. `None`: one value.
        required: Whether a dictionary is wanted where there are none of these names either.
    """
    find = (_ALL if many else _ONE)[where]
    if fields is None:
        return lambda connection: find(connection, key)
    if fields:
        take = _each(where, fields)
    else:
        names = _NAMES[where]

        def take(connection: Connection) -> dict[str, Any]:
            return {name: find(connection, name) for name in names(connection)}

    return take if required else lambda connection: take(connection) or ABSENT


def outside(where: Where, name: str) -> str:
    """Return the name that a parameter has outside when none is said: `user-agent` in headers."""
    return name.replace("_", "-") if where == "header" else name


def _each(where: Where, fields: Sequence[Field]) -> Take:
    """Return what gets a value, or a list, for each field."""
    finds = [
        (
            field.name,
            field.name if field.renamed else outside(where, field.name),
            (_ALL if field.many else _ONE)[where],
        )
        for field in fields
    ]

    def take(connection: Connection) -> dict[str, Any]:
        found = ((name, find(connection, key)) for name, key, find in finds)
        return {name: value for name, value in found if value is not ABSENT}

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
