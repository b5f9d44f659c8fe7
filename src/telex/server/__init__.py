"""The server side: a WebSocket protocol for uvicorn, and starting uvicorn.

It knows ASGI and nothing of the framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from telex.exceptions import MissingDependency

if TYPE_CHECKING:
    from telex.server.protocol import WebSocketProtocol

__all__ = ["WebSocketProtocol"]


def __getattr__(name: str) -> Any:
    if name == "WebSocketProtocol":
        # Late: starting uvicorn with another protocol needs no picows.
        try:
            from telex.server.protocol import WebSocketProtocol
        except ModuleNotFoundError as error:
            raise MissingDependency(
                error.name or "picows", "standard", "telex.server.WebSocketProtocol"
            ) from error
        return WebSocketProtocol
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
