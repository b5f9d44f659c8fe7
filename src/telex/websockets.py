"""`WebSocket`, the connection object, and `WebSocketClose`, an application that says no."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self, TypeVar

from starlette.responses import Response

from telex._endings import ending, essence
from telex._link import Link
from telex._settings import settings_of
from telex._state import Phase, refusal
from telex._types import (
    DENIAL_EXTENSION,
    CleanupCallback,
    Message,
    Receive,
    Scope,
    Send,
)
from telex.close_codes import CloseCode, check_code, clip_reason
from telex.codecs import agreed
from telex.connection import Connection
from telex.datastructures import encode_headers
from telex.exceptions import (
    HeadersInput,
    WebSocketDisconnect,
)
from telex.frames import Frames
from telex.standing import Standing
from telex.tasks import ConnectionTasks
from telex.values import Values

F = TypeVar("F", bound="WebSocket")

ANSWER_KEY: Final = "telex.subprotocol"
"""Key of the scope for the subprotocol that `accept` answers with where no codec has one.

It is there where a token came among the subprotocols, and `None` where it can be no answer.
"""

ACCEPTED_KEY: Final = "telex.accepted"
"""Key of the scope that says: accepted in place of the handler, which need not know of it."""


class WebSocket(Frames, Values, Standing, Connection):
    """One WebSocket connection, over plain ASGI or a server's frame channel.

    Use it alone in an ASGI application, `ws = WebSocket(scope, receive, send)`, or take it as a
    handler's parameter. It is a mapping view of the scope with identity equality. Several
    instances over the same callables are faces of one connection and share its state. It belongs
    to one event loop; several tasks may use it at once.

    Args:
        scope: An ASGI scope of type `"websocket"`.
        receive: The ASGI `receive` callable.
        send: The ASGI `send` callable.

    Raises:
        ValueError: The scope is of another type.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("type") != "websocket":
            raise ValueError(
                f"a WebSocket needs a scope of type 'websocket', not {scope.get('type')!r}"
            )
        super().__init__(scope)
        self._link = Link.of(scope, receive, send)

    def __eq__(self, other: object) -> bool:
        # A stand-in such as `telex.websocket` decides itself, on whichever side it is written.
        return self is other or (NotImplemented if isinstance(other, WebSocket) else False)

    __hash__ = Connection.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r} {self.connection_state.name.lower()}>"

    # Beginning and ending

    async def accept(
        self, subprotocol: str | None = None, headers: HeadersInput | None = None
    ) -> None:
        """Complete the handshake (RFC 6455 §4.2.2).

        Waits for the `websocket.connect` event unless it was read before. When that wait is
        cancelled, `accept` can be called again.

        Args:
            subprotocol: One of `subprotocols`; `None`: the first that has one of `codecs`, else the
                one that `Authenticate` took a token from, if any.
            headers: Further headers for the response, a mapping or pairs.

        Raises:
            ValueError: A subprotocol not offered or a header that cannot be sent; nothing was sent.
            TypeError: Headers that are not made of `str` and `bytes`; nothing was sent.
            WebSocketDisconnect: The client has given up.
            WebSocketRuntimeError: Accepted, rejected or closed before.
        """
        scope = self._scope
        ahead = scope.pop(ACCEPTED_KEY, False) and self._link.progress.open
        if ahead and not headers and subprotocol in (None, self.accepted_subprotocol):
            return
        if subprotocol is None:
            subprotocol = agreed(settings_of(scope).codecs, self.subprotocols)
            subprotocol = subprotocol or scope.get(ANSWER_KEY)
        elif subprotocol not in self.subprotocols:
            offered = ", ".join(map(repr, self.subprotocols)) or "none"
            # Where clients send tokens among them, this may be one.
            name = "this subprotocol" if ANSWER_KEY in scope else f"subprotocol {subprotocol!r}"
            raise ValueError(f"{name} was not offered by the client (offered: {offered})")
        await self._link.accept(
            {
                "type": "websocket.accept",
                "subprotocol": subprotocol,
                "headers": encode_headers(headers, reserved=True),
            }
        )

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection (RFC 6455 §7.1.2). Before accept: reject the handshake, HTTP 403.

        Waits for what `send_nowait` left (5 seconds at most), for the server to take the close,
        and for the cleanups. Calling it again, or after the peer left, does nothing. When it is
        cancelled the connection is closed all the same. Readers that wait are woken.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: Text for the client, cut to 123 bytes of UTF-8; `None` for none.

        Raises:
            ValueError: A code that may not be sent; nothing was sent.
            WebSocketRuntimeError: A denial response was begun and is not complete.
        """
        await self._link.close(code, reason)

    async def reject(
        self,
        status: int = 403,
        *,
        body: str | bytes = b"",
        headers: HeadersInput | None = None,
        visible: int | None = None,
    ) -> None:
        """Refuse the handshake with an HTTP response (ASGI extension "WebSocket Denial Response").

        A server without that extension answers 403 with no body. Does nothing when the client has
        given up. Where `Authenticate` has accepted for a first message, and `accept` was not called
        since, it closes with 1008, or with `visible`.

        Args:
            status: The HTTP status, 300 to 599.
            body: `str` is sent as UTF-8 text.
            headers: Further headers, a mapping or pairs.
            visible: A close code. Browsers hide status and body from scripts; with this the
                connection is accepted and closed with the code, a `str` body as the reason.

        Raises:
            ValueError: A status, code or header that cannot be sent; nothing was sent.
            TypeError: Headers that are not made of `str` and `bytes`; nothing was sent.
            WebSocketRuntimeError: Accepted, rejected or closed before.
        """
        if not isinstance(status, int) or not 300 <= status <= 599:
            raise ValueError(f"a denial needs an HTTP status from 300 to 599, not {status!r}")
        extra = encode_headers(headers)
        if visible is not None:
            check_code(visible)
            with contextlib.suppress(WebSocketDisconnect):
                await self.accept()
                await self.close(visible, body if isinstance(body, str) else None)
            return
        media_type = "text/plain" if isinstance(body, str) and body else None
        response = Response(body, status_code=int(status), media_type=media_type)
        kept = [pair for pair in response.raw_headers if pair[0] not in dict(extra)]
        response.raw_headers = kept + extra
        await self.send_denial_response(response)

    async def send_denial_response(self, response: Response) -> None:
        """Refuse the handshake with a Starlette response, streams included.

        Waits until the whole response was handed to the server. A server without the denial
        extension answers 403. Does nothing when the client has given up. Where `Authenticate` has
        accepted for a first message, and `accept` was not called since, it closes with 1008.

        Raises:
            WebSocketRuntimeError: Accepted, rejected or closed before.
        """
        link = self._link
        ahead = self._scope.pop(ACCEPTED_KEY, False)
        if ahead and link.progress.application is Phase.CONNECTED:
            await link.close(CloseCode.POLICY_VIOLATION)
            return
        if link.progress.application is not Phase.CONNECTING:
            raise refusal(link.progress.application, "reject")
        if DENIAL_EXTENSION not in (self.scope.get("extensions") or {}):
            failed = response.status_code >= 500
            await link.close(CloseCode.INTERNAL_ERROR if failed else CloseCode.POLICY_VIOLATION)
            return

        async def send(message: Message) -> None:
            kind = str(message["type"]).removeprefix("websocket.")
            await link.send({**message, "type": f"websocket.{kind}"})

        async def receive() -> Message:
            await link.wait_over()
            return {"type": "http.disconnect"}

        with contextlib.suppress(WebSocketDisconnect):
            await response(self.scope, receive, send)

    async def __aenter__(self) -> Self:
        """Accept the connection and return it; see `accept` for what is raised."""
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000, after an exception with 1011; the exception goes on.

        `WebSocketException` closes with its own code, `Reject` and `WebSocketExpectError` with
        1008. After the peer left nothing is sent. In an application, a cancellation and an
        exception that has a handler are left to whoever runs this one and knows what to say.
        """
        if exc is None:
            await self.close()
        elif not self._is_answered_later(exc):
            with contextlib.suppress(Exception):
                await self.close(*ending(exc))

    def _is_answered_later(self, exc: BaseException) -> bool:
        if isinstance(exc, asyncio.CancelledError):
            return self._link.progress.supervised
        handled = settings_of(self.scope).exception_handlers.keys() & type(essence(exc)).__mro__
        return self._link.progress.supervised and bool(handled)

    def add_cleanup(self, fn: CleanupCallback) -> None:
        """Register a function to run once when the connection ends, in whatever way.

        Functions run in the order of registration, shielded from cancellation, 10 seconds at most
        together; errors are logged and do not stop the others. After the end it runs at once (an
        asynchronous one as soon as the loop is free).

        Args:
            fn: A function or coroutine function without parameters.

        Raises:
            TypeError: It is not callable.
        """
        self._link.cleanups.add(fn)

    async def is_disconnected(self) -> bool:
        """Whether the connection is over. Takes no message from anybody, does not wait for one.

        Before accept nothing is read. While the client has filled the read-ahead buffer (32
        messages or 256 KiB) the answer is `False` until somebody reads: the end is behind it.
        """
        return await self._link.is_gone()

    async def wait_closed(self) -> None:
        """Wait until the connection is over, whoever ended it; messages stay readable.

        Cancelling it changes nothing; several tasks may wait. Like `is_disconnected` it cannot see
        an end behind a full read-ahead buffer.
        """
        await self._link.wait_over()

    async def abort(self) -> None:
        """Drop the peer without waiting for anything, also for what `send_nowait` left.

        On Telex's server the TCP connection is cut and the peer sees 1006. Elsewhere ASGI has no
        way to do so: the connection is closed with 1001, trying for one second at most.
        """
        await self._link.abort()

    def tasks(self) -> ConnectionTasks:
        """Run several things at once: `async with ws.tasks() as tasks: tasks.start(coro)`.

        Whatever ends first, the body, a task that fails, or the connection, cancels the rest and
        waits for their `finally` blocks. Messages are read inside as usual.

        Raises (when the block is left):
            WebSocketDisconnect: The peer left while the body was not reading, or in a task.
            ExceptionGroup: A task or the body failed with something else.
        """
        return ConnectionTasks(self._link, lambda: self.codec)

    # Raw ASGI

    @property
    def asgi_receive(self) -> Receive:
        """The `receive` this connection was built with.

        Awaiting it goes around the state and the messages read ahead; see `receive`.
        """
        self._link.progress.handed_out = True
        return self._link.asgi[0]

    @property
    def asgi_send(self) -> Send:
        """The `send` this connection was built with. Calling it goes around the state."""
        return self._link.asgi[1]

    async def receive(self) -> Message:
        """Return the next raw ASGI event and keep the state right.

        The first is `websocket.connect`; `websocket.disconnect` is returned, not raised.
        Cancelling it loses no message.

        Raises:
            WebSocketDisconnect: The disconnect was delivered before.
            WebSocketRuntimeError: A message before accept, or after our close and its disconnect.
        """
        return await self._link.receive()

    async def send(self, message: Message) -> None:
        """Send a raw ASGI event as it is, a close with code and reason, and keep the state right.

        Raises:
            ValueError: A close code that may not be sent; nothing was sent.
            WebSocketDisconnect: The peer is gone.
            WebSocketRuntimeError: Not legal now; nothing was sent.
        """
        await self._link.send(message)


def link_of(ws: WebSocket) -> Link:
    """Return the engine under a connection; for Telex itself."""
    return ws._link


def face_of(ws: WebSocket, cls: type[F]) -> F:
    """Return a connection as an object of a class: itself, or another face of the same link."""
    return ws if isinstance(ws, cls) else cls(ws.scope, *ws._link.asgi)


class WebSocketClose:
    """An ASGI application that closes: before accept that rejects the handshake with HTTP 403.

    Args:
        code: The close code, as for `WebSocket.close`.
        reason: The close reason, `None` for none.

    Raises:
        ValueError: A code that may not be sent.
    """

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        self.code = check_code(code)
        self.reason = clip_reason(reason)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the close, unless the connection is over."""
        await WebSocket(scope, receive, send).close(self.code, self.reason)
