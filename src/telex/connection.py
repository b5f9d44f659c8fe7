"""What is known about a connection before any message: the scope, made readable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from telex._types import Scope
from telex._url import URL, make_absolute, scope_scheme
from telex.datastructures import Address, Headers, QueryParams, State, parse_cookies
from telex.exceptions import ImproperlyConfigured, NoMatchFound

ROUTER_KEY: Final = "telex.router"
"""Scope key under which the outermost Telex router puts `(itself, its root path)`.

It must have `url_path_for(name, /, **params)`, which returns a `URLPath` below that root path or
raises `NoMatchFound`.
"""

_AUTHENTICATION: Final = "starlette.middleware.authentication.AuthenticationMiddleware"


class Connection(Mapping[str, Any]):
    """A readable view of an ASGI scope. Making one looks at nothing.

    As a mapping it is the scope. Two connections are only equal when they are the same object,
    and every connection is true. URL, headers, query parameters, cookies and state are built at
    their first use and kept until an item of the scope is set or deleted through this object.

    Args:
        scope: An ASGI scope; any mapping will do, and every key may be missing.

    Attributes:
        headers_class: For subclasses: what `headers` is, a subclass of `Headers`.
        query_params_class: For subclasses: what `query_params` is, a subclass of `QueryParams`.
    """

    __slots__ = (
        "__weakref__",
        "_cookies",
        "_headers",
        "_query_params",
        "_scope",
        "_state",
        "_url",
    )

    headers_class: ClassVar[type[Headers]] = Headers
    query_params_class: ClassVar[type[QueryParams]] = QueryParams

    _cookies: dict[str, str]
    _headers: Headers
    _query_params: QueryParams
    _scope: Scope
    _state: State
    _url: URL

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __getitem__(self, key: str) -> Any:
        return self._scope[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._scope[key] = value
        self._forget()

    def __delitem__(self, key: str) -> None:
        del self._scope[key]
        self._forget()

    def __contains__(self, key: object) -> bool:
        return key in self._scope

    def __iter__(self) -> Iterator[str]:
        return iter(self._scope)

    def __len__(self) -> int:
        return len(self._scope)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __repr__(self) -> str:
        client = self.client
        peer = f"{client.host}:{client.port}" if client else "unknown"
        return f"<{type(self).__name__} {self.path!r} from {peer}>"

    def _forget(self) -> None:
        """Drop what was built from the scope as it was."""
        for name in ("_cookies", "_headers", "_query_params", "_state", "_url"):
            if hasattr(self, name):
                delattr(self, name)

    # --- the address that was asked for ---

    @property
    def scope(self) -> Scope:
        """The ASGI scope itself."""
        return self._scope

    @property
    def scheme(self) -> str:
        """`"ws"` or `"wss"`; `"ws"` when the server does not say."""
        return scope_scheme(self._scope)

    @property
    def path(self) -> str:
        """The path, decoded; `"/"` when there is none."""
        return self._scope.get("path") or "/"

    @property
    def url(self) -> URL:
        """The URL that the client connected to; see `URL.from_scope` for where it comes from."""
        try:
            return self._url
        except AttributeError:
            self._url = URL.from_scope(self._scope)
            return self._url

    @property
    def base_url(self) -> URL:
        """The URL of the application's root, with a slash at its end and no query."""
        return make_absolute(self._scope, "/", root_path=self._application_root())

    # --- what the client sent along ---

    @property
    def headers(self) -> Headers:
        """The HTTP headers of the handshake."""
        try:
            return self._headers
        except AttributeError:
            self._headers = self.headers_class(self._scope.get("headers"))
            return self._headers

    @property
    def query_params(self) -> QueryParams:
        """The parameters in the query string."""
        try:
            return self._query_params
        except AttributeError:
            self._query_params = self.query_params_class(self._scope.get("query_string") or b"")
            return self._query_params

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name."""
        try:
            return self._cookies
        except AttributeError:
            self._cookies = parse_cookies(self.headers.getlist("cookie"))
            return self._cookies

    @property
    def path_params(self) -> dict[str, Any]:
        """The parameters that the route took from the path; `{}` when there are none."""
        params: dict[str, Any] | None = self._scope.get("path_params")
        return {} if params is None else params

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols that the client offers, the one it likes best first."""
        return tuple(self._scope.get("subprotocols") or ())

    @property
    def client(self) -> Address | None:
        """The client's address, `None` when the server does not know it."""
        return Address.from_asgi(self._scope.get("client"))

    @property
    def server(self) -> Address | None:
        """The server's address, `None` when unknown. A Unix socket has no port."""
        return Address.from_asgi(self._scope.get("server"))

    # --- what servers, applications and middleware put into the scope ---

    @property
    def state(self) -> State:
        """Whatever the application remembers for this connection: a view of `scope["state"]`.

        Servers put a shallow copy of what the lifespan left there into each scope (ASGI
        "Lifespan State").
        """
        try:
            return self._state
        except AttributeError:
            entries = self._scope.get("state")
            if entries is None:
                entries = self._scope["state"] = {}
            self._state = State(entries)
            return self._state

    @property
    def app(self) -> Any:
        """The application that took this connection.

        Raises:
            ImproperlyConfigured: No application put itself into the scope.
        """
        return self._installed("app", "an application, such as telex.App")

    @property
    def auth(self) -> Any:
        """What the client may do, from an authentication middleware.

        Raises:
            ImproperlyConfigured: There is no such middleware.
        """
        return self._installed("auth", _AUTHENTICATION)

    @property
    def user(self) -> Any:
        """Who the client is, from an authentication middleware.

        Raises:
            ImproperlyConfigured: There is no such middleware.
        """
        return self._installed("user", _AUTHENTICATION)

    @property
    def session(self) -> Any:
        """The session, from a session middleware; changes are visible in the scope.

        Raises:
            ImproperlyConfigured: There is no such middleware.
        """
        return self._installed("session", "starlette.middleware.sessions.SessionMiddleware")

    def _installed(self, key: str, needed: str) -> Any:
        try:
            return self._scope[key]
        except KeyError:
            raise ImproperlyConfigured(
                f"this connection has no {key!r}: it is put into the scope by {needed}"
            ) from None

    # --- the way back from a name to a URL ---

    def url_for(self, name: str, /, **params: Any) -> URL:
        """Return the absolute URL of a route, on the host that this connection came to.

        The scheme is `ws` or `wss` for a WebSocket route, `http` or `https` for an HTTP route,
        encrypted when this connection is. A surrounding Starlette application is asked as well.

        Args:
            name: The route's name.
            **params: The parameters in its path.

        Raises:
            NoMatchFound: No route has that name and these parameters.
            ImproperlyConfigured: There is no router in the scope.
        """
        ours = self._scope.get(ROUTER_KEY)
        if ours is None and "router" not in self._scope:
            raise ImproperlyConfigured(
                "the scope has no router: URLs of routes are known below a telex.App, a "
                "telex.Router or a Starlette application only"
            )
        if ours is not None:
            router, root_path = ours
            try:
                path = router.url_path_for(name, **params)
            except NoMatchFound:
                if "router" not in self._scope:
                    raise
            else:
                return make_absolute(self._scope, path, protocol=path.protocol, root_path=root_path)
        return self._url_in_starlette(name, params)

    url_path_for = url_for
    path_for = url_for

    def _url_in_starlette(self, name: str, params: dict[str, Any]) -> URL:
        """Ask the Starlette router that the scope says is the outermost one."""
        from starlette.routing import NoMatchFound as StarletteNoMatchFound

        try:
            path = self._scope["router"].url_path_for(name, **params)
        except StarletteNoMatchFound:
            raise NoMatchFound(name, params) from None
        # Starlette's mounts lengthen `root_path` and keep the first one in `app_root_path`.
        root_path = self._scope.get("app_root_path", self._scope.get("root_path", ""))
        return make_absolute(
            self._scope,
            path,
            # A mount speaks either, and says so with "".
            protocol=getattr(path, "protocol", None) or None,
            root_path=root_path,
            host=getattr(path, "host", ""),
        )

    def _application_root(self) -> str:
        ours = self._scope.get(ROUTER_KEY)
        if ours is not None:
            root_path: str = ours[1]
            return root_path
        return self._scope.get("app_root_path", self._scope.get("root_path")) or ""
