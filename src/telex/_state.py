"""The life of a connection as two transition tables. Nothing else decides what is legal.

The rules, in the words of the ASGI specification (HTTP & WebSocket, "WebSocket"):

1. The *client side* begins with `websocket.connect`, which must be read before anything else.
   Then come `websocket.receive` events, and one `websocket.disconnect` at the end. A disconnect
   may also come first: the client gave up while we were still thinking.
2. The *application side* answers the connect in one of three ways: `websocket.accept`,
   `websocket.close` (the server says HTTP 403), or the denial response
   `websocket.http.response.start` followed by bodies. Then `websocket.send` events, and one
   `websocket.close` at the end.
3. Data is only sent and read while the application side is connected. A close may be sent once.

Each side is a table from (phase, message type) to the next phase; a pair that is not in the
table is illegal. What the tables cannot say: a denial body with `more_body` false ends the
response (`advance_application` looks), and a client that left makes every later call raise
`WebSocketDisconnect`, which is the `Link`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from telex.exceptions import WebSocketRuntimeError


class WebSocketState(IntEnum):
    """Where a connection stands, or one side of it."""

    CONNECTING = 0
    """Initial: nothing was accepted yet."""
    CONNECTED = 1
    """Messages can flow."""
    DISCONNECTED = 2
    """Over: closed by us, or the peer's disconnect was delivered."""


class Phase(IntEnum):
    """`WebSocketState` with the one step more that the application side has."""

    CONNECTING = 0
    CONNECTED = 1
    DISCONNECTED = 2
    DENYING = 3
    """A denial response was started and its body is not complete."""


CLIENT: Final[Mapping[tuple[Phase, str], Phase]] = {
    (Phase.CONNECTING, "websocket.connect"): Phase.CONNECTED,
    (Phase.CONNECTING, "websocket.disconnect"): Phase.DISCONNECTED,
    (Phase.CONNECTED, "websocket.receive"): Phase.CONNECTED,
    (Phase.CONNECTED, "websocket.disconnect"): Phase.DISCONNECTED,
}
"""What the client may do: (phase, type of the event that came) to the next phase."""

APPLICATION: Final[Mapping[tuple[Phase, str], Phase]] = {
    (Phase.CONNECTING, "websocket.accept"): Phase.CONNECTED,
    (Phase.CONNECTING, "websocket.close"): Phase.DISCONNECTED,
    (Phase.CONNECTING, "websocket.http.response.start"): Phase.DENYING,
    (Phase.DENYING, "websocket.http.response.body"): Phase.DENYING,
    (Phase.CONNECTED, "websocket.send"): Phase.CONNECTED,
    (Phase.CONNECTED, "websocket.close"): Phase.DISCONNECTED,
}
"""What the application may do: (phase, type of the event to send) to the next phase."""

_MEANING: Final = {
    Phase.CONNECTING: "the connection is not accepted yet",
    Phase.CONNECTED: "the connection is open",
    Phase.DISCONNECTED: "the connection is closed",
    Phase.DENYING: "a denial response is being sent",
}


def public_state(phase: Phase) -> WebSocketState:
    """Return what users see of a phase: a handshake being denied is still connecting."""
    if phase is Phase.DENYING:
        return WebSocketState.CONNECTING
    return WebSocketState(phase)


def combined_state(client: Phase, application: Phase) -> WebSocketState:
    """Return the state of the whole connection: over if either side is, open once accepted."""
    if Phase.DISCONNECTED in (client, application):
        return WebSocketState.DISCONNECTED
    return public_state(application)


def expected(table: Mapping[tuple[Phase, str], Phase], phase: Phase) -> str:
    """Return the message types that are legal in a phase, for an error text."""
    return " or ".join(repr(kind) for at, kind in table if at is phase) or "nothing"


def advance_client(phase: Phase, kind: str) -> Phase:
    """Return the client's phase after an event that came from the server.

    Raises:
        WebSocketRuntimeError: The event is not legal now.
    """
    after = CLIENT.get((phase, kind))
    if after is None:
        raise WebSocketRuntimeError(
            f"expected {expected(CLIENT, phase)} from the server, got {kind!r}"
        )
    return after


def advance_application(phase: Phase, message: Mapping[str, Any]) -> Phase:
    """Return the application's phase after sending an event.

    Raises:
        WebSocketRuntimeError: The event is not legal now; it must not be sent.
    """
    kind = str(message.get("type"))
    after = APPLICATION.get((phase, kind))
    if after is None:
        raise WebSocketRuntimeError(
            f"cannot send {kind!r}: {_MEANING[phase]}; expected {expected(APPLICATION, phase)}"
        )
    if after is Phase.DENYING and kind.endswith(".body") and not message.get("more_body", False):
        return Phase.DISCONNECTED
    return after


def refusal(phase: Phase, action: str) -> WebSocketRuntimeError:
    """Return the error for a call that does not fit the application's phase."""
    return WebSocketRuntimeError(f"cannot {action}: {_MEANING[phase]}")
