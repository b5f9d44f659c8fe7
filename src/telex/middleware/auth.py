"""Who is there: a token from the handshake or the first message, and what it stands for.

    authenticate = Authenticate(header=True, cookie="session", verify=verify)
    CurrentUser = Annotated[User, Depends(authenticate)]

| | before accept | after accept |
|---|---|---|
| no token, several, or one that `verify` says no to | denial 401 | close 4401 |
| `verify` raises `PermissionError` | denial 403 | close 4403 |
| `verify` raises something else | as any error of a dependency | the same |
| no first message in time, or one that holds no token | - | close 4401 |
| the credentials end, see `WebSocket.expires_at` | close 4401 right after accept | close 4401 |

The token is in no log, error, close reason or `repr` of Telex, and no handler can answer with it.
"""

from __future__ import annotations

import inspect
import json
import logging
import math
import re
import time
import traceback
from asyncio import timeout as deadline
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from itertools import islice
from typing import Any, Final

from telex._end import peer_name
from telex._json import decode_json
from telex._state import Phase
from telex._types import LABELS_KEY
from telex.close_codes import CloseCode
from telex.datastructures import Headers
from telex.exceptions import (
    Reject,
    WebSocketException,
    WebSocketFrameError,
    WebSocketRuntimeError,
)
from telex.standing import epoch_seconds
from telex.websockets import ACCEPTED_KEY, ANSWER_KEY, WebSocket, link_of

log: Final = logging.getLogger("telex")

_TOKEN: Final = re.compile(r"[!-~]{1,16384}")
"""What can be a token: visible ASCII (RFC 6750 §2.1 allows less), and no more than fits."""

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_MAX_MESSAGE: Final = 65_536
"""Characters of a first message; the client is nobody yet."""

_UNUSABLE: Final = ""
"""In place of a token: there is something, but it is none, or several."""

Verify = Callable[..., Any]
"""Gets the token, and the connection if it has a second parameter; returns the user."""


