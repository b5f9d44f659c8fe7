"""Every close code: its name, what it means, who may send it, whether to reconnect.

RFC 6455 §7.4.1 and the IANA WebSocket Close Code Number Registry. 0-999 are not used;
1000-2999 belong to the protocol; 3000-3999 are registered by libraries; 4000-4999 are private.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Sender = Literal["both", "client", "server", "nobody"]

MAX_REASON_BYTES = 123
"""A control frame carries 125 bytes (RFC 6455 §5.5), two of them are the code."""


class CloseCode(IntEnum):
    """The close codes that have a name. `describe` tells the rest."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015
    UNAUTHORIZED = 3000
    FORBIDDEN = 3003
    TIMEOUT = 3008
    SLOW_CONSUMER = 4008
    CREDENTIALS_REFUSED = 4401
    NOT_ALLOWED = 4403


@dataclass(frozen=True, slots=True)
class CloseCodeInfo:
    """What one close code means.

    Attributes:
        code: The number.
        name: Its name in the registry, or that of its range.
        meaning: One sentence.
        sender: Who may put it into a close frame.
        reconnect: Whether a client should try again. `None`: only the application knows.
    """

    code: int
    name: str
    meaning: str
    sender: Sender
    reconnect: bool | None


def _table(*rows: tuple[int, str, Sender, bool | None, str]) -> dict[int, CloseCodeInfo]:
    return {
        code: CloseCodeInfo(int(code), name, meaning, sender, reconnect)
        for code, name, sender, reconnect, meaning in rows
    }


_C = CloseCode
_KNOWN = _table(
    (_C.NORMAL, "Normal Closure", "both", False, "The connection has done what it was for."),
    (_C.GOING_AWAY, "Going Away", "both", True, "The page is left, or the server goes down."),
    (_C.PROTOCOL_ERROR, "Protocol Error", "both", False, "The peer broke the protocol."),
    (_C.UNSUPPORTED_DATA, "Unsupported Data", "both", False, "A kind of data that is not taken."),
    (1004, "Reserved", "nobody", False, "Reserved; its meaning was never defined."),
    (_C.NO_STATUS, "No Status Received", "nobody", True, "The close frame carried no code."),
    (_C.ABNORMAL, "Abnormal Closure", "nobody", True, "The connection ended without close frame."),
    (_C.INVALID_PAYLOAD, "Invalid Frame Payload Data", "both", False, "Text was not UTF-8."),
    (_C.POLICY_VIOLATION, "Policy Violation", "both", False, "A message breaks the rules."),
    (_C.MESSAGE_TOO_BIG, "Message Too Big", "both", False, "A message is longer than is taken."),
    (_C.MANDATORY_EXTENSION, "Mandatory Extension", "client", False, "An extension is missing."),
    (_C.INTERNAL_ERROR, "Internal Error", "server", True, "The server ran into an error."),
    (_C.SERVICE_RESTART, "Service Restart", "server", True, "Restarting; wait, with jitter."),
    (_C.TRY_AGAIN_LATER, "Try Again Later", "server", True, "Overloaded; wait, with jitter."),
    (_C.BAD_GATEWAY, "Bad Gateway", "server", True, "The server behind the server failed."),
    (_C.TLS_HANDSHAKE, "TLS Handshake", "nobody", False, "The TLS handshake failed."),
    (_C.UNAUTHORIZED, "Unauthorized", "server", False, "Credentials are missing or wrong."),
    (_C.FORBIDDEN, "Forbidden", "server", False, "These credentials do not allow it."),
    (_C.TIMEOUT, "Timeout", "server", True, "The client took too long."),
    (_C.SLOW_CONSUMER, "Slow Consumer", "server", True, "The client reads too slowly (Telex)."),
    (_C.CREDENTIALS_REFUSED, "Credentials Refused", "server", False, "Log in anew (Telex)."),
    (_C.NOT_ALLOWED, "Not Allowed", "server", False, "The user may not do that (Telex)."),
)


def describe(code: int) -> CloseCodeInfo:
    """Return what a close code means, for any integer."""
    known = _KNOWN.get(code)
    if known is not None:
        return known
    if 3000 <= code <= 3999:
        return CloseCodeInfo(code, "Registered", "Registered by a library.", "both", None)
    if 4000 <= code <= 4999:
        return CloseCodeInfo(code, "Private", "Private to the application.", "both", None)
    return CloseCodeInfo(code, "Unassigned", "No meaning is assigned.", "nobody", None)


def all_close_codes() -> tuple[CloseCodeInfo, ...]:
    """Return every close code that has a meaning of its own, in numerical order."""
    return tuple(_KNOWN[code] for code in sorted(_KNOWN))


def may_send(code: int) -> bool:
    """Whether a server may put this code into a close frame: 1000-1003, 1007-1014, 3000-4999."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def check_code(code: object) -> int:
    """Return a close code as a plain `int`.

    Raises:
        ValueError: It is not an integer (`bool` is none), or a code that may not be sent.
    """
    if not isinstance(code, int) or isinstance(code, bool):
        raise ValueError(f"a close code must be an int, not {code!r}")
    if not may_send(code):
        raise ValueError(
            f"close code {int(code)} may not be sent ({describe(code).name}); "
            "use 1000-1003, 1007-1014 or 3000-4999"
        )
    return int(code)


def clip_reason(reason: str | None) -> str:
    """Return a close reason that fits: `""` for `None`, at most 123 bytes of UTF-8.

    It is cut between characters; lone surrogates, which UTF-8 cannot express, become `?`.

    Raises:
        ValueError: It is neither `str` nor `None`.
    """
    if reason is None:
        return ""
    if not isinstance(reason, str):
        raise ValueError(f"a close reason must be a str or None, not {reason!r}")
    encoded = reason.encode("utf-8", "replace")
    return encoded[:MAX_REASON_BYTES].decode("utf-8", "ignore")
