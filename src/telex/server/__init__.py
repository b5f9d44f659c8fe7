"""The server side: a WebSocket protocol for uvicorn, and uvicorn with an end in good order.

It knows ASGI and nothing of the framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from telex.exceptions import MissingDependency

if TYPE_CHECKING:
    from telex.server._serving import Server
    from telex.server.protocol import WebSocketProtocol

__all__ = ["Server", "WebSocketProtocol"]


def __getattr__(name: str) -> Any:
    # Late: starting uvicorn with another protocol needs no picows, and another server no uvicorn.
    try:
        if name == "WebSocketProtocol":
            from telex.server.protocol import WebSocketProtocol

            return WebSocketProtocol
        if name == "Server":
            from telex.server._serving import Server

            return Server
    except ModuleNotFoundError as error:
        raise MissingDependency(
            error.name or "uvicorn", "standard", f"telex.server.{name}"
        ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
