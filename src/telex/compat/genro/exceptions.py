"""`genro_asgi.exceptions`, as far as it is about connections: the same objects as Telex's."""

from telex.exceptions import WebSocketDisconnect, WebSocketException

__all__ = ["WebSocketDisconnect", "WebSocketException"]
