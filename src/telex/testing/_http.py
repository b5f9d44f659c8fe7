"""Plain HTTP requests to the application under test, and the cookies they bring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from telex._types import ASGIApp, Receive, Scope, Send
from telex.exceptions import MissingDependency
from telex.testing._client_end import Options
from telex.testing._errors import DeadlinePassed
from telex.testing._handshake import CLIENT, Base
from telex.testing._parked import describe

if TYPE_CHECKING:
    import httpx2

    Handle = Callable[[httpx2.Request], Coroutine[Any, Any, httpx2.Response]]

_SPARE: Final = 1.0
"""Seconds a request that was cancelled gets to come to its end."""


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
        app=_with_state(app, state),
        raise_app_exceptions=options.raise_app_exceptions,
        client=CLIENT,
    )
    # Around the transport: it answers 500 for exceptions inside, and a deadline is none of those.
    transport.handle_async_request = _timed(transport.handle_async_request, options.timeout)
    client: httpx2.AsyncClient = library.AsyncClient(
        transport=transport, base_url=base.http_url, headers=headers, cookies=dict(cookies)
    )
    return client


def cookies_for(client: httpx2.AsyncClient, base: Base, url: str) -> dict[str, str]:
    """Return the cookies that a client would send with a request for a URL, quoted as it would."""
    if "://" in url.partition("?")[0]:
        scheme, _, rest = url.partition("://")
        asked = f"{scheme.lower().replace('ws', 'http')}://{rest}"
    else:
        asked = f"{base.http_url}/{url.lstrip('/')}"
    sent = client.build_request("GET", asked).headers.get("cookie", "")
    crumbs = [crumb.partition("=") for crumb in sent.split("; ") if crumb]
    return {name: value for name, _, value in crumbs}


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


def _with_state(app: ASGIApp, state: Mapping[str, Any]) -> ASGIApp:
    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(state)
        await app(scope, receive, send)

    return with_state


def _timed(handle: Handle, timeout: float | None) -> Handle:
    async def timed(request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        task = asyncio.create_task(handle(request), name=f"the application at {path!r}")
        try:
            # Not `asyncio.timeout`: an application may swallow its cancellation.
            await asyncio.wait([task], timeout=timeout)
            if task.done():
                return task.result()
            late = f"{request.method} {path} was not answered within {timeout:g} s"
            raise DeadlinePassed(f"{late}\n{describe(task)}")
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=_SPARE)

    return timed