class Authenticate:
    """A dependency that finds a token, has it verified, and gives the user.

    It waits for `verify`, and for the first message where it is asked for. Where several places
    have a token the order of the parameters here counts, and the others are not looked at. It can
    also be called, `user = await authenticate(ws)`, in socket middlewares and connection
    middleware. For one connection it verifies once.

    Args:
        verify: A function or coroutine function that gets the token, and the connection if it has
            a second parameter without default. It returns the user, or `None` or `False` for no;
            `PermissionError` says that the user is known and may not connect. `ValueError` and
            `LookupError` say no as well.
        header: `True`: `Authorization: Bearer`. A `str`: the header of that name, all of it.
        subprotocol: A name; clients offer it, and behind it the token, as subprotocols:
            `new WebSocket(url, ["bearer", token])`. The answer is the name, unless there is one
            with a codec.
        query: The name of a query parameter. Servers write it into their access logs.
        cookie: The name of a cookie.
        first_message: Whether a client that has shown no token is accepted and sends it as its
            first message: the bare token, or a JSON object with it in the field `token`, or in
            the field of that name. The handler's own `accept` then does nothing. Clients that get
            Server-Sent Events cannot do that.
        timeout: Seconds for that first message, `math.inf` for no limit.
        expires_at: Gets the user and returns when the credentials end, in seconds since 1970 or as
            a `datetime` with a time zone, `None` for never. Without it: the attribute `expires_at`
            of the user, if there is one.
        user_id: Gets the user and returns what tells users apart. The connection is labelled with
            it, `user=`, for `app.connections.close(user=...)`. Without it there is no label, and
            `refresh` compares the users themselves.
        invalid: Further exception classes by which `verify` says no, such as
            `jwt.InvalidTokenError`.

    Raises:
        TypeError: No place for the token, or an argument of another type.
        ValueError: A name that is none, or a timeout that is not above 0.
    """

    def __init__(
        self,
        *,
        verify: Verify,
        header: bool | str = False,
        subprotocol: str | None = None,
        query: str | None = None,
        cookie: str | None = None,
        first_message: bool | str = False,
        timeout: float = 5.0,
        expires_at: Callable[[Any], float | datetime | None] | None = None,
        user_id: Callable[[Any], Hashable] | None = None,
        invalid: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> None:
        if not (header or subprotocol or query or cookie or first_message):
            raise TypeError(
                "Authenticate needs a place for the token: header=True, cookie='session', "
                "subprotocol='bearer', query='token' or first_message=True"
            )
        _check_functions(verify=verify, expires_at=expires_at, user_id=user_id)
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0, not {timeout!r}")
        self._verify = verify
        self._with_connection = _takes_two(verify)
        self._header = _name("header", "authorization" if header is True else header or None)
        self._bearer = header is True
        self._subprotocol = _name("subprotocol", subprotocol)
        self._query = _name("query", query, plain=False)
        self._cookie = _name("cookie", cookie)
        field = "token" if first_message is True else first_message or None
        self._field = _name("first_message", field, plain=False)
        self._timeout = None if timeout == math.inf else timeout
        self._expires_at = expires_at
        self._user_id = user_id
        self._invalid: tuple[type[Exception], ...] = (ValueError, LookupError, *_classes(invalid))

    def __repr__(self) -> str:
        return f"<Authenticate by {getattr(self._verify, '__qualname__', self._verify)!r}>"

    async def __call__(self, ws: WebSocket) -> Any:
        """Return the user of a connection.

        Waits for `verify`, and where it is asked for for the accept and the first message. When it
        is cancelled the connection is as it was, or accepted.

        Raises:
            Reject: Before accept: 401 or 403, nobody is there or may not be.
            WebSocketException: The same after accept: 4401 or 4403.
            WebSocketDisconnect: The client has left before its first message.
            Exception: What `verify` raises.
        """
        bound = link_of(ws).progress.bound or {}
        if self in bound:
            return bound[self]
        token = self._find(ws)
        if token is None and self._field is not None and LABELS_KEY not in ws.scope:
            token = await self._first_message(ws, self._field)
        if token is None:
            raise _refusal(ws, "no token")
        return self._let_in(ws, await self._verified(ws, token))

    async def refresh(self, ws: WebSocket, token: str, *, other_user: bool = False) -> Any:
        """Have a new token verified while the connection is open, and return its user.

        From then on it ends when this one does. If it is refused the connection stays as it is;
        what is raised closes it, unless the handler catches it.

        Args:
            ws: A connection that was authenticated by this object.
            token: The token; whatever the client sent may be passed.
            other_user: Whether it may be the token of another user.

        Raises:
            WebSocketException: 4401: no token, or one that is refused. 4403: `verify` raised
                `PermissionError`, or it is the token of another user.
            WebSocketRuntimeError: The connection was not authenticated by this object.
            Exception: What `verify` raises.
        """
        bound = link_of(ws).progress.bound or {}
        if self not in bound:
            raise WebSocketRuntimeError("cannot refresh: not authenticated by this object before")
        user = await self._verified(ws, _only([token]) or _UNUSABLE)
        if not other_user and self._identity(user) != self._identity(bound[self]):
            raise _refusal(ws, "the token is of another user", forbidden=True)
        return self._let_in(ws, user)

    # Finding

    def _find(self, ws: WebSocket) -> str | None:
        """Return the token of the handshake, `_UNUSABLE` for what is none, `None` for nothing."""
        offered = self._take_offered(ws)
        places = (self._in_header(ws.headers), offered, self._in_query(ws), self._in_cookie(ws))
        return next((token for token in map(_only, places) if token is not None), None)

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
        if name in known:
            ws.scope[ANSWER_KEY] = name
        return tokens

    def _in_query(self, ws: WebSocket) -> list[str]:
        values = [] if self._query is None else ws.query_params.getlist(self._query)
        return [value for value in values if value]

    def _in_cookie(self, ws: WebSocket) -> list[str]:
        # An empty one may be what logging out leaves.
        value = ws.cookies.get(self._cookie) if self._cookie is not None else None
        return [value] if value else []

    async def _first_message(self, ws: WebSocket, field: str) -> str:
        if link_of(ws).progress.application is Phase.CONNECTING:
            await ws.accept()
            ws.scope[ACCEPTED_KEY] = True
        text, why = "", "no token in time"
        try:
            async with deadline(self._timeout):
                text = await ws.receive_text()
        except TimeoutError:
            pass
        except WebSocketFrameError:
            why = "the first message is not text"
        else:
            return _only([_token_in(text, field)]) or _UNUSABLE
        raise _refusal(ws, why)

    # Verifying

    async def _verified(self, ws: WebSocket, token: str) -> Any:
        if token == _UNUSABLE:
            raise _refusal(ws, "not one token", invalid=True)
        user, failure = await self._outcome(ws, token)
        # Not in the block that catches it: what is raised here must not have the failure for its
        # context, whose text may hold the token.
        kind = type(failure).__name__
        if isinstance(failure, PermissionError):
            raise _refusal(ws, f"verify raised {kind}", forbidden=True)
        if isinstance(failure, self._invalid):
            raise _refusal(ws, f"verify raised {kind}", invalid=True)
        if failure is not None:
            raise _without(token, failure)
        if user is None or user is False:
            raise _refusal(ws, "the token is refused", invalid=True)
        return user

    async def _outcome(self, ws: WebSocket, token: str) -> tuple[Any, Exception | None]:
        """Return what `verify` returns, and what it raises."""
        try:
            user = self._verify(token, ws) if self._with_connection else self._verify(token)
            return await user if inspect.isawaitable(user) else user, None
        except Exception as exc:
            return None, exc

    def _let_in(self, ws: WebSocket, user: Any) -> Any:
        moment = self._end_of(user)
        if moment is not ...:
            at = epoch_seconds(moment)
            if at <= time.time():
                raise _refusal(ws, "the token has expired", invalid=True)
            ws.expires_at = at
        if self._user_id is not None:
            ws.label(user=self._user_id(user))
        progress = link_of(ws).progress
        if progress.bound is None:
            progress.bound = {}
        progress.bound[self] = user
        return user

    def _end_of(self, user: Any) -> Any:
        """Return when the credentials end; `...` when nobody says anything."""
        if self._expires_at is not None:
            return self._expires_at(user)
        return getattr(user, "expires_at", ...)

    def _identity(self, user: Any) -> Any:
        return user if self._user_id is None else self._user_id(user)


def _check_functions(**functions: object) -> None:
    for name, function in functions.items():
        if not callable(function) and (function is not None or name == "verify"):
            raise TypeError(f"{name} must be callable, not {function!r}")


def _classes(invalid: Any) -> tuple[type[Exception], ...]:
    classes = invalid if isinstance(invalid, tuple) else (invalid,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            raise TypeError(f"invalid: {each!r} is no class of exceptions")
    return classes


def _name(parameter: str, name: Any, *, plain: bool = True) -> str | None:
    """Return a name as it was given, if it is one."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"{parameter} must be a name, not {name!r}")
    if plain and not _NAME.fullmatch(name):
        raise ValueError(f"{parameter}: {name!r} is no name")
    return name


def _takes_two(verify: Verify) -> bool:
    """Whether a function has to be given a second argument."""
    try:
        parameters = inspect.signature(verify).parameters.values()
    except ValueError:
        # Some built-in functions have none that can be read.
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [each for each in parameters if each.kind in positional and each.default is each.empty]
    return len(needed) > 1


def _names(values: Iterable[str]) -> list[str]:
    """Return the names in the values of a header, or in what a server makes of it."""
    return [name for value in values for name in map(str.strip, value.split(",")) if name]


def _only(values: list[Any]) -> str | None:
    """Return the one token there is, `_UNUSABLE` for others or several, `None` for nothing."""
    if not values:
        return None
    token = values[0].strip(" \t") if isinstance(values[0], str) else _UNUSABLE
    return token if len(values) == 1 and _TOKEN.fullmatch(token) else _UNUSABLE


def _token_in(text: str, field: str) -> Any:
    """Return what a first message gives for a token."""
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


def _refusal(
    ws: WebSocket, why: str, *, forbidden: bool = False, invalid: bool = False
) -> Reject | WebSocketException:
    """Return what ends a connection that may not be, wherever it stands."""
    log.info("%s is not let in at %r: %s", peer_name(ws.scope), ws.path, why)
    if link_of(ws).progress.application is not Phase.CONNECTING:
        code, reason = CloseCode.CREDENTIALS_REFUSED, "unauthorized"
        if forbidden:
            code, reason = CloseCode.NOT_ALLOWED, "forbidden"
        return WebSocketException(code, reason)
    if forbidden:
        return Reject(403, "forbidden")
    challenge = 'Bearer error="invalid_token"' if invalid else "Bearer"
    return Reject(401, "unauthorized", {"www-authenticate": challenge})


def _without(token: str, failure: Exception) -> Exception:
    """Return an error of `verify`, or one that stands for it if its text holds the token."""
    text = "".join(traceback.format_exception(failure))
    if token not in text and repr(token)[1:-1] not in text:
        return failure
    kind = type(failure).__name__
    shown = RuntimeError(f"verify raised {kind}, whose text is not shown: it holds the token")
    return shown.with_traceback(failure.__traceback__)
