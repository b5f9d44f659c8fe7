"""The command line: `telex run`, `telex routes`, `telex connect`."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from telex._cli_load import LoadError, check_module, complete, load, look_in
from telex.exceptions import MissingDependency
from telex.server.run import run as serve

try:
    import typer
except ImportError as error:
    raise MissingDependency("typer", "standard", "the telex command") from error

commands = typer.Typer(
    name="telex",
    help="WebSockets for ASGI: serve an application, list its routes, talk to a server.",
    no_args_is_help=True,
    add_completion=False,
    # The boxes of rich cut long option names off.
    rich_markup_mode=None,
    # The pretty tracebacks print local variables, and with them whatever is secret.
    pretty_exceptions_enable=False,
)

LogLevel = Literal["critical", "error", "warning", "info", "debug", "trace"]
Target = Annotated[str, typer.Argument(help="module:name; `main` means `main:app`.")]
AppDir = Annotated[Path, typer.Option(help="Look for the module here first.")]


def _fail(sentence: object, code: int = 2) -> NoReturn:
    typer.echo(f"telex: {sentence}", err=True)
    raise typer.Exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"telex {version('telex')}, Python {sys.version.split()[0]}")
        raise typer.Exit


@commands.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """WebSockets for ASGI: serve an application, list its routes, talk to a server."""


@commands.command()
def run(
    app: Target,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    uds: Annotated[str | None, typer.Option(help="UNIX domain socket to listen on.")] = None,
    fd: Annotated[int | None, typer.Option(help="File descriptor of a socket.")] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Restart on changes.")] = False,
    reload_dir: Annotated[list[Path] | None, typer.Option(help="Watch this directory.")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of processes.")] = None,
    ws: Annotated[str, typer.Option(help="WebSocket protocol, or module:Class.")] = "auto",
    ws_max_size: Annotated[int | None, typer.Option(help="Largest message, in bytes.")] = None,
    ws_ping_interval: Annotated[float | None, typer.Option(help="Seconds between pings.")] = None,
    ws_ping_timeout: Annotated[float | None, typer.Option(help="Seconds for a pong.")] = None,
    lifespan: Annotated[
        Literal["auto", "on", "off"], typer.Option(help="Lifespan events.")
    ] = "auto",
    log_level: Annotated[LogLevel | None, typer.Option(help="From here up.")] = None,
    log_config: Annotated[Path | None, typer.Option(help="Logging configuration file.")] = None,
    access_log: Annotated[bool, typer.Option(help="Log every HTTP request.")] = True,
    root_path: Annotated[str, typer.Option(help="Path the application is mounted at.")] = "",
    proxy_headers: Annotated[bool, typer.Option(help="Believe X-Forwarded-*.")] = True,
    forwarded_allow_ips: Annotated[str | None, typer.Option(help="Proxies to believe.")] = None,
    ssl_keyfile: Annotated[Path | None, typer.Option(help="TLS key.")] = None,
    ssl_certfile: Annotated[Path | None, typer.Option(help="TLS certificate.")] = None,
    ssl_keyfile_password: Annotated[str | None, typer.Option(help="To read it.")] = None,
    limit_concurrency: Annotated[int | None, typer.Option(help="Connections at once.")] = None,
    timeout_graceful_shutdown: Annotated[
        int | None, typer.Option(help="Seconds to end in; 25 if not given.")
    ] = None,
    factory: Annotated[bool, typer.Option("--factory", help="APP makes the app.")] = False,
    app_dir: AppDir = Path(),
) -> None:
    """Serve an application with uvicorn. The options are uvicorn's own, under its names."""
    options = {name: value for name, value in locals().items() if value is not None}
    del options["app"], options["app_dir"]
    if "reload_dir" in options:
        options["reload_dirs"] = [str(path) for path in options.pop("reload_dir")]
    _run(app, app_dir, {k: str(v) if isinstance(v, Path) else v for k, v in options.items()})


def _run(app: str, app_dir: Path, options: dict[str, Any]) -> None:
    try:
        target = complete(app)
        look_in(app_dir)
        if options["reload"]:
            # The module may be broken now and right after the next save.
            check_module(target)
        else:
            load(target)
        serve(target, **options)
    except LoadError as error:
        _fail(error)
    except MissingDependency as error:
        _fail(error, code=1)


@commands.command()
def routes(app: Target, app_dir: AppDir = Path()) -> None:
    """List the WebSocket routes of an application."""
    from telex._cli_routes import NoRoutes, print_routes

    try:
        target = complete(app)
        look_in(app_dir)
        print_routes(target, load(target))
    except (LoadError, NoRoutes) as error:
        _fail(error)


@commands.command()
def connect(
    url: Annotated[str, typer.Argument(help="ws:// or wss://; without a scheme, ws://.")],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'Name: value'; may be repeated.")
    ] = None,
    subprotocol: Annotated[
        list[str] | None, typer.Option(help="Subprotocol to offer; may be repeated.")
    ] = None,
    origin: Annotated[str | None, typer.Option(help="The Origin header.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any certificate.")] = False,
    wait: Annotated[
        float | None, typer.Option(min=0, help="Seconds to listen on after the input has ended.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Write messages as they come.")] = False,
) -> None:
    """Talk to a server: type a line to send it, Ctrl-D closes.

    What the server sends goes to the standard output, all else to the standard error. When the
    input is no terminal, its end closes once half a second has passed without an answer, or after
    what --wait says. The exit code is 0 after a close with 1000 or 1001, 1 after any other end,
    2 for a wrong command line.
    """
    try:
        from telex import _cli_connect as client
        from telex._cli_show import Screen
    except MissingDependency as error:
        _fail(error, code=1)
    if wait is None and sys.stdin is not None and sys.stdin.isatty():
        wait = 0.0
    try:
        address, headers = client.websocket_url(url), [*map(client.parse_header, header or ())]
        call = client.Call(address, headers, subprotocol or (), origin, insecure, wait)
        code = asyncio.run(client.session(call, Screen(raw=raw), client.stdin_lines()))
    except client.UsageError as error:
        _fail(error)
    except KeyboardInterrupt:
        code = 1
    except BrokenPipeError:
        # `| head` has seen enough; what Python still holds for it is dropped.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    raise typer.Exit(code)
