"""Lilya's `lilya.testclient`, as far as it is about WebSockets: `TestClient`.

    client = TestClient(app)
    with client.websocket_connect("/chat") as ws:
        ws.send_json({"hello": "world"})

It is `telex.testing.TestClient`, with its deadlines and its checks. What differs:

- `websocket_connect(url, subprotocols)` beside `websocket`. It works for a client that was not
  entered, then without the lifespan of the application.
- A handshake that is refused with a response raises `WebSocketDenialResponse`, one that is closed
  `WebSocketDisconnect` with the code and the reason. Telex has one error for both.
- `raise_server_exceptions` is another name for `raise_app_exceptions`, `extra_headers` of a session
  one for `response_headers`, as pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from telex import testing
from telex._json import decode_json
from telex._types import ASGIApp
from telex.datastructures import Headers
from telex.exceptions import WebSocketDisconnect
from telex.testing import ConnectionRejected, TestSession

__all__ = ["TestClient", "WebSocketDenialResponse", "WebSocketDisconnect", "WebSocketTestSession"]


class WebSocketDenialResponse(WebSocketDisconnect):
    """The application refused the handshake with an HTTP response.

    Attributes:
        status_code: The HTTP status; 500 when it ended without an answer, as on uvicorn.
        headers: The response headers.
        content: The response body.
    """

    def __init__(self, status_code: int, headers: Headers, content: bytes) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content
        super().__init__(1006)

    @property
    def text(self) -> str:
        """The body as UTF-8 text; what is none is replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the value of the body.

        Raises:
            json.JSONDecodeError: It is not JSON.
        """
        return decode_json(self.content)

    def __str__(self) -> str:
        return f"the handshake was rejected with HTTP {self.status_code}: {self.text}"


class WebSocketTestSession(TestSession):
    """The client's end of one accepted connection; made by `TestClient.websocket_connect`."""

    __test__ = False

    @property
    def extra_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that the application has added to its acceptance, as pairs."""
        return self.response_headers.raw


class TestClient(testing.TestClient):
    """A client for tests without an event loop.

    Args:
        app: Any ASGI application.
        base_url: What paths are relative to.
        raise_server_exceptions: Whether an exception that the application does not handle is
            raised in the test.
        **options: The others of `telex.testing.TestClient`.

    Raises:
        ValueError: A base URL that is none, or a header that cannot be sent.
    """

    __test__ = False

    def __init__(
        self,
        app: ASGIApp,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        **options: Any,
    ) -> None:
        options = {"raise_app_exceptions": raise_server_exceptions, **options}
        self._options: dict[str, Any] = {"base_url": base_url, **options}
        super().__init__(app, **self._options)

    @contextmanager
    def websocket_connect(
        self, url: str, subprotocols: Iterable[str] | None = None, **options: Any
    ) -> Iterator[WebSocketTestSession]:
        """Connect for the length of a block: `with client.websocket_connect("/chat") as ws:`.

        Args:
            url: A path with an optional query, or an absolute URL.
            subprotocols: The subprotocols to offer, the preferred one first; `None` for none.
            **options: The others of `telex.testing.TestClient.websocket`.

        Raises:
            WebSocketDenialResponse: The application refused with a response, or did not answer.
            WebSocketDisconnect: It closed before it accepted.
            DeadlinePassed: It neither accepted nor refused in time.
            Exception: What it raised.
        """
        with ExitStack() as stack:
            client = self if self._portal is not None else stack.enter_context(self._alone())
            portal = client._entered()
            connecting = client._client.websocket(url, subprotocols=subprotocols or (), **options)
            try:
                session = stack.enter_context(portal.wrap_async_context_manager(connecting))
            except ConnectionRejected as refused:
                raise _refusal(refused) from None
            yield WebSocketTestSession(session, portal)

    def _alone(self) -> TestClient:
        # Not of its own class, whose constructor may take something else.
        return TestClient(self.app, **{**self._options, "lifespan": False})


def _refusal(refused: ConnectionRejected) -> WebSocketDisconnect:
    if refused.code is not None:
        return WebSocketDisconnect(refused.code, refused.reason)
    return WebSocketDenialResponse(refused.status, refused.headers, refused.body)
