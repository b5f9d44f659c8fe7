"""Starting uvicorn, with every mistake found before a port is opened."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from telex._types import ASGIApp
from telex.exceptions import MissingDependency

if TYPE_CHECKING:
    from telex.server._serving import Server as Server

OUR_PROTOCOL: Final = "telex.server:WebSocketProtocol"
"""What uvicorn takes as `ws` for the protocol of this package."""

STOP_TIMEOUT: Final = 25
"""Seconds to stop in, where nothing else is said; Kubernetes kills after 30."""

_OUR_LIBRARIES: Final = ("picows", "websockets")
"""What it needs."""

_WS_LIBRARIES: Final = {
    "auto": ("websockets", "wsproto"),
    "websockets": ("websockets",),
    "websockets-sansio": ("websockets",),
    "wsproto": ("wsproto",),
}
"""uvicorn's names for its WebSocket protocols, and the libraries of which each needs one."""


def __getattr__(name: str) -> Any:
    # Late: uvicorn may be missing. Here, because this file is the package's door for others.
    if name == "Server":
        from telex.server._serving import Server

        return Server
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def run(app: ASGIApp | str, *, host: str = "127.0.0.1", port: int = 8000, **options: Any) -> None:
    """Serve an application with uvicorn until SIGINT or SIGTERM.

    Then Telex applications close their connections with 1012 and wait for their handlers, in each
    worker process, see `telex.server.Server`; a second SIGINT cuts that short.

    Blocks the calling thread; call it from the main thread, or signals do not stop it. A call
    while the module is only being imported (`uvicorn main:app` on a file with a bare `app.run()`),
    or while an event loop runs in this thread, starts nothing and warns.

    Args:
        app: An ASGI application, or an import string such as `"main:app"`.
        host: The address to listen on; `"0.0.0.0"` for every IPv4 interface.
        port: The port to listen on; 0 takes a free one, which uvicorn prints.
        **options: uvicorn's own options under its own names: `reload`, `workers`, `log_level`,
            `ssl_certfile`, `uds`, `fd`, `ws` and so on. `reload` and `workers` need an import
            string; with an application object, `$WEB_CONCURRENCY` is not looked at. `ws="auto"`,
            the default, is `telex.server.WebSocketProtocol` when picows is installed, else what
            it is in uvicorn. `timeout_graceful_shutdown` is 25 seconds by default, after which
            everything is cancelled that still goes on, HTTP requests too; `None`, uvicorn's own
            default, waits for HTTP requests for ever.

    Raises:
        MissingDependency: uvicorn is not installed, or the WebSocket library that `ws` asks for;
            without one uvicorn would answer WebSocket requests as plain HTTP. `ws="none"` is
            taken as your wish.
        TypeError: uvicorn has no such option.
        ValueError: `reload` or more than one worker with an application object.
        SystemExit: uvicorn could not start; it logged why.
    """
    reason = _not_now()
    if reason is not None:
        warnings.warn(
            f"run() was called {reason}; no second server is started. "
            "Put the call under `if __name__ == '__main__':`",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    check_options(options, uvicorn_run())
    options["ws"] = chosen_ws(options.get("ws", "auto"))
    if not isinstance(app, str):
        _check_one_process(options)
        options["workers"] = 1
    options.setdefault("timeout_graceful_shutdown", STOP_TIMEOUT)
    from telex.server import _serving

    _serving.serve(app, {"host": host, "port": port, **options})


def _not_now() -> str | None:
    """Say why no server may start here and now, or return `None`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        return "while an event loop is running in this thread"
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__")
        # A runner imports the application's module; `__mp_main__` is the name under which a
        # spawned worker runs its parent's script again.
        if module == "importlib._bootstrap":
            return "while its module is being imported"
        if module == "__mp_main__" and frame.f_code.co_name == "<module>":
            return "in a worker process that only reads the script again"
        frame = frame.f_back
    return None


def uvicorn_run() -> Callable[..., None]:
    """Return uvicorn's own `run`.

    Raises:
        MissingDependency: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingDependency("uvicorn", "standard", "serving an application") from error
    return uvicorn.run


def check_options(options: Mapping[str, Any], serve: Callable[..., None]) -> None:
    """Make sure that uvicorn has these options.

    Raises:
        TypeError: It has not; the text names one that is nearly the same.
    """
    known = inspect.signature(serve).parameters.keys() - {"app"}
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise TypeError(f"uvicorn has no option {name!r}{hint}")


def chosen_ws(ws: Any) -> Any:
    """Return what to give uvicorn as its option `ws`.

    Raises:
        MissingDependency: The library that it asks for is not installed; uvicorn would answer
            WebSocket requests as plain HTTP.
    """
    if ws == "auto" and all(find_spec(library) for library in _OUR_LIBRARIES):
        return OUR_PROTOCOL
    # Other classes and import strings are protocols of the caller's own.
    libraries = _WS_LIBRARIES.get(ws, ()) if isinstance(ws, str) else ()
    if libraries and not any(find_spec(library) for library in libraries):
        raise MissingDependency(
            " or ".join(libraries),
            "standard",
            f"serving WebSockets with ws={ws!r}",
            also=f"pip install {libraries[0]}",
        )
    return ws


def _check_one_process(options: dict[str, Any]) -> None:
    asked = [
        name
        for name, given in (
            ("reload", bool(options.get("reload"))),
            ("workers", (options.get("workers") or 1) > 1),
        )
        if given
    ]
    if asked:
        raise ValueError(
            f"{' and '.join(asked)} needs the application as an import string such as 'main:app', "
            "because other processes have to import it"
        )
