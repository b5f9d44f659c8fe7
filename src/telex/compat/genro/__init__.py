"""genro-asgi 0.13: `genro_asgi` becomes `telex.compat.genro`.

| module | what is there |
|---|---|
| `.websocket` | `WebSocket`, with the differences listed at its head; `WebSocketState` |
| `.exceptions` | `WebSocketDisconnect`, `WebSocketException` |
| `.datastructures` | `Address`, `Headers`, `QueryParams`, `State`, `URL` |
| `.wsx` | WSX messages: requests and responses over a connection |

All but the WSX functions can be imported from here too.
"""

from telex.compat.genro.datastructures import URL, Address, Headers, QueryParams, State
from telex.compat.genro.exceptions import WebSocketDisconnect, WebSocketException
from telex.compat.genro.websocket import WebSocket, WebSocketState

__all__ = [
    "URL",
    "Address",
    "Headers",
    "QueryParams",
    "State",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketException",
    "WebSocketState",
]
