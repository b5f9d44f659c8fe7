"""Every error Telex raises.

    WebSocketError(Exception)
    ├─ WebSocketHandshakeError                  the connection is not open (any more)
    │  ├─ WebSocketDisconnect                   the peer ended it; has .code and .reason
    │  └─ WebSocketRuntimeError(RuntimeError)   our own call came in the wrong state
    │     └─ WebSocketModeError(ValueError)     mode is neither "text" nor "binary"
    ├─ WebSocketFrameError(TypeError)           text where binary was asked for, or the reverse
    ├─ WebSocketExpectError(AssertionError, TypeError, ValueError)
    │                                           the peer's value is not what was asked for
    ├─ WebSocketException                       raise it to close with a code and a reason
    ├─ BindingError                             the request does not give the handler's parameters
    └─ Reject                                   raise it before accept to answer with a response
    RoutingError(ValueError)                    a route that cannot be registered
    NoMatchFound(LookupError)                   no route of that name and these parameters
    ImproperlyConfigured(RuntimeError, ValueError)
                                                something the application forgot to install
    MissingDependency(ImportError)              an optional package; names the pip command

`except WebSocketHandshakeError` catches every "not open", `except WebSocketDisconnect` the peer
leaving, whether that was found while receiving or while sending. `except RuntimeError` never
swallows a disconnect: the two branches are kept apart on purpose. (Not in two dialects of
`telex.compat`, where a call after the end was told is both.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

HeadersInput = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
"""What is accepted wherever response headers are given: a mapping, or pairs to repeat a name."""


class WebSocketError(Exception):
    """Base of everything that concerns one connection."""


class WebSocketHandshakeError(WebSocketError):
    """The connection is not open: not yet, or not any more."""


class WebSocketDisconnect(WebSocketHandshakeError):
    """The peer ended the connection.

    Attributes:
        code: The close code as a plain `int` (RFC 6455 §7.4). 1006 when there was no close
            frame, 1000 when the server did not say.
        reason: The close reason, `""` when none was given.
    """

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        self.code = int(code)
        self.reason = reason or ""
        super().__init__(self.code, self.reason)

    def __str__(self) -> str:
        tail = f": {self.reason}" if self.reason else ""
        return f"the peer closed the connection with code {self.code}{tail}"


class WebSocketRuntimeError(WebSocketHandshakeError, RuntimeError):
    """The call does not fit the state the connection is in; nothing was read or sent."""


class WebSocketModeError(WebSocketRuntimeError, ValueError):
    """`mode` is neither `"text"` nor `"binary"`; nothing was read or sent."""

    def __init__(self, mode: object) -> None:
        self.mode = mode
        super().__init__(mode)

    def __str__(self) -> str:
        return f"mode must be 'text' or 'binary', not {self.mode!r}"


class WebSocketFrameError(WebSocketError, TypeError):
    """A message of the other kind came: binary instead of text, or text instead of binary.

    The message is consumed, the connection stays open.
    """


class WebSocketExpectError(WebSocketError, AssertionError, TypeError, ValueError):
    """The peer's value is not what was asked for. The message is consumed, the connection open.

    Attributes:
        errors: For each thing that is wrong its `path` (`"$.items[0].price"`, `"$"` for the whole
            message) and `message`.
        malformed: Whether it cannot be read at all, rather than being something else.
    """

    def __init__(
        self,
        message: str,
        errors: Iterable[Mapping[str, str]] | None = None,
        *,
        malformed: bool = False,
    ) -> None:
        given = [{"path": "$", "message": message}] if errors is None else errors
        self.errors = [dict(error) for error in given]
        self.malformed = malformed
        super().__init__(message)

    @classmethod
    def of(
        cls, expected: str, errors: Iterable[Mapping[str, str]], *, malformed: bool = False
    ) -> WebSocketExpectError:
        """Return the error for a value that should have been another, with a text of it all."""
        listed = [dict(error) for error in errors]
        text = "; ".join(f"{each['path']}: {each['message']}" for each in listed)
        return cls(f"expected {expected}: {text}", listed, malformed=malformed)


class WebSocketException(WebSocketError):
    """Raise it in a handler to end the connection with a close code and a reason.

    Before accept the handshake is rejected instead (HTTP 403, which hides code and reason).

    Attributes:
        code: The close code to send.
        reason: The reason to send, `""` for none.
    """

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        self.code = int(code)
        self.reason = reason or ""
        super().__init__(self.code, self.reason)

    def __str__(self) -> str:
        tail = f": {self.reason}" if self.reason else ""
        return f"close with code {self.code}{tail}"


class BindingError(WebSocketError):
    """The request does not give what the parameters of a handler ask for: HTTP 422.

    Attributes:
        errors: For each parameter `in` (`"query"`, `"path"`, `"header"`, `"cookie"`), `name`,
            `message` and `value`, which is `None` for headers and cookies and where there is none.
    """

    def __init__(self, errors: Iterable[Mapping[str, Any]]) -> None:
        self.errors = [dict(error) for error in errors]
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "; ".join(f"{each['in']} {each['name']}: {each['message']}" for each in self.errors)


class Reject(WebSocketError):
    """Raise it before accept to answer the handshake with an HTTP response.

    Servers without the denial extension can only answer 403. After accept it closes with 1008.

    Attributes:
        status: The HTTP status, 400 to 599.
        body: The response body; `str` is sent as UTF-8 text.
        headers: Further response headers, or `None`.
    """

    def __init__(
        self, status: int = 403, body: str | bytes = b"", headers: HeadersInput | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        super().__init__(status, body, headers)

    def __str__(self) -> str:
        return f"reject the handshake with HTTP {self.status}"


class RoutingError(ValueError):
    """A path, name or endpoint that cannot be registered."""


class NoMatchFound(LookupError):
    """No route has that name and takes these parameters.

    Attributes:
        name: The route name that was looked up.
        params: The parameters that were given.
    """

    def __init__(self, name: str, params: Mapping[str, Any]) -> None:
        self.name = name
        self.params = dict(params)
        super().__init__(name, self.params)

    def __str__(self) -> str:
        given = ", ".join(sorted(self.params)) or "none"
        return f"no route is named {self.name!r} and takes these parameters: {given}"


class ImproperlyConfigured(RuntimeError, ValueError):
    """Something the application has to install or set is missing; the text says what."""


class MissingDependency(ImportError):
    """An optional package is not installed.

    Attributes:
        package: The package that is missing.
        extra: The extra of Telex that installs it.
        purpose: What needs it.
        also: Another command that helps, or `None`.
    """

    def __init__(self, package: str, extra: str, purpose: str, also: str | None = None) -> None:
        self.package = package
        self.extra = extra
        self.purpose = purpose
        self.also = also
        super().__init__(package, extra, purpose, also)

    def __str__(self) -> str:
        tail = f" (or: {self.also})" if self.also else ""
        return (
            f"{self.purpose} needs {self.package}, which is not installed: "
            f"pip install 'telex[{self.extra}]'{tail}"
        )
