"""`App`: everything put together."""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar, Unpack

from starlette.middleware import Middleware

from telex._connections import Connections
from telex._lifespan import LifespanContext, inner_lifespan, serve_lifespan
from telex._limits import LimitOptions, check_grace
from telex._settings import SETTINGS_KEY, ExceptionHandler, Settings, limit_settings
from telex._types import ASGIApp, Receive, Scope, Send
from telex._url import URLPath
from telex.binding import register_injectable
from telex.codecs import JSON, Codec, check_codecs
from telex.datastructures import State
from telex.exceptions import ImproperlyConfigured
from telex.middleware.errors import ErrorMiddleware
from telex.middleware.hooks import HooksMiddleware
from telex.middleware.origin import OriginMiddleware
from telex.middleware.stack import wrap_app
from telex.routing import Mount, Router, Routes, SocketMiddleware, SocketRoute
from telex.websockets import WebSocket

Handler = TypeVar("Handler", bound=Callable[..., Any])


class App:
    """A WebSocket application, with an HTTP application beside it if you like.

    An ASGI 3 application: serve it with any server, mount it in any framework.

    Args:
        routes: Routes to begin with.
        http: The ASGI application that gets HTTP requests, and whose lifespan is run. Without
            one they are answered with 404, or 426 where a WebSocket route is.
        middleware: Starlette `Middleware` entries around everything; the first is the outermost.
        socket_middlewares: Functions `middleware(endpoint) -> endpoint` around every WebSocket
            route; the first is the outermost.
        connection_middleware: Objects with hooks for the handshake, messages and the end of
            every connection, see `telex.middleware.hooks`; the first is the outermost.
        exception_handlers: Functions `handler(ws, exc)` by exception class. Before accept one may
            return a response; otherwise it closes, or the connection is closed with 1011.
        lifespan: `lifespan(app)` returns an asynchronous context manager, entered at start-up and
            left at shutdown. A mapping it yields is added to the state of every connection.
        allowed_origins: Whose pages may connect besides those of the same origin:
            `"https://example.com"`, `"https://*.example.com"`, `"null"`, `"*"` for all. `None`:
            nobody's else where the browser sends cookies. Clients that are no browsers send no
            `Origin` and are let in.
        disconnect_grace: Seconds a handler may go on after its client left without noticing it,
            `None` for ever.
        drain_timeout: Seconds in which connections are closed when the server stops.
        codec: What makes values of messages, `None` for JSON; see `telex.codecs`.
        codecs: The same by subprotocol: `{"json": JSON(), "msgpack": MessagePack()}`. `accept`
            then agrees on the first one that the client offers.
        debug: Show clients what exceptions say. Never in production.
        **limits: `max_message_size`, `max_messages_per_second`, `max_connections`,
            `max_connections_per_client`, `client_key`, `handshake_timeout`, `idle_timeout`,
            `max_age`, `heartbeat` and `outbox`; see `docs/limits.md`.

    Attributes:
        connections: The open connections, see `Connections`.
        websocket_class: For subclasses: what handlers get, a subclass of `WebSocket`.
        router_class: For subclasses: what routes are registered on, a subclass of `Router`.
        state: Yours; a place for what handlers share.
        dependency_overrides: For tests: what is called in place of a dependency, by the function
            that is named in `Depends`. Looked at for each connection.

    Raises:
        TypeError: A `disconnect_grace` or `drain_timeout` that is no number.
        ValueError: One of them is negative, or the `drain_timeout` infinite; or something that is
            no origin.
    """

    websocket_class: ClassVar[type[WebSocket]] = WebSocket
    router_class: ClassVar[type[Router]] = Router
    _lifespan_state: MutableMapping[str, Any] | None = None

    def __init__(
        self,
        routes: Iterable[SocketRoute | Mount | Routes] = (),
        *,
        http: ASGIApp | None = None,
        middleware: Sequence[Middleware] = (),
        socket_middlewares: Sequence[SocketMiddleware] = (),
        connection_middleware: Iterable[object] = (),
        exception_handlers: Mapping[type[Exception], ExceptionHandler] | None = None,
        lifespan: LifespanContext | None = None,
        allowed_origins: Iterable[str] | None = None,
        disconnect_grace: float | None = 5.0,
        drain_timeout: float = 10.0,
        codec: Codec | None = None,
        codecs: Mapping[str, Codec] | None = None,
        debug: bool = False,
        **limits: Unpack[LimitOptions],
    ) -> None:
        check_grace(disconnect_grace)
        check_codecs(codec, codecs)
        self.connections = Connections(drain_timeout)
        self.state = State()
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._handlers: dict[type[BaseException], ExceptionHandler] = {}
        for each in (exception_handlers or {}).items():
            self.add_exception_handler(*each)
        self._settings = Settings(
            debug=debug,
            disconnect_grace=disconnect_grace,
            exception_handlers=self._handlers,
            dependency_overrides=self.dependency_overrides,
            codec=JSON() if codec is None else codec,
            codecs=dict(codecs or {}),
            websocket_class=None if self.websocket_class is WebSocket else self.websocket_class,
            connections=self.connections,
            **limit_settings(limits),
        )
        self._http, self._lifespan = http, lifespan
        self._router = self.router_class(routes, socket_middlewares=socket_middlewares, http=http)
        self._stack = self._stacked(connection_middleware, middleware, allowed_origins)

    def _stacked(
        self,
        connection_middleware: Iterable[object],
        middleware: Iterable[Middleware],
        allowed_origins: Iterable[str] | None,
    ) -> ASGIApp:
        hooks = tuple(connection_middleware)
        inner = HooksMiddleware(self._dispatch, hooks) if hooks else self._dispatch
        stack = wrap_app(inner, middleware, "the application")
        return ErrorMiddleware(OriginMiddleware(stack, allowed_origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope: lifespan, HTTP or WebSocket."""
        scope["app"] = self
        if scope["type"] != "lifespan":
            # A request may turn out to be a stream of events, to which all of them apply.
            scope[SETTINGS_KEY] = self._settings
        self._share_state(scope)
        await self._stack(scope, receive, send)

    def _share_state(self, scope: Scope) -> None:
        """Give each scope its own copy of what the lifespan left (ASGI "Lifespan State")."""
        if scope["type"] == "lifespan":
            self._lifespan_state = scope.setdefault("state", {})
            return
        # Servers give each scope a copy; others know no state, or give the original to all.
        shared = self._lifespan_state
        if shared is not None and scope.get("state", shared) is shared:
            scope["state"] = dict(shared)

    def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # No coroutine of its own, which would be kept as long as the connection.
        if scope["type"] == "lifespan":
            return serve_lifespan(self._lifespan_context(scope), receive, send)
        return self._router(scope, receive, send)

    @asynccontextmanager
    async def _lifespan_context(self, scope: Scope) -> AsyncIterator[None]:
        @asynccontextmanager
        async def own() -> AsyncIterator[None]:
            if self._lifespan is None:
                yield
                return
            async with self._lifespan(self) as state:
                if state:
                    scope["state"].update(state)
                yield

        async with own():
            if self._http is None:
                yield
                return
            async with inner_lifespan(self._http, scope):
                yield

    @property
    def debug(self) -> bool:
        """Whether clients are shown what exceptions say."""
        return self._settings.debug

    @property
    def draining(self) -> bool:
        """Whether the server is stopping: connections are being closed, new ones refused."""
        return self.connections.draining

    @property
    def router(self) -> Router:
        """The router; `app.router <<= route` adds to it."""
        return self._router

    @router.setter
    def router(self, router: Router) -> None:
        if router is not self._router:
            raise AttributeError(
                "app.router cannot be replaced; add to it with `app.router <<= route` or app.mount"
            )

    def websocket(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Register an async function or a `SocketView` class for a path.

        Args:
            path: Like `/rooms/{room}` or `/items/{id:int}`.
            **options: `name`, the route's name (the function's by default, `None` for none),
                `middlewares`, socket middlewares, and `middleware`, ASGI middleware around them;
                of both lists the first is the outermost; `codec` and `codecs` in place of the
                application's.

        Returns:
            A decorator that returns what it was given.

        Raises:
            RoutingError: A bad path, or a name or path that is registered already.
            TypeError: A handler that is not async, or has a parameter that nothing can fill.
        """
        return self._router.websocket(path, **options)

    def websocket_listener(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Register a function to be called for each message of the connections to a path.

        Args:
            path: Like `/orders/{book}`.
            **options: `on_invalid`, `max_invalid`, `concurrency` and `key`, see `Listener`, and
                those of `websocket`.

        Returns:
            A decorator that returns what it was given.

        Raises:
            RoutingError: A bad path, or a name or path that is registered already.
            TypeError: A function of another kind, or a parameter that nothing can fill.
            ValueError: An option that makes no sense.
        """
        return self._router.websocket_listener(path, **options)

    def websocket_stream(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Register an async generator function whose items are sent to the clients of a path.

        A `GET` with `Accept: text/event-stream` gets them as Server-Sent Events.

        Args:
            path: Like `/ticks/{symbol}`.
            **options: Those of `websocket`.

        Returns:
            A decorator that returns what it was given.

        Raises:
            RoutingError: A bad path, or a name or path that is registered already.
            TypeError: No async generator function, or a parameter that nothing can fill.
        """
        return self._router.websocket_stream(path, **options)

    def mount(
        self,
        prefix: str,
        app: ASGIApp,
        name: str | None = None,
        *,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        """Serve another ASGI application under a prefix, HTTP and WebSocket; see `Mount`.

        Raises:
            RoutingError: A bad or taken prefix.
        """
        self._router.mount(prefix, app, name=name, middleware=middleware)

    def exception_handler(self, exc_class: type[Exception]) -> Callable[[Handler], Handler]:
        """Register a function `handler(ws, exc)` for an exception class and its subclasses.

        Returns:
            A decorator that returns what it was given.
        """

        def register(handler: Handler) -> Handler:
            self.add_exception_handler(exc_class, handler)
            return handler

        return register

    def add_exception_handler(self, exc_class: type[Exception], handler: ExceptionHandler) -> None:
        """Register a handler as `exception_handler` does, without the decorator.

        Raises:
            TypeError: No class derived from `Exception`, or not callable.
        """
        if not (isinstance(exc_class, type) and issubclass(exc_class, Exception)):
            raise TypeError(f"expected a class derived from Exception, got {exc_class!r}")
        if not callable(handler):
            raise TypeError(f"an exception handler must be callable, got {handler!r}")
        self._handlers[exc_class] = handler

    def url_path_for(self, name: str, /, **params: Any) -> URLPath:
        """Return the path of the route with that name, without a server's prefix.

        Raises:
            NoMatchFound: No route has that name and takes these parameters.
        """
        return self._router.url_path_for(name, **params)

    def run(self, host: str = "127.0.0.1", port: int = 8000, **options: Any) -> None:
        """Serve the application with uvicorn until it is told to stop.

        Args:
            host: The address to listen on.
            port: The port; 0 takes a free one.
            **options: uvicorn's, by its own names.

        Raises:
            MissingDependency: uvicorn, or a WebSocket library for it, is not installed.
            TypeError: An option uvicorn does not have.
        """
        from telex.server.run import run

        run(self, host=host, port=port, **options)


def _app_of(ws: WebSocket, cls: type[App]) -> App:
    app = ws.get("app")
    if not isinstance(app, cls):
        wanted = cls.__qualname__
        raise ImproperlyConfigured(f"a parameter of {ws.path!r} wants the {wanted}, got {app!r}")
    return app


register_injectable(App, _app_of)
