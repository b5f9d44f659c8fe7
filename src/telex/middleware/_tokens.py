"""Where a token can be, in the handshake or the first message; and where it must not be."""

from __future__ import annotations

import contextlib
import json
import re
import traceback
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from telex._json import decode_json
from telex.datastructures import Headers, parse_cookies
from telex.websockets import ANSWER_KEY, WebSocket

UNUSABLE: Final = ""
"""In place of a token: there is something, but it is none, or several."""

_TOKEN: Final = re.compile(r"[!-~]{1,16384}")
"""What can be a token: visible ASCII (RFC 6750 §2.1 allows less), and no more than fits."""

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_MAX_MESSAGE: Final = 65_536
"""Characters of a first message; the client is nobody yet."""


class Places:
    """The places where a token is looked for; the parameters are those of `Authenticate`.

    Attributes:
        field: The field of the first message, `None` where none is asked for.

    Raises:
        TypeError: No place, or a name that is no `str`.
        ValueError: A name that cannot be one.
    """

    def __init__(
        self,
        *,
        header: bool | str,
        subprotocol: str | None,
        query: str | None,
        cookie: str | None,
        first_message: bool | str,
    ) -> None:
        if not (header or subprotocol or query or cookie or first_message):
            raise TypeError(
                "Authenticate needs a place for the token: header=True, cookie='session', "
                "subprotocol='bearer', query='token' or first_message=True"
            )
        self._header = _name("header", "authorization" if header is True else header or None)
        self._bearer = header is True
        self._subprotocol = _name("subprotocol", subprotocol)
        self._query = _name("query", query, plain=False)
        self._cookie = _name("cookie", cookie)
        field = "token" if first_message is True else first_message or None
        self.field = _name("first_message", field, plain=False)

    def find(self, ws: WebSocket) -> str | None:
        """Return the token of the handshake, `UNUSABLE` for what is none, `None` for nothing."""
        offered = self._take_offered(ws)
        places = (self._in_header(ws.headers), offered, self._in_query(ws), self._in_cookie(ws))
        return next((token for token in map(only, places) if token is not None), None)

    def _in_header(self, headers: Headers) -> list[str]:
        values = [] if self._header is None else headers.getlist(self._header)
        if not self._bearer:
            return values
        schemes = [each.partition(" ") for each in values]
        if not any(scheme.lower() == "bearer" for scheme, _, _ in schemes):
            # Another scheme is for somebody else, a proxy perhaps.
            return []
        # A comma is in no such token: two headers that were joined.
        return [part for _, _, rest in schemes for part in rest.split(",")]

    def _take_offered(self, ws: WebSocket) -> list[str]:
        """Take the tokens out of the subprotocols, so that nobody can answer with one."""
        name = self._subprotocol
        # Some server keeps the last of several headers only, and so may lose the token.
        offered = _names(ws.headers.getlist("sec-websocket-protocol") or ws.subprotocols)
        if name is None or name not in offered:
            return []
        rest, tokens = iter(offered), list[str]()
        for each in rest:
            if each == name:
                tokens += islice(rest, 1)
        known = dict.fromkeys(_names(ws.subprotocols))
        ws.scope["subprotocols"] = [each for each in known if each == name or each not in tokens]
        # There also where it cannot be the answer: what is not offered may be a token.
        ws.scope[ANSWER_KEY] = name if name in known else None
        return tokens

    def _in_query(self, ws: WebSocket) -> list[str]:
        values = [] if self._query is None else ws.query_params.getlist(self._query)
        return [value for value in values if value]

    def _in_cookie(self, ws: WebSocket) -> list[str]:
        name = self._cookie
        if name is None or name not in ws.cookies:
            return []
        # A page of another subdomain can set a second one of that name; of two that are the same
        # one is for another path.
        crumbs = ";".join(ws.headers.getlist("cookie")).split(";")
        found = dict.fromkeys(parse_cookies([crumb]).get(name) for crumb in crumbs)
        # An empty one may be what logging out leaves.
        return [value for value in found if value]


def in_message(text: str, field: str) -> str:
    """Return the token of a first message, `UNUSABLE` if there is none."""
    return only([_said(text, field)]) or UNUSABLE


def only(values: list[Any]) -> str | None:
    """Return the one token there is, `UNUSABLE` for others or several, `None` for nothing."""
    if not values:
        return None
    token = values[0].strip(" \t") if isinstance(values[0], str) else UNUSABLE
    return token if len(values) == 1 and _TOKEN.fullmatch(token) else UNUSABLE


def _said(text: str, field: str) -> Any:
    if len(text) > _MAX_MESSAGE:
        return None
    text = text.strip()
    if text[:1] not in ("{", '"'):
        return text
    try:
        said = decode_json(text)
    except json.JSONDecodeError:
        return None
    return said.get(field) if isinstance(said, dict) else said


def _name(parameter: str, name: Any, *, plain: bool = True) -> str | None:
    """Return a name as it was given, if it is one."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"{parameter} must be a name, not {name!r}")
    if plain and not _NAME.fullmatch(name):
        raise ValueError(f"{parameter}: {name!r} is no name")
    return name


def _names(values: Iterable[str]) -> list[str]:
    """Return the names in the values of a header, or in what a server makes of it."""
    return [name for value in values for name in map(str.strip, value.split(",")) if name]


def without(token: str, failure: Exception, what: str) -> Exception:
    """Return an error of the application, or one that stands for it if it tells the token."""
    # Whatever has quoted it: `repr` and JSON add backslashes, and nothing else.
    shown = token.replace("\\", "")
    if not any(shown in text.replace("\\", "") for text in _texts(failure)):
        return failure
    stand_in = RuntimeError(f"{what}, whose text is not shown: it holds the token")
    return stand_in.with_traceback(failure.__traceback__)


def _texts(failure: BaseException) -> Iterator[str]:
    """Give all that an error can say: in the log, and to the client as body, header or reason."""
    yield "".join(traceback.format_exception(failure))
    # One that has no `repr` is in no answer either.
    with contextlib.suppress(Exception):
        yield repr(vars(failure))
    if isinstance(failure, BaseExceptionGroup):
        for each in failure.exceptions:
            yield from _texts(each)
