"""view.py: `view` becomes `telex.compat.view`.

| file | what is there |
|---|---|
| `_websocket` | `WebSocket`: messages are values |
| `_casts` | text to value: for messages, and for inputs of routes |
| `_inputs` | where the parameters of a handler come from |
| `_routes` | routes before they belong to an application: `websocket`, `query`, `body` |
| `_app` | the application, `new_app` |
| `_testing` | what `app.test()` gives |

What its document says otherwise than Telex:

| | here | Telex |
|---|---|---|
| `receive(tp)`, `send(value)` | values | raw ASGI events |
| types of values | `str`, `bytes`, `int`, `bool`, `dict` | what the codec knows |
| `expect(value)` | returns nothing | the value |
| `tp=int`, `tp=dict` | what `int()` takes, any JSON value | digits, a JSON object |
| `close()` again, or before accept | `WebSocketHandshakeError` | nothing; rejects the handshake |
| `close()` after the client's end | `WebSocketDisconnectError` | nothing |
| `async with`, an exception inside | the application closes | closes with 1011 |
| `recv`, `connect`, `open`, `done` | there | `receive_as`, `accept`, `connection_state` |
| a handler | the connection first, then inputs | what its signature says |
| routes without an application | `@websocket`, `app.load` | `Routes`, `SocketRoute` |
| an input that is missing or wrong | HTTP 400 | HTTP 422 |
| names of routes | none | the function's |

`accept` and `close` also take what they take in Telex.
"""

from telex.compat.view._app import new_app
from telex.compat.view._inputs import InvalidRouteError
from telex.compat.view._routes import DuplicateRouteError, body, query, websocket
from telex.compat.view._websocket import WebSocket
from telex.exceptions import (
    WebSocketDisconnect as WebSocketDisconnectError,
)
from telex.exceptions import (
    WebSocketError,
    WebSocketExpectError,
    WebSocketHandshakeError,
)

__all__ = [
    "DuplicateRouteError",
    "InvalidRouteError",
    "WebSocket",
    "WebSocketDisconnectError",
    "WebSocketError",
    "WebSocketExpectError",
    "WebSocketHandshakeError",
    "body",
    "new_app",
    "query",
    "websocket",
]
