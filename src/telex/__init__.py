"""Telex: WebSockets for ASGI, done completely."""

from telex._connections import Connections
from telex._dispatch import on
from telex._limits import Heartbeat
from telex._outbox import Outbox
from telex._state import WebSocketState
from telex._url import URL
from telex.app import App
from telex.close_codes import CloseCode
from telex.context import websocket
from telex.datastructures import Address, Headers, QueryParams, State
from telex.exceptions import (
    BindingError,
    ImproperlyConfigured,
    NoMatchFound,
    Reject,
    RoutingError,
    WebSocketDisconnect,
    WebSocketError,
    WebSocketException,
    WebSocketExpectError,
    WebSocketFrameError,
    WebSocketHandshakeError,
    WebSocketRuntimeError,
)
from telex.listeners import Listener
from telex.middleware.auth import Authenticate
from telex.params import Cookie, Depends, Header, Path, Query
from telex.routing import Mount, Router, Routes, SocketRoute
from telex.streams import Stream, StreamEvent
from telex.views import SocketView
from telex.websockets import WebSocket, WebSocketClose

__version__ = "0.1.0"

__all__ = [
    "URL",
    "Address",
    "App",
    "Authenticate",
    "BindingError",
    "CloseCode",
    "Connections",
    "Cookie",
    "Depends",
    "Header",
    "Headers",
    "Heartbeat",
    "ImproperlyConfigured",
    "Listener",
    "Mount",
    "NoMatchFound",
    "Outbox",
    "Path",
    "Query",
    "QueryParams",
    "Reject",
    "Router",
    "Routes",
    "RoutingError",
    "SocketRoute",
    "SocketView",
    "State",
    "Stream",
    "StreamEvent",
    "WebSocket",
    "WebSocketClose",
    "WebSocketDisconnect",
    "WebSocketError",
    "WebSocketException",
    "WebSocketExpectError",
    "WebSocketFrameError",
    "WebSocketHandshakeError",
    "WebSocketRuntimeError",
    "WebSocketState",
    "on",
    "websocket",
]
