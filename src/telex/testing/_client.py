"""`AsyncTestClient`: a client for any ASGI application, on the event loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from traceback import format_exception
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from telex._lifespan import inner_lifespan
from telex._types import ASGIApp
from telex.datastructures import encode_headers
from telex.exceptions import HeadersInput, WebSocketRuntimeError
from telex.testing._client_end import ClientEnd, Options, check_loop
from telex.testing._errors import DeadlinePassed
from telex.testing._handshake import handshake_scope, parse_base
from telex.testing._http import cookies_for, http_client
from telex.testing._owner import watching_tasks
from telex.testing._run import Run
from telex.testing._session import AsyncTestSession
from telex.testing._wire import ABORT_EXTENSION, Wire

if TYPE_CHECKING:
    import httpx2


class AsyncTestClient:
    """A client for tests that run on an event loop, and share it with the application.

    Fixtures, locks, database connections and broadcasts are the same objects on both sides, and
    nothing runs in another thread. Entering it runs the lifespan of the application, leaving it
    ends it. For asyncio.

    Args:
        app: Any ASGI application: Telex, Starlette, FastAPI, Litestar, a plain callable.
        base_url: What paths are relative to, with scheme, host and perhaps a port and a path.
        timeout: Seconds that any single wait may take before the test fails; `None` for ever,
            which is for a debugger. An application that blocks the loop cannot be timed.
        headers: Headers of every handshake and request.
        cookies: Cookies of every handshake and request.
        raise_app_exceptions: Whether an exception that the application does not handle is raised
            in the test. Otherwise the test sees what a client sees: 500, or a close.
        check_tasks: Whether tasks that a handler has started and left behind fail the test. For
            applications that start something for good with their first connection: `False`.
        lifespan: Whether the lifespan is run.

    Raises:
        ValueError: A base URL that is none, or a header that cannot be sent.
    """

    __test__ = False

    def __init__(
        self,
        app: ASGIApp,
        *,
        base_url: str = "ws://testserver",
        timeout: float | None = 5.0,
        headers: HeadersInput | None = None,
        cookies: Mapping[str, str] | None = None,
        raise_app_exceptions: bool = True,
        check_tasks: bool = True,
        lifespan: bool = True,
    ) -> None:
        self.app = app
        self._base = parse_base(base_url)
        self._options = Options(
            timeout=timeout, raise_app_exceptions=raise_app_exceptions, check_tasks=check_tasks
        )
        self._headers = encode_headers(headers)
        self._cookies = dict(cookies or {})
        self._lifespan = lifespan
        self._state: dict[str, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stack = AsyncExitStack()
        self._http: httpx2.AsyncClient | None = None

    @property
    def state(self) -> dict[str, Any]:
        """What the lifespan of the application left for its connections; each gets a copy."""
        return self._state

    @property
    def http(self) -> httpx2.AsyncClient:
        """A client for plain HTTP requests to the same application; cookies it is given count.

        It is httpx2's, or httpx's where only that is installed. A request that takes longer than
        the timeout fails.

        Raises:
            MissingDependency: Neither is installed.
            WebSocketRuntimeError: The client was not entered.
        """
        self._check_loop()
        if self._http is None:
            self._http = http_client(
                self.app, self._base, self._options, self._state, self._headers, self._cookies
            )
            self._stack.push_async_callback(self._http.aclose)
        return self._http

    async def __aenter__(self) -> Self:
        """Run the application's start-up.

        Raises:
            Exception: What it raised.
            RuntimeError: It reported a failure and raised nothing.
            DeadlinePassed: It took too long.
        """
        if self._loop is not None:
            raise WebSocketRuntimeError("the client is entered already")
        self._loop = asyncio.get_running_loop()
        self._stack.enter_context(watching_tasks())
        try:
            if self._lifespan:
                scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self._state}
                run = inner_lifespan(self.app, scope, name="the application", strict=True)
                await self._within_deadline(self._stack.enter_async_context(run), "start-up")
        except BaseException:
            self._loop = None
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Run the application's shutdown; raises as `__aenter__` does.

        When the block has failed already, this is added to its exception as a note.
        """
        self._loop = self._http = None
        try:
            await self._within_deadline(self._stack.aclose(), "shutdown")
        except Exception as failure:
            if exc is None:
                raise
            report = "".join(format_exception(failure)).rstrip()
            exc.add_note(f"The shutdown of the application failed too:\n{report}")

    @asynccontextmanager
    async def websocket(
        self,
        url: str,
        *,
        subprotocols: Iterable[str] = (),
        headers: HeadersInput | None = None,
        cookies: Mapping[str, str] | None = None,
        timeout: float | EllipsisType | None = ...,
        raise_app_exceptions: bool | None = None,
        check_tasks: bool | None = None,
        scope: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[AsyncTestSession]:
        """Connect for the length of a block: `async with client.websocket("/chat") as ws:`.

        Entering waits until the application has accepted. Leaving closes with 1000 unless the
        connection is over, and waits until the handler has ended. When the block fails, what else
        went wrong is added to its exception as a note.

        Args:
            url: A path with an optional query, or an absolute URL.
            subprotocols: The subprotocols to offer, the preferred one first.
            headers: Further request headers; they replace those of the client.
            cookies: Further cookies.
            timeout: As for the client, whose value counts unless given.
            raise_app_exceptions: As for the client, whose value counts when this is `None`.
            check_tasks: The same.
            scope: Keys to set in the ASGI scope. `{"extensions": {}}` is a server that cannot
                send denial responses.

        Raises:
            ConnectionRejected: The application refused, or returned without an answer.
            WebSocketDisconnect: It has broken the connection, through `telex.abort`.
            HandlersSurvived: The handler, or a task of it, goes on after the end.
            DeadlinePassed: The application neither accepted nor rejected in time.
            Exception: What the application raised.
            ValueError: A URL, header or subprotocol that cannot be sent.
            WebSocketRuntimeError: The client was not entered, or in another event loop.
        """
        self._check_loop()
        own = encode_headers(headers)
        replaced = {name for name, _ in own}
        sent = [pair for pair in self._headers if pair[0] not in replaced] + own
        made = handshake_scope(
            url,
            self._base,
            subprotocols=subprotocols,
            headers=sent,
            cookies=self._jar(url) | dict(cookies or {}),
            extra={"state": dict(self._state), **(scope or {})},
        )
        given = {"raise_app_exceptions": raise_app_exceptions, "check_tasks": check_tasks}
        options = replace(self._options, **{k: v for k, v in given.items() if v is not None})
        if timeout is not ...:
            options = replace(options, timeout=timeout)
        async with _connected(self.app, made, options) as session:
            yield session

    def _jar(self, url: str) -> dict[str, str]:
        if self._http is None:
            return self._cookies
        return cookies_for(self._http, self._base, url)

    def _check_loop(self) -> None:
        if self._loop is None:
            raise WebSocketRuntimeError(
                "enter the client first: async with AsyncTestClient(app) as client"
            )
        check_loop(self._loop)

    async def _within_deadline(self, step: Any, name: str) -> None:
        reported: BaseException | None = None
        try:
            async with asyncio.timeout(self._options.timeout) as limit:
                await step
        except TimeoutError as exc:
            if not limit.expired():
                raise
            seconds = self._options.timeout
            raise DeadlinePassed(f"the {name} of the application took over {seconds:g} s") from exc
        except RuntimeError as exc:
            # What the application raised says more than what it reported.
            reported = exc.__cause__ or exc
        if reported is not None:
            # Out here, where nothing is added to it and its own cause is kept.
            raise reported


@asynccontextmanager
async def _connected(
    app: ASGIApp, scope: dict[str, Any], options: Options
) -> AsyncIterator[AsyncTestSession]:
    wire = Wire(scope)
    scope["extensions"] = {**(scope["extensions"] or {}), ABORT_EXTENSION: wire.drop}
    end = ClientEnd(wire, Run(app, scope, wire), options)
    await end.shake_hands()
    try:
        yield AsyncTestSession(scope, end)
    except BaseException as exc:
        await end.abandon(exc)
        raise
    await end.finish()
