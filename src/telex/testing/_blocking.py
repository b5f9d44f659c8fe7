"""`TestClient`: the verbs of `AsyncTestClient` for tests without an event loop.

with TestClient(app) as client, client.websocket("/chat") as ws:
    ws.send_text("hello")
    assert ws.receive_text() == "you said hello"

Nothing is decided here: every call is made in the event loop of a thread, and awaited there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from telex._types import ASGIApp, CloseRecord, Message, Scope
from telex.datastructures import Headers
from telex.exceptions import HeadersInput, WebSocketRuntimeError
from telex.testing._client import AsyncTestClient
from telex.testing._session import DEFAULT_BUFFER, AsyncTestSession, Mode

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")


class TestClient:
    """A client for tests without an event loop: `AsyncTestClient`, called from outside its loop.

    Entering it starts a thread with an event loop and runs the lifespan of the application there,
    leaving it ends both. The application goes on while the test does something else. Several
    threads may call any method; a call blocks its thread until it is done.

    The arguments, deadlines and exceptions are those of `AsyncTestClient`.
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
        self._client = AsyncTestClient(
            app,
            base_url=base_url,
            timeout=timeout,
            headers=headers,
            cookies=cookies,
            raise_app_exceptions=raise_app_exceptions,
            check_tasks=check_tasks,
            lifespan=lifespan,
        )
        self._portal: BlockingPortal | None = None
        self._stack = ExitStack()

    @property
    def state(self) -> dict[str, Any]:
        """What the lifespan of the application left for its connections; each gets a copy."""
        return self._client.state

    @property
    def http(self) -> HttpRequests:
        """Plain HTTP requests to the same application, in the same event loop.

        Raises:
            WebSocketRuntimeError: The client was not entered.
        """
        return HttpRequests(self._client, self._entered())

    def __enter__(self) -> Self:
        """Start the thread and run the application's start-up; raises what `async with` does."""
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio", name="telex TestClient"))
            stack.enter_context(portal.wrap_async_context_manager(self._client))
            self._portal = portal
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Run the application's shutdown and end the thread; raises what `async with` does."""
        self._portal = None
        self._stack.__exit__(kind, exc, traceback)

    @contextmanager
    def websocket(
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
    ) -> Iterator[TestSession]:
        """Connect for the length of a block: `with client.websocket("/chat") as ws:`.

        The arguments and exceptions are those of `AsyncTestClient.websocket`.
        """
        portal = self._entered()
        connecting = self._client.websocket(
            url,
            subprotocols=subprotocols,
            headers=headers,
            cookies=cookies,
            timeout=timeout,
            raise_app_exceptions=raise_app_exceptions,
            check_tasks=check_tasks,
            scope=scope,
        )
        with portal.wrap_async_context_manager(connecting) as session:
            yield TestSession(session, portal)

    def _entered(self) -> BlockingPortal:
        if self._portal is None:
            raise WebSocketRuntimeError("enter the client first: with TestClient(app) as client")
        return self._portal


