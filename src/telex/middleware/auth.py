"""Who is there: a token from the handshake or the first message, and what it stands for.

    authenticate = Authenticate(header=True, cookie="session", verify=verify)
    CurrentUser = Annotated[User, Depends(authenticate)]

| | before accept | after accept |
|---|---|---|
| no token, several, or one that `verify` says no to | denial 401 | close 4401 |
| `verify` raises `PermissionError` | denial 403 | close 4403 |
| `verify` raises something else | as any error of a dependency | the same |
| no first message in time, or one that holds no token | - | close 4401 |
| a first message, of which `verify` says nothing in time | - | close 1013 |
| the credentials end, see `WebSocket.expires_at` | close 4401 right after accept | close 4401 |

The token is in no log, error, close reason or `repr` of Telex, and no handler can answer with it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from asyncio import timeout as deadline
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Any, Final

from telex._end import path_name, peer_name
from telex._settings import settings_of
from telex._state import Phase
from telex._types import LABELS_KEY
from telex.close_codes import CloseCode
from telex.exceptions import (
    Reject,
    WebSocketException,
    WebSocketFrameError,
    WebSocketRuntimeError,
)
from telex.middleware._tokens import UNUSABLE, Places, in_message, only, without
from telex.standing import epoch_seconds
from telex.websockets import ACCEPTED_KEY, WebSocket, link_of

log: Final = logging.getLogger("telex")

_NOBODY: Final = object()

Verify = Callable[..., Any]
"""Gets the token, and the connection if it has a second parameter; returns the user."""


class _Known:
    """What one `Authenticate` knows of one connection."""

    __slots__ = ("identity", "turn", "user")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        """Held by who has a token verified: of two, the second finds what the first has left."""
        self.user: Any = _NOBODY
        self.identity: Any = None


class Authenticate:
    """A dependency that finds a token, has it verified, and gives the user.

    It waits for `verify`, and for the first message where it is asked for. Where several places
    have a token the order of the parameters here counts, and the others are not looked at. It can
    also be called, `user = await authenticate(ws)`, in socket middlewares and connection
    middleware. For one connection it verifies once, also when several ask at the same time.

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
        timeout: Seconds for that first message, and as many for `verify` to answer it; `math.inf`
            for no limit.
        expires_at: Gets the user and returns when the credentials end, in seconds since 1970 or as
            a `datetime` with a time zone, `None` for never. Without it: the attribute `expires_at`
            of the user, if there is one. `ValueError` and `LookupError` say no, as in `verify`.
        user_id: Gets the user and returns what tells users apart. The connection is labelled with
            it, `user=`, for `app.connections.close(user=...)`. `ValueError`, `LookupError` and
            `None` say no. Without it there is no label, and `refresh` compares the users
            themselves.
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
        self._places = Places(
            header=header,
            subprotocol=subprotocol,
            query=query,
            cookie=cookie,
            first_message=first_message,
        )
        _check_functions(verify=verify, expires_at=expires_at, user_id=user_id)
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0, not {timeout!r}")
        self._verify = verify
        self._with_connection = _takes_two(verify)
        self._timeout = None if timeout == math.inf else timeout
        self._expires_at = expires_at
        self._user_id = user_id
        self._invalid: tuple[type[Exception], ...] = (ValueError, LookupError, *_classes(invalid))

    def __repr__(self) -> str:
        # Not the `repr` of something else, which may hold a key.
        verify = self._verify
        name = getattr(verify, "__qualname__", None) or type(verify).__qualname__
        return f"<Authenticate by {name!r}>"

    async def __call__(self, ws: WebSocket) -> Any:
        """Return the user of a connection.

        Waits for `verify`, and where it is asked for for the accept and the first message. When it
        is cancelled the connection is as it was, or accepted.

        Raises:
            Reject: Before accept: 401 or 403, nobody is there or may not be.
            WebSocketException: The same after accept: 4401 or 4403. 1013: `verify` did not answer
                a first message in time.
            WebSocketDisconnect: The client has left before its first message.
            Exception: What `verify` raises.
        """
        progress = link_of(ws).progress
        if progress.bound is None:
            progress.bound = {}
        known = progress.bound.get(self)
        if known is None:
            known = progress.bound[self] = _Known()
        if known.user is not _NOBODY:
            return known.user
        async with known.turn:
            if known.user is not _NOBODY:
                return known.user
            token, field = self._places.find(ws), self._places.field
            if token is not None:
                return await self._let_in(ws, known, token)
            if field is None or LABELS_KEY in ws.scope:
                raise _refusal(ws, "no token")
            return await self._let_in_by_message(ws, known, field)

    async def refresh(self, ws: WebSocket, token: str, *, other_user: bool = False) -> Any:
        """Have a new token verified while the connection is open, and return its user.

        From then on it ends when this one does. If it is refused, or this is cancelled, the
        connection stays as it is, with the `expires_at` and the labels that it had; what is raised
        closes it, unless the handler catches it.

        Args:
            ws: A connection that was authenticated by this object.
            token: The token; whatever the client sent may be passed.
            other_user: Whether it may be the token of another user.

        Raises:
            WebSocketException: 4401: no token, or one that is refused. 4403: `verify` raised
                `PermissionError`, or it is the token of another user.
            WebSocketRuntimeError: The connection was not authenticated by this object; in tests
                also where `dependency_overrides` have something in its place.
            Exception: What `verify` raises.
        """
        known = (link_of(ws).progress.bound or {}).get(self)
        if known is None or known.user is _NOBODY:
            why = "not authenticated by this object before"
            if self in settings_of(ws.scope).dependency_overrides:
                why = "dependency_overrides have something in its place; replace `refresh` as well"
            raise WebSocketRuntimeError(f"cannot refresh: {why}")
        async with known.turn:
            token = only([token]) or UNUSABLE
            return await self._let_in(ws, known, token, other_user=other_user)

    async def _let_in_by_message(self, ws: WebSocket, known: _Known, field: str) -> Any:
        token = await self._first_message(ws, field)
        try:
            # Nobody else has an eye on it: the handshake is over.
            async with deadline(self._timeout) as limit:
                return await self._let_in(ws, known, token)
        except TimeoutError:
            if not limit.expired():
                raise
        name = peer_name(ws.scope)
        log.warning("%s is not let in at %s: verify takes too long", name, path_name(ws.scope))
        raise WebSocketException(CloseCode.TRY_AGAIN_LATER, "verifying takes too long")

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
            return in_message(text, field)
        raise _refusal(ws, why)

    async def _let_in(
        self, ws: WebSocket, known: _Known, token: str, *, other_user: bool = True
    ) -> Any:
        """Have a token verified and the connection be its user's, or leave it as it was."""
        before = ws.expires_at, ws.labels
        try:
            user, end, identity = await self._verified(ws, token)
            if not other_user and identity != known.identity:
                raise _refusal(ws, "the token is of another user", forbidden=True)
            # Who has verified it may have said so, too.
            last = ws.expires_at if end is None else end
            if last is not None and last <= time.time():
                raise _refusal(ws, "the token has expired", invalid=True)
            if end is not None:
                ws.expires_at = end
            if self._user_id is not None:
                ws.label(user=identity)
        except BaseException:
            _put_back(ws, *before)
            raise
        known.user, known.identity = user, identity
        return user

    # Verifying

    async def _verified(self, ws: WebSocket, token: str) -> tuple[Any, float | None, Any]:
        """Return the user, when the credentials end if that is said, and who the user is."""
        if token == UNUSABLE:
            raise _refusal(ws, "not one token", invalid=True)
        arguments = (token, ws) if self._with_connection else (token,)
        user = await self._asked(ws, token, self._verify, *arguments)
        if user is None or user is False:
            raise _refusal(ws, "the token is refused", invalid=True)
        end = await self._asked(ws, token, self._end_of, user, name="expires_at")
        identity = user
        if self._user_id is not None:
            identity = await self._asked(ws, token, self._user_id, user, name="user_id")
            if identity is None or not _is_hashable(identity):
                kind = type(identity).__qualname__
                why = f"user_id gives {kind}, which is no id"
                raise _refusal(ws, why, invalid=True, level=logging.WARNING)
        return user, end, identity

    async def _asked(
        self, ws: WebSocket, token: str, function: Any, *arguments: Any, name: str = "verify"
    ) -> Any:
        """Return what a function of the application returns, unless it says no."""
        answer, failure = await _outcome(function, arguments)
        if failure is None:
            return answer
        # Not in the block that catches it: what is raised here must not have the failure for its
        # context, whose text may hold the token.
        why = f"{name} raised {type(failure).__name__}"
        # That a token is bad is nothing new; that one which was verified is may be a mistake.
        level = logging.INFO if name == "verify" else logging.WARNING
        if isinstance(failure, PermissionError):
            raise _refusal(ws, why, forbidden=True, level=level)
        if isinstance(failure, self._invalid):
            raise _refusal(ws, why, invalid=True, level=level)
        raise without(token, failure, why)

    def _end_of(self, user: Any) -> float | None:
        """Return when the credentials end, `None` when nobody says anything."""
        if self._expires_at is not None:
            moment: Any = self._expires_at(user)
        elif (moment := getattr(user, "expires_at", ...)) is ...:
            return None
        if isinstance(moment, datetime) and moment.utcoffset() is None:
            # A mistake in the code; a ValueError is one in the token.
            raise TypeError(f"a moment needs a time zone, {moment!r} has none")
        try:
            return epoch_seconds(moment)
        except OverflowError as error:
            raise ValueError("no such moment") from error


