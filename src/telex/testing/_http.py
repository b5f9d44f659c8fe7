"""Plain HTTP requests to the application under test, and the cookies they bring."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from telex._types import ASGIApp, Receive, Scope, Send
from telex.exceptions import MissingDependency
from telex.testing._client_end import Options
from telex.testing._errors import DeadlinePassed
from telex.testing._handshake import CLIENT, Base

if TYPE_CHECKING:
    import httpx2


def http_client(
    app: ASGIApp,
    base: Base,
    options: Options,
    state: Mapping[str, Any],
    headers: list[tuple[bytes, bytes]],
    cookies: Mapping[str, str],
) -> httpx2.AsyncClient:
    """Return an HTTP client for an application, with the state of its lifespan and a deadline.

    Raises:
        MissingDependency: Neither httpx2 nor httpx is installed.
    """
    library = _library()
    transport = library.ASGITransport(
        app=_timed(app, options.timeout, state),
        raise_app_exceptions=options.raise_app_exceptions,
        client=CLIENT,
    )
    client: httpx2.AsyncClient = library.AsyncClient(
        transport=transport, base_url=base.http_url, headers=headers, cookies=dict(cookies)
    )
    return client


def cookies_for(client: httpx2.AsyncClient, base: Base, url: str) -> str:
    """Return the `Cookie` header that a client would send with a request for a URL."""
    where = url if "://" in url else f"{base.http_url}/{url.lstrip('/')}"
    asked = where.replace("ws", "http", 1) if where.startswith("ws") else where
    return client.build_request("GET", urljoin(base.http_url, asked)).headers.get("cookie", "")


def _library() -> ModuleType:
    """Return httpx2, or httpx, from which it comes: what is used here is the same."""
    try:
        import httpx2
    except ImportError:
        pass
    else:
        return httpx2
    try:
        import httpx
    except ImportError as error:
        raise MissingDependency("httpx2", "testing", "client.http") from error
    return httpx


def _timed(app: ASGIApp, timeout: float | None, state: Mapping[str, Any]) -> ASGIApp:
    async def timed(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(state)
        try:
            async with asyncio.timeout(timeout) as limit:
                await app(scope, receive, send)
        except TimeoutError as exc:
            if not limit.expired():
                raise
            request = f"{scope['method']} {scope['path']}"
            raise DeadlinePassed(f"{request} was not answered within {timeout:g} s") from exc

    return timed