class TestSession:
    """The client's end of one accepted connection; made by `TestClient.websocket`.

    Every method does what the method of that name of `AsyncTestSession` does, with the same
    arguments, results and exceptions, and blocks the calling thread instead of being awaited.
    The application goes on meanwhile, so what a property says may be over a moment later.
    """

    __test__ = False

    def __init__(self, session: AsyncTestSession, portal: BlockingPortal) -> None:
        self._session = session
        self._call = portal.call

    @property
    def scope(self) -> Scope:
        """The ASGI scope that the application was called with."""
        return self._session.scope

    @property
    def accepted_subprotocol(self) -> str | None:
        """The subprotocol that the application has chosen, `None` for none."""
        return self._session.accepted_subprotocol

    @property
    def response_headers(self) -> Headers:
        """The headers that the application has added to its acceptance."""
        return self._session.response_headers

    @property
    def closed(self) -> CloseRecord | None:
        """How the connection ended, read or not; `None` while it is open."""
        return self._session.closed

    def send_text(self, data: str) -> None:
        """Send a text message."""
        self._call(self._session.send_text, data)

    def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send a binary message."""
        self._call(self._session.send_bytes, data)

    def send_json(self, value: Any, mode: Mode = "text") -> None:
        """Send a value as JSON, in a message of kind `mode`."""
        self._call(self._session.send_json, value, mode)

    def send_value(self, value: object) -> None:
        """Send a value: `str` as text, `bytes` as binary, everything else as JSON text."""
        self._call(self._session.send_value, value)

    def send(self, message: Message) -> None:
        """Let a raw ASGI event reach the application, `websocket.receive` or `.disconnect`."""
        self._call(self._session.send, message)

    def receive_text(self) -> str:
        """Wait for a text message and return it."""
        return self._call(self._session.receive_text)

    def receive_bytes(self) -> bytes:
        """Wait for a binary message and return it."""
        return self._call(self._session.receive_bytes)

    def receive_json(self, mode: Mode = "text") -> Any:
        """Wait for a message of kind `mode` and return its JSON value."""
        return self._call(self._session.receive_json, mode)

    def receive_as(self, tp: type[T]) -> T:
        """Wait for a message of either kind and return it as a value of a type."""
        return self._call(self._session.receive_as, tp)

    def receive(self) -> Message:
        """Wait for the next raw ASGI message of the application, its close included."""
        return self._call(self._session.receive)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str | bytes:
        try:
            return self._call(self._session.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self, code: int | None = 1000, reason: str | None = None) -> None:
        """Close the connection; does nothing when it is over."""
        self._call(self._session.close, code, reason)

    def abort(self) -> None:
        """Drop the connection without a close frame, as a broken network does."""
        self._call(self._session.abort)

    def pause_reading(self, *, buffer: int = DEFAULT_BUFFER) -> None:
        """Stop reading, as a slow client does; `buffer` is in bytes."""
        self._call(partial(self._session.pause_reading, buffer=buffer))

    def resume_reading(self) -> None:
        """Read again; sends that waited go on."""
        self._call(self._session.resume_reading)

    def expect_close(self, code: int | None = None) -> CloseRecord:
        """Wait for the application's close, with this code unless it is `None`, and return it."""
        return self._call(self._session.expect_close, code)

    def expect_nothing(self, seconds: float) -> None:
        """Make sure that no message and no close comes for some seconds."""
        self._call(self._session.expect_nothing, seconds)

    def expect_blocked(self) -> None:
        """Wait until a send of the application waits because this client does not read."""
        self._call(self._session.expect_blocked)


class HttpRequests:
    """HTTP requests to the application of a `TestClient`, which owns their cookies.

    Each method blocks until the response is complete; the keyword arguments are those of the
    `httpx2.AsyncClient` that `AsyncTestClient.http` is. For streams and the rest of what it can
    do, write an asynchronous test.
    """

    def __init__(self, client: AsyncTestClient, portal: BlockingPortal) -> None:
        self._client = client
        self._portal = portal

    def request(self, method: str, url: str, **options: Any) -> httpx2.Response:
        """Send a request and return its response.

        Args:
            method: The HTTP method.
            url: A path, or an absolute URL.
            **options: `json`, `data`, `params`, `headers`, `follow_redirects` and so on.

        Raises:
            MissingDependency: Neither httpx2 nor httpx is installed.
            DeadlinePassed: The application did not answer in time.
            Exception: What the application raised.
        """

        async def send() -> httpx2.Response:
            return await self._client.http.request(method, url, **options)

        return self._portal.call(send)

    def get(self, url: str, **options: Any) -> httpx2.Response:
        """Send a GET request; otherwise as `request`."""
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx2.Response:
        """Send a POST request; otherwise as `request`."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> httpx2.Response:
        """Send a PUT request; otherwise as `request`."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Any) -> httpx2.Response:
        """Send a PATCH request; otherwise as `request`."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Any) -> httpx2.Response:
        """Send a DELETE request; otherwise as `request`."""
        return self.request("DELETE", url, **options)


class EitherClient:
    """What `with` makes a `TestClient` and `async with` an `AsyncTestClient`; for fixtures.

    Args:
        app: Any ASGI application.
        **options: What both clients take.
    """

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        self._blocking = TestClient(app, **options)
        self._async = AsyncTestClient(app, **options)

    def __enter__(self) -> TestClient:
        return self._blocking.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._blocking.__exit__(kind, exc, traceback)

    async def __aenter__(self) -> AsyncTestClient:
        return await self._async.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._async.__aexit__(kind, exc, traceback)