async def _outcome(function: Any, arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    """Return what a function returns, and what it raises."""
    try:
        answer = function(*arguments)
        return await answer if inspect.isawaitable(answer) else answer, None
    except Exception as exc:
        return None, exc


def _put_back(ws: WebSocket, expires_at: float | None, labels: dict[str, Any]) -> None:
    """Undo what a token that is refused has changed."""
    if ws.expires_at != expires_at:
        ws.expires_at = expires_at
    now = ws.labels
    if now != labels:
        ws.label(**{**dict.fromkeys(now), **labels})


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


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


def _refusal(
    ws: WebSocket,
    why: str,
    *,
    forbidden: bool = False,
    invalid: bool = False,
    level: int = logging.INFO,
) -> Reject | WebSocketException:
    """Return what ends a connection that may not be, wherever it stands."""
    log.log(level, "%s is not let in at %s: %s", peer_name(ws.scope), path_name(ws.scope), why)
    if link_of(ws).progress.application is not Phase.CONNECTING:
        code, reason = CloseCode.CREDENTIALS_REFUSED, "unauthorized"
        if forbidden:
            code, reason = CloseCode.NOT_ALLOWED, "forbidden"
        return WebSocketException(code, reason)
    if forbidden:
        return Reject(403, "forbidden")
    challenge = 'Bearer error="invalid_token"' if invalid else "Bearer"
    return Reject(401, "unauthorized", {"www-authenticate": challenge})
