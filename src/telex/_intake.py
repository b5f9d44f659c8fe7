"""Messages that do not fit: told to the client, or the end of the connection, or an exception."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from telex._end import peer_name
from telex._replies import REF
from telex.close_codes import CloseCode
from telex.codecs import Codec
from telex.exceptions import WebSocketExpectError
from telex.values import payload
from telex.websockets import WebSocket, link_of

log: Final = logging.getLogger("telex")

OnInvalid = Literal["reply", "close", "raise"]
"""What a message that does not fit leads to.

`"reply"`: the client is told, `{"type": "error", "ref": …, "errors": [{"path": …, "message": …}]}`,
where `ref` is that of its message; after too many in a row the connection is closed. `"close"`: it
is closed at once: with 1007 when the message cannot be read, with 1003 when it is something else.
`"raise"`: `WebSocketExpectError` ends the handler, like any exception.
"""

MAX_INVALID: Final = 10
"""Messages in a row that may not fit, with `"reply"`."""

MAX_ERRORS: Final = 20
"""Of what is wrong with one message so much is told: a small one can be wrong in many places."""

_MAX_LOGGED: Final = 500
"""Characters of it that are logged."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to messages that do not fit.

    Attributes:
        on_invalid: See `OnInvalid`.
        max_invalid: How many in a row are answered before the connection is closed.

    Raises:
        ValueError: Another policy, or a number below 1.
    """

    on_invalid: OnInvalid = "reply"
    max_invalid: int = MAX_INVALID

    def __post_init__(self) -> None:
        if self.on_invalid not in get_args(OnInvalid):
            known = ", ".join(map(repr, get_args(OnInvalid)))
            raise ValueError(f"on_invalid must be one of {known}, not {self.on_invalid!r}")
        check_count("max_invalid", self.max_invalid)


def check_count(name: str, value: object) -> None:
    """Make sure that an option is a number from 1 on.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be at least 1, not {value!r}")


class Intake:
    """Keeps the policy for one connection.

    Attributes:
        in_a_row: Messages since the last one that did fit.
    """

    __slots__ = ("_codec", "_policy", "_ws", "in_a_row")

    def __init__(self, ws: WebSocket, codec: Codec, policy: Policy) -> None:
        self._ws = ws
        self._codec = codec
        self._policy = policy
        self.in_a_row = 0

    async def refuse(self, message: str | bytes, error: WebSocketExpectError) -> None:
        """Do what the policy says about a message.

        Raises:
            WebSocketExpectError: The policy is `"raise"`.
            WebSocketDisconnect: The peer is gone.
        """
        policy = self._policy
        if policy.on_invalid == "raise":
            raise error
        log.info("%s sent what does not fit: %r", peer_name(self._ws.scope), _shown(error))
        self.in_a_row += 1
        errors = error.errors[:MAX_ERRORS]
        told = policy.on_invalid == "reply" and await self._tell(message, errors)
        if told and self.in_a_row < policy.max_invalid:
            return
        code = CloseCode.INVALID_PAYLOAD if error.malformed else CloseCode.UNSUPPORTED_DATA
        reason = "; ".join(f"{each['path']}: {each['message']}" for each in errors[:1])
        await link_of(self._ws).close(code, reason)

    async def _tell(self, message: str | bytes, errors: list[dict[str, str]]) -> bool:
        """Tell the client what is wrong; say whether the codec has words for it."""
        answer = {"type": "error", REF: self._ref(message), "errors": errors}
        try:
            data = payload(self._codec, answer)
        except (TypeError, ValueError):
            return False
        rest = link_of(self._ws).outlet.write(data)
        if rest is not None:
            await rest
        return True

    def _ref(self, message: str | bytes) -> str | int | None:
        """Return by what the client knows a message, if it can be told."""
        try:
            value: Any = self._codec.decoder(Any)(message)
        except (WebSocketExpectError, TypeError):
            # The second: a codec that reads certain types and no others.
            return None
        ref = value.get(REF) if isinstance(value, dict) else None
        return ref if type(ref) is int or (type(ref) is str and _can_be_sent(ref)) else None


def _can_be_sent(text: str) -> bool:
    """Whether a text is free of lone surrogates, which JSON can spell and no message can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(error: WebSocketExpectError) -> str:
    text = str(error)
    return text if len(text) <= _MAX_LOGGED else f"{text[:_MAX_LOGGED]}…"
