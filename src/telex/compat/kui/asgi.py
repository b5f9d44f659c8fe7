"""What Kui's documentation imports from `kui.asgi` for WebSockets.

    from telex.compat.kui.asgi import Kui, SocketView, websocket

| name | what differs from Telex |
|---|---|
| `Kui` | hands out the `WebSocket` below; of a list of middlewares the last is the outermost |
| `WebSocket`, `websocket` | repeated names, `client`, `url_for` and more, see `_websocket` |
| `SocketRoute`, `Routes` | the same order, the name as the third argument, see `_routing` |
| `Depends` | the keyword `cache` |
| `Body` | raises `TypeError`: a handshake has no body |
| the others | nothing, they are Telex's |

Everything else of Kui, its HTTP routes, templates and OpenAPI, is not here. `Kui(http=...)` takes
an application for HTTP, which may be one of Kui itself.
"""

from telex.compat.kui._app import Kui, websocket
from telex.compat.kui._params import Body, Depends
from telex.compat.kui._routing import Routes, SocketRoute
from telex.compat.kui._websocket import WebSocket
from telex.exceptions import WebSocketDisconnect
from telex.params import Cookie, Header, Path, Query
from telex.views import SocketView

__all__ = [
    "Body",
    "Cookie",
    "Depends",
    "Header",
    "Kui",
    "Path",
    "Query",
    "Routes",
    "SocketRoute",
    "SocketView",
    "WebSocket",
    "WebSocketDisconnect",
    "websocket",
]
