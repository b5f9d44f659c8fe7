"""A real server for a test: Telex's uvicorn in a thread, on a free port of 127.0.0.1.

with LiveServer(app) as server:
    page = httpx2.get(server.url.replace(scheme="http"))
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future, wait
from contextlib import closing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from telex._types import ASGIApp, Message, Receive, Scope, Send
from telex._url import URL
from telex.server.run import check_options, chosen_ws, uvicorn_run
from telex.testing._errors import DeadlinePassed, HandlersSurvived
from telex.testing._parked import describe

if TYPE_CHECKING:
    import uvicorn

    from telex.server.run import Server

_OURS: Final = frozenset({"host", "port", "uds", "fd", "reload", "workers"})
"""Options of uvicorn that say where it listens or start other processes."""

_SPARE: Final = 1.0
"""Seconds a thread gets to end after it was told to hurry, and again after it was given up."""

_BLOCKED_FRAMES: Final = 5
"""Calls that are shown of a thread; the innermost are often those of `threading` or `time`."""

_GRACEFUL: Final = 1 / 2
"""The part of the time to stop after which handlers are cancelled."""

_CLEANUP: Final = 1 / 5
"""The part that they have for their end then; and half of it when they are cancelled once more."""


class LiveServer:
    """An ASGI application on a real uvicorn, in a thread of its own with its own event loop.

    A context manager. Entering waits until the application has started and the server takes
    connections. Leaving stops it as `telex run` stops (`telex.server.Server`): `app.draining` is
    true, connections are closed with 1012, handlers are waited for, and cancelled when they go on
    after half of `stop_timeout`; after their clean-ups the lifespan ends, then the thread. Both
    block the calling thread for a moment, its event loop too if it has one: a client on that loop
    cannot answer meanwhile. One server may be entered again after it was left, on another port.
    Several may run at once, each with an application of its own.

    uvicorn logs warnings and errors only, through the loggers of the process (`caplog` has them);
    what a handler raises is logged, not raised here.

    Args:
        app: An ASGI application. It runs in another thread than the test.
        start_timeout: Seconds the application may take to start, `None` for no limit.
        stop_timeout: Seconds the server may take to stop: half of them until handlers are
            cancelled, unless `timeout_graceful_shutdown` or the `drain_timeout` of an `App` is
            less, and a fifth for their clean-ups.
        **uvicorn_options: uvicorn's own options under its own names: `ws`, `lifespan`,
            `log_level`, `ssl_certfile` and so on. `ws="auto"`, the default, is
            `telex.server.WebSocketProtocol` when picows is installed, as in `telex run`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        start_timeout: float | None = 10.0,
        stop_timeout: float = 5.0,
        **uvicorn_options: Any,
    ) -> None:
        if refused := sorted(_OURS & uvicorn_options.keys()):
            raise TypeError(
                f"LiveServer takes no {' and no '.join(refused)}: "
                "it is one thread and listens on a free port of 127.0.0.1"
            )
        self._app = app
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        # Without a log configuration uvicorn leaves the handlers of the process alone.
        self._options = {
            "log_config": None,
            "log_level": "warning",
            "timeout_graceful_shutdown": stop_timeout * _GRACEFUL,
            **uvicorn_options,
        }
        self._thread: _ServerThread | None = None

    @property
    def url(self) -> URL:
        """Where the server is: `ws://127.0.0.1:` and the port, `wss:` with TLS options.

        Raises:
            RuntimeError: It does not run.
        """
        return self._running().url

    def __enter__(self) -> Self:
        """Start the server.

        Raises:
            MissingDependency: uvicorn is not installed, or no WebSocket library that it can use.
            RuntimeError: The server runs already; or the application, or uvicorn, refused to
                start without raising an exception.
            TypeError: uvicorn has no such option.
            DeadlinePassed: The application did not start in time; says where it waits.
            Exception: What the lifespan of the application, or uvicorn, raised.
        """
        if self._thread is not None:
            raise RuntimeError("the server runs already")
        check_options(self._options, uvicorn_run())
        options = {**self._options, "ws": chosen_ws(self._options.get("ws", "auto"))}
        from uvicorn import Config

        config = Config(self._app, workers=1, **options)
        thread = _ServerThread(config, self._stop_timeout)
        thread.start(self._start_timeout)
        self._thread = thread
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server. An exception of the block stays what it is and gets a note.

        Raises:
            HandlersSurvived: A handler goes on although it was cancelled; says where it waits.
                The server has stopped without it.
            DeadlinePassed: The server did not stop in time; says where its tasks wait.
            RuntimeError: The application reported that its shutdown failed.
            Exception: What its lifespan, or the server, raised.
        """
        thread, self._thread = self._running(), None
        try:
            thread.stop()
        except Exception as failure:
            if exc is None:
                raise
            exc.add_note(f"The live server did not stop well either: {failure!r}")

    def _running(self) -> _ServerThread:
        if self._thread is None:
            raise RuntimeError("the server does not run: use `with LiveServer(app) as server:`")
        return self._thread


class _ServerThread:
    """One run of the server."""

    def __init__(self, config: uvicorn.Config, stop_timeout: float) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        self.url = URL(f"{'wss' if config.is_ssl else 'ws'}://127.0.0.1:{port}")
        self._lifespan = _Lifespan()
        self._server = _server(config, self._lifespan, self._starting, self._has_started)
        self._server.cleanup_timeout = stop_timeout * _CLEANUP
        self._stop_timeout = stop_timeout
        self._started: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[Any] | None = None
        # A thread that cannot be stopped must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"telex {self.url}", daemon=True)

    def start(self, timeout: float | None) -> None:
        self._thread.start()
        try:
            wait((self._started,), timeout)
            if not self._started.done():
                raise DeadlinePassed(
                    f"the server did not start within {timeout:g} s\n{self._parked()}"
                )
            self._started.result()
        except BaseException:
            self._give_up()
            raise

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(self._stop_timeout)
        if self._thread.is_alive():
            parked = self._parked()
            self._server.force_exit = True
            self._give_up(_SPARE)
            raise DeadlinePassed(
                f"the server did not stop within {self._stop_timeout:g} s\n{parked}"
            )
        if left := self._server.left_behind:
            raise HandlersSurvived(
                f"{len(left)} task(s) go on although they were cancelled\n{_described(left)}"
            ) from self._ended.exception()
        self._ended.result()

    def _run(self) -> None:
        try:
            with closing(self._socket):
                self._server.run(sockets=[self._socket])
            self._lifespan.check()
        except BaseException as error:
            failure = self._lifespan.cause(error)
            self._ended.set_exception(failure)
            if not self._started.done():
                self._started.set_exception(failure)
        else:
            self._ended.set_result(None)

    def _starting(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()

    def _has_started(self) -> None:
        self._started.set_result(None)

    def _give_up(self, hurry: float = 0.0) -> None:
        """Cancel whatever runs in the thread after some seconds, and give it a moment to end.

        The seconds begin when the event loop is free: one that was blocked has them too.
        """
        loop, main = self._loop, self._main
        if loop is not None and main is not None:
            with suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(lambda: loop.call_later(hurry, main.cancel))
        self._thread.join(hurry + _SPARE)

    def _parked(self) -> str:
        """Say where the tasks of the application wait."""
        if self._loop is None:
            return "uvicorn has not begun"
        tasks = (asyncio.all_tasks(self._loop) | self._server.left_behind) - {self._main}
        blocked = self._blocked() if asyncio.current_task(self._loop) is not None else ""
        waiting = _described(tasks) or "none of its tasks is left, but perhaps a thread of theirs"
        return blocked + waiting

    def _blocked(self) -> str:
        """Say where the thread is: one of the tasks is at work, or waits and lets nobody else."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=_BLOCKED_FRAMES)
        return "the event loop is blocked at\n" + "".join(reversed(stack.format()))


