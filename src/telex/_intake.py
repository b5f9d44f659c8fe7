"""Messages that do not fit: told to the client, or the end of the connection, or an exception."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from telex._end import peer_name
from telex.close_codes import CloseCode
from telex.codecs import Codec
from telex.exceptions import WebSocketExpectError
from telex.websockets import WebSocket

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

REF: Final = "ref"
"""The field by which an answer names the message it answers."""


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
        if self.max_invalid < 1:
            raise ValueError(f"max_invalid must be at least 1, not {self.max_invalid!r}")


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
        log.info("%s sent what does not fit: %r", peer_name(self._ws.scope), str(error))
        self.in_a_row += 1
        if policy.on_invalid == "reply":
            await self._ws.send_value(
                {"type": "error", REF: self._ref(message), "errors": error.errors}
            )
            if self.in_a_row < policy.max_invalid:
                return
        code = CloseCode.INVALID_PAYLOAD if error.malformed else CloseCode.UNSUPPORTED_DATA
        first = error.errors[0]
        await self._ws.close(code, f"{first['path']}: {first['message']}")

    def _ref(self, message: str | bytes) -> str | int | None:
        """Return by what the client knows a message, if it can be told."""
        try:
            value: Any = self._codec.decoder(Any)(message)
        except WebSocketExpectError:
            return None
        ref = value.get(REF) if isinstance(value, dict) else None
        return ref if isinstance(ref, str | int) else None
