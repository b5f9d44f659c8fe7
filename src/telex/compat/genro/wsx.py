"""`genro_asgi.wsx`: messages that look like HTTP, over a connection.

A message is `WSX://` and a JSON object. A request has `id`, `method` and `path`, and may have
`headers`, `cookies`, `query` and `data`; a response has the request's `id` and a `status`, and may
have `headers`, `cookies` and `data`. Several responses with one `id` are a stream: all but the last
one have `stream`, which is true.

What is otherwise than there: JSON is compact and strict (see `telex.WebSocket.send_json`), a text
with the marker of TYTX is read as such, what is no object is a `ValueError`, and responses can be
marked as part of a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from telex._json import decode_json, decode_utf8, encode_json
from telex._tytx import read_typed, write_typed

__all__ = [
    "WSX_PREFIX",
    "build_wsx_message",
    "build_wsx_response",
    "is_wsx_message",
    "parse_wsx_message",
]

WSX_PREFIX: Final = "WSX://"
"""What every message begins with."""

_TYPED: Final = "::JS"


def is_wsx_message(data: str | bytes) -> bool:
    """Return whether a message begins as a WSX message does."""
    return data.startswith(WSX_PREFIX) if isinstance(data, str) else data.startswith(b"WSX://")


def parse_wsx_message(data: str | bytes) -> dict[str, Any]:
    """Return the fields of a request or a response.

    Args:
        data: The message, bytes in UTF-8. It may come without its `WSX://`.

    Returns:
        The fields that are in it, none of them checked; typed values where the text ends with
        TYTX's marker `::JS`.

    Raises:
        ValueError: It is not a JSON object; a `json.JSONDecodeError` when it is no JSON.
        MissingDependency: It is marked as TYTX and genro-tytx is not installed.
    """
    text = data if isinstance(data, str) else decode_utf8(data)
    body = text.removeprefix(WSX_PREFIX)
    fields = read_typed(body) if body.endswith(_TYPED) else decode_json(body)
    if not isinstance(fields, dict):
        raise ValueError(f"a WSX message must be a JSON object, not {type(fields).__name__}")
    return fields


def build_wsx_message(
    *,
    id: str,  # noqa: A002 - the field is called so
    method: str,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    query: Mapping[str, Any] | None = None,
    data: Any = None,
    tytx: bool = False,
) -> str:
    """Return the text of a request.

    Args:
        id: What the responses to it will have too.
        method: As in HTTP.
        path: As in HTTP.
        headers: Left out when there are none, as are `cookies` and `query`.
        cookies: By name.
        query: The parameters of the query.
        data: What the request is about; `None`: left out.
        tytx: Whether to write typed values (decimals, dates) as TYTX, and to say so in `tytx`.

    Raises:
        TypeError: A value that cannot be expressed.
        ValueError: The same, because of what is in it.
        MissingDependency: `tytx` without genro-tytx.
    """
    fields: dict[str, Any] = {"id": id, "method": method, "path": path}
    _add(fields, headers=headers, cookies=cookies, query=query, data=data, tytx=tytx)
    return WSX_PREFIX + (write_typed if tytx else encode_json)(fields)


def build_wsx_response(
    *,
    id: str,  # noqa: A002 - the field is called so
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, Any] | None = None,
    data: Any = None,
    stream: bool = False,
) -> str:
    """Return the text of a response.

    Args:
        id: That of the request.
        status: As in HTTP.
        headers: Left out when there are none, as are `cookies`.
        cookies: By name: a value, or an object with `value`, `max_age` and so on.
        data: The answer; `None`: left out.
        stream: Whether more responses with the same `id` follow.

    Raises:
        TypeError: A value that cannot be expressed.
        ValueError: The same, because of what is in it.
    """
    fields: dict[str, Any] = {"id": id, "status": status}
    _add(fields, headers=headers, cookies=cookies, data=data, stream=stream)
    return WSX_PREFIX + encode_json(fields)


def _add(fields: dict[str, Any], *, data: Any, **others: Any) -> None:
    """Put in what there is: any data but `None`, and what else is not empty."""
    fields.update({name: value for name, value in others.items() if value})
    if data is not None:
        fields["data"] = data