def _described(tasks: Iterable[asyncio.Task[Any]]) -> str:
    return "\n".join(sorted(map(describe, tasks)))


class _Lifespan:
    """What the application's lifespan did; uvicorn only logs it."""

    def __init__(self) -> None:
        self._completed = False
        self._reported: str | None = None
        self._failure: BaseException | None = None

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Return the application with its lifespan watched."""

        def watched(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            if scope["type"] == "lifespan":
                return self._run(app, scope, receive, send)
            return app(scope, receive, send)

        return watched

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting_send(message: Message) -> None:
            phase, _, outcome = message["type"].removeprefix("lifespan.").partition(".")
            if outcome == "failed":
                self._reported = f"the {phase} of the application failed: " + message.get(
                    "message", ""
                )
            else:
                self._completed = True
            await send(message)

        try:
            await app(scope, receive, noting_send)
        except asyncio.CancelledError:
            raise
        except BaseException as failure:
            self._failure = failure
            raise

    def check(self) -> None:
        """Raise what the lifespan raised, unless it only does not know what a lifespan is."""
        if self._reported is not None or (self._completed and self._failure is not None):
            raise self._failure or RuntimeError(self._reported)

    def cause(self, error: BaseException) -> BaseException:
        """Return why the server has ended; uvicorn itself only exits the process."""
        if not isinstance(error, SystemExit):
            return error
        if self._failure is not None:
            return self._failure
        failure = RuntimeError(self._reported or "uvicorn could not start; it logged why")
        failure.__cause__ = error.__context__
        return failure


def _server(
    config: uvicorn.Config,
    lifespan: _Lifespan,
    starting: Callable[[], None],
    started: Callable[[], None],
) -> Server:
    """Return a server that says when it starts and when it has started."""
    from telex.server.run import Server

    class LifespanWatchingServer(Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            starting()
            config.loaded_app = lifespan.watch(config.loaded_app)
            await super().startup(sockets)
            started()

    return LifespanWatchingServer(config)
