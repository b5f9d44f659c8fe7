"""What a test client raises.

    AssertionError
    └─ ExpectationFailed        the application did something else than the test expects
       ├─ DeadlinePassed        nothing happened in time; says what was awaited, what came last
       └─ HandlersSurvived      tasks of a handler go on behind its connection; says where
    WebSocketHandshakeError
    └─ ConnectionRejected       the application refused the handshake; has status, headers, body

Everything else is the application's own exception, or one of `telex.exceptions`:
`WebSocketDisconnect` when the application closed, `WebSocketRuntimeError` for a call that does not
fit, `WebSocketFrameError` and `WebSocketExpectError` for a message of another kind.
"""

from __future__ import annotations

from typing import Any

from telex._json import decode_json
from telex.datastructures import Headers
from telex.exceptions import WebSocketHandshakeError


class ExpectationFailed(AssertionError):
    """The application did something else than the test expects."""


class DeadlinePassed(ExpectationFailed):
    """What the test waits for did not come in time."""


class HandlersSurvived(ExpectationFailed):
    """Tasks that a handler has started, or the handler itself, go on behind the connection."""


class ConnectionRejected(WebSocketHandshakeError):
    """The application refused the handshake.

    Attributes:
        status: The HTTP status. 403 when the application only closed, 500 when it ended without
            an answer, as on uvicorn.
        headers: The response headers.
        body: The response body.
        code: The close code when the application closed before accept, else `None`. A real
            client never sees it.
        reason: The close reason that came with it, `""` for none.
    """

    def __init__(
        self,
        status: int,
        headers: Headers | None = None,
        body: bytes = b"",
        *,
        code: int | None = None,
        reason: str = "",
    ) -> None:
        self.status = status
        self.headers = Headers() if headers is None else headers
        self.body = body
        self.code = code
        self.reason = reason
        super().__init__(status, self.headers, body)

    @property
    def text(self) -> str:
        """The body as UTF-8 text; what is none is replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the value of the body.

        Raises:
            json.JSONDecodeError: It is not JSON.
        """
        return decode_json(self.body)

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 200 else f"{self.text[:200]}…"
        if self.code is not None:
            closed = f"the application closed with {self.code} before accept"
            shown = f"{closed}: {self.reason}" if self.reason else closed
        return f"the handshake was rejected with HTTP {self.status}" + (shown and f": {shown}")
